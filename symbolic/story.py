"""Questions answered on paper: a chain of equalities, each made by the rules that a plan names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sympy import Dummy, Expr, Integer

from . import deltas, rules
from .errors import DerivationError
from .expressions import Access, Partial, Range, accesses, index
from .notation.show import Notation
from .notation.tree import Formula, Symbol
from .samples import BATCH, with_samples
from .system import COST, System
from .terms import Rule, Term

__all__ = ["Line", "Teller", "average_line", "batch_letters"]


@dataclass(frozen=True)
class Line:
    """One displayed formula, and the rules that led over each of its equals signs."""

    formula: Formula
    rules: tuple[tuple[Rule, ...], ...]


@dataclass
class Teller:
    """Applies rules to questions about one System; keeps what was found for Rule.KNOWN."""

    system: System
    notation: Notation
    known: dict[Expr, tuple[Term, ...]] = field(default_factory=dict)

    def tell(self, question: Expr, plan: Sequence[tuple[Rule, ...]]) -> Line:
        """The question, then after each equals sign what its rules made of it."""
        terms: tuple[Term, ...] = (Term((question,)),)
        sides = [terms]
        ranges = self._ranges(question)
        for applied in plan:
            for rule in applied:
                terms = self._apply(rule, terms, ranges)
            sides.append(terms)
        if not any(t.bound or t.deltas or t.guards for t in terms):
            self.known[question] = terms
        return Line(self.notation.chain(question, *sides[1:]), tuple(plan))

    def _ranges(self, question: Expr) -> tuple[Range, ...]:
        """The free indices of the question, each over the whole dimension it stands at."""
        pairs = ((i, d) for a in accesses(question) for i, d in zip(a.indices, self._shape(a), strict=True))
        found = {i: Range(i, Integer(0), d - 1) for i, d in pairs if isinstance(i, Dummy)}
        return tuple(found.values())

    def _shape(self, access: Access) -> tuple[Expr, ...]:
        return self.system.tensor(access.name).shape

    def _apply(self, rule: Rule, terms: tuple[Term, ...], ranges: tuple[Range, ...]) -> tuple[Term, ...]:
        """The terms after one rule, applied to every term that it fits; DerivationError where it fits none."""
        if rule is Rule.COLLAPSE:
            return tuple(deltas.collapse(term, ranges) for term in terms)
        act: Callable[[Term], tuple[Term, ...] | None]
        act = self._recall if rule is Rule.KNOWN else lambda term: self._unfold(rule, term)
        results = [(term, act(term)) for term in terms]
        if terms and all(result is None for _, result in results):
            raise DerivationError(
                f"the {rule.value} has nothing to act on in {' + '.join(str(t.expression) for t in terms)}"
            )
        return tuple(t for term, result in results for t in ((term,) if result is None else result))

    def _unfold(self, rule: Rule, term: Term) -> tuple[Term, ...] | None:
        if rule is Rule.DEFINITION and len(term.factors) == 1 and isinstance(term.factors[0], Access):
            return (replace(term, factors=(rules.definition_at(term.factors[0], self.system),)),)
        asked = next((f for f in term.factors if isinstance(f, Partial)), None)
        if asked is None or rules.unfold(asked, self.system).rule is not rule:
            return None
        return rules.unfold_term(term, self.system, through=True)

    def _recall(self, term: Term) -> tuple[Term, ...] | None:
        """Earlier results put in the place of their questions, until none is left."""
        for m, factor in enumerate(term.factors):
            if factor in self.known:
                found: list[Term] = []
                for part in self.known[factor]:
                    middle = tuple(f for f in part.factors if f != 1)
                    placed = replace(term, factors=term.factors[:m] + middle + term.factors[m + 1 :])
                    found.extend(self._recall(placed) or (placed,))
                return tuple(found)
        return None


def average_line(system: System, name: str) -> Line:
    """∂cost_avg/∂A = 1/n Σ_s ∂cost_s/∂A, derived for A an element of the tensor of that name.

    It is a `Line` without any letter of the tensor left: the same for every tensor. A and n give
    way to other letters where the System has tensors or sizes of these names.
    """
    batch = with_samples(system)
    generic, count = batch_letters(system)
    wanted = Access(name, *(index(f"i{m}") for m in range(len(batch.tensor(name).shape))))
    notation = Notation.of(batch, {BATCH.name: count}, {wanted: generic})
    plan = ((Rule.DEFINITION, Rule.PRODUCT, Rule.SUM),)
    return Teller(batch, notation).tell(Partial(Access(COST), wanted), plan)


def batch_letters(system: System) -> tuple[Symbol, Symbol]:
    """What stands for an element of any tensor, and for the number of samples: letters that the System leaves free."""
    taken = {t.name for t in system.tensors} | {s.name for s in system.sizes}
    generic, count = (next(c for c in choice if c not in taken) for choice in (("A", "Theta", "A'"), ("n", "N", "n'")))
    return Symbol(generic), Symbol(count)
