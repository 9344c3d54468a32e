"""The networks that several whole-path tests share, each made and compiled once for a run."""

from __future__ import annotations

import functools
from typing import Any

from chainrule.codegen.pipeline import Sources, kernels, render
from chainrule.symbolic import System, network
from chainrule.symbolic.catalogue import names

__all__ = ["ACTIVATIONS", "COSTS", "DTYPES", "TARGETS", "compiled", "model"]

ACTIVATIONS = names("activation")
COSTS = names("cost")
DTYPES = ("float32", "float64")
TARGETS = ("numpy", "c")
WRT = ("w1", "b1", "w2", "b2", "x")


@functools.cache
def model(sigma: str, cost: str) -> System:
    """Two dense layers of that σ (softmax: above a tanh layer) and that cost; every size is named."""
    hidden = "tanh" if sigma == "softmax" else sigma
    return network(["n0", "n1", "n2"], sigma=hidden, output=sigma, cost=cost)


@functools.cache
def _sources(sigma: str, cost: str, dtype: str) -> Sources:
    return render(model(sigma, cost), targets=TARGETS, dtype=dtype, wrt=WRT)


@functools.cache
def compiled(sigma: str, cost: str, target: str, dtype: str) -> Any:
    """The kernels of `model`, with gradients of every parameter and of x."""
    return kernels(_sources(sigma, cost, dtype), target)
