"""Whole-number expressions in sizes and indices, as `size_t` arithmetic.

Sums wrap around and back, so that a sum whose value is not negative is right whatever its order. Where
a value may be negative it is never formed: comparisons move every term to the side where it is added,
and `saturating` gives 0 (`monus`). `checked` is for the check of the sizes themselves: it saturates at
both ends (`plus`, `minus`, `times`, `divide` of the template) and can neither wrap nor go below 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import sympy as sp
from sympy import Expr, Integer, Max, Min, Symbol
from sympy.core.relational import Relational
from sympy.core.sorting import default_sort_key

from chainrule.symbolic.affine import nonnegative
from chainrule.symbolic.errors import LoweringError

__all__ = [
    "address",
    "checked",
    "checked_elements",
    "compare",
    "elements",
    "folded",
    "holds",
    "plain",
    "quotient",
    "saturating",
]

Env = Mapping[Symbol, str]

_ONE = Integer(1)
_MANY = {Max: "larger", Min: "smaller"}
_OTHER = {Max: Min, Min: Max}


def _signed_terms(expression: Expr) -> tuple[list[Expr], list[Expr]]:
    """The terms to be added and those to be taken away, each in a fixed order."""
    terms = sorted(sp.Add.make_args(sp.expand(expression)), key=default_sort_key)
    symbols = [t for t in terms if not t.is_Integer] + [t for t in terms if t.is_Integer]
    added = [t for t in symbols if t != 0 and not t.could_extract_minus_sign()]
    taken = [-t for t in symbols if t.could_extract_minus_sign()]
    return added, taken


def _rounded(expression: Expr) -> tuple[Expr, Expr] | None:
    """numerator, divisor such that the expression is ⌊numerator/divisor⌋; None where it is no such quotient.

    What is added to the one rounded quotient joins it: ⌊u/q⌋ + c = ⌊(u + q·c)/q⌋.
    """
    found = sorted(expression.atoms(sp.floor, sp.ceiling), key=default_sort_key)
    if len(found) != 1 or found[0] not in sp.Add.make_args(expression):
        return None
    inside, divisor = _fraction(found[0])
    return sp.expand(inside + divisor * (expression - found[0])), divisor


def _fraction(rounded: Expr) -> tuple[Expr, Expr]:
    """numerator, divisor of a rounded quotient as one that is rounded down: ⌈u/q⌉ = ⌊(u + q - 1)/q⌋."""
    inside, divisor = rounded.args[0].as_numer_denom()
    if not divisor.is_positive:
        raise LoweringError(f"{rounded} cannot stand in a size: expected a positive divisor")
    return sp.expand(inside + (divisor - 1 if isinstance(rounded, sp.ceiling) else 0)), divisor


def _spread(expression: Expr) -> tuple[str, list[Expr]] | None:
    """function, arguments such that the expression is that extremum: min(u, v) - w = min(u - w, v - w).

    None where there is no extremum, or one of values that are not negative and may stand in a sum as it is.
    """
    for term in sorted(sp.Add.make_args(sp.expand(expression)), key=default_sort_key):
        factor, extremum = term.as_coeff_Mul()
        if isinstance(extremum, (Max, Min)) and not all(nonnegative(a, {}) for a in extremum.args):
            kind = type(extremum) if factor > 0 else _OTHER[type(extremum)]
            parts = sorted(extremum.args, key=default_sort_key)
            return _MANY[kind], [sp.expand(expression - term + factor * a) for a in parts]
    return None


def _atom(factor: Expr, env: Env) -> str:
    if factor.is_Integer:
        return str(int(factor))
    if factor.is_Symbol and factor in env:
        return env[factor]
    if isinstance(factor, (Max, Min)):
        return folded(_MANY[type(factor)], [plain(a, env) for a in sorted(factor.args, key=default_sort_key)])
    if isinstance(factor, (sp.floor, sp.ceiling)):
        numerator, divisor = _fraction(factor)
        if nonnegative(numerator, {}):
            return f"({_grouped(plain(numerator, env))} / {_grouped(plain(divisor, env))})"
    raise LoweringError(f"{factor} cannot stand in a size: sizes are sums and products of whole numbers and names")


def folded(function: str, parts: Sequence[str]) -> str:
    """A function of two arguments applied to all of them."""
    text = parts[0]
    for part in parts[1:]:
        text = f"{function}({text}, {part})"
    return text


def _factors(term: Expr) -> list[Expr]:
    factors: list[Expr] = []
    for factor in sorted(sp.Mul.make_args(term), key=default_sort_key):
        base, exponent = factor.as_base_exp()
        if not (exponent.is_Integer and exponent > 0):
            raise LoweringError(f"{factor} cannot stand in a size: sizes are sums and products")
        factors.extend([base] * int(exponent))
    return factors


def _product(term: Expr, env: Env) -> str:
    return " * ".join(_atom(f, env) for f in _factors(term))


def _sum(terms: Sequence[Expr], env: Env) -> str:
    return " + ".join(_product(t, env) for t in terms) or "0"


def _grouped(text: str) -> str:
    bare = text.isidentifier() or text.isdigit() or (text.endswith(")") and text.split("(")[0].isidentifier())
    return text if bare else f"({text})"


def plain(expression: Expr, env: Env) -> str:
    """The expression, which is not negative, as C; terms that are taken away come last."""
    spread = _spread(expression)
    if spread is not None:  # of several values one may be negative, where the greatest is not
        function, parts = spread
        return folded(function, [(saturating if function == _MANY[Max] else plain)(p, env) for p in parts])
    rounded = _rounded(expression)
    if rounded is not None:
        return f"{_grouped(plain(rounded[0], env))} / {_grouped(plain(rounded[1], env))}"
    added, taken = _signed_terms(expression)
    return _sum(added, env) + "".join(f" - {_product(t, env)}" for t in taken)


def saturating(expression: Expr, env: Env) -> str:
    """The expression where it is positive, else 0."""
    spread = _spread(expression)
    if spread is not None:
        return folded(spread[0], [saturating(p, env) for p in spread[1]])
    rounded = _rounded(expression)
    if rounded is not None:
        return f"{_grouped(saturating(rounded[0], env))} / {_grouped(plain(rounded[1], env))}"
    added, taken = _signed_terms(expression)
    return f"monus({_sum(added, env)}, {_sum(taken, env)})" if taken else _sum(added, env)


def quotient(numerator: Expr, divisor: Expr, env: Env, proved: Callable[[Expr], bool]) -> str:
    """⌊numerator/divisor⌋ where that is positive, else 0. `proved` tells what cannot be negative."""
    numerator = sp.expand(numerator)
    spread = _spread(numerator)
    if spread is not None:
        return folded(spread[0], [quotient(p, divisor, env, proved) for p in spread[1]])
    if divisor == 1:
        return plain(numerator, env) if proved(numerator) else saturating(numerator, env)
    if not proved(numerator):
        return f"{_grouped(saturating(numerator, env))} / {_grouped(plain(divisor, env))}"
    multiples = sp.Add(*(t for t in sp.Add.make_args(numerator) if (t / divisor).is_integer))
    whole, rest = sp.expand(multiples / divisor), sp.expand(numerator - multiples)
    if rest.is_Integer:
        return plain(whole + rest // divisor, env)
    if whole == 0 or not (proved(whole) and proved(rest)):
        whole, rest = Integer(0), numerator
    text = f"{_grouped(plain(rest, env))} / {_grouped(plain(divisor, env))}"
    return text if whole == 0 else f"{text} + {plain(whole, env)}"


def _factor(expression: Expr, env: Env) -> str:
    return _grouped(plain(expression, env))


def elements(shape: Sequence[Expr], env: Env, proved: Callable[[Expr], bool] | None = None) -> str:
    """How many elements an array of that shape has; with `proved`, 0 where an axis may have a negative length."""
    axes = [d for d in shape if d != 1]
    if all(d.is_Integer for d in axes):
        return str(int(sp.prod(axes)))

    def axis(extent: Expr) -> str:
        return plain(extent, env) if proved is None else quotient(*(_rounded(extent) or (extent, _ONE)), env, proved)

    texts = [axis(d) for d in axes]
    return " * ".join(_grouped(t) for t in texts) if len(axes) != 1 else texts[0]


def address(indices: Sequence[Expr], shape: Sequence[Expr], env: Env) -> str:
    """The row-major offset of an element: `(s * h + i) * d + j`."""
    text = ""
    for position, extent in zip(indices, shape, strict=True):
        if text:
            text = f"({text})" if " + " in text or " - " in text else text
            text = f"{text} * {_factor(extent, env)}" if extent != 1 else text
        if position != 0:
            here = plain(position, env)
            if text and " - " in here:
                here = f"({here})"
            text = f"{text} + {here}" if text else here
    return text or "0"


def checked(expression: Expr, env: Env) -> str:
    """The expression in saturating arithmetic: SIZE_MAX where it is too large, 0 where it is not positive."""
    rounded = _rounded(expression)
    if rounded is not None:
        return f"divide({checked(rounded[0], env)}, {plain(rounded[1], env)})"

    def atom(factor: Expr) -> str:
        if isinstance(factor, (Max, Min)):
            return folded(_MANY[type(factor)], [checked(a, env) for a in sorted(factor.args, key=default_sort_key)])
        return _atom(factor, env)

    def monomial(term: Expr) -> str:
        return folded("times", [atom(f) for f in _factors(term)])

    added, taken = _signed_terms(expression)
    text = folded("plus", [monomial(t) for t in added]) if added else "0"
    return f"minus({text}, {folded('plus', [monomial(t) for t in taken])})" if taken else text


def checked_elements(shape: Sequence[Expr], env: Env) -> str:
    """How many elements an array of that shape has, in saturating arithmetic."""
    return folded("times", [checked(d, env) for d in shape if d != 1] or ["1"])


_SIGNS = {sp.Lt: "<", sp.Le: "<=", sp.Gt: ">", sp.Ge: ">=", sp.Eq: "==", sp.Ne: "!="}
_TURNED = {sp.Lt: sp.Gt, sp.Le: sp.Ge, sp.Gt: sp.Lt, sp.Ge: sp.Le, sp.Eq: sp.Eq, sp.Ne: sp.Ne}


def compare(relation: Relational, env: Env) -> str:
    """A comparison of whole numbers, every term moved to the side where it is added: nothing goes below 0.

    Indices stand on the left where one side has none; `k <= n - 1` is written `k < n`.
    """
    sign = type(relation)
    difference = sp.expand(relation.lhs - relation.rhs)
    spread = _spread(difference)
    if spread is not None:
        return _compare_each(*spread, sign, env)
    if difference.atoms(sp.floor, sp.ceiling):
        difference, sign = _without_rounding(difference, sign)
    if sign in (sp.Ge, sp.Le):
        strict = difference + 1 if sign is sp.Ge else difference - 1
        if len(strict.as_ordered_terms()) < len(difference.as_ordered_terms()):
            difference, sign = strict, sp.Gt if sign is sp.Ge else sp.Lt
    added, taken = _signed_terms(difference)
    if not _moves(added) and _moves(taken):
        added, taken, sign = taken, added, _TURNED[sign]
    return f"{_sum(added, env)} {_SIGNS[sign]} {_sum(taken, env)}"


def _compare_each(function: str, parts: Sequence[Expr], sign: type[Relational], env: Env) -> str:
    """The comparison of an extremum with 0, by its arguments: min(u, v) >= 0 is u >= 0 && v >= 0."""
    if sign in (sp.Eq, sp.Ne):
        word, signs = ("&&", (sp.Ge, sp.Le)) if sign is sp.Eq else ("||", (sp.Gt, sp.Lt))
        return f"({f' {word} '.join(_compare_each(function, parts, s, env) for s in signs)})"
    word = "&&" if (function == _MANY[Min]) == (sign in (sp.Ge, sp.Gt)) else "||"
    return f"({f' {word} '.join(compare(sign(p, 0, evaluate=False), env) for p in parts)})"


def _without_rounding(difference: Expr, sign: type[Relational]) -> tuple[Expr, type[Relational]]:
    """The comparison with 0 without its one rounded quotient: ⌊u/q⌋ >= c where u >= q·c, ⌊u/q⌋ < c where u < q·c."""
    found = sorted(difference.atoms(sp.floor, sp.ceiling), key=default_sort_key)
    factor = difference.coeff(found[0], 1)
    if len(found) > 1 or factor not in (1, -1) or sign in (sp.Eq, sp.Ne):
        return difference, sign
    inside, divisor = _fraction(found[0])
    rest = sp.expand(factor * difference - found[0])
    at_least = (sign in (sp.Ge, sp.Gt)) == (factor == 1)
    strict = (sign in (sp.Gt, sp.Lt)) == at_least  # ⌊u/q⌋ > -c is ⌊u/q⌋ >= 1 - c, and ⌊u/q⌋ <= -c is ⌊u/q⌋ < 1 - c
    return sp.expand(inside + divisor * (rest - int(strict))), sp.Ge if at_least else sp.Lt


def _moves(terms: Sequence[Expr]) -> bool:
    """Whether an index stands in the terms: sizes are positive, an index may be 0."""
    return any(not symbol.is_positive for term in terms for symbol in term.free_symbols)


def holds(condition: Expr, env: Env) -> str:
    """`condition >= 0` as a comparison."""
    return compare(sp.Ge(condition, 0, evaluate=False), env)
