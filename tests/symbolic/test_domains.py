"""Parts of equations on their own: the same value where they were in force, and no read outside a tensor."""

from __future__ import annotations

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Integer

from chainrule.symbolic.affine import bounds_of
from chainrule.symbolic.domains import protected, unproved
from chainrule.symbolic.expressions import Access, Range, Reduction, Where, index, size

N, K = size("N"), size("K")
I, J = index("i"), index("j")  # noqa: E741 - the letters of the formulas


def full(symbol, extent):
    return Range(symbol, Integer(0), extent - 1)


class Outside(Exception):
    """An element outside its tensor was read."""


def number(e, env, shape):
    """The value by brute force; Outside where an element is read that is not there."""
    if isinstance(e, Access):
        where = tuple(number(i, env, shape) for i in e.indices)
        if not all(0 <= i < n for i, n in zip(where, shape, strict=True)):
            raise Outside
        return 1 + sum((m + 2) * (i + 1) ** 2 for m, i in enumerate(where))
    if isinstance(e, Where):
        return number(e.then if number(e.condition, env, shape) else e.otherwise, env, shape)
    if isinstance(e, Reduction):
        (r,) = e.ranges
        span = range(number(r.lower, env, shape), number(r.upper, env, shape) + 1)
        envs = [{**env, r.symbol: i} for i in span]
        return sum(number(e.body, x, shape) for x in envs if all(number(g, x, shape) >= 0 for g in e.guards))
    if not e.args:
        return env[e] if e in env else bool(e) if e in (sp.true, sp.false) else int(e)
    inner = [number(a, env, shape) for a in e.args]
    table = {
        sp.Pow: lambda a: a[0] ** a[1],
        sp.Add: sum,
        sp.Mul: sp.prod,
        sp.And: all,
        sp.Ge: lambda a: a[0] >= a[1],
        sp.Max: max,
        sp.Min: min,
    }
    return table[e.func](inner)


affine = st.tuples(st.sampled_from([0, 1, -1, 2]), st.sampled_from([0, 1, -1]), st.integers(-2, 2))


@settings(max_examples=150)
@given(affine, affine, st.booleans(), st.booleans())
def test_protected_parts_read_inside_and_keep_their_value(first, second, in_sum, in_where):
    k = index("k")
    a, b = (Access("a", p * I + q * k + c) for p, q, c in (first, second))
    body = a * b
    if in_where:
        body = a + Where(I - 1 >= 0, b, Integer(5))
    expression = Reduction("sum", body, [full(k, K)]) if in_sum else body.xreplace({k: J})
    ranges = [full(I, N), full(J, K)]
    safe = protected(expression, ranges, lambda _: (N,))
    for n, m in ((1, 1), (2, 3), (4, 2)):
        for i in range(n):
            for j in range(m):
                env = {N: n, K: m, I: i, J: j}
                found = number(safe, env, (n,))
                try:
                    expected = number(expression, env, (n,))
                except Outside:
                    continue
                assert found == expected, f"{expression} as {safe} at {env}"


def test_what_is_proved_needs_no_guard():
    bounds = bounds_of([full(I, N)])
    assert unproved(Access("a", I), (N,), bounds) == ()
    assert unproved(Access("a", I + 1), (N + 1,), bounds) == ()
    assert unproved(Access("a", I + 1), (N,), bounds) == (N - I - 2,)
    assert unproved(Access("a", I - 1), (N,), bounds) == (I - 1,)


def test_facts_and_guards_count():
    k = index("k")
    total = Reduction("sum", Access("a", I + k), [full(k, K)], [N - 1 - I - k])
    assert protected(total, [full(I, N)], lambda _: (N,)) == total
    shifted = Reduction("sum", Access("a", I - 1) * Access("b", k), [full(k, N)])
    assert protected(shifted, [full(I, N)], lambda _: (N,), [I - 1]) == shifted
    assert protected(shifted, [full(I, N)], lambda _: (N,)).guards == (I - 1,)


@pytest.mark.parametrize("kind", ["sum", "prod"])
def test_a_read_in_every_combination_becomes_a_guard(kind):
    k = index("k")
    total = Reduction(kind, Access("a", I + k), [full(k, K)])
    assert protected(total, [full(I, N)], lambda _: (N,)).guards == (N - 1 - I - k,)


def test_a_maximum_of_what_nobody_asked_for_is_finite():
    """A guard would leave the maximum of nothing, -oo, and 0 times that is no number."""
    k = index("k")
    found = protected(Reduction("max", Access("a", I + k), [full(k, K)]), [full(I, N)], lambda _: (N,))
    assert found.guards == ()
    assert found.body == Where(N - 1 - I - k >= 0, Access("a", I + k), sp.Integer(0))
