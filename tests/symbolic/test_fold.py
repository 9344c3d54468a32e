"""Known results: recognised where they stand, at shifted and strided subscripts too, and nowhere else."""

from __future__ import annotations

import pytest
import sympy as sp
from sympy import Integer

from chainrule.symbolic import System, parse
from chainrule.symbolic.expressions import Access, Range, Reduction, Where, alpha_key, freshen, index, size, walk
from chainrule.symbolic.fold import fold, known_results

N, P, T = size("N"), size("P"), size("T")
I, J, K = (index(n) for n in "ijk")  # noqa: E741 - the letters of the formulas


def full(symbol, extent=N):
    return Range(symbol, Integer(0), extent - 1)


def right_side(system: System, name: str, *where, equation: int = 0):
    """The right side of an equation at other subscripts, with indices of its own."""
    found = system.defining(name)[equation]
    return freshen(found.value, dict(zip(found.indices, where, strict=True)))


def folded(system, expression, ranges, guards=()):
    return fold(expression, known_results(system), ranges, guards)


SOFTMAX = parse("data z[N], y[N]\np[i] = exp(z[i])/sum[k](exp(z[k]))\ncost = sum[i](y[i]*p[i])\n")


def test_a_right_side_is_its_left_side():
    assert folded(SOFTMAX, right_side(SOFTMAX, "p", J), [full(J)]) == Access("p", J)


def test_a_quotient_inside_a_larger_product():
    whole = right_side(SOFTMAX, "p", J) * Access("y", J) * 3
    assert folded(SOFTMAX, whole, [full(J)]) == 3 * Access("p", J) * Access("y", J)
    both = right_side(SOFTMAX, "p", I) * right_side(SOFTMAX, "p", J)
    assert folded(SOFTMAX, both, [full(I), full(J)]) == Access("p", I) * Access("p", J)


def test_inside_sums_conditions_and_branches():
    total = Reduction("sum", right_side(SOFTMAX, "p", K) * Access("y", K), [full(K)])
    assert folded(SOFTMAX, total, []).body == Access("p", K) * Access("y", K)
    where = Where(right_side(SOFTMAX, "p", J) > 0, right_side(SOFTMAX, "p", J), Integer(0))
    assert folded(SOFTMAX, where, [full(J)]) == Where(Access("p", J) > 0, Access("p", J), Integer(0))


RNN = parse("""
data x[T, N], y[N]
parameter u[N, N], w[N, N], b[N]
h[0, i] = b[i]
h[t, i] = tanh(b[i] + sum[j](u[i, j]*h[t - 1, j]) + sum[k](w[i, k]*x[t - 1, k]))
cost = sum[i]((h[T, i] - y[i])**2)
""")


def test_several_anchors_tell_the_indices_shifts_undone():
    t = index("t")
    inner = right_side(RNN, "h", t + 1, J, equation=1)
    ranges = [Range(t, Integer(0), T - 1), full(J)]
    assert folded(RNN, 1 - inner**2, ranges) == 1 - Access("h", t + 1, J) ** 2


def test_nothing_is_put_in_where_the_equation_does_not_reach():
    t = index("t")
    beyond = right_side(RNN, "h", t + 1, J, equation=1)
    ranges = [Range(t, Integer(0), T), full(J)]
    assert folded(RNN, beyond, ranges) == beyond
    assert folded(RNN, beyond, ranges, [T - 1 - t]) == Access("h", t + 1, J)
    total = Reduction("sum", beyond, ranges, [T - 1 - t])
    assert folded(RNN, total, []).body == Access("h", t + 1, J)


PART = parse("""
data x[2*P]
parameter w
index p < P
y[p] = exp(w*x[p])
v[i] = exp(w*x[i])*x[i]
cost = sum[p](y[p]) + sum[i](v[i])
""")


def test_a_part_of_a_tensor_is_recognised_there_only():
    value = sp.exp(Access("w") * Access("x", I))
    assert folded(PART, value, [full(I, 2 * P)]) == value
    assert folded(PART, value, [full(I, P)]) == Access("y", I)


POOL = parse("""
data x[2*P]
index p < P
index u < 2
y[p] = max[u](x[2*p + u])
cost = sum[p](y[p])
""")


def test_strided_windows():
    assert folded(POOL, right_side(POOL, "y", I), [full(I, P)]) == Access("y", I)
    assert folded(POOL, right_side(POOL, "y", I + 1), [full(I, P - 1)]) == Access("y", I + 1)
    shifted = Reduction("max", Access("x", 2 * I + 1 + K), [Range(K, Integer(0), Integer(1))])
    assert folded(POOL, shifted, [full(I, P - 1)]) == shifted  # between two windows


def test_what_tells_no_index_is_not_known():
    system = parse("data x[N]\nparameter w\nindex i < N\ny[i] = w**2\ncost = sum[i](y[i]*x[i])\n")
    assert known_results(system) == ()
    assert known_results(parse("data x[N]\ny[i] = x[i]\ncost = sum[i](y[i]**2)\n")) == ()


def test_base_cases_are_not_known():
    assert [k.equation.name for k in known_results(RNN)] == ["h"]


@pytest.mark.parametrize("power", [1, 2, 3])
def test_powers(power):
    value = right_side(PART, "y", I) ** power
    assert folded(PART, value, [full(I, P)]) == Access("y", I) ** power


def test_folding_keeps_the_rest():
    value = sp.sin(Access("x", I)) + right_side(SOFTMAX, "p", J)
    system = SOFTMAX
    found = folded(system, value, [full(I), full(J)])
    assert found == sp.sin(Access("x", I)) + Access("p", J)
    assert alpha_key(folded(system, sp.sin(Access("x", I)), [full(I)])) == sp.sin(Access("x", I))
    assert any(isinstance(n, Access) for n in walk(found))
