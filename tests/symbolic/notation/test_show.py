"""Expressions, terms and equations as a person would write them; parentheses never lie."""

from __future__ import annotations

import ast
import cmath
import operator
import re
from random import Random

import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Expr, Integer, Rational
from tree_values import FUNCTIONS, sympy_value, tree_value

from chainrule.symbolic.document import parse_formula
from chainrule.symbolic.expressions import (
    Access,
    Call,
    Delta,
    Maximum,
    Partial,
    Range,
    Reduction,
    Where,
    index,
    size,
)
from chainrule.symbolic.notation.latex import latex
from chainrule.symbolic.notation.show import Notation
from chainrule.symbolic.notation.text import text
from chainrule.symbolic.notation.tree import Indexed, Number, Symbol
from chainrule.symbolic.system import Equation, FunctionDefinition, Role, System, Tensor
from chainrule.symbolic.terms import Rule, Step, Term

M, N = size("m"), size("n")
J, K, P = index("j"), index("k"), index("p")
ZERO = Integer(0)

TENSORS = (
    Tensor("x", (M,), Role.DATA, per_sample=True),
    Tensor("y", (N,), Role.DATA, per_sample=True),
    Tensor("w", (N, M), Role.PARAMETER),
    Tensor("b2", (N,), Role.PARAMETER),
    Tensor("a", (N,), Role.DEFINED, per_sample=True),
    Tensor("cost", (), Role.DEFINED, per_sample=True),
    Tensor("da", (N,), Role.DEFINED, per_sample=True, adjoint_of="a"),
)


def system() -> System:
    equations = (
        Equation("a", (J,), (Range(J, ZERO, N - 1),), Access("b2", J)),
        Equation("cost", (), (), Reduction("sum", Access("a", P), [Range(P, ZERO, N - 1)])),
    )
    return System(TENSORS, equations)


NOTATION = Notation.of(system())
x, y, a, w = Access("x", K), Access("y", J), Access("a", J), Access("w", J, K)
z = sp.Symbol("z", real=True)


def total(body: Expr, symbol: sp.Dummy, extent: Expr) -> Reduction:
    return Reduction("sum", body, [Range(symbol, ZERO, extent - 1)])


@pytest.mark.parametrize(
    ("expression", "written"),
    [
        (a - y, "a_j - y_j"),
        (y - a, "y_j - a_j"),
        (-a - y, "-a_j - y_j"),
        (1 - a, "1 - a_j"),
        (2 * a - 2 * y, r"2 \cdot (a_j - y_j)"),
        ((a - y) ** 2, "(a_j - y_j)^{2}"),
        (a**2, "(a_j)^{2}"),
        (x * w, r"w_{jk} \cdot x_k"),
        (Access("b2", J) + total(w * x, K, M), r"b_j^{2} + \sum_{k=0}^{m-1} w_{jk} \cdot x_k"),
        (total(a, J, N) / N, r"\frac{1}{n} \cdot \sum_{j=0}^{n-1} a_j"),
        (total(w * total(w, K, M), J, N), r"\sum_{j=0}^{n-1} w_{jk} \cdot \sum_{l=0}^{m-1} w_{jl}"),
        (a / 2, r"\frac{1}{2} \cdot a_j"),
        (-3 * a / (2 * N), r"-\frac{3 \cdot a_j}{2 \cdot n}"),
        (x / sp.sqrt(M), r"\frac{x_k}{\sqrt{m}}"),
        (1 / (1 + sp.exp(-a)), r"\frac{1}{1 + \exp(-a_j)}"),
        (sp.exp(a) / total(sp.exp(Access("a", P)), P, N), r"\frac{\exp(a_j)}{\sum_{p=0}^{n-1} \exp(a_p)}"),
        (sp.Float("0.044715") * a, r"0.044715 \cdot a_j"),
        (sp.Float("1e-07") * a, r"1 \cdot 10^{-7} \cdot a_j"),
        (sp.pi * a, r"\pi \cdot a_j"),
        (sp.Abs(a), r"\left|a_j\right|"),
        (sp.sqrt(a), r"\sqrt{a_j}"),
        (a ** Rational(3, 2), r"(a_j)^{\frac{3}{2}}"),
        (Access("x", K + 1), "x_{k+1}"),
        (Access("x", 2 * K + J), "x_{j+2k}"),
        (Access("w", J, K - 1), "w_{j,k-1}"),
        (Access("w", Integer(0), K), "w_{0,k}"),
        (Access("lam"), r"\mathit{lam}"),
        (Access("hidden_state", K), r"\mathit{hidden\_state}_k"),
        (Access("eta", K), r"\eta_k"),
        (Maximum(a, y), r"\max(a_j, y_j)"),
        (Access("da", J), r"\frac{\partial cost_s}{\partial a_j}"),
        (Access("da", J) * w, r"\frac{\partial cost_s}{\partial a_j} \cdot w_{jk}"),
        (Call("sigma", (0,), a), r"\sigma(a_j)"),
        (Call("sigma", (1,), a), r"\frac{\partial \sigma(a_j)}{\partial a_j}"),
        (Call("sigma", (1,), -a), r"\sigma'(-a_j)"),
        (Call("sigma", (2,), a), r"\sigma''(a_j)"),
        (Call("loss", (1, 0), a, y), r"\frac{\partial \mathrm{loss}(a_j, y_j)}{\partial a_j}"),
        (Call("loss", (1, 0), a, a), r"\mathrm{loss}^{(1,0)}(a_j, a_j)"),
        (Call("loss", (1, 1), a, y), r"\mathrm{loss}^{(1,1)}(a_j, y_j)"),
        (Delta(J, K), r"\delta_{jk}"),
        (Delta(J, K + 1), r"\delta_{j,k+1}"),
        (Partial(a + y, Access("a", P)), r"\frac{\partial (a_j + y_j)}{\partial a_p}"),
        (Where(a > 0, a, -a), r"\begin{cases} a_j & \text{if } a_j > 0 \\ -a_j & \text{otherwise} \end{cases}"),
        (Reduction("max", x, [Range(K, ZERO, M - 1)]), r"\max_{k=0}^{m-1} x_k"),
        (
            Reduction("sum", x, [Range(K, ZERO, M - 1)], [J - K]),
            r"\sum_{\substack{k=0 \\ k \le j}}^{m-1} x_k",
        ),
        (Reduction("sum", x, [Range(K, ZERO, sp.Min(J, M - 1))]), r"\sum_{k=0}^{\min(j, m-1)} x_k"),
    ],
    ids=str,
)
def test_written(expression: Expr, written: str) -> None:
    assert latex(NOTATION.formula(expression)) == written


