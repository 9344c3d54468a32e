"""Contractions: calls of the matrix product where they are one, plain loops elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sympy import Integer

from chainrule.codegen.ir import Contract, Reduce
from chainrule.symbolic.expressions import Access

from . import sizes
from .contract import MatrixProduct, matrix_product
from .loops import Levels
from .reductions import emit_reduce
from .windows import Windows, windows

if TYPE_CHECKING:
    from .body import Body

__all__ = ["emit_contract"]


def emit_contract(body: Body, statement: Contract) -> None:
    """Emit one contraction: matrix products, if it can be made of them."""
    plan = matrix_product(statement, body.shapes, body.prover.nonnegative) if body.allow_products else None
    if plan is not None:
        body.explain([statement])
        _product(body, statement, plan, body.space_name)
        return
    windowed = windows(body, statement) if body.allow_products else None
    if windowed is not None:
        body.explain([statement])
        _windowed(body, windowed)
        return
    product = statement.left * statement.right
    reduced = Reduce(statement.out, statement.ranges, statement.equation, "sum", statement.reduced, product)
    emit_reduce(body, reduced, statement)


def _product(body: Body, statement: Contract, plan: MatrixProduct, space: str, counters: Sequence[str] = ()) -> None:
    """One call for each value of the batch indices and of those added up; `counters` count sums around them."""
    loops = body.loops((*plan.batch, *plan.added))
    found = body.nest(loops, loops.ranges, loops.symbols)
    opened = body.open_loops(loops, found.loops, Levels(found.loops))
    inside = {r.symbol: Integer(0) for r in statement.loops}

    def start(access: Access) -> str:
        indices = [i.xreplace(dict(loops.renaming)).xreplace(inside) for i in access.indices]
        offset = sizes.address(indices, body.shapes[access.name], loops.env)
        name = body.buffer_name(access.name)
        return name if offset == "0" else f"{name} + {offset}"

    def count(expression: object) -> str:
        return sizes.plain(expression, loops.env)

    extents = f"{count(plan.rows)}, {count(plan.columns)}, {count(plan.depth)}"
    left = f"{start(plan.left)}, {count(plan.left_row)}, {count(plan.left_depth)}"
    right = f"{start(plan.right)}, {count(plan.right_depth)}, {count(plan.right_column)}"
    out = f"{start(statement.out)}, {count(plan.out_row)}"
    adding = [*counters, *(loops.env[r.symbol] for r in loops.ranges[len(plan.batch) :])]
    call, later = "matrix_product", ""
    if adding:
        call, later = "matrix_product_add", f", {' || '.join(f'{name} > 0' for name in adding)}"
    body.products.append(replace(plan, adds=bool(adding)))
    body.code.add(f"{call}({extents}, {left}, {right}, {out}, {space}{later});")
    body.code.close(opened)


def _windowed(body: Body, plan: Windows) -> None:
    """Loops over the places in a window; the elements there, and what they are multiplied by."""
    loops = body.loops((*plan.free, *plan.summed))
    found = body.nest(loops, loops.ranges, loops.symbols)
    space = body.space_name
    for access in (plan.copy.out, *([plan.inner.out] if plan.result is not None else [])):
        body.code.add(f"{body.element} *const {access.name} = {space};")
        space = f"{access.name} + {sizes.elements(body.shapes[access.name], loops.env)}"
    outer = body.open_loops(loops, found.loops[: len(plan.free)], Levels(()))
    inner = body.open_loops(loops, found.loops[len(plan.free) :], Levels(()))
    counters = [loops.env[r.symbol] for r in loops.ranges[len(plan.free) :]]
    with body.inside(loops, found.loops):
        body.maps([plan.copy])
        _product(body, plan.inner, plan.plan, space, counters)
        body.code.close(inner)
        if plan.result is not None:
            body.maps([plan.result])
    body.code.close(outer)
