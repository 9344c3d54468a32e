"""Derivatives of a System's cost along directions, by three methods that know no rule of derivation.

- `five_point`: the five-point rule in float64, with an estimate of its own error;
- `precise`:    central differences in mpmath, 80 digits, step 1e-25;
- `bounded`:    forward mode with running error bounds: how much rounding a kernel is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Symbol

from chainrule.symbolic.system import COST, System

from .error_scale import Bounded
from .number_systems import Float, Precise
from .oracle import Evaluator
from .points import Array, Point, lanes_of, reached

__all__ = ["DIGITS", "OFFSETS", "STEP", "Direction", "Oracle", "Slopes", "directions", "five_point_rule"]

DIGITS = 80
PRECISE_STEP = "1e-25"
PRECISE_FLOOR = 1e-40
"""What central differences in so many digits leave out, in parts of the cost: their truncation is near 1e-50, the
digits that are lost near 1e-55. Smaller derivatives are not told from 0."""
STEP = 2.0**-10
"""The power of two next to ε^(1/5): points a few steps away from a float32 number are exact in float64."""

OFFSETS = (0, 1, -1, 2, -2, 4, -4)
"""Where the cost is evaluated, in steps: the rule at STEP and, for its error, at 2·STEP."""

ROUNDOFF = 2.0**-53
LANE_POINTS = 2_000_000


@dataclass(frozen=True)
class Direction:
    """A way to move a tensor: `array` of its shape (with the batch axis, for data), `length` its size.

    `position` is the one element that moves; None where all do.
    """

    array: Array
    length: float
    position: tuple[int, ...] | None


@dataclass(frozen=True)
class Slopes:
    """The derivative along each direction, how far it may be off by the method's own error, and where it holds."""

    values: Array
    errors: Array
    usable: NDArray[np.bool_]


def directions(values: Array, elements: int, rng: np.random.Generator) -> list[Direction]:
    """One random direction in which every element moves, then that many random single elements.

    Lengths are powers of two near the size of the values.
    """
    typical = float(np.sqrt(np.mean(values**2))) or 1.0
    whole = rng.normal(size=values.shape).astype(np.float32).astype(np.float64)
    norm = 2.0 ** np.round(np.log2(np.sqrt(np.sum(whole**2)) / typical + 1e-300))
    found = [Direction(whole / norm, float(np.sqrt(np.sum(whole**2)) / norm), None)]
    for flat in rng.permutation(values.size)[:elements]:
        position = tuple(int(i) for i in np.unravel_index(flat, values.shape))
        length = 2.0 ** np.floor(np.log2(max(typical, abs(values[position]))))
        one = np.zeros(values.shape)
        one[position] = length
        found.append(Direction(one, float(length), position))
    return found


def five_point_rule(cost: Mapping[int, Any], step: float) -> tuple[Any, Any]:
    """The derivative from the costs at OFFSETS, and the truncation error estimated from the doubled step."""

    def rule(n: int) -> Any:
        return (8 * (cost[n] - cost[-n]) - (cost[2 * n] - cost[-2 * n])) / (12 * n * step)

    return rule(1), np.abs(rule(2) - rule(1)) / 15


