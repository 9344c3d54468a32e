"""Sums of deviations from a mean are zero, and no other sums are."""

from __future__ import annotations

import pytest
from systems import system_of

from chainrule.symbolic import derive, parse
from chainrule.symbolic.expressions import Reduction, walk
from chainrule.symbolic.means import without_deviations
from chainrule.symbolic.samples import with_samples
from chainrule.symbolic.simplify import simplified


def simplified_sum(body: str) -> object:
    """The value of an equation with that sum, deviations left out."""
    text = f"data x[N], u[N, M]\nm = mean[k](x[k])\nr[i] = mean[k](u[i, k])\nc = {body}\ncost = c + m + sum[i](r[i])\n"
    system = parse(text)
    (equation,) = system.defining("c")
    return without_deviations(system)(equation.value)


@pytest.mark.parametrize(
    "body",
    [
        "sum[k](x[k] - m)",
        "sum[k](m - x[k])",
        "sum[k](3*x[k] - 3*m)",
        "sum[k](x[k] - mean[j](x[j]))",
        "sum[k, i](x[k]*(u[k, i] - r[k]))",
        "sum[k, i]((x[k] - m)*x[i]**2)",
    ],
)
def test_zero(body):
    assert simplified_sum(body) == 0


@pytest.mark.parametrize(
    "body",
    [
        "sum[k](x[k] - 2*m)",
        "sum[k : k <= 3](x[k] - m)",
        "sum[k]((x[k] - m)*x[k])",
        "sum[k]((x[k] - m)**2)",
        "sum[k](x[k]**2 - m)",
        "sum[i, k](u[i, k]*x[i] - r[i])",
    ],
)
def test_not_zero(body):
    assert simplified_sum(body) != 0


@pytest.mark.parametrize("name", ["layer_norm", "layer_norm_one_equation", "transformer_block"])
def test_layer_norm_adds_up_no_deviations(name):
    """Every sum in its gradient multiplies what is centred by something that varies."""
    system = system_of(name)
    gradient = simplified(derive(with_samples(system), [t.name for t in system.inputs], explain=False).result)
    centred = without_deviations(gradient)
    assert all(centred(e.value) == e.value for e in gradient.equations)
    before = derive(with_samples(system), [t.name for t in system.inputs], explain=False).result
    assert any(without_deviations(before)(e.value) != e.value for e in before.equations)
    assert any(isinstance(n, Reduction) for e in gradient.equations for n in walk(e.value))
