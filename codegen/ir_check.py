"""The kernel IR's type checker: what every backend may rely on."""

from __future__ import annotations

from collections.abc import Iterator

from sympy import Dummy, Expr

from chainrule.symbolic.affine import coefficient
from chainrule.symbolic.expressions import Call, walk

from .ir import Kernel, Kind, Map, Reduce, Scan, Scatter, Statement
from .ir_text import format_statement

__all__ = ["check_kernel"]


def check_kernel(kernel: Kernel) -> None:
    """Raise ValueError, naming the statement, unless the kernel is well formed.

    Every buffer is declared once and written before it is read; ranks agree with shapes; subscripts
    are affine in indices that a loop binds; bounds and conditions mention only indices of loops further
    out; buffers that share a slot have one shape; calls have definitions.
    """
    names = [b.name for b in kernel.buffers]
    if len(set(names)) != len(names):
        raise ValueError(f"{kernel.entry}: a buffer is declared twice")
    shapes: dict[str, tuple[Expr, ...]] = {}
    for b in kernel.buffers:
        if b.kind is Kind.LOCAL and shapes.setdefault(b.slot, b.shape) != b.shape:
            raise ValueError(f"{kernel.entry}: buffers of different shapes share the slot {b.slot!r}")
    ready = {b.name for b in kernel.arguments}
    defined = {f.name for f in kernel.functions if f.body is not None}
    for top in kernel.statements:
        statements = top.statements if isinstance(top, Scan) else (top,)
        outer = {top.range.symbol} if isinstance(top, Scan) else set()
        if isinstance(top, Scan):
            ready.update(s.out.name for s in statements)
        for statement in statements:
            for problem in _problems(kernel, statement, ready, defined, outer):
                raise ValueError(f"{kernel.entry}: {format_statement(statement)}: {problem}")
            ready.add(statement.out.name)
    for name in kernel.results:
        if name not in ready:
            raise ValueError(f"{kernel.entry}: the result {name!r} is never written")


def _problems(
    kernel: Kernel, statement: Statement, ready: set[str], defined: set[str], outer: set[Dummy]
) -> Iterator[str]:
    bound = {r.symbol for r in statement.loops} | outer
    plain = set(statement.out.indices) - {r.symbol for r in statement.ranges} - outer
    if not isinstance(statement, Scatter) and any(i.atoms(Dummy) for i in plain):
        yield "the loops are not the left side's indices"
    for access in (statement.out, *statement.reads()):
        try:
            buffer = kernel.buffer(access.name)
        except KeyError:
            yield f"{access.name} is not a buffer"
            return
        if access is not statement.out and access.name not in ready:
            yield f"{access.name} is read before it is written"
        if len(access.indices) != len(buffer.shape):
            yield f"{access} has {len(access.indices)} indices, its buffer {len(buffer.shape)} axes"
        for subscript in access.indices:
            for symbol in subscript.free_symbols:
                if isinstance(symbol, Dummy) and symbol not in bound:
                    yield f"{access} uses the index {symbol}, which no loop binds"
                elif isinstance(symbol, Dummy) and coefficient(subscript, symbol) is None:
                    yield f"{access} has a subscript that is not affine in {symbol}"
    yield from _unbound(statement, outer)
    body = getattr(statement, "body", None)
    if body is not None:
        for node in walk(body):
            if isinstance(node, Call) and node.name not in defined:
                yield f"{node.name} has no definition"


def _unbound(statement: Statement, outer: set[Dummy]) -> Iterator[str]:
    """Bounds, conditions and bodies that mention an index outside its loop."""
    bound = set(outer)
    places = [(f"the condition {c}", c) for c in statement.when]
    yield from (f"{text} mentions an index that no scan binds" for text, c in places if c.atoms(Dummy) - bound)
    for r in statement.loops:
        if (r.lower.atoms(Dummy) | r.upper.atoms(Dummy)) - bound:
            yield f"the bounds of {r.symbol} mention an index that is not bound before it"
        bound.add(r.symbol)
    inner = [(f"the guard {g}", g) for g in getattr(statement, "guards", ())]
    inner += [("the body", statement.body)] if isinstance(statement, Map | Reduce | Scatter) else []
    for text, expression in inner:
        if {v for v in expression.free_symbols if isinstance(v, Dummy)} - bound:
            yield f"{text} mentions an index that no loop binds"
