"""Every activation with every cost, NumPy and C, float32 and float64: each held to the independent oracles."""

from __future__ import annotations

import pytest
from models import ACTIVATIONS, COSTS, DTYPES, TARGETS, compiled

from chainrule.codegen import check


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("sigma", [*ACTIVATIONS, "softmax"])
def test_gradients_are_right(sigma, cost, target, dtype):
    kernels = compiled(sigma, cost, target, dtype)
    peer = compiled(sigma, cost, "numpy", dtype) if target == "c" else None
    report = check(kernels, peer=peer, samples=2)
    assert report, report.table()
    assert (kernels.target, kernels.dtype) == (target, dtype)
    assert {r.tensor for r in report.rows} == {"cost", "a2", *kernels.wrt}
