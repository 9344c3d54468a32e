"""The document's 19 formulas are derived, in three layers: ordered tree, meaning, numbers.

Altered, a line of the document or a rule of the engine must make one of them fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from document_reading import Meaning, Numbers, smooth_functions
from sympy import Integer

from chainrule.symbolic import deltas, rules
from chainrule.symbolic.document import DisplayedFormula, parse_formula, read_document
from chainrule.symbolic.documented import (
    documented_html,
    documented_latex,
    documented_markdown,
    documented_story,
    documented_text,
)
from chainrule.symbolic.errors import DerivationError, DocumentError
from chainrule.symbolic.expressions import Access, index
from chainrule.symbolic.notation.latex import latex
from chainrule.symbolic.notation.tree import Big, Chain, Formula, Product, Symbol, product, walk
from chainrule.symbolic.terms import Term

DOCUMENT = Path(__file__).parent.parent / "data" / "backprop.md"
REFERENCE = read_document(DOCUMENT.read_text(encoding="utf-8"), "backprop.md")
COUNT = 19


def derived() -> list[Formula]:
    return [line.formula for block in documented_story() for line in block.lines]


def number(formula: DisplayedFormula) -> str:
    return str(REFERENCE.index(formula) + 1)


every_formula = pytest.mark.parametrize("formula", REFERENCE, ids=number)


def test_the_document_has_nineteen_formulas() -> None:
    assert len(REFERENCE) == COUNT
    assert len(derived()) == COUNT


@pytest.mark.parametrize("m", range(COUNT))
def test_derived_formula_is_the_documents(m: int) -> None:
    made = derived()[m]
    assert made == REFERENCE[m].chain, f"\nderived  {latex(made)}\ndocument {REFERENCE[m].source}"


def test_every_line_is_derived_by_rules() -> None:
    for block in documented_story():
        for line in block.lines:
            assert isinstance(line.formula, Chain)
            assert len(line.rules) == len(line.formula.sides) - 1
            assert all(line.rules)


def meanings(chain: Formula) -> list[list[object]]:
    """The canonical sides, once for each kind of element that A may stand for."""
    assert isinstance(chain, Chain)
    if Symbol("A") not in walk(chain):
        return [Meaning().sides(chain)]
    p, q, s = index("p"), index("q"), index("t")
    return [Meaning(a).sides(chain) for a in (Access("w", p, q), Access("b", p), Access("x", s, q))]


@every_formula
def test_all_sides_mean_the_same(formula: DisplayedFormula) -> None:
    for sides in meanings(formula.chain):
        assert all(side == sides[0] for side in sides), sides


def evaluated(chain: Formula, rng: np.random.Generator) -> list[list[complex]]:
    """The sides' values at every value of the free indices, in a random tiny network with a random σ and cost."""
    assert isinstance(chain, Chain)
    n = int(rng.integers(2, 4))
    sizes = {"batch": int(rng.integers(1, 4)), "n": n, "m": n + int(rng.choice([-1, 1, 2]))}
    samples, rows, columns = (range(sizes[name]) for name in ("batch", "n", "m"))
    keys = [("w", None, j, k) for j in rows for k in columns] + [("b", None, j) for j in rows]
    keys += [("x", s, k) for s in samples for k in columns] + [("y", s, j) for s in samples for j in rows]
    inputs = {key: complex(rng.uniform(-1, 1)) for key in keys}
    sigma, cost = smooth_functions(float(rng.uniform(0.5, 1.5)), float(rng.uniform(-1, 1)))
    choices = [key for key in keys if key[0] != "y"]
    chosen = choices[int(rng.integers(len(choices)))]
    numbers = Numbers(sizes, inputs, sigma, cost, lambda _: chosen)
    return [[numbers.value(side, scope) for side in chain.sides] for scope in numbers.free_values(chain)]


def agree(values: list[complex]) -> bool:
    return all(abs(v - values[0]) <= 1e-9 * (1 + abs(values[0])) for v in values)


@every_formula
def test_all_sides_have_the_same_numbers(formula: DisplayedFormula, rng: np.random.Generator) -> None:
    for _ in range(3):
        for values in evaluated(formula.chain, rng):
            assert agree(values), values


def last_index_changed(source: str) -> str:
    """The last free subscript letter is another."""
    swap = {"j": "i", "i": "j", "k": "i"}
    places = [m for m in re.finditer(r"_([ijk])\b|_\{([ijk])[ijk]\}", source) if "=" not in m.group()]
    if not places:
        return source
    at = places[-1].start(1) if places[-1].start(1) >= 0 else places[-1].start(2)
    return source[:at] + swap[source[at]] + source[at + 1 :]


def factor_dropped(source: str) -> str:
    """The last factor of the last side (also under its Σ) is gone."""

    def dropped(node: Formula) -> Formula:
        if isinstance(node, Big):
            return replace(node, body=dropped(node.body))
        return product(node.factors[:-1]) if isinstance(node, Product) else node

    chain = parse_formula(source)
    assert isinstance(chain, Chain)
    return latex(Chain((*chain.sides[:-1], dropped(chain.sides[-1]))))


