"""Statements to a System: names resolved, equations in order, shapes inferred."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

import sympy as sp
from sympy import Expr, Symbol

from ..expressions import Range
from ..names import closest
from ..system import COST, Equation, FunctionDefinition, Role, System, Tensor
from .drafts import Draft, Names, Span, Variable
from .functions import FunctionTable
from .indexed import draft
from .recurrences import Group, groups
from .shapes import infer
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
    _check_sizes(declared)
    _check_functions(_of(program, FunctionText), names)
    functions.read_all()
    drafts: dict[str, list[Draft]] = {}
    for text in equations:
        made = draft(text, functions, names)
        functions.check_size(made.value, text.body)
        drafts.setdefault(text.name, []).append(made)
    arranged = groups(drafts)
    stated = _stated(_of(program, IndexBound), drafts, names)
    spans = {d.name: tuple(Span(sp.Integer(0), extent) for extent in d.shape) for d in declared}
    found = []
    for group in arranged:
        found.append(infer(group, spans, stated))
        spans.update(found[-1].spans)
    outside = _read_from_outside(arranged)
    outputs = _outputs(_of(program, OutputName), declared, arranged, spans, outside)
    _check_use(declared, arranged, outputs, outside)
    finished = tuple(_finish(d, shapes.ranges) for shapes in found for d in shapes.order)
    used = functions.used(e.value for e in finished)
    return System(_tensors(declared, arranged, spans), finished, used, outputs, name)


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
        if ranks.setdefault(e.name, len(e.nodes)) != len(e.nodes):
            message = f"{e.name!r} has {ranks[e.name]} subscripts in line {lines[e.name]}, {len(e.nodes)} here"
            raise e.code.error(message, e.node, "a tensor has one number of subscripts")
        if e.name == COST and e.nodes:
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


def _check_sizes(declared: list[Declaration]) -> None:
    """Every size has to follow from the shapes of the arrays that a caller passes.

    An axis gives away its name, or the one unknown size that its expression has to the first degree.
    """
    extents = [extent for d in declared for extent in d.shape]
    known: set[Symbol] = {extent for extent in extents if extent.is_Symbol}
    while True:
        rests = [(extent, extent.free_symbols - known) for extent in extents]
        solved = {s for extent, rest in rests for s in rest if len(rest) == 1 and _linear(extent, s)}
        if not solved:
            break
        known |= solved
    for d in declared:
        for symbol in sorted((s for extent in d.shape for s in extent.free_symbols - known), key=str):
            message = f"no array's shape gives away the size {symbol.name!r}"
            hint = f"let it be the length of an axis of data or a parameter: [{symbol.name}], or [2*{symbol.name} + 1]"
            raise d.code.error(message, d.node, hint)


def _linear(extent: Expr, symbol: Symbol) -> bool:
    return bool(extent.is_polynomial(symbol) and sp.degree(extent, symbol) == 1)


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


def _read_from_outside(arranged: list[Group]) -> set[str]:
    """Tensors that an equation outside their own group reads."""
    return {r for group in arranged for d in group.drafts for r in d.reads if r not in group.layouts}


def _outputs(
    named: list[OutputName],
    declared: list[Declaration],
    arranged: list[Group],
    spans: Mapping[str, tuple[Span, ...]],
    outside: set[str],
) -> tuple[str, ...]:
    """The tensors named by `output`; else those that the cost reads, or those that nothing reads."""
    defined = [tensor for group in arranged for tensor in group.layouts]
    outputs: dict[str, None] = {}
    for item in named:
        if item.name in outputs:
            raise item.code.error(f"{item.name!r} is named as an output twice", item.node, "remove one")
        if item.name == COST:
            hint = "remove it: the kernel `cost` returns it"
            raise item.code.error("the cost is no output of forward", item.node, hint)
        if item.name not in defined:
            what = "is given by the caller" if item.name in {d.name for d in declared} else "is not defined"
            hint = closest(item.name, defined) or "name a tensor that an equation defines"
            raise item.code.error(f"the output {item.name!r} {what}", item.node, hint)
        if not _whole(spans[item.name]):
            first = next(s.first for s in spans[item.name] if s.first != 0)
            message = f"the output {item.name!r} is not defined before its element {first}"
            raise item.code.error(message, item.node, "give it a base case, or name a tensor that has one")
        outputs[item.name] = None
    if named:
        return tuple(outputs)
    if COST in defined:
        (cost,) = (d for group in arranged if COST in group.layouts for d in group.drafts)
        return tuple(r for r in cost.reads if r in defined and _whole(spans[r]))
    ends = [group for group in arranged if outside.isdisjoint(group.layouts)]
    return tuple(tensor for group in ends for tensor in group.layouts if _whole(spans[tensor]))


def _whole(spans: tuple[Span, ...]) -> bool:
    return all(span.first == 0 for span in spans)


def _check_use(declared: list[Declaration], arranged: list[Group], outputs: tuple[str, ...], outside: set[str]) -> None:
    for d in declared:
        if d.name not in outside:
            raise d.code.error(f"no equation uses {d.name!r}", d.node, "use it, or remove its declaration")
    for group in arranged:
        if outside.isdisjoint(group.layouts) and group.layouts.keys().isdisjoint((*outputs, COST)):
            text = group.drafts[0].text
            hint = f"add `output {text.name}`, or remove the equation"
            raise text.code.error(f"nothing uses {text.name!r}", text.node, hint)


def _tensors(
    declared: list[Declaration], arranged: list[Group], spans: Mapping[str, tuple[Span, ...]]
) -> tuple[Tensor, ...]:
    """Declared tensors as declared, defined ones in order; those that depend on data differ from sample to sample."""
    roles = {"data": Role.DATA, "parameter": Role.PARAMETER}
    tensors = {d.name: Tensor(d.name, d.shape, roles[d.kind], d.kind == "data") for d in declared}
    for group in arranged:
        reads = {r for d in group.drafts for r in d.reads if r in tensors}
        per_sample = COST in group.layouts or any(tensors[r].per_sample for r in reads)
        for name in group.layouts:
            shape = tuple(span.extent for span in spans[name])
            tensors[name] = Tensor(name, shape, Role.DEFINED, per_sample)
    return tuple(tensors.values())


def _finish(made: Draft, ranges: Mapping[Variable, Range]) -> Equation:
    """The equation with its ranges in place of the placeholders."""
    known = {}
    for variable in made.variables:
        known[variable.lower], known[variable.upper] = ranges[variable].lower, ranges[variable].upper
    left = tuple(ranges[s] for s in made.subscripts if isinstance(s, Variable))
    indices = tuple(s.symbol if isinstance(s, Variable) else s for s in made.subscripts)
    position = made.text.code.position(made.text.node)
    return Equation(made.name, indices, left, made.value.xreplace(known), position)
