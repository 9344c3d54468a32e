"""The rules of differentiation: one rule, one function, and its docstring is the formula.

`unfold` applies one rule once to ∂of/∂wrt; `unfold_all` applies them until no derivative is left.
Which rule fits a node is a table; the walk is code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import sympy as sp
from sympy import Expr, Integer

from .affine import guards_of
from .errors import DerivationError
from .expressions import Access, Call, Delta, Partial, Reduction, Where, freshen, walk
from .system import Role, System
from .terms import Rule, Term

__all__ = ["Unfolded", "definition_at", "depends", "influenced", "influencing", "unfold", "unfold_all", "unfold_term"]


@dataclass(frozen=True)
class Unfolded:
    """What one rule made of one derivative: ∂of/∂wrt = the sum of the terms (none: it is 0)."""

    rule: Rule
    terms: tuple[Term, ...]


def depends(expression: Expr, names: frozenset[str]) -> bool:
    """Whether an element of one of the tensors stands in the expression."""
    return any(isinstance(n, Access) and n.name in names for n in walk(expression))


def influenced(system: System, *names: str) -> frozenset[str]:
    """The tensors and every tensor that depends on them through the equations."""
    found = set(names)
    before = -1
    while len(found) > before:  # more than one round where a recurrence reads what stands after it
        before = len(found)
        found.update(e.name for e in system.equations if found.intersection(e.reads()))
    return frozenset(found)


def influencing(system: System, *names: str) -> frozenset[str]:
    """The tensors and every tensor that they depend on through the equations."""
    found = set(names)
    before = -1
    while len(found) > before:
        before = len(found)
        for equation in reversed(system.equations):
            if equation.name in found:
                found.update(equation.reads())
    return frozenset(found)


def of_sum(of: Expr, wrt: Access, _: frozenset[str]) -> tuple[Term, ...]:
    """∂(u + v)/∂x = ∂u/∂x + ∂v/∂x."""
    return tuple(Term((Partial(u, wrt),)) for u in of.args)


def of_reduction(of: Expr, wrt: Access, _: frozenset[str]) -> tuple[Term, ...]:
    """∂(Σ_k u_k)/∂x = Σ_k ∂u_k/∂x, and the corresponding rule for a product, a maximum, a minimum."""
    fresh = freshen(of)
    weight = {"sum": _sum_weight, "prod": _product_weight, "max": _extremum_weight, "min": _extremum_weight}[of.kind]
    return (Term((*weight(of, fresh), Partial(fresh.body, wrt)), fresh.ranges, (), fresh.guards),)


def _sum_weight(_: Expr, __: Expr) -> tuple[Expr, ...]:
    """Every summand counts once."""
    return ()


def _product_weight(of: Expr, fresh: Expr) -> tuple[Expr, ...]:
    """∂(Π_k u_k)/∂u_k = Π_{l≠k} u_l, written with where(l = k, 1, u_l): right where a u is 0 too."""
    others = freshen(of)
    pairs = zip(others.ranges, fresh.ranges, strict=True)
    same = sp.And(*(sp.Eq(a.symbol, b.symbol) for a, b in pairs))
    return (Reduction("prod", Where(same, Integer(1), others.body), others.ranges, others.guards),)


def _extremum_weight(of: Expr, fresh: Expr) -> tuple[Expr, ...]:
    """∂(max_k u_k)/∂u_k = [u_k = m]/#{l : u_l = m}: at a tie the mean over those that attain it."""
    again = freshen(of)
    attained = Where(sp.Eq(again.body, freshen(of)), Integer(1), Integer(0))
    count = Reduction("sum", attained, again.ranges, again.guards)
    return Where(sp.Eq(fresh.body, freshen(of)), Integer(1), Integer(0)), 1 / count


def of_product(of: Expr, wrt: Access, names: frozenset[str]) -> tuple[Term, ...]:
    """∂(u·v)/∂x = v·∂u/∂x + u·∂v/∂x; factors free of x are constants."""
    terms = []
    for m, factor in enumerate(of.args):
        if depends(factor, names):
            others = of.args[:m] + of.args[m + 1 :]
            terms.append(Term((*others, Partial(factor, wrt))))
    return tuple(terms)


def of_power(of: Expr, wrt: Access, names: frozenset[str]) -> tuple[Term, ...]:
    """∂(u^r)/∂x = r·u^(r-1)·∂u/∂x + u^r·log(u)·∂r/∂x."""
    base, exponent = of.as_base_exp()
    terms = []
    if depends(base, names):
        terms.append(Term((exponent, base ** (exponent - 1), Partial(base, wrt))))
    if depends(exponent, names):
        terms.append(Term((of, sp.log(base), Partial(exponent, wrt))))
    return tuple(terms)


def of_function(of: Expr, wrt: Access, names: frozenset[str]) -> tuple[Term, ...]:
    """∂f(u, v)/∂x = ∂f/∂u·∂u/∂x + ∂f/∂v·∂v/∂x."""
    arguments = of.arguments if isinstance(of, Call) else of.args
    terms = []
    for m, argument in enumerate(arguments):
        if depends(argument, names):
            terms.append(Term((_outer_derivative(of, m), Partial(argument, wrt))))
    return tuple(terms)


