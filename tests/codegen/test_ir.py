"""The checker of the kernel IR refuses what no backend could write; the printer shows what a statement does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sympy as sp
from sample_programs import documented
from sympy import Integer, Max, Min

from chainrule.codegen.ir import Buffer, Contract, Kernel, Kind, Map, Reduce, Scan, Scatter, Statement
from chainrule.codegen.ir_check import check_kernel
from chainrule.codegen.ir_text import format_kernel, format_statement
from chainrule.symbolic.expressions import Access, Call, Range, index, size
from chainrule.symbolic.system import Equation, FunctionDefinition

N, M = size("N"), size("M")
I, J, K = (index(n) for n in "ijk")  # noqa: E741 - the letters of the formulas


def full(symbol, extent=N):
    return Range(symbol, Integer(0), extent - 1)


EQUATION = Equation("y", (I,), (full(I),), Access("x", I))
X, Y = Buffer("x", (N,), Kind.PARAMETER), Buffer("y", (N,), Kind.OUTPUT)


def kernel(*statements: Statement | Scan, buffers=(X, Y), **more) -> Kernel:
    return Kernel("forward", tuple(buffers), tuple(statements), ("y",), **more)


def mapped(body, out=None, ranges=None, **more):
    return Map(out or Access("y", I), ranges or (full(I),), EQUATION, body, **more)


GOOD = mapped(2 * Access("x", I))


def test_a_good_kernel_passes():
    check_kernel(kernel(GOOD))
    for k in documented().kernels:
        check_kernel(k)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (kernel(GOOD, buffers=(X, Y, X)), "declared twice"),
        (kernel(mapped(Access("z", I))), "z is not a buffer"),
        (kernel(mapped(Access("y", I))), "y is read before it is written"),
        (kernel(mapped(Access("x", I, I))), "has 2 indices, its buffer 1 axes"),
        (kernel(mapped(Access("x", J))), "the index _j, which no loop binds"),
        (kernel(mapped(Access("x", I**2))), "not affine in _i"),
        (kernel(mapped(Access("x", I), out=Access("y", I + 1))), "not the left side's indices"),
        (kernel(mapped(Call("f", (0,), Access("x", I)))), "f has no definition"),
        (kernel(), "'y' is never written"),
        (kernel(mapped(Access("x", I) * J)), "the body mentions an index that no loop binds"),
        (kernel(mapped(Access("x", I), when=(I,))), "the condition _i mentions an index that no scan binds"),
        (
            kernel(Reduce(Access("y", I), (full(I),), EQUATION, "sum", (Range(K, J, N - 1),), Access("x", K))),
            "the bounds of _k mention an index that is not bound before it",
        ),
        (
            kernel(Reduce(Access("y", I), (full(I),), EQUATION, "sum", (Range(K, J, N - 1), full(J)), Access("x", K))),
            "the bounds of _k mention an index that is not bound before it",
        ),
        (
            kernel(Reduce(Access("y", I), (full(I),), EQUATION, "sum", (full(K),), Access("x", K), (J - K,))),
            "the guard",
        ),
        (
            kernel(
                GOOD, buffers=(X, Y, Buffer("a", (N,), Kind.LOCAL, slot="t"), Buffer("b", (M,), Kind.LOCAL, slot="t"))
            ),
            "different shapes share the slot 't'",
        ),
    ],
)
def test_a_bad_kernel_is_refused(bad, message):
    with pytest.raises(ValueError) as caught:
        check_kernel(bad)
    assert message in str(caught.value)
    assert str(caught.value).startswith("forward: ")


def test_definitions_may_call_others():
    z = sp.Symbol("z", real=True)
    check_kernel(kernel(mapped(Call("f", (0,), Access("x", I))), functions=(FunctionDefinition("f", (z,), z**2),)))


def test_a_scan_binds_its_index_for_what_is_inside():
    t = index("t")
    h = Buffer("y", (N, M), Kind.OUTPUT)
    step = Map(Access("y", t, I), (full(I, M),), EQUATION, Access("y", t - 1, I), when=(t - 1,))
    base = Map(Access("y", Integer(0), I), (full(I, M),), EQUATION, Integer(1))
    scan = Scan(Range(t, Integer(1), N - 1), False, (step,))
    check_kernel(kernel(base, scan, buffers=(h,)))
    text = format_statement(scan)
    assert text.splitlines()[0] == "scan     _t = 1 to N - 1"
    assert "when [_t - 1 >= 0]" in text
    assert format_statement(replace(scan, reverse=True)).startswith("scan     _t = N - 1 downto 1")
    with pytest.raises(ValueError, match="not the left side's indices"):
        check_kernel(kernel(base, step, buffers=(h,)))


def test_whole_and_plain():
    assert GOOD.whole
    assert not mapped(Access("x", I), ranges=(Range(I, Integer(1), N - 1),)).whole
    contraction = Contract(Access("y", I), (full(I),), EQUATION, (full(K),), Access("a", I, K), Access("b", K))
    assert contraction.plain
    assert contraction.whole
    assert not replace(contraction, right=Access("b", K + 1)).plain
    assert not replace(contraction, left=Access("a", K, K)).plain


def test_the_printer_tells_statements_apart():
    reduce = Reduce(
        Access("y", I), (full(I),), EQUATION, "max", (Range(K, Max(0, I - 1), Min(N - 1, I)),), Access("x", K), (I - K,)
    )
    assert "reduce   y[_i] = max[" in format_statement(reduce)
    assert "[_i - _k >= 0]" in format_statement(reduce)
    scatter = Scatter(Access("y", 2 * K), (full(K),), EQUATION, Access("x", K))
    assert format_statement(scatter) == "scatter  y[2*_k] += sum[_k](x[_k])"
    assert format_statement(GOOD) == "map      y[_i] = 2*x[_i]"
    text = format_kernel(kernel(GOOD), "float32")
    assert text.splitlines()[0] == "kernel forward"
    assert "output    y: float32[N]" in text
    assert text.endswith("return y")
    with pytest.raises(TypeError):
        format_statement("no statement")


def test_reads_and_slots():
    k = documented().kernel("gradients")
    assert {b.name for b in k.arguments} == {"x", "y", "w", "b"}
    assert set(k.slots) <= {b.slot for b in k.buffers if b.kind is Kind.LOCAL}
    assert k.buffer("w").kind is Kind.PARAMETER
    with pytest.raises(KeyError):
        k.buffer("nothing")
    with pytest.raises(KeyError):
        documented().kernel("nothing")
    assert documented().entries == ("forward", "cost", "gradients")
