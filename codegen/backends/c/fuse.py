"""Which neighbouring statements share one loop nest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import sympy as sp
from sympy import And, Expr

from chainrule.codegen.ir import Contract, Kernel, Kind, Map, Reduce, Scan, Statement
from chainrule.symbolic.expressions import Range, Where

__all__ = ["EMPTY", "Block", "Group", "Part", "blocks", "outliving", "unstored"]

Group = tuple[Statement, ...]

EMPTY: Mapping[str, Expr] = {"sum": sp.Integer(0), "prod": sp.Integer(1), "max": -sp.oo, "min": sp.oo}
"""The value of a reduction over nothing."""


@dataclass(frozen=True)
class Part:
    """Groups of statements under the same conditions."""

    when: tuple[Expr, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Block:
    """What runs once, or once for each value of a scan's index."""

    scan: Scan | None
    parts: tuple[Part, ...]


def blocks(kernel: Kernel) -> list[Block]:
    """The statements in order, neighbouring ones under the same conditions together."""
    slots = {b.name: b.slot for b in kernel.buffers}
    found: list[Block] = []
    for top in kernel.statements:
        if isinstance(top, Scan):
            found.append(Block(top, _parts(top.statements, slots)))
        elif found and found[-1].scan is None:
            known = [s for part in found[-1].parts for group in part.groups for s in group]
            found[-1] = Block(None, _parts((*known, top), slots))
        else:
            found.append(Block(None, _parts((top,), slots)))
    return found


def _parts(statements: Sequence[Statement], slots: Mapping[str, str]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for statement in map(_reduced, statements):
        if not parts or parts[-1].when != statement.when:
            parts.append(Part(statement.when, ((statement,),)))
            continue
        groups = parts[-1].groups
        if isinstance(statement, Map) and _may_join(groups[-1], statement, slots):
            parts[-1] = Part(statement.when, (*groups[:-1], (*groups[-1], statement)))
        else:
            parts[-1] = Part(statement.when, (*groups, (statement,)))
    return tuple(parts)


def _reduced(statement: Statement) -> Statement:
    """A reduction over no index is a Map; its guards choose between its body and what nothing comes to."""
    if not isinstance(statement, (Reduce, Contract)) or statement.reduced:
        return statement
    if isinstance(statement, Contract):
        body = statement.left * statement.right
    else:
        holds = And(*(sp.Ge(g, 0, evaluate=False) for g in statement.guards), evaluate=False)
        body = Where(holds, statement.body, EMPTY[statement.kind]) if statement.guards else statement.body
    return Map(statement.out, statement.ranges, statement.equation, body, note=statement.note, when=statement.when)


def _may_join(group: Group, statement: Map, slots: Mapping[str, str]) -> bool:
    """Two Maps share a loop where each element needs nothing but the same element of what the other writes.

    Memory shared through slots is counted: then the order within one element is enough.
    """
    if not all(isinstance(m, Map) and _same_space(m.ranges, statement.ranges) for m in group):
        return False
    for member in group:
        for read in statement.reads():
            if slots[read.name] == slots[member.out.name] and read.indices != statement.out.indices:
                return False
        for read in member.reads():
            if slots[read.name] == slots[statement.out.name] and read.indices != member.out.indices:
                return False
    return True


def _same_space(a: Sequence[Range], b: Sequence[Range]) -> bool:
    if len(a) != len(b):
        return False
    own = {q.symbol: p.symbol for p, q in zip(a, b, strict=True)}
    renamed = [Range(own[q.symbol], q.lower.xreplace(own), q.upper.xreplace(own)) for q in b]
    return list(a) == renamed


def _numbered(found: Sequence[Block]) -> Iterator[tuple[int, Block, Part, Group]]:
    """Every group with a number of its own."""
    number = 0
    for block in found:
        for part in block.parts:
            for group in part.groups:
                yield number, block, part, group
                number += 1


def unstored(kernel: Kernel, found: Sequence[Block]) -> frozenset[str]:
    """Local arrays that only their own group reads, where it has just written them: they need not reach memory."""
    readers: dict[str, set[int]] = {}
    writers: dict[str, list[int]] = {}
    elsewhere: set[str] = set()  # read at another element than that at work, or before it is written
    mapped: set[str] = set()
    for number, _, _, group in _numbered(found):
        for statement in group:
            for read in statement.reads():
                readers.setdefault(read.name, set()).add(number)
                if read.indices != statement.out.indices or number not in writers.get(read.name, ()):
                    elsewhere.add(read.name)
            writers.setdefault(statement.out.name, []).append(number)
            if isinstance(statement, Map):
                mapped.add(statement.out.name)
    return frozenset(
        b.name
        for b in kernel.buffers
        if b.kind is Kind.LOCAL
        and b.shape
        and b.name in mapped - elsewhere
        and b.name not in kernel.results
        and len(writers[b.name]) == 1
        and readers.get(b.name, set()) == set(writers[b.name])
    )


def outliving(kernel: Kernel, found: Sequence[Block]) -> list[str]:
    """Local numbers that are assigned more than once, or read outside the braces in which they are assigned."""
    home: dict[str, tuple[Block, Part]] = {}
    several: set[str] = set()
    for _, block, part, group in _numbered(found):
        for statement in group:
            for read in statement.reads():
                if read.name in home:
                    of_block, of_part = home[read.name]
                    if (of_block.scan or of_part.when) and (of_block, of_part) != (block, part):
                        several.add(read.name)
            if statement.out.name in home:
                several.add(statement.out.name)
            home[statement.out.name] = block, part
    return [b.name for b in kernel.buffers if b.kind is Kind.LOCAL and not b.shape and b.name in several]