MUTATIONS: dict[str, Callable[[str], str]] = {
    "an index": last_index_changed,
    "a factor dropped": factor_dropped,
    "a bound": lambda s: s.replace("-1} ", "} ", 1),
    "a lower bound": lambda s: s.replace("=0}", "=1}", 1),
    "the other layer": lambda s: re.sub(r"\^L(?!.*\^L)", "^{L-1}", s),
    "this layer": lambda s: s.replace("^{L-1}", "^L", 1),
    "factors swapped": lambda s: re.sub(r"(\\frac\{[^ ]* [^ ]*?\}\{.*?\}) \\cdot (.*)$", r"\2 \\cdot \1", s, count=1),
    "a sign": lambda s: " = -".join(s.rsplit(" = ", 1)),
    "a constant": lambda s: s[:-1] + "2" if s.endswith("1") else s + r" \cdot 2",
    "a side": lambda s: s.rsplit(" = ", 1)[0] + " = 0",
}


def mutants(formula: DisplayedFormula) -> list[tuple[str, str]]:
    made = [(name, change(formula.source)) for name, change in MUTATIONS.items()]
    return [(name, source) for name, source in made if source != formula.source]


@every_formula
def test_an_altered_line_is_not_the_derived_one(formula: DisplayedFormula) -> None:
    altered = mutants(formula)
    assert len(altered) >= 4
    expected = derived()[REFERENCE.index(formula)]
    for name, source in altered:
        try:
            assert parse_formula(source) != expected, (name, source)
        except DocumentError:
            continue  # no formula of the notation any more


STILL_TRUE = {("a lower bound", "12"), ("a factor dropped", "11")}
"""Alterations that leave a line true: every term of the sum in formula 12 is 0, the last factor of 11 is 1."""

REFUTABLE = [
    pytest.param(name, formula, id=f"{name}-{number(formula)}")
    for formula in REFERENCE
    for name in ("a sign", "a constant", "a side", "a factor dropped", "a lower bound")
    if MUTATIONS[name](formula.source) != formula.source and (name, number(formula)) not in STILL_TRUE
]


@pytest.mark.parametrize(("name", "formula"), REFUTABLE)
def test_meaning_and_numbers_refute_an_altered_line(
    name: str, formula: DisplayedFormula, rng: np.random.Generator
) -> None:
    source = MUTATIONS[name](formula.source)
    chain = parse_formula(source)
    assert any(side != sides[0] for sides in meanings(chain) for side in sides), source
    # at one size of 1, or by an element of A that one neuron alone depends on, a line may happen to hold
    assert any(not agree(values) for _ in range(60) for values in evaluated(chain, rng)), source


def story_is_the_document() -> bool:
    try:
        return derived() == [f.chain for f in REFERENCE]
    except DerivationError:
        return False


def only_first_term(*arguments: object) -> tuple[Term, ...]:
    return rules.of_sum(*arguments)[:1]  # type: ignore[arg-type]


def without_outer(*arguments: object) -> tuple[Term, ...]:
    return tuple(Term(t.factors[1:]) for t in rules.of_function(*arguments))  # type: ignore[arg-type]


def without_constants(*arguments: object) -> tuple[Term, ...]:
    return tuple(Term(t.factors[-1:]) for t in rules.of_product(*arguments))  # type: ignore[arg-type]


def unbound(*arguments: object) -> tuple[Term, ...]:
    return tuple(Term(t.factors) for t in rules.of_reduction(*arguments))  # type: ignore[arg-type]


WRONG_RULES = {
    "of_sum": only_first_term,
    "of_function": without_outer,
    "of_product": without_constants,
    "of_reduction": unbound,
}


def test_the_rules_as_they_are_tell_the_document() -> None:
    assert story_is_the_document()


@pytest.mark.parametrize("name", WRONG_RULES)
def test_a_wrong_rule_tells_another_story(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = getattr(rules, name)
    table = tuple((kinds, rule, WRONG_RULES[name] if f is right else f) for kinds, rule, f in rules._RULES)
    assert table != rules._RULES
    monkeypatch.setattr(rules, "_RULES", table)
    assert not story_is_the_document()


def test_a_wrong_kronecker_delta_tells_another_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "of_access", lambda _of, _wrt: (Term((Integer(1),)),))
    assert not story_is_the_document()


def test_a_wrong_collapse_tells_another_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "collapse", lambda term, _: Term(term.factors, term.bound, ()))
    assert not story_is_the_document()


def test_a_wrong_definition_tells_another_story(monkeypatch: pytest.MonkeyPatch) -> None:
    right = rules.definition_at
    monkeypatch.setattr(rules, "definition_at", lambda access, system: 2 * right(access, system))
    assert not story_is_the_document()


def test_a_wrong_outer_derivative_tells_another_story(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "_outer_derivative", lambda of, _: of)
    assert not story_is_the_document()


def test_markdown_holds_the_documents_formulas_in_order() -> None:
    written = documented_markdown()
    assert [f.source for f in read_document(written)] == [f.source for f in REFERENCE]
    assert written == documented_markdown()


def test_the_other_forms_hold_every_formula() -> None:
    source = documented_latex()
    assert source.startswith("\\documentclass")
    assert source.count("\\begin{align*}") == COUNT
    assert documented_html().count('display="block"') == COUNT
    assert "∂z_jᴸ/∂b_jᴸ" in documented_text()
