"""Values of matrix forms in plain NumPy: of the forms themselves, shapes checked, and of the formulas as printed.

Arrays stand for tensors in matrix notation: a vector is n × 1, and over a batch a per-sample tensor has the sample
as its first axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce

import numpy as np
import sympy as sp
from interpreter import Interpreter
from sympy import Dummy, Expr

from chainrule.symbolic.matrix_algebra import (
    Applied,
    Constant,
    Diagonal,
    Dot,
    Elementwise,
    Entry,
    Matrix,
    Ones,
    Over,
    Raised,
    Scaled,
    SquaredNorm,
    Total,
    Trace,
    Transposed,
)
from chainrule.symbolic.notation import tree
from chainrule.symbolic.notation.matrices import MatrixNotation
from chainrule.symbolic.notation.tree import Bold, Formula, Indexed, Number, Parenthesised, Symbol
from chainrule.symbolic.samples import BATCH
from chainrule.symbolic.system import COST, Equation, Role, System

__all__ = ["Point", "form_value", "labels_of", "printed_value"]

OTHERS = {"max": np.maximum, "min": np.minimum, "erf": np.vectorize(math.erf), "erfc": np.vectorize(math.erfc)}
Scope = Mapping[Dummy, int]


@dataclass(frozen=True)
class Point:
    """A System (forward and adjoints) at random inputs: sizes all different and above 1, so that shapes tell."""

    system: System
    seed: int
    samples: int = 3
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @cached_property
    def sizes(self) -> dict[str, int]:
        return {s.name: n for s, n in zip(self.system.sizes, itertools.count(2), strict=False)}

    @cached_property
    def interpreters(self) -> tuple[Interpreter, ...]:
        """One for each sample; what is shared is the same in all of them."""
        rng = np.random.default_rng(self.seed)
        sizes = {s: self.sizes[s.name] for s in self.system.sizes}
        shared, own = {}, [{} for _ in range(self.samples)]
        for t in self.system.tensors:
            if t.role is not Role.DEFINED:
                shape = tuple(int(d.xreplace(sizes)) for d in t.shape)
                for values in own if t.per_sample else (shared,):
                    values[t.name] = rng.uniform(*self.limits.get(t.name, (0.2, 0.9)), shape)
        return tuple(Interpreter(self.system, self.sizes, {**shared, **values}) for values in own)

    def array(self, name: str, batch: bool) -> np.ndarray:
        """A tensor of the first sample; over a batch all samples, or the mean (the sum where there is no cost)."""
        if not batch:
            return self.interpreters[0].tensor(name)
        values = np.array([i.tensor(name) for i in self.interpreters])
        tensor = self.system.tensor(name)
        if tensor.per_sample and name != COST:
            return values
        averaged = name == COST or tensor.adjoint_of is not None
        return values[0] if not averaged else values.mean(axis=0) if self.system.has_cost else values.sum(axis=0)

    def entry(self, entry: Entry, batch: bool, labels: tuple[int, ...]) -> np.ndarray | float:
        """A slice as a column or a matrix; a scalar as a number."""
        array = self.array(entry.name, batch)
        sampled = batch and self.system.tensor(entry.name).per_sample and entry.name != COST
        array = array[(slice(None), *labels) if sampled else labels]
        assert array.ndim == entry.rank, entry
        return float(array) if entry.rank == 0 else array[:, None] if entry.rank == 1 else array

    def scalar(self, expression: Expr, scope: Scope) -> float:
        """A number, size, or expression of indices."""
        at = {**scope, BATCH: self.samples, **{s: self.sizes[s.name] for s in self.system.sizes}}
        assert expression.free_symbols <= at.keys(), expression
        return self.interpreters[0].value(expression, at)


def labels_of(equation: Equation, target: Entry, point: Point) -> Iterator[dict[Dummy, int]]:
    """Every choice of the indices that label the form's left side."""
    free = {s for label in target.labels for s in label.atoms(Dummy)}
    ranges = [r for r in equation.ranges if r.symbol in free]
    bounds = [(math.ceil(point.scalar(r.lower, {})), math.floor(point.scalar(r.upper, {}))) for r in ranges]
    for chosen in itertools.product(*(range(a, b + 1) for a, b in bounds)):
        yield {r.symbol: i for r, i in zip(ranges, chosen, strict=True)}


