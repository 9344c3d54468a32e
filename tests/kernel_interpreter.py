"""A brute-force interpreter of kernel programs for tests: plain loops, one element at a time, float64.

Every access is held against its buffer's shape, and an element that is read must have been written.
With `shared`, buffers of one slot are one array: a value that a wrong slot lets another overwrite
comes out wrong. It shares no code with the backends, nor with the interpreter of Systems.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import sympy as sp
from sympy.core.relational import Relational
from sympy.logic.boolalg import And, Not, Or

from chainrule.codegen.ir import BATCH, Contract, Kernel, Kind, Map, Program, Reduce, Scan, Scatter, Statement
from chainrule.symbolic.expressions import Access, Call, Delta, Maximum, Minimum, Range, Where
from chainrule.symbolic.primitives import Sigmoid, Softplus, expm1, log1p

__all__ = ["Machine", "run_kernel", "run_program"]

Environment = Mapping[sp.Symbol, float]
Value = Callable[[Environment], float]

_COMPARE = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
}  # fmt: skip
_FUNCTIONS = {
    sp.exp: math.exp, sp.log: math.log, sp.sin: math.sin, sp.cos: math.cos, sp.tan: math.tan, sp.asin: math.asin,
    sp.acos: math.acos, sp.atan: math.atan, sp.sinh: math.sinh, sp.cosh: math.cosh, sp.tanh: math.tanh,
    sp.asinh: math.asinh, sp.acosh: math.acosh, sp.atanh: math.atanh, sp.erf: math.erf, sp.erfc: math.erfc,
    sp.floor: math.floor, sp.ceiling: math.ceil, sp.Abs: abs, sp.sign: lambda v: (v > 0) - (v < 0),
    sp.Max: max, sp.Min: min, Maximum: max, Minimum: min, log1p: math.log1p, expm1: math.expm1,
    Sigmoid: lambda z: 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z)),
    Softplus: lambda z: max(z, 0) + math.log1p(math.exp(-abs(z))),
}  # fmt: skip
_START = {"sum": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}


def run_program(
    program: Program, entry: str, sizes: Mapping[str, int], arrays: Mapping[str, np.ndarray], *, shared: bool = False
) -> dict[str, np.ndarray]:
    """The results of one kernel. `arrays` hold data with a leading batch axis; a cotangent has its output's name."""
    kernel = program.kernel(entry)
    return run_kernel(kernel, sizes, arrays, shared=shared)


def run_kernel(
    kernel: Kernel, sizes: Mapping[str, int], arrays: Mapping[str, np.ndarray], *, shared: bool = False
) -> dict[str, np.ndarray]:
    """The results of the kernel, by name, in their order."""
    machine = Machine(kernel, sizes, arrays, shared=shared)
    for statement in kernel.statements:
        machine.run(statement)
    return {name: machine.arrays[name] for name in kernel.results}


