"""The indices of one statement under their C names, and where what its loops leave alone is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sympy import Expr, Symbol

from chainrule.symbolic.expressions import Range, accesses

from .nest import Loop

__all__ = ["Levels", "Loops"]


@dataclass(frozen=True)
class Loops:
    """The indices of a loop nest: their C names, and whether one index runs over all elements.

    `renaming` leads from the statement's indices to `ranges`, all of which start at 0 or above.
    """

    ranges: tuple[Range, ...]
    env: Mapping[Symbol, str]
    renaming: Mapping[Symbol, Expr]
    flat: str = ""

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        return tuple(r.symbol for r in self.ranges)


@dataclass
class Levels:
    """What is computed once at each depth of a loop nest: 0 is before the loops, m inside m of them.

    An array is read no earlier than it is sure to be read at all: from depth `tested` on the conditions
    are decided, and what is inside a loop that may be empty stays there.
    """

    loops: Sequence[Loop]
    flat: bool = False
    tested: int = 0
    lines: dict[int, list[str]] = field(default_factory=dict)
    names: dict[tuple[Expr, str], str] = field(default_factory=dict)

    def depth(self, value: Expr) -> int:
        """How many loops must be open for the value to be known."""
        if self.flat:
            return len(self.loops) if value.free_symbols & {loop.symbol for loop in self.loops} else 0
        known = [m + 1 for m, loop in enumerate(self.loops) if loop.symbol in value.free_symbols]
        return max(known, default=0)

    def fixed(self, value: Expr) -> bool:
        """Whether the value can be computed before the innermost loop."""
        depth = self.depth(value)
        if depth >= len(self.loops) or not any(a.indices for a in accesses(value)):
            return depth < len(self.loops)
        return depth > 0 and depth >= self.tested and all(loop.steady for loop in self.loops[depth:])
