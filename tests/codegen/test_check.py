"""Right kernels pass whatever the seed, wrong ones are caught, and what is not checked is not called right."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import sympy as sp
from hand_written import HARD_SIGMOID, HandWritten, layer

from chainrule.codegen import compile
from chainrule.codegen.check import Report, check
from chainrule.codegen.differences import OFFSETS, five_point_rule
from chainrule.codegen.points import choose_sizes, draw, objective
from chainrule.symbolic import parse
from chainrule.symbolic.expressions import Access, Call, size
from chainrule.symbolic.system import Equation, FunctionDefinition, Role, System, Tensor

DTYPES = ("float64", "float32")


def hard_sigmoid(**changes) -> HandWritten:
    """Kernels of a hardsigmoid layer: right, unless changed."""
    right = {
        "system": layer(HARD_SIGMOID),
        "sigma": lambda z: np.where(z <= -3, 0, np.where(z >= 3, 1, z / 6 + z.dtype.type(0.5))),
        "slope": lambda z: (np.abs(z) < 3) / z.dtype.type(6),
    }
    return HandWritten(**{**right, **changes})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("repeat", range(5))
def test_right_kernels_pass_at_fresh_seeds(dtype, repeat):
    report = check(HandWritten(dtype=dtype))
    assert report, report.table()
    assert {r.oracle for r in report.rows} >= {"formula", "five-point", "mpmath"}, repeat
    assert all(r.compared for r in report.rows)
    assert check(hard_sigmoid(dtype=dtype))


def negate(gradients, _inputs):
    gradients["w"] *= -1


def scale_by_batch(gradients, inputs):
    for name in gradients:
        gradients[name] = gradients[name] * len(inputs["x"])


def one_element(gradients, _inputs):
    gradients["w"][-1, -1] += np.float32(1e-3) * abs(gradients["w"][-1, -1])


def transposed_weights(gradients, _inputs):
    gradients["w"] = gradients["w"].T.reshape(gradients["w"].shape)


def shifted(gradients, _inputs):
    gradients["b"] = np.roll(gradients["b"], 1)


def one_sample(gradients, _inputs):
    gradients["x"][-1] = gradients["x"][0]


def not_a_number(gradients, _inputs):
    gradients["b"][0] = np.nan


def infinite(gradients, _inputs):
    gradients["b"][0] = np.inf


def wrong_shape(gradients, _inputs):
    gradients["w"] = gradients["w"].T.copy()


SPOILERS = (
    negate,
    scale_by_batch,
    one_element,
    transposed_weights,
    shifted,
    one_sample,
    not_a_number,
    infinite,
    wrong_shape,
)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda s: s.__name__)
def test_a_spoilt_gradient_is_caught(spoil, dtype):
    report = check(HandWritten(dtype=dtype, spoil=spoil))
    assert not report
    assert "wrong" in {r.verdict for r in report.rows}, report.table()
    assert "rows are not ok" in report.table()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_slope_of_another_function_is_caught(dtype):
    def tanh_slope(z):
        return 1 - np.tanh(z) ** 2

    assert not check(HandWritten(dtype=dtype, slope=tanh_slope))


def test_a_slope_off_by_1e_8_is_caught_in_float64():
    report = check(hard_sigmoid(slope=lambda z: (np.abs(z) < 3) / 6 * (1 + 1e-8)))
    assert not report
    wrong = {(r.tensor, r.oracle) for r in report.rows if r.verdict == "wrong"}
    assert wrong >= {(name, "mpmath") for name in "wbx"}, report.table()


def test_a_float32_constant_in_float64_is_caught():
    assert not check(hard_sigmoid(slope=lambda z: (np.abs(z) < 3) * float(np.float32(1 / 6))))


def test_a_wrong_value_is_caught_where_the_gradient_is_right():
    class Shifted(HandWritten):
        def forward(self, **inputs):
            found = super().forward(**inputs)
            return found._replace(a=found.a + 1e-12)

        def cost(self, *, y, **inputs):
            return super().cost(y=y, **inputs) + 1

    report = check(Shifted(slope=lambda z: np.exp(-z) / (1 + np.exp(-z)) ** 2))
    assert {r.tensor for r in report.rows if r.verdict == "wrong"} >= {"a", "cost"}, report.table()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_system_without_cost_is_checked_through_cotangents(dtype):
    system = layer(with_cost=False)
    assert check(HandWritten(system=system, dtype=dtype))
    assert not check(HandWritten(system=system, dtype=dtype, spoil=scale_by_batch))
    assert not check(HandWritten(system=system, dtype=dtype, spoil=shifted))


def test_a_disagreeing_peer_is_caught():
    assert check(HandWritten(target="c"), peer=HandWritten())
    report = check(HandWritten(target="c"), peer=HandWritten(spoil=one_element))
    assert {(r.tensor, r.oracle) for r in report.rows if r.verdict == "wrong"} == {("w", "numpy")}


def test_sizes_can_be_chosen_and_are_distinct_otherwise():
    rng = np.random.default_rng()
    m, n = size("m"), size("n")
    chosen = choose_sizes(layer(), {}, rng)
    assert len(set(chosen.values())) == 2
    assert choose_sizes(layer(), {"m": 7}, rng)[m] == 7
    assert set(chosen) == {m, n}
    assert check(HandWritten(), sizes={"m": 1, "n": 1})


def test_large_sizes_stay_quick_and_are_compared_with_forward_mode():
    report = check(HandWritten(), sizes={"m": 300, "n": 40}, samples=1)
    assert report, report.table()
    assert {r.oracle for r in report.rows} >= {"forward mode", "five-point"}
    assert not check(HandWritten(spoil=shifted), sizes={"m": 300, "n": 40}, samples=1)


def scalar_model(body) -> System:
    """cost = f(p · x): one parameter, one datum."""
    z = sp.Symbol("z", real=True)
    tensors = (
        Tensor("x", (), Role.DATA, True),
        Tensor("p", (), Role.PARAMETER),
        Tensor("cost", (), Role.DEFINED, True),
    )
    value = Call("f", (0,), Access("p") * Access("x"))
    return System(tensors, (Equation("cost", (), (), value),), (FunctionDefinition("f", (z,), body(z)),))


class Scalar:
    """Kernels of `scalar_model`."""

    target, dtype, wrt = "numpy", "float64", ("p",)

    def __init__(self, body, value, slope):
        self.system, self._value, self._slope = scalar_model(body), value, slope

    def cost(self, *, x, p):
        assert (np.ndim(x), np.ndim(p)) == (1, 0)
        return float(np.mean(self._value(p * x)))

    def gradients(self, *, x, p):
        return self.cost(x=x, p=p), (np.array(np.mean(self._slope(p * x) * x)),)


def test_points_are_sought_inside_the_domain():
    kernels = Scalar(
        lambda z: sp.log(z) + sp.sqrt(1 - z),
        lambda v: np.log(v) + np.sqrt(1 - v),
        lambda v: 1 / v - 0.5 / np.sqrt(1 - v),
    )
    report = check(kernels)
    assert report, report.table()


def test_an_empty_domain_is_said_and_is_not_ok():
    kernels = Scalar(lambda z: sp.log(-(z**2)), lambda v: np.log(-(v**2)), lambda v: 2 / v)
    report = check(kernels)
    assert not report
    assert [r.verdict for r in report.rows] == ["not checked: no point of the domain found, in 300 draws"]
    assert "no point of the domain" in str(report)


def test_points_keep_away_from_kinks(rng):
    system = scalar_model(lambda z: sp.Abs(z))
    for _ in range(200):
        point = draw(objective(system), {}, 3, 2.0**-24, rng)
        assert np.all(np.abs(point.values["x"] * point.values["p"]) > 1e-6)


def test_the_five_point_rule_is_exact_for_quartics_and_knows_its_error():
    def quartic(v):
        return v**4 - 3 * v**3 + v

    step = 2.0**-4
    slope, error = five_point_rule({o: quartic(1 + o * step) for o in OFFSETS}, step)
    assert slope == pytest.approx(4 - 9 + 1, abs=1e-11)
    assert error < 1e-11
    slope, error = five_point_rule({o: np.exp(o * step) for o in OFFSETS}, step)
    assert 0.5 * abs(slope - 1) < error < 2 * abs(slope - 1)


def test_a_size_that_no_array_of_a_kernel_tells_is_passed():
    """forward reads x alone, and makes T elements of it; T stands in the shape of y."""
    system = parse("data x, y[T]\nparameter w\na[t] = sin(w*x*t)\nindex t < T\ncost = sum[t]((a[t] - y[t])**2)")
    kernels = compile(system, target="numpy")
    assert "T" in inspect.signature(kernels.forward).parameters
    assert check(kernels)


LAYER = """
data x[m], y[n]
parameter w[n, m]
z[j] = sum[k](w[j, k]*x[k])
a[j] = tanh(z[j])
cost = sum[j]((a[j] - y[j])**2)
"""
RECURRENT = """
data x[T], y
parameter u
h[0] = x[0]
h[t] = tanh(u*h[t - 1] + x[t])
z = u**2
b = (h[T - 1] - y)**2 * z
"""


@pytest.mark.parametrize(
    ("formulas", "wrt"),
    [
        (LAYER, ["z", "a", "w"]),
        (f"{RECURRENT}cost = b + z", ["h", "z", "u"]),
        (f"{RECURRENT}output b, h", ["h", "z"]),
    ],
    ids=["a layer's own", "a recurrence", "without a cost"],
)
def test_adjoints_of_what_equations_define_are_checked(formulas, wrt):
    kernels = compile(parse(formulas), target="numpy", wrt=wrt)
    report = check(kernels)
    assert report, report.table()
    assert {(n, "mpmath") for n in wrt} <= {(r.tensor, r.oracle) for r in report.rows}


def test_an_index_has_no_kinks():
    """A triangle of weights by interpolation: its corners are at whole indices, whatever the inputs."""
    text = "data x[N], y[N]\nparameter w\nz[p] = sum[i](w*x[i]*max(0, 1 - abs(i - p)/2))\nindex p < N\n"
    report = check(compile(parse(f"{text}cost = sum[p]((z[p] - y[p])**2)"), target="numpy"))
    assert report, report.table()


def test_differences_do_not_judge_where_the_slope_turns_within_their_steps():
    """A norm of nearly equal elements, as layer normalisation has: there they do not know how far they are off."""
    system = parse("data x[2]\nparameter w\ncost = w/sqrt((x[0] - x[1])**2/1024 + 1e-7)")
    kernels = compile(system, target="numpy", wrt=["w", "x"])
    for _ in range(20):
        report = check(kernels, samples=1)
        assert not [r for r in report.rows if r.oracle in ("five-point", "own cost") and r.verdict == "wrong"], report


def test_the_same_seed_gives_the_same_report():
    first = check(HandWritten(), seed=11)
    assert first == check(HandWritten(), seed=11)
    assert first.seed == 11
    assert isinstance(first, Report)
    assert first != check(HandWritten(), seed=12)


def test_seeds_are_fresh():
    assert check(HandWritten()).seed != check(HandWritten()).seed


def test_rows_say_where_the_worst_element_is():
    def spoil(gradients, _inputs):
        gradients["b"][1] += 1

    report = check(HandWritten(spoil=spoil), sizes={"n": 4})
    row = next(r for r in report.rows if (r.tensor, r.oracle) == ("b", "mpmath"))
    assert row.position == (1,), report.table()
    assert row.error == pytest.approx(1)
    assert "[1]" in report.table()
