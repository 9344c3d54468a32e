"""Kernels under test at one point: how they are called there, and how far they may be off."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Symbol

from chainrule.symbolic.samples import BATCH
from chainrule.symbolic.system import System

from .points import Array, Point
from .verdicts import Tally

__all__ = ["PRECISE_BUDGET", "ROUNDINGS", "Trial"]

ROUNDINGS = 4.0
"""Roundings that a kernel may make where the error bound counts one: library functions, another order of operations."""

PRECISE_BUDGET = 40_000
"""Work of one check in mpmath, in grid points times lanes: bounds the number of elements that are looked at."""


@dataclass(frozen=True)
class Trial:
    """Kernels (and others that must agree, or None) at one of `samples` points; `sample` counts from 0."""

    kernels: Any
    peer: Any
    sizes: Mapping[Symbol, int]
    point: Point
    rng: np.random.Generator
    tally: Tally
    samples: int
    sample: int

    @property
    def system(self) -> System:
        found: System = self.kernels.system
        return found

    @property
    def roundoff(self) -> float:
        """The unit roundoff of the kernels' dtype."""
        return float(np.finfo(self.kernels.dtype).eps) / 2

    @property
    def tiny(self) -> float:
        """The dtype's smallest normal number."""
        return float(np.finfo(self.kernels.dtype).tiny)

    def allowed(self, slack: Any, roundoff: float | None = None) -> Any:
        """How far a result may be off whose running error bound is `slack`, in units of the unit roundoff."""
        return ROUNDINGS * (self.roundoff if roundoff is None else roundoff) * slack + self.tiny

    def cast(self, values: NDArray[Any]) -> NDArray[Any]:
        """The values as an array that the kernels take."""
        return np.array(values, dtype=self.kernels.dtype, order="C")

    def inputs(self) -> dict[str, Array]:
        """Every input at the point."""
        return {t.name: self.cast(self.point.values[t.name]) for t in self.system.inputs}

    def call(self, entry: Callable[..., Any], arrays: Mapping[str, NDArray[Any]]) -> Any:
        """A kernel's result, called with the arrays and with such sizes as none of their shapes tells."""
        wanted = inspect.signature(entry).parameters
        told = {**{s.name: number for s, number in self.sizes.items()}, BATCH.name: self.point.batch}
        return entry(**arrays, **{name: number for name, number in told.items() if name in wanted})

    def precise(self, work: int) -> int:
        """How many elements mpmath can look at, where one takes so much work; all points share its budget."""
        return PRECISE_BUDGET // (work * self.samples) or (PRECISE_BUDGET // work if self.sample == 0 else 0)
