"""Long arguments that are stored: the same values, safe where nothing asks for them, and formulas that stay short."""

from __future__ import annotations

import numpy as np
import pytest
from interpreter import Interpreter
from random_systems import random_model
from systems import system_of

from chainrule.symbolic import derive, parse
from chainrule.symbolic.expressions import accesses, walk
from chainrule.symbolic.intermediates import with_intermediates
from chainrule.symbolic.simplify import simplified
from chainrule.symbolic.system import System
from chainrule.symbolic.tangents import hessian_product

SHORT = "data x[n]\nparameter b[n]\n"


def nested(levels: int) -> System:
    formula = "x[i]"
    for _ in range(levels):
        formula = f"tanh(sin(b[i] + 2*{formula})*b[i] + {formula}*cos(b[i]) + b[i]**2)"
    return parse(f"{SHORT}a[i] = {formula}\ncost = sum[i](a[i]**2)\n")


def length(system: System) -> int:
    return sum(1 for e in system.equations for _ in walk(e.value))


def made(system: System) -> list[str]:
    known = {t.name for t in system.tensors}
    return [t.name for t in with_intermediates(system).tensors if t.name not in known]


def test_examples_stay_as_they_are() -> None:
    for name in ("attention", "gru", "layer_norm_one_equation", "transformer_block", "gaussian_mixture"):
        system = system_of(name)
        assert with_intermediates(system) is system


def test_an_argument_is_read_wherever_it_stands() -> None:
    long = "(x[i]*b[i] + x[i]**2*sin(b[i]) - 3*x[i])"
    system = parse(f"{SHORT}a[i] = sin{long} + cos{long}*erf(b[i] + x[i]*b[i]**2 + 3*x[i]**3*atan{long})\n")
    after = with_intermediates(system)
    assert [e.name for e in after.equations] == ["a_inner", "a_inner2", "a"]
    (value,) = (e.value for e in after.equations if e.name == "a")
    assert {a.name for a in accesses(value)} == {"a_inner", "a_inner2"}


def test_values_stay() -> None:
    for seed in range(300, 340):
        model = random_model(seed)
        system = model.parse()
        sizes, values = model.point()
        sample = {t.name: values[t.name][0] if t.per_sample else values[t.name] for t in system.inputs}
        before, after = Interpreter(system, sizes, sample), Interpreter(with_intermediates(system), sizes, sample)
        for tensor in system.tensors:
            np.testing.assert_array_equal(after.tensor(tensor.name), before.tensor(tensor.name), err_msg=f"{seed}")


def test_the_second_derivative_of_nested_formulas_grows_with_their_depth() -> None:
    """Each level adds about as much as the one before; left whole, each multiplies."""

    def second(system: System) -> int:
        derivation = derive(system, explain=False)
        return length(hessian_product(system, derivation.wrt, simplified(derivation.result)))

    stored = [second(with_intermediates(nested(levels))) for levels in (1, 2, 3)]
    print(stored)
    assert stored[2] - stored[1] < 2 * (stored[1] - stored[0])
    assert second(nested(2)) > 2 * stored[1]


LONG = "x[i]*b[i] + sin(b[i] + x[i])*cos(x[i] - 2*b[i])"

DEEP = "sin(x[i]*b[i] + 2*b[i])*cos(x[i]*b[i] - x[i])"


@pytest.mark.parametrize(
    ("equation", "names"),
    [
        (f"a[i] = sin({LONG} + sqrt(b[i])) + {LONG} + {LONG}", ["a_inner"]),
        # a root is no number where the condition does not hold: stored under the condition
        (f"a[i] = where(b[i] > 0, sin({LONG} + sqrt(b[i])), 0) + {LONG} + {LONG}", ["a_inner"]),
        (f"a[i] = where(b[i] <= 0, x[i], sin({LONG} + sqrt(b[i]))) + {LONG} + {LONG}", ["a_inner"]),
        # outside the tensor where the condition does not hold
        (f"a[i] = where(i > 0, sin({LONG} + x[i - 1]), 0) + {LONG} + {LONG}", ["a_inner"]),
        # of another size than all around it: an array of n × n that nobody asked for
        (f"a[i] = sum[k, l](sin(x[k] * b[l] + x[k] + {LONG} + {LONG} + {LONG}))", []),
        # sums of exponentials in a power and a logarithm: for a stable form to see, and what relates exponents too
        (f"a[i] = log(exp(x[i]) + exp(-{DEEP}) + exp({DEEP} + 3)) / (1 + exp(2*{DEEP}))", ["a_inner"]),
    ],
)
def test_what_is_stored(equation: str, names: list[str]) -> None:
    system = parse(f"{SHORT}{equation}\n")
    assert made(system) == names
    values = {"x": np.array([0.3, 0.7, 0.2]), "b": np.array([-0.5, 0.4, -0.1])}
    if "sqrt" in equation and "where" not in equation:
        values["b"] = -values["b"] + 1
    sizes = {"n": 3}
    before = Interpreter(system, sizes, values).tensor("a")
    after = Interpreter(with_intermediates(system), sizes, values)
    np.testing.assert_array_equal(after.tensor("a"), before)
    for name in names:
        assert np.isfinite(after.tensor(name)).all()


def test_a_step_of_a_recurrence_keeps_what_reads_the_recurrence() -> None:
    system = parse(
        f"{SHORT}index t < 4\nh[0, i] = x[i]\n"
        f"h[t, i] = tanh(h[t - 1, i] + sin({LONG} + {LONG}*b[i]) + sin({LONG} + h[t - 1, i]*b[i]))\n"
    )
    after = with_intermediates(system)
    assert all("h" not in e.reads() for e in after.equations if e.name != "h")
    assert [e.name for e in after.equations][-2:] == ["h", "h"]


def test_the_terms_of_a_maximum_are_computed_once() -> None:
    """Which of them equals it is asked of the stored ones; what is read as it is needs no copy."""
    computed = parse("data x[n], y[m]\nc[k] = max[u](x[k]*y[u] + x[k])\n")
    after = with_intermediates(computed)
    assert made(computed) == ["c_terms"]
    assert [str(d) for d in after.tensor("c_terms").shape] == ["n", "m"]
    read = parse("data x[n], y[m]\nc[k] = max[u](where(k > u, -abs(y[u]), x[k]))\n")
    assert made(read) == []


def test_terms_that_read_a_recurrence_are_part_of_it() -> None:
    system = parse(
        "data e[n, m]\nparameter a[m, m]\nv[0, j] = e[0, j]\nindex t < n\n"
        "v[t, j] = max[i](v[t - 1, i] + a[i, j]) + e[t, j]\noutput v\n"
    )
    after = with_intermediates(system)
    assert set(after.recurrences()) == {"v", "v_terms"}
    assert [str(r.lower) for r in after.defining("v_terms")[0].ranges] == ["1", "0", "0"]
