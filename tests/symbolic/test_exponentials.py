"""The algebra of scalar formulas: the same value in another form, in bounded time."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
import sympy as sp

from chainrule.symbolic.exponentials import algebraic
from chainrule.symbolic.expressions import Access, index

INDEX = index("i")
U, V, W, X = (Access(name, INDEX) for name in "uvwx")
MANY = [Access(f"y{m}", INDEX) for m in range(40)]
E = sp.exp

FORMULAS = [
    # a decimal under an exponential asks polynomials for its 100th root, and a square in it is multiplied out
    U * V * (1 - U) + 2 * W * X * E(-((U - V + sp.Rational(199, 100)) ** 2)) / sp.sqrt(sp.pi),
    U * V * (1 - U) - V * W * X + 4 * E(-((-U + V + sp.Rational(199, 100)) ** 2)) * (U - sp.Rational(3, 10)) ** 3,
    # many tensors, few of which have anything in common
    sum(a * b * (1 - c**2) / (1 + d**2) for a, b, c, d in zip(MANY, MANY[1:], MANY[2:], MANY[3:], strict=False)),
    sum((a + U) / (1 + E(-a * b)) ** 2 for a, b in pairwise(MANY)) * (X + V) ** 3,
    # a common denominator of very many terms
    sp.Mul(*(1 / (a**2 + 1 + b) ** 2 for a, b in pairwise(MANY[:10]))) + sum(MANY[:9]) ** 5 / (1 + U),
]


@pytest.mark.parametrize("formula", FORMULAS)
def test_large_formulas_keep_their_value_and_take_no_time(formula: sp.Expr) -> None:
    start = time.process_time()
    found = algebraic(formula)
    assert time.process_time() - start < 2
    names = sorted(formula.atoms(Access), key=str)
    point = {a: sp.Float(0.3 + 0.05 * m, 30) for m, a in enumerate(names)}
    assert abs(found.xreplace(point).evalf(25) / formula.xreplace(point).evalf(25) - 1) < 1e-20


def test_what_cancels_is_cancelled_among_many_other_terms() -> None:
    related = E(U) / (1 + E(U)) - E(2 * U) / (1 + E(U)) ** 2
    assert algebraic(related) == E(U) / (1 + E(U)) ** 2
    others = sum(a * b for a, b in zip(MANY[::2], MANY[1::2], strict=True))
    assert algebraic(related + others) == E(U) / (1 + E(U)) ** 2 + others


def test_exponentials_multiply() -> None:
    assert algebraic(E(U - V) * E(V) - E(U)) == 0
    assert algebraic(E(2 * U) * (1 - E(-U)) / (E(U) - 1)) == E(U)
