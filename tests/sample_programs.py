"""Kernel programs written by hand, statement by statement: fixtures for backends and their callers."""

from __future__ import annotations

import sympy as sp
from sympy import Integer

from chainrule.codegen.ir import BATCH, Argument, Buffer, Contract, Kernel, Kind, Map, Program, Reduce
from chainrule.symbolic.expressions import Access, Range, Reduction, index, size
from chainrule.symbolic.primitives import Sigmoid
from chainrule.symbolic.system import Equation


def full(name: str, extent: sp.Expr) -> Range:
    return Range(index(name), Integer(0), extent - 1)


def documented(dtype: str = "float64") -> Program:
    """One dense sigmoid layer with squared error; gradients of w, b and x."""
    m, n = size("m"), size("n")
    s, j, k = full("s", BATCH), full("j", n), full("k", m)
    S, J, K = s.symbol, j.symbol, k.symbol
    x, y = Buffer("x", (BATCH, m), Kind.DATA), Buffer("y", (BATCH, n), Kind.DATA)
    w, b = Buffer("w", (n, m), Kind.PARAMETER), Buffer("b", (n,), Kind.PARAMETER)

    dot = Reduction("sum", Access("w", J, K) * Access("x", S, K), [k])
    eq_z = Equation("z", (S, J), (s, j), Access("b", J) + dot)
    eq_a = Equation("a", (S, J), (s, j), Sigmoid(Access("z", S, J)))
    residual = Access("a", S, J) - Access("y", S, J)
    eq_cost = Equation("cost", (), (), Reduction("sum", residual**2, [s, j]) / BATCH)
    delta = 2 * residual * Access("a", S, J) * (1 - Access("a", S, J)) / BATCH
    eq_dz = Equation("dz", (S, J), (s, j), delta)
    eq_dw = Equation("dw", (J, K), (j, k), Reduction("sum", Access("dz", S, J) * Access("x", S, K), [s]))
    eq_db = Equation("db", (J,), (j,), Reduction("sum", Access("dz", S, J), [s]))
    eq_dx = Equation("dx", (S, K), (s, k), Reduction("sum", Access("dz", S, J) * Access("w", J, K), [j]))

    def forward_part(z_kind: Kind, a_kind: Kind) -> tuple[list[Buffer], list]:
        buffers = [
            Buffer("product", (BATCH, n), Kind.LOCAL, slot="a"),
            Buffer("z", (BATCH, n), z_kind, slot="a"),
            Buffer("a", (BATCH, n), a_kind),
        ]
        statements = [
            Contract(Access("product", S, J), (s, j), eq_z, (k,), Access("x", S, K), Access("w", J, K)),
            Map(Access("z", S, J), (s, j), eq_z, Access("b", J) + Access("product", S, J)),
            Map(Access("a", S, J), (s, j), eq_a, eq_a.value),
        ]
        return buffers, statements

    cost_buffer = Buffer("cost", (), Kind.OUTPUT)
    cost_sum = Buffer("cost_sum", (), Kind.LOCAL)
    cost = [
        Reduce(Access("cost_sum"), (), eq_cost, "sum", (s, j), residual**2),
        Map(Access("cost"), (), eq_cost, Access("cost_sum") / BATCH),
    ]
    buffers, statements = forward_part(Kind.LOCAL, Kind.OUTPUT)
    forward = Kernel("forward", (x, w, b, *buffers), tuple(statements), ("a",))
    buffers, statements = forward_part(Kind.LOCAL, Kind.LOCAL)
    cost_kernel = Kernel("cost", (x, y, w, b, *buffers, cost_sum, cost_buffer), (*statements, *cost), ("cost",))
    gradient_buffers = (
        Buffer("dz", (BATCH, n), Kind.LOCAL, adjoint_of="z", slot="a"),
        Buffer("dw", (n, m), Kind.OUTPUT, adjoint_of="w"),
        Buffer("db", (n,), Kind.OUTPUT, adjoint_of="b"),
        Buffer("dx", (BATCH, m), Kind.OUTPUT, adjoint_of="x"),
    )
    gradient_statements = (
        Map(Access("dz", S, J), (s, j), eq_dz, delta),
        Contract(Access("dw", J, K), (j, k), eq_dw, (s,), Access("dz", S, J), Access("x", S, K)),
        Reduce(Access("db", J), (j,), eq_db, "sum", (s,), Access("dz", S, J)),
        Contract(Access("dx", S, K), (s, k), eq_dx, (j,), Access("dz", S, J), Access("w", J, K)),
    )
    gradients = Kernel(
        "gradients",
        (x, y, w, b, *buffers, cost_sum, cost_buffer, *gradient_buffers),
        (*statements, *cost, *gradient_statements),
        ("cost", "dw", "db", "dx"),
    )
    arguments = (
        Argument("x", (m,), Kind.DATA),
        Argument("y", (n,), Kind.DATA),
        Argument("w", (n, m), Kind.PARAMETER),
        Argument("b", (n,), Kind.PARAMETER),
    )
    return Program(
        "documented", dtype, (m, n), arguments, ("a",), ("w", "b", "x"), (forward, cost_kernel, gradients), (eq_z, eq_a)
    )
