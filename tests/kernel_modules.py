"""Generated NumPy modules for tests: loaded from text, and held to a loop-by-loop reading of the kernel IR."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import itertools
import math
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import sympy as sp
from sympy.core.relational import Relational

from chainrule.codegen.backends import backend
from chainrule.codegen.backends.c_calling import attach
from chainrule.codegen.build import shared_object
from chainrule.codegen.ir import BATCH, Contract, Kernel, Kind, Map, Program
from chainrule.symbolic.expressions import Access, Call, Maximum, Minimum, Where
from chainrule.symbolic.primitives import Sigmoid, Softplus

__all__ = ["compare", "compiled_module", "interpreted", "numpy_module", "numpy_text", "random_arguments"]

_FUNCTIONS = {
    "asin": math.asin, "acos": math.acos, "atan": math.atan, "asinh": math.asinh, "acosh": math.acosh,
    "atanh": math.atanh, "Abs": abs, "sign": lambda v: (v > 0) - (v < 0), "Max": max, "Min": min,
    "ceiling": math.ceil, "floor": math.floor,
}  # fmt: skip
_OWN = {
    Sigmoid: lambda z: 1 / (1 + math.exp(-z)),
    Softplus: lambda z: max(z, 0) + math.log1p(math.exp(-abs(z))),
    Maximum: max,
    Minimum: min,
}
_COMPARE = {"<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__", "==": "__eq__", "!=": "__ne__"}
_REDUCE = {"sum": math.fsum, "prod": math.prod, "max": max, "min": min}


def numpy_text(program: Program) -> str:
    """The text of the program's NumPy module."""
    return backend("numpy").render(program)["__init__.py"]


def _loaded(name: str, text: str) -> ModuleType:
    folder = Path(tempfile.mkdtemp(prefix="chainrule-module-"))
    path = folder / f"{name}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(f"{name}_{folder.name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@functools.cache
def numpy_module(program: Program) -> ModuleType:
    """The program's NumPy module, imported."""
    return _loaded(program.name, numpy_text(program))


@functools.cache
def compiled_module(program: Program) -> ModuleType:
    """The same calling layer over the program's C kernels."""
    sources = backend("c").render(program)
    return attach(numpy_module(program), shared_object(program.name, sources))


def _value(e, env: Mapping, buffers: Mapping, functions: Mapping):
    """A scalar expression, in Python floats."""
    if isinstance(e, Access):
        return float(buffers[e.name][tuple(int(_value(i, env, buffers, functions)) for i in e.indices)])
    if isinstance(e, Call):
        return _value(functions[e.name].apply(e), env, buffers, functions)
    if isinstance(e, Where):
        return _value(e.then if _value(e.condition, env, buffers, functions) else e.otherwise, env, buffers, functions)
    if e in env:
        return env[e]
    if e in (sp.true, sp.false):
        return bool(e)
    if e.is_number:
        return float(e)
    parts = [_value(a, env, buffers, functions) for a in e.args]
    if e.is_Add:
        return math.fsum(parts)
    if e.is_Mul:
        return math.prod(parts)
    if e.is_Pow:
        return parts[0] ** parts[1]
    if isinstance(e, Relational):
        return getattr(float(parts[0]), _COMPARE[e.rel_op])(float(parts[1]))
    if isinstance(e, sp.And | sp.Or):
        return (all if isinstance(e, sp.And) else any)(parts)
    if isinstance(e, sp.Not):
        return not parts[0]
    function = _OWN.get(e.func) or _FUNCTIONS.get(e.func.__name__) or getattr(math, e.func.__name__)
    return function(*parts)


def interpreted(kernel: Kernel, sizes: Mapping, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every result of the kernel, by loops over single elements in float64."""
    functions = {f.name: f for f in kernel.functions}
    buffers = {name: np.asarray(value, float) for name, value in given.items()}

    def number(extent) -> int:
        return int(extent.xreplace(sizes))

    def loops(ranges, env):
        for values in itertools.product(*(range(number(r.lower), number(r.upper) + 1) for r in ranges)):
            yield values, {**env, **{r.symbol: v for r, v in zip(ranges, values, strict=True)}}

    for statement in kernel.statements:
        out = np.empty([number(d) for d in kernel.buffer(statement.out.name).shape])
        for place, env in loops(statement.ranges, dict(sizes)):
            if isinstance(statement, Map):
                out[place] = _value(statement.body, env, buffers, functions)
                continue
            body = statement.left * statement.right if isinstance(statement, Contract) else statement.body
            terms = [_value(body, inner, buffers, functions) for _, inner in loops(statement.reduced, env)]
            out[place] = _REDUCE[getattr(statement, "kind", "sum")](terms)
        buffers[statement.out.name] = out
    return {name: buffers[name] for name in kernel.results}


def random_arguments(program: Program, rng: np.random.Generator, batch: int = 3, low: float = 0.1, high: float = 1.5):
    """Sizes 2, 4, 3, 5… and arguments for them, uniform in [low, high]: (sizes, buffers by public name)."""
    sizes = {s: sp.Integer(n) for s, n in zip(program.sizes, itertools.cycle((2, 4, 3, 5)), strict=False)}
    sizes[BATCH] = sp.Integer(batch)
    arrays = {}
    for argument in program.arguments:
        shapes = (b.shape for k in program.kernels for b in k.arguments if _public(b) == argument.name)
        lead = () if argument.kind is Kind.PARAMETER else (BATCH,)
        shape = [int(d.xreplace(sizes)) for d in next(shapes, (*lead, *argument.shape))]
        arrays[argument.name] = np.asarray(rng.uniform(low, high, shape), program.dtype)
    return sizes, arrays


def _public(buffer) -> str:
    return buffer.adjoint_of if buffer.kind is Kind.COTANGENT else buffer.name


def compare(program: Program, module: ModuleType, rng: np.random.Generator, tolerance: float, **limits) -> float:
    """The largest error of any result of any kernel against the interpreter, relative to tolerance."""
    sizes, arrays = random_arguments(program, rng, **limits)
    worst = 0.0
    for kernel in program.kernels:
        given = {b.name: arrays[_public(b)] for b in kernel.arguments}
        wanted = interpreted(kernel, sizes, given)
        call = getattr(module, kernel.entry)
        names = inspect.signature(call).parameters
        numbers = {str(s): int(n) for s, n in sizes.items()}
        found = call(**{n: arrays[n] if n in arrays else numbers[n] for n in names})
        if kernel.entry == "gradients":
            found = (found[0], *found[1])
        for value, (name, want) in zip([found] if kernel.entry == "cost" else found, wanted.items(), strict=True):
            got = np.asarray(value)
            assert got.shape == want.shape, (kernel.entry, name)
            assert got.dtype == program.dtype or not got.shape, (kernel.entry, name)
            scale = np.abs(want).max() + 1e-3
            worst = max(worst, float(np.abs(got - want).max() / (scale * tolerance)))
    return worst
