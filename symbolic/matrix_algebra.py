"""Matrix formulas as values: scalars, columns and matrices, and what stands between them.

A vector is a column; a scalar is added to every element. Nodes are made by the functions below, which
flatten products, take scalars out of them, and move transposes to the factors: (A B)ᵀ = Bᵀ Aᵀ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sympy as sp
from sympy import Expr

from .expressions import Range

__all__ = [
    "Applied",
    "Constant",
    "Diagonal",
    "Dot",
    "Elementwise",
    "Entry",
    "Matrix",
    "Ones",
    "Over",
    "Raised",
    "Scaled",
    "SquaredNorm",
    "Total",
    "Trace",
    "Transposed",
    "diagonal",
    "dot",
    "elementwise",
    "over",
    "parts",
    "scaled",
    "total",
    "trace",
    "transposed",
]


@dataclass(frozen=True)
class Matrix:
    """A node: a scalar, a column (n × 1), a row (1 × n) or a matrix."""


@dataclass(frozen=True)
class Constant(Matrix):
    """A scalar of numbers, sizes and indices."""

    value: Expr


@dataclass(frozen=True)
class Entry(Matrix):
    """A tensor at fixed leading subscripts `labels`: h_t, W_k; `rank` axes are left (0, 1 or 2)."""

    name: str
    labels: tuple[Expr, ...]
    rank: int


@dataclass(frozen=True)
class Ones(Matrix):
    """The column of `extent` ones."""

    extent: Expr


@dataclass(frozen=True)
class Transposed(Matrix):
    """bodyᵀ."""

    body: Matrix


@dataclass(frozen=True)
class Dot(Matrix):
    """The matrix product of the factors, in this order; a scalar where both outer extents are 1."""

    factors: tuple[Matrix, ...]


@dataclass(frozen=True)
class Elementwise(Matrix):
    """The product of the factors, all of one shape, element by element."""

    factors: tuple[Matrix, ...]


@dataclass(frozen=True)
class Scaled(Matrix):
    """Scalars times the body."""

    scalars: tuple[Matrix, ...]
    body: Matrix


@dataclass(frozen=True)
class Total(Matrix):
    """The sum of the terms: of one shape, or scalars, which are added to every element."""

    terms: tuple[Matrix, ...]


@dataclass(frozen=True)
class Applied(Matrix):
    """A function of each element: of the System by its name, or a class of SymPy; `order` counts its primes."""

    function: str | type[Expr]
    order: int
    arguments: tuple[Matrix, ...]


@dataclass(frozen=True)
class Raised(Matrix):
    """Every element to the power of the exponent; of a scalar where `scalar`."""

    base: Matrix
    exponent: Expr
    scalar: bool


@dataclass(frozen=True)
class Diagonal(Matrix):
    """The square matrix with that column on its diagonal."""

    vector: Matrix


@dataclass(frozen=True)
class SquaredNorm(Matrix):
    """The sum of the squares of all elements of a column, or of a matrix (Frobenius)."""

    body: Matrix
    frobenius: bool


@dataclass(frozen=True)
class Trace(Matrix):
    """tr(body)."""

    body: Matrix


@dataclass(frozen=True)
class Over(Matrix):
    """The sum of the body over one index that only labels: Σ_t δ_t h_tᵀ."""

    range: Range
    body: Matrix


def parts(node: Matrix) -> Iterator[Matrix]:
    """Every node, the outermost first."""
    yield node
    for value in vars(node).values():
        for child in value if isinstance(value, tuple) else (value,):
            if isinstance(child, Matrix):
                yield from parts(child)


def transposed(node: Matrix) -> Matrix:
    """nodeᵀ of a column, row or matrix."""
    if isinstance(node, Transposed):
        return node.body
    if isinstance(node, Diagonal):
        return node
    if isinstance(node, Dot):
        return Dot(tuple(transposed(f) for f in reversed(node.factors)))
    if isinstance(node, Scaled):
        return Scaled(node.scalars, transposed(node.body))
    return Transposed(node)


def scaled(scalars: Iterable[Matrix], body: Matrix | None = None) -> Matrix:
    """The product of scalars, and of a body where there is one; constants are multiplied out."""
    number: Expr = sp.Integer(1)
    kept: list[Matrix] = []
    waiting = [*scalars]
    while waiting:
        scalar = waiting.pop(0)
        if isinstance(scalar, Scaled):
            waiting[:0] = [*scalar.scalars, scalar.body]
        elif isinstance(scalar, Constant):
            number *= scalar.value
        else:
            kept.append(scalar)
    while isinstance(body, Scaled):
        waiting, body = [*body.scalars], body.body
        number *= sp.Mul(*(s.value for s in waiting if isinstance(s, Constant)))
        kept += [s for s in waiting if not isinstance(s, Constant)]
    if body is None:
        if not kept:
            return Constant(number)
        body = kept.pop()
    front = (Constant(number),) if number != 1 else ()
    return Scaled((*front, *kept), body) if front or kept else body


def dot(*factors: Matrix) -> Matrix:
    """The matrix product; products among the factors are joined, their scalars stand in front."""
    scalars: list[Matrix] = []
    kept: list[Matrix] = []
    for factor in factors:
        if isinstance(factor, Scaled):
            scalars.extend(factor.scalars)
            factor = factor.body
        kept.extend(factor.factors if isinstance(factor, Dot) else (factor,))
    return scaled(scalars, kept[0] if len(kept) == 1 else Dot(tuple(kept)))


def elementwise(factors: Iterable[Matrix]) -> Matrix:
    """The product element by element; scalars of the factors stand in front."""
    scalars: list[Matrix] = []
    kept: list[Matrix] = []
    for factor in factors:
        if isinstance(factor, Scaled):
            scalars.extend(factor.scalars)
            factor = factor.body
        kept.extend(factor.factors if isinstance(factor, Elementwise) else (factor,))
    return scaled(scalars, kept[0] if len(kept) == 1 else Elementwise(tuple(kept)))


def total(terms: Iterable[Matrix]) -> Matrix:
    """The sum; sums among the terms are joined."""
    flat = [t for term in terms for t in (term.terms if isinstance(term, Total) else (term,))]
    return flat[0] if len(flat) == 1 else Total(tuple(flat))


def diagonal(vector: Matrix) -> Matrix:
    """diag(vector), its scalars in front."""
    if isinstance(vector, Scaled):
        return Scaled(vector.scalars, Diagonal(vector.body))
    return Diagonal(vector)


def trace(body: Matrix) -> Matrix:
    """tr(body), its scalars in front."""
    return Scaled(body.scalars, Trace(body.body)) if isinstance(body, Scaled) else Trace(body)


def over(ranges: Iterable[Range], body: Matrix) -> Matrix:
    """The sum over indices that only label, the last range innermost; constants stand in front."""
    front: list[Matrix] = []
    for r in reversed([*ranges]):
        if isinstance(body, Scaled):
            free = [s for s in body.scalars if isinstance(s, Constant) and r.symbol not in s.value.free_symbols]
            front += free
            body = scaled([s for s in body.scalars if s not in free], body.body)
        body = Over(r, body)
    return scaled(front, body)