class Oracle:
    """A System with a cost at one point: what its cost is, and its derivatives along directions.

    The cost is the mean over the batch (`mean`), or the sum.
    """

    def __init__(self, system: System, sizes: Mapping[Symbol, int], point: Point, mean: bool) -> None:
        self.point = point
        self._data = {t.name for t in system.data}
        self._mean = mean
        self._float = Evaluator(system, sizes, Float())
        self._bounded_numbers = Bounded()
        self._bounded = Evaluator(system, sizes, self._bounded_numbers)
        self._precise_numbers = Precise(DIGITS)
        self._precise = Evaluator(system, sizes, self._precise_numbers)
        self._system = system
        self._starts: dict[Evaluator, dict[str, Any]] = {}
        lanes = {n: self._bounded_numbers.exact(lanes_of(v, n in self._data)) for n, v in point.values.items()}
        self.values = self._bounded.run(lanes, point.batch)
        self.points = self._bounded.points
        total = self.values[COST].error.sum() + np.abs(self.values[COST].value).sum() * point.batch
        self.cost_error = float(total) / (point.batch if mean else 1)

    def bounded(self, name: str, along: Sequence[Direction]) -> tuple[Array, Array]:
        """Forward mode: the slope along each direction, and the bound of its error in unit roundoffs."""

        def run(chunk: Sequence[Direction]) -> tuple[Array, Array]:
            moved = lanes_of(np.stack([d.array for d in chunk], axis=-1), name in self._data)
            lanes = len(chunk) * self.point.batch
            moving = reached(self._system, {name})
            known = {n: v for n, v in self.values.items() if n not in self.point.values and n not in moving}
            inputs = {n: v.map(lambda part: np.tile(part, len(chunk))) for n, v in known.items()}
            for n, v in self.point.values.items():
                tangent = self._spread(moved, len(chunk), 1) if n == name else None
                inputs[n] = self._bounded_numbers.exact(self._base(n, v, len(chunk)), tangent)
            cost = self._bounded.run(inputs, lanes)[COST]
            slack = np.broadcast_to(cost.slack + self.point.batch * np.abs(cost.tangent), (lanes,))
            return self._over_batch(np.broadcast_to(cost.tangent, (lanes,)), len(chunk)), self._over_batch(
                slack, len(chunk)
            )

        parts = [run(chunk) for chunk in self._chunks(along, 4)]
        return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])

    def five_point(self, name: str, along: Sequence[Direction]) -> Slopes:
        """The five-point rule in float64. Not usable where a branch changes, or a cost is not finite, on the way."""
        found, errors, usable = [], [], []
        for chunk in self._chunks(along, len(OFFSETS)):
            steps = np.array(OFFSETS) * STEP
            cost = self._moved(self._float, name, chunk, steps, np.asarray)
            by_offset = {o: cost[:, m] for m, o in enumerate(OFFSETS)}
            slope, truncation = five_point_rule(by_offset, STEP)
            found.append(slope)
            errors.append(3 * truncation + 1.5 * ROUNDOFF * self.cost_error / STEP)
            usable.append(np.isfinite(cost).all(axis=1) & self._same_branches(len(chunk)))
        return Slopes(np.concatenate(found), np.concatenate(errors), np.concatenate(usable))

    def precise(self, name: str, along: Sequence[Direction]) -> Slopes:
        """Central differences in mpmath, rounded to float64. Not usable where the formula is not real."""
        step = self._precise_numbers.context.mpf(PRECISE_STEP)
        cost = self._moved(self._precise, name, along, np.array([step, -step]), self._precise_numbers.array)
        slopes = ((cost[:, 0] - cost[:, 1]) / (2 * step)).astype(np.float64)
        errors = ROUNDOFF * np.abs(slopes) + PRECISE_FLOOR * self.cost_error
        return Slopes(slopes, errors, np.isfinite(slopes))

    def _chunks(self, along: Sequence[Direction], lanes: int) -> list[Sequence[Direction]]:
        width = max(1, LANE_POINTS // max(1, self.points * self.point.batch * lanes))
        return [along[m : m + width] for m in range(0, len(along), width)]

    def _base(self, name: str, values: Any, copies: int) -> Any:
        lanes = lanes_of(values, name in self._data)
        return np.tile(lanes, copies) if name in self._data else lanes

    def _spread(self, moved: Any, directions: int, offsets: int) -> Any:
        """Flatten (…, directions·offsets, batch or 1) to lanes: one for each direction, offset and sample."""
        full = np.broadcast_to(moved, (*moved.shape[:-1], self.point.batch))
        return full.reshape(*full.shape[:-2], directions * offsets * self.point.batch)

    def _moved(
        self, evaluator: Evaluator, name: str, along: Sequence[Direction], steps: Any, convert: Callable[..., Any]
    ) -> Any:
        """The cost, of shape (directions, steps), with the tensor moved along each direction by each step."""
        count = len(along) * len(steps)
        start = self._start(evaluator, convert)
        moving = reached(self._system, {name})
        inputs = {}
        for n, v in start.items():
            if n not in moving:
                inputs[n] = np.tile(v, count) if v.shape[-1] > 1 else v
        stack = convert(np.stack([d.array for d in along]))
        value = self.point.values[name]
        moved = convert(value) + stack[:, None] * steps.reshape(1, -1, *[1] * value.ndim)
        lanes = np.moveaxis(moved.reshape(count, *value.shape), 0, -1)
        lanes = np.moveaxis(lanes, 0, -1) if name in self._data else lanes[..., None]
        inputs[name] = self._spread(lanes, len(along), len(steps))
        cost = evaluator.run(inputs, count * self.point.batch)[COST]
        return self._over_batch(cost, count).reshape(len(along), len(steps))

    def _start(self, evaluator: Evaluator, convert: Callable[..., Any]) -> dict[str, Any]:
        """Every tensor at the point itself, one lane for each sample."""
        if evaluator not in self._starts:
            lanes = {n: lanes_of(convert(v), n in self._data) for n, v in self.point.values.items()}
            self._starts[evaluator] = dict(evaluator.run(lanes, self.point.batch))
        return self._starts[evaluator]

    def _over_batch(self, lanes: Any, groups: int) -> Any:
        summed = lanes.reshape(groups, self.point.batch).sum(axis=1)
        return summed / self.point.batch if self._mean else summed

    def _same_branches(self, count: int) -> NDArray[np.bool_]:
        same = np.ones(count, dtype=bool)
        for kink in self._float.numbers.kinks:
            if kink.shape[-1] > 1:
                sides = kink.reshape(-1, count, len(OFFSETS), self.point.batch)
                same &= (sides == sides[:, :, :1]).all(axis=(0, 2, 3))
        return same
