"""Passes over kernels: which buffers share memory."""

from __future__ import annotations

from dataclasses import replace

from sympy import Expr

from .ir import Buffer, Kernel, Kind, Map, Statement

__all__ = ["assign_slots"]


def assign_slots(kernel: Kernel) -> Kernel:
    """Local buffers share slots by lifetime, and a Map works in place where its input ends there.

    A chain that ends in an output uses the output's own memory. Only buffers of equal shape share.
    """
    last = {a.name: m for m, s in enumerate(kernel.statements) for a in s.reads()}
    for name in kernel.results:
        last[name] = len(kernel.statements)
    buffers = {b.name: b for b in kernel.buffers}
    slots: dict[str, str] = {b.name: b.name for b in kernel.buffers}
    free: list[tuple[tuple[Expr, ...], str]] = []
    for m, statement in enumerate(kernel.statements):
        out = buffers[statement.out.name]
        ending = [n for n in dict.fromkeys(a.name for a in statement.reads()) if last[n] == m and _local(buffers[n])]
        reused = next((n for n in ending if _in_place(statement, buffers[n], out)), None)
        if reused is not None:
            slot = slots[reused]
            if out.kind is Kind.LOCAL:
                slots[out.name] = slot
            elif slot not in {b.name for b in kernel.buffers if b.kind is Kind.OUTPUT}:
                _rename(slots, slot, out.name)
        elif out.kind is Kind.LOCAL:
            match = next((entry for entry in free if entry[0] == out.shape), None)
            if match is not None:
                free.remove(match)
                slots[out.name] = match[1]
        outputs = {b.name for b in kernel.buffers if b.kind is Kind.OUTPUT}
        for name in ending:
            if name != reused and slots[name] not in outputs:
                free.append((buffers[name].shape, slots[name]))
    return replace(kernel, buffers=tuple(replace(b, slot=slots[b.name]) for b in kernel.buffers))


def _local(buffer: Buffer) -> bool:
    return buffer.kind is Kind.LOCAL


def _in_place(statement: Statement, source: Buffer, out: Buffer) -> bool:
    """Whether the statement may overwrite `source`: a Map that reads it only at the element written."""
    if not isinstance(statement, Map) or source.shape != out.shape or not out.shape:
        return False
    return all(a.indices == statement.out.indices for a in statement.reads() if a.name == source.name)


def _rename(slots: dict[str, str], old: str, new: str) -> None:
    for name, slot in slots.items():
        if slot == old:
            slots[name] = new
