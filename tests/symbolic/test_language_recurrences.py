"""Recurrences of one tensor and of several: what they mean, and that every element read is made before."""

from __future__ import annotations

import random
import secrets

import numpy as np
import pytest
from interpreter import Interpreter, numeric_gradient
from sympy import Symbol

from chainrule.symbolic import FormulaError, System, derive, parse
from chainrule.symbolic.samples import with_samples
from chainrule.symbolic.simplify import merged_sums, simplified
from chainrule.symbolic.stable import stable

GRU = """
data      x[T, X], y[H]
parameter wr[H, X], ur[H, H], wu[H, X], uu[H, H], wn[H, X], un[H, H]
h[0, i] = 0
r[t, i] = sigmoid(sum[k](wr[i, k] * x[t, k]) + sum[j](ur[i, j] * h[t, j]))
u[t, i] = sigmoid(sum[k](wu[i, k] * x[t, k]) + sum[j](uu[i, j] * h[t, j]))
c[t, i] = tanh(sum[k](wn[i, k] * x[t, k]) + r[t, i] * sum[j](un[i, j] * h[t, j]))
h[t + 1, i] = (1 - u[t, i]) * c[t, i] + u[t, i] * h[t, i]
cost = sum[i]((h[T, i] - y[i])**2)
"""
GRU_TOGETHER = """
data      x[T, X], y[H]
parameter wr[H, X], ur[H, H], wu[H, X], uu[H, H], wn[H, X], un[H, H]
cost = sum[i]((h[T, i] - y[i])**2)
h[t, i] = (1 - u[t, i]) * c[t, i] + u[t, i] * h[t - 1, i]
c[t, i] = tanh(sum[k](wn[i, k] * x[t - 1, k]) + r[t, i] * sum[j](un[i, j] * h[t - 1, j]))
u[t, i] = sigmoid(sum[k](wu[i, k] * x[t - 1, k]) + sum[j](uu[i, j] * h[t - 1, j]))
r[t, i] = sigmoid(sum[k](wr[i, k] * x[t - 1, k]) + sum[j](ur[i, j] * h[t - 1, j]))
h[0, i] = 0
"""
SPLIT_RNN = """
data x[T, X], y[H]
parameter u[H, H], w[H, X], h0[H]
h[0, i] = h0[i]
z[t, i] = sum[j](u[i, j] * h[t - 1, j]) + sum[k](w[i, k] * x[t - 1, k])
h[t, i] = tanh(z[t, i])
cost = sum[i]((h[T, i] - y[i])**2) + sum[t, i](z[t, i]**2)
"""
LSTM = """
data x[T, X], y[H]
parameter wi[H, X], ui[H, H], wf[H, X], wo[H, X], wg[H, X], ug[H, H]
h[0, m] = 0
c[0, m] = 0
i[t, m] = sigmoid(sum[k](wi[m, k] * x[t, k]) + sum[j](ui[m, j] * h[t, j]))
f[t, m] = sigmoid(sum[k](wf[m, k] * x[t, k]))
o[t, m] = sigmoid(sum[k](wo[m, k] * x[t, k]))
g[t, m] = tanh(sum[k](wg[m, k] * x[t, k]) + sum[j](ug[m, j] * h[t, j]))
c[t + 1, m] = f[t, m] * c[t, m] + i[t, m] * g[t, m]
h[t + 1, m] = o[t, m] * tanh(c[t + 1, m])
cost = sum[m]((h[T, m] - y[m])**2)
"""
COUPLED = """
data x[T]
parameter a, b
p[0] = 0
q[0] = b
p[t] = a*q[t - 1] + x[t]
q[t] = sin(b*p[t]) + q[t - 1]
cost = sum[t](q[t]**2)
"""
BACKWARDS = """
data x[T, X]
parameter u[H, H], w[H, X], last[H]
h[T, i] = last[i]
z[t, i] = sum[k](w[i, k] * x[t, k]) + sum[j](u[i, j] * h[t + 1, j])
h[t, i] = tanh(z[t, i])
cost = sum[i](h[0, i]**2) + sum[t, i](z[t, i])
"""
MODELS = {
    "gru": GRU,
    "gru at one t": GRU_TOGETHER,
    "split rnn": SPLIT_RNN,
    "lstm": LSTM,
    "coupled": COUPLED,
    "backwards": BACKWARDS,
    "backwards from the last": "data x[T]\nparameter a\nh[T-1] = a*x[T-1]\nh[t] = a*h[t+1] + x[t]\ncost = h[0]**2",
    "backwards, shifted": "data x[T]\nparameter a\nh[t-1] = a*h[t] + x[t-1]\nh[T] = a\ncost = sum[t](h[t]**2)",
    "backwards from 3": "data x\nparameter a\nh[3] = a\nh[t] = sin(h[t+1]*a*x)\ncost = h[0]",
    "two bases": "data x[T + 2]\nparameter a, b\nf[0] = a\nf[1] = b*x[0]\nf[t]=sin(f[t-1])*f[t-2]+x[t]\ncost = f[T+1]",
    "two bases at the end": "data x[T+2]\nparameter a\nf[T+1]=a\nf[T]=a*x[0]\nf[t]=sin(f[t+1])*f[t+2]+x[t]\ncost=f[0]",
    "no recurrence": "data x[T]\nparameter a\nz[0] = a\nz[j + 1] = a*x[j]\ncost = sum[j](z[j]**2)",
    "from 2 on": "data x[T+3]\nparameter a\nh[0]=a\nq[t]=h[t-2]*a*x[t]\nh[t]=where(t >= 2,q[t],0)+a*h[t-1]\ncost=h[T]",
    "all before": "data x[T]\nparameter a\nh[0] = a\nh[t] = sin(sum[k : k < t](h[k])) + x[t]\ncost = sum[t](h[t]**2)",
}


