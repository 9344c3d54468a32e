"""Reductions to values: what is summed becomes a product of at most two operands, ready for a contraction.

Constants and factors without a summed index leave the sum. A sum over everything of row sums is one
sum over everything, so that a cost averaged over samples is a single inner product. Guards that the
borders of windows do not see to already select: the identity stands where they do not hold.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import sympy as sp
from sympy import Expr, Integer

from chainrule.symbolic.affine import nonnegative

from .elementwise import Elementwise
from .factors import Sum, factors
from .offsets import by_offsets, folded
from .recall import known_sum, regrouped, weighted
from .values import Graph, Operand, Value
from .windows import vanishes, window

__all__ = ["IDENTITY", "reduction"]

_SHORT_ROW = 32
_FOLDS = {"prod": "multiply", "max": "maximum", "min": "minimum"}
IDENTITY = {"sum": Integer(0), "prod": Integer(1), "max": -sp.oo, "min": sp.oo}


def reduction(graph: Graph, elementwise: Elementwise, wanted: Sum, shared: frozenset[int]) -> Operand:
    """The reduction as a value, laid over the kept axes in their order.

    `shared` are the numbers of values that other statements need as well: they stay as they are.
    """
    builder = _Reduction(graph, elementwise, wanted.kept, wanted.reduced, shared, wanted.name)
    if wanted.kind == "sum":
        return builder.guarded_sum(*factors(elementwise, wanted), wanted.guards)
    body = graph.number(elementwise.build(sp.Mul(*wanted.factors)))
    return builder.fold(wanted.kind, elementwise.guarded(wanted.guards, body, IDENTITY[wanted.kind]))


class _Reduction:
    """One reduction of the statement's loops, of which `kept` (in the order of the left side) stay."""

    def __init__(
        self,
        graph: Graph,
        elementwise: Elementwise,
        kept: Sequence[int],
        reduced: Sequence[int],
        shared: frozenset[int],
        name: str,
    ) -> None:
        self._name = name
        self._graph = graph
        self._elementwise = elementwise
        self._extents = elementwise.loops.extents
        self._kept = list(kept)
        self._reduced = list(reduced)
        self._shared = shared

    def guarded_sum(
        self, constant: Expr, inside: list[Operand], outside: list[Operand], guards: Sequence[Expr]
    ) -> Operand:
        """constant · outside · Σ inside where the guards hold, laid over the kept axes.

        A guard needs no attention where a factor lies in its border of zeros whenever it fails, and no other is
        infinite there.
        """
        loops = self._elementwise.loops
        operands = [*inside, *outside]
        finished = self._elementwise.finished
        clean = all(_vanishing(o) for o in operands if _bordered(o.value, finished))
        if clean and not any(_may_be_infinite(o.value) for o in operands):
            guards = [g for g in guards if not any(vanishes(o, g, loops) for o in operands)]
        axes = {g: {m for m, s in enumerate(loops.symbols) if s in g.free_symbols} for g in guards}
        outer = [g for g in guards if not axes[g] & set(self._reduced)]
        inner = [g for g in guards if g not in outer]
        if inner and inside and not clean:
            inside, inner = [self._elementwise.guarded(inner, self._multiplied(inside), Integer(0))], []
        for guard in inner:
            inside = self._selected(inside, guard, axes[guard])
        alone = [o for o in inside if not set(o.axes) & set(self._reduced)]
        inside, outside = [o for o in inside if o not in alone], [*outside, *alone]
        total = self.sum_of(constant, inside, outside)
        return self._outside(outer, total)

    def _selected(self, inside: list[Operand], guard: Expr, axes: set[int]) -> list[Operand]:
        """The factors, one of which is 0 where the guard fails: the smallest that has its axes, or a new one.

        A factor that may be infinite there is itself made 0: 0 times infinity would be NaN.
        """
        unbounded = [m for m, o in enumerate(inside) if _may_be_infinite(o.value)]
        if any(not axes <= set(inside[m].axes) for m in unbounded):
            return [self._elementwise.guarded([guard], self._multiplied(inside), Integer(0))]
        covering = sorted((m for m, o in enumerate(inside) if axes <= set(o.axes)), key=lambda m: len(inside[m].axes))
        if not covering:
            mask = self._elementwise.holds(sp.Ge(guard, 0))
            return [*inside, self._graph.number(mask)]
        parts = list(inside)
        for m in unbounded or covering[:1]:
            parts[m] = self._elementwise.guarded([guard], parts[m], Integer(0))
        return parts

    def _outside(self, guards: Sequence[Expr], total: Operand) -> Operand:
        """The sum where conditions on kept axes hold, else 0."""
        if not guards:
            return total
        excluded = self._elementwise.holds(sp.Or(*(sp.Lt(g, 0) for g in guards)))
        place = {a: m for m, a in enumerate(self._kept)}
        parts = [excluded.placed(place), self._graph.scalar(0), total]
        shape = tuple(self._extents[a] for a in self._kept)
        return self._graph.elementwise("select", "", parts, shape)

    def sum_of(self, constant: Expr, inside: list[Operand], outside: list[Operand]) -> Operand:
        """constant · outside · Σ inside, laid over the kept axes."""
        covered = {a for f in inside for a in f.axes}
        constant *= sp.Mul(*(self._extents[a] for a in self._reduced if a not in covered))
        if constant == 0:
            return self._graph.scalar(0)
        place = {a: m for m, a in enumerate(self._kept)}
        outer = [Operand(o.value, tuple(place[a] for a in o.axes)) for o in outside]
        shape = tuple(self._extents[a] for a in self._kept)
        again = regrouped(self._graph, inside, self._reduced, len(self._extents)) if self._kept else None
        if again is not None:
            inside = again
            self._widened(again)
        inner = self._paired(inside)
        left = [o for o in inner if not set(o.axes) & set(self._reduced)]  # of factors that were summed pairwise
        if left and len(left) < len(inner):
            outer += [o.placed(place) for o in left]
            inner = [o for o in inner if set(o.axes) & set(self._reduced)]
        if not inner:
            return scaled(self._graph, constant, outer, shape)
        if self._kept or len(inner) > 1:
            return scaled(self._graph, constant, [self._sum(inner), *outer], shape)
        terms = [scaled(self._graph, constant * c, [s], ()) for c, s in self._terms(inner[0])]
        total = terms[0]
        for term in terms[1:]:
            total = self._graph.elementwise("ufunc", "add", [total, term], ())
        return scaled(self._graph, Integer(1), [total, *outer], shape)

    def _widened(self, factors: Sequence[Operand]) -> None:
        """Loops over the axes of the factors that the statement has not."""
        lengths = {a: f.value.shape[m] for f in factors for m, a in enumerate(f.axes)}
        new = sorted(set(lengths) - set(range(len(self._extents))))
        loops = self._elementwise.loops
        self._extents = (*self._extents, *(lengths[a] for a in new))
        self._elementwise.loops = replace(loops, extents=self._extents, names=(*loops.names, *("e" for _ in new)))
        self._reduced = [*(a for a in self._reduced if a in lengths), *new]

    def fold(self, kind: str, operand: Operand) -> Operand:
        """The product, maximum or minimum over the reduced axes, laid over the kept ones."""
        missing = [self._extents[a] for a in self._reduced if a not in operand.axes]
        kept = [a for a in self._kept if a in operand.axes]
        reduced = [a for a in self._reduced if a in operand.axes]
        result = operand.placed({a: m for m, a in enumerate(self._kept)}) if not reduced else operand
        looped = self._folded(operand, reduced, _FOLDS[kind])
        if looped is not None:
            result = looped.placed({a: m for m, a in enumerate(self._kept)})
        elif reduced:
            place = {a: m for m, a in enumerate([*kept, *reduced])}
            laid = self._columns(operand.placed(place))
            shape = tuple(self._extents[a] for a in kept)
            made = self._graph.value("fold", (laid,), shape, (_FOLDS[kind], len(reduced)))
            result = Operand(made, tuple(self._kept.index(a) for a in kept))
        extents = tuple(self._extents[a] for a in self._kept)
        if kind == "prod" and sp.Mul(*missing) != 1:
            return self._graph.elementwise("ufunc", "power", [result, self._graph.scalar(sp.Mul(*missing))], extents)
        empty = sp.Or(*(sp.Eq(e, 0) for e in missing if not nonnegative(e - 1, {})))
        if kind != "prod" and empty != sp.false:
            parts = [self._graph.scalar(empty), self._graph.scalar(IDENTITY[kind]), result]
            return self._graph.elementwise("select", "", parts, extents)
        return result

    def _folded(self, operand: Operand, reduced: Sequence[int], ufunc: str) -> Operand | None:
        return folded(self._graph, self._elementwise.loops, operand, reduced, ufunc, self._name)

    def _columns(self, rows: Operand) -> Operand:
        """Short rows turned into columns: NumPy folds a few long columns ten times as fast as many short rows."""
        length = rows.value.shape[-1]
        if rows.axes != (0, 1) or not length.is_Integer or length > _SHORT_ROW:
            return rows
        turned = self._graph.value("copy", (Operand(rows.value, (1, 0)),), rows.value.shape[::-1], ("turned",))
        return Operand(turned, (1, 0))

    def _paired(self, factors: list[Operand]) -> list[Operand]:
        """The same product as at most two operands: factors over the same axes multiplied, others summed pairwise."""
        groups: dict[frozenset[int], list[Operand]] = {}
        for f in factors:
            groups.setdefault(frozenset(f.axes), []).append(f)
        if len(groups) == 1 and len(factors) > 1 and (not self._kept or self._rows(factors)):
            return [self._multiplied(factors[:-1]), self._graph.number(factors[-1])]
        parts = [self._multiplied(g) for g in groups.values()]
        while len(parts) > 2:
            parts = self._joined(parts)
        return parts

    def _rows(self, factors: Sequence[Operand]) -> bool:
        """Whether the sum runs along the rows of all factors alike: an inner product for each row."""
        axes = factors[0].axes
        along = [a for a in self._reduced if a in axes]
        return all(f.axes == axes for f in factors) and along == [axes[-1]]

    def _joined(self, parts: list[Operand]) -> list[Operand]:
        """The parts, two of them made one: the pair whose product is known, else leaves the fewest axes."""

        def rest(pair: tuple[int, int]) -> list[Operand]:
            return [p for m, p in enumerate(parts) if m not in pair]  # by place: a factor may stand there twice

        def outcome(pair: tuple[int, int]) -> tuple[list[int], list[int]]:
            others = {a for p in rest(pair) for a in p.axes}
            axes = {a for m in pair for a in parts[m].axes}
            left = axes & ({*self._kept} | others)
            order = [a for a in (*self._kept, *self._reduced) if a in left]
            return order, [a for a in self._reduced if a in axes - left]

        def price(pair: tuple[int, int]) -> tuple[bool, int, int]:
            left, gone = outcome(pair)
            one, two = (parts[m] for m in pair)
            spread = not gone and len(left) > max(len(one.axes), len(two.axes))
            known = bool(gone) and known_sum(self._graph, one, two, gone) is not None
            return not known, len(left) + spread, -len(gone)

        best = min(itertools.combinations(range(len(parts)), 2), key=price)
        left, gone = outcome(best)
        one, two = (parts[m] for m in best)
        known = known_sum(self._graph, one, two, gone) if gone else None
        made = known or (self._summed([one, two], left, gone) if gone else self._multiplied([one, two]))
        return [*rest(best), made]

    def _multiplied(self, factors: list[Operand]) -> Operand:
        return self._graph.number(self._elementwise.product(Integer(1), factors))

    def _sum(self, factors: Iterable[Operand]) -> Operand:
        """Σ over the reduced axes, laid over the kept ones in their order."""
        operands = tuple(factors)
        covered = {a for f in operands for a in f.axes}
        place = {a: m for m, a in enumerate(self._kept)}
        if not covered & set(self._reduced):
            moved = [f.placed(place) for f in operands]
            return scaled(self._graph, Integer(1), moved, tuple(self._extents[a] for a in self._kept))
        kept = [a for a in self._kept if a in covered]
        return self._summed(operands, kept, [a for a in self._reduced if a in covered]).placed(place)

    def _summed(self, operands: Sequence[Operand], kept: Sequence[int], reduced: Sequence[int]) -> Operand:
        """Σ over `reduced` of the product, an array over `kept` in that order, in the loops' axes."""
        numbers = [o for o in operands if not o.axes]
        if 0 < len(numbers) < len(operands):  # a number is a factor of what is summed, no array to be summed
            rest = self._summed([o for o in operands if o.axes], kept, reduced)
            return self._multiplied([*numbers, rest])
        looped = by_offsets(self._graph, self._elementwise.loops, operands, kept, reduced, self._name)
        if looped is None and len(operands) == 1:
            looped = self._folded(operands[0], reduced, "add")
        if looped is not None:
            return looped
        place = {a: m for m, a in enumerate([*kept, *reduced])}
        laid = tuple(o.placed(place) for o in operands)
        if len(laid) == 2:
            laid = tuple(Operand(self._contiguous(o.value), o.axes) for o in laid)
        made = self._graph.value("sum", laid, tuple(self._extents[a] for a in kept), (len(reduced),))
        return Operand(made, tuple(kept))

    def _contiguous(self, value: Value) -> Value:
        """A strided part of an array as an array of its own, which BLAS takes in one call; windows stay views."""
        seen = window(value)
        if value.operation != "view" or value.rank < 3 or (seen is not None and seen.overlapping):
            return value
        return self._graph.value("copy", (value.whole,), value.shape, ("contiguous",))

    # --- a sum over everything

    def _terms(self, operand: Operand) -> list[tuple[Expr, Operand]]:
        """Σ of the whole operand as Σ_m coefficient_m · sum_m, each sum over one array or one product."""
        return [(c, Operand(self._graph.value("sum", f, (), (_labels(f),)), ())) for c, f in self._split(operand.value)]

    def _split(self, value: Value) -> list[tuple[Expr, tuple[Operand, ...]]]:
        whole = tuple(range(value.rank))
        if value.operation == "ufunc" and value.number not in self._shared:
            name = value.detail[0]
            dense = [o for o in value.operands if o.axes == whole]
            if name == "negative":
                return [(-c, f) for c, f in self._split(value.operands[0].value)]
            if name == "multiply" and len(dense) == 1:
                constant = next((o.scalar for o in value.operands if o.scalar is not None), None)
                if constant is not None:
                    return [(constant * c, f) for c, f in self._split(dense[0].value)]
            if name in ("add", "subtract") and len(dense) == 2 and any(self._row_sum(o.value) for o in dense):
                sign = Integer(1 if name == "add" else -1)
                left, right = (self._split(o.value) for o in dense)
                return [*left, *((sign * c, f) for c, f in right)]
        if value.operation == "ufunc":
            dense = [o for o in value.operands if o.axes == whole]
            if value.detail[0] == "square":
                return [(Integer(1), (*dense, *dense))]
            if value.detail[0] == "multiply" and len(dense) == 2:
                return [(Integer(1), tuple(map(self._graph.number, dense)))]
        if value.operation == "sum" and self._row_sum(value):
            if len(value.operands) == 1:
                return self._split(value.operands[0].value)
            return [(Integer(1), value.operands)]
        return [(Integer(1), (value.whole,))]

    def _row_sum(self, value: Value) -> bool:
        """Whether the value (or what it scales) sums rows of arrays of the same axes, for this reduction alone."""
        if value.number in self._shared or not value.rank:
            return False
        if value.operation == "ufunc" and value.detail[0] in ("negative", "multiply", "add", "subtract"):
            return any(self._row_sum(o.value) for o in value.operands)
        if len(value.detail) > 1:
            return False
        labels = _labels(value.operands)
        return value.operation == "sum" and all(len(o.axes) == labels for o in value.operands)