def of_where(of: Expr, wrt: Access, names: frozenset[str]) -> tuple[Term, ...]:
    """∂ where(c, u, v)/∂x = [c] ∂u/∂x + [not c] ∂v/∂x: the branch that holds at the point.

    A condition on indices alone becomes guards of the term, any other a factor where(c, 1, 0).
    """
    terms = []
    for condition, branch, mask in (
        (of.condition, of.then, Where(of.condition, Integer(1), Integer(0))),
        (sp.Not(of.condition), of.otherwise, Where(of.condition, Integer(0), Integer(1))),
    ):
        if depends(branch, names):
            guards = guards_of(condition)
            factors = (Partial(branch, wrt),) if guards is not None else (mask, Partial(branch, wrt))
            terms.append(Term(factors, guards=guards or ()))
    return tuple(terms)


def of_access(of: Access, wrt: Access) -> tuple[Term, ...]:
    """∂x_I/∂x_J = Π δ(I, J)."""
    deltas = [Delta(a, b) for a, b in zip(of.indices, wrt.indices, strict=True)]
    if Integer(0) in deltas:
        return ()
    return (Term((Integer(1),), deltas=tuple(d for d in deltas if isinstance(d, Delta))),)


def _outer_derivative(of: Expr, position: int) -> Expr:
    """∂f/∂(argument `position`), as a named derivative for a Call, by SymPy for a known function."""
    if isinstance(of, sp.Abs):
        return sp.sign(of.args[0])
    if isinstance(of, sp.sign):
        return Integer(0)
    result = of.fdiff(position + 1)
    if result.has(sp.Derivative, sp.Subs, sp.DiracDelta, sp.Heaviside):
        raise DerivationError(f"{of.func.__name__} has no derivative that a kernel can compute: got {result}")
    return result


_RULES: tuple[tuple[type | tuple[type, ...], Rule, Callable[[Expr, Access, frozenset[str]], tuple[Term, ...]]], ...] = (
    (sp.Add, Rule.SUM, of_sum),
    (Reduction, Rule.SUM, of_reduction),
    (sp.Mul, Rule.PRODUCT, of_product),
    (sp.exp, Rule.CHAIN, of_function),
    (sp.Pow, Rule.POWER, of_power),
    (Where, Rule.CHAIN, of_where),
    ((sp.Function, Call), Rule.CHAIN, of_function),
)


def unfold(partial: Partial, system: System, *, through: bool = True) -> Unfolded:
    """Apply the one rule that fits the outermost node of ∂of/∂wrt.

    With `through`, an element of a tensor defined by an equation is replaced by its right side
    (rule DEFINITION: the total derivative); without, it counts as independent (reverse mode, where
    its own adjoint carries it on).
    """
    of, wrt = partial.of, partial.wrt
    if isinstance(of, Access):
        if of.name == wrt.name:
            return Unfolded(Rule.KRONECKER, of_access(of, wrt))
        if not through or system.tensor(of.name).role is not Role.DEFINED:
            return Unfolded(Rule.KRONECKER, ())
        return Unfolded(Rule.DEFINITION, (Term((Partial(definition_at(of, system), wrt),)),))
    names = influenced(system, wrt.name) if through else frozenset({wrt.name})
    if not of.args:
        return Unfolded(Rule.SUM, ())
    for kinds, rule, function in _RULES:
        if isinstance(of, kinds):
            return Unfolded(rule, function(of, wrt, names))
    raise DerivationError(f"no rule for the derivative of {of} with respect to {wrt}")


def definition_at(access: Access, system: System) -> Expr:
    """The right side of the access' equation at its subscripts, with fresh bound indices."""
    (equation,) = system.defining(access.name)
    return freshen(equation.value, dict(zip(equation.indices, access.indices, strict=True)))


def unfold_term(term: Term, system: System, *, through: bool = False) -> tuple[Term, ...]:
    """Unfold the first derivative among the factors; the term alone where there is none."""
    for m, factor in enumerate(term.factors):
        if isinstance(factor, Partial):
            parts = unfold(factor, system, through=through).terms
            return tuple(_place(term, m, part) for part in parts)
    return (term,)


def _place(term: Term, position: int, part: Term) -> Term:
    """The term with `part` in the place of one factor; ones are dropped, the order is kept."""
    middle = tuple(f for f in part.factors if f != 1)
    factors = term.factors[:position] + middle + term.factors[position + 1 :]
    return Term(factors, term.bound + part.bound, term.deltas + part.deltas, term.guards + part.guards)


def unfold_all(partial: Partial, system: System, *, through: bool = False) -> tuple[Term, ...]:
    """∂of/∂wrt as terms without any derivative left: deltas, guards and ordered factors."""
    done: list[Term] = []
    open_terms = [Term((partial,))]
    while open_terms:
        term = open_terms.pop(0)
        if any(isinstance(f, Partial) for f in term.factors):
            open_terms = [*unfold_term(term, system, through=through), *open_terms]
        elif Integer(0) not in term.factors:
            done.append(replace(term, factors=term.factors or (Integer(1),)))
    return tuple(done)
