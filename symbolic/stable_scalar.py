"""Elementwise formulas in forms that give no NaN and no infinity where the value is finite.

With s = sigmoid(g) and t = sigmoid(-g), a rational function of E = exp(g) over (1 + E)^m is

    Σ_i p_i E^i / (1 + E)^m  =  Σ_i p_i s^i t^(m-i),

which never overflows; the logarithm of a product of powers of E and 1 + E is

    log(c E^a (1 + E)^m)  =  log c + a·g + m·softplus(g).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache

import sympy as sp
from sympy import Expr, Integer
from sympy.logic.boolalg import Boolean

from .exponentials import RationalForm, is_zero, rational_form, rational_ratio, simplest
from .expressions import Access, Reduction, Where, rebuild
from .primitives import Sigmoid, Softplus, expm1

__all__ = ["log_form", "stabilised"]


@lru_cache(maxsize=16384)
def stabilised(expression: Expr) -> Expr:
    """The expression with its exponentials in bounded forms, from the inside out; values unchanged."""
    if not expression.args or isinstance(expression, Access | Reduction):
        return expression
    if not expression.has(*_REWRITTEN):
        return expression
    whole = None if isinstance(expression, Boolean) else _through_sigmoid(expression)
    if whole is not None:
        return whole
    if isinstance(expression, sp.Mul):
        return sp.Mul(*(stabilised(group) for group in _groups(expression)))
    inner = rebuild(expression, [stabilised(a) for a in expression.args])
    if isinstance(expression, sp.log):
        form = log_form(expression.args[0])
        return inner if form is None else form
    if isinstance(expression, sp.Add):
        for rewriting in _OF_SUMS:
            inner = rewriting(inner)
    return inner


def _through_sigmoid(expression: Expr) -> Expr | None:
    """Σ p_i s^i t^(m-i) where the denominator is a power of 1 + E, else None."""
    if isinstance(expression, sp.exp | sp.tanh | sp.log):
        return None
    form = rational_form(expression)
    if form is None:
        return None
    if len(form.denominator.terms()) == 1:
        return _over_monomial(form) if form.denominator.degree() >= form.numerator.degree() else None
    if form.numerator.degree() > form.denominator.degree():
        return None
    power = _power_of_one_plus(form)
    if power is None:
        return _by_sign(form)
    m, scale = power
    numerator, odd = _without_root_at_one(form.numerator)
    coefficients = {i: c / scale for (i,), c in numerator.terms()}
    if _bounded(expression) and not _same_sign(coefficients.values()):
        return None
    form = replace(form, argument=stabilised(form.argument))
    coefficients = {i: stabilised(c) for i, c in coefficients.items()}
    m -= odd
    middle = sp.tanh(form.argument / 2) ** odd
    s, t = Sigmoid(form.argument), Sigmoid(-form.argument)
    if coefficients.get(m) == 1 and all(coefficients.get(i, 0) == sp.binomial(m, i) for i in range(m)):
        return middle
    parts = [sp.Mul(sp.factor_terms(c), s**i, t ** (m - i)) for i, c in sorted(coefficients.items())]
    return _collected(parts, s, t) * middle


def _without_root_at_one(numerator: sp.Poly) -> tuple[sp.Poly, int]:
    """(q, r) with p = (E - 1)^r q: each (E - 1)/(E + 1) is tanh(g/2), which does not cancel near g = 0."""
    count = 0
    while not numerator.is_zero and numerator.degree() > 0 and is_zero(sp.Add(*numerator.coeffs())):
        sums = list(itertools.accumulate(numerator.all_coeffs()))  # Horner's scheme at 1
        numerator = sp.Poly.from_list([sp.cancel(c) for c in sums[:-1]], numerator.gen, domain=sp.EX)
        count += 1
    return numerator, count


def _bounded(expression: Expr) -> bool:
    """Whether the functions as written cannot overflow, so that another form must have a merit of its own."""
    if isinstance(expression, Reduction):
        return True
    unbounded = isinstance(expression, sp.exp | sp.sinh | sp.cosh | sp.coth)
    return not unbounded and all(_bounded(a) for a in expression.args)


def _same_sign(coefficients: Iterable[Expr]) -> bool:
    """Whether the coefficients are numbers of one sign: then their sum cancels nothing."""
    values = list(coefficients)
    return all(c.is_number for c in values) and (all(c > 0 for c in values) or all(c < 0 for c in values))


def _over_monomial(form: RationalForm) -> Expr | None:
    """Σ p_i E^i / E^k = Σ p_i exp(-(k - i)·g): no product of an overflow and an underflow."""
    k, scale = form.denominator.degree(), form.denominator.LC()
    if k == 0:
        return None
    g = stabilised(form.argument)
    terms = ((i, simplest((c / scale, sp.expand(c / scale)))) for (i,), c in form.numerator.terms())
    return _with_expm1(sp.Add(*(stabilised(c) * sp.exp((i - k) * g) for i, c in terms)))


def _by_sign(form: RationalForm) -> Expr:
    """P(E)/Q(E) in exp(-|g|), which lies in (0, 1]: one quotient for g > 0, one for g <= 0."""
    g = stabilised(form.argument)
    small = sp.exp(-sp.Abs(g))
    top, bottom = ([stabilised(c) for c in p.all_coeffs()] for p in (form.numerator, form.denominator))
    n = len(bottom) - 1
    top = [Integer(0)] * (n + 1 - len(top)) + top
    positive, negative = (
        sp.Add(*(c * small**i for i, c in enumerate(order(top))))
        / sp.Add(*(c * small**i for i, c in enumerate(order(bottom))))
        for order in (list, lambda c: list(reversed(c)))
    )
    return Where(g > 0, positive, negative)


def _collected(parts: list[Expr], s: Expr, t: Expr) -> Expr:
    """The sum with the powers of s and t that all parts share taken out."""
    if len(parts) == 1:
        return parts[0]
    for symbol in (s, t):
        least = min(_power(p, symbol) for p in parts)
        if least > 0:
            return symbol**least * _collected([p / symbol**least for p in parts], s, t)
    return sp.Add(*parts)


def _power(product: Expr, symbol: Expr) -> int:
    return int(next((e for b, e in (f.as_base_exp() for f in sp.Mul.make_args(product)) if b == symbol), 0))


def _power_of_one_plus(form: RationalForm) -> tuple[int, Expr] | None:
    """(m, c) where the denominator is c·(1 + E)^m, else None."""
    m = form.denominator.degree()
    scale = form.denominator.LC()
    for i in range(m + 1):
        if not is_zero(form.denominator.coeff_monomial(form.generator**i) - scale * sp.binomial(m, i)):
            return None
    return m, scale


def _groups(product: Expr) -> list[Expr]:
    """The product's factors, those over the same exponential multiplied together (fewer than all)."""
    groups: list[tuple[Expr | None, list[Expr]]] = []
    for factor in product.args:
        form = rational_form(factor)
        argument = None if form is None else form.argument
        for key, members in groups:
            if argument is not None and key is not None and rational_ratio(argument, key) is not None:
                members.append(factor)
                break
        else:
            groups.append((argument, [factor]))
    if len(groups) == 1:
        return list(product.args)
    return [sp.Mul(*members) for _, members in groups]


