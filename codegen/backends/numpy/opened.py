"""Calls of functions whose arguments are sizes alone: their formulas are put in, so that they become constants."""

from __future__ import annotations

from dataclasses import replace

from sympy import Dummy, Expr

from chainrule.codegen.ir import Kernel, Map, Reduce, Scan, Scatter, Statement
from chainrule.symbolic.expressions import Access, Call, walk

__all__ = ["with_constants_opened"]


def with_constants_opened(kernel: Kernel) -> Kernel:
    """The kernel with every such call replaced by its formula; one without a formula stays."""
    functions = {f.name: f for f in kernel.functions}

    def opened(body: Expr) -> Expr:
        while True:
            calls = {n: functions[n.name].apply(n) for n in walk(body) if isinstance(n, Call) and _constant(n)}
            calls = {call: formula for call, formula in calls.items() if call != formula}
            if not calls:
                return body
            body = body.xreplace(calls)

    def visit(statement: Statement) -> Statement:
        if isinstance(statement, (Map, Reduce, Scatter)):
            return replace(statement, body=opened(statement.body))
        return statement

    if not functions:
        return kernel
    statements = tuple(
        replace(s, statements=tuple(map(visit, s.statements))) if isinstance(s, Scan) else visit(s)
        for s in kernel.statements
    )
    return replace(kernel, statements=statements)


def _constant(call: Call) -> bool:
    return not any(isinstance(n, (Access, Dummy)) for n in walk(call))
