"""Statements to loop nests from 0: bounds become guards, narrow bands and strides become loops of their own.

A sum over p of y[p]·w[i - 2·p] with 0 <= i - 2·p <= 2 visits, for every i, only the one or two p that
take part: with i = 2·m + r and p = m - d it is a sum over d of y[m - d]·w[2·d + r], in which every
subscript is a stride through its array. (So the transposed convolution gathers, and costs what the
convolution does.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Dummy, Expr, Integer

from chainrule.codegen.ir import Contract, Map, Reduce, Scatter, Statement
from chainrule.symbolic.affine import (
    Bounds,
    bounds_of,
    box,
    coefficient,
    edge,
    lower_bounds,
    nonnegative,
    upper_bounds,
    with_guards,
)
from chainrule.symbolic.expressions import Access, Delta, Range, accesses, contains, index

__all__ = ["Merge", "Nest", "loop_order", "nest"]


@dataclass(frozen=True)
class Merge:
    """Two loops, m and r, that stand for one axis of the result: its element stride·m + r - start."""

    symbol: Dummy
    outer: Dummy
    inner: Dummy
    stride: Expr
    start: Expr
    extent: Expr


@dataclass(frozen=True)
class Nest:
    """One statement as loops from 0: `kind` of the product of `factors` over `reduced`, where all guards are >= 0.

    `left` are the loops of the left side as the statement has them, `kept` those that take their
    place (two for each of `merges`); `out` are the subscripts written, in symbols of `left`.
    `conditions` (>= 0) depend on sizes and the enclosing loop alone, and decide for the whole statement.
    """

    out: tuple[Expr, ...]
    left: tuple[Range, ...]
    kept: tuple[Range, ...]
    reduced: tuple[Range, ...]
    kind: str
    factors: tuple[Expr, ...]
    guards: tuple[Expr, ...]
    conditions: tuple[Expr, ...]
    merges: tuple[Merge, ...] = ()
    scattered: bool = False

    @property
    def loops(self) -> tuple[Range, ...]:
        return (*self.kept, *self.reduced)


def nest(statement: Statement, outer: Sequence[Range] = ()) -> Nest:
    """The loop nest of a statement inside the loops `outer`. Raises LoweringError for bounds that are not affine."""
    start = _scattered(statement) if isinstance(statement, Scatter) else _plain(statement)
    start = _boxed(start, [r for r in statement.loops if r in (*start.left, *start.reduced)], outer)
    known = with_guards(bounds_of(outer), statement.when)
    result = _tightened(start, known)
    while True:
        banded = _banded(result, known)
        if banded is None:
            return _sorted_guards(result, known)
        result = _tightened(banded, known)


def _plain(statement: Statement) -> Nest:
    kind = "map"
    reduced: tuple[Range, ...] = ()
    guards: tuple[Expr, ...] = ()
    factors: tuple[Expr, ...]
    if isinstance(statement, Contract):
        kind, reduced, factors = "sum", statement.reduced, (statement.left, statement.right)
    elif isinstance(statement, Reduce):
        kind, reduced, guards = statement.kind, statement.reduced, statement.guards
        factors = _factors(statement.body) if kind == "sum" else (statement.body,)
    else:
        assert isinstance(statement, Map)
        factors = (statement.body,)
    if kind == "sum":
        deltas = [f for f in factors if isinstance(f, Delta)]
        factors = tuple(f for f in factors if not isinstance(f, Delta))
        guards = (*guards, *(g for d in deltas for g in _equal(*d.args)))
    return Nest(statement.out.indices, statement.ranges, statement.ranges, reduced, kind, factors, guards, ())


def _scattered(statement: Scatter) -> Nest:
    """A scatter: a delta that says where an index of the left side is puts that place into the left side."""
    out = list(statement.out.indices)
    ranges = list(statement.ranges)
    factors = list(_factors(statement.body))
    for delta in [f for f in factors if isinstance(f, Delta)]:
        for here, there in (delta.args, delta.args[::-1]):
            rest = [f for f in (*out, *factors) if f is not delta and f != here]
            if here in out and not any(here in f.free_symbols for f in rest) and here not in there.free_symbols:
                out[out.index(here)] = there
                ranges = [r for r in ranges if r.symbol != here]
                factors.remove(delta)
                break
    deltas = [f for f in factors if isinstance(f, Delta)]
    factors = [f for f in factors if not isinstance(f, Delta)]
    guards = (*statement.guards, *(g for d in deltas for g in _equal(*d.args)))
    used = {s for i in out for s in i.free_symbols}
    left = tuple(r for r in ranges if r.symbol in used)
    reduced = tuple(r for r in ranges if r.symbol not in used)
    return Nest(tuple(out), left, left, reduced, "sum", tuple(factors), guards, (), scattered=True)


def _equal(left: Expr, right: Expr) -> tuple[Expr, Expr]:
    difference = sp.expand(left - right)
    return difference, -difference


def _factors(body: Expr) -> tuple[Expr, ...]:
    """The body as a product, with what all terms of a sum in it share taken out."""
    found: list[Expr] = []
    for factor in sp.Mul.make_args(body):
        if not factor.is_Add:
            found.append(factor)
            continue
        terms = [sp.Mul.make_args(t) for t in factor.args]
        common = [
            f
            for f in terms[0]
            if contains(f, lambda n: isinstance(n, (Access, Delta))) and all(f in others for others in terms[1:])
        ]
        rest = [sp.Mul(*(f for f in t if f not in common)) for t in terms]
        found.extend([*common, sp.Add(*rest)] if common else [factor])
    return tuple(found)


# --- loops from 0


def _boxed(start: Nest, every: Sequence[Range], outer: Sequence[Range]) -> Nest:
    """Loops (`every`, each after those that bound it) between bounds without indices; other bounds become guards."""
    boxed = {r.symbol: r for r in box(every, outer)}
    guards = list(start.guards)
    for r in every:
        whole = boxed[r.symbol]
        kept = {*lower_bounds(whole), *upper_bounds(whole)}
        guards += [sp.expand(r.symbol - b) for b in lower_bounds(r) if b not in kept]
        guards += [sp.expand(b - r.symbol) for b in upper_bounds(r) if b not in kept]
    left = tuple(boxed[r.symbol] for r in start.left)
    reduced = tuple(boxed[r.symbol] for r in start.reduced)
    moved = replace(start, left=left, kept=left, reduced=reduced, guards=tuple(guards))
    return _from_zero(moved)


def _from_zero(start: Nest) -> Nest:
    """Every loop counted from 0."""
    moves = {r.symbol: r.symbol + r.lower for r in start.loops if r.lower != 0}
    return _substituted(start, moves, lambda r: Range(r.symbol, Integer(0), sp.expand(r.upper - r.lower)))


def _substituted(start: Nest, mapping: dict[Dummy, Expr], bound: Callable[[Range], Range] = lambda r: r) -> Nest:
    """The nest with indices replaced and loops bounded anew; the left side keeps its own once loops are merged."""

    def expanded(e: Expr) -> Expr:
        return sp.expand(e.xreplace(mapping))

    return replace(
        start,
        out=tuple(expanded(i) for i in start.out) if not start.merges else start.out,
        left=tuple(bound(r) for r in start.left) if not start.merges else start.left,
        kept=tuple(bound(r) for r in start.kept),
        reduced=tuple(bound(r) for r in start.reduced),
        factors=tuple(_subscripts(f, mapping) for f in start.factors),
        guards=tuple(expanded(g) for g in start.guards),
    )


def _subscripts(expression: Expr, mapping: dict[Dummy, Expr]) -> Expr:
    """The expression with its indices replaced, subscripts expanded."""
    if not mapping or not expression.args:
        return mapping.get(expression, expression)
    if isinstance(expression, Access):
        return Access(expression.name, *(sp.expand(i.xreplace(mapping)) for i in expression.indices))
    return expression.func(*(_subscripts(a, mapping) for a in expression.args))


def _bounds(current: Nest, known: Bounds) -> Bounds:
    return {**known, **bounds_of(current.loops)}


def _tightened(start: Nest, known: Bounds) -> Nest:
    """Guards on one reduced loop alone become its bounds; those that always hold are left out.

    The loops of a scatter are all like that: it adds nothing where a guard fails.
    """
    bounds = _bounds(start, known)
    free = {r.symbol: r for r in (start.loops if start.scattered and not start.merges else start.reduced)}
    guards: list[Expr] = []
    for guard in dict.fromkeys(start.guards):
        symbols = [s for s in guard.free_symbols if s in bounds]
        limit = edge(guard, symbols[0]) if len(symbols) == 1 and symbols[0] in free else None
        if nonnegative(guard, bounds):
            continue
        if limit is None:
            guards.append(guard)
            continue
        r = free[symbols[0]]
        if coefficient(guard, r.symbol) == 1:
            free[r.symbol] = Range(r.symbol, _most(r.lower, limit, known), r.upper)
        else:
            free[r.symbol] = Range(r.symbol, r.lower, -_most(-r.upper, -limit, known))
    left, kept, reduced = (
        tuple(free.get(r.symbol, r) for r in loops) for loops in (start.left, start.kept, start.reduced)
    )
    return _from_zero(replace(start, left=left, kept=kept, reduced=reduced, guards=tuple(guards)))


def _most(one: Expr, two: Expr, known: Bounds) -> Expr:
    """The greater of two numbers, where it is known which that is; else their Max."""
    if nonnegative(one - two, known):
        return one
    return two if nonnegative(two - one, known) else sp.Max(one, two)


def _sorted_guards(current: Nest, known: Bounds) -> Nest:
    """Guards that no loop of the nest decides become conditions; the others are those not proved from the rest."""
    symbols = {r.symbol for r in current.loops}
    guards = [g for g in current.guards if g.free_symbols & symbols]
    conditions = tuple(g for g in current.guards if not g.free_symbols & symbols)
    base = with_guards(_bounds(current, known), conditions)
    guards = [g for g in guards if not nonnegative(g, base)]
    return replace(current, guards=tuple(guards), conditions=conditions)


# --- bands: 0 <= i - a·p + c <= w


def _banded(current: Nest, known: Bounds) -> Nest | None:
    """The nest with one band made a loop of its own; None where there is none, or it is no shorter."""
    symbols = {r.symbol for r in current.loops} | set(known)
    for r in current.reduced:
        for guard in current.guards:
            factor = coefficient(guard, r.symbol)
            if factor is None or not factor.is_Integer or factor >= 0:
                continue
            for other in current.guards:
                width = sp.expand(guard + other)
                if other is guard or width.free_symbols & symbols or width.is_negative:
                    continue
                found = _unit(current, r, guard, other, width) if factor == -1 else None
                found = found or (_strided(current, r, guard, width, known) if factor < -1 else None)
                if found is not None:
                    return found
    return None


def _without(guards: Iterable[Expr], *dropped: Expr) -> tuple[Expr, ...]:
    return tuple(g for g in guards if g not in dropped)


def _unit(current: Nest, r: Range, guard: Expr, other: Expr, width: Expr) -> Nest | None:
    """p = R - u with 0 <= u <= w, where w is a number and p has more values than that."""
    if not width.is_Integer or (r.extent.is_Integer and r.extent <= width + 1):
        return None
    rest = sp.expand(guard + r.symbol)
    band = Range(index(r.symbol.name), Integer(0), width)
    place = rest - band.symbol if width > 0 else rest
    reduced = tuple(band if s is r else s for s in current.reduced if s is not r or width > 0)
    guards = (*_without(current.guards, guard, other), r.symbol, r.upper - r.symbol)
    moved = replace(current, reduced=reduced, guards=guards)
    return _substituted(moved, {r.symbol: place})


def _strided(current: Nest, r: Range, guard: Expr, width: Expr, known: Bounds) -> Nest | None:
    """i + c = a·m + q and p = m - d, where guard = i - a·p + c."""
    stride = -sp.expand(guard).coeff(r.symbol, 1)
    rest = sp.expand(guard + stride * r.symbol)
    merged = {m.symbol for m in current.merges} | {s for m in current.merges for s in (m.outer, m.inner)}
    taken = [s for s in current.kept if s.symbol in rest.free_symbols]
    if len(taken) != 1 or taken[0].symbol in merged or coefficient(rest, taken[0].symbol) != 1:
        return None
    kept = taken[0]
    shift = sp.expand(rest - kept.symbol)
    if shift.free_symbols & (set(known) | {s.symbol for s in current.loops}) or kept.symbol not in current.out:
        return None
    first = sp.floor(shift / stride)
    start = sp.expand(shift - stride * first)
    m = Range(index(kept.symbol.name), Integer(0), sp.expand(sp.floor((kept.upper + start) / stride)))
    q = Range(index("r"), Integer(0), stride - 1)
    d = Range(index(r.symbol.name), Integer(0), sp.expand(sp.floor(width / stride)))
    place = sp.expand(m.symbol + first - (d.symbol if d.upper != 0 else 0))
    mapping = {kept.symbol: sp.expand(stride * m.symbol + q.symbol - start), r.symbol: place}
    merge = Merge(kept.symbol, m.symbol, q.symbol, stride, start, kept.extent)
    loops = tuple(s for k in current.kept for s in ((m, q) if k is kept else (k,)))
    reduced = tuple(d if s is r else s for s in current.reduced if s is not r or d.upper != 0)
    moved = replace(
        current,
        kept=loops,
        reduced=reduced,
        guards=(*current.guards, r.symbol, r.upper - r.symbol),
        merges=(*current.merges, merge),
    )
    return _substituted(moved, mapping)


# --- the order of loops


def loop_order(found: Nest) -> tuple[Range, ...]:
    """The loops in the order in which the largest array that the nest computes with is stored.

    Arrays inside formulas come first: others are viewed, in whatever order.
    """
    loops = {r.symbol: r for r in found.loops}
    if found.kind == "map":
        return tuple(loops.values())
    order: dict[Expr, None] = {}
    reads = [(isinstance(f, Access), a) for f in found.factors for a in accesses(f)]
    for _, access in sorted(reads, key=lambda r: (r[0], -len(r[1].indices))):
        for i in access.indices:
            order.update(dict.fromkeys(s for s in loops if s in i.free_symbols))
    order.update(dict.fromkeys(loops))
    return tuple(loops[s] for s in order if isinstance(s, Dummy))
