"""One table of the reductions of the language: those that are evaluated as they are, and those made of them.

`name[k, …: conditions](body)` is built from its body, the ranges of its indices and its conditions, affine
expressions that must be >= 0. What stands here is read, differentiated and generated; nothing else knows its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import sympy as sp
from sympy import Expr, Integer

from .expressions import Range, Reduction, index

__all__ = ["REDUCTIONS", "Reducer"]

Reducer: TypeAlias = Callable[[Expr, list[Range], list[Expr]], Expr]


def _plain(kind: str) -> Reducer:
    return lambda body, ranges, guards: Reduction(kind, body, ranges, guards)


def _mean(body: Expr, ranges: list[Range], guards: list[Expr]) -> Expr:
    """Σ u over the number of combinations that take part."""
    total = Reduction("sum", body, ranges, guards)
    if not guards:
        return total / sp.Mul(*(r.upper - r.lower + 1 for r in ranges))
    twins = {r.symbol: index(r.symbol.name) for r in ranges}
    counted = [Range(twins[r.symbol], r.lower, r.upper) for r in ranges]
    return total / Reduction("sum", Integer(1), counted, [g.xreplace(twins) for g in guards])


def _logsumexp(body: Expr, ranges: list[Range], guards: list[Expr]) -> Expr:
    """log Σ exp(u); the stabilising pass subtracts the maximum."""
    return sp.log(Reduction("sum", sp.exp(body), ranges, guards))


REDUCTIONS: dict[str, Reducer] = {
    "sum": _plain("sum"),
    "mean": _mean,
    "max": _plain("max"),
    "min": _plain("min"),
    "prod": _plain("prod"),
    "logsumexp": _logsumexp,
}
"""Every reduction by its name. `Reduction` has the four kinds `sum`, `prod`, `max` and `min`."""