def _with_expm1(total: Expr) -> Expr:
    """c·exp(g) - c as c·expm1(g), for a number c."""
    if not isinstance(total, sp.Add):
        return total
    constant, rest = total.as_coeff_Add()
    for part in sp.Add.make_args(rest):
        coefficient, factor = part.as_coeff_Mul()
        if constant != 0 and isinstance(factor, sp.exp) and coefficient == -constant:
            return sp.Add(coefficient * expm1(factor.args[0]), *(a for a in sp.Add.make_args(rest) if a is not part))
    return total


_REWRITTEN = (sp.exp, sp.log, sp.tanh, sp.sinh, sp.cosh)
"""Functions with a rewriting: what has none of them stays as it is written."""

_OF_SUMS: tuple[Callable[[Expr], Expr], ...] = (_with_expm1,)
"""Rewritings of a sum, in turn: each gives an expression of the same value, or the sum itself."""


def log_form(argument: Expr) -> Expr | None:
    """log(argument) as a sum of logarithms that cannot overflow; None where none is found.

    Only factors that are certainly positive are split: powers of E and of c + E with c > 0, sums of
    exponentials, and positive numbers.
    """
    form = rational_form(argument)
    if form is None:
        return None
    linear, rest = Integer(0), Integer(0)
    softplus: dict[tuple[int, Expr], Expr] = {}
    for polynomial, sign in ((form.numerator, 1), (form.denominator, -1)):
        content, factors = _factored(polynomial)
        constant = _positive_log(content)
        if constant is None:
            return None
        rest += sign * constant
        for factor, multiplicity in factors:
            split = _log_of_factor(factor)
            if split is None:
                return None
            power, lead, ratio = split
            rest += sign * multiplicity * sp.log(lead)
            if ratio == 0:
                linear += sign * multiplicity * power
            else:
                softplus[power, ratio] = softplus.get((power, ratio), 0) + sign * multiplicity
    return _assembled(stabilised(form.argument), linear, softplus, rest)


def _assembled(g: Expr, linear: Expr, softplus: dict[tuple[int, Expr], Expr], rest: Expr) -> Expr:
    """linear·g + Σ m·log(E^k + r) + rest, with k·g - softplus(k·g) written as -softplus(-k·g)."""
    for (power, ratio), count in softplus.items():
        shifted = power * g - sp.log(ratio)
        rest += count * sp.log(ratio)
        if linear == -count * power:
            rest += count * (Softplus(-shifted) - sp.log(ratio))
            linear = Integer(0)
        else:
            rest += count * Softplus(shifted)
    return linear * g + rest


def _log_of_factor(factor: sp.Poly) -> tuple[int, Expr, Expr] | None:
    """(k, c, r) where the factor is c·(E^k + r) with c > 0 and r >= 0, else None."""
    terms = factor.terms()
    lead = factor.LC()
    if len(terms) > 2 or not lead.is_positive:
        return None
    power = factor.degree()
    if len(terms) == 1:
        return power, lead, Integer(0)
    ratio = factor.coeff_monomial(1) / lead
    return (power, lead, ratio) if ratio.is_positive else None


def _factored(polynomial: sp.Poly) -> tuple[Expr, list[tuple[sp.Poly, int]]]:
    plain = sp.Poly(polynomial.as_expr(), polynomial.gen, domain=sp.QQ) if _rational(polynomial) else polynomial
    if plain is polynomial:
        return (Integer(1), [(polynomial, 1)]) if polynomial.degree() > 0 else (polynomial.as_expr(), [])
    content, factors = plain.factor_list()
    return content, [(f, int(m)) for f, m in factors]


def _rational(polynomial: sp.Poly) -> bool:
    return all(c.is_Rational for c in polynomial.coeffs())


def _positive_log(content: Expr) -> Expr | None:
    if content.is_number:
        return sp.log(content) if content.is_positive else None
    if isinstance(content, Reduction) and content.kind == "sum" and isinstance(content.body, sp.exp):
        return sp.log(content)
    return None
