"""Contractions of overlapping windows: one matrix product for each place of the short axis in the window.

    y[s, o, p, q] = Σ_{c, u, v} w[o, c, u, v]·x[s, c, 2p + u, 2q + v]

is, for each of the nine (u, v), a product of w[:, :, u, v] with the elements of x that lie (u, v) from
the corners of the windows. NumPy has a vectorised form, einsum over a view of the windows, but it
reaches no BLAS and takes a hundred times as long; to copy the windows out for one product takes K·K
times the memory of x. So this is the one place where a kernel loops over an index that is no recurrence:
over the offsets, few, each with a matrix product over everything else. Without two more axes to make
a matrix product of, einsum it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sympy as sp
from sympy import Dummy, Expr, Integer

from chainrule.codegen.ir import BATCH
from chainrule.symbolic.expressions import Range, index

from .values import Graph, Operand, Region, Value, Window
from .windows import Loops, forms, view_of, window

__all__ = ["by_offsets", "folded"]

_MOST = 64  # offsets, where their number is known


@dataclass(frozen=True)
class _Axes:
    """The loops of a contraction: those looped over, and the others as rows, columns and summed axes of a product."""

    offsets: tuple[int, ...]
    rows: tuple[int, ...]  # of the second operand
    columns: tuple[int, ...]  # of the first
    summed: tuple[int, ...]


def by_offsets(
    graph: Graph, loops: Loops, operands: Sequence[Operand], kept: Sequence[int], reduced: Sequence[int], name: str
) -> Operand | None:
    """Σ over `reduced` of the product, an array over `kept`; None without windows that can be looped over."""
    first = next((m for m, o in enumerate(operands) if (w := window(o.value)) is not None and w.overlapping), None)
    if graph.region is not None or len(operands) != 2 or first is None:
        return None
    a, b = operands[first], operands[1 - first]
    axes = _axes(loops, a, b, kept, reduced)
    if axes is None:
        return None
    kernel = _reordered(graph, loops, b, axes)
    shape = tuple(loops.extents[m] for m in kept)
    adding = any(m not in kept for m in axes.offsets)
    cell = graph.new_cell(name, shape)
    if adding:
        cell = graph.store(cell, graph.scalar(0), _whole(len(shape)), shape, "set")
    counters, cell = _entered(graph, loops, axes.offsets, cell)
    left = _slice(graph, loops, kernel, counters, (*axes.rows, *axes.summed))
    last = next(m for m in reversed(a.axes) if m not in axes.offsets)
    order = (*axes.summed, *axes.columns) if last in axes.columns else (*axes.columns, *axes.summed)
    right = _slice(graph, loops, a, counters, order)
    place = {m: n for n, m in enumerate((*axes.rows, *axes.columns, *axes.summed))}
    part = graph.value(
        "sum",
        (left.placed(place), right.placed(place)),
        tuple(loops.extents[m] for m in (*axes.rows, *axes.columns)),
        (len(axes.summed),),
    )
    rest = [m for m in kept if m not in axes.offsets]
    source = Operand(part, tuple(rest.index(m) for m in (*axes.rows, *axes.columns)))
    where = Window(
        tuple(counters.get(m, Integer(0)) for m in kept),
        tuple(tuple(Integer(m == n) for m in kept) for n in rest),
    )
    cell = graph.store(cell, source, where, tuple(loops.extents[m] for m in rest), "add" if adding else "set")
    return Operand(_left(graph, cell), tuple(kept))


def folded(
    graph: Graph, loops: Loops, operand: Operand, reduced: Sequence[int], ufunc: str, name: str
) -> Operand | None:
    """The fold of a window's small axes: slices of the array taken together, one for each place in the window.

    NumPy reduces an axis of two or three elements thirty times as slowly. None for any other operand.
    `name` is the result's.
    """
    number = sp.Mul(*(loops.extents[m] for m in reduced))
    if graph.region is not None or window(operand.value) is None or not number.is_Integer or not 1 < number <= _MOST:
        return None
    kept = [m for m in operand.axes if m not in reduced]
    if not kept:
        return None
    shape = tuple(loops.extents[m] for m in kept)
    start = {"add": Integer(0), "multiply": Integer(1), "maximum": -sp.oo, "minimum": sp.oo}[ufunc]
    cell = graph.store(graph.new_cell(name, shape), graph.scalar(start), _whole(len(shape)), shape, "set")
    counters, cell = _entered(graph, loops, reduced, cell)
    symbols: dict[Expr, Expr] = {loops.symbols[m]: s for m, s in counters.items()}
    subscripts = [sp.expand(f.xreplace(symbols)) for f in forms(operand, loops.symbols)]
    part = view_of(graph, operand.value.operands[0].value, subscripts, loops.symbols, loops.extents)
    source = part.placed({m: n for n, m in enumerate(kept)})
    return Operand(_left(graph, graph.store(cell, source, _whole(len(shape)), shape, ufunc)), tuple(kept))


def _entered(graph: Graph, loops: Loops, axes: Sequence[int], cell: Value) -> tuple[dict[int, Dummy], Value]:
    """A loop over the axes begins: their indices, and the cell within it."""
    counters = {m: index(loops.names[m]) for m in axes}
    graph.block += 1
    ranges = tuple(Range(s, Integer(0), loops.extents[m] - 1) for m, s in counters.items())
    graph.region = Region(graph.block, ranges)
    return counters, graph.cell(cell.cell, cell.shape, cell)


def _left(graph: Graph, cell: Value) -> Value:
    """The loop ends: the cell as it stands after it."""
    graph.region = None
    graph.block += 1
    return graph.cell(cell.cell, cell.shape, cell)


def _axes(loops: Loops, a: Operand, b: Operand, kept: Sequence[int], reduced: Sequence[int]) -> _Axes | None:
    """Which loops become Python's; None where there are too many, or what is left is no matrix product."""
    offsets: list[int] = []
    for operand in (a, b):
        for subscript in forms(operand, loops.symbols):
            shared = [m for m, s in enumerate(loops.symbols) if s in subscript.free_symbols and m not in offsets]
            while len(shared) > 1:
                chosen = min(shared, key=lambda m: _price(loops, m, a, b, kept))
                if _price(loops, chosen, a, b, kept)[0]:
                    return None
                offsets.append(chosen)
                shared.remove(chosen)
    rest = set(range(len(loops.extents))) - set(offsets)
    ours, theirs = rest & set(a.axes), rest & set(b.axes)
    rows = tuple(m for m in kept if m in theirs - ours)
    columns = tuple(m for m in kept if m in ours - theirs)
    summed = tuple(m for m in a.axes if m in ours & theirs and m in reduced)
    together = len(rows) + len(columns) + len(summed) == len(ours | theirs)
    number = sp.Mul(*(loops.extents[m] for m in offsets))
    few = not number.is_Integer or number <= _MOST
    if not (rows and columns and summed and together and few):
        return None
    return _Axes(tuple(sorted(offsets)), rows, columns, summed)


