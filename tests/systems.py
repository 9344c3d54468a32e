"""Systems for whole-engine tests: every example that parses, networks of every σ and cost, and points to evaluate them.

Sizes are small and differ by name where there are few; a seed makes a point, and the caller prints it.
"""

from __future__ import annotations

import functools
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from interpreter import Interpreter, average_cost
from models import ACTIVATIONS, COSTS, model
from tricky_systems import TRICKY

from chainrule.codegen.oracle import OracleError
from chainrule.codegen.points import draw
from chainrule.symbolic import Derivation, FormulaError, System, derive, parse, parse_file
from chainrule.symbolic.samples import with_samples

__all__ = [
    "EXAMPLES",
    "MODELS",
    "Case",
    "assert_same",
    "case",
    "directional",
    "example",
    "placed",
    "system_of",
    "tricky",
]

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
    *TRICKY,
)
"""Names of all Systems here: examples, networks as sigma+cost, and those made to go wrong."""


@functools.cache
def example(name: str) -> System:
    """An example by its name."""
    return parse_file(_FOLDER / f"{name}.eq")


def system_of(name: str) -> System:
    """A System by its name in MODELS or TRICKY."""
    if name in TRICKY:
        return tricky(name)
    return model(*name.split("+")) if "+" in name else example(name)


@functools.cache
def tricky(name: str) -> System:
    """One of the Systems that were made to go wrong, by its name."""
    return parse(TRICKY[name], name=name)


@dataclass(frozen=True)
class Case:
    """A System at a random point: the gradient System of its batch by all inputs, and what its equations give."""

    seed: int
    system: System
    sizes: Mapping[str, int]
    values: Mapping[str, np.ndarray]
    derivation: Derivation
    gradients: Mapping[str, np.ndarray]  # by the adjoint's name

    @property
    def label(self) -> str:
        """What a failure must show."""
        return f"{self.system.name} at {dict(self.sizes)}, seed {self.seed}"


@functools.cache
def case(name: str) -> Case:
    """The System of that name at a point that is new in each run."""
    seed = secrets.randbits(32)
    system = system_of(name)
    sizes, values = placed(system, np.random.default_rng(seed))
    derivation = derive(with_samples(system), [t.name for t in system.inputs], explain=False)
    interpreter = Interpreter(derivation.result, sizes, values)
    gradients = {n: interpreter.tensor(n) for n in derivation.result.outputs}
    return Case(seed, system, sizes, values, derivation, gradients)


def assert_same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], label: str) -> None:
    """Equal up to roundings, tensor by tensor."""
    for name, value in expected.items():
        scale = float(np.abs(value).max(initial=0.0))
        np.testing.assert_allclose(
            found[name], value, rtol=1e-9, atol=1e-10 * (1 + scale), err_msg=f"{name} of {label}"
        )


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
) -> tuple[float, float]:
    """The derivative of cost_avg along a direction in one tensor, by the five-point rule, and how far to trust it."""

    def slope(h: float) -> float:
        def cost(steps: int) -> float:
            return average_cost(system, sizes, {**values, name: values[name] + steps * h * direction})

        return (8 * (cost(1) - cost(-1)) - (cost(2) - cost(-2))) / (12 * h)

    coarse, fine = slope(2.0**-11), slope(2.0**-14)
    return fine, abs(fine - coarse) + 1e-8 * (1 + abs(fine))
