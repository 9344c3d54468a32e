"""The reference document, told anew by the rules of differentiation.

The plan below holds questions (the left sides, with the document's index letters) and, for each
equals sign, the rules that are applied there. What stands after an equals sign is what the rules
made of what stood before it: no formula of the document is stored here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sympy as sp
from sympy import Dummy, Expr, Integer

from .errors import DerivationError
from .expressions import Access, Call, Partial, Range, Reduction, index, size
from .notation.page import Display, Heading, Page, Paragraph, to_html, to_latex, to_markdown, to_text
from .notation.show import Notation
from .notation.tree import Add, Formula, Indexed, Negative, Number, Parenthesised, Symbol
from .samples import BATCH, with_samples
from .story import Line, Teller
from .system import COST, Equation, FunctionDefinition, Role, System, Tensor
from .terms import Rule

__all__ = [
    "Block",
    "documented_html",
    "documented_latex",
    "documented_markdown",
    "documented_page",
    "documented_story",
    "documented_system",
    "documented_text",
]


@dataclass(frozen=True)
class Block:
    """A heading and the formulas under it."""

    heading: str
    lines: tuple[Line, ...]


def documented_system() -> System:
    """The document's layer for one sample: z = b + Σ w·x, a = σ(z), cost_s = Σ cost(a, y); σ and cost undefined.

    `x` [m] is the document's a^{L-1}, m its n_{(L-1)}; `y`, `z`, `a` [n] and `w` [n, m], `b` [n] belong to
    layer L, n is its n_L.
    """
    m, n = size("m"), size("n")
    rows, columns, units, summed = index("j"), index("k"), index("j"), index("j")
    weighted = Access("w", rows, columns) * Access("x", columns)
    z = Access("b", rows) + Reduction("sum", weighted, [_full(columns, m)])
    cost = Reduction("sum", Call("cost", (0, 0), Access("a", summed), Access("y", summed)), [_full(summed, n)])
    return System(
        tensors=(
            Tensor("x", (m,), Role.DATA, per_sample=True),
            Tensor("y", (n,), Role.DATA, per_sample=True),
            Tensor("w", (n, m), Role.PARAMETER),
            Tensor("b", (n,), Role.PARAMETER),
            Tensor("z", (n,), Role.DEFINED, per_sample=True),
            Tensor("a", (n,), Role.DEFINED, per_sample=True),
            Tensor(COST, (), Role.DEFINED, per_sample=True),
        ),
        equations=(
            Equation("z", (rows,), (_full(rows, n),), z),
            Equation("a", (units,), (_full(units, n),), Call("sigma", (0,), Access("z", units))),
            Equation(COST, (), (), cost),
        ),
        functions=(
            FunctionDefinition("sigma", sp.symbols("z,", real=True), None, origin="undefined"),
            FunctionDefinition("cost", sp.symbols("a y", real=True), None, origin="undefined"),
        ),
        outputs=("a",),
        name="documented",
    )


def _full(symbol: Dummy, extent: Expr) -> Range:
    return Range(symbol, Integer(0), extent - 1)


def _layers() -> dict[str, Formula]:
    """The document's names: layer L, the layer before it, and their sizes."""
    layer = Symbol("L")
    before = Add((layer, Negative(Number("1"))))
    shown: dict[str, Formula] = {name: Indexed(Symbol(name), (), layer) for name in ("w", "b", "z", "a")}
    shown["x"] = Indexed(Symbol("a"), (), before)
    shown["n"] = Indexed(Symbol("n"), (layer,))
    shown["m"] = Indexed(Symbol("n"), (Parenthesised((before,)),))
    shown[BATCH.name] = Symbol("n")
    return shown


DEFINITION, CHAIN, SUM, PRODUCT = Rule.DEFINITION, Rule.CHAIN, Rule.SUM, Rule.PRODUCT
KRONECKER, COLLAPSE, KNOWN = Rule.KRONECKER, Rule.COLLAPSE, Rule.KNOWN


def documented_story() -> tuple[Block, ...]:
    """The document's displayed formulas, block by block, each derived."""
    system = documented_system()
    sample = Teller(system, Notation.of(system, _layers()))
    j, i, k = index("j"), index("i"), index("k")
    return (
        Block("Initial formulas", _initial(system, sample)),
        Block("Cost change with respect to A", _generic(system)),
        Block("One neuron's cost change with respect to its weights", _per_weight(sample, j, Access("w", j, i))),
        Block("One neuron's cost change with respect to its bias", _per_neuron(sample, j, Access("b", j))),
        Block("One neuron's cost change with respect to the previous layer", _per_neuron(sample, j, Access("x", i))),
        Block(
            "Cost change with respect to weights, biases and the previous layer",
            tuple(_summed(sample, wrt) for wrt in (Access("w", i, k), Access("b", i), Access("x", k))),
        ),
    )


