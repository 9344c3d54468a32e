"""Algebra on gradient Systems: same values, no fewer tensors than asked for, σ′ through the stored output."""

from __future__ import annotations

from collections import Counter

import pytest
import sympy as sp
from interpreter import Interpreter
from systems import MODELS, assert_same, case

from chainrule.symbolic import derive, network, parse
from chainrule.symbolic.catalogue import names
from chainrule.symbolic.expressions import Access, Call, Range, Reduction, Where, accesses, index, size, walk
from chainrule.symbolic.inverses import inverses, through_outputs
from chainrule.symbolic.samples import SAMPLE_COST, with_samples
from chainrule.symbolic.simplify import merged_sums, simplified, tidied

N = size("N")


def values(system, it, wanted):
    interpreter = Interpreter(system, it.sizes, it.values)
    return {name: interpreter.tensor(name) for name in wanted}


@pytest.mark.parametrize("name", MODELS)
def test_values_are_unchanged(name):
    it = case(name)
    simple = simplified(it.derivation.result)
    assert_same(values(simple, it, it.gradients), it.gradients, it.label)
    kept = set(it.system.outputs)
    merged = merged_sums(simple, kept)
    assert_same(values(merged, it, it.gradients), it.gradients, f"{it.label}, sums merged")
    assert kept <= {e.name for e in merged.equations}
    before = Interpreter(with_samples(it.system), it.sizes, it.values)
    assert_same(values(merged, it, kept), {n: before.tensor(n) for n in kept}, it.label)


@pytest.mark.parametrize("name", MODELS)
def test_what_is_read_is_defined_and_what_is_left_is_wanted(name):
    it = case(name)
    simple = simplified(it.derivation.result)
    defined = {e.name for e in simple.equations} | {t.name for t in simple.inputs}
    assert {t.name for t in simple.tensors} == defined
    read = Counter(n for e in simple.equations for n in e.reads())
    adjoints = {t.name for t in simple.tensors if t.adjoint_of} - {t.name for t in simple.inputs}
    assert all(read[n] or n in simple.outputs for n in adjoints), it.label


STORED = ["sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus"]


@pytest.mark.parametrize("sigma", STORED)
def test_the_derivative_of_an_activation_is_read_from_its_output(sigma):
    """z is not read by the gradient: σ′ through the stored a, for every σ that has such a form."""
    simple = simplified(derive(with_samples(network([3, 4, 2], sigma=sigma)), explain=False).result)
    (dz,) = simple.defining("dz1")
    assert "z1" not in dz.reads(), dz.value
    assert "a1" in dz.reads()


@pytest.mark.parametrize("sigma", [n for n in names("activation") if n not in (*STORED, "identity")])
def test_what_has_no_such_form_keeps_z(sigma):
    simple = simplified(derive(with_samples(network([3, 4, 2], sigma=sigma)), explain=False).result)
    assert "z1" in simple.defining("dz1")[0].reads()


@pytest.mark.parametrize("formula", ["sin(z)", "z**2", "log(cosh(z))", "z + sin(z)"])
def test_the_many_valued_are_rejected(formula):
    system = with_samples(network([2, 2], sigma=formula))
    assert inverses(system, set()) == {}


def test_the_classics_come_out_as_on_paper():
    """Sigmoid with cross-entropy: (a - y)/n. Softmax with cross-entropy: (p Σy - y)/n."""
    network_ = network([3, 1], sigma="sigmoid", cost="binary_cross_entropy")
    simple = simplified(derive(with_samples(network_), explain=False).result)
    s, j = simple.defining("dz1")[0].indices
    batch = sp.Symbol("batch", integer=True, positive=True)
    expected = (Access("a1", s, j) - Access("y", s, j)) / batch
    assert sp.simplify(simple.defining("dz1")[0].value - expected) == 0


