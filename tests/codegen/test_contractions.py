"""Which sums are contractions, of which operands, in which order."""

from __future__ import annotations

import pytest
import sympy as sp
from sympy import Integer

from chainrule.codegen.contractions import Factors, Group
from chainrule.symbolic import LoweringError
from chainrule.symbolic.expressions import Access, Range, index, size
from chainrule.symbolic.samples import BATCH

N, M, R = size("n"), size("m"), size("r")
S, J, K, Q = (index(n) for n in "sjkq")


def full(symbol, extent):
    return Range(symbol, Integer(0), extent - 1)


s, j, k, q = full(S, BATCH), full(J, N), full(K, M), full(Q, R)
X, W, B = Access("x", S, K), Access("w", J, K), Access("b", J)


def test_a_matrix_product():
    factors = Factors.of(X * W, [s, j], [k])
    assert factors.contractible
    left, right = factors.oriented()
    assert (left.access, right.access) == (X, W)


def test_the_operand_with_the_earlier_index_stands_left():
    assert Factors.of(X * W, [j, s], [k]).oriented()[0].access == W


def test_smaller_factors_join_a_larger_one():
    factors = Factors.of(X * W * B * 2, [s, j], [k])
    assert factors.contractible
    assert {g.indices for g in factors.groups} == {frozenset({S, K}), frozenset({J, K})}
    (joined,) = [g for g in factors.groups if J in g.indices]
    assert set(joined.factors) >= {W, B}
    assert joined.access is None


@pytest.mark.parametrize(
    "body",
    [
        Access("x", S, K) ** 2,  # one operand
        Access("x", S, K) * Access("y", S, K),  # an inner product for each s: fused as it is
        sp.exp(Access("x", S, K) + Access("w", J, K)),  # no product
        Access("x", S, K) * 3,
    ],
)
def test_what_is_no_contraction(body):
    assert not Factors.of(body, [s, j], [k]).contractible


def test_a_window_of_a_function_would_be_stored_for_every_place():
    window = sp.tanh(Access("x", S, J + K))
    assert not Factors.of(window * Access("w", K, Q), [s, j, q], [k]).contractible
    assert Factors.of(Access("x", S, J + K) * Access("w", K, Q), [s, j, q], [k]).contractible
    assert Group(frozenset({S, J, K}), (window,)).windowed
    assert not Group(frozenset({S, K}), (sp.tanh(Access("x", S, K + 1)),)).windowed


def test_a_reduced_index_that_no_factor_has_is_not_lost():
    assert not Factors.of(X * W, [s, j], [k, q]).contractible


def test_low_rank_goes_through_the_sample():
    """Σ_kq u_jq v_kq x_sk: (x v) first, not u v, which is a matrix of full size."""
    body = Access("u", J, Q) * Access("v", K, Q) * X
    left, right, reduced, rest = Factors.of(body, [s, j], [k, q]).pair()
    assert {left.access, right.access} == {Access("v", K, Q), X}
    assert reduced == (k,)
    assert [g.access for g in rest] == [Access("u", J, Q)]


def test_the_smallest_result_comes_first():
    """Σ_kq a_jk b_kq c_q: b c is a vector, a b a matrix."""
    body = Access("a", J, K) * Access("b", K, Q) * Access("c", Q)
    factors = Factors.of(body, [j], [k, q])
    assert {g.indices for g in factors.groups} == {frozenset({J, K}), frozenset({K, Q})}


def test_one_operand_has_no_pair():
    with pytest.raises(LoweringError, match="two operands"):
        Factors.of(X, [s], [k]).pair()
