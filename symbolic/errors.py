"""The one exception family of chainrule: every error a user can cause is one of these."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "BuildError",
    "ChainruleError",
    "DerivationError",
    "DocumentError",
    "FormulaError",
    "LoweringError",
    "Position",
    "ShapeError",
]


@dataclass(frozen=True)
class Position:
    """A place in a text: file name, line and column (both from 1), and the line itself."""

    file: str
    line: int
    column: int
    text: str

    def caret(self) -> str:
        """The line with a caret below the column, ready to be printed under a message."""
        head = self.text[: self.column - 1]
        pad = "".join("\t" if c == "\t" else " " for c in head)
        return f"    {self.text}\n    {pad}^"


class ChainruleError(Exception):
    """Base of every error that chainrule raises on purpose."""


class FormulaError(ChainruleError):
    """A formula that cannot be accepted: says where, what was expected and what to do.

    `message` states the fault (expected and found), `hint` what to do about it, `position` where.
    """

    def __init__(self, message: str, *, hint: str = "", position: Position | None = None) -> None:
        self.message = message
        self.hint = hint
        self.position = position
        super().__init__(str(self))

    def __str__(self) -> str:
        text = self.message
        if self.position is not None:
            p = self.position
            text = f"{p.file}:{p.line}:{p.column}: {text}\n{p.caret()}"
        return f"{text}\n{self.hint}" if self.hint else text


class ShapeError(ChainruleError, ValueError):
    """An array whose shape or name does not fit the System: names the tensor, expected and found."""


class DerivationError(ChainruleError):
    """A derivative that the rules cannot form; says of what, with respect to what, and why."""


class DocumentError(ChainruleError):
    """A line of a document that its notation's parser cannot read."""


class LoweringError(ChainruleError):
    """A System that a kernel cannot be made of (yet); names the equation and what to do."""


class BuildError(ChainruleError):
    """A kernel that could not be written, compiled or loaded."""
