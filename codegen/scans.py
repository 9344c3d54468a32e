"""Recurrences as scans: which axis is the time of each tensor, in which direction it runs, in which order
the equations of one step stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Dummy, Expr, Max, Min

from chainrule.symbolic.affine import nonnegative
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Range, accesses, freshen, index
from chainrule.symbolic.order import components
from chainrule.symbolic.system import Equation

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
    axis, offsets = _axes(equations, names)
    bases = tuple(e for e in equations if not isinstance(e.indices[axis[e.name]], Dummy))
    stepped = [e for e in equations if e not in bases]
    signs = {bool(c > 0) for c in offsets}
    if len(signs) != 1:
        raise LoweringError(f"the recurrence of {', '.join(sorted(names))} reads both earlier and later elements")
    time = index(_time(stepped[0], axis).name)
    renamed = [_renamed(e, _time(e, axis), time) for e in stepped]
    ranges = [next(r for r in e.ranges if r.symbol == time) for e in renamed]
    span = Range(time, _least([r.lower for r in ranges]), _greatest([r.upper for r in ranges]))
    known = {time: ((span.lower,), (span.upper,))}
    conditions = tuple(
        tuple(c for c in (sp.expand(time - r.lower), sp.expand(r.upper - time)) if not nonnegative(c, known))
        for r in ranges
    )
    order = _step_order(renamed, axis, time)
    return ScanPlan(bases, span, signs.pop(), tuple(renamed[m] for m in order), tuple(conditions[m] for m in order))


def _axes(equations: Sequence[Equation], names: set[str]) -> tuple[dict[str, int], list[Expr]]:
    """The time axis of every tensor of the group, and every shift along it that is not 0."""
    axis: dict[str, int] = {}
    offsets: list[Expr] = []
    for _ in range(len(names) + 1):
        for equation in equations:
            for access in accesses(equation.value):
                if access.name in names:
                    offsets.extend(_match(equation, access, axis))
        if len(axis) == len(names):
            break
    if len(axis) < len(names) or not offsets:
        missing = ", ".join(sorted(names - axis.keys()) or sorted(names))
        raise LoweringError(f"the recurrence of {missing} shifts no index: expected reads such as h[t - 1]")
    return axis, offsets


def _match(equation: Equation, access: Access, axis: dict[str, int]) -> list[Expr]:
    """Record the axes that one read tells; its shift, where it has one."""
    found = []
    for position, symbol in enumerate(equation.indices):
        if not isinstance(symbol, Dummy):
            continue
        for m, subscript in enumerate(access.indices):
            shift = sp.expand(subscript - symbol)
            known = axis.get(equation.name) == position or axis.get(access.name) == m
            if shift.is_Integer and (shift != 0 or known):
                if axis.setdefault(equation.name, position) != position or axis.setdefault(access.name, m) != m:
                    raise LoweringError(f"{equation.target} reads {access}: a recurrence runs along one index only")
                if shift != 0:
                    found.append(shift)
    return found


def _time(equation: Equation, axis: dict[str, int]) -> Dummy:
    symbol: Dummy = equation.indices[axis[equation.name]]
    return symbol


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


def _step_order(steps: Sequence[Equation], axis: dict[str, int], time: Dummy) -> list[int]:
    """The steps in an order in which each reads only what this round, or an earlier one, has made."""
    reads: dict[str, list[str]] = {e.name: [] for e in steps}
    for equation in steps:
        for access in accesses(equation.value):
            if access.name in reads and access.indices[axis[access.name]] == time:
                reads[equation.name].append(access.name)
    groups = components(reads)
    stuck = next((g for g in groups if len(g) > 1 or g[0] in reads[g[0]]), None)
    if stuck is not None:
        raise LoweringError(f"{', '.join(stuck)} depend on each other at the same index: no order computes them")
    place = {name: m for m, (name,) in enumerate(groups)}
    return sorted(range(len(steps)), key=lambda m: place[steps[m].name])


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
