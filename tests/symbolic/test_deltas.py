"""Deltas: a collapsed term has the value of the term, by brute force over every index, whatever the shifts,
strides, guards and bounds that depend on other indices; what can be solved is solved."""

from __future__ import annotations

import math
from fractions import Fraction

import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Integer, Max, Min

from chainrule.symbolic.deltas import collapse, hoist
from chainrule.symbolic.expressions import Access, Delta, Range, Reduction, index, size
from chainrule.symbolic.terms import Term

N, M = size("N"), size("M")


def element(*where):
    """The value of f at any integers, in range or not: different nearly everywhere."""
    return math.sin(sum((m + 1) * (2.5 + w) ** 2 for m, w in enumerate(where)))


def number(expression, env):
    """The value of an expression of indices and sizes in which every access is f."""
    if expression.is_Symbol:
        return env[expression]
    if expression.is_Number:
        return int(expression) if expression.is_Integer else Fraction(int(expression.p), int(expression.q))
    if isinstance(expression, Reduction):
        return math.fsum(number(expression.body, e) for e in points(expression.ranges, expression.guards, env))
    if isinstance(expression, Access):
        return element(*(number(i, env) for i in expression.indices))
    inner = [number(a, env) for a in expression.args]
    if isinstance(expression, Delta):
        return int(inner[0] == inner[1])
    return _FUNCTIONS[expression.func](inner)


_FUNCTIONS = {sp.Mul: math.prod, sp.Add: sum, Max: max, Min: min}


def points(ranges, guards, env):
    """Every admitted combination of the indices, the first outermost."""
    if not ranges:
        if all(number(g, env) >= 0 for g in guards):
            yield env
        return
    r, *rest = ranges
    for i in range(math.ceil(number(r.lower, env)), math.floor(number(r.upper, env)) + 1):
        yield from points(rest, guards, {**env, r.symbol: i})


def value(term, env):
    return math.fsum(
        math.prod([number(f, e) for f in (*term.deltas, *term.factors)]) for e in points(term.bound, term.guards, env)
    )


def assert_equal(before, after, free):
    """The same value for all free indices, at several sizes."""
    for n, m in ((1, 1), (1, 3), (3, 2)):
        sizes = {N: n, M: m}
        for env in points(free, (), sizes):
            assert math.isclose(value(before, env), value(after, env), rel_tol=1e-9, abs_tol=1e-9), (
                f"{before}\n{after}\nat {env}: {value(before, env)} became {value(after, env)}"
            )


small = st.integers(-2, 2)


@st.composite
def affine(draw, symbols):
    """A small affine expression of some of the symbols."""
    total = Integer(draw(small))
    for symbol in symbols:
        total += draw(st.sampled_from([0, 0, 1, 1, -1, 2, 3])) * symbol
    return total


@st.composite
def terms(draw):
    """A term with one to three bound indices and one or two free ones, and the free ones' ranges."""
    extents = [N, M, Integer(2), Integer(3), N + M - 1]
    free = [
        Range(index("ij"[m]), Integer(0), draw(st.sampled_from(extents)) - 1) for m in range(draw(st.integers(1, 2)))
    ]
    bound: list[Range] = []
    for m in range(draw(st.integers(1, 3))):
        lower, upper = Integer(0), draw(st.sampled_from(extents)) - 1
        if bound and draw(st.booleans()):
            other = draw(st.sampled_from(bound)).symbol
            lower, upper = draw(
                st.sampled_from([(other, upper), (lower, other), (Max(0, other - 1), Min(upper, other + 1))])
            )
        bound.append(Range(index("klm"[m]), lower, upper))
    symbols = [r.symbol for r in (*free, *bound)]
    inner = [r.symbol for r in bound]
    deltas = []
    for _ in range(draw(st.integers(1, 2))):
        delta = Delta(draw(st.sampled_from(free)).symbol, draw(affine(inner)))
        if isinstance(delta, Delta):
            deltas.append(delta)
    guards = [draw(affine(symbols)) for _ in range(draw(st.integers(0, 2)))]
    factors = [Access("f", *(draw(affine(symbols)) for _ in range(draw(st.integers(1, 2))))) for _ in range(2)]
    if draw(st.booleans()):
        k = index("q")
        factors.append(
            Reduction("sum", Access("f", k, draw(affine(symbols))), [Range(k, Integer(0), draw(affine(inner)))])
        )
    return Term(tuple(factors), tuple(bound), tuple(deltas), tuple(guards)), free


