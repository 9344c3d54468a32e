"""Scalar formulas as rational functions of one exponential, E = exp(g): the form that both the
algebra through stored outputs and the overflow-free forms start from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import sympy as sp
from sympy import Dummy, Expr, Symbol

from .expressions import Access, Call, Delta, Maximum, Minimum, Reduction, Where, rebuild, walk

__all__ = ["RationalForm", "algebraic", "rational_form", "rational_ratio", "simplest", "with_symbols"]

_HYPERBOLIC = (sp.tanh, sp.sinh, sp.cosh, sp.coth)
_OPAQUE = (Access, Delta, Reduction, Call, Where, Maximum, Minimum, sp.Abs, sp.sign)

_MOST_SYMBOLS = 12
_MOST_MONOMIALS = 1000
"""What is larger than either is not put over a common denominator and factored as a whole: that takes seconds."""

_MOST_IN_EXPONENTS = 50
"""Terms of an exponent that is multiplied out, to see whether it is a multiple of another."""

_MANY = 10**9


@dataclass(frozen=True)
class RationalForm:
    """An expression as numerator/denominator, polynomials in `generator` = exp(`argument`)."""

    generator: Dummy
    argument: Expr
    numerator: sp.Poly
    denominator: sp.Poly


def with_symbols(expression: Expr, opaque: Callable[[Expr], bool], letter: str = "u") -> tuple[Expr, dict[Expr, Expr]]:
    """The expression with every outermost opaque node replaced by a real symbol, and the way back.

    `letter` begins the symbols' names, which must not be in the expression already.

    The symbols are always the same ones, in order of appearance: formulas that differ only in the
    layer they stand in become equal, and their algebra is done once.
    """
    names: dict[Expr, Expr] = {}

    def visit(node: Expr) -> Expr:
        if opaque(node):
            if node not in names:
                names[node] = Symbol(f"_{letter}{len(names)}", real=True)
            return names[node]
        return rebuild(node, [visit(a) for a in node.args])

    plain = visit(expression)
    return plain, {symbol: node for node, symbol in names.items()}


def algebraic(expression: Expr) -> Expr:
    """`cancel` then `factor`, tensors and sums as atoms; the simplest of the forms seen.

    A formula too large for that is taken apart: each group of terms that have a denominator or an
    exponential in common on its own, and the factors of a product.
    """
    plain, back = with_symbols(
        expression, lambda n: isinstance(n, (*_OPAQUE, sp.Function)) and not isinstance(n, sp.exp)
    )
    if not plain.free_symbols:
        return expression
    return simplest(f.xreplace(back) for f in _bounded_forms(plain))


def _bounded_forms(plain: Expr) -> list[Expr]:
    """The forms whose denominators and roots are not multiplied out: (u - v)² + c cancels there where u is near v.

    Where one would be, these are atoms of their own too.
    """
    below = _below(plain)
    most = max(map(_terms, below), default=0)

    def fine(form: Expr) -> bool:
        return form == plain or all(_terms(b) <= most for b in _below(form))

    forms = _algebraic_forms(plain)
    kept = [f for f in forms if fine(f)]
    if len(kept) < len(forms):
        atomic, inside = with_symbols(plain, below.__contains__, "b")
        kept += [f for f in (g.xreplace(inside) for g in _algebraic_forms(atomic)) if fine(f)]
    return kept


def _below(expression: Expr) -> set[Expr]:
    """The sums that stand in a denominator, or that a root is taken of."""
    powers = (n for n in walk(expression) if isinstance(n, sp.Pow) and not (n.exp.is_Integer and n.exp.is_positive))
    return {n.base for n in powers if isinstance(n.base, sp.Add)}


def _terms(total: Expr) -> int:
    return len(sp.Add.make_args(total))


@lru_cache(maxsize=4096)
def _algebraic_forms(plain: Expr) -> tuple[Expr, ...]:
    """Factored, as written, cancelled; as written alone where it is no rational function."""
    if _large(plain):
        return (_part_by_part(plain), plain)
    atomic, back = _atomic_exponentials(plain)
    try:
        cancelled = sp.cancel(atomic)
        return _fewer_signs(sp.factor(cancelled)).xreplace(back), plain, cancelled.xreplace(back)
    except sp.PolynomialError:
        return (plain,)


def _large(plain: Expr) -> bool:
    """Whether polynomials of that size are left alone."""
    return len(plain.free_symbols) > _MOST_SYMBOLS or max(_monomials(plain)) > _MOST_MONOMIALS


def _part_by_part(plain: Expr) -> Expr:
    """The formula with its parts in their simplest form."""
    if isinstance(plain, sp.Add):
        groups = _related(plain.args)
        parts = plain.args if len(groups) == 1 else tuple(sp.Add(*g) for g in groups)
        return sp.Add(*(simplest(_algebraic_forms(p)) for p in parts))
    if isinstance(plain, sp.Mul | sp.Pow):
        return rebuild(plain, [simplest(_algebraic_forms(a)) if a.free_symbols else a for a in plain.args])
    return plain


def _related(terms: Iterable[Expr]) -> list[list[Expr]]:
    """The terms in groups, each of all those that a denominator or an exponential connects."""
    groups: list[tuple[set[Expr], list[Expr]]] = []
    for term in terms:
        marks = {n for n in term.atoms(sp.exp, sp.Pow) if isinstance(n, sp.exp) or n.exp.is_negative}
        marks = {n.args[0] if isinstance(n, sp.Pow) else _without_sign(n.args[0]) for n in marks}
        met = [g for g in groups if g[0] & marks]
        groups = [g for g in groups if g not in met]
        groups.append((marks.union(*(g[0] for g in met)), [t for g in met for t in g[1]] + [term]))
    return [members for _, members in groups]


def _without_sign(argument: Expr) -> Expr:
    """The argument of an exponential without its number."""
    return argument.as_coeff_Mul()[1]


def _monomials(expression: Expr) -> tuple[int, int]:
    """How many the numerator and the denominator have over a common one, multiplied out, at most."""
    if isinstance(expression, sp.Add):
        top, bottom = 0, 1
        for n, d in map(_monomials, expression.args):
            top, bottom = min(top * d + n * bottom, _MANY), min(bottom * d, _MANY)
        return top, bottom
    if isinstance(expression, sp.Mul):
        parts = [_monomials(a) for a in expression.args]
        return min(math.prod(n for n, _ in parts), _MANY), min(math.prod(d for _, d in parts), _MANY)
    if isinstance(expression, sp.Pow) and expression.exp.is_Integer:
        count = abs(int(expression.exp))
        top, bottom = (min(math.comb(n + count - 1, count), _MANY) for n in _monomials(expression.base))
        return (top, bottom) if expression.exp.is_positive else (bottom, top)
    return 1, 1


def _atomic_exponentials(plain: Expr) -> tuple[Expr, dict[Expr, Expr]]:
    """Integer powers of symbols in the place of exponentials, and the way back: exp(2·u - v) is E_u²/E_v.

    Left to themselves, polynomials multiply out what stands in an exponential and take the root that a
    decimal in it asks for: exp(u + 0.01) in the 100th powers of exp(0.01). Where exp(-u²) stands alone,
    the symbol is that itself: a quotient by exp(u²) would overflow.
    """
    powers: dict[Expr, list[Expr]] = {}
    for node in plain.atoms(sp.exp):
        for count, rest in _counted(node.args[0]):
            powers.setdefault(rest, []).append(count)
    bounded = {r for r, counts in powers.items() if r.is_nonnegative and all(c.is_negative for c in counts)}
    names: dict[Expr, Symbol] = {}

    def visit(node: Expr) -> Expr:
        if not isinstance(node, sp.exp):
            return rebuild(node, [visit(a) for a in node.args])
        factors = []
        for count, rest in _counted(node.args[0]):
            symbol = names.setdefault(rest, Symbol(f"_e{len(names)}", positive=True))
            factors.append(symbol ** (-count if rest in bounded else count))
        return sp.Mul(*factors)

    atomic = visit(plain)
    return atomic, {symbol: sp.exp(-rest if rest in bounded else rest) for rest, symbol in names.items()}


def _counted(argument: Expr) -> list[tuple[Expr, Expr]]:
    """The terms of an exponential's argument as whole number times the rest."""
    counted = []
    for term in sp.Add.make_args(argument):
        count, rest = term.as_coeff_Mul()
        counted.append((count, rest) if count.is_Integer and rest != 1 else (sp.Integer(1), term))
    return counted


