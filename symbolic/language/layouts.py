"""Several equations for one tensor: base cases at one end of an axis, and one equation for all the rest."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp
from sympy import Expr, Integer

from .drafts import Draft, Variable

__all__ = ["Layout", "layout"]


@dataclass(frozen=True)
class Layout:
    """`step` defines the tensor but for the elements of its `bases`, in the order in which these stand along `axis`.

    The base cases are the first elements of the axis or, where `reverse` holds, the last ones. A tensor
    that takes part in a recurrence has such an axis with or without base cases of its own; any other
    tensor has one only if it has base cases.
    """

    step: Draft
    bases: tuple[Draft, ...]
    axis: int | None
    reverse: bool = False

    @property
    def name(self) -> str:
        return self.step.name

    @property
    def drafts(self) -> tuple[Draft, ...]:
        """All equations of the tensor, base cases first."""
        return (*self.bases, self.step)

    @property
    def time(self) -> Variable | None:
        """The index of the step along the axis of the base cases."""
        found = None if self.axis is None else self.step.subscripts[self.axis]
        return found if isinstance(found, Variable) else None

    @property
    def edges(self) -> tuple[Expr, ...]:
        """Where the base cases stand, in their order."""
        return tuple(b.subscripts[self.axis] for b in self.bases) if self.axis is not None else ()

    def start(self, variable: Variable) -> Integer:
        """The first value of an index of the left side: 0, or after the base cases."""
        return Integer(len(self.bases) if variable is self.time and not self.reverse else 0)

    def free(self, variable: Variable) -> bool:
        """Whether an index begins where its reads allow: that of a recurrence whose tensor has no base case."""
        return variable is self.time and not self.bases


def layout(drafts: list[Draft]) -> Layout:
    """How the equations of one tensor share its elements.

    Raises FormulaError where an element is defined twice or not at all.
    """
    steps = [d for d in drafts if not d.is_base]
    bases = [d for d in drafts if d.is_base]
    for extra in steps[1:]:
        raise _twice(steps[0], extra)
    if not steps:
        first = drafts[0]
        hint = f"add the equation of the others, such as {first.name}[t] = …, with an index that is no size"
        raise first.text.code.error(f"{first.name!r} has base cases alone", first.text.node, hint)
    if not bases:
        return Layout(steps[0], (), None)
    axes = [_axis(base) for base in bases]
    for base, axis in zip(bases, axes, strict=True):
        if axis != axes[0]:
            message = f"the base cases of {base.name!r} are on different axes"
            raise base.text.code.error(message, base.text.node, _ONE_AXIS)
    edges: list[Expr] = [base.subscripts[axes[0]] for base in bases]
    reverse = any(e.free_symbols for e in edges) or (0 not in edges and _looks_ahead(steps[0], axes[0]))
    return Layout(steps[0], _ordered(bases, edges, reverse), axes[0], reverse)


def _axis(base: Draft) -> int:
    fixed = [axis for axis, s in enumerate(base.subscripts) if not isinstance(s, Variable)]
    if len(fixed) > 1:
        message = "a base case with two fixed subscripts on the left side"
        raise base.text.code.error(message, base.text.node, _ONE_AXIS)
    return fixed[0]


def _looks_ahead(step: Draft, axis: int) -> bool:
    """Whether the step reads its own tensor at a later element."""
    here = step.subscripts[axis]
    assert isinstance(here, Variable)
    own = [u.subscript - here.symbol for u in step.uses if (u.tensor, u.axis) == (step.name, axis)]
    return any(shift.is_Integer and shift > 0 for shift in own)


def _ordered(bases: list[Draft], edges: list[Expr], reverse: bool) -> tuple[Draft, ...]:
    """The base cases in the order of the recurrence, which leave no gap."""
    towards = -1 if reverse else 1
    steps = [sp.expand(towards * (edge - edges[0])) for edge in edges]
    for base, edge, step in zip(bases, edges, steps, strict=True):
        if not step.is_Integer:
            message = f"the base cases of {base.name!r} at {edges[0]} and {edge} are not next to each other"
            raise base.text.code.error(message, base.text.node, _NO_GAP)
    order = sorted(range(len(bases)), key=steps.__getitem__)
    begin = edges[order[0]] if reverse else Integer(0)
    for number, place in enumerate(order):
        base, expected = bases[place], sp.expand(begin + towards * number)
        if number and steps[place] == steps[order[number - 1]]:
            raise _twice(bases[order[number - 1]], base)
        if edges[place] != expected:
            message = f"expected the base case {expected} of {base.name!r}, found {edges[place]}"
            raise base.text.code.error(message, base.text.node, _NO_GAP)
    return tuple(bases[place] for place in order)


def _twice(first: Draft, second: Draft) -> Exception:
    place = first.text.code.position(first.text.node)
    message = f"{first.name!r} is defined twice: first in line {place.line}, column {place.column}"
    return second.text.code.error(message, second.text.node, "rename one of them, or remove it")


_ONE_AXIS = "base cases fix one subscript, the same for all: h[0, i] = …, h[1, i] = …"
_NO_GAP = "base cases begin at 0, or end at the last element, and leave no gap"
