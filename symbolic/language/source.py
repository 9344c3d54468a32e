"""Text to statements to Python syntax trees, with every limit that keeps a hostile text harmless.

A statement is one line, or several while a bracket is open. Its code keeps one character for each
character of the text (comments and line ends become spaces), so that a column of the tree is an
offset in the text.
"""

from __future__ import annotations

import ast
import keyword
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import FormulaError, Position

__all__ = ["Code", "Source", "split"]

MAX_TEXT = 65_536
MAX_STATEMENT = 4_096
MAX_BRACKETS = 32
MAX_NODES = 1_500
MAX_DEPTH = 120
MAX_DIGITS = 40
MAX_EXPONENT = 300

_SHOWN = 160  # characters of a line that an error shows at most
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_ALPHABET = frozenset(_LETTERS + _LETTERS.upper() + "0123456789_ \t\n()[],.:=<>!+-*/^#")
_INSTEAD = {
    "{": "use ( ) or [ ]",
    "}": "use ( ) or [ ]",
    ";": "write one statement a line",
    "&": "write `and`",
    "|": "write `or`, or abs(u) for a magnitude",
    "~": "write `not`",
    "'": "a formula has no text in quotes; a derivative is found by derive",
    '"': "a formula has no text in quotes",
    "\\": "a formula goes on over lines inside open brackets",
    "@": "write the contraction as a sum, sum[k](w[j, k] * x[k])",
    "%": "a remainder is not part of the language",
}
_PAIRS = {")": "(", "]": "["}
_NUMBER = re.compile(r"(?<![\w.])(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d+))?")
_WORD = re.compile(r"[A-Za-z_]\w*")
_OPERATOR_LAST = re.compile(r"([-+*/<>=]|\b(and|or|not))$")
_LOGIC = frozenset({"and", "or", "not"})

_ALLOWED = (
    *(ast.Expression, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Call, ast.Name, ast.Constant),
    *(ast.Subscript, ast.Tuple, ast.Slice, ast.Load, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Pow),
    *(ast.USub, ast.UAdd, ast.Not, ast.And, ast.Or, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq),
)


@dataclass(frozen=True)
class Source:
    """The whole text and the name of its file."""

    text: str
    file: str

    def position(self, offset: int) -> Position:
        """Line and column of an offset, with the line as it may safely be printed."""
        start = self.text.rfind("\n", 0, offset) + 1
        end = self.text.find("\n", offset)
        line = self.text[start : end if end >= 0 else len(self.text)]
        column = offset - start + 1
        shown = "".join(c if c.isprintable() or c == "\t" else "?" for c in line[: max(_SHOWN, column)])
        return Position(self.file, self.text.count("\n", 0, offset) + 1, column, shown)

    def error(self, message: str, offset: int, hint: str = "") -> FormulaError:
        """The error to raise for a fault at that offset."""
        return FormulaError(message, hint=hint, position=self.position(offset))


@dataclass(frozen=True)
class Code:
    """A piece of one statement: `text` on one line, standing at `start` in the source."""

    source: Source
    start: int
    text: str

    def error(self, message: str, at: ast.expr | int = 0, hint: str = "") -> FormulaError:
        """The error to raise for a fault at a node of the tree or at a column (from 0) of the code."""
        column = at if isinstance(at, int) else at.col_offset
        return self.source.error(message, self.start + column, hint)

    def position(self, at: ast.expr | int = 0) -> Position:
        """Where a node or column (from 0) stands in the source."""
        column = at if isinstance(at, int) else at.col_offset
        return self.source.position(self.start + column)

    def cut(self, begin: int, end: int | None = None) -> Code:
        """The code between two columns, without white space around it."""
        piece = self.text[begin:end]
        return Code(self.source, self.start + begin + len(piece) - len(piece.lstrip()), piece.strip())

    def written(self, node: ast.expr) -> str:
        """The text of a node as the user wrote it."""
        return self.text[node.col_offset : node.end_col_offset]

    def tree(self) -> ast.expr:
        """The syntax tree, checked node by node against the language's whitelist and limits."""
        _check_words(self)
        _check_numbers(self)
        _check_end(self)
        try:
            with warnings.catch_warnings(action="ignore", category=SyntaxWarning):
                root = ast.parse(self.text, mode="eval").body
        except (RecursionError, MemoryError):
            raise self.error("this formula is nested too deeply", 0, "split it into several equations") from None
        except SyntaxError as fault:
            column = min(max((fault.offset or 1) - 1, 0), max(len(self.text) - 1, 0))
            hint = "expected a formula such as b[j] + sum[k](w[j, k] * x[k])"
            raise self.error(f"cannot read this: {_near(self.text, column)}", column, hint) from None
        _check_nodes(self, root)
        return root


def split(source: Source) -> Iterator[Code]:
    """The statements of a text, comments removed; a FormulaError for a character or bracket out of place."""
    if len(source.text) > MAX_TEXT:
        hint = "split the model into several files"
        raise source.error(f"a text of {len(source.text)} characters: at most {MAX_TEXT} are allowed", 0, hint)
    code: list[str] = []
    open_brackets: list[int] = []
    begin, comment = 0, False
    for offset, character in enumerate(source.text + "\n"):
        if character == "\n":
            comment = False
            if not open_brackets:
                yield from _statement(source, begin, "".join(code))
                code, begin = [], offset + 1
                continue
        if character == "#":
            comment = True
        if comment or character == "\n":
            if not (character.isprintable() or character in "\t\n"):
                raise source.error("a control character in a comment", offset, "remove it")
            code.append(" ")
            continue
        _check_character(source, character, offset)
        _track_bracket(source, character, offset, open_brackets)
        code.append(character)
    if open_brackets:
        offset = open_brackets[-1]
        raise source.error(
            f"{source.text[offset]!r} is never closed", offset, "close it; a formula may go on over lines until then"
        )


