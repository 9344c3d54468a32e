"""An equation as read, before the ranges of its indices are known: how each index is used, and where."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from sympy import Dummy, Expr, Symbol

from ..expressions import Range
from .source import Code
from .statements import EquationText

__all__ = ["Draft", "Names", "Span", "Use", "Variable"]


@dataclass(frozen=True)
class Names:
    """The names of a model: the rank of each tensor, and the sizes."""

    ranks: Mapping[str, int]
    sizes: Mapping[str, Symbol]


@dataclass(frozen=True)
class Span:
    """One axis of a tensor: its length, and the first element that an equation defines (0 but for recurrences)."""

    first: Expr
    extent: Expr


@dataclass(frozen=True, eq=False)
class Variable:
    """An index of one equation, equal to itself alone: its symbol, placeholders for its bounds, and where it stands.

    `symbol` is the subscript of the left side; where that is shifted, `h[t + 1]`, the user's t is
    `symbol - shift`.
    """

    symbol: Dummy
    lower: Dummy
    upper: Dummy
    node: ast.expr
    code: Code
    bound: bool
    shift: int = 0

    @property
    def name(self) -> str:
        return str(self.symbol.name)

    @property
    def value(self) -> Expr:
        """The index as the user writes it, in terms of the symbol."""
        return self.symbol - self.shift

    @property
    def placeholder(self) -> Range:
        """The range with the placeholders as its bounds."""
        return Range(self.symbol, self.lower, self.upper)


@dataclass(frozen=True)
class Use:
    """One subscript of one access: `guards` are the affine expressions known to be >= 0 where it is read."""

    tensor: str
    axis: int
    subscript: Expr
    guards: tuple[Expr, ...]
    node: ast.expr
    access: ast.expr
    code: Code

    @property
    def written(self) -> str:
        """The access as the user wrote it."""
        return self.code.written(self.access)


@dataclass(frozen=True)
class Draft:
    """An equation whose ranges are still placeholders; `guards` are the conditions of each bound index's reduction.

    `subscripts` are the left side's: an index, or the fixed value of a base case.
    """

    text: EquationText
    subscripts: tuple[Variable | Expr, ...]
    value: Expr
    variables: tuple[Variable, ...]
    uses: tuple[Use, ...]
    reads: tuple[str, ...]
    guards: Mapping[Variable, tuple[Expr, ...]]

    @property
    def name(self) -> str:
        """The tensor that the equation defines."""
        return self.text.name

    @property
    def is_base(self) -> bool:
        """Whether a subscript of the left side is fixed."""
        return not all(isinstance(s, Variable) for s in self.subscripts)

    def shown(self, expression: Expr) -> str:
        """The expression with its indices as the user writes them."""
        shifted = {v.symbol: Symbol(v.name) + v.shift for v in self.variables}
        plain = expression.xreplace(shifted)
        return str(plain.xreplace({s: Symbol(s.name) for s in plain.free_symbols}))
