"""A System from SymPy objects: `IndexedBase`, `Idx`, `Sum`, `Product`, `Eq`, `Piecewise`, undefined functions.

The equations are copied node by node into the language's own nodes, written in the language, and read
as any other text: so they mean what the same text means, and are held to the same rules. SymPy's own
`doit`, `simplify` and `sympify` are never called on them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import sympy as sp
from sympy import Dummy, Expr, Idx, Indexed, IndexedBase, Integer, Symbol
from sympy.core.function import AppliedUndef, UndefinedFunction

from .catalogue import definition, names
from .elementwise import Copy, FunctionLike, elementwise, undefined
from .errors import FormulaError
from .expressions import Access, Call, Range, Reduction, Where, size
from .format import format_expression
from .language import parse
from .names import name_problem
from .system import FunctionDefinition, System

__all__ = ["from_sympy"]

Named: TypeAlias = IndexedBase | Symbol
Pair: TypeAlias = tuple[Expr, Expr]
Index: TypeAlias = Idx | Symbol


def from_sympy(
    equations: Iterable[sp.Eq | Pair],
    *,
    data: Iterable[Named] = (),
    parameters: Iterable[Named] = (),
    outputs: Iterable[Named | str] = (),
    functions: Mapping[str | UndefinedFunction, FunctionLike | sp.Lambda] | None = None,
    name: str = "model",
) -> System:
    """The System of the equations `Eq(z[j], …)`, or pairs `(z[j], …)`, one for each equation of the language.

    `data` and `parameters` are what callers pass: an IndexedBase with its shape, or a Symbol for a single
    number; other symbols are sizes and indices. Subscripts start at 0. The range of an Idx and the limits
    of a Sum hold as they stand; those of a plain index follow from its uses. `functions` says what
    undefined functions mean: all that `elementwise` takes, or a Lambda; those it does not name
    are the catalogue's, or stay undefined. `outputs` are what `forward` returns.
    Raises FormulaError for what the language has no words for, and as `parse` does: positions are those
    in the text that the equations make.
    """
    model = _Model({f if isinstance(f, str) else f.__name__: like for f, like in (functions or {}).items()})
    lines = [f"{kind} {model.declare(item)}" for kind, items in _given(data, parameters) for item in items]
    pairs = [_pair(e) for e in equations]
    for left, _ in pairs:
        model.define(left)
    written = [model.equation(left, right) for left, right in pairs]
    lines += [f"index {index} < {format_expression(extent)}" for index, extent in model.stated.items() if extent]
    lines += [*written, *(f"output {_checked(o if isinstance(o, str) else _tensor(o), 'an output')}" for o in outputs)]
    system = parse("\n".join(lines), name=name, file="<sympy>", functions=model.definitions)
    model.check(system)
    return system


def _given(data: Iterable[Named], parameters: Iterable[Named]) -> Iterator[tuple[str, Iterable[Named]]]:
    for kind, items in (("data", data), ("parameter", parameters)):
        yield kind, (items,) if isinstance(items, IndexedBase | Symbol) else items


def _pair(equation: sp.Eq | Pair) -> Pair:
    if isinstance(equation, sp.Eq):
        return equation.lhs, equation.rhs
    if isinstance(equation, tuple) and len(equation) == 2:
        left, right = (Integer(e) if isinstance(e, int) and not isinstance(e, bool) else e for e in equation)
        if isinstance(left, Expr) and isinstance(right, Expr):
            return left, right
    hint = "write Eq(z[j], …), or the pair (z[j], …), which SymPy cannot evaluate to True or False"
    raise FormulaError(f"expected an equation, found {equation!r:.80}", hint=hint)


def _tensor(item: object) -> str:
    """The name of a tensor by the object that stands for it."""
    if isinstance(item, IndexedBase):
        return str(item.label)
    if isinstance(item, Symbol):
        return str(item.name)
    hint = "expected an IndexedBase with its shape, or a Symbol for a single number"
    raise FormulaError(f"a {type(item).__name__} is no tensor: {item!r:.80}", hint=hint)


def _checked(name: str, what: str) -> str:
    problem = name_problem(name)
    if problem:
        raise FormulaError(f"{problem} and cannot name {what}", hint="choose another name")
    return name


@dataclass
class _Model:
    """All that the equations share: tensors, sizes, functions, and the index names that have been given away."""

    functions: Mapping[str, FunctionLike | sp.Lambda]
    sizes: set[str] = field(default_factory=set)
    ranks: dict[str, int] = field(default_factory=dict)
    shapes: dict[str, tuple[Expr, ...]] = field(default_factory=dict)  # what an IndexedBase says of a defined tensor
    stated: dict[str, Expr | None] = field(default_factory=dict)  # index name -> its stated length
    starts: list[tuple[int, int, Idx]] = field(default_factory=list)  # equation, axis, index with a range
    resolved: dict[str, FunctionDefinition] = field(default_factory=dict)
    definitions: list[FunctionDefinition] = field(default_factory=list)
    count: int = 0

    def declare(self, item: Named) -> str:
        """The declaration of a given tensor: its name and shape. Its sizes are sizes of the model."""
        name = _checked(_tensor(item), "a tensor")
        if isinstance(item, Symbol):
            self.ranks[name] = 0
            return name
        if item.shape is None:
            raise FormulaError(f"{name} has no shape", hint=f"write IndexedBase({name!r}, shape=(n,)), with its sizes")
        shape = [self.size(extent) for extent in item.shape]
        self.sizes.update(s.name for extent in shape for s in extent.free_symbols)
        self.ranks[name] = len(shape)
        return f"{name}[{', '.join(map(format_expression, shape))}]"

    def define(self, left: Expr) -> None:
        """Note the tensor that a left side defines."""
        base = left.base if isinstance(left, Indexed) else left
        name = _checked(_tensor(base), "a tensor")
        self.ranks.setdefault(name, len(left.indices) if isinstance(left, Indexed) else 0)
        if isinstance(base, IndexedBase) and base.shape is not None:
            self.shapes[name] = tuple(self.size(extent) for extent in base.shape)

    def size(self, expression: Expr) -> Expr:
        """A size, or an expression of sizes, in the language's own symbols."""
        if isinstance(expression, Symbol):
            return size(_checked(expression.name, "a size"))
        if isinstance(expression, Integer):
            return expression
        power = isinstance(expression, sp.Pow) and expression.exp.is_Integer and 0 < expression.exp <= 8
        if isinstance(expression, sp.Add | sp.Mul | sp.floor) or power:
            return expression.func(*(self.size(a) if not a.is_Rational else a for a in expression.args))
        hint = "a size is made of whole numbers and symbols with + - * and floor(…/d)"
        raise FormulaError(f"{expression} is no size", hint=hint)

    def claim(self, wanted: str, extent: Expr | None, near: Iterable[str]) -> str:
        """A name for an index, which has the same stated length wherever it stands in the model."""
        plain = _checked("i" if wanted.startswith("Dummy_") else wanted, "an index")
        taken = {*near, *self.ranks, *self.sizes} - {plain}
        name, number = plain, 1
        while name in taken or name in near or self.stated.setdefault(name, extent) != extent:
            number += 1
            name = f"{plain}{number}"
        return name

    def function(self, name: str, arity: int) -> FunctionDefinition:
        """The meaning of an undefined function: as given, else the catalogue's, else none."""
        if name not in self.resolved:
            parameters = tuple(f"u{m + 1}" for m in range(arity)) if arity > 1 else ("u",)
            like = self.functions.get(name)
            if isinstance(like, sp.Lambda):
                found = elementwise(like.expr, name, tuple(_checked(s.name, "an argument") for s in like.variables))
            elif like is not None:
                found = elementwise(like, _checked(name, "a function"), parameters)
            elif name in names("activation", "cost"):
                found = (definition(name),)
            else:
                found = (undefined(name, tuple(Symbol(p, real=True) for p in parameters)),)
            self.resolved[name] = found[-1]
            self.definitions += [f for f in found if f.origin != "catalogue"]
        return self.resolved[name]

    def equation(self, left: Expr, right: Expr) -> str:
        """One equation as text."""
        formula = _IndexedCopy(self, str(left))
        subscripts = [formula.left(axis, s) for axis, s in enumerate(left.indices)] if isinstance(left, Indexed) else []
        self.count += 1
        name = _tensor(left.base if isinstance(left, Indexed) else left)
        inner = ", ".join(format_expression(s, formula.names) for s in subscripts)
        value = format_expression(formula.visit(right), formula.names)
        return f"{name}[{inner}] = {value}" if inner else f"{name} = {value}"

    def check(self, system: System) -> None:
        """Hold what the text came to mean against the shapes and ranges that the SymPy objects state."""
        for name, stated in self.shapes.items():
            found = system.tensor(name).shape
            if any(sp.expand(a - b) != 0 for a, b in zip(stated, found, strict=True)):
                message = f"{name} is declared with the shape {stated}, its equations give it {found}"
                raise FormulaError(message, hint="correct the shape, or the ranges of the indices")
        lines = sorted(system.equations, key=lambda e: e.position.line if e.position else 0)
        for number, axis, index in self.starts:
            symbol = lines[number].indices[axis]
            (made,) = (r for r in lines[number].ranges if r.symbol == symbol)
            if made.lower != index.lower:
                message = f"{index} starts at {index.lower}, but {lines[number].target} is defined from {made.lower} on"
                raise FormulaError(message, hint="elements before it need base cases, such as Eq(h[0, i], …)")


