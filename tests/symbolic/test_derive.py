"""Gradients: reverse mode against differences of the interpreted cost, for every System and every input; the
steps it keeps; what a gradient System looks like."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from interpreter import Interpreter
from systems import MODELS, assert_same, case, directional, system_of

from chainrule.symbolic import DerivationError, derive, network, parse
from chainrule.symbolic.derive import adjoint_name
from chainrule.symbolic.expressions import Access, Call, Partial, Reduction, accesses, contains, walk
from chainrule.symbolic.rules import definition_at, unfold_all
from chainrule.symbolic.samples import with_samples
from chainrule.symbolic.system import Role
from chainrule.symbolic.terms import Rule, Term, total

DENSE = """
data x[m], y[n]
parameter w[n, m], b[n]
z[j] = b[j] + sum[k](w[j, k]*x[k])
a[j] = sigmoid(z[j])
cost = sum[j](squared_error(a[j], y[j]))
"""


@pytest.mark.parametrize("name", MODELS)
def test_gradients_agree_with_differences(name):
    it = case(name)
    rng = np.random.default_rng(it.seed)
    for tensor, adjoint in zip(it.derivation.wrt, it.derivation.result.outputs, strict=True):
        direction = rng.normal(size=np.shape(it.values[tensor]))
        expected, tolerance = directional(it.system, it.sizes, it.values, tensor, direction)
        found = float(np.sum(it.gradients[adjoint] * direction))
        assert abs(found - expected) <= 10 * tolerance, f"{tensor} of {it.label}: {found}, by differences {expected}"


@pytest.mark.parametrize("name", ["conv2d", "rnn", "layer_norm_one_equation", "sigmoid+log_cosh", "rnn_softmax"])
def test_explaining_changes_no_result(name):
    it = case(name)
    explained = derive(with_samples(it.system), it.derivation.wrt)
    interpreter = Interpreter(explained.result, it.sizes, it.values)
    assert_same({n: interpreter.tensor(n) for n in it.gradients}, it.gradients, it.label)


@pytest.mark.parametrize("name", MODELS)
def test_every_step_has_the_value_of_the_one_before(name):
    """A step's terms, put in the place of the adjoint's equation, give the same gradient."""
    it = case(name)
    derivation = derive(with_samples(it.system), it.derivation.wrt)
    result = derivation.result
    interpreter = Interpreter(result, it.sizes, it.values)
    for step in derivation.steps:
        tensor = next((t.name for t in result.tensors if t.adjoint_of == step.subject.wrt.name), "")
        terms = _carried_out(step, result)
        if not tensor or terms is None:  # a constant that is stored nowhere, or ∂h/∂x of a whole recurrence
            continue
        (equation,) = result.defining(tensor)
        renamed = dict(zip(step.subject.wrt.indices, equation.indices, strict=True))
        shown = replace(equation, name="shown", value=total(terms).xreplace(renamed))
        beside = replace(result.tensor(tensor), name="shown")
        changed = result.with_equations([*result.equations, shown], [*result.tensors, beside])
        found = Interpreter(changed, it.sizes, it.values).tensor("shown")
        label = f"{step.identity} ({step.rule.value}) of {it.label}"
        assert_same({tensor: found}, {tensor: interpreter.tensor(tensor)}, label)


def _carried_out(step, system):
    """The step's terms with the derivatives that they still hold carried out; None where several equations define y."""
    done = []
    for term in step.after:
        for place, partial in enumerate(term.factors):
            if isinstance(partial, Partial):
                of = partial.of
                if step.rule is Rule.CHAIN and isinstance(of, Access):
                    if len(system.defining(of.name)) != 1:
                        return None
                    of = definition_at(of, system)
                for part in unfold_all(Partial(of, partial.wrt), system):
                    factors = (*term.factors[:place], *part.factors, *term.factors[place + 1 :])
                    bound, guards = (*term.bound, *part.bound), (*term.guards, *part.guards)
                    done.append(Term(factors, bound, (*term.deltas, *part.deltas), guards))
                break
        else:
            done.append(term)
    return tuple(done)


def test_the_result_is_the_system_and_its_adjoints():
    system = parse(DENSE)
    derivation = derive(system)
    assert derivation.result.equations[: len(system.equations)] == system.equations
    assert derivation.result.outputs == ("dw", "db")
    assert derivation.gradient("w").name == "dw"
    assert derivation.result.tensor("dw").shape == system.tensor("w").shape
    with pytest.raises(KeyError):
        derivation.gradient("x")


def test_no_gradient_that_nobody_asked_for():
    derivation = derive(parse(DENSE), ["b"])
    assert {t.adjoint_of for t in derivation.result.tensors if t.adjoint_of} <= {"b", "z", "a"}


