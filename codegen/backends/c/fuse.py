"""Which neighbouring statements share one loop nest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sympy import Expr, Symbol

from chainrule.codegen.ir import Contract, Kernel, Kind, Map, Reduce, Scan, Statement, format_statement
from chainrule.symbolic.errors import LoweringError

__all__ = ["fused", "unstored"]

Group = tuple[Statement, ...]


def fused(kernel: Kernel) -> list[Group]:
    """The statements in order, neighbouring Maps over the same indices together.

    Two Maps share a loop where each element needs nothing but the same element of what the other
    writes, memory shared through slots included: then the order within one element is enough.
    """
    slots = {b.name: b.slot for b in kernel.buffers}
    groups: list[Group] = []
    for statement in map(_plain, kernel.statements):
        if groups and isinstance(statement, Map) and _may_join(groups[-1], statement, slots):
            groups[-1] = (*groups[-1], statement)
        else:
            groups.append((statement,))
    return groups


def _plain(statement: Statement | Scan) -> Statement:
    """The statement, where it is of a form that this backend writes; LoweringError for any other."""
    if isinstance(statement, (Map, Reduce, Contract)):
        conditional = statement.when or getattr(statement, "guards", ())
        if statement.whole and not conditional:
            return statement
    raise LoweringError(f"no C form yet: {format_statement(statement)}")


def _may_join(group: Group, statement: Map, slots: Mapping[str, str]) -> bool:
    if not all(isinstance(m, Map) and _same_space(m, statement) for m in group):
        return False
    for member in group:
        for read in statement.reads():
            if slots[read.name] == slots[member.out.name] and read.indices != statement.out.indices:
                return False
        for read in member.reads():
            if slots[read.name] == slots[statement.out.name] and read.indices != member.out.indices:
                return False
    return True


def _same_space(a: Statement, b: Statement) -> bool:
    if len(a.ranges) != len(b.ranges):
        return False
    return all(p.lower == q.lower and p.extent - q.extent == 0 for p, q in zip(a.ranges, b.ranges, strict=True))


def unstored(kernel: Kernel, groups: Sequence[Group]) -> frozenset[str]:
    """Local arrays that only their own group reads: their elements need not reach memory."""
    readers: dict[str, set[int]] = {}
    writer: dict[str, int] = {}
    for number, group in enumerate(groups):
        for statement in group:
            writer[statement.out.name] = number
            for read in statement.reads():
                readers.setdefault(read.name, set()).add(number)
    full = _read_in_full(groups)
    return frozenset(
        b.name
        for b in kernel.buffers
        if b.kind is Kind.LOCAL
        and b.shape
        and b.name in full
        and b.name not in kernel.results
        and isinstance(groups[writer[b.name]][0], Map)
        and readers.get(b.name, set()) == {writer[b.name]}
    )


def _read_in_full(groups: Sequence[Group]) -> set[str]:
    """Arrays whose every reader asks for the element that its own statement is at."""
    whole: set[str] = set()
    partial: set[str] = set()
    for group in groups:
        for statement in group:
            for read in statement.reads():
                own: tuple[Expr | Symbol, ...] = statement.out.indices
                (whole if read.indices == own else partial).add(read.name)
    return whole - partial
