"""The kernel IR's printer: kernels as text, for eyes and tests."""

from __future__ import annotations

from sympy import Expr

from chainrule.symbolic.expressions import Range

from .ir import Contract, Kernel, Map, Reduce, Scan, Scatter, Statement

__all__ = ["format_kernel", "format_statement"]


def format_statement(statement: Statement | Scan) -> str:
    """One line: the kind of statement, the element written and its right side; a scan on several."""
    if isinstance(statement, Scan):
        order = "downto" if statement.reverse else "to"
        first, last = statement.range.lower, statement.range.upper
        first, last = (last, first) if statement.reverse else (first, last)
        inner = "\n".join(f"    {format_statement(s)}" for s in statement.statements)
        return f"scan     {statement.range.symbol} = {first} {order} {last}\n{inner}"
    if isinstance(statement, Contract):
        over = ", ".join(str(r.symbol) for r in statement.reduced)
        text = f"contract {statement.out} = sum[{over}]({statement.left} * {statement.right})"
    elif isinstance(statement, Reduce):
        over = ", ".join(_bounded(r) for r in statement.reduced)
        text = f"reduce   {statement.out} = {statement.kind}[{over}]({statement.body}){_conditions(statement.guards)}"
    elif isinstance(statement, Scatter):
        over = ", ".join(_bounded(r) for r in statement.ranges)
        text = f"scatter  {statement.out} += sum[{over}]({statement.body}){_conditions(statement.guards)}"
    elif isinstance(statement, Map):
        text = f"map      {statement.out} = {statement.body}"
    else:
        raise TypeError(f"unknown statement {statement!r}")
    return text + (f" when{_conditions(statement.when)}" if statement.when else "")


def _bounded(bound: Range) -> str:
    return str(bound.symbol) if bound.lower == 0 else f"{bound.lower}<={bound.symbol}<={bound.upper}"


def _conditions(guards: tuple[Expr, ...]) -> str:
    return "".join(f" [{g} >= 0]" for g in guards)


def format_kernel(kernel: Kernel, dtype: str = "float64") -> str:
    """The kernel as text: buffers with kind, dtype, shape and slot, then one statement a line."""
    lines = [f"kernel {kernel.entry}"]
    for b in kernel.buffers:
        shape = ", ".join(str(d) for d in b.shape)
        slot = "" if b.slot == b.name else f" in {b.slot}"
        lines.append(f"  {b.kind.value:<9} {b.name}: {dtype}[{shape}]{slot}")
    lines.extend(f"  {format_statement(s)}" for s in kernel.statements)
    lines.append(f"  return {', '.join(kernel.results)}")
    return "\n".join(lines)
