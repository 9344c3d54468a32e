"""Which sums are contractions: factors grouped by the indices they run over, and the order of pairs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sympy as sp
from sympy import Dummy, Expr

from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Range, Reduction, walk
from chainrule.symbolic.samples import BATCH

__all__ = ["Factors", "Group", "Pair"]


@dataclass(frozen=True)
class Group:
    """Factors of a product that run over the same indices (or fewer)."""

    indices: frozenset[Dummy]
    factors: tuple[Expr, ...]

    @property
    def access(self) -> Access | None:
        """The group's one access, where it is nothing else."""
        only = self.factors[0]
        return only if len(self.factors) == 1 and isinstance(only, Access) else None

    @property
    def windowed(self) -> bool:
        """Whether a subscript in the group adds up several of its indices."""
        read = (n for f in self.factors for n in walk(f) if isinstance(n, Access))
        return any(len(i.free_symbols & self.indices) > 1 for a in read for i in a.indices)


Pair = tuple[Group, Group, tuple[Range, ...], tuple[Group, ...]]
"""Two groups, the indices of a sum that only they have, and the other groups."""


@dataclass(frozen=True)
class Factors:
    """A product under a sum, its factors grouped by the indices that they run over."""

    groups: tuple[Group, ...]
    loops: tuple[Range, ...]
    reduced: tuple[Range, ...]

    @classmethod
    def of(cls, body: Expr, loops: Sequence[Range], reduced: Sequence[Range]) -> Factors:
        known = {r.symbol for r in (*loops, *reduced)}
        sets = [(frozenset(f.free_symbols & known), f) for f in sp.Mul.make_args(body)]
        largest = [s for s, _ in sets if not any(s < other for other, _ in sets)]
        groups: dict[frozenset[Dummy], list[Expr]] = {s: [] for s in dict.fromkeys(largest)}
        for indices, factor in sets:
            home = min((g for g in groups if indices <= g), key=lambda g: (g != indices, len(g)))
            groups[home].append(factor)
        return cls(tuple(Group(s, tuple(f)) for s, f in groups.items()), tuple(loops), tuple(reduced))

    @property
    def every(self) -> tuple[Range, ...]:
        return (*self.loops, *self.reduced)

    @property
    def contractible(self) -> bool:
        """At least two groups, each reduced index in at least one; none that would store a window for every place.

        A group that is no single access is stored over its indices: tanh(x[p + q]) would take the memory of
        every window of x.
        """
        covered = frozenset().union(*(g.indices for g in self.groups))
        reads = all(any(isinstance(n, Access) for f in g.factors for n in walk(f)) for g in self.groups)
        windows = any(g.access is None and g.windowed for g in self.groups)
        return len(self.groups) >= 2 and reads and not windows and {r.symbol for r in self.reduced} <= covered

    def pair(self, known: Callable[[Pair], bool]) -> Pair:
        """Two groups to contract first, the indices that only they have, and the other groups.

        The pair with the fewest indices left over; among equals one whose result is `known` already, then
        one whose result belongs to a sample, as (x v) u does where x (v u) would multiply out a matrix of low rank.
        """

        def choice(pair: tuple[Group, Group]) -> Pair:
            rest = tuple(g for g in self.groups if g not in pair)
            own = (pair[0].indices | pair[1].indices) - frozenset().union(*(g.indices for g in rest))
            return *pair, tuple(r for r in self.reduced if r.symbol in own), rest

        def cost(chosen: Pair) -> tuple[int, bool, bool, int]:
            left, right, reduced, _ = chosen
            result = (left.indices | right.indices) - {r.symbol for r in reduced}
            sample = any(r.symbol in result and BATCH in r.upper.free_symbols for r in self.every)
            return len(result), not known(chosen), not sample, -len(reduced)

        if len(self.groups) < 2:
            raise LoweringError("a contraction needs two operands")
        return min(map(choice, itertools.combinations(self.groups, 2)), key=cost)

    def product(self, left: Group, right: Group, reduced: tuple[Range, ...]) -> tuple[Expr, tuple[Range, ...]]:
        """The sum of the product of two groups, and the ranges of its other indices."""
        value = Reduction("sum", sp.Mul(*left.factors, *right.factors), reduced)
        indices = (left.indices | right.indices) - {r.symbol for r in reduced}
        return value, tuple(r for r in self.every if r.symbol in indices)

    def axes(self, group: Group) -> tuple[Range, ...]:
        """The group's ranges in the order in which a tensor of its has them, so that both are walked alike."""
        own = [r for r in self.every if r.symbol in group.indices]
        read = (n for f in group.factors for n in walk(f) if isinstance(n, Access))
        for access in sorted(read, key=lambda a: (a.name, str(a.indices))):
            if group.indices <= set(access.indices):
                return tuple(sorted(own, key=lambda r: access.indices.index(r.symbol)))
        return tuple(own)

    def oriented(self) -> tuple[Group, Group]:
        """The last two groups, the one that carries the earlier index of the result on the left."""
        left, right = self.groups
        for loop in self.loops:
            if (loop.symbol in left.indices) != (loop.symbol in right.indices):
                return (left, right) if loop.symbol in left.indices else (right, left)
        return left, right

    def with_group(self, rest: tuple[Group, ...], group: Group, reduced: tuple[Range, ...]) -> Factors:
        """The product after a pair has been contracted."""
        return Factors((*rest, group), self.loops, tuple(r for r in self.reduced if r not in reduced))
