"""The order of paper: which factor and which term a person would write first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import sympy as sp
from sympy import Expr

from ..expressions import Access, Call, Delta, Partial, Reduction, Where, contains
from .latex import latex
from .tree import Add, Apply, Big, Formula, Fraction, Indexed, Negative, Number, Product, Symbol, add

if TYPE_CHECKING:
    from .show import Notation

__all__ = ["CONSTANT", "holds_values", "ordered_factors", "ordered_sum", "rank"]

CONSTANT = 1
"""The highest rank of a factor without any tensor or function in it."""


def rank(factor: Expr, notation: Notation) -> int:
    """The place of a factor in a product.

    0 numbers, 1 sizes and indices, 2 ∂cost/∂x, 3 derivatives, 4 parameters, 5 other tensors, 6 all
    else, 7 conditions, 8 δ, 9 sums.
    """
    base = factor.args[0] if isinstance(factor, sp.Pow) else factor
    if isinstance(base, Access):
        return 2 if base.name in notation.adjoints else 4 if base.name in notation.parameters else 5
    if base.is_Symbol and not base.is_integer:
        return 5
    if isinstance(base, Partial) or (isinstance(base, Call) and any(base.orders)):
        return 3
    for kind, place in ((Reduction, 9), (Delta, 8), (Where, 7)):
        if isinstance(base, kind):
            return place
    if holds_values(factor):
        return 6
    return 1 if factor.free_symbols else 0


def holds_values(expression: Expr) -> bool:
    """Whether tensors or functions stand in it; else it is made of numbers, sizes and indices."""

    def value(node: Expr) -> bool:
        return isinstance(node, Access | Call | sp.Function) or bool(node.is_Symbol and not node.is_integer)

    return contains(expression, value)


def ordered_factors(factors: Iterable[tuple[int, Formula]]) -> list[Formula]:
    """The factors by rank, and within a rank by how they read."""
    return [f for _, _, f in sorted(((r, latex(f), f) for r, f in factors), key=lambda item: item[:2])]


def ordered_sum(terms: Iterable[Formula], *, numbers_last: bool = False) -> Formula:
    """The sum of the terms: added ones before subtracted ones, plain ones before products, sums last.

    A number comes first (1 - a), or last among indices and sizes (k + 1).
    """
    flat = [t for term in terms for t in (term.terms if isinstance(term, Add) else (term,)) if t != Number("0")]

    def key(term: Formula) -> tuple[bool, int, str]:
        body = term.body if isinstance(term, Negative) else term
        number = isinstance(body, Number) or (isinstance(body, Fraction) and isinstance(body.numerator, Number))
        return isinstance(term, Negative), (3 if numbers_last else -1) if number else _weight(body), latex(body)

    return add(sorted(flat, key=key))


def _weight(term: Formula) -> int:
    if isinstance(term, Big):
        return 2
    if isinstance(term, Product):
        return max(1, *(_weight(f) for f in term.factors))
    return 0 if isinstance(term, Symbol | Indexed | Apply) else 1
