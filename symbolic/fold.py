"""Known results put back: where a term holds the right side of a forward equation, its left side.

Softmax's `exp(z_i)/Σ_k exp(z_k)` becomes `p_i` again, `tanh(… + Σ_j u_ij h_{t-1,j})` becomes `h_ti`. At
which indices an equation is looked for is told by its *anchors*: accesses on its right side whose
subscripts can be solved for the left side's indices. A left side is put in only where it is proved to
lie in the equation's ranges.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Dummy, Expr, Integer

from .affine import (
    Bounds,
    bounds_of,
    coefficient,
    guards_of,
    integral,
    lower_bounds,
    nonnegative,
    upper_bounds,
    with_guards,
)
from .expressions import Access, Range, Reduction, Where, accesses, alpha_key, freshen, rebuild, walk
from .system import Equation, System
from .terms import Term

__all__ = ["Known", "fold", "fold_term", "known_results"]

_MOST_PLACES = 64
"""So many combinations of subscripts are tried for one equation at one place."""


@dataclass(frozen=True)
class _Anchor:
    """An access, and which of its subscripts tells which index: (position, index, coefficient, rest)."""

    access: Access
    solved: tuple[tuple[int, Dummy, Expr, Expr], ...]


@dataclass(frozen=True)
class Known:
    """A forward equation that may be folded, the anchors that tell its indices, and the tensors that it reads."""

    equation: Equation
    anchors: tuple[_Anchor, ...]
    reads: frozenset[str]


def known_results(system: System) -> tuple[Known, ...]:
    """The equations that can be recognised: each left index can be told from the right side's subscripts."""
    found = []
    for equation in system.equations:
        plain = all(isinstance(i, Dummy) for i in equation.indices)
        if equation.indices and plain and not isinstance(equation.value, Access):
            anchors = _anchors(equation)
            if anchors is not None:
                found.append(Known(equation, anchors, frozenset(equation.reads())))
    return tuple(found)


def _anchors(equation: Equation) -> tuple[_Anchor, ...] | None:
    """The fewest accesses found that tell all of the left side's indices; None where some index cannot be told."""
    bound = _bound_in(equation.value)
    missing = set(equation.indices)
    options = [_Anchor(a, tuple(_solved(a, missing, bound))) for a in accesses(equation.value)]
    chosen: list[_Anchor] = []
    while missing:
        tells = [replace(o, solved=tuple(s for s in o.solved if s[1] in missing)) for o in options]
        best = max(tells, key=lambda o: len({s[1] for s in o.solved}), default=None)
        if best is None or not best.solved:
            return None
        chosen.append(best)
        missing -= {s[1] for s in best.solved}
    return tuple(chosen)


def _solved(access: Access, wanted: set[Expr], bound: set[Dummy]) -> Iterator[tuple[int, Dummy, Expr, Expr]]:
    """The subscripts `c·index + rest`, bound indices put at 0, that can be solved for one of the wanted indices."""
    for position, subscript in enumerate(access.indices):
        subscript = subscript.xreplace(dict.fromkeys(bound, Integer(0)))
        symbols = [v for v in subscript.free_symbols if v in wanted]
        if len(symbols) == 1:
            factor = coefficient(subscript, symbols[0])
            if factor is not None and factor.is_Integer:
                yield position, symbols[0], factor, sp.expand(subscript - factor * symbols[0])


def _bound_in(expression: Expr) -> set[Dummy]:
    return {s for node in walk(expression) if isinstance(node, Reduction) for s in node.bound_symbols}


def fold(expression: Expr, known: Iterable[Known], ranges: Iterable[Range], guards: Iterable[Expr] = ()) -> Expr:
    """The expression with every recognised right side replaced by its left side.

    `ranges` and `guards` (all >= 0) are what is known of the indices that are free in it.
    """
    present = {a.name for a in accesses(expression)}
    candidates = sorted((k for k in known if k.reads <= present), key=lambda k: k.equation.name)
    return _fold(expression, candidates, with_guards(bounds_of(ranges), guards)) if candidates else expression


def fold_term(term: Term, known: Sequence[Known], free: tuple[Range, ...]) -> Term:
    """Known results inside each factor, then across the factors of the product; the order is kept."""
    ranges = (*free, *term.bound)
    inner = [fold(f, known, ranges, term.guards) for f in term.factors]
    product = Term(tuple(inner)).expression
    folded = fold(product, known, ranges, term.guards)
    if folded == product:
        return replace(term, factors=tuple(inner))
    left = list(sp.Mul.make_args(folded))
    kept = []
    for factor in inner:
        if factor in left:
            left.remove(factor)
            kept.append(factor)
    numbers = [f for f in left if f.is_number]
    return replace(term, factors=(*numbers, *(f for f in left if not f.is_number), *kept))


def _fold(expression: Expr, candidates: Sequence[Known], bounds: Bounds) -> Expr:
    if isinstance(expression, Access) or not expression.args:
        return expression
    present = {a.name for a in accesses(expression)}
    candidates = [k for k in candidates if k.reads <= present]
    if not candidates:
        return expression
    expression = rebuild(expression, _inside(expression, candidates, bounds))
    for left, right in _instances(expression, candidates, bounds):
        if alpha_key(expression) == alpha_key(right):
            return left
        if isinstance(expression, sp.exp) and isinstance(right, sp.exp):
            times = _multiple(expression.args[0], right.args[0])
            if times is not None:
                return left**times
        if isinstance(expression, sp.Mul) and isinstance(right, sp.Mul | sp.Pow):
            reduced = _divide(expression, right, left)
            if reduced is not None:
                return _fold(reduced, candidates, bounds)
    return expression


