"""Matrix forms: each equals its equation in numbers, as a value and as printed, and the expected ones exist."""

from __future__ import annotations

import re
import secrets
import shutil

import numpy as np
import pytest
from matrix_values import Point, form_value, labels_of, printed_value
from random_systems import random_model
from systems import MODELS, system_of

from chainrule.symbolic import derive, parse
from chainrule.symbolic.documented import documented_markdown
from chainrule.symbolic.matrices import batch_form, matrix_form
from chainrule.symbolic.notation.letters import Letters
from chainrule.symbolic.notation.page import Display
from chainrule.symbolic.notation.text import text
from chainrule.symbolic.report import matrix_notations, page, pdf, result_equations
from chainrule.symbolic.system import Equation, System


def compare(point: Point, equations: tuple[Equation, ...]) -> int:
    """How many forms there are, each held against the interpreter, element by element."""
    count = 0
    for names in matrix_notations(point.system):
        for equation in equations:
            form = (batch_form if names.batch else matrix_form)(equation, point.system)
            if form is None:
                continue
            count += 1
            for labels in labels_of(equation, form.target, point):
                at = tuple(int(point.scalar(label, labels)) for label in form.target.labels)
                wanted = point.entry(form.target, names.batch, at)
                _same(form_value(form.value, point, names.batch, labels), wanted, equation, point.seed)
                letters = Letters(names.notation.taken).bind(labels)
                scope = {letters[s]: i for s, i in labels.items()} | dict(point.sizes)
                scope |= {names.notation.symbols["batch"].name: point.samples} if names.batch else {}
                _, side = names.chain([form]).sides
                _same(printed_value(side, point, names, scope), wanted, equation, point.seed)
    return count


def _same(found: np.ndarray | float, wanted: np.ndarray | float, equation: Equation, seed: int) -> None:
    found = np.broadcast_to(found, np.shape(wanted))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10, err_msg=f"{equation.target}, seed {seed}")


@pytest.mark.parametrize("name", MODELS)
def test_every_form_equals_its_equation(name: str) -> None:
    derivation = derive(system_of(name))
    point = Point(derivation.result, secrets.randbits(32))
    equations = (*derivation.result.equations, *result_equations(derivation))
    count = compare(point, equations)
    print(f"{name}: {count} forms of {len(equations)} equations, seed {point.seed}")


def lines(system: System) -> list[str]:
    """The matrix forms that the page of its derivation shows, as on a terminal."""
    shown = [i for i in page(derive(system)).items if isinstance(i, Display) and i.label]
    return [f"{'batch: ' if i.label == 'over the batch' else ''}{text(i.formula)}" for i in shown]


