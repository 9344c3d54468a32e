"""The batch axis: from the cost of one sample to cost_avg, the mean over all of them.

    cost_s  →  cost[s],    cost_avg = 1/n Σ_s cost[s]

The result is an ordinary System whose first index of every per-sample tensor is the sample. Its
reverse mode therefore needs no rule about samples at all.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace

import sympy as sp
from sympy import Dummy, Expr, Integer

from .expressions import Access, Range, Reduction, accesses, freshen, index, rebuild, size
from .system import COST, Equation, System, Tensor

__all__ = ["BATCH", "SAMPLE_COST", "batch_equation", "batch_shape", "with_samples"]

BATCH = size("batch")
"""The number of samples, n in the document."""

SAMPLE_COST = "cost_s"
"""The name that the cost of one sample takes when `cost` becomes the average."""


def with_samples(system: System) -> System:
    """The System with the sample as the first index of every per-sample tensor.

    A System with a cost ends in `cost = 1/n Σ_s cost_s[s]`. Names and order are kept.
    """
    per_sample = {t.name for t in system.tensors if t.per_sample} | {COST}
    renamed = {COST: SAMPLE_COST}
    tensors = tuple(_lift_tensor(t, per_sample, renamed) for t in system.tensors)
    equations = tuple(_lift_equation(e, per_sample, renamed) for e in system.equations)
    if system.has_cost:
        s = index("s")
        mean = Reduction("sum", Access(SAMPLE_COST, s), [_samples(s)]) / BATCH
        tensors += (Tensor(COST, (), system.tensor(COST).role),)
        equations += (Equation(COST, (), (), mean),)
    return replace(system, tensors=tensors, equations=equations)


def _samples(symbol: Dummy) -> Range:
    return Range(symbol, Integer(0), BATCH - 1)


def _lift_tensor(tensor: Tensor, per_sample: set[str], renamed: dict[str, str]) -> Tensor:
    shape = (BATCH, *tensor.shape) if tensor.name in per_sample else tensor.shape
    return replace(tensor, name=renamed.get(tensor.name, tensor.name), shape=shape)


def _lift_equation(equation: Equation, per_sample: set[str], renamed: dict[str, str]) -> Equation:
    s = index("s")
    value = _lift(equation.value, s, per_sample, renamed)
    name = renamed.get(equation.name, equation.name)
    if equation.name not in per_sample:
        return replace(equation, name=name, value=value)
    return replace(
        equation, name=name, indices=(s, *equation.indices), ranges=(_samples(s), *equation.ranges), value=value
    )


def _lift(node: Expr, s: Dummy, per_sample: Container[str], renamed: Mapping[str, str]) -> Expr:
    """The expression for the sample s."""
    if isinstance(node, Access):
        prefix = (s,) if node.name in per_sample else ()
        return Access(renamed.get(node.name, node.name), *prefix, *node.indices)
    return rebuild(node, [_lift(a, s, per_sample, renamed) for a in node.args])


def batch_shape(tensor: Tensor) -> tuple[Expr, ...]:
    """The shape over a batch: the sample is the first axis of a per-sample tensor."""
    return (BATCH, *tensor.shape) if tensor.per_sample and tensor.name != COST else tensor.shape


def batch_equation(equation: Equation, system: System) -> Equation | None:
    """An equation of one sample's System (a forward one or an adjoint's) over a batch.

    A per-sample tensor has the sample as its first index; its adjoint is still that of its own sample's cost_s.
    `cost` and the adjoints of shared tensors become those of cost_avg, the mean over the samples (without a cost,
    of the sum of what the samples contribute): an adjoint is linear in the adjoints it reads. None where no
    per-sample tensor is read, or a term mixes them with what is averaged already.
    """
    per_sample = {t.name for t in system.tensors if t.per_sample and t.name != COST}
    averaged = {t.name for t in system.tensors if t.adjoint_of is not None and not t.per_sample} | {COST}
    reads = set(equation.reads())
    if COST in reads or not reads & per_sample:
        return None
    if equation.name in per_sample:
        return None if reads & averaged else _lift_equation(equation, per_sample, {})
    terms = []
    for term in sp.Add.make_args(equation.value):
        read = {a.name for a in accesses(term)}
        if read & per_sample:
            if read & averaged:
                return None
            s = index("s")
            lifted = Reduction("sum", _lift(freshen(term), s, per_sample, {}), [_samples(s)])
            terms.append(lifted / BATCH if system.has_cost else lifted)
        else:
            terms.append(term)
    return replace(equation, value=sp.Add(*terms))
