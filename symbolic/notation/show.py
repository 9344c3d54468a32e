"""From SymPy expressions, terms and equations to the ordered tree: how a person would write them.

Products and sums of SymPy have an order of their own; here they get the order of paper (numbers,
sizes, derivatives, parameters, data, functions, sums last; `a - y`, never `-y + a`). The factors of
a Term keep the order in which the rules wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sympy import Dummy, Expr

from ..expressions import Access, Range
from ..samples import SAMPLE_COST
from ..system import COST, Equation, FunctionDefinition, Role, System
from ..terms import Step, Term
from .letters import Letters, free_indices
from .tree import Accent, Chain, Derivative, Formula, Indexed, Number, Symbol
from .writer import Writer

__all__ = ["Notation", "layered"]

_LAYERED = re.compile(r"([A-Za-z_]*[A-Za-z])(\d+)")


def layered(name: str) -> Formula:
    """A tensor's name, a trailing number as its layer: `z2` is z^{2}."""
    match = _LAYERED.fullmatch(name)
    return Indexed(Symbol(match[1]), (), Number(match[2])) if match else Symbol(name)


@dataclass(frozen=True)
class Notation:
    """How the names of one System stand on paper.

    `symbols` maps names of tensors and sizes to what is shown; `elements` shows whole elements as
    something else; `cost` is what an adjoint differentiates (None: a cotangent under a bar);
    `taken` are names that no index may get when it needs another letter.
    """

    parameters: frozenset[str] = frozenset()
    adjoints: Mapping[str, str] = field(default_factory=dict)
    symbols: Mapping[str, Formula] = field(default_factory=dict)
    elements: Mapping[Access, Formula] = field(default_factory=dict)
    cost: Formula | None = None
    taken: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        system: System,
        symbols: Mapping[str, Formula] | None = None,
        elements: Mapping[Access, Formula] | None = None,
    ) -> Notation:
        """The notation of a System (forward or derived), with a choice of one's own for some names.

        The cotangent that the caller passes for an output has its own name where other equations add to it.
        """
        names = {t.name for t in system.tensors}
        batched = SAMPLE_COST in names and any(t.name == SAMPLE_COST and t.shape for t in system.tensors)
        label = "avg" if batched else "s"
        shown: dict[str, Formula] = {COST: Indexed(Symbol(COST), (Symbol(label),))} if COST in names else {}
        if batched:
            shown[SAMPLE_COST] = Symbol(COST)
        shown.update(symbols or {})
        derived = {t.adjoint_of for t in system.tensors if t.role is Role.DEFINED}
        passed = {t.name for t in system.tensors if t.role is Role.DATA and t.adjoint_of in derived}
        return cls(
            parameters=frozenset(t.name for t in system.tensors if t.role is Role.PARAMETER),
            adjoints={
                t.name: t.adjoint_of for t in system.tensors if t.adjoint_of is not None and t.name not in passed
            },
            symbols=shown,
            elements=dict(elements or {}),
            cost=shown[COST] if system.has_cost else None,
            taken=frozenset(names | {s.name for s in system.sizes}),
        )

    def name(self, name: str) -> Formula:
        """A tensor's name as shown."""
        return self.symbols.get(name) or layered(name)

    def element(self, access: Access, indices: Sequence[Formula]) -> Formula:
        """An element of a tensor, its shown subscripts given."""
        if access in self.elements:
            return self.elements[access]
        if access.name in self.adjoints:
            wanted = Access(self.adjoints[access.name], *access.indices)
            return self.adjoint(self.element(wanted, indices))
        return _subscripted(self.name(access.name), tuple(indices))

    def adjoint(self, of: Formula) -> Formula:
        """∂cost/∂of, or `of` under a bar where there is no cost."""
        if self.cost is not None:
            return Derivative(self.cost, of)
        if isinstance(of, Indexed):
            return Indexed(Accent(of.base), of.below, of.above)
        return Accent(of) if isinstance(of, Symbol) else Derivative(Symbol(COST), of)

    def formula(self, expression: Expr | tuple[Term, ...]) -> Formula:
        """One expression, or a sum of ordered terms."""
        return self._sides([expression])[0]

    def chain(self, *sides: Expr | tuple[Term, ...]) -> Formula:
        """The sides joined by equals signs; an index has the same letter on all of them."""
        shown = self._sides(sides)
        different = [s for m, s in enumerate(shown) if m == 0 or s != shown[m - 1]]
        return Chain(tuple(different)) if len(different) > 1 else different[0]

    def equation(self, equation: Equation) -> Formula:
        """left side = right side."""
        return self.chain(equation.target, equation.value)

    def function(self, definition: FunctionDefinition) -> Formula | None:
        """f(z) = its formula; None where the function is undefined."""
        if definition.body is None:
            return None
        writer = Writer(self, Letters(frozenset()))
        return Chain((writer.applied(definition.name, definition.parameters), writer(definition.body)))

    def step(self, step: Step) -> Formula:
        """What was asked for = what it has become."""
        return self.chain(step.subject, step.after)

    def size(self, expression: Expr) -> Formula:
        """A size or an expression of sizes."""
        return Writer(self, Letters(frozenset()))(expression)

    def bounds(self, ranges: Iterable[Range]) -> tuple[Formula, ...]:
        """`lower <= index <= upper` of each range, as relations on the index."""
        chosen = list(ranges)
        writer = Writer(self, Letters(self.taken).bind(r.symbol for r in chosen))
        return tuple(writer.bound(r) for r in chosen)

    def _sides(self, sides: Sequence[Expr | tuple[Term, ...]]) -> list[Formula]:
        expressions = [e for s in sides for e in (s if isinstance(s, tuple) else (s,))]
        free: dict[Dummy, None] = {}
        for expression in expressions:
            term = isinstance(expression, Term)
            bound = {r.symbol for r in expression.bound} if term else set()
            inner = free_indices(_parts(expression) if term else (expression,), self.elements)
            free.update((symbol, None) for symbol in inner if symbol not in bound)
        writer = Writer(self, Letters(self.taken).bind(free))
        return [writer.terms(s) if isinstance(s, tuple) else writer(s) for s in sides]


def _parts(term: Term) -> tuple[Expr, ...]:
    bounds = [e for r in term.bound for e in (r.lower, r.upper)]
    return (*term.factors, *term.deltas, *term.guards, *bounds)


def _subscripted(name: Formula, indices: tuple[Formula, ...]) -> Formula:
    if not indices:
        return name
    if isinstance(name, Indexed):
        return Indexed(name.base, (*name.below, *indices), name.above)
    return Indexed(name, indices)
