"""The formula language: what each construct means, and where each error points."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
from interpreter import Interpreter
from sympy import Integer, Rational

from chainrule.symbolic import catalogue, derive
from chainrule.symbolic.errors import FormulaError
from chainrule.symbolic.expressions import Access, Call, Maximum, Range, Reduction, Where, alpha_key, index, size
from chainrule.symbolic.language import (
    functions,
    parse,
    parse_file,
    parse_function,
    parse_size,
    recurrences,
    source,
    statements,
)
from chainrule.symbolic.language.formula import MATHEMATICS
from chainrule.symbolic.models import builtin, builtin_names
from chainrule.symbolic.names import REDUCTIONS, STATEMENT_WORDS
from chainrule.symbolic.simplify import simplified
from chainrule.symbolic.stable import stable
from chainrule.symbolic.system import FunctionDefinition, Role, System

DENSE = """\
data      x[m], y[n]
parameter w[n, m], b[n]

sigma(z)   = 1 / (1 + exp(-z))
loss(a, y) = (a - y)**2

z[j] = b[j] + sum[k](w[j, k] * x[k])
a[j] = sigma(z[j])
cost = sum[j](loss(a[j], y[j]))
"""


def over(name: str, extent: sp.Expr | int, lower: int = 0) -> Range:
    return Range(index(name), Integer(lower), sp.sympify(extent) - 1)


def value(system: System, name: str) -> sp.Expr:
    """The right side of the one equation for `name`, bound to fixed names for its left side's indices."""
    (equation,) = system.defining(name)
    names = {s: sp.Symbol(s.name, integer=True) for s in equation.indices if not s.is_Integer}
    return alpha_key(equation.value.xreplace(names))


def shape(system: System, name: str) -> tuple[str, ...]:
    return tuple(str(d) for d in system.tensor(name).shape)


def ranges(system: System, name: str) -> dict[str, tuple[str, str]]:
    """Bounds of every index of the last equation for `name`, bound ones included."""
    equation = system.defining(name)[-1]
    found = [
        *equation.ranges,
        *(r for n in sp.preorder_traversal(equation.value) if isinstance(n, Reduction) for r in n.ranges),
    ]
    return {r.symbol.name: (str(r.lower), str(r.upper)) for r in found}


def fault(text: str, **options: object) -> FormulaError:
    with pytest.raises(FormulaError) as caught:
        parse(text, **options)  # type: ignore[arg-type]
    return caught.value


INDEX_I, INDEX_J = (sp.Symbol(s, integer=True) for s in "ij")


