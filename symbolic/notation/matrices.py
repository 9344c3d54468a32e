"""Matrix forms on paper: vectors bold, matrices bold capitals, δ_z for the derivatives by z.

The layer of a name stands in parentheses, W^{(2)}: W² would be a power.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import sympy as sp
from sympy import Expr

from ..matrices import MatrixForm
from ..matrix_algebra import (
    Applied,
    Constant,
    Diagonal,
    Dot,
    Elementwise,
    Entry,
    Matrix,
    Ones,
    Over,
    Raised,
    Scaled,
    SquaredNorm,
    Total,
    Trace,
    Transposed,
)
from ..system import System
from .letters import Letters, free_indices
from .names import GREEK
from .order import ordered_factors, ordered_sum
from .show import Notation
from .tree import (
    Accent,
    Add,
    Apply,
    Big,
    Bold,
    Chain,
    Derivative,
    ElementPower,
    Formula,
    Fraction,
    Hadamard,
    Indexed,
    MatrixProduct,
    Negative,
    Norm,
    Number,
    Parenthesised,
    Power,
    Primed,
    Root,
    Symbol,
    Transpose,
    product,
    walk,
)
from .writer import ONE, Writer, function_name

__all__ = ["MatrixNotation", "conventions"]

DELTA = Symbol("delta")
ONES = Bold(Symbol("1"))


@dataclass(frozen=True)
class MatrixNotation:
    """How the tensors of a System stand in matrix forms; `batch` where a per-sample tensor has a row per sample."""

    notation: Notation
    system: System
    batch: bool = False

    def chain(self, forms: Sequence[MatrixForm]) -> Formula:
        """The target = the value of each form, for forms of one target."""
        free = free_indices(_expressions(n for f in forms for n in (f.target, f.value)))
        writer = _MatrixWriter(self, Writer(self.notation, Letters(self.notation.taken).bind(free)))
        sides = [self.left(forms[0].target, writer.writer), *(writer(f.value) for f in forms)]
        return Chain(tuple(s for m, s in enumerate(sides) if m == 0 or s != sides[m - 1]))

    def left(self, target: Entry, writer: Writer) -> Formula:
        """∂cost/∂W for an adjoint; in a batch δ_Z, where each row is of a cost of its own."""
        of = self.notation.adjoints.get(target.name)
        if of is None or self.notation.cost is None or (self.batch and self.system.tensor(of).per_sample):
            return self.entry(target, writer)
        return Derivative(self.notation.cost, self.entry(Entry(of, target.labels, target.rank), writer))

    def entry(self, entry: Entry, writer: Writer) -> Formula:
        """A tensor or a slice of it: 𝐖^{(2)}, 𝐡_t, δ_𝐳."""
        of = self.notation.adjoints.get(entry.name)
        if of is None:
            return self._named(entry, writer)
        inner = self.entry(Entry(of, entry.labels, entry.rank), writer)
        if self.notation.cost is None:
            plain = inner if isinstance(inner, Indexed) else Indexed(inner)
            barred = Accent(plain.base)
            return Indexed(barred, plain.below, plain.above) if isinstance(inner, Indexed) else barred
        if self.batch and not self.system.tensor(of).per_sample:
            return Derivative(self.notation.cost, inner)
        return Indexed(Bold(DELTA) if entry.rank else DELTA, (inner,))

    def _named(self, entry: Entry, writer: Writer) -> Formula:
        name = self.notation.name(entry.name)
        labels = tuple(writer(label) for label in entry.labels)
        layer = name.above if isinstance(name, Indexed) else None
        base = name.base if isinstance(name, Indexed) else name
        below = (*(name.below if isinstance(name, Indexed) else ()), *labels)
        if entry.rank and isinstance(base, Symbol):
            base = Bold(Symbol(self._capital(entry.name, base.name)) if entry.rank == 2 else base)
        above = None if layer is None else Parenthesised((layer,))
        return Indexed(base, below, above) if below or above else base

    def _capital(self, name: str, letters: str) -> str:
        """The name with a capital first letter, where Greek has one and no other tensor is called so."""
        return _capital(letters) if self._capitals[_capital(name)] == 1 else letters

    @cached_property
    def _capitals(self) -> Counter[str]:
        """How many tensors would have each name with a capital."""
        return Counter(_capital(t.name) for t in self.system.tensors)


def _capital(letters: str) -> str:
    capital = letters[:1].upper() + letters[1:]
    return letters if letters in GREEK and capital not in GREEK else capital


def _expressions(nodes: Iterable[Matrix]) -> Iterator[Expr]:
    """The subscripts and numbers in which indices stand free."""
    for node in nodes:
        bound = node.range.symbol if isinstance(node, Over) else None
        for value in vars(node).values():
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, Matrix):
                    yield from (e for e in _expressions((item,)) if bound is None or bound not in e.free_symbols)
                elif isinstance(item, Expr):
                    yield item


@dataclass(frozen=True)
class _MatrixWriter:
    """Writes the nodes of one form; `writer` has the letters of the scope at hand."""

    names: MatrixNotation
    writer: Writer

    def __call__(self, node: Matrix) -> Formula:
        match node:
            case Constant(value):
                return self.writer(value)
            case Entry():
                return self.names.entry(node, self.writer)
            case Ones():
                return ONES
            case Transposed(body):
                return Transpose(self(body))
            case Dot(factors):
                return MatrixProduct(tuple(self(f) for f in factors))
            case Elementwise(factors):
                return self._elementwise(factors)
            case Scaled(scalars, body):
                return self._scaled((*scalars, body))
            case Total(terms):
                return ordered_sum(self(t) for t in terms)
            case SquaredNorm():
                return self._power(node, sp.Integer(1))
            case Trace(body):
                return Apply(Symbol("tr"), (self(body),))
            case Over():
                return self._over(node)
        return self._function(node)

    def _function(self, node: Matrix) -> Formula:
        match node:
            case Raised(base, exponent, scalar=False):
                return ElementPower(self(base), self.writer(exponent))
            case Raised(base, exponent):
                return self._power(base, exponent)
            case Diagonal(Raised(base, exponent)) if exponent.is_Rational and exponent < 0:
                return Power(self(Diagonal(base)), self.writer(exponent))
            case Diagonal(vector):
                return Apply(Symbol("diag"), (self(vector),))
            case Applied(function, order, arguments):
                name: Formula = Symbol(function if isinstance(function, str) else function_name(function))
                if order > 3:
                    name = Indexed(name, (), Parenthesised((Number(str(order)),)))
                return Apply(Primed(name, order) if 0 < order <= 3 else name, tuple(self(a) for a in arguments))
        raise AssertionError(node)

    def _power(self, base: Matrix, exponent: Expr) -> Formula:
        """A power of a scalar; that of a squared norm is one of the norm."""
        if exponent.is_Rational and exponent < 0:
            return Fraction(ONE, self._power(base, -exponent))
        if isinstance(base, SquaredNorm):
            norm = Norm(self(base.body), base.frobenius)
            return norm if 2 * exponent == 1 else Power(norm, self.writer(2 * exponent))
        if exponent == 1:
            return self(base)
        return Root(self(base)) if exponent == sp.Rational(1, 2) else Power(self(base), self.writer(exponent))

    def _elementwise(self, factors: Sequence[Matrix]) -> Formula:
        """Powers with negative exponents as divisors, where anything else stands before them."""
        below = [f for f in factors if isinstance(f, Raised) and f.exponent.is_Rational and f.exponent < 0]
        above = [f for f in factors if f not in below]
        if not above:
            above, below = [*factors], []
        inverse = [f.base if f.exponent == -1 else Raised(f.base, -f.exponent, scalar=False) for f in below]
        divisors = ordered_factors((0, self(f)) for f in inverse)
        return Hadamard(tuple(ordered_factors((self._rank(f), self(f)) for f in above)), tuple(divisors))

    def _rank(self, factor: Matrix) -> int:
        """The place in a product: derivatives, parameters, other tensors, all else."""
        if not isinstance(factor, Entry):
            return 6
        notation = self.names.notation
        return 2 if factor.name in notation.adjoints else 4 if factor.name in notation.parameters else 5

    def _scaled(self, factors: Sequence[Matrix]) -> Formula:
        """Numbers and sizes first, then scalar tensors, then the matrix; scalar divisors below a fraction's line."""
        *scalars, body = factors
        number = sp.Mul(*(s.value for s in scalars if isinstance(s, Constant)))
        tensors = [s for s in scalars if not isinstance(s, Constant)]
        below = [s for s in (*tensors, body) if isinstance(s, Raised) and s.scalar and _negative(s.exponent)]
        above = [s for s in tensors if s not in below]
        last = [] if body in below else [self(body)]
        front = ordered_factors((self._rank(s), self(s)) for s in above)
        under = ordered_factors((self._rank(s), self._power(s.base, -s.exponent)) for s in below)
        negative = number.could_extract_minus_sign()
        numerator, denominator = sp.fraction(-number if negative else number)
        if under:
            over = () if numerator == 1 else (self.writer(numerator),)
            less = () if denominator == 1 else (self.writer(denominator),)
            result: Formula = Fraction(product((*over, *front, *last)), product((*less, *under)))
        else:
            size = () if number in (1, -1) else (self.writer(-number if negative else number),)
            result = product((*size, *front, *last))
        return Negative(result) if negative else result

    def _over(self, node: Over) -> Formula:
        r = node.range
        inner = _MatrixWriter(self.names, Writer(self.writer.notation, self.writer.letters.bind([r.symbol])))
        write = inner.writer
        return Big("sum", write(r.symbol), write(r.lower), write(r.upper), inner(node.body))


