"""Affine subscripts as views: which elements of an array a loop nest reads, and where it would leave the array.

A window is a view of a C-contiguous array, one number of elements to step for each axis of the view.
Where a read cannot be proved to stay inside its array, the array is copied into one with a border of
zeros wide enough for every combination of the loops; the copy is of the array's own size and its
border's, whatever the size of the window.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp
from sympy import Expr, Integer, Symbol

from chainrule.symbolic.affine import Bounds, coefficient, nonnegative
from chainrule.symbolic.errors import LoweringError

from .values import Graph, Operand, Value, Window

__all__ = ["Loops", "forms", "lifted", "merged", "read", "vanishes", "view_of", "window"]

_ZERO_AT_ZERO = {
    "negative", "absolute", "sign", "square", "sqrt", "sin", "tan", "arcsin", "arctan", "sinh", "tanh", "arcsinh",
    "arctanh", "expm1", "log1p", "floor", "ceil",
}  # fmt: skip
_ZERO_OF_ZEROS = {"add", "subtract", "maximum", "minimum", "hypot"}


@dataclass(frozen=True)
class Loops:
    """The axes of one statement, in order: a symbol that says its axis alone, and how long it is.

    `names` are what the model calls the indices, `known` the bounds of enclosing loops.
    """

    extents: tuple[Expr, ...]
    names: tuple[str, ...]
    known: Bounds

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        return tuple(Symbol(f"_{m}", integer=True) for m in range(len(self.extents)))

    @property
    def bounds(self) -> Bounds:
        own = {s: ((Integer(0),), (e - 1,)) for s, e in zip(self.symbols, self.extents, strict=True)}
        return {**self.known, **own}


def window(value: Value) -> Window | None:
    """What a window views; None for any other value."""
    found = value.detail[0] if value.operation == "view" else None
    return found if isinstance(found, Window) else None


def forms(operand: Operand, symbols: Sequence[Symbol]) -> tuple[Expr, ...]:
    """The subscripts of the operand's array (of what a window views), in the loops' symbols."""
    seen = window(operand.value)
    if seen is None:
        return tuple(symbols[a] for a in operand.axes)
    return tuple(
        sp.expand(
            start + sp.Add(*(step[a] * symbols[axis] for step, axis in zip(seen.steps, operand.axes, strict=True)))
        )
        for a, start in enumerate(seen.start)
    )


def read(graph: Graph, source: Operand, subscripts: Sequence[Expr], loops: Loops) -> Operand:
    """A buffer's elements at affine subscripts, over the loops: what the buffer is made of, or a view of it."""
    chosen = [sp.expand(subscripts[a]) for a in source.axes]
    value = source.value
    whole = [loops.extents[loops.symbols.index(c)] if c in loops.symbols else None for c in chosen]
    if len(set(chosen)) == len(chosen) and whole == list(value.shape):
        return Operand(value, tuple(loops.symbols.index(c) for c in chosen))
    base = value
    if value.operation == "view" and window(value) is None:
        base = graph.value("copy", (value.whole,), value.shape)
    elif value.operation == "view":
        base = value.operands[0].value
        names = tuple(Symbol(f"_{m}_", integer=True) for m in range(value.rank))
        at = dict(zip(names, chosen, strict=True))
        chosen = [sp.expand(f.xreplace(at)) for f in forms(Operand(value, tuple(range(value.rank))), names)]
    return _viewed(graph, base, chosen, loops)


