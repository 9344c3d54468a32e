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
    """out[r, c] = Σ_d left[r, d] · right[d, c] for every value of the `batch` indices, summed over the `added` ones.

    Strides count elements. `right` has unit stride along its columns or along its depth; `out` has
    unit stride along its columns. `left_depth` = 1 says that rows of `left` need no packing.
    """

    batch: tuple[Range, ...]
    added: tuple[Range, ...]
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
    scratch: Expr = sp.S.Zero  # elements of the space that are taken already
    adds: bool = False  # whether it is added to what `out` holds, but for the first of several


class _Strides:
    """Strides of index groups in one array."""

    def __init__(self, subscripts: Sequence[Expr], shape: Sequence[Expr]) -> None:
        self._of: dict[Expr, Expr] = {}
        stride: Expr = Integer(1)
        for subscript, extent in zip(reversed(subscripts), reversed(shape), strict=True):
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


def _separate(access: Access, symbols: set[Dummy]) -> tuple[Expr, ...] | None:
    """The loop index of each subscript, or the subscript where it leaves all of them alone.

    None where a subscript is more than an index of its own and a shift.
    """
    found = []
    for subscript in access.indices:
        own = [v for v in subscript.free_symbols if v in symbols]
        if len(own) > 1 or (own and (subscript - own[0]).free_symbols & symbols) or (own and own[0] in found):
            return None
        found.append(own[0] if own else subscript)
    return tuple(found)


def _merged(ranges: list[Range], around: list[Range], one: _Strides, two: _Strides) -> tuple[Expr, Expr]:
    """The strides of indices taken as one in two arrays; the outermost that have none go to the loops around."""
    while True:
        found = one.group(ranges), two.group(ranges)
        if found[0] is not None and found[1] is not None:
            return found[0], found[1]
        around.append(ranges.pop(0))


def matrix_product(
    statement: Contract, shapes: Mapping[str, Sequence[Expr]], nonnegative: Callable[[Expr], bool]
) -> MatrixProduct | None:
    """The contraction as a (batched) matrix product; None where plain loops must do.

    An operand without row indices is one row: a matrix-vector product. The operand that holds the
    last index of `out` is `right`. Indices that have no stride in common with those after them are loops
    around the product. `nonnegative` proves that no loop is empty.
    """
    out, left, right = statement.out, statement.left, statement.right
    symbols = {r.symbol for r in statement.loops}
    subscripts = {access: _separate(access, symbols) for access in (out, left, right)}
    of = {access: found for access, found in subscripts.items() if found is not None}
    if len(of) < len(subscripts) or not of[out] or not statement.reduced or of[out][-1] not in symbols:
        return None
    if any(r.lower != 0 or not nonnegative(r.upper) for r in statement.loops):
        return None
    if of[out][-1] not in of[right]:
        left, right = right, left
    in_left, in_right = set(of[left]), set(of[right])
    batch = [r for r in statement.ranges if r.symbol in in_left and r.symbol in in_right]
    rows = [r for r in statement.ranges if r.symbol in in_left and r not in batch]
    columns = [r for r in statement.ranges if r.symbol in in_right and r not in batch]
    shared = all(r.symbol in in_left and r.symbol in in_right for r in statement.reduced)
    covered = len(batch) + len(rows) + len(columns) == len(statement.ranges)
    if not shared or not covered or of[out][-1] in {r.symbol for r in batch}:
        return None
    place = {symbol: n for n, symbol in enumerate(of[left])}
    depth = sorted(statement.reduced, key=lambda r: place[r.symbol])
    of_out, of_left, of_right = (_Strides(of[a], shapes[a.name]) for a in (out, left, right))
    added: list[Range] = []
    left_row, out_row = _merged(rows, batch, of_left, of_out)
    right_column, _ = _merged(columns, batch, of_right, of_out)  # the last index of `out` has stride 1
    left_depth, right_depth = _merged(depth, added, of_left, of_right)
    if right_depth != 1 and right_column != 1:
        return None
    sizes = (_extent(rows), _extent(columns), _extent(depth))
    loops = tuple(r for r in statement.ranges if r in batch), tuple(added)
    return MatrixProduct(*loops, *sizes, left, left_row, left_depth, right, right_depth, right_column, out_row)