def test_a_term_keeps_its_order_and_plain_numbers_stand_before_the_sum() -> None:
    term = Term((y, Rational(1, 2), w, Integer(1)), (Range(K, ZERO, M - 1),), (Delta(J, P),))
    assert latex(NOTATION.formula((term,))) == r"\frac{1}{2} \cdot \sum_{k=0}^{m-1} y_j \cdot w_{jk} \cdot \delta_{jp}"


def test_signs_of_factors_go_to_the_front() -> None:
    assert text(NOTATION.formula((Term((y, Integer(-1), -w)), Term((-a,))))) == "y_j · w_jk - a_j"


def test_no_terms_are_zero() -> None:
    assert latex(NOTATION.chain(Partial(y, a), ())) == r"\frac{\partial y_j}{\partial a_j} = 0"


def test_bound_and_free_indices_of_one_name_get_different_letters() -> None:
    other = index("k")
    inner = total(Access("x", other), other, M)
    assert text(NOTATION.formula(x * inner)) == "x_k · Σ_{l=0}^{m-1} x_l"
    third = index("k")
    deep = total(Access("x", other) * total(Access("w", third, other), third, N), other, M)
    assert text(NOTATION.formula(deep)) == "Σ_{k=0}^{m-1} x_k · Σ_{l=0}^{n-1} w_lk"


def test_sums_beside_each_other_share_a_letter() -> None:
    other = index("k")
    both = total(Access("x", K), K, M) * total(Access("x", other), other, M)
    assert text(NOTATION.formula(both)) == "(Σ_{k=0}^{m-1} x_k) · Σ_{k=0}^{m-1} x_k"


def test_primes_when_letters_run_out() -> None:
    symbols = [index("k") for _ in range(12)]
    written = text(NOTATION.formula(sp.Add(*(Access("x", s) for s in symbols))))
    letters = re.findall(r"x_(\w′*)", written)
    assert len(set(letters)) == 12
    assert "k′" in letters


def test_a_taken_letter_is_not_chosen() -> None:
    taken = Notation(taken=frozenset({"l", "p"}))
    assert text(taken.formula(x * total(Access("x", P), index("k"), M).xreplace({P: index("k")}))).count("l") == 0


def test_equation_function_and_step() -> None:
    assert text(NOTATION.equation(system().equations[1])) == "cost_s = Σ_{p=0}^{n-1} a_p"
    defined = NOTATION.function(FunctionDefinition("sigma", (z,), z / (1 + sp.Abs(z))))
    assert defined is not None
    assert text(defined) == "σ(z) = z/(1 + |z|)"
    assert NOTATION.function(FunctionDefinition("sigma", (z,), None)) is None
    step = Step("da.1", Rule.CHAIN, Partial(Access("cost"), a), (), (Term((Integer(1),)),))
    assert text(NOTATION.step(step)) == "∂cost_s/∂a_j = 1"


def test_a_cotangent_without_cost_stands_under_a_bar() -> None:
    tensors = tuple(t for t in TENSORS if t.name != "cost")
    notation = Notation.of(System(tensors, (system().equations[0],), outputs=("a",)))
    assert latex(notation.formula(Access("da", J))) == r"\bar{a}_j"
    assert latex(notation.formula(Partial(Access("cost"), w))) == r"\bar{w}_{jk}"


