"""The check of compiled kernels against oracles that share nothing with what made them.

The kernel's gradients are multiplied with directions (single elements, and one in which a whole
tensor moves) and compared with derivatives of the formulas as written: the five-point rule in
float64, mpmath differences at 80 digits, and for float64 kernels differences of the kernel's own
cost. What may differ is the size of the terms that add up times the unit roundoff (`error_scale`),
plus each method's own error. float32 kernels are compared with the float64 truth at their inputs.
"""

from __future__ import annotations

import inspect
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Symbol

from chainrule.symbolic.system import COST, System

from .differences import OFFSETS, STEP, Direction, Oracle, Slopes, directions, five_point_rule
from .points import Point, choose_sizes, cotangent_name, draw, needed, objective, per_sample

__all__ = ["Report", "Row", "check"]

ROUNDINGS = 4.0
"""Roundings that a kernel may make where the error bound counts one: library functions, another order of operations."""

ELEMENTS = 40
FLOAT_BUDGET = 20_000_000
PRECISE_BUDGET = 40_000
"""Work of one check, in grid points times lanes: bounds the number of elements that are looked at."""


@dataclass(frozen=True)
class Row:
    """One tensor against one oracle: the worst of the compared directions.

    `error` and `tolerance` are absolute, in the gradient's units, and `position` the element's place in the
    kernel's array, where the error is the largest part of its tolerance (None: the whole tensor along a
    random direction). `compared` counts comparisons. `verdict` is "ok", "wrong" or "not checked: why".
    """

    tensor: str
    target: str
    dtype: str
    oracle: str
    error: float
    tolerance: float
    verdict: str
    position: tuple[int, ...] | None
    compared: int


@dataclass(frozen=True)
class Report:
    """The verdict of a check: true where every row is "ok". `seed` repeats it."""

    ok: bool
    seed: int
    rows: tuple[Row, ...]

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        return self.table()

    def table(self) -> str:
        """Plain text: a line for each row, then the verdict and the seed."""
        head = ("tensor", "target", "dtype", "against", "compared", "worst error", "allowed", "at", "verdict")
        lines = [head]
        for r in self.rows:
            place = "" if not r.compared else "all" if r.position is None else str(list(r.position))
            figures = (f"{r.error:.2e}", f"{r.tolerance:.2e}") if r.compared else ("", "")
            lines.append((r.tensor, r.target, r.dtype, r.oracle, str(r.compared), *figures, place, r.verdict))
        widths = [max(len(line[m]) for line in lines) for m in range(len(head))]
        text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        wrong = sum(r.verdict != "ok" for r in self.rows)
        verdict = "every gradient is right" if self.ok else f"{wrong} of {len(self.rows)} rows are not ok"
        return "\n".join([*text, f"{verdict} (seed {self.seed})"])


class _Tally:
    """The worst comparison of each row, in order of first appearance."""

    def __init__(self, target: str, dtype: str) -> None:
        self._facts = (target, dtype)
        self._rows: dict[tuple[str, str], Row] = {}

    def note(self, tensor: str, oracle: str, error: float, tolerance: float, where: tuple[int, ...] | None) -> None:
        old = self._rows.get((tensor, oracle))
        new = Row(tensor, *self._facts, oracle, error, tolerance, "", where, 1 + (old.compared if old else 0))
        worst = new if old is None or not old.compared or _ratio(new) > _ratio(old) else old
        verdict = "ok" if _ratio(worst) <= 1 else "wrong"
        self._rows[tensor, oracle] = Row(
            tensor, *self._facts, oracle, worst.error, worst.tolerance, verdict, worst.position, new.compared
        )

    def skip(self, tensor: str, oracle: str, why: str) -> None:
        """A row for what was not compared, unless something was."""
        row = Row(tensor, *self._facts, oracle, 0.0, 0.0, f"not checked: {why}", None, 0)
        self._rows.setdefault((tensor, oracle), row)

    def rows(self) -> tuple[Row, ...]:
        return tuple(self._rows.values())


