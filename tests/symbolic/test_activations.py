"""Activations inside a formula: stored where they tell their own derivative, the same values, and only then."""

from __future__ import annotations

import pytest
from interpreter import Interpreter
from systems import MODELS, assert_same, case

from chainrule.codegen.lower import lower
from chainrule.symbolic import derive, parse
from chainrule.symbolic.activations import with_stored_activations
from chainrule.symbolic.samples import with_samples

MODEL = """
data x[m], mask[n], y[n]
parameter w[n, m]
z[j] = sum[k](w[j, k]*x[k])
a[j] = {activation}*mask[j]
cost = sum[j]((a[j] - y[j])**2)
"""


def added(text: str) -> list[str]:
    """Names of the tensors that are stored."""
    before = parse(text)
    known = {t.name for t in before.tensors}
    return [t.name for t in with_stored_activations(before).tensors if t.name not in known]


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_unchanged(name):
    it = case(name)
    wrt = [t.name for t in it.system.inputs]
    gradient = derive(with_stored_activations(with_samples(it.system)), wrt, explain=False).result
    interpreter = Interpreter(gradient, it.sizes, it.values)
    assert_same({n: interpreter.tensor(n) for n in it.gradients}, it.gradients, it.label)


@pytest.mark.parametrize("activation", ["tanh(z[j])", "sigmoid(z[j])", "softplus(z[j])"])
def test_what_tells_its_derivative_is_stored(activation):
    name = activation.partition("(")[0]
    assert added(MODEL.format(activation=activation)) == [f"a_{name}"]


@pytest.mark.parametrize("activation", ["relu(z[j])", "gelu(z[j])", "sin(z[j])", "tanh(2*z[j])", "tanh(z[n - 1 - j])"])
def test_what_does_not_is_left(activation):
    assert added(MODEL.format(activation=activation)) == []


def test_an_activation_of_its_own_is_no_copy():
    assert added(MODEL.format(activation="h[j]").replace("a[j] =", "h[j] = tanh(z[j])\na[j] =")) == []


def test_the_derivative_goes_through_the_stored_value():
    """A dropout mask on tanh: no second exponential, and the value is made once for cost and gradient."""
    kernel = lower(parse(MODEL.format(activation="tanh(z[j])"))).kernel("gradients")
    bodies = " ".join(str(getattr(s, "body", "")) for s in kernel.flat)
    assert bodies.count("tanh(") == 1
    assert "sigmoid" not in bodies
    assert "exp" not in bodies
