"""What is summed, factor by factor: which of them leave the sum, which divide, which are known with a guard applied."""

from __future__ import annotations

from dataclasses import dataclass, replace

import sympy as sp
from sympy import Expr, Integer

from chainrule.symbolic.expressions import accesses

from .elementwise import Elementwise
from .values import Graph, Operand

__all__ = ["Sum", "factors", "recalled"]


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


def recalled(graph: Graph, elementwise: Elementwise, wanted: Sum) -> tuple[Sum, list[Operand]]:
    """The sum without one factor that is at hand with 0 where the guards on kept axes fail, and that factor."""
    symbols = elementwise.loops.symbols
    summed = {symbols[a] for a in wanted.reduced}
    guards = [g for g in wanted.guards if not g.free_symbols & summed]
    used = {s for g in guards for s in g.free_symbols if s in symbols}
    for m, factor in enumerate(wanted.factors if guards else ()):
        if not used <= factor.free_symbols or factor.free_symbols & summed or not isinstance(factor, sp.exp):
            continue
        excluded = elementwise.holds(sp.Or(*(sp.Lt(g, 0) for g in guards)))
        found = elementwise.recalled(excluded, elementwise.build(factor))
        if found is None:
            continue
        rest = [f for n, f in enumerate(wanted.factors) if n != m]
        for divisor in [f for f in rest if isinstance(f, sp.Pow) and f.exp == -1 and not f.free_symbols & summed]:
            quotient = graph.find(
                "ufunc", "divide", [found, elementwise.build(divisor.base)], elementwise.loops.extents
            )
            if quotient is not None:
                rest.remove(divisor)
                found = quotient
        left = tuple(g for g in wanted.guards if g not in guards)
        return replace(wanted, factors=tuple(rest), guards=left), [found]
    return wanted, []


def factors(elementwise: Elementwise, wanted: Sum) -> tuple[Expr, list[Operand], list[Operand]]:
    """What is summed as constant · factors inside the sum · factors that can stand outside."""
    symbols = elementwise.loops.symbols
    summed = {symbols[a] for a in wanted.reduced}
    constant, inside, outside = Integer(1), [], []
    for factor in wanted.factors:
        if not accesses(factor) and not factor.free_symbols & set(symbols):
            constant *= factor
        elif factor.free_symbols & summed:
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
