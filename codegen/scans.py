"""Recurrences as scans: which axis is the time of each tensor, in which direction it runs, in which order
the equations of one step stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Dummy, Expr, Max, Min

from chainrule.symbolic.affine import nonnegative
from chainrule.symbolic.expressions import Range, freshen, index
from chainrule.symbolic.system import Equation

from .axes import time_axes
from .ends import ends_apart

__all__ = ["ScanPlan", "plan_scan"]


@dataclass(frozen=True)
class ScanPlan:
    """The equations of a recurrence: those outside the loop (base cases), and the loop's, in order.

    The stepped equations all use `range.symbol` as their time; `conditions` say for each when it
    applies, as affine expressions >= 0 in that symbol.
    """

    bases: tuple[Equation, ...]
    range: Range
    reverse: bool
    steps: tuple[Equation, ...]
    conditions: tuple[tuple[Expr, ...], ...]


def plan_scan(equations: Sequence[Equation]) -> ScanPlan:
    """How to run the equations of one recurrence group. Raises LoweringError where no order fits."""
    names = {e.name for e in equations}
    found = time_axes(equations)
    axis = found.axis
    parts = [p for e in equations for p in ends_apart(e, axis[e.name])]
    bases = tuple(e for e in parts if not isinstance(e.indices[axis[e.name]], Dummy) and not names & set(e.reads()))
    stepped = [e for e in parts if e not in bases]
    time = index(next(str(v.name) for e in stepped if isinstance(v := e.indices[axis[e.name]], Dummy)))
    renamed = [_on_time(e, axis[e.name], time) for e in stepped]
    ranges = [next(r for r in e.ranges if r.symbol == time) for e in renamed]
    span = Range(time, _least([r.lower for r in ranges]), _greatest([r.upper for r in ranges]))
    known = {time: ((span.lower,), (span.upper,))}
    conditions = tuple(
        tuple(c for c in (sp.expand(time - r.lower), sp.expand(r.upper - time)) if not nonnegative(c, known))
        for r in ranges
    )
    order = sorted(range(len(renamed)), key=lambda m: found.order.index(renamed[m].name))
    steps, when = tuple(renamed[m] for m in order), tuple(conditions[m] for m in order)
    return ScanPlan(bases, span, found.reverse, steps, when)


def _on_time(equation: Equation, axis: int, time: Dummy) -> Equation:
    """The equation with `time` as its index along the axis; a fixed subscript becomes a range of one value."""
    place = equation.indices[axis]
    if isinstance(place, Dummy):
        return _renamed(equation, place, time)
    indices = tuple(time if m == axis else i for m, i in enumerate(equation.indices))
    return replace(equation, indices=indices, ranges=(Range(time, place, place), *equation.ranges))


def _renamed(equation: Equation, old: Dummy, new: Dummy) -> Equation:
    mapping = {old: new}
    return replace(
        equation,
        indices=tuple(mapping.get(i, i) for i in equation.indices),
        ranges=tuple(
            Range(mapping.get(r.symbol, r.symbol), r.lower.xreplace(mapping), r.upper.xreplace(mapping))
            for r in equation.ranges
        ),
        value=freshen(equation.value, mapping),
    )


def _least(bounds: list[Expr]) -> Expr:
    for bound in bounds:
        if all(nonnegative(other - bound, {}) for other in bounds):
            return bound
    return Min(*bounds)


def _greatest(bounds: list[Expr]) -> Expr:
    for bound in bounds:
        if all(nonnegative(bound - other, {}) for other in bounds):
            return bound
    return Max(*bounds)
