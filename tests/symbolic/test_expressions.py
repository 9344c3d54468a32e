"""The nodes that SymPy lacks: hygiene of binders, derivatives, and what SymPy must not do to them."""

from __future__ import annotations

import pickle

import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st
from sympy import Integer

from chainrule.symbolic.expressions import (
    Access,
    Call,
    Delta,
    Maximum,
    Minimum,
    Partial,
    Range,
    Reduction,
    Where,
    accesses,
    alpha_key,
    contains,
    freshen,
    index,
    rebuild,
    size,
    walk,
)

N = size("N")
X, Y = sp.symbols("x y", real=True)
I, J = index("i"), index("j")  # noqa: E741 - the letters of the formulas


def full(symbol, upper=N - 1):
    return Range(symbol, Integer(0), upper)


def evaluate(expression, env, read):
    """The value at integers, N = 3, by brute force."""
    if expression.is_Symbol:
        return env[expression]
    if isinstance(expression, Access):
        return read(*(evaluate(i, env, read) for i in expression.indices))
    if isinstance(expression, Reduction):

        def combinations(ranges, inner):
            if not ranges:
                yield inner
                return
            r, *rest = ranges
            for i in range(evaluate(r.lower, inner, read), evaluate(r.upper, inner, read) + 1):
                yield from combinations(rest, {**inner, r.symbol: i})

        envs = [e for e in combinations(list(expression.ranges), env)
                if all(evaluate(g, e, read) >= 0 for g in expression.guards)]  # fmt: skip
        return sum(evaluate(expression.body, e, read) for e in envs)
    if expression.is_Integer:
        return int(expression)
    inner = [evaluate(a, env, read) for a in expression.args]
    return sum(inner) if expression.is_Add else inner[0] * evaluate(sp.Mul(*expression.args[1:]), env, read)


OUTER = [index(n) for n in "ab"]


@st.composite
def expressions(draw, scope=tuple(OUTER), depth=2):
    """Sums in sums over accesses, all bound indices of one name, so that only identity tells them apart."""
    terms = []
    for _ in range(draw(st.integers(1, 2))):
        if depth and draw(st.booleans()):
            bound = index("k")
            upper = draw(st.sampled_from([N - 1, *scope]))
            body = draw(expressions((*scope, bound), depth - 1))
            guards = [draw(st.sampled_from(scope)) + 1 - bound] if draw(st.booleans()) else []
            terms.append(Reduction("sum", body, [full(bound, upper)], guards))
        else:
            terms.append(Access("f", *(draw(st.sampled_from(scope)) + draw(st.integers(-1, 1)) for _ in range(2))))
    return draw(st.sampled_from([sp.Add, sp.Mul]))(*terms)


def element(*where):
    return sum((m + 2) * (w + 3) ** 2 for m, w in enumerate(where)) % 101


ENVS = [{N: 3, OUTER[0]: a, OUTER[1]: b} for a in range(3) for b in range(3)]


@given(expressions())
def test_fresh_copies_have_the_same_value_and_no_index_in_common(expression):
    copy = freshen(expression)
    bound = {s for n in walk(expression) if isinstance(n, Reduction) for s in n.bound_symbols}
    again = {s for n in walk(copy) if isinstance(n, Reduction) for s in n.bound_symbols}
    assert not bound & again
    assert all(evaluate(expression, e, element) == evaluate(copy, e, element) for e in ENVS)


@given(expressions(), st.permutations(OUTER), st.integers(-1, 1))
def test_substitution_captures_nothing(expression, swapped, shift):
    """a becomes b (+ shift) and b becomes a, also under sums whose indices have any name."""
    mapping = {OUTER[0]: swapped[0] + shift, OUTER[1]: swapped[1]}
    moved = freshen(expression, mapping)
    for env in ENVS:
        there = {N: 3, OUTER[0]: env[swapped[0]] + shift, OUTER[1]: env[swapped[1]]}
        assert evaluate(moved, env, element) == evaluate(expression, there, element)


@given(expressions())
def test_a_bound_index_may_not_capture_what_is_put_in(expression):
    """The index of a sum put in from outside stays the outer one."""
    sums = [n for n in walk(expression) if isinstance(n, Reduction)]
    for reduction in sums:
        outside = reduction.bound_symbols[0]
        moved = freshen(reduction, dict.fromkeys(OUTER, outside))
        assert outside not in moved.bound_symbols


