"""A third opinion: the document's formulas as plain Python loops, derivatives of σ and cost by hand.

Samples s, neurons i, j, inputs k, as in the document; a network goes layer by layer through
∂cost_s/∂a_k^{L-1}. Nothing here comes from the engine but the kernels that are judged, and the
random point (whose domain some costs restrict).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from models import COSTS, DTYPES, TARGETS, compiled, model

from chainrule.codegen.points import choose_sizes, draw
from chainrule.symbolic.catalogue import names


def s(z):
    return 1 / (1 + math.exp(-z))


SIGMA = {  # name: (σ(z), ∂σ(z)/∂z)
    "identity": (lambda z: z, lambda _: 1),
    "sigmoid": (s, lambda z: s(z) * (1 - s(z))),
    "tanh": (math.tanh, lambda z: 1 / math.cosh(z) ** 2),
    "relu": (lambda z: z if z > 0 else 0, lambda z: 1 if z > 0 else 0),
    "leaky_relu": (lambda z: z if z > 0 else z / 100, lambda z: 1 if z > 0 else 1 / 100),
    "elu": (lambda z: z if z > 0 else math.exp(z) - 1, lambda z: 1 if z > 0 else math.exp(z)),
    "softplus": (lambda z: math.log(1 + math.exp(z)), s),
    "silu": (lambda z: z * s(z), lambda z: s(z) + z * s(z) * s(-z)),
    "gelu": (
        lambda z: z * (1 + math.erf(z / math.sqrt(2))) / 2,
        lambda z: (1 + math.erf(z / math.sqrt(2))) / 2 + z * math.exp(-z * z / 2) / math.sqrt(2 * math.pi),
    ),
}

COST = {  # name: (cost(a, y), ∂cost(a, y)/∂a)
    "squared_error": (lambda a, y: (a - y) ** 2, lambda a, y: 2 * (a - y)),
    "half_squared_error": (lambda a, y: (a - y) ** 2 / 2, lambda a, y: a - y),
    "absolute_error": (lambda a, y: abs(a - y), lambda a, y: math.copysign(1, a - y)),
    "huber": (
        lambda a, y: (a - y) ** 2 / 2 if abs(a - y) <= 1 else abs(a - y) - 1 / 2,
        lambda a, y: max(-1, min(1, a - y)),
    ),
    "log_cosh": (lambda a, y: math.log(math.cosh(a - y)), lambda a, y: math.tanh(a - y)),
    "binary_cross_entropy": (
        lambda a, y: -y * math.log(a) - (1 - y) * math.log(1 - a),
        lambda a, y: -y / a + (1 - y) / (1 - a),
    ),
    "cross_entropy": (lambda a, y: -y * math.log(a), lambda a, y: -y / a),
}


def sample(x, y, layers, sigma, cost):
    """cost_s and its derivatives for one sample; `layers` are (w, b) pairs, the first layer first."""
    f, df = SIGMA[sigma]
    c, dc = COST[cost]
    a, zs, activations = list(x), [], [list(x)]
    for w, b in layers:
        n, below = len(b), len(a)
        z = [b[j] + sum(w[j][k] * a[k] for k in range(below)) for j in range(n)]
        a = [f(z[j]) for j in range(n)]
        zs.append(z)
        activations.append(a)
    cost_s = sum(c(a[j], y[j]) for j in range(len(a)))

    d_a = [dc(a[i], y[i]) for i in range(len(a))]
    gradients = []
    for level in reversed(range(len(layers))):
        w, b = layers[level]
        below, z = activations[level], zs[level]
        n = len(b)
        d_w = [[d_a[i] * df(z[i]) * below[k] for k in range(len(below))] for i in range(n)]
        d_b = [d_a[i] * df(z[i]) for i in range(n)]
        d_a = [sum(d_a[j] * df(z[j]) * w[j][k] for j in range(n)) for k in range(len(below))]
        gradients.insert(0, (d_w, d_b))
    return cost_s, gradients, d_a


def average(values, sigma, cost):
    """cost_avg and its derivatives: the mean over the samples; for x, one sample's share."""
    x, y = values["x"].tolist(), values["y"].tolist()
    layers = [(values[f"w{m}"].tolist(), values[f"b{m}"].tolist()) for m in (1, 2)]
    n = len(x)
    total = 0.0
    found = {name: np.zeros(np.shape(values[name])) for name in ("w1", "b1", "w2", "b2", "x")}
    for m in range(n):
        cost_s, gradients, d_x = sample(x[m], y[m], layers, sigma, cost)
        total += cost_s
        for level, (d_w, d_b) in enumerate(gradients, 1):
            found[f"w{level}"] += np.array(d_w) / n
            found[f"b{level}"] += np.array(d_b) / n
        found["x"][m] = np.array(d_x) / n
    return total / n, found


@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("sigma", SIGMA)
def test_kernels_agree_with_the_documents_loops(sigma, cost, rng):
    system = model(sigma, cost)
    sizes = choose_sizes(system, {}, rng)
    point = draw(system, sizes, 3, 2.0**-24, rng)
    expected_cost, expected = average(point.values, sigma, cost)
    for target in TARGETS:
        for dtype in DTYPES:
            tolerance = 1e-11 if dtype == "float64" else 1e-4
            kernels = compiled(sigma, cost, target, dtype)
            found_cost, found = kernels.gradients(**{name: v.astype(dtype) for name, v in point.values.items()})
            assert found_cost == pytest.approx(expected_cost, rel=tolerance, abs=tolerance), (target, dtype)
            for name, gradient in zip(kernels.wrt, found, strict=True):
                scale = np.abs(expected[name]).max()
                np.testing.assert_allclose(
                    gradient, expected[name], rtol=tolerance, atol=tolerance * scale, err_msg=f"{name} {target} {dtype}"
                )


def test_every_cost_and_activation_has_its_loop():
    assert set(SIGMA) == set(names("activation"))
    assert set(COST) == set(names("cost"))