class _IndexedCopy(Copy):
    """Copies one equation; every index gets a Dummy of its own, named in `names`."""

    def __init__(self, model: _Model, label: str) -> None:
        super().__init__(label, {})
        self.model = model
        self.names: dict[Dummy, str] = {}
        self.scope: dict[Index, Dummy] = {}
        self.special.update(
            {
                Idx: self._index,
                Indexed: self._indexed,
                sp.Sum: lambda e: self._reduction("sum", e),
                sp.Product: lambda e: self._reduction("prod", e),
                sp.KroneckerDelta: self._delta,
            }
        )

    def left(self, axis: int, subscript: Expr) -> Expr:
        """A subscript of the left side, its index bound for the whole equation."""
        for index in _indices_in(subscript, self.model.sizes):
            if index in self.scope:
                raise FormulaError(f"{self.name}: the index {index} stands twice on the left side")
            ranged = isinstance(index, Idx) and index.upper is not None
            self._bind(index, self.model.size(index.upper + 1) if ranged else None)
            if ranged and index.lower != 0 and subscript == index:
                self.model.starts.append((self.model.count, axis, index))
        return self.visit(subscript)

    def symbol(self, symbol: Symbol) -> Expr:
        if symbol in self.scope:
            return self.scope[symbol]
        if symbol.name in self.model.ranks:
            return Access(_checked(symbol.name, "a tensor"))
        if symbol.name in self.model.sizes:
            return size(symbol.name)
        raise self._unknown(symbol)

    def _unknown(self, index: Index) -> FormulaError:
        twin = next((i for i in self.scope if str(i) == str(index)), None)
        if twin is not None:
            message = f"{self.name}: there are two different indices named {index}, {sp.srepr(twin)} and another"
            return FormulaError(message, hint="make it once, with its range, and use that one object")
        hint = "sum over it with Sum, put it on the left side, or declare it as data or a parameter"
        return FormulaError(f"{self.name}: {index} is no tensor, no size, and no index of the equation", hint=hint)

    def _bind(self, index: Index, extent: Expr | None) -> Dummy:
        name = str(index.label) if isinstance(index, Idx) else index.name
        symbol = self.scope[index] = Dummy(name, integer=True)
        self.names[symbol] = self.model.claim(name, extent, {self.names[s] for s in self.scope.values() if s != symbol})
        return symbol

    def _index(self, index: Idx) -> Expr:
        if index not in self.scope:
            raise self._unknown(index)
        return self.scope[index]

    def _indexed(self, element: Indexed) -> Expr:
        base = element.base
        name = _checked(_tensor(base), "a tensor")
        if getattr(base, "offset", 0) != 0 or getattr(base, "strides", None) is not None:
            raise FormulaError(f"{self.name}: {name} has an offset or strides", hint="write them in the subscripts")
        return Access(name, *(self.visit(i) for i in element.indices))

    def call(self, expression: AppliedUndef) -> Expr:
        arguments = [self.visit(a) for a in expression.args]
        found = self.model.function(expression.func.__name__, len(arguments))
        if len(found.parameters) != len(arguments):
            expected = len(found.parameters)
            message = f"{self.name}: {expression.func.__name__} takes {expected} arguments, found {len(arguments)}"
            raise FormulaError(message)
        return Call(found.name, (0,) * len(arguments), *arguments)

    def _delta(self, delta: sp.KroneckerDelta) -> Expr:
        left, right = (self.visit(i) for i in delta.args[:2])
        return Where(sp.Eq(left, right), Integer(1), Integer(0))

    def _reduction(self, kind: str, expression: sp.Sum | sp.Product) -> Expr:
        before = dict(self.scope)
        limits = list(expression.limits)
        ranges: dict[Index, Range] = {}
        guards: list[Expr] = []
        for index, *bounds in reversed(limits):  # the last is the outermost: others may depend on it
            ranges[index] = self._range(index, bounds, guards)
        body = self.visit(expression.function)
        self.scope = before
        independent = not any(ranges[i].symbol in g.free_symbols for g in guards for i in ranges)
        order = [ranges[limit[0]] for limit in (limits if independent else reversed(limits))]
        return Reduction(kind, body, order, guards)

    def _range(self, index: Index, bounds: list[Expr], guards: list[Expr]) -> Range:
        """Bind an index. A last value that is the same everywhere is stated; other bounds become conditions."""
        lowers = [self.visit(b) for b in _parts(bounds[0], sp.Max)] if bounds else []
        uppers = [self.visit(b) for b in _parts(bounds[1], sp.Min)] if bounds else []
        for extent in (sp.expand(u - low + 1) for u in uppers for low in lowers):
            if extent.is_number and extent < 0:
                message = f"{self.name}: {index} runs from {bounds[0]} to {bounds[1]}: SymPy counts that negatively"
                raise FormulaError(message, hint="an empty sum ends one below where it starts")
        stated = uppers[0] + 1 if len(uppers) == 1 and not uppers[0].atoms(Dummy, Access) else None
        self.scope.pop(index, None)
        symbol = self._bind(index, stated)
        guards += [symbol - bound for bound in lowers if bound != 0]
        guards += [bound - symbol for bound in uppers if stated is None]
        return Range(symbol, Integer(0), Integer(0))


def _parts(bound: Expr, kind: type[Expr]) -> tuple[Expr, ...]:
    """The bounds one by one: the arguments of a Max below or a Min above, or the only one."""
    return tuple(bound.args) if isinstance(bound, kind) else (bound,)


def _indices_in(expression: Expr, sizes: set[str]) -> Iterator[Index]:
    """The indices of a subscript: every Idx, and every symbol that is no size."""
    if isinstance(expression, Idx) or (isinstance(expression, Symbol) and expression.name not in sizes):
        yield expression
    else:
        for part in () if isinstance(expression, Symbol) else expression.args:
            yield from _indices_in(part, sizes)