class TestMeaning:
    def test_the_dense_layer(self) -> None:
        system = parse(DENSE, name="dense")
        m, n = size("m"), size("n")
        assert system.name == "dense"
        assert [(t.name, t.shape, t.role, t.per_sample) for t in system.tensors] == [
            ("x", (m,), Role.DATA, True),
            ("y", (n,), Role.DATA, True),
            ("w", (n, m), Role.PARAMETER, False),
            ("b", (n,), Role.PARAMETER, False),
            ("z", (n,), Role.DEFINED, True),
            ("a", (n,), Role.DEFINED, True),
            ("cost", (), Role.DEFINED, True),
        ]
        k, j = over("k", m), over("j", n)
        assert value(system, "z") == alpha_key(
            Access("b", INDEX_J) + Reduction("sum", Access("w", INDEX_J, k.symbol) * Access("x", k.symbol), [k])
        )
        assert value(system, "a") == Call("sigma", (0,), Access("z", INDEX_J))
        loss = Call("loss", (0, 0), Access("a", j.symbol), Access("y", j.symbol))
        assert value(system, "cost") == alpha_key(Reduction("sum", loss, [j]))
        assert system.outputs == ("a",)
        assert system.sizes == (m, n)
        assert [(f.name, f.origin) for f in system.functions] == [("sigma", "user"), ("loss", "user")]
        z = system.function("sigma").parameters[0]
        assert z.is_real
        assert system.function("sigma").body == 1 / (1 + sp.exp(-z))

    def test_every_binder_is_its_own(self) -> None:
        system = parse("data x[m]\na[i] = x[i] + sum[k](x[k]) + sum[k](x[k]**2)\nb[i] = a[i]")
        symbols = [r.symbol for e in system for r in e.ranges]
        symbols += [
            s
            for e in system
            for n in sp.preorder_traversal(e.value)
            if isinstance(n, Reduction)
            for s in n.bound_symbols
        ]
        assert len(set(symbols)) == len(symbols) == 4

    def test_the_same_text_gives_the_same_system(self) -> None:
        one, two = parse(DENSE), parse(DENSE)
        assert [str(e.value) for e in one] == [str(e.value) for e in two]
        assert one.tensors == two.tensors

    def test_equations_in_any_order(self) -> None:
        lines = DENSE.splitlines()
        mixed = parse("\n".join(reversed(lines)))
        assert [e.name for e in mixed] == ["z", "a", "cost"]
        assert {t.name: t.shape for t in mixed.tensors} == {t.name: t.shape for t in parse(DENSE).tensors}

    def test_numbers_are_exact(self) -> None:
        assert value(parse("data x\na = 0.1*x + 1e-3 + .5 + 2."), "a") == Access("x") / 10 + Rational(2501, 1000)

    def test_open_brackets_carry_a_formula_over_lines(self) -> None:
        system = parse("data x[m]\na = sum[k](   # all of it\n    x[k]\n    * 2\n)\n")
        k = over("k", size("m"))
        assert value(system, "a") == alpha_key(Reduction("sum", 2 * Access("x", k.symbol), [k]))

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_line_ends(self, end: str) -> None:
        assert len(parse(DENSE.replace("\n", end)).equations) == 3

    def test_catalogue_functions_become_calls(self) -> None:
        system = parse("data x[m]\na[i] = gelu(x[i]) + tanh(x[i])")
        assert value(system, "a") == Call("gelu", (0,), Access("x", INDEX_I)) + sp.tanh(Access("x", INDEX_I))
        assert [(f.name, f.origin) for f in system.functions] == [("gelu", "catalogue")]

    def test_the_users_own_function_comes_before_the_catalogue(self) -> None:
        system = parse("relu(z) = max(z, 0) - 1\ndata x[m]\na[i] = relu(x[i])")
        (z,) = system.function("relu").parameters
        assert system.function("relu").body == Maximum(z, 0) - 1

    def test_functions_of_functions_stand_after_those_they_call(self) -> None:
        system = parse("data x\nf(u) = g(u, 2) + silu(u)\ng(u, v) = u*v\nh(u) = u\na = f(x)")
        assert [f.name for f in system.functions] == ["g", "silu", "f"]
        assert system.expanded(Call("f", (0,), Access("x"))) == 2 * Access("x") + Access("x") / (
            1 + sp.exp(-Access("x"))
        )

    def test_functions_of_constants_are_worked_out(self) -> None:
        assert value(parse("data x\nf(u) = u**2 + 1\na = x + f(f(2))"), "a") == Access("x") + 26

    def test_undefined_functions_come_from_python(self) -> None:
        z = sp.Symbol("z", real=True)
        given = FunctionDefinition("sigma", (z,), None, "undefined")
        system = parse("data x[m]\na[i] = sigma(x[i])", functions=[given])
        assert value(system, "a") == Call("sigma", (0,), Access("x", INDEX_I))
        assert system.functions == (given,)

    def test_conditions(self) -> None:
        system = parse("data x, y\na = where(0 < x <= 1 and not y == 2 or x > 5, max(x, y), min(x, 1))")
        x, y = Access("x"), Access("y")
        condition = sp.Or(sp.And(sp.Lt(0, x), x <= 1, sp.Ne(y, 2)), x > 5)
        found = value(system, "a")
        assert isinstance(found, Where)
        assert found.condition == condition
        assert found.then == Maximum(x, y)

    def test_reductions(self) -> None:
        system = parse(
            "data x[m]\na = mean[k](x[k])\nb = logsumexp[k](x[k])\nc = prod[k](x[k]) + max[k](x[k]) - min[k](x[k])"
        )
        m, k = size("m"), over("k", size("m"))
        x = Access("x", k.symbol)

        def reduced(kind: str, body: sp.Expr) -> sp.Expr:
            return Reduction(kind, body, [k])

        assert value(system, "a") == alpha_key(reduced("sum", x) / m)
        assert value(system, "b") == alpha_key(sp.log(reduced("sum", sp.exp(x))))
        assert value(system, "c") == alpha_key(reduced("prod", x) + reduced("max", x) - reduced("min", x))

    def test_conditional_ranges_become_guards(self) -> None:
        system = parse("data x[m]\na[i] = x[i] + sum[k : k <= i](x[k])\nb = sum[i, j : i < j and j == 2*i](x[i]*x[j])")
        k = over("k", size("m"))
        expected = Reduction("sum", Access("x", k.symbol), [k], [INDEX_I - k.symbol])
        assert value(system, "a") == alpha_key(Access("x", INDEX_I) + expected)
        i, j = over("i", size("m")), over("j", size("m"))
        guards = [j.symbol - i.symbol - 1, j.symbol - 2 * i.symbol, 2 * i.symbol - j.symbol]
        expected = Reduction("sum", Access("x", i.symbol) * Access("x", j.symbol), [i, j], guards)
        assert value(system, "b") == alpha_key(expected)

    def test_the_mean_over_a_conditional_range_counts_what_takes_part(self) -> None:
        system = parse("data x[m]\na[i] = x[i] + mean[k : k <= i](x[k])")
        k, c = over("k", size("m")), over("k", size("m"))
        above = Reduction("sum", Access("x", k.symbol), [k], [INDEX_I - k.symbol])
        below = Reduction("sum", Integer(1), [c], [INDEX_I - c.symbol])
        assert value(system, "a") == Access("x", INDEX_I) + alpha_key(above) / alpha_key(below)

    def test_softmax_runs_over_the_last_index_of_the_left_side(self) -> None:
        system = parse("data s[m, n]\np[i, j] = softmax(s[i, j])\nq[i, j] = softmax[i](s[i, j])")
        k, other = over("k", size("n")), over("k", size("m"))
        s = Access("s", INDEX_I, INDEX_J)
        assert value(system, "p") == sp.exp(s) / alpha_key(
            Reduction("sum", sp.exp(Access("s", INDEX_I, k.symbol)), [k])
        )
        assert value(system, "q") == sp.exp(s) / alpha_key(
            Reduction("sum", sp.exp(Access("s", other.symbol, INDEX_J)), [other])
        )

    def test_softmax_under_a_condition_is_0_elsewhere(self) -> None:
        system = parse("data s[n, n]\np[i, j] = softmax[j : j <= i](s[i, j])")
        k = over("k", size("n"))
        below = Reduction("sum", sp.exp(Access("s", INDEX_I, k.symbol)), [k], [INDEX_I - k.symbol])
        assert value(system, "p") == Where(
            INDEX_I - INDEX_J >= 0, sp.exp(Access("s", INDEX_I, INDEX_J)) / alpha_key(below), 0
        )

    def test_sizes_and_indices_may_stand_in_a_formula(self) -> None:
        system = parse("data x[D]\na[i] = x[i] / sqrt(D) + i")
        assert value(system, "a") == Access("x", INDEX_I) / sp.sqrt(size("D")) + INDEX_I

    def test_abs_keeps_to_real_numbers(self) -> None:
        system = parse("data x\na = abs(x)\nb = abs(log(x))")
        assert value(system, "a") == sp.Abs(Access("x"))
        assert not value(system, "b").has(sp.conjugate, sp.I)

    @pytest.mark.parametrize("text", ["abs(log(w))", "f(w)"])
    def test_the_derivative_of_a_magnitude_is_0_at_0(self, text: str) -> None:
        system = parse(f"f(z) = abs(log(z))\ndata x\nparameter w\ncost = x*{text}")
        value = stable(simplified(derive(system).result))
        for w, expected in ((0.5, -2.0), (1.0, 0.0), (2.0, 0.5)):
            run = Interpreter(value, {}, {"x": np.float64(1), "w": np.float64(w)})
            assert run.element("dw") == pytest.approx(expected)

    def test_the_derivative_of_a_sign_is_0(self) -> None:
        system = parse("f(z) = z*sign(z - 1)\ndata x\nparameter w\ncost = x*f(w)")
        (z,) = system.function("f").parameters
        assert system.function("f").derivative((1,)) == sp.sign(z - 1)
        assert system.function("f").derivative((2,)) == 0

    def test_sizes_are_divided_in_formulas(self) -> None:
        system = parse("data x[m]\na = x[0] / ((m + 1)//2)")
        assert value(system, "a") == Access("x", Integer(0)) / sp.floor((size("m") + 1) / 2)

    def test_what_differs_from_sample_to_sample(self) -> None:
        system = parse("data x\nparameter w, lam\nl2 = lam*w**2\np = w*x\ncost = l2\noutput p, l2")
        assert {t.name: t.per_sample for t in system.tensors if t.role is Role.DEFINED} == {
            "l2": False,
            "p": True,
            "cost": True,
        }

    def test_outputs(self) -> None:
        assert parse("data x\na = x\nb = a\nc = x").outputs == ("b", "c")
        assert parse("data x\na = x\nb = a\ncost = b + a + x").outputs == ("b", "a")
        assert parse("data x\na = x\nb = a\ncost = b\noutput a, b").outputs == ("a", "b")

    def test_a_function_may_be_named_like_nothing_else_but_its_argument_may(self) -> None:
        system = parse("data x\nf(x) = x**2\na = f(x)")
        assert system.expanded(value(system, "a")) == Access("x") ** 2


