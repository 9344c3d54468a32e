"""NumPy kernels of every example against loops over single elements: all entries, batches, dtypes, products."""

from __future__ import annotations

import functools
import inspect
import itertools
import secrets
import warnings
from types import ModuleType

import numpy as np
import pytest
import sympy as sp
from kernel_interpreter import run_program
from kernel_modules import numpy_module
from systems import EXAMPLES, example

from chainrule.codegen.entries import PRODUCTS
from chainrule.codegen.ir import Kind, Program
from chainrule.codegen.lower import lower

TOLERANCE = {"float64": 1e-11, "float32": 1e-4}


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@functools.cache
def program_of(name: str, dtype: str, *, data: bool = False, products: tuple[str, ...] = ()) -> Program:
    """An example's Program; with `data` its gradients with respect to the data too."""
    system = example(name)
    wrt = [t.name for t in system.inputs] if data else None
    return lower(system, name="model", dtype=dtype, wrt=wrt, products=products)


def arguments(
    program: Program, rng: np.random.Generator, batch: int, lengths: tuple[int, ...] = (3, 5, 2, 4)
) -> tuple[dict[str, int], dict[str, np.ndarray]]:
    """Odd sizes, and values in [0.1, 0.7] in the program's dtype, by public name."""
    sizes = dict(zip((s.name for s in program.sizes), itertools.cycle(lengths), strict=False))
    numbers = {s: sp.Integer(sizes[s.name]) for s in program.sizes}
    arrays = {}
    for argument in program.arguments:
        shape = [int(d.xreplace(numbers)) for d in argument.shape]
        array = rng.uniform(0.1, 0.7, [batch, *shape] if argument.per_sample else shape)
        arrays[argument.name] = array.astype(program.dtype)
    return {**sizes, "batch": batch}, arrays


def called(module: ModuleType, entry: str, sizes: dict[str, int], arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """What an entry returns, the cost first where there is one."""
    function = getattr(module, entry)
    names = inspect.signature(function).parameters
    found = function(**{n: arrays[n] if n in arrays else sizes[n] for n in names})
    if entry == "cost":
        return [found]
    return [found[0], *found[1]] if entry == "gradients" else list(found)


def worst(program: Program, sizes: dict[str, int], arrays: dict[str, np.ndarray]) -> tuple[float, str]:
    """The largest relative error of any result against the interpreter, and which result that is."""
    module = numpy_module(program)
    errors = []
    for kernel in program.kernels:
        wanted = run_program(program, kernel.entry, sizes, arrays)
        for (name, want), got in zip(wanted.items(), called(module, kernel.entry, sizes, arrays), strict=True):
            assert np.shape(got) == want.shape, (kernel.entry, name)
            assert not want.shape or got.dtype == program.dtype, (kernel.entry, name)
            errors.append((float(np.abs(got - want).max() / (np.abs(want).max() + 1e-3)), f"{kernel.entry} {name}"))
    return max(errors)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str, dtype: str, batch: int) -> None:
    seed = secrets.randbits(32)
    program = program_of(name, dtype)
    error, where = worst(program, *arguments(program, np.random.default_rng(seed), batch))
    assert error <= TOLERANCE[dtype], f"{name} {dtype}: {where} is off by {error:.1e}, seed {seed}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_gradients_with_respect_to_data(name: str) -> None:
    seed = secrets.randbits(32)
    program = program_of(name, "float64", data=True)
    error, where = worst(program, *arguments(program, np.random.default_rng(seed), 2, (2, 3)))
    assert error <= 1e-11, f"{name}: {where} is off by {error:.1e}, seed {seed}"


@pytest.mark.parametrize("name", EXAMPLES)
def test_products(name: str) -> None:
    seed = secrets.randbits(32)
    system = example(name)
    products = PRODUCTS if system.outputs else ("hvp",)
    program = program_of(name, "float64", products=products)
    error, where = worst(program, *arguments(program, np.random.default_rng(seed), 2, (2, 3)))
    assert error <= 1e-11, f"{name}: {where} is off by {error:.1e}, seed {seed}"
    assert {a.name for a in program.arguments if a.kind is Kind.TANGENT} == {f"{n}_dot" for n in program.wrt}
