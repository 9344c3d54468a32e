"""What is summed, factor by factor: which of them leave the sum, and which divide."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp
from sympy import Expr, Integer

from chainrule.symbolic.domains import finite_everywhere
from chainrule.symbolic.expressions import accesses

from .elementwise import Elementwise
from .values import Operand

__all__ = ["Sum", "factors"]


@dataclass(frozen=True)
class Sum:
    """`kind` of the product of `factors` over the axes `reduced`, where all guards are >= 0; `kept` are the axes left.

    Factors and guards are written in the loops' symbols; axes are numbers of loops. `name` is the result's.
    """

    kind: str
    factors: tuple[Expr, ...]
    guards: tuple[Expr, ...]
    kept: tuple[int, ...]
    reduced: tuple[int, ...]
    name: str


def factors(elementwise: Elementwise, wanted: Sum) -> tuple[Expr, list[Operand], list[Operand]]:
    """What is summed as constant · factors inside the sum · factors that can stand outside."""
    symbols = elementwise.loops.symbols
    summed = {symbols[a] for a in wanted.reduced}
    constant, inside, outside = Integer(1), [], []
    for factor in wanted.factors:
        if not accesses(factor) and not factor.free_symbols & set(symbols):
            constant *= factor
        elif factor.free_symbols & summed or (wanted.guards and not finite_everywhere(factor)):
            inside.append(factor)
        else:
            outside.append(factor)
    inside = _quotients(inside, set(symbols))
    parts: list[Operand] = []
    rows = wanted.reduced == (len(symbols) - 1,)
    plain = (rows or not wanted.kept) and not wanted.guards and len(inside) == 1
    for factor in inside:
        square = plain and isinstance(factor, sp.Pow) and factor.exp == 2
        parts.extend([elementwise.build(factor.base)] * 2 if square else [elementwise.build(factor)])
    outer = [elementwise.build(sp.Mul(*outside))] if outside else []
    return constant, parts, outer


def _quotients(factors: list[Expr], loops: set[Expr]) -> list[Expr]:
    """The factors, each divisor with those that run over its indices or the fewest more: one division for both."""
    divisors = [f for f in factors if isinstance(f, sp.Pow) and f.exp.is_negative]
    others = [f for f in factors if f not in divisors]
    for divisor in divisors:
        own = divisor.free_symbols & loops
        homes = [f.free_symbols & loops for f in others if own <= f.free_symbols]
        if not homes:
            others.append(divisor)
            continue
        home = min(homes, key=len)
        joined = [f for f in others if f.free_symbols & loops == home]
        others = [*(f for f in others if f not in joined), sp.Mul(divisor, *joined)]
    return others
