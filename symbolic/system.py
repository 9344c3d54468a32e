"""The one currency: a System of indexed equations, immutable, checked when it is made.

The forward pass is a System, its gradient is a System, and so is every rewritten form of either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

import sympy as sp
from sympy import Dummy, Expr, Symbol

from .errors import FormulaError, Position
from .expressions import Access, Call, Range, accesses, rebuild, walk
from .order import components, recurrent

__all__ = ["COST", "Equation", "FunctionDefinition", "Role", "System", "Tensor", "renamed"]

COST = "cost"
"""The scalar tensor of this name is cost_s, the cost of one sample."""


class Role(Enum):
    """Where a tensor's values come from."""

    DATA = "data"  # passed by the caller, one value per sample: kernels add the leading batch axis
    PARAMETER = "parameter"  # passed by the caller, shared by all samples
    DEFINED = "defined"  # by an equation


@dataclass(frozen=True)
class Tensor:
    """A named array of reals.

    `shape` holds SymPy integers and expressions in size symbols; `()` is a scalar.
    `per_sample` says that the values differ from sample to sample (data, and what depends on it).
    `adjoint_of` names the tensor whose derivative of the cost this is, for display and for results;
    `tangent_of` the one whose tangent.
    """

    name: str
    shape: tuple[Expr, ...]
    role: Role
    per_sample: bool = False
    adjoint_of: str | None = None
    tangent_of: str | None = None


@dataclass(frozen=True)
class Equation:
    """`name[indices] = value`, for every value of the left side's index ranges.

    `indices` are the left side's subscripts: the symbol of one of `ranges`, or a base case's fixed
    subscript, an integer or an expression of sizes. `position` is where the user wrote it, if anywhere.
    """

    name: str
    indices: tuple[Expr, ...]
    ranges: tuple[Range, ...]
    value: Expr
    position: Position | None = field(default=None, compare=False)

    @property
    def target(self) -> Access:
        """The left side as an access."""
        return Access(self.name, *self.indices)

    def reads(self) -> list[str]:
        """Names of the tensors on the right side, once each, in order."""
        return list(dict.fromkeys(a.name for a in accesses(self.value)))


@dataclass(frozen=True)
class FunctionDefinition:
    """An elementwise function: `name(parameters) = body`, or undefined where `body` is None.

    `body` is a SymPy expression in the plain real symbols `parameters`.
    """

    name: str
    parameters: tuple[Symbol, ...]
    body: Expr | None
    origin: str = "user"  # "user", "catalogue" or "undefined"

    def derivative(self, orders: Iterable[int]) -> Expr | None:
        """The body differentiated `orders[m]` times in parameter m, by SymPy; that of a sign is 0, at 0 too."""
        if self.body is None:
            return None
        result = self.body
        for parameter, order in zip(self.parameters, orders, strict=True):
            for _ in range(order):
                signs = {s: Dummy(real=True) for s in sp.ordered(result.atoms(sp.sign))}
                slope = result.xreplace(signs).diff(parameter)
                result = slope.xreplace({symbol: s for s, symbol in signs.items()})
        return result

    def apply(self, call: Call) -> Expr:
        """The call with the formula put in its place; the call itself where the function is undefined."""
        formula = self.derivative(call.orders)
        if formula is None:
            return call
        return formula.xreplace(dict(zip(self.parameters, call.arguments, strict=True)))


@dataclass(frozen=True)
class System:
    """An ordered set of indexed equations over declared tensors.

    Equations stand in an order in which each reads only what is given or already defined; equations
    of one recurrence, which read each other at earlier indices, stand together. `outputs` is what
    `forward` returns. `sizes` are the size symbols, in
    order of first appearance in the declarations: the order of the size arguments of a C kernel.
    """

    tensors: tuple[Tensor, ...]
    equations: tuple[Equation, ...]
    functions: tuple[FunctionDefinition, ...] = ()
    outputs: tuple[str, ...] = ()
    name: str = "model"

    def __post_init__(self) -> None:
        known = {t.name for t in self.tensors}
        ready = {t.name for t in self.tensors if t.role is not Role.DEFINED}
        place = self.recurrences()
        for equation in self.equations:
            ready.update(place.get(equation.name, ()))
            for name in equation.reads():
                if name not in known:
                    raise FormulaError(
                        f"{equation.name} reads {name!r}, which is not declared", position=equation.position
                    )
                if name not in ready and name != equation.name:
                    raise FormulaError(
                        f"{equation.name} reads {name!r} before it is defined", position=equation.position
                    )
            ready.add(equation.name)

    def __iter__(self) -> Iterator[Equation]:
        return iter(self.equations)

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name; KeyError where there is none."""
        for t in self.tensors:
            if t.name == name:
                return t
        raise KeyError(name)

    def function(self, name: str) -> FunctionDefinition:
        """The function of that name; KeyError where there is none."""
        for f in self.functions:
            if f.name == name:
                return f
        raise KeyError(name)

    def defining(self, name: str) -> tuple[Equation, ...]:
        """The equations whose left side is that tensor (several for a recurrence)."""
        return tuple(e for e in self.equations if e.name == name)

    @property
    def data(self) -> tuple[Tensor, ...]:
        return tuple(t for t in self.tensors if t.role is Role.DATA)

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        return tuple(t for t in self.tensors if t.role is Role.PARAMETER)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Data and parameters, in order of declaration."""
        return tuple(t for t in self.tensors if t.role is not Role.DEFINED)

    @property
    def has_cost(self) -> bool:
        return any(e.name == COST for e in self.equations)

    @property
    def sizes(self) -> tuple[Symbol, ...]:
        found: dict[Symbol, None] = {}
        for t in self.tensors:
            for dimension in t.shape:
                found.update(dict.fromkeys(sorted(dimension.free_symbols, key=lambda s: s.name)))
        return tuple(found)

    def recurrences(self) -> dict[str, tuple[str, ...]]:
        """For each tensor that depends on itself through an index, the group that does so together."""
        reads: dict[str, list[str]] = {}
        for equation in self.equations:
            reads.setdefault(equation.name, []).extend(equation.reads())
        groups = (g for g in components(reads) if recurrent(g, reads))
        return {name: group for group in groups for name in group}

    def with_equations(self, equations: Iterable[Equation], tensors: Iterable[Tensor] | None = None) -> System:
        """The same System over other equations (and tensors)."""
        chosen = self.tensors if tensors is None else tuple(tensors)
        return replace(self, equations=tuple(equations), tensors=chosen)

    def expanded(self, expression: Expr) -> Expr:
        """The expression with every call of a defined function replaced by its formula."""
        while True:
            calls = {n: self.function(n.name).apply(n) for n in walk(expression) if isinstance(n, Call)}
            calls = {call: formula for call, formula in calls.items() if call != formula}
            if not calls:
                return expression
            expression = expression.xreplace(calls)


def renamed(system: System, names: Mapping[str, str]) -> System:
    """The System with other names for some tensors."""

    def visit(node: Expr) -> Expr:
        if isinstance(node, Access):
            return Access(names.get(node.name, node.name), *node.indices)
        return rebuild(node, [visit(a) for a in node.args])

    tensors = tuple(replace(t, name=names.get(t.name, t.name)) for t in system.tensors)
    equations = tuple(replace(e, name=names.get(e.name, e.name), value=visit(e.value)) for e in system.equations)
    outputs = tuple(names.get(n, n) for n in system.outputs)
    return replace(system, tensors=tensors, equations=equations, outputs=outputs)
