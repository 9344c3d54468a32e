"""Lines within loops and conditions: which block each stands in, and where blocks begin and end."""

from __future__ import annotations

import sympy as sp
from sympy import Expr

from chainrule.codegen.ir import Scan

from .arrays import Arrays
from .scope import Scope
from .sizes import whole_text
from .values import Region

__all__ = ["Blocks"]

_INDENT = "    "


class Blocks:
    """The body of one step in the making; `enter` says where the next lines belong."""

    def __init__(self, scope: Scope, kernel: Arrays) -> None:
        self._scope = scope
        self._kernel = kernel
        self._lines: list[str] = []
        self._before = 0  # where lines go that a loop does not change
        self._loop: int | None = None
        self._when: tuple[Expr, ...] = ()

    def enter(self, top: int, region: Region | None) -> None:
        """The next lines belong to `region` of the kernel's statement `top`."""
        loop = top if region is not None and region.symbol is not None else None
        when = region.when if region is not None else ()
        if loop != self._loop:
            self._scope.leave()
            self._loop, self._when = loop, ()
            self._scope.conditional = False
            if loop is not None:
                self._before = len(self._lines)
                self._lines.append(self._header(loop))
        if when != self._when:
            self._scope.leave()
            self._when = when
            self._scope.conditional = bool(when)
            if when:
                self._lines.append(f"{self._margin(loop)}if {' and '.join(self._holds(c) for c in when)}:")
                if loop is None:
                    self._before = len(self._lines) - 1

    def extend(self, lines: list[str]) -> None:
        """Lines of the present block, and before them (or before the loop) the views that they use."""
        inside = bool(self._when) or self._loop is not None
        margin = self._margin(self._loop) + (_INDENT if self._when else "")
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

    @staticmethod
    def _margin(loop: int | None) -> str:
        return _INDENT if loop is not None else ""

    def _header(self, top: int) -> str:
        scan = self._kernel.kernel.statements[top]
        assert isinstance(scan, Scan)
        name = self._scope.index(scan.range.symbol)
        first = whole_text(scan.range.lower, self._scope.sizes)
        last = whole_text(scan.range.upper, self._scope.sizes)
        if scan.reverse:
            stop = whole_text(sp.expand(scan.range.lower - 1), self._scope.sizes)
            return f"for {name} in range({last}, {stop}, -1):"
        return f"for {name} in range({first}, {whole_text(sp.expand(scan.range.upper + 1), self._scope.sizes)}):"

    def _holds(self, condition: Expr) -> str:
        terms = sp.Add.make_args(sp.expand(condition))
        right = sp.Add(*(-t for t in terms if t.could_extract_minus_sign()))
        left = sp.Add(*(t for t in terms if not t.could_extract_minus_sign()))
        return f"{whole_text(left, self._scope.sizes)} >= {whole_text(right, self._scope.sizes)}"
