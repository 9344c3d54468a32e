"""Statements to a System: names resolved, equations in order, shapes inferred."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import sympy as sp
from sympy import Expr, Symbol

from ..expressions import Range
from ..names import closest
from ..system import COST, Equation, FunctionDefinition, Role, System, Tensor
from .drafts import Draft, Names, Variable
from .functions import FunctionTable
from .indexed import draft
from .shapes import Shapes, infer
from .source import Source
from .statements import Declaration, EquationText, FunctionText, IndexBound, OutputName, Statement, read

__all__ = ["elaborate"]

Kind = TypeVar("Kind", Declaration, EquationText, FunctionText, IndexBound, OutputName)


def elaborate(source: Source, name: str, given: Iterable[FunctionDefinition] = ()) -> System:
    """The System that the text describes."""
    program = read(source)
    declared = _of(program, Declaration)
    equations = _of(program, EquationText)
    if not equations:
        hint = "write at least one equation, for example z[j] = b[j] + sum[k](w[j, k] * x[k])"
        raise source.error("this text has no equation", 0, hint)
    functions = FunctionTable(_of(program, FunctionText), given)
    names = _names(declared, equations)
    _check_functions(_of(program, FunctionText), names)
    functions.read_all()
    drafts: dict[str, list[Draft]] = {}
    for text in equations:
        made = draft(text, functions, names)
        functions.check_size(made.value, text.body)
        drafts.setdefault(text.name, []).append(made)
    order = _in_order(drafts)
    stated = _stated(_of(program, IndexBound), drafts, names)
    found: dict[str, Shapes] = {}
    shapes = {d.name: d.shape for d in declared}
    for tensor in order:
        found[tensor] = infer(drafts[tensor], shapes, stated)
        shapes[tensor] = found[tensor].shape
    outputs = _outputs(_of(program, OutputName), declared, drafts, order)
    _check_use(declared, drafts, outputs)
    finished = tuple(_finish(d, found[tensor].ranges) for tensor in order for d in _bases_first(drafts[tensor]))
    used = functions.used(e.value for e in finished)
    return System(_tensors(declared, drafts, order, shapes), finished, used, outputs, name)


def _of(program: list[Statement], kind: type[Kind]) -> list[Kind]:
    return [s for s in program if isinstance(s, kind)]


def _names(declared: list[Declaration], equations: list[EquationText]) -> Names:
    """All names of the model; no name may mean two things."""
    ranks: dict[str, int] = {}
    lines: dict[str, int] = {}
    for d in declared:
        if d.name == COST:
            raise d.code.error("the cost is defined by an equation", d.node, "name the declared tensor otherwise")
        if d.name in ranks:
            raise d.code.error(_twice(d.name, lines[d.name]), d.node, "rename one of them, or remove it")
        ranks[d.name], lines[d.name] = len(d.shape), d.code.position(d.node).line
    given = set(ranks)
    for e in equations:
        if e.name in given:
            raise e.code.error(
                _twice(e.name, lines[e.name]), e.node, "a declared tensor is given by the caller: rename one"
            )
        if ranks.setdefault(e.name, len(e.subscripts)) != len(e.subscripts):
            message = f"{e.name!r} has {ranks[e.name]} subscripts in line {lines[e.name]}, {len(e.subscripts)} here"
            raise e.code.error(message, e.node, "a tensor has one number of subscripts")
        if e.name == COST and e.subscripts:
            raise e.code.error(
                "the cost is one number for each sample", e.node, "sum over its indices: cost = sum[j](…)"
            )
        lines.setdefault(e.name, e.code.position(e.node).line)
    return Names(ranks, _sizes(declared, ranks))


def _twice(name: str, line: int) -> str:
    return f"{name!r} is defined twice: first in line {line}"


def _sizes(declared: list[Declaration], ranks: Mapping[str, int]) -> dict[str, Symbol]:
    sizes: dict[str, Symbol] = {}
    for d in declared:
        for dimension in d.shape:
            for symbol in sorted(dimension.free_symbols, key=str):
                if symbol.name in ranks:
                    message = f"{symbol.name!r} is a tensor and cannot be a size"
                    raise d.code.error(message, d.node, "choose another name for one of them")
                sizes.setdefault(symbol.name, symbol)
    return sizes


def _check_functions(texts: list[FunctionText], names: Names) -> None:
    for text in texts:
        for kind, taken in (("a tensor", names.ranks), ("a size", names.sizes)):
            if text.name in taken:
                message = f"{text.name!r} is {kind} and cannot be a function too"
                raise text.code.error(message, text.node, "choose another name for one of them")


def _stated(bounds: list[IndexBound], drafts: Mapping[str, list[Draft]], names: Names) -> dict[str, IndexBound]:
    stated: dict[str, IndexBound] = {}
    used = {v.name for group in drafts.values() for d in group for v in d.variables}
    for bound in bounds:
        unknown = sorted(s.name for s in bound.extent.free_symbols if s.name not in names.sizes)
        if unknown:
            hint = closest(unknown[0], names.sizes) or "a size is known from the shape of data or a parameter"
            raise bound.code.error(f"undeclared size {unknown[0]!r}", bound.extent_node, hint)
        if bound.name in stated:
            line = stated[bound.name].code.position().line
            raise bound.code.error(f"the range of {bound.name!r} is stated twice: first in line {line}", bound.node)
        if bound.name not in used:
            raise bound.code.error(f"no equation uses the index {bound.name!r}", bound.node, "remove the statement")
        stated[bound.name] = bound
    return stated


def _in_order(drafts: Mapping[str, list[Draft]]) -> list[str]:
    """The defined tensors, each after those that it reads, otherwise as written."""
    order: dict[str, None] = {}
    for start in drafts:
        way: list[tuple[str, list[str]]] = [(start, [])] if start not in order else []
        while way:
            tensor, _ = way[-1]
            waiting = [r for d in drafts[tensor] for r in d.reads if r in drafts and r != tensor and r not in order]
            if not waiting:
                order[tensor] = None
                way.pop()
                continue
            on_way = [name for name, _ in way]
            if waiting[0] in on_way:
                raise _cycle(drafts, [*on_way[on_way.index(waiting[0]) :], waiting[0]])
            way.append((waiting[0], []))
    return list(order)


def _cycle(drafts: Mapping[str, list[Draft]], cycle: list[str]) -> Exception:
    text = drafts[cycle[0]][0].text
    hint = "an equation reads what is given or defined by the others; a recurrence reads its own tensor alone"
    return text.code.error(f"a cycle of equations: {' -> '.join(cycle)}", text.node, hint)


def _outputs(
    named: list[OutputName], declared: list[Declaration], drafts: Mapping[str, list[Draft]], order: list[str]
) -> tuple[str, ...]:
    """The tensors named by `output`; else those that the cost reads, or those that nothing reads."""
    outputs: dict[str, None] = {}
    for item in named:
        if item.name in outputs:
            raise item.code.error(f"{item.name!r} is named as an output twice", item.node, "remove one")
        if item.name == COST:
            raise item.code.error(
                "the cost is no output of forward", item.node, "remove it: the kernel `cost` returns it"
            )
        if item.name not in drafts:
            what = "is given by the caller" if item.name in {d.name for d in declared} else "is not defined"
            hint = closest(item.name, order) or "name a tensor that an equation defines"
            raise item.code.error(f"the output {item.name!r} {what}", item.node, hint)
        outputs[item.name] = None
    if named:
        return tuple(outputs)
    if COST in drafts:
        return tuple(r for d in drafts[COST] for r in d.reads if r in drafts)
    read = {r for tensor, group in drafts.items() for d in group for r in d.reads if r != tensor}
    return tuple(tensor for tensor in order if tensor not in read)


def _check_use(declared: list[Declaration], drafts: Mapping[str, list[Draft]], outputs: tuple[str, ...]) -> None:
    read = {r for tensor, group in drafts.items() for d in group for r in d.reads if r != tensor}
    for d in declared:
        if d.name not in read:
            raise d.code.error(f"no equation uses {d.name!r}", d.node, "use it, or remove its declaration")
    for tensor, group in drafts.items():
        if tensor not in read and tensor not in outputs and tensor != COST:
            text = group[0].text
            raise text.code.error(
                f"nothing uses {tensor!r}", text.node, f"add `output {tensor}`, or remove the equation"
            )


def _tensors(
    declared: list[Declaration],
    drafts: Mapping[str, list[Draft]],
    order: list[str],
    shapes: Mapping[str, tuple[Expr, ...]],
) -> tuple[Tensor, ...]:
    """Declared tensors as declared, defined ones in order; those that depend on data differ from sample to sample."""
    roles = {"data": Role.DATA, "parameter": Role.PARAMETER}
    tensors = {d.name: Tensor(d.name, d.shape, roles[d.kind], d.kind == "data") for d in declared}
    for name in order:
        reads = (tensors[r] for d in drafts[name] for r in d.reads if r in tensors)
        tensors[name] = Tensor(name, shapes[name], Role.DEFINED, name == COST or any(t.per_sample for t in reads))
    return tuple(tensors.values())


def _bases_first(group: list[Draft]) -> list[Draft]:
    """Base cases in order, then the equation for the rest."""
    return sorted(group, key=lambda d: next((s for s in d.text.subscripts if isinstance(s, int)), len(group)))


def _finish(made: Draft, ranges: Mapping[Variable, Range]) -> Equation:
    """The equation with its ranges in place of the placeholders."""
    known = {}
    for variable in made.variables:
        known[variable.lower], known[variable.upper] = ranges[variable].lower, ranges[variable].upper
    left = tuple(ranges[s] for s in made.subscripts if isinstance(s, Variable))
    indices = tuple(s.symbol if isinstance(s, Variable) else sp.Integer(s) for s in made.subscripts)
    position = made.text.code.position(made.text.node)
    return Equation(made.text.name, indices, left, made.value.xreplace(known), position)
