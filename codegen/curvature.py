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
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Symbol

from chainrule.symbolic.system import COST, Role, System

from .differences import DIGITS, Direction, Slopes
from .error_scale import Bounded, Number
from .number_systems import Precise
from .oracle import Evaluator
from .points import Array, Point

__all__ = ["ProductOracle"]

STEP = "1e-20"
FLOOR = 1e-36
"""What second differences leave out, in parts of the cost: near the step's square, by truncation and by the digits
that are lost."""

Lanes = dict[str, Any]


class ProductOracle:
    """A System at one point, and a direction v of its inputs. The cost is the mean over the batch.

    `move` holds v: arrays of the inputs' shapes (with the batch axis, for data); an input without one stays.
    """

    def __init__(self, system: System, sizes: Mapping[Symbol, int], point: Point, move: Mapping[str, Array]) -> None:
        self._batch = point.batch
        self._sizes = sizes
        self._systems = {False: system, True: _after_outputs(system)}
        self._outputs = [n for n in system.outputs if n != COST]
        self._data = {t.name for t in system.data}
        values = {t.name: point.values[t.name] for t in system.inputs}
        self._values = {n: self._lanes(n, [a]) for n, a in values.items()}
        self._move = {n: self._lanes(n, [move.get(n, np.zeros_like(a))]) for n, a in values.items()}
        self._precise = Precise(DIGITS)
        self._step = self._precise.context.mpf(STEP)

    def tangents(self) -> dict[str, tuple[Array, Array]]:
        """J·v of each output, and the bound of its error in unit roundoffs; lanes (samples) last."""
        numbers = Bounded()
        moved = {n: numbers.exact(a, self._move[n]) for n, a in self._values.items()}
        found = self._run(False, numbers, moved, 1)
        return {n: (found[n].tangent, found[n].slack + np.abs(found[n].tangent)) for n in self._outputs}

    def precise_tangents(self) -> dict[str, Array]:
        """J·v of each output by central differences, rounded to float64."""
        return {n: a.astype(np.float64) for n, a in self._output_tangents.items()}

    def second(self, name: str, along: Sequence[Direction], through_outputs: bool) -> tuple[Array, Array]:
        """e·H·v for each direction e of a tensor, or e·G·v with `through_outputs`; and the bounds of their errors,
        in unit roundoffs."""
        numbers, count = Bounded(directions=2), len(along)
        other = self._lanes(name, [d.array for d in along])
        inputs = {
            n: numbers.exact(np.tile(a, count), np.tile(self._move[n], count), other if n == name else None)
            for n, a in self._values.items()
        }
        if through_outputs:
            found = self._run(False, numbers, inputs, count)
            inputs |= {n: _straight(found[n]) for n in self._outputs}
        cost = self._run(through_outputs, numbers, inputs, count)[COST]
        value, error = (np.broadcast_to(a, (count * self._batch,)) for a in (cost.parts[3], cost.errors[3]))
        return self._mean(value, count), self._mean(error + self._batch * np.abs(value), count)

    def second_precisely(self, name: str, along: Sequence[Direction], through_outputs: bool) -> Slopes:
        """The same by second differences. Not usable where the formula is not real."""
        count = len(along)
        base, moves = self._start, self._steps
        others = {name: self._step * self._precise.array(self._lanes(name, [d.array for d in along]))}
        if through_outputs:
            outputs = self._run(False, self._precise, base, 1)
            base = base | {n: outputs[n] for n in self._outputs}
            moves = moves | {n: self._step * a for n, a in self._output_tangents.items()}
            others |= {n: self._step * a for n, a in self._differences(others, count).items()}
        total, scale = 0, 1.0
        for p, q in itertools.product((1, -1), repeat=2):
            moved = {n: _repeated(a + p * moves[n], count) for n, a in base.items()}
            moved |= {n: moved[n] + q * step for n, step in others.items()}
            cost = self._run(through_outputs, self._precise, moved, count)[COST]
            total, scale = total + p * q * cost, max(scale, float(np.abs(cost).max()))
        lanes = np.broadcast_to(total, (count * self._batch,))
        slopes = (self._mean(lanes, count) / (4 * self._step**2)).astype(np.float64)
        errors = 2.0**-53 * np.abs(slopes) + FLOOR * max(scale, float(np.abs(slopes).max()))
        return Slopes(slopes, errors, np.isfinite(slopes))

    @cached_property
    def _start(self) -> Lanes:
        return {n: self._precise.array(a) for n, a in self._values.items()}

    @cached_property
    def _steps(self) -> Lanes:
        return {n: self._step * self._precise.array(a) for n, a in self._move.items()}

    @cached_property
    def _output_tangents(self) -> Lanes:
        return self._differences(self._steps, 1)

    def _differences(self, steps: Lanes, count: int) -> Lanes:
        """The outputs' derivatives along steps, of one lane for each direction and sample: central differences."""
        base = {n: _repeated(a, count) for n, a in self._start.items()}
        ahead, behind = (
            self._run(False, self._precise, base | {n: base[n] + sign * s for n, s in steps.items()}, count)
            for sign in (1, -1)
        )
        return {n: (ahead[n] - behind[n]) / (2 * self._step) for n in self._outputs}

    def _run(self, through_outputs: bool, numbers: Any, inputs: Lanes, count: int) -> Lanes:
        system = self._systems[through_outputs]
        wanted = {t.name for t in system.inputs}
        lanes = {n: a for n, a in inputs.items() if n in wanted}
        return dict(Evaluator(system, self._sizes, numbers).run(lanes, count * self._batch))

    def _lanes(self, name: str, arrays: Sequence[Array]) -> Array:
        """Arrays of one input as lanes: one for each of them and each sample."""
        stack = np.stack([np.asarray(a, dtype=np.float64) for a in arrays])
        if name not in self._data:
            stack = np.broadcast_to(stack[:, None], (len(arrays), self._batch, *stack.shape[1:]))
        lanes: Array = np.moveaxis(stack.reshape(-1, *stack.shape[2:]), 0, -1)
        return lanes

    def _mean(self, lanes: NDArray[Any], count: int) -> NDArray[Any]:
        mean: NDArray[Any] = lanes.reshape(count, self._batch).sum(axis=1) / self._batch
        return mean


def _repeated(lanes: Any, count: int) -> Any:
    """The lanes of one direction once for each of several; a value that all lanes share stays one."""
    return np.tile(lanes, count) if lanes.shape[-1] > 1 else lanes


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