def _labels(operands: Iterable[Operand]) -> int:
    return len({a for o in operands for a in o.axes})


def scaled(graph: Graph, constant: Expr, factors: Sequence[Operand], shape: tuple[Expr, ...]) -> Operand:
    """constant · the factors, over axes of `shape`."""
    parts = sorted(factors, key=lambda f: len(f.axes))
    known = weighted(graph, constant, parts[0]) if constant != 1 and len(parts) == 1 else None
    if known is not None:
        return known
    if constant == -1 and parts:
        return graph.elementwise("ufunc", "negative", [scaled(graph, Integer(1), parts, shape)], shape)
    if constant != 1 or not parts:
        parts.insert(min(1, len(parts)), graph.scalar(constant))
    total = parts[0]
    for part in parts[1:]:
        total = graph.elementwise("ufunc", "multiply", [total, part], shape)
    return total


def _vanishing(operand: Operand) -> bool:
    """Whether the operand is read straight from an array with a border of zeros."""
    value = operand.value.operands[0].value if operand.value.operation == "view" else operand.value
    return value.operation == "pad"


def _bordered(value: Value, finished: frozenset[int]) -> bool:
    """Whether a border of zeros takes part in the value's own computation, which begins at `finished` values."""
    if value.operation == "pad":
        return True
    own = value.operation in ("view", "ufunc", "special", "select", "copy") and value.number not in finished
    return own and any(_bordered(o.value, finished) for o in value.operands)


_UNBOUNDED = {
    "exp", "expm1", "exp2", "log", "log1p", "divide", "reciprocal", "power", "sinh", "cosh", "tan", "arctanh",
}  # fmt: skip


def _may_be_infinite(value: Value) -> bool:
    """Whether the value is made by operations that make infinities of finite numbers; stored tensors are finite."""
    if value.operation in ("ufunc", "special") and value.detail[0] in _UNBOUNDED:
        return True
    through = value.operation in ("ufunc", "special", "view", "copy", "pad")
    return through and any(_may_be_infinite(o.value) for o in value.operands)
