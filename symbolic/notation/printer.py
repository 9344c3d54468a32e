"""What the printers share: the walk, and where parentheses are needed.

A printer gives one method for each kind of node; `Printer.at` puts parentheses around a node that
binds more loosely than its place asks for.
"""

from __future__ import annotations

from collections.abc import Iterable

from .tree import (
    Absolute,
    Accent,
    Add,
    Apply,
    Big,
    Bold,
    Cases,
    Chain,
    Derivative,
    ElementPower,
    Formula,
    Fraction,
    Hadamard,
    Indexed,
    Logic,
    MatrixProduct,
    Negative,
    Norm,
    Number,
    Parenthesised,
    Power,
    Primed,
    Product,
    Relation,
    Root,
    Symbol,
    Transpose,
)

__all__ = [
    "ADDITIVE",
    "ATOM",
    "FACTOR",
    "LOOSE",
    "MATRIX",
    "POWER",
    "RELATION",
    "TERM",
    "Printer",
    "is_letter",
    "short_script",
]

LOOSE, RELATION, ADDITIVE, TERM, FACTOR, MATRIX, POWER, ATOM = 0, 10, 20, 30, 40, 45, 50, 60
"""How tightly a node binds: a chain least, a sum's term (product, Σ) less than a factor, an atom most.

Scalars may stand before a matrix product or ⊙ as before any factor; these two take parentheses in each other.
"""

_METHODS: dict[type[Formula], tuple[str, int]] = {
    Number: ("number", ATOM),
    Symbol: ("symbol", ATOM),
    Indexed: ("indexed", ATOM),
    Parenthesised: ("parenthesised", ATOM),
    Accent: ("accent", ATOM),
    Primed: ("primed", ATOM),
    Apply: ("apply", ATOM),
    Absolute: ("absolute", ATOM),
    Root: ("root", ATOM),
    Bold: ("bold", ATOM),
    Norm: ("norm", ATOM),
    Power: ("power", POWER),
    ElementPower: ("element_power", POWER),
    Transpose: ("transpose", POWER),
    MatrixProduct: ("matrix_product", MATRIX),
    Hadamard: ("hadamard", MATRIX),
    Fraction: ("fraction", FACTOR),
    Derivative: ("derivative", FACTOR),
    Product: ("product", TERM),
    Big: ("big", TERM),
    Negative: ("negative", ADDITIVE),
    Add: ("add", ADDITIVE),
    Cases: ("cases", ADDITIVE),
    Relation: ("relation", RELATION),
    Logic: ("logic", RELATION),
    Chain: ("chain", LOOSE),
}


class Printer:
    """The walk over a tree; `tight` asks for the form used in scripts."""

    minus = "-"

    def __call__(self, node: Formula) -> str:
        return self.at(node, LOOSE)

    def at(self, node: Formula, level: int, tight: bool = False) -> str:
        """The node in a place that asks for at least that level."""
        name, binds = _METHODS[type(node)]
        text: str = getattr(self, name)(node, tight)
        return text if binds >= level else self.enclose(node, text)

    def factors(self, node: Product, tight: bool) -> list[str]:
        """The factors' texts; Σ and products of matrices go without parentheses only in the last place."""
        *front, last = node.factors
        texts = [self.at(f, POWER if isinstance(f, MatrixProduct | Hadamard) else FACTOR, tight) for f in front]
        return [*texts, self.at(last, TERM if isinstance(last, Big) else FACTOR, tight)]

    def terms(self, node: Add, tight: bool) -> list[tuple[bool, str]]:
        """The terms of a sum as (subtracted, text); only the first keeps a minus of its own."""
        shown = []
        for m, term in enumerate(node.terms):
            subtracted = isinstance(term, Negative)
            body = term.body if isinstance(term, Negative) else term
            shown.append((subtracted, f"{self.minus if subtracted and not m else ''}{self.at(body, TERM, tight)}"))
        return shown

    def joined_terms(self, node: Add, tight: bool) -> str:
        """The terms of a sum with signs between them, spaced except in scripts."""
        plus, minus = ("+", "-") if tight else (" + ", " - ")
        (_, text), *rest = self.terms(node, tight)
        return text + "".join((minus if subtracted else plus) + term for subtracted, term in rest)

    def operands(self, nodes: Iterable[Formula]) -> list[str]:
        """The factors of a matrix product or of ⊙: products of the other kind in parentheses."""
        return [self.at(n, POWER) for n in nodes]

    def base(self, node: Power | ElementPower, tight: bool) -> str:
        """The base of a power; a tensor's element takes parentheses, since its superscript is a layer."""
        scripted = isinstance(node.base, Indexed | Root | Accent)
        text = self.at(node.base, ATOM, tight)
        return self.enclose(node.base, text) if scripted else text

    def enclose(self, _: Formula, text: str) -> str:
        """The text in parentheses (that fit the node's height, where the notation has such)."""
        return f"({text})"


def is_letter(node: Formula) -> bool:
    """Whether the node is a symbol of one letter (`k`, `L`, also with a prime)."""
    return isinstance(node, Symbol) and len(node.name.rstrip("'")) == 1


def short_script(items: tuple[Formula, ...]) -> bool:
    """Whether indices can stand side by side without a comma: w_{ji}."""
    return all(is_letter(i) for i in items)
