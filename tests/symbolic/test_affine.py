"""Integer reasoning is sound: whatever it claims holds by brute force over indices and small sizes."""

from __future__ import annotations

import itertools

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Integer, Max, Min, Rational, ceiling, floor

from chainrule.symbolic.affine import (
    bounds_of,
    box,
    coefficient,
    edge,
    extreme,
    guards_of,
    integral,
    nonnegative,
    with_guards,
)
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Range, index, size

N, M = size("N"), size("M")
I, J, K = (index(n) for n in "ijk")  # noqa: E741 - the letters of the formulas
SIZES = list(itertools.product((1, 2, 3, 5), repeat=2))


def value(expression, env):
    """An exact number."""
    return expression.xreplace({k: Integer(v) for k, v in env.items()})


def points(ranges, env):
    """Every combination of the indices inside their bounds."""
    if not ranges:
        yield env
        return
    r, *rest = ranges
    for i in range(int(ceiling(value(r.lower, env))), int(floor(value(r.upper, env))) + 1):
        yield from points(rest, {**env, r.symbol: i})


def everywhere(ranges):
    return (env for n, m in SIZES for env in points(ranges, {N: n, M: m}))


small = st.integers(-3, 3)


@st.composite
def sizes_expression(draw):
    """A polynomial in the sizes, a floor, a minimum or a maximum of such."""
    linear = draw(small) * N + draw(small) * M + draw(st.integers(-6, 6))
    kind = draw(st.sampled_from(["linear", "linear", "product", "floor", "ceiling", "min", "max"]))
    other = draw(small) * N + draw(small)
    if kind == "product":
        return linear + draw(small) * N * M
    if kind == "floor":
        return floor(linear / draw(st.integers(2, 3))) + draw(small) * M
    if kind == "ceiling":
        return draw(small) * ceiling(linear / draw(st.integers(2, 3))) + other
    if kind in ("min", "max"):
        return draw(st.sampled_from([1, 2, -1])) * (Min if kind == "min" else Max)(linear, other) + draw(small)
    return linear


@st.composite
def ranged(draw):
    """Ranges of which a later one may depend on an earlier one, and an expression over them."""
    uppers = [N - 1, M - 1, N + M - 2, Integer(2), 2 * N - 1]
    ranges = [Range(I, Integer(draw(st.integers(0, 1))), draw(st.sampled_from(uppers)))]
    lower, upper = draw(
        st.sampled_from([(Integer(0), N - 1), (I, N + M), (Integer(0), I), (Max(0, I - M + 1), Min(N - 1, I))])
    )
    ranges.append(Range(J, lower, upper))
    ranges.append(Range(K, draw(st.sampled_from([Integer(0), J])), draw(st.sampled_from([*uppers, I + J]))))
    expression = draw(sizes_expression())
    for symbol in (I, J, K):
        expression += draw(st.sampled_from([0, 1, -1, 2, -2, N])) * symbol
    return ranges, expression


@settings(max_examples=150)
@given(sizes_expression())
def test_what_is_nonnegative_in_sizes_is(expression):
    if nonnegative(expression, {}):
        assert all(value(expression, {N: n, M: m}) >= 0 for n, m in SIZES)


@settings(max_examples=120)
@given(ranged())
def test_what_is_nonnegative_over_indices_is(case):
    ranges, expression = case
    if nonnegative(expression, bounds_of(ranges)):
        assert all(value(expression, env) >= 0 for env in everywhere(ranges)), f"{expression} over {ranges}"


@settings(max_examples=80)
@given(ranged(), ranged())
def test_guards_only_add_what_they_say(case, other):
    ranges, expression = case
    guard = other[1]
    if nonnegative(expression, with_guards(bounds_of(ranges), [guard])):
        admitted = (env for env in everywhere(ranges) if value(guard, env) >= 0)
        assert all(value(expression, env) >= 0 for env in admitted), f"{expression} over {ranges} where {guard} >= 0"


