"""Values to lines of Python: the body of one kernel, the equation above the lines that compute it."""

from __future__ import annotations

import textwrap
from collections import Counter
from dataclasses import dataclass

import sympy as sp
from sympy import Expr, Integer, Symbol
from sympy.logic.boolalg import Boolean

from chainrule.codegen.backends.formula import equation_text
from chainrule.codegen.ir import BATCH, Kernel, Kind
from chainrule.symbolic.affine import nonnegative
from chainrule.symbolic.system import COST

from .arrays import Arrays, arrays
from .blocks import Blocks
from .contractions import Layout, by_weights, einsum_subscripts, plan
from .hosts import Hosts
from .memory import Memory, allocate, is_host, root
from .names import Names, number_name
from .opened import with_constants_opened
from .scope import Scope
from .sizes import is_truth, real_text, shape_text, whole_text
from .slices import condition_text, places_text
from .values import Operand, Value

__all__ = ["KernelText", "kernel_text"]

_WIDTH = 104
_EMPTY = {"maximum": "-np.inf", "minimum": "np.inf"}


@dataclass(frozen=True)
class KernelText:
    """What the template lays out: a function that prepares a kernel and returns its step.

    `unpack` and `prepare` stand before the step, `body` inside it; `special` names the module's own
    functions that the kernel calls.
    """

    entry: str
    sizes: str
    unpack: tuple[str, ...]
    prepare: tuple[str, ...]
    signature: str
    body: tuple[str, ...]
    special: tuple[str, ...]


def kernel_text(kernel: Kernel, sizes: tuple[Symbol, ...]) -> KernelText:
    """The text of one kernel; `sizes` are the program's size symbols in order."""
    return _Emitter(arrays(with_constants_opened(kernel)), sizes).text()


