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
        self._region: Region | None = None  # where the next lines belong
        self._open: Region | None = None  # where the last line stands

    def enter(self, region: Region | None) -> None:
        """The next lines belong to `region`; its head is written before the first of them."""
        if region == self._region:
            return
        self._region = region
        self._scope.leave()
        self._scope.conditional = region is not None and bool(region.when)
        names: list[str] = []
        for loop in region.loops if region is not None else ():
            names.append(self._scope.index(loop.symbol, names))

    def extend(self, lines: list[str]) -> None:
        """Lines of the present block, and before them (or before the loop) the views that they use."""
        if not lines:
            return
        if self._region != self._open:
            self._begin()
        for line, looped in self._scope.taken():
            if looped or self._region is None:
                self._lines.append(self._margin + line)
            else:
                self._lines.insert(self._before, line)
                self._before += 1
        self._lines.extend(self._margin + line for line in lines)

    def _begin(self) -> None:
        """The heads of the loops and conditions that are not open yet."""
        old, new = self._open, self._region
        self._open = new
        if new is None:
            return
        if old is None or (old.block, old.loops) != (new.block, new.loops) or not new.loops:
            self._before = len(self._lines)
            for depth, loop in enumerate(new.loops):
                self._lines.append(_INDENT * depth + self._header(loop, new.backward))
        if new.when:
            self._lines.append(f"{_INDENT * len(new.loops)}if {' and '.join(self._holds(c) for c in new.when)}:")

    @property
    def _margin(self) -> str:
        return "" if self._region is None else _INDENT * (len(self._region.loops) + bool(self._region.when))

    def lines(self) -> list[str]:
        """Everything."""
        return self._lines

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