def _fewer_signs(product: Expr) -> Expr:
    """-(a - 1)·b as (1 - a)·b: the minus sign goes into a difference, best into one with a number."""
    coefficient, rest = product.as_coeff_Mul()
    if not coefficient.is_negative:
        return product
    sums = [f for f in sp.Mul.make_args(rest) if isinstance(f, sp.Add)]
    sums.sort(key=lambda f: not any(t.is_negative and t.is_number for t in f.args))
    for candidate in sums:
        if any(t.could_extract_minus_sign() for t in candidate.args):
            others = [f for f in sp.Mul.make_args(rest) if f is not candidate]
            return sp.Mul(-coefficient, sp.Add(*(-t for t in candidate.args)), *others)
    return product


def simplest(forms: Iterable[Expr]) -> Expr:
    """The form with the fewest operations; the first of equals."""
    return min(forms, key=sp.count_ops)


def rational_form(expression: Expr) -> RationalForm | None:
    """The expression over one exponential E = exp(g), coprime; None where there is no such g.

    Hyperbolic functions are rewritten. All exponents must be integer multiples of one g, which is
    chosen with a positive coefficient so that E has the least degree.
    """
    if not isinstance(expression, Expr):  # a condition
        return None
    plain, back = with_symbols(expression, lambda n: isinstance(n, (*_OPAQUE, sp.log, sp.erf, sp.erfc)))
    plain, nested = _outermost(plain)
    back = {symbol: node.xreplace(back) for symbol, node in nested.items()} | back
    form = _rational_form(plain)
    if form is None:
        return None
    polynomials = (_restored(p, back, form.generator) for p in (form.numerator, form.denominator))
    return RationalForm(form.generator, form.argument.xreplace(back), *polynomials)


