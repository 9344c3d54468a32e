"""Values under a condition, stored once with zeros where it fails, System to System.

    l_i  = Σ_{j ≤ i} exp(s_ij - m_i)          e_ij = exp(s_ij - m_i) where j ≤ i, else 0
    o_ie = Σ_{j ≤ i} exp(s_ij - m_i) v_je  →  l_i  = Σ_j e_ij
    …                                         o_ie = Σ_j e_ij v_je

What several sums over the same combinations of indices need is then computed once, and the sums are over
whole boxes: sums of products among them are contractions. So is one whose conditions concern its result alone:

    da_ij = Σ_{e : j ≤ i} dh_ie x_je   →   da_ij = Σ_e dh_ie x_je where j ≤ i, else 0

The stored value has no more indices than a tensor that it reads, and only conditions that leave about half of
a box count: memory and time grow as the formulas say.

A combination that a condition excluded now takes part as 0 times the other factors, which therefore have to
be finite wherever their tensors are: tensors, sums and products of them, and reciprocals of sums that are
proved to be positive. (An infinity in a tensor reaches such a sum by 0·∞, as it does in any matrix product.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Dummy, Expr, Integer

from .affine import bounds_of, box, coefficient, integral, lower_bounds, nonnegative, upper_bounds, with_guards
from .domains import unproved
from .errors import LoweringError
from .expressions import Access, Delta, Range, Reduction, Where, accesses, rebuild, walk
from .simplify import tidied
from .stored import Part, Store, spans
from .system import Equation, System

__all__ = ["masked"]


@dataclass(frozen=True)
class _Candidate:
    """A sum under conditions, of factors that would be stored, a scale of theirs, and the rest."""

    own: Part  # where(conditions, factors, 0)
    scaled: Part  # where(conditions, factors · scale, 0)
    scale: Expr  # elementwise functions of some of the same indices
    rest: Expr
    ranges: tuple[Range, ...]  # of the sum, free of other indices

    @property
    def contracted(self) -> bool:
        """Whether the sum multiplies the stored value by tensors along other indices, one of them summed over."""
        own = {r.symbol for r in self.own.place}
        return bool(self.ranges) and any(a.free_symbols - own for a in accesses(self.rest))


def masked(system: System) -> System:
    """The System whose values under conditions are stored where two sums or more read them; same outputs.

    Equations of a recurrence stay as they are.
    """
    system = _parted(system)
    skipped = system.recurrences()
    positive = _positive_sums(system)
    candidates = {n: c for e in system.equations if e.name not in skipped for n, c in _candidates(e, system, positive)}
    counts = Counter(c.own.key for c in candidates.values())
    worth = {c.own.key for c in candidates.values() if c.contracted or _costly(c.own.value)}
    chosen = {n: c for n, c in candidates.items() if counts[c.own.key] > 1 and c.own.key in worth}
    return _selected(_Masks(system, chosen).run() if chosen else system)


def _parted(system: System) -> System:
    """The System whose sums with conditions on free indices stand inside these, where they need fewer of them.

    Σ_k [j <= i] a_ij b_ik = [j <= i] a_ij Σ_k b_ik: the inner sum is done once for all j.
    """

    def visit(node: Expr, free: frozenset[Expr]) -> Expr:
        if isinstance(node, Reduction):
            inside = free | {r.symbol for r in node.ranges}
            node = Reduction(node.kind, visit(node.body, inside), node.ranges, node.guards)
            return _inner_sum(node, free)
        return rebuild(node, [visit(a, free) for a in node.args])

    equations = (replace(e, value=visit(e.value, frozenset(r.symbol for r in e.ranges))) for e in system.equations)
    return system.with_equations(equations)


def _inner_sum(node: Reduction, free: frozenset[Expr]) -> Expr:
    bound = {r.symbol for r in node.ranges}
    if node.kind != "sum" or not bound or not node.guards or any(g.free_symbols & bound for g in node.guards):
        return node
    factors = sp.Mul.make_args(node.body)
    inner = Reduction("sum", sp.Mul(*(f for f in factors if f.free_symbols & bound)), node.ranges)
    if inner.free_symbols & free == node.free_symbols & free:
        return node
    outside = sp.Mul(*(f for f in factors if not f.free_symbols & bound))
    return Reduction("sum", outside * inner, (), node.guards)


def _selected(system: System) -> System:
    """The System with conditions on the result of a contraction applied to it, not to its terms."""
    skipped = system.recurrences()

    def visit(node: Expr, scope: Sequence[Range]) -> Expr:
        if isinstance(node, Reduction):
            return _contraction_where(node, scope, system) or node
        return rebuild(node, [visit(a, scope) for a in node.args])

    return system.with_equations(
        e if e.name in skipped else replace(e, value=visit(e.value, e.ranges)) for e in system.equations
    )


def _contraction_where(reduction: Reduction, scope: Sequence[Range], system: System) -> Expr | None:
    """where(conditions, Σ over the whole box, 0) for a sum of products of tensors along different indices."""
    conditions, bound = _conditions(reduction), set(reduction.bound_symbols)
    every = _whole(reduction, scope, conditions, system)
    if every is None or not bound or any(c.free_symbols & bound for c in conditions):
        return None
    factors = sp.Mul.make_args(reduction.body)
    sets = [f.free_symbols & {r.symbol for r in every} for f in factors if f.free_symbols & bound]
    if len({frozenset(s) for s in sets if not any(s < other for other in sets)}) < 2:
        return None
    total = Reduction("sum", sp.Mul(*(f for f in factors if f.free_symbols & bound)), every[len(scope) :])
    outside = sp.Mul(*(f for f in factors if not f.free_symbols & bound))
    return Where(sp.And(*(c >= 0 for c in conditions)), outside * total, Integer(0))


class _Masks:
    """The System in the making; `chosen` are the sums to be rewritten."""

    def __init__(self, system: System, chosen: Mapping[Expr, _Candidate]) -> None:
        self.system = system
        self.chosen = chosen
        self.store = Store(system)
        scaled = Counter(c.scaled.key for c in chosen.values() if c.scale != 1)
        self.scaled = {key for key, count in scaled.items() if count > 1}
        self.alone = {c.own.key for c in chosen.values() if c.scaled.key not in self.scaled}

    def run(self) -> System:
        """The System with the stored values, each before its first reader."""
        for equation in self.system.equations:
            value = self._replaced(equation.value, equation.name)
            changed = value != equation.value
            self.store.equations.append(replace(equation, value=tidied(value)) if changed else equation)
        return self.store.system()

    def _replaced(self, node: Expr, name: str) -> Expr:
        candidate = self.chosen.get(node)
        if candidate is None:
            return rebuild(node, [self._replaced(a, name) for a in node.args])
        read, rest = self._read(candidate, name)
        bound = {r.symbol for r in candidate.ranges}
        if read.free_symbols & bound:
            return Reduction("sum", read * rest, candidate.ranges)
        factors = sp.Mul.make_args(rest)
        total = Reduction("sum", sp.Mul(*(f for f in factors if f.free_symbols & bound)), candidate.ranges)
        return sp.Mul(read, *(f for f in factors if not f.free_symbols & bound), total if bound else Integer(1))

    def _read(self, candidate: _Candidate, name: str) -> tuple[Expr, Expr]:
        """The stored value at the sum's indices, and the other factors."""
        own, scaled, name = candidate.own, candidate.scaled, f"{name}_masked"
        if scaled.key not in self.scaled:
            return self.store.read(own, own.value, name), candidate.scale * candidate.rest
        value = scaled.value
        if own.key in self.alone:
            value = self.store.read(own, own.value, name) * candidate.scale
        return self.store.read(scaled, value, name), candidate.rest