class TestRanges:
    @pytest.mark.parametrize(
        ("declared", "equation", "expected"),
        [
            ("data x[m]\nparameter h[r]", "y[p] = sum[q](h[q] * x[p + q])", ("m - r + 1",)),
            ("data x[m]\nparameter h[r]", "y[p] = sum[q](h[q] * x[p - q + r - 1])", ("m - r + 1",)),
            ("data x[P + r - 1]\nparameter h[r]", "y[p] = sum[q](h[q] * x[p + q])", ("P",)),
            ("data x[2*P + 3*r - 4]\nparameter h[r]", "y[p] = sum[q](h[q] * x[2*p + 3*q])", ("P",)),
            ("data x[2*P]", "y[p] = max(x[2*p], x[2*p + 1])", ("P",)),
            ("data x[m]", "y[p] = max(x[2*p], x[2*p + 1])", ("floor(m/2)",)),
            ("data x[m]", "y[p] = x[m - 1 - p]", ("m",)),
            ("data x[10]", "y[p] = x[p + 3]", ("7",)),
            ("data x[m + 1]", "index p < m\ny[p] = x[p + 1] - x[p]", ("m",)),
            ("data x[m]", "y[p] = where(0 <= p - 1, x[p - 1], 0) + x[p]", ("m",)),
            ("data x[m]", "index p < m\ny[p] = where(p >= 2, x[p - 2], 0)", ("m",)),
            ("data x[m]\nparameter h[r]", "y[p] = sum[q](h[q] * x[3*p + 2*q])", ("floor(m/3 - 2*r/3 + 1/3) + 1",)),
            ("data x[m]", "index p < m\ny[p] = where(p < 1, 0, x[p - 1])", ("m",)),
            ("data x[m]", "index p <= 9\ny[p] = where(p < m, x[p], 0)", ("10",)),
            ("data x[m]", "index p < m\ny[p] = sum[k : k <= p](x[p - k])", ("m",)),
            ("data x[T, D]", "y[t] = sum[d](x[t, d])", ("T",)),
            (
                "data x[H + R - 1, W + S - 1]\nparameter h[R, S]",
                "y[p, q] = sum[r, s](h[r, s]*x[p + r, q + s])",
                ("H", "W"),
            ),
        ],
    )
    def test_shapes_are_inferred(self, declared: str, equation: str, expected: tuple[str, ...]) -> None:
        assert shape(parse(f"{declared}\n{equation}"), "y") == expected

    def test_a_bound_index_starts_where_its_uses_allow(self) -> None:
        system = parse("data x[m]\na = sum[k](x[k - 1])\nb = sum[k](x[k + 1])")
        assert ranges(system, "a") == {"k": ("1", "m")}
        assert ranges(system, "b") == {"k": ("0", "m - 2")}

    def test_recurrences(self) -> None:
        step_text = "h[t, i] = tanh(sum[k](w[i,k]*x[t - 1,k]) + sum[j](u[i,j]*h[t - 1,j]))"
        declared = "data x[T, D], h0[H]\nparameter w[H, D], u[H, H]"
        system = parse(f"{declared}\n{step_text}\nh[0, i] = h0[i]\noutput h")
        assert shape(system, "h") == ("T + 1", "H")
        base, step = system.defining("h")
        assert base.indices[0] == 0
        assert str(base.ranges[0].upper) == "H - 1"
        assert [(str(r.lower), str(r.upper)) for r in step.ranges] == [("1", "T"), ("0", "H - 1")]
        assert step.indices[0] == step.ranges[0].symbol

    def test_a_base_case_takes_its_ranges_from_the_other_equation(self) -> None:
        system = parse("data x[T, H]\nh[0, i] = 0\nh[t, i] = h[t - 1, i] + x[t, i]\noutput h")
        assert shape(system, "h") == ("T", "H")
        assert ranges(system, "h") == {"t": ("1", "T - 1"), "i": ("0", "H - 1")}

    def test_two_base_cases(self) -> None:
        system = parse("index t < 10\nparameter u\nf[0] = u\nf[1] = u\nf[t] = f[t - 1] + f[t - 2]\noutput f")
        assert shape(system, "f") == ("10",)
        assert ranges(system, "f") == {"t": ("2", "9")}

    def test_sizes(self) -> None:
        m, t = size("m"), size("T")
        assert parse_size("2*T - 1") == 2 * t - 1
        assert parse_size("(m + 1)*T") == m * t + t
        assert parse_size("m//2 + 1") == sp.floor(m / 2) + 1
        assert parse_size("784") == 784


