"""Kernel to arrays: the statements' formulas as values, and which value each result is.

Memory is not decided here: buffers and slots of the kernel IR are names of values and no more, but
for buffers that several statements (or the steps of a loop) fill piece by piece: those are cells.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import sympy as sp
from sympy import Expr, Integer, Symbol

from chainrule.codegen.ir import Buffer, Kernel, Kind, Scan, Scatter, Statement
from chainrule.symbolic.affine import Bounds, bounds_of, nonnegative, with_guards
from chainrule.symbolic.expressions import Range

from .borders import borders
from .elementwise import Elementwise
from .factors import Sum
from .lifting import lifted
from .nests import Nest, loop_order, nest
from .sums import IDENTITY, reduction
from .values import Graph, Operand, Region, Value, Window
from .windows import Loops, merged, read

__all__ = ["Arrays", "arrays"]


@dataclass(frozen=True)
class Arrays:
    """One kernel's values.

    `steps` are the values computed at every call, in order, each with the number of the statement it
    was made for; `prepared` those that sizes alone decide. `results` maps each output buffer to its
    value, `names` the values that a buffer's name stands for. `cells` are the arrays filled piece by
    piece, their shapes, and whether what nothing fills is to be 0; `labels` what the axes of a value over indices
    are called.
    """

    kernel: Kernel
    statements: tuple[Statement, ...]
    prepared: tuple[Value, ...]
    steps: tuple[tuple[int, Value], ...]
    results: dict[str, Value]
    names: dict[int, str]
    cells: dict[str, tuple[tuple[Expr, ...], bool]]
    labels: dict[int, tuple[str, ...]]


def arrays(kernel: Kernel) -> Arrays:
    """The values of a kernel. Raises LoweringError, naming the formula, for one that NumPy cannot compute."""
    return _Builder(kernel).run()


class _Builder:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._graph = Graph()
        self._nests = [[nest(s, outer) for s in statements] for statements, outer, _ in _groups(kernel)]
        self._reads = Counter(a.name for s in kernel.flat for a in s.reads())
        self._buffers = {b.name: self._graph.given(b.name, b.shape).whole for b in kernel.arguments}
        self._results: dict[str, Value] = {}
        self._names: dict[int, str] = {}
        self._shared: set[int] = set()
        self._section = 0
        self._borders = borders(kernel)
        self._cells = {n: zeroed for n, zeroed in _cells(kernel, self._nests).items() if n not in self._borders}
        self._changing: set[str] = set()  # the buffers that the loop at work writes

    def run(self) -> Arrays:
        outputs = [b for b in self._kernel.buffers if b.kind is Kind.OUTPUT]
        self._graph.reserved = {b.name: b.shape for b in outputs}
        for name, zeroed in self._cells.items():
            self._buffers[name] = self._graph.new_cell(name, self._kernel.buffer(name).shape, zeroed=zeroed).whole
        for (statements, outer, backward), nests in zip(_groups(self._kernel), self._nests, strict=True):
            written = [n for n in dict.fromkeys(s.out.name for s in statements) if n in self._cells] if outer else []
            self._graph.block += 1
            enclosing = Region(self._graph.block, outer, backward=backward) if outer else None
            self._graph.region = enclosing
            self._changing = {s.out.name for s in statements} if outer else set()
            for name in written:
                self._renewed(name)
            for statement, found in zip(statements, nests, strict=True):
                self._statement(statement, found, outer, backward)
                self._section += 1
                self._graph.region = enclosing
            self._graph.region = None
            for name in written:
                self._renewed(name)
        for name in self._cells:
            if self._kernel.buffer(name).kind is Kind.OUTPUT:
                self._results[name] = self._buffers[name].value
        wanted = _needed([*self._results.values(), *self._graph.stores])
        return Arrays(
            self._kernel,
            self._kernel.flat,
            tuple(v for v in self._graph.values if v.number in wanted and v.static),
            tuple(self._ordered(wanted)),
            self._results,
            self._names,
            self._graph.cells,
            self._graph.labels,
        )

    def _ordered(self, wanted: set[int]) -> list[tuple[int, Value]]:
        """The steps; what a loop does not change comes before it."""
        graph = self._graph

        def key(value: Value) -> tuple[int, bool, int]:
            return graph.blocks[value.number], value.region is not None and bool(value.region.loops), value.number

        values = sorted((v for v in graph.values if v.number in wanted and _computed(v)), key=key)
        return [(graph.sections[v.number], v) for v in values]

    # --- statements

    def _renewed(self, name: str) -> None:
        """The cell of that name, as it stands where a loop begins or has ended."""
        before = self._buffers[name].value
        self._buffers[name] = self._graph.cell(name, before.shape, before).whole

    def _statement(self, statement: Statement, found: Nest, outer: tuple[Range, ...], backward: bool) -> None:
        name = statement.out.name
        self._graph.section = self._section
        if name in self._borders:
            self._bordered(statement)
            return
        if statement.when:
            self._graph.region = Region(self._graph.block, outer, statement.when, backward)
        scattered = isinstance(statement, Scatter)
        if found.conditions or scattered:
            place = _everything(self._kernel.buffer(name)) if scattered else _written(found)
            self._store(name, self._graph.scalar(IDENTITY.get(found.kind, Integer(0))), place)
        if any(c.is_negative for c in found.conditions):
            return
        conditions = (*statement.when, *found.conditions)
        if found.conditions:
            self._graph.region = Region(self._graph.block, outer, conditions, backward)
        known = with_guards(bounds_of(outer), conditions)
        operand = (self._lifted(name, found, outer[0], conditions, known) if outer else None) or self._value(
            name, found, known
        )
        if name in self._cells:
            adding = scattered and not _fits(found, self._kernel.buffer(name))
            if adding:  # NumPy's ufunc.at does not broadcast
                operand = self._graph.full(operand, tuple(_extent(r) for r in found.left)).whole
            self._store(name, operand, _written(found), "scatter" if adding else "set")
            if scattered:
                self._graph.labels[self._buffers[name].value.number] = tuple(r.symbol.name for r in found.left)
        else:
            self._finish(operand, self._kernel.buffer(name))

    def _bordered(self, statement: Statement) -> None:
        """A tensor with zeros around it: they are written once, when the array is made."""
        border, buffer = self._borders[statement.out.name], self._kernel.buffer(statement.out.name)
        if statement.reads():
            source = self._kernel.buffer(border.name)
            inner = self._graph.full(self._buffers[border.name], source.shape)
            value = self._graph.value("pad", (inner.whole,), buffer.shape, (border.before, border.after))
            self._names.setdefault(value.number, buffer.name)
            self._buffers[buffer.name] = value.whole

    def _lifted(
        self, name: str, found: Nest, outer: Range, conditions: tuple[Expr, ...], known: Bounds
    ) -> Operand | None:
        """The step at work of a sum that is computed for all steps before the loop."""
        whole = lifted(found, outer, conditions, self._changing)
        if whole is None:
            return None
        here, self._graph.region = self._graph.region, None
        value = self._graph.full(self._value(name, whole.nest, {}), tuple(_extent(r) for r in whole.nest.kept))
        self._graph.region = here
        self._names.setdefault(value.number, name)
        loops = Loops(tuple(_extent(r) for r in found.kept), tuple(r.symbol.name for r in found.kept), known)
        places = {r.symbol: s for r, s in zip(found.kept, loops.symbols, strict=True)}
        return read(self._graph, value.whole, [s.xreplace(places) for s in whole.subscripts], loops)

    def _value(self, name: str, found: Nest, known: Bounds) -> Operand:
        """The right side over the loops of the left side."""
        order = loop_order(found)
        symbols = {r.symbol: Symbol(f"_{m}", integer=True) for m, r in enumerate(order)}
        extents = tuple(_extent(r) for r in order)
        loops = Loops(extents, tuple(r.symbol.name for r in order), known)
        elementwise = Elementwise(self._graph, self._buffers, self._kernel.functions, loops, self._shared)
        factors = tuple(f.xreplace(symbols) for f in found.factors)
        kept = tuple(order.index(r) for r in found.kept)
        if found.kind == "map":
            built = self._graph.number(elementwise.build(factors[0]))
            operand = built.placed({a: m for m, a in enumerate(kept)})
        else:
            guards = tuple(g.xreplace(symbols) for g in found.guards)
            reduced = tuple(order.index(r) for r in found.reduced)
            wanted = Sum(found.kind, factors, guards, kept, reduced, name)
            operand = reduction(self._graph, elementwise, wanted, frozenset(self._shared))
        return self._merged(found, operand)

    def _merged(self, found: Nest, operand: Operand) -> Operand:
        if not found.merges:
            return operand
        places = {r.symbol: m for m, r in enumerate(found.kept)}
        value = self._graph.full(operand, tuple(_extent(r) for r in found.kept))
        if not _computed(value) and value.operation != "cell":
            value = self._graph.value("copy", (value.whole,), value.shape)
        groups = [(places[m.outer], m.stride, m.start, m.extent) for m in found.merges]
        return merged(self._graph, value, groups).whole

    # --- where it goes

    def _finish(self, operand: Operand, buffer: Buffer) -> None:
        operand = self._graph.number(operand)
        if buffer.kind is Kind.OUTPUT:
            operand = self._own(operand, buffer).whole
            self._results[buffer.name] = operand.value
        if self._reads[buffer.name] > 1 or buffer.kind is Kind.OUTPUT:
            self._shared.add(operand.value.number)
        if operand.value.operation not in ("given", "scalar", "view", "cell"):
            self._names.setdefault(operand.value.number, buffer.name)
        self._buffers[buffer.name] = operand

    def _own(self, operand: Operand, buffer: Buffer) -> Value:
        """The operand as a value that can be written to the output's own memory."""
        value = self._graph.full(operand, buffer.shape)
        piecewise = value.operation in ("cell", "store")
        if piecewise and value.cell == buffer.name:
            return value
        if piecewise or value.static or not _computed(value) or value in self._results.values():
            return self._graph.value("copy", (value.whole,), buffer.shape, ("result", buffer.name))
        return value

    def _store(self, name: str, operand: Operand, place: tuple[Window, tuple[Expr, ...]], how: str = "set") -> None:
        self._buffers[name] = self._graph.store(self._buffers[name].value, operand, *place, how).whole


