"""Integer reasoning over affine expressions in indices and sizes: sound, incomplete, fast.

Sizes are positive integers, so a polynomial in sizes alone is non-negative when substituting
N -> N + 1 leaves no negative coefficient. Indices are eliminated by putting in their extremes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sympy as sp
from sympy import Dummy, Expr, Integer, Max, Min
from sympy.logic.boolalg import And, Boolean

from .errors import LoweringError
from .expressions import Access, Range

__all__ = [
    "Bounds",
    "bounds_of",
    "box",
    "coefficient",
    "edge",
    "extreme",
    "guards_of",
    "integral",
    "lower_bounds",
    "nonnegative",
    "upper_bounds",
    "with_guards",
]

Bounds = Mapping[Dummy, tuple[tuple[Expr, ...], tuple[Expr, ...]]]
"""For each index its lower and its upper bounds, inclusive; all of them hold. They need not be integers."""

_DEPTH = 6


def lower_bounds(bound: Range) -> tuple[Expr, ...]:
    """The lower bounds one by one: the arguments of a Max, or the only bound."""
    return tuple(bound.lower.args) if isinstance(bound.lower, Max) else (bound.lower,)


def upper_bounds(bound: Range) -> tuple[Expr, ...]:
    """The upper bounds one by one: the arguments of a Min, or the only bound."""
    return tuple(bound.upper.args) if isinstance(bound.upper, Min) else (bound.upper,)


def bounds_of(ranges: Iterable[Range]) -> dict[Dummy, tuple[tuple[Expr, ...], tuple[Expr, ...]]]:
    """The ranges as a table from index to bounds."""
    return {r.symbol: (lower_bounds(r), upper_bounds(r)) for r in ranges}


def with_guards(bounds: Bounds, guards: Iterable[Expr]) -> dict[Dummy, tuple[tuple[Expr, ...], tuple[Expr, ...]]]:
    """The bounds with what the guards (affine, all >= 0) say about single indices: i >= n/2 where 2·i - n >= 0."""
    known = dict(bounds)
    for guard in guards:
        for symbol in sorted((v for v in guard.free_symbols if v in bounds), key=lambda v: v.sort_key()):
            factor = coefficient(guard, symbol)
            if factor is not None and factor.is_number and factor != 0:
                limit = sp.expand(symbol - guard / factor)
                lowers, uppers = known[symbol]
                known[symbol] = ((*lowers, limit), uppers) if factor > 0 else (lowers, (*uppers, limit))
    return known


def edge(guard: Expr, symbol: Dummy) -> Expr | None:
    """The bound of `symbol` that `guard >= 0` states: a lower one where its coefficient is 1, an upper one where -1.

    None where the coefficient is another, or the bound would not be an integer.
    """
    factor = coefficient(guard, symbol)
    if factor not in (1, -1):
        return None
    limit = sp.expand(-(guard - factor * symbol) / factor)
    return limit if integral(limit) else None


def guards_of(condition: Boolean) -> tuple[Expr, ...] | None:
    """Expressions that are all >= 0 exactly where the condition holds; None where no affine ones say so.

    Inequalities and equations between integers (indices and sizes), and several of them together.
    """
    if isinstance(condition, And):
        parts = [guards_of(a) for a in condition.args]
        return tuple(g for p in parts if p is not None for g in p) if None not in parts else None
    if not isinstance(condition, sp.Ge | sp.Gt | sp.Le | sp.Lt | sp.Eq):
        return None
    difference = sp.expand(condition.lhs - condition.rhs)
    indices = [v for v in difference.free_symbols if isinstance(v, Dummy)]
    if not integral(difference) or difference.atoms(Access) or any(coefficient(difference, v) is None for v in indices):
        return None
    if isinstance(condition, sp.Eq):
        return difference, -difference
    greater = isinstance(condition, sp.Ge | sp.Gt)
    strict = isinstance(condition, sp.Gt | sp.Lt)
    return ((difference if greater else -difference) - int(strict),)


def box(ranges: Sequence[Range], outer: Sequence[Range] = ()) -> tuple[Range, ...]:
    """The least box known to hold the ranges: the same indices between bounds in which no index stands.

    Bounds may refer to earlier ranges and to those of `outer`. Raises LoweringError where a bound is
    not affine in the indices that it mentions.
    """
    found: dict[Dummy, Range] = {}
    for r in (*outer, *ranges):
        lowers = [extreme(b, found, -1) for b in _free_of_indices(lower_bounds(r), found)]
        uppers = [extreme(b, found, 1) for b in _free_of_indices(upper_bounds(r), found)]
        found[r.symbol] = Range(r.symbol, Max(*lowers), Min(*uppers))
    return tuple(found[r.symbol] for r in ranges)


def _free_of_indices(bounds: Sequence[Expr], indices: Iterable[Dummy]) -> Sequence[Expr]:
    """The bounds in which no index stands; all of them where there are none."""
    known = set(indices)
    return [b for b in bounds if not b.free_symbols & known] or bounds


def extreme(expression: Expr, ranges: Mapping[Dummy, Range], direction: int) -> Expr:
    """The least (direction -1) or greatest (1) value of an affine expression over a box."""
    for symbol in sorted((v for v in expression.free_symbols if v in ranges), key=lambda v: v.sort_key()):
        factor = coefficient(expression, symbol)
        if factor is None or not (factor.is_nonnegative or factor.is_nonpositive):
            raise LoweringError(f"no bound of {expression} is known: {symbol} has the coefficient {factor}")
        upward = factor.is_nonnegative == (direction > 0)
        expression = sp.expand(expression.xreplace({symbol: ranges[symbol].upper if upward else ranges[symbol].lower}))
    return expression


def coefficient(expression: Expr, symbol: Dummy) -> Expr | None:
    """The coefficient of `symbol` in an affine expression; None where it is not affine in it."""
    if symbol not in expression.free_symbols:
        return Integer(0)
    expanded = sp.expand(expression)
    factor = expanded.coeff(symbol, 1)
    rest = sp.expand(expanded - factor * symbol)
    return None if symbol in rest.free_symbols or symbol in factor.free_symbols else factor


def integral(expression: Expr) -> bool:
    """Whether the expression is known to be an integer whatever the indices and sizes."""
    return bool(sp.expand(expression).is_integer)


def nonnegative(expression: Expr, bounds: Bounds) -> bool:
    """Whether `expression >= 0` is proved for every index inside its bounds and all sizes >= 1."""
    return _nonnegative(sp.expand(expression), bounds, set(), 0)


def _nonnegative(expression: Expr, bounds: Bounds, tried: set[Expr], depth: int) -> bool:
    """`tried` are the expressions that are being looked at, or were in vain."""
    if expression in tried:
        return False
    tried.add(expression)
    extremum = next(iter(sorted(expression.atoms(Max, Min), key=sp.default_sort_key)), None)
    if extremum is not None:
        return _by_arguments(expression, extremum, bounds, tried, depth)
    rounded = next(iter(sorted(expression.atoms(sp.floor, sp.ceiling), key=sp.default_sort_key)), None)
    if rounded is not None:
        relaxed = _unrounded(expression, rounded)
        if relaxed is not None and _nonnegative(relaxed, bounds, tried, depth):
            return True  # else a bound with the same floor in it may show it
    symbols = sorted((v for v in expression.free_symbols if v in bounds), key=lambda v: v.sort_key())
    if not symbols:
        return _sizes_nonnegative(expression)
    if depth >= _DEPTH:
        return False
    for symbol in symbols:
        factor = coefficient(expression, symbol)
        if factor is None or not (factor.is_nonnegative or factor.is_nonpositive):
            continue
        lowers, uppers = bounds[symbol]
        for extreme in lowers if factor.is_nonnegative else uppers:
            if symbol in extreme.free_symbols:
                continue
            if _nonnegative(sp.expand(expression.xreplace({symbol: extreme})), bounds, tried, depth + 1):
                return True
    return False


def _by_arguments(expression: Expr, extremum: Expr, bounds: Bounds, tried: set[Expr], depth: int) -> bool:
    """c·Max(u, v) + r >= 0 from one of its arguments (c > 0) or from all of them (c < 0); Min the other way."""
    factor = expression.coeff(extremum, 1)
    rest = sp.expand(expression - factor * extremum)
    if not factor.is_number or rest.has(extremum):
        return False
    cases = (sp.expand(factor * a + rest) for a in extremum.args)
    found = (_nonnegative(case, bounds, tried, depth) for case in cases)
    return any(found) if isinstance(extremum, Max) == bool(factor > 0) else all(found)


def _unrounded(expression: Expr, rounded: Expr) -> Expr | None:
    """A smaller expression without that floor or ceiling: u - (q - 1)/q <= floor(u) <= u for u in multiples of 1/q."""
    factor = expression.coeff(rounded, 1)
    rest = sp.expand(expression - factor * rounded)
    inside = sp.expand(rounded.args[0])
    if not factor.is_number or rest.has(rounded) or not _polynomial(inside):
        return None
    steps = sp.ilcm(1, *(c.q for c in inside.as_coefficients_dict().values()))
    slack = sp.Rational(steps - 1, steps)
    if isinstance(rounded, sp.floor):
        bound = inside - slack if factor > 0 else inside
    else:
        bound = inside if factor > 0 else inside + slack
    return sp.expand(factor * bound + rest)


def _sizes_nonnegative(expression: Expr) -> bool:
    if expression.is_number:
        return bool(expression >= 0)
    symbols = expression.free_symbols
    if any(not s.is_positive for s in symbols) or not _polynomial(expression):
        return False
    shifted = sp.expand(expression.xreplace({s: s + 1 for s in symbols}))
    return all(c.is_nonnegative for c in shifted.as_coefficients_dict().values())


def _polynomial(expression: Expr) -> bool:
    """Whether the expression is a polynomial in its symbols with rational coefficients."""
    return bool(expression.is_polynomial(*expression.free_symbols)) and all(
        n.is_Rational for n in expression.atoms(sp.Number, sp.NumberSymbol)
    )
