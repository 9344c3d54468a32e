"""Algebra on a gradient System: σ′ through the stored a, single-use adjoints inlined, cancelled.

    da = -y/a/n,  dz = da·exp(-z)/(1 + exp(-z))²   →   dz = (a - y)/n ...

Nothing here knows an activation by name: whether σ′(z) can be written in a is found by eliminating
E = exp(z) between a = σ(z) and the expression at hand.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import sympy as sp
from sympy import Dummy, Expr, Integer, Symbol

from .affine import nonnegative
from .domains import finite_everywhere
from .exponentials import RationalForm, algebraic, rational_form
from .expressions import Access, Call, Range, Reduction, Where, accesses, freshen, rebuild, walk
from .fold import Known, fold, known_results
from .means import without_deviations
from .order import components
from .system import Equation, System

__all__ = ["Inverse", "inverses", "merged_sums", "simplified", "through_outputs", "through_result", "tidied"]


_Z, _A = Symbol("_z", real=True), Symbol("_a", real=True)
"""The input and the output of a formula that is inverted apart from any equation."""

_SHORT = 8
"""A formula of at most this cost is put in the place of its name."""


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


def simplified(system: System) -> System:
    """The System with its adjoint equations inlined where they are evaluated no oftener, in their simplest form.

    Forward equations stay as they are. Adjoints that nothing reads any more, unless asked for, go.
    """
    keep = set(system.outputs)
    adjoints = {t.name for t in system.tensors if t.adjoint_of is not None or t.tangent_of is not None}
    known = known_results(system.with_equations(e for e in system.equations if e.name not in adjoints))
    inverse = inverses(system, adjoints)
    centred = without_deviations(system)
    equations: dict[str, list[Equation]] = {}
    pending: dict[str, Equation] = {}
    readers = _reader_counts(system)
    recurrent = system.recurrences()
    for equation in system.equations:
        if equation.name not in adjoints:
            equations.setdefault(equation.name, []).append(equation)
            continue
        for name in equation.reads():
            if name in pending and not _as_often(pending[name], equation):
                begun = equations.pop(equation.name, None)  # what its earlier equations hold stays behind what it reads
                equations.setdefault(name, []).append(pending.pop(name))
                equations.update({equation.name: begun} if begun is not None else {})
        value = centred(_inlined(equation.value, pending))
        equation = replace(equation, value=_best_form(value, equation.ranges, system, known, inverse))
        once = readers.get(equation.name) == 1 or _constant(equation)
        if once and equation.name not in keep | recurrent.keys() and _elementwise(equation):
            pending[equation.name] = equation
        else:
            equations.setdefault(equation.name, []).append(equation)
    flat = _in_order([e for group in equations.values() for e in group])
    names = {e.name for e in flat} | {t.name for t in system.inputs}
    return system.with_equations(flat, (t for t in system.tensors if t.name in names))


def _in_order(equations: list[Equation]) -> list[Equation]:
    """The equations, all of a tensor together, behind those of what they read; in their order where that does already.

    A tensor with a base case that reads what stands between its equations, and is no recurrence, has to move.
    """
    reads: dict[str, set[str]] = {}
    for equation in equations:
        reads.setdefault(equation.name, set()).update(equation.reads())
    place = {name: m for m, name in enumerate(reads)}
    if all(place.get(read, -1) <= place[name] for name in reads for read in reads[name]):
        return equations
    order = {name: m for m, name in enumerate(n for group in components(reads) for n in group)}
    return sorted(equations, key=lambda e: order[e.name])


def merged_sums(system: System, keep: Iterable[str] = ()) -> System:
    """Sums of sums as one: Σ_s c[s] with c[s] = α Σ_j u[s, j], read nowhere else, is α Σ_{s,j} u[s, j].

    The outputs, and the tensors named in `keep`, stay. So does a sum that is the same for each s: it is made once.
    """
    counts = _access_counts(system)
    kept = {*keep, *system.outputs}
    values = {e.name: e for e in system.equations}
    merged: set[str] = set()

    def visit(node: Expr) -> Expr:
        node = node if isinstance(node, Access) else rebuild(node, [visit(a) for a in node.args])
        if not isinstance(node, Reduction) or node.kind != "sum" or not isinstance(node.body, Access):
            return node
        name = node.body.name
        if name not in values or counts[name] != 1 or name in kept:
            return node
        equation = values[name]
        if len(system.defining(name)) != 1 or not _scaled_sum(equation.value):
            return node
        inner = freshen(equation.value, dict(zip(equation.indices, node.body.indices, strict=True)))
        constants = [f for f in sp.Mul.make_args(inner) if not isinstance(f, Reduction)]
        (total,) = (f for f in sp.Mul.make_args(inner) if isinstance(f, Reduction))
        if not set(node.bound_symbols) <= inner.free_symbols:
            return node
        merged.add(name)
        ranges, guards = (*node.ranges, *total.ranges), (*node.guards, *total.guards)
        return sp.Mul(*constants, Reduction("sum", total.body, ranges, guards))

    equations = []
    for equation in system.equations:
        equations.append(replace(equation, value=visit(equation.value)))
        values[equation.name] = equations[-1]  # a later sum takes in what has itself taken in another
    left = [e for e in equations if e.name not in merged]
    return system.with_equations(left, (t for t in system.tensors if t.name not in merged))


def _scaled_sum(value: Expr) -> bool:
    """Whether the value is one sum times numbers and sizes."""
    factors = sp.Mul.make_args(value)
    sums = [f for f in factors if isinstance(f, Reduction)]
    return len(sums) == 1 and sums[0].kind == "sum" and all(f in sums or f.is_number for f in factors)


def _reader_counts(system: System) -> dict[str, int]:
    counts: dict[str, int] = {}
    for equation in system.equations:
        for name in equation.reads():
            counts[name] = counts.get(name, 0) + 1
    return counts


def _access_counts(system: System) -> dict[str, int]:
    """How often an element of each tensor stands on a right side."""
    return dict(Counter(n.name for e in system.equations for n in walk(e.value) if isinstance(n, Access)))


def _constant(equation: Equation) -> bool:
    """Whether every element has one value that sizes alone decide."""
    return not accesses(equation.value) and not equation.value.atoms(Dummy)


def _elementwise(equation: Equation) -> bool:
    """Whether the equation only maps elements: no reduction, bare indices on the left."""
    plain = all(isinstance(i, Dummy) for i in equation.indices)
    return plain and not any(isinstance(n, Reduction) for n in walk(equation.value))


def _as_often(equation: Equation, reader: Equation) -> bool:
    """Whether the equation, put into its reader, is evaluated no oftener than on its own: under no further loop.

    One that reads no element of a tensor is a constant, and goes anywhere.
    """

    def inside(node: Expr, loops: frozenset[Expr]) -> bool:
        if isinstance(node, Access):
            return node.name != equation.name or loops <= node.free_symbols
        if isinstance(node, Reduction):  # computed once for each of the outer indices that it mentions
            loops = (loops & node.free_symbols) | set(node.bound_symbols)
        return all(inside(a, loops) for a in node.args)

    constant = not any(a.indices for a in accesses(equation.value)) and not equation.value.atoms(Dummy)
    return constant or inside(reader.value, frozenset(r.symbol for r in reader.ranges))


def _inlined(expression: Expr, pending: Mapping[str, Equation]) -> Expr:
    """Pending equations put in the place of their tensors."""
    if isinstance(expression, Access):
        equation = pending.get(expression.name)
        if equation is None:
            return expression
        return freshen(equation.value, dict(zip(equation.indices, expression.indices, strict=True)))
    return rebuild(expression, [_inlined(a, pending) for a in expression.args])


def _best_form(
    value: Expr, ranges: Sequence[Range], system: System, known: tuple[Known, ...], inverse: Mapping[str, Inverse]
) -> Expr:
    """The simpler of two: named functions kept where their formula is long, and all formulas put in.

    A named derivative whose formula is short, or reads only the stored output, is always put in.
    """
    calls = dict(_calls(value, ranges, ()))
    short = {}
    for call, (around, guards) in calls.items():
        formula = fold(system.expanded(call), known, around, guards)
        stored = through_result(call, system, known, around, guards) or through_outputs(formula, inverse)
        if stored != formula or _cost(stored) <= _SHORT:
            short[call] = algebraic(stored)
    kept = tidied(value.xreplace(short))
    if all(call in short for call in calls) and not inverse.keys() & {a.name for a in accesses(kept)}:
        return kept
    full = tidied(through_outputs(fold(system.expanded(value), known, ranges), inverse))
    named = sum(_cost(system.expanded(n)) for n in walk(kept) if isinstance(n, Call))
    return full if _cost(full) < _cost(kept) + named else kept


def _calls(
    expression: Expr, ranges: Sequence[Range], guards: Sequence[Expr]
) -> Iterator[tuple[Call, tuple[Sequence[Range], Sequence[Expr]]]]:
    """Every call of a named function, with the ranges and guards in force there."""
    if isinstance(expression, Call):
        yield expression, (ranges, guards)
    if isinstance(expression, Reduction):
        ranges, guards = (*ranges, *expression.ranges), (*guards, *expression.guards)
    for part in expression.args:
        yield from _calls(part, ranges, guards)


def _cost(expression: Expr) -> int:
    """Operations, a function counted as ten."""
    functions = sum(isinstance(n, sp.Function) for n in walk(expression))
    return int(sp.count_ops(expression)) + 10 * functions


def tidied(expression: Expr) -> Expr:
    """Sums simplified inside, then the whole with sums and tensors as atoms."""

    def visit(node: Expr) -> Expr:
        if isinstance(node, Reduction):
            return _pulled_out(Reduction(node.kind, algebraic(visit(node.body)), node.ranges, node.guards))
        if isinstance(node, Access):
            return node
        if isinstance(node, Where):
            return Where(node.condition, visit(node.then), visit(node.otherwise))
        return rebuild(node, [visit(a) for a in node.args])

    return algebraic(visit(expression))


def _pulled_out(reduction: Reduction) -> Expr:
    """Σ_k c f_k = c Σ_k f_k for numbers, sizes and free indices in c, and Σ_k c = n·c.

    A sum of nothing is 0: out of one that may be empty comes only what is finite.
    """
    if reduction.kind != "sum":
        return reduction
    outside: list[Expr] = []
    inside: list[Expr] = []
    whole = not reduction.guards and all(nonnegative(r.extent, {}) for r in reduction.ranges)
    for factor in sp.Mul.make_args(reduction.body):
        constant = not accesses(factor) and not factor.free_symbols & set(reduction.bound_symbols)
        (outside if constant and (whole or finite_everywhere(factor)) else inside).append(factor)
    if not inside and whole:
        return sp.Mul(*outside, *(r.extent for r in reduction.ranges))
    if not outside or not inside:
        return reduction
    return sp.Mul(*outside, Reduction("sum", sp.Mul(*inside), reduction.ranges, reduction.guards))


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
    ratio = sp.cancel(form.argument / inverse.argument.xreplace(mapping))
    if inverse.exponential is None or not ratio.is_Integer:
        return node
    value = {form.generator: inverse.exponential.xreplace(mapping) ** ratio}
    return algebraic(form.numerator.as_expr().xreplace(value) / form.denominator.as_expr().xreplace(value))