@settings(max_examples=150)
@given(terms())
def test_a_collapsed_term_has_the_same_value(case):
    term, free = case
    collapsed = collapse(term, free)
    assert_equal(term, collapsed, free)
    assert_equal(term, hoist(collapsed), free)


H, J, K, L, P = (index(n) for n in "hjklp")


def one(*factors, bound, deltas, guards=()):
    return Term(factors, tuple(bound), tuple(deltas), tuple(guards))


def test_a_delta_keeps_one_value_of_its_index():
    """Σ_k δ_kh f_k = f_h."""
    term = one(Access("f", K), bound=[Range(K, Integer(0), N - 1)], deltas=[Delta(K, H)])
    assert collapse(term, [Range(H, Integer(0), N - 1)]) == Term((Access("f", H),))


def test_a_shift_bounds_the_other_index():
    """Σ_{p<P, k<K} δ(i, p + k) dy_p h_k: k from max(0, i - P + 1) to min(K - 1, i)."""
    term = one(
        Access("dy", P), Access("h", K), bound=[Range(P, Integer(0), N - 1), Range(K, Integer(0), M - 1)],
        deltas=[Delta(H, P + K)],
    )  # fmt: skip
    found = collapse(term, [Range(H, Integer(0), N + M - 2)])
    assert found.bound == (Range(K, Max(0, H - N + 1), Min(M - 1, H)),)
    assert found.factors == (Access("dy", H - K), Access("h", K))
    assert not found.deltas
    assert not found.guards


def test_a_bound_that_another_implies_is_dropped():
    """From j >= 0 and j >= i + 1 with i >= 0 the second remains."""
    term = one(Access("f", H, J), bound=[Range(J, Integer(0), N - 1)], deltas=[], guards=[J - H - 1])
    assert collapse(term, [Range(H, Integer(0), N - 1)]).bound == (Range(J, H + 1, N - 1),)


def test_a_stride_stays_a_delta():
    """Σ_p δ(i, 2p) f_p has no integer solution for odd i: it is written by a scatter, never as f_{i/2}."""
    term = one(Access("f", P), bound=[Range(P, Integer(0), N - 1)], deltas=[Delta(H, 2 * P)])
    assert collapse(term, [Range(H, Integer(0), 2 * N - 1)]).deltas == (Delta(H, 2 * P),)


def test_a_window_of_a_stride_is_gathered():
    """Σ_{p, u<2} δ(i, 2p + u) f_p: u = i - 2p, its bounds are guards on p."""
    term = one(Access("f", P), bound=[Range(P, Integer(0), N - 1), Range(K, Integer(0), Integer(1))],
               deltas=[Delta(H, 2 * P + K)])  # fmt: skip
    found = collapse(term, [Range(H, Integer(0), 2 * N - 1)])
    assert set(found.guards) == {H - 2 * P, 2 * P + 1 - H}
    assert not found.deltas


def test_deltas_that_contradict_each_other_are_zero():
    term = one(Access("f", K), bound=[Range(K, Integer(0), N - 1)], deltas=[Delta(K, H), Delta(K, H + 1)])
    assert 0 in collapse(term, [Range(H, Integer(0), N - 1)]).factors


def test_an_access_does_not_leave_a_sum_that_may_be_empty():
    """a_i Σ_{k = i}^{M-1} f_k would read a_i where the sum is empty, and a may have no such element."""
    term = Term((Access("a", H), Access("f", K)), (Range(K, H, M - 1),))
    assert hoist(term) == term
    term = Term((Access("a", H), Access("f", K)), (Range(K, Integer(0), M - 1),))
    assert hoist(term).factors[0] == Access("a", H)


def test_a_sum_of_nothing_but_a_count_is_the_count():
    assert hoist(Term((Access("a", H),), (Range(K, Integer(0), N - 1),))).factors == (N, Access("a", H))
    dependent = Term((Integer(1),), (Range(K, Integer(0), N - 1), Range(L, Integer(0), K)))
    assert hoist(dependent).expression == Reduction("sum", Integer(1), dependent.bound)
