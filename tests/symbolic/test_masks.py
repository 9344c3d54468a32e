"""Values under conditions, stored once: the same values, zeros where the condition fails, only where that is safe."""

from __future__ import annotations

import pytest
import sympy as sp
from interpreter import Interpreter
from systems import MODELS, assert_same, case, system_of

from chainrule.symbolic import derive, parse
from chainrule.symbolic.affine import bounds_of
from chainrule.symbolic.domains import unproved
from chainrule.symbolic.expressions import Reduction, Where, accesses, walk
from chainrule.symbolic.masks import masked
from chainrule.symbolic.samples import with_samples
from chainrule.symbolic.simplify import merged_sums, simplified
from chainrule.symbolic.stable import stable


def prepared(system, wrt=None):
    """The gradient System as it comes to the masks."""
    return stable(merged_sums(simplified(derive(with_samples(system), wrt, explain=False).result), system.outputs))


def stored(before, after):
    """The equations that were added."""
    names = {t.name for t in before.tensors}
    return [e for e in after.equations if e.name not in names]


@pytest.mark.parametrize("name", MODELS)
def test_values_are_unchanged(name):
    it = case(name)
    system = masked(stable(merged_sums(simplified(it.derivation.result), it.system.outputs)))
    interpreter = Interpreter(system, it.sizes, it.values)
    assert_same({n: interpreter.tensor(n) for n in it.gradients}, it.gradients, it.label)


def test_causal_attention_stores_its_exponentials_and_its_softmax_once():
    before = prepared(system_of("attention_causal"))
    after = masked(before)
    exponentials, softmax = stored(before, after)
    assert isinstance(exponentials.value, Where)
    assert exponentials.value.otherwise == 0
    assert exponentials.name in softmax.reads()
    assert not any(isinstance(n, Where) for n in walk(softmax.value))
    guarded = [n for e in after.equations for n in walk(e.value) if isinstance(n, Reduction) and n.guards]
    assert {n.kind for n in guarded} == {"max"}, "every guarded sum has become one over a whole box"
    assert sum(e.value.has(sp.exp) for e in after.equations) == 1


EARLIER = """
data x[N]
parameter a[N, N], v[N]
index i < N
s[i, j] = a[i, j]*x[j]
l[i] = logsumexp[j : j < i](s[i, j])
o[i] = sum[j : j < i](exp(s[i, j] - l[i])*v[j])
cost = sum[i](o[i]**2)
"""


def test_a_sum_that_may_be_empty_is_divided_by_under_its_condition():
    """The first row has no terms, and 0/0 in it: the quotient is stored where the condition holds, else 0."""
    before = prepared(parse(EARLIER))
    quotients = [e for e in stored(before, masked(before)) if any(n.is_Pow and n.exp == -1 for n in walk(e.value))]
    assert quotients
    assert all(isinstance(e.value, Where) for e in quotients)


START = "data x[N]\nparameter w[N], a[N, N], b[M, N]\nindex i < N\n"
END = "\ncost = sum[i](c[i]**2*x[i] + w[i]) + sum[i, k](a[i, k]) + sum[n, k](b[n, k])"


@pytest.mark.parametrize(
    "equation",
    [
        pytest.param("c[i] = sum[k : k < i](w[k]/(i - k))", id="infinite where the condition fails"),
        pytest.param("c[i] = sum[k : k < i](exp(w[k]*x[i - k - 1]))", id="outside its tensor where it fails"),
        pytest.param("c[i] = sum[k : i <= k + 2 and k <= i](exp(a[i, k])*x[k])", id="a narrow band of the square"),
        pytest.param("index m < M\nd[m] = sum[k : k <= m](exp(b[m, k])*x[k])\nc[i] = x[i]*sum[m](d[m])", id="a corner"),
        pytest.param("c[i] = sum[k : k <= i](exp(w[k]*x[i]))", id="larger than every tensor that it reads"),
    ],
)
def test_what_is_not_stored(equation):
    before = prepared(parse(START + equation + END))
    assert masked(before) == before


def test_stored_values_read_inside_their_tensors_and_are_no_larger():
    for name in MODELS:
        before = prepared(system_of(name))
        after = masked(before)
        for equation in stored(before, after):
            read = accesses(equation.value)
            bounds = bounds_of(equation.ranges)
            assert not any(unproved(a, after.tensor(a.name).shape, bounds) for a in read), name
            assert len(equation.indices) <= max(len(a.indices) for a in read), name


def test_masked_values_serve_graphs_too():
    """Messages along the edges j <= i, read by the sum, its scale and the gradients."""
    text = """
data x[N, D], y[N, D]
parameter a[N, N], w[D]
index i < N
h[i, d] = sum[j : j <= i](tanh(a[i, j])*x[j, d]*w[d])
cost = sum[i, d]((h[i, d] - y[i, d])**2)
"""
    before = prepared(parse(text))
    (edges,) = stored(before, masked(before))
    assert isinstance(edges.value, Where)
    assert [len(a.indices) for a in accesses(edges.value)] == [2]
    assert not any(n.guards for e in masked(before).equations for n in walk(e.value) if isinstance(n, Reduction))
