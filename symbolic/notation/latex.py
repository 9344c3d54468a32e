"""Formulas as LaTeX (amsmath), in the exact form of the reference document."""

from __future__ import annotations

from .names import GREEK, OPERATORS, WORDS
from .printer import ADDITIVE, ATOM, FACTOR, LOOSE, RELATION, TERM, Printer, is_letter, short_script
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
    children,
    walk,
)

__all__ = ["latex", "latex_name", "latex_rows"]

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
        if name in OPERATORS:
            head = f"\\{name}"
        else:
            head = self.at(node.function, ATOM).replace(r"\mathit{", r"\operatorname{")
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


def latex_rows(node: Chain, width: float = 75.0) -> list[str]:
    """The chain as rows of an `aligned` environment, broken before relations, terms and factors.

    `width` is the room for one row, in characters of text size.
    """
    first, *rest = node.sides
    if _width(node) <= width:
        return [f"{latex(first)} &= {latex(Chain(tuple(rest)))}"]
    rows: list[str] = []
    for m, side in enumerate(rest):
        pieces = _pieces(side)
        room = width - (_width(first) if m == 0 else 0) - 3
        filled = _fill(pieces, max(room, width / 3))
        head = latex(first) if m == 0 else ""
        rows.append(f"{head} &= {filled[0]}".strip())
        rows.extend(rf"&\quad {row}" for row in filled[1:])
    return rows


def _pieces(node: Formula) -> list[tuple[str, float]]:
    """Where a formula may be broken: (text, width) of each piece."""
    printer = _Latex()
    if isinstance(node, Add):
        pieces = []
        for m, term in enumerate(node.terms):
            body = term.body if isinstance(term, Negative) else term
            sign = "- " if isinstance(term, Negative) else "+ " if m else ""
            inner = _pieces(body) if isinstance(body, Product | Big) else [(printer.at(body, TERM), _width(body))]
            pieces.append((sign + inner[0][0], inner[0][1] + 2))
            pieces.extend(inner[1:])
        return pieces
    if isinstance(node, Product):
        texts = printer.factors(node, False)
        pairs = zip(texts, node.factors, strict=True)
        return [((r"\cdot " if m else "") + t, _width(f) + 1) for m, (t, f) in enumerate(pairs)]
    if isinstance(node, Big) and isinstance(node.body, Product | Big):
        head = printer.big(Big(node.kind, node.index, node.lower, node.upper, Symbol("x"), node.conditions), False)[:-1]
        (text, size), *rest = _pieces(node.body)
        return [(head + text, size + 4), *rest]
    return [(printer.at(node, ADDITIVE), _width(node))]


def _fill(pieces: list[tuple[str, float]], room: float) -> list[str]:
    rows = [""]
    used = 0.0
    for text, size in pieces:
        if rows[-1] and used + size > room:
            rows.append("")
            used = 0.0
        rows[-1] = f"{rows[-1]} {text}".strip()
        used += size
    return rows


def _width(node: Formula) -> float:
    """Roughly how wide the formula is, in characters of text size."""
    if isinstance(node, Number):
        return float(len(node.text))
    if isinstance(node, Symbol):
        return 1.0 if node.name in GREEK else float(len(node.name))
    if isinstance(node, Fraction):
        return max(_width(node.numerator), _width(node.denominator)) + 0.5
    if isinstance(node, Derivative):
        return max(_width(node.of), _width(node.wrt)) + 1.5
    if isinstance(node, Indexed):
        below = sum(_width(i) for i in node.below)
        return _width(node.base) + 0.7 * max(below, _width(node.above) if node.above else 0.0)
    if isinstance(node, Cases):
        return max(_width(v) + _width(c) for v, c in node.branches) + 8
    if isinstance(node, Big):
        return 4.0 + _width(node.body)
    inner = [_width(n) for n in children(node)]
    gap = 3.0 if isinstance(node, Add | Chain) else 1.5
    return sum(inner) + gap * max(len(inner) - 1, 1)

