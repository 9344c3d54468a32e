"""Contractions: calls of the matrix product where they are one, plain loops elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sympy import Integer

from chainrule.codegen.ir import Contract, Reduce
from chainrule.symbolic.expressions import Access

from . import sizes
from .contract import matrix_product
from .loops import Levels
from .reductions import emit_reduce

if TYPE_CHECKING:
    from .body import Body

__all__ = ["emit_contract"]


def emit_contract(body: Body, statement: Contract) -> None:
    """Emit one contraction: a matrix product for each value of its batch indices, if it can be one."""
    plan = matrix_product(statement, body.shapes, body.prover.nonnegative) if body.allow_products else None
    if plan is None:
        product = statement.left * statement.right
        reduced = Reduce(statement.out, statement.ranges, statement.equation, "sum", statement.reduced, product)
        emit_reduce(body, reduced, statement)
        return
    body.explain([statement])
    body.products.append(plan)
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
    counting = [loops.env[r.symbol] for r in loops.ranges[len(plan.batch) :]]
    call, later = (
        ("matrix_product_add", f", {' || '.join(f'{n} > 0' for n in counting)}")
        if counting
        else (
            "matrix_product",
            "",
        )
    )
    body.code.add(f"{call}({extents}, {left}, {right}, {out}, {body.space_name}{later});")
    body.code.close(opened)
