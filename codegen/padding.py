"""Sums at the border of a tensor: reads outside it as zeros, so that the sum is over a whole box.

A convolution with a border of zeros is written `where(0 <= p + q - 1 and …, x[p + q - 1], 0)`; the
gradient of one has bounds such as max(0, i - P + 1) <= q. Both only keep one factor inside its tensor.
With that tensor copied into a larger one, zeros around it, the conditions go: what remains is a contraction.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp
from sympy import Dummy, Expr, Integer

from chainrule.symbolic.affine import (
    Bounds,
    bounds_of,
    box,
    extreme,
    guards_of,
    lower_bounds,
    nonnegative,
    upper_bounds,
)
from chainrule.symbolic.domains import Shapes, finite_everywhere, unproved
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Range, Reduction, Where, accesses, rebuild

__all__ = ["Border", "Padding", "finite", "padding", "with_guards_for_conditions"]

_WIDEST = 16
"""So many zeros may stand around an axis of unknown length: more could cost more than the sum itself."""


@dataclass(frozen=True)
class Border:
    """A tensor with zeros around it: how many before and after each axis."""

    name: str
    before: tuple[int, ...]
    after: tuple[int, ...]


@dataclass(frozen=True)
class Padding:
    """A sum whose conditions go: the whole ranges, and the zeros that each access needs around its tensor."""

    ranges: tuple[Range, ...]
    borders: Mapping[Access, Border]


def with_guards_for_conditions(reduction: Reduction) -> Reduction:
    """Σ where(c, u, 0)·v as Σ over the indices for which c holds of u·v, where c is about indices alone."""
    factors: list[Expr] = []
    guards = list(reduction.guards)
    for factor in sp.Mul.make_args(reduction.body) if reduction.kind == "sum" else ():
        if isinstance(factor, Where) and 0 in (factor.then, factor.otherwise):
            positive = factor.otherwise == 0
            found = guards_of(factor.condition if positive else sp.Not(factor.condition))
            if found is not None:
                guards.extend(found)
                factors.append(factor.then if positive else factor.otherwise)
                continue
        factors.append(factor)
    if len(guards) == len(reduction.guards):
        return reduction
    return with_guards_for_conditions(Reduction("sum", sp.Mul(*factors), reduction.ranges, dict.fromkeys(guards)))


def finite(body: Expr, reduction: Reduction, partial: Collection[str]) -> Expr:
    """The reduction's body with no division by 0 where a condition leaves a combination out.

    Such a combination may be multiplied by 0 instead, and 0 times an infinity is no number. `partial`
    are the buffers that hold a value there which nobody asked for.
    """
    conditions = (*reduction.guards, *_own_conditions(reduction.ranges))
    condition = sp.And(*(sp.Ge(c, 0) for c in conditions))

    def visit(node: Expr) -> Expr:
        if isinstance(node, Access | Where) or not any(a.name in partial for a in accesses(node)):
            return node
        if isinstance(node, sp.Pow) and node.exp.is_negative:
            return Where(condition, node.base, Integer(1)) ** node.exp
        return rebuild(node, [visit(a) for a in node.args])

    return body if condition == sp.true else visit(body)


def padding(reduction: Reduction, loops: Sequence[Range], shapes: Shapes) -> Padding | None:
    """How the sum becomes one over a whole box; None where its conditions are not only about borders."""
    try:
        ranges = box(reduction.ranges, loops)
    except LoweringError:
        return None
    bounds = bounds_of((*loops, *ranges))
    conditions = {sp.expand(c) for c in (*reduction.guards, *_own_conditions(reduction.ranges))}
    left = {c for c in conditions if not nonnegative(c, bounds)}
    factors = sp.Mul.make_args(reduction.body)
    borders: dict[Access, Border] = {}
    for access in accesses(reduction.body):
        missing = unproved(access, shapes(access.name), bounds)
        if missing:
            border = _border(access, shapes(access.name), bounds, (*loops, *ranges))
            if access not in factors or border is None:
                return None
            left -= set(missing)
            borders[access] = border
    others = (f for f in factors if f not in borders)  # 0 times an infinity is no number
    return Padding(ranges, borders) if not left and all(map(finite_everywhere, others)) else None


def _own_conditions(ranges: Sequence[Range]) -> list[Expr]:
    """The bounds in which an index stands, as expressions >= 0."""
    lower = [r.symbol - b for r in ranges for b in lower_bounds(r) if b.atoms(Dummy)]
    return lower + [b - r.symbol for r in ranges for b in upper_bounds(r) if b.atoms(Dummy)]


def _border(access: Access, shape: Sequence[Expr], bounds: Bounds, ranges: Sequence[Range]) -> Border | None:
    """The zeros that the access needs around its tensor; None where they are many, or of unknown number."""
    table = {r.symbol: r for r in ranges}
    before, after = [], []
    for subscript, extent in zip(access.indices, shape, strict=True):
        low = Integer(0) if nonnegative(subscript, bounds) else -extreme(subscript, table, -1)
        inside = nonnegative(extent - 1 - subscript, bounds)
        high = Integer(0) if inside else sp.expand(extreme(subscript, table, 1) - extent + 1)
        if not (low.is_Integer and high.is_Integer):
            return None
        if low + high > (extent if extent.is_Integer else _WIDEST):
            return None
        before.append(int(low))
        after.append(int(high))
    return Border(access.name, tuple(before), tuple(after))
