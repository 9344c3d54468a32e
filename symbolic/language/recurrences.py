"""Several equations for one tensor: base cases at 0, 1, …, and one equation for all the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sympy import Expr, Integer

from .drafts import Draft, Use, Variable, shown

__all__ = ["Layout", "layout"]

Prover = Callable[[Expr, Iterable[Expr]], bool]


@dataclass(frozen=True)
class Layout:
    """`step` defines the tensor along `axis` from `len(bases)` on; with no bases there is no axis."""

    step: Draft
    bases: tuple[Draft, ...]
    axis: int | None

    def start(self, draft: Draft, variable: Variable) -> int:
        """The first value of an index: after the base cases, along the axis that they begin."""
        if draft is self.step and self.axis is not None and self.step.subscripts[self.axis] is variable:
            return len(self.bases)
        return 0

    def check_bases(self) -> None:
        """A tensor that reads itself must have a base case."""
        name = self.step.text.name
        if self.axis is None and name in self.step.reads:
            hint = f"a recurrence needs a base case: {name}[0] = …, then {name}[t] = … {name}[t - 1]"
            raise self.step.text.code.error(f"a cycle of equations: {name} -> {name}", self.step.text.node, hint)

    def check_reads(self, prove: Prover) -> None:
        """Every element must read only elements of its own tensor that come before it."""
        for draft in (*self.bases, self.step):
            for use in draft.uses:
                if use.tensor == draft.text.name and use.axis == self.axis:
                    self._check_read(draft, use, prove)

    def _check_read(self, draft: Draft, use: Use, prove: Prover) -> None:
        assert self.axis is not None  # check_bases has been called
        name = draft.text.name
        current = draft.subscripts[self.axis]
        here = current.symbol if isinstance(current, Variable) else Integer(current)
        if not prove(here - 1 - use.subscript, use.guards):
            message = f"{use.written} is read before it is defined: expected an element before {shown(here)}"
            raise use.code.error(message, use.node, f"a recurrence reads earlier elements: {name}[{shown(here)} - 1]")


def layout(drafts: list[Draft]) -> Layout:
    """How the equations of one tensor share its elements.

    Raises FormulaError where an element is defined twice or not at all.
    """
    steps = [d for d in drafts if not any(isinstance(s, int) for s in d.subscripts)]
    bases = [d for d in drafts if d not in steps]
    name = drafts[0].text.name
    for extra in steps[1:]:
        raise _twice(steps[0], extra, name)
    if not steps:
        first = drafts[0].text
        hint = f"add the equation of the others, such as {name}[t] = …"
        raise first.code.error(f"{name!r} has base cases alone", first.node, hint)
    axes = [_axis(base) for base in bases]
    for base, axis in zip(bases, axes, strict=True):
        if axis != axes[0]:
            raise base.text.code.error(f"the base cases of {name!r} are on different axes", base.text.node, _ONE_AXIS)
    ordered = sorted(bases, key=lambda b: b.text.subscripts[axes[0]])
    for number, base in enumerate(ordered):
        if base.text.subscripts[axes[0]] == number:
            continue
        if number and base.text.subscripts[axes[0]] == ordered[number - 1].text.subscripts[axes[0]]:
            raise _twice(ordered[number - 1], base, name)
        message = f"expected the base case {number} of {name!r}, found {base.text.subscripts[axes[0]]}"
        raise base.text.code.error(message, base.text.node, "base cases begin at 0 and leave no gap")
    return Layout(steps[0], tuple(ordered), axes[0] if axes else None)


def _axis(base: Draft) -> int:
    numbers = [axis for axis, s in enumerate(base.subscripts) if isinstance(s, int)]
    if len(numbers) > 1:
        raise base.text.code.error("a base case with two numbers on the left side", base.text.node, _ONE_AXIS)
    return numbers[0]


def _twice(first: Draft, second: Draft, name: str) -> Exception:
    place = first.text.code.position(first.text.node)
    message = f"{name!r} is defined twice: first in line {place.line}, column {place.column}"
    return second.text.code.error(message, second.text.node, "rename one of them, or remove it")


_ONE_AXIS = "base cases fix one subscript, the same for all: h[0, i] = …, h[1, i] = …"
