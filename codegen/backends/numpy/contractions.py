"""Sums of products as BLAS calls: which operand comes first, which is transposed, which axes are merged.

A plan is tried in this order: an inner product for each row (`vecdot`), one matrix product (`dot`), a
stack of them (`matmul`), and Einstein
summation for whatever is left, overlapping windows among it: BLAS would take a copy of each window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sympy as sp
from sympy import Expr

from .values import Operand, Value
from .windows import window

__all__ = ["Layout", "Plan", "by_weights", "einsum_subscripts", "overlapping", "plan"]


@dataclass(frozen=True)
class Layout:
    """How an array is viewed: reshaped, then its axes permuted, then new axes put in (`[:, None]`)."""

    reshape: tuple[Expr, ...] | None = None
    permute: tuple[int, ...] | None = None
    subscript: str = ""


@dataclass(frozen=True)
class Plan:
    """`call` is "dot", "matmul", "vecdot" or "einsum"; `first` is the number of the operand that comes first."""

    call: str
    first: int = 0
    left: Layout = Layout()
    right: Layout = Layout()
    out: Layout = Layout()


def plan(value: Value) -> Plan:
    """The best call for a sum of products of two operands."""
    reduced = set(range(value.rank, value.rank + _count(value)))
    labels = [o.axes for o in value.operands]
    if reduced and len(set(labels)) == 1 and labels[0] == tuple(range(value.rank + 1)) and value.rank:
        return Plan("vecdot")
    strided = any(overlapping(o.value) for o in value.operands)
    if not strided and all(reduced <= set(a) for a in labels):
        found = [p for first in (0, 1) for p in (_dot(value, first, reduced) or _stacked(value, first, reduced),) if p]
        found = [p for p in found if _views_stay(value, p)]
        if found:
            return min(found, key=lambda p: sum(layout.permute is not None for layout in (p.left, p.right)))
    return Plan("einsum")


def by_weights(value: Value) -> bool | None:
    """Whether a sum of one operand is a product with a vector from the left (True) or right; None where it is neither.

    Its axes are the leading or the trailing ones of an array, in one piece.
    """
    (operand,) = value.operands
    kept, summed = tuple(range(value.rank)), tuple(a for a in operand.axes if a >= value.rank)
    source = operand.value
    if source.operation == "view" and (source.rank != 2 or overlapping(source)):
        return None
    if operand.axes == (*summed, *kept):
        return True
    return False if operand.axes == (*kept, *summed) else None


def einsum_subscripts(value: Value) -> str:
    """The subscripts of np.einsum: `ij,jk->ik`."""
    letters = "ijklmnopqrstuvwxyzabcdefgh"
    inputs = ",".join("".join(letters[a] for a in o.axes) for o in value.operands)
    return f"{inputs}->{letters[: value.rank]}"


def overlapping(value: Value) -> bool:
    """Whether the view is one that BLAS would copy: windows that overlap."""
    seen = window(value)
    return seen is not None and seen.overlapping


def _views_stay(value: Value, found: Plan) -> bool:
    """Whether no strided view would have to be reshaped, which copies it."""
    operands = value.operands[found.first], value.operands[1 - found.first]
    layouts = found.left, found.right
    return all(o.value.operation != "view" or w.reshape is None for o, w in zip(operands, layouts, strict=True))


def _count(value: Value) -> int:
    count = value.detail[0]
    assert isinstance(count, int)
    return count


def _split(
    operand: Operand, own: Sequence[int], reduced: set[int], *, own_first: bool
) -> tuple[bool, tuple[int, ...]] | None:
    """Whether the operand has to be transposed so that its own axes come first (or last), and its summed axes."""
    axes = operand.axes
    summed = tuple(a for a in axes if a in reduced)
    for front, back in ((tuple(own), summed), (summed, tuple(own))):
        if axes == (*front, *back):
            straight = (front == tuple(own)) == own_first if own else True
            return not straight, summed
    return None


def _matrix(operand: Operand, own: int, transposed: bool, own_first: bool) -> Layout:
    """The operand as a matrix (a vector where it has no axes of its own)."""
    shape = operand.value.shape
    summed = len(shape) - own
    front = own if own_first != transposed else summed
    parts = [shape[:front], shape[front:]]
    merged = tuple(sp.Mul(*p) for p in parts if p)
    reshape = None if all(len(p) <= 1 for p in parts) else merged
    return Layout(reshape, (1, 0) if transposed and len(merged) == 2 else None)


def _dot(value: Value, first: int, reduced: set[int]) -> Plan | None:
    left, right = value.operands[first], value.operands[1 - first]
    rows = [a for a in range(value.rank) if a in left.axes]
    columns = [a for a in range(value.rank) if a in right.axes]
    if rows + columns != list(range(value.rank)):
        return None
    one = _split(left, rows, reduced, own_first=True)
    two = _split(right, columns, reduced, own_first=False)
    if one is None or two is None or one[1] != two[1]:
        return None
    merged = len(rows) > 1 or len(columns) > 1
    out = tuple(sp.Mul(*(value.shape[a] for a in part)) for part in (rows, columns) if part)
    return Plan(
        "dot",
        first,
        _matrix(left, len(rows), one[0], own_first=True),
        _matrix(right, len(columns), two[0], own_first=False),
        Layout(out if merged else None),
    )


def _stacked(value: Value, first: int, reduced: set[int]) -> Plan | None:
    """A stack of matrix products: every operand and the result begin with the same axes."""
    left, right = value.operands[first], value.operands[1 - first]
    stack = [a for a in range(value.rank) if a in left.axes and a in right.axes]
    rows = [a for a in range(value.rank) if a in left.axes and a not in stack]
    columns = [a for a in range(value.rank) if a in right.axes and a not in stack]
    if stack + rows + columns != list(range(value.rank)) or len(rows) > 1 or len(columns) > 1 or len(reduced) != 1:
        return None
    one = _permuted(left, [*stack, *rows, *reduced])
    two = _permuted(right, [*stack, *reduced, *columns])
    if not rows and not columns:
        return Plan("vecdot", first, Layout(permute=one), Layout(permute=two))
    without_rows, without_columns = "[..., None, :]", "[..., None]"
    return Plan(
        "matmul",
        first,
        Layout(permute=one, subscript="" if rows else without_rows),
        Layout(permute=two, subscript="" if columns else without_columns),
        Layout(subscript=("" if columns else without_columns) if rows else without_rows),
    )


def _permuted(operand: Operand, wanted: Sequence[int]) -> tuple[int, ...] | None:
    order = tuple(operand.axes.index(a) for a in wanted)
    return None if order == tuple(range(len(order))) else order
