"""The inside of one entry point: its statements as loops, and the memory that they need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from sympy import Expr, Integer, Max, Min, Symbol, expand

from chainrule.codegen.backends.formula import equation_text, statement_text
from chainrule.codegen.ir import Contract, Kernel, Kind, Map, Reduce, Scan, Scatter, Statement
from chainrule.symbolic.affine import box, lower_bounds, upper_bounds, with_guards
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Call, Range, accesses

from . import sizes
from .code import Code
from .contract import MatrixProduct
from .fuse import Group, Part, blocks, outliving, unstored
from .loops import Levels, Loops
from .names import Names
from .nest import Loop, Nest, Prover, nest
from .products import emit_contract
from .reductions import emit_reduce, emit_scatter
from .scalar import ScalarPrinter

__all__ = ["Body"]


class Body:
    """Turns a kernel's statements into C.

    `element` is the C type of arrays ("float" or "double"); one number (shape ()) is always a double.
    `axes` are extents that the caller's sizes are known to make positive. `products` says whether
    contractions may call the matrix product of the template; without it they are plain loops.
    After `emit`: `code`, the buffers `referenced`, the helpers `used`, the products.
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
        axes: Sequence[Expr] = (),
        products: bool = True,
    ) -> None:
        self.kernel = kernel
        self.element = element
        self.env = dict(size_names)
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
        self.prover = Prover({}, axes)
        self.outer: tuple[Range, ...] = ()  # of the scan at work
        self.around: dict[Symbol, Expr] = {}  # its index -> the symbol of its C name
        self.scratch: dict[str, str] = {}  # arrays in the space of matrix products
        self._pool: dict[tuple[str, int, str], str] = {}
        self._scales: dict[tuple[Expr, str], str] = {}
        self._temporaries: dict[Access, str] = {}

    def emit(self) -> Body:
        """Emit every statement, in order."""
        found = blocks(self.kernel)
        self._unstored = unstored(self.kernel, found)
        self._outliving = outliving(self.kernel, found)
        for name in self._outliving:
            self.code.add(f"double {self.buffer_name(name)} = 0.0;")
        for block in found:
            self.code.blank()
            if block.scan is not None:
                self._scan(block.scan, block.parts)
            else:
                self._parts(block.parts)
        return self

    # ---- blocks --------------------------------------------------------------------------------

    def _scan(self, scan: Scan, parts: Sequence[Part]) -> None:
        loops = self.loops([scan.range])
        (loop,) = self.nest(loops, loops.ranges, loops.symbols).loops
        name = loops.env[loop.symbol]
        first, end = loop.first(loops.env), loop.end(loops.env)
        if scan.reverse:
            down = f"{name}-- > {first}"
            self.code.open(f"for (size_t {name} = {end}; {down};)")
        else:
            self.code.loop(name, first, end)
        with self.inside(loops, [loop]):
            self._parts(parts)
        self.code.close()

    @contextmanager
    def inside(self, loops: Loops, opened: Sequence[Loop]) -> Iterator[None]:
        """What is emitted meanwhile stands inside these loops."""
        saved = self.env, self.prover, self.outer, self.around, dict(self._scales)
        self.env, self.outer, self.around = dict(loops.env), loops.ranges, dict(loops.renaming)
        for loop in opened:
            self.prover = self.prover.within(loop)
        yield
        self.env, self.prover, self.outer, self.around, self._scales = saved

    def _parts(self, parts: Sequence[Part]) -> None:
        for part in parts:
            self.code.blank()
            conditions = [c.xreplace(self.around) for c in part.when]
            conditions = [c for c in conditions if not self.prover.nonnegative(c)]
            saved = self.prover, dict(self._scales)
            if conditions:
                self.code.open(f"if ({' && '.join(sizes.holds(c, self.env) for c in conditions)})")
                self.prover = Prover(with_guards(self.prover.facts, conditions), self.prover.axes)
            for group in part.groups:
                self.code.blank()
                self._group(group)
            if conditions:
                self.prover, self._scales = saved
                self.code.close()

    def _group(self, group: Group) -> None:
        first = group[0]
        if isinstance(first, Map):
            self.maps([m for m in group if isinstance(m, Map)])
        elif isinstance(first, Contract):
            emit_contract(self, first)
        elif isinstance(first, Reduce):
            emit_reduce(self, first)
        elif isinstance(first, Scatter):
            emit_scatter(self, first)
        else:
            raise LoweringError(f"the C backend has no statement {type(first).__name__}")

    def explain(self, group: Sequence[Statement]) -> None:
        """The comment above the loops: what is computed."""
        lines: dict[str, None] = {}
        for statement in group:
            text = equation_text(statement.equation) if isinstance(statement, Map) else statement_text(statement)
            lines.setdefault(text)
            if statement.note:
                lines.setdefault(statement.note)
        self.code.comment(lines)

    # ---- names and elements -------------------------------------------------------------------

    def pooled(self, wanted: str, number: int = 1, purpose: str = "") -> str:
        """A name that every loop nest may use again for the same purpose; unlike any other name here."""
        key = (wanted, number, purpose)
        if key not in self._pool:
            self._pool[key] = self.names.claim(wanted)
        return self._pool[key]

    def loops(self, ranges: Sequence[Range]) -> Loops:
        """C names for the indices of one loop nest. An index that may start below 0 counts from its start."""
        env, seen = dict(self.env), Counter(s.name for s in self.around)  # a scan's own index stays in reach
        renaming: dict[Symbol, Expr] = dict(self.around)
        fresh: list[Range] = []
        outer = [Range(r.symbol, r.lower, r.upper) for r in self.outer]
        for r in ranges:
            seen[r.symbol.name] += 1
            name = self.pooled(r.symbol.name, seen[r.symbol.name], "index")
            symbol = Symbol(name, integer=True, nonnegative=True)
            env[symbol] = name
            lowers = [b.xreplace(renaming) for b in lower_bounds(r)]
            uppers = [b.xreplace(renaming) for b in upper_bounds(r)]
            start = self._start(Range(symbol, Max(*lowers), Min(*uppers)), (*outer, *fresh))
            renaming[r.symbol] = symbol + start
            lowers, uppers = [expand(b - start) for b in lowers], [expand(b - start) for b in uppers]
            fresh.append(Range(symbol, Max(*lowers), Min(*uppers)))
        return Loops(tuple(fresh), env, renaming)

    def _start(self, bound: Range, before: Sequence[Range]) -> Expr:
        """What is taken off an index so that it is never negative: 0 wherever that is proved."""
        (least,) = box([bound], before)
        bounds = lower_bounds(least)
        return Integer(0) if any(self.prover.nonnegative(b) for b in bounds) else bounds[0]

    def nest(
        self,
        loops: Loops,
        ranges: Sequence[Range],
        order: Sequence[Symbol],
        guards: Iterable[Expr] = (),
        around: Sequence[Loop] = (),
    ) -> Nest:
        """The loops over some of the ranges, inside the scan at work and the loops `around`."""
        prover = self.prover
        for loop in around:
            prover = prover.within(loop)
        inside = {loop.symbol for loop in around}
        return nest(ranges, order, guards, prover, (*self.outer, *(r for r in loops.ranges if r.symbol in inside)))

    def helper(self, name: str) -> str:
        """A static function of ours, which the file must then hold."""
        self.used.add(name)
        return name

    def buffer_name(self, name: str) -> str:
        if name in self.scratch:
            return self.scratch[name]
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

    def declaration(self, out: Access) -> str:
        """What stands before the first assignment of a value: the type of a number that has none yet."""
        local = not self.shapes[out.name] and self.kernel.buffer(out.name).kind is Kind.LOCAL
        return "const double " if local and out.name not in self._outliving else ""

    def printer(self, loops: Loops, levels: Levels, real: str) -> ScalarPrinter:
        """A printer for bodies inside these loops; what the innermost leaves alone is computed before it."""

        def hoist(value: Expr) -> str:
            depth = levels.depth(value)
            known = self._scales if depth == 0 else levels.names
            if (value, real) not in known:
                outside = ScalarPrinter(real, loops.env, self.reader(loops, real), self.call, self.used)
                text = outside.text(value)
                name = self.names.claim("scale") if depth == 0 else self.pooled("factor", len(levels.names) + 1)
                known[value, real] = name
                levels.lines.setdefault(depth, []).append(f"const {real} {name} = {text};")
            return known[value, real]

        reader = self.reader(loops, real)
        return ScalarPrinter(real, loops.env, reader, self.call, self.used, fixed=levels.fixed, hoist=hoist)

    def open_loops(self, loops: Loops, chosen: Sequence[Loop], levels: Levels, depth: int = 0) -> int:
        """Open loops, with what is computed between them; the number opened. `depth` are open already."""
        if loops.flat:
            extents = [r.upper - r.lower + 1 for r in loops.ranges]
            self.code.loop(loops.flat, "0", sizes.elements(extents, loops.env, self.prover.nonnegative))
            return 1
        for m, loop in enumerate(chosen):
            if m > 0:
                self.place_values(levels, depth + m)
            self.code.loop(loops.env[loop.symbol], loop.first(loops.env), loop.end(loops.env))
        return len(chosen)

    def place_values(self, levels: Levels, depth: int) -> None:
        """Emit what is computed once at this depth."""
        for line in levels.lines.pop(depth, []):
            self.code.add(line)

    def flattened(self, loops: Loops, expressions: Sequence[Expr]) -> Loops:
        """The loops as one over all elements, where every access is to an array's own element or to none of theirs."""
        symbols = loops.symbols
        if len(symbols) < 2 or any(r.lower != 0 for r in loops.ranges):
            return loops
        if any(r.upper.free_symbols & set(symbols) or r.upper.atoms(Max, Min) for r in loops.ranges):
            return loops
        for expression in expressions:
            if _outside_accesses(expression) & set(symbols):
                return loops
            if not all(self._in_step(a, loops) for a in accesses(expression)):
                return loops
        return replace(loops, flat=self.pooled("i", 0))

    def _in_step(self, access: Access, loops: Loops) -> bool:
        """Whether the loops run over the array element by element, or leave the access alone."""
        if not access.free_symbols & set(loops.symbols):
            return True
        shape = self.shapes[access.name]
        covered = all(expand(r.extent - d) == 0 for r, d in zip(loops.ranges, shape, strict=False))
        return access.indices == loops.symbols and covered

    # ---- maps ----------------------------------------------------------------------------------

    def maps(self, group: Sequence[Map]) -> None:
        """Emit maps that share their loops."""
        loops = self.loops(group[0].ranges)
        bodies = []
        for m in group:
            own = dict(loops.renaming)
            own |= {r.symbol: loops.renaming[f.symbol] for r, f in zip(m.ranges, group[0].ranges, strict=True)}
            bodies.append((m.out.xreplace(own), m.body.xreplace(own)))
        found = self.nest(loops, loops.ranges, loops.symbols)
        loops = self.flattened(loops, [e for pair in bodies for e in pair])
        levels = Levels(found.loops, bool(loops.flat))
        lines: list[str] = []
        for number, (out, body) in enumerate(bodies):
            reused = any(out in accesses(later) for _, later in bodies[number + 1 :])
            printer = self.printer(loops, levels, self.element if self.shapes[out.name] else "double")
            lines.extend(self._assignment(out, printer.text(body), loops, reused))
        self._temporaries.clear()
        self.explain(group)
        self.place_values(levels, 0)
        opened = self.open_loops(loops, found.loops, levels)
        for line in lines:
            self.code.add(line)
        self.code.close(opened)

    def _assignment(self, out: Access, text: str, loops: Loops, reused: bool) -> list[str]:
        if not self.shapes[out.name]:
            return [f"{self.declaration(out)}{self.place(out, loops)} = {text};"]
        if not reused:
            return [f"{self.place(out, loops)} = {text};"]
        letters = "".join(s.name for s in loops.symbols)
        temporary = self.names.claim(f"{out.name}_{letters}" if not out.name.endswith("_") else f"{out.name}{letters}")
        lines = [f"const {self.element} {temporary} = {text};"]
        if out.name not in self._unstored:
            lines.append(f"{self.place(out, loops)} = {temporary};")
        self._temporaries[out] = temporary
        return lines


def _outside_accesses(expression: Expr) -> set[Expr]:
    """The symbols that the expression has beside those of its subscripts."""
    if isinstance(expression, Access):
        return set()
    return {expression} if isinstance(expression, Symbol) else set().union(*map(_outside_accesses, expression.args))