D = "data x[m], y[n]\nparameter w[n, m]\n"

ERRORS = [
    # (text, line, column, part of the message, part of the hint)
    (D + "z[j] = sgmoid(y[j]) + sum[k](w[j,k]*x[k])", 3, 8, "unknown function 'sgmoid'", "'sigmoid'"),
    (D + "z[j] = y[j] + sum[k](v[j,k]*x[k])", 3, 22, "unknown tensor 'v'", "declare it"),
    (D + "z[j] = yy[j] + sum[k](w[j,k]*x[k])", 3, 8, "unknown tensor 'yy'", "'y'"),
    (D + "z[j] = y[j]*lam + sum[k](w[j,k]*x[k])", 3, 13, "unknown name 'lam'", ""),
    (
        D + "z[j] = sum[k](w[k,j]*x[k]) + y[j]",
        3,
        24,
        "shape conflict: k runs over n by w[k,j] (line 3, column 17)",
        "agree",
    ),
    (D + "z[j] = w[j,k]*x[k] + y[j]", 3, 12, "'k' stands on the right side, but not on the left", "sum[k]"),
    (D + "z[j] = y[j] + sum[k](w[j,k]*x[k]) ^ 2", 3, 35, "^ is not the power", "**"),
    (D + "z[j] = y[j] + sum[k](w[j,k]*x[k*k])", 3, 31, "'k*k' is not affine", "2*p + q"),
    (D + "z[j] = y[j] + sum[k](w[j,k]*x[n*k])", 3, 31, "'n*k' is not affine", ""),
    (D + "z[j] = y[j] + sum[k](w[j]*x[k])", 3, 22, "'w' takes 2 subscripts, found 1", "w[i, j]"),
    (D + "z[j] = y[j] + sum[k](w[j,k]*x)", 3, 29, "'x' takes 1 subscript, found 0", "x[i]"),
    (D + "z[j] = huber(y[j]) + sum[k](w[j,k]*x[k])", 3, 8, "huber takes two arguments, found 1", ""),
    (D + "z[j] = max(y[j]) + sum[k](w[j,k]*x[k])", 3, 8, "max takes two arguments, found 1", "max[k]"),
    (D + "z[j] = exp + y[j]", 3, 8, "exp is a function", "exp(…)"),
    (D + "z[j] = y(j)", 3, 8, "'y' is called like a function", "y[…]"),
    (D + "z[j] = sum(y[j])", 3, 8, "sum needs its indices", "sum[k]"),
    (D + "z[j] = total[k](y[j])", 3, 8, "unknown reduction 'total'", "sum"),
    (D + "z[j] = sum[j](y[j])", 3, 12, "the index 'j' already has a meaning", "another name"),
    (D + "z[j] = sum[m](y[j])", 3, 12, "'m' is a size and cannot be an index", "another name"),
    (D + "z[x] = y[x]", 3, 3, "'x' is a tensor and cannot be an index", "another name"),
    (D + "z[j] = y[j] < 3", 3, 8, "expected a number, found the condition", "where(condition, 1, 0)"),
    (D + "z[j] = where(y[j], 1, 0)", 3, 14, "expected a condition", "z > 0"),
    (D + "z[j] = y[j] // 2", 3, 8, "// divides sizes", "/"),
    (D + "z[j] = y[j] / 0", 3, 15, "a division by 0", ""),
    (D + "z[j] = y[j]**65", 3, 14, "a constant exponent above 64", ""),
    (D + "z[j] = log(-1) + y[j]", 3, 8, "'log(-1)' is not a real number", ""),
    (D + "z[j] = y[j] + 12345678901234567890123456789012345678901", 3, 15, "a number of 41 digits", ""),
    (D + "z[j] = y[j] + 2x", 3, 15, "a number followed by 'x'", "2*"),
    (D + "z[j] = y[j] if 1 else 2", 3, 13, "'if' is a Python keyword", "where("),
    (D + "z[j] = 'y'", 3, 8, "unexpected character", "quotes"),
    (D + "z[j] = σ(y[j])", 3, 8, "plain ASCII", "sigma"),
    (D + "z[j] = y[j] +", 3, 14, "the formula ends with an operator", "same line"),
    (D + "z[j] = (y[j] + 1", 3, 8, "'(' is never closed", ""),
    (D + "z[j] = (y[j] + 1]", 3, 17, "']' closes the '(' of line 3, column 8", ""),
    (D + "z[j] = y[j] + 1)", 3, 16, "')' closes nothing", ""),
    (D + "z[j] =", 3, 6, "nothing stands after =", "same line"),
    (D + "= y", 3, 1, "nothing stands before =", ""),
    (D + "z[j] = y[j] = 3", 3, 13, "a second =", "== compares"),
    (D + "z[j] y[j]", 3, 1, "not a statement", "equation"),
    (D + "z[j + 1] = y[j]", 3, 3, "z[j + 1] leaves elements undefined", "z[0] = …"),
    (D + "z[2*j] = y[j]", 3, 3, "expected an index or a number on the left side, found '2*j'", "h[t - 1, i]"),
    (D + "z[j + n] = y[j]", 3, 3, "expected an index or a number on the left side", ""),
    (D + "z[i + j] = y[j]", 3, 3, "expected an index or a number on the left side", ""),
    (D + "z[j, j] = y[j]", 3, 6, "the index 'j' stands twice", "diagonal"),
    (D + "z[j] = y[j]\nz[j] = y[j]", 4, 1, "'z' is defined twice: first in line 3, column 1", "rename"),
    (D + "x[j] = y[j]", 3, 1, "'x' is defined twice: first in line 1", "caller"),
    (D + "data y[m]\nz[j] = y[j]", 3, 6, "'y' is defined twice: first in line 1", "rename"),
    (D + "f(z) = z\nf(z) = 2*z\nz[j] = f(y[j])", 4, 1, "the function 'f' is defined twice: first in line 3", ""),
    (D + "w(z) = z\nz[j] = w(y[j])", 3, 1, "'w' is a tensor and cannot be a function", ""),
    (D + "f(z) = z*y[0]\nz[j] = f(y[j])", 3, 10, "a function sees its arguments alone", "argument"),
    (D + "f(z) = z*q\nz[j] = f(y[j])", 3, 10, "unknown name 'q'", "z"),
    (D + "f(z) = g(z)\ng(z) = f(z)\nz[j] = f(y[j])", 3, 1, "in a cycle: f -> g -> f", ""),
    (D + "p[j] = q[j]\nq[j] = r[j] + y[j]\nr[j] = p[j]", 3, 1, "a cycle of equations: p -> q -> r -> p", "recurrence"),
    (D + "z[j] = y[j] y[j]", 3, 13, "cannot read this", "formula"),
    (D + "p[j] = p[j] + y[j]", 3, 1, "a cycle of equations: p -> p", "base case"),
    (D + "cost[j] = y[j]", 3, 1, "the cost is one number", "sum[j]"),
    (D + "data int[m]\nz[j] = y[j]", 3, 6, "'int' is a C keyword", "another name"),
    (D + "data lambda[m]\nz[j] = y[j]", 3, 6, "'lambda' is a Python keyword", "another name"),
    (D + "data class[m]\nz[j] = y[j]", 3, 6, "'class' is a Python keyword", ""),
    (D + "data template[m]\nz[j] = y[j]", 3, 6, "'template' is a C++ keyword", ""),
    (D + "data batch[m]\nz[j] = y[j]", 3, 6, "generated code needs", ""),
    (D + "data exp[m]\nz[j] = y[j]", 3, 6, "a word of the formula language", ""),
    (D + "while[j] = y[j]", 3, 1, "'while' is a Python keyword", ""),
    (D + "goto[j] = y[j]", 3, 1, "'goto' is a C keyword", ""),
    (D + "z[j] = y[j] + sum[do](x[do])", 3, 19, "'do' is a C keyword", ""),
    (D + "data v[0]\nz[j] = y[j]", 3, 8, "a size is at least 1, found 0", ""),
    (D + "data v[m/2]\nz[j] = y[j]", 3, 8, "expected a size", "2*T - 1"),
    (D + "data v[x]\nz[j] = v[j]", 3, 6, "'x' is a tensor and cannot be a size", ""),
    (D + "parameter v = 3\nz[j] = v*y[j]", 3, 13, "gives a shape, not a value", ""),
    ("data x[2*T - 1], y[m*n]\nz[j] = x[j] + y[0]", 1, 18, "gives away the size 'm'", "[m]"),
    ("data x[T//2]\nz[j] = x[j]", 1, 6, "no array's shape gives away the size 'T'", "[T]"),
    ("data x[T]\nparameter w[m*n]\nz[j] = x[j] + w[0]", 2, 11, "gives away the size 'm'", "[m]"),
    (D + "z[j] = y[j]\noutput q", 4, 8, "the output 'q' is not defined", ""),
    (D + "z[j] = y[j]\noutput x", 4, 8, "the output 'x' is given by the caller", ""),
    (D + "z[j] = y[j]\noutput z[j]", 4, 8, "an output is named without its indices", "output z"),
    (D + "z[j] = y[j]\nindex j < N", 4, 11, "undeclared size 'N'", "shape of data"),
    (D + "z[j] = y[j]\nindex q < n", 4, 7, "no equation uses the index 'q'", ""),
    (D + "z[j] = y[j]\nindex j > n", 4, 7, "expected the range of an index", "index p < 10"),
    (D + "index j < 10\nz[j] = y[j]", 4, 10, "shape conflict: j runs over 10 by index j < 10 (line 3, column 7)", ""),
    (D + "z[j] = 3", 3, 3, "nothing gives the range of the index 'j'", "index j < n"),
    (D + "z[j] = y[j] + sum[p, q](x[p + q])", 3, 19, "nothing gives the range of the index 'p'", "index p < n"),
    (D + "z[j] = y[j] + y[j + 1]", 3, 17, "y[j + 1] may leave its tensor: axis 1 of y has n elements", "guard it"),
    (D + "z[j] = x[j - 1]", 3, 10, "'j' would have to start at 1", "where(j >= 1"),
    (D + "z[j] = y[j] + x[1]", 3, 17, "x[1] may leave its tensor", ""),
    (
        D + "index k < n\nz = sum[k](y[k - 1])",
        4,
        14,
        "y[k - 1] may leave its tensor: axis 1 of y has n elements, k runs",
        "",
    ),
    (D + "index j < n\nz[j] = where(j >= 1, softmax[j](y[j - 1]), 0)", 4, 35, "y[j - 1] may leave its tensor", ""),
    (D + "z = softmax(x[0])", 3, 5, "softmax finds no index of the left side", "softmax[k]"),
    (D + "h[t] = h[t - 1] + x[t]", 3, 1, "a cycle of equations: h -> h", "base case"),
    (D + "h[0] = 0\nh[t] = h[t] + x[t]", 4, 10, "h[t] is read before it is defined", "h[t - 1]"),
    (D + "h[1] = 0\nh[t] = h[t - 1] + x[t]", 3, 1, "expected the base case 0 of 'h', found 1", ""),
    (D + "h[0] = 0\nh[0] = 1\nh[t] = h[t - 1] + x[t]", 4, 1, "'h' is defined twice: first in line 3", ""),
    (D + "h[0] = 0", 3, 1, "'h' has base cases alone", ""),
    (D + "h[0] = 0\nh[t, i] = x[t]*y[i]", 4, 1, "'h' has 1 subscripts in line 3, 2 here", ""),
    ("data x[m]\nparameter lam\nz[j] = x[j]", 2, 11, "no equation uses 'lam'", "remove"),
    ("data x[m]\nz[j] = x[j]\nq = x[0]\ncost = sum[j](x[j])\noutput q", 2, 1, "nothing uses 'z'", "output z"),
    ("# nothing", 1, 1, "no equation", "at least one equation"),
]