def _candidates(equation: Equation, system: System, positive: frozenset[str]) -> list[tuple[Expr, _Candidate]]:
    """The outermost reductions of the equation that can be rewritten."""
    found: list[tuple[Expr, _Candidate]] = []

    def visit(node: Expr) -> None:
        if isinstance(node, Reduction):
            candidate = _candidate(node, equation.ranges, system, positive)
            if candidate is not None:
                found.append((node, candidate))
        else:
            for part in node.args:
                visit(part)

    visit(equation.value)
    return found


def _candidate(
    reduction: Reduction, scope: Sequence[Range], system: System, positive: frozenset[str]
) -> _Candidate | None:
    conditions = _conditions(reduction)
    every = _whole(reduction, scope, conditions, system)
    if every is None:
        return None
    bounds = bounds_of(every)
    indices = {v for c in conditions for v in c.atoms(Dummy)}
    own = _own(reduction.body, indices, frozenset(bounds), positive)
    if own is None:
        return None
    home = sp.Mul(*own).free_symbols & bounds.keys()
    factors = [f for f in sp.Mul.make_args(reduction.body) if f not in own]
    scale = [f for f in factors if f.args and not isinstance(f, Access) and f.free_symbols & bounds.keys() <= home]
    condition = sp.And(*(c >= 0 for c in conditions))
    place = tuple(r for r in every if r.symbol in home)
    alone, scaled = (Part(Where(condition, sp.Mul(*own, *more), Integer(0)), place) for more in ((), scale))
    rest = sp.Mul(*(f for f in factors if f not in scale))
    return _Candidate(alone, scaled, sp.Mul(*scale), rest, every[len(scope) :])


def _whole(
    reduction: Reduction, scope: Sequence[Range], conditions: Sequence[Expr], system: System
) -> tuple[Range, ...] | None:
    """The box over which a sum's terms may be computed: the scope's indices and its own.

    None where the conditions leave less than about half of it, or the terms would be read outside their tensors.
    """
    if reduction.kind != "sum" or not conditions or reduction.body.has(Reduction, Delta):
        return None
    try:
        every = _squared(box((*scope, *reduction.ranges)), reduction.ranges)
    except LoweringError:
        return None
    bounds, extents = bounds_of(every), {r.symbol: r.extent for r in every}
    pairs = [_pair(c, extents) for c in conditions]
    if None in pairs or len(set(pairs)) < len(pairs):
        return None
    if any(r.lower != 0 for r in every):
        return None
    if any(unproved(a, system.tensor(a.name).shape, bounds) for a in accesses(reduction.body)):
        return None
    return every


