"""Where a check looks: small distinct sizes, and random inputs inside the domain, away from kinks."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import sympy as sp
from numpy.typing import NDArray
from sympy import Expr, Integer, Symbol

from chainrule.symbolic.expressions import Access, Range, Reduction, index
from chainrule.symbolic.system import COST, Equation, Role, System, Tensor

from .error_scale import Bounded
from .oracle import Evaluator

__all__ = [
    "Point",
    "choose_sizes",
    "cotangent_name",
    "draw",
    "lanes_of",
    "needed",
    "objective",
    "per_sample",
    "reached",
    "shift_name",
    "with_shifts",
    "with_zeros",
]

Array = NDArray[np.float64]

CLEAR_OF_KINKS = 256.0
"""How many of its own error bounds an argument must be away from a kink, at the kernel's precision."""


@dataclass(frozen=True)
class Point:
    """Inputs of a kernel: data with a leading batch axis, parameters as declared. Exact in float32 too."""

    values: Mapping[str, Array]
    batch: int


def cotangent_name(output: str) -> str:
    """The name, in `objective`, of the cotangent that is passed for an output: no formula can use it."""
    return f"{output} cotangent"


def per_sample(system: System) -> set[str]:
    """Names of the tensors that have a value for each sample: data, and what their formulas were written with."""
    return {t.name for t in system.tensors if t.per_sample}


def reached(system: System, names: Iterable[str]) -> set[str]:
    """The named tensors and all that is made of them."""
    found, before = set(names), 0
    while len(found) > before:
        before = len(found)
        found.update(e.name for e in system.equations if found.intersection(e.reads()))
    return found


def needed(system: System, names: Iterable[str]) -> set[str]:
    """The named tensors and all that they are made of."""
    found, before = set(names), 0
    while len(found) > before:
        before = len(found)
        found.update(*(e.reads() for e in reversed(system.equations) if e.name in found))
    return found


def objective(system: System) -> System:
    """The System whose `cost` is differentiated: itself, or Σ cotangent·output where it has no cost."""
    if system.has_cost:
        return system
    terms: list[Expr] = []
    cotangents: list[Tensor] = []
    for name in system.outputs:
        shape = system.tensor(name).shape
        ranges = [Range(index(f"i{m}"), Integer(0), extent - 1) for m, extent in enumerate(shape)]
        where = [r.symbol for r in ranges]
        product = Access(cotangent_name(name), *where) * Access(name, *where)
        terms.append(Reduction("sum", product, ranges) if ranges else product)
        cotangents.append(Tensor(cotangent_name(name), shape, Role.DATA, per_sample=True))
    cost = Tensor(COST, (), Role.DEFINED, per_sample=True)
    total = Equation(COST, (), (), sp.Add(*terms))
    return system.with_equations([*system.equations, total], [*system.tensors, *cotangents, cost])


def shift_name(tensor: str) -> str:
    """The name, in `with_shifts`, of what is added to a tensor: no formula can use it."""
    return f"{tensor} shift"


def with_shifts(system: System, names: Iterable[str]) -> System:
    """The System in which a new input is added to each of the named tensors that equations define.

    At 0 it is the same System, and the cost's slope along the input is its adjoint of that tensor.
    """
    chosen, batched = tuple(names), per_sample(system)
    shifts = [
        Tensor(shift_name(n), system.tensor(n).shape, Role.DATA if n in batched else Role.PARAMETER, n in batched)
        for n in chosen
    ]
    equations = [
        replace(e, value=e.value + Access(shift_name(e.name), *e.indices)) if e.name in chosen else e
        for e in system.equations
    ]
    return system.with_equations(equations, [*shifts, *system.tensors])


def with_zeros(point: Point, system: System, sizes: Mapping[Symbol, int]) -> Point:
    """The point with 0 for the inputs of the System that it has no values of."""
    values = dict(point.values)
    for tensor in system.inputs:
        if tensor.name not in values:
            shape = tuple(int(d.xreplace(dict(sizes))) for d in tensor.shape)
            values[tensor.name] = np.zeros((point.batch, *shape) if tensor.per_sample else shape)
    return Point(values, point.batch)


def choose_sizes(system: System, given: Mapping[str, int], rng: np.random.Generator) -> dict[Symbol, int] | None:
    """A small number for each size symbol, no two alike, such that no axis is empty; None if none was found."""
    names = list(system.sizes)
    for attempt in range(200):
        pool = rng.permutation(np.arange(2, 2 + len(names) + attempt // 8))
        sizes = {s: int(given.get(s.name, value)) for s, value in zip(names, pool, strict=False)}
        extents = [d.xreplace({s: Integer(v) for s, v in sizes.items()}) for t in system.tensors for d in t.shape]
        if all(e.is_Integer and e >= 1 for e in extents):
            return sizes
    return None


def lanes_of(values: Array, data: bool) -> Array:
    """The oracle's layout: the batch axis (or one lane) last."""
    return np.moveaxis(values, 0, -1) if data else values[..., None]


def draw(
    system: System, sizes: Mapping[Symbol, int], batch: int, roundoff: float, rng: np.random.Generator
) -> Point | None:
    """Random inputs at which the cost is real, finite and clear of kinks; None where 300 draws found none.

    The first draws are normal numbers; later ones are shifted and scaled at random, in search of a
    domain (a logarithm's, say). `roundoff` is that of the kernel: it must see the same side of each kink.
    """
    numbers = Bounded()
    evaluator = Evaluator(system, sizes, numbers)
    data = {t.name for t in system.data}
    for attempt in itertools.islice(_attempts(), 300):
        values = {}
        for t in system.inputs:
            shape = evaluator.shapes[t.name]
            full = (batch, *shape) if t.name in data else shape
            fan_in = shape[-1] if len(shape) > 1 and t.name not in data else 1
            sample = _numbers(full, attempt, rng, fan_in, t.role)
            values[t.name] = sample.astype(np.float32).astype(np.float64)
        numbers.closeness = np.inf
        lanes = {name: numbers.exact(lanes_of(v, name in data)) for name, v in values.items()}
        cost = evaluator.run(lanes, batch)[COST]
        if np.isfinite(cost.value).all() and numbers.closeness > CLEAR_OF_KINKS * roundoff:
            return Point(values, batch)
    return None


def _attempts() -> Iterator[int]:
    """0 for plain normal numbers, 1 for the search; mostly plain at first."""
    return itertools.chain([0] * 10, itertools.repeat(1))


def _numbers(shape: tuple[int, ...], attempt: int, rng: np.random.Generator, fan_in: int, role: Role) -> Array:
    normal: Array = np.asarray(rng.normal(size=shape))
    if attempt == 0:
        return np.asarray(normal / np.sqrt(fan_in))
    scale = 10.0 ** rng.uniform(-1.5, 0.2)
    if role is Role.PARAMETER and len(shape) > 1:
        return np.asarray(normal * scale / fan_in)
    shift = float(rng.choice([0.0, 0.2, 0.5, 0.5, 1.0]))
    spread: Array = np.asarray(rng.uniform(-scale, scale, size=shape))
    return shift + spread if rng.random() < 0.7 else np.abs(spread) + 1e-2
