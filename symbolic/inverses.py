"""What an activation is the inverse of: z eliminated in favour of the stored a = f(z).

    a = 1/(1 + exp(-z))   →   exp(z) = a/(1 - a),  so  exp(-z)/(1 + exp(-z))² = a (1 - a)

Nothing here knows an activation by name: E = exp(z) is eliminated between a = f(z) and the expression at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import sympy as sp
from sympy import Dummy, Expr, Integer, Symbol

from .exponentials import RationalForm, algebraic, rational_form, rational_ratio
from .expressions import Access, Call, Range, Reduction, Where, accesses, rebuild, walk
from .fold import Known, fold
from .system import Equation, System

__all__ = ["Inverse", "inverses", "through_outputs", "through_result"]

_Z, _A = Symbol("_z", real=True), Symbol("_a", real=True)
"""The input and the output of a formula that is inverted apart from any equation."""


@dataclass(frozen=True)
class Inverse:
    """exp(`argument`) of the tensor z in terms of the output a = f(z), for one branch or everywhere.

    `output` and `input` are the equation's accesses; `exponential` is exp(argument) written in `output`;
    `argument` is the multiple of `input`. For a function by branches, `sign` tells the condition
    that can be read from the output as from the input (`input <= 0` exactly where `output <= 0`).
    """

    output: Access | Symbol
    input: Access | Symbol
    argument: Expr
    exponential: Expr | None
    sign: bool


def inverses(system: System, skip: set[str]) -> dict[str, Inverse]:
    """For each input z of an equation a[I] = f(z[I]), how a tells exp(z) or the sign of z."""
    found: dict[str, Inverse] = {}
    for equation in system.equations:
        if equation.name in skip or not all(isinstance(i, Dummy) for i in equation.indices):
            continue
        value = system.expanded(equation.value)
        read = accesses(value)
        if len(read) != 1 or read[0].indices != equation.indices or value == read[0]:
            continue
        if not _covers(equation, system.tensor(read[0].name).shape):
            continue
        formula = value.xreplace({read[0]: _Z})
        if formula.free_symbols != {_Z} or any(isinstance(n, Reduction) for n in walk(formula)):
            continue
        inverse = _invert(formula)
        if inverse is not None:
            found[read[0].name] = _placed(inverse, equation.target, read[0])
    return found


def _placed(inverse: Inverse, output: Access, source: Access) -> Inverse:
    """The inverse of a formula in the equation that it comes from."""
    exponential = None if inverse.exponential is None else inverse.exponential.xreplace({_A: output})
    return Inverse(output, source, inverse.argument.xreplace({_Z: source}), exponential, inverse.sign)


def _covers(equation: Equation, shape: Sequence[Expr]) -> bool:
    """Whether the equation's ranges are all of that shape, so that it has an element for every one of that tensor."""
    pairs = zip(equation.ranges, shape, strict=True)
    return all(r.lower == 0 and sp.expand(r.upper + 1 - extent) == 0 for r, extent in pairs)


@lru_cache(maxsize=1024)
def _invert(formula: Expr) -> Inverse | None:
    """exp(k·z) = g(a) from a = f(z): f must be a quotient of degree one in it, or the log of one."""
    if isinstance(formula, Where):
        return _invert_branches(formula)
    known = sp.exp(_A) if isinstance(formula, sp.log) else _A
    form = rational_form(formula.args[0] if isinstance(formula, sp.log) else formula)
    if form is None or max(form.numerator.degree(), form.denominator.degree()) != 1:
        return None
    if any(_Z in c.free_symbols for p in (form.numerator, form.denominator) for c in p.coeffs()):
        return None
    (p1, p0), (q1, q0) = (
        [p.coeff_monomial(form.generator**i) for i in (1, 0)] for p in (form.numerator, form.denominator)
    )
    exponential = sp.cancel((q0 * known - p0) / (p1 - q1 * known))
    return Inverse(_A, _Z, form.argument, exponential, _keeps_sign(formula))


