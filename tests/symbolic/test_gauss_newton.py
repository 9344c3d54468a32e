"""Gauss-Newton products: the Hessian's own where the outputs are linear, J transposed H J where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from interpreter import Interpreter

from chainrule.symbolic import parse
from chainrule.symbolic.samples import with_samples
from chainrule.symbolic.tangents import gauss_newton_product, hessian_product, tangent

LINEAR = """
data x[m], y[n]
parameter w[n, m], lam
z[j] = sum[k](w[j, k] * x[k])
penalty = lam**2 * sum[j, k](w[j, k]**4)
cost = sum[j](exp(z[j]) - y[j] * z[j]) + penalty
output z
"""
CURVED = """
data x[m], y[n]
parameter w[n, m]
a[j] = tanh(sum[k](w[j, k] * x[k]))
cost = sum[j]((a[j] - y[j])**4)
output a
"""
RECURRENT = """
data x[T], y
parameter u, v
h[0] = 0
g[t] = u * h[t - 1] + v * x[t - 1]
h[t] = tanh(g[t])
cost = (h[T] - y)**2
output h
"""
SIZES = {"m": 2, "n": 3, "T": 3, "batch": 2}


def drawn(system, rng):
    shapes = Interpreter(system, SIZES, {}).shapes
    return {t.name: rng.uniform(-0.9, 0.9, shapes[t.name]) for t in system.inputs}


def test_linear_outputs_give_the_hessian_itself(rng: np.random.Generator) -> None:
    system = with_samples(parse(LINEAR))
    both = [made(system, ["w", "lam"]) for made in (hessian_product, gauss_newton_product)]
    values = drawn(both[0], rng)
    hessian, product = ([Interpreter(s, SIZES, values).tensor(n) for n in s.outputs] for s in both)
    for expected, got in zip(hessian, product, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("text", [CURVED, RECURRENT])
def test_curved_outputs_give_the_quadratic_form_of_their_tangents(text: str, rng: np.random.Generator) -> None:
    """vᵀ(JᵀHJ)v = (Jv)ᵀH(Jv), with H the cost's second derivative in the outputs, here by differences."""
    system = with_samples(parse(text))
    wrt = [t.name for t in system.parameters]
    product = gauss_newton_product(system, wrt)
    values = drawn(product, rng)
    made = Interpreter(product, SIZES, values)
    form = sum(np.sum(made.tensor(n) * values[f"{w}_dot"]) for n, w in zip(product.outputs, wrt, strict=True))
    moved = tangent(system, wrt, system.outputs)
    there = Interpreter(moved, SIZES, values)
    (output,) = system.outputs
    a, along = there.tensor(output), there.tensor(moved.outputs[0])
    y, power = values["y"], 4 if text is CURVED else 2

    def cost(step: float) -> float:
        last = (a + step * along)[:, -1] if text is RECURRENT else a + step * along
        return float(np.sum((last - y) ** power) / SIZES["batch"])

    h = 1e-3
    second = (-cost(2 * h) + 16 * cost(h) - 30 * cost(0) + 16 * cost(-h) - cost(-2 * h)) / (12 * h * h)
    np.testing.assert_allclose(form, second, rtol=1e-6, atol=1e-8)
