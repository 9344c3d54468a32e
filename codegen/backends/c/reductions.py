"""Reductions as loops: along rows into one accumulator, or down columns into a whole row at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sympy import Expr

from chainrule.codegen.ir import Kind, Reduce, Scatter, Statement
from chainrule.symbolic.expressions import Access

from . import sizes
from .fuse import EMPTY
from .literals import literal
from .loops import Levels, Loops
from .nest import Nest
from .order import LoopOrder, loop_order
from .scalar import TERNARY, UNARY, ScalarPrinter

if TYPE_CHECKING:
    from .body import Body

__all__ = ["emit_reduce", "emit_scatter"]

_NAMES = {"sum": "sum", "prod": "factor", "max": "greatest", "min": "least"}
_HELPERS = {"max": "maximum", "min": "minimum"}
_SIGNS = {"sum": "+=", "prod": "*="}


class _Reduction:
    """One reduction under its C names, with its loops in order."""

    def __init__(self, body: Body, statement: Reduce) -> None:
        self.kind = statement.kind
        self.loops = body.loops(statement.loops)
        own = dict(self.loops.renaming)
        rank = len(statement.ranges)
        ranges, reduced = self.loops.ranges[:rank], self.loops.ranges[rank:]
        self.out: Access = statement.out.xreplace(own)
        self.inner: Expr = statement.body.xreplace(own)
        guards = [g.xreplace(own) for g in statement.guards]
        self.order: LoopOrder = loop_order(self.out, self.inner, ranges, reduced, guards, body.shapes)
        # every element of the result is written; guards concern what is added to it
        self.whole = body.nest(self.loops, ranges, (*self.order.outer, *self.order.row))
        self.outer = self.whole.loops[: len(self.order.outer)]
        row = [r for r in ranges if r.symbol in self.order.row]
        self.added: Nest = body.nest(self.loops, (*row, *reduced), self.order.inner, guards, self.outer)
        every = (*self.outer, *self.added.loops)
        self.levels = Levels(every, tested=len(self.outer) if self.added.conditions else 0)


def emit_reduce(body: Body, statement: Reduce, explained: Statement | None = None) -> None:
    """Emit one reduction. The order of the loops follows the memory that it reads.

    Where the last index of the result walks memory one by one, whole rows are added up (the sums are
    then of the element type); else each result has an accumulator of its own, sums and products in double.
    """
    plan = _Reduction(body, statement)
    source = explained or statement
    if plan.order.row:
        _down_columns(body, plan, source)
    else:
        _along_rows(body, plan, source)


def _update(kind: str, target: str, value: str, printer: ScalarPrinter) -> str:
    if kind in _SIGNS:
        return f"{target} {_SIGNS[kind]} {value};"
    return f"{target} = {printer.helper(_HELPERS[kind])}({target}, {value});"


def _open_added(body: Body, plan: _Reduction, loops: Loops, levels: Levels) -> int:
    """The loops over what is added up, inside their conditions; the number of braces."""
    depth, braces = len(plan.outer), 0
    if plan.added.conditions:
        body.code.open(f"if ({plan.added.conditions_text(loops.env)})")
        braces = 1
    if depth > 0:
        body.place_values(levels, depth)
    return braces + body.open_loops(loops, plan.added.loops, levels, depth)


def _along_rows(body: Body, plan: _Reduction, source: Statement) -> None:
    kind, element, out = plan.kind, body.element, plan.out
    real = "double" if kind in _SIGNS else element
    scalar = not body.shapes[out.name]
    local = scalar and body.kernel.buffer(out.name).kind is Kind.LOCAL
    nest, levels = plan.loops, plan.levels
    if not plan.outer and not plan.added.conditions:
        nest = body.flattened(plan.loops, [plan.inner])
        levels = Levels(plan.added.loops, bool(nest.flat))
    printer = body.printer(nest, levels, element)
    value = printer.text(plan.inner) if real == element else f"({real}){printer.text(plan.inner, UNARY)}"
    named = local and real == "double" and bool(body.declaration(out))
    if named:
        total = body.buffer_name(out.name)
    else:
        total = body.names.claim(_NAMES[kind]) if scalar else body.pooled(_NAMES[kind])
    body.explain([source])
    body.place_values(levels, 0)
    opened = body.open_loops(plan.loops, plan.outer, levels)
    body.code.add(f"{real} {total} = {literal(EMPTY[kind], real)};")
    inner = _open_added(body, plan, nest, levels)
    body.code.add(_update(kind, total, value, printer))
    body.code.close(inner)
    if not named:
        wanted = element if not scalar else "double"
        converted = total if real == wanted else f"({wanted}){total}"
        body.code.add(f"{body.declaration(out)}{body.place(out, plan.loops)} = {converted};")
    body.code.close(opened)


def _down_columns(body: Body, plan: _Reduction, source: Statement) -> None:
    levels = plan.levels
    printer = body.printer(plan.loops, levels, body.element)
    target = body.place(plan.out, plan.loops)
    value = printer.text(plan.inner, TERNARY)
    body.explain([source])
    body.place_values(levels, 0)
    outer = body.open_loops(plan.loops, plan.outer, levels)
    row = body.open_loops(plan.loops, plan.whole.loops[len(plan.outer) :], Levels(()))
    body.code.add(f"{target} = {literal(EMPTY[plan.kind], body.element)};")
    body.code.close(row)
    inner = _open_added(body, plan, plan.loops, levels)
    body.code.add(_update(plan.kind, target, value, printer))
    body.code.close(inner + outer)


def emit_scatter(body: Body, statement: Scatter) -> None:
    """Emit one scatter: all zero, then each value where it belongs."""
    loops = body.loops(statement.ranges)
    own = dict(loops.renaming)
    out, inner = statement.out.xreplace(own), statement.body.xreplace(own)
    guards = [g.xreplace(own) for g in statement.guards]
    found = body.nest(loops, loops.ranges, loops.symbols, guards)
    levels = Levels(found.loops, tested=1 if found.conditions else 0)
    printer = body.printer(loops, levels, body.element)
    value, target = printer.text(inner), body.place(out, loops)
    name, count = body.buffer_name(out.name), sizes.elements(body.shapes[out.name], loops.env)
    body.explain([statement])
    body.place_values(levels, 0)
    body.code.add(f"memset({name}, 0, {count if ' ' not in count else f'({count})'} * sizeof(*{name}));")
    braces = 0
    if found.conditions:
        body.code.open(f"if ({found.conditions_text(loops.env)})")
        braces = 1
    opened = body.open_loops(loops, found.loops, levels)
    body.code.add(f"{target} += {value};")
    body.code.close(opened + braces)
