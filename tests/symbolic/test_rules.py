"""One rule, one test: its formula, by name; all of them together are held to differences in test_derive."""

from __future__ import annotations

import pytest
import sympy as sp
from sympy import Integer

from chainrule.symbolic import DerivationError, parse
from chainrule.symbolic.expressions import Access, Call, Delta, Maximum, Partial, Range, Reduction, Where, index, size
from chainrule.symbolic.primitives import Sigmoid
from chainrule.symbolic.rules import (
    definition_at,
    depends,
    influenced,
    influencing,
    unfold,
    unfold_all,
    unfold_term,
)
from chainrule.symbolic.terms import Rule, Term, total

SYSTEM = parse("""
data x[n], y[n]
parameter w[n, n]
z[j] = sum[k](w[j, k]*x[k])
a[j] = tanh(z[j])
cost = sum[j]((a[j] - y[j])**2)
""")
I, J, K = (index(n) for n in "ijk")  # noqa: E741 - the letters of the formulas
N = size("n")
U, V = Access("x", I), Access("y", I)
WRT = Access("x", J)


def terms(of, **keywords):
    return unfold(Partial(of, WRT), SYSTEM, through=False, **keywords)


def test_sum():
    found = terms(U + V)
    assert found.rule is Rule.SUM
    assert {t.factors[0] for t in found.terms} == {Partial(U, WRT), Partial(V, WRT)}


def test_product_keeps_the_order_and_skips_constants():
    found = terms(sp.Mul(U, V, evaluate=False))
    assert found.rule is Rule.PRODUCT
    (term,) = found.terms
    assert set(term.factors) == {V, Partial(U, WRT)}


def test_power():
    (term,) = terms(U**3).terms
    assert term.factors == (3, U**2, Partial(U, WRT))
    (term,) = terms(Integer(2) ** U).terms
    assert total((term,)) == 2**U * sp.log(2) * Partial(U, WRT)
    assert len(terms(U**U).terms) == 2


def test_chain_for_functions_named_and_known():
    (term,) = terms(sp.tanh(U)).terms
    assert term.factors == (1 - sp.tanh(U) ** 2, Partial(U, WRT))
    (term,) = terms(Call("f", (0, 1), V, U)).terms
    assert term.factors == (Call("f", (0, 2), V, U), Partial(U, WRT))
    (term,) = terms(Sigmoid(U)).terms
    assert total((term,)) == Sigmoid(U) * Sigmoid(-U) * Partial(U, WRT)
    assert terms(sp.Abs(U)).terms[0].factors[0] == sp.sign(U)
    assert terms(sp.exp(U)).rule is Rule.CHAIN
    assert total(terms(Maximum(U, V)).terms) == Where(U >= V, 1, 0) * Partial(U, WRT)


def test_where_on_values_is_a_mask():
    found = terms(Where(U > 0, U, V * U))
    assert found.terms[0].factors == (Where(U > 0, 1, 0), Partial(U, WRT))
    assert found.terms[1].factors == (Where(U > 0, 0, 1), Partial(U * V, WRT))


def test_where_on_indices_is_a_guard_on_each_side():
    found = terms(Where(I < 2, U, U**2))
    assert [t.guards for t in found.terms] == [(1 - I,), (I - 2,)]
    assert [len(t.factors) for t in found.terms] == [1, 1]
    both = terms(Where(sp.And(I >= 1, I < N), U, U**2))
    assert both.terms[0].guards == (I - 1, N - I - 1) or set(both.terms[0].guards) == {I - 1, N - I - 1}
    assert isinstance(both.terms[1].factors[0], Where)  # what is not one inequality stays a mask


def test_kronecker():
    found = terms(U)
    assert found.rule is Rule.KRONECKER
    assert found.terms == (Term((Integer(1),), deltas=(Delta(I, J),)),)
    assert terms(V).terms == ()
    assert unfold(Partial(Access("x", Integer(0)), Access("x", Integer(1))), SYSTEM).terms == ()


def test_definition_only_through():
    of = Access("z", I)
    found = unfold(Partial(of, WRT), SYSTEM)
    assert found.rule is Rule.DEFINITION
    assert isinstance(found.terms[0].factors[0].of, Reduction)
    assert unfold(Partial(of, WRT), SYSTEM, through=False).terms == ()
    assert definition_at(of, SYSTEM).free_symbols >= {I}


def test_sum_product_and_extremes_over_an_index():
    body = Access("x", K) * Access("y", K)
    for kind in ("sum", "prod", "max", "min"):
        (term,) = terms(Reduction(kind, body, [Range(K, Integer(0), N - 1)], [N - 2 - K])).terms
        (bound,) = term.bound
        assert bound.symbol != K
        assert term.guards == (N - 2 - bound.symbol,)
        assert isinstance(term.factors[-1], Partial)
        assert len(term.factors) == {"sum": 1, "prod": 2, "max": 3, "min": 3}[kind]


def test_what_has_no_rule_is_an_error_that_says_so():
    with pytest.raises(DerivationError, match="no derivative that a kernel can compute"):
        terms(sp.Function("g")(U))
    assert terms(Delta(I, J)).terms == ()  # a delta of indices is a constant


def test_all_at_once_leaves_no_derivative():
    found = unfold_all(Partial(definition_at(Access("z", I), SYSTEM), Access("w", J, K)), SYSTEM)
    (term,) = found
    assert set(term.deltas) == {Delta(I, J), Delta(term.bound[0].symbol, K)}
    assert not any(isinstance(f, Partial) for f in term.factors)
    assert unfold_term(term, SYSTEM) == (term,)


def test_who_influences_whom():
    assert influenced(SYSTEM, "w") == {"w", "z", "a", "cost"}
    assert influencing(SYSTEM, "z") == {"w", "x", "z"}
    assert depends(U + V, frozenset({"y"}))
    assert not depends(U, frozenset({"y"}))


def test_influence_goes_round_a_recurrence():
    system = parse("""
data x[T], y
parameter a, b, c
h[0] = a
h[t] = tanh(g[t - 1] + x[t - 1])
g[t] = b*h[t]
cost = (h[T] - y)**2 + c
""")
    assert {"h", "g", "cost"} <= influenced(system, "b")
    assert {"a", "b", "x", "g"} <= influencing(system, "h")
    assert "c" not in influencing(system, "h")
