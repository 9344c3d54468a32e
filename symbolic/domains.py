"""Where an expression may be evaluated: reads that must stay inside their tensors.

A System reads nothing outside a tensor: its ranges and guards see to it. A part of an equation that is
computed on its own, over a whole box, loses the guards around it; here it gets them back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import sympy as sp
from sympy import Dummy, Expr, Integer
from sympy.core.relational import Relational
from sympy.logic.boolalg import BooleanFunction

from .affine import Bounds, bounds_of, guards_of, nonnegative, with_guards
from .expressions import Access, Maximum, Minimum, Range, Reduction, Where, rebuild

__all__ = ["Shapes", "finite_everywhere", "protected", "reads_within", "unproved"]

Shapes = Callable[[str], Sequence[Expr]]
"""The shape of a tensor by its name."""


def unproved(access: Access, shape: Sequence[Expr], bounds: Bounds) -> tuple[Expr, ...]:
    """The conditions `0 <= subscript < extent`, as expressions >= 0, that the bounds do not prove."""
    conditions = (
        sp.expand(c)
        for subscript, extent in zip(access.indices, shape, strict=True)
        if bounds.get(subscript) != ((0,), (extent - 1,))
        for c in (subscript, extent - 1 - subscript)
    )
    return tuple(c for c in dict.fromkeys(conditions) if not nonnegative(c, bounds))


def protected(expression: Expr, ranges: Iterable[Range], shapes: Shapes, facts: Iterable[Expr] = ()) -> Expr:
    """The expression, safe for every index in `ranges`: the same value wherever it was in force before.

    `facts` are expressions known to be >= 0 there.

    A combination of indices of a sum or product that would read outside a tensor takes no part, and any
    other such element is 0: a maximum of nothing would be infinite, and 0 times that no number.
    """

    def visit(node: Expr, bounds: Bounds) -> Expr:
        if isinstance(node, Access):
            missing = unproved(node, shapes(node.name), bounds)
            return Where(sp.And(*(c >= 0 for c in missing)), node, Integer(0)) if missing else node
        if isinstance(node, Where):
            guards = guards_of(node.condition)
            inside = with_guards(bounds, guards) if guards else bounds
            return Where(node.condition, visit(node.then, inside), visit(node.otherwise, bounds))
        if isinstance(node, Reduction):
            inside = with_guards({**bounds, **bounds_of(node.ranges)}, node.guards)
            if node.kind not in ("sum", "prod"):
                return Reduction(node.kind, visit(node.body, inside), node.ranges, node.guards)
            missing = tuple(c for a in _always_read(node.body) for c in unproved(a, shapes(a.name), inside))
            guards = tuple(dict.fromkeys((*node.guards, *missing)))
            return Reduction(node.kind, visit(node.body, with_guards(inside, missing)), node.ranges, guards)
        return rebuild(node, [visit(a, bounds) for a in node.args])

    return visit(expression, with_guards(bounds_of(ranges), facts))


def reads_within(expression: Expr, bounds: Bounds) -> Iterator[tuple[Access, Bounds]]:
    """Every access, and what is known of the indices where it is read: `bounds`, loops and conditions around it."""
    if isinstance(expression, Access):
        yield expression, bounds
    elif isinstance(expression, Where):
        guards = guards_of(expression.condition)
        yield from reads_within(expression.then, with_guards(bounds, guards) if guards else bounds)
        yield from reads_within(expression.otherwise, bounds)
        for side in expression.condition.atoms(Access):
            yield side, bounds
    elif isinstance(expression, Reduction):
        inside = with_guards({**bounds, **bounds_of(expression.ranges)}, expression.guards)
        yield from reads_within(expression.body, inside)
    else:
        for part in expression.args:
            yield from reads_within(part, bounds)


_BOUNDED = (sp.sin, sp.cos, sp.tanh, sp.atan, sp.erf, sp.erfc, sp.Abs, sp.sign, sp.floor, sp.ceiling, Maximum, Minimum)


def finite_everywhere(value: Expr) -> bool:
    """Whether the value is finite for all indices and finite elements: multiplied by 0, it is 0.

    Then it may be computed where nothing asks for it. Sound, not complete: an exponential may overflow, and of a
    named function nothing is known.
    """
    if isinstance(value, Access) or not value.atoms(Access, Dummy):
        return True
    if isinstance(value, Reduction):
        return value.kind in ("sum", "prod") and finite_everywhere(value.body)
    if isinstance(value, sp.Pow) and not (value.exp.is_Integer and value.exp.is_nonnegative):
        return False
    known = isinstance(value, (sp.Add, sp.Mul, sp.Pow, Where, Relational, BooleanFunction, *_BOUNDED))
    return known and all(map(finite_everywhere, value.args))


def _always_read(expression: Expr) -> Iterator[Access]:
    """The accesses that evaluating the expression reads: none in a branch, none in a reduction inside."""
    if isinstance(expression, Access):
        yield expression
    elif not isinstance(expression, Reduction):
        for part in [expression.condition] if isinstance(expression, Where) else expression.args:
            yield from _always_read(part)
