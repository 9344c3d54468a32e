"""Buffers that hold a tensor with zeros around it: two statements of the kernel, one array here."""

from __future__ import annotations

from dataclasses import dataclass

import sympy as sp
from sympy import Expr

from chainrule.codegen.ir import Kernel, Kind, Map, Scan, Statement
from chainrule.symbolic.expressions import Access

__all__ = ["Border", "borders"]


@dataclass(frozen=True)
class Border:
    """The tensor inside, and how many zeros stand before and after each of its axes."""

    name: str
    before: tuple[Expr, ...]
    after: tuple[Expr, ...]


def borders(kernel: Kernel) -> dict[str, Border]:
    """The local buffers that are zero but for a copy of a whole tensor."""
    writes: dict[str, list[Statement | Scan]] = {}
    for top in kernel.statements:
        for statement in top.statements if isinstance(top, Scan) else (top,):
            writes.setdefault(statement.out.name, []).append(top)
    found = {}
    for name, statements in writes.items():
        if kernel.buffer(name).kind is Kind.LOCAL and len(statements) == 2:
            border = _border(kernel, *statements)
            if border is not None:
                found[name] = border
    return found


def _border(kernel: Kernel, first: Statement | Scan, second: Statement | Scan) -> Border | None:
    """The border, where the first statement is zero everywhere and the second copies a tensor into the middle."""
    if not isinstance(first, Map) or not isinstance(second, Map) or first.when or second.when:
        return None
    shape = kernel.buffer(first.out.name).shape
    if len(first.ranges) != len(shape) or len(second.ranges) != len(shape):
        return None
    whole = all(
        r.lower == 0 and sp.expand(r.extent - d) == 0 and i == r.symbol
        for r, d, i in zip(first.ranges, shape, first.out.indices, strict=True)
    )
    if first.body != 0 or not whole or not isinstance(second.body, Access):
        return None
    before = tuple(r.lower for r in second.ranges)
    place = tuple(r.symbol for r in second.ranges)
    inner = kernel.buffer(second.body.name).shape
    read = second.body.indices == tuple(s - b for s, b in zip(place, before, strict=True))
    if second.out.indices != place or not read or len(inner) != len(place):
        return None
    if any(sp.expand(r.extent - d) != 0 for r, d in zip(second.ranges, inner, strict=True)):
        return None
    after = tuple(sp.expand(d - 1 - r.upper) for r, d in zip(second.ranges, shape, strict=True))
    return Border(second.body.name, before, after)