def _batch_teller(system: System, generic: Access | None = None) -> Teller:
    batch = with_samples(system)
    elements = {} if generic is None else {generic: Symbol("A")}
    return Teller(batch, Notation.of(batch, _layers(), elements))


def _initial(system: System, sample: Teller) -> tuple[Line, ...]:
    """cost_avg, cost_s, a and z, as the equations of the System define them."""
    j = index("j")
    plan = ((DEFINITION,),)
    average = _batch_teller(system).tell(Access(COST), plan)
    return (average, *(sample.tell(asked, plan) for asked in (Access(COST), Access("a", j), Access("z", j))))


def _generic(system: System) -> tuple[Line, ...]:
    """∂cost_avg/∂A and ∂cost_s/∂A; A is any weight, bias or activation, so all of them must agree."""
    s, i, j = index("s"), index("i"), index("j")
    batched = (Access("w", j, i), Access("b", j), Access("x", s, i))
    single = (Access("w", j, i), Access("b", j), Access("x", i))
    average = [_batch_teller(system, a).tell(Partial(Access(COST), a), ((DEFINITION, PRODUCT, SUM),)) for a in batched]
    one = [
        Teller(system, Notation.of(system, _layers(), {a: Symbol("A")})).tell(
            Partial(Access(COST), a), ((DEFINITION, SUM),)
        )
        for a in single
    ]
    return (_agreed(average), _agreed(one))


def _agreed(lines: Sequence[Line]) -> Line:
    first, *others = lines
    if any(other != first for other in others):
        raise DerivationError("the derivative with respect to A differs between weights, biases and activations")
    return first


def _cost_at(j: Dummy) -> Call:
    return Call("cost", (0, 0), Access("a", j), Access("y", j))


def _local(sample: Teller, j: Dummy, wrt: Access) -> Line:
    """∂z_j/∂wrt, by the sum's terms."""
    return sample.tell(Partial(Access("z", j), wrt), ((DEFINITION, SUM, SUM), (PRODUCT, KRONECKER, COLLAPSE)))


def _per_weight(sample: Teller, j: Dummy, wrt: Access) -> tuple[Line, ...]:
    """∂cost(a_j, y_j)/∂w_ji through a_j, then z_j, then the weight itself."""
    return (
        sample.tell(Partial(_cost_at(j), wrt), ((CHAIN,),)),
        sample.tell(Partial(Access("a", j), wrt), ((DEFINITION,), (CHAIN,))),
        _local(sample, j, wrt),
        sample.tell(Partial(_cost_at(j), wrt), ((KNOWN,),)),
    )


def _per_neuron(sample: Teller, j: Dummy, wrt: Access) -> tuple[Line, ...]:
    """∂cost(a_j, y_j)/∂wrt through z_j in one formula, then ∂z_j/∂wrt."""
    return (
        sample.tell(Partial(_cost_at(j), wrt), ((CHAIN, DEFINITION, CHAIN),)),
        _local(sample, j, wrt),
        sample.tell(Partial(_cost_at(j), wrt), ((KNOWN,),)),
    )


def _summed(sample: Teller, wrt: Access) -> Line:
    """∂cost_s/∂wrt: a sum over neurons, whose deltas leave one neuron (weights, biases) or all (activations)."""
    through = (CHAIN, DEFINITION, CHAIN, DEFINITION, SUM, SUM, PRODUCT, KRONECKER, COLLAPSE)
    return sample.tell(Partial(Access(COST), wrt), ((DEFINITION, SUM), through))


def documented_page() -> Page:
    """The document as a page: headings, the rules in words, and the displayed formulas."""
    items: list[Heading | Paragraph | Display] = []
    for block in documented_story():
        items.append(Heading(1, (block.heading,)))
        for line in block.lines:
            items += [Paragraph((_in_words(line.rules),)), Display(line.formula, whole=True)]
    return Page("Backpropagation through a dense layer", tuple(items))


def _in_words(plan: Iterable[tuple[Rule, ...]]) -> str:
    """The rules of each equals sign, each named once: `Definition, derivative of a sum; then collapsed sum:`."""
    words = "; then ".join(", ".join(dict.fromkeys(r.value for r in applied)) for applied in plan)
    return f"{words[:1].upper()}{words[1:]}:"


def documented_markdown() -> str:
    """The document in Markdown: every displayed formula as a `$$…$$` of its own, in the document's order."""
    return to_markdown(documented_page())


def documented_latex() -> str:
    """The document as a complete LaTeX document."""
    return to_latex(documented_page())


def documented_html() -> str:
    """The document as a complete HTML page."""
    return to_html(documented_page())


def documented_text() -> str:
    """The document as lines for a terminal."""
    return to_text(documented_page())
