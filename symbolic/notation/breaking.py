"""Where a long formula is broken: how wide it is, and which pieces share a row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .names import GREEK
from .tree import Add, Big, Cases, Chain, Derivative, Formula, Fraction, Indexed, Number, Symbol, children

__all__ = ["Piece", "fill", "node_width"]

Piece = tuple[str, float]
"""A text that is not broken, and its width."""


def fill(terms: Iterable[Sequence[Piece]], room: float) -> list[str]:
    """Rows of at most `room` where that can be: a term is broken only if it does not fit a row of its own."""
    rows = [""]
    used = 0.0
    for term in terms:
        size = sum(s for _, s in term)
        whole = size <= room
        for text, piece in [(" ".join(t for t, _ in term), size)] if whole else term:
            if rows[-1] and used + piece > room:
                rows.append("")
                used = 0.0
            rows[-1] = f"{rows[-1]} {text}".strip()
            used += piece
    return rows


def node_width(node: Formula) -> float:
    """Roughly how wide the formula is set, in characters of text size."""
    if isinstance(node, Number):
        return float(len(node.text))
    if isinstance(node, Symbol):
        return 1.0 if node.name in GREEK else float(len(node.name))
    if isinstance(node, Fraction):
        return max(node_width(node.numerator), node_width(node.denominator)) + 0.5
    if isinstance(node, Derivative):
        return max(node_width(node.of), node_width(node.wrt)) + 1.5
    if isinstance(node, Indexed):
        below = sum(node_width(i) for i in node.below)
        return node_width(node.base) + 0.7 * max(below, node_width(node.above) if node.above else 0.0)
    if isinstance(node, Cases):
        return max(node_width(v) + node_width(c) for v, c in node.branches) + 8
    if isinstance(node, Big):
        return 4.0 + node_width(node.body)
    inner = [node_width(n) for n in children(node)]
    gap = 3.0 if isinstance(node, Add | Chain) else 1.5
    return sum(inner) + gap * max(len(inner) - 1, 1)
