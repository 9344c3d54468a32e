"""Slots: memory is shared by lifetime, in place where a Map allows it, and never by two values that live at once."""

from __future__ import annotations

import pytest
from sympy import Integer
from systems import MODELS, system_of

from chainrule.codegen import lower as rooms
from chainrule.codegen.ir import Buffer, Kernel, Kind, Map, Reduce, Scan
from chainrule.codegen.passes import assign_slots
from chainrule.symbolic.expressions import Access, Range, index, size
from chainrule.symbolic.system import Equation

N = size("N")
I, K = index("i"), index("k")  # noqa: E741 - the letters of the formulas
FULL = Range(I, Integer(0), N - 1)
EQUATION = Equation("y", (I,), (FULL,), Access("x", I))


def mapped(out, body, ranges=(FULL,)):
    return Map(Access(out, I), ranges, EQUATION, body)


def made(*statements, local=(), shape=(N,)):
    buffers = [Buffer("x", (N,), Kind.PARAMETER), Buffer("y", (N,), Kind.OUTPUT)]
    buffers += [Buffer(n, shape, Kind.LOCAL) for n in local]
    kernel = assign_slots(Kernel("forward", tuple(buffers), tuple(statements), ("y",)))
    return {b.name: b.slot for b in kernel.buffers}


def x(name):
    return Access(name, I)


def test_a_chain_works_in_the_memory_of_its_end():
    slots = made(mapped("a", x("x") + 1), mapped("b", 2 * x("a")), mapped("y", x("b") ** 2), local="ab")
    assert slots["a"] == slots["b"] == slots["y"] == "y"


def test_what_is_read_later_keeps_its_memory():
    slots = made(mapped("a", x("x") + 1), mapped("b", 2 * x("a")), mapped("y", x("b") + x("a")), local="ab")
    assert slots["a"] != slots["b"]
    assert "y" in (slots["a"], slots["b"])


def test_a_read_at_another_element_is_not_in_place():
    slots = made(mapped("a", x("x")), mapped("y", Access("a", N - 1 - I)), local="a")
    assert slots["a"] != "y"


def test_a_reduction_is_not_in_place():
    total = Reduce(x("b"), (FULL,), EQUATION, "sum", (Range(K, Integer(0), N - 1),), Access("a", K) * x("a"))
    slots = made(mapped("a", x("x")), total, mapped("y", x("b")), local="ab")
    assert slots["a"] != slots["b"]


def test_memory_that_is_free_is_taken_again():
    total = Reduce(x("b"), (FULL,), EQUATION, "sum", (Range(K, Integer(0), N - 1),), Access("a", K))
    slots = made(
        mapped("a", x("x")), total, mapped("c", x("x") * 3), mapped("y", x("b") + Access("c", N - 1 - I)), local="abc"
    )
    assert slots["c"] == slots["a"]


def test_an_argument_and_a_scalar_are_left_alone():
    slots = made(mapped("y", x("x")), local=())
    assert slots == {"x": "x", "y": "y"}


def test_a_tensor_written_in_parts_is_one():
    """The second part must not take memory over from what its first part does not cover."""
    first = mapped("a", Integer(0))
    second = mapped("a", Access("x", I - 1), (Range(I, Integer(1), N - 1),))
    slots = made(mapped("b", x("x")), first, second, mapped("y", x("a") + x("b")), local="ab")
    assert slots["a"] != slots["b"]


@pytest.mark.parametrize("name", MODELS)
def test_no_two_values_that_live_at_once_share_memory(name, monkeypatch):
    """From the lifetimes, apart from the interpreter that would compute wrong values."""
    monkeypatch.setattr(rooms, "_refuse", lambda _: None, raising=False)
    kernel = rooms.lower(system_of(name)).kernel("gradients")
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for m, top in enumerate(kernel.statements):
        for inner in top.statements if isinstance(top, Scan) else (top,):
            first.setdefault(inner.out.name, m)
            last[inner.out.name] = max(last.get(inner.out.name, m), m)
            for access in inner.reads():
                last[access.name] = m
    last.update(dict.fromkeys(kernel.results, len(kernel.statements)))
    owned = [b for b in kernel.buffers if b.kind in (Kind.LOCAL, Kind.OUTPUT)]
    for n, one in enumerate(owned):
        for other in owned[n + 1 :]:
            if one.slot == other.slot:
                early, late = sorted((one, other), key=lambda b: first[b.name])
                assert last[early.name] <= first[late.name], f"{early.name} and {late.name} of {name}"
                if last[early.name] == first[late.name]:
                    statement = kernel.statements[first[late.name]]
                    assert isinstance(statement, Map), f"{late.name} of {name} is not made in place"
