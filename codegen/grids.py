"""The grid of points over which the oracle evaluates an expression, and whole numbers on it.

A grid has one axis for each index in scope, the innermost binder's first. Values have one more axis
at their end, the lanes: independent evaluations (samples, perturbations) made at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray
from sympy import Expr, Symbol

from chainrule.symbolic.errors import ChainruleError
from chainrule.symbolic.expressions import Access, Call, Delta, Range, walk

from .number_systems import Integers, Value

__all__ = ["Grid", "OracleError", "of_whole_numbers"]


class OracleError(ChainruleError):
    """A System that the oracle cannot evaluate: says which equation and why."""


def of_whole_numbers(expression: Expr) -> bool:
    """Whether indices, sizes and integers alone are in the expression."""
    nodes = list(walk(expression))
    return all(n.is_integer for n in nodes) and not any(isinstance(n, (Access, Call, Delta)) for n in nodes)


@dataclass(frozen=True)
class Grid:
    """What an expression sees: sizes, indices in scope (as arrays), live points, arguments of a function."""

    sizes: Mapping[Symbol, Integers]
    indices: Mapping[Expr, Integers]
    depth: int
    active: NDArray[Any]
    arguments: Mapping[Expr, Value]

    @classmethod
    def start(cls, sizes: Mapping[Symbol, Integers]) -> Grid:
        """The grid of no index: one point."""
        return cls(sizes, {}, 0, np.array([True]), {})

    def over(self, ranges: Iterable[Range], guards: Iterable[Expr] = ()) -> Grid:
        """The grid with more indices, each on a new axis before the others; live where all guards are >= 0."""
        grid = self
        for r in ranges:
            grid = grid._bind(r)
        for guard in guards:
            grid = grid.where((grid.integer(guard) >= 0)[..., None])
        return grid

    def _bind(self, r: Range) -> Grid:
        lower, upper = self.integer(r.lower), self.integer(r.upper)
        span = np.arange(lower.min(), upper.max() + 1) if lower.size and upper.size else np.arange(0)
        values = span.reshape(-1, *[1] * self.depth)
        active = self.active & ((values >= lower) & (values <= upper))[..., None]
        return replace(self, indices={**self.indices, r.symbol: values}, depth=self.depth + 1, active=active)

    def where(self, mask: NDArray[Any]) -> Grid:
        """The same points, fewer of them live."""
        return replace(self, active=self.active & mask)

    def listed(self, chosen: NDArray[Any] | None = None) -> Grid:
        """The live points (those that are `chosen`) as a list: one axis for all indices together."""
        live = self.active[..., 0] if chosen is None else chosen
        indices = {s: np.broadcast_to(v, live.shape)[live] for s, v in self.indices.items()}
        return Grid(self.sizes, indices, 1, np.ones((int(live.sum()), 1), dtype=bool), {})

    def integer(self, e: Expr) -> Integers:
        """A subscript, bound or guard over the grid (no lanes). Raises OracleError for anything else."""
        if isinstance(e, sp.Integer):
            return np.array(int(e), dtype=np.int64)
        if isinstance(e, Symbol):
            known = self.indices.get(e)
            return self.sizes[e] if known is None else known
        if isinstance(e, (sp.floor, sp.ceiling)):
            sign = 1 if isinstance(e, sp.floor) else -1
            above, below = sp.together(e.args[0]).as_numer_denom()
            return sign * ((sign * self.integer(sp.expand(above))) // self.integer(below))
        parts = [self.integer(a) for a in e.args]
        table: dict[type, Any] = {sp.Add: np.add, sp.Mul: np.multiply, sp.Max: np.maximum, sp.Min: np.minimum}
        table |= {sp.Mod: np.mod, sp.Pow: np.power}
        if e.func not in table:
            raise OracleError(f"{e} is not an integer expression of indices and sizes")
        return np.asarray(reduce(table[e.func], parts))
