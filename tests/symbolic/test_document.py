"""The parser of the document's notation: exact round trip, strict, faults with their place."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.symbolic.document import MAX_DEPTH, MAX_LENGTH, parse_formula, read_document
from chainrule.symbolic.errors import DocumentError
from chainrule.symbolic.notation.latex import latex
from chainrule.symbolic.notation.tree import (
    Add,
    Apply,
    Big,
    Chain,
    Derivative,
    Formula,
    Fraction,
    Indexed,
    Negative,
    Number,
    Parenthesised,
    Power,
    Primed,
    Product,
    Root,
    Symbol,
)

DOCUMENT = Path(__file__).parent.parent / "data" / "backprop.md"
A, L, J, K, X = (Symbol(name) for name in "aLjkx")
ONE = Number("1")


def test_every_formula_of_the_document_round_trips_byte_for_byte() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    formulas = read_document(text, "backprop.md")
    assert [f.source for f in formulas] == text.split("$$")[1::2]
    for formula in formulas:
        assert latex(formula.chain) == formula.source


def test_positions_are_where_the_formulas_start() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for formula in read_document(text):
        line = text.splitlines()[formula.position.line - 1]
        assert line[formula.position.column - 1 :].startswith(formula.source)


@pytest.mark.parametrize(
    ("source", "tree"),
    [
        ("a_j^L", Indexed(A, (J,), L)),
        ("a^L_j", Indexed(A, (J,), L)),
        ("a^{L}_{j}", Indexed(A, (J,), L)),
        ("{a}_j^L", Indexed(A, (J,), L)),
        ("w_{ji}", Indexed(Symbol("w"), (J, Symbol("i")))),
        ("w_{j,k+1}", Indexed(Symbol("w"), (J, Add((K, ONE))))),
        ("x_{2k+1}", Indexed(X, (Add((Product((Number("2"), K)), ONE)),))),
        ("n_{(L-1)}", Indexed(Symbol("n"), (Parenthesised((Add((L, Negative(ONE))),)),))),
        ("cost_{avg}", Indexed(Symbol("cost"), (Symbol("avg"),))),
        (r"\sigma'(x)", Apply(Primed(Symbol("sigma"), 1), (X,))),
        ("cost(a_j, x)", Apply(Symbol("cost"), (Indexed(A, (J,)), X))),
        (r"\frac{\partial a \cdot x}{\partial x_k}", Derivative(Product((A, X)), Indexed(X, (K,)))),
        (r"\frac{1}{a + x}", Fraction(ONE, Add((A, X)))),
        (r"\sum_{k=0}^j x_k \cdot a", Big("sum", K, Number("0"), J, Product((Indexed(X, (K,)), A)))),
        (r"-a - x = 1", Chain((Add((Negative(A), Negative(X))), ONE))),
        (r"(a - x)^{2}", Power(Add((A, Negative(X))), Number("2"))),
        (r"\left(a\right)^2 \cdot \sqrt{x}", Product((Power(A, Number("2")), Root(X)))),
        (r"\operatorname{loss}(\mathit{hidden\_size})", Apply(Symbol("loss"), (Symbol("hidden_size"),))),
        (r"\mathrm{loss}(\mathit{hidden\_size})", Apply(Symbol("loss"), (Symbol("hidden_size"),))),
    ],
)
def test_notation(source: str, tree: Formula) -> None:
    assert parse_formula(source) == tree


@pytest.mark.parametrize(
    ("source", "column", "message"),
    [
        ("a_j^L + ", 9, "expected a number, a name or a group, found end of the formula"),
        ("a_j b", 5, "expected an operator"),
        ("a_j_k", 4, "at most one subscript"),
        ("a^L^L", 4, "at most one subscript"),
        ("foo(a)", 1, "expected a letter, one of the words avg, cost"),
        (r"\frac{a}", 9, "expected '{'"),
        (r"\frac{\partial a}{b}", 19, r"expected '\\partial'"),
        (r"\frac{\partial a + b}{\partial b}", 18, "expected '}'"),
        (r"\sum_{kk=0}^n x", 7, "expected an index letter"),
        (r"\sum_k x", 6, "expected '{'"),
        (r"\input{x}", 1, "expected a number"),
        ("a & b", 3, "the notation has no '&'"),
        ("(a", 3, r"expected '\)'"),
        ("a = = b", 5, "expected a number"),
        (r"\mathit a", 8, "expected a name in braces"),
        ("", 1, "expected a number"),
    ],
)
def test_faults_name_their_place(source: str, column: int, message: str) -> None:
    with pytest.raises(DocumentError, match=message) as caught:
        parse_formula(source, "page.md")
    assert str(caught.value).startswith(f"page.md:1:{column}: ")
    assert str(caught.value).endswith(" " * (column + 3) + "^")


def test_a_fault_in_a_document_names_its_line() -> None:
    with pytest.raises(DocumentError, match=r"^page\.md:3:7: expected an operator"):
        read_document("# title\n\n$$a_j b$$\n", "page.md")


def test_an_unclosed_formula_is_a_fault() -> None:
    with pytest.raises(DocumentError, match=r"^page\.md:2:1: this \$\$ is never closed"):
        read_document("$$a$$\n$$b\n", "page.md")


def test_length_and_depth_are_bounded() -> None:
    with pytest.raises(DocumentError, match="more than"):
        parse_formula("a" * (MAX_LENGTH + 1))
    with pytest.raises(DocumentError, match="more than"):
        read_document("a" * (MAX_LENGTH + 1))
    for opened in ("(", r"\sqrt{", r"\frac{", "{", "a_{", "a(", r"\sum_{k=0}^{", r"\sum_{k=0}^n "):
        with pytest.raises(DocumentError, match=f"deeper than {MAX_DEPTH}"):
            parse_formula(opened * 5000)


@given(st.text(alphabet=r"\{}()_^=+-,'ajkL12 $" + "\n", max_size=40) | st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (parse_formula, read_document):
        with contextlib.suppress(DocumentError):
            read(text)


def random_formula(random: Random, depth: int) -> Formula:
    """A formula that the notation can hold, nested in every way that needs or does without parentheses."""
    if depth == 0 or random.random() < 0.15:
        letter = Symbol(random.choice("abjkxL"))
        scripts = tuple(Symbol(random.choice("ijk")) for _ in range(random.randint(1, 2)))
        word = Symbol(random.choice(["sigma", "cost", "hidden_size"]))
        number = Number(str(random.randint(0, 99)))
        layer = Add((L, Negative(ONE)))
        return random.choice([letter, word, number, Indexed(letter, scripts), Indexed(letter, scripts, layer)])

    def inner() -> Formula:
        return random_formula(random, depth - 1)

    def but(*kinds: type[Formula]) -> Formula:
        node = inner()
        return ONE if isinstance(node, kinds) else node

    functions = [Symbol("sigma"), Symbol("loss"), Symbol("exp"), Primed(A, 2)]
    makers: list[Callable[[], Formula]] = [
        lambda: Add((but(Add), *(random.choice([but(Add, Negative), Negative(inner())]) for _ in range(2)))),
        lambda: Product((but(Product), but(Product), but(Product))),
        lambda: Negative(inner()),
        lambda: Fraction(inner(), inner()),
        lambda: Derivative(inner(), Indexed(A, (J, K), L)),
        lambda: Big(random.choice(["sum", "prod"]), K, inner(), inner(), inner()),
        lambda: Apply(random.choice(functions), (inner(), inner())),
        lambda: Power(but(Symbol), inner()),
        lambda: Root(inner()),
    ]
    return random.choice(makers)()


@settings(max_examples=400)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_what_is_printed_is_read_back(seed: int, depth: int) -> None:
    tree = random_formula(Random(seed), depth)
    assert parse_formula(latex(tree)) == tree, latex(tree)
