"""Equations whose first or last element along an axis has terms of its own, in parts."""

from __future__ import annotations

from dataclasses import replace

import sympy as sp
from sympy import Dummy, Expr

from chainrule.symbolic.affine import bounds_of, nonnegative
from chainrule.symbolic.expressions import Access, Delta, Range, Reduction, freshen, rebuild
from chainrule.symbolic.system import Equation

__all__ = ["ends_apart"]


def ends_apart(equation: Equation, axis: int) -> list[Equation]:
    """The equation in parts where its first or last element along the axis has terms of its own.

    An adjoint of a recurrence over T has such ends: δ(T, t) where the cost reads h[T], a guard t < T where
    only later elements read h[t].
    """
    symbol = equation.indices[axis]
    for whole in equation.ranges:
        # an end of a range that is empty at some sizes would be computed there all the same
        if whole.symbol == symbol and isinstance(symbol, Dummy) and nonnegative(whole.upper - whole.lower, {}):
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
                    return [replace(fixed, ranges=ranges, value=last), *ends_apart(middle, axis)]
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
