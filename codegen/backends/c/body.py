"""The inside of one entry point: its statements as loops, and the memory that they need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sympy import Expr, Integer, Symbol, expand

from chainrule.codegen.backends.formula import equation_text, statement_text
from chainrule.codegen.ir import Contract, Kernel, Kind, Map, Reduce, Statement
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Call, Range, accesses

from . import sizes
from .contract import MatrixProduct, matrix_product
from .fuse import Group, fused, unstored
from .layout import comment
from .names import Names
from .reductions import emit_reduce
from .scalar import ScalarPrinter

__all__ = ["Body", "Code"]


@dataclass
class Code:
    """Lines of C with their indentation."""

    depth: int = 1
    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def comment(self, texts: Iterable[str]) -> None:
        self.lines.append(comment(texts, "    " * self.depth))

    def open(self, line: str) -> None:
        self.add(f"{line} {{")
        self.depth += 1

    def close(self, levels: int = 1) -> None:
        for _ in range(levels):
            self.depth -= 1
            self.add("}")

    def loop(self, index: str, first: str, end: str) -> None:
        self.open(f"for (size_t {index} = {first}; {index} < {end}; {index}++)")


@dataclass(frozen=True)
class Loops:
    """The indices of one loop nest: their C names, and whether one index runs over all elements."""

    ranges: tuple[Range, ...]
    env: Mapping[Symbol, str]
    flat: str = ""

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        return tuple(r.symbol for r in self.ranges)


class Body:
    """Turns a kernel's statements into C.

    `element` is the C type of arrays ("float" or "double"); one number (shape ()) is always a double.
    `products` says whether contractions may call the matrix product of the template; without it they
    are plain loops. After `emit`: `code`, the buffers `referenced`, the helpers `used`, the products.
    """

    def __init__(
        self,
        kernel: Kernel,
        element: str,
        size_names: Mapping[Symbol, str],
        buffer_names: Mapping[str, str],
        names: Names,
        call: Callable[[Call], str],
        used: set[str],
        products: bool = True,
    ) -> None:
        self.kernel = kernel
        self.element = element
        self.size_names = dict(size_names)
        self.buffer_names = buffer_names
        self.names = names
        self.call = call
        self.allow_products = products
        self.code = Code()
        self.used = used
        self.referenced: dict[str, None] = {}
        self.products: list[MatrixProduct] = []
        self.space_name = names.claim("space") if products else ""
        self.shapes = {b.name: b.shape for b in kernel.buffers}
        self._pool: dict[tuple[str, int], str] = {}
        self._hoisted: dict[tuple[Expr, str], str] = {}
        self._constants: list[str] = []
        self._temporaries: dict[Access, str] = {}

    def emit(self) -> Body:
        """Emit every statement, in order."""
        groups = fused(self.kernel)
        self._unstored = unstored(self.kernel, groups)
        for group in groups:
            if self.code.lines:
                self.code.lines.append("")
            self._group(group)
        return self

    def _group(self, group: Group) -> None:
        first = group[0]
        if isinstance(first, Map):
            self._maps([m for m in group if isinstance(m, Map)])
        elif isinstance(first, Contract):
            self._contract(first)
        elif isinstance(first, Reduce):
            self._reduce(first)
        else:
            raise LoweringError(f"unknown statement {type(first).__name__}")

    # ---- names and elements -------------------------------------------------------------------

    def pooled(self, wanted: str, number: int = 1) -> str:
        """A name that every loop nest may use again for the same purpose; unlike any other name here."""
        key = (wanted, number)
        if key not in self._pool:
            self._pool[key] = self.names.claim(wanted)
        return self._pool[key]

    def loops(self, ranges: Sequence[Range]) -> Loops:
        """C names for the indices of one loop nest."""
        env, seen, substitution = dict(self.size_names), Counter[str](), {}
        fresh = []
        for r in ranges:
            seen[r.symbol.name] += 1
            name = self.pooled(r.symbol.name, seen[r.symbol.name])
            symbol = Symbol(name, integer=True, nonnegative=True)
            env[symbol] = name
            substitution[r.symbol] = symbol
            fresh.append(Range(symbol, r.lower.xreplace(substitution), r.upper.xreplace(substitution)))
        return Loops(tuple(fresh), env)

    def buffer_name(self, name: str) -> str:
        self.referenced.setdefault(name)
        return self.buffer_names[name]

    def reader(self, loops: Loops, real: str) -> Callable[[Access], str]:
        """How an element is read where values of type `real` are wanted."""

        def read(access: Access) -> str:
            if access in self._temporaries:
                return self._temporaries[access]
            text = self.place(access, loops)
            own = self.element if self.shapes[access.name] else "double"
            return text if own == real else f"({real}){text}"

        return read

    def place(self, access: Access, loops: Loops) -> str:
        """The element itself, as something that can be assigned to."""
        name, shape = self.buffer_name(access.name), self.shapes[access.name]
        if not shape:
            return f"*{name}" if self.kernel.buffer(access.name).kind is Kind.OUTPUT else name
        if loops.flat and access.indices == loops.symbols:
            return f"{name}[{loops.flat}]"
        return f"{name}[{sizes.address(access.indices, shape, loops.env)}]"

    def printer(self, loops: Loops, real: str) -> ScalarPrinter:
        """A printer for bodies inside these loops; what the loops leave alone is computed before them."""
        moving = set(loops.symbols)

        def fixed(factor: Expr) -> bool:
            return not (factor.free_symbols & moving)

        def hoist(value: Expr) -> str:
            if (value, real) not in self._hoisted:
                outside = ScalarPrinter(real, self.size_names, self.reader(loops, real), self.call, self.used)
                text = outside.text(value)
                self._hoisted[value, real] = self.names.claim("scale")
                self._constants.append(f"const {real} {self._hoisted[value, real]} = {text};")
            return self._hoisted[value, real]

        return ScalarPrinter(real, loops.env, self.reader(loops, real), self.call, self.used, fixed=fixed, hoist=hoist)

    def place_constants(self) -> None:
        """Emit the constants that printing asked for: they stand before the loops."""
        for line in self._constants:
            self.code.add(line)
        self._constants.clear()

    def open_loops(self, loops: Loops, ranges: Sequence[Range] | None = None) -> int:
        """Open one loop for each range (all of `loops` by default); the number opened."""
        if loops.flat:
            extents = [r.upper - r.lower + 1 for r in loops.ranges]
            self.code.loop(loops.flat, "0", sizes.elements(extents, loops.env))
            return 1
        chosen = loops.ranges if ranges is None else ranges
        for r in chosen:
            self.code.loop(loops.env[r.symbol], sizes.plain(r.lower, loops.env), sizes.plain(r.upper + 1, loops.env))
        return len(chosen)

    def flattened(self, loops: Loops, expressions: Sequence[Expr]) -> Loops:
        """The loops as one over all elements, where every access is to an array's own element or to none of theirs."""
        symbols = loops.symbols
        if len(symbols) < 2 or any(r.lower != 0 for r in loops.ranges):
            return loops
        for expression in expressions:
            reads = {a: Integer(0) for a in accesses(expression)}
            if expression.xreplace(reads).free_symbols & set(symbols):
                return loops
            if not all(self._in_step(a, loops) for a in reads):
                return loops
        return replace(loops, flat=self.pooled("i", 0))

    def _in_step(self, access: Access, loops: Loops) -> bool:
        """Whether the loops run over the array element by element, or leave the access alone."""
        if not access.free_symbols & set(loops.symbols):
            return True
        shape = self.shapes[access.name]
        covered = all(expand(r.extent - d) == 0 for r, d in zip(loops.ranges, shape, strict=False))
        return access.indices == loops.symbols and covered

    # ---- statements ---------------------------------------------------------------------------

    def _maps(self, group: Sequence[Map]) -> None:
        loops = self.loops(group[0].ranges)
        bodies = []
        for m in group:
            own = {r.symbol: symbol for r, symbol in zip(m.ranges, loops.symbols, strict=True)}
            bodies.append((m.out.xreplace(own), m.body.xreplace(own)))
        loops = self.flattened(loops, [e for pair in bodies for e in pair])
        printer = self.printer(loops, self.element if loops.ranges else "double")
        lines: list[str] = []
        for number, (out, body) in enumerate(bodies):
            reused = any(out in accesses(later) for _, later in bodies[number + 1 :])
            lines.extend(self._assignment(out, printer.text(body), loops, reused))
        self._temporaries.clear()
        self._explain(group)
        self.place_constants()
        opened = self.open_loops(loops)
        for line in lines:
            self.code.add(line)
        self.code.close(opened)

    def _assignment(self, out: Access, text: str, loops: Loops, reused: bool) -> list[str]:
        if not self.shapes[out.name]:
            local = self.kernel.buffer(out.name).kind is Kind.LOCAL
            return [f"{'const double ' if local else ''}{self.place(out, loops)} = {text};"]
        if not reused:
            return [f"{self.place(out, loops)} = {text};"]
        letters = "".join(s.name for s in loops.symbols)
        temporary = self.names.claim(f"{out.name}_{letters}" if not out.name.endswith("_") else f"{out.name}{letters}")
        lines = [f"const {self.element} {temporary} = {text};"]
        if out.name not in self._unstored:
            lines.append(f"{self.place(out, loops)} = {temporary};")
        self._temporaries[out] = temporary
        return lines

    def _explain(self, group: Sequence[Statement]) -> None:
        lines: dict[str, None] = {}
        for statement in group:
            text = equation_text(statement.equation) if isinstance(statement, Map) else statement_text(statement)
            lines.setdefault(text)
            if statement.note:
                lines.setdefault(statement.note)
        self.code.comment(lines)

    def _contract(self, statement: Contract) -> None:
        plan = matrix_product(statement, self.shapes) if self.allow_products else None
        if plan is None:
            body = statement.left * statement.right
            reduce = Reduce(statement.out, statement.ranges, statement.equation, "sum", statement.reduced, body)
            emit_reduce(self, reduce, lambda: self._explain([statement]))
            return
        self._explain([statement])
        self.products.append(plan)
        loops = self.loops(plan.batch)
        opened = self.open_loops(loops)
        batch = dict(zip((r.symbol for r in plan.batch), loops.symbols, strict=True))

        def start(access: Access) -> str:
            indices = [batch.get(i, Integer(0)) for i in access.indices]
            offset = sizes.address(indices, self.shapes[access.name], loops.env)
            name = self.buffer_name(access.name)
            return name if offset == "0" else f"{name} + {offset}"

        def count(expression: Expr) -> str:
            return sizes.plain(expression, loops.env)

        extents = f"{count(plan.rows)}, {count(plan.columns)}, {count(plan.depth)}"
        left = f"{start(plan.left)}, {count(plan.left_row)}, {count(plan.left_depth)}"
        right = f"{start(plan.right)}, {count(plan.right_depth)}, {count(plan.right_column)}"
        out = f"{start(statement.out)}, {count(plan.out_row)}"
        self.code.add(f"matrix_product({extents}, {left}, {right}, {out}, {self.space_name});")
        self.code.close(opened)

    def _reduce(self, statement: Reduce) -> None:
        emit_reduce(self, statement, lambda: self._explain([statement]))
