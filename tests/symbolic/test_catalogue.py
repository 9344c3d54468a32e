"""The catalogue's formulas against the textbook, written out again with mpmath."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable

import mpmath
import pytest
import sympy as sp

from chainrule.symbolic.catalogue import CATALOGUE, definition, lookup, names, softmax
from chainrule.symbolic.errors import FormulaError
from chainrule.symbolic.expressions import Access, Range, Reduction, Where, index, size
from chainrule.symbolic.layers import network

mpf = mpmath.mpf

ACTIVATIONS: dict[str, Callable[[mpmath.mpf], mpmath.mpf]] = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "tanh": mpmath.tanh,
    "relu": lambda z: max(z, mpf(0)),
    "leaky_relu": lambda z: z if z > 0 else z / 100,
    "elu": lambda z: z if z > 0 else mpmath.expm1(z),
    "softplus": lambda z: mpmath.log1p(mpmath.exp(z)),
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "gelu": lambda z: z * mpmath.ncdf(z),
}
COSTS: dict[str, Callable[[mpmath.mpf, mpmath.mpf], mpmath.mpf]] = {
    "squared_error": lambda a, y: (a - y) ** 2,
    "half_squared_error": lambda a, y: (a - y) ** 2 / 2,
    "absolute_error": lambda a, y: abs(a - y),
    "huber": lambda a, y: (a - y) ** 2 / 2 if abs(a - y) <= 1 else abs(a - y) - mpf(1) / 2,
    "log_cosh": lambda a, y: mpmath.log(mpmath.cosh(a - y)),
    "binary_cross_entropy": lambda a, y: -(y * mpmath.log(a) + (1 - y) * mpmath.log(1 - a)),
    "cross_entropy": lambda a, y: -y * mpmath.log(a),
}


def evaluate(expression: sp.Expr, values: dict[sp.Symbol, mpmath.mpf]) -> mpmath.mpf:
    """The number, to 40 digits; a Where is decided first."""
    exact = {s: sp.Float(v, 40) for s, v in values.items()}
    done = expression.xreplace(exact)
    assert not done.has(Where)
    return mpf(str(sp.N(done, 40)))


def test_the_catalogue_has_what_the_design_names() -> None:
    assert names("activation") == tuple(ACTIVATIONS)
    assert names("layer") == ("softmax",)
    assert names("cost") == tuple(COSTS)
    assert set(names()) == set(CATALOGUE)
    assert all(entry.description for entry in CATALOGUE.values())


@pytest.mark.parametrize("name", [*ACTIVATIONS, *COSTS])
def test_values_and_derivatives_are_those_of_the_textbook(name: str) -> None:
    seed = secrets.randbits(32)
    rng = random.Random(seed)
    function = definition(name)
    textbook = ACTIVATIONS.get(name) or COSTS[name]
    probability = name.endswith("cross_entropy")
    for _ in range(8):
        draw = (lambda: rng.uniform(0.02, 0.98)) if probability else (lambda: rng.uniform(-4, 4))
        point = [mpf(draw()) for _ in function.parameters]
        values = dict(zip(function.parameters, point, strict=True))
        with mpmath.workdps(40):
            assert mpmath.almosteq(evaluate(function.body, values), textbook(*point), 1e-30), f"seed {seed}"
            for m in range(len(point)):
                orders = [int(m == k) for k in range(len(point))]
                found = evaluate(function.derivative(orders), values)
                expected = (
                    mpmath.diff(textbook, tuple(point), tuple(orders))
                    if len(point) > 1
                    else mpmath.diff(textbook, point[0])
                )
                assert mpmath.almosteq(found, expected, 1e-12, 1e-12), f"seed {seed}: {name} {orders} at {point}"


@pytest.mark.parametrize("name", [*ACTIVATIONS, *COSTS])
def test_derivatives_are_formulas_that_a_kernel_can_compute(name: str) -> None:
    function = definition(name)
    for orders in ((1,),) if len(function.parameters) == 1 else ((1, 0), (0, 1)):
        result = function.derivative(orders)
        assert not result.has(sp.DiracDelta, sp.Heaviside, sp.Derivative, sp.Subs, sp.Piecewise, sp.I, sp.re, sp.im)
        assert result.free_symbols <= set(function.parameters)


@pytest.mark.parametrize(
    ("name", "orders", "point", "expected"),
    [
        ("relu", (1,), (0,), 0),
        ("leaky_relu", (1,), (0,), sp.Rational(1, 100)),
        ("elu", (1,), (0,), 1),
        ("elu", (2,), (0,), 1),
        ("absolute_error", (1, 0), (3, 3), 0),
        ("huber", (1, 0), (1, 0), 1),
        ("huber", (0, 1), (1, 0), -1),
    ],
)
def test_at_a_kink_the_branch_that_holds_there_counts(
    name: str, orders: tuple[int, ...], point: tuple[int, ...], expected: sp.Expr
) -> None:
    function = definition(name)
    values = dict(zip(function.parameters, map(sp.Integer, point), strict=True))
    assert function.derivative(orders).xreplace(values) == expected
    assert CATALOGUE[name].kinks


def test_every_kink_is_described() -> None:
    for entry in CATALOGUE.values():
        assert bool(entry.kinks) == entry.body.has(sp.Abs, sp.LessThan, sp.GreaterThan, sp.StrictLessThan), entry.name


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu"])
def test_not_a_number_takes_the_branch_that_shows_it(name: str) -> None:
    body = definition(name).body
    (z,) = definition(name).parameters
    assert body.condition == (z <= 0)
    assert body.otherwise == z


def test_softmax_names_a_fresh_index() -> None:
    i, j, k = index("i"), index("j"), index("k")
    bound = Range(j, sp.Integer(0), size("n") - 1)
    result = softmax(Access("s", i, j) + Access("t", k), j, bound)
    numerator, denominator = sp.fraction(result)
    assert numerator == sp.exp(Access("s", i, j) + Access("t", k))
    (bound_index,) = denominator.bound_symbols
    assert isinstance(denominator, Reduction)
    assert bound_index not in (i, j, k)
    assert bound_index.name == "l"


def test_lookup_suggests_the_nearest_name() -> None:
    assert lookup("gelu").name == "gelu"
    with pytest.raises(FormulaError, match="did you mean 'sigmoid'"):
        lookup("sigmod")
    with pytest.raises(FormulaError, match="the catalogue has no 'xyz'"):
        lookup("xyz")
    with pytest.raises(FormulaError, match="works on a whole layer"):
        definition("softmax")


def test_every_entry_can_be_a_network() -> None:
    for name in names("activation", "layer"):
        for cost in names("cost"):
            assert network([3, 4, 2], sigma="tanh", output=name, cost=cost).has_cost