class Strict(Interpreter):
    """An interpreter for which an element that no equation defines is a fault."""

    def _defined(self, name: str, where: tuple[int, ...]) -> float:
        if self.system.tensor(name).adjoint_of is None and not self.covers(name, where):
            raise IndexError(f"{name}{list(where)} is not defined")
        return super()._defined(name, where)

    def covers(self, name: str, where: tuple[int, ...]) -> bool:
        """Whether an equation defines the element."""
        for equation in self.system.defining(name):
            env = {}
            fits = True
            for subscript, i in zip(equation.indices, where, strict=True):
                if subscript.is_Dummy:
                    env[subscript] = i
                else:
                    fits = fits and self.integer(subscript, {}) == i
            bounds = (
                (self.value(r.lower, env), env[r.symbol], self.value(r.upper, env)) for r in equation.ranges if fits
            )
            if fits and all(low <= i <= high for low, i, high in bounds):
                return True
        return False


def shapes(system: System) -> dict[str, tuple[str, ...]]:
    defined = {e.name for e in system.equations} - {"cost"}
    return {t.name: tuple(map(str, t.shape)) for t in system.tensors if t.name in defined}


def steps(system: System) -> dict[str, tuple[str, str]]:
    """The range along the first axis of the last equation of each tensor."""
    return {e.name: (str(e.ranges[0].lower), str(e.ranges[0].upper)) for e in system.equations if e.ranges}


class TestMeaning:
    def test_a_gru(self) -> None:
        system = parse(GRU)
        assert shapes(system) == {"h": ("T + 1", "H"), "r": ("T", "H"), "u": ("T", "H"), "c": ("T", "H")}
        assert steps(system) == {"h": ("1", "T"), "r": ("0", "T - 1"), "u": ("0", "T - 1"), "c": ("0", "T - 1")}
        assert [e.name for e in system] == ["h", "h", "r", "u", "c", "cost"]
        assert system.outputs == ("h",)
        assert system.recurrences().keys() == {"h", "r", "u", "c"}

    def test_gates_that_begin_after_the_base_case(self) -> None:
        system = parse(GRU_TOGETHER)
        assert set(shapes(system).values()) == {("T + 1", "H")}
        assert set(steps(system).values()) == {("1", "T")}
        names = [e.name for e in system]
        assert names[0] == "h"
        assert sorted(names[1:5]) == ["c", "h", "r", "u"]
        assert names.index("r") < names.index("c") < names.index("h", 1) > names.index("u")

    def test_elements_that_nothing_defines_are_left_out_of_ranges(self) -> None:
        system = parse(SPLIT_RNN)
        assert shapes(system) == {"h": ("T + 1", "H"), "z": ("T + 1", "H")}
        (cost,) = system.defining("cost")
        assert "1<=_t<=T" in str(cost.value)
        assert system.outputs == ("h",)

    def test_a_range_reaches_as_far_as_the_recurrence_needs(self) -> None:
        system = parse("data x[T]\nh[0] = 1\nz[t] = 2*h[t - 1]\nh[t] = z[t] + x[t - 1]\noutput h")
        assert steps(system) == {"z": ("1", "T"), "h": ("1", "T")}

    def test_backwards(self) -> None:
        system = parse(BACKWARDS)
        assert shapes(system) == {"h": ("T + 1", "H"), "z": ("T", "H")}
        assert str(system.defining("h")[0].indices[0]) == "T"
        assert {e.name: str(e.ranges[0].upper) for e in system if e.name in "zh"} == {"h": "T - 1", "z": "T - 1"}

    def test_the_shifted_left_side_is_the_same_equation(self) -> None:
        one = parse("data x[T]\nh[0] = 1\nh[t + 1] = h[t]*x[t] + where(t >= 1, t, 0)\noutput h")
        two = parse("data x[T]\nh[0] = 1\nh[t] = h[t - 1]*x[t - 1] + where(t - 1 >= 1, t - 1, 0)\noutput h")
        names = [{e.ranges[0].symbol: Symbol("t")} for s in (one, two) for e in s.defining("h")[1:]]
        values = [e.value.xreplace(n) for (s, n) in zip((one, two), names, strict=True) for e in s.defining("h")[1:]]
        assert str(values[0]) == str(values[1])
        assert steps(one) == steps(two)

    def test_a_stated_range_is_that_of_the_index_as_written(self) -> None:
        system = parse("data x[m]\nparameter a\nindex t < m\nh[0] = a\nh[t + 1] = h[t]*x[t]\noutput h")
        assert steps(system) == {"h": ("1", "m")}

    def test_a_group_that_nothing_reads_is_the_output(self) -> None:
        assert parse("data x[T]\nh[0] = 1\nz[t] = h[t-1]*x[t]\nh[t] = z[t] + 1\nq[t] = x[t]").outputs == ("h", "q")

    def test_a_group_differs_from_sample_to_sample_as_a_whole(self) -> None:
        system = parse("data x[T]\nparameter a\np[0] = a\nq[0] = a\np[t] = q[t-1]\nq[t] = p[t-1] + x[t]\ncost = p[0]")
        assert all(system.tensor(name).per_sample for name in "pq")


