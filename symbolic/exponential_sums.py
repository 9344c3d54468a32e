"""What is told of Σ_k exp(u_k): whether a factor is a term of it, divides by it, or is weighted by its terms."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp
from sympy import Dummy, Expr

from .affine import nonnegative
from .expressions import Range, Reduction, accesses, alpha_key

__all__ = ["covers", "divides", "is_term", "matches", "storable", "sum_of_exp", "weighted_sums"]


def sum_of_exp(expression: Expr) -> bool:
    return isinstance(expression, Reduction) and expression.kind == "sum" and isinstance(expression.body, sp.exp)


def weighted_sums(factors: Sequence[Expr]) -> list[Expr]:
    """Σ_i exp(u_i) b_i / Σ_k exp(u_k) as Σ_i (exp(u_i) / Σ_k exp(u_k)) b_i, for every such pair of factors."""
    factors = list(factors)
    while True:
        pairs = ((f, q) for q in factors if divides(q) for f in factors if _has_term(f, q.base))
        weighted, quotient = next(pairs, (None, None))
        if weighted is None or quotient is None:
            return factors
        factors.remove(weighted)
        factors.remove(quotient)
        total, power = quotient.base, quotient.exp
        factors.append(Reduction("sum", weighted.body / total, weighted.ranges, weighted.guards))
        factors.extend([total ** (power + 1)] if power != -1 else [])


def _has_term(factor: Expr, total: Reduction) -> bool:
    """Whether the factor sums over products with a term of the other sum, none of them divided by it yet."""
    if not isinstance(factor, Reduction) or factor.kind != "sum" or len(total.ranges) != 1:
        return False
    terms = sp.Mul.make_args(factor.body)
    return any(isinstance(t, sp.exp) and matches(t, total, r) for t in terms for r in factor.ranges) and not any(
        divides(t) and alpha_key(t.base) == alpha_key(total) for t in terms
    )


def divides(factor: Expr) -> bool:
    """Whether the factor is (Σ_k exp(u_k))⁻ⁿ."""
    return isinstance(factor, sp.Pow) and factor.exp.is_Integer and factor.exp < 0 and sum_of_exp(factor.base)


def matches(numerator: Expr, total: Reduction, bound: Range) -> bool:
    """Whether the numerator is the term of the sum, over one index, at that index."""
    (symbol, *others) = total.bound_symbols
    return not others and total.body.xreplace({symbol: bound.symbol}) == numerator


def is_term(numerator: Expr, total: Reduction, bound: Range) -> bool:
    """Whether the numerator is the term of the sum at an index of the same range."""
    own = total.ranges[0]
    return (bound.lower, bound.upper) == (own.lower, own.upper) and matches(numerator, total, bound)


def covers(whole: Range, part: Range) -> bool:
    """Whether the one range is known to hold the other."""
    same = (whole.lower, whole.upper) == (part.lower, part.upper)
    return same or (nonnegative(part.lower - whole.lower, {}) and nonnegative(whole.upper - part.upper, {}))


def storable(total: Reduction) -> bool:
    """Whether the sum's terms are worth a tensor: over one index from 0, without conditions, and no larger than
    a tensor that they read."""
    (first, *others) = total.ranges
    dependent = any(isinstance(v, Dummy) for v in first.upper.free_symbols)
    indices = {v for v in total.body.free_symbols if isinstance(v, Dummy)}
    large = any(indices <= a.free_symbols for a in accesses(total.body))
    return large and not others and not total.guards and first.lower == 0 and not dependent
