"""Random networks: depth, widths, an activation for each layer, formulas of their own; every gradient right."""

from __future__ import annotations

import numpy as np
import pytest
import sympy as sp
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st
from interpreter import Interpreter, average_cost, numeric_gradient

from chainrule.codegen import check, compile
from chainrule.codegen.points import choose_sizes, draw
from chainrule.symbolic import derive, network
from chainrule.symbolic.catalogue import names
from chainrule.symbolic.samples import with_samples

Z, A, Y = sp.symbols("z a y", real=True)

FORMULAS = st.sampled_from(
    [
        "z / (1 + z**2)",
        "sin(z)",
        "exp(-z**2)",
        "z * tanh(z)",
        "sqrt(1 + z**2)",
        "where(z > 1/2, z**2, sin(z))",
        "max(z, -z/3)",
    ]
)
SMOOTH = (
    sp.tanh,
    sp.sin,
    sp.atan,
    lambda e: sp.exp(-(e**2)),
    lambda e: 1 / (1 + sp.exp(-e)),
    lambda e: sp.log(1 + e**2),
)


def expressions(*symbols: sp.Symbol) -> st.SearchStrategy[sp.Expr]:
    """SymPy expressions in the symbols, bounded so that a few layers of them stay moderate."""
    numbers = st.fractions(-2, 2, max_denominator=5).map(lambda q: sp.Rational(q.numerator, q.denominator))
    leaves = st.sampled_from(symbols) | numbers

    def grow(inner: st.SearchStrategy[sp.Expr]) -> st.SearchStrategy[sp.Expr]:
        return st.one_of(
            st.builds(lambda f, e: f(e), st.sampled_from(SMOOTH), inner),
            st.builds(lambda a, b: a + b, inner, inner),
            st.builds(lambda a, b: a * b, inner, inner),
        )

    tree = st.recursive(leaves, grow, max_leaves=5)
    return tree.filter(lambda e: e.free_symbols == set(symbols))


widths = st.integers(1, 5)
sizes = st.lists(widths | st.sampled_from(["m", "n", "p"]), min_size=2, max_size=4)
activations = st.one_of(st.sampled_from([*names("activation"), "softmax"]), FORMULAS, expressions(Z))
written = expressions(A, Y)
costs = st.sampled_from(names("cost")) | st.just("(a - y)**2 / (1 + a**2)") | written


@st.composite
def networks(draw_value, layers: st.SearchStrategy[list] = sizes):
    """A System of dense layers."""
    chosen = draw_value(layers)
    sigma = [draw_value(activations) for _ in chosen[1:]]
    cost = draw_value(costs)
    note(f"network({chosen}, sigma={sigma}, cost={cost!r})")
    return network(chosen, sigma=sigma, cost=cost)


SLOW = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


def judged(system, target, dtype) -> None:
    """Fail unless every row is right; networks in whose domain no point was found are drawn again."""
    wrt = [t.name for t in (*system.parameters, *system.data)]
    report = check(compile(system, target, dtype, wrt=wrt), samples=2)
    note(report.table())
    assert "wrong" not in {r.verdict for r in report.rows}
    assume(report)


@settings(SLOW, max_examples=30)
@given(networks(), st.sampled_from(["float32", "float64"]))
def test_random_networks_in_numpy(system, dtype):
    judged(system, "numpy", dtype)


@settings(SLOW, max_examples=8)
@given(networks(), st.sampled_from(["float32", "float64"]))
def test_random_networks_in_c(system, dtype):
    judged(system, "c", dtype)


@settings(SLOW, max_examples=15)
@given(networks(st.lists(st.integers(1, 3), min_size=2, max_size=3)), st.integers(0, 2**32 - 1))
def test_derived_systems_of_random_networks_interpreted(system, seed):
    """The derivation alone, without a backend: its result in plain loops against differences in plain loops."""
    rng = np.random.default_rng(seed)
    sizes = choose_sizes(system, {}, rng)
    point = draw(system, sizes, 2, 2.0**-12, rng)
    assume(point is not None)
    derivation = derive(with_samples(system), ["w1", "b1", "x"])
    loops = Interpreter(derivation.result, {"batch": 2}, point.values)
    for name, adjoint in zip(derivation.wrt, derivation.result.outputs, strict=True):
        expected = numeric_gradient(system, {}, point.values, name)
        scale = max(1.0, np.abs(expected).max(), abs(average_cost(system, {}, point.values)))
        np.testing.assert_allclose(loops.tensor(adjoint), expected, rtol=1e-6, atol=1e-7 * scale, err_msg=name)


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_a_cost_of_constant_slope(target):
    """An adjoint that is one number goes into its readers: db = 1, dw = the mean of x."""
    report = check(compile(network(["m", "n"], sigma="identity", cost="a - y"), target, "float64"))
    assert report, report.table()
