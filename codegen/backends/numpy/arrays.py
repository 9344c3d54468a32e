"""Kernel to arrays: the statements' formulas as values, and which value each result is.

Memory is not decided here: buffers and slots of the kernel IR are names of values and no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from sympy import Dummy, Integer

from chainrule.codegen.ir import Buffer, Contract, Kernel, Kind, Map, Reduce, Scan, Statement, format_statement
from chainrule.symbolic.errors import LoweringError

from .elementwise import Elementwise, Loops
from .sums import loop_order, reduction
from .values import Graph, Operand, Value

__all__ = ["Arrays", "arrays"]


@dataclass(frozen=True)
class Arrays:
    """One kernel's values.

    `steps` are the values computed at every call, in order, each with the number of the statement it
    was made for; `prepared` those that sizes alone decide. `results` maps each output buffer to its
    value, `names` the values that a buffer's name stands for.
    """

    kernel: Kernel
    statements: tuple[Statement, ...]
    prepared: tuple[Value, ...]
    steps: tuple[tuple[int, Value], ...]
    results: dict[str, Value]
    names: dict[int, str]


def arrays(kernel: Kernel) -> Arrays:
    """The values of a kernel. Raises LoweringError, naming the formula, for one that NumPy cannot compute."""
    graph = Graph()
    reads = Counter(a.name for s in kernel.flat for a in s.reads())
    buffers = {b.name: graph.given(b.name, b.shape).whole for b in kernel.arguments}
    results: dict[str, Value] = {}
    names: dict[int, str] = {}
    shared: set[int] = set()
    statements = tuple(_plain(s) for s in kernel.statements)
    for number, statement in enumerate(statements):
        graph.section = number
        buffer = kernel.buffer(statement.out.name)
        operand = graph.number(_statement(graph, statement, kernel, buffers, frozenset(shared)))
        if buffer.kind is Kind.OUTPUT:
            operand = _own(graph, operand, buffer, results).whole
            results[buffer.name] = operand.value
        if reads[buffer.name] > 1 or buffer.kind is Kind.OUTPUT:
            shared.add(operand.value.number)
        if operand.value.operation not in ("given", "scalar", "view"):
            names.setdefault(operand.value.number, buffer.name)
        buffers[buffer.name] = operand
    wanted = _needed(results)
    prepared = tuple(v for v in graph.values if v.number in wanted and v.static)
    steps = tuple((graph.sections[v.number], v) for v in graph.values if v.number in wanted and _computed(v))
    return Arrays(kernel, statements, prepared, steps, results, names)


def _plain(statement: Statement | Scan) -> Statement:
    """The statement, where it is of a form that this backend writes; LoweringError for any other."""
    if isinstance(statement, (Map, Reduce, Contract)) and statement.whole and not statement.when:
        plain = all(isinstance(i, (Dummy, Integer)) for a in statement.reads() for i in a.indices)
        if plain and not getattr(statement, "guards", ()):
            return statement
    raise LoweringError(f"no NumPy form yet: {format_statement(statement)}")


def _computed(value: Value) -> bool:
    return not value.static and value.operation not in ("given", "view")


def _statement(
    graph: Graph, statement: Statement, kernel: Kernel, buffers: dict[str, Operand], shared: frozenset[int]
) -> Operand:
    if isinstance(statement, Map):
        return Elementwise(graph, buffers, kernel.functions, Loops(statement.ranges)).build(statement.body)
    assert isinstance(statement, (Reduce, Contract))
    loops = Loops(loop_order(statement))
    return reduction(graph, Elementwise(graph, buffers, kernel.functions, loops), statement, loops, shared)


def _own(graph: Graph, operand: Operand, buffer: Buffer, results: dict[str, Value]) -> Value:
    """The operand as a value that can be written to the output's own memory."""
    value = graph.full(operand, buffer.shape)
    if value.static or not _computed(value) or value in results.values():
        return graph.value("copy", (value.whole,), buffer.shape, ("result", buffer.name))
    return value


def _needed(results: dict[str, Value]) -> set[int]:
    """Numbers of the values that the results are made of."""

    def visit(value: Value) -> Iterator[Value]:
        for operand in value.operands:
            if operand.value.number not in found:
                found.add(operand.value.number)
                yield operand.value

    found = {v.number for v in results.values()}
    pending = list(results.values())
    while pending:
        pending.extend(visit(pending.pop()))
    return found
