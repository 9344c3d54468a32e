"""In which order the loops of a reduction run: the innermost walks memory one by one where any can.

An index of the result may run inside the reduced ones: then a whole row of the result is added up at
once, and nothing waits for the sum before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sympy as sp
from sympy import Expr, Symbol

from chainrule.symbolic.affine import coefficient
from chainrule.symbolic.expressions import Access, Call, Range, Where, accesses, walk

__all__ = ["LoopOrder", "is_costly", "loop_order", "steps"]

_FREE = (Access, sp.Add, sp.Mul, Where, sp.Symbol, sp.Number, sp.NumberSymbol)
SHORT = 4
"""A loop of at most so many steps is better outside a longer one."""


@dataclass(frozen=True)
class LoopOrder:
    """Loops over indices of the result, then those over which it is summed, then the row of the result, if any."""

    outer: tuple[Symbol, ...]
    reduced: tuple[Symbol, ...]
    row: tuple[Symbol, ...]

    @property
    def inner(self) -> tuple[Symbol, ...]:
        return (*self.reduced, *self.row)


def is_costly(node: Expr) -> bool:
    """Whether evaluating the node itself takes longer than a load: a function, a root, a division."""
    if isinstance(node, Call):
        return True
    if isinstance(node, sp.Pow):
        return not (node.exp.is_Integer and 0 < node.exp <= 4)
    return bool(node.args) and isinstance(node, sp.Function)


def loop_order(
    out: Access,
    body: Expr,
    ranges: Sequence[Range],
    reduced: Sequence[Range],
    guards: Sequence[Expr],
    shapes: Mapping[str, Sequence[Expr]],
) -> LoopOrder:
    """The order for out = Σ body; the result's own indices keep theirs, and so do the reduced ones."""
    reads = accesses(body)
    costly = [n.free_symbols for n in walk(body) if is_costly(n)]

    def score(candidate: Range) -> tuple[int, int]:
        symbol = candidate.symbol
        spared = sum(1 for used in costly if symbol not in used)
        walks = sum(_walk(a, symbol, shapes[a.name]) for a in reads) + (symbol in out.free_symbols)
        return spared, walks - 4 * _short(candidate, guards)

    own = [r for r in ranges if r.symbol == out.indices[-1]] if out.indices else []
    candidates = [*own, *reversed(reduced)]
    best = max(candidates, key=score)
    kept = tuple(r.symbol for r in ranges)
    if best in own:
        return LoopOrder(tuple(s for s in kept if s != best.symbol), tuple(r.symbol for r in reduced), (best.symbol,))
    return LoopOrder(kept, (*(r.symbol for r in reduced if r != best), best.symbol), ())


def _walk(access: Access, symbol: Symbol, shape: Sequence[Expr]) -> int:
    """1 where the index walks the array one by one, -2 where it jumps, 0 where it stays."""
    step = steps(access, symbol, shape)
    return int(step) if step in (0, 1) else -2


def steps(access: Access, symbol: Symbol, shape: Sequence[Expr]) -> Expr:
    """How many elements further the access is where the index is one more."""
    step: Expr = sp.Integer(0)
    stride: Expr = sp.Integer(1)
    for subscript, extent in zip(reversed(access.indices), reversed(shape), strict=True):
        step += (coefficient(subscript, symbol) or 0) * stride
        stride *= extent
    return sp.expand(step)


def _short(candidate: Range, guards: Sequence[Expr]) -> bool:
    """Whether the loop runs a few times only: few values, or two guards that leave a window of them."""
    if candidate.extent.is_Integer:
        return bool(candidate.extent <= SHORT)
    sided = [(coefficient(g, candidate.symbol), g) for g in guards if candidate.symbol in g.free_symbols]
    sums = (sp.expand(b * u - a * v) for a, u in sided for b, v in sided if a and b and a.is_positive and b.is_negative)
    return any(s.is_Integer and abs(s) <= SHORT**2 for s in sums)
