"""Products under several sums, computed once, System to System: the δ of a gate, which each of its gradients needs.

    dw_ik = Σ_st (1 - r_sti) dr_sti r_sti x_stk        δ_sti = (1 - r_sti) dr_sti r_sti
    db_i  = Σ_st (1 - r_sti) dr_sti r_sti          →   dw_ik = Σ_st δ_sti x_stk,  db_i = Σ_st δ_sti

Stored is what a contraction would need in an array anyway: the factors with all of some indices, under a sum
that multiplies them by tensors along others. It is no larger than a tensor that it reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Dummy, Expr

from .affine import bounds_of, box, coefficient, edge, nonnegative
from .domains import Shapes, unproved
from .errors import LoweringError
from .expressions import Access, Delta, Range, Reduction, accesses, freshen, index, rebuild
from .stable import grouped
from .stored import Part, Store, spans
from .system import Equation, System

__all__ = ["with_shared_factors"]


@dataclass(frozen=True)
class _Use:
    """A product of factors of one sum: what would be stored, and how it is read here."""

    factors: tuple[Expr, ...]
    part: Part
    here: Mapping[Expr, tuple[Expr, Expr]]  # an index of the part -> the sum's index and the shift that it is read with
    contracted: bool

    @property
    def from_zero(self) -> bool:
        """Whether the sum's indices begin at 0: then every element of the tensor is defined."""
        return all(r.lower == self.here[r.symbol][1] for r in self.part.place)


@dataclass(frozen=True)
class _Place:
    """The tensor of a part: which of the part's axes its axes are, and by how much each is shifted."""

    name: str
    axes: tuple[int, ...]
    shifts: tuple[Expr, ...]


def with_shared_factors(system: System) -> System:
    """The System whose sums read the products that two or more of them share from a tensor; same outputs."""
    uses: dict[Expr, tuple[_Use, ...]] = {}
    for equation in system.equations:
        for reduction in _sums(equation.value):
            uses[reduction] = tuple(_uses(reduction, equation, lambda name: system.tensor(name).shape))
    every = [u for found in uses.values() for u in found]
    counts = Counter(u.part.key for u in every)
    needed = {u.part.key for u in every if u.contracted}
    first = {u.part.key: u for u in reversed(every)}
    chosen = {k for k, count in counts.items() if count > 1 and k in needed and first[k].from_zero}
    return _Factors(system, uses, chosen).run() if chosen else system


class _Factors:
    """The System in the making; the keys in `chosen` say which parts are stored."""

    def __init__(self, system: System, uses: Mapping[Expr, Sequence[_Use]], chosen: set[Hashable]) -> None:
        self.system = system
        self.uses = uses
        self.chosen = chosen
        self.store = Store(system)
        self.places: dict[Hashable, _Place] = {}

    def run(self) -> System:
        """The System with the stored products, each before its first reader."""
        for equation in self.system.equations:
            value = self._replaced(equation.value, equation.name)
            self.store.equations.append(equation if value == equation.value else replace(equation, value=value))
        made = self.store.system()
        return made.with_equations(grouped(made.equations))

    def _replaced(self, node: Expr, name: str) -> Expr:
        if node not in self.uses:
            return rebuild(node, [self._replaced(a, name) for a in node.args])
        body = node.body
        for use in self.uses[node]:
            if use.part.key in self.chosen:
                rest = [f for f in sp.Mul.make_args(body) if f not in use.factors]
                body = sp.Mul(self._read(use, name), *rest)
        return node if body == node.body else Reduction("sum", body, node.ranges, node.guards)

    def _read(self, use: _Use, name: str) -> Access:
        """The product from its tensor, whose indices are those of the first reader: in a recurrence, its step."""
        key, symbols = use.part.key, [r.symbol for r in use.part.axes]
        if key not in self.places:
            moves = {v: v + use.here[v][1] for v in symbols}
            ranges = (
                replace(r, lower=r.lower - use.here[r.symbol][1], upper=r.upper - use.here[r.symbol][1])
                for r in use.part.place
            )
            first = Part(_moved(use.part.value, moves), tuple(ranges))
            access = self.store.read(first, first.value, f"{name}_factor")
            axes = tuple(symbols.index(v) for v in access.indices)
            self.places[key] = _Place(access.name, axes, tuple(use.here[symbols[m]][1] for m in axes))
        place = self.places[key]
        here = [sp.Add(*use.here[symbols[m]]) - shift for m, shift in zip(place.axes, place.shifts, strict=True)]
        return Access(place.name, *here)


