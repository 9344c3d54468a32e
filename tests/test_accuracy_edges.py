"""Where textbook formulas overflow or saturate: values and gradients stay finite, and near the mpmath truth."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from models import DTYPES, TARGETS, compiled_quickly

from chainrule.codegen.number_systems import Precise
from chainrule.codegen.oracle import Evaluator
from chainrule.symbolic import System, network
from chainrule.symbolic.catalogue import names
from chainrule.symbolic.system import COST

DIGITS = 1500
"""exp(-1000) beside 1 takes 434 digits; its differences take twice as many."""

ERF_DIGITS = 100
"""erf is slow at many digits, and where 100 do not tell it from ±1, what is left is below any float."""

EXTREMES = (-1000.0, -500.0, -90.0, -40.0, -20.0, 0.0, 20.0, 40.0, 90.0, 500.0, 800.0, 1000.0)


@functools.cache
def model(sigma: str, cost: str) -> System:
    """One layer whose z is w1 x + b1: with w1 the unit matrix and b1 = 0, x is z."""
    return network(["n", "n"], sigma=sigma, cost=cost)


def compiled(sigma: str, cost: str, target: str, dtype: str) -> Any:
    """The kernels of `model`."""
    return compiled_quickly(model(sigma, cost), target, dtype, ["w1", "b1", "x"])


@functools.cache
def truth(sigma: str, cost: str, x: tuple[float, ...], y: tuple[float, ...]) -> tuple[float, np.ndarray, np.ndarray]:
    """cost, a1 and ∂cost/∂x of one sample with z = x, each element by differences in mpmath."""
    digits = ERF_DIGITS if sigma == "gelu" else DIGITS
    numbers = Precise(digits)
    step = numbers.context.mpf(10) ** (-digits // 3)
    n = len(x)
    values = {"x": np.array(x), "y": np.array(y), "w1": np.eye(n), "b1": np.zeros(n)}
    lanes = {name: numbers.array(v)[..., None] for name, v in values.items()}
    moved = np.repeat(lanes["x"], 2 * n + 1, axis=1)
    for k in range(n):
        moved[k, 2 * k + 1] += step
        moved[k, 2 * k + 2] -= step
    system = model(sigma, cost)
    found = Evaluator(system, {system.sizes[0]: n}, numbers).run({**lanes, "x": moved}, 2 * n + 1)
    slopes = (found[COST][1::2] - found[COST][2::2]) / (2 * step)
    return float(found[COST][0]), found["a1"][:, 0].astype(float), slopes.astype(float)


def judge(sigma: str, cost: str, x: Any, y: Any, target: str, dtype: str, ulps: float = 64) -> None:
    """Forward, cost and gradients at one sample: finite, and near the truth for the size of the values in play."""
    made = compiled(sigma, cost, target, dtype)
    x, y = np.array(x, dtype=dtype), np.array(y, dtype=dtype)
    n = len(x)
    parameters = {"w1": np.eye(n, dtype=dtype), "b1": np.zeros(n, dtype=dtype)}
    wanted_cost, wanted_a, wanted_dx = truth(sigma, cost, tuple(x.tolist()), tuple(y.tolist()))
    inputs = {"x": x[None], **parameters}
    a = made.forward(**inputs).a1[0]
    value, gradients = made.gradients(y=y[None], **inputs)
    roundoff = float(np.finfo(dtype).eps)
    where = f"{sigma} {cost} {target} {dtype} x={x} y={y}"
    scale = max(1.0, np.abs(wanted_a).max(), np.abs(y).max())
    np.testing.assert_allclose(a, wanted_a, rtol=ulps * roundoff, atol=ulps * roundoff, err_msg=where)
    assert made.cost(y=y[None], **inputs) == pytest.approx(value, rel=1e-6), where
    largest = max(scale, float(np.abs(x).max()))  # log Σ exp of a layer and z itself cancel in its logarithm
    assert value == pytest.approx(wanted_cost, rel=ulps * roundoff, abs=ulps * roundoff * largest), where
    near = {"rtol": ulps * roundoff, "atol": ulps * roundoff * scale, "err_msg": where}
    np.testing.assert_allclose(gradients.x[0], wanted_dx, **near)
    np.testing.assert_allclose(gradients.b1, wanted_dx, **near)
    near["atol"] *= max(1.0, float(np.abs(x).max()))
    np.testing.assert_allclose(gradients.w1, np.outer(wanted_dx, x.astype(float)), **near)


both = pytest.mark.parametrize(("target", "dtype"), [(t, d) for t in TARGETS for d in DTYPES])


@both
@pytest.mark.parametrize("cost", ["half_squared_error", "log_cosh"])
@pytest.mark.parametrize("sigma", names("activation"))
def test_activations_at_extremes(sigma, cost, target, dtype):
    y = [0.25] * len(EXTREMES)
    if sigma in ("relu", "leaky_relu", "elu"):  # z = 0 is their kink: tested by one-sided slopes below
        judge(sigma, cost, [z for z in EXTREMES if z], y[1:], target, dtype)
    else:
        judge(sigma, cost, EXTREMES, y, target, dtype)


@both
@pytest.mark.parametrize("cost", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize(
    "x", [[500.0, -500.0, 0.0], [-500.0, -500.0, -499.0], [500.0, 500.0, 500.0], [0.0, 90.0, -90.0]]
)
def test_softmax_of_far_logits(x, cost, target, dtype):
    for y in ([1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.25, 0.25, 0.5]):
        judge("softmax", cost, x, y, target, dtype)


@both
def test_binary_cross_entropy_of_a_softmax(target, dtype):
    for x in ([-500.0, -500.0, -499.0], [500.0, 500.0, 500.0], [3.0, -4.0, 0.0]):
        judge("softmax", "binary_cross_entropy", x, [1.0, 0.0, 0.25], target, dtype)


@pytest.mark.xfail(reason="log(1 - p) of a softmax that rounds to 1 has no stable form yet", strict=True)
@both
@pytest.mark.parametrize("x", [[500.0, -500.0, 0.0], [0.0, 90.0, -90.0]])
def test_binary_cross_entropy_of_a_saturated_softmax(x, target, dtype):
    judge("softmax", "binary_cross_entropy", x, [1.0, 0.0, 0.0], target, dtype)


@both
@pytest.mark.parametrize("z", [-1000.0, -300.0, -40.0, -17.0, 17.0, 40.0, 300.0, 1000.0])
def test_cross_entropies_of_a_saturated_sigmoid(z, target, dtype):
    for y in (0.0, 1.0, 0.3):
        judge("sigmoid", "binary_cross_entropy", [z], [y], target, dtype)
        judge("sigmoid", "cross_entropy", [z], [y], target, dtype)


@both
@pytest.mark.parametrize("a", [-1e4, -800.0, -30.0, 30.0, 800.0, 1e4])
@pytest.mark.parametrize("cost", ["log_cosh", "huber", "absolute_error", "squared_error"])
def test_costs_far_from_their_target(cost, a, target, dtype):
    judge("identity", cost, [a], [0.5], target, dtype)


@both
def test_softplus_at_800(target, dtype):
    judge("softplus", "half_squared_error", [800.0, -800.0], [799.0, 0.0], target, dtype)


@both
@pytest.mark.parametrize(("sigma", "slope"), [("relu", 0.0), ("leaky_relu", 0.01), ("elu", 1.0)])
def test_the_slope_at_a_kink_is_that_of_the_branch_that_holds(sigma, slope, target, dtype):
    """∂cost/∂z at z = 0 with a - y = -2: the convention's slope, and one of the two one-sided slopes."""
    made = compiled(sigma, "half_squared_error", target, dtype)
    eye, zero = np.eye(1, dtype=dtype), np.zeros(1, dtype=dtype)
    y = np.full((1, 1), 2, dtype=dtype)

    def cost(z: float) -> float:
        return truth(sigma, "half_squared_error", (z,), (2.0,))[0]

    found = made.gradients(x=np.zeros((1, 1), dtype=dtype), y=y, w1=eye, b1=zero)[1].x[0, 0]
    h = 2.0**-20
    one_sided = [(cost(0) - cost(-h)) / h, (cost(h) - cost(0)) / h]
    assert found == pytest.approx(-2 * slope, rel=1e-6)
    assert min(abs(found - side) for side in one_sided) < 1e-4


@both
def test_the_absolute_error_has_slope_0_at_its_kink(target, dtype):
    made = compiled("identity", "absolute_error", target, dtype)
    x = np.array([[1.5]], dtype=dtype)
    _, gradients = made.gradients(x=x, y=x.copy(), w1=np.eye(1, dtype=dtype), b1=np.zeros(1, dtype=dtype))
    assert gradients.x[0, 0] == 0


@both
@pytest.mark.parametrize("sigma", [*names("activation"), "softmax"])
def test_nan_in_gives_nan_out(sigma, target, dtype):
    made = compiled(sigma, "half_squared_error", target, dtype)
    x = np.array([[np.nan, 1.0]], dtype=dtype)
    inputs = {"x": x, "w1": np.eye(2, dtype=dtype), "b1": np.zeros(2, dtype=dtype)}
    cost, gradients = made.gradients(y=np.zeros((1, 2), dtype=dtype), **inputs)
    assert np.isnan(cost)
    assert np.isnan(made.forward(**inputs).a1[0, 0])
    assert np.isnan(gradients.b1[0])
