"""Formulas as LaTeX (amsmath), in the exact form of the reference document."""

from __future__ import annotations

from .breaking import Piece, fill, node_width
from .names import GREEK, OPERATORS, WORDS
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
    walk,
)

__all__ = ["ROW_WIDTH", "latex", "latex_name", "latex_rows"]

ROW_WIDTH = 75.0
"""The room for one row of a displayed formula, in characters of text size."""

_RELATIONS = {"=": "=", "!=": r"\ne", "<": "<", "<=": r"\le", ">": ">", ">=": r"\ge"}
_LOGIC = {"and": r" \land ", "or": r" \lor "}
_NEW_ROW = r" \\ "
_TALL = (Fraction, Derivative, Big, Cases)


def latex(node: Formula) -> str:
    """The formula in LaTeX's mathematics mode, on one line."""
    return _Latex()(node)


def latex_name(name: str) -> str:
    """A user's name: a Greek or single letter, a word of the document, or a word set as one."""
    letters = name.rstrip("'")
    primes = name[len(letters) :]
    if letters in GREEK:
        return f"\\{letters}{primes}"
    if len(letters) == 1 or letters in WORDS:
        return letters + primes
    escaped = letters.replace("_", r"\_")
    return rf"\mathit{{{escaped}}}{primes}"


class _Latex(Printer):
    def enclose(self, node: Formula, text: str) -> str:
        tall = any(isinstance(n, _TALL) for n in walk(node))
        return rf"\left({text}\right)" if tall else f"({text})"

    def number(self, node: Number, _: bool) -> str:
        return node.text

    def symbol(self, node: Symbol, _: bool) -> str:
        return latex_name(node.name)

    def script(self, mark: str, items: tuple[Formula, ...]) -> str:
        if not items:
            return ""
        if len(items) == 1 and is_letter(items[0]) and len(self(items[0])) == 1:
            return mark + self(items[0])
        comma = "" if short_script(items) else ","
        texts = [self.at(i, ADDITIVE, True) for i in items]
        return f"{mark}{{{_side_by_side(texts) if not comma else comma.join(texts)}}}"

    def indexed(self, node: Indexed, _: bool) -> str:
        above = () if node.above is None else (node.above,)
        return self.at(node.base, ATOM) + self.script("_", node.below) + self.script("^", above)

    def parenthesised(self, node: Parenthesised, _: bool) -> str:
        return f"({','.join(self.at(i, ADDITIVE, True) for i in node.items)})"

    def accent(self, node: Accent, _: bool) -> str:
        return rf"\bar{{{self(node.base)}}}"

    def primed(self, node: Primed, _: bool) -> str:
        return self.at(node.base, ATOM) + "'" * node.count

    def apply(self, node: Apply, tight: bool) -> str:
        name = node.function.name if isinstance(node.function, Symbol) else ""
        # \mathrm, not \operatorname: pages that render Markdown often refuse that
        upright = self.at(node.function, ATOM).replace(r"\mathit{", r"\mathrm{")
        head = f"\\{name}" if name in OPERATORS else upright
        inside = ", ".join(self.at(a, ADDITIVE, tight) for a in node.arguments)
        tall = any(isinstance(n, _TALL) for a in node.arguments for n in walk(a))
        return rf"{head}\left({inside}\right)" if tall else f"{head}({inside})"

    def absolute(self, node: Absolute, tight: bool) -> str:
        return rf"\left|{self.at(node.body, ADDITIVE, tight)}\right|"

    def root(self, node: Root, tight: bool) -> str:
        return rf"\sqrt{{{self.at(node.body, ADDITIVE, tight)}}}"

    def power(self, node: Power, tight: bool) -> str:
        base = self.base(node, tight)
        return f"{base}^{{{self.at(node.exponent, ADDITIVE, True)}}}"

    def fraction(self, node: Fraction, tight: bool) -> str:
        parts = self.at(node.numerator, ADDITIVE, tight), self.at(node.denominator, ADDITIVE, tight)
        return rf"\frac{{{parts[0]}}}{{{parts[1]}}}"

    def derivative(self, node: Derivative, tight: bool) -> str:
        of = self.at(node.of, FACTOR if isinstance(node.of, Big) else TERM, tight)
        return rf"\frac{{\partial {of}}}{{\partial {self.at(node.wrt, FACTOR, tight)}}}"

    def product(self, node: Product, tight: bool) -> str:
        texts = self.factors(node, tight)
        plain = [isinstance(f, Number) if m == 0 else is_letter(f) for m, f in enumerate(node.factors)]
        if tight and len(texts) == 2 and all(plain):
            return "".join(texts) if texts[1][0] != "\\" else " ".join(texts)
        return r" \cdot ".join(texts)

    def big(self, node: Big, tight: bool) -> str:
        lower = f"{self.at(node.index, ATOM, True)}={self.at(node.lower, ADDITIVE, True)}"
        if node.conditions:
            rows = [lower, *(self.at(c, RELATION, True) for c in node.conditions)]
            lower = rf"\substack{{{_NEW_ROW.join(rows)}}}"
        upper = self.at(node.upper, ADDITIVE, True)
        upper = upper if len(upper) == 1 and upper.isalpha() else f"{{{upper}}}"
        return rf"\{node.kind}_{{{lower}}}^{upper} {self.at(node.body, TERM, tight)}"

    def negative(self, node: Negative, tight: bool) -> str:
        return f"-{self.at(node.body, TERM, tight)}"

    def add(self, node: Add, tight: bool) -> str:
        return self.joined_terms(node, tight)

    def relation(self, node: Relation, tight: bool) -> str:
        left, right = self.at(node.left, ADDITIVE, tight), self.at(node.right, ADDITIVE, tight)
        return f"{left} {_RELATIONS[node.operator]} {right}"

    def logic(self, node: Logic, tight: bool) -> str:
        inner = [self.at(o, ADDITIVE if isinstance(o, Logic) else RELATION, tight) for o in node.operands]
        if node.operator == "not":
            return rf"\lnot \left({self.at(node.operands[0], LOOSE, tight)}\right)"
        return _LOGIC[node.operator].join(inner)

    def bold(self, node: Bold, _: bool) -> str:
        name = latex_name(node.base.name)
        letter = name.lstrip("\\").rstrip("'")
        if letter in GREEK:
            return rf"\boldsymbol{{{name}}}"
        return rf"\mathbf{{{name.removeprefix(chr(92) + 'mathit{').removesuffix('}')}}}"

    def transpose(self, node: Transpose, _: bool) -> str:
        if isinstance(node.body, Indexed):  # one superscript for the layer and the transpose
            above = "" if node.body.above is None else self.at(node.body.above, ADDITIVE, True)
            plain = self.at(node.body.base, ATOM) + self.script("_", node.body.below)
            return rf"{plain}^{{{above}\top}}" if above else rf"{plain}^\top"
        return rf"{self.at(node.body, ATOM)}^\top"

    def matrix_product(self, node: MatrixProduct, _: bool) -> str:
        return r" \, ".join(self.operands(node.factors))

    def hadamard(self, node: Hadamard, _: bool) -> str:
        divided = "".join(rf" \oslash {d}" for d in self.operands(node.divisors))
        return r" \odot ".join(self.operands(node.factors)) + divided

    def element_power(self, node: ElementPower, tight: bool) -> str:
        return rf"{self.base(node, tight)}^{{\odot {self.at(node.exponent, ATOM, True)}}}"

    def norm(self, node: Norm, tight: bool) -> str:
        return rf"\left\lVert {self.at(node.body, ADDITIVE, tight)} \right\rVert" + ("_F" if node.frobenius else "")

    def cases(self, node: Cases, _: bool) -> str:
        rows = [rf"{self.at(v, ADDITIVE)} & \text{{if }} {self.at(c, RELATION)}" for v, c in node.branches]
        rows.append(rf"{self.at(node.otherwise, ADDITIVE)} & \text{{otherwise}}")
        return rf"\begin{{cases}} {_NEW_ROW.join(rows)} \end{{cases}}"

    def chain(self, node: Chain, tight: bool) -> str:
        return " = ".join(self.at(s, ADDITIVE, tight) for s in node.sides)


