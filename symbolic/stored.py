"""Values that get a tensor of their own because several equations need them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Dummy, Expr

from .expressions import Access, Range, accesses, freshen, index
from .samples import BATCH
from .stable import canonical
from .system import Equation, Role, System, Tensor

__all__ = ["Part", "Store", "spans"]


def spans(access: Access, indices: set[Dummy]) -> bool:
    """Whether the tensor has an axis of its own for each of the indices: a value over them is no larger than it."""
    alone = [v for i in access.indices for v in [i.free_symbols & indices] if len(v) == 1]
    return len(alone) >= len(indices) and set().union(*alone) >= indices


@dataclass(frozen=True)
class Part:
    """A value that may be stored over a box: a range for each of its indices."""

    value: Expr
    place: tuple[Range, ...]

    @property
    def key(self) -> Hashable:
        """Equal for equal values over equal boxes, whatever the names of their indices."""
        body, free = canonical(self.value)
        table = {r.symbol: r for r in self.place}
        return body, tuple((table[v].lower, table[v].upper) for v in free)

    @property
    def axes(self) -> tuple[Range, ...]:
        """The ranges in the order of the axes: that of a tensor which has them all, the same for equal keys."""
        body, free = canonical(self.value)
        table = {r.symbol: r for r in self.place}
        places = {sp.Symbol(f"_f{m}", integer=True): v for m, v in enumerate(free)}
        whole = [a for a in accesses(body) if spans(a, set(places))]
        if not whole:
            return tuple(table[v] for v in free)
        subscripts = min(whole, key=lambda a: (a.name, str(a.indices))).indices
        order = [places[v] for i in subscripts for v in i.free_symbols if v in places]
        return tuple(table[v] for v in dict.fromkeys(order))


class Store:
    """The tensors and equations of a System in the making, to which stored values are added before their readers."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._tensors = list(system.tensors)
        self._stored: dict[Hashable, tuple[str, tuple[int, ...]]] = {}  # its axes among the key's indices
        self.equations: list[Equation] = []

    def read(self, part: Part, value: Expr, wanted: str, axes: Sequence[Range] | None = None) -> Access:
        """The part read from its tensor; where there is none, one is made, with this formula for it and these axes."""
        free = canonical(part.value)[1]
        if part.key not in self._stored:
            wanted = self._fresh(wanted)
            axes = part.axes if axes is None else axes
            renamed = {r.symbol: index(r.symbol.name) for r in axes}
            ranges = tuple(replace(r, symbol=renamed[r.symbol]) for r in axes)
            shape = tuple(sp.expand(r.upper + 1) for r in ranges)
            self._tensors.append(Tensor(wanted, shape, Role.DEFINED, BATCH in shape))
            indices = tuple(r.symbol for r in ranges)
            self.equations.append(Equation(wanted, indices, ranges, freshen(value, renamed)))
            self._stored[part.key] = wanted, tuple(free.index(r.symbol) for r in axes)
        name, places = self._stored[part.key]
        return Access(name, *(free[m] for m in places))

    def _fresh(self, wanted: str) -> str:
        """The name, or the first of its kind that no tensor has: u, u2, u3, …"""
        taken = {t.name for t in self._tensors}
        names = (wanted, *(f"{wanted}{m}" for m in range(2, len(taken) + 3)))
        return next(n for n in names if n not in taken)

    def shape(self, name: str) -> tuple[Expr, ...]:
        """The shape of a tensor, stored ones included."""
        return next(t.shape for t in self._tensors if t.name == name)

    def system(self) -> System:
        """The System with all equations."""
        return self._system.with_equations(self.equations, self._tensors)