@pytest.mark.parametrize("name", MODELS)
def test_gradients(name: str, rng: np.random.Generator) -> None:
    """Derived, simplified and stabilised, against differences of the equations as written."""
    system = parse(MODELS[name])
    batched = with_samples(system)
    result = stable(merged_sums(simplified(derive(batched, explain=False).result)))
    sizes = {"batch": 2, "T": 2, "X": 1, "H": 2}
    values = {t: rng.uniform(0.1, 0.9, Interpreter(batched, sizes, {}).shapes[t.name]) for t in batched.inputs}
    values = {t.name: v for t, v in values.items()}
    found = Strict(result, sizes, values)
    for parameter in system.parameters:
        (adjoint,) = (t.name for t in result.tensors if t.adjoint_of == parameter.name)
        expected = numeric_gradient(system, sizes, values, parameter.name)
        assert found.tensor(adjoint) == pytest.approx(expected, abs=1e-9), parameter.name


ERRORS = [
    # (text, line, column, part of the message, part of the hint)
    ("h[0]=1\nz[t]=h[t]+x[t]\nh[t]=z[t]", 4, 1, "a cycle of equations: h -> z -> h at the same t", "earlier"),
    ("z[t]=h[t-1]+x[t]\nh[t]=z[t]", 2, 1, "a cycle of equations: z -> h -> z", "base case"),
    ("h[0]=1\nh[t]=h[t-1]*s+x[t]\ns=h[T-1]", 4, 1, "a cycle of equations: s -> h -> s", "base case"),
    ("h[0]=1\nr[t]=h[t-1]*x[t]\nh[t]=r[t]\nq=r[0]", 5, 5, "r has the elements 1 to T - 1", "guard"),
    ("h[0]=1\nr[t]=h[t-1]*x[t]\nh[t]=r[t]\nq[t]=r[t]", 5, 8, "'t' would have to start at 1", "where(t >= 1"),
    ("h[0]=1\nr[t]=h[t-1]*x[t]\nh[t]=r[t]\noutput r", 5, 8, "the output 'r' is not defined before its element 1", ""),
    ("h[0]=1\ng[T-1]=1\nh[t]=h[t-1]*g[t]\ng[t]=g[t+1]*h[t]*x[t]", 3, 1, "'g' has its base cases at the end", "one dir"),
    ("h[0]=1\nh[t]=h[t-1]*g[t+1]\ng[t]=h[t]*x[t]", 3, 15, "g[t+1] is read before it is defined", "g[t - 1]"),
    ("h[T]=1\nh[t]=h[t-1]+x[t]", 3, 8, "expected an element after t", "h[t + 1]"),
    ("h[0]=1\nh[t+1]=h[t+1]+x[t]", 3, 10, "expected an element before t + 1", "h[t + 1 - 1]"),
    (
        "h[0]=1\nh[1]=r[0]\nr[t]=h[t]*x[t]\nh[t]=r[t-1]+h[t-2]",
        3,
        8,
        "a base case reads r[0], which takes part",
        "of its own",
    ),
    (
        "f[0]=g[0]\ng[0]=f[0]\nf[t]=g[t-1]+x[t]\ng[t]=f[t-1]",
        2,
        8,
        "a base case reads g[0], which takes part in the recurrence",
        "",
    ),
    ("h[T]=1\nh[T-2]=1\nh[t]=h[t+1]+x[t]", 3, 1, "expected the base case T - 1 of 'h', found T - 2", "no gap"),
    ("h[T]=1\nh[T]=2\nh[t]=h[t+1]+x[t]", 3, 1, "'h' is defined twice: first in line 2", ""),
    ("h[T]=1\nh[0]=1\nh[t]=h[t+1]+x[t]", 3, 1, "the base cases of 'h' at T and 0 are not next to each other", ""),
    ("f[0]=1\nf[1]=1\nf[t]=f[t-1]+f[t-2]+x[t]", 3, 1, "f[1] may leave its tensor: axis 1 of f has T elements", "T + 1"),
    ("f[T-1]=1\nf[T-2]=1\nf[t]=f[t+1]+x[t]", 3, 1, "f[T-2] may leave its tensor", ""),
    ("h[0,0]=1\nh[t,i]=h[t-1,i]+x[t]*x[i]", 2, 1, "two fixed subscripts", "one subscript"),
    ("h[0,i]=1\nh[i,0]=1\nh[t,i]=h[t-1,i]+x[t]*x[i]", 3, 1, "are on different axes", "one subscript"),
    ("h[T]=x[0]", 2, 1, "'h' has base cases alone", "no size"),
    ("h[0]=1\nz[t,i]=h[t-1]*x[i]\nh[t]=x[t]*z[t,0]+z[t+1,1]", 4, 20, "z[t+1,1] is read before it is defined", ""),
    ("p[0]=1\np[t]=q[t]+x[t]\nq[t]=where(t >= 1, p[t-1], q[t])", 4, 30, "q[t] is read before it is defined", ""),
]