def form_value(node: Matrix, point: Point, batch: bool, scope: Scope) -> np.ndarray | float:
    """The value of a form; raises AssertionError where shapes do not fit exactly."""

    def value(inner: Matrix) -> np.ndarray | float:
        return form_value(inner, point, batch, scope)

    match node:
        case Constant(expression):
            return point.scalar(expression, scope)
        case Entry():
            return point.entry(node, batch, tuple(int(point.scalar(label, scope)) for label in node.labels))
        case Ones(extent):
            return np.ones((int(point.scalar(extent, scope)), 1))
        case Transposed(body):
            return value(body).T
        case Dot(factors):
            result = reduce(np.matmul, [value(f) for f in factors])
            return float(result[0, 0]) if result.shape == (1, 1) else result
        case Elementwise(factors):
            return reduce(np.multiply, _alike([value(f) for f in factors], scalars=False))
        case Scaled(scalars, body):
            return reduce(lambda a, b: a * b, [float(value(s)) for s in scalars]) * value(body)
        case Total(terms):
            return reduce(lambda a, b: a + b, _alike([value(t) for t in terms], scalars=True))
        case Raised(base, exponent, scalar):
            found = value(base)
            assert scalar == np.isscalar(found)
            return found ** point.scalar(exponent, scope)
        case Diagonal(vector):
            found = value(vector)
            assert found.shape[1] == 1
            return np.diag(found[:, 0])
        case SquaredNorm(body, frobenius):
            found = value(body)
            assert frobenius == (min(found.shape) > 1)
            return float((found**2).sum())
        case Trace(body):
            found = value(body)
            assert found.shape[0] == found.shape[1]
            return float(np.trace(found))
        case Over(r, body):
            span = range(int(point.scalar(r.lower, scope)), int(point.scalar(r.upper, scope)) + 1)
            terms = [form_value(body, point, batch, {**scope, r.symbol: i}) for i in span]
            return sum(terms, 0.0)
        case Applied(function, order, arguments):
            return _applied(point, function, order)(*_alike([value(a) for a in arguments], scalars=True))
    raise AssertionError(node)


def _alike(values: list[np.ndarray | float], scalars: bool) -> list[np.ndarray | float]:
    """The values, of one shape (scalars apart, where they may stand among them)."""
    shapes = {np.shape(v) for v in values} - ({()} if scalars else set())
    assert len(shapes) <= 1, shapes
    return values


def _applied(point: Point, function: str | type, order: int) -> np.ufunc:
    """A function of the System or of SymPy on each element, by the interpreter."""
    interpreter = point.interpreters[0]

    def one(*arguments: float) -> float:
        if isinstance(function, str):
            definition = point.system.function(function)
            body = definition.derivative((order, *(0 for _ in definition.parameters[1:])))
            return interpreter.value(body, dict(zip(definition.parameters, arguments, strict=True)))
        places = [Dummy(real=True) for _ in arguments]
        return interpreter.value(function(*places), dict(zip(places, arguments, strict=True)))

    elements = np.frompyfunc(one, len(_parameters(point, function)), 1)

    def applied(*arguments: np.ndarray | float) -> np.ndarray | float:
        result = elements(*arguments)
        return float(result) if np.isscalar(result) else result.astype(float)

    return applied


def _parameters(point: Point, function: str | type) -> tuple[object, ...]:
    if isinstance(function, str):
        return point.system.function(function).parameters
    return (None,) * (next(iter(function.nargs)) if isinstance(function.nargs, sp.FiniteSet) else 2)