def _groups(kernel: Kernel) -> list[tuple[tuple[Statement, ...], tuple[Range, ...], bool]]:
    """The kernel's statements, those of one loop together, the loop, and whether it counts down."""
    return [
        (t.statements, (t.range,), t.reverse) if isinstance(t, Scan) else ((t,), (), False) for t in kernel.statements
    ]


def _written(found: Nest) -> tuple[Window, tuple[Expr, ...]]:
    """The window of its buffer that a statement writes, and the window's shape."""
    zero = {r.symbol: Integer(0) for r in found.left}
    start = tuple(sp.expand(i.xreplace(zero)) for i in found.out)
    steps = tuple(tuple(sp.expand(i).coeff(r.symbol, 1) for i in found.out) for r in found.left)
    return Window(start, steps), tuple(_extent(r) for r in found.left)


def _everything(buffer: Buffer) -> tuple[Window, tuple[Expr, ...]]:
    axes = range(len(buffer.shape))
    steps = tuple(tuple(Integer(a == m) for a in axes) for m in axes)
    return Window(tuple(Integer(0) for _ in axes), steps), buffer.shape


def _fits(found: Nest, buffer: Buffer) -> bool:
    """Whether the left side's loops write elements of the buffer, each once: one loop for each subscript at most."""
    symbols = {r.symbol for r in found.left}
    bounds = bounds_of(found.left)
    used = [s for i in found.out for s in i.free_symbols if s in symbols]
    alone = all(len(i.free_symbols & symbols) <= 1 for i in found.out)
    inside = all(nonnegative(e, bounds) for i, d in zip(found.out, buffer.shape, strict=True) for e in (i, d - 1 - i))
    return len(used) == len(set(used)) == len(symbols) and alone and inside


