"""Products of a System's derivatives with directions, by two methods that know no rule of derivation.

- `bounded`: forward mode along one or two directions, with running error bounds;
- `precise`: differences in mpmath, 80 digits, step 1e-20.

For directions v and e of the inputs: the tangents J·v of the outputs, e·H·v for the Hessian H of the cost, and
e·G·v for its Gauss-Newton matrix G, the second derivative of the cost in which the outputs move along their
tangents, on straight lines.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Symbol

from chainrule.symbolic.system import COST, Role, System

from .differences import DIGITS, PRECISE_FLOOR, Slopes
from .error_scale import Bounded, Number
from .number_systems import Precise
from .oracle import Evaluator
from .points import Array, Point

__all__ = ["ProductOracle"]

STEP = "1e-20"
"""Second differences of so many digits are off by about its square: truncation, and the digits that are lost."""

Move = Mapping[str, Array]
"""How the inputs move: arrays of their shapes (with the batch axis, for data); an input without one stays."""

Lanes = dict[str, Any]


class ProductOracle:
    """A System at one point, its inputs moved along directions. The cost is the mean over the batch."""

    def __init__(self, system: System, sizes: Mapping[Symbol, int], point: Point) -> None:
        self._batch = point.batch
        self._values = {t.name: point.values[t.name] for t in system.inputs}
        self._data = {t.name for t in system.data}
        self._outputs = [n for n in system.outputs if n != COST]
        self._systems = {False: system, True: _after_outputs(system)}
        self._sizes = sizes
        self._precise = Precise(DIGITS)
        self._step = self._precise.context.mpf(STEP)

    def tangents(self, v: Move) -> dict[str, tuple[Array, Array]]:
        """J·v of each output, and the bound of its error in unit roundoffs; lanes (samples) last."""
        numbers = Bounded()
        moved = {n: numbers.exact(a, self._lanes([v], n)) for n, a in self._base(1).items()}
        found = self._run(False, numbers, moved, 1)
        return {n: (found[n].tangent, found[n].slack + np.abs(found[n].tangent)) for n in self._outputs}

    def precise_tangents(self, v: Move) -> dict[str, Array]:
        """J·v of each output by central differences, rounded to float64."""
        moved = self._tangents_precisely([v])
        return {n: a.astype(np.float64) for n, a in moved.items()}

    def second(self, v: Move, along: Sequence[Move], through_outputs: bool) -> tuple[Array, Array]:
        """e·H·v for each e, or e·G·v with `through_outputs`, and the bounds of their errors in unit roundoffs."""
        numbers, count = Bounded(directions=2), len(along)
        inputs = {
            n: numbers.exact(a, self._lanes([v] * count, n), self._lanes(along, n))
            for n, a in self._base(count).items()
        }
        if through_outputs:
            inputs |= {
                n: _straight(a) for n, a in self._run(False, numbers, inputs, count).items() if n in self._outputs
            }
        cost = self._run(through_outputs, numbers, inputs, count)[COST]
        value, error = (np.broadcast_to(a, (count * self._batch,)) for a in (cost.parts[3], cost.errors[3]))
        return self._mean(value, count), self._mean(error + self._batch * np.abs(value), count)

    def second_precisely(self, v: Move, along: Sequence[Move], through_outputs: bool) -> Slopes:
        """The same by second differences. Not usable where the formula is not real."""
        count = len(along)
        base = {n: self._precise.array(a) for n, a in self._base(count).items()}
        ways = [{n: self._precise.array(self._lanes(m, n)) for n in base} for m in ([v] * count, along)]
        if through_outputs:
            outputs = self._run(False, self._precise, base, count)
            base |= {n: outputs[n] for n in self._outputs}
            for way, moves in zip(ways, ([v] * count, along), strict=True):
                way |= self._tangents_precisely(moves)
        total = 0
        for p, q in itertools.product((1, -1), repeat=2):
            moved = {n: a + self._step * (p * ways[0][n] + q * ways[1][n]) for n, a in base.items()}
            total = total + p * q * self._run(through_outputs, self._precise, moved, count)[COST]
        lanes = np.broadcast_to(total, (count * self._batch,))
        slopes = (self._mean(lanes, count) / (4 * self._step**2)).astype(np.float64)
        scale = float(np.abs(slopes).max(initial=1.0))
        return Slopes(slopes, 2.0**-53 * np.abs(slopes) + scale * PRECISE_FLOOR, np.isfinite(slopes))

    def _tangents_precisely(self, moves: Sequence[Move]) -> Lanes:
        base = {n: self._precise.array(a) for n, a in self._base(len(moves)).items()}
        ways = {n: self._step * self._precise.array(self._lanes(moves, n)) for n in base}
        ahead, behind = (
            self._run(False, self._precise, {n: a + sign * ways[n] for n, a in base.items()}, len(moves))
            for sign in (1, -1)
        )
        return {n: (ahead[n] - behind[n]) / (2 * self._step) for n in self._outputs}

    def _run(self, through_outputs: bool, numbers: Any, inputs: Lanes, count: int) -> Lanes:
        system = self._systems[through_outputs]
        wanted = {t.name for t in system.inputs}
        lanes = {n: a for n, a in inputs.items() if n in wanted}
        return dict(Evaluator(system, self._sizes, numbers).run(lanes, count * self._batch))

    def _base(self, count: int) -> Lanes:
        """Every input, a lane for each direction and sample."""
        return {n: self._lanes([self._values] * count, n) for n in self._values}

    def _lanes(self, moves: Sequence[Move], name: str) -> Array:
        """Arrays of one input, one for each direction, as lanes: one for each direction and sample."""
        zero = np.zeros_like(self._values[name])
        stack = np.stack([np.asarray(m.get(name, zero), dtype=np.float64) for m in moves])
        if name not in self._data:
            stack = np.broadcast_to(stack[:, None], (len(moves), self._batch, *stack.shape[1:]))
        lanes: Array = np.moveaxis(stack.reshape(-1, *stack.shape[2:]), 0, -1)
        return lanes

    def _mean(self, lanes: NDArray[Any], count: int) -> NDArray[Any]:
        mean: NDArray[Any] = lanes.reshape(count, self._batch).sum(axis=1) / self._batch
        return mean


def _straight(output: Number) -> Number:
    """An output that moves along its tangents: without its own second derivative."""
    zero = np.zeros(1)
    return Number((*output.parts[:3], zero), (*output.errors[:3], zero))


def _after_outputs(system: System) -> System:
    """The cost as a function of the outputs, and of the inputs that it reads directly."""
    if not system.has_cost:
        return system
    needed = {COST}
    for equation in reversed(system.equations):
        if equation.name in needed:
            needed.update(set(equation.reads()) - set(system.outputs))
    equations = [e for e in system.equations if e.name in needed]
    read = {n for e in equations for n in e.reads()} | {COST}
    tensors = [
        replace(t, role=Role.DATA) if t.name in system.outputs and t.name != COST else t
        for t in system.tensors
        if t.name in read
    ]
    return replace(system, tensors=tuple(tensors), equations=tuple(equations), outputs=())
