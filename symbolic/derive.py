"""Reverse mode over a System, equation by equation, with every step kept.

    for each tensor x, from the cost backwards:
        chain rule      ∂c/∂x_J = Σ over every equation y_I = f(…x…) of Σ_I ∂c/∂y_I · ∂y_I/∂x_J
        local rules     ∂y_I/∂x_J = terms with Kronecker deltas
        collapse        the deltas are solved for the bound indices
        known results   right sides of forward equations become their left sides

The result is a System again: the forward equations, then one equation for each adjoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import sympy as sp
from sympy import Dummy, Expr, Integer

from . import report
from .deltas import collapse, hoist
from .errors import DerivationError
from .expressions import Access, Call, Partial, Range, Reduction, accesses, contains, freshen, index, walk
from .fold import Known, fold, fold_term, known_results
from .inverses import Inverse, inverses, through_outputs, through_result
from .rules import influenced, influencing, unfold, unfold_all
from .simplify import tidied
from .system import COST, Equation, Role, System, Tensor
from .terms import Rule, Step, Term, total

__all__ = ["Derivation", "adjoint_name", "derive"]


@dataclass(frozen=True)
class Derivation:
    """The gradient of a System: which tensors, every step, and the result as a System.

    `result` holds the forward equations and one equation for each adjoint; its `outputs` are the
    adjoints of `wrt`, in that order.
    """

    system: System
    wrt: tuple[str, ...]
    steps: tuple[Step, ...]
    result: System

    def gradient(self, name: str) -> Equation:
        """The equation of ∂cost/∂name; KeyError where it was not derived."""
        for tensor in self.result.tensors:
            if tensor.adjoint_of == name:
                return self.result.defining(tensor.name)[0]
        raise KeyError(name)

    def latex(self) -> str:
        """A complete LaTeX document."""
        return report.latex_document(self)

    def markdown(self) -> str:
        """Markdown with `$$` formulas."""
        return report.markdown(self)

    def html(self) -> str:
        """A complete HTML page."""
        return report.html(self)

    def text(self) -> str:
        """A readable form for a terminal."""
        return report.text(self)

    def _repr_latex_(self) -> str:
        return report.latex_fragment(self)

    def _repr_html_(self) -> str:
        return report.html_fragment(self)


def adjoint_name(name: str, taken: Iterable[str]) -> str:
    """`d` + name, with underscores between where another tensor already has that name."""
    prefix = "d"
    taken = set(taken)
    while prefix + name in taken:
        prefix += "_"
    return prefix + name


def derive(system: System, wrt: Sequence[str] | None = None, *, explain: bool = True) -> Derivation:
    """The adjoint of every tensor in `wrt` (default: all parameters), by reverse mode.

    A System with a cost is differentiated from ∂cost/∂cost = 1; one without takes the cotangents of
    its outputs as further data, named like the adjoints (a vector-Jacobian product, by default
    with respect to parameters and data). `explain=False` keeps only the steps that the result needs,
    not those that show a reader more. Raises DerivationError for an unknown name in `wrt`.
    """
    default = system.parameters if system.has_cost else (*system.parameters, *system.data)
    names = tuple(t.name for t in default) if wrt is None else tuple(wrt)
    known = {t.name for t in system.tensors}
    for name in names:
        if name not in known or (name == COST and system.has_cost):
            choices = ", ".join(t.name for t in system.tensors if t.name != COST)
            raise DerivationError(f"no tensor {name!r} to differentiate with respect to: expected one of {choices}")
    return _Reverse(system, names, explain).run()


@dataclass
class _Reverse:
    """One reverse walk; mutable while it runs, and gone when the Derivation is made."""

    system: System
    wrt: tuple[str, ...]
    explain: bool = True
    steps: list[Step] = field(default_factory=list)
    equations: list[Equation] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)  # by the name of the tensor differentiated by
    seeds: dict[str, Expr] = field(default_factory=dict)  # constant adjoints, never stored
    known: tuple[Known, ...] = ()
    inverse: dict[str, Inverse] = field(default_factory=dict)

    def run(self) -> Derivation:
        system = self.system
        self.known = known_results(system)
        self.inverse = inverses(system, set()) if self.explain else {}
        active = self._active()
        taken = {t.name for t in system.tensors}
        readers: dict[str, list[Equation]] = {}
        for equation in system.equations:
            for name in equation.reads():
                readers.setdefault(name, []).append(equation)
        cotangents = self._seed(active, taken)
        order = [t.name for t in system.tensors if t.role is Role.DEFINED]
        order.sort(key=lambda n: [e.name for e in system.equations].index(n))
        inputs = [t.name for t in system.inputs]
        groups = system.recurrences()
        for name in [*reversed(order), *inputs]:
            if name in active and name not in self.seeds:
                for member in groups.get(name, ()):
                    if member in active and member not in self.tensors:
                        self._declare(member, taken)
                self._adjoint(name, readers.get(name, []), taken, cotangents)
        adjoints = tuple(t for t in self.tensors.values() if t not in cotangents.values())
        result = replace(
            system,
            tensors=(*system.tensors, *cotangents.values(), *adjoints),
            equations=(*system.equations, *self.equations),
            outputs=tuple(self.tensors[n].name if n in self.tensors else cotangents[n].name for n in self.wrt),
        )
        return Derivation(system, self.wrt, tuple(self.steps), result)

    def _active(self) -> set[str]:
        """Tensors between `wrt` and the cost (or outputs), and `wrt` itself."""
        system = self.system
        varied = influenced(system, *self.wrt)
        useful = influencing(system, COST) if system.has_cost else influencing(system, *system.outputs)
        return set(varied & useful) | set(self.wrt)

    def _seed(self, active: set[str], taken: set[str]) -> dict[str, Tensor]:
        """∂cost/∂cost = 1, or the cotangents that the caller passes."""
        if self.system.has_cost:
            self.seeds[COST] = Integer(1)
            return {}
        cotangents = {}
        for name in self.system.outputs:
            tensor = self.system.tensor(name)
            label = adjoint_name(name, taken)
            taken.add(label)
            cotangents[name] = Tensor(label, tensor.shape, Role.DATA, tensor.per_sample, adjoint_of=name)
            active.add(name)
        return cotangents

    def _adjoint(self, name: str, readers: list[Equation], taken: set[str], cotangents: dict[str, Tensor]) -> None:
        """Form ∂cost/∂name from every equation that reads it, and record how."""
        tensor = self.system.tensor(name)
        letters = self._letters(name, readers)
        ranges = tuple(Range(index(i), Integer(0), d - 1) for i, d in zip(letters, tensor.shape, strict=True))
        wanted = Access(name, *(r.symbol for r in ranges))
        readers = [e for e in readers if e.name in self.tensors or e.name in self.seeds or e.name in cotangents]
        if name in cotangents and not readers and name not in self.wrt:
            self.tensors[name] = cotangents[name]
            return
        declared = name in self.tensors
        label = self.tensors[name].name if declared else self._declare(name, taken)
        terms = self._contributions(label, wanted, ranges, readers, cotangents)
        value = total(terms)
        constant = not accesses(value) and not value.free_symbols & set(wanted.indices)
        if constant and not declared and name not in self.wrt:
            self.seeds[name] = value
            del self.tensors[name]
            return
        self.equations.append(Equation(label, wanted.indices, ranges, value))

    def _declare(self, name: str, taken: set[str]) -> str:
        """The adjoint's tensor; made before its equation where a recurrence reads it."""
        tensor = self.system.tensor(name)
        label = adjoint_name(name, taken)
        taken.add(label)
        self.tensors[name] = Tensor(label, tensor.shape, Role.DEFINED, tensor.per_sample, adjoint_of=name)
        return label

    def _contributions(
        self,
        label: str,
        wanted: Access,
        ranges: tuple[Range, ...],
        readers: list[Equation],
        cotangents: dict[str, Tensor],
    ) -> tuple[Term, ...]:
        """The adjoint's terms, one rule after the other, each step logged."""
        log = _Log(self, label, Partial(Access(COST), wanted))
        passed = cotangents.get(wanted.name)  # an output's cotangent, to which its readers add
        given = [] if passed is None else [Term((Access(passed.name, *wanted.indices),))]
        chains, opened, locals_ = [*given], [*given], [*given]
        for equation in readers:
            seed, target, bound = self._incoming(equation, cotangents)
            value = freshen(equation.value, dict(zip(equation.indices, target.indices, strict=True)))
            local = Partial(value if equation.name == COST else target, wanted)
            chains.append(Term((*seed, local), bound))
            outer = Term(seed, bound)
            if self.explain:
                opened.extend(_after(outer, p) for p in _opened(Partial(value, wanted), self.system))
            locals_.extend(_after(outer, p) for p in unfold_all(Partial(value, wanted), self.system))
        adds = "contributes" if passed is None else f"adds to the cotangent {passed.name} that is passed for it"
        log.step(Rule.CHAIN, chains, f"every equation that reads it {adds}")
        if any(isinstance(e.value, sp.Add | Reduction) for e in readers):
            log.step(Rule.SUM, opened, "the definition put in, differentiated term by term")
        else:
            log.step(Rule.DEFINITION, opened, "the definition put in, its outer function differentiated")
        log.step(Rule.KRONECKER, locals_, "each local derivative, with a delta where an element meets itself")
        collapsed = [_tidy(collapse(t, ranges)) for t in locals_]
        log.step(Rule.COLLAPSE, [hoist(t) for t in collapsed], "a delta keeps one value of its index")
        folded = [hoist(fold_term(t, self.known, ranges)) for t in collapsed]
        log.step(Rule.KNOWN, folded, "right sides of forward equations are known")
        if self.explain:
            self._explain(log, folded, ranges)
        return tuple(folded)

    def _explain(self, log: _Log, terms: list[Term], ranges: tuple[Range, ...]) -> None:
        """The derivatives of named functions put in, then the simplest form, through stored outputs."""
        if any(contains(f, lambda n: isinstance(n, Call)) for t in terms for f in t.factors):
            terms = [replace(t, factors=tuple(self._substituted(f, t, ranges) for f in t.factors)) for t in terms]
            log.step(Rule.LOCAL, terms, "the derivative of each named function")
        value = total(tuple(terms))
        simple = tidied(through_outputs(value, self.inverse))
        if (simple != value and simple != tidied(value)) or sp.count_ops(simple) < sp.count_ops(value):
            parts = [Term((part,)) for part in sp.Add.make_args(simple)]
            log.step(Rule.SIMPLIFY, parts, "the same value in fewer operations")

    def _substituted(self, factor: Expr, term: Term, ranges: tuple[Range, ...]) -> Expr:
        if not contains(factor, lambda n: isinstance(n, Call)):
            return factor
        around = (*ranges, *term.bound)
        composite = [n for n in walk(factor) if isinstance(n, Call) and not isinstance(n.arguments[0], Access)]
        stored = {c: through_result(c, self.system, self.known, around, term.guards) for c in composite}
        factor = factor.xreplace({call: value for call, value in stored.items() if value is not None})
        return fold(self.system.expanded(factor), self.known, around, term.guards)

    def _incoming(
        self, equation: Equation, cotangents: dict[str, Tensor]
    ) -> tuple[tuple[Expr, ...], Access, tuple[Range, ...]]:
        """The adjoint of the equation's left side, the left side and its ranges, at fresh indices."""
        renamed = {r.symbol: index(r.symbol.name) for r in equation.ranges}
        bound = tuple(
            Range(renamed[r.symbol], r.lower.xreplace(renamed), r.upper.xreplace(renamed)) for r in equation.ranges
        )
        target = Access(equation.name, *(renamed.get(i, i) for i in equation.indices))
        if equation.name in self.seeds:
            seed = self.seeds[equation.name]
            return ((seed,) if seed != 1 else ()), target, bound
        adjoint = self.tensors.get(equation.name) or cotangents[equation.name]
        return (Access(adjoint.name, *target.indices),), target, bound

    def _letters(self, name: str, readers: list[Equation]) -> list[str]:
        """Index letters for a tensor: those of its first use, else those of its own equation."""
        uses = [n for e in readers for n in accesses(e.value)] + [e.target for e in self.system.defining(name)]
        for access in uses:
            if access.name == name and all(isinstance(i, Dummy) for i in access.indices):  # a size is no letter
                return [i.name for i in access.indices]
        return [chr(ord("i") + m % 12) for m in range(len(self.system.tensor(name).shape))]


