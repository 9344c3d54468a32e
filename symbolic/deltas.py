"""Kronecker deltas solved over the integers for bound indices: Σ_k δ_{ki} f_k = f_i.

A delta whose bound index has a coefficient of ±1 is solved for it; the bounds of that index become
guards, the provable ones vanish, the rest bound another index or stay. A delta without such an index
(a stride) stays as it is: correct as written, a scatter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import sympy as sp
from sympy import Dummy, Expr, Integer, Max, Min

from .affine import bounds_of, coefficient, integral, lower_bounds, nonnegative, upper_bounds
from .expressions import Delta, Range, Reduction, accesses, freshen, walk
from .terms import Term

__all__ = ["collapse", "hoist"]


def collapse(term: Term, ranges: Sequence[Range]) -> Term:
    """The term with every solvable delta used up; `ranges` are the free indices with their bounds.

    Σ_{I,K} Π δ(J, f(I,K)) · factors  →  Σ_{the rest} [bounds that remain] · factors at the solution.
    """
    while True:
        choice = min(_solutions(term, ranges), key=lambda c: c[:3], default=None)
        if choice is None:
            break
        _, _, position, symbol, solution, guards = choice
        term = _substitute(term, position, symbol, solution, guards)
    term = replace(term, guards=_unproved(term, ranges))
    return _guards_to_bounds(term)


def _solutions(term: Term, ranges: Sequence[Range]) -> Iterator[tuple[int, int, int, Dummy, Expr, list[Expr]]]:
    """Every (unproved guards, size, delta, index, solution, guards); the best has the fewest guards."""
    for position, delta in enumerate(term.deltas):
        left, right = delta.args
        difference = sp.expand(left - right)
        scale = sp.ilcm(1, *(c.q for c in difference.as_coefficients_dict().values() if c.is_Rational))
        difference = sp.expand(scale * difference)
        for bound in term.bound:
            factor = coefficient(difference, bound.symbol)
            if factor not in (1, -1):
                continue
            solution = sp.expand(bound.symbol - difference / factor)
            rest = [r for r in term.bound if r.symbol != bound.symbol]
            known = bounds_of([*ranges, *rest])
            guards = [solution - low for low in lower_bounds(bound)] + [up - solution for up in upper_bounds(bound)]
            guards = [sp.expand(g.xreplace({bound.symbol: solution})) for g in guards]
            missing = sum(not nonnegative(g, known) for g in guards)
            yield missing, len(solution.args), position, bound.symbol, solution, guards


def _substitute(term: Term, position: int, symbol: Dummy, solution: Expr, guards: list[Expr]) -> Term:
    mapping = {symbol: solution}
    deltas = [d.xreplace(mapping) for m, d in enumerate(term.deltas) if m != position]
    bound = tuple(
        Range(r.symbol, r.lower.xreplace(mapping), r.upper.xreplace(mapping)) for r in term.bound if r.symbol != symbol
    )
    return Term(
        tuple(freshen(f, mapping) for f in term.factors) + ((Integer(0),) if Integer(0) in deltas else ()),
        bound,
        tuple(d for d in deltas if isinstance(d, Delta)),
        tuple(sp.expand(g.xreplace(mapping)) for g in term.guards) + tuple(guards),
    )


def _unproved(term: Term, ranges: Sequence[Range]) -> tuple[Expr, ...]:
    known = bounds_of([*ranges, *term.bound])
    return tuple(g for g in dict.fromkeys(sp.expand(g) for g in term.guards) if not nonnegative(g, known))


def _guards_to_bounds(term: Term) -> Term:
    """Guards that bound one of the term's own indices by the others become that index's bounds."""
    order = [r.symbol for r in term.bound]
    lowers = {r.symbol: list(lower_bounds(r)) for r in term.bound}
    uppers = {r.symbol: list(upper_bounds(r)) for r in term.bound}
    kept = []
    for guard in term.guards:
        symbol = next((v for v in reversed(order) if coefficient(guard, v) in (1, -1)), None)
        if symbol is None:
            kept.append(guard)
            continue
        factor = coefficient(guard, symbol)
        edge = sp.expand(-(guard - factor * symbol) / factor)
        if not integral(edge):
            kept.append(guard)
        else:
            (lowers if factor == 1 else uppers)[symbol].append(edge)
    bound = tuple(Range(v, Max(*lowers[v]), Min(*uppers[v])) for v in order)
    return replace(term, bound=bound, guards=tuple(kept))


def hoist(term: Term) -> Term:
    """Factors without a bound index stand before the sum: Σ_k c f_k = c Σ_k f_k.

    Only factors whose every access is in range whatever the sum's bounds are moved (an access must
    never leave a possibly empty sum); what stays is one Reduction, and a sum over nothing but a
    count becomes that count.
    """
    if not term.bound or term.guards or term.deltas:
        return term
    symbols = {r.symbol for r in term.bound}
    outside = [f for f in term.factors if not f.free_symbols & symbols and _plain(f)]
    inside = [f for f in term.factors if f not in outside]
    if not inside:
        extents = [r.extent for r in term.bound]
        if all(nonnegative(e, {}) for e in extents):
            return Term((*extents, *outside))
        inside = [Integer(1)]
    if not outside:
        return term
    return Term((*outside, Reduction("sum", sp.Mul(*inside), term.bound)))


def _plain(factor: Expr) -> bool:
    """Whether every access in the factor has bare indices (which are in range by their own bounds)."""
    bound = {s for node in walk(factor) if isinstance(node, Reduction) for s in node.bound_symbols}
    return all(isinstance(i, Dummy | Integer) or i in bound for a in accesses(factor) for i in a.indices)