def _side_by_side(texts: list[str]) -> str:
    """Letters next to each other, with a space after a command: `\\alpha k`."""
    text = ""
    for item in texts:
        text += " " + item if text[-1:].isalpha() and "\\" in text.split(" ")[-1] and item[0].isalpha() else item
    return text


def latex_rows(node: Chain, width: float = ROW_WIDTH) -> list[str]:
    """The chain as rows of an `aligned` environment, broken before relations, terms and (in need) factors.

    `width` is the room for one row, in characters of text size.
    """
    first, *rest = node.sides
    if node_width(node) <= width:
        return [f"{latex(first)} &= {latex(Chain(tuple(rest)))}"]
    rows: list[str] = []
    for m, side in enumerate(rest):
        room = max(width - (node_width(first) if m == 0 else 0) - 3, width / 3)
        filled = fill(_terms(side), room)
        head = latex(first) if m == 0 else ""
        rows.append(f"{head} &= {filled[0]}".strip())
        rows.extend(rf"&\quad {row}" for row in filled[1:])
    return rows


def _terms(node: Formula) -> list[list[Piece]]:
    """The terms of a sum, signs included, each as the pieces that it may be broken into."""
    if not isinstance(node, Add):
        return [_pieces(node, ADDITIVE)]
    terms = []
    for m, term in enumerate(node.terms):
        body = term.body if isinstance(term, Negative) else term
        (text, size), *rest = _pieces(body, TERM)
        sign = "- " if isinstance(term, Negative) else "+ " if m else ""
        terms.append([(sign + text, size + 2), *rest])
    return terms


def _pieces(node: Formula, level: int) -> list[Piece]:
    """The factors of a product (also under a Σ); else the formula whole."""
    printer = _Latex()
    if isinstance(node, Product):
        pairs = zip(printer.factors(node, False), node.factors, strict=True)
        return [((r"\cdot " if m else "") + t, node_width(f) + 1) for m, (t, f) in enumerate(pairs)]
    if isinstance(node, Big) and isinstance(node.body, Product | Big):
        head = printer.big(Big(node.kind, node.index, node.lower, node.upper, Symbol("x"), node.conditions), False)
        (text, size), *rest = _pieces(node.body, TERM)
        return [(head.removesuffix("x") + text, size + 4), *rest]
    return [(printer.at(node, level), node_width(node))]
