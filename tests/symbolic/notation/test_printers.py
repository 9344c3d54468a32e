"""The three printers and the page: LaTeX rows, terminal text, well-formed MathML, escaped names."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from random import Random

import pytest

from chainrule.symbolic.document import parse_formula, read_document
from chainrule.symbolic.notation.latex import latex, latex_rows
from chainrule.symbolic.notation.mathml import mathml
from chainrule.symbolic.notation.page import (
    Display,
    Heading,
    Page,
    Paragraph,
    Strong,
    to_html,
    to_latex,
    to_markdown,
    to_text,
)
from chainrule.symbolic.notation.text import text, text_rows
from chainrule.symbolic.notation.tree import (
    Absolute,
    Accent,
    Add,
    Apply,
    Big,
    Cases,
    Chain,
    Formula,
    Indexed,
    Logic,
    Negative,
    Number,
    Primed,
    Product,
    Relation,
    Symbol,
    add,
    product,
    walk,
)

DOCUMENT = Path(__file__).parents[2] / "data" / "backprop.md"
REFERENCE = read_document(DOCUMENT.read_text(encoding="utf-8"))
A, B, J, X = (Symbol(name) for name in "abjx")
POSITIVE = Relation(">=", X, Number("0"))
ARITY = {"msub": 2, "msup": 2, "msubsup": 3, "munderover": 3, "mover": 2, "mfrac": 2}


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("a_j^L", "a_jᴸ"),
        ("a_k^{L-1}", "a_k⁽ᴸ⁻¹⁾"),
        ("z_j^{2}", "z_j⁽²⁾"),
        ("w_{jk}", "w_jk"),
        ("w_{j,k+1}", "w_{j,k+1}"),
        ("h_{0,j}", "h_0,j"),
        ("n_{(L-1)}", "n_(L-1)"),
        ("(a - b)^{2}", "(a - b)²"),
        ("(a - b)^j", "(a - b)^j"),
        (r"\frac{a + b}{a \cdot b}", "(a + b)/(a · b)"),
        (r"\frac{\partial a \cdot b}{\partial x_j}", "∂(a · b)/∂x_j"),
        (r"\frac{a}{\frac{b}{x}}", "a/(b/x)"),
        (r"\frac{\frac{a}{b}}{x}", "a/b/x"),
        (r"\frac{a}{\frac{\partial b}{\partial x}}", "a/(∂b/∂x)"),
        (r"\frac{\sum_{j=0}^b x_j}{a}", "(Σ_{j=0}^{b} x_j)/a"),
        (r"\sigma''(\alpha)", "σ′′(α)"),
        (r"\sqrt{a} + \sqrt{a + b}", "√a + √(a + b)"),
    ],
)
def test_terminal_text(source: str, line: str) -> None:
    assert text(parse_formula(source)) == line


@pytest.mark.parametrize(
    ("node", "latex_form", "line"),
    [
        (Absolute(Negative(X)), r"\left|-x\right|", "|-x|"),
        (Indexed(Accent(A), (J,)), r"\bar{a}_j", "a\N{COMBINING MACRON}_j"),
        (
            Product((Cases(((A, POSITIVE),), B), X)),
            r"\left(\begin{cases} a & \text{if } x \ge 0 \\ b & \text{otherwise} \end{cases}\right) \cdot x",
            "{a if x ≥ 0; b otherwise} · x",
        ),
        (
            Logic("or", (POSITIVE, Logic("and", (POSITIVE, Relation("!=", A, B))))),
            r"x \ge 0 \lor (x \ge 0 \land a \ne b)",
            "x ≥ 0 or (x ≥ 0 and a ≠ b)",
        ),
        (Logic("not", (POSITIVE,)), r"\lnot \left(x \ge 0\right)", "not (x ≥ 0)"),
        (Add((Negative(A), Negative(B))), "-a - b", "-a - b"),
        (Add((A, Negative(Add((A, B))))), "a - (a + b)", "a - (a + b)"),
        (Negative(Negative(A)), "-(-a)", "-(-a)"),
        (Product((Negative(A), Add((A, B)))), r"(-a) \cdot (a + b)", "(-a) · (a + b)"),
        (Apply(Primed(Symbol("my_f"), 1), (X,)), r"\mathrm{my\_f}'(x)", "my_f′(x)"),
        (
            Big("max", J, Number("0"), A, X, (POSITIVE,)),
            r"\max_{\substack{j=0 \\ x \ge 0}}^a x",
            "max_{j=0, x ≥ 0}^{a} x",
        ),
    ],
)
def test_nodes_that_the_document_does_not_use(node: Formula, latex_form: str, line: str) -> None:
    assert (latex(node), text(node)) == (latex_form, line)
    assert_mathml(node)


def test_sums_and_products_are_flat() -> None:
    assert add([A, add([B, X])]) == Add((A, B, X))
    assert product([product([A, B]), X]) == Product((A, B, X))
    assert (add([]), product([]), add([A]), product([A])) == (Number("0"), Number("1"), A, A)


def assert_mathml(node: Formula) -> None:
    root = ET.fromstring(mathml(node))
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        assert len(element) == ARITY.get(tag, len(element)), ET.tostring(element)
        assert tag not in ("mi", "mn", "mo") or (element.text and not len(element))


@pytest.mark.parametrize("formula", REFERENCE, ids=lambda f: f"{f.position.line}")
def test_mathml_is_well_formed_and_complete(formula: object) -> None:
    chain = formula.chain  # type: ignore[attr-defined]
    assert_mathml(chain)
    root = ET.fromstring(mathml(chain))
    shown = [e.text for e in root.iter() if e.tag.endswith("}mi")]
    symbols = [n.name for n in walk(chain) if isinstance(n, Symbol)]
    assert len(shown) == len(symbols)


def test_markup_in_a_name_is_escaped() -> None:
    root = ET.fromstring(mathml(Symbol("<script>&")))
    assert root[0].text == "<script>&"


def test_long_chains_are_broken_into_rows_without_loss() -> None:
    random = Random(7)
    terms = [Product((Symbol(random.choice("abc")), Apply(Symbol("sigma"), (Indexed(X, (J,)),)))) for _ in range(40)]
    chain = Chain((A, Add(tuple(Negative(t) if m % 3 else t for m, t in enumerate(terms))), Number("0")))
    rows = latex_rows(chain)
    assert len(rows) > 4
    assert all("&" in row for row in rows)
    joined = " ".join(r.replace(r"&\quad ", "").replace("&", "") for r in rows)
    assert " ".join(joined.split()) == latex(chain)
    lines = text_rows(chain)
    assert max(map(len, lines)) <= 100
    assert " ".join(" ".join(lines).split()) == text(chain)


def test_rows_of_markdown_stand_between_dollars_on_lines_of_their_own() -> None:
    terms = tuple(Apply(Symbol("loss"), (Indexed(X, (J,)), Symbol(c))) for c in "abcdefghij")
    written = to_markdown(Page("t", (Display(Chain((A, Add(terms)))), Display(Chain((A, Add(terms))), whole=True))))
    assert "\n\n$$\n\\begin{aligned}\na &= " in written
    assert "\n\\end{aligned}\n$$\n\n$$a = " in written


def test_a_single_long_product_is_broken_at_its_factors() -> None:
    factors = tuple(Apply(Symbol("loss"), (Indexed(X, (J,)), Symbol(c))) for c in "abcdefghij")
    rows = latex_rows(Chain((A, Big("sum", J, Number("0"), B, Product(factors)))))
    assert len(rows) > 1
    assert rows[1].startswith(r"&\quad \cdot")


PAGE = Page(
    "A_title & <more> $x$",
    (
        Heading(1, ("Section_1 of ", Indexed(A, (J,)))),
        Heading(2, ("Below",)),
        Paragraph((Strong("chain rule"), ": 100% of #1, {a} ~ b^2 \\ δ ≤ ∞ — *no* `code`.")),
        Display(Chain((A, B))),
        Display(B),
    ),
)


def test_markdown_escapes_words_and_keeps_formulas() -> None:
    written = to_markdown(PAGE)
    assert written.startswith("# A\\_title & \\<more\\> \\$x\\$\n\n## Section\\_1 of $a_j$\n\n### Below\n")
    assert "**chain rule**: 100% of \\#1, \\{a\\} \\~ b^2 \\\\ δ ≤ ∞ — \\*no\\* \\`code\\`." in written
    assert written.endswith("$$a = b$$\n\n$$b$$\n")


def test_latex_escapes_words() -> None:
    written = to_latex(PAGE)
    assert r"\title{A\_title \& $<$more$>$ \$x\$}" in written
    assert r"100\% of \#1, \{a\} \textasciitilde{} b\textasciicircum{}2 \textbackslash{} " in written
    assert r"$\delta$ $\le$ $\infty$ --- *no*" in written
    assert written.isascii()
    assert "\\begin{align*}\na &= b\n\\end{align*}" in written


def test_html_is_one_well_formed_page_without_outside_links() -> None:
    written = to_html(PAGE)
    root = ET.fromstring(written.replace("<!DOCTYPE html>", "").replace('<meta charset="utf-8">', ""))
    assert root.find("head/title").text == PAGE.title  # type: ignore[union-attr]
    assert "http" not in written.replace("http://www.w3.org/1998/Math/MathML", "")
    assert "<script" not in written


def test_text_page() -> None:
    lines = to_text(PAGE).splitlines()
    assert lines[:2] == [PAGE.title, "=" * len(PAGE.title)]
    assert "    a = b" in lines
