"""Long arguments of functions as tensors of their own, System to System, before anything is differentiated.

    a_i = tanh(g_i)²,  g_i long        →        u_i = g_i,  a_i = tanh(u_i)²

Each derivative of f(g) holds copies of g: formulas nested in each other would grow with every level and every order
of differentiation. Of a stored value the derivatives hold the name. Short equations stay as they are, so that
algebra sees them whole; and what a stable form may need to see is left in sight: exponentials in powers and
logarithms, and how the arguments of exponentials are related.

The terms of a maximum or minimum are stored however short they are: its derivative asks which of them equals it,
and of what is computed twice, rounded in two ways, none might.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import sympy as sp
from sympy import Dummy, Expr, Integer
from sympy.core.relational import Relational
from sympy.logic.boolalg import Boolean

from .affine import bounds_of, box, extreme, guards_of, lower_bounds, nonnegative, upper_bounds
from .domains import finite_everywhere, reads_within, unproved
from .errors import LoweringError
from .expressions import Access, Call, Maximum, Minimum, Range, Reduction, Where, accesses, rebuild
from .stable import grouped
from .stored import Part, Store, spans
from .system import Equation, System

__all__ = ["with_intermediates"]

LONG_EQUATION = 40
"""Nodes of a right side, from which on it is taken apart."""

LONG_ARGUMENT = 12
"""Nodes of an argument that is stored."""

_EXPONENTIAL = (sp.exp, sp.tanh, sp.sinh, sp.cosh)

_INVERSE = (sp.asin, sp.acos, sp.atan, sp.asinh, sp.acosh, sp.atanh)
"""Functions whose derivatives are powers: of sums of exponentials these have stable forms, which need to see them."""


def with_intermediates(system: System) -> System:
    """The System that reads long arguments of functions, and the terms of maxima, from tensors; same outputs.

    An argument is stored over a box no larger than the equation's, or than a tensor that it reads; the terms of a
    maximum over all that it runs over. What reads a recurrence is left in its step, or, as the terms of a maximum,
    becomes a tensor of the recurrence.
    """
    store = Store(system)
    recurrences = system.recurrences()
    for equation in system.equations:
        work = _Equation(system, equation, store, recurrences.get(equation.name, ()))
        value = work.taken_apart()
        store.equations.append(equation if value == equation.value else replace(equation, value=value))
    if tuple(store.equations) == system.equations:
        return system
    made = store.system()
    return made.with_equations(grouped(made.equations))


@dataclass(frozen=True)
class _Scope:
    """The ranges of all indices in force, and the conditions under which a node is evaluated."""

    ranges: tuple[Range, ...]
    conditions: tuple[Boolean, ...] = ()

    def under(self, *conditions: Boolean) -> _Scope:
        return replace(self, conditions=(*self.conditions, *conditions))

    def inside(self, reduction: Reduction) -> _Scope:
        """The scope of a reduction's body: its indices are in force, under its guards and bounds between indices."""
        guards = [g >= 0 for g in (*reduction.guards, *(g for r in reduction.ranges for g in _oblique(r)))]
        return replace(self, ranges=(*self.ranges, *reduction.ranges)).under(*guards)


