"""Product kernels are checked: right ones pass whatever the seed, wrong ones are caught."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
from systems import example

from chainrule.codegen import check, compile
from chainrule.codegen.curvature import ProductOracle
from chainrule.codegen.differences import Direction
from chainrule.codegen.error_scale import _DERIVATIVES, Bounded
from chainrule.codegen.points import Point
from chainrule.symbolic import parse

CURVED = parse("""
data x[m], y[n]
parameter w[n, m], c
a[j] = tanh(sum[k](w[j, k]*x[k]))
cost = sum[j]((a[j] - y[j])**4) + exp(c*w[0, 0])
output a
""")
PRODUCTS = ("jvp", "hvp", "gauss_newton")


@functools.cache
def kernels(target: str = "numpy", dtype: str = "float64"):
    return compile(CURVED, target=target, dtype=dtype, products=PRODUCTS)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("target", ["numpy", "c"])
def test_right_products_pass(target, dtype):
    report = check(kernels(target, dtype), peer=kernels("numpy", dtype) if target == "c" else None)
    assert report, report.table()
    compared = {(r.tensor, r.oracle) for r in report.rows}
    assert {("jvp a", "mpmath"), ("hvp w", "mpmath"), ("hvp c", "mpmath"), ("gauss_newton w", "mpmath")} <= compared
    assert target == "numpy" or ("hvp w", "numpy") in compared


@pytest.mark.parametrize("name", ["rnn", "layer_norm", "attention_causal", "conv2d", "gaussian_mixture"])
def test_products_of_examples_pass(name):
    system = example(name)
    report = check(compile(system, target="numpy", products=["jvp", "hvp", "gauss_newton"]), samples=2)
    assert report, report.table()
    assert {f"hvp {t.name}" for t in system.parameters} <= {r.tensor for r in report.rows}


def test_a_model_without_cost_has_tangents():
    system = parse("data x[n]\nparameter w\na[i] = sin(w*x[i])\ntotal = sum[i](w**2 * x[i]**3)\noutput a, total")
    report = check(compile(system, target="numpy", products=["jvp"]))
    assert report, report.table()
    assert {"jvp a", "jvp total"} <= {r.tensor for r in report.rows}


def spoilt(entry, change):
    """The kernels with another result of one product."""
    right = kernels()

    def wrong(**arrays):
        return change(getattr(right, entry)(**arrays), right, arrays)

    facts = {
        n: getattr(right, n) for n in ("system", "target", "dtype", "wrt", "forward", "cost", "gradients", *PRODUCTS)
    }
    functools.update_wrapper(wrong, getattr(right, entry))
    return SimpleNamespace(**{**facts, entry: wrong})


def scaled(found, *_):
    return found._replace(**{found._fields[0]: found[0] * (1 + 1e-9)})


def one_element(found, *_):
    array = np.array(found[0])
    array[-1, -1] += 1e-8 * (1 + abs(array[-1, -1]))
    return found._replace(**{found._fields[0]: array})


def of_the_hessian(_found, right, arrays):
    return right.hvp(**arrays)


@pytest.mark.parametrize(
    ("entry", "change", "row"),
    [
        ("jvp", scaled, "jvp a"),
        ("jvp", one_element, "jvp a"),
        ("hvp", scaled, "hvp w"),
        ("hvp", one_element, "hvp w"),
        ("gauss_newton", scaled, "gauss_newton w"),
        ("gauss_newton", of_the_hessian, "gauss_newton w"),
    ],
)
def test_a_wrong_product_is_caught(entry, change, row):
    report = check(spoilt(entry, change), sizes={"m": 2, "n": 3})
    assert not report
    assert {r.tensor for r in report.rows if r.verdict == "wrong"} == {row}, report.table()


def test_second_derivatives_of_a_quadratic_form(rng):
    """vᵀA e + eᵀA v, by both methods."""
    system = parse("data y\nparameter p[3], a[3, 3]\ncost = sum[i, j](a[i, j]*p[i]*p[j]) + y")
    values = {"y": rng.normal(size=2), "p": rng.normal(size=3), "a": rng.normal(size=(3, 3))}
    v, e = rng.normal(size=3), rng.normal(size=3)
    oracle = ProductOracle(system, {}, Point(values, 2), {"p": v})
    along = [Direction(e, 1.0, None)]
    expected = v @ (values["a"] + values["a"].T) @ e
    value, error = oracle.second("p", along, through_outputs=False)
    precise = oracle.second_precisely("p", along, through_outputs=False)
    assert precise.values[0] == pytest.approx(expected, rel=1e-14)
    assert abs(value[0] - precise.values[0]) <= 2.0**-53 * error[0]


POINTS = {"acosh": 1.7, "log": 0.6, "asin": 0.4, "acos": 0.4, "atanh": 0.4, "log1p": 0.3}


@pytest.mark.parametrize("name", sorted(_DERIVATIVES))
def test_three_derivatives_of_each_function(name):
    own = {"expm1": lambda v: mpmath.exp(v) - 1, "log1p": lambda v: mpmath.log(1 + v)}
    function, x = own.get(name) or getattr(mpmath, name), POINTS.get(name, 0.7)
    given = _DERIVATIVES[name](np.array([x]), np.array([float(function(x))]))
    for order, slope in enumerate(given, start=1):
        assert slope[0] == pytest.approx(float(mpmath.diff(function, x, order)), rel=1e-9), order


def test_a_product_and_a_function_along_two_directions(rng):
    """sin(a·b) against mpmath's mixed derivative."""
    a, b, da, db, ea, eb = rng.normal(size=6)
    numbers = Bounded(directions=2)
    x = numbers.exact(np.array([a]), np.array([da]), np.array([ea]))
    y = numbers.exact(np.array([b]), np.array([db]), np.array([eb]))
    found = numbers.apply("sin", numbers.multiply(x, y))

    def moved(s, t):
        return mpmath.sin((a + s * da + t * ea) * (b + s * db + t * eb))

    expected = [float(moved(0, 0)), *(float(mpmath.diff(moved, (0, 0), n)) for n in ((1, 0), (0, 1), (1, 1)))]
    np.testing.assert_allclose([p[0] for p in found.parts], expected, rtol=1e-9, atol=1e-12)