def test_nothing_flows_to_a_tensor_that_the_cost_does_not_read():
    derivation = derive(
        parse("data x[n]\nparameter w[n], v[n]\nu[k] = v[k]*x[k]\noutput u\ncost = sum[k](w[k]*x[k])\n"), ["v", "w"]
    )
    assert derivation.gradient("v").value == 0


def test_names_of_adjoints_avoid_those_of_tensors():
    assert adjoint_name("w", ["w"]) == "dw"
    assert adjoint_name("w", ["w", "dw"]) == "d_w"
    derivation = derive(parse("data dw[n]\nparameter w[n]\ncost = sum[k](w[k]*dw[k])\n"))
    assert derivation.result.outputs == ("d_w",)


def test_an_unknown_tensor_is_an_error():
    with pytest.raises(DerivationError, match="no tensor 'q'"):
        derive(parse(DENSE), ["q"])
    with pytest.raises(DerivationError, match="no tensor 'cost'"):
        derive(parse(DENSE), ["cost"])


def test_without_a_cost_cotangents_come_in():
    system = parse(DENSE.replace("cost = sum[j](squared_error(a[j], y[j]))", "output a, z").replace(", y[n]", ""))
    derivation = derive(system)
    roles = {t.name: t.role for t in derivation.result.tensors if t.adjoint_of in ("a", "z")}
    assert roles["da"] is Role.DATA
    assert {r for n, r in roles.items() if n != "da"} >= {Role.DATA}
    assert derivation.wrt == ("w", "b", "x")


def test_identities_of_steps_are_unique_and_stable():
    first, second = derive(parse(DENSE)), derive(parse(DENSE))
    assert [s.identity for s in first.steps] == [s.identity for s in second.steps]
    assert len({s.identity for s in first.steps}) == len(first.steps)
    assert {s.rule for s in first.steps} >= {Rule.CHAIN, Rule.KRONECKER, Rule.COLLAPSE}


def test_the_order_of_factors_is_that_of_the_rules():
    """The adjoint before the local derivative, as the document writes it."""
    derivation = derive(parse(DENSE))
    (step,) = [s for s in derivation.steps if s.identity == "dw.1"]
    (term,) = step.after
    assert isinstance(term.factors[0], Access)
    assert term.factors[0].name == "dz"
    assert isinstance(term.factors[1], Partial)


def test_a_network_grows_linearly():
    def nodes(layers: int) -> int:
        result = derive(network([2] * (layers + 1)), explain=False).result
        return sum(1 for e in result.equations for _ in walk(e.value))

    assert nodes(40) - nodes(30) == nodes(20) - nodes(10)


def test_a_recurrence_reads_its_own_result_again():
    """1 - h² with the stored h: no tanh is computed in the gradient."""
    for name in ("rnn", "gru"):
        system = system_of(name)
        derivation = derive(with_samples(system), explain=False)
        for equation in derivation.result.equations[len(system.equations) + 1 :]:
            assert not any(n.func.__name__ == "tanh" for n in walk(equation.value)), equation


def test_hygiene_no_index_is_bound_twice_nor_left_free():
    for name in ("transformer_block", "conv2d", "attention_causal", "gru"):
        result = case(name).derivation.result
        for equation in result.equations:
            bound = [s for n in walk(equation.value) if isinstance(n, Reduction) for s in n.bound_symbols]
            assert len(bound) == len(set(bound)), equation
            free = {s for s in equation.value.free_symbols if s.is_Dummy} - {r.symbol for r in equation.ranges}
            assert not free, equation
    assert not contains(case("rnn").derivation.gradient("u").value, lambda n: isinstance(n, Partial | Call))
    assert accesses(case("rnn").derivation.gradient("u").value)


def test_no_index_is_called_like_a_size() -> None:
    system = parse("data x[T + 1], y\nparameter w\nh[0] = w\nh[t] = tanh(h[t - 1] + x[t])\ncost = (h[T] - y)**2")
    (adjoint,) = [e for e in derive(system).result.equations if e.name == "dh"]
    assert [i.name for i in adjoint.indices] == ["t"]


def test_the_steps_of_an_output_that_is_read_keep_its_cotangent() -> None:
    derivation = derive(parse("data x[n]\na[j] = sin(x[j])\nc[j] = exp(a[j])\noutput a, c"))
    first, *_, last = [s for s in derivation.steps if s.subject.wrt.name == "a"]
    assert "da" in {a.name for t in first.after for a in accesses(t.expression)}
    (equation,) = [e for e in derivation.result.equations if e.name == "d_a"]
    assert total(last.after).xreplace({last.subject.wrt.indices[0]: equation.indices[0]}) == equation.value