@dataclass(frozen=True)
class _Printed:
    """Evaluates printed formulas: names are looked up by how they look, 𝟏 takes the extent that fits."""

    point: Point
    names: MatrixNotation
    scope: Mapping[str, float]

    @cached_property
    def shown(self) -> dict[Formula, str]:
        """What each tensor is called, as a number, a vector or a matrix: no two alike."""
        found: dict[Formula, str] = {}
        for t in self.names.system.tensors:
            for formula in {self.names.entry(Entry(t.name, (), rank), None) for rank in range(3)}:
                assert found.setdefault(formula, t.name) == t.name, (formula, t.name, found[formula])
        return found

    def named(self, node: Formula) -> np.ndarray | float | None:
        """A tensor or a slice of one; None where the node is something else."""
        bare, labels = _without_labels(node)
        name = self.shown.get(bare)
        if name is None:
            return None
        rank = self.point.system.tensor(name).shape
        sampled = self.names.batch and self.point.system.tensor(name).per_sample and name != COST
        left = len(rank) - len(labels) + bool(sampled)
        at = tuple(int(self.value(label)) for label in labels)
        return self.point.entry(Entry(name, (), left), self.names.batch, at)

    def value(self, node: Formula) -> np.ndarray | float:
        found = self.named(node)
        if found is not None:
            return found
        match node:
            case Number(text) | Bold(Symbol("1" as text)):  # 𝟏 by itself fits whatever stands beside it
                return float(text)
            case Symbol("pi"):
                return math.pi
            case Symbol(name):
                return self.scope[name]
            case tree.Negative(body):
                return -self.value(body)
            case tree.Add(terms):
                return sum(self.value(t) for t in terms)
            case tree.Product(factors):
                values = [self.value(f) for f in factors]
                assert sum(np.ndim(v) > 0 for v in values) <= 1
                return math.prod(v for v in values if np.ndim(v) == 0) * next((v for v in values if np.ndim(v)), 1.0)
            case tree.MatrixProduct(factors):
                return self.chain(factors)
            case tree.Transpose(body):
                return self.value(body).T
            case tree.Hadamard(factors, divisors):
                above = reduce(np.multiply, [self.value(f) for f in factors])
                return reduce(np.divide, [self.value(d) for d in divisors], above)
            case tree.ElementPower(base, exponent):
                return self.value(base) ** self.value(exponent)
            case tree.Norm(body):
                return float(np.sqrt((self.value(body) ** 2).sum()))
            case tree.Absolute(body):
                return np.abs(self.value(body))
            case tree.Root(body):
                return math.sqrt(self.value(body))
            case tree.Fraction(above, below):
                return self.value(above) / float(self.value(below))
            case tree.Power(tree.Apply(Symbol("diag"), (vector,)), exponent):
                return np.diag(self.value(vector)[:, 0] ** self.value(exponent))
            case tree.Power(base, exponent):
                return float(self.value(base)) ** self.value(exponent)
            case tree.Apply(Symbol("diag"), (vector,)):
                return np.diag(self.value(vector)[:, 0])
            case tree.Apply(Symbol("tr"), (body,)):
                return float(np.trace(self.value(body)))
            case tree.Apply(function, arguments):
                return self.function(function)(*(self.value(a) for a in arguments))
            case tree.Big("sum", Symbol(letter), lower, upper, body):
                span = range(int(self.value(lower)), int(self.value(upper)) + 1)
                inner = (_Printed(self.point, self.names, {**self.scope, letter: i}) for i in span)
                return sum((p.value(body) for p in inner), 0.0)
        raise AssertionError(node)

    def chain(self, factors: tuple[Formula, ...]) -> np.ndarray | float:
        """A matrix product; a 𝟏 at an outer end repeats what stands beside it, as NumPy does by itself."""
        column, row = Bold(Symbol("1")), tree.Transpose(Bold(Symbol("1")))
        items = [*factors]
        if items[0] == column:
            items.pop(0)
        if items[-1:] == [row]:
            items.pop()
        result: np.ndarray | None = None
        for before, item in enumerate(items, start=-1):
            if item == row:
                continue
            if item == column:
                result = result.sum(axis=1, keepdims=True)
                continue
            matrix = np.atleast_2d(self.value(item))
            if before >= 0 and items[before] == row:
                matrix = matrix.sum(axis=0, keepdims=True)
                assert result is None or result.shape[1] == 1
            result = matrix if result is None else result @ matrix
        if result is None:  # 𝟏 𝟏ᵀ
            return 1.0
        return float(result[0, 0]) if result.shape == (1, 1) else result

    def function(self, head: Formula) -> np.ufunc:
        order = head.count if isinstance(head, tree.Primed) else 0
        name = (head.base if isinstance(head, tree.Primed) else head).name
        if name in {f.name for f in self.point.system.functions}:
            return _applied(self.point, name, order)
        return OTHERS.get(name) or getattr(np, name)


def _without_labels(node: Formula) -> tuple[Formula, tuple[Formula, ...]]:
    """A name without its subscripts, and these; also inside δ and ∂cost/∂."""
    match node:
        case Indexed(Bold(Symbol("delta")) | Symbol("delta") as head, (inner,)):
            bare, labels = _without_labels(inner)
            return Indexed(head, (bare,)), labels
        case tree.Derivative(cost, wrt):
            bare, labels = _without_labels(wrt)
            return tree.Derivative(cost, bare), labels
        case Indexed(base, below, Parenthesised() as above):
            return Indexed(base, (), above), below
        case Indexed(base, below, None) if base != Symbol(COST):
            return base, below
    return node, ()


def printed_value(
    formula: Formula, point: Point, names: MatrixNotation, scope: Mapping[str, float]
) -> np.ndarray | float:
    """The value of one side of a printed chain; `scope` gives the letters and sizes."""
    return _Printed(point, names, scope).value(formula)
