"""An evaluator of Systems that shares nothing with derive, lower or a backend: the oracles' foundation.

Every equation is evaluated over its whole index grid, from the formulas as the user wrote them
(catalogue functions and primitives by their textbook formula), in a number system of choice:
float64 (`Float`), mpmath at any precision (`Precise`), or float64 with running error bounds and a
tangent (`error_scale.Bounded`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import sympy as sp
from numpy.typing import NDArray
from sympy import Expr, Symbol
from sympy.logic.boolalg import And, Boolean, Not, Or

from chainrule.symbolic.expressions import (
    Access,
    Call,
    Delta,
    Maximum,
    Minimum,
    Reduction,
    Where,
    accesses,
    walk,
)
from chainrule.symbolic.primitives import Sigmoid, Softplus, expm1, log1p
from chainrule.symbolic.system import Equation, Role, System

from .grids import Grid, OracleError, of_whole_numbers
from .number_systems import Float, Integers, Precise, Value

__all__ = ["Evaluator", "OracleError", "evaluate"]

FUNCTIONS: dict[type, str] = {
    sp.exp: "exp", sp.log: "log", sp.sin: "sin", sp.cos: "cos", sp.tan: "tan", sp.asin: "asin",
    sp.acos: "acos", sp.atan: "atan", sp.sinh: "sinh", sp.cosh: "cosh", sp.tanh: "tanh", sp.asinh: "asinh",
    sp.acosh: "acosh", sp.atanh: "atanh", sp.erf: "erf", sp.erfc: "erfc", expm1: "expm1", log1p: "log1p",
}  # fmt: skip
"""Functions of one argument that every number system evaluates by itself."""

TEXTBOOK: dict[type, Callable[[Expr], Expr]] = {
    Sigmoid: lambda z: 1 / (1 + sp.exp(-z)),
    Softplus: lambda z: sp.log(1 + sp.exp(z)),
}
"""Primitives that the oracle evaluates by the formula that defines them."""

_ARGUMENT = Symbol("z", real=True)


class Evaluator:
    """A System at given sizes (one number for each size symbol), ready to be evaluated many times.

    `points` counts the grid points visited by the last run: the work it was, for one lane.
    """

    def __init__(self, system: System, sizes: Mapping[Symbol, int], numbers: Float) -> None:
        self.system = system
        self.sizes = {s: np.array(v, dtype=np.int64) for s, v in sizes.items()}
        self.numbers = numbers
        self.points = 0
        self._outermost = Grid.start(self.sizes)
        self.shapes = {t.name: tuple(int(self._outermost.integer(d)) for d in t.shape) for t in system.tensors}
        self._groups = system.recurrences()
        self._memo: dict[Any, Any] = {}
        self._arrays: dict[str, Value] = {}
        self._ready: dict[str, NDArray[np.bool_]] = {}

    def run(self, values: Mapping[str, Value], lanes: int) -> dict[str, Value]:
        """Every tensor of the System, each of shape (declared shape…, lanes or 1).

        `values` are the inputs in the same layout, and such defined tensors as are known already: their
        equations are left out. Raises OracleError for what cannot be evaluated.
        """
        self.points = 0
        self.numbers.kinks = []
        self._arrays = dict(values)
        self._ready = {name: np.ones(self.shapes[name], dtype=bool) for name in values}
        for tensor in self.system.tensors:
            if tensor.role is Role.DEFINED and tensor.name not in values:
                self._arrays[tensor.name] = self.numbers.empty((*self.shapes[tensor.name], lanes))
                self._ready[tensor.name] = np.zeros(self.shapes[tensor.name], dtype=bool)
        with np.errstate(all="ignore"):
            done = set(values)
            for equation in self.system.equations:
                if equation.name in self._groups:
                    if equation.name not in done:
                        group = self._groups[equation.name]
                        done.update(group)
                        self._recurrence([e for e in self.system.equations if e.name in group])
                elif equation.name not in done:
                    self._assign(equation, self._whole(equation))
        return self._arrays

    # --- equations ---------------------------------------------------------------------------

    def _recurrence(self, equations: Sequence[Equation]) -> None:
        """Front by front: of the elements that are missing, those whose reads are known, until none is missing."""
        group = {e.name for e in equations}
        missing = [(e, self._whole(e).listed()) for e in equations]
        while missing:
            rest, defined = [], False
            for equation, points in missing:
                blocked = np.broadcast_to(self._blocked(equation.value, points, group), points.active.shape[:-1])
                if not blocked.all():
                    self._assign(equation, points.listed(~blocked))
                    defined = True
                if blocked.any():
                    rest.append((equation, points.listed(blocked)))
            if rest and not defined:
                names = ", ".join(sorted(group))
                raise OracleError(f"{names}: no order of evaluation defines each element before it is read")
            missing = rest

    def _blocked(self, e: Expr, scope: Grid, group: set[str]) -> NDArray[np.bool_]:
        """Where, over the grid, the expression reads an element of the group that is still missing."""
        if isinstance(e, Access):
            if e.name not in group:
                return np.array(False)
            where = [scope.integer(i) for i in e.indices]
            inside = [np.clip(w, 0, extent - 1) for w, extent in zip(where, self.shapes[e.name], strict=True)]
            return np.asarray(scope.active[..., 0] & ~self._ready[e.name][tuple(inside)])
        if not any(a.name in group for a in accesses(e)):
            return np.array(False)
        if isinstance(e, Reduction):
            inner = scope.over(e.ranges, e.guards)
            found = np.broadcast_to(self._blocked(e.body, inner, group), inner.active.shape[:-1])
            return np.asarray(found.any(axis=tuple(range(len(e.ranges)))))
        scopes = [scope] * len(e.args)
        if isinstance(e, Where):
            may = [self._may(e.condition, scope, outcome)[..., None] for outcome in (True, False)]
            scopes[1:] = [scope.where(m) for m in may]
        parts = [self._blocked(a, s, group) for a, s in zip(e.args, scopes, strict=True)]
        return np.asarray(reduce(np.logical_or, parts))

    def _may(self, condition: Boolean, scope: Grid, outcome: bool) -> NDArray[np.bool_]:
        """Where the condition may come out so, as far as indices and sizes tell."""
        if isinstance(condition, Not):
            return self._may(condition.args[0], scope, not outcome)
        if isinstance(condition, (And, Or)):
            both = np.logical_and if isinstance(condition, And) == outcome else np.logical_or
            return np.asarray(reduce(both, [self._may(c, scope, outcome) for c in condition.args]))
        if all(of_whole_numbers(side) for side in condition.args):
            return np.asarray(self._condition(condition, scope)[..., 0] == outcome)
        return np.array(True)

    def _whole(self, equation: Equation) -> Grid:
        """The grid of an equation's right side: one axis for each index of the left, in their order."""
        return self._outermost.over(reversed(equation.ranges))

    def _assign(self, equation: Equation, scope: Grid) -> None:
        """The equation's value at the live points of the scope."""
        value = self._value(equation.value, scope)
        where = tuple(scope.integer(i) for i in equation.indices)
        shape = np.broadcast_shapes(*(w.shape for w in where), scope.active.shape[:-1])
        where = tuple(np.broadcast_to(w, shape) for w in where)
        self._check_bounds(equation.target, where, scope)
        self.points += int(np.prod(shape))
        self.numbers.store(self._arrays[equation.name], where, value, scope.active)
        live = np.broadcast_to(scope.active[..., 0], shape)
        self._ready[equation.name][tuple(w[live] for w in where)] = True

    # --- conditions -------------------------------------------------------------------------

    def _condition(self, condition: Boolean, scope: Grid) -> NDArray[Any]:
        """Where the condition holds: grid and lanes."""
        if condition in (sp.true, sp.false):
            return np.array([bool(condition)])
        if isinstance(condition, (And, Or)):
            table = {And: np.logical_and, Or: np.logical_or}
            return np.asarray(reduce(table[condition.func], [self._condition(c, scope) for c in condition.args]))
        if isinstance(condition, Not):
            return ~self._condition(condition.args[0], scope)
        compare = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal}
        if of_whole_numbers(condition.lhs) and of_whole_numbers(condition.rhs):
            left, right = (scope.integer(side)[..., None] for side in condition.args)
        else:
            sides = [self._value(side, scope) for side in condition.args]
            self._kink(condition.args, self.numbers.subtract(*sides), scope)
            left, right = (self.numbers.value(side) for side in sides)
        found = compare["==" if condition.rel_op == "!=" else condition.rel_op](left, right)
        found = np.asarray(found, dtype=bool)
        return ~found if condition.rel_op == "!=" else found

    def _kink(self, sides: Sequence[Expr], distance: Value, scope: Grid) -> None:
        """A branch that `distance` is away from; none where indices, sizes and numbers alone decide it."""
        if any(isinstance(n, Access) or n in scope.arguments for side in sides for n in walk(side)):
            self.numbers.kink(distance, scope.active)

    # --- values --------------------------------------------------------------------------------

    def _value(self, e: Expr, scope: Grid) -> Value:
        """The expression over the grid, lanes last."""
        numbers = self.numbers
        if e.is_Number or isinstance(e, sp.NumberSymbol):
            return self._constant(e)
        if isinstance(e, Symbol):
            return scope.arguments[e] if e in scope.arguments else numbers.integers(scope.integer(e))
        if isinstance(e, sp.Add):
            return reduce(numbers.add, [self._value(a, scope) for a in e.args])
        if isinstance(e, sp.Mul):
            return reduce(numbers.multiply, [self._value(a, scope) for a in e.args])
        if isinstance(e, sp.Pow):
            exponent = e.exp if e.exp.is_number else self._value(e.exp, scope)
            return numbers.power(self._value(e.base, scope), exponent)
        if type(e) in FUNCTIONS:
            return numbers.apply(FUNCTIONS[type(e)], self._value(e.args[0], scope))
        if type(e) in TEXTBOOK:
            return self._applied(TEXTBOOK[type(e)](_ARGUMENT), (_ARGUMENT,), e.args, scope)
        if isinstance(e, Access):
            return self._access(e, scope)
        if isinstance(e, Call):
            return self._call(e, scope)
        if isinstance(e, Reduction):
            return self._reduction(e, scope)
        return self._piecewise(e, scope)

    def _constant(self, e: Expr) -> Value:
        if e not in self._memo:
            self._memo[e] = self.numbers.number(e)
        return self._memo[e]

    def _piecewise(self, e: Expr, scope: Grid) -> Value:
        numbers = self.numbers
        if isinstance(e, Where):
            holds = self._condition(e.condition, scope)
            then = self._value(e.then, scope.where(holds))
            otherwise = self._value(e.otherwise, scope.where(~holds))
            return numbers.select(holds, then, otherwise)
        if isinstance(e, Delta):
            left, right = (scope.integer(a) for a in e.args)
            return numbers.integers(np.asarray(left == right).astype(np.int64))
        values = [self._value(a, scope) for a in e.args]
        minus = self._constant(sp.Integer(-1))
        if isinstance(e, (sp.Abs, sp.sign)):
            self._kink(e.args, values[0], scope)
            positive = numbers.value(values[0]) >= 0
            if isinstance(e, sp.Abs):
                return numbers.select(positive, values[0], numbers.multiply(minus, values[0]))
            nonzero = numbers.select(positive, self._constant(sp.Integer(1)), minus)
            return numbers.select(numbers.value(values[0]) == 0, self._constant(sp.Integer(0)), nonzero)
        if isinstance(e, (Maximum, Minimum, sp.Max, sp.Min)):
            sign = 1 if isinstance(e, (Maximum, sp.Max)) else -1
            best = values[0]
            for other in values[1:]:
                self._kink(e.args, numbers.subtract(best, other), scope)
                keep = sign * (numbers.value(best) - numbers.value(other)) >= 0
                best = numbers.select(np.asarray(keep, dtype=bool), best, other)
            return best
        raise OracleError(f"{e}: the oracle has no rule for {type(e).__name__}")

    def _access(self, e: Access, scope: Grid) -> Value:
        where = tuple(scope.integer(i) for i in e.indices)
        if not where:
            return self._arrays[e.name]
        where = self._check_bounds(e, where, scope)
        if np.any(scope.active & ~self._ready[e.name][where][..., None]):
            raise OracleError(f"{e} is read at an element that no equation defines")
        return self.numbers.gather(self._arrays[e.name], where)

    def _check_bounds(self, e: Access, where: tuple[Integers, ...], scope: Grid) -> tuple[Integers, ...]:
        """The subscripts, brought into bounds where the grid point takes no part; an error where it does."""
        clipped = []
        for subscript, extent in zip(where, self.shapes[e.name], strict=True):
            outside = (subscript < 0) | (subscript >= extent)
            if np.any(scope.active & np.asarray(outside)[..., None]):
                raise OracleError(f"{e} leaves its bounds, 0 to {extent - 1}, at the sizes {self._named_sizes()}")
            clipped.append(np.clip(subscript, 0, extent - 1))
        return tuple(clipped)

    def _named_sizes(self) -> str:
        return ", ".join(f"{s} = {v}" for s, v in self.sizes.items())

    def _call(self, e: Call, scope: Grid) -> Value:
        definition = self.system.function(e.name)
        key = (e.name, e.orders)
        if key not in self._memo:
            self._memo[key] = definition.derivative(e.orders)
        if self._memo[key] is None:
            raise OracleError(f"{e.name} has no formula: an undefined function has no value")
        return self._applied(self._memo[key], definition.parameters, e.arguments, scope)

    def _applied(self, body: Expr, parameters: Sequence[Expr], given: Sequence[Expr], scope: Grid) -> Value:
        arguments = {p: self._value(a, scope) for p, a in zip(parameters, given, strict=True)}
        return self._value(body, replace(scope, arguments={**scope.arguments, **arguments}))

    def _reduction(self, e: Reduction, scope: Grid) -> Value:
        inner = scope.over(e.ranges, e.guards)
        self.points += int(np.prod(inner.active.shape))
        return self.numbers.fold(e.kind, self._value(e.body, inner), inner.active, len(e.ranges))


def evaluate(
    system: System,
    values: Mapping[str, NDArray[Any]],
    numbers: Float | None = None,
    sizes: Mapping[Symbol, int] | None = None,
) -> dict[str, Value]:
    """Every tensor of one sample, from inputs of the declared shapes (no batch axis, no lanes).

    Sizes are read off the inputs, where not given. In `numbers` (default: float64). Raises OracleError.
    """
    numbers = numbers or Float()
    sizes = dict(sizes or {})
    for tensor in system.inputs:
        for dimension, extent in zip(tensor.shape, np.shape(values[tensor.name]), strict=True):
            if isinstance(dimension, Symbol):
                sizes[dimension] = int(extent)
    convert = numbers.array if isinstance(numbers, Precise) else np.asarray
    lanes = {t.name: convert(values[t.name])[..., None] for t in system.inputs}
    found = Evaluator(system, sizes, numbers).run(lanes, 1)
    return {name: array[..., 0] for name, array in found.items()}
