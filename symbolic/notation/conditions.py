"""Conditions and guards of SymPy as relations on paper."""

from __future__ import annotations

from collections.abc import Callable

import sympy as sp
from sympy import Expr
from sympy.core.relational import Relational

from .latex import latex
from .order import ordered_sum
from .tree import Formula, Logic, Negative, Number, Relation, Symbol

__all__ = ["relation", "written_guard"]

_OPERATORS = {"==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


def relation(write: Callable[[Expr], Formula], condition: Expr) -> Formula:
    """A comparison, or comparisons joined by and, or, not."""
    if isinstance(condition, Relational):
        return Relation(_OPERATORS[condition.rel_op], write(condition.lhs), write(condition.rhs))
    if condition in (sp.true, sp.false):
        return Symbol(str(condition).lower())
    operands = [relation(write, a) for a in condition.args]
    if isinstance(condition, sp.Not):
        return Logic("not", tuple(operands))
    if isinstance(condition, sp.And | sp.Or):
        return Logic("and" if isinstance(condition, sp.And) else "or", tuple(sorted(operands, key=_place)))
    return Relation("!=", write(condition), Number("0"))


def _place(condition: Formula) -> tuple[bool, str]:
    """Lower bounds before upper ones, then as they read: SymPy's order is none."""
    return isinstance(condition, Relation) and condition.operator in ("<", "<="), latex(condition)


def written_guard(write: Callable[[Expr], Formula], guard: Expr) -> Formula:
    """`guard >= 0` with its subtracted terms on the other side: i - k >= 0 is k <= i."""
    shown = [write(term) for term in sp.Add.make_args(sp.expand(guard))]
    positive = ordered_sum([t for t in shown if not isinstance(t, Negative)], numbers_last=True)
    negative = ordered_sum([t.body for t in shown if isinstance(t, Negative)], numbers_last=True)
    if isinstance(negative, Number):
        return Relation(">=", positive, negative)
    return Relation("<=", negative, positive)
