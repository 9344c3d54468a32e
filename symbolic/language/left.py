"""The left side of an equation: indices, shifted indices, and the fixed subscripts of base cases.

    z[j]          an index
    h[t + 1, i]   an index shifted by a whole number: the equation for the elements t + 1
    h[0, i]       a base case; so is h[T, i] where T is a size

Which of these a subscript is depends on the names of the sizes, not on how it is written.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from sympy import Expr

from ..names import name_problem
from .drafts import Names
from .source import Code
from .statements import MAX_SIZE_NODES, EquationText, size_of

__all__ = ["LeftIndex", "left_side"]

_AFFINE = (ast.Name, ast.Constant, ast.BinOp, ast.UnaryOp, ast.Add, ast.Sub, ast.Mult, ast.USub, ast.Load)


@dataclass(frozen=True)
class LeftIndex:
    """An index on the left side, which stands there plus `shift`."""

    name: str
    shift: int


def left_side(text: EquationText, names: Names) -> tuple[LeftIndex | Expr, ...]:
    """The left side's subscripts, one by one: an index, or the fixed value of a base case.

    Raises FormulaError for anything else, and for an index that stands twice.
    """
    found: list[LeftIndex | Expr] = []
    for node in text.nodes:
        element = _element(text.code, node, names)
        if isinstance(element, LeftIndex) and any(isinstance(f, LeftIndex) and f.name == element.name for f in found):
            hint = "for a diagonal write where(i == j, …, 0) with two indices"
            raise text.code.error(f"the index {element.name!r} stands twice on the left side", node, hint)
        found.append(element)
    return tuple(found)


def _element(code: Code, node: ast.expr, names: Names) -> LeftIndex | Expr:
    if isinstance(node, ast.Name) and node.id not in names.sizes:
        problem = name_problem(node.id)
        if problem:
            raise code.error(f"{problem} and cannot name an index", node, "choose another name")
        return LeftIndex(node.id, 0)
    parts = list(ast.walk(node))
    whole = all(isinstance(p.value, int) for p in parts if isinstance(p, ast.Constant))
    if not whole or len(parts) > MAX_SIZE_NODES or not all(isinstance(p, _AFFINE) for p in parts):
        raise _misplaced(code, node)
    value = size_of(code, node, positive=False)
    indices = [s for s in value.free_symbols if s.name not in names.sizes]
    if not indices:
        return value
    shift = value - indices[0]
    if not shift.is_Integer:
        raise _misplaced(code, node)
    return LeftIndex(indices[0].name, int(shift))


def _misplaced(code: Code, node: ast.expr) -> Exception:
    message = f"expected an index or a number on the left side, found {code.written(node)!r}"
    return code.error(message, node, "write h[t, i] = … h[t - 1, i], with base cases such as h[0, i] = …")
