"""Contractions of overlapping windows: one matrix product for each place in the window.

    y[s, o, p, q] = Σ_{c, u, v} w[o, c, u, v]·x[s, c, 2p + u, 2q + v]

is, for each of the nine (u, v), a product of w[:, :, u, v] with the elements of x that lie (u, v) from the
corners of the windows. These are copied out first: no more than x has, whatever the window is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import sympy as sp
from sympy import Dummy, Expr

from chainrule.codegen.ir import Contract, Map
from chainrule.symbolic.affine import coefficient
from chainrule.symbolic.expressions import Access, Range
from chainrule.symbolic.system import Equation

from .contract import MatrixProduct, matrix_product

if TYPE_CHECKING:
    from .body import Body

__all__ = ["Windows", "windows"]

_MOST = 64
"""So many places a window may have."""


@dataclass(frozen=True)
class Windows:
    """A contraction as loops over `free` and `summed` places, a copy and a matrix product within.

    `copy` fills the scratch array of the operand's elements at one place; `inner` contracts it, into a scratch
    array where the places are indices of the result, from which `result` takes it.
    """

    free: tuple[Range, ...]
    summed: tuple[Range, ...]
    copy: Map
    inner: Contract
    plan: MatrixProduct
    result: Map | None


def windows(body: Body, statement: Contract) -> Windows | None:
    """How the contraction goes; None where it has no windows, or leaves no matrix product."""
    symbols = {r.symbol: r for r in statement.loops}
    if body.outer or any(r.lower != 0 for r in statement.loops):
        return None
    for window, other in ((statement.left, statement.right), (statement.right, statement.left)):
        if not all(_alone(i, symbols.keys()) for a in (other, statement.out) for i in a.indices):
            continue
        offsets = _offsets(window, symbols)
        if offsets:
            return _planned(body, statement, window, other, offsets)
    return None


def _alone(subscript: Expr, symbols: Collection[Dummy]) -> bool:
    """Whether the subscript is an index, or leaves all of them alone."""
    return subscript in symbols or not subscript.free_symbols & set(symbols)


def _offsets(window: Access, ranges: Mapping[Dummy, Range]) -> tuple[Range, ...] | None:
    """The short index of each subscript that has two; None where one has more, or no short one."""
    found: dict[Range, None] = {}
    for subscript in window.indices:
        own = sorted((v for v in subscript.free_symbols if v in ranges), key=lambda v: v.sort_key())
        factors = [coefficient(subscript, v) for v in own]
        if any(f is None or not (f.is_Integer and f > 0) for f in factors):
            return None
        short = [v for v in own if ranges[v].extent.is_Integer]
        if len(own) > 2 or (len(own) == 2 and len(short) != 1):
            return None
        if len(own) == 2:
            found.setdefault(ranges[short[0]])
    number = sp.Mul(*(r.extent for r in found))
    repeated = any(sum(v in i.free_symbols for i in window.indices) > 1 for v in ranges)
    return tuple(found) if not repeated and 1 < number <= _MOST else None


def _planned(
    body: Body, statement: Contract, window: Access, other: Access, offsets: Sequence[Range]
) -> Windows | None:
    places = {r.symbol for r in offsets}
    free = tuple(r for r in statement.ranges if r.symbol in places)
    summed = tuple(r for r in statement.reduced if r.symbol in places)
    table = {r.symbol: r for r in statement.loops if r.symbol not in places}
    own = [table[v] for i in window.indices for v in i.free_symbols if v in table]
    if len(own) < len(window.indices):
        return None
    ranges = tuple(r for r in statement.ranges if r.symbol not in places)
    part = Access("part", *(r.symbol for r in own))
    target = Access("product", *(r.symbol for r in ranges)) if free else statement.out
    told = Equation(statement.out.name, statement.out.indices, statement.ranges, target)
    inner = replace(
        statement,
        out=target,
        ranges=ranges,
        reduced=tuple(r for r in statement.reduced if r.symbol not in places),
        left=part,
        right=other,
    )
    shapes = {part: tuple(r.extent for r in own)} | ({target: tuple(r.extent for r in ranges)} if free else {})
    tried = matrix_product(inner, {**body.shapes, **{a.name: s for a, s in shapes.items()}}, body.prover.nonnegative)
    if tried is None or tried.rows == 1:
        return None
    names = {a: _scratch(body, a, shape) for a, shape in shapes.items()}
    inner = replace(inner, out=names.get(target, target), left=names[part])
    plan = matrix_product(inner, body.shapes, body.prover.nonnegative)
    assert plan is not None
    elements = sp.Add(*(sp.Mul(*shape) for shape in shapes.values()))
    copied = Equation(names[part].name, part.indices, tuple(own), window)
    copy = Map(names[part], tuple(own), copied, window)
    result = Map(statement.out, ranges, replace(told, value=inner.out), inner.out) if free else None
    return Windows(free, summed, copy, inner, replace(plan, scratch=elements), result)


def _scratch(body: Body, access: Access, shape: tuple[Expr, ...]) -> Access:
    """An array in the space that matrix products work in, under a name of its own."""
    name = body.names.claim(access.name)
    body.shapes[name] = shape
    body.scratch[name] = name
    return Access(name, *access.indices)
