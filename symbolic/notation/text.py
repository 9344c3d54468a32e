"""Formulas as one line of Unicode, for a terminal: z_j⁽²⁾ = b_j⁽²⁾ + Σ_{k=0}^{m-1} w_jk⁽²⁾ · a_k⁽¹⁾."""

from __future__ import annotations

from .breaking import Piece, fill
from .names import GREEK, SIGNS, bold
from .printer import ADDITIVE, ATOM, FACTOR, LOOSE, POWER, RELATION, TERM, Printer, is_letter, short_script
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

__all__ = ["TEXT_WIDTH", "text", "text_name", "text_rows"]

TEXT_WIDTH = 100
"""The room for one line of a formula on a terminal, in characters."""

_BIG = {"sum": "Σ", "prod": "Π", "max": "max", "min": "min"}
_RAISED = dict(zip("0123456789+-()niL", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱᴸ", strict=True))


def text(node: Formula) -> str:
    """The formula on one line of Unicode."""
    return _Text()(node)


def text_name(name: str) -> str:
    """A user's name, Greek letters as such: `sigma` gives σ."""
    letters = name.rstrip("'")
    return GREEK.get(letters, letters) + "′" * (len(name) - len(letters))


def _raised(script: str) -> str | None:
    """The script in superscript characters, None where one is missing."""
    signs = [_RAISED.get(c) for c in script]
    return "".join(c for c in signs if c) if all(signs) else None


def text_rows(node: Formula, width: int = TEXT_WIDTH) -> list[str]:
    """The formula on as many lines as it needs, the sides of a chain below each other, terms kept whole."""
    if not isinstance(node, Chain) or len(text(node)) <= width:
        return [text(node)]
    first, *rest = node.sides
    head = text(first)
    pad = " " * len(head)
    rows: list[str] = []
    for m, side in enumerate(rest):
        filled = fill(_terms(side), max(width - len(head) - 3, width // 3))
        rows.append(f"{pad if m else head} = {filled[0]}")
        rows.extend(f"{pad}     {row}" for row in filled[1:])
    return rows


def _terms(node: Formula) -> list[list[Piece]]:
    if not isinstance(node, Add):
        return [[(text(node), len(text(node)))]]
    shown = _Text().terms(node, False)
    signed = [("" if not m else "- " if subtracted else "+ ") + term for m, (subtracted, term) in enumerate(shown)]
    return [[(term, len(term) + 1)] for term in signed]


class _Text(Printer):
    def enclose(self, node: Formula, text: str) -> str:
        return text if isinstance(node, Cases) else f"({text})"  # cases have braces already

    def number(self, node: Number, _: bool) -> str:
        return node.text

    def symbol(self, node: Symbol, _: bool) -> str:
        return text_name(node.name)

    def scripts(self, items: tuple[Formula, ...]) -> str:
        texts = [self.at(i, ADDITIVE, True) for i in items]
        if short_script(items) or all(t.isalnum() for t in texts):
            return ("" if short_script(items) else ",").join(texts)
        inside = ",".join(texts)
        return inside if isinstance(items[0], Parenthesised) else f"{{{inside}}}"

    def indexed(self, node: Indexed, _: bool) -> str:
        result = self.at(node.base, ATOM)
        if node.below:
            result += "_" + self.scripts(node.below)
        if node.above is None:
            return result
        above = self.at(node.above, ADDITIVE, True)
        label = above if is_letter(node.above) or isinstance(node.above, Parenthesised) else f"({above})"
        return result + (_raised(label) or f"^{{{above}}}")

    def parenthesised(self, node: Parenthesised, _: bool) -> str:
        return f"({','.join(self.at(i, ADDITIVE, True) for i in node.items)})"

    def accent(self, node: Accent, _: bool) -> str:
        return self(node.base) + "\N{COMBINING MACRON}"

    def primed(self, node: Primed, _: bool) -> str:
        return self.at(node.base, ATOM) + "′" * node.count

    def apply(self, node: Apply, tight: bool) -> str:
        inside = ", ".join(self.at(a, ADDITIVE, tight) for a in node.arguments)
        return f"{self.at(node.function, ATOM)}({inside})"

    def absolute(self, node: Absolute, tight: bool) -> str:
        return f"|{self.at(node.body, ADDITIVE, tight)}|"

    def root(self, node: Root, tight: bool) -> str:
        simple = isinstance(node.body, Number) or is_letter(node.body)
        body = self.at(node.body, ADDITIVE, tight)
        return f"√{body}" if simple else f"√({body})"

    def power(self, node: Power, tight: bool) -> str:
        exponent = self.at(node.exponent, ADDITIVE, True)
        base = self.base(node, tight)
        raised = _raised(exponent) if isinstance(node.exponent, Number) else None
        return base + (raised or (f"^{exponent}" if is_letter(node.exponent) else f"^({exponent})"))

    def fraction(self, node: Fraction, tight: bool) -> str:
        level = POWER if isinstance(node.numerator, Hadamard | MatrixProduct) else TERM
        above = self.at(node.numerator, FACTOR if isinstance(node.numerator, Big | Product) else level, tight)
        return f"{above}/{self.at(node.denominator, POWER, tight)}"

    def derivative(self, node: Derivative, tight: bool) -> str:
        return f"∂{self.at(node.of, ATOM, tight)}/∂{self.at(node.wrt, ATOM, tight)}"

    def product(self, node: Product, tight: bool) -> str:
        texts = self.factors(node, tight)
        return ("·" if tight else " · ").join(texts)

    def big(self, node: Big, tight: bool) -> str:
        below = f"{self.at(node.index, ATOM, True)}={self.at(node.lower, ADDITIVE, True)}"
        below = ", ".join([below, *(self.at(c, RELATION, True) for c in node.conditions)])
        above = self.at(node.upper, ADDITIVE, True)
        return f"{_BIG[node.kind]}_{{{below}}}^{{{above}}} {self.at(node.body, TERM, tight)}"

    def negative(self, node: Negative, tight: bool) -> str:
        return f"-{self.at(node.body, TERM, tight)}"

    def add(self, node: Add, tight: bool) -> str:
        return self.joined_terms(node, tight)

    def relation(self, node: Relation, tight: bool) -> str:
        sides = self.at(node.left, ADDITIVE, tight), self.at(node.right, ADDITIVE, tight)
        return f" {SIGNS[node.operator]} ".join(sides)

    def logic(self, node: Logic, tight: bool) -> str:
        if node.operator == "not":
            return f"not ({self.at(node.operands[0], LOOSE, tight)})"
        inner = [self.at(o, ADDITIVE if isinstance(o, Logic) else RELATION, tight) for o in node.operands]
        return f" {node.operator} ".join(inner)

    def bold(self, node: Bold, _: bool) -> str:
        return bold("1") if node.base.name == "1" else text_name(node.base.name)

    def transpose(self, node: Transpose, _: bool) -> str:
        return self.at(node.body, ATOM) + "ᵀ"

    def matrix_product(self, node: MatrixProduct, _: bool) -> str:
        return " ".join(self.operands(node.factors))

    def hadamard(self, node: Hadamard, _: bool) -> str:
        return " ⊙ ".join(self.operands(node.factors)) + "".join(f" ⊘ {d}" for d in self.operands(node.divisors))

    def element_power(self, node: ElementPower, tight: bool) -> str:
        return f"{self.base(node, tight)}^⊙{self.at(node.exponent, ATOM, True)}"

    def norm(self, node: Norm, tight: bool) -> str:
        return f"‖{self.at(node.body, ADDITIVE, tight)}‖" + ("_F" if node.frobenius else "")

    def cases(self, node: Cases, tight: bool) -> str:
        rows = [f"{self.at(v, ADDITIVE, tight)} if {self.at(c, RELATION)}" for v, c in node.branches]
        return f"{{{'; '.join([*rows, self.at(node.otherwise, ADDITIVE, tight) + ' otherwise'])}}}"

    def chain(self, node: Chain, tight: bool) -> str:
        return " = ".join(self.at(s, ADDITIVE, tight) for s in node.sides)