def test_names_and_elements_can_be_chosen() -> None:
    shown = {"x": Indexed(Symbol("a"), (), Symbol("L")), "m": Indexed(Symbol("n"), (Number("1"),))}
    notation = Notation.of(system(), shown, {Access("w", J, K): Symbol("A")})
    assert latex(notation.formula(total(x, K, M))) == r"\sum_{k=0}^{n_{1}-1} a_k^L"
    assert latex(notation.formula(w)) == "A"


def random_expression(random: Random, depth: int, scope: tuple[sp.Dummy, ...]) -> Expr:
    """An expression over x (one subscript), w (two), sizes and numbers, with sums of fresh indices."""
    if depth == 0 or random.random() < 0.1:
        element = Access("x", random.choice(scope)) if random.random() < 0.5 else Access("w3", scope[0], scope[-1])
        number = Rational(random.randint(-4, 4), random.randint(1, 3))
        return random.choice([element, element, element, number, N + 1, Integer(random.randint(-3, 3))])

    def inner(*more: sp.Dummy) -> Expr:
        return random_expression(random, depth - 1, (*scope, *more))

    kind = random.randrange(8)
    if kind == 0:
        fresh = index(random.choice("jk"))
        return Reduction("sum", inner(fresh), [Range(fresh, Integer(random.randint(0, 1)), random.choice([N - 1, N]))])
    if kind == 1:
        return inner() / (3 + inner() ** 2)
    if kind == 2:
        return (inner() + N) ** random.choice([2, 3, -1])
    if kind == 3:
        return sp.sqrt(2 + inner() ** 2)
    if kind == 4:
        return random.choice([sp.exp, sp.sin, sp.tanh])(inner())
    if kind == 5:
        return -inner()
    result = inner() + inner() - inner() if kind == 6 else inner() * inner() * inner()
    return Integer(1) if result.has(sp.zoo, sp.nan, sp.I) else result


def element_value(name: str, subscripts: tuple[int, ...]) -> complex:
    seed = sum((i + 2) * 7**m for m, i in enumerate(subscripts)) + len(name)
    return complex(((seed * 37) % 19 - 9) / 10 or 0.35)


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_what_is_shown_has_the_value_of_the_expression(seed: int, depth: int) -> None:
    """SymPy → tree → LaTeX → parser → number: order, letters and parentheses change no value."""
    free = index("j")
    expression = random_expression(Random(seed), depth, (free,))
    source = latex(NOTATION.formula(expression))
    try:
        expected = sympy_value(expression, {free: 1, N: 2, M: 3}, element_value)
    except (OverflowError, ZeroDivisionError, TypeError):
        return  # the random formula itself has no value there
    found = tree_value(parse_formula(source), {"j": 1, "n": 2, "m": 3, "e": cmath.e}, element_value)
    assert abs(found - expected) <= 1e-9 * max(1, abs(expected)), (source, str(expression))


OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}


def line_value(node: ast.expr) -> complex:
    """The value of a formula in Python's notation, in which x and w stand for elements."""
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](line_value(node.left), line_value(node.right))
    if isinstance(node, ast.UnaryOp):
        return OPERATORS[type(node.op)](line_value(node.operand))
    if isinstance(node, ast.Call):
        assert isinstance(node.func, ast.Name)
        functions = {**FUNCTIONS, "root": cmath.sqrt}
        return functions[node.func.id](line_value(node.args[0]))
    if isinstance(node, ast.Name):
        return NAMED[node.id] if node.id in NAMED else element_value(node.id, (1,) if node.id == "x" else (1, 1))
    assert isinstance(node, ast.Constant)
    return complex(node.value)


LOWERED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
NAMED = {"n": 2 + 0j, "e": cmath.e + 0j}


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_a_terminal_line_reads_with_the_usual_precedence(seed: int, depth: int) -> None:
    """The one-line text, read as Python reads its operators, has the value of the expression (Σ aside)."""
    free = index("j")
    expression = random_expression(Random(seed), depth, (free,))
    line = text(NOTATION.formula(expression))
    if "Σ" in line:
        return
    python = re.sub("⁻?[⁰¹²³⁴-⁹]+", lambda m: "**" + m.group().translate(LOWERED), line.replace("w_jj⁽³⁾", "w3"))
    python = re.sub(r"√(\w+)", r"√(\1)", python.replace("x_j", "x").replace("·", "*").replace("^", "**"))
    python = python.replace("√", "root")
    try:
        expected = sympy_value(expression, {free: 1, N: 2}, element_value)
    except (OverflowError, ZeroDivisionError, TypeError):
        return
    found = line_value(ast.parse(python, mode="eval").body)
    assert abs(found - expected) <= 1e-9 * max(1, abs(expected)), (line, python)
