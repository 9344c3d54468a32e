"""Known results put back: where a term holds the right side of a forward equation, its left side.

Softmax's `exp(z_i)/Σ_k exp(z_k)` becomes `p_i` again, `tanh(z_j)` becomes `a_j`. An equation's right
side is looked for at the indices that an *anchor* takes: the first access in it that carries all
the left side's indices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import sympy as sp
from sympy import Dummy, Expr

from .expressions import Access, Reduction, accesses, alpha_key, freshen, rebuild, walk
from .system import Equation, System

__all__ = ["Known", "fold", "known_results"]


@dataclass(frozen=True)
class Known:
    """A forward equation that may be folded, and its anchor."""

    equation: Equation
    anchor: Access


def known_results(system: System) -> tuple[Known, ...]:
    """The equations that can be recognised: a function, a quotient or a sum over an anchored access."""
    found = []
    for equation in system.equations:
        symbols = set(equation.indices)
        if isinstance(equation.value, Access) or not all(isinstance(i, Dummy) for i in symbols):
            continue
        anchor = next(
            (a for a in accesses(equation.value) if symbols <= set(a.indices) and len(a.indices) == len(symbols)), None
        )
        if anchor is not None and symbols:
            found.append(Known(equation, anchor))
    return tuple(found)


def fold(expression: Expr, known: Iterable[Known]) -> Expr:
    """The expression with every recognised right side replaced by its left side."""
    table: dict[str, list[Known]] = {}
    for item in known:
        table.setdefault(item.anchor.name, []).append(item)
    present = {a.name for a in accesses(expression)}
    candidates = [item for name in present for item in table.get(name, [])]
    candidates.sort(key=lambda item: item.equation.name)
    return _fold(expression, candidates) if candidates else expression


def _instances(expression: Expr, candidates: list[Known]) -> Iterator[tuple[Access, Expr]]:
    """Every (left side, right side) at the subscripts at which an anchor occurs in the expression."""
    for item in candidates:
        for access in accesses(expression):
            if access.name == item.anchor.name and access != expression:
                mapping = dict(zip(item.anchor.indices, access.indices, strict=True))
                left = Access(item.equation.name, *(mapping[i] for i in item.equation.indices))
                yield left, freshen(item.equation.value, mapping)


def _fold(expression: Expr, candidates: list[Known]) -> Expr:
    if not any(isinstance(n, Access) for n in walk(expression)):
        return expression
    expression = (
        rebuild(expression, [_fold(a, candidates) for a in expression.args]) if _composite(expression) else expression
    )
    for left, right in _instances(expression, candidates):
        if alpha_key(expression) == alpha_key(right):
            return left
        if isinstance(expression, sp.Mul) and isinstance(right, sp.Mul | sp.Pow):
            reduced = _divide(expression, right, left)
            if reduced is not None:
                return _fold(reduced, candidates)
    return expression


def _composite(expression: Expr) -> bool:
    return bool(expression.args) and not isinstance(expression, Access)


def _factors(expression: Expr) -> dict[Expr, tuple[Expr, Expr]]:
    """Base → (base, exponent) for every factor, with exp(u + v) split, keyed up to bound names."""
    powers: dict[Expr, tuple[Expr, Expr]] = {}

    def put(base: Expr, exponent: Expr) -> None:
        key = alpha_key(base)
        powers[key] = (base, powers[key][1] + exponent if key in powers else exponent)

    for factor in sp.Mul.make_args(expression):
        if isinstance(factor, sp.exp):
            for part in sp.Add.make_args(factor.args[0]):
                count, rest = part.as_coeff_Mul()
                if count.is_Integer:
                    put(sp.exp(rest), count)
                else:
                    put(sp.exp(part), sp.Integer(1))
        else:
            put(*factor.as_base_exp())
    return powers


def _divide(product: Expr, divisor: Expr, quotient_symbol: Access) -> Expr | None:
    """`product` with `divisor` taken out once and the symbol in its place; None where it does not hold it."""
    have, want = _factors(product), _factors(divisor)
    for key, (_, exponent) in want.items():
        held = have.get(key, (None, sp.Integer(0)))[1]
        if not (exponent.is_Integer and held.is_Integer and held * exponent > 0 and abs(held) >= abs(exponent)):
            return None
    for key, (base, exponent) in want.items():
        have[key] = (base, have[key][1] - exponent)
    if not any(isinstance(f, Reduction) or f.args for f, _ in want.values()):
        return None
    return sp.Mul(quotient_symbol, *(base**exponent for base, exponent in have.values()))
