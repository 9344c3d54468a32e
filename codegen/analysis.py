"""What a Program costs, read off the IR: operations per sample and workspace bytes, as formulas in sizes.

An operation is one addition, subtraction, multiplication, division, comparison, selection, power or
elementary function, whatever it takes the machine; a contraction over K to M·N elements is 2·M·N·K.
Conditions on indices are counted as if they always held.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp
from sympy import Expr, Integer

from chainrule.symbolic.affine import box
from chainrule.symbolic.expressions import Access, Call, Range, Reduction, Where

from .ir import BATCH, Buffer, Contract, Kernel, Map, Program, Reduce, Scan, Scatter, Statement

__all__ = ["ITEM_BYTES", "Operations", "elements", "operations", "workspace"]

ITEM_BYTES = {"float32": 4, "float64": 8}


@dataclass(frozen=True)
class Operations:
    """Operations of one call: `per_sample`·batch + `per_call`, formulas in the size symbols."""

    per_sample: Expr
    per_call: Expr


def operations(kernel: Kernel) -> Operations:
    """The operations of one call of the kernel."""
    bodies = {f.name: f.body for f in kernel.functions if f.body is not None}
    whole = sp.expand(sp.Add(*(_statement(s, bodies) for s in kernel.statements)))
    per_sample = whole.coeff(BATCH, 1)
    return Operations(sp.factor_terms(per_sample), sp.factor_terms(sp.expand(whole - per_sample * BATCH)))


def elements(buffers: Iterable[Buffer]) -> Expr:
    """How many numbers the buffers hold together, a formula in sizes and the batch."""
    return sp.expand(sp.Add(*(sp.Mul(*b.shape) for b in buffers)))


def workspace(program: Program) -> Expr:
    """Bytes that the most demanding kernel's local buffers take, a formula in sizes and the batch."""
    demands = [elements(k.slots.values()) * ITEM_BYTES[program.dtype] for k in program.kernels]
    greatest = Integer(0)
    for demand in demands:
        difference = sp.expand(demand - greatest)
        if difference.is_nonnegative or all(c.is_positive for c in difference.as_coefficients_dict().values()):
            greatest = demand
        elif not all(c.is_negative for c in difference.as_coefficients_dict().values()):
            greatest = sp.Max(greatest, demand)
    return sp.expand(greatest)


def _loops(ranges: Sequence[Range]) -> Expr:
    """How many combinations of indices there are: a triangle is half a square, a bound by several indices the box."""
    if any(bound.atoms(sp.Max, sp.Min, sp.floor) for r in ranges for bound in (r.lower, r.upper)):
        ranges = box(ranges)
    count: Expr = Integer(1)
    for r in reversed(ranges):
        varies = r.symbol in count.free_symbols
        count = sp.summation(count, (r.symbol, r.lower, r.upper)) if varies else count * r.extent
    return count


def _statement(statement: Statement | Scan, bodies: Mapping[str, Expr], outer: tuple[Range, ...] = ()) -> Expr:
    if isinstance(statement, Scan):
        return sp.Add(*(_statement(s, bodies, (statement.range,)) for s in statement.statements))
    points = _loops((*outer, *statement.loops))
    if isinstance(statement, Contract):
        return 2 * points
    if isinstance(statement, Reduce | Scatter):
        return points * (_count(statement.body, bodies) + 1)
    if isinstance(statement, Map):
        return points * _count(statement.body, bodies)
    raise TypeError(f"unknown statement {statement!r}")


def _count(node: Expr, bodies: Mapping[str, Expr]) -> Expr:
    """Operations of evaluating the expression once."""
    if isinstance(node, Access) or not node.args:
        return Integer(0)
    if isinstance(node, Reduction):
        return _loops(node.ranges) * (_count(node.body, bodies) + 1)
    inside = sp.Add(*(_count(a, bodies) for a in (node.arguments if isinstance(node, Call) else node.args)))
    if isinstance(node, Call):
        body = bodies.get(node.name)
        return inside + (_count(body, bodies) if body is not None else 1)
    if isinstance(node, sp.Add):
        return inside + len(node.args) - 1
    if isinstance(node, sp.Mul):
        return inside + max(sum(1 for a in node.args if a != -1) - 1, 0)
    if isinstance(node, sp.Pow):
        # a reciprocal is the division that its product already counts
        return inside + (0 if node.exp == -1 else 1)
    if isinstance(node, Where):
        return inside + 1
    return inside + 1
