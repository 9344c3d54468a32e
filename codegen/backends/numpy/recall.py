"""The same value by another way: formulas whose parts other statements have computed already.

    exp(a - m) where a guard holds, else 0   =  exp(a' - m), a' being a with -∞ where it does not
    Σ_j (Σ_e d[i, e]·v[j, e])·p[i, j]        =  Σ_e d[i, e]·o[i, e], o = Σ_j p·v   attention, backwards
    c·Σ_f q[i, f]·k[j, f]                    =  Σ_f (c·q[i, f])·k[j, f]            the smaller array is scaled
    c[s]·(a[s, k]/t[s])                      =  (c[s]/t[s])·a[s, k]                rows first
    c·x[s], laid out along k                 =  (c·x)[s], laid out along k         the smaller array is scaled
    c·Σ_k x[s, k]                            =  Σ_k c·x[s, k]                      a vector of c in the place of ones

Each is used only where the other parts exist, or grow slower than what they replace. (A sum of
products that an infinity of a masked element would reach by 0·∞ is one here as it is in any BLAS call.)
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp
from sympy import Expr

from .contractions import by_weights
from .values import Graph, Operand, Value

__all__ = ["known_sum", "masked_exponential", "regrouped", "row_apart", "scaled_operand", "weighted"]


def _inside(operand: Operand, name: str) -> list[Operand] | None:
    """The operands of a ufunc's value, placed as the value is; None for another operation."""
    value = operand.value
    if value.operation != "ufunc" or value.detail[0] != name:
        return None
    return [o.placed(operand.axes) for o in value.operands]


def masked_exponential(graph: Graph, excluded: Operand, operand: Operand, extents: tuple[Expr, ...]) -> Operand | None:
    """exp(a - b) with 0 where the condition `excluded` holds, from the masked a that a maximum has needed."""
    argument = _inside(operand, "exp")
    difference = _inside(argument[0], "subtract") if argument else None
    if difference is None:
        return None
    a, b = difference
    parts = [excluded, graph.scalar(-sp.oo), a]
    masked = graph.find("select", "", parts, extents)
    if masked is None:
        return None
    shifted = graph.elementwise("ufunc", "subtract", [masked, b], extents)
    return graph.elementwise("ufunc", "exp", [shifted], extents)


def _both_ways(pair: list[Operand] | None) -> list[tuple[Operand, Operand]]:
    return [] if pair is None else [(pair[0], pair[1]), (pair[1], pair[0])]


def regrouped(
    graph: Graph, factors: Sequence[Operand], reduced: Sequence[int], first_free: int
) -> list[Operand] | None:
    """Σ over `reduced` of (Σ_e a·b)·c as Σ_e a·(Σ b·c), where that inner sum is known: the factors a and Σ b·c.

    The axes e are numbered from `first_free` on.
    """
    for product, c in _both_ways(list(factors)) if len(factors) == 2 else []:
        value = product.value
        if value.operation != "sum" or len(value.operands) != 2:
            continue
        places = dict(enumerate(product.axes))
        inner = sorted({x for o in value.operands for x in o.axes if x >= value.rank})
        places.update({x: first_free + m for m, x in enumerate(inner)})
        for a, b in _both_ways([o.placed(places) for o in value.operands]):
            gone = [x for x in reduced if x not in a.axes]
            if not gone or not set(gone) <= set(b.axes) & set(c.axes):
                continue
            known = known_sum(graph, b, c, gone)
            if known is not None:
                return [a, known]
    return None


def known_sum(graph: Graph, b: Operand, c: Operand, gone: Sequence[int]) -> Operand | None:
    """The value Σ over `gone` of b·c that there is already, whatever the order of its axes."""
    for value in graph.sums:
        for one, two in _both_ways(list(value.operands)):
            if one.value is not b.value or two.value is not c.value:
                continue
            places: dict[int, int] = {}
            matched = [*zip(one.axes, b.axes, strict=True), *zip(two.axes, c.axes, strict=True)]
            if any(places.setdefault(own, axis) != axis for own, axis in matched):
                continue
            if len(set(places.values())) == len(places) and {places[x] for x in places if x >= value.rank} == set(gone):
                return Operand(value, tuple(places[m] for m in range(value.rank)))
    return None


