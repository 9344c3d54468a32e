"""Formulas as MathML (Core), which browsers show without any script or network."""

from __future__ import annotations

from html import escape

from .names import GREEK, SIGNS, bold
from .printer import ADDITIVE, ATOM, FACTOR, LOOSE, RELATION, TERM, Printer, is_letter, short_script
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

__all__ = ["mathml"]

_BIG = {"sum": "∑", "prod": "∏", "max": "max", "min": "min"}


def mathml(node: Formula, *, display: bool = True, label: str = "") -> str:
    """A complete `<math>` element, words before it where there is a label; `display` sets it on a line of its own."""
    kind = ' display="block"' if display else ""
    words = f"<mtext>{escape(label)}:&#160;</mtext>" if label else ""
    return f'<math xmlns="http://www.w3.org/1998/Math/MathML"{kind}>{words}{_MathML()(node)}</math>'


def _row(*parts: str) -> str:
    return f"<mrow>{''.join(parts)}</mrow>"


def _operator(sign: str) -> str:
    return f"<mo>{escape(sign)}</mo>"


class _MathML(Printer):
    minus = _operator("−")

    def enclose(self, _: Formula, text: str) -> str:
        return _row(_operator("("), text, _operator(")"))

    def joined(self, texts: list[str], sign: str) -> str:
        return _row(_operator(sign).join(texts))

    def number(self, node: Number, _: bool) -> str:
        return f"<mn>{escape(node.text)}</mn>"

    def symbol(self, node: Symbol, _: bool) -> str:
        letters = node.name.rstrip("'")
        name = escape(GREEK.get(letters, letters)) + "′" * (len(node.name) - len(letters))
        return f"<mi>{name}</mi>"

    def script(self, items: tuple[Formula, ...]) -> str:
        texts = [self.at(i, ADDITIVE, True) for i in items]
        return _row(*texts) if short_script(items) else self.joined(texts, ",")

    def indexed(self, node: Indexed, _: bool) -> str:
        base = self.at(node.base, ATOM)
        below = self.script(node.below) if node.below else ""
        above = self.at(node.above, ADDITIVE, True) if node.above is not None else ""
        tag = "msubsup" if below and above else "msub" if below else "msup" if above else "mrow"
        return f"<{tag}>{base}{below}{above}</{tag}>"

    def parenthesised(self, node: Parenthesised, _: bool) -> str:
        return self.enclose(node, self.script(node.items) if short_script(node.items) else self.commas(node.items))

    def commas(self, items: tuple[Formula, ...], tight: bool = True) -> str:
        return self.joined([self.at(i, ADDITIVE, tight) for i in items], ",")

    def accent(self, node: Accent, _: bool) -> str:
        return f"<mover>{self(node.base)}{_operator('¯')}</mover>"

    def primed(self, node: Primed, _: bool) -> str:
        return f"<msup>{self.at(node.base, ATOM)}{_operator('′' * node.count)}</msup>"

    def apply(self, node: Apply, tight: bool) -> str:
        return _row(self.at(node.function, ATOM), self.enclose(node, self.commas(node.arguments, tight)))

    def absolute(self, node: Absolute, tight: bool) -> str:
        return _row(_operator("|"), self.at(node.body, ADDITIVE, tight), _operator("|"))

    def root(self, node: Root, tight: bool) -> str:
        return f"<msqrt>{self.at(node.body, ADDITIVE, tight)}</msqrt>"

    def power(self, node: Power, tight: bool) -> str:
        return f"<msup>{self.base(node, tight)}{self.at(node.exponent, ADDITIVE, True)}</msup>"

    def fraction(self, node: Fraction, _: bool) -> str:
        return f"<mfrac>{self.at(node.numerator, ADDITIVE)}{self.at(node.denominator, ADDITIVE)}</mfrac>"

    def derivative(self, node: Derivative, _: bool) -> str:
        of = self.at(node.of, FACTOR if isinstance(node.of, Big) else TERM)
        return f"<mfrac>{_row('<mo>∂</mo>', of)}{_row('<mo>∂</mo>', self.at(node.wrt, FACTOR))}</mfrac>"

    def product(self, node: Product, tight: bool) -> str:
        texts = self.factors(node, tight)
        if tight and isinstance(node.factors[0], Number) and len(texts) == 2 and is_letter(node.factors[1]):
            return _row(*texts)
        return self.joined(texts, "·")

    def big(self, node: Big, tight: bool) -> str:
        below = _row(self.at(node.index, ATOM, True), _operator("="), self.at(node.lower, ADDITIVE, True))
        if node.conditions:
            rows = [below, *(self.at(c, RELATION, True) for c in node.conditions)]
            below = f"<mtable>{''.join(f'<mtr><mtd>{r}</mtd></mtr>' for r in rows)}</mtable>"
        head = f"<munderover>{_operator(_BIG[node.kind])}{below}{self.at(node.upper, ADDITIVE, True)}</munderover>"
        return _row(head, self.at(node.body, TERM, tight))

    def negative(self, node: Negative, tight: bool) -> str:
        return _row(_operator("−"), self.at(node.body, TERM, tight))

    def add(self, node: Add, tight: bool) -> str:
        (_, first), *rest = self.terms(node, tight)
        signed = [(_operator("−" if subtracted else "+"), term) for subtracted, term in rest]
        return _row(first, *(part for pair in signed for part in pair))

    def relation(self, node: Relation, tight: bool) -> str:
        sides = [self.at(node.left, ADDITIVE, tight), self.at(node.right, ADDITIVE, tight)]
        return self.joined(sides, SIGNS[node.operator])

    def logic(self, node: Logic, tight: bool) -> str:
        if node.operator == "not":
            return _row(_operator("¬"), self.enclose(node, self.at(node.operands[0], LOOSE, tight)))
        inner = [self.at(o, ADDITIVE if isinstance(o, Logic) else RELATION, tight) for o in node.operands]
        return self.joined(inner, SIGNS[node.operator])

    def bold(self, node: Bold, _: bool) -> str:
        name = GREEK.get(node.base.name, node.base.name)
        return f"<mn>{bold(name)}</mn>" if name.isdigit() else f"<mi>{escape(bold(name))}</mi>"

    def transpose(self, node: Transpose, _: bool) -> str:
        sign = "<mo>⊤</mo>"
        if not isinstance(node.body, Indexed):
            return f"<msup>{self.at(node.body, ATOM)}{sign}</msup>"
        above = sign if node.body.above is None else _row(self.at(node.body.above, ADDITIVE, True), sign)
        base = self.at(node.body.base, ATOM)
        if not node.body.below:
            return f"<msup>{base}{above}</msup>"
        return f"<msubsup>{base}{self.script(node.body.below)}{above}</msubsup>"

    def matrix_product(self, node: MatrixProduct, _: bool) -> str:
        return _row(_operator("\N{INVISIBLE TIMES}").join(self.operands(node.factors)))

    def hadamard(self, node: Hadamard, _: bool) -> str:
        divided = [_operator("⊘") + d for d in self.operands(node.divisors)]
        return _row(_operator("⊙").join(self.operands(node.factors)), *divided)

    def element_power(self, node: ElementPower, tight: bool) -> str:
        exponent = _row(_operator("⊙"), self.at(node.exponent, ATOM, True))
        return f"<msup>{self.base(node, tight)}{exponent}</msup>"

    def norm(self, node: Norm, tight: bool) -> str:
        bars = _row(_operator("‖"), self.at(node.body, ADDITIVE, tight), _operator("‖"))
        return f"<msub>{bars}<mi>F</mi></msub>" if node.frobenius else bars

    def cases(self, node: Cases, _: bool) -> str:
        rows = [(self.at(v, ADDITIVE), _row("<mtext>if&#160;</mtext>", self.at(c, RELATION))) for v, c in node.branches]
        rows.append((self.at(node.otherwise, ADDITIVE), "<mtext>otherwise</mtext>"))
        body = "".join(f"<mtr><mtd>{value}</mtd><mtd>{condition}</mtd></mtr>" for value, condition in rows)
        return _row(_operator("{"), f"<mtable>{body}</mtable>")

    def chain(self, node: Chain, tight: bool) -> str:
        return self.joined([self.at(s, ADDITIVE, tight) for s in node.sides], "=")
