"""Formulas as they stand on paper: an ordered tree, in which nothing is reordered or evaluated.

SymPy's expressions know values; these nodes know the order of terms and factors, scripts, and
which fraction is a derivative. Two trees are equal exactly when the formulas read the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields

__all__ = [
    "Absolute",
    "Accent",
    "Add",
    "Apply",
    "Big",
    "Bold",
    "Cases",
    "Chain",
    "Derivative",
    "ElementPower",
    "Formula",
    "Fraction",
    "Hadamard",
    "Indexed",
    "Logic",
    "MatrixProduct",
    "Negative",
    "Norm",
    "Number",
    "Parenthesised",
    "Power",
    "Primed",
    "Product",
    "Relation",
    "Root",
    "Symbol",
    "Transpose",
    "add",
    "children",
    "product",
    "walk",
]


@dataclass(frozen=True)
class Formula:
    """A node of the tree."""


@dataclass(frozen=True)
class Number(Formula):
    """A number without a sign, digit for digit: `1`, `0.5`."""

    text: str


@dataclass(frozen=True)
class Symbol(Formula):
    """A letter or a word: `a`, `sigma` (printed as a Greek letter), `cost`."""

    name: str


@dataclass(frozen=True)
class Indexed(Formula):
    """A symbol with scripts, `base_{below}^{above}`; the superscript is a label, never a power."""

    base: Formula
    below: tuple[Formula, ...] = ()
    above: Formula | None = None


@dataclass(frozen=True)
class Parenthesised(Formula):
    """A script that is written in parentheses, as in n_{(L-1)}."""

    items: tuple[Formula, ...]


@dataclass(frozen=True)
class Accent(Formula):
    """A symbol under a bar: the cotangent of that name."""

    base: Formula


@dataclass(frozen=True)
class Primed(Formula):
    """A function's name with primes: its derivative in its one argument."""

    base: Formula
    count: int


@dataclass(frozen=True)
class Negative(Formula):
    """-body."""

    body: Formula


@dataclass(frozen=True)
class Add(Formula):
    """The sum of the terms, in this order; a `Negative` term is a subtraction."""

    terms: tuple[Formula, ...]


@dataclass(frozen=True)
class Product(Formula):
    """The product of the factors, in this order."""

    factors: tuple[Formula, ...]


@dataclass(frozen=True)
class Fraction(Formula):
    """numerator / denominator."""

    numerator: Formula
    denominator: Formula


@dataclass(frozen=True)
class Derivative(Formula):
    """∂of/∂wrt."""

    of: Formula
    wrt: Formula


@dataclass(frozen=True)
class Big(Formula):
    """`kind` (sum, prod, max, min) over one index, bounds inclusive, where the conditions hold."""

    kind: str
    index: Formula
    lower: Formula
    upper: Formula
    body: Formula
    conditions: tuple[Formula, ...] = ()


@dataclass(frozen=True)
class Apply(Formula):
    """function(arguments)."""

    function: Formula
    arguments: tuple[Formula, ...]


@dataclass(frozen=True)
class Power(Formula):
    """base to the power of exponent."""

    base: Formula
    exponent: Formula


@dataclass(frozen=True)
class Root(Formula):
    """The square root."""

    body: Formula


@dataclass(frozen=True)
class Absolute(Formula):
    """|body|."""

    body: Formula


@dataclass(frozen=True)
class Relation(Formula):
    """left operator right, the operator one of `= != < <= > >=`."""

    operator: str
    left: Formula
    right: Formula


@dataclass(frozen=True)
class Logic(Formula):
    """The operands joined by `and` or `or`; `not` has one operand."""

    operator: str
    operands: tuple[Formula, ...]


@dataclass(frozen=True)
class Cases(Formula):
    """The first value whose condition holds, else `otherwise`; branches are (value, condition)."""

    branches: tuple[tuple[Formula, Formula], ...]
    otherwise: Formula


@dataclass(frozen=True)
class Bold(Formula):
    """The name of a vector or a matrix, set bold."""

    base: Symbol


@dataclass(frozen=True)
class Transpose(Formula):
    """The transpose of the body."""

    body: Formula


@dataclass(frozen=True)
class MatrixProduct(Formula):
    """The matrix product of the factors, side by side."""

    factors: tuple[Formula, ...]


@dataclass(frozen=True)
class Hadamard(Formula):
    """The factors multiplied, then divided by the divisors, element by element; at least one factor."""

    factors: tuple[Formula, ...]
    divisors: tuple[Formula, ...] = ()


@dataclass(frozen=True)
class ElementPower(Formula):
    """Every element of the base to the power of exponent."""

    base: Formula
    exponent: Formula


@dataclass(frozen=True)
class Norm(Formula):
    """The norm of a vector, or the Frobenius norm of a matrix."""

    body: Formula
    frobenius: bool = False


@dataclass(frozen=True)
class Chain(Formula):
    """sides[0] = sides[1] = …"""

    sides: tuple[Formula, ...]


def add(terms: Iterable[Formula]) -> Formula:
    """The sum of the terms: nested sums are joined, no term is 0, one term is itself."""
    flat: list[Formula] = []
    for term in terms:
        flat.extend(term.terms if isinstance(term, Add) else (term,))
    return flat[0] if len(flat) == 1 else Add(tuple(flat)) if flat else Number("0")


def product(factors: Iterable[Formula]) -> Formula:
    """The product of the factors: nested products are joined, no factor is 1, one factor is itself."""
    flat: list[Formula] = []
    for factor in factors:
        flat.extend(factor.factors if isinstance(factor, Product) else (factor,))
    return flat[0] if len(flat) == 1 else Product(tuple(flat)) if flat else Number("1")


def children(node: Formula) -> Iterator[Formula]:
    """The nodes right below, left to right."""
    for item in fields(node):
        yield from _formulas(getattr(node, item.name))


def _formulas(value: object) -> Iterator[Formula]:
    if isinstance(value, Formula):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _formulas(item)


def walk(node: Formula) -> Iterator[Formula]:
    """Every node, the outermost first, left to right."""
    yield node
    for child in children(node):
        yield from walk(child)
