"""The check of product kernels: tangents, Hessian and Gauss-Newton products against oracles that know no rule."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .curvature import ProductOracle
from .differences import Direction, Slopes, directions
from .entries import PRODUCTS
from .points import Array, per_sample
from .trial import Trial

__all__ = ["compare_products", "products"]

ELEMENTS = 12
"""Single elements of each tensor's product that are looked at, at most."""

LANE_POINTS = 20_000_000
"""Work of the error bounds of one tensor, in grid points times lanes."""


def compare_products(trial: Trial, points: int, compared: set[str]) -> None:
    """Every product that the kernels have, in a random direction of all that they differentiate by.

    `points` is the work of one evaluation, `compared` names the tensors whose products are looked at.
    """
    present = [e for e in PRODUCTS if hasattr(trial.kernels, e)]
    if present:
        comparison = _Products(trial, points, shares=len(present) * len(compared))
        for entry in present:
            if entry == "jvp":
                comparison.tangents()
            else:
                comparison.second(entry, compared)


def products(gradient: NDArray[Any], along: Sequence[Direction]) -> NDArray[np.float64]:
    """A gradient's slope along each direction."""
    one = [gradient[d.position] * d.length if d.position is not None else np.sum(gradient * d.array) for d in along]
    return np.array(one)


class _Products:
    """All products at one point."""

    def __init__(self, trial: Trial, points: int, shares: int) -> None:
        self.trial = trial
        self.work = points * trial.point.batch
        self.shares = shares
        self.move = {n: _drawn(trial.point.values[n], trial.rng) for n in trial.kernels.wrt}
        self.oracle = ProductOracle(trial.system, trial.sizes, trial.point, self.move)

    def tangents(self) -> None:
        """The tangents of the outputs, element by element."""
        trial = self.trial
        found = self._called(trial.kernels, "jvp")
        others = None if trial.peer is None else self._called(trial.peer, "jvp")
        precise = self.oracle.precise_tangents() if trial.precise(2 * self.work) else {}
        batched = per_sample(trial.system)
        for name, (value, slack) in self.oracle.tangents().items():
            truth, bound = (_samples_first(a, name in batched, trial.point.batch) for a in (value, slack))
            got = np.asarray(getattr(found, name), dtype=np.float64)
            label = f"jvp {name}"
            if name in precise:
                exact = _samples_first(precise[name], name in batched, trial.point.batch)
                trial.tally.compare_values(label, "mpmath", got, exact, trial.allowed(bound) + 2.0**-53 * np.abs(exact))
            else:
                allowed = trial.allowed(bound, trial.roundoff + 2.0**-53)
                trial.tally.compare_values(label, "forward mode", got, truth, allowed)
            if others is not None:
                other = np.asarray(getattr(others, name), dtype=np.float64)
                trial.tally.compare_values(label, trial.peer.target, got, other, 2 * trial.allowed(bound))

    def second(self, entry: str, compared: set[str]) -> None:
        """A product with the Hessian or its Gauss-Newton form, along random directions of each tensor."""
        trial, through = self.trial, entry == "gauss_newton"
        found = self._called(trial.kernels, entry)
        others = found if trial.peer is None else self._called(trial.peer, entry)
        for name, product, other in zip(trial.kernels.wrt, found, others, strict=True):
            if name not in compared:
                continue
            elements = min(ELEMENTS, max(2, LANE_POINTS // (8 * self.work)))
            along = directions(trial.point.values[name], elements, trial.rng)
            value, slack = self.oracle.second(name, along, through)
            allowed, got = trial.allowed(slack), products(np.asarray(product, dtype=np.float64), along)
            label, few = (
                f"{entry} {name}",
                min(len(along), trial.precise((6 if through else 4) * self.work * self.shares)),
            )
            if few:
                truth = self.oracle.second_precisely(name, along[:few], through)
                trial.tally.compare(label, "mpmath", along[:few], got, truth, allowed)
            else:
                truth = Slopes(value, trial.allowed(slack, 2.0**-53), np.isfinite(value))
                trial.tally.compare(label, "forward mode", along, got, truth, allowed)
            if trial.peer is not None:
                agreed = Slopes(products(np.asarray(other, dtype=np.float64), along), allowed, np.isfinite(value))
                trial.tally.compare(label, trial.peer.target, along, got, agreed, allowed)

    def _called(self, kernels: Any, entry: str) -> Any:
        """The product, its direction passed under each tensor's name with `_dot` behind it."""
        function = getattr(kernels, entry)
        wanted = inspect.signature(function).parameters
        arrays = {n: a for n, a in self.trial.inputs().items() if n in wanted}
        for name, array in self.move.items():
            label = next(p for p in wanted if p.rstrip("_") == f"{name}_dot")
            arrays[label] = self.trial.cast(array)
        return self.trial.call(function, arrays)


def _drawn(values: Array, rng: np.random.Generator) -> Array:
    """A random direction, exact in float32."""
    return rng.normal(size=values.shape).astype(np.float32).astype(np.float64)


def _samples_first(lanes: Array, batched: bool, batch: int) -> Array:
    """Lanes (one for each sample, or one for all) as a kernel returns them."""
    if not batched:
        return lanes[..., 0]
    return np.moveaxis(np.broadcast_to(lanes, (*lanes.shape[:-1], batch)), -1, 0)