@dataclass
class _Log:
    """Numbers the steps of one adjoint and drops those that change nothing."""

    walk: _Reverse
    label: str
    subject: Partial
    before: tuple[Term, ...] = ()
    count: int = 0

    def step(self, rule: Rule, after: list[Term], why: str) -> None:
        terms = tuple(after)
        if (terms and terms != self.before) or not self.count:
            self.count += 1
            identity = f"{self.label}.{self.count}"
            self.walk.steps.append(Step(identity, rule, self.subject, self.before, terms, why))
        self.before = terms


def _opened(partial: Partial, system: System) -> tuple[Term, ...]:
    """∂y/∂x with y's right side put in and the rules for sums applied, or one other rule where it is no sum."""
    if not isinstance(partial.of, sp.Add | Reduction):
        return unfold(partial, system, through=False).terms
    terms: list[Term] = []
    for term in unfold(partial, system, through=False).terms:
        inner = term.factors[-1]
        if isinstance(inner, Partial) and isinstance(inner.of, sp.Add | Reduction):
            terms.extend(_after(replace(term, factors=term.factors[:-1]), t) for t in _opened(inner, system))
        else:
            terms.append(term)
    return tuple(terms)


def _after(outer: Term, inner: Term) -> Term:
    """The product of two terms, the factors of the first before those of the second."""
    factors = (*outer.factors, *(f for f in inner.factors if f != 1)) or (Integer(1),)
    return Term(factors, outer.bound + inner.bound, outer.deltas + inner.deltas, outer.guards + inner.guards)


def _tidy(term: Term) -> Term:
    """Ones dropped; the order of the other factors kept."""
    return replace(term, factors=tuple(f for f in term.factors if f != 1) or (Integer(1),))
