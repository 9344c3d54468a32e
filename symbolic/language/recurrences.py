"""Tensors that depend on each other through an index: along which axes, and that every read finds its element made.

    h[0, i] = h0[i]                                   base cases begin the recurrence (or end it, at h[T, i])
    z[t, i] = sum[j](u[i, j] * h[t - 1, j])           a read of an element made earlier
    h[t, i] = tanh(z[t, i])                           a read at the same t: z is made before h

A recurrence runs along one axis of each of its tensors, in one direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from sympy import Expr

from ..order import components, recurrent
from .drafts import Draft, Use, Variable
from .layouts import Layout, layout

__all__ = ["Group", "groups"]

MAX_TOGETHER = 64
"""Tensors of one recurrence, at most."""

Prover = Callable[[Expr, Iterable[Expr]], bool]


@dataclass(frozen=True)
class Group:
    """Tensors whose equations depend on each other, or a single one; how the elements of each are laid out."""

    layouts: Mapping[str, Layout]
    recurrent: bool

    @property
    def drafts(self) -> tuple[Draft, ...]:
        """All equations: base cases, then the others."""
        bases = [b for each in self.layouts.values() for b in each.bases]
        return (*bases, *(each.step for each in self.layouts.values()))

    @property
    def reverse(self) -> bool:
        """Whether the recurrence runs from the last element to the first."""
        return any(each.reverse for each in self.layouts.values())

    def along(self, use: Use) -> bool:
        """Whether the subscript is one along which the recurrence runs."""
        return self.recurrent and use.tensor in self.layouts and self.layouts[use.tensor].axis == use.axis

    def in_order(self, prove: Prover) -> tuple[Draft, ...]:
        """The equations in an order in which each reads, at its own index or earlier, what is made already.

        Raises FormulaError for a read of what is made later, or not at all.
        """
        if not self.recurrent:
            return self.drafts
        bases = [base for each in self.layouts.values() for base in each.bases]
        for base in bases:
            for use in filter(self.along, base.uses):
                message = f"a base case reads {use.written}, which takes part in the recurrence"
                hint = "store what both need in a tensor of its own: first = …, h[0] = first, h[1] = 2 * first"
                raise use.code.error(message, use.node, hint)
        return (*bases, *self._ordered(self._step_reads(prove)))

    def _letter(self) -> str:
        time = next(iter(self.layouts.values())).time
        return "index" if time is None else time.name

    def _step_reads(self, prove: Prover) -> dict[str, list[str]]:
        """For each tensor, those that its step reads at its own index."""
        found: dict[str, list[str]] = {name: [] for name in self.layouts}
        for each in self.layouts.values():
            assert each.time is not None  # every tensor of a recurrence has an axis
            here = each.time.symbol
            for use in filter(self.along, each.step.uses):
                ahead = use.subscript - here if self.reverse else here - use.subscript
                if prove(ahead - 1, use.guards):
                    continue
                if use.tensor == each.name or not prove(ahead, use.guards):
                    raise self._too_late(each.step, use, here)
                found[each.name].append(use.tensor)
        return found

    def _ordered(self, together: Mapping[str, list[str]]) -> list[Draft]:
        """The steps, each after those of the tensors that it reads at its own index."""
        found = components(together)
        for names in found:
            if recurrent(names, together):
                step = self.layouts[names[0]].step
                path = " -> ".join(_cycle(names[0], together))
                message = f"a cycle of equations: {path} at the same {self._letter()}"
                hint = "a recurrence reads earlier elements in at least one of them"
                raise step.text.code.error(message, step.text.node, hint)
        return [self.layouts[name].step for (name,) in found]

    def _too_late(self, step: Draft, use: Use, here: Expr) -> Exception:
        when, side, sign = ("later", "after", "+") if self.reverse else ("earlier", "before", "-")
        place = step.shown(here)
        message = f"{use.written} is read before it is defined: expected an element {side} {place}"
        hint = f"a recurrence reads {when} elements: {use.tensor}[{place} {sign} 1]"
        return use.code.error(message, use.node, hint)


def groups(drafts: Mapping[str, list[Draft]]) -> list[Group]:
    """The tensors' equations, in groups that depend on each other, each group after all that it reads.

    Raises FormulaError for a cycle that is no recurrence, and for base cases that do not fit.
    """
    reads = {name: list(dict.fromkeys(r for d in each for r in d.reads)) for name, each in drafts.items()}
    found = []
    for names in components(reads):
        layouts = {name: layout(drafts[name]) for name in names}
        if not recurrent(names, reads):
            found.append(Group(layouts, recurrent=False))
            continue
        _check_number(layouts)
        axes = _axes(layouts)
        for name in names:
            if name not in axes:
                raise _no_recurrence(drafts, _cycle(name, {n: reads[n] for n in names}))
        _check_direction(layouts)
        found.append(Group({n: replace(each, axis=axes[n]) for n, each in layouts.items()}, recurrent=True))
    return found


def _check_number(layouts: Mapping[str, Layout]) -> None:
    if len(layouts) > MAX_TOGETHER:
        text = next(iter(layouts.values())).step.text
        message = f"{len(layouts)} tensors that depend on each other: at most {MAX_TOGETHER} are allowed"
        raise text.code.error(message, text.node, "give a tensor an axis more instead of several names")


def _axes(layouts: Mapping[str, Layout]) -> dict[str, int]:
    """The axis along which each tensor's recurrence runs: that of its base cases, or one that reads connect to it."""
    axes = {name: each.axis for name, each in layouts.items() if each.axis is not None}
    progress = bool(axes)
    while progress:
        progress = False
        for each in layouts.values():
            for name, axis in _connected(each, layouts, axes):
                if name not in axes:
                    axes[name], progress = axis, True
    return axes


def _connected(each: Layout, layouts: Mapping[str, Layout], axes: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Axes that the subscripts of one step's reads tell: one index runs along both."""
    left = each.step.subscripts
    for use in each.step.uses:
        if use.tensor not in layouts:
            continue
        inside = [m for m, s in enumerate(left) if isinstance(s, Variable) and s.symbol in use.subscript.free_symbols]
        if axes.get(each.name) in inside:
            yield use.tensor, use.axis
        elif axes.get(use.tensor) == use.axis and len(inside) == 1:
            yield each.name, inside[0]


def _check_direction(layouts: Mapping[str, Layout]) -> None:
    begun = [each for each in layouts.values() if each.bases]
    for each in begun[1:]:
        if each.reverse != begun[0].reverse:
            ends = "at the end" if each.reverse else "at the beginning"
            message = f"{each.name!r} has its base cases {ends}, {begun[0].name!r} at the other end"
            text = each.bases[0].text
            raise text.code.error(message, text.node, "tensors that depend on each other run in one direction")


def _cycle(start: str, reads: Mapping[str, Iterable[str]]) -> list[str]:
    """The shortest way from a name back to itself, in a group whose members reach each other."""
    ways = [[start]]
    seen: set[str] = set()
    while True:
        way = ways.pop(0)
        for name in reads[way[-1]]:
            if name == start:
                return [*way, start]
            if name in reads and name not in seen:
                seen.add(name)
                ways.append([*way, name])


def _no_recurrence(drafts: Mapping[str, list[Draft]], cycle: list[str]) -> Exception:
    text = drafts[cycle[0]][0].text
    hint = "a recurrence needs a base case, h[0] = …, and reads earlier elements, h[t] = … h[t - 1]"
    return text.code.error(f"a cycle of equations: {' -> '.join(cycle)}", text.node, hint)
