"""The user's and the catalogue's elementwise functions as static C functions."""

from __future__ import annotations

from dataclasses import replace

from sympy import Expr

from chainrule.codegen.backends.formula import expression_text
from chainrule.codegen.ir import Kernel, Map, Program, Reduce, Scan, Scatter, Statement
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Call, walk
from chainrule.symbolic.system import FunctionDefinition

from .layout import comment
from .names import Names
from .scalar import ScalarPrinter

__all__ = ["FunctionTable", "with_sizes_inlined"]


class FunctionTable:
    """Names the functions that kernels call, and writes each of them once, callees first.

    `name` turns a call into the C function's name; `definitions` are the texts of all that were named.
    """

    def __init__(self, program: Program, real: str, prefix: str, names: Names, used: set[str]) -> None:
        self._known = _known(program)
        self._real = real
        self._prefix = prefix
        self._names = names
        self._used = used
        self._named: dict[tuple[str, tuple[int, ...]], str] = {}
        self._texts: list[str] = []

    @property
    def definitions(self) -> list[str]:
        return self._texts

    def name(self, call: Call) -> str:
        key = (call.name, call.orders)
        if key not in self._named:
            order = sum(call.orders)
            stem = {0: "", 1: "d"}.get(order, f"d{order}") + call.name
            self._named[key] = self._names.claim(f"{self._prefix}_{stem}")
            self._texts.append(self._define(self._named[key], call))
        return self._named[key]

    def _define(self, name: str, call: Call) -> str:
        function = self._known.get(call.name)
        formula = function.derivative(call.orders) if function else None
        if function is None or formula is None:
            raise LoweringError(f"the function {call.name!r} has no formula: a kernel cannot call it")
        inner = Names()
        values = {p: inner.claim(p.name) for p in function.parameters}
        printer = ScalarPrinter(self._real, {}, _no_access, self.name, self._used, values)
        primes = "'" * sum(call.orders)
        shown = f"{call.name}{primes}({', '.join(p.name for p in function.parameters)}) = {expression_text(formula)}"
        text = printer.text(formula)
        parameters = ", ".join(f"{self._real} {v}" for v in values.values())
        ignored = "".join(f"    (void){v};\n" for p, v in values.items() if p not in formula.free_symbols)
        head = f"{comment([shown])}\nstatic inline {self._real} {name}({parameters})"
        return f"{head}\n{{\n{ignored}    return {text};\n}}"


def _no_access(access: Access) -> str:
    raise LoweringError(f"{access} cannot stand in a function's formula: only its parameters can")


def _known(program: Program) -> dict[str, FunctionDefinition]:
    return {f.name: f for kernel in program.kernels for f in kernel.functions}


def with_sizes_inlined(kernel: Kernel) -> Kernel:
    """The kernel with every call of a function whose formula holds a size replaced by that formula."""
    functions = {f.name: f for f in kernel.functions}

    def sized(function: FunctionDefinition, depth: int = 0) -> bool:
        if function.body is None or depth > len(functions):
            return False
        inner = [functions[n.name] for n in walk(function.body) if isinstance(n, Call) and n.name in functions]
        return bool(function.body.free_symbols - set(function.parameters)) or any(sized(f, depth + 1) for f in inner)

    def inline(body: Expr) -> Expr:
        while True:
            calls = [n for n in walk(body) if isinstance(n, Call) and n.name in functions and sized(functions[n.name])]
            if not calls:
                return body
            body = body.xreplace({c: functions[c.name].apply(c) for c in calls})

    def visit(statement: Statement) -> Statement:
        if isinstance(statement, (Map, Reduce, Scatter)):
            return replace(statement, body=inline(statement.body))
        return statement

    if not any(sized(f) for f in kernel.functions):
        return kernel
    return replace(
        kernel,
        statements=tuple(
            replace(s, statements=tuple(map(visit, s.statements))) if isinstance(s, Scan) else visit(s)
            for s in kernel.statements
        ),
    )
