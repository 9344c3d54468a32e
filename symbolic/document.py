"""The reference document's notation, read strictly into the ordered tree.

Grammar (white space and redundant braces carry no meaning):

    chain    := sum ("=" sum)*
    sum      := ["-"] product (("+" | "-") product)*
    product  := factor ("\\cdot" factor)*
    factor   := big | power
    big      := ("\\sum" | "\\prod") "_{" name "=" sum "}" "^" script product     takes all that follows
    power    := atom ["^" script]           on a group, a number, a root or an application only
    atom     := number | group | fraction | root | name scripts ["(" sum ("," sum)* ")"]
    fraction := "\\frac{" sum "}{" sum "}" | "\\frac{\\partial" product "}{\\partial" atom "}"

A superscript on a name is a label (a layer), never a power. Subscript letters side by side are indices.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .errors import DocumentError, Position
from .notation.names import GREEK, OPERATORS, WORDS
from .notation.tree import (
    Add,
    Apply,
    Big,
    Chain,
    Derivative,
    Formula,
    Fraction,
    Indexed,
    Negative,
    Number,
    Parenthesised,
    Power,
    Primed,
    Product,
    Root,
    Symbol,
    add,
    product,
)

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "DisplayedFormula", "parse_formula", "read_document"]

MAX_LENGTH = 100_000
"""Characters in one document."""

MAX_DEPTH = 60
"""Nesting of groups, fractions, scripts and arguments in one formula."""

_TOKEN = re.compile(
    r"\s+|(?P<command>\\[A-Za-z]+)|(?P<word>[A-Za-z]+)|(?P<number>\d+(?:\.\d+)?)|(?P<sign>[-+=^_(){},'])"
)
_NAMED = re.compile(r"\{((?:[A-Za-z0-9]|\\_)+)\}")


@dataclass(frozen=True)
class DisplayedFormula:
    """One `$$…$$` of a document: its source without the dollars, where it starts, and its tree."""

    source: str
    position: Position
    chain: Formula


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int


def read_document(text: str, file: str = "document") -> tuple[DisplayedFormula, ...]:
    """Every displayed formula of a Markdown document, in order.

    Raises DocumentError, with file, line and column, for a formula that the notation does not allow,
    an unclosed `$$`, or a document longer than MAX_LENGTH.
    """
    if len(text) > MAX_LENGTH:
        raise DocumentError(f"{file}: the document has {len(text)} characters, more than {MAX_LENGTH}")
    pieces = text.split("$$")
    if len(pieces) % 2 == 0:
        start = len(text) - len(pieces[-1]) - 2
        raise _error("this $$ is never closed", text, start, file)
    found = []
    start = 0
    for m, piece in enumerate(pieces):
        if m % 2:
            chain = _Parser(text, start, start + len(piece), file).formula()
            found.append(DisplayedFormula(piece, _position(text, start, file), chain))
        start += len(piece) + 2
    return tuple(found)


def parse_formula(text: str, file: str = "formula") -> Formula:
    """One formula (a `Chain` where it has an equals sign); raises DocumentError with the place of a fault."""
    if len(text) > MAX_LENGTH:
        raise DocumentError(f"{file}: the formula has {len(text)} characters, more than {MAX_LENGTH}")
    return _Parser(text, 0, len(text), file).formula()


def _position(text: str, at: int, file: str) -> Position:
    line_start = text.rfind("\n", 0, at) + 1
    line_end = text.find("\n", at)
    line = text[line_start : len(text) if line_end < 0 else line_end]
    return Position(file, text.count("\n", 0, at) + 1, at - line_start + 1, line)


def _error(message: str, text: str, at: int, file: str) -> DocumentError:
    p = _position(text, at, file)
    return DocumentError(f"{p.file}:{p.line}:{p.column}: {message}\n{p.caret()}")


class _Parser:
    """Recursive descent over one formula: text[start:end]."""

    def __init__(self, text: str, start: int, end: int, file: str) -> None:
        self.text, self.file, self.depth = text, file, 0
        self.tokens = list(self._tokens(start, end))
        self.at = 0

    def _tokens(self, start: int, end: int) -> list[_Token]:
        tokens = []
        while start < end:
            match = _TOKEN.match(self.text, start, end)
            if match is None:
                raise _error(f"the notation has no {self.text[start]!r}", self.text, start, self.file)
            kind, text, begin = match.lastgroup, match.group(), start
            start = match.end()
            if text in (r"\mathit", r"\mathrm", r"\operatorname"):
                name = _NAMED.match(self.text, start, end)
                if name is None:
                    raise _error(f"expected a name in braces after {text}", self.text, start, self.file)
                kind, text, start = "name", name[1].replace(r"\_", "_"), name.end()
            if kind is not None and text not in (r"\left", r"\right"):
                tokens.append(_Token(kind, text, begin))
        tokens.append(_Token("end", "end of the formula", end))
        return tokens

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def fail(self, expected: str) -> DocumentError:
        found = self.next.text if self.next.kind == "end" else f"'{self.next.text}'"
        return _error(f"expected {expected}, found {found}", self.text, self.next.start, self.file)

    def take(self, text: str) -> bool:
        if self.next.text != text or self.next.kind == "end":
            return False
        self.at += 1
        return True

    def expect(self, text: str) -> None:
        if not self.take(text):
            raise self.fail(f"'{text}'")

    def nested(self, parse: Callable[[], Formula]) -> Formula:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _error(f"nested deeper than {MAX_DEPTH}", self.text, self.next.start, self.file)
        node = parse()
        self.depth -= 1
        return node

    def braced(self, parse: Callable[[], Formula]) -> Formula:
        self.expect("{")
        node = self.nested(parse)
        self.expect("}")
        return node

    def formula(self) -> Formula:
        sides = [self.sum()]
        while self.take("="):
            sides.append(self.sum())
        if self.next.kind != "end":
            raise self.fail(r"an operator (\cdot, +, -, =) or the end of the formula")
        return Chain(tuple(sides)) if len(sides) > 1 else sides[0]

    def sum(self) -> Formula:
        terms = [Negative(self.product()) if self.take("-") else self.product()]
        while self.next.text in ("+", "-"):
            negative = self.take("-") or not self.take("+")
            term = self.product()
            terms.append(Negative(term) if negative else term)
        return Add(tuple(terms)) if len(terms) > 1 else terms[0]

    def product(self) -> Formula:
        factors = [self.factor()]
        while self.take(r"\cdot"):
            factors.append(self.factor())
        return Product(tuple(factors)) if len(factors) > 1 else factors[0]

    def factor(self) -> Formula:
        for kind in ("sum", "prod"):
            if self.take(f"\\{kind}"):
                return self.nested(lambda kind=kind: self.big(kind))  # type: ignore[misc]
        grouped = self.next.text == "("
        base = self.atom()
        if (isinstance(base, Symbol | Indexed) and not grouped) or not self.take("^"):
            return base
        return Power(base, self.script_value())

    def big(self, kind: str) -> Formula:
        self.expect("_")
        self.expect("{")
        index = self.letter()
        self.expect("=")
        lower = self.sum()
        self.expect("}")
        self.expect("^")
        upper = self.script_value()
        return Big(kind, index, lower, upper, self.product())

    def letter(self) -> Formula:
        token = self.next
        if token.kind != "word" or len(token.text) != 1:
            raise self.fail("an index letter")
        self.at += 1
        return Symbol(token.text + self.primes())

    def primes(self) -> str:
        count = 0
        while self.take("'"):
            count += 1
        return "'" * count

    def atom(self) -> Formula:
        token = self.next
        if token.kind == "number":
            self.at += 1
            return Number(token.text)
        if self.take("("):
            return self.close(self.nested(self.sum), ")")
        if self.take("{"):
            return self.scripted(self.close(self.nested(self.sum), "}"))
        if self.take(r"\frac"):
            return self.fraction()
        if self.take(r"\sqrt"):
            return Root(self.braced(self.sum))
        return self.scripted(self.name())

    def close(self, node: Formula, bracket: str) -> Formula:
        self.expect(bracket)
        return node

    def fraction(self) -> Formula:
        self.expect("{")
        if not self.take(r"\partial"):
            above = self.close(self.nested(self.sum), "}")
            return Fraction(above, self.braced(self.sum))
        of = self.close(self.nested(self.product), "}")
        self.expect("{")
        self.expect(r"\partial")
        return Derivative(of, self.close(self.nested(self.atom), "}"))

    def name(self) -> Formula:
        token = self.next
        known = token.text.removeprefix("\\")
        if token.kind == "command" and (known in GREEK or known in OPERATORS):
            self.at += 1
            return Symbol(known)
        if token.kind == "name" or (token.kind == "word" and (len(token.text) == 1 or token.text in WORDS)):
            self.at += 1
            return Symbol(token.text)
        if token.kind == "word":
            raise self.fail(rf"a letter, one of the words {', '.join(sorted(WORDS))}, or \mathit{{…}}")
        raise self.fail("a number, a name or a group")

    def scripted(self, base: Formula) -> Formula:
        """The name with its scripts (either order, each at most once), primes and arguments."""
        if not isinstance(base, Symbol | Indexed):
            return base
        count = len(self.primes())
        below: tuple[Formula, ...] = ()
        above: Formula | None = None
        while self.next.text in ("_", "^"):
            if self.next.text == "_" and not below:
                self.at += 1
                below = self.subscripts()
            elif self.next.text == "^" and above is None:
                self.at += 1
                above = self.script_value()
            else:
                raise self.fail("at most one subscript and one superscript")
        head = Primed(base, count) if count else base
        if below or above is not None:
            head = Indexed(head, below, above)
        if self.take("("):
            arguments = [self.nested(self.sum)]
            while self.take(","):
                arguments.append(self.nested(self.sum))
            self.expect(")")
            return Apply(head, tuple(arguments))
        return head

    def script_value(self) -> Formula:
        """One script: a letter, a digit, or a sum in braces (kept in parentheses where it stands in them)."""
        if self.next.text != "{":
            return self.bare_script()
        self.at += 1
        start = self.at
        if self.take("("):
            items = [self.nested(self.sum)]
            while self.take(","):
                items.append(self.nested(self.sum))
            if self.take(")") and self.take("}"):
                return Parenthesised(tuple(items))
            self.at = start
        return self.close(self.nested(self.script_sum), "}")

    def bare_script(self) -> Formula:
        token = self.next
        if token.kind == "number" and len(token.text) == 1:
            self.at += 1
            return Number(token.text)
        if token.kind == "command" and token.text.removeprefix("\\") in GREEK:
            return self.name()
        return self.letter()

    def subscripts(self) -> tuple[Formula, ...]:
        """Indices: letters side by side, or sums between commas."""
        if self.next.text != "{" or self.tokens[self.at + 1].text == "(":
            return (self.script_value(),)
        self.at += 1
        items = list(self.letters()) or [self.nested(self.script_sum)]
        while self.take(","):
            items.append(self.nested(self.script_sum))
        self.expect("}")
        return tuple(items)

    def letters(self) -> tuple[Formula, ...]:
        """Letters side by side up to the closing brace; none (and nothing read) where there is more than that."""
        start, found = self.at, []
        while self.next.kind in ("word", "command"):
            text = self.next.text
            if self.next.kind == "command" and text.removeprefix("\\") in GREEK:
                found.append(Symbol(text.removeprefix("\\")))
            elif self.next.kind == "word" and text in WORDS:
                found.append(Symbol(text))
            elif self.next.kind == "word":
                found.extend(Symbol(c) for c in text)
            else:
                break
            self.at += 1
            primes = self.primes()
            found[-1] = Symbol(found[-1].name + primes)
        if self.next.text == "}" and found:
            return tuple(found)
        self.at = start
        return ()

    def script_sum(self) -> Formula:
        """A sum in which a number may stand right before a letter: 2p+q."""
        terms: list[Formula] = []
        while True:
            negative = self.take("-")
            if terms and not negative:
                self.expect("+")
            term = self.product()
            if isinstance(term, Number) and self.next.kind in ("word", "command"):
                term = product((term, self.atom()))
            terms.append(Negative(term) if negative else term)
            if self.next.text not in ("+", "-"):
                return add(terms)
