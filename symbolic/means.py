"""Sums of deviations from a mean are zero: Σ_k (x_k - μ) = 0 where μ = (Σ_k x_k)/n.

The mean may be a tensor that an equation defines, or stand in the sum itself. Derivatives of anything
centred hold such sums: without them, no kernel adds up rounding errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import sympy as sp
from sympy import Dummy, Expr, Integer

from .affine import nonnegative
from .expressions import Access, Reduction, alpha_key, freshen, rebuild
from .system import Equation, System

__all__ = ["without_deviations"]


def without_deviations(system: System) -> Callable[[Expr], Expr]:
    """What puts 0 in the place of every sum of deviations from a mean, by the equations of this System."""
    means = {e.name: e for e in system.equations if _defines_sum(e) and len(system.defining(e.name)) == 1}

    def visit(node: Expr) -> Expr:
        if isinstance(node, Access):
            return node
        plain = isinstance(node, Reduction) and node.kind == "sum" and not node.guards
        if plain and any(_cancels(part, means) for part in _separate_sums(node)):
            return Integer(0)
        return rebuild(node, [visit(a) for a in node.args])

    return visit


def _defines_sum(equation: Equation) -> bool:
    return all(isinstance(i, Dummy) for i in equation.indices) and _is_scaled_sum(equation.value)


def _is_scaled_sum(value: Expr) -> bool:
    """Whether the value is one sum times numbers and sizes, without an index."""
    factors = sp.Mul.make_args(value)
    sums = [f for f in factors if isinstance(f, Reduction) and f.kind == "sum"]
    return len(sums) == 1 and all(f in sums or not f.atoms(Access, Dummy) for f in factors)


def _separate_sums(total: Reduction) -> Iterator[Reduction]:
    """Σ_{k,l} u_k v_l as its factors Σ_k u_k and Σ_l v_l: the sums whose indices no other factor has."""
    factors = sp.Mul.make_args(total.body)
    bound = set(total.bound_symbols)
    if any((r.lower.free_symbols | r.upper.free_symbols) & bound for r in total.ranges):
        return
    for factor in factors:
        own = (factor.free_symbols & bound).difference(*(f.free_symbols for f in factors if f is not factor))
        if isinstance(factor, sp.Add) and own:
            yield Reduction("sum", factor, [r for r in total.ranges if r.symbol in own])


def _cancels(total: Reduction, means: Mapping[str, Equation]) -> bool:
    """Whether the sum is Σ (c·u - c·(Σ u)/n) over n terms."""
    bound = set(total.bound_symbols)
    fixed = [t for t in total.body.args if not t.free_symbols & bound]
    if len(fixed) != 1 or any(r.lower != 0 or not nonnegative(r.extent - 1, {}) for r in total.ranges):
        return False
    extent = sp.Mul(*(r.extent for r in total.ranges))
    mean = sp.Mul(*(_opened(f, means) for f in sp.Mul.make_args(fixed[0])))
    if not _is_scaled_sum(mean):
        return False
    (inner,) = (f for f in sp.Mul.make_args(mean) if isinstance(f, Reduction))
    scale = sp.cancel(-extent * mean / inner)
    rest = Reduction("sum", sp.expand(total.body - fixed[0]), total.ranges)
    same = Reduction("sum", sp.expand(scale * inner.body), inner.ranges, inner.guards)
    return bool(alpha_key(rest) == alpha_key(same))


def _opened(factor: Expr, means: Mapping[str, Equation]) -> Expr:
    """The factor, or what defines it where it is such a sum."""
    if not isinstance(factor, Access) or factor.name not in means:
        return factor
    equation = means[factor.name]
    return freshen(equation.value, dict(zip(equation.indices, factor.indices, strict=True)))