class _Emitter:
    def __init__(self, kernel: Arrays, sizes: tuple[Symbol, ...]) -> None:
        self._arrays = kernel
        arguments = kernel.kernel.arguments
        names = Names()
        given = {b.name: names.claim(b.name) for b in arguments}
        self._sizes = {s: names.claim(s.name) for s in (BATCH, *sizes)}
        results = [name for name in kernel.kernel.results if name != COST]
        self._numbers = {
            v.number: names.claim(n) for n, v in kernel.results.items() if n != COST and is_host(v)
        }  # results without axes
        self._memory: Memory = allocate(kernel, names)
        self._data = [given[b.name] for b in arguments if b.kind in (Kind.DATA, Kind.COTANGENT, Kind.TANGENT)]
        self._parameters = [given[b.name] for b in arguments if b.kind is Kind.PARAMETER]
        self._scope = Scope(names, self._sizes, self._memory, given, frozenset(self._data))
        self._results = results
        uses = Counter(root(o.value).number for _, v in kernel.steps for o in v.operands)
        self._uses = uses
        self._hosts = Hosts(self._scope, uses, {v.number for v in kernel.results.values()})
        self._special = self._scope.special

    def text(self) -> KernelText:
        self._scope.lines.extend(self._declarations())
        for value in self._arrays.prepared:
            self._prepare(value)
        body = self._body()
        body.extend(self._finish())
        unpack = [_unpacked(list(self._sizes.values()), "sizes")]
        unpack += [_unpacked(self._parameters, "parameters")] if self._parameters else []
        unpack += [_unpacked([self._result_name(r) for r in self._results], "results")] if self._results else []
        return KernelText(
            self._arrays.kernel.entry,
            ", ".join(self._sizes.values()),
            tuple(unpack),
            tuple(self._scope.lines),
            ", ".join(self._data),
            tuple(body),
            tuple(self._special),
        )

    def _body(self) -> list[str]:
        """The lines of the step: the equation above its lines, loops and conditions around them."""
        blocks = Blocks(self._scope)
        shown: object = None
        for number, value in self._arrays.steps:
            blocks.enter(value.region)
            lines = self._lines(value)
            equation = self._arrays.statements[number].equation
            if lines and equation is not shown:
                lines = [*_comment(equation_text(equation)), *lines]
                shown = equation
            blocks.extend(lines)
        return blocks.lines()

    # --- before the step

    def _result_name(self, result: str) -> str:
        value = self._arrays.results[result]
        if value.number in self._numbers:
            return self._numbers[value.number]
        return next(a for a in self._memory.arrays if a.result == result).names[-1]

    def _declarations(self) -> list[str]:
        lines = []
        for array in self._memory.arrays:
            if array.result == COST:
                lines.append(f"{' = '.join(array.names)} = empty(())")
            elif array.result is not None:
                final = self._result_name(array.result)
                others = [n for n in array.names if n != final]
                lines.extend([f"{' = '.join(others)} = {final}"] if others else [])
            else:
                dtype = ", bool" if array.boolean else ""
                shape = shape_text(array.shape, self._sizes)
                lines.append(f"{' = '.join(array.names)} = empty({shape}{dtype})")
            if array.zeroed:
                lines.append(f"{array.names[-1]}.fill(0)")
        return lines

    def _prepare(self, value: Value) -> None:
        """A line that computes, once, what sizes alone decide."""
        if value.operation in ("scalar", "view"):
            return
        wanted = self._arrays.names.get(value.number)
        if value.operation == "condition":
            text = self._condition(value)
        elif value.operation == "indices":
            lower, upper = value.detail
            assert isinstance(lower, Expr)
            assert isinstance(upper, Expr)
            bounds = f"{whole_text(lower, self._sizes)}, {whole_text(upper + 1, self._sizes)}"
            text = f"np.arange({bounds}, dtype=DTYPE)"
            wanted = wanted or "index"
        elif value.operation == "copy" and value.operands[0].scalar is not None:
            self._fill(value, value.operands[0].scalar)
            return
        elif value.operation == "copy":
            inner = self._scope.operand(value.operands[0], value.rank)
            shape = shape_text(value.shape, self._sizes)
            text = f"np.array(np.broadcast_to({inner}, {shape}), DTYPE)"
        elif value.operation == "sum":
            parts = ", ".join(self._scope.view(o.value, Layout()) for o in value.operands)
            text = f'np.einsum("{einsum_subscripts(value)}", {parts})'
        elif value.operation == "fold":
            text = self._fold(value)
        elif value.operation == "pad":
            before, after = (tuple(whole_text(e, self._sizes) for e in side) for side in value.detail)  # type: ignore[attr-defined]
            border = ", ".join(f"({b}, {a})" for b, a in zip(before, after, strict=True))
            text = f"np.pad({self._scope.operand(value.operands[0], value.rank)}, [{border}])"
        else:
            parts = ", ".join(self._scope.operand(o, value.rank) for o in value.operands)
            call = {"select": "np.where", "special": f"_{value.detail[0]}" if value.detail else ""}
            text = f"{call.get(value.operation) or f'np.{value.detail[0]}'}({parts})"
            if value.operation == "special":
                self._special[str(value.detail[0])] = None
        name = self._scope.declare(value, wanted or ("condition" if value.boolean else "constant"))
        self._scope.lines.append(f"{name} = {text}")

    def _fill(self, value: Value, number: Expr) -> None:
        """An array of one number."""
        word = number_name(number)
        wanted = self._arrays.names.get(value.number, "constants" if word == "constant" else f"{word}s")
        name = self._scope.declare(value, wanted)
        dtype = ", bool" if is_truth(number) else ""
        self._scope.lines.append(f"{name} = empty({shape_text(value.shape, self._sizes)}{dtype})")
        why = "# maximum and minimum are vectorised for two arrays, not for an array and a number"
        self._scope.lines.append(f"{name}.fill({real_text(number, self._sizes)})  {why}")

    # --- the step

    def _condition(self, value: Value) -> str:
        """A condition on indices, as arrays that broadcast against each other."""
        labels = self._arrays.labels[value.number]
        names = dict(self._sizes)
        for m, extent in enumerate(value.shape):
            names[Symbol(f"_{m}", integer=True)] = self._scope.counting(labels[m], extent, value.rank - 1 - m)
        condition = value.detail[0]
        assert isinstance(condition, Expr | Boolean)
        return condition_text(condition, {**names, **self._scope.sizes})

    def _lines(self, value: Value) -> list[str]:
        if value.operation in ("condition", "indices"):
            text = self._condition(value)
            return [f"{self._scope.passing(value, 'condition')} = {text}"]
        if value.operation in ("store", "pad"):
            return self._stored(value)
        if is_host(value):
            if self._hosts.inlined(value):
                return []
            if value.number in self._numbers and not self._uses[value.number]:
                return [f"{self._numbers[value.number]}[...] = {self._hosts.text(value)}"]
            name = self._scope.declare(value, self._arrays.names.get(value.number, "total"))
            copied = [f"{self._numbers[value.number]}[...] = {name}"] if value.number in self._numbers else []
            return [f"{name} = {self._hosts.text(value)}", *copied]
        if value.operation == "sum":
            return [self._sum(value)]
        out = self._scope.name(value)
        if value.operation == "fold":
            return [self._fold(value, out)]
        parts = [self._operand(o, value.rank) for o in value.operands]
        if value.operation == "copy":
            return [f"np.copyto({out}, {parts[0]})"]
        if value.operation == "select":
            condition, then, otherwise = parts
            own = value.operands[2].value
            in_place = value.operands[2].scalar is None and self._same_array(value, own)
            start = [] if in_place else [f"np.copyto({out}, {otherwise})"]
            return [*start, f"np.copyto({out}, {then}, where={condition})"]
        if value.operation == "special":
            self._special[str(value.detail[0])] = None
            return [f"_{value.detail[0]}({', '.join(parts)}, out={out})"]
        return [f"np.{value.detail[0]}({', '.join(parts)}, out={out})"]

    def _operand(self, operand: Operand, rank: int) -> str:
        if is_host(operand.value):
            return self._hosts.term(operand, 0)
        return self._scope.operand(operand, rank)

    def _stored(self, value: Value) -> list[str]:
        """A value copied to where it belongs, unless it was computed there."""
        source = value.operands[-1]
        if source.value.number in self._memory.placed and self._memory.placed[source.value.number] is value:
            return []
        how = value.stored.how if value.operation == "store" else "set"
        if how == "scatter":
            return [self._scattered(value)]
        slot = self._scope.slot(value)
        if source.scalar is not None and source.scalar.is_number:
            return [f"{slot}[...] = {real_text(source.scalar, self._sizes)}"]
        text = self._operand(source, len(value.stored.shape) if value.operation == "store" else value.rank)
        return [f"np.copyto({slot}, {text})" if how == "set" else f"np.{how}({slot}, {text}, out={slot})"]

    def _scattered(self, value: Value) -> str:
        """Every element of the source added to the element of the cell that its indices lead to."""
        stored, rank = value.stored, len(value.stored.shape)
        labels = self._arrays.labels[value.number]
        names = [
            self._scope.counting(n, e, rank - 1 - m) for m, (n, e) in enumerate(zip(labels, stored.shape, strict=True))
        ]
        places = []
        for a, (start, length) in enumerate(zip(stored.place.start, value.shape, strict=True)):
            steps = [step[a] for step in stored.place.steps]
            last = sp.expand(start + sp.Add(*(k * (e - 1) for k, e in zip(steps, stored.shape, strict=True))))
            inside = all(nonnegative(e, {}) for e in (start, length - 1 - last, *steps))
            places.append(places_text(start, steps, self._sizes, names, None if inside else length))
        where = self._scope.prepared(f"({', '.join(places)},)", "places")
        return f"np.add.at({self._scope.name(value)}, {where}, {self._operand(value.operands[-1], rank)})"

    def _same_array(self, one: Value, two: Value) -> bool:
        if two.operation == "view" or is_host(two):
            return False
        names = {self._scope.name(one), self._scope.name(two)}
        return any(names <= set(a.names) for a in self._memory.arrays)

    def _sum(self, value: Value) -> str:
        out = self._scope.view(value, Layout())
        if len(value.operands) == 1:
            return self._single_sum(value)
        chosen = plan(value)
        if chosen.call == "einsum":
            parts = ", ".join(self._scope.view(o.value, Layout()) for o in value.operands)
            return f'np.einsum("{einsum_subscripts(value)}", {parts}, out={out})'
        first, second = value.operands[chosen.first].value, value.operands[1 - chosen.first].value
        left, right = self._scope.view(first, chosen.left), self._scope.view(second, chosen.right)
        out = self._scope.view(value, chosen.out)
        if chosen.call == "dot":
            return f"{left}.dot({right}, out={out})"
        return f"np.{chosen.call}({left}, {right}, out={out})"

    def _single_sum(self, value: Value) -> str:
        """Leading or trailing axes of an array, summed by a product with ones, or with what scales them."""
        (operand,) = value.operands
        source = operand.value
        extents = [e for e, a in zip(source.shape, operand.axes, strict=True) if a >= value.rank]
        columns = by_weights(value)
        if columns is None:
            return self._fold(value, self._scope.view(value, Layout()), "add")
        rows, rest = sp.Mul(*extents), sp.Mul(*value.shape)
        matrix = None if source.rank == 2 else ((rows, rest) if columns else (rest, rows))
        view = self._scope.view(source, Layout(matrix))
        out = self._scope.view(value, Layout((rest,) if value.rank > 1 else None))
        weights = self._scope.weights(rows, value.detail[1] if len(value.detail) > 1 else Integer(1))
        return f"{weights}.dot({view}, out={out})" if columns else f"{view}.dot({weights}, out={out})"

    def _fold(self, value: Value, out: str = "", ufunc: str = "") -> str:
        (operand,) = value.operands
        axes = [m for m, a in enumerate(operand.axes) if a >= value.rank]
        kept = [a for a in operand.axes if a < value.rank]
        permute = None
        if kept != sorted(kept):
            permute = tuple(sorted(range(len(operand.axes)), key=lambda m: operand.axes[m]))
            axes = list(range(value.rank, len(operand.axes)))
        view = self._scope.view(operand.value, Layout(permute=permute))
        axis = str(axes[0]) if len(axes) == 1 else str(tuple(axes)) if value.rank else "None"
        target = f", out={out}" if out else ""
        name = ufunc or str(value.detail[0])
        lengths = [operand.value.shape[m] for m, a in enumerate(operand.axes) if a >= value.rank]
        if name in _EMPTY and not all(nonnegative(e - 1, {}) for e in lengths):
            target += f", initial={_EMPTY[name]}"
        return f"np.{name}.reduce({view}, axis={axis}{target})"

    def _finish(self) -> list[str]:
        """What the step returns."""
        if COST not in self._arrays.results:
            return []
        cost = self._arrays.results[COST]
        return [f"return {self._scope.name(cost)}" if is_host(cost) else f"return {self._scope.name(cost)}.item()"]


def _unpacked(names: list[str], source: str) -> str:
    return f"{', '.join(names)} = {source}" if len(names) > 1 else f"({names[0]},) = {source}"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text, _WIDTH, subsequent_indent="    ", break_on_hyphens=False)]