def _sums(expression: Expr) -> Iterator[Reduction]:
    """The outermost sums."""
    if isinstance(expression, Reduction):
        if expression.kind == "sum":
            yield expression
    else:
        for part in expression.args:
            yield from _sums(part)


def _uses(reduction: Reduction, equation: Equation, shape: Shapes) -> Iterator[_Use]:
    """The products in the sum that may be stored: all factors that have the same, most indices."""
    factors = sp.Mul.make_args(reduction.body)
    if reduction.body.has(Reduction, Delta):
        return
    try:
        every = box((*equation.ranges, *reduction.ranges))
    except LoweringError:
        return
    known = {r.symbol: _narrowed(r, reduction.guards) for r in every}
    bounds = bounds_of(known.values())
    sets = {f: frozenset(f.free_symbols & known.keys()) for f in factors}
    for home in dict.fromkeys(s for s in sets.values() if not any(s < other for other in sets.values())):
        own = tuple(f for f in factors if sets[f] == home)
        if all(isinstance(f, Access) for f in own) and len(own) < 2:
            continue
        moved = _unshifted(own, [known[v] for v in sorted(home, key=lambda v: v.sort_key())])
        inside = not any(unproved(a, shape(a.name), bounds) for f in own for a in accesses(f))
        if moved is not None and inside:
            outside = frozenset().union(*sets.values()) - home
            contracted = bool(outside) and any(r.symbol in home for r in reduction.ranges)
            yield _Use(own, *moved, contracted)


def _narrowed(bound: Range, guards: Sequence[Expr]) -> Range:
    """The range within what the guards say of its index alone, where it is known which bound is the tighter."""
    for guard in guards:
        limit = edge(guard, bound.symbol) if guard.atoms(Dummy) == {bound.symbol} else None
        if limit is None:
            continue
        if coefficient(guard, bound.symbol) == 1:
            bound = replace(bound, lower=limit) if nonnegative(limit - bound.lower, {}) else bound
        else:
            bound = replace(bound, upper=limit) if nonnegative(bound.upper - limit, {}) else bound
    return bound


def _unshifted(own: Sequence[Expr], ranges: Sequence[Range]) -> tuple[Part, dict[Expr, tuple[Expr, Expr]]] | None:
    """The product with h[t + 1] written h[t], where t stands everywhere with the same shift.

    None where a subscript is no index, or the product would be larger than every tensor in it.
    """
    value = sp.Mul(*own)
    read = accesses(value)
    subscripts = list(dict.fromkeys(i for a in read for i in a.indices))
    back: dict[Expr, Expr] = {}
    here: dict[Expr, tuple[Expr, Expr]] = {}
    place = []
    for r in ranges:
        shifts = {sp.expand(i - r.symbol) for i in subscripts if r.symbol in i.free_symbols}
        if len(shifts) != 1 or not all(s.is_Integer for s in shifts):
            return None
        (shift,) = shifts
        symbol = index(r.symbol.name)
        back[r.symbol], here[symbol] = symbol - shift, (r.symbol, shift)
        place.append(Range(symbol, sp.expand(r.lower + shift), sp.expand(r.upper + shift)))
    moved = _moved(value, back)
    indices: set[Dummy] = {r.symbol for r in place}
    bare = all(n in indices or not n.has(Dummy) for a in accesses(moved) for n in a.indices)
    whole = any(spans(a, indices) for a in accesses(moved))
    return (Part(moved, tuple(place)), here) if bare and whole else None


def _moved(value: Expr, indices: Mapping[Expr, Expr]) -> Expr:
    """The value with other indices, subscripts expanded."""
    moved = freshen(value, indices)
    return moved.xreplace({a: Access(a.name, *map(sp.expand, a.indices)) for a in accesses(moved)})