@dataclass(frozen=True)
class _Equation:
    """One equation at work. What reads a tensor of `step` belongs to a step of the equation's recurrence."""

    system: System
    equation: Equation
    store: Store
    step: Sequence[str]

    def taken_apart(self) -> Expr:
        """The right side over stored arguments, those inside others first."""
        ranges = self.equation.ranges
        return self._visit(self.equation.value, _Scope(ranges, tuple(g >= 0 for r in ranges for g in _oblique(r))))

    @cached_property
    def long(self) -> bool:
        return _length(self.equation.value, self.system) >= LONG_EQUATION

    def _visit(self, node: Expr, scope: _Scope) -> Expr:
        if not node.args or isinstance(node, Access):
            return node
        if isinstance(node, Reduction):
            inside = scope.inside(node)
            body = self._visit(node.body, inside)
            if node.kind in ("max", "min") and not _exact(body):
                body = self._read(body, inside, "terms")
            return node if body == node.body else Reduction(node.kind, body, node.ranges, node.guards)
        if isinstance(node, Where):
            then = self._visit(node.then, scope.under(node.condition))
            otherwise = self._visit(node.otherwise, scope.under(sp.Not(node.condition)))
            return Where(self._visit(node.condition, scope), then, otherwise)
        parts = [self._visit(a, scope) for a in node.args]
        if not self.long:
            return rebuild(node, parts)
        if isinstance(node, (sp.Pow, sp.log, *_INVERSE)):
            parts = [p if _in_sight(p, (sp.log, *_EXPONENTIAL), self.system) else self._stored(p, scope) for p in parts]
        elif isinstance(node, (Call, *_EXPONENTIAL)):
            parts = [self._exponent(p, scope) for p in parts]
        elif isinstance(node, sp.Function | Relational):
            parts = [self._stored(p, scope) for p in parts]
        return rebuild(node, parts)

    def _exponent(self, exponent: Expr, scope: _Scope) -> Expr:
        """An exponent over a stored one: those of exp(u), exp(-2·u) and exp(u + 3) are the same, and stay akin."""
        if not isinstance(exponent, Expr) or _in_sight(exponent, (sp.log,), self.system):
            return exponent
        constant, rest = exponent.as_coeff_Add()
        content, rest = rest.primitive() if isinstance(rest, sp.Add) else rest.as_coeff_Mul()
        if rest.could_extract_minus_sign():
            content, rest = -content, -rest
        stored = self._stored(rest, scope)
        return exponent if stored == rest else constant + content * stored

    def _stored(self, argument: Expr, scope: _Scope) -> Expr:
        """The argument read from a tensor, where it is long."""
        if not isinstance(argument, Expr) or _length(argument, self.system) < LONG_ARGUMENT:
            return argument
        return self._read(argument, scope, "inner")

    def _read(self, value: Expr, scope: _Scope, suffix: str) -> Expr:
        """The value read from a tensor, where it may be computed by itself."""
        names = {a.name for a in accesses(value)}
        if not names or (suffix == "inner" and names & set(self.step)):
            return value
        try:
            part = self._part(value, scope)
            if part is None or (suffix == "inner" and not self._fits(part)):
                return value
        except LoweringError:  # bounds that no box is known for
            return value
        return self.store.read(part, part.value, f"{self.equation.name}_{suffix}", part.place)

    def _part(self, argument: Expr, scope: _Scope) -> Part | None:
        """The argument over a box, 0 where it is not in force; None where that is not known."""
        boxes = {r.symbol: r for r in box(scope.ranges)}
        place = tuple(r for r in boxes.values() if r.symbol in argument.free_symbols)
        value = argument
        if scope.conditions and not (finite_everywhere(argument) and self._inside(argument, place)):
            conditions = _projected(scope.conditions, place, boxes)
            if conditions is None:
                return None
            value = Where(sp.And(*conditions), argument, Integer(0))
        beginning = all(nonnegative(r.lower, {}) for r in place)
        return Part(value, place) if beginning and self._inside(value, place) else None

    def _inside(self, value: Expr, place: Sequence[Range]) -> bool:
        """Whether every read of the value is inside its tensor, all over the box."""
        read = reads_within(value, bounds_of(place))
        return not any(unproved(access, self.store.shape(access.name), known) for access, known in read)

    def _fits(self, part: Part) -> bool:
        """Whether the box is no larger than the equation's own, or than a tensor that the value reads."""
        own = Counter(r.extent for r in box(self.equation.ranges))
        indices = {r.symbol for r in part.place}
        return Counter(r.extent for r in part.place) <= own or any(spans(a, indices) for a in accesses(part.value))


def _exact(value: Expr) -> bool:
    """Whether the value is computed without rounding: the same wherever it is computed."""
    if isinstance(value, sp.Mul):
        return value.args[0] == -1 and len(value.args) == 2 and _exact(value.args[1])
    if isinstance(value, Where):
        return _exact(value.then) and _exact(value.otherwise)
    if isinstance(value, Reduction):
        return value.kind in ("max", "min") and _exact(value.body)
    if isinstance(value, sp.Abs | Maximum | Minimum):
        return all(map(_exact, value.args))
    return isinstance(value, Access) or value.is_Integer


def _projected(
    conditions: Sequence[Boolean], place: Sequence[Range], boxes: Mapping[Dummy, Range]
) -> list[Boolean] | None:
    """What the conditions say of the indices of a box, if any others satisfy them; None where that is not known."""
    foreign = {v: r for v, r in boxes.items() if r not in place}
    found: list[Boolean] = []
    for condition in conditions:
        guards = guards_of(condition)
        if guards is not None:
            reachable = (extreme(g, foreign, 1) for g in guards)
            found += [g >= 0 for g in reachable if not nonnegative(g, bounds_of(place))]
        elif condition.free_symbols & foreign.keys():
            return None
        else:
            found.append(condition)
    return found


def _oblique(bound: Range) -> list[Expr]:
    """What is >= 0 by the bounds of a range in which other indices stand."""
    lowers = [bound.symbol - b for b in lower_bounds(bound) if b.atoms(Dummy)]
    return lowers + [b - bound.symbol for b in upper_bounds(bound) if b.atoms(Dummy)]


def _length(expression: Expr, system: System) -> int:
    """Nodes of an expression, those of named functions' formulas too.

    An element counts as one, and what a reduction runs over does not count.
    """
    if isinstance(expression, Access):
        return 1
    if isinstance(expression, Call):
        return _length(system.function(expression.name).body or Integer(0), system) + sum(
            _length(a, system) for a in expression.arguments
        )
    parts = [expression.body] if isinstance(expression, Reduction) else expression.args
    return 1 + sum(_length(p, system) for p in parts)


def _in_sight(expression: Expr, kinds: tuple[type, ...], system: System) -> bool:
    """Whether one of the kinds stands in the expression with no function around it that hides it."""
    if isinstance(expression, Call):
        parts = (system.function(expression.name).body or Integer(0), *expression.arguments)
    elif isinstance(expression, sp.Add | sp.Mul | sp.Pow | Reduction | Where):
        parts = expression.args
    else:
        return isinstance(expression, kinds)
    return any(_in_sight(p, kinds, system) for p in parts)
