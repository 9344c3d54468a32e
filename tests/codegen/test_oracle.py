"""The oracle's evaluator against the brute-force interpreter, and its number systems against each other."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hand_written import layer
from interpreter import Interpreter, average_cost, numeric_gradient
from sympy import And, Integer, Or

from chainrule.codegen.check import ROUNDINGS
from chainrule.codegen.differences import Direction, Oracle, directions
from chainrule.codegen.error_scale import Bounded, summation_factor
from chainrule.codegen.number_systems import Float, Precise
from chainrule.codegen.oracle import FUNCTIONS, Evaluator, OracleError, evaluate
from chainrule.codegen.points import Point, needed, per_sample, reached
from chainrule.symbolic import parse
from chainrule.symbolic.expressions import Access, Delta, Maximum, Minimum, Range, Reduction, Where, index, size
from chainrule.symbolic.primitives import Sigmoid, Softplus, expm1, log1p
from chainrule.symbolic.system import Equation, Role, System, Tensor

N = size("N")


def model(value, ranges=(), extra=(), shape=None) -> System:
    """t[…] = value over the ranges, from v[N] and u[N, N]."""
    shape = tuple(r.extent for r in ranges) if shape is None else shape
    tensors = (
        Tensor("v", (N,), Role.DATA, True),
        Tensor("u", (N, N), Role.PARAMETER),
        Tensor("t", shape, Role.DEFINED, True),
    )
    equation = Equation("t", tuple(r.symbol for r in ranges), tuple(ranges), value)
    return System(tensors, (*extra, equation), (), ("t",))


def agree(
    system: System, rng: np.random.Generator, n: int = 4, tensor: str = "t", positive: bool = False
) -> np.ndarray:
    """The tensor by all three number systems and by the interpreter: equal."""
    values = {"v": rng.normal(size=n), "u": rng.normal(size=(n, n))}
    if positive:
        values = {k: np.abs(a) / (1 + np.abs(a)) + 0.01 for k, a in values.items()}
    expected = Interpreter(system, {"N": n}, values).tensor(tensor)
    found = evaluate(system, values)[tensor]
    precise = evaluate(system, values, Precise(40))[tensor].astype(float)
    lanes = {k: Bounded().exact(a[..., None]) for k, a in values.items()}
    bounded = Evaluator(system, {N: n}, Bounded()).run(lanes, 1)[tensor]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(precise, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(bounded.value[..., 0], expected, rtol=1e-12, atol=1e-12)
    return found


P, Q, R = (index(c) for c in "pqr")
WHOLE = Range(P, Integer(0), N - 1)


def over(symbol, lower=0, upper=N - 1):
    return Range(symbol, sp.sympify(lower), sp.sympify(upper))


@pytest.mark.parametrize(
    "value",
    [
        Reduction("sum", Access("u", P, Q) * Access("v", Q), [over(Q)]),
        Reduction("prod", 1 + Access("u", P, Q) ** 2, [over(Q)]),
        Reduction("max", Access("u", P, Q) - Access("v", Q), [over(Q)]),
        Reduction("min", Access("u", Q, P), [over(Q)]),
        Reduction("sum", Access("v", Q), [over(Q, 0, P)]),
        Reduction("sum", Access("v", Q), [over(Q, sp.Max(0, P - 1), sp.Min(N - 1, P + 1))]),
        Reduction("sum", Access("v", Q), [over(Q)], [P - Q - 1]),
        Reduction("sum", Access("v", Q), [over(Q, 2, 1)]),
        Reduction("prod", Access("v", Q), [over(Q, P + 1, P)]),
        Reduction("sum", Access("u", Q, R) * Access("v", R), [over(Q, 0, P), over(R, Q, N - 1)]),
        Reduction("sum", Access("v", P) * Reduction("max", Access("u", Q, R), [over(R)]), [over(Q)]),
        Reduction("sum", Access("v", Q) * Delta(P, N - 1 - Q), [over(Q)]),
        Where(P >= 1, Access("v", P - 1), 0),
        Where(And(P >= 1, Access("v", P) > 0), Access("v", P), Access("u", P, P)),
        Where(Or(P < 1, Access("v", P) < 0), P, sp.sqrt(N)),
        Where(sp.Not(sp.Eq(sp.Mod(P, 2), 0)), Access("v", sp.floor((P - 1) / 2)), -1),
        Where(sp.Ne(P, 2), 5, Access("v", sp.floor(P / 2))),
        Maximum(Access("v", P), Access("u", P, 0)) + Minimum(Access("v", P), 0) + sp.Max(P, 1),
        sp.Abs(Access("v", P)) * sp.sign(Access("u", P, P)),
        Access("v", P) ** 3 / (1 + Access("v", P) ** 2) + sp.pi * sp.Rational(1, 3) + sp.Float("0.25"),
        Sigmoid(Access("v", P)) + Softplus(Access("v", P)) * log1p(Access("v", P) ** 2) - expm1(Access("v", P)),
    ],
    ids=str,
)
def test_expressions_agree_with_the_interpreter(value, rng):
    agree(model(value, [WHOLE]), rng)


@pytest.mark.parametrize("function", [*FUNCTIONS, sp.sqrt, lambda x: x**x, lambda x: 1 / x])
def test_functions_agree_with_the_interpreter(function, rng):
    argument = Access("v", P) + (1 if function is sp.acosh else 0)
    agree(model(function(argument), [WHOLE]), rng, positive=True)


@pytest.mark.parametrize(
    ("base", "step"),
    [
        ((Integer(0), Access("v", 0)), (over(P, 1), Access("t", P - 1) * Access("v", P) + 1)),
        ((N - 1, Access("v", 0)), (over(P, 0, N - 2), Access("t", P + 1) / 2 - Access("v", P))),
        ((Integer(0), Integer(1)), (over(P, 1), Reduction("sum", Access("t", Q), [over(Q, 0, P - 1)]))),
    ],
)
def test_recurrences_run_in_either_direction(base, step, rng):
    tensors = (Tensor("v", (N,), Role.DATA, True), Tensor("u", (N, N), Role.PARAMETER), Tensor("t", (N,), Role.DEFINED))
    first = over(R, base[0], base[0])
    equations = (Equation("t", (R,), (first,), base[1]), Equation("t", (P,), (step[0],), step[1]))
    agree(System(tensors, equations, (), ("t",)), rng)


def test_a_recurrence_over_two_indices(rng):
    """An edit-distance table: neither index alone orders it."""
    tensors = (*model(Integer(0)).tensors[:2], Tensor("t", (N, N), Role.DEFINED))
    best = Minimum(Access("t", P - 1, Q), Access("t", P, Q - 1)) + Access("u", P, Q)
    equations = (
        Equation("t", (Integer(0), R), (over(R),), Access("v", R)),
        Equation("t", (R, Integer(0)), (over(R, 1),), Access("v", R)),
        Equation("t", (P, Q), (over(P, 1), over(Q, 1)), best),
    )
    agree(System(tensors, equations, (), ("t",)), rng)


MUTUAL = """
data v[N]
parameter u[N, N]
h[0] = v[0]
g[p] = tanh(h[p] * v[p]) + sum[k : k < p](g[k] * u[p, k])
b[N - 1] = v[N - 1] * h[N - 1]
b[i] = where(i <= 1 and v[i] > 0, h[i] * u[i, i], b[i + 1] + g[i])
h[q + 1] = g[q] - h[q] / 2
output b, g
"""
"""h and g forward, each through the other; b backward, its branches known by index and by value."""


@pytest.mark.parametrize("tensor", ["b", "g", "h"])
def test_recurrences_of_several_tensors(tensor, rng):
    agree(parse(MUTUAL), rng, tensor=tensor)


@pytest.mark.parametrize(
    ("condition", "ready"),
    [(P >= 1, True), (sp.Not(P < 1), True), (And(P >= 1, Access("v", P) < 9), True), (Or(P >= 0, P < 7), False)],
    ids=str,
)
def test_a_branch_that_no_index_takes_blocks_nothing(condition, ready, rng):
    """t[p] = t[p - 1] where the condition holds: at p = 0 there must be another way."""
    value = Where(condition, Access("t", sp.Max(P - 1, 0)) + 1, Access("v", P))
    system = model(value, [WHOLE])
    if ready:
        agree(system, rng)
        return
    with pytest.raises(OracleError, match="no order of evaluation"):
        evaluate(system, {"v": rng.normal(size=3), "u": np.zeros((3, 3))})


def test_an_element_that_no_equation_defines_is_an_error(rng):
    tensors = (*model(Integer(0)).tensors[:2], Tensor("s", (N,), Role.DEFINED), Tensor("t", (N,), Role.DEFINED))
    half = Equation("s", (Q,), (over(Q, 1),), Access("v", Q))
    system = System(tensors, (half, Equation("t", (P,), (WHOLE,), Access("s", P))), (), ("t",))
    with pytest.raises(OracleError, match="no equation defines"):
        evaluate(system, {"v": rng.normal(size=3), "u": np.zeros((3, 3))})


def test_reading_out_of_bounds_is_an_error(rng):
    system = model(Access("v", P + 1), [WHOLE])
    with pytest.raises(OracleError, match="leaves its bounds"):
        evaluate(system, {"v": rng.normal(size=3), "u": np.zeros((3, 3))})


def test_what_a_recurrence_is_made_of_is_all_of_it():
    """Through later equations of the group too."""
    system = parse(MUTUAL)
    assert reached(system, {"u"}) == {"u", "g", "h", "b"}
    assert per_sample(system) == {"v", "g", "h", "b"}
    assert needed(system, {"h"}) == {"h", "g", "v", "u"}


def test_a_recurrence_without_a_base_is_an_error(rng):
    system = model(Access("t", P) + 1, [WHOLE])
    with pytest.raises(OracleError, match="no order of evaluation"):
        evaluate(system, {"v": rng.normal(size=3), "u": np.zeros((3, 3))})


def test_outside_the_reals_is_nan_not_complex():
    system = model(sp.log(Access("v", P)) + sp.sqrt(Access("v", P)) + 1 / Access("v", P), [WHOLE])
    values = {"v": np.array([-1.0, 0.0, 1.0]), "u": np.zeros((3, 3))}
    found = evaluate(system, values, Precise(30))["t"].astype(float)
    assert np.isnan(found[:2]).all()
    assert found[2] == 2


def test_lanes_are_independent(rng):
    system = model(Reduction("sum", Access("u", P, Q) * sp.exp(Access("v", Q)), [over(Q)]), [WHOLE])
    v, u = rng.normal(size=(3, 5)), rng.normal(size=(3, 3))
    together = Evaluator(system, {N: 3}, Float()).run({"v": v, "u": u[..., None]}, 5)["t"]
    for lane in range(5):
        alone = evaluate(system, {"v": v[:, lane], "u": u})["t"]
        np.testing.assert_allclose(together[:, lane], alone, rtol=1e-14)


@pytest.mark.parametrize("sigma", ["sigmoid", "tanh", "softplus", "gelu", "elu", "silu"])
def test_three_derivatives_agree(sigma, rng):
    system = layer(sigma)
    sizes = {size("m"): 2, size("n"): 3}
    values = {
        "x": rng.normal(size=(4, 2)),
        "y": rng.normal(size=(4, 3)),
        "w": rng.normal(size=(3, 2)),
        "b": rng.normal(size=3),
    }
    oracle = Oracle(system, sizes, Point(values, 4), mean=True)
    named = {"m": 2, "n": 3}
    cost = float(np.mean(oracle.values["cost"].value))
    assert cost == pytest.approx(average_cost(system, named, values), rel=1e-13)
    for name in ("w", "b", "x"):
        along = directions(values[name], 40, rng)
        precise, five = oracle.precise(name, along), oracle.five_point(name, along)
        forward, slack = oracle.bounded(name, along)
        np.testing.assert_allclose(forward, precise.values, atol=1e-13)
        assert np.all(np.abs(five.values - precise.values)[five.usable] <= five.errors[five.usable])
        assert np.all(np.abs(forward - precise.values) <= 4 * 2.0**-53 * slack)
        gradient = numeric_gradient(system, named, values, name)
        slopes = [np.sum(gradient * d.array) for d in along]
        np.testing.assert_allclose(slopes, precise.values, atol=1e-9)


def test_derivatives_below_the_digits_of_the_oracle_are_within_its_error():
    """exp(-360) beside 1: differences of the cost lose it in 80 digits."""
    system = parse("data x[n]\nparameter w[n]\ncost = logsumexp[j](w[j] * x[j])")
    values = {"x": np.array([[1.0, 1.0]]), "w": np.array([0.0, -360.0])}
    oracle = Oracle(system, {size("n"): 2}, Point(values, 1), mean=True)
    found = oracle.precise("w", [Direction(np.array([0.0, 1.0]), 1.0, (1,))])
    assert abs(found.values[0] - np.exp(-360)) <= found.errors[0] < 1e-30


def test_the_error_bound_covers_cancellation(rng):
    """Σ v - Σ v: the value is nearly 0, the bound is of the size of the terms."""
    big = Reduction("sum", Access("v", Q) * 10**8, [over(Q)])
    small = Reduction("sum", Access("v", R) * 10**8, [over(R)])
    system = model(big + 1 - small)
    lanes = {"v": Bounded().exact(rng.uniform(1, 2, size=(4, 1))), "u": Bounded().exact(np.zeros((4, 4, 1)))}
    found = Evaluator(system, {N: 4}, Bounded()).run(lanes, 1)["t"]
    assert found.error[0] > 1e8
    assert abs(found.value[0] - 1) <= 2.0**-53 * found.error[0]


SATURATED = {
    "a function of a sum": "tanh(sum[k](w[k]*x[k]))",
    "a function of a value": "tanh(w[0]*x[0])",
    "a function of a sum of functions": "tanh(sum[k](w[k]*cos(x[k])))",
}


@pytest.mark.parametrize("formula", SATURATED.values(), ids=SATURATED.keys())
def test_the_error_bound_covers_a_slope_that_comes_from_the_stored_value(formula, rng):
    """1 - a² of a tanh near 1 is off by a rounding of 1, however small it is."""
    system = parse(f"data x[n]\nparameter w[n]\na = {formula}\noutput a\n")
    for w in rng.uniform(3, 18, size=(20, 1, 1)):
        lanes = {"w": Bounded().exact(w, np.ones((1, 1))), "x": Bounded().exact(np.zeros((1, 1)))}
        lanes["x"] = lanes["x"] if "cos" in formula else Bounded().exact(np.ones((1, 1)))
        found = Evaluator(system, {size("n"): 1}, Bounded()).run(lanes, 1)["a"]
        off = np.abs(1 - found.value**2 - np.cosh(w[0]) ** -2)
        assert np.all(off <= ROUNDINGS * 2.0**-53 * found.slack), (w, off, found)


def test_long_sums_are_charged_for_their_random_walk():
    assert summation_factor(3) == 3
    assert summation_factor(10_000) == 404


def test_an_interpreted_cost_is_the_mean_over_samples(rng):
    system = layer()
    values = {
        "x": rng.normal(size=(2, 2)),
        "y": rng.normal(size=(2, 3)),
        "w": rng.normal(size=(3, 2)),
        "b": rng.normal(size=3),
    }
    a = 1 / (1 + np.exp(-(values["x"] @ values["w"].T + values["b"])))
    expected = ((a - values["y"]) ** 2).sum() / 2
    assert average_cost(system, {"m": 2, "n": 3}, values) == pytest.approx(expected, rel=1e-13)
