"""The walk of `show`: one method for each kind of SymPy node, with the letters of one formula."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import sympy as sp
from sympy import Expr, Integer
from sympy.core.function import AppliedUndef

from ..expressions import Access, Call, Delta, Maximum, Minimum, Partial, Range, Reduction, Where, contains
from ..system import COST
from ..terms import Term
from .conditions import relation, written_guard
from .latex import latex
from .letters import Letters
from .order import CONSTANT, holds_values, ordered_factors, ordered_sum, rank
from .tree import (
    Absolute,
    Apply,
    Big,
    Cases,
    Derivative,
    Formula,
    Fraction,
    Indexed,
    Logic,
    Negative,
    Number,
    Parenthesised,
    Power,
    Primed,
    Product,
    Relation,
    Root,
    Symbol,
    product,
)

if TYPE_CHECKING:
    from .show import Notation

__all__ = ["Writer", "function_name"]

_FUNCTIONS: dict[type[Expr], str] = {
    Maximum: "max",
    Minimum: "min",
    sp.Max: "max",
    sp.Min: "min",
    sp.asin: "arcsin",
    sp.acos: "arccos",
    sp.atan: "arctan",
    sp.ceiling: "ceil",
}
_CONSTANTS: dict[Expr, Formula] = {sp.pi: Symbol("pi"), sp.E: Symbol("e"), sp.oo: Symbol("infty")}
ONE = Number("1")


class Writer:
    """Writes expressions of one formula; `letters` belong to the scope at hand."""

    def __init__(self, notation: Notation, letters: Letters) -> None:
        self.notation = notation
        self.letters = letters

    def __call__(self, node: Expr) -> Formula:
        if node in _CONSTANTS:
            return _CONSTANTS[node]
        for kinds, method in _METHODS:
            if isinstance(node, kinds):
                return method(self, node)
        return self.applied(type(node).__name__.lower(), node.args)

    def terms(self, terms: Sequence[Term]) -> Formula:
        """The sum of the terms; 0 where there are none."""
        return ordered_sum([self.term(t) for t in terms])

    def term(self, term: Term) -> Formula:
        """Σ over the bound indices of the factors in their own order; plain numbers and sizes stand before the Σ."""
        symbols = [r.symbol for r in term.bound]
        inner = Writer(self.notation, self.letters.bind(symbols))
        outside: list[Formula] = []
        inside: list[Formula] = []
        for factor in (*term.factors, *term.deltas):
            constant = rank(factor, self.notation) <= (CONSTANT if symbols else 0)
            (outside if constant and not factor.free_symbols & set(symbols) else inside).append(inner(factor))
        sign, front, back = _signed(outside, inside)
        if term.bound or term.guards:
            back = [inner.over("sum", term.bound, term.guards, product(back))]
        result = product([*front, *back])
        return Negative(result) if sign else result

    def over(self, kind: str, ranges: Sequence[Range], guards: Sequence[Expr], body: Formula) -> Formula:
        """The body under one big operator for each range; the guards stand below the innermost."""
        conditions = tuple(written_guard(self, g) for g in guards)
        if not ranges:
            return Cases(((body, _all(conditions)),), Number("0"))
        for m, r in enumerate(reversed(ranges)):
            below = conditions if m == 0 else ()
            body = Big(kind, self(r.symbol), self(r.lower), self(r.upper), body, below)
        return body

    def bound(self, r: Range) -> Formula:
        """lower <= index <= upper."""
        symbol = self(r.symbol)
        return Logic("and", (Relation("<=", self(r.lower), symbol), Relation("<=", symbol, self(r.upper))))

    def applied(self, name: str, arguments: Sequence[Expr]) -> Formula:
        """name(arguments)."""
        return Apply(Symbol(name), tuple(self(a) for a in arguments))

    def function(self, node: Expr) -> Formula:
        name = function_name(type(node))
        arguments = [self(a) for a in node.args]
        if isinstance(node, sp.Max | sp.Min):  # a set to SymPy: in whatever order
            arguments.sort(key=latex)
        return Apply(Symbol(name), tuple(arguments))

    def symbol(self, node: sp.Symbol) -> Formula:
        if isinstance(node, sp.Dummy):
            return Symbol(self.letters[node])
        known = self.notation.symbols.get(node.name)
        letters = node.name.rstrip("0123456789")
        if known is not None or letters in ("", node.name):
            return known or Symbol(node.name)
        return Indexed(Symbol(letters), (Number(node.name[len(letters) :]),))

    def integer(self, node: Expr) -> Formula:
        number = Number(str(abs(node)))
        return Negative(number) if node < 0 else number

    def rational(self, node: Expr) -> Formula:
        fraction = Fraction(Number(str(abs(node.p))), Number(str(node.q)))
        return Negative(fraction) if node < 0 else fraction

    def float(self, node: Expr) -> Formula:
        digits, _, exponent = repr(abs(float(node))).partition("e")
        number: Formula = Number(digits.removesuffix(".0"))
        if exponent:
            number = Product((number, Power(Number("10"), self.integer(Integer(int(exponent))))))
        return Negative(number) if node < 0 else number

    def access(self, node: Access) -> Formula:
        return self.notation.element(node, [self(i) for i in node.indices])

    def call(self, node: Call) -> Formula:
        orders, arguments = node.orders, node.arguments
        if not any(orders):
            return self.applied(node.name, arguments)
        asked = arguments[orders.index(max(orders))]
        plain = isinstance(asked, Access) and asked.indices and asked.name not in self.notation.adjoints
        if sum(orders) == 1 and plain and not any(contains(a, lambda n: n == asked) for a in _others(arguments, asked)):
            return Derivative(self.applied(node.name, arguments), self(asked))
        applied = self.applied(node.name, arguments)
        assert isinstance(applied, Apply)
        if len(orders) == 1 and orders[0] <= 3:
            return Apply(Primed(applied.function, orders[0]), applied.arguments)
        label = Parenthesised(tuple(Number(str(o)) for o in orders))
        return Apply(Indexed(applied.function, (), label), applied.arguments)

    def partial(self, node: Partial) -> Formula:
        if self.notation.cost is None and node.of == Access(COST):
            return self.notation.adjoint(self(node.wrt))
        return Derivative(self(node.of), self(node.wrt))

    def reduction(self, node: Reduction) -> Formula:
        inner = Writer(self.notation, self.letters.bind(node.bound_symbols))
        return inner.over(node.kind, node.ranges, node.guards, inner(node.body))

    def where(self, node: Where) -> Formula:
        branches = []
        rest: Expr = node
        while isinstance(rest, Where):
            branches.append((self(rest.then), relation(self, rest.condition)))
            rest = rest.otherwise
        return Cases(tuple(branches), self(rest))

    def piecewise(self, node: Expr) -> Formula:
        *front, last = node.args
        branches = tuple((self(value), relation(self, condition)) for value, condition in front)
        return Cases(branches, self(last[0])) if branches else self(last[0])

    def delta(self, node: Delta) -> Formula:
        return Indexed(Symbol("delta"), tuple(self(a) for a in node.args))

    def absolute(self, node: Expr) -> Formula:
        return Absolute(self(node.args[0]))

    def add(self, node: Expr) -> Formula:
        if not holds_values(node):
            return ordered_sum([self(a) for a in node.args], numbers_last=True)
        common, rest = node.primitive()  # 2a - 2y, which SymPy makes of 2(a - y), reads better as the latter
        if common == 1:
            return ordered_sum(self(a) for a in node.args)
        return product([self(common), self(rest)])

    def power(self, node: Expr) -> Formula:
        base, exponent = node.args
        if exponent.is_Rational and exponent < 0:
            return Fraction(ONE, self(base**-exponent))
        if exponent == sp.Rational(1, 2):
            return Root(self(base))
        return Power(self(base), self(exponent))

    def product(self, node: Expr) -> Formula:
        """Sign · rational · fraction of the rest, and sums last."""
        coefficient, factors = node.as_coeff_mul()
        above = [(rank(f, self.notation), self(f)) for f in factors if not _divides(f)]
        below = ordered_factors((rank(f, self.notation), self(1 / f)) for f in factors if _divides(f))
        numerator = ordered_factors(pair for pair in above if not isinstance(pair[1], Big))
        sums = ordered_factors(pair for pair in above if isinstance(pair[1], Big))
        p, q = self._coefficient(abs(coefficient))
        if below:
            numerator = [Fraction(product([*p, *numerator]), product([*q, *below]))]
        elif q:
            numerator = [Fraction(product(p), product(q)), *numerator]
        else:
            numerator = [*p, *numerator]
        result = product([*numerator, *sums])
        return Negative(result) if coefficient < 0 else result

    def _coefficient(self, value: Expr) -> tuple[list[Formula], list[Formula]]:
        """A positive number as factors above and below a fraction's line; ones are left out."""
        if not value.is_Rational:
            return [self(value)], []
        return [Number(str(n)) for n in (value.p,) if n != 1], [Number(str(n)) for n in (value.q,) if n != 1]


