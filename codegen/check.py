"""The check of compiled kernels against oracles that share nothing with what made them.

The kernel's gradients are multiplied with directions (single elements, and one in which a whole
tensor moves) and compared with derivatives of the formulas as written: the five-point rule in
float64, mpmath differences at 80 digits, and for float64 kernels differences of the kernel's own
cost. What may differ is the size of the terms that add up times the unit roundoff (`error_scale`),
plus each method's own error. float32 kernels are compared with the float64 truth at their inputs.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Symbol

from chainrule.symbolic.system import COST, System

from .check_products import compare_products, products
from .differences import OFFSETS, STEP, Direction, Oracle, Slopes, directions, five_point_rule
from .points import (
    Point,
    choose_sizes,
    cotangent_name,
    draw,
    needed,
    objective,
    per_sample,
    shift_name,
    with_shifts,
    with_zeros,
)
from .trial import ROUNDINGS, Trial
from .verdicts import Report, Row, Tally

__all__ = ["Report", "Row", "check"]

ELEMENTS = 40
FLOAT_BUDGET = 20_000_000
"""Work of one check in float64, in grid points times lanes: bounds the number of elements that are looked at."""


def check(
    kernels: Any,
    *,
    seed: int | None = None,
    sizes: Mapping[str, int] | None = None,
    samples: int = 3,
    peer: Any = None,
    tensors: int | None = None,
) -> Report:
    """Compare the kernels' values and gradients with independent oracles, at `samples` random points.

    `sizes` fixes named sizes (default: small, distinct ones); `peer` are other kernels of the same System,
    such as the NumPy ones beside the C ones, that must agree. With `tensors`, at most so many gradients are
    compared at each point, drawn at random: a quick look at a deep network. A fresh seed is drawn unless one is given.
    Raises OracleError for a System that the oracle cannot evaluate.
    """
    seed = secrets.randbits(32) if seed is None else seed
    rng = np.random.default_rng(seed)
    system: System = kernels.system
    tally = Tally(kernels.target, kernels.dtype)
    chosen = choose_sizes(system, sizes or {}, rng)
    found = 0
    if chosen is not None:
        for sample in range(samples):
            point = _draw(kernels, chosen, rng)
            if point is None:
                break
            found += 1
            trial = Trial(kernels, peer, chosen, _first_sample_alone(system, point), rng, tally, samples, sample)
            _Comparison(trial).run(tensors)
    if found < samples:
        why = "no sizes found at which every axis has an element" if chosen is None else "no point of the domain found"
        for name in kernels.wrt:
            tally.skip(name, "five-point", f"{why}, in 300 draws" if chosen is not None else why)
    rows = tally.rows()
    return Report(bool(rows) and found == samples and all(r.verdict == "ok" for r in rows), seed, rows)


def _draw(kernels: Any, sizes: Mapping[Symbol, int], rng: np.random.Generator) -> Point | None:
    system: System = kernels.system
    extents = {int(d.xreplace(dict(sizes))) for t in system.tensors for d in t.shape}
    batch = next((n for n in (3, 4, 5, 2) if n not in extents), 3)
    return draw(objective(system), sizes, batch, float(np.finfo(kernels.dtype).eps) / 2, rng)


def _first_sample_alone(system: System, point: Point) -> Point:
    """An output that no sample changes has one cotangent, not one for each sample."""
    if system.has_cost:
        return point
    values = dict(point.values)
    for name in set(system.outputs) - per_sample(system):
        values[cotangent_name(name)][1:] = 0
    return Point(values, point.batch)


class _Comparison:
    """All comparisons at one point."""

    def __init__(self, trial: Trial) -> None:
        self.trial, self.kernels, self.peer, self.tally = trial, trial.kernels, trial.peer, trial.tally
        self.system = trial.system
        inputs = {t.name for t in self.system.inputs}
        self.moved = {n: n if n in inputs else shift_name(n) for n in trial.kernels.wrt}
        formulas = with_shifts(objective(self.system), [n for n in trial.kernels.wrt if n not in inputs])
        self.point = with_zeros(trial.point, formulas, trial.sizes)
        self.oracle = Oracle(formulas, trial.sizes, self.point, self.system.has_cost)
        self.work = self.oracle.points * trial.point.batch
        shared = self.work * len(trial.kernels.wrt)
        self.elements = min(ELEMENTS, max(3, FLOAT_BUDGET // (shared * trial.samples * len(OFFSETS))))
        self.precise = trial.precise(2 * shared)

    def run(self, tensors: int | None) -> None:
        inputs = self.trial.inputs()
        self._values(inputs)
        gradients = self._gradients(self.kernels, inputs)
        others = self._gradients(self.peer, inputs) if self.peer is not None else gradients
        compared = set(self.kernels.wrt)
        if tensors is not None and tensors < len(compared):
            compared = {self.kernels.wrt[m] for m in self.trial.rng.choice(len(compared), tensors, replace=False)}
        compare_products(self.trial, self.oracle.points, compared)
        for name, gradient, other in zip(self.kernels.wrt, gradients, others, strict=True):
            if name in compared:
                self._gradient(name, gradient, other, inputs)

    def _gradient(self, name: str, gradient: Any, other: Any, inputs: Mapping[str, NDArray[Any]]) -> None:
        """One gradient along directions of its tensor; `other` is the peer's."""
        moved = self.moved[name]
        values = self.point.values[moved]
        if gradient.shape != values.shape:
            self.tally.note(name, "shape", np.inf, 0.0, None)
            return
        along = directions(values, self.elements, self.trial.rng)
        forward, slack = self.oracle.bounded(moved, along)
        allowed = self.trial.allowed(slack)
        got = products(gradient, along)
        own = self.trial.allowed(slack, 2.0**-53)
        five = _trusted(self.oracle.five_point(moved, along), forward, own)
        self.tally.compare(name, "five-point", along, got, five, allowed)
        if self.precise:
            few = along[: self.precise]
            self.tally.compare(name, "mpmath", few, got, self.oracle.precise(moved, few), allowed)
        else:
            self.tally.compare(name, "forward mode", along, got, Slopes(forward, own, np.isfinite(forward)), allowed)
        if self.peer is not None:
            truth = Slopes(products(other, along), allowed, np.ones(len(along), dtype=bool))
            self.tally.compare(name, self.peer.target, along, got, truth, allowed)
        if name in inputs and self.system.has_cost and self.kernels.dtype == "float64":
            differences = self._own_cost(name, along[:3], inputs, five.usable[:3])
            self.tally.compare(name, "own cost", along[:3], got, differences, allowed)

    def _gradients(self, kernels: Any, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float64]]:
        """The gradients of `wrt`, as float64; the cost that comes with them is compared."""
        if not self.system.has_cost:
            cotangents = {n: self.trial.cast(self.point.values[cotangent_name(n)]) for n in self.system.outputs}
            for name in set(self.system.outputs) - per_sample(self.system):
                cotangents[name] = cotangents[name][0]
            found = self.trial.call(kernels.vjp, {**inputs, **cotangents})
        else:
            cost, found = self.trial.call(kernels.gradients, inputs)
            self._value(COST, np.asarray(cost, dtype=np.float64), self._mean_cost(), self.oracle.cost_error)
        return [np.asarray(g, dtype=np.float64) for g in found]

    def _mean_cost(self) -> NDArray[np.float64]:
        lanes = np.broadcast_to(self.oracle.values[COST].value, (self.point.batch,))
        return np.asarray(lanes.mean())

    def _values(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """The outputs and the cost against the formulas."""
        if self.system.has_cost:
            cost = np.asarray(self.trial.call(self.kernels.cost, inputs), dtype=np.float64)
            self._value(COST, cost, self._mean_cost(), self.oracle.cost_error)
        names = [n for n in self.system.outputs if n != COST]
        if not names:
            return
        read = needed(self.system, names)
        found = self.trial.call(self.kernels.forward, {n: v for n, v in inputs.items() if n in read})
        batched = per_sample(self.system)
        for name in names:
            truth = self.oracle.values[name]
            shape = truth.value.shape
            value, error = (np.moveaxis(np.broadcast_to(a, shape), -1, 0) for a in (truth.value, truth.error))
            got = np.asarray(getattr(found, name), dtype=np.float64)
            self._value(name, got, *((value, error) if name in batched else (value[0], error[0])))

    def _value(self, name: str, got: NDArray[Any], truth: NDArray[Any], error: Any) -> None:
        allowed = self.trial.allowed(error, self.trial.roundoff + 2.0**-53)
        self.tally.compare_values(name, "formula", got, truth, allowed)

    def _own_cost(
        self, name: str, along: Sequence[Direction], inputs: Mapping[str, NDArray[Any]], usable: NDArray[np.bool_]
    ) -> Slopes:
        """The five-point rule on the kernel's own cost, where the rule can be used."""
        slopes, errors = [], []
        for d in along:
            moved = {o: {**inputs, name: inputs[name] + (o * STEP) * d.array} for o in OFFSETS}
            cost = {o: float(self.trial.call(self.kernels.cost, arrays)) for o, arrays in moved.items()}
            slope, truncation = five_point_rule(cost, STEP)
            slopes.append(slope)
            errors.append(3 * truncation + ROUNDINGS * 1.5 * 2.0**-53 * self.oracle.cost_error / STEP)
        return Slopes(np.array(slopes), np.array(errors), usable)


def _trusted(differences: Slopes, forward: NDArray[np.float64], own: NDArray[np.float64]) -> Slopes:
    """Differences of the formulas, not usable where the oracle's forward mode finds them off by more than they say.

    That happens where the slope turns within their steps, as in a norm of nearly equal elements. No kernel takes part.
    """
    agree = np.abs(differences.values - forward) <= differences.errors + own
    return replace(differences, usable=differences.usable & agree)
