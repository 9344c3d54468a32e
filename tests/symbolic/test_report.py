"""Reports of whole derivations: what they say, in every form; LaTeX that compiles."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass

import pytest

from chainrule.symbolic import derive, network, parse
from chainrule.symbolic import report as reports
from chainrule.symbolic.documented import documented_latex, documented_system
from chainrule.symbolic.errors import BuildError
from chainrule.symbolic.expressions import Access, Partial, index
from chainrule.symbolic.story import average_line
from chainrule.symbolic.system import System
from chainrule.symbolic.terms import Rule, Step, Term

with_pdflatex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")

DENSE = """
data x[m], y[n]
parameter w[n, m], b[n]
sigma(z) = 1 / (1 + exp(-z))
loss(a, y) = (a - y)**2
z[j] = b[j] + sum[k](w[j, k] * x[k])
a[j] = sigma(z[j])
cost = sum[j](loss(a[j], y[j]))
"""

UGLY = """
data x_in[m_1 + k - 1], y[m_1]
parameter h_1[k], alpha[m_1], lam
z_1[p] = sum[q : q <= 2](h_1[q] * x_in[p + q]) / sqrt(m_1)
r[p] = where(z_1[p] > 0 and z_1[p] < 3, z_1[p]**2, 0.1 * z_1[p]) + abs(z_1[p]) - max(z_1[p], alpha[p])
cost = sum[i, p : i < p](exp(r[i]) * (r[p] - y[p])**2) + log(1 + sum[p](r[p]**2)) + lam * sum[p](alpha[p]**2)
"""


@dataclass(frozen=True)
class ByHand:
    """The fields of a derivation that a report reads."""

    system: System
    wrt: tuple[str, ...]
    steps: tuple[Step, ...]
    result: System


def test_markdown_of_a_dense_layer() -> None:
    written = derive(parse(DENSE)).markdown()
    formulas = re.findall(r"\$\$(.*?)\$\$", written, re.DOTALL)
    assert r"\sigma(z) = \frac{1}{1 + \exp(-z)}" in formulas
    assert r"z_j = b_j + \sum_{k=0}^{m-1} w_{jk} \cdot x_k" in formulas
    assert r"cost_s = \sum_{j=0}^{n-1} \mathrm{loss}(a_j, y_j)" in formulas
    assert "Data: $x$ of shape ($m$), $y$ of shape ($n$)." in written
    assert "### With respect to $w_{jk}$" in written
    assert r"\frac{\partial cost_s}{\partial w_{jk}} = \frac{\partial cost_s}{\partial z_j} \cdot x_k" in formulas
    average = r"\frac{\partial cost_{avg}}{\partial A} = \frac{1}{N} \cdot \sum_{s=0}^{N-1} "
    assert formulas[-1] == average + r"\frac{\partial cost_s}{\partial A}"


def test_every_step_stands_with_its_rule_and_reason() -> None:
    derivation = derive(parse(DENSE))
    written = derivation.text()
    for step in derivation.steps:
        rule = step.rule.value[:1].upper() + step.rule.value[1:]
        assert f"{rule}: {step.why}." in written
    assert written.count("With respect to ") == len({s.identity.partition(".")[0] for s in derivation.steps})


def test_the_substituted_result_stands_beside_the_general_one() -> None:
    written = derive(parse(DENSE)).text()
    results = written[written.index("Results") :]
    general, special = "∂cost_s/∂a_j · ∂σ(z_j)/∂z_j", "∂cost_s/∂a_j · a_j · (1 - a_j)"
    assert re.search(re.escape(f"= {general}") + r"\s+" + re.escape(f"= {special}"), results), results


def test_undefined_functions_are_said_to_be_so() -> None:
    written = derive(documented_system()).text()
    assert "σ is any differentiable function." in written
    assert "cost is any differentiable function." in written


def test_layers_of_a_network_are_superscripts() -> None:
    written = derive(network([4, 3, 2], sigma="tanh", output="softmax", cost="cross_entropy")).markdown()
    assert r"z_j^{2} = b_j^{2} + \sum_{k=0}^{2} w_{jk}^{2} \cdot a_k^{1}" in written
    assert r"\frac{\partial cost_s}{\partial a_k^{1}}" in written


def test_bounds_of_a_partial_equation_are_said() -> None:
    written = derive(
        parse("data x[T]\nparameter w, h0\nh[0] = h0\nh[t] = tanh(w * h[t - 1] + x[t])\ncost = sum[t](h[t]**2)")
    ).text()
    assert re.search(r"For 1 ≤ t ∧ t ≤ T - 1|For 1 ≤ t and t ≤ T - 1", written)
    assert "h_0 = h" in written


def test_a_vector_jacobian_product_shows_cotangents() -> None:
    written = derive(parse("data x[n]\nparameter w[n]\na[i] = tanh(w[i] * x[i])\noutput a")).markdown()
    assert r"\bar{w}_i = " in written
    assert "cost" not in written


def test_steps_by_hand() -> None:
    system = documented_system()
    subject = Partial(Access("cost"), Access("b", index("j")))
    steps = (Step("db.1", Rule.SIMPLIFY, subject, (), (), "nothing is left"),)
    written = reports.text(ByHand(system, ("b",), steps, system))
    assert "Simplified: nothing is left.\n    ∂cost_s/∂b_j = 0" in written
    unexplained = (Step("db.1", Rule.SUM, subject, (), (Term((Access("lam"),)),)),)
    assert "Derivative of a sum.\n    ∂cost_s/∂b_j = lam" in reports.text(ByHand(system, ("b",), unexplained, system))


@pytest.mark.parametrize("name", ["w", "b", "x"])
def test_the_average_is_derived_for_every_tensor_alike(name: str) -> None:
    system = documented_system()
    assert average_line(system, name) == average_line(system, "w")


def test_notebook_forms() -> None:
    derivation = derive(parse(DENSE))
    fragment = derivation._repr_latex_()
    assert fragment.startswith("$$\\begin{aligned}\n")
    assert fragment.endswith("\n\\end{aligned}$$")
    assert r"\frac{\partial cost_s}{\partial b_j} &= \frac{\partial cost_s}{\partial z_j}" in fragment
    assert reports.html_fragment(derivation) in derivation.html()


def test_the_same_system_gives_the_same_bytes_whatever_the_hash_seed() -> None:
    program = f"from chainrule.symbolic import derive, parse; print(derive(parse({UGLY!r})).latex())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert derive(parse(UGLY)).latex().encode() + b"\n" in outputs


@with_pdflatex
@pytest.mark.parametrize(
    "source",
    [
        lambda: documented_latex(),
        lambda: derive(parse(DENSE)).latex(),
        lambda: derive(parse(UGLY)).latex(),
        lambda: derive(network([4, 3, 2], sigma="gelu", output="softmax", cost="cross_entropy")).latex(),
    ],
    ids=["documented", "dense", "ugly", "network"],
)
def test_latex_compiles(source: object) -> None:
    written = source()  # type: ignore[operator]
    made = reports.compile_latex(written)
    assert made.startswith(b"%PDF")


@with_pdflatex
def test_pdf_is_the_same_every_time() -> None:
    derivation = derive(parse(DENSE))
    assert reports.pdf(derivation) == reports.pdf(derivation)


@with_pdflatex
def test_a_fault_in_latex_is_told() -> None:
    with pytest.raises(BuildError, match=r"(?s)pdflatex failed:\n! Undefined control sequence.*\\nonsense"):
        reports.compile_latex("\\documentclass{article}\\begin{document}\\nonsense\\end{document}")


def test_without_pdflatex_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BuildError, match="pdflatex is not on the PATH: install TeX"):
        reports.compile_latex("")
