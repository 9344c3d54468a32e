"""Systems for whole-engine tests: every example that parses, networks of every σ and cost, and points to evaluate them.

Sizes are small and differ by name where there are few; a seed makes a point, and the caller prints it.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from interpreter import average_cost
from models import ACTIVATIONS, COSTS, model

from chainrule.codegen.oracle import OracleError
from chainrule.codegen.points import draw
from chainrule.symbolic import FormulaError, System, parse_file

__all__ = ["EXAMPLES", "MODELS", "directional", "example", "graph", "placed", "system_of"]

_FOLDER = Path(__file__).resolve().parent.parent / "examples"


def _parses(path: Path) -> bool:
    try:
        parse_file(path)
    except FormulaError:
        return False
    return True


EXAMPLES = tuple(path.stem for path in sorted(_FOLDER.glob("*.eq")) if _parses(path))
"""Names of the examples that parse."""

MODELS = (
    *EXAMPLES,
    *(f"{sigma}+squared_error" for sigma in ACTIVATIONS),
    *(f"sigmoid+{cost}" for cost in COSTS if cost != "squared_error"),
    "softmax+cross_entropy",
    "identity+huber",
)
"""Names of all systems here: examples, and networks as sigma+cost."""


@functools.cache
def example(name: str) -> System:
    """An example by its name."""
    return parse_file(_FOLDER / f"{name}.eq")


def system_of(name: str) -> System:
    """A System by its name in MODELS."""
    return model(*name.split("+")) if "+" in name else example(name)


def placed(system: System, rng: np.random.Generator, batch: int = 2) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """Sizes by name ("batch" too) and inputs at which the cost is finite and clear of kinks."""
    names = [s.name for s in system.sizes]
    for _ in range(200):
        pool = [1, 2, 3] if len(names) <= 3 else [*([2] * math.ceil(len(names) / 2)), 1, 3, 3, *([3] * len(names))]
        chosen = dict(zip(names, (int(v) for v in rng.permutation(pool[: max(3, len(names))])), strict=False))
        sizes = {s: chosen[s.name] for s in system.sizes}
        extents = (d.xreplace(sizes) for t in system.tensors for d in t.shape)
        if not all(e >= 1 for e in extents):
            continue
        try:
            point = draw(system, sizes, batch, 2.0**-53, rng)
        except OracleError:  # a recurrence of several tensors: these have no kinks here, and are finite everywhere
            return {**chosen, "batch": batch}, _normal(system, sizes, batch, rng)
        if point is not None:
            return {**chosen, "batch": batch}, dict(point.values)
    raise AssertionError(f"no point found for {system.name}")


def _normal(system: System, sizes: Mapping, batch: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {t.name: tuple(int(d.xreplace(sizes)) for d in t.shape) for t in system.inputs}
    data = {t.name for t in system.data}
    return {n: rng.normal(size=(batch, *shape) if n in data else shape) for n, shape in shapes.items()}


def directional(
    system: System, sizes: Mapping[str, int], values: Mapping[str, np.ndarray], name: str, direction: np.ndarray
) -> float:
    """The derivative of cost_avg along a direction in one tensor, by the five-point rule; about 11 digits."""
    h = 2.0**-11

    def cost(steps: int) -> float:
        return average_cost(system, sizes, {**values, name: values[name] + steps * h * direction})

    return (8 * (cost(1) - cost(-1)) - (cost(2) - cost(-2))) / (12 * h)


def graph(system: System) -> int:
    """How many nodes the right sides hold together."""
    counts = (sum(1 for _ in _nodes(e.value)) for e in system.equations)
    return functools.reduce(operator.add, counts, 0)


def _nodes(expression):
    return itertools.chain([expression], *(_nodes(a) for a in expression.args))
