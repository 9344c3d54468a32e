"""The batch axis: from the cost of one sample to cost_avg, the mean over all of them.

    cost_s  →  cost[s],    cost_avg = 1/n Σ_s cost[s]

The result is an ordinary System whose first index of every per-sample tensor is the sample. Its
reverse mode therefore needs no rule about samples at all.
"""

from __future__ import annotations

from dataclasses import replace

from sympy import Dummy, Expr, Integer

from .expressions import Access, Range, Reduction, index, rebuild, size
from .system import COST, Equation, System, Tensor

__all__ = ["BATCH", "SAMPLE_COST", "with_samples"]

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

    def lift(node: Expr) -> Expr:
        if isinstance(node, Access):
            prefix = (s,) if node.name in per_sample else ()
            return Access(renamed.get(node.name, node.name), *prefix, *node.indices)
        return rebuild(node, [lift(a) for a in node.args])

    value = lift(equation.value)
    name = renamed.get(equation.name, equation.name)
    if equation.name not in per_sample:
        return replace(equation, name=name, value=value)
    return replace(
        equation, name=name, indices=(s, *equation.indices), ranges=(_samples(s), *equation.ranges), value=value
    )