@pytest.mark.parametrize(("text", "line", "column", "message", "hint"), ERRORS, ids=[e[3][:40] for e in ERRORS])
def test_errors_point_at_the_fault(text: str, line: int, column: int, message: str, hint: str) -> None:
    caught = fault(text, file="model.eq")
    place = caught.position
    assert place is not None
    assert message in caught.message
    assert hint in caught.hint
    assert (place.file, place.line, place.column) == ("model.eq", line, column)
    assert place.text == text.splitlines()[line - 1]
    assert str(caught).splitlines()[0].startswith(f"model.eq:{line}:{column}: ")
    assert str(caught).splitlines()[2].index("^") - 4 == len(place.text[: column - 1])


def test_an_error_on_a_later_line_of_a_statement_points_there() -> None:
    caught = fault("data x[m]\na[i] = (x[i]\n    + frob(x[i]))")
    assert caught.position is not None
    assert (caught.position.line, caught.position.column) == (3, 7)


class TestFiles:
    def test_a_file_names_its_model(self, tmp_path: Path) -> None:
        path = tmp_path / "My Model-2.eq"
        path.write_text(DENSE, encoding="utf-8")
        assert parse_file(path).name == "my_model_2"
        assert parse_file(str(path)).equations[0].position.file == str(path)

    @pytest.mark.parametrize(
        ("stem", "name"), [("2layer", "model_2layer"), ("for", "for_model"), ("___", "model"), ("x" * 80, "x" * 40)]
    )
    def test_names_are_made_identifiers(self, tmp_path: Path, stem: str, name: str) -> None:
        path = tmp_path / f"{stem}.eq"
        path.write_text(DENSE, encoding="utf-8")
        assert parse_file(path).name == name

    def test_files_that_are_no_text(self, tmp_path: Path) -> None:
        with pytest.raises(FormulaError, match="cannot read"):
            parse_file(tmp_path / "missing.eq")
        with pytest.raises(FormulaError, match="cannot read"):
            parse_file(tmp_path)
        (tmp_path / "binary.eq").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(FormulaError, match="not UTF-8"):
            parse_file(tmp_path / "binary.eq")
        (tmp_path / "large.eq").write_bytes(b"#" * 1_000_000)
        with pytest.raises(FormulaError, match="at most"):
            parse_file(tmp_path / "large.eq")


