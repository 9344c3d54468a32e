"""Sums inside a loop that do not depend on what the loop computes: done for all its steps at once, before it.

In h[t, i] = tanh(Σ_j u[i, j]·h[t-1, j] + Σ_k w[i, k]·x[t, k]) the second sum is one matrix product for
all t. Its result is no longer than h is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Expr, Integer

from chainrule.symbolic.affine import coefficient, edge, nonnegative
from chainrule.symbolic.expressions import Access, Range, accesses

from .nests import Nest, loop_order

__all__ = ["Lifted", "lifted"]


@dataclass(frozen=True)
class Lifted:
    """The nest over all steps of the loop, and where in its result the step at work stands.

    `subscripts` are those of the result: symbols of the nest's own left side, and the loop's index
    counted from the first step that takes part.
    """

    nest: Nest
    subscripts: tuple[Expr, ...]


def lifted(found: Nest, outer: Range, conditions: Iterable[Expr], changing: Collection[str]) -> Lifted | None:
    """The nest with the loop `outer` as one more loop of its own; None where that is no gain, or cannot be.

    `conditions` (>= 0) say which steps take part; `changing` are the buffers that the loop writes.
    """
    time = outer.symbol
    reads = {a.name for f in found.factors for a in accesses(f)}
    inside = any(time in f.free_symbols for f in found.factors)
    if found.kind != "sum" or not found.reduced or found.merges or not inside or reads & set(changing):
        return None
    span = _admitted(outer, conditions)
    if span is None:
        return None
    moved = {time: time + span.lower}
    whole = Range(time, Integer(0), sp.expand(span.upper - span.lower))
    longer = replace(
        found,
        kept=(whole, *found.kept),
        left=(whole, *found.left),
        factors=tuple(_moved(f, moved) for f in found.factors),
        guards=tuple(sp.expand(g.xreplace(moved)) for g in found.guards),
        conditions=(),
    )
    kept = tuple(r for r in loop_order(longer) if r in longer.kept)  # as the largest array that is read is stored
    subscripts = tuple(sp.expand(time - span.lower) if r is whole else r.symbol for r in kept)
    return Lifted(replace(longer, kept=kept), subscripts)


def _admitted(outer: Range, conditions: Iterable[Expr]) -> Range | None:
    """The steps at which all conditions hold; None where they are not bounds of the loop's index."""
    lower, upper = outer.lower, outer.upper
    for condition in conditions:
        limit = edge(condition, outer.symbol)
        if limit is None or any(isinstance(s, sp.Dummy) for s in limit.free_symbols):
            return None
        if coefficient(condition, outer.symbol) == 1:
            lower = limit if nonnegative(limit - lower, {}) else lower
            if not nonnegative(lower - limit, {}):
                return None
        else:
            upper = limit if nonnegative(upper - limit, {}) else upper
            if not nonnegative(limit - upper, {}):
                return None
    return Range(outer.symbol, lower, upper)


def _moved(expression: Expr, mapping: dict[Expr, Expr]) -> Expr:
    if isinstance(expression, Access):
        return Access(expression.name, *(sp.expand(i.xreplace(mapping)) for i in expression.indices))
    if not expression.args:
        return mapping.get(expression, expression)
    return expression.func(*(_moved(a, mapping) for a in expression.args))