EXPECTED = {
    "softmax_cross_entropy": [
        "z = W x + b",
        "batch: Z = 𝟏 bᵀ + X Wᵀ",
        "p = exp(z)/(𝟏ᵀ exp(z))",
        "∂cost_s/∂z = δ_p ⊙ p - (δ_pᵀ p) · p = p ⊙ (δ_p - δ_pᵀ p)",
        "∂cost_s/∂W = δ_z xᵀ",
        "batch: ∂cost_avg/∂W = 1/N · δ_Zᵀ X",
        "∂cost_s/∂b = δ_z",
        "batch: ∂cost_avg/∂b = 1/N · δ_Zᵀ 𝟏",
    ],
    "dense_l2_dropout": [
        "batch: Z⁽²⁾ = 𝟏 b⁽²⁾ᵀ + A⁽¹⁾ W⁽²⁾ᵀ",
        "∂cost_s/∂a⁽¹⁾ = W⁽²⁾ᵀ δ_{z⁽²⁾}",
        "batch: δ_{A⁽¹⁾} = δ_{Z⁽²⁾} W⁽²⁾",
        "batch: δ_{Z⁽²⁾} = δ_{A⁽²⁾} ⊙ sigmoid′(Z⁽²⁾) = δ_{A⁽²⁾} ⊙ A⁽²⁾ ⊙ (1 - A⁽²⁾)",
        "batch: ∂cost_avg/∂W⁽²⁾ = 2 · lam · W⁽²⁾ + 1/N · δ_{Z⁽²⁾}ᵀ A⁽¹⁾",
        "∂cost_s/∂lam = ‖W⁽¹⁾‖_F² + ‖W⁽²⁾‖_F²",
    ],
    "low_rank_dense": [
        "z = U Vᵀ x + b",
        "batch: Z = 𝟏 bᵀ + X V Uᵀ",
        "∂cost_s/∂U = δ_z xᵀ V",
        "batch: ∂cost_avg/∂U = 1/N · δ_Zᵀ X V",
        "∂cost_s/∂V = x δ_zᵀ U",
        "batch: ∂cost_avg/∂V = 1/N · Xᵀ δ_Z U",
    ],
    "bilinear": ["z_k = xᵀ W_k u", "∂cost_s/∂W_k = δ_{z_k} · x uᵀ"],
    "attention": [
        "Q = X Wqᵀ",
        "S = 1/√F · Q Kᵀ",
        "P = diag(exp(S) 𝟏)^(-1) exp(S)",
        "O = P V",
        "cost_s = 𝟏ᵀ squared_error(O, T) 𝟏",
        "∂cost_s/∂P = δ_O Vᵀ",
        "∂cost_s/∂S = δ_P ⊙ P - diag((δ_P ⊙ P) 𝟏) P = P ⊙ (δ_P - (δ_P ⊙ P) 𝟏 𝟏ᵀ)",
        "∂cost_s/∂V = Pᵀ δ_O",
        "∂cost_s/∂K = 1/√F · δ_Sᵀ Q",
        "∂cost_s/∂Q = 1/√F · δ_S K",
        "∂cost_s/∂Wq = δ_Qᵀ X",
    ],
    "layer_norm": [
        "μ = 1/D · 𝟏ᵀ x",
        "variance = 1/D · ‖x - μ‖²",
        "batch: H = diag(1/100000 + variance)^(-1/2) (X - μ 𝟏ᵀ)",
        "batch: Y = 𝟏 βᵀ + H diag(g)",
        "batch: ∂cost_avg/∂g = 1/n · (δ_Y ⊙ H)ᵀ 𝟏",
    ],
    "rnn": [
        "h_t = tanh(U h_{t-1} + W x_{t-1} + b)",
        "batch: H_t = tanh(𝟏 bᵀ + H_{t-1} Uᵀ + X_{t-1} Wᵀ)",
        "∂cost_s/∂U = Σ_{t=1}^{T} (δ_{h_t} ⊙ (1 - (h_t)^⊙2)) h_{t-1}ᵀ",
        "batch: ∂cost_avg/∂W = 1/n · Σ_{t=1}^{T} (δ_{H_t} ⊙ (1 - (H_t)^⊙2))ᵀ X_{t-1}",
    ],
    "gru": ["c_t = tanh(Wn x_t + r_t ⊙ (Un h_t + bn))", "∂cost_s/∂Wn = (δ_C ⊙ (1 - C^⊙2))ᵀ X"],
    "logistic_matrix_factorisation": [
        "Z = 𝟏 biᵀ + P Qᵀ + bu 𝟏ᵀ",
        "∂cost_s/∂P = δ_Z Q + lam · P",
        "∂cost_s/∂Q = δ_Zᵀ P + lam · Q",
        "∂cost_s/∂bu = δ_Z 𝟏",
        "∂cost_s/∂bi = δ_Zᵀ 𝟏",
    ],
    "log_sum_exp": [
        "cost_s = log(𝟏ᵀ exp(z)) - yᵀ z",
        "batch: cost_avg = 1/N · 𝟏ᵀ log(exp(Z) 𝟏) - 1/N · tr(Yᵀ Z)",
    ],
    "rbf_network": ["∂cost_s/∂Centre = 2 · diag(δ_φ ⊙ φ ⊙ g^⊙2) (𝟏 xᵀ - Centre)"],
    "factorisation_machine": ["∂cost_s/∂w = δ_yhat · x", "batch: ∂cost_avg/∂w = 1/N · Xᵀ δ_yhat"],
}


@pytest.mark.parametrize(("name", "formula"), [(n, f) for n, formulas in EXPECTED.items() for f in formulas])
def test_expected_forms_are_shown(name: str, formula: str) -> None:
    assert formula in lines(system_of(name))


@pytest.mark.parametrize(
    "source",
    [
        "y[p] = sum[q](h[q] * x[p + q])",  # a shift
        "y[p] = sum[q : q <= p](h[q] * x[p])",  # a guard
        "y[p] = sum[q](h[q] * where(x[p] > 0, x[p], 0))",  # a condition
        "y[p] = max[q](h[q] * x[p])",  # no sum
        "y[p] = sum[i](d[i, i]) * x[p]",  # a diagonal
        "y[p] = sum[i, k](d[p, i] * d[i, k] * z[i] * t[i, k, p])",  # three axes of one tensor
        "y[p] = p * x[p]",  # an index as a number
        "y[p] = x[p]**z[p]",
        "y[p] = d[p, 1]",  # a column: d_1 would read as a row
    ],
)
def test_no_form_where_there_is_none(source: str) -> None:
    shapes = {"x": "6", "z": "6", "h": "3", "d": "6, 6", "t": "6, 6, 6"}
    used = ", ".join(f"{name}[{shape}]" for name, shape in shapes.items() if re.search(rf"\b{name}\[", source))
    system = parse(f"data {used}\nindex p < {3 if 'x[p + q]' in source else 6}\n{source}\noutput y")
    assert matrix_form(system.equations[0], system) is None, matrix_form(system.equations[0], system)
    assert batch_form(system.equations[0], system) is None, batch_form(system.equations[0], system)