def _squared(boxed: tuple[Range, ...], ranges: Sequence[Range]) -> tuple[Range, ...]:
    """The box with i for 0 <= i < j over all that j runs over: bounds by an index alone are those of that index."""
    table = {r.symbol: r for r in boxed}
    for r in ranges:
        sides = []
        for bounds, side in ((lower_bounds(r), "lower"), (upper_bounds(r), "upper")):
            partners = {v for b in bounds for v in b.atoms(Dummy)}
            alone = len(partners) == 1 and all(b.atoms(Dummy) for b in bounds)
            sides.append(getattr(table[partners.pop()] if alone else table[r.symbol], side))
        table[r.symbol] = Range(r.symbol, *sides)
    return tuple(table.values())


def _pair(condition: Expr, extents: Mapping[Dummy, Expr]) -> frozenset[Dummy] | None:
    """The two indices of `i - j + c >= 0`, where c is a number and both are about as long: half of their square."""
    indices = condition.atoms(Dummy)
    if len(indices) != 2 or not indices <= extents.keys():
        return None
    one, two = indices
    straight = {coefficient(condition, one), coefficient(condition, two)} == {1, -1}
    shift = condition.xreplace(dict.fromkeys(indices, Integer(0)))
    alike = sp.expand(extents[one] - extents[two])
    return frozenset(indices) if straight and shift.is_Integer and alike.is_Integer else None


def _own(body: Expr, indices: set[Dummy], bound: frozenset[Dummy], positive: frozenset[str]) -> list[Expr] | None:
    """The factors to store: those that have all of the indices, and any that may be infinite elsewhere.

    None where there are none, or they have together more indices than a tensor that they read.
    """
    factors = sp.Mul.make_args(body)
    sets = {f: f.free_symbols & bound for f in factors}
    home = min((s for s in sets.values() if indices <= s), key=len, default=None)
    if home is None:
        return None
    own = [f for f in factors if sets[f] == home or not _finite(f, positive)]
    if any(not sets[f] <= home for f in own) or not any(spans(a, set(home)) for f in own for a in accesses(f)):
        return None
    return own


def _finite(factor: Expr, positive: frozenset[str]) -> bool:
    """Whether the factor is finite wherever the tensors that it reads are."""
    if isinstance(factor, Access) or not factor.args or not accesses(factor):
        return True
    if isinstance(factor, sp.Add | sp.Mul):
        return all(_finite(a, positive) for a in factor.args)
    if isinstance(factor, sp.Pow) and factor.exp.is_Integer:
        certain = factor.exp > 0 or (isinstance(factor.base, Access) and factor.base.name in positive)
        return bool(certain) and _finite(factor.base, positive)
    return False


def _conditions(reduction: Reduction) -> list[Expr]:
    """Guards, and bounds in which an index stands, as expressions that are all >= 0."""
    bound = [r.symbol - b for r in reduction.ranges for b in lower_bounds(r) if b.atoms(Dummy)]
    bound += [b - r.symbol for r in reduction.ranges for b in upper_bounds(r) if b.atoms(Dummy)]
    return list(dict.fromkeys(sp.expand(c) for c in (*reduction.guards, *bound)))


def _costly(value: Expr) -> bool:
    return any(isinstance(n, sp.Function) for n in walk(value))


def _positive_sums(system: System) -> frozenset[str]:
    """The tensors that are sums of exponentials with at least one term, the largest being exp(0)."""
    return frozenset(
        e.name
        for e in system.equations
        if isinstance(e.value, Reduction)
        and e.value.kind == "sum"
        and isinstance(e.value.body, sp.exp)
        and len(system.defining(e.name)) == 1
        and _has_terms(e.value, e.ranges)
    )


def _has_terms(reduction: Reduction, scope: Sequence[Range]) -> bool:
    """Whether it is proved that some combination of indices takes part, whatever the free indices are."""
    if len(reduction.ranges) > 1:
        return not _conditions(reduction) and all(nonnegative(r.extent - 1, {}) for r in reduction.ranges)
    (bound,) = reduction.ranges
    known = with_guards(bounds_of(reduction.ranges), reduction.guards)
    stated = sum(b.has(bound.symbol) for b in reduction.guards)
    lowers, uppers = known[bound.symbol]
    if stated != len(reduction.guards) or len(lowers) + len(uppers) != 2 + stated:
        return False
    if not all(map(integral, (*lowers, *uppers))):
        return False
    return all(nonnegative(u - b, bounds_of(scope)) for b in lowers for u in uppers)