def test_an_adjoint_is_not_computed_again_in_a_further_loop():
    """dz[s, k] of a bilinear form: put into dw[k, i, j] it would be evaluated for every i and j."""
    system = parse("""
data x[A], u[B], y[C]
parameter w[C, A, B]
z[k] = sum[i, j](x[i]*w[k, i, j]*u[j])
cost = sum[k]((tanh(z[k]) - y[k])**2)
""")
    simple = simplified(derive(with_samples(system), explain=False).result)
    assert "dz" in {e.name for e in simple.equations}
    assert not any(isinstance(n, sp.tanh) for n in walk(simple.defining("dw")[0].value))


def test_elementwise_chains_are_put_in():
    simple = simplified(derive(with_samples(network([3, 2], sigma="tanh")), explain=False).result)
    assert "da1" not in {e.name for e in simple.equations}


def test_a_sum_of_its_own_counts_as_one_loop():
    """da = -y/a of a saturated softmax must meet its a before it is computed: Σ_j a_j da_j runs over j alone."""
    system = network([2, 3], sigma="softmax", cost="cross_entropy")
    simple = simplified(derive(with_samples(system), explain=False).result)
    assert "da1" not in {e.name for e in simple.equations}


def test_sums_of_sums_are_one():
    result = derive(with_samples(network([3, 2])), explain=False).result
    merged = merged_sums(simplified(result))
    assert SAMPLE_COST not in {e.name for e in merged.equations}
    (cost,) = merged.defining("cost")
    (total,) = [n for n in walk(cost.value) if isinstance(n, Reduction)]
    assert len(total.ranges) == 2
    assert SAMPLE_COST in {e.name for e in merged_sums(simplified(result), [SAMPLE_COST]).equations}


def test_a_sum_that_is_read_twice_stays():
    """Both reads in one equation: taking the first away would leave the second without a tensor."""
    system = parse("""
data x[K]
parameter w[J, K]
l[j] = sum[k](w[j, k]*x[k])
cost = sum[j](l[j]) + l[0]
""")
    merged = merged_sums(with_samples(system))
    assert "l" in {e.name for e in merged.equations}


def test_a_sum_that_is_the_same_for_each_sample_is_made_once():
    system = parse("data x[n], y\nparameter w[n]\ncost = sum[k](w[k]**2)\nu[k] = x[k]*y\noutput u\n")
    merged = merged_sums(with_samples(system))
    sums = [n for e in merged.equations for n in walk(e.value) if isinstance(n, Reduction)]
    assert all(len(r.ranges) == 1 for r in sums)


def test_through_outputs_wants_an_element_for_each():
    """a is stored for the first half of z only: exp(z) elsewhere stays."""
    system = parse("""
data x[2*P]
parameter w[2*P]
index p < P
a[p] = exp(w[p])
cost = sum[p](a[p]*x[p]) + sum[i](exp(w[i]))
""")
    assert inverses(system, set()) == {}


def test_through_outputs_eliminates_or_leaves():
    system = network([2, 2], sigma="sigmoid")
    table = inverses(system, set())
    (i,) = system.defining("z1")[0].indices
    z, a = Access("z1", i), Access("a1", i)
    assert sp.cancel(through_outputs(sp.exp(-z), table) - (1 - a) / a) == 0
    assert through_outputs(z * sp.exp(-z), table) == z * sp.exp(-z)
    assert through_outputs(Where(z <= 0, z, sp.Integer(0)), table).has(Access)


def test_tidied_pulls_numbers_and_sizes_out_of_sums():
    k = index("k")
    total = Reduction("sum", 2 * Access("a", k) / N, [Range(k, sp.Integer(0), N - 1)])
    found = tidied(total)
    assert [n.body for n in walk(found) if isinstance(n, Reduction)] == [Access("a", k)]
    product = Reduction("prod", 2 * Access("a", k), [Range(k, sp.Integer(0), N - 1)])
    assert tidied(product).body == 2 * Access("a", k)


def test_named_functions_stay_where_they_are_long():
    simple = simplified(derive(with_samples(network([3, 2], sigma="gelu")), explain=False).result)
    calls = [n for n in walk(simple.defining("dz1")[0].value) if isinstance(n, Call)]
    assert {c.orders for c in calls} == {(1,)}
    assert accesses(simple.defining("dz1")[0].value)
