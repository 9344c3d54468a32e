"""analysis: operations and workspace of hand-made programs, against counts done by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sympy as sp
from sample_programs import documented
from sympy import Integer
from systems import MODELS, system_of

from chainrule.codegen.analysis import operations, workspace
from chainrule.codegen.ir import BATCH, Map, Reduce, Scan
from chainrule.codegen.lower import lower
from chainrule.symbolic.expressions import Access, Call, Range, index, size
from chainrule.symbolic.system import Equation, FunctionDefinition

M, N = size("m"), size("n")


def test_operations_of_the_documented_layer() -> None:
    program = documented()
    forward = operations(program.kernel("forward"))
    assert sp.expand(forward.per_sample - (2 * M * N + 2 * N)) == 0
    assert forward.per_call == 0
    # cost: residual (1), square (1), sum (1) for each of the n outputs; one division for each call
    cost = operations(program.kernel("cost"))
    assert sp.expand(cost.per_sample - (2 * M * N + 5 * N)) == 0
    assert cost.per_call == 1
    # gradients: delta (2·a - 2·y)·a·(1 - a)/batch is 4 products, 2 differences, 1 division; dw, dx 2·m·n each; db n
    gradients = operations(program.kernel("gradients"))
    assert sp.expand(gradients.per_sample - (6 * M * N + 5 * N + 7 * N + N)) == 0


@pytest.mark.parametrize(("dtype", "width"), [("float32", 4), ("float64", 8)])
def test_workspace_of_the_documented_layer(dtype: str, width: int) -> None:
    assert sp.expand(workspace(documented(dtype)) - width * (BATCH * N + 1)) == 0


def test_a_scan_counts_its_statements_at_every_step() -> None:
    kernel = documented().kernel("forward")
    steps = Range(index("t"), Integer(0), size("T") - 1)
    scanned = replace(kernel, statements=(Scan(steps, False, kernel.statements),))
    assert sp.expand(operations(scanned).per_sample - size("T") * operations(kernel).per_sample) == 0


def test_workspace_is_the_greatest_of_the_kernels() -> None:
    program = documented()
    alone = replace(program, kernels=(program.kernel("forward"),))
    assert workspace(alone) == 0
    assert workspace(replace(program, kernels=program.kernels[::-1])) == workspace(program)


def test_a_call_counts_its_formula() -> None:
    program = documented()
    kernel = program.kernel("forward")
    z = sp.Symbol("z", real=True)
    swish = FunctionDefinition("swish", (z,), z / (1 + sp.exp(-z)))
    last = kernel.statements[-1]
    assert isinstance(last, Map)
    body = Call("swish", (0,), Access("z", *last.out.indices))
    changed = replace(kernel, statements=(*kernel.statements[:-1], replace(last, body=body)), functions=(swish,))
    before, after = operations(kernel).per_sample, operations(changed).per_sample
    assert sp.expand(after - before - (3 - 1) * N) == 0
    assert operations(replace(kernel, statements=())).per_sample == Integer(0)


@pytest.mark.parametrize("name", MODELS)
def test_operations_are_formulas_in_sizes(name: str) -> None:
    """No index is left over, whatever the loops; and batch is the only factor taken out."""
    for kernel in lower(system_of(name), products=["hvp"] if system_of(name).has_cost else []).kernels:
        found = operations(kernel)
        for formula in (found.per_sample, found.per_call):
            assert not formula.atoms(sp.Dummy), formula
            assert BATCH not in formula.free_symbols
            assert not formula.has(sp.Sum)


def test_a_triangle_is_half_a_square() -> None:
    i, j = index("i"), index("j")
    rows, columns = Range(i, Integer(0), N - 1), Range(j, Integer(0), i)
    target, value = Access("c", i), Access("x", j) ** 2
    whole = Reduce(target, (rows,), Equation("c", (i,), (rows,), value), "sum", (columns,), value)
    kernel = replace(documented().kernel("forward"), statements=(whole,))
    assert sp.expand(operations(kernel).per_call - 2 * N * (N + 1) / 2) == 0
