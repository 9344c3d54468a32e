"""The batch axis: the cost of the batch is the mean of the costs of its samples, tensor by tensor."""

from __future__ import annotations

import numpy as np
import pytest
from interpreter import Interpreter, average_cost
from systems import MODELS, case

from chainrule.symbolic import parse
from chainrule.symbolic.samples import BATCH, SAMPLE_COST, with_samples


@pytest.mark.parametrize("name", MODELS)
def test_the_cost_is_the_mean_over_samples(name):
    it = case(name)
    batched = Interpreter(with_samples(it.system), it.sizes, it.values)
    assert batched.element("cost") == pytest.approx(average_cost(it.system, it.sizes, it.values), rel=1e-12), it.label
    data = {t.name for t in it.system.data}
    for s in range(it.sizes["batch"]):
        sample = {n: v[s] if n in data else v for n, v in it.values.items()}
        alone = Interpreter(it.system, it.sizes, sample)
        for tensor in it.system.tensors:
            lifted = batched.tensor(SAMPLE_COST if tensor.name == "cost" else tensor.name)
            expected = alone.tensor(tensor.name)
            found = lifted[s] if tensor.per_sample or tensor.name == "cost" else lifted
            np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=f"{tensor.name} of {it.label}")


def test_the_sample_is_the_first_index_of_what_depends_on_it():
    system = parse("data x[n]\nparameter w[n]\nq[k] = w[k]**2\nz[k] = q[k]*x[k]\ncost = sum[k](z[k])\n")
    batched = with_samples(system)
    assert batched.tensor("z").shape == (BATCH, system.tensor("z").shape[0])
    assert batched.tensor("q").shape == system.tensor("q").shape
    assert [e.name for e in batched.equations] == ["q", "z", SAMPLE_COST, "cost"]
    assert batched.tensor("cost").shape == ()
    assert [t.role for t in batched.tensors[:2]] == [t.role for t in system.tensors[:2]]


def test_without_a_cost_there_is_no_mean():
    system = parse("data x[n]\nparameter w[n]\nz[k] = w[k]*x[k]\noutput z\n")
    batched = with_samples(system)
    assert [e.name for e in batched.equations] == ["z"]
    assert batched.outputs == ("z",)
