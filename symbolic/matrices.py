"""The matrix form of an equation, where it has one: z_j = b_j + Σ_k w_jk x_k is z = b + W x.

    axes        an index is an axis where it runs over the whole of every dimension that it stands at, and
                stands there alone; another index (a shifted one, one with bounds of its own) labels: h_t, W_k
    products    factors are edges of a graph whose vertices are axes; a summed axis between two matrices is a
                matrix product, between a matrix and a column a product with it, at one end a product with 𝟏
    the rest    sums, functions and powers act element by element; what lacks an axis is repeated along it (u 𝟏ᵀ)

What has no form in these terms has none: guards, conditions, more than two axes, an axis that three matrices share.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp
from sympy import Dummy, Expr
from sympy.core.relational import Relational
from sympy.logic.boolalg import BooleanFunction

from .expressions import Access, Call, Delta, Range, Reduction, Where, accesses, contains, walk
from .matrix_algebra import (
    Applied,
    Constant,
    Entry,
    Matrix,
    Ones,
    Raised,
    SquaredNorm,
    Transposed,
    diagonal,
    dot,
    elementwise,
    over,
    parts,
    scaled,
    total,
    trace,
    transposed,
)
from .samples import BATCH, batch_equation, batch_shape
from .system import Equation, System

__all__ = ["MatrixForm", "batch_form", "matrix_form"]

Shapes = Mapping[str, tuple[Expr, ...]]


@dataclass(frozen=True)
class MatrixForm:
    """target = value, of equal shapes; `target` may be a slice (h_t), for every value of its labels."""

    target: Entry
    value: Matrix


def matrix_form(equation: Equation, system: System) -> MatrixForm | None:
    """The equation in matrix form; None where it has none, or where only scalars stand in it.

    A tensor of more than two axes is taken apart along its first ones: z_k = xᵀ W_k u.
    """
    return _form(equation, {t.name: t.shape for t in system.tensors}, frozenset())


def batch_form(equation: Equation, system: System) -> MatrixForm | None:
    """The equation over a batch: a row for each sample in every per-sample tensor, so that columns become matrices.

    The derivatives by shared tensors, and the cost, are those of cost_avg (`samples.batch_equation`). None where
    there is no such form, or where the equation knows nothing of samples.
    """
    lifted = batch_equation(equation, system)
    if lifted is None:
        return None
    sampled = frozenset(t.name for t in system.tensors if t.per_sample)
    return _form(lifted, {t.name: batch_shape(t) for t in system.tensors}, sampled)


class _NoForm(Exception):
    """Raised where an expression has no matrix form."""


@dataclass(frozen=True)
class _Piece:
    """A node and its axes: none for a scalar, one for a column, (rows, columns) for a matrix."""

    node: Matrix
    axes: tuple[Dummy, ...]


def _form(equation: Equation, shapes: Shapes, sampled: frozenset[str]) -> MatrixForm | None:
    try:
        extents = _extents(equation, shapes, bool(sampled))
        target = _entry(equation.target, extents, sampled)
        reader = _Reader(target.axes, extents, sampled)
        value = reader.whole(reader.read(equation.value), target.axes)
    except _NoForm:
        return None
    assert isinstance(target.node, Entry)
    entries = [target.node, *(n for n in parts(value) if isinstance(n, Entry))]
    scalar = all(e.rank == 0 for e in entries)
    return None if scalar or len(entries) == 1 else MatrixForm(target.node, value)


def _extents(equation: Equation, shapes: Shapes, batch: bool) -> dict[Dummy, Expr]:
    """The indices that are axes, and how far they run; the others label."""
    bound = [r for node in walk(equation.value) if isinstance(node, Reduction) for r in node.ranges]
    ranges = [*equation.ranges, *bound]
    extents = {r.symbol: sp.expand(r.upper + 1) for r in ranges if r.lower == 0 and not r.upper.atoms(Dummy)}
    found = [equation.target, *accesses(equation.value)]
    for access in found:
        for subscript, dimension in zip(access.indices, shapes[access.name], strict=True):
            if subscript not in extents or sp.expand(extents[subscript] - dimension) != 0:
                for symbol in subscript.atoms(Dummy):
                    extents.pop(symbol, None)
    for symbol in _outside(equation.value):
        extents.pop(symbol, None)
    while True:
        deep = [a for a in found if sum(s in extents for s in a.indices) > 2]
        if not deep:
            return extents
        if batch:  # a matrix for each sample: three axes, none of which is a label by itself
            raise _NoForm
        del extents[next(s for s in deep[0].indices if s in extents)]


def _outside(node: Expr) -> set[Dummy]:
    """The indices that stand anywhere but in subscripts: as values, in bounds, in guards."""
    if isinstance(node, Dummy):
        return {node}
    if isinstance(node, Access):
        return set()
    children: Iterable[Expr] = node.args
    if isinstance(node, Reduction):
        children = (node.body, *node.guards, *(e for r in node.ranges for e in (r.lower, r.upper)))
    return {symbol for child in children for symbol in _outside(child)}


def _entry(access: Access, extents: Mapping[Dummy, Expr], sampled: frozenset[str]) -> _Piece:
    """The tensor's slice; its labels must stand before its axes (but after the sample's)."""
    head = 1 if access.name in sampled else 0
    labels = tuple(itertools.takewhile(lambda s: s not in extents, access.indices[head:]))
    axes = access.indices[:head] + access.indices[head + len(labels) :]
    if len(set(axes)) != len(axes) or not all(a in extents for a in axes):
        raise _NoForm
    if head and labels and len(axes) == 1:  # one element for each sample: no part of a row
        raise _NoForm
    return _Piece(Entry(access.name, labels, len(axes)), axes)


@dataclass(frozen=True)
class _Reader:
    """Reads expressions of one equation; `target` are the axes of its left side, rows first."""

    target: tuple[Dummy, ...]
    extents: Mapping[Dummy, Expr]
    sampled: frozenset[str]

    def read(self, node: Expr) -> _Piece:
        """The expression's node and axes; raises _NoForm."""
        if isinstance(node, Access):
            return _entry(node, self.extents, self.sampled)
        if isinstance(node, Reduction):
            return self._reduction(node)
        if isinstance(node, Where | Delta | sp.Piecewise | BooleanFunction | Relational):
            raise _NoForm
        if not contains(node, lambda n: isinstance(n, Access | Reduction | Where | Delta | sp.Piecewise)):
            return _Piece(Constant(node), ())
        if isinstance(node, sp.Add):
            return self._sum(node)
        if isinstance(node, sp.Mul):
            return self._contracted(node.args, ())
        if isinstance(node, sp.Pow):
            return self._power(node)
        if isinstance(node, Call | sp.Function | sp.Max | sp.Min):
            return self._function(node)
        raise _NoForm

    def _sum(self, node: Expr) -> _Piece:
        common, rest = node.primitive()  # 2a - 2y, which SymPy makes of 2(a - y), reads better as the latter
        if not common.is_Integer:
            common, rest = sp.Integer(1), node
        pieces = [self.read(a) for a in rest.args]
        axes = self._union(pieces)
        return _Piece(scaled([Constant(common)], total(self._spread(p, axes) for p in pieces)), axes)

    def _power(self, node: Expr) -> _Piece:
        base, exponent = node.args
        if accesses(exponent):
            raise _NoForm
        piece = self.read(base)
        return _Piece(Raised(piece.node, exponent, scalar=not piece.axes), piece.axes)

    def _function(self, node: Expr) -> _Piece:
        order = sum(node.orders) if isinstance(node, Call) else 0
        arguments = node.arguments if isinstance(node, Call) else node.args
        if order and len(arguments) > 1:
            raise _NoForm
        pieces = [self.read(a) for a in arguments]
        axes = self._union(pieces)
        spread = tuple(self._spread(p, axes) for p in pieces)
        return _Piece(Applied(node.name if isinstance(node, Call) else node.func, order, spread), axes)

    def _reduction(self, node: Reduction) -> _Piece:
        factors, ranges = _flat(node)
        try:
            return self._contracted(factors, ranges)
        except _NoForm:
            if len(factors) != 1 or not isinstance(factors[0], sp.Add):
                raise
        pieces = [self._contracted(sp.Mul.make_args(term), ranges) for term in factors[0].args]
        axes = self._union(pieces)
        return _Piece(total(self._spread(p, axes) for p in pieces), axes)

    def _contracted(self, factors: Sequence[Expr], ranges: Sequence[Range]) -> _Piece:
        """Σ over the ranges of the product of the factors."""
        bound = [r.symbol for r in ranges if r.symbol in self.extents]
        piece = _Graph(self, [self.read(f) for f in factors], bound).piece()
        return _Piece(over([r for r in ranges if r.symbol not in self.extents], piece.node), piece.axes)

    def _union(self, pieces: Sequence[_Piece]) -> tuple[Dummy, ...]:
        """The axes of all pieces together, in order."""
        ordered = sorted(pieces, key=lambda p: -len(p.axes))
        return self.ordered(dict.fromkeys(a for p in ordered for a in p.axes))

    def ordered(self, axes: Iterable[Dummy]) -> tuple[Dummy, ...]:
        """At most two axes: samples first; the target's in its order; others as they come."""
        found = tuple(axes)
        if len(found) > 2:
            raise _NoForm
        if set(found) == set(self.target) and found:
            return self.target
        return tuple(sorted(found, key=lambda a: self.extents[a] != BATCH))

    def outwards(self, axes: Sequence[Dummy]) -> tuple[Dummy, ...]:
        """The two axes that a product leaves: samples first, then the target's rows; the target's columns last."""
        place = {axis: 2 * m for m, axis in enumerate(self.target)}
        return tuple(sorted(axes, key=lambda a: -1 if self.extents[a] == BATCH else place.get(a, 1)))

    def turned(self, piece: _Piece, axes: tuple[Dummy, ...]) -> Matrix:
        """The matrix with its two axes in that order."""
        return piece.node if piece.axes == axes else transposed(piece.node)

    def _spread(self, piece: _Piece, axes: tuple[Dummy, ...]) -> Matrix:
        """The piece repeated along the axes that it lacks; a scalar stays one."""
        if not piece.axes or len(axes) < 2:
            return piece.node
        return self.whole(piece, axes)

    def whole(self, piece: _Piece, axes: tuple[Dummy, ...]) -> Matrix:
        """The piece in the shape of those axes."""
        if not set(piece.axes) <= set(axes):
            raise _NoForm
        if len(piece.axes) == 2:
            return self.turned(piece, axes)
        if piece.axes == axes:
            return piece.node
        if len(axes) == 1:
            return scaled([piece.node], Ones(self.extents[axes[0]]))
        ones = [Ones(self.extents[a]) for a in axes]
        if not piece.axes:
            return scaled([piece.node], dot(ones[0], transposed(ones[1])))
        if piece.axes[0] == axes[0]:
            return dot(piece.node, transposed(ones[1]))
        return dot(ones[0], transposed(piece.node))