def _viewed(graph: Graph, base: Value, subscripts: Sequence[Expr], loops: Loops) -> Operand:
    """A window of `base`, within a border of zeros where it needs one."""
    before, after = [], []
    chosen = []
    for subscript, extent in zip(subscripts, base.shape, strict=True):
        stepped = not _varies(subscript, loops) and bool(subscript.free_symbols & set(loops.known))
        low, high = (Integer(0), extent - 1) if stepped else _extremes(subscript, loops)
        before.append(_positive(-low, loops))
        after.append(_positive(sp.expand(high - extent + 1), loops))
        chosen.append(_inside(subscript, extent, loops) if stepped else subscript)
    subscripts = chosen
    if any(b != 0 for b in (*before, *after)):
        loose = [m for m, e in enumerate(subscripts) if before[m] != 0 or after[m] != 0 or _varies(e, loops)]
        base, subscripts = _part(graph, base, subscripts, loose), [subscripts[m] for m in loose]
        before, after = [before[m] for m in loose], [after[m] for m in loose]
        shape = tuple(sp.expand(d + b + a) for d, b, a in zip(base.shape, before, after, strict=True))
        base = graph.value("pad", (base.whole,), shape, (tuple(before), tuple(after)))
        subscripts = [sp.expand(s + b) for s, b in zip(subscripts, before, strict=True)]
    return view_of(graph, base, subscripts, loops.symbols, loops.extents)


def _inside(subscript: Expr, extent: Expr, loops: Loops) -> Expr:
    """A subscript that an enclosing loop decides, kept within its axis where a condition alone keeps it there."""
    if not nonnegative(subscript, loops.bounds):
        subscript = sp.Max(subscript, 0)
    return subscript if nonnegative(extent - 1 - subscript, loops.bounds) else sp.Min(subscript, extent - 1)


def _varies(subscript: Expr, loops: Loops) -> bool:
    return any(s in loops.symbols for s in subscript.free_symbols)


def _part(graph: Graph, base: Value, subscripts: Sequence[Expr], loose: Sequence[int]) -> Value:
    """The array at the subscripts that the loops do not change, whole along its `loose` axes: a step's, of a scan."""
    symbols = [Symbol(f"_{m}", integer=True) for m in range(base.rank)]
    chosen = [symbols[m] if m in loose else e for m, e in enumerate(subscripts)]
    return view_of(graph, base, chosen, [symbols[m] for m in loose], [base.shape[m] for m in loose]).value


def view_of(
    graph: Graph, base: Value, subscripts: Sequence[Expr], symbols: Sequence[Symbol], extents: Sequence[Expr]
) -> Operand:
    """The elements of `base` at subscripts affine in the loops' symbols, each within its axis: a view over the loops.

    Its axes come in the order in which the array has them.
    """
    axes = tuple(dict.fromkeys(m for e in subscripts for m, s in enumerate(symbols) if s in e.free_symbols))
    steps = []
    for m in axes:
        factors = [coefficient(e, symbols[m]) for e in subscripts]
        if None in factors:
            raise LoweringError(f"a subscript is not affine: {', '.join(map(str, subscripts))}")
        steps.append(tuple(factors))
    start = tuple(sp.expand(e.xreplace({symbols[m]: Integer(0) for m in axes})) for e in subscripts)
    shape = tuple(extents[m] for m in axes)
    identity = all(tuple(Integer(a == m) for a in range(base.rank)) == s for m, s in enumerate(steps))
    if identity and shape == base.shape and not any(start):
        return Operand(base, axes)
    value = graph.value("view", (base.whole,), shape, (Window(start, tuple(steps)),))
    return Operand(value, axes)


def _extremes(expression: Expr, loops: Loops) -> tuple[Expr, Expr]:
    """The least and the greatest value over the whole box of the loops."""
    low = high = expression
    for symbol, (lowers, uppers) in loops.bounds.items():
        factor = coefficient(expression, symbol)
        if factor is None or not (factor.is_nonnegative or factor.is_nonpositive):
            raise LoweringError(f"no bound of {expression} is known: {symbol} has the coefficient {factor}")
        ends = {symbol: sp.Max(*lowers)}, {symbol: sp.Min(*uppers)}
        first, last = ends if factor.is_nonnegative else ends[::-1]
        low, high = low.xreplace(first), high.xreplace(last)
    return sp.expand(low), sp.expand(high)


def _positive(number: Expr, loops: Loops) -> Expr:
    """max(0, number), without the max where it is known which."""
    if nonnegative(-number, loops.bounds):
        return Integer(0)
    return number if nonnegative(number, loops.bounds) else sp.Max(0, number)


# --- what holds outside of an array