class Machine:
    """The buffers of one kernel at given sizes (by name; "batch" too), and what has been written to them."""

    def __init__(
        self, kernel: Kernel, sizes: Mapping[str, int], arrays: Mapping[str, np.ndarray], *, shared: bool
    ) -> None:
        self.kernel = kernel
        self.sizes = {s: sizes[s.name] for s in _symbols(kernel)}
        self.functions = {f.name: f for f in kernel.functions}
        self.memory: dict[str, np.ndarray] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self.written: dict[str, np.ndarray] = {}
        self._compiled: dict[sp.Basic, Value] = {}
        for buffer in kernel.buffers:
            shape = tuple(int(self.value(d)(self.sizes)) for d in buffer.shape)
            given = buffer.kind not in (Kind.OUTPUT, Kind.LOCAL)
            if given:
                argument = buffer.adjoint_of if buffer.kind is Kind.COTANGENT else buffer.name
                array = np.array(arrays[argument], dtype=float)
                if array.shape != shape:
                    raise ValueError(f"{buffer.name} is declared {shape}, given {array.shape}")
            elif shared:
                array = self.memory.setdefault(buffer.slot, np.full(shape, np.nan))
                if array.shape != shape:
                    raise ValueError(f"{buffer.name} is {shape} in a slot of {array.shape}")
            else:
                array = np.full(shape, np.nan)
            self.arrays[buffer.name] = array
            self.written[buffer.name] = np.full(shape, given)

    # --- statements --------------------------------------------------------------------------

    def run(self, statement: Statement | Scan) -> None:
        """Execute one statement, or all of a scan."""
        if not isinstance(statement, Scan):
            self._execute(statement, self.sizes)
            return
        steps = list(self._span(statement.range, self.sizes))
        for step in reversed(steps) if statement.reverse else steps:
            for inner in statement.statements:
                self._execute(inner, {**self.sizes, statement.range.symbol: step})

    def _execute(self, statement: Statement, scope: Environment) -> None:
        if not self._admits(statement.when, scope):
            return
        if isinstance(statement, Scatter):
            self._scatter(statement, scope)
            return
        for env in self._points(statement.ranges, (), scope):
            self._store(statement.out, env, self._element(statement, env))

    def _element(self, statement: Statement, env: Environment) -> float:
        if isinstance(statement, Map):
            return self.value(statement.body)(env)
        if isinstance(statement, Contract):
            left, right = self.value(statement.left), self.value(statement.right)
            return math.fsum(left(e) * right(e) for e in self._points(statement.reduced, (), env))
        assert isinstance(statement, Reduce)
        body = self.value(statement.body)
        terms = [body(e) for e in self._points(statement.reduced, statement.guards, env)]
        if statement.kind == "sum":
            return math.fsum(terms)
        if statement.kind == "prod":
            return math.prod(terms)
        return (max if statement.kind == "max" else min)([_START[statement.kind], *terms])

    def _scatter(self, statement: Scatter, scope: Environment) -> None:
        name = statement.out.name
        self.arrays[name][...] = 0
        self.written[name][...] = True
        body = self.value(statement.body)
        for env in self._points(statement.ranges, statement.guards, scope):
            where = self._where(statement.out, env)
            self.arrays[name][where] += body(env)

    # --- loops -------------------------------------------------------------------------------

    def _points(self, ranges: Sequence[Range], guards: Sequence[sp.Expr], scope: Environment) -> Iterator[Environment]:
        """Every combination of the indices that the guards admit, the last index fastest."""
        if not ranges:
            if self._admits(guards, scope):
                yield scope
            return
        for i in self._span(ranges[0], scope):
            yield from self._points(ranges[1:], guards, {**scope, ranges[0].symbol: i})

    def _span(self, bound: Range, scope: Environment) -> range:
        lower, upper = self.value(bound.lower)(scope), self.value(bound.upper)(scope)
        return range(math.ceil(lower), math.floor(upper) + 1)

    def _admits(self, guards: Sequence[sp.Expr], scope: Environment) -> bool:
        return all(self.value(g)(scope) >= 0 for g in guards)

    # --- memory ------------------------------------------------------------------------------

    def _where(self, access: Access, env: Environment) -> tuple[int, ...]:
        where = tuple(self.value(i)(env) for i in access.indices)
        shape = self.arrays[access.name].shape
        if len(where) != len(shape) or not all(0 <= i < n and i == int(i) for i, n in zip(where, shape, strict=True)):
            raise IndexError(f"{access}: {list(where)} is outside {list(shape)}")
        return tuple(int(i) for i in where)

    def _load(self, access: Access, env: Environment) -> float:
        where = self._where(access, env)
        if not self.written[access.name][where]:
            raise ValueError(f"{access}: {list(where)} is read and was never written")
        return float(self.arrays[access.name][where])

    def _store(self, access: Access, env: Environment, value: float) -> None:
        where = self._where(access, env)
        self.arrays[access.name][where] = value
        self.written[access.name][where] = True

    # --- expressions -------------------------------------------------------------------------

    def value(self, e: sp.Basic) -> Value:
        """The expression as a function of its indices, sizes and parameters."""
        if e not in self._compiled:
            self._compiled[e] = self._compile(e)
        return self._compiled[e]

    def _compile(self, e: sp.Basic) -> Value:
        if e.is_Symbol:
            return lambda env: env[e]
        if e.is_Integer or e in (sp.true, sp.false):
            number = int(e) if e.is_Integer else bool(e)
            return lambda _: number
        if not e.args or e.is_Rational:
            constant = float(e)
            return lambda _: constant
        if isinstance(e, Access):
            return lambda env: self._load(e, env)
        if isinstance(e, Call):
            return self._call(e)
        if isinstance(e, Where):
            condition, then, otherwise = (self.value(a) for a in e.args)
            return lambda env: then(env) if condition(env) else otherwise(env)
        inner = [self.value(a) for a in e.args]
        if isinstance(e, And | Or):
            every = all if isinstance(e, And) else any
            return lambda env: every(a(env) for a in inner)
        if isinstance(e, Not):
            return lambda env: not inner[0](env)
        if isinstance(e, Relational):
            return lambda env: _COMPARE[e.rel_op](inner[0](env), inner[1](env))
        if isinstance(e, Delta):
            return lambda env: int(inner[0](env) == inner[1](env))
        if e.is_Add:
            return lambda env: sum(a(env) for a in inner)
        if e.is_Mul:
            return lambda env: math.prod(a(env) for a in inner)
        if e.is_Pow:
            return lambda env: inner[0](env) ** inner[1](env)
        if e.func not in _FUNCTIONS:
            raise TypeError(f"{e.func.__name__} has no place in a kernel: {e}")
        return lambda env: _FUNCTIONS[e.func](*(a(env) for a in inner))

    def _call(self, e: Call) -> Value:
        definition = self.functions[e.name]
        if any(e.orders):
            raise TypeError(f"{e}: a kernel calls functions, not their derivatives")
        body, arguments = self.value(definition.body), [self.value(a) for a in e.arguments]
        parameters = definition.parameters
        return lambda env: body(dict(zip(parameters, (a(env) for a in arguments), strict=True)))


def _symbols(kernel: Kernel) -> set[sp.Symbol]:
    """BATCH and the size symbols of the buffers, and of what the statements compute."""
    found = [d for b in kernel.buffers for d in b.shape]
    for s in kernel.flat:
        found += [getattr(s, "body", sp.Integer(0)), *s.when, *getattr(s, "guards", ())]
        found += [b for r in (*s.ranges, *getattr(s, "reduced", ())) for b in (r.lower, r.upper)]
    symbols = {BATCH}.union(*(d.free_symbols for d in found))
    return {s for s in symbols if not isinstance(s, sp.Dummy)}
