"""Recurrences as scans: which axis is the time of each tensor, in which direction it runs, in which order
the equations of one step stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Dummy, Expr, Max, Min

from chainrule.symbolic.affine import bounds_of, nonnegative
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Delta, Range, Reduction, accesses, freshen, index, rebuild
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
    parts = [p for e in equations for p in _ends_apart(e, axis[e.name])]
    bases = tuple(e for e in parts if not isinstance(e.indices[axis[e.name]], Dummy) and not names & set(e.reads()))
    stepped = [e for e in parts if e not in bases]
    signs = {bool(c > 0) for c in offsets}
    if len(signs) != 1:
        raise LoweringError(f"the recurrence of {', '.join(sorted(names))} reads both earlier and later elements")
    time = index(next(str(v.name) for e in stepped if isinstance(v := e.indices[axis[e.name]], Dummy)))
    renamed = [_on_time(e, axis[e.name], time) for e in stepped]
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


def _on_time(equation: Equation, axis: int, time: Dummy) -> Equation:
    """The equation with `time` as its index along the axis; a fixed subscript becomes a range of one value."""
    place = equation.indices[axis]
    if isinstance(place, Dummy):
        return _renamed(equation, place, time)
    indices = tuple(time if m == axis else i for m, i in enumerate(equation.indices))
    return replace(equation, indices=indices, ranges=(Range(time, place, place), *equation.ranges))


def _ends_apart(equation: Equation, axis: int) -> list[Equation]:
    """The equation in parts where its first or last element along the axis has terms of its own.

    An adjoint of a recurrence over T has such ends: δ(T, t) where the cost reads h[T], a guard t < T where
    only later elements read h[t].
    """
    symbol = equation.indices[axis]
    for whole in equation.ranges:
        if whole.symbol == symbol and isinstance(symbol, Dummy):
            for end, rest in (
                (whole.upper, Range(symbol, whole.lower, sp.expand(whole.upper - 1))),
                (whole.lower, Range(symbol, sp.expand(whole.lower + 1), whole.upper)),
            ):
                if _apart(equation.value, symbol, end, rest):
                    ranges = tuple(r for r in equation.ranges if r.symbol != symbol)
                    fixed = replace(equation, indices=tuple(end if i == symbol else i for i in equation.indices))
                    last = freshen(_within(equation.value, Range(symbol, end, end)), {symbol: end})
                    others = tuple(rest if r.symbol == symbol else r for r in equation.ranges)
                    middle = replace(equation, ranges=others, value=_within(equation.value, rest))
                    return [replace(fixed, ranges=ranges, value=last), *_ends_apart(middle, axis)]
    return [equation]


def _apart(expression: Expr, symbol: Dummy, end: Expr, rest: Range) -> bool:
    """Whether a delta or a guard tells that end from the rest of the range."""
    if isinstance(expression, Delta) and expression.free_symbols & {symbol}:
        return bool(Delta(*(a.xreplace({symbol: end}) for a in expression.args)) == 1)
    if isinstance(expression, Reduction):
        known = bounds_of([rest])
        own = (g for g in expression.guards if {v for v in g.free_symbols if isinstance(v, Dummy)} == {symbol})
        if any(nonnegative(g, known) and nonnegative(-1 - g.xreplace({symbol: end}), {}) for g in own):
            return True
    return any(_apart(a, symbol, end, rest) for a in expression.args)


def _within(expression: Expr, span: Range) -> Expr:
    """The expression where the index is in that range: deltas and guards that are decided there are gone."""
    known = bounds_of([span])
    if isinstance(expression, Access):
        return expression
    if isinstance(expression, Delta):
        difference = expression.args[0] - expression.args[1]
        apart = any(nonnegative(sign * difference - 1, known) for sign in (1, -1))
        same = all(nonnegative(sign * difference, known) for sign in (1, -1))
        return sp.Integer(0) if apart else sp.Integer(1) if same else expression
    if isinstance(expression, Reduction) and expression.kind == "sum":
        if any(nonnegative(-1 - g, known) for g in expression.guards):
            return sp.Integer(0)
        guards = [g for g in expression.guards if not nonnegative(g, known)]
        body = _within(expression.body, span)
        return Reduction("sum", body, expression.ranges, guards) if expression.ranges or guards else body
    return rebuild(expression, [_within(a, span) for a in expression.args])


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