@lru_cache(maxsize=4096)
def _rational_form(plain: Expr) -> RationalForm | None:
    """`rational_form` of an expression in symbols alone."""
    plain = plain.rewrite(_HYPERBOLIC, sp.exp) if plain.has(*_HYPERBOLIC) else plain
    arguments = sorted({n.args[0] for n in plain.atoms(sp.exp)}, key=sp.default_sort_key)
    if not arguments:
        return None
    common = _common(arguments)
    if common is None:
        return None
    base, exponents = common
    generator = Dummy("E", positive=True)
    table = {sp.exp(a): generator**n for a, n in zip(arguments, exponents, strict=True)}
    replaced = plain.xreplace(table)
    if replaced.has(sp.exp) or _large(replaced):
        return None
    try:
        numerator, denominator = sp.fraction(sp.cancel(sp.together(replaced)))
        top, bottom = sp.Poly(numerator, generator), sp.Poly(denominator, generator)
    except sp.PolynomialError:
        return None
    step = math.gcd(*(m[0] for p in (top, bottom) for m in p.monoms()))
    if step > 1:
        top, bottom = (_thinned(p, step, generator) for p in (top, bottom))
        base = step * base
    return RationalForm(generator, base, top, bottom)


def _outermost(expression: Expr) -> tuple[Expr, dict[Expr, Expr]]:
    """The expression with exponentials inside the arguments of others as symbols, and the way back."""
    names: dict[Expr, Expr] = {}

    def visit(node: Expr, inside: bool) -> Expr:
        exponential = isinstance(node, (sp.exp, *_HYPERBOLIC))
        if exponential and inside:
            return names.setdefault(node, Symbol(f"_v{len(names)}", real=True))
        return rebuild(node, [visit(a, inside or exponential) for a in node.args])

    plain = visit(expression, False)
    return plain, {symbol: node for node, symbol in names.items()}


def _restored(polynomial: sp.Poly, back: dict[Expr, Expr], generator: Dummy) -> sp.Poly:
    """The polynomial whose coefficients hold the original nodes again."""
    coefficients = {m: sp.EX.from_sympy(c.xreplace(back)) for m, c in polynomial.terms()}
    return sp.Poly.from_dict(coefficients, generator, domain=sp.EX)


def _thinned(polynomial: sp.Poly, step: int, generator: Dummy) -> sp.Poly:
    return sp.Poly({(m[0] // step,): c for m, c in polynomial.terms()}, generator)


def is_zero(expression: Expr) -> bool:
    """Whether multiplying out shows that it is 0; False of what is too large for that."""
    plain, _ = with_symbols(expression, lambda n: isinstance(n, (*_OPAQUE, sp.Function)), "q")
    return max(_monomials(plain)) <= _MOST_MONOMIALS and sp.cancel(plain) == 0


def rational_ratio(over: Expr, under: Expr) -> Expr | None:
    """The quotient where it is a rational number; None where it is another, or too large to be multiplied out."""
    (c, u), (d, v) = (e.primitive() if isinstance(e, sp.Add) else e.as_coeff_Mul() for e in (over, under))
    if u in (v, -v):
        return c / d if u == v else -c / d
    plain, _ = with_symbols(over / under, lambda n: isinstance(n, (*_OPAQUE, sp.Function)), "q")
    if max(_monomials(plain)) > _MOST_IN_EXPONENTS:
        return None
    quotient = sp.cancel(plain)
    return quotient if quotient.is_Rational else None


def _common(arguments: list[Expr]) -> tuple[Expr, list[Expr]] | None:
    """(g, n) such that argument m is n_m·g, n_m whole, with a positive leading coefficient of g."""
    first = arguments[0]
    ratios = [r for a in arguments if (r := rational_ratio(a, first)) is not None]
    if len(ratios) < len(arguments):
        return None
    scale = math.lcm(*(int(r.q) for r in ratios))
    divisor = math.gcd(*(int(r * scale) for r in ratios))
    unit = sp.Rational(divisor, scale)
    base = first * unit
    if max(_monomials(base)) <= _MOST_IN_EXPONENTS:
        base = sp.expand(base)
    sign = -1 if _negative(base) else 1
    return sign * base, [sign * r / unit for r in ratios]


def _negative(expression: Expr) -> bool:
    """Whether the expression is written with a minus sign (its first term, for a sum)."""
    if isinstance(expression, sp.Add):
        terms = sorted(expression.args, key=sp.default_sort_key)
        return sum(bool(t.could_extract_minus_sign()) for t in terms) * 2 > len(terms)
    return bool(expression.could_extract_minus_sign())