class TestBuiltin:
    def test_documented(self) -> None:
        system = builtin("documented")
        assert system.name == "documented"
        assert [t.name for t in system.inputs] == ["x", "y", "w", "b"]
        assert [e.name for e in system] == ["z", "a", "cost"]
        assert [f.name for f in system.functions] == ["sigmoid", "squared_error"]

    def test_every_builtin_model_parses(self) -> None:
        assert "documented" in builtin_names()
        for name in builtin_names():
            assert builtin(name).name == name

    def test_unknown(self) -> None:
        with pytest.raises(FormulaError, match="did you mean 'documented'"):
            builtin("documentd")


def test_parse_function_gives_its_helpers_first() -> None:
    first, last = parse_function("z * sigmoid(z)", "swish", ("z",))
    assert (first.name, last.name) == ("sigmoid", "swish")
    (z,) = last.parameters
    assert last.body == z * Call("sigmoid", (0,), z)


def examples(project: Path, fence: str) -> list[str]:
    text = (project / "docs" / "language.md").read_text(encoding="utf-8")
    return [block.partition("```")[0] for block in text.split(f"```{fence}\n")[1:]]


class TestDocumentation:
    def test_every_example_is_a_model(self, project: Path) -> None:
        models = examples(project, "eq")
        assert len(models) >= 10
        for text in models:
            assert parse(text, file="docs/language.md").equations

    def test_every_example_derives(self, project: Path) -> None:
        for text in examples(project, "eq"):
            system = parse(text)
            assert derive(system, explain=False).result.outputs

    def test_the_sympy_example_is_a_dense_layer(self, project: Path, tmp_path: Path) -> None:
        (code,) = examples(project, "python")
        (tmp_path / "example.py").write_text(code, encoding="utf-8")
        system = runpy.run_path(str(tmp_path / "example.py"))["system"]
        assert [e.name for e in system] == ["z", "cost"]
        assert system.outputs == ("z",)
        assert system.function("sigma").origin == "user"

    def test_the_grammar_has_every_word(self, project: Path) -> None:
        (grammar,) = examples(project, "ebnf")
        for word in (*STATEMENT_WORDS, *REDUCTIONS, "where", "softmax", "pi", "and", "or", "not", "//", "**"):
            assert f'"{word}"' in grammar, word

    def test_the_comments_on_ranges_are_right(self, project: Path) -> None:
        valid, strided = (parse(t) for t in examples(project, "eq") if t.rstrip().endswith(("r + 1", "p < P")))
        assert shape(valid, "y") == ("m - r + 1",)
        assert shape(strided, "y") == ("P",)

    def test_the_error_shown_is_the_error_raised(self, project: Path) -> None:
        (shown,) = examples(project, "text")
        text = "# one layer\ndata x[m]\nparameter w[n, m]\nz[j] = sum[k](w[k, j] * x[k])"
        assert str(fault(text, file="dense.eq")).strip() == shown.strip()

    def test_the_limits_stated_are_the_limits(self, project: Path) -> None:
        section = (project / "docs" / "language.md").read_text(encoding="utf-8").partition("## Limits")[2]
        limits = (source.MAX_TEXT, source.MAX_STATEMENT, source.MAX_BRACKETS, source.MAX_NODES, source.MAX_DIGITS)
        limits = (*limits, functions.MAX_EXPANDED, functions.MAX_DEPTH, statements.MAX_RANK, recurrences.MAX_TOGETHER)
        for limit in limits:
            assert f" {limit:,}" in section.replace("\n", " "), limit

    def test_every_function_named_exists(self, project: Path) -> None:
        text = (project / "docs" / "language.md").read_text(encoding="utf-8")
        for name in (*MATHEMATICS, *catalogue.names()):
            assert name in text, name