def _inside(expression: Expr, candidates: Sequence[Known], bounds: Bounds) -> list[Expr]:
    """The node's children folded, each with what holds of the indices there."""
    if isinstance(expression, Reduction):
        inner = with_guards({**bounds, **bounds_of(expression.ranges)}, expression.guards)
        return [expression.args[0], _fold(expression.body, candidates, inner), *expression.args[2:]]
    if isinstance(expression, Where):
        inner = with_guards(bounds, guards_of(expression.condition) or ())
        then, otherwise = _fold(expression.then, candidates, inner), _fold(expression.otherwise, candidates, bounds)
        return [_fold(expression.condition, candidates, bounds), then, otherwise]
    return [_fold(a, candidates, bounds) for a in expression.args]


def _instances(expression: Expr, candidates: Sequence[Known], bounds: Bounds) -> Iterator[tuple[Access, Expr]]:
    """Every (left side, right side) that the anchors' occurrences in the expression tell, in range."""
    for item in candidates:
        value = item.equation.value
        same = isinstance(expression, value.func)
        if not same and not (isinstance(expression, sp.Mul) and isinstance(value, sp.Pow)):
            continue
        for mapping in dict.fromkeys(_mappings(expression, item)):
            indices = dict(mapping)
            if _in_range(item.equation, indices, bounds):
                left = Access(item.equation.name, *(indices[i] for i in item.equation.indices))
                yield left, freshen(value, indices)


def _mappings(expression: Expr, item: Known) -> Iterator[tuple[tuple[Dummy, Expr], ...]]:
    """What the left side's indices would be, for every choice of one access for each anchor."""
    zero = dict.fromkeys(_bound_in(expression), Integer(0))
    read = accesses(expression)
    choices = [[a for a in read if a.name == anchor.access.name] for anchor in item.anchors]
    for chosen in itertools.islice(itertools.product(*choices), _MOST_PLACES):
        mapping: dict[Dummy, Expr] = {}
        for anchor, access in zip(item.anchors, chosen, strict=True):
            for position, symbol, factor, rest in anchor.solved:
                mapping[symbol] = sp.expand((access.indices[position].xreplace(zero) - rest) / factor)
        if all(integral(v) for v in mapping.values()):
            yield tuple(mapping.items())


def _in_range(equation: Equation, mapping: Mapping[Dummy, Expr], bounds: Bounds) -> bool:
    """Whether the equation is proved to define its left side at those indices."""
    for r in equation.ranges:
        lowers = tuple(b.xreplace(mapping) for b in lower_bounds(r))
        uppers = tuple(b.xreplace(mapping) for b in upper_bounds(r))
        place = mapping[r.symbol]
        if bounds.get(place) == (lowers, uppers):
            continue
        if not all(nonnegative(c, bounds) for c in (*(place - b for b in lowers), *(b - place for b in uppers))):
            return False
    return True


def _multiple(exponent: Expr, of: Expr) -> Expr | None:
    """n where exponent = n·of for an integer n; None where it is no such multiple."""
    (scale, rest), (unit, base) = exponent.as_content_primitive(), of.as_content_primitive()
    ratio = scale / unit
    return ratio if ratio.is_Integer and alpha_key(rest) == alpha_key(base) else None


def _factors(expression: Expr) -> dict[Expr, tuple[Expr, Expr]]:
    """Base → (base, exponent) for every factor, with exp(u + v) split, keyed up to bound names."""
    powers: dict[Expr, tuple[Expr, Expr]] = {}

    def put(base: Expr, exponent: Expr) -> None:
        key = alpha_key(base)
        powers[key] = (base, powers[key][1] + exponent if key in powers else exponent)

    for factor in sp.Mul.make_args(expression):
        if isinstance(factor, sp.exp):
            for part in sp.Add.make_args(factor.args[0]):
                count, rest = part.as_coeff_Mul()
                if count.is_Integer:
                    put(sp.exp(rest), count)
                else:
                    put(sp.exp(part), sp.Integer(1))
        else:
            put(*factor.as_base_exp())
    return powers


def _divide(product: Expr, divisor: Expr, quotient_symbol: Access) -> Expr | None:
    """`product` with `divisor` taken out once and the symbol in its place; None where it does not hold it."""
    have, want = _factors(product), _factors(divisor)
    for key, (_, exponent) in want.items():
        held = have.get(key, (None, sp.Integer(0)))[1]
        if not (exponent.is_Integer and held.is_Integer and held * exponent > 0 and abs(held) >= abs(exponent)):
            return None
    for key, (base, exponent) in want.items():
        have[key] = (base, have[key][1] - exponent)
    if not any(isinstance(f, Reduction) or f.args for f, _ in want.values()):
        return None
    return sp.Mul(quotient_symbol, *(base**exponent for base, exponent in have.values()))