def test_without_a_cost_adjoints_are_barred_and_summed_over_the_batch() -> None:
    shown = lines(parse("data x[n]\nparameter w[m, n]\nz[j] = sum[k](w[j, k] * x[k])\noutput z"))
    assert shown == [
        "z = W x",
        "batch: Z = X Wᵀ",
        "x\u0304 = Wᵀ z\u0304",
        "batch: X\u0304 = Z\u0304 W",
        "W\u0304 = z\u0304 xᵀ",
        "batch: W\u0304 = Z\u0304ᵀ X",
    ]


def test_a_cotangent_and_what_is_added_to_it_have_names_of_their_own() -> None:
    shown = lines(parse("data x[n]\na[j] = sin(x[j])\nc[j] = exp(a[j])\noutput a, c"))
    assert "a\u0304 = c\u0304 ⊙ c + da" in shown
    assert "batch: A\u0304 = C\u0304 ⊙ C + Da" in shown


def test_more_axes_are_taken_apart_along_the_first() -> None:
    system = parse("data d[n, n], t[n, n, n]\ny[p] = sum[k](d[p, k] * d[k, p]) * sum[i, j, k](t[i, j, k])\noutput y")
    (shown, *_) = lines(system)
    assert shown == "y = (Σ_{i=0}^{n-1} 𝟏ᵀ T_i 𝟏) · (D ⊙ Dᵀ) 𝟏"


def test_capitals_that_would_meet_are_not_given() -> None:
    shown = lines(parse("data x[n]\nparameter X[m, n]\nz[j] = sum[k](X[j, k] * x[k])\ncost = sum[j](z[j]**2)"))
    assert "z = X x" in shown
    assert "batch: Z = x Xᵀ" in shown


def test_the_page_says_how_to_read_what_stands_on_it_and_no_more() -> None:
    written = derive(parse("data x[n]\nparameter w[n]\ncost = exp(sum[k](w[k] * x[k]))")).text()
    (sentence,) = [line for line in written.splitlines() if line.startswith("In matrix form")]
    assert sentence == (
        "In matrix form vectors are columns and matrices have capitals; functions act on each element; "
        "𝟏 is a column of ones; over the batch each sample has a row."
    )
    scalars = derive(parse("parameter w\ncost = (w - 1)**2")).text()
    assert "matrix" not in scalars


@pytest.mark.parametrize("number", range(25))
def test_forms_of_random_systems(number: int) -> None:
    seed = secrets.randbits(32)
    model = random_model(seed)
    print(f"model {number}, seed {seed}\n{model.text}")
    derivation = derive(model.parse())
    point = Point(derivation.result, seed, limits={d.name: (d.low, d.high) for d in model.declared})
    if min(extent for shape in point.interpreters[0].shapes.values() for extent in (2, *shape)) > 1:
        compare(point, (*derivation.result.equations, *result_equations(derivation)))
    else:
        print("a matrix of one row is a vector to NumPy, and an empty one has no maximum: shapes would tell nothing")


def test_every_notation_shows_them() -> None:
    derivation = derive(system_of("softmax_cross_entropy"))
    batch = r"$$\text{over the batch: } \frac{\partial cost_{avg}}{\partial \mathbf{W}} = \frac{1}{N} \cdot "
    assert batch + r"\boldsymbol{\delta}_{\mathbf{Z}}^\top \, \mathbf{X}$$" in derivation.markdown()
    assert r"\text{in matrix form: } \mathbf{z} &= \mathbf{W} \, \mathbf{x} + \mathbf{b}" in derivation.latex()
    written = derivation.html()
    assert "<mtext>over the batch:&#160;</mtext>" in written
    assert "<msup><mi>𝐱</mi><mo>⊤</mo></msup>" in written


def test_the_documented_page_has_none() -> None:
    assert "matrix form" not in documented_markdown()


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("name", ["attention", "gru", "layer_norm", "logistic_matrix_factorisation"])
def test_their_latex_compiles(name: str) -> None:
    assert pdf(derive(system_of(name))).startswith(b"%PDF")
