"""Reductions as loops: along rows into one accumulator, or down columns into a whole row at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sympy import Expr, Pow, Symbol

from chainrule.codegen.ir import Kind, Reduce, Scatter, Statement
from chainrule.symbolic.expressions import Access, accesses, walk

from . import sizes
from .code import Code
from .fuse import EMPTY
from .literals import literal
from .loops import Levels, Loops
from .nest import Loop, Nest
from .order import LoopOrder, is_costly, loop_order, steps
from .scalar import TERNARY, UNARY, ScalarPrinter

if TYPE_CHECKING:
    from .body import Body

__all__ = ["emit_reduce", "emit_scatter"]

_NAMES = {"sum": "sum", "prod": "factor", "max": "greatest", "min": "least"}
_HELPERS = {"max": "maximum", "min": "minimum"}
_SIGNS = {"sum": "+=", "prod": "*="}
LANES = 8
"""Partial sums of a long row: what adds to one need not wait for another."""


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
        self.guarded = bool(guards)
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


def _open_added(body: Body, plan: _Reduction, loops: Loops, levels: Levels, chosen: Sequence[Loop]) -> int:
    """The chosen loops over what is added up, inside their conditions; the number of braces."""
    depth, braces = len(plan.outer), 0
    if plan.added.conditions:
        body.code.open(f"if ({plan.added.conditions_text(loops.env)})")
        braces = 1
    if depth > 0:
        body.place_values(levels, depth)
    if not chosen:
        return braces
    opened = body.open_loops(loops, chosen, levels, depth)
    if len(chosen) < len(plan.added.loops) and not loops.flat:
        body.place_values(levels, depth + opened)
    return braces + opened


def _along_rows(body: Body, plan: _Reduction, source: Statement) -> None:
    kind, out = plan.kind, plan.out
    real = "double" if kind in _SIGNS else body.element
    scalar = not body.shapes[out.name]
    alone = not plan.outer  # not in a loop of its own: its names stay in the scope of those that follow
    loops, levels = plan.loops, plan.levels
    if not plan.outer and not plan.guarded:  # a guard chooses among the combinations
        loops = body.flattened(plan.loops, [plan.inner])
        levels = Levels(plan.added.loops, bool(loops.flat))
    inner = Code(depth=0)
    lanes = kind == "sum" and _vectorises(body, plan, loops)
    if lanes:
        total = body.names.claim("sums") if alone else body.pooled("sums", 0)
        _add_in_lanes(body, plan, loops, levels, total, inner)
    else:
        local = scalar and body.kernel.buffer(out.name).kind is Kind.LOCAL
        named = local and real == "double" and bool(body.declaration(out))
        if named:
            total = body.buffer_name(out.name)
        else:
            total = body.names.claim(_NAMES[kind]) if alone else body.pooled(_NAMES[kind], purpose="total")
        printer = body.printer(loops, levels, body.element)
        inner.add(_update(kind, total, _value(plan.inner, printer, real), printer))
    body.explain([source])
    body.place_values(levels, 0)
    opened = body.open_loops(plan.loops, plan.outer, levels)
    if lanes:
        body.code.add(f"double {total}[{LANES}] = {{0.0}};")
    else:
        body.code.add(f"{real} {total} = {literal(EMPTY[kind], real)};")
    chosen = plan.added.loops[:-1] if lanes else plan.added.loops
    braces = _open_added(body, plan, loops, levels, () if lanes and loops.flat else chosen)
    body.code.block(inner)
    body.code.close(braces)
    if lanes or total != body.buffer_name(out.name):
        result = f"{body.helper('pairwise')}({total})" if lanes else total
        wanted = "double" if scalar else body.element
        converted = result if real == wanted else f"({wanted}){result}"
        body.code.add(f"{body.declaration(out)}{body.place(out, plan.loops)} = {converted};")
    body.code.close(opened)


def _value(inner: Expr, printer: ScalarPrinter, real: str) -> str:
    return printer.text(inner) if real == printer.real else f"({real}){printer.text(inner, UNARY)}"


def _vectorises(body: Body, plan: _Reduction, loops: Loops) -> bool:
    """Whether several partial sums at a time are worth it: a long row, read element by element, of cheap terms."""
    innermost = next(r for r in plan.loops.ranges if r.symbol == plan.order.inner[-1])
    moving = set(loops.symbols) if loops.flat else {innermost.symbol}
    if any(is_costly(n) and not isinstance(n, Pow) and n.free_symbols & moving for n in walk(plan.inner)):
        return False
    if loops.flat:
        return True
    if innermost.extent.is_Integer and innermost.extent < 4 * LANES:
        return False
    if plan.added.loops[-1].first(loops.env) != "0":
        return False
    return all(steps(a, innermost.symbol, body.shapes[a.name]) in (0, 1) for a in accesses(plan.inner))


def _add_in_lanes(body: Body, plan: _Reduction, loops: Loops, levels: Levels, sums: str, code: Code) -> None:
    """The innermost loop, from 0, with several partial sums, none of which waits for another."""
    lane = body.pooled("l", 0)
    if loops.flat:
        index, end = loops.flat, sizes.elements([r.extent for r in loops.ranges], loops.env, body.prover.nonnegative)
        wide, ahead = replace(loops, flat=f"{index} + {lane}"), plan.inner
    else:
        last, symbol = plan.added.loops[-1], Symbol(lane, integer=True, nonnegative=True)
        index, end = loops.env[last.symbol], last.end(loops.env)
        wide = replace(loops, env={**loops.env, symbol: lane})
        ahead = plan.inner.xreplace({last.symbol: last.symbol + symbol})
    whole = f"{f'({end})' if ' + ' in end or ' - ' in end else end} / {LANES} * {LANES}"
    code.open(f"for (size_t {index} = 0; {index} < {whole}; {index} += {LANES})")
    code.loop(lane, "0", str(LANES))
    code.add(f"{sums}[{lane}] += {_value(ahead, body.printer(wide, levels, body.element), 'double')};")
    code.close(2)
    code.loop(index, whole, end)
    code.add(f"{sums}[0] += {_value(plan.inner, body.printer(loops, levels, body.element), 'double')};")
    code.close()


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
    inner = _open_added(body, plan, plan.loops, levels, plan.added.loops)
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
    name, count = body.buffer_name(out.name), sizes.elements(body.shapes[out.name], loops.env, body.prover.nonnegative)
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