_METHODS: tuple[tuple[type | tuple[type, ...], Callable[[Writer, Any], Formula]], ...] = (
    (sp.Symbol, Writer.symbol),
    (sp.Integer, Writer.integer),
    (sp.Rational, Writer.rational),
    (sp.Float, Writer.float),
    (Access, Writer.access),
    (Call, Writer.call),
    (Partial, Writer.partial),
    (Reduction, Writer.reduction),
    (Where, Writer.where),
    (Delta, Writer.delta),
    (sp.Piecewise, Writer.piecewise),
    (sp.Abs, Writer.absolute),
    (sp.Add, Writer.add),
    (sp.Mul, Writer.product),
    (sp.Pow, Writer.power),
    ((sp.Function, sp.Max, sp.Min), Writer.function),
)


def function_name(kind: type[Expr]) -> str:
    """How a class of SymPy functions is called on paper; a function of the user's keeps its name."""
    return kind.__name__ if issubclass(kind, AppliedUndef) else _FUNCTIONS.get(kind, kind.__name__.lower())


def _divides(factor: Expr) -> bool:
    exponent = factor.as_base_exp()[1] if isinstance(factor, sp.Pow) else None
    return exponent is not None and exponent.is_Rational and bool(exponent < 0)


def _others(arguments: Sequence[Expr], asked: Expr) -> list[Expr]:
    first = list(arguments).index(asked)
    return [a for m, a in enumerate(arguments) if m != first]


def _all(conditions: tuple[Formula, ...]) -> Formula:
    return conditions[0] if len(conditions) == 1 else Logic("and", conditions)


def _signed(outside: Sequence[Formula], inside: Sequence[Formula]) -> tuple[bool, list[Formula], list[Formula]]:
    """Signs and ones taken out of the factors: (negative, factors before the Σ, factors after)."""
    negative = False
    sides: list[list[Formula]] = []
    for factors in (outside, inside):
        kept = []
        for factor in factors:
            if isinstance(factor, Negative):
                negative, factor = not negative, factor.body
            if factor != ONE:
                kept.append(factor)
        sides.append(kept)
    return negative, sides[0], sides[1]