def _statement(source: Source, begin: int, text: str) -> Iterator[Code]:
    if len(text) > MAX_STATEMENT and len(text.strip()) > MAX_STATEMENT:
        message = f"a statement of {len(text)} characters: at most {MAX_STATEMENT} are allowed"
        raise source.error(message, begin, "split it into several equations")
    if text.strip():
        yield Code(source, begin, text).cut(0)


def _check_character(source: Source, character: str, offset: int) -> None:
    if character in _ALPHABET:
        return
    shown = character if character.isprintable() else ascii(character)[1:-1]
    hint = _INSTEAD.get(character, "remove it")
    if not character.isascii():
        hint = "write it in ASCII: sigma for the Greek letter, * for a product, <= for less or equal"
    raise source.error(f"unexpected character {shown!r}: a formula is plain ASCII", offset, hint)


def _track_bracket(source: Source, character: str, offset: int, open_brackets: list[int]) -> None:
    if character in "([":
        open_brackets.append(offset)
        if len(open_brackets) > MAX_BRACKETS:
            message = f"brackets nested more than {MAX_BRACKETS} deep"
            raise source.error(message, offset, "split the formula into several equations")
    elif character in ")]":
        if not open_brackets:
            raise source.error(f"{character!r} closes nothing", offset, "remove it, or open its bracket before")
        opened = open_brackets.pop()
        if source.text[opened] != _PAIRS[character]:
            place = source.position(opened)
            message = f"{character!r} closes the {source.text[opened]!r} of line {place.line}, column {place.column}"
            raise source.error(message, offset, "brackets close in the order in which they open")


def _check_words(code: Code) -> None:
    for found in _WORD.finditer(code.text):
        word = found.group()
        if keyword.iskeyword(word) and word not in _LOGIC:
            hint = "write where(condition, u, v)" if word in ("if", "else") else "choose another name"
            raise code.error(f"{word!r} is a Python keyword and cannot stand in a formula", found.start(), hint)


def _check_numbers(code: Code) -> None:
    for found in _NUMBER.finditer(code.text):
        digits, exponent = sum(c.isdigit() for c in found.group(1)), found.group(2)
        if digits > MAX_DIGITS:
            raise code.error(f"a number of {digits} digits: at most {MAX_DIGITS} are allowed", found.start())
        if exponent and (len(exponent) > 6 or abs(int(exponent)) > MAX_EXPONENT):
            raise code.error(f"a number beyond 1e{MAX_EXPONENT} or below 1e-{MAX_EXPONENT}", found.start())
        after = code.text[found.end() : found.end() + 1]
        if after and (after.isalnum() or after in "_."):
            hint = f"write a product with its star, {found.group()}*…"
            raise code.error(f"a number followed by {after!r}", found.start(), hint)


def _check_end(code: Code) -> None:
    if _OPERATOR_LAST.search(code.text):
        hint = "write the rest on the same line, or put the formula in brackets"
        raise code.error("the formula ends with an operator", len(code.text), hint)


def _near(text: str, column: int) -> str:
    piece = text[column : column + 20].strip()
    return f"{piece!r} is out of place" if piece else "something is missing at the end"


def _check_nodes(code: Code, root: ast.expr) -> None:
    count = 0
    pending: list[tuple[ast.AST, int]] = [(root, 1)]
    while pending:
        node, depth = pending.pop()
        count += 1
        if count > MAX_NODES or depth > MAX_DEPTH:
            raise code.error("this formula is too large", 0, "split it into several equations")
        _check_node(code, node)
        pending.extend((child, depth + 1) for child in ast.iter_child_nodes(node))


def _check_node(code: Code, node: ast.AST) -> None:
    if isinstance(node, ast.BinOp) and not isinstance(node.op, _ALLOWED):
        between = code.text[node.left.end_col_offset : node.right.col_offset]
        column = (node.left.end_col_offset or 0) + max(between.find("^"), 0)
        if isinstance(node.op, ast.BitXor):
            raise code.error("^ is not the power", column, "write u**2 for the square of u")
        raise code.error("an operator that is not part of the language", column, "use + - * / and **")
    if isinstance(node, ast.Call) and node.keywords:
        raise code.error("expected an argument, found name=value", node.keywords[0].value, "give the value alone")
    if isinstance(node, ast.Constant) and (isinstance(node.value, bool) or not isinstance(node.value, int | float)):
        raise code.error(f"{code.written(node)} is not a number", node)
    if not isinstance(node, _ALLOWED):
        at = node if isinstance(node, ast.expr) else 0
        hint = "use names, numbers, + - * / **, comparisons, sums and function calls"
        raise code.error(f"{_KINDS.get(type(node), 'this construct')} is not part of the language", at, hint)


_KINDS: dict[type[ast.AST], str] = {
    ast.Attribute: "a dot between names",
    ast.List: "a list",
    ast.NamedExpr: "an assignment inside a formula",
    ast.Starred: "a star before a name",
}
