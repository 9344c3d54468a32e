"""Integer reasoning over affine expressions in indices and sizes: sound, incomplete, fast.

Sizes are positive integers, so an expression in sizes alone is non-negative when substituting
N -> N + 1 leaves no negative coefficient. Indices are eliminated by putting in their extremes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sympy as sp
from sympy import Dummy, Expr, Integer, Max, Min

from .expressions import Range

__all__ = ["Bounds", "bounds_of", "coefficient", "integral", "lower_bounds", "nonnegative", "upper_bounds"]

Bounds = Mapping[Dummy, tuple[tuple[Expr, ...], tuple[Expr, ...]]]
"""For each index its lower and its upper bounds, inclusive; all of them hold."""

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


def coefficient(expression: Expr, symbol: Dummy) -> Expr | None:
    """The coefficient of `symbol` in an affine expression; None where it is not affine in it."""
    if symbol not in expression.free_symbols:
        return Integer(0)
    expanded = sp.expand(expression)
    factor = expanded.coeff(symbol, 1)
    rest = sp.expand(expanded - factor * symbol)
    return None if symbol in rest.free_symbols or symbol in factor.free_symbols else factor


def integral(expression: Expr) -> bool:
    """Whether all coefficients of the expanded expression are integers."""
    return all(c.is_Integer for c in sp.expand(expression).as_coefficients_dict().values())


def nonnegative(expression: Expr, bounds: Bounds, depth: int = 0) -> bool:
    """Whether `expression >= 0` is proved for every index inside its bounds and all sizes >= 1."""
    expression = sp.expand(expression)
    symbols = sorted((v for v in expression.free_symbols if v in bounds), key=lambda v: v.sort_key())
    if not symbols:
        return _sizes_nonnegative(expression)
    if depth >= _DEPTH:
        return False
    for symbol in symbols:
        factor = coefficient(expression, symbol)
        if factor is None or not factor.is_number:
            continue
        lowers, uppers = bounds[symbol]
        for extreme in lowers if factor > 0 else uppers:
            if symbol in extreme.free_symbols or extreme.has(sp.floor, sp.ceiling):
                continue
            if nonnegative(expression.xreplace({symbol: extreme}), bounds, depth + 1):
                return True
    return False


def _sizes_nonnegative(expression: Expr) -> bool:
    if expression.is_number:
        return bool(expression >= 0)
    symbols = expression.free_symbols
    if any(not s.is_positive for s in symbols):
        return False
    shifted = sp.expand(expression.xreplace({s: s + 1 for s in symbols}))
    return all(c.is_nonnegative for c in shifted.as_coefficients_dict().values())
