"""The networks that several whole-path tests share, each made and compiled once for a run."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any
from unittest import mock

from chainrule.codegen import build
from chainrule.codegen.pipeline import Sources, kernels, render
from chainrule.symbolic import System, network
from chainrule.symbolic.catalogue import names

__all__ = ["ACTIVATIONS", "COSTS", "DTYPES", "TARGETS", "compiled", "compiled_quickly", "model"]

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


QUICK = tuple("-O1" if flag == "-O3" else flag for flag in build.FLAGS)
"""Hundreds of kernels are compiled here; at -O1 that takes a third of the time. Other tests use the real flags."""


@functools.cache
def _sources(system: System, dtype: str, wrt: tuple[str, ...]) -> Sources:
    return render(system, targets=("numpy", "c"), dtype=dtype, wrt=wrt)


@functools.cache
def _loaded(system: System, target: str, dtype: str, wrt: tuple[str, ...]) -> Any:
    with mock.patch.object(build, "FLAGS", QUICK):
        return kernels(_sources(system, dtype, wrt), target)


def compiled_quickly(system: System, target: str, dtype: str, wrt: Sequence[str]) -> Any:
    """The System's kernels: rendered once for both targets, the C compiled without much optimisation."""
    return _loaded(system, target, dtype, tuple(wrt))


def compiled(sigma: str, cost: str, target: str, dtype: str) -> Any:
    """The kernels of `model`, with gradients of every parameter and of x."""
    return compiled_quickly(model(sigma, cost), target, dtype, WRT)
