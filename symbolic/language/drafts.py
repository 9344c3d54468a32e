"""An equation as read, before the ranges of its indices are known: how each index is used, and where."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from sympy import Dummy, Expr, Symbol

from ..expressions import Range
from .source import Code
from .statements import EquationText

__all__ = ["Draft", "Names", "Use", "Variable", "shown"]


@dataclass(frozen=True)
class Names:
    """The names of a model: the rank of each tensor (None where it is not known), and the sizes."""

    ranks: Mapping[str, int]
    sizes: Mapping[str, Symbol]


@dataclass(frozen=True)
class Variable:
    """An index of one equation: its symbol, placeholders for its bounds, and where it stands."""

    symbol: Dummy
    lower: Dummy
    upper: Dummy
    node: ast.expr
    code: Code
    bound: bool

    @property
    def name(self) -> str:
        return str(self.symbol.name)

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
    """An equation whose ranges are still placeholders; `guards` are the conditions of each bound index's reduction."""

    text: EquationText
    subscripts: tuple[Variable | int, ...]
    value: Expr
    variables: tuple[Variable, ...]
    uses: tuple[Use, ...]
    reads: tuple[str, ...]
    guards: Mapping[Variable, tuple[Expr, ...]]


def shown(expression: Expr) -> str:
    """The expression with its indices by the names that the user gave them."""
    return str(expression.xreplace({s: Symbol(s.name) for s in expression.free_symbols}))