def row_apart(operand: Operand, others: Sequence[Operand]) -> tuple[str, Operand, Operand] | None:
    """The parts of a/s or a·s where s has fewer axes than a and all that the others have: they may meet s before a."""
    value = operand.value
    if value.operation != "ufunc" or value.detail[0] not in ("multiply", "divide"):
        return None
    one, two = (o.placed(operand.axes) for o in value.operands)
    for whole, row in ((one, two), (two, one)) if value.detail[0] == "multiply" else ((one, two),):
        fewer = len(row.axes) < len(whole.axes) == len(operand.axes) and row.scalar is None
        if fewer and all(set(o.axes) <= set(row.axes) for o in others):
            return str(value.detail[0]), row, whole
    return None


def weighted(graph: Graph, constant: Expr, operand: Operand) -> Operand | None:
    """constant · Σ of one array as the product with a vector of that number, where the sum is a product with ones.

    And constant · an array laid out along further axes as the scaled array laid out.
    """
    value = operand.value
    if constant.atoms(sp.Dummy):  # the index of a loop: a new number in each round
        return None
    if value.operation == "view" or value.operation == "copy":
        return _spread(graph, constant, operand)
    if value.operation != "sum" or len(value.operands) != 1 or not value.rank or value.static:
        return None
    if by_weights(value) is None:
        return None
    count, *weights = value.detail
    detail = (count, sp.Mul(constant, *weights))
    return Operand(graph.value("sum", value.operands, value.shape, detail), operand.axes)


def _spread(graph: Graph, constant: Expr, operand: Operand) -> Operand | None:
    value = operand.value
    copy = value.operands[0].value if value.operation == "view" else value
    if copy.operation != "copy" or copy.detail or copy.static or value.region is not None:
        return None
    (source,) = copy.operands
    if source.scalar is not None or source.value.boolean or source.value.rank == copy.rank:
        return None
    few = graph.elementwise("ufunc", "multiply", [source.value.whole, graph.scalar(constant)], source.value.shape)
    made = graph.value("copy", (Operand(few.value, source.axes),), copy.shape)
    return Operand(
        made if value is copy else graph.value("view", (made.whole,), value.shape, value.detail), operand.axes
    )


def scaled_operand(graph: Graph, constant: Expr, operand: Operand) -> Operand | None:
    """constant · a contraction as the contraction of a scaled operand: one that is known, or that grows slower."""
    value = operand.value
    if value.operation != "sum" or len(value.operands) != 2 or not value.rank:
        return None
    scalar = graph.scalar(constant)
    for m, factor in enumerate(value.operands):
        inner = factor.value
        if inner.static or inner.operation in ("scalar", "view", "given") or inner.boolean:
            continue
        whole = inner.whole
        known = graph.find("ufunc", "multiply", [whole, scalar], inner.shape)
        if known is None and not _slower(inner, value):
            continue
        scaled = graph.elementwise("ufunc", "multiply", [whole, scalar], inner.shape)
        operands = tuple(Operand(scaled.value, o.axes) if n == m else o for n, o in enumerate(value.operands))
        made = graph.value("sum", operands, value.shape, value.detail)
        return Operand(made, operand.axes)
    return None


def _slower(one: Value, two: Value) -> bool:
    """Whether the first array's size is of a lower degree in every size, and both are stacks along the same axis."""
    if one.rank != two.rank or one.shape[0] != two.shape[0]:
        return False
    sizes = [sp.Mul(*v.shape) for v in (one, two)]
    if not all(s.is_polynomial(*s.free_symbols) for s in sizes):
        return False
    degrees = [max((sp.degree(s, x) for x in s.free_symbols), default=0) for s in sizes]
    return bool(degrees[0] < degrees[1])
