"""What the printers share: the walk, and where parentheses are needed.

A printer gives one method for each kind of node; `Printer.at` puts parentheses around a node that
binds more loosely than its place asks for.
"""

from __future__ import annotations

from .tree import (
    Absolute,
    Accent,
    Add,
    Apply,
    Big,
    Cases,
    Chain,
    Derivative,
    Formula,
    Fraction,
    Indexed,
    Logic,
    Negative,
    Number,
    Parenthesised,
    Power,
    Primed,
    Product,
    Relation,
    Root,
    Symbol,
)

__all__ = ["ADDITIVE", "ATOM", "FACTOR", "LOOSE", "POWER", "RELATION", "TERM", "Printer", "is_letter", "short_script"]

LOOSE, RELATION, ADDITIVE, TERM, FACTOR, POWER, ATOM = 0, 10, 20, 30, 40, 50, 60
"""How tightly a node binds: a chain least, a sum's term (product, Σ) less than a factor, an atom most."""

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
    Power: ("power", POWER),
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
        """The factors' texts; Σ without parentheses is good only in the last place: it takes all that follows."""
        *front, last = node.factors
        texts = [self.at(f, FACTOR, tight) for f in front]
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

    def base(self, node: Power, tight: bool) -> str:
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
