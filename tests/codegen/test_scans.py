"""How a recurrence runs: its axis and direction, the order inside a step, ends with terms of their own."""

from __future__ import annotations

import pytest
import sympy as sp
from sympy import Integer
from systems import system_of

from chainrule.codegen.scans import plan_scan
from chainrule.symbolic import LoweringError, derive
from chainrule.symbolic.expressions import Access, Delta, Range, Reduction, contains, index, size
from chainrule.symbolic.samples import with_samples
from chainrule.symbolic.system import Equation

T, H = size("T"), size("H")


def equation(name, subscripts, value, first=0, last=T - 1):
    """name[t, i] = value(t, i) for first <= t <= last; a number in `subscripts` fixes t."""
    t, i = index("t"), index("i")
    units = Range(i, Integer(0), H - 1)
    if subscripts is not None:
        return Equation(name, (subscripts, i), (units,), value(subscripts, i))
    return Equation(name, (t, i), (Range(t, Integer(first), last), units), value(t, i))


def group(system, *names):
    return [e for e in system.equations if e.name in names]


def test_forwards():
    system = system_of("rnn")
    plan = plan_scan(group(system, "h"))
    assert [e.indices[0] for e in plan.bases] == [0]
    assert (plan.range.lower, plan.range.upper, plan.reverse) == (1, size("T"), False)
    assert plan.conditions == ((),)
    assert plan.steps[0].indices[0] == plan.range.symbol


def test_backwards():
    plan = plan_scan(
        [equation("g", T, lambda _, i: Access("a", i)), equation("g", None, lambda t, i: Access("g", t + 1, i) / 2)]
    )
    assert plan.reverse
    assert [e.indices[0] for e in plan.bases] == [T]
    assert (plan.range.lower, plan.range.upper) == (0, T - 1)


def test_several_tensors_in_the_order_in_which_a_step_needs_them():
    """A GRU: h at t reads the gates at t - 1, which read h at t - 1; the equations stand in another order."""
    system = system_of("gru")
    equations = group(system, "h", "r", "u", "c")
    for order in (equations, equations[::-1]):
        plan = plan_scan(order)
        assert not plan.reverse
        names = [e.name for e in plan.steps]
        assert names.index("h") < names.index("r") < names.index("c")
        assert len({e.indices[0] for e in plan.steps}) == 1
        by_name = dict(zip(names, plan.conditions, strict=True))
        assert len(by_name["h"]) + len(by_name["r"]) >= 1  # they run over different ranges


def test_a_gate_is_shared_by_time_with_its_reader():
    """b reads a at the same time: a comes first, whatever the order given."""
    a = equation("a", None, lambda t, i: Access("b", t - 1, i), first=1)
    b = equation("b", None, lambda t, i: 2 * Access("a", t, i), first=1)
    base = equation("b", Integer(0), lambda *_: Integer(1))
    assert [e.name for e in plan_scan([b, a, base]).steps] == ["a", "b"]


@pytest.mark.parametrize(
    ("equations", "message"),
    [
        ([equation("h", None, lambda t, i: Access("h", t - 1, i) + Access("h", t + 1, i))], "both earlier and later"),
        ([equation("h", None, lambda t, i: Access("h", T - 1 - t, i))], "shifts no index"),
        (
            [
                equation("a", None, lambda t, i: Access("b", t, i) + Access("a", t - 1, i)),
                equation("b", None, lambda t, i: Access("a", t, i)),
            ],
            "depend on each other at the same index",
        ),
    ],
)
def test_what_no_loop_can_compute_is_an_error(equations, message):
    with pytest.raises(LoweringError, match=message):
        plan_scan(equations)


@pytest.mark.parametrize("sign", [-1, 1])
def test_time_is_the_axis_along_which_all_reads_are_earlier_or_all_later(sign):
    """A wave: neighbours on both sides, one and two steps of time away; and sums over what was made before."""

    def wave(t, i):
        return Access("h", t + sign, i - 1) + Access("h", t + sign, i + 1) - Access("h", t + 2 * sign, i)

    plan = plan_scan([equation("h", None, wave)])
    assert plan.reverse == (sign > 0)
    assert plan.steps[0].indices[0] == plan.range.symbol
    k = index("k")

    def sums(t, i):
        return Reduction("sum", Access("h", k, i), [Range(k, Integer(0), T - 1)], [sign * (k - t) - 1])

    assert plan_scan([equation("h", None, sums)]).reverse == (sign > 0)


def test_what_may_be_of_the_same_time_comes_first():
    k = index("k")

    def upto(t, i):
        return Reduction("sum", Access("b", k, i), [Range(k, Integer(0), T - 1)], [t - k])

    a, b = equation("a", None, upto), equation("b", None, lambda t, i: Access("a", t - 1, i))
    assert [e.name for e in plan_scan([a, b]).steps] == ["b", "a"]
    with pytest.raises(LoweringError, match="depend on each other at the same index"):
        plan_scan([a, equation("b", None, lambda t, i: Access("a", t, i))])


def test_different_ranges_are_conditions():
    short = equation("h", None, lambda t, i: Access("h", t - 1, i) + Access("g", t - 1, i), first=1, last=T)
    long = equation("g", None, lambda t, i: Access("h", t, i), last=T - 1)
    plan = plan_scan([equation("h", Integer(0), lambda *_: Integer(0)), short, long])
    t = plan.range.symbol
    assert (plan.range.lower, plan.range.upper) == (0, T)
    assert dict(zip([e.name for e in plan.steps], plan.conditions, strict=True)) == {"h": (t - 1,), "g": (T - 1 - t,)}


def test_the_last_element_of_an_adjoint_stands_apart():
    """δ(T, t) where the cost reads h[T], and a sum that is guarded by t < T: neither is left in the loop."""
    result = derive(with_samples(system_of("rnn")), explain=False).result
    plan = plan_scan(group(result, "dh"))
    (base,) = plan.bases
    assert base.indices[1] == size("T")
    assert plan.range.upper == size("T") - 1
    for step in (base, *plan.steps):
        assert not contains(step.value, lambda n: isinstance(n, Delta))
        assert not any(n.guards for n in sp.preorder_traversal(step.value) if isinstance(n, Reduction))


def test_an_end_that_reads_the_recurrence_stays_in_the_loop():
    t, i = index("t"), index("i")
    ranges = (Range(t, Integer(0), T), Range(i, Integer(0), H - 1))
    value = Access("h", t - 1, i) * (1 - Delta(t, Integer(0))) + Delta(t, T) * Access("a", i)
    guarded = Reduction("sum", Access("h", t - 1, i), (), [t - 1]) + Delta(t, T) * Access("a", i)
    plan = plan_scan([Equation("h", (t, i), ranges, guarded)])
    assert [e.indices[0] for e in plan.bases] == [0]
    assert plan.bases[0].value == 0
    last = [e for e, c in zip(plan.steps, plan.conditions, strict=True) if Access("a", i) in e.value.atoms(Access)]
    assert len(last) == 1
    assert not value.has(Reduction)