def _invert_branches(formula: Expr) -> Inverse | None:
    """A function by branches on the sign of z: the sign must be readable from a."""
    if not _keeps_sign(formula) or formula.condition.free_symbols != {_Z}:
        return None
    inner = _invert(formula.then) if formula.then.has(sp.exp) else None
    exponential, argument = (inner.exponential, inner.argument) if inner is not None else (None, _Z)
    return Inverse(_A, _Z, argument, exponential, True)


def _keeps_sign(formula: Expr) -> bool:
    """Whether f(z) <= 0 exactly where z <= 0, at points over the whole range."""
    sizes = [sp.Rational(n, d) for n in (1, 3, 7, 50, 700) for d in (1, 100, 10**6)]
    points = [Integer(0), *sizes, *(-q for q in sizes)]
    return all(bool(formula.xreplace({_Z: p}).evalf() <= 0) == bool(p <= 0) for p in points)


def through_result(
    call: Call, system: System, known: Iterable[Known], ranges: Sequence[Range], guards: Sequence[Expr]
) -> Expr | None:
    """σ′(u) through the stored a = σ(u), whatever expression u is; None where no tensor holds σ(u), or σ′ is no
    function of it."""
    if len(call.arguments) != 1 or not any(call.orders):
        return None
    stored = fold(Call(call.name, (0,), *call.arguments), known, ranges, guards)
    formula, slope = (system.expanded(Call(call.name, o, _Z)) for o in ((0,), call.orders))
    if not isinstance(stored, Access) or formula.free_symbols != {_Z}:
        return None
    inverse = _invert(formula)
    if inverse is None:
        return None
    source = Access("_z")
    result = through_outputs(slope.xreplace({_Z: source}), {source.name: _placed(inverse, stored, source)})
    return None if source in accesses(result) else result


def through_outputs(expression: Expr, table: Mapping[str, Inverse]) -> Expr:
    """The expression with z eliminated in favour of the stored a = σ(z), where that leaves no z."""
    for access in accesses(expression):
        inverse = table.get(access.name)
        if inverse is None:
            continue
        stored = inverse.output.xreplace(dict(zip(inverse.input.indices, access.indices, strict=True)))
        mapping = {inverse.output: stored, inverse.input: access}
        replaced = _eliminated(expression, access, inverse, mapping)
        if replaced is not None:
            expression = replaced
    return expression


def _eliminated(expression: Expr, access: Access, inverse: Inverse, mapping: Mapping[Expr, Expr]) -> Expr | None:
    """The expression with exp(k·access) and the sign of access read from the output; None if z stays."""
    stored = mapping[inverse.output]

    def visit(node: Expr) -> Expr:
        if access not in accesses(node):
            return node
        if isinstance(node, Where) and inverse.sign and node.condition in (access <= 0, access > 0):
            condition = node.condition.func(stored, Integer(0))
            return Where(condition, visit(node.then), visit(node.otherwise))
        if isinstance(node, sp.Mul):
            inside = [f for f in node.args if access in accesses(f)]
            if len(inside) < len(node.args):
                return sp.Mul(visit(sp.Mul(*inside)), *(f for f in node.args if f not in inside))
        if inverse.exponential is not None and not isinstance(node, Reduction | Where):
            form = rational_form(node)
            if form is not None and access in accesses(form.argument):
                return _substituted(node, form, inverse, mapping)
        return rebuild(node, [visit(a) for a in node.args])

    result = visit(expression)
    return result if access not in accesses(result) else None


def _substituted(node: Expr, form: RationalForm, inverse: Inverse, mapping: Mapping[Expr, Expr]) -> Expr:
    """exp(k·z) = g(a) put into a rational function of it, cancelled."""
    power = rational_ratio(form.argument, inverse.argument.xreplace(mapping))
    if inverse.exponential is None or power is None or not power.is_Integer:
        return node
    value = {form.generator: inverse.exponential.xreplace(mapping) ** power}
    return algebraic(form.numerator.as_expr().xreplace(value) / form.denominator.as_expr().xreplace(value))
