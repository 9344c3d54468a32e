"""Products that several sums share: the same values, one tensor for each, no larger than those that it reads."""

from __future__ import annotations

import pytest
from interpreter import Interpreter
from systems import MODELS, assert_same, case, system_of

from chainrule.codegen.ir import Map, Scan
from chainrule.codegen.lower import lower
from chainrule.symbolic import parse
from chainrule.symbolic.expressions import accesses
from chainrule.symbolic.masks import masked
from chainrule.symbolic.shared_factors import with_shared_factors
from chainrule.symbolic.simplify import merged_sums, simplified
from chainrule.symbolic.stable import stable


@pytest.mark.parametrize("name", MODELS)
def test_values_are_unchanged(name):
    it = case(name)
    before = masked(stable(merged_sums(simplified(it.derivation.result), it.system.outputs)))
    after = with_shared_factors(before)
    interpreter = Interpreter(after, it.sizes, it.values)
    assert_same({n: interpreter.tensor(n) for n in it.gradients}, it.gradients, it.label)
    known = {t.name for t in before.tensors}
    for equation in (e for e in after.equations if e.name not in known):
        assert len(equation.indices) <= max(len(a.indices) for a in accesses(equation.value)), it.label


@pytest.mark.parametrize(("name", "gates"), [("rnn", 1), ("gru", 3)])
def test_the_adjoints_of_gates_are_made_once_in_the_loop(name, gates):
    """δ of a gate is read by the state's adjoint, two weights' gradients and the bias's; the loop has no conditions."""
    kernel = lower(system_of(name)).kernel("gradients")
    backward = next(s for s in kernel.statements if isinstance(s, Scan) and s.reverse)
    made = [s for s in backward.statements if isinstance(s, Map) and "factor" in s.out.name]
    assert len(made) == gates
    for statement in made:
        readers = [s for s in kernel.flat if statement.out.name in {a.name for a in s.reads()}]
        assert len(readers) >= 3
    assert not any(s.when for s in backward.statements)


def test_a_window_is_not_stored():
    """x[p + q]² has two indices and one axis: it would take the memory of every window."""
    text = """
data x[P + 2], y[P]
parameter w[3], v[3]
a[p] = sum[q](w[q]*x[p + q]**2)
b[p] = sum[q](v[q]*x[p + q]**2)
cost = sum[p]((a[p] + b[p] - y[p])**2)
"""
    most = max(len(b.shape) for b in lower(parse(text)).kernel("gradients").buffers)
    assert most == 2
