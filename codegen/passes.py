"""Passes over kernels: which buffers share memory."""

from __future__ import annotations

from dataclasses import replace

from sympy import Expr

from .ir import Buffer, Kernel, Kind, Map, Scan, Statement

__all__ = ["assign_slots"]


def assign_slots(kernel: Kernel) -> Kernel:
    """Local buffers share slots by lifetime, and a Map works in place where its input ends there.

    A chain that ends in an output uses the output's own memory. Only buffers of equal shape share.
    A scan counts as one statement: what it writes has memory of its own.
    """
    buffers = {b.name: b for b in kernel.buffers}
    outputs = {b.name for b in kernel.buffers if b.kind is Kind.OUTPUT}
    last = {a.name: m for m, s in enumerate(kernel.statements) for a in s.reads()}
    last.update(dict.fromkeys(kernel.results, len(kernel.statements)))
    slots = {name: name for name in buffers}
    free: list[tuple[tuple[Expr, ...], str]] = []
    written: set[str] = set()
    for m, statement in enumerate(kernel.statements):
        ending = [n for n in dict.fromkeys(a.name for a in statement.reads()) if last[n] == m]
        ending = [n for n in ending if buffers[n].kind is Kind.LOCAL]
        reused = None
        if isinstance(statement, Statement) and statement.out.name not in written:
            out = buffers[statement.out.name]
            reused = next((n for n in ending if _in_place(statement, buffers[n], out)), None)
            if reused is not None and out.kind is Kind.LOCAL:
                slots[out.name] = slots[reused]
            elif reused is not None and slots[reused] not in outputs:
                slots = {name: out.name if slot == slots[reused] else slot for name, slot in slots.items()}
            elif out.kind is Kind.LOCAL:
                match = next((entry for entry in free if entry[0] == out.shape), None)
                if match is not None:
                    free.remove(match)
                    slots[out.name] = match[1]
        inner = statement.statements if isinstance(statement, Scan) else (statement,)
        written.update(s.out.name for s in inner)
        free.extend((buffers[n].shape, slots[n]) for n in ending if n != reused and slots[n] not in outputs)
    return replace(kernel, buffers=tuple(replace(b, slot=slots[b.name]) for b in kernel.buffers))


def _in_place(statement: Statement, source: Buffer, out: Buffer) -> bool:
    """Whether the statement may overwrite `source`: a Map that reads it only at the element written."""
    if not isinstance(statement, Map) or source.shape != out.shape or not out.shape:
        return False
    return all(a.indices == statement.out.indices for a in statement.reads() if a.name == source.name)
