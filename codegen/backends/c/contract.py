"""Contractions as matrix products: which indices are rows, columns, depth and batch, and with what strides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import sympy as sp
from sympy import Dummy, Expr, Integer

from chainrule.codegen.ir import Contract
from chainrule.symbolic.expressions import Access, Range

__all__ = ["MatrixProduct", "matrix_product"]


@dataclass(frozen=True)
class MatrixProduct:
    """out[r, c] = Σ_d left[r, d] · right[d, c] for every value of the `batch` indices.

    Strides count elements. `right` has unit stride along its columns or along its depth; `out` has
    unit stride along its columns. `left_depth` = 1 says that rows of `left` need no packing.
    """

    batch: tuple[Range, ...]
    rows: Expr
    columns: Expr
    depth: Expr
    left: Access
    left_row: Expr
    left_depth: Expr
    right: Access
    right_depth: Expr
    right_column: Expr
    out_row: Expr


class _Strides:
    """Strides of index groups in one array."""

    def __init__(self, access: Access, shape: Sequence[Expr]) -> None:
        self._of: dict[Expr, Expr] = {}
        stride: Expr = Integer(1)
        for subscript, extent in zip(reversed(access.indices), reversed(shape), strict=True):
            self._of[subscript] = stride
            stride = stride * extent

    def group(self, ranges: Sequence[Range]) -> Expr | None:
        """The one stride of several indices taken as one, outermost first; None where there is none."""
        if not ranges:
            return Integer(0)
        for outer, inner in pairwise(ranges):
            if sp.expand(self._of[outer.symbol] - self._of[inner.symbol] * inner.extent) != 0:
                return None
        return self._of[ranges[-1].symbol]


def _extent(ranges: Sequence[Range]) -> Expr:
    return sp.Mul(*(r.extent for r in ranges))


def _separate(access: Access, symbols: set[Dummy]) -> bool:
    """Whether every subscript is a loop index of its own, or leaves all of them alone."""
    moving = [i for i in access.indices if i.free_symbols & symbols]
    return len(set(moving)) == len(moving) and all(i in symbols for i in moving)


def matrix_product(
    statement: Contract, shapes: Mapping[str, Sequence[Expr]], nonnegative: Callable[[Expr], bool]
) -> MatrixProduct | None:
    """The contraction as a (batched) matrix product; None where plain loops must do.

    An operand without row indices is one row: a matrix-vector product. The operand that holds the
    last index of `out` is `right`. `nonnegative` proves that no loop is empty.
    """
    out, left, right = statement.out, statement.left, statement.right
    symbols = {r.symbol for r in statement.loops}
    if not all(_separate(access, symbols) for access in (out, left, right)):
        return None
    if not out.indices or not statement.reduced or out.indices[-1] not in symbols:
        return None
    if any(r.lower != 0 or not nonnegative(r.upper) for r in statement.loops):
        return None
    if out.indices[-1] not in right.indices:
        left, right = right, left
    in_left, in_right = set(left.indices), set(right.indices)
    batch = tuple(r for r in statement.ranges if r.symbol in in_left and r.symbol in in_right)
    rows = [r for r in statement.ranges if r.symbol in in_left and r not in batch]
    columns = [r for r in statement.ranges if r.symbol in in_right and r not in batch]
    shared = all(r.symbol in in_left and r.symbol in in_right for r in statement.reduced)
    covered = len(batch) + len(rows) + len(columns) == len(statement.ranges)
    if not shared or not covered or out.indices[-1] in {r.symbol for r in batch}:
        return None
    place = {symbol: n for n, symbol in enumerate(left.indices)}
    depth = sorted(statement.reduced, key=lambda r: place[r.symbol])
    of_out, of_left, of_right = (_Strides(a, shapes[a.name]) for a in (out, left, right))
    found = (
        of_left.group(rows),
        of_left.group(depth),
        of_right.group(depth),
        of_right.group(columns),
        of_out.group(rows),
        of_out.group(columns),
    )
    if any(stride is None for stride in found):
        return None
    left_row, left_depth, right_depth, right_column, out_row, _ = found  # the last index of `out` has stride 1
    if right_depth != 1 and right_column != 1:
        return None
    sizes = (_extent(rows), _extent(columns), _extent(depth))
    return MatrixProduct(batch, *sizes, left, left_row, left_depth, right, right_depth, right_column, out_row)