def vanishes(operand: Operand, guard: Expr, loops: Loops) -> bool:
    """Whether the operand is 0 wherever `guard` (in the loops' symbols) is below 0: it is read in its border there."""
    base = operand.value.operands[0].value if window(operand.value) is not None else operand.value
    if base.operation != "pad":
        return False
    before = base.detail[0]
    assert isinstance(before, tuple)
    inner = base.operands[0].value
    for subscript, start, extent in zip(forms(operand, loops.symbols), before, inner.shape, strict=True):
        place = sp.expand(subscript - start)
        if any(nonnegative(guard - e, loops.bounds) for e in (place, extent - 1 - place)):
            return True
    return False


# --- operations under windows


def lifted(
    graph: Graph, operation: str, name: str, operands: Sequence[Operand], extents: Sequence[Expr], *, boolean: bool
) -> Operand | None:
    """The operation done once for each element of an array, then viewed: where windows overlap, that is less work.

    None where the operands do not run through overlapping windows of the same subscripts.
    """
    symbols = tuple(Symbol(f"_{m}", integer=True) for m in range(len(extents)))
    first = next((o for o in operands if (w := window(o.value)) is not None and w.overlapping), None)
    if first is None:
        return None
    base = first.value.operands[0].value
    subscripts = forms(first, symbols)
    places = dict(zip(subscripts, range(base.rank), strict=True))
    inner: list[Operand] = []
    for operand in operands:
        own = operand.value.operands[0].value if window(operand.value) is not None else operand.value
        found = [places.get(f) for f in forms(operand, symbols)]
        if any(p is None or own.shape[m] != base.shape[p] for m, p in enumerate(found)) or len(set(found)) < len(found):
            return None
        inner.append(Operand(own, tuple(p for p in found if p is not None)))
    result = _through(graph, operation, name, inner, base.shape, boolean=boolean)
    if result.axes != tuple(range(base.rank)):
        return None
    return view_of(graph, result.value, subscripts, symbols, extents)


def _through(
    graph: Graph, operation: str, name: str, operands: Sequence[Operand], shape: tuple[Expr, ...], *, boolean: bool
) -> Operand:
    """The operation on arrays; inside their borders where it makes zeros of zeros."""
    dense = [o for o in operands if o.scalar is None]
    padded = [o for o in dense if o.value.operation == "pad"]
    borders = {(o.value.detail, o.axes, tuple(d.shape for d in (o.value.operands[0].value,))) for o in padded}
    zero = (
        (name in _ZERO_AT_ZERO and len(dense) == 1)
        or (name in _ZERO_OF_ZEROS and len(padded) == len(operands))
        or (name == "multiply" and len(padded) == len(dense))
        or (name == "divide" and len(dense) == 1 and operands[0].scalar is None)
    )
    if operation != "ufunc" or boolean or not zero or len(borders) != 1:
        return graph.elementwise(operation, name, operands, shape, boolean=boolean)
    before, after = padded[0].value.detail
    assert isinstance(before, tuple)
    extents = padded[0].value.operands[0].value.shape
    stripped = [Operand(o.value.operands[0].value, o.axes) if o in padded else o for o in operands]
    result = graph.elementwise(operation, name, stripped, extents)
    return graph.value("pad", (result.value.whole,), shape, (before, after)).whole


# --- two axes as one


def merged(graph: Graph, value: Value, groups: Iterable[tuple[int, Expr, Expr, Expr]]) -> Value:
    """Axes m and m + 1 of an array read as one, for each group (m, stride, start, extent)."""
    pairs: Mapping[int, tuple[Expr, Expr, Expr]] = {m: rest for m, *rest in groups}  # type: ignore[misc]
    shape: list[Expr] = []
    skip = False
    for m, extent in enumerate(value.shape):
        if skip:
            skip = False
            continue
        skip = m in pairs
        shape.append(pairs[m][2] if skip else extent)
    detail = tuple((m, *rest) for m, rest in sorted(pairs.items()))
    return graph.value("view", (value.whole,), tuple(shape), (detail,))
