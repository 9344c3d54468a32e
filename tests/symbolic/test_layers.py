"""The everyday network: what it is made of, from every way to say its functions."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import sympy as sp

from chainrule.symbolic.errors import FormulaError
from chainrule.symbolic.expressions import Access, Call, Maximum, Minimum, Where, alpha_key, size
from chainrule.symbolic.language import parse
from chainrule.symbolic.layers import network
from chainrule.symbolic.system import Role, System

REFERENCE = """\
data x[784], y[10]
parameter w1[128, 784], b1[128], w2[10, 128], b2[10]
z1[j] = b1[j] + sum[k](w1[j, k] * x[k])
a1[j] = relu(z1[j])
z2[j] = b2[j] + sum[k](w2[j, k] * a1[k])
a2[j] = softmax(z2[j])
cost = sum[j](cross_entropy(a2[j], y[j]))
"""


def same(one: System, other: System) -> bool:
    """Equal up to the names of indices."""

    def key(system: System) -> list[object]:
        rows: list[object] = list(system.tensors)
        for e in system:
            names = {s: sp.Symbol(f"left{m}", integer=True) for m, s in enumerate(e.indices)}
            rows.append((e.name, alpha_key(e.value.xreplace(names)), [(r.lower, r.upper) for r in e.ranges]))
        return rows

    return key(one) == key(other) and one.functions == other.functions and one.outputs == other.outputs


def function(system: System, name: str) -> sp.Expr:
    return system.function(name).body


Z = sp.Symbol("z", real=True)
A, Y = sp.symbols("a y", real=True)


def test_it_is_what_the_language_would_have_read() -> None:
    assert same(network([784, 128, 10], sigma="relu", output="softmax", cost="cross_entropy"), parse(REFERENCE))


def test_tensors_and_their_roles() -> None:
    system = network([2, 3, 1])
    assert [(t.name, t.role, t.per_sample) for t in system.tensors] == [
        ("x", Role.DATA, True),
        ("y", Role.DATA, True),
        ("w1", Role.PARAMETER, False),
        ("b1", Role.PARAMETER, False),
        ("w2", Role.PARAMETER, False),
        ("b2", Role.PARAMETER, False),
        ("z1", Role.DEFINED, True),
        ("a1", Role.DEFINED, True),
        ("z2", Role.DEFINED, True),
        ("a2", Role.DEFINED, True),
        ("cost", Role.DEFINED, True),
    ]
    assert system.outputs == ("a2",)
    assert system.name == "network"


def test_widths_are_numbers_names_or_expressions() -> None:
    n, t = size("n"), size("T")
    system = network(["n", "2*T - 1", sp.Symbol("n") + 1, np.int64(7)])
    assert system.tensor("w1").shape == (2 * t - 1, n)
    assert system.tensor("w2").shape == (n + 1, 2 * t - 1)
    assert system.tensor("y").shape == (7,)


@pytest.mark.parametrize(
    "sigma",
    [
        "1 / (1 + exp(-z))",
        1 / (1 + sp.exp(-sp.Symbol("z"))),
        1 / (1 + sp.exp(-sp.Symbol("anything", positive=True))),
        lambda z: 1 / (1 + sp.exp(-z)),
    ],
)
def test_one_function_said_in_several_ways(sigma: object) -> None:
    system = network([2, 3, 1], sigma=sigma)
    assert function(system, "sigma") == 1 / (1 + sp.exp(-Z))
    assert [f.name for f in system.functions] == ["sigma", "squared_error"]
    assert {e.value.name for e in system if e.name in ("a1", "a2")} == {"sigma"}


def test_costs_said_in_several_ways() -> None:
    a, y = sp.symbols("a y")
    for cost in ("(a - y)**4", (a - y) ** 4, lambda p, q: (p - q) ** 4):
        assert function(network([2, 1], cost=cost), "loss") == (A - Y) ** 4


def test_sympys_piecewise_functions_are_converted() -> None:
    z = sp.Symbol("z")
    for given, expected in [
        (sp.Max(0, z), Maximum(0, Z)),
        (sp.Min(z, 1, 0), Minimum(0, Z)),
        (sp.Max(-1, sp.Min(z, 1)), Maximum(-1, Minimum(1, Z))),
        (sp.Piecewise((0, z <= 0), (z, True)), Where(Z <= 0, 0, Z)),
        (sp.Piecewise((0, z <= 0), (z, z < 1), (1, True)), Where(Z <= 0, 0, Where(Z < 1, Z, 1))),
        (sp.Heaviside(z), Where(Z < 0, 0, Where(Z > 0, 1, sp.Rational(1, 2)))),
        (0.1 * z, Z / 10),
        (sp.tanh, sp.tanh(Z)),
        (lambda z: z, Z),
        (lambda _: 0, sp.Integer(0)),
    ]:
        found = function(network([2, 1], sigma=given), "sigma")
        assert found == expected
        assert not found.has(sp.Piecewise, sp.Max, sp.Min, sp.Heaviside, sp.Float)


def test_undefined_functions_keep_their_names() -> None:
    system = network(["m", "n"], sigma=sp.Function("sigma"), cost=sp.Function("cost"))
    assert [(f.name, len(f.parameters), f.body, f.origin) for f in system.functions] == [
        ("sigma", 1, None, "undefined"),
        ("cost", 2, None, "undefined"),
    ]
    assert system.defining("a1")[0].value == Call("sigma", (0,), Access("z1", *system.defining("a1")[0].indices))
    inner = network(["m", "n"], sigma=2 * sp.Function("phi")(sp.Symbol("z")))
    assert function(inner, "sigma") == 2 * Call("phi", (0,), Z)
    assert inner.function("phi").body is None


def test_one_function_for_each_layer() -> None:
    def used(system: System) -> list[str]:
        return [e.value.name for e in system if e.name.startswith("a")]

    assert used(network([2, 3, 4, 1], sigma=["relu", "tanh"], output="identity")) == ["relu", "tanh", "identity"]
    assert used(network([2, 3, 4, 1], sigma=["relu", "tanh", "sigmoid"])) == ["relu", "tanh", "sigmoid"]
    assert used(network([2, 3, 4, 1], sigma=["relu", "tanh"])) == ["relu", "tanh", "tanh"]
    assert used(network([2, 3, 1], sigma="relu", output="z**2")) == ["relu", "sigma2"]
    assert used(network([2, 3, 4, 1], sigma=["z**2", "z**3"], output="z**2")) == ["sigma1", "sigma2", "sigma1"]
    assert used(network([2, 1], sigma=[], output="relu")) == ["relu"]


def test_softmax_may_be_hidden_too() -> None:
    system = network([2, 3, 3, 2], sigma=["softmax", "tanh"], output="softmax")
    first, last = system.defining("a1")[0], system.defining("a3")[0]
    assert first.value.has(sp.exp)
    assert last.value.has(sp.exp)
    symbols = [
        s
        for e in system
        for n in sp.preorder_traversal(e.value)
        if hasattr(n, "bound_symbols")
        for s in n.bound_symbols
    ]
    assert len(set(symbols)) == len(symbols)


@pytest.mark.parametrize(
    ("widths", "options", "message"),
    [
        ([3], {}, "expected 2 to"),
        ([], {}, "expected 2 to"),
        ("784", {}, "expected a list of widths"),
        ([3, 0], {}, "at least 1"),
        ([3, -2], {}, "at least 1"),
        ([3, 2.5], {}, "expected a width, found 2.5"),
        ([3, True], {}, "expected a width"),
        ([3, "int"], {}, "'int' is a C keyword"),
        ([3, "2**n"], {}, "expected a size"),
        ([3, "w1"], {}, "'w1' is a tensor of the network"),
        ([3, sp.Symbol("a b")], {}, "is not a name"),
        ([3, sp.Symbol("n") / 2], {}, "expected a whole number"),
        ([3, sp.factorial(sp.Symbol("n"))], {}, "expected a width"),
        ([3, 2], {"sigma": "sigmod"}, "unknown name 'sigmod'"),
        ([3, 2], {"sigma": "sigmod(z)"}, "unknown function 'sigmod'"),
        ([3, 2], {"sigma": "1/(1 + exp(-x))"}, "unknown name 'x'"),
        ([3, 2], {"sigma": "huber"}, "expected an activation"),
        ([3, 2], {"cost": "relu"}, "expected a cost"),
        ([3, 2], {"cost": "softmax"}, "expected a cost"),
        ([3, 2], {"sigma": ["relu", "tanh"]}, "found 2"),
        ([3, 2], {"sigma": ["relu"], "output": "tanh"}, "found 1"),
        ([3, 2], {"sigma": math.exp}, "the callable failed with TypeError"),
        ([3, 2], {"sigma": lambda _: "z"}, "returned a text"),
        ([3, 2], {"sigma": lambda z: [z]}, "returned a list"),
        ([3, 2], {"sigma": 3}, "expected a name, a formula"),
        ([3, 2], {"sigma": sp.Symbol("z") + sp.Symbol("t")}, "found the symbol 't'"),
        ([3, 2], {"cost": sp.Symbol("a") - sp.Symbol("t")}, "found the symbol 't'"),
        ([3, 2], {"sigma": sp.gamma(sp.Symbol("z"))}, "gamma is not part of the language"),
        ([3, 2], {"sigma": sp.I * sp.Symbol("z")}, "not part of the language"),
        ([3, 2], {"sigma": sp.Piecewise((0, sp.Symbol("z") < 0))}, "undefined somewhere"),
        ([3, 2], {"sigma": sp.Function("system(0)")}, "is not a name"),
        ([3, 2], {"sigma": sp.Function("f"), "cost": sp.Function("f")}, "two different functions are named 'f'"),
    ],
)
def test_errors(widths: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(FormulaError, match=message.replace("(", r"\(").replace("*", r"\*")):
        network(widths, **options)  # type: ignore[arg-type]


def test_the_time_grows_with_the_layers() -> None:
    start = time.perf_counter()
    system = network(["n"] * 401, sigma="tanh")
    assert len(system.equations) == 801
    assert time.perf_counter() - start < 5
