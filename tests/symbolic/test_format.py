"""format: what is written is read back as the same System."""

from __future__ import annotations

import pytest
import sympy as sp
from sympy import Dummy, Expr

from chainrule.symbolic.catalogue import names
from chainrule.symbolic.errors import FormulaError
from chainrule.symbolic.expressions import Access, Call, Range, Reduction, alpha_key, freshen
from chainrule.symbolic.format import format_expression, format_system
from chainrule.symbolic.language import parse
from chainrule.symbolic.layers import network
from chainrule.symbolic.system import Equation, System

TEXTS = {
    "dense": """
        data x[m], y[n]
        parameter w[n, m], b[n]
        sigma(z) = 1/(1 + exp(-z))
        z[j] = b[j] + sum[k](w[j, k]*x[k])
        a[j] = sigma(z[j])
        cost = sum[j]((a[j] - y[j])**2)
        output a
    """,
    "scalars and numbers": """
        data x, y
        parameter lam, w
        p = w*x - 3/7*lam + 1/(2 + x**2) - (x - y)/3 - -x*y/2
        q = sqrt(1 + p**2)/(p*y) + 0.25*exp(-p**2/2) + pi*2**x
        cost = (q - y)**2 - lam*(w - 1)*(w + 1)
    """,
    "conditions": """
        data x[n], y[n]
        parameter t
        a[i] = where(x[i] > t and not (y[i] >= 2*t or x[i] == 3), max(x[i], t), min(x[i], -t))
        cost = sum[i](abs(a[i] - y[i])) + where(t <= 0, 0, t)
    """,
    "softmax": """
        data x[m], y[n]
        parameter w[n, m]
        z[j] = sum[k](w[j, k]*x[k])
        p[j] = softmax[j](z[j])
        cost = sum[j](cross_entropy(p[j], y[j]))
    """,
    "convolution": """
        data x[m]
        parameter h[r]
        y[p] = sum[q](h[q]*x[p + q])
        output y
    """,
    "conditions on indices": """
        data x[n], y[n]
        parameter w[n, n]
        a[i] = sum[k : k <= i](w[i, k]*x[k])
        c[i] = max[k : k >= i](w[i, k])
        cost = sum[i, j : i < j](w[i, j]*a[i]*a[j]) + sum[i](c[i]*y[i]) + prod[i](x[i])
    """,
    "recurrence": """
        data x[T, n], h0[n]
        parameter u[n, n]
        h[0, i] = h0[i]
        h[t, i] = tanh(x[t - 1, i] + sum[j](u[i, j]*h[t - 1, j]))
        cost = sum[i](h[T, i]**2)
    """,
    "stated ranges": """
        data x[20]
        index p < 10
        y[p] = x[2*p] + x[2*p + 1]
        cost = sum[p](y[p]**2)
    """,
    "parameters before data": """
        parameter w[n, m]
        data x[m]
        parameter b[n]
        z[j] = b[j] + sum[k](w[j, k]*x[k])
        output z
    """,
    "a range shorter than its axis": """
        data x[n + 1]
        index p < n
        d[p] = x[p + 1] - x[p]
        s = sum[p](x[p]**2) + sum[q](x[q])
        output d, s
    """,
    "equal names of different lengths": """
        data x[m]
        index i < 5
        index j < 7
        s = x[0]*sum[i](i) + sum[j](j)*sum[k](x[k])
        output s
    """,
    "a recurrence of several tensors": """
        data x[T], y[T + 1]
        parameter a
        h[0] = a
        z[t] = a*h[t - 1] + x[t - 1]
        r[t] = tanh(h[t]*x[t])
        h[t] = tanh(z[t]*r[t - 1])
        cost = sum[t](h[t]*y[t]) + sum[t](z[t]**2)
    """,
    "a recurrence from the end": """
        data x[T]
        parameter a
        h[T] = a
        h[T - 1] = 2*a
        h[t] = h[t + 1]*h[t + 2] + x[t]
        cost = h[0]
    """,
    "sums before": """
        data x[T]
        h[0] = 1
        h[t] = x[t] + sum[k : k < t](h[k])
        output h
    """,
    "sizes rounded down": """
        data x[m], half[m//2 + 1]
        parameter h[r]
        y[p] = half[0] + sum[q](h[q]*x[3*p + 2*q])/((m + 1)//2)
        output y
    """,
    "quotients of sums": """
        data x, y
        a = 15/4/(x + 2) + (x + 1)*y*3/4 + (x + 1)*(y + 1)*2/3 - (x + 1)*y/(y + 2)/3 + exp(1)*x
        output a
    """,
    "sizes in formulas": """
        data q[d], k[n, d]
        s[i] = sum[c](q[c]*k[i, c])/sqrt(d)
        output s
    """,
}


def key(system: System) -> tuple[object, ...]:
    """The System with indices renamed by position."""
    equations = []
    for e in system.equations:
        names = {r.symbol: sp.Symbol(f"left{m}", integer=True) for m, r in enumerate(e.ranges)}
        value = alpha_key(freshen(system.expanded(e.value), names))
        bounds = tuple((r.lower.xreplace(names), sp.expand(r.upper.xreplace(names))) for r in e.ranges)
        equations.append((e.name, tuple(i.xreplace(names) for i in e.indices), bounds, value))
    functions = tuple((f.name, f.parameters, f.body) for f in system.functions if f.origin == "user")
    return system.tensors, tuple(equations), functions, system.outputs


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_round_trip(text: str) -> None:
    system = parse(text)
    written = format_system(system)
    assert key(parse(written)) == key(system), written
    assert format_system(parse(written)) == written


def test_only_the_ranges_that_no_use_gives_are_stated() -> None:
    assert "index" not in format_system(parse(TEXTS["convolution"]))
    stated = format_system(parse(TEXTS["equal names of different lengths"]))
    assert [line for line in stated.splitlines() if line.startswith("index")] == ["index     i < 5", "index     j < 7"]


@pytest.mark.parametrize("sigma", names("activation"))
@pytest.mark.parametrize("cost", names("cost"))
def test_networks_round_trip(sigma: str, cost: str) -> None:
    system = network([3, 4, 2], sigma=sigma, cost=cost)
    written = format_system(system)
    assert key(parse(written)) == key(system), written


def test_indices_with_one_name_get_two() -> None:
    text = "data x[n]\nparameter w[n, n]\na[i] = sum[j](w[i, j]*x[j])\noutput a\n"
    system = parse(text)
    (equation,) = system.equations
    (outer,) = equation.ranges
    inner = Dummy(outer.symbol.name, integer=True)
    product = Access("w", outer.symbol, inner) * Access("x", inner)
    value = Reduction("sum", product, [Range(inner, outer.lower, outer.upper)])
    clash = system.with_equations([Equation("a", equation.indices, equation.ranges, value)])
    assert key(parse(format_system(clash))) == key(system)


UNSPEAKABLE = [sp.Function("f")(sp.Symbol("x")), Call("sigma", (1,), sp.Symbol("z", real=True)), sp.I]


@pytest.mark.parametrize("expression", UNSPEAKABLE)
def test_what_the_language_cannot_say_is_refused(expression: Expr) -> None:
    with pytest.raises(FormulaError, match="no form in the formula language"):
        format_expression(expression)
