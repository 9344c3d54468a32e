"""What a check says: a row for each tensor and oracle, the report, and the tally that makes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .differences import Direction, Slopes

__all__ = ["Report", "Row", "Tally"]


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


class Tally:
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

    def compare(
        self, tensor: str, oracle: str, along: Sequence[Direction], got: Any, truth: Slopes, allowed: Any
    ) -> None:
        """A row for slopes along directions; `allowed` is what the kernel may be off, beside the truth's own errors."""
        for m, d in enumerate(along):
            tolerance = allowed[m] + truth.errors[m]
            if not truth.usable[m] or not np.isfinite(tolerance):
                continue
            off = abs(got[m] - truth.values[m])
            self.note(tensor, oracle, float(off / d.length), float(tolerance / d.length), d.position)
        self.skip(tensor, oracle, "a kink or the edge of the domain is too near")

    def compare_values(self, tensor: str, oracle: str, got: Any, truth: Any, allowed: Any) -> None:
        """A row for an array, element by element."""
        if got.shape != truth.shape:
            self.note(tensor, oracle, np.inf, 0.0, None)
            return
        off = np.abs(got - truth)
        allowed = np.broadcast_to(allowed, off.shape)
        for position in np.ndindex(off.shape):
            self.note(tensor, oracle, float(off[position]), float(allowed[position]), position)

    def rows(self) -> tuple[Row, ...]:
        return tuple(self._rows.values())


def _ratio(row: Row) -> float:
    if not np.isfinite(row.error):
        return np.inf
    return row.error / row.tolerance if row.tolerance else (0.0 if row.error == 0 else np.inf)
