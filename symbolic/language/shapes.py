"""The range of every index and the shape of every defined tensor, from how the indices are used.

A range stated by `index p < …` holds; else a bare use `x[p]` gives the length of that axis; else
affine uses keep every access inside its tensor. An index starts at 0 (after the base cases). In the end
every access is proved to stay inside its tensor, by its ranges and the conditions around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import sympy as sp
from sympy import Dummy, Expr, Integer

from ..affine import lower_bounds, nonnegative, upper_bounds
from ..errors import Position
from ..expressions import Range
from .drafts import Draft, Use, Variable
from .recurrences import Layout, layout
from .statements import IndexBound

__all__ = ["Shapes", "infer"]

_MOST_FACTS = 10


@dataclass(frozen=True)
class Shapes:
    """The shape of a defined tensor, and the range of every index of its equations."""

    shape: tuple[Expr, ...]
    ranges: Mapping[Variable, Range]


@dataclass(frozen=True)
class _Known:
    """A range, and the place that gave it; `stated` if that was an index statement."""

    range: Range
    reason: str
    position: Position
    stated: bool = False


def infer(drafts: list[Draft], shapes: Mapping[str, tuple[Expr, ...]], stated: Mapping[str, IndexBound]) -> Shapes:
    """The shape of the tensor that the drafts define, where `shapes` has those of all that they read.

    Raises FormulaError for a conflict (naming both places), an index without a range, an access that
    may leave its tensor, and base cases that do not fit.
    """
    solver = _Solver(drafts, shapes, stated)
    solver.layout.check_bases()
    solver.solve()
    for each in drafts:
        for use in each.uses:
            solver.check_use(each, use)
    solver.layout.check_reads(solver.prove)
    ranges = {variable: known.range for variable, known in solver.known.items()}
    return Shapes(tuple(solver.extents[axis] for axis in range(len(solver.layout.step.subscripts))), ranges)


class _Solver:
    """The equations of one tensor, and what is known so far."""

    def __init__(
        self, drafts: list[Draft], shapes: Mapping[str, tuple[Expr, ...]], stated: Mapping[str, IndexBound]
    ) -> None:
        self.drafts = drafts
        self.shapes = shapes
        self.stated = stated
        self.layout: Layout = layout(drafts)
        self.known: dict[Variable, _Known] = {}
        self.extents: dict[int, Expr] = {}
        self._floors: dict[Expr, Dummy] = {}

    def solve(self) -> None:
        """Find every range, the surest sources first."""
        while self._step(self._from_statement) or self._step(self._from_bare_use) or self._step(self._from_shape):
            pass
        while (
            self._step(self._from_affine_uses, once=True)
            or self._step(self._from_guarded_use, once=True)
            or self._step(self._from_guards, once=True)
        ):
            while self._step(self._from_bare_use) or self._step(self._from_shape):
                pass
        for each in self.drafts:
            for variable in each.variables:
                if variable not in self.known:
                    hint = f"use it bare as a subscript, or state its range: index {variable.name} < n"
                    message = f"nothing gives the range of the index {variable.name!r}"
                    raise variable.code.error(message, variable.node, hint)

    def _step(self, source: Callable[[Draft, Variable], _Known | None], *, once: bool = False) -> bool:
        progress = False
        for each in self.drafts:
            for variable in each.variables:
                found = None if variable in self.known else source(each, variable)
                if found is not None:
                    self._learn(each, variable, found)
                    progress = True
                    if once:
                        return True
        return progress

    def _learn(self, each: Draft, variable: Variable, found: _Known) -> None:
        self.known[variable] = found
        if variable in each.subscripts:
            axis = each.subscripts.index(variable)
            extent = sp.expand(found.range.upper + 1)
            if self.extents.setdefault(axis, extent) != extent:
                message = f"{each.text.name} has {self.extents[axis]} elements along axis {axis + 1} by one equation"
                raise variable.code.error(f"{message}, {extent} by this one: {found.reason}", variable.node, _AGREE)

    def _start(self, each: Draft, variable: Variable) -> Integer:
        """0, or the number of base cases before the index of a recurrence."""
        return Integer(self.layout.start(each, variable))

    def _from_statement(self, each: Draft, variable: Variable) -> _Known | None:
        bound = self.stated.get(variable.name)
        if bound is None:
            return None
        reason = f"index {variable.name} < {bound.extent}"
        known = self._make(each, variable, bound.extent - 1, reason, bound.code.position(bound.node))
        return replace(known, stated=True)

    def _from_bare_use(self, each: Draft, variable: Variable) -> _Known | None:
        return self._from_plain(each, variable, guarded=False)

    def _from_guarded_use(self, each: Draft, variable: Variable) -> _Known | None:
        return self._from_plain(each, variable, guarded=True)

    def _from_plain(self, each: Draft, variable: Variable, *, guarded: bool) -> _Known | None:
        for use in each.uses:
            extent = self._extent(each, use)
            if use.subscript == variable.symbol and extent is not None and self._guarded(use, extent) == guarded:
                return self._make(each, variable, extent - 1, use.written, use.code.position(use.node))
        return None

    def _from_shape(self, each: Draft, variable: Variable) -> _Known | None:
        if variable not in each.subscripts:
            return None
        extent = self.extents.get(each.subscripts.index(variable))
        if extent is None:
            return None
        position = each.text.code.position(each.text.node)
        return self._make(each, variable, extent - 1, each.text.name, position)

    def _from_affine_uses(self, each: Draft, variable: Variable) -> _Known | None:
        lowers: list[Expr] = [self._start(each, variable)]
        uppers: list[Expr] = []
        reason: Use | None = None
        for use in each.uses:
            extent = self._extent(each, use)
            factor = use.subscript.coeff(variable.symbol, 1)
            if factor == 0 or extent is None:
                continue
            rest = use.subscript - factor * variable.symbol
            if not self._all_known(rest):
                return None
            for lower, upper in self._limits(use, factor, rest, extent):
                lowers.extend(() if lower is None else (lower,))
                uppers.extend(() if upper is None else (upper,))
                reason = reason or use
        if not uppers or reason is None:
            return None
        lower, upper = self._extreme(lowers, 1), self._extreme(uppers, -1)
        position = reason.code.position(reason.node)
        if not variable.bound and lower != self._start(each, variable):
            message = f"{variable.name!r} would have to start at {lower}, so that {reason.written} stays in its tensor"
            hint = f"shift the subscript, or guard the access: where({variable.name} >= {lower}, …, 0)"
            raise reason.code.error(message, reason.node, hint)
        return _Known(Range(variable.symbol, lower, upper), reason.written, position)

    def _from_guards(self, each: Draft, variable: Variable) -> _Known | None:
        """The largest value that the condition of the index's own reduction lets it take."""
        uppers: list[Expr] = []
        for guard in each.guards.get(variable, ()):
            factor = guard.coeff(variable.symbol, 1)
            rest = guard - factor * variable.symbol
            if factor < 0 and self._all_known(rest):
                uppers.append(sp.floor(self._at_extreme(rest, 1) / -factor))
        if not uppers:
            return None
        position = variable.code.position(variable.node)
        return self._make(each, variable, self._extreme(uppers, -1), "its condition", position)

    def _all_known(self, expression: Expr) -> bool:
        return all(s in self._table() for s in expression.free_symbols if isinstance(s, Dummy))

    def _limits(self, use: Use, factor: Expr, rest: Expr, extent: Expr) -> Iterator[tuple[Expr | None, Expr | None]]:
        """Bounds of the index in 0 <= factor·index + rest <= extent - 1, leaving out what conditions ensure."""
        if not self.prove(use.subscript, use.guards):
            least = self._at_extreme(rest, -1)
            yield (sp.ceiling(-least / factor), None) if factor > 0 else (None, sp.floor(least / -factor))
        if not self.prove(extent - 1 - use.subscript, use.guards):
            room = sp.expand(extent - 1 - self._at_extreme(rest, 1))
            yield (None, sp.floor(room / factor)) if factor > 0 else (sp.ceiling(-room / -factor), None)

    def _at_extreme(self, expression: Expr, side: int) -> Expr:
        """The largest (side 1) or smallest (side -1) value over the known ranges."""
        result = expression
        for known in self.known.values():
            factor = result.coeff(known.range.symbol, 1)
            if factor != 0:
                extreme = known.range.upper if factor * side > 0 else known.range.lower
                result = result.xreplace({known.range.symbol: extreme})
        return sp.expand(result)

    def _extreme(self, values: list[Expr], side: int) -> Expr:
        """The largest (side 1) or smallest (side -1) of the values, as a Max or Min where none is proved so."""
        left: list[Expr] = []
        for value in map(sp.expand, values):
            if any(self.prove(side * (other - value)) for other in left):
                continue
            left = [other for other in left if not self.prove(side * (value - other))] + [value]
        return left[0] if len(left) == 1 else (sp.Max if side > 0 else sp.Min)(*left)

    def _make(self, each: Draft, variable: Variable, upper: Expr, reason: str, position: Position) -> _Known:
        return _Known(Range(variable.symbol, self._start(each, variable), sp.expand(upper)), reason, position)

    def _extent(self, each: Draft, use: Use) -> Expr | None:
        if use.tensor == each.text.name:
            return self.extents.get(use.axis)
        return self.shapes[use.tensor][use.axis]

    def _guarded(self, use: Use, extent: Expr) -> bool:
        return bool(use.guards) and self.prove(extent - 1 - use.subscript, use.guards)

    def check_use(self, each: Draft, use: Use) -> None:
        """Prove that an access stays in its tensor, or say why it may not."""
        extent = self._extent(each, use)
        assert extent is not None  # every axis has an extent once all ranges are known
        self._check_conflict(use, extent)
        if self.prove(use.subscript, use.guards) and self.prove(extent - 1 - use.subscript, use.guards):
            return
        runs = [
            f"{k.range.symbol.name} runs from {k.range.lower} to {k.range.upper}"
            for k in self._ranges_in(use.subscript)
        ]
        message = f"{use.written} may leave its tensor: axis {use.axis + 1} of {use.tensor} has {extent} elements"
        message = ", ".join((message, *runs))
        hint = f"guard it, where(condition, {use.written}, 0), or state a shorter range, index p < …"
        raise use.code.error(message, use.node, hint)

    def _check_conflict(self, use: Use, extent: Expr) -> None:
        for known in self._ranges_in(use.subscript):
            mine = sp.expand(known.range.upper + 1)
            if use.subscript == known.range.symbol and mine != extent and not self._guarded(use, extent):
                if known.stated and self.prove(extent - mine):
                    continue
                place = known.position
                message = (
                    f"shape conflict: {known.range.symbol.name} runs over {mine} by {known.reason} "
                    f"(line {place.line}, column {place.column}), but axis {use.axis + 1} of {use.tensor} has {extent}"
                )
                raise use.code.error(message, use.node, _AGREE)

    def _ranges_in(self, expression: Expr) -> list[_Known]:
        return [k for k in self.known.values() if k.range.symbol in expression.free_symbols]

    def _table(self) -> dict[Dummy, tuple[tuple[Expr, ...], tuple[Expr, ...]]]:
        return {k.range.symbol: (lower_bounds(k.range), upper_bounds(k.range)) for k in self.known.values()}

    def prove(self, expression: Expr, facts: Iterable[Expr] = ()) -> bool:
        """Whether expression >= 0 follows from the known ranges, sizes >= 1 and facts that are >= 0."""
        chosen = tuple(facts)[:_MOST_FACTS]
        table = {
            symbol: (tuple(map(self._flat, lowers)), tuple(u for e in uppers for u in self._relaxed(e)))
            for symbol, (lowers, uppers) in self._table().items()
        }
        sides = [Integer(0), *chosen, *(a + b for a, b in combinations(chosen, 2))]
        differences = [self._flat(sp.expand(expression - side)) for side in sides]
        table.update((stand_in, _floor_bounds(floor)) for floor, stand_in in self._floors.items())
        return any(nonnegative(difference, table) for difference in differences)

    def _flat(self, expression: Expr) -> Expr:
        """The expression with a symbol in place of each floor and ceiling."""
        for rounded in sorted(expression.atoms(sp.floor, sp.ceiling), key=str):
            self._floors.setdefault(rounded, Dummy("q", integer=True))
        return expression.xreplace(self._floors)

    def _relaxed(self, upper: Expr) -> tuple[Expr, ...]:
        return (self._flat(upper), upper.args[0]) if isinstance(upper, sp.floor) else (self._flat(upper),)


def _floor_bounds(rounded: Expr) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """floor(e/d) is at least (e - d + 1)/d and at most e/d; a ceiling the other way round."""
    inner = rounded.args[0]
    denominator = sp.ilcm(1, 1, *(c.q for c in sp.expand(inner).as_coefficients_dict().values()))
    slack = sp.Rational(denominator - 1, denominator)
    return ((inner - slack,), (inner,)) if isinstance(rounded, sp.floor) else ((inner,), (inner + slack,))


_AGREE = "make the two agree, or state the range: index p < …"
