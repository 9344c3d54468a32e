"""The time axis of each tensor of a recurrence: the index along which its elements can be made one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import sympy as sp

from chainrule.symbolic.affine import Bounds, bounds_of, nonnegative
from chainrule.symbolic.domains import reads_within
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access
from chainrule.symbolic.order import components, recurrent
from chainrule.symbolic.system import Equation

from .ends import ends_apart

__all__ = ["TimeAxes", "time_axes"]

_EARLIER, _SAME, _LATER = "earlier", "same", "later"


@dataclass(frozen=True)
class TimeAxes:
    """The axis of each tensor; whether time runs from the last element to the first; the tensors in an order in
    which each reads, at its own time, only what stands before it."""

    axis: Mapping[str, int]
    reverse: bool
    order: tuple[str, ...]


def time_axes(equations: Sequence[Equation]) -> TimeAxes:
    """Axes along which every read is of an earlier element (or every one of a later element), or of the same time
    where an order of the tensors allows it.

    `equations` define tensors that depend on each other. Raises LoweringError where no choice of axes fits.
    """
    return _Search(equations).run()


@dataclass(frozen=True)
class _Read:
    """A read of the group by a part of an equation, where the bounds of the indices hold."""

    part: Equation
    access: Access
    bounds: Bounds


class _Search:
    """Axes are chosen tensor by tensor; a read is judged as soon as both its ends have one."""

    def __init__(self, equations: Sequence[Equation]) -> None:
        self.equations = equations
        self.ranks = {e.name: len(e.indices) for e in equations}
        self.names = tuple(self.ranks)
        self.faults: dict[str, str] = {}
        self._reads = cache(self._reads_of)
        self._lags = cache(self._lags_of)

    def run(self) -> TimeAxes:
        for axis in self._choices({}, frozenset()):
            found = self._judged(axis)
            if found is not None:
                return found
        every = ", ".join(sorted(self.names))
        raise LoweringError(
            self.faults.get("mixed")
            or self.faults.get("cycle")
            or f"the recurrence of {every} shifts no index: expected reads such as h[t - 1]"
        )

    def _choices(self, axis: dict[str, int], seen: frozenset[str]) -> Iterator[dict[str, int]]:
        """Every choice of axes in which reads are not both of earlier and of later elements."""
        if len(axis) == len(self.names):
            yield axis
            return
        name = self.names[len(axis)]
        for m in range(self.ranks[name]):
            chosen = {**axis, name: m}
            lags = seen.union(*(lag for _, _, lag in self._between(chosen, name)))
            if {_EARLIER, _LATER} <= lags:
                if not any({_EARLIER, _LATER} <= lag for _, _, lag in self._between(chosen, name)):
                    every = ", ".join(sorted(self.names))
                    self.faults["mixed"] = f"the recurrence of {every} reads both earlier and later elements"
                continue
            yield from self._choices(chosen, lags)

    def _between(self, axis: Mapping[str, int], latest: str | None = None) -> Iterator[tuple[str, str, frozenset[str]]]:
        """What reads what, and how much earlier or later, between tensors with an axis (one of them `latest`)."""
        for number, equation in enumerate(self.equations):
            if equation.name not in axis:
                continue
            position = axis[equation.name]
            for place, read in enumerate(self._reads(number, position)):
                other = read.access.name
                if other in axis and latest in (None, other, equation.name):
                    yield equation.name, other, self._lags(number, position, place, axis[other])

    def _judged(self, axis: Mapping[str, int]) -> TimeAxes | None:
        together: dict[str, list[str]] = {name: [] for name in self.names}
        found: set[str] = set()
        for name, other, lags in self._between(axis):
            found |= lags
            if _SAME in lags:
                together[name].append(other)
        groups = components(together)
        stuck = next((g for g in groups if recurrent(g, together)), None)
        if not found & {_EARLIER, _LATER}:
            return None
        if stuck is not None:
            names = ", ".join(stuck)
            self.faults["cycle"] = f"{names} depend on each other at the same index: no order computes them"
            return None
        return TimeAxes(axis, _LATER in found, tuple(name for (name,) in groups))

    def _reads_of(self, number: int, position: int) -> tuple[_Read, ...]:
        """The reads of the group in an equation, its ends along the axis apart."""
        return tuple(
            _Read(part, access, bounds)
            for part in ends_apart(self.equations[number], position)
            for access, bounds in reads_within(part.value, bounds_of(part.ranges))
            if access.name in self.ranks
        )

    def _lags_of(self, number: int, position: int, place: int, axis: int) -> frozenset[str]:
        """Whether a read may be of an earlier, the same or a later time."""
        read = self._reads(number, position)[place]
        shift = sp.expand(read.access.indices[axis] - read.part.indices[position])
        if shift.is_Integer:
            return frozenset({_EARLIER if shift < 0 else _LATER if shift > 0 else _SAME})
        for sign, side in ((-1, _EARLIER), (1, _LATER)):
            if nonnegative(sign * shift - 1, read.bounds):
                return frozenset({side})
            if nonnegative(sign * shift, read.bounds):
                return frozenset({side, _SAME})
        return frozenset({_EARLIER, _SAME, _LATER})
