"""Stable Systems: the same values, and finite ones where inputs are large; what is shifted is shared and in range."""

from __future__ import annotations

import math

import numpy as np
import pytest
import sympy as sp
from interpreter import Interpreter
from kernel_interpreter import run_kernel
from systems import MODELS, assert_same, case

from chainrule.codegen import lower as rooms
from chainrule.symbolic import derive, network, parse
from chainrule.symbolic.catalogue import names
from chainrule.symbolic.expressions import Access, Call, Range, Reduction, index, size, walk
from chainrule.symbolic.samples import with_samples
from chainrule.symbolic.simplify import merged_sums, simplified
from chainrule.symbolic.stable import canonical, derivative_name, stable

N = size("N")


def gradient_system(system):
    inputs = [t.name for t in system.inputs]
    return simplified(derive(with_samples(system), inputs, explain=False).result)


@pytest.mark.parametrize("name", MODELS)
def test_values_are_unchanged(name):
    it = case(name)
    safe = stable(merged_sums(simplified(it.derivation.result), it.system.outputs))
    interpreter = Interpreter(safe, it.sizes, it.values)
    assert_same({n: interpreter.tensor(n) for n in it.gradients}, it.gradients, it.label)
    before = Interpreter(with_samples(it.system), it.sizes, it.values)
    assert_same(
        {n: interpreter.tensor(n) for n in it.system.outputs},
        {n: before.tensor(n) for n in it.system.outputs},
        it.label,
    )


@pytest.mark.parametrize("name", MODELS)
def test_no_derivative_of_a_named_function_is_left(name):
    safe = stable(simplified(case(name).derivation.result))
    calls = [n for e in safe.equations for n in walk(e.value) if isinstance(n, Call)]
    calls += [n for f in safe.functions for n in walk(f.body) if isinstance(n, Call)]
    assert {o for c in calls for o in c.orders} <= {0}
    assert {c.name for c in calls} <= {f.name for f in safe.functions}


ACTIVATIONS = [n for n in names("activation") if n != "identity"]
LARGE = [(s, "squared_error") for s in ACTIVATIONS] + [
    ("sigmoid", "binary_cross_entropy"),
    ("softmax", "cross_entropy"),
    ("tanh", "log_cosh"),
    ("identity", "log_cosh"),
    ("softplus", "log_cosh"),
]


@pytest.mark.parametrize("scale", [1.0, 300.0, 1e4])
@pytest.mark.parametrize(("sigma", "cost"), LARGE)
def test_kernels_of_networks_are_finite_at_large_inputs(sigma, cost, scale, rng, seed, monkeypatch):
    """The interpreter's exp raises OverflowError where a kernel would see infinity."""
    monkeypatch.setattr(rooms, "_refuse", lambda _: None, raising=False)
    system = network([2, 2, 3], sigma="tanh" if sigma == "softmax" else sigma, output=sigma, cost=cost)
    program = rooms.lower(system, wrt=["w1", "w2", "b2", "x"])
    sizes = {"batch": 2}
    values = {"x": rng.normal(size=(2, 2)) * scale, "y": (rng.uniform(size=(2, 3)) > 0.5) * 1.0}
    for m, shape in enumerate([(2, 2), (3, 2)], 1):
        values[f"w{m}"] = rng.normal(size=shape) * (1 if m == 1 else scale)
        values[f"b{m}"] = rng.normal(size=shape[0])
    for entry in program.entries:
        for name, value in run_kernel(program.kernel(entry), sizes, values).items():
            assert np.isfinite(value).all(), f"{name} of {sigma} with {cost} at {scale}, seed {seed}"


