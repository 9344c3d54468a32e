"""Primitives with constant arguments have a value, to any number of digits, as a literal of C needs it."""

from __future__ import annotations

import mpmath
import pytest
import sympy as sp

from chainrule.symbolic.primitives import Sigmoid, Softplus, textbook


@pytest.mark.parametrize("z", [-4, 3, sp.Rational(-1, 3), -200, 500])
@pytest.mark.parametrize("primitive", [Sigmoid, Softplus])
def test_constants_evaluate_to_any_precision(primitive, z):
    z = sp.sympify(z)
    exact = {Sigmoid: lambda v: 1 / (1 + mpmath.exp(-v)), Softplus: lambda v: mpmath.log(1 + mpmath.exp(v))}
    with mpmath.workdps(400):
        truth = exact[primitive](mpmath.mpf(z.p) / z.q)
        found = mpmath.mpf(str(primitive(z).evalf(40)))
        assert abs(found - truth) < abs(truth) * mpmath.mpf(10) ** -38
    assert float(primitive(z)) == pytest.approx(float(truth), rel=1e-15)


def test_symbols_stay_as_they_are():
    z = sp.Symbol("z", real=True)
    assert Sigmoid(z).evalf() == Sigmoid(z)
    assert (2 * Softplus(z)).evalf().has(Softplus)
    assert textbook(Sigmoid(z)) == 1 / (1 + sp.exp(-z))
