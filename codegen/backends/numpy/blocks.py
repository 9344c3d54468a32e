"""Lines within loops and conditions: which block each stands in, and where blocks begin and end."""

from __future__ import annotations

import sympy as sp
from sympy import Expr

from chainrule.symbolic.expressions import Range

from .scope import Scope
from .sizes import whole_text
from .values import Region

__all__ = ["Blocks"]

_INDENT = "    "


class Blocks:
    """The body of one step in the making; `enter` says where the next lines belong."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._lines: list[str] = []
        self._before = 0  # where lines go that a loop does not change
        self._at: tuple[int, tuple[Range, ...]] | None = None  # the loops at work
        self._when: tuple[Expr, ...] = ()

    def enter(self, region: Region | None) -> None:
        """The next lines belong to `region`."""
        at = (region.block, region.loops) if region is not None and region.loops else None
        when = region.when if region is not None else ()
        if at != self._at:
            self._scope.leave()
            self._at, self._when = at, ()
            self._scope.conditional = False
            self._before = len(self._lines)
            names: list[str] = []
            for depth, loop in enumerate(at[1] if at is not None else ()):
                names.append(self._scope.index(loop.symbol, names))
                self._lines.append(_INDENT * depth + self._header(loop, region is not None and region.backward))
        if when != self._when:
            self._scope.leave()
            self._when = when
            self._scope.conditional = bool(when)
            if at is None:
                self._before = len(self._lines)
            if when:
                self._lines.append(f"{self._margin(())}if {' and '.join(self._holds(c) for c in when)}:")

    def extend(self, lines: list[str]) -> None:
        """Lines of the present block, and before them (or before the loop) the views that they use."""
        inside = bool(self._when) or self._at is not None
        margin = self._margin(self._when)
        for line, looped in self._scope.taken():
            if looped or not inside:
                self._lines.append(margin + line)
            else:
                self._lines.insert(self._before, line)
                self._before += 1
        self._lines.extend(margin + line for line in lines)

    def lines(self) -> list[str]:
        """Everything."""
        return self._lines

    def _margin(self, when: tuple[Expr, ...]) -> str:
        depth = len(self._at[1]) if self._at is not None else 0
        return _INDENT * (depth + bool(when))

    def _header(self, loop: Range, backward: bool) -> str:
        name = self._scope.index(loop.symbol)
        first, last, before, after = (
            whole_text(sp.expand(e), self._scope.sizes)
            for e in (loop.lower, loop.upper, loop.lower - 1, loop.upper + 1)
        )
        if backward:
            return f"for {name} in range({last}, {before}, -1):"
        return f"for {name} in range({after}):" if loop.lower == 0 else f"for {name} in range({first}, {after}):"

    def _holds(self, condition: Expr) -> str:
        terms = sp.Add.make_args(sp.expand(condition))
        right = sp.Add(*(-t for t in terms if t.could_extract_minus_sign()))
        left = sp.Add(*(t for t in terms if not t.could_extract_minus_sign()))
        return f"{whole_text(left, self._scope.sizes)} >= {whole_text(right, self._scope.sizes)}"