EXAMPLES = {
    "log_sum_exp": {"x": 300.0, "w": 2.0},
    "attention": {"x": 100.0, "wq": 3.0},
    "attention_causal": {"x": 100.0, "wq": 3.0},
    "gaussian_mixture": {"x": 30.0, "logit": 800.0},
    "logistic_matrix_factorisation": {"bu": 900.0},
    "softmax_cross_entropy": {"x": 500.0, "w": 3.0},
    "rnn_softmax": {"x": 1000.0},
    "rnn_lse": {"x": 300.0},
    "shared_lse": {"x": 1000.0, "w": 2.0},
    "lse_where": {"w": 1000.0},
    "gru": {"x": 1000.0},
    "silu_rnn": {"x": 1000.0},
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_kernels_of_systems_are_finite_at_large_inputs(name, monkeypatch):
    monkeypatch.setattr(rooms, "_refuse", lambda _: None, raising=False)
    it = case(name)
    program = rooms.lower(it.system)
    values = {n: v * EXAMPLES[name].get(n, 1.0) for n, v in it.values.items()}
    for entry in program.entries:
        for tensor, value in run_kernel(program.kernel(entry), it.sizes, values).items():
            assert np.isfinite(value).all(), f"{tensor} of {it.label}"


def test_softmax_and_log_sum_exp_share_their_maximum():
    system = parse("""
data x[n], y[n]
parameter w[n]
z[i] = w[i]*x[i]
p[i] = softmax(z[i])
cost = sum[i](cross_entropy(p[i], y[i]))
""")
    safe = stable(gradient_system(system))
    maxima = [n for e in safe.equations for n in walk(e.value) if isinstance(n, Reduction) and n.kind == "max"]
    assert len(maxima) == 1


def test_terms_of_a_sum_are_stored_only_where_a_tensor_is_as_large():
    """exp(u[i, j]·h[j]) of a sum over j has as many terms as u, of exp(u[i, j]·x[k, j]) it has more than any."""
    text = (
        "data x[{shape}]\nparameter u[n, m]\nl[{left}] = logsumexp[j](u[i, j]*x[{right}])\n"
        "cost = sum[{left}](l[{left}])"
    )
    stored = stable(with_samples(parse(text.format(shape="m", left="i", right="j"))))
    assert not any(e.name == "l_exp" for e in stored.equations)  # a batch of x, one u: larger than either
    alone = "data x\nparameter u[n, m]\nl[i] = logsumexp[j](u[i, j])\ncost = sum[i](l[i])*x"
    assert any(e.name == "l_exp" for e in stable(with_samples(parse(alone))).equations)
    large = stable(with_samples(parse(text.format(shape="r, m", left="i, k", right="k, j"))))
    assert not any(e.name == "l_exp" for e in large.equations)


def test_the_numerator_must_run_over_the_sum():
    """exp(x_i)/Σ_{k<P} exp(x_k) for i up to 2P: what is stored for k has no element for every i."""
    system = parse("""
data x[2*P], y[2*P]
index k < P
p[i] = exp(x[i])/sum[k](exp(x[k]))
cost = sum[i](p[i]*y[i])
""")
    safe = stable(with_samples(system))
    values = {"x": np.array([[0.1, 0.2, 0.3, 0.4]]), "y": np.ones((1, 4))}
    found = Interpreter(safe, {"P": 2, "batch": 1}, values).element("cost")
    assert found == pytest.approx(sum(math.exp(v / 10) for v in (1, 2, 3, 4)) / (math.exp(0.1) + math.exp(0.2)))


def test_canonical_forms_do_not_depend_on_names_nor_on_signs_under_squares():
    i, j, k, m = (index(n) for n in "ijkm")

    def distance(a, b, over):
        return Reduction("sum", (Access("x", a, over) - Access("c", b, over)) ** 2, [Range(over, 0 * N, N - 1)])

    def other(a, b, over):
        return Reduction("sum", (Access("c", b, over) - Access("x", a, over)) ** 2, [Range(over, 0 * N, N - 1)])

    key, free = canonical(distance(i, j, k))
    again, same = canonical(other(j, i, m))
    assert key == again
    assert free == (j, i)
    assert same == (i, j)
    assert canonical(distance(i, i, k))[0] != key


@pytest.mark.parametrize(
    ("orders", "name"), [((0,), "f"), ((1,), "df"), ((2,), "d2f"), ((1, 0), "df_da"), ((1, 2), "d3f_da_dy2")]
)
def test_names_of_derivatives(orders, name):
    assert derivative_name("f", orders, sp.symbols("a y")[: len(orders)]) == name


@pytest.mark.parametrize(
    "cost", ["sum[i](y[i]*(logsumexp[k](x[k]) - x[i]))", "-sum[i](y[i]*(x[i] - logsumexp[k](x[k])))"]
)
def test_the_logarithm_of_a_softmax_keeps_small_differences_of_large_logits(cost):
    """Logits near 10^12 that differ by a few: log Σ exp rounds to 10^-4, its two parts do not."""
    system = parse(f"data x[N], y[N]\ncost = {cost}")
    differences, y = [0.0, -1.5, 2.25, -3.0], [0.25, 0.5, 0.125, 1.0]
    values = {"x": np.array([[1e12 + d for d in differences]]), "y": np.array([y])}
    log_sum = math.log(sum(math.exp(d) for d in differences))
    expected = sum(w * (log_sum - d) for w, d in zip(y, differences, strict=True))
    found = run_kernel(rooms.lower(system).kernel("cost"), {"N": 4, "batch": 1}, values)["cost"]
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_stored_log_sum_exp_tells_the_softmax():
    """exp(x_i - l) is e_i/S, whatever the guard: no second exponential, and no rounding of l."""
    system = parse("data x[N], v[N, N]\nl = logsumexp[k](x[k])\no[j] = sum[i](exp(x[i] - l)*v[i, j])\noutput o, l\n")
    safe = stable(with_samples(system))
    assert sum(isinstance(n, sp.exp) for e in safe.equations for n in walk(e.value)) == 1
    (equation,) = safe.defining("o")
    assert "l" not in equation.reads()


PRODUCTS = {
    "a square": "exp(z[j])*exp(z[j])/sum[k](exp(z[k]))**2",
    "a cube of a softmax and one of another": "exp(3*z[j])*exp(x[j])/(sum[k](exp(z[k]))**3 * sum[k](exp(x[k])))",
    "two terms of one sum": "exp(z[j])*exp(z[0])/sum[k](exp(z[k]))**2",
    "a weighted sum": "exp(z[j])*sum[i](exp(z[i])*x[i])/sum[k](exp(z[k]))**2",
    "a weighted sum alone": "x[j]*sum[i](exp(z[i])*x[i])/sum[k](exp(z[k]))",
}


@pytest.mark.parametrize("formula", PRODUCTS.values(), ids=PRODUCTS.keys())
def test_products_of_softmaxes_keep_their_value_and_stay_finite(formula: str, rng: np.random.Generator) -> None:
    """As they stand in second derivatives: every exp(u) over a sum of its own, shifted by that sum's maximum."""
    system = parse(f"data x[n]\nparameter w\nz[j] = w*x[j]\np[j] = {formula}\noutput p\n")
    made = stable(system)
    for scale in (1.0, 400.0):
        values = {"x": rng.normal(size=4), "w": np.array(scale)}
        found = Interpreter(made, {"n": 4}, values).tensor("p")
        assert np.isfinite(found).all()
        if scale == 1:
            np.testing.assert_allclose(found, Interpreter(system, {"n": 4}, values).tensor("p"), rtol=1e-12)
