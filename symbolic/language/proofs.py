"""What is known of the ranges of indices, and what follows from it for subscripts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

import sympy as sp
from sympy import Dummy, Expr, Integer

from ..affine import lower_bounds, nonnegative, upper_bounds
from ..errors import Position
from ..expressions import Range
from .drafts import Variable

__all__ = ["Known", "Proofs"]

_MOST_FACTS = 10


@dataclass(frozen=True)
class Known:
    """A range, and the place that gave it; `stated` if the user stated it, so that it may be shorter than an axis."""

    range: Range
    reason: str
    position: Position
    stated: bool = False


class Proofs:
    """Proves inequalities over the ranges learned so far. The bounds of a range hold no index."""

    def __init__(self) -> None:
        self.known: dict[Variable, Known] = {}
        self._ranges: dict[Dummy, Range] = {}
        self._floors: dict[Expr, Dummy] = {}

    def learn(self, variable: Variable, known: Known) -> None:
        """From now on the index has that range."""
        self.known[variable] = known
        self._ranges[variable.symbol] = known.range

    def ready(self, expression: Expr) -> bool:
        """Whether the range of every index in the expression is known."""
        return all(s in self._ranges for s in expression.free_symbols if isinstance(s, Dummy))

    def prove(self, expression: Expr, facts: Iterable[Expr] = ()) -> bool:
        """Whether expression >= 0 follows from the known ranges, sizes >= 1 and facts that are >= 0."""
        chosen = tuple(facts)[:_MOST_FACTS]
        sides = [Integer(0), *chosen, *(a + b for a, b in combinations(chosen, 2))]
        differences = [self._flat(sp.expand(expression - side)) for side in sides]
        table = {
            s: (
                tuple(map(self._flat, lower_bounds(self._ranges[s]))),
                tuple(u for e in upper_bounds(self._ranges[s]) for u in self._relaxed(e)),
            )
            for e in (expression, *chosen)
            for s in e.free_symbols
            if s in self._ranges
        }
        table.update((stand_in, _floor_bounds(floor)) for floor, stand_in in self._floors.items())
        return any(nonnegative(difference, table) for difference in differences)

    def at_extreme(self, expression: Expr, side: int) -> Expr:
        """The largest (side 1) or smallest (side -1) value over the known ranges."""
        extremes = {}
        for symbol in expression.free_symbols:
            if symbol in self._ranges:
                above = expression.coeff(symbol, 1) * side > 0
                extremes[symbol] = self._ranges[symbol].upper if above else self._ranges[symbol].lower
        return sp.expand(expression.xreplace(extremes))

    def extreme(self, values: Iterable[Expr], side: int) -> Expr:
        """The largest (side 1) or smallest (side -1) of the values, as a Max or Min where none is proved so."""
        left: list[Expr] = []
        for value in map(sp.expand, values):
            if any(self.prove(side * (other - value)) for other in left):
                continue
            left = [other for other in left if not self.prove(side * (value - other))] + [value]
        return left[0] if len(left) == 1 else (sp.Max if side > 0 else sp.Min)(*left)

    def _flat(self, expression: Expr) -> Expr:
        """The expression with a symbol in place of each floor and ceiling."""
        for rounded in sorted(expression.atoms(sp.floor, sp.ceiling), key=str):
            self._floors.setdefault(rounded, Dummy("q", integer=True))
        return expression.xreplace(self._floors)

    def _relaxed(self, upper: Expr) -> tuple[Expr, ...]:
        return (self._flat(upper), upper.args[0]) if isinstance(upper, sp.floor) else (self._flat(upper),)


def _floor_bounds(rounded: Expr) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """floor(e/d) is at least (e - d + 1)/d and at most e/d; a ceiling the other way round."""
    inner = rounded.args[0]
    denominator = sp.ilcm(1, 1, *(c.q for c in sp.expand(inner).as_coefficients_dict().values()))
    slack = sp.Rational(denominator - 1, denominator)
    return ((inner - slack,), (inner,)) if isinstance(rounded, sp.floor) else ((inner,), (inner + slack,))
