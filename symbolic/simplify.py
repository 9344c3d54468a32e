"""Algebra on a gradient System: σ′ through the stored a, single-use adjoints inlined, cancelled.

    da = -y/a/n,  dz = da·exp(-z)/(1 + exp(-z))²   →   dz = (a - y)/n ...

Whether σ′(z) can be written in a is found in `inverses`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import sympy as sp
from sympy import Dummy, Expr

from .affine import nonnegative
from .domains import finite_everywhere
from .exponentials import algebraic
from .expressions import Access, Call, Range, Reduction, Where, accesses, freshen, rebuild, walk
from .fold import Known, fold, known_results
from .inverses import Inverse, inverses, through_outputs, through_result
from .means import without_deviations
from .order import components
from .system import Equation, System

__all__ = ["merged_sums", "simplified", "tidied"]


_SHORT = 8
"""A formula of at most this cost is put in the place of its name."""


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