@pytest.mark.parametrize(("text", "line", "column", "message", "hint"), ERRORS, ids=[e[3][:50] for e in ERRORS])
def test_errors_point_at_the_fault(text: str, line: int, column: int, message: str, hint: str) -> None:
    with pytest.raises(FormulaError) as caught:
        parse("data x[T]\n" + text)
    place = caught.value.position
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert place is not None
    assert (place.line, place.column) == (line, column)


def random_group(rng: random.Random) -> str:
    """Up to three tensors that may read each other anywhere: often no model at all."""
    names = "abc"[: rng.randrange(1, 4)]
    backwards = rng.random() < 0.3
    earlier, later = (["+ 1", "+ 2"], "- 1") if backwards else (["- 1", "- 2"], "+ 1")
    lines = ["data x[T + 2], y[T]"]
    for name in names:
        edges = ["T", "T - 1", "T + 1"] if backwards else ["0", "1"]
        lines += [
            f"{name}[{e}] = {rng.choice(['1', f'{rng.choice(names)}[{e}]', 'x[0]'])}"
            for e in edges[: rng.choice([0, 1, 1, 2])]
        ]
        left = rng.choice(["t"] * 4 + ["t + 1", "t - 1"])
        shifts = [*earlier * 3, "", "", later]
        terms = [f"{rng.choice(names)}[t {rng.choice(shifts)}]" for _ in range(rng.randrange(3))]
        if rng.random() < 0.3:
            terms.append(
                f"where(t {rng.choice(['>= 1', '>= 2', '< T', '< T - 1'])}, {terms[-1] if terms else 'x[t]'}, 0)"
            )
        if rng.random() < 0.2:
            terms.append(f"sum[k : k {rng.choice(['< t', '<= t', '> t'])}]({rng.choice(names)}[k])")
        terms += [rng.choice(["x[t]", "y[t]", "x[t + 1]", "x[t - 1]", "x[T + 1 - t]", "1"])]
        lines.append(f"{name}[{left}] = {' + '.join(terms)}")
    used = "x[0]*y[0]" + "".join(f" + {name}[{rng.choice('01T')}]" for name in names)
    return "\n".join([*lines, f"q = {used}", "output q"])


def test_what_is_accepted_can_be_computed() -> None:
    """Every element that a random recurrence defines has a value, from elements that are defined."""
    seed = secrets.randbits(32)
    rng = random.Random(seed)
    accepted = 0
    for _ in range(250):
        text = random_group(rng)
        try:
            system = parse(text)
        except FormulaError:
            continue
        accepted += 1
        for size in (1, 2, 4):
            run = Strict(system, {"T": size}, {"x": np.ones(size + 2), "y": np.ones(size)})
            try:
                for name in system.recurrences().keys() | {"q"}:
                    elements = [i for i in np.ndindex(*run.shapes[name]) if run.covers(name, i)]
                    assert all(np.isfinite(run.element(name, *i)) for i in elements)
            except (IndexError, RecursionError) as problem:
                pytest.fail(f"seed {seed}, T = {size}: {problem}\n{text}")
    assert accepted > 10, f"seed {seed}"
