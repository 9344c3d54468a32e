"""Whole-number expressions in sizes and indices, as `size_t` arithmetic.

`plain` is for code that runs after the sizes were checked; `checked` is for the check itself, in
saturating arithmetic (`plus`, `minus`, `times` of the template) that can neither wrap nor go below 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sympy as sp
from sympy import Expr, Symbol
from sympy.core.relational import Relational
from sympy.core.sorting import default_sort_key

from chainrule.symbolic.errors import LoweringError

__all__ = ["address", "checked", "checked_elements", "compare", "elements", "plain"]

Env = Mapping[Symbol, str]


def _signed_terms(expression: Expr) -> tuple[list[Expr], list[Expr]]:
    """The terms to be added and those to be taken away, each in a fixed order."""
    terms = sorted(sp.Add.make_args(sp.expand(expression)), key=default_sort_key)
    symbols = [t for t in terms if not t.is_Integer] + [t for t in terms if t.is_Integer]
    added = [t for t in symbols if t != 0 and not t.could_extract_minus_sign()]
    taken = [-t for t in symbols if t.could_extract_minus_sign()]
    return added, taken


def _atom(factor: Expr, env: Env) -> str:
    if factor.is_Integer:
        return str(int(factor))
    if factor.is_Symbol and factor in env:
        return env[factor]
    if isinstance(factor, sp.floor):
        numerator, denominator = factor.args[0].as_numer_denom()
        if denominator.is_Integer and denominator > 1:
            return f"({plain(numerator, env)}) / {int(denominator)}"
    raise LoweringError(f"{factor} cannot stand in a size: sizes are sums and products of whole numbers and names")


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


def plain(expression: Expr, env: Env) -> str:
    """The expression as C, terms that are taken away last."""
    added, taken = _signed_terms(expression)
    text = " + ".join(_product(t, env) for t in added) or "0"
    return text + "".join(f" - {_product(t, env)}" for t in taken)


def _factor(expression: Expr, env: Env) -> str:
    text = plain(expression, env)
    return f"({text})" if " " in text else text


def elements(shape: Sequence[Expr], env: Env) -> str:
    """How many elements an array of that shape has."""
    axes = [d for d in shape if d != 1]
    if all(d.is_Integer for d in axes):
        return str(int(sp.prod(axes)))
    return " * ".join(_factor(d, env) for d in axes) if len(axes) != 1 else plain(axes[0], env)


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

    def fold(function: str, parts: list[str]) -> str:
        text = parts[0]
        for part in parts[1:]:
            text = f"{function}({text}, {part})"
        return text

    def monomial(term: Expr) -> str:
        return fold("times", [_atom(f, env) for f in _factors(term)])

    added, taken = _signed_terms(expression)
    text = fold("plus", [monomial(t) for t in added]) if added else "0"
    return f"minus({text}, {fold('plus', [monomial(t) for t in taken])})" if taken else text


def checked_elements(shape: Sequence[Expr], env: Env) -> str:
    """How many elements an array of that shape has, in saturating arithmetic."""
    axes = [checked(d, env) for d in shape if d != 1] or ["1"]
    text = axes[0]
    for axis in axes[1:]:
        text = f"times({text}, {axis})"
    return text


_SIGNS = {sp.Lt: "<", sp.Le: "<=", sp.Gt: ">", sp.Ge: ">=", sp.Eq: "==", sp.Ne: "!="}


def compare(relation: Relational, env: Env) -> str:
    """A comparison of whole numbers, every term moved to the side where it is added: nothing goes below 0."""
    added, taken = _signed_terms(relation.lhs - relation.rhs)
    left = " + ".join(_product(t, env) for t in added) or "0"
    right = " + ".join(_product(t, env) for t in taken) or "0"
    return f"{left} {_SIGNS[type(relation)]} {right}"