def _extent(r: Range) -> Expr:
    return r.extent if nonnegative(r.extent, {}) else sp.Max(0, r.extent)


def _computed(value: Value) -> bool:
    return not value.static and value.operation not in ("given", "view", "cell", "scalar")


def _cells(kernel: Kernel, nests: list[list[Nest]]) -> dict[str, bool]:
    """The buffers that are filled piece by piece, and whether some elements may stay unwritten."""
    writes: dict[str, list[tuple[Statement, Nest, int]]] = {}
    reads: dict[str, list[tuple[Statement, int]]] = {}
    for top, (statements, _, _) in enumerate(_groups(kernel)):
        for statement, found in zip(statements, nests[top], strict=True):
            writes.setdefault(statement.out.name, []).append((statement, found, top))
            for access in statement.reads():
                reads.setdefault(access.name, []).append((statement, top))
    cells: dict[str, bool] = {}
    for name, every in writes.items():
        buffer = kernel.buffer(name)
        statement, found, top = every[0]
        whole = len(every) == 1 and not isinstance(statement, Scatter) and _covers(statement, buffer)
        plain = whole and not found.conditions
        if isinstance(kernel.statements[top], Scan) or statement.when:
            inside = all(at == top and set(statement.when) <= set(r.when) for r, at in reads.get(name, []))
            plain = plain and inside and buffer.kind is not Kind.OUTPUT
        if not plain:
            cells[name] = not whole or bool(statement.when)
    return cells


def _covers(statement: Statement, buffer: Buffer) -> bool:
    """Whether the statement writes every element of its buffer."""
    symbols = tuple(r.symbol for r in statement.ranges)
    return statement.out.indices == symbols and all(
        r.lower == 0 and sp.expand(r.extent - d) == 0 for r, d in zip(statement.ranges, buffer.shape, strict=True)
    )


def _needed(roots: list[Value]) -> set[int]:
    """Numbers of the values that the roots are made of."""
    found = {v.number for v in roots}
    pending = list(roots)
    while pending:
        for operand in pending.pop().operands:
            if operand.value.number not in found:
                found.add(operand.value.number)
                pending.append(operand.value)
    return found