def _flat(node: Reduction) -> tuple[list[Expr], list[Range]]:
    """The factors under the sum and its ranges, sums among the factors joined; raises _NoForm for other reductions."""
    if node.kind != "sum" or node.guards:
        raise _NoForm
    factors: list[Expr] = []
    ranges = [*node.ranges]
    for factor in sp.Mul.make_args(node.body):
        if isinstance(factor, Reduction):
            inner, below = _flat(factor)
            factors += inner
            ranges += below
        else:
            factors.append(factor)
    if len({r.symbol for r in ranges}) != len(ranges):
        raise _NoForm
    return factors, ranges


class _Graph:
    """A product of scalars, columns (at one axis each) and matrices (between two axes), some axes summed over."""

    def __init__(self, reader: _Reader, pieces: Sequence[_Piece], bound: Sequence[Dummy]) -> None:
        self.reader, self.bound = reader, [*bound]
        self.scalars: list[Matrix] = []
        self.columns: dict[Dummy, list[Matrix]] = {}
        self.edges: dict[frozenset[Dummy], list[_Piece]] = {}
        for piece in sorted(pieces, key=lambda p: repr(p.node)):
            self._put(piece)

    def _put(self, piece: _Piece) -> None:
        if len(piece.axes) == 2:
            self.edges.setdefault(frozenset(piece.axes), []).append(piece)
        elif piece.axes:
            self.columns.setdefault(piece.axes[0], []).append(piece.node)
        else:
            self.scalars.append(piece.node)

    def piece(self) -> _Piece:
        """What is left when the bound axes are summed over, those at the ends first."""
        while self.bound:
            if not self._double_sum():
                axis = min(self.bound, key=lambda a: len(self._around(a)))
                self.bound.remove(axis)
                self._sum_over(axis)
        axes = self.reader.ordered(dict.fromkeys((*(a for e in self.edges.values() for a in e[0].axes), *self.columns)))
        columns = [self._column(a) for a in axes]
        if self.edges:
            (edge,) = self.edges.values()
            scaling = [None if c is None else diagonal(c) for c in columns]
            factors = [scaling[0], self._matrix(edge, axes), scaling[1]]
            return _Piece(scaled(self.scalars, dot(*(f for f in factors if f is not None))), axes)
        present = [c for c in columns if c is not None]
        if len(present) == 2:
            return _Piece(scaled(self.scalars, dot(present[0], transposed(present[1]))), axes)
        return _Piece(scaled(self.scalars, *present), axes)

    def _around(self, axis: Dummy) -> list[frozenset[Dummy]]:
        return [edge for edge in self.edges if axis in edge]

    def _column(self, axis: Dummy) -> Matrix | None:
        found = self.columns.get(axis)
        return elementwise(found) if found else None

    def _matrix(self, pieces: Sequence[_Piece], axes: tuple[Dummy, ...]) -> Matrix:
        """The product of matrices between the same axes, transposed as a whole where most of them are."""
        along = sum(p.axes == axes for p in pieces)
        if 2 * along >= len(pieces):
            return elementwise(self.reader.turned(p, axes) for p in pieces)
        return transposed(elementwise(self.reader.turned(p, axes[::-1]) for p in pieces))

    def _sum_over(self, axis: Dummy) -> None:
        """One axis summed over: at no matrix, at the end of one, or between two."""
        around = self._around(axis)
        if len(around) > 2:
            raise _NoForm
        edges = [self.edges.pop(edge) for edge in around]
        others = [next(a for a in edge if a != axis) for edge in around]
        column = self._column(axis)
        found = self.columns.pop(axis, [])
        ones = Ones(self.reader.extents[axis])
        if not edges:
            self.scalars.append(_summed(found, ones))
        elif len(edges) == 1:
            (other,) = others
            self._put(_Piece(dot(self._matrix(edges[0], (other, axis)), column or ones), (other,)))
        else:
            if self.reader.outwards(others) != tuple(others):
                edges, others = edges[::-1], others[::-1]
            left, right = self._matrix(edges[0], (others[0], axis)), self._matrix(edges[1], (axis, others[1]))
            between = () if column is None else (diagonal(column),)
            self._put(_Piece(dot(left, *between, right), tuple(others)))

    def _double_sum(self) -> bool:
        """Σ_ij a_ij b_ij = tr(Aᵀ B) and Σ_ij a_ij² = ‖A‖², where nothing else stands at these axes."""
        for edge, pieces in self.edges.items():
            alone = all(a in self.bound and a not in self.columns and len(self._around(a)) == 1 for a in edge)
            if not alone:
                continue
            square = pieces[0].node
            if len(pieces) == 1 and isinstance(square, Raised) and square.exponent == 2:
                value: Matrix = SquaredNorm(square.base, frobenius=True)
            elif len(pieces) == 2 and not any(isinstance(p.node, Raised) for p in pieces):
                value = trace(dot(transposed(pieces[0].node), self.reader.turned(pieces[1], pieces[0].axes)))
            else:
                continue
            del self.edges[edge]
            self.bound = [a for a in self.bound if a not in edge]
            self.scalars.append(value)
            return True
        return False


def _summed(columns: Sequence[Matrix], ones: Ones) -> Matrix:
    """The sum of the elements of the product of the columns: n, ‖a‖², 𝟏ᵀ a, or aᵀ b."""
    if not columns:
        return Constant(ones.extent)
    first, *rest = columns
    if not rest and isinstance(first, Raised) and first.exponent == 2:
        return SquaredNorm(first.base, frobenius=False)
    value = dot(transposed(first), elementwise(rest)) if rest else dot(transposed(ones), first)
    return min(value, transposed(value), key=lambda v: sum(isinstance(n, Transposed) for n in parts(v)))
