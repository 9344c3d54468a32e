"""Borders: where zeros around a tensor replace conditions, and where they would not."""

from __future__ import annotations

import pytest
import sympy as sp
from sympy import Integer, Max, Min

from chainrule.codegen.padding import Border, padding, with_guards_for_conditions
from chainrule.symbolic.expressions import Access, Range, Reduction, Where, index, size

N, K, P = size("N"), size("K"), size("P")
I, Q = index("p"), index("q")  # noqa: E741 - an index
SHAPES = {"x": (N,), "w": (K,), "v": (Integer(3),), "c": (Integer(10),)}


def full(symbol, extent):
    return Range(symbol, Integer(0), extent - 1)


def plan(body, ranges, guards=(), loops=None):
    return padding(Reduction("sum", body, ranges, guards), loops or [full(I, N)], SHAPES.__getitem__)


X = Access("x", I + Q - 1)
INSIDE = (I + Q - 1, N - I - Q)


def test_a_window_over_the_border():
    found = plan(Access("v", Q) * X, [full(Q, Integer(3))], INSIDE)
    assert found is not None
    assert found.borders == {X: Border("x", (1,), (1,))}
    assert found.ranges == (full(Q, Integer(3)),)


def test_bounds_that_keep_a_read_inside_count_too():
    """The gradient's form: max(0, p - N + 2) <= q <= min(2, p + 1) around x[p - q + 1]."""
    access = Access("x", I - Q + 1)
    found = plan(access * Access("v", Q), [Range(Q, Max(0, I - N + 2), Min(2, I + 1))])
    assert found is not None
    assert found.borders == {access: Border("x", (1,), (1,))}
    assert found.ranges == (full(Q, Integer(3)),)


@pytest.mark.parametrize(
    ("body", "ranges", "guards"),
    [
        (Access("v", Q) * X, [full(Q, Integer(3))], (*INSIDE, Q - I)),  # a condition of its own: q >= p
        (Access("v", Q) * sp.tanh(X), [full(Q, Integer(3))], INSIDE),  # tanh(0) is 0, exp(0) is not: factors only
        (X / (Access("v", Q) ** 2 + X**2), [full(Q, Integer(3))], INSIDE),  # 0/0 where v is 0 there
        (Access("w", Q) * Access("x", I - Q), [full(Q, K)], (I - Q,)),  # K - 1 zeros: unknown, perhaps many
        (Access("c", 3 * I + Q - 1), [full(Q, Integer(3))], (3 * I + Q - 1, 10 - 3 * I - Q)),  # so many zeros
        (Access("v", Q - I), [full(Q, N)], (Q - I, 2 + I - Q)),  # three values of q for each p, not N
    ],
)
def test_what_is_more_than_a_border_keeps_its_conditions(body, ranges, guards):
    assert plan(body, ranges, guards) is None


def test_a_sum_without_conditions_needs_no_zeros():
    found = plan(Access("x", I), [full(Q, K)])
    assert found is None or not found.borders


def test_conditions_on_indices_become_guards():
    body = Access("v", Q) * Where(sp.And(I + Q - 1 >= 0, I + Q - 1 < N), X, Integer(0))
    found = with_guards_for_conditions(Reduction("sum", body, [full(Q, Integer(3))]))
    assert set(found.guards) == set(INSIDE)
    assert found.body == Access("v", Q) * X
    other = with_guards_for_conditions(Reduction("sum", Where(Q < 2, Integer(0), X), [full(Q, Integer(3))]))
    assert other.guards == (Q - 2,)


@pytest.mark.parametrize(
    "reduction",
    [
        Reduction("sum", Where(X > 0, X, Integer(0)), [full(Q, K)]),  # on a value
        Reduction("sum", Where(Q > 1, X, Integer(1)), [full(Q, K)]),  # not zero elsewhere
        Reduction("max", Where(Q > 1, X, Integer(0)), [full(Q, K)]),  # zero counts in a maximum
        Reduction("prod", Where(Q > 1, X, Integer(0)), [full(Q, K)]),
        Reduction("sum", 1 + Where(Q > 1, X, Integer(0)), [full(Q, K)]),  # not a factor
    ],
)
def test_other_conditions_stay(reduction):
    assert with_guards_for_conditions(reduction) == reduction
