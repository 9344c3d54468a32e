"""Reductions as loops: along rows into one accumulator, or down columns into a whole row at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sympy import Expr, Integer, Symbol, oo

from chainrule.codegen.ir import Kind, Reduce
from chainrule.symbolic.expressions import Access, accesses

from .literals import literal
from .scalar import TERNARY, UNARY, ScalarPrinter

if TYPE_CHECKING:
    from .body import Body, Loops

__all__ = ["emit_reduce"]

_FIRST = {"sum": Integer(0), "prod": Integer(1), "max": -oo, "min": oo}
_NAMES = {"sum": "sum", "prod": "factor", "max": "greatest", "min": "least"}
_HELPERS = {"max": "maximum", "min": "minimum"}
_SIGNS = {"sum": "+=", "prod": "*="}


def emit_reduce(body: Body, statement: Reduce, explain: Callable[[], None]) -> None:
    """Emit one reduction. The order of the loops follows the memory that it reads.

    Where the last index of the result walks memory one by one, whole rows are added up (the sums are
    then of the element type); else each result has an accumulator of its own, sums and products in double.
    """
    loops = body.loops((*statement.ranges, *statement.reduced))
    old = [r.symbol for r in (*statement.ranges, *statement.reduced)]
    own = dict(zip(old, loops.symbols, strict=True))
    out, inner = statement.out.xreplace(own), statement.body.xreplace(own)
    if out.indices and _walks(inner, out.indices[-1]) > _walks(inner, loops.symbols[-1]):
        _down_columns(body, statement, loops, out, inner, explain)
    else:
        _along_rows(body, statement, loops, out, inner, explain)


def _walks(expression: Expr, symbol: Symbol) -> int:
    """How many more accesses step through memory one by one with this index than in strides."""
    score = 0
    for access in accesses(expression):
        if symbol in access.free_symbols:
            score += 1 if access.indices[-1] == symbol else -1
    return score


def _update(kind: str, target: str, value: str, printer: ScalarPrinter) -> str:
    if kind in _SIGNS:
        return f"{target} {_SIGNS[kind]} {value};"
    return f"{target} = {printer.helper(_HELPERS[kind])}({target}, {value});"


def _first(kind: str, real: str) -> str:
    return literal(_FIRST[kind], real)


def _along_rows(
    body: Body, statement: Reduce, loops: Loops, out: Access, inner: Expr, explain: Callable[[], None]
) -> None:
    kind, element = statement.kind, body.element
    real = "double" if kind in _SIGNS else element
    scalar = not out.indices
    nest = body.flattened(loops, [inner]) if scalar else loops
    printer = body.printer(nest, element)
    value = printer.text(inner) if real == element else f"({real}){printer.text(inner, UNARY)}"
    named = scalar and real == "double" and body.kernel.buffer(out.name).kind is Kind.LOCAL
    if named:
        total = body.buffer_name(out.name)
    else:
        total = body.names.claim(_NAMES[kind]) if scalar else body.pooled(_NAMES[kind])
    explain()
    body.place_constants()
    rank = len(out.indices)
    outer = body.open_loops(loops, loops.ranges[:rank]) if rank else 0
    body.code.add(f"{real} {total} = {_first(kind, real)};")
    opened = body.open_loops(nest, loops.ranges[rank:])
    body.code.add(_update(kind, total, value, printer))
    body.code.close(opened)
    if not named:
        wanted = element if body.shapes[out.name] else "double"
        converted = total if real == wanted else f"({wanted}){total}"
        local = scalar and body.kernel.buffer(out.name).kind is Kind.LOCAL
        body.code.add(f"{'const double ' if local else ''}{body.place(out, loops)} = {converted};")
    body.code.close(outer)


def _down_columns(
    body: Body, statement: Reduce, loops: Loops, out: Access, inner: Expr, explain: Callable[[], None]
) -> None:
    rank = len(out.indices)
    last = loops.ranges[rank - 1 : rank]
    printer = body.printer(loops, body.element)
    target = body.place(out, loops)
    value = printer.text(inner, TERNARY)
    explain()
    body.place_constants()
    outer = body.open_loops(loops, loops.ranges[: rank - 1])
    body.open_loops(loops, last)
    body.code.add(f"{target} = {_first(statement.kind, body.element)};")
    body.code.close()
    opened = body.open_loops(loops, (*loops.ranges[rank:], *last))
    body.code.add(_update(statement.kind, target, value, printer))
    body.code.close(opened + outer)
