"""The algebra of scalar formulas: the same value in another form, in bounded time."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
import sympy as sp

from chainrule.symbolic.exponentials import algebraic, is_zero, rational_ratio
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


U, V, W = sp.symbols("_p _q _r", real=True)


@pytest.mark.parametrize(
    "expression",
    [
        W * (U - V) / ((U - V) ** 2 + 1e-7) ** sp.Rational(3, 2) - (U - V) / ((U - V) ** 2 + 1e-7) ** sp.Rational(3, 2),
        2 * (U - V) / (1 + (U - V) ** 2) - 2 * (U - V) ** 3 / (1 + (U - V) ** 2) ** 2,
    ],
)
def test_denominators_and_roots_are_not_multiplied_out(expression):
    """(u - v)² + c as u² - 2uv + v² + c would be lost to cancellation where u is near v, both large."""
    form = algebraic(expression)
    powers = [p for p in form.atoms(sp.Pow) if not (p.exp.is_Integer and p.exp.is_positive)]
    assert powers
    assert all(len(sp.Add.make_args(p.base)) <= 2 for p in powers), form
    near = {U: sp.Rational(10**8 + 1, 1), V: sp.Rational(10**8, 1), W: sp.Rational(3, 7)}
    assert abs((form - expression).subs(near).evalf(30)) < 1e-20
    assert float(form.subs({k: float(v) for k, v in near.items()})) == pytest.approx(float(expression.subs(near)))


def test_what_a_denominator_cancels_still_goes():
    """1/√(1 + u²) - u²/√(1 + u²)³ is 1/√(1 + u²)³."""
    root = sp.sqrt(1 + U**2)
    assert algebraic(1 / root - U**2 / root**3) == root**-3


def test_quotients_of_exponents() -> None:
    x, y = sp.symbols("x y", real=True)
    assert rational_ratio(3 * x - 6 * y, 2 * y - x) == -3
    assert rational_ratio(x * (x + y), 2 * x**2 + 2 * x * y) == sp.Rational(1, 2)
    assert rational_ratio(x, y) is None
    large = (x + y + sp.exp(-((x + y / (1 + x**2)) ** 4))) ** 40
    assert rational_ratio(large, large + 1) is None  # not multiplied out: 861 terms
    assert rational_ratio(-large / 3, large) == -sp.Rational(1, 3)
    assert is_zero((x + y) ** 2 - x**2 - 2 * x * y - y**2)
    assert not is_zero(large - x)
    u = sp.Symbol("_u0", real=True)  # as the tensors of a formula are called in its algebra
    assert rational_ratio(-2 * u, -sp.sin(2)) is None
    assert not is_zero(u - sp.sin(2))