def _negative(exponent: Expr) -> bool:
    return bool(exponent.is_Rational and exponent < 0)


def conventions(formulas: Sequence[Formula], notation: Notation, batch: bool) -> tuple[str | Formula, ...]:
    """One sentence that says how to read the matrix forms: only what stands in them."""
    nodes = [n for f in formulas for n in walk(f)]
    a, b, v = Bold(Symbol("A")), Bold(Symbol("B")), Bold(Symbol("v"))
    said: list[tuple[str | Formula, ...]] = [("vectors are columns and matrices have capitals",)]
    if any(isinstance(n, Hadamard) for n in nodes):
        said.append((Hadamard((a, b)), " multiplies element by element"))
    if any(isinstance(n, Hadamard) and n.divisors for n in nodes):
        said.append((Hadamard((a,), (b,)), " divides"))
    if any(isinstance(n, ElementPower) for n in nodes):
        said.append((ElementPower(a, Number("2")), " squares"))
    if any(isinstance(n, Apply) and n.function not in (Symbol("diag"), Symbol("tr")) for n in nodes):
        said.append(("functions act on each element",))
    if any(isinstance(n, Add) for n in nodes):
        said.append(("a number is added to each element",))
    if ONES in nodes:
        said.append((ONES, " is a column of ones"))
    if notation.cost is not None and Bold(DELTA) in nodes:
        said.append((Indexed(Bold(DELTA), (v,)), " is ", Derivative(notation.cost, v)))
    if batch:
        said.append(("over the batch each sample has a row",))
    words: list[str | Formula] = ["In matrix form "]
    for m, part in enumerate(said):
        words += ["; " if m else "", *part]
    return (*words, ".")