def _ratio(row: Row) -> float:
    if not np.isfinite(row.error):
        return np.inf
    return row.error / row.tolerance if row.tolerance else (0.0 if row.error == 0 else np.inf)


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
    tally = _Tally(kernels.target, kernels.dtype)
    chosen = choose_sizes(system, sizes or {}, rng)
    found = 0
    if chosen is not None:
        for sample in range(samples):
            point = _draw(kernels, chosen, rng)
            if point is None:
                break
            found += 1
            _Comparison(kernels, peer, chosen, point, rng, tally, samples, sample).run(tensors)
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
    return draw(objective(system), sizes, batch, _roundoff(kernels.dtype), rng)


def _roundoff(dtype: str) -> float:
    return float(np.finfo(dtype).eps) / 2


class _Comparison:
    """All comparisons at one point."""

    def __init__(
        self,
        kernels: Any,
        peer: Any,
        sizes: Mapping[Symbol, int],
        point: Point,
        rng: np.random.Generator,
        tally: _Tally,
        samples: int,
        sample: int,
    ) -> None:
        self.kernels, self.peer, self.rng, self.tally = kernels, peer, rng, tally
        self.system: System = kernels.system
        self.roundoff = _roundoff(kernels.dtype)
        self.tiny = float(np.finfo(kernels.dtype).tiny)
        self.point = self._first_sample_alone(point)
        self.sizes = {size.name: number for size, number in sizes.items()}
        self.oracle = Oracle(objective(self.system), sizes, self.point, self.system.has_cost)
        work = self.oracle.points * point.batch * len(kernels.wrt)
        self.elements = min(ELEMENTS, max(3, FLOAT_BUDGET // (work * samples * len(OFFSETS))))
        self.precise = PRECISE_BUDGET // (2 * work * samples)
        if self.precise == 0 and sample == 0:
            self.precise = PRECISE_BUDGET // (2 * work)

    def _first_sample_alone(self, point: Point) -> Point:
        """An output that no sample changes has one cotangent, not one for each sample."""
        if self.system.has_cost:
            return point
        values = dict(point.values)
        for name in set(self.system.outputs) - per_sample(self.system):
            values[cotangent_name(name)][1:] = 0
        return Point(values, point.batch)

    def run(self, tensors: int | None) -> None:
        inputs = {t.name: self._cast(self.point.values[t.name]) for t in self.system.inputs}
        self._values(inputs)
        gradients = self._gradients(self.kernels, inputs)
        others = self._gradients(self.peer, inputs) if self.peer is not None else gradients
        compared = set(self.kernels.wrt)
        if tensors is not None and tensors < len(compared):
            compared = {self.kernels.wrt[m] for m in self.rng.choice(len(compared), tensors, replace=False)}
        for name, gradient, other in zip(self.kernels.wrt, gradients, others, strict=True):
            if name not in compared:
                continue
            values = self.point.values[name]
            if gradient.shape != values.shape:
                self.tally.note(name, "shape", np.inf, 0.0, None)
                continue
            along = directions(values, self.elements, self.rng)
            forward, slack = self.oracle.bounded(name, along)
            allowed = ROUNDINGS * self.roundoff * slack + self.tiny
            got = _products(gradient, along)
            self._compare(name, "five-point", along, got, self.oracle.five_point(name, along), allowed)
            if self.precise:
                few = along[: self.precise]
                self._compare(name, "mpmath", few, got, self.oracle.precise(name, few), allowed)
            else:
                own = ROUNDINGS * 2.0**-53 * slack
                self._compare(name, "forward mode", along, got, Slopes(forward, own, np.isfinite(forward)), allowed)
            if self.peer is not None:
                truth = Slopes(_products(other, along), allowed, np.ones(len(along), dtype=bool))
                self._compare(name, self.peer.target, along, got, truth, allowed)
            if self.system.has_cost and self.kernels.dtype == "float64":
                few = along[:3]
                self._compare(name, "own cost", few, got, self._own_cost(name, few, inputs), allowed)

    def _call(self, entry: Callable[..., Any], arrays: Mapping[str, NDArray[Any]]) -> Any:
        """A kernel's result, called with the arrays and with such sizes as none of their shapes tells."""
        wanted = inspect.signature(entry).parameters
        return entry(**arrays, **{name: number for name, number in self.sizes.items() if name in wanted})

    def _cast(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.array(values, dtype=self.kernels.dtype, order="C")

    def _gradients(self, kernels: Any, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[np.float64]]:
        """The gradients of `wrt`, as float64; the cost that comes with them is compared."""
        if not self.system.has_cost:
            cotangents = {n: self._cast(self.point.values[cotangent_name(n)]) for n in self.system.outputs}
            for name in set(self.system.outputs) - per_sample(self.system):
                cotangents[name] = cotangents[name][0]
            found = self._call(kernels.vjp, {**inputs, **cotangents})
        else:
            cost, found = self._call(kernels.gradients, inputs)
            self._value(COST, np.asarray(cost, dtype=np.float64), self._mean_cost(), self.oracle.cost_error)
        return [np.asarray(g, dtype=np.float64) for g in found]

    def _mean_cost(self) -> NDArray[np.float64]:
        lanes = np.broadcast_to(self.oracle.values[COST].value, (self.point.batch,))
        return np.asarray(lanes.mean())

    def _values(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """The outputs and the cost against the formulas."""
        if self.system.has_cost:
            cost = np.asarray(self._call(self.kernels.cost, inputs), dtype=np.float64)
            self._value(COST, cost, self._mean_cost(), self.oracle.cost_error)
        names = [n for n in self.system.outputs if n != COST]
        if not names:
            return
        read = needed(self.system, names)
        found = self._call(self.kernels.forward, {n: v for n, v in inputs.items() if n in read})
        batched = per_sample(self.system)
        for name in names:
            truth = self.oracle.values[name]
            shape = truth.value.shape
            value, error = (np.moveaxis(np.broadcast_to(a, shape), -1, 0) for a in (truth.value, truth.error))
            got = np.asarray(getattr(found, name), dtype=np.float64)
            self._value(name, got, *((value, error) if name in batched else (value[0], error[0])))

    def _value(self, name: str, got: NDArray[Any], truth: NDArray[Any], error: Any) -> None:
        if got.shape != truth.shape:
            self.tally.note(name, "formula", np.inf, 0.0, None)
            return
        off = np.abs(got - truth)
        allowed = ROUNDINGS * (self.roundoff + 2.0**-53) * np.broadcast_to(error, off.shape) + self.tiny
        for position in np.ndindex(off.shape):
            self.tally.note(name, "formula", float(off[position]), float(allowed[position]), position)

    def _own_cost(self, name: str, along: Sequence[Direction], inputs: Mapping[str, NDArray[Any]]) -> Slopes:
        """The five-point rule on the kernel's own cost."""
        slopes, errors = [], []
        for d in along:
            moved = {
                o: float(self._call(self.kernels.cost, {**inputs, name: inputs[name] + (o * STEP) * d.array}))
                for o in OFFSETS
            }
            slope, truncation = five_point_rule(moved, STEP)
            slopes.append(slope)
            errors.append(3 * truncation + ROUNDINGS * 1.5 * 2.0**-53 * self.oracle.cost_error / STEP)
        usable = self.oracle.five_point(name, along).usable
        return Slopes(np.array(slopes), np.array(errors), usable)

    def _compare(
        self, name: str, oracle: str, along: Sequence[Direction], got: Any, truth: Slopes, allowed: NDArray[np.float64]
    ) -> None:
        for m, d in enumerate(along):
            tolerance = allowed[m] + truth.errors[m]
            if not truth.usable[m] or not np.isfinite(tolerance):
                continue
            off = abs(got[m] - truth.values[m])
            self.tally.note(name, oracle, float(off / d.length), float(tolerance / d.length), d.position)
        self.tally.skip(name, oracle, "a kink or the edge of the domain is too near")


def _products(gradient: NDArray[np.float64], along: Sequence[Direction]) -> NDArray[np.float64]:
    """The gradient's slope along each direction."""
    one = [gradient[d.position] * d.length if d.position is not None else np.sum(gradient * d.array) for d in along]
    return np.array(one)
