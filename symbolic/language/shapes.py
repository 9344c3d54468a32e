"""The range of every index and the shape of every defined tensor, from how the indices are used.

A range stated by `index p < …` holds; else a bare use `x[p]` gives the length of that axis; else
affine uses keep every access inside its tensor. An index starts at 0 (after the base cases); in a tensor
of a recurrence without base cases of its own, where its reads allow. In the end every access is proved
to stay inside its tensor, by its ranges and the conditions around it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Expr, Integer

from ..errors import FormulaError, Position
from ..expressions import Range
from .drafts import Draft, Span, Use, Variable
from .layouts import Layout
from .proofs import Known, Proofs
from .recurrences import Group
from .statements import IndexBound

__all__ = ["Shapes", "infer"]


@dataclass(frozen=True)
class Shapes:
    """The axes of the tensors of a group, the range of every index, and the equations in order."""

    spans: Mapping[str, tuple[Span, ...]]
    ranges: Mapping[Variable, Range]
    order: tuple[Draft, ...]


def infer(group: Group, spans: Mapping[str, tuple[Span, ...]], stated: Mapping[str, IndexBound]) -> Shapes:
    """The shapes of the tensors of a group, where `spans` has the axes of all others that they read.

    Raises FormulaError for a conflict (naming both places), an index without a range, an access that
    may leave its tensor or reads what is not made yet, and base cases that do not fit.
    """
    solver = _Solver(group, spans, stated)
    solver.solve()
    order = group.in_order(solver.proofs.prove)
    solver.check()
    ranges = {variable: known.range for variable, known in solver.proofs.known.items()}
    return Shapes({name: solver.spans_of(each) for name, each in group.layouts.items()}, ranges, order)


class _Solver:
    """The equations of one group, and what is known so far."""

    def __init__(self, group: Group, spans: Mapping[str, tuple[Span, ...]], stated: Mapping[str, IndexBound]) -> None:
        self.group = group
        self.spans = spans
        self.stated = stated
        self.proofs = Proofs()
        self.extents: dict[tuple[str, int], Expr] = {}
        self.firsts: dict[tuple[str, int], Expr] = {}
        for each in group.layouts.values():
            self._check_shifts(each)
            if each.reverse:
                self._from_last_elements(each)

    def spans_of(self, each: Layout) -> tuple[Span, ...]:
        """The axes of a tensor of the group, once all ranges are known."""
        keys = [(each.name, axis) for axis in range(len(each.step.subscripts))]
        return tuple(Span(self.firsts.get(key, Integer(0)), self.extents[key]) for key in keys)

    def _check_shifts(self, each: Layout) -> None:
        for subscript, node in zip(each.step.subscripts, each.step.text.nodes, strict=True):
            if isinstance(subscript, Variable) and subscript.shift and subscript is not each.time:
                written = each.step.text.code.written(each.step.text.node)
                message = f"{written} leaves elements undefined: {each.name!r} has no base case there"
                hint = f"add a base case such as {each.name}[0] = …, or write the index bare on the left side"
                raise each.step.text.code.error(message, node, hint)

    def _from_last_elements(self, each: Layout) -> None:
        """Base cases at the end of an axis give its length, and the range of the index before them."""
        assert each.axis is not None
        assert each.time is not None
        code, node = each.bases[0].text.code, each.bases[0].text.node
        self.extents[each.name, each.axis] = sp.expand(each.edges[0] + 1)
        span = Range(each.time.symbol, Integer(0), sp.expand(each.edges[-1] - 1))
        self.proofs.learn(each.time, Known(span, code.written(node), code.position(node), stated=True))

    def solve(self) -> None:
        """Find every range, the surest sources first."""
        while self._step(self._from_statement) or self._step(self._from_bare_use) or self._step(self._from_shape):
            pass
        while (
            self._step(self._from_all_affine_uses)
            or self._step(self._from_affine_uses, once=True)
            or self._step(self._from_guarded_use, once=True)
            or self._step(self._from_guards, once=True)
        ):
            while self._step(self._from_bare_use) or self._step(self._from_shape):
                pass
        for each in self.group.drafts:
            for variable in each.variables:
                if variable not in self.proofs.known:
                    hint = f"use it bare as a subscript, or state its range: index {variable.name} < n"
                    message = f"nothing gives the range of the index {variable.name!r}"
                    raise variable.code.error(message, variable.node, hint)

    def _step(self, source: Callable[[Draft, Variable], Known | None], *, once: bool = False) -> bool:
        progress = False
        for each in self.group.drafts:
            for variable in each.variables:
                found = None if variable in self.proofs.known else source(each, variable)
                if found is not None:
                    self._learn(each, variable, found)
                    progress = True
                    if once:
                        return True
        return progress

    def _learn(self, each: Draft, variable: Variable, found: Known) -> None:
        self._check_start(each, variable, found)
        self.proofs.learn(variable, found)
        if variable not in each.subscripts:
            return
        axis = each.subscripts.index(variable)
        extent = sp.expand(found.range.upper + 1)
        if self.extents.setdefault((each.name, axis), extent) != extent:
            message = f"{each.name} has {self.extents[each.name, axis]} elements along axis {axis + 1} by one equation"
            raise variable.code.error(f"{message}, {extent} by this one: {found.reason}", variable.node, _AGREE)
        if self._free(each, variable):
            self.firsts[each.name, axis] = found.range.lower

    def _check_start(self, each: Draft, variable: Variable, found: Known) -> None:
        """An index of the left side starts where the elements before it are defined."""
        lower = found.range.lower
        if variable.bound or self._free(each, variable) or lower == self._start(each, variable):
            return
        message = f"{variable.name!r} would have to start at {each.shown(lower - variable.shift)}"
        hint = f"shift the subscript, or guard the access: where({variable.name} >= {lower - variable.shift}, …, 0)"
        raise FormulaError(f"{message}, so that {found.reason} stays in its tensor", hint=hint, position=found.position)

    def _start(self, each: Draft, variable: Variable) -> Integer:
        """0, or the number of base cases before the index."""
        layout = self.group.layouts[each.name]
        return layout.start(variable) if each is layout.step else Integer(0)

    def _free(self, each: Draft, variable: Variable) -> bool:
        return self.group.layouts[each.name].free(variable)

    def _make(
        self, each: Draft, variable: Variable, lower: Expr, upper: Expr, reason: str, position: Position
    ) -> Known:
        start = self.proofs.extreme([self._start(each, variable), lower], 1)
        return Known(Range(variable.symbol, start, sp.expand(upper)), reason, position)

    # --- where a range comes from

    def _from_statement(self, each: Draft, variable: Variable) -> Known | None:
        bound = self.stated.get(variable.name)
        if bound is None:
            return None
        limits = self._limits_of_uses(each, variable) if self._free(each, variable) else None
        lower = Integer(0) if limits is None else self.proofs.extreme([Integer(0), *limits[0]], 1)
        reason = f"index {variable.name} < {bound.extent}"
        upper = bound.extent - 1 + variable.shift
        known = self._make(each, variable, lower, upper, reason, bound.code.position(bound.node))
        return replace(known, stated=True)

    def _from_bare_use(self, each: Draft, variable: Variable) -> Known | None:
        return self._from_plain(each, variable, guarded=False)

    def _from_guarded_use(self, each: Draft, variable: Variable) -> Known | None:
        return self._from_plain(each, variable, guarded=True)

    def _from_plain(self, each: Draft, variable: Variable, *, guarded: bool) -> Known | None:
        if self._free(each, variable):
            return None
        for use in each.uses:
            if use.subscript != variable.symbol or self.group.along(use):
                continue
            first, extent = self._span(use)
            if extent is not None and self._guarded(use, extent) == guarded:
                return self._make(each, variable, first, extent - 1, use.written, use.code.position(use.node))
        return None

    def _from_shape(self, each: Draft, variable: Variable) -> Known | None:
        if variable not in each.subscripts:
            return None
        extent = self.extents.get((each.name, each.subscripts.index(variable)))
        if extent is None:
            return None
        position = each.text.code.position(each.text.node)
        return self._make(each, variable, Integer(0), extent - 1, each.name, position)

    def _from_all_affine_uses(self, each: Draft, variable: Variable) -> Known | None:
        """As `_from_affine_uses`, only where every tensor that the index stands in has a known length."""
        used = [u for u in each.uses if variable.symbol in u.subscript.free_symbols]
        unknown = [u for u in used if self._span(u)[1] is None and u.tensor != each.name]
        return None if unknown else self._from_affine_uses(each, variable)

    def _from_affine_uses(self, each: Draft, variable: Variable) -> Known | None:
        limits = self._limits_of_uses(each, variable)
        if limits is None or not limits[1]:
            return None
        lowers, uppers, reason = limits
        assert reason is not None
        upper = self.proofs.extreme(uppers, -1)
        needed = self._needed(each) if self._free(each, variable) else None
        if needed is not None and self.proofs.prove(upper - needed):
            upper = needed
        lower = self.proofs.extreme([self._start(each, variable), *lowers], 1)
        return self._make(each, variable, lower, upper, reason.written, reason.code.position(reason.node))

    def _needed(self, each: Draft) -> Expr | None:
        """The last element that the rest of the recurrence reads of a tensor without base cases, if that is known."""
        last: list[Expr] = []
        for other in self.group.layouts.values():
            uses = [u for u in other.step.uses if u.tensor == each.name and self.group.along(u)]
            for use in uses if other.name != each.name else ():
                if not self.proofs.ready(use.subscript):
                    return None
                last.append(self.proofs.at_extreme(use.subscript, 1))
        return self.proofs.extreme(last, 1) if last else None

    def _from_guards(self, each: Draft, variable: Variable) -> Known | None:
        """The largest value that the condition of the index's own reduction lets it take."""
        uppers: list[Expr] = []
        for guard in each.guards.get(variable, ()):
            factor = guard.coeff(variable.symbol, 1)
            rest = guard - factor * variable.symbol
            if factor < 0 and self.proofs.ready(rest):
                uppers.append(sp.floor(self.proofs.at_extreme(rest, 1) / -factor))
        if not uppers:
            return None
        position = variable.code.position(variable.node)
        return self._make(each, variable, Integer(0), self.proofs.extreme(uppers, -1), "its condition", position)

    def _limits_of_uses(self, each: Draft, variable: Variable) -> tuple[list[Expr], list[Expr], Use | None] | None:
        """Bounds of an index that keep its uses inside their tensors, and the use that gave the first upper one.

        None where a use has other indices whose ranges are not known yet.
        """
        lowers: list[Expr] = []
        uppers: list[Expr] = []
        reason: Use | None = None
        for use in each.uses:
            factor = use.subscript.coeff(variable.symbol, 1)
            if factor == 0:
                continue
            rest = use.subscript - factor * variable.symbol
            if not self.proofs.ready(rest):
                return None
            for lower, upper in self._limits(use, factor, rest):
                lowers.extend(() if lower is None else (lower,))
                uppers.extend(() if upper is None else (upper,))
                reason = reason or use
        return lowers, uppers, reason

    def _limits(self, use: Use, factor: Expr, rest: Expr) -> Iterator[tuple[Expr | None, Expr | None]]:
        """Bounds of the index in first <= factor·index + rest <= extent - 1, leaving out what conditions ensure."""
        first, extent = self._span(use)
        if not self.proofs.prove(use.subscript - first, use.guards):
            least = sp.expand(self.proofs.at_extreme(rest, -1) - first)
            yield (sp.ceiling(-least / factor), None) if factor > 0 else (None, sp.floor(least / -factor))
        if extent is not None and not self.proofs.prove(extent - 1 - use.subscript, use.guards):
            room = sp.expand(extent - 1 - self.proofs.at_extreme(rest, 1))
            yield (None, sp.floor(room / factor)) if factor > 0 else (sp.ceiling(-room / -factor), None)

    def _span(self, use: Use) -> tuple[Expr, Expr | None]:
        """The first defined element along the axis of a use, and its length if that is known."""
        if use.tensor in self.group.layouts:
            key = use.tensor, use.axis
            return self.firsts.get(key, Integer(0)), self.extents.get(key)
        span = self.spans[use.tensor][use.axis]
        return span.first, span.extent

    def _guarded(self, use: Use, extent: Expr) -> bool:
        return bool(use.guards) and self.proofs.prove(extent - 1 - use.subscript, use.guards)

    # --- what has to hold in the end

    def check(self) -> None:
        """Prove that every access stays in its tensor, and that the tensors have room for their base cases."""
        for each in self.group.drafts:
            for use in each.uses:
                self._check_use(each, use)
        for layout in self.group.layouts.values():
            if layout.axis is not None and layout.bases:
                self._check_room(layout, self.extents[layout.name, layout.axis])

    def _check_room(self, layout: Layout, extent: Expr) -> None:
        assert layout.axis is not None
        last = layout.bases[-1]
        room = layout.edges[-1] if layout.reverse else extent - len(layout.bases)
        if (layout.reverse or len(layout.bases) > 1) and not self.proofs.prove(room):
            written = last.text.code.written(last.text.node)
            message = f"{written} may leave its tensor: axis {layout.axis + 1} of {last.name} has {extent} elements"
            hint = "write the sizes of what it reads so that there is room, such as x[T + 1] for x[T]"
            raise last.text.code.error(message, last.text.node, hint)

    def _check_use(self, each: Draft, use: Use) -> None:
        first, extent = self._span(use)
        assert extent is not None  # every axis has an extent once all ranges are known
        self._check_conflict(use, extent)
        if self.proofs.prove(use.subscript - first, use.guards) and self.proofs.prove(
            extent - 1 - use.subscript, use.guards
        ):
            return
        has = f"has {extent} elements" if first == 0 else f"has the elements {first} to {sp.expand(extent - 1)}"
        message = f"{use.written} may leave its tensor: axis {use.axis + 1} of {use.tensor} {has}"
        for variable, known in self._ranges_in(use.subscript):
            lower, upper = (each.shown(sp.expand(e - variable.shift)) for e in (known.range.lower, known.range.upper))
            message += f", {variable.name} runs from {lower} to {upper}"
        hint = f"guard it, where(condition, {use.written}, 0), or state a shorter range, index p < …"
        raise use.code.error(message, use.node, hint)

    def _check_conflict(self, use: Use, extent: Expr) -> None:
        for variable, known in self._ranges_in(use.subscript):
            mine = sp.expand(known.range.upper + 1)
            if use.subscript != variable.symbol or mine == extent or self.group.along(use):
                continue
            if self._guarded(use, extent) or (known.stated and self.proofs.prove(extent - mine)):
                continue
            place = known.position
            message = (
                f"shape conflict: {variable.name} runs over {mine} by {known.reason} "
                f"(line {place.line}, column {place.column}), but axis {use.axis + 1} of {use.tensor} has {extent}"
            )
            raise use.code.error(message, use.node, _AGREE)

    def _ranges_in(self, expression: Expr) -> list[tuple[Variable, Known]]:
        return [(v, k) for v, k in self.proofs.known.items() if k.range.symbol in expression.free_symbols]


_AGREE = "make the two agree, or state the range: index p < …"
