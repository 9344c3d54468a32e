"""The values a derivation is made of: ordered terms, and steps that turn terms into terms."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import sympy as sp
from sympy import Expr

from .expressions import Access, Delta, Partial, Range, Reduction

__all__ = ["Rule", "Step", "Term", "total"]


class Rule(Enum):
    """The rules of differentiation; the value is the name shown to a reader."""

    DEFINITION = "definition"
    CHAIN = "chain rule"
    SUM = "derivative of a sum"
    PRODUCT = "product rule"
    POWER = "power rule"
    KRONECKER = "Kronecker delta"
    COLLAPSE = "collapsed sum"
    KNOWN = "known result"
    LOCAL = "substituted derivative"
    SIMPLIFY = "simplified"


@dataclass(frozen=True)
class Term:
    """sum over `bound` of [guards >= 0] · product of deltas · product of factors.

    The factors keep the order in which the rules wrote them (a SymPy product would not).
    """

    factors: tuple[Expr, ...]
    bound: tuple[Range, ...] = ()
    deltas: tuple[Delta, ...] = ()
    guards: tuple[Expr, ...] = ()

    @property
    def expression(self) -> Expr:
        """The term as one SymPy expression."""
        product = sp.Mul(*self.deltas, *self.factors)
        if not self.bound and not self.guards:
            return product
        return Reduction("sum", product, self.bound, self.guards)


def total(terms: tuple[Term, ...]) -> Expr:
    """The sum of the terms as one SymPy expression."""
    return sp.Add(*(t.expression for t in terms))


@dataclass(frozen=True)
class Step:
    """One application of one rule: `subject` = … = `before` = `after`.

    `subject` is the derivative asked for (a Partial), or the tensor element being defined.
    `identity` is stable: the same System gives the same identities ("dw.2": second step of ∂cost/∂w).
    """

    identity: str
    rule: Rule
    subject: Partial | Access
    before: tuple[Term, ...]
    after: tuple[Term, ...]
    why: str = field(default="", compare=False)
