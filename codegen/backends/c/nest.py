"""The loops of a statement: in which order its indices run, and between what bounds.

Every bound of a range and every guard is a condition on indices. Each becomes a bound of the innermost
of its indices; one without an index here is decided before the loops. So nothing is tested inside a
loop that could be tested outside it, and a combination that a guard rejects is never visited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import sympy as sp
from sympy import Expr, Max, Min, Symbol

from chainrule.symbolic.affine import Bounds, box, coefficient, lower_bounds, nonnegative, upper_bounds
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Range

from . import sizes

__all__ = ["Limit", "Loop", "Nest", "Prover", "nest"]


@dataclass(frozen=True)
class Limit:
    """One bound of an index: divisor·index >= edge (a lower one) or <= edge (an upper one), divisor > 0."""

    edge: Expr
    divisor: Expr


@dataclass(frozen=True)
class Loop:
    """An index that runs over all whole numbers within its limits.

    `steady` says that it runs at least once, whatever the loops around it are at.
    """

    symbol: Symbol
    lowers: tuple[Limit, ...]
    uppers: tuple[Limit, ...]
    steady: bool
    prover: Prover

    def first(self, env: sizes.Env) -> str:
        """Where it begins, as C."""
        texts = [self._text(limit.edge + limit.divisor - 1, limit, env) for limit in self.lowers]
        return sizes.folded("larger", texts)

    def end(self, env: sizes.Env) -> str:
        """Where it has ended, as C: one more than its last value."""
        texts = [self._text(limit.edge + limit.divisor, limit, env) for limit in self.uppers]
        return sizes.folded("smaller", texts)

    def _text(self, numerator: Expr, limit: Limit, env: sizes.Env) -> str:
        return sizes.quotient(numerator, limit.divisor, env, self.prover.nonnegative)


class Prover:
    """What is known where a loop opens: bounds of the indices around it, axes that have elements."""

    def __init__(self, facts: Bounds, axes: Sequence[Expr]) -> None:
        self.facts = dict(facts)
        self.axes = axes
        self._known: dict[Expr, bool] = {}

    def nonnegative(self, expression: Expr) -> bool:
        """Whether the expression is proved to be >= 0."""
        expression = sp.expand(expression)
        if expression not in self._known:
            found = nonnegative(expression, self.facts)
            found = found or any(nonnegative(expression - axis + 1, self.facts) for axis in self.axes)
            self._known[expression] = found
        return self._known[expression]

    def within(self, loop: Loop) -> Prover:
        """What is known inside a loop."""
        lowers = tuple(b.edge if b.divisor == 1 else sp.ceiling(b.edge / b.divisor) for b in loop.lowers)
        uppers = tuple(b.edge if b.divisor == 1 else sp.floor(b.edge / b.divisor) for b in loop.uppers)
        return Prover({**self.facts, loop.symbol: (lowers, uppers)}, self.axes)


@dataclass(frozen=True)
class Nest:
    """Loops, the outermost first, and what must be >= 0 for them to be entered."""

    loops: tuple[Loop, ...]
    conditions: tuple[Expr, ...]

    def conditions_text(self, env: sizes.Env) -> str:
        """The conditions as C."""
        return " && ".join(sizes.holds(c, env) for c in self.conditions)


def nest(
    ranges: Sequence[Range],
    order: Sequence[Symbol],
    guards: Iterable[Expr],
    prover: Prover,
    outer: Sequence[Range] = (),
) -> Nest:
    """The loops over `ranges`, in the given order of their symbols.

    `outer` are the ranges of loops around them, whose symbols may stand in bounds and guards.
    Raises LoweringError where a condition is not affine in an index.
    """
    place = {symbol: m for m, symbol in enumerate(order)}
    stated = [c for g in guards for c in _parts(g)]
    stated += [c for r in (*ranges, *box(ranges, outer)) for c in _conditions(r)]
    lowers: list[list[Limit]] = [[] for _ in order]
    uppers: list[list[Limit]] = [[] for _ in order]
    before: dict[Expr, None] = {}
    for condition in dict.fromkeys(sp.expand(c) for c in stated):
        inner = max((place[s] for s in condition.free_symbols if s in place), default=None)
        if inner is None:
            before.setdefault(condition)
            continue
        factor = coefficient(condition, order[inner])
        if factor is None or not (factor.is_positive or factor.is_negative):
            raise LoweringError(f"{condition} >= 0 bounds {order[inner]} on no side")
        rest = sp.expand(condition - factor * order[inner])
        if factor.is_positive:
            lowers[inner].append(Limit(-rest, factor))
        else:
            uppers[inner].append(Limit(rest, -factor))
    conditions = tuple(c for c in before if not prover.nonnegative(c))
    loops = []
    for symbol, below, above in zip(order, lowers, uppers, strict=True):
        loop = _loop(symbol, below, above, prover)
        loops.append(loop)
        prover = prover.within(loop)
    return Nest(tuple(loops), conditions)


def _loop(symbol: Symbol, below: Sequence[Limit], above: Sequence[Limit], prover: Prover) -> Loop:
    def lower_implies(u: Limit, v: Limit) -> bool:
        slack = u.divisor - 1 if v.divisor == 1 else 0
        return prover.nonnegative(v.divisor * u.edge - u.divisor * v.edge + slack)

    def upper_implies(u: Limit, v: Limit) -> bool:
        slack = u.divisor - 1 if v.divisor == 1 else 0
        return prover.nonnegative(u.divisor * v.edge - v.divisor * u.edge + slack)

    lowers, uppers = _needed(below, lower_implies), _needed(above, upper_implies)
    if len(lowers) > 1:  # what is computed from a difference saturates at 0 by itself
        lowers = tuple(b for b in lowers if b.edge != 0) or lowers[:1]
    steady = all(
        u.divisor == 1 and v.divisor == 1 and prover.nonnegative(v.edge - u.edge) for u in lowers for v in uppers
    )
    return Loop(symbol, lowers, uppers, steady, prover)


def _needed(limits: Sequence[Limit], implies: Callable[[Limit, Limit], bool]) -> tuple[Limit, ...]:
    """The limits without those that another one implies."""
    kept: list[Limit] = []
    for limit in limits:
        if not any(implies(other, limit) for other in kept):
            kept = [other for other in kept if not implies(limit, other)]
            kept.append(limit)
    return tuple(kept)


def _conditions(bound: Range) -> Iterator[Expr]:
    """What the bounds say, as expressions that are >= 0."""
    for lower in lower_bounds(bound):
        yield _whole(bound.symbol - _unrounded(lower, sp.ceiling))
    for upper in upper_bounds(bound):
        yield _whole(_unrounded(upper, sp.floor) - bound.symbol)


def _parts(guard: Expr) -> list[Expr]:
    """Conditions that hold together where the guard does: min(u, v) - k >= 0 is u - k >= 0 and v - k >= 0."""
    for term in sp.Add.make_args(sp.expand(guard)):
        factor, extremum = term.as_coeff_Mul()
        if isinstance(extremum, Min if factor > 0 else Max):
            return [c for a in extremum.args for c in _parts(sp.expand(guard - term + factor * a))]
    return [guard]


def _unrounded(bound: Expr, kind: type) -> Expr:
    """The bound without its rounding: an index, being whole, is beyond ⌈u⌉ + c where it is beyond u + c."""
    for rounded in bound.atoms(kind):
        rest = sp.expand(bound - rounded)
        if not rest.has(rounded) and rest.is_integer:
            return sp.expand(rounded.args[0] + rest)
    return bound


def _whole(condition: Expr) -> Expr:
    """The condition times its denominator, which is positive."""
    return sp.expand(sp.fraction(sp.together(condition))[0])
