"""A brute-force interpreter of Systems for tests: one element at a time, plain loops, float64.

Elements are computed when asked for and remembered, so recurrences and reversed ones need no order.
It shares no code with the oracle of `codegen.check`, so that one can be tested against the other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import sympy as sp
from sympy import Dummy
from sympy.core.relational import Relational
from sympy.logic.boolalg import And, Not, Or

from chainrule.symbolic.expressions import Access, Call, Delta, Maximum, Minimum, Reduction, Where
from chainrule.symbolic.primitives import Sigmoid, Softplus, expm1, log1p
from chainrule.symbolic.system import COST, Role, System

__all__ = ["Interpreter", "average_cost", "numeric_gradient"]

_FUNCTIONS = {
    "exp": math.exp, "sin": math.sin, "cos": math.cos, "tan": math.tan, "asin": math.asin,
    "log": lambda v: math.log(v) if v != 0 else -math.inf,
    "acos": math.acos, "atan": math.atan, "sinh": math.sinh, "cosh": math.cosh, "tanh": math.tanh,
    "asinh": math.asinh, "acosh": math.acosh, "atanh": math.atanh, "erf": math.erf, "erfc": math.erfc,
    "floor": math.floor, "ceiling": math.ceil, "Abs": abs, "Max": max, "Min": min, "Maximum": max, "Minimum": min,
    "sign": lambda v: (v > 0) - (v < 0), "Mod": lambda a, b: a % b,
}  # fmt: skip
_PRIMITIVES = {
    Sigmoid: lambda z: 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z)),
    Softplus: lambda z: max(z, 0) + math.log1p(math.exp(-abs(z))),
    log1p: math.log1p,
    expm1: math.expm1,
    Maximum: max,
    Minimum: min,
}
_COMPARE = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
}  # fmt: skip


class Interpreter:
    """The tensors of a System at given sizes (by name) and inputs (declared shapes).

    An element outside its tensor's shape is an IndexError. One that no equation defines is 0, as an
    adjoint's is to which nothing flows. Other kinds of numbers come from other `functions` and a few methods.
    """

    functions: Mapping[type, Callable[..., float]] = {}  # by class, before those by name below

    def __init__(self, system: System, sizes: Mapping[str, int], values: Mapping[str, np.ndarray]) -> None:
        self.system, self.values, self.memo = system, values, {}
        self.sizes = {s: int(sizes[s.name]) for s in system.sizes}
        self.shapes = {t.name: tuple(int(self.value(d, {})) for d in t.shape) for t in system.tensors}

    def tensor(self, name: str) -> np.ndarray:
        """A whole tensor."""
        shape = self.shapes[name]
        return np.array([self.element(name, *i) for i in np.ndindex(*shape)], dtype=float).reshape(shape)

    def element(self, name: str, *where: int) -> float:
        """One element of a tensor."""
        shape = self.shapes[name]
        if len(where) != len(shape) or not all(0 <= i < n for i, n in zip(where, shape, strict=True)):
            raise IndexError(f"{name}{list(where)} is outside {list(shape)}")
        if self.system.tensor(name).role is not Role.DEFINED:
            return self.given(name, where)
        if (name, where) not in self.memo:
            self.memo[name, where] = self._defined(name, where)
        return self.memo[name, where]

    def given(self, name: str, where: tuple[int, ...]) -> float:
        """An element of an input."""
        return float(self.values[name][where])

    def _defined(self, name: str, where: tuple[int, ...]) -> float:
        for equation in self.system.defining(name):
            env = {}
            for subscript, i in zip(equation.indices, where, strict=True):
                if isinstance(subscript, Dummy):
                    env[subscript] = i
                elif self.integer(subscript, {}) != i:
                    break
            else:
                if all(self.value(r.lower, env) <= env[r.symbol] <= self.value(r.upper, env) for r in equation.ranges):
                    return self.value(equation.value, env)
        return 0.0

    def value(self, e: sp.Basic, env: Mapping[sp.Symbol, float]) -> float:
        """An expression, with indices and function parameters from `env`."""
        if e.is_Symbol:
            return env[e] if e in env else self.sizes[e]
        if e.is_Integer:
            return int(e)
        if not e.args or isinstance(e, sp.Float):
            return bool(e) if e in (sp.true, sp.false) else float(e)
        if isinstance(e, Access):
            return self.element(e.name, *(self.integer(i, env) for i in e.indices))
        if isinstance(e, Call):
            definition = self.system.function(e.name)
            arguments = [self.value(a, env) for a in e.arguments]
            return self.value(definition.derivative(e.orders), dict(zip(definition.parameters, arguments, strict=True)))
        if isinstance(e, Reduction):
            return self.reduction(e, env)
        if isinstance(e, Where):
            return self.value(e.then if self.value(e.condition, env) else e.otherwise, env)
        if isinstance(e, And):
            return all(self.value(a, env) for a in e.args)
        if isinstance(e, Or):
            return any(self.value(a, env) for a in e.args)
        arguments = [self.value(a, env) for a in e.args]
        if isinstance(e, Not):
            return not arguments[0]
        if isinstance(e, Relational):
            return _COMPARE[e.rel_op](*arguments)
        if isinstance(e, Delta):
            return int(arguments[0] == arguments[1])
        if e.is_Add:
            return sum(arguments)
        if e.is_Mul:
            return self.product(arguments)
        if e.is_Pow:
            return arguments[0] ** arguments[1]
        function = self.functions.get(e.func) or _PRIMITIVES.get(e.func) or _FUNCTIONS[e.func.__name__]
        return function(*arguments)

    def product(self, factors: Sequence[float]) -> float:
        """Their product; δ = 0 cuts off whatever it multiplies."""
        return 0.0 if 0 in factors else math.prod(factors)

    def total(self, terms: Sequence[float]) -> float:
        """Their sum."""
        return math.fsum(terms)

    def extremum(self, kind: str, terms: Sequence[float]) -> float:
        """Their maximum or minimum."""
        return (max if kind == "max" else min)(terms)

    def integer(self, e: sp.Expr, env: Mapping[sp.Symbol, float]) -> int:
        """A subscript, which must come out whole."""
        known = {s: sp.Integer(v) for s, v in {**self.sizes, **env}.items()}
        exact = self.value(e, env) if e.is_integer else e.xreplace(known)
        if exact != int(exact):
            raise IndexError(f"the subscript {e} is {exact}, no integer")
        return int(exact)

    def reduction(self, e: Reduction, env: Mapping[sp.Symbol, float]) -> float:
        """Over all combinations of the bound indices that the guards admit."""

        def combinations(ranges, inner):
            if not ranges:
                if all(self.value(g, inner) >= 0 for g in e.guards):
                    yield inner
                return
            r, *rest = ranges
            for i in range(math.ceil(self.value(r.lower, inner)), math.floor(self.value(r.upper, inner)) + 1):
                yield from combinations(rest, {**inner, r.symbol: i})

        terms = [self.value(e.body, inner) for inner in combinations(list(e.ranges), dict(env))]
        if e.kind == "sum":
            return self.total(terms)
        if e.kind == "prod":
            return self.product(terms)
        return self.extremum(e.kind, terms)


def average_cost(system: System, sizes: Mapping[str, int], values: Mapping[str, np.ndarray]) -> float:
    """cost_avg of a System as the user wrote it: `values` hold data with a leading batch axis."""
    data = [t.name for t in system.data]
    batch = len(values[data[0]])
    costs = []
    for s in range(batch):
        sample = {name: v[s] if name in data else v for name, v in values.items()}
        costs.append(Interpreter(system, sizes, sample).element(COST))
    return math.fsum(costs) / batch


def numeric_gradient(
    system: System, sizes: Mapping[str, int], values: Mapping[str, np.ndarray], name: str
) -> np.ndarray:
    """∂cost_avg/∂name, every element by the five-point rule at h = 2^-10; about 12 digits."""
    h = 2.0**-10
    gradient = np.zeros(np.shape(values[name]))
    for position in itertools.product(*map(range, gradient.shape)):

        def cost(steps: int, position: tuple[int, ...] = position) -> float:
            moved = np.array(values[name], dtype=float)
            moved[position] += steps * h
            return average_cost(system, sizes, {**values, name: moved})

        gradient[position] = (8 * (cost(1) - cost(-1)) - (cost(2) - cost(-2))) / (12 * h)
    return gradient
