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

from .affine import Bounds, bounds_of, box, coefficient, edge, lower_bounds, nonnegative, upper_bounds
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
    return _guards_to_bounds(term, ranges)


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
    bound, cut = _without(term.bound, symbol)
    return Term(
        tuple(freshen(f, mapping) for f in term.factors) + ((Integer(0),) if Integer(0) in deltas else ()),
        bound,
        tuple(d for d in deltas if isinstance(d, Delta)),
        tuple(sp.expand(g.xreplace(mapping)) for g in (*term.guards, *cut, *guards)),
    )


def _without(ranges: Sequence[Range], symbol: Dummy) -> tuple[tuple[Range, ...], list[Expr]]:
    """The ranges without that index; bounds that mention it become guards, and leave a wider bound behind.

    So no bound can come to refer to its own index, or to one that is bound after it.
    """
    if not any(symbol in (r.lower.free_symbols | r.upper.free_symbols) for r in ranges):
        return tuple(r for r in ranges if r.symbol != symbol), []
    wide = {r.symbol: r for r in box(ranges)}
    guards: list[Expr] = []
    kept: list[Range] = []
    for r in ranges:
        if r.symbol == symbol:
            continue
        lowers, uppers = lower_bounds(r), upper_bounds(r)
        guards += [r.symbol - b for b in lowers if symbol in b.free_symbols]
        guards += [b - r.symbol for b in uppers if symbol in b.free_symbols]
        low = [b for b in lowers if symbol not in b.free_symbols] or [wide[r.symbol].lower]
        high = [b for b in uppers if symbol not in b.free_symbols] or [wide[r.symbol].upper]
        kept.append(Range(r.symbol, Max(*low), Min(*high)))
    return tuple(kept), guards


def _unproved(term: Term, ranges: Sequence[Range]) -> tuple[Expr, ...]:
    known = bounds_of([*ranges, *term.bound])
    return tuple(g for g in dict.fromkeys(sp.expand(g) for g in term.guards) if not nonnegative(g, known))


def _guards_to_bounds(term: Term, ranges: Sequence[Range]) -> Term:
    """Guards that bound one of the term's own indices by those before it become that index's bounds."""
    order = [r.symbol for r in term.bound]
    lowers = {r.symbol: list(lower_bounds(r)) for r in term.bound}
    uppers = {r.symbol: list(upper_bounds(r)) for r in term.bound}
    kept = []
    for guard in term.guards:
        last = next((v for v in reversed(order) if v in guard.free_symbols), None)
        limit = None if last is None else edge(guard, last)
        if last is None or limit is None:
            kept.append(guard)
        else:
            (lowers if coefficient(guard, last) == 1 else uppers)[last].append(limit)
    bound: list[Range] = []
    for v in order:
        known = bounds_of([*ranges, *bound])
        bound.append(Range(v, Max(*_tightest(lowers[v], 1, known)), Min(*_tightest(uppers[v], -1, known))))
    return replace(term, bound=tuple(bound), guards=tuple(kept))


def _tightest(limits: Sequence[Expr], sign: int, known: Bounds) -> list[Expr]:
    """The limits without those that another one implies (sign 1: the greatest count, -1: the least)."""
    kept: list[Expr] = []
    for limit in limits:
        if not any(nonnegative(sign * (other - limit), known) for other in kept):
            kept = [other for other in kept if not nonnegative(sign * (limit - other), known)]
            kept.append(limit)
    return kept


def hoist(term: Term) -> Term:
    """Factors without a bound index stand before the sum: Σ_k c f_k = c Σ_k f_k.

    An access must never leave a sum that may be empty for some free indices: those say where it can be
    read. So only factors whose accesses are bare go, and none from a sum whose bounds depend on a free
    index. What stays is one Reduction, and a sum over nothing but a count becomes that count.
    """
    if not term.bound or term.guards or term.deltas:
        return term
    symbols = {r.symbol for r in term.bound}
    fixed = not any(isinstance(v, Dummy) for r in term.bound for v in (r.lower - r.upper).free_symbols - symbols)
    outside = [f for f in term.factors if not f.free_symbols & symbols and (_plain(f) if fixed else not accesses(f))]
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
