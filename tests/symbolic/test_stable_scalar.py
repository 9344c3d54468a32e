"""Bounded forms against exact values by mpmath, over the whole range of float64's exponential: never NaN nor
infinity where the value is a finite number, and accurate to a few roundings unless the formula itself cancels."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from float_forms import POINTS, accuracy, computed
from hypothesis import assume, given
from hypothesis import strategies as st

from chainrule.symbolic.catalogue import definition, names
from chainrule.symbolic.primitives import Sigmoid, Softplus
from chainrule.symbolic.stable_scalar import log_form, stabilised

Z, Y = sp.symbols("z y", real=True)
LOOSE = {("gelu", 0), ("gelu", 1)}
"""1 + erf(u) cancels in the left tail: bounded, but far from the last digits there."""


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize("name", names("activation"))
def test_activations_and_their_derivatives_are_accurate_everywhere(name, order):
    function = definition(name)
    formula = function.derivative((order,))
    form = stabilised(formula)
    error, where = accuracy(form, formula, {function.parameters[0]: POINTS})
    assert error < (1.1 if (name, order) in LOOSE else 1e-15), f"{formula} as {form}: {where}"


SCALES = {"binary_cross_entropy": (0.0, 1.0, 0.3), "cross_entropy": (0.0, 1.0, 0.3)}
INNER = {
    "identity": [c for c in names("cost") if "entropy" not in c],
    "sigmoid": [c for c in names("cost") if c != "absolute_error"],  # whose sign jumps where sigmoid underflows
    "tanh": ["squared_error", "half_squared_error", "log_cosh"],
    "softplus": ["squared_error", "half_squared_error", "log_cosh"],
}


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize(("inner", "cost"), [(i, c) for i, costs in INNER.items() for c in costs])
def test_costs_of_activations_are_finite_wherever_their_value_is(inner, cost, order):
    """The cost as a function of z, and its derivative by z."""
    outer, activation = definition(cost), definition(inner)
    a = activation.body.xreplace({activation.parameters[0]: Z})
    formula = outer.derivative((order, 0)).xreplace(dict(zip(outer.parameters, (a, Y), strict=True)))
    formula = formula * a.diff(Z) if order else formula
    form = stabilised(formula)
    z, y = (v.ravel() for v in np.meshgrid(POINTS, SCALES.get(cost, (0.0, 0.7, -3.0, 1000.0))))
    near = abs(z) < (2e3 if "entropy" in cost else np.inf)  # the reference divides by 1 - a, which DIGITS must hold
    error, where = accuracy(form, formula, {Z: z[near], Y: y[near]})
    cancels = (cost, order) == ("log_cosh", 0)  # |u| - log 2 + …: accurate beside 1, not beside u²/2
    assert error < (np.inf if cancels else 1e-12), f"{formula} as {form}: {where}"
    assert np.isfinite(computed(form, {Z: z, Y: y})).all()


def test_what_cannot_overflow_is_left_as_written():
    """tanh(z) - y in sigmoids would cancel near z = 0, and cost more."""
    assert stabilised(sp.tanh(Z) - Y) == sp.tanh(Z) - Y
    assert stabilised((sp.tanh(Z) - Y) ** 2) == (sp.tanh(Z) - Y) ** 2


def test_forms_that_remove_a_cancellation():
    assert stabilised(1 - sp.tanh(Z) ** 2) == 4 * Sigmoid(2 * Z) * Sigmoid(-2 * Z)
    sigmoid = 1 / (1 + sp.exp(-Z))
    assert stabilised(sigmoid.diff(Z).diff(Z)) == -Sigmoid(Z) * Sigmoid(-Z) * sp.tanh(Z / 2)
    assert stabilised(1 - sigmoid) == Sigmoid(-Z)
    assert stabilised(sp.exp(Z) - 1).has(sp.exp) is False


@pytest.mark.parametrize(
    ("argument", "form"),
    [
        (1 / (1 + sp.exp(-Z)), -Softplus(-Z)),
        (1 - 1 / (1 + sp.exp(-Z)), -Softplus(Z)),
        (1 + sp.exp(Z), Softplus(Z)),
        (sp.exp(3 * Z) * 5, 3 * Z + sp.log(5)),
        (sp.exp(Z) - 1, None),  # negative for some z
        (Y * sp.exp(Z), None),  # of unknown sign
    ],
)
def test_logarithms_of_exponentials_split(argument, form):
    found = log_form(argument)
    assert found == form or sp.expand(found - form) == 0


def test_exponentials_in_the_argument_of_another():
    """log cosh of a softplus: neither of the two may overflow."""
    formula = sp.log(sp.cosh(sp.log(1 + sp.exp(Z)) - Y))
    form = stabilised(formula)
    z = np.array([-800.0, 0.0, 800.0, 1e5])
    assert np.isfinite(computed(form, {Z: z, Y: np.zeros(4)})).all(), form
    quotient = stabilised(sp.sinh(sp.tanh(Z) - Y) / sp.cosh(sp.tanh(Z) - Y))
    assert np.isfinite(computed(quotient, {Z: z, Y: np.full(4, 1000.0)})).all(), quotient


LEAVES = st.sampled_from([Z, Y, sp.Integer(1), sp.Integer(2), Z + Y, Z - Y])
FORMULAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda a, b: a * b, inner, inner),
        st.builds(lambda a: a**2, inner),
        st.builds(lambda a: 1 / (1 + sp.exp(a)), inner),
        st.builds(lambda f, a: f(a), st.sampled_from([sp.exp, sp.tanh, sp.cosh, sp.sinh]), inner),
        st.builds(lambda a: sp.log(1 + sp.exp(a)), inner),
        st.builds(lambda a: sp.exp(a) / (2 + sp.exp(2 * a)), inner),
    ),
    max_leaves=5,
)


@given(FORMULAS, st.floats(-2, 2), st.floats(-2, 2))
def test_values_are_unchanged(formula, z, y):
    env = {Z: np.array(z), Y: np.array(y)}
    expected, found = computed(formula, env), computed(stabilised(formula), env)
    assume(np.isfinite(expected) and abs(expected) < 1e6)
    sizes = [abs(float(computed(a, env))) for a in sp.preorder_traversal(formula) if isinstance(a, sp.Expr)]
    assume(all(np.isfinite(sizes)) and max(sizes) < 1e6)
    assert abs(found - expected) <= 1e-9 * max(1.0, *sizes), f"{formula} as {stabilised(formula)}"