def _price(loops: Loops, axis: int, a: Operand, b: Operand, kept: Sequence[int]) -> tuple[bool, bool, int]:
    """What speaks against a Python loop over the axis: that it may be long, which no axis of a weight is."""
    extent = loops.extents[axis]
    if extent.is_Integer:
        return False, False, int(extent)
    sides = [set(o.axes) for o in (a, b)] + [set(kept)]
    lone = [s for s in sides if axis in s and not any(BATCH in loops.extents[m].free_symbols for m in s)]
    return not lone, True, axis


def _whole(rank: int) -> Window:
    steps = tuple(tuple(Integer(m == n) for m in range(rank)) for n in range(rank))
    return Window((Integer(0),) * rank, steps)


def _reordered(graph: Graph, loops: Loops, b: Operand, axes: _Axes) -> Operand:
    """The other operand as a stack of matrices, one for each offset: copied once, before the loop."""
    order = [m for m in (*axes.offsets, *axes.rows, *axes.summed) if m in b.axes]
    turned = [m for m in (*axes.offsets, *axes.summed, *axes.rows) if m in b.axes]
    if (b.axes in (tuple(order), tuple(turned)) and b.value.operation != "view") or window(b.value) is not None:
        return b
    return Operand(_copied(graph, loops, b, order, "reordered"), tuple(order))


def _slice(graph: Graph, loops: Loops, operand: Operand, counters: dict[int, Dummy], order: Sequence[int]) -> Operand:
    """The operand at one offset, as an array of its own where it is not one already."""
    if window(operand.value) is None and not set(operand.axes) & set(counters):
        return operand
    base = operand.value.operands[0].value if window(operand.value) is not None else operand.value
    symbols: dict[Expr, Expr] = {loops.symbols[m]: s for m, s in counters.items()}
    subscripts = [sp.expand(f.xreplace(symbols)) for f in forms(operand, loops.symbols)]
    part = view_of(graph, base, subscripts, loops.symbols, loops.extents)
    if part.axes == tuple(order) and window(operand.value) is None:
        return part
    return Operand(_copied(graph, loops, part, order, "shifted"), tuple(order))


def _copied(graph: Graph, loops: Loops, operand: Operand, order: Sequence[int], word: str) -> Value:
    place = {m: n for n, m in enumerate(order)}
    shape = tuple(loops.extents[m] for m in order)
    return graph.value("copy", (operand.placed(place),), shape, (word,))