@settings(max_examples=60)
@given(ranged())
def test_a_box_holds_its_ranges(case):
    ranges, _ = case
    boxed = box(ranges)
    assert not any(r.lower.has(I, J, K) or r.upper.has(I, J, K) for r in boxed)
    for env in everywhere(ranges):
        assert all(value(b.lower, env) <= env[b.symbol] <= value(b.upper, env) for b in boxed)


@pytest.mark.parametrize(
    ("expression", "ranges"),
    [
        (N - 1 - I, [Range(I, Integer(0), N - 1)]),
        (N + M - 2 - I - J, [Range(I, Integer(0), N - 1), Range(J, Integer(0), M - 1)]),
        (2 * N - 1 - (2 * I + J), [Range(I, Integer(0), N - 1), Range(J, Integer(0), Integer(1))]),
        (I - J, [Range(I, Integer(0), N - 1), Range(J, Integer(0), I)]),
        (I - J, [Range(I, Integer(0), N - 1), Range(J, Integer(0), Min(I, N - 1))]),
        (N * M - 1 - (M * I + J), [Range(I, Integer(0), N - 1), Range(J, Integer(0), M - 1)]),
        (floor(N / 2), []),
        (N - floor(N / 2), []),
        (Max(N - 5, M), []),
        (N**2 - N, []),
    ],
)
def test_what_kernels_need_is_proved(expression, ranges):
    assert nonnegative(expression, bounds_of(ranges))


@pytest.mark.parametrize(
    "expression", [Min(N - 5, M), floor((N - 3) / 2), N - 2, 1 / N - 1, N - M, -Max(0, 3 - N), sp.sqrt(N) - 1.5]
)
def test_what_is_not_always_so_is_not_claimed(expression):
    assert not nonnegative(expression, {})


def test_an_unknown_symbol_proves_nothing():
    assert not nonnegative(I, {})


def test_coefficients():
    assert coefficient(2 * I - J + 3, I) == 2
    assert coefficient(I * N + J, I) == N
    assert coefficient(J, I) == 0
    assert coefficient(I**2, I) is None
    assert coefficient(floor(I / 2), I) is None


def test_integral():
    assert integral(2 * I - 3 + floor(N / 2))
    assert not integral(I / 2)
    assert integral((2 * I + 2) / 2)


def test_edges():
    assert edge(N - 1 - I + J, I) == N - 1 + J
    assert edge(I - 3, I) == 3
    assert edge(2 * I - 3, I) is None
    assert edge(I + J / 2, I) is None


def test_extremes():
    table = {r.symbol: r for r in (Range(I, Integer(0), N - 1), Range(J, Integer(1), Integer(2)))}
    assert extreme(I - 2 * J, table, -1) == -4
    assert extreme(I - 2 * J, table, 1) == N - 3
    with pytest.raises(LoweringError, match="no bound"):
        extreme(I**2, table, 1)


REAL = sp.Symbol("v", real=True)


@pytest.mark.parametrize(
    ("condition", "guards"),
    [
        (I >= 0, (I,)),
        (I > J, (I - J - 1,)),
        (I < N, (N - I - 1,)),
        (I <= N, (N - I,)),
        (sp.Eq(I, J), (I - J, J - I)),
        (sp.And(I >= 1, J < M), (I - 1, M - J - 1)),
        (sp.Ne(I, J), None),
        (sp.Or(I >= 1, J < M), None),
        (REAL > 0, None),
        (Access("a", I) > 0, None),
        (I * I > J, None),
        (I / 2 > J, None),
    ],
)
def test_conditions_as_guards(condition, guards):
    found = guards_of(condition)
    assert found == guards or (found is not None and set(found) == set(guards))


def test_a_rational_bound_is_exact():
    assert not nonnegative(N / 2 - Rational(3, 4), {})
    assert nonnegative(N / 2 - Rational(1, 2), {})