@given(expressions())
def test_equal_up_to_names_is_an_equal_key(expression):
    assert alpha_key(freshen(expression)) == alpha_key(expression)


@given(expressions(), expressions())
def test_an_equal_key_is_an_equal_value(first, second):
    if alpha_key(first) == alpha_key(second):
        assert all(evaluate(first, e, element) == evaluate(second, e, element) for e in ENVS)


def test_keys_tell_a_transposed_sum_apart():
    k, m = index("k"), index("k")
    rows = Reduction("sum", Reduction("sum", Access("f", k, m), [full(m)]), [full(k)])
    columns = Reduction("sum", Reduction("sum", Access("f", m, k), [full(m)]), [full(k)])
    assert alpha_key(rows) != alpha_key(columns)


def test_indices_are_equal_to_no_other():
    assert index("i") != index("i")
    assert size("N") == size("N")


def test_deltas_that_are_decided():
    assert Delta(I, I) == 1
    assert Delta(I + 1, I) == 0
    assert isinstance(Delta(I, J), Delta)
    assert Delta(N, N) == 1


def test_where_that_is_decided():
    assert Where(sp.true, X, Y) == X
    assert Where(sp.false, X, Y) == Y
    assert Where(X > 0, Y, Y) == Y
    assert Where(True, X, Y) == X
    for text in (("x > 0", X, Y), (X > 0, "x", Y)):
        with pytest.raises(TypeError, match="expected a SymPy object, came str"):
            Where(*text)
    assert Where(X > 0, X, -X).diff(X) == Where(X > 0, 1, -1)


def test_derivatives_of_extremes_are_those_of_the_branch_that_holds():
    assert Maximum(X, Y).fdiff(1) == Where(X >= Y, 1, 0)
    assert Minimum(X, Y).fdiff(2) == Where(X <= Y, 0, 1)
    assert Maximum(X, 0).diff(X) == Where(X >= 0, 1, 0)


def test_calls_count_their_derivatives():
    call = Call("f", (0, 0), X, X * Y)
    assert call.fdiff(2).orders == (0, 1)
    assert call.diff(X) == Call("f", (1, 0), X, X * Y) + Call("f", (0, 1), X, X * Y) * Y
    assert str(Call("f", (2,), X)) == "f''(x)"


def test_sums_are_differentiated_under_the_sign_and_other_reductions_refused():
    k = index("k")
    total = Reduction("sum", Access("a", k) * X**2, [full(k)])
    assert alpha_key(total.diff(X)) == alpha_key(Reduction("sum", 2 * X * Access("a", k), [full(k)]))
    assert total.diff(Y) == 0
    with pytest.raises(TypeError, match="prod"):
        Reduction("prod", Access("a", k) * X, [full(k)]).diff(X)
    with pytest.raises(ValueError, match="unknown reduction"):
        Reduction("median", X, [full(k)])


def test_bound_indices_are_not_free():
    k = index("k")
    assert Reduction("sum", Access("a", k, I), [full(k, J)], [I - k]).free_symbols == {I, J}


def test_ranges_and_walks():
    assert full(I).extent == N
    expression = Access("a", I) * Access("b") + Access("a", I)
    assert accesses(expression) == [Access("a", I), Access("b")] or accesses(expression) == [
        Access("b"),
        Access("a", I),
    ]
    assert contains(expression, lambda n: n == I)
    assert rebuild(expression, expression.args) is expression
    assert str(Access("lam")) == "lam"
    assert str(Partial(X, Access("w", I))) == "D(x, w[_i])"


def test_printing_and_pickling_keep_nodes_whole():
    k = index("k")
    for node in (
        Access("a", I),
        Reduction("max", Access("a", k), [full(k)], [I - k]),
        Where(Access("a", I) > 0, X, Y),
        Call("f", (1,), X),
        Delta(I, J),
    ):
        assert pickle.loads(pickle.dumps(node)) == node
        assert str(node)


def test_sympy_leaves_binders_alone():
    """expand and cancel never split a sum, nor shift it."""
    k = index("k")
    total = Reduction("sum", Access("a", k) * (X + Y), [full(k)])
    assert len([n for n in walk(sp.expand(total)) if isinstance(n, Reduction)]) == 1
    assert sp.cancel(total / total) == 1
