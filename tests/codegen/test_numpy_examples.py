"""NumPy kernels of every example against loops over single elements: all entries, batches, dtypes, products."""

from __future__ import annotations

import ast
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
from kernel_modules import numpy_module, numpy_text
from systems import EXAMPLES, example

from chainrule.codegen.entries import PRODUCTS
from chainrule.codegen.ir import Kind, Program
from chainrule.codegen.lower import lower
from chainrule.symbolic import parse

MODELS = {
    "channels": """
        data x[C, 2*(P - 1) + K], t[O, P]
        parameter w[O, C, K]
        y[o, p] = sum[c, q](w[o, c, q] * x[c, 2*p + q])
        cost = sum[o, p]((tanh(y[o, p]) - t[o, p])**2)
    """,
    "two convolutions": """
        data x[A, P + 3], t[C, P]
        parameter u[B, A, 2], v[C, B, 3], b[B]
        h[j, p] = relu(b[j] + sum[i, q](u[j, i, q] * x[i, p + q]))
        y[k, p] = sum[j, q](v[k, j, q] * h[j, p + q])
        cost = sum[k, p]((y[k, p] - t[k, p])**2)
    """,
    "kernel of any size": """
        data x[C, P + K - 1, Q + L - 1], t[O, P, Q]
        parameter w[O, C, K, L]
        y[o, p, q] = sum[c, u, v](w[o, c, u, v] * x[c, p + u, q + v])
        cost = sum[o, p, q]((y[o, p, q] - t[o, p, q])**2)
    """,
    "dilated, in two axes": """
        data x[C, 2*P + 3, 3*Q + 2], t[O, P, Q]
        parameter w[O, C, 2, 3]
        index p < P
        index q < Q
        y[o, p, q] = sum[c, u, v](w[o, c, u, v] * x[c, 2*p + 3*u, 3*q + v])
        cost = sum[o, p, q]((y[o, p, q] - t[o, p, q])**2)
    """,
    "each channel alone": """
        data x[C, P + 2], t[C, P]
        parameter w[C, 3], g[C]
        y[c, p] = sum[q](w[c, q] * tanh(g[c] * x[c, p + q]))
        cost = sum[c, p]((y[c, p] - t[c, p])**2)
    """,
    "overlapping pools": """
        data x[C, 2*P + 1], t[C, P]
        parameter g[C]
        index p < P
        index u < 3
        index v < 2
        a[c, i] = g[c] * x[c, i]
        m[c, p] = max[u](a[c, 2*p + u])
        n[c, p] = mean[u](a[c, 2*p + u]**2) + min[v](a[c, p + v]) + prod[v](a[c, p + v])
        cost = sum[c, p]((m[c, p] + n[c, p] - t[c, p])**2)
    """,
    "triangles": """
        data x[N]
        parameter w[N, N], b[N]
        y[i] = b[i] + sum[j : j <= i](w[i, j] * x[j]) + max[j : i <= j](w[j, i] * x[j])
        z[i] = prod[j : j < i](1 + w[i, j] * y[j] / 4) + y[N - 1 - i]
        cost = sum[i](z[i]**2) + sum[i, j : i < j](w[i, j]**2 * y[i])
    """,
    "borders": """
        data x[N]
        parameter w[3], k
        index i < N
        y[i] = sum[q](w[q] * where(0 <= i + q - 1 and i + q - 1 < N, x[i + q - 1], k))
        z[i] = where(i < N - 1, y[i + 1], 0) - where(1 <= i, y[i - 1]**2, 1) + i / N
        cost = sum[i](z[i]**2 * where(i == 1, 2, 1))
    """,
    "diagonals": """
        data x[N, N]
        parameter w[N], v[N, N]
        y[i] = w[i] * x[i, i] + v[i, i] * x[N - 1 - i, i]
        cost = sum[i](y[i]**2) + sum[i, j : i < j](v[i, j] * w[j - i] * x[j, i])
    """,
    "recurrence of scalars": """
        data x[T], y
        parameter a, b, c
        h[0] = c
        h[t] = a * h[t - 1] + b * tanh(x[t - 1])
        cost = (h[T] - y)**2 + sum[t](h[t]**2) / T
    """,
    "backwards": """
        data x[T, X]
        parameter w[X, X]
        r[T - 1, i] = x[T - 1, i]
        r[t, i] = tanh(x[t, i] + sum[j](w[i, j] * r[t + 1, j]))
        cost = sum[t, i](r[t, i]**2)
    """,
}
TOLERANCE = {"float64": 1e-11, "float32": 1e-4}


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@functools.cache
def program_of(name: str, dtype: str, *, data: bool = False, products: tuple[str, ...] = ()) -> Program:
    """An example's Program; with `data` its gradients with respect to the data too."""
    system = parse(MODELS[name]) if name in MODELS else example(name)
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
@pytest.mark.parametrize("name", [*EXAMPLES, *MODELS])
def test_examples(name: str, dtype: str, batch: int) -> None:
    seed = secrets.randbits(32)
    program = program_of(name, dtype)
    error, where = worst(program, *arguments(program, np.random.default_rng(seed), batch))
    assert error <= TOLERANCE[dtype], f"{name} {dtype}: {where} is off by {error:.1e}, seed {seed}"


@pytest.mark.parametrize("name", [*EXAMPLES, *MODELS])
def test_gradients_with_respect_to_data(name: str) -> None:
    seed = secrets.randbits(32)
    program = program_of(name, "float64", data=True)
    error, where = worst(program, *arguments(program, np.random.default_rng(seed), 2, (2, 3)))
    assert error <= 1e-11, f"{name}: {where} is off by {error:.1e}, seed {seed}"


@pytest.mark.parametrize("name", [*EXAMPLES, *MODELS])
def test_products(name: str) -> None:
    seed = secrets.randbits(32)
    system = parse(MODELS[name]) if name in MODELS else example(name)
    products = PRODUCTS if system.outputs else ("hvp",)
    program = program_of(name, "float64", products=products)
    error, where = worst(program, *arguments(program, np.random.default_rng(seed), 2, (2, 3)))
    assert error <= 1e-11, f"{name}: {where} is off by {error:.1e}, seed {seed}"
    assert {a.name for a in program.arguments if a.kind is Kind.TANGENT} == {f"{n}_dot" for n in program.wrt}


@pytest.mark.parametrize("name", [*EXAMPLES, *MODELS])
def test_gradients_are_slopes_of_the_cost_and_products_of_the_gradients(name: str) -> None:
    """Along one random direction of everything, by central differences: no second opinion on a formula is needed."""
    seed = secrets.randbits(32)
    rng = np.random.default_rng(seed)
    program = program_of(name, "float64", products=("hvp",))
    module = numpy_module(program)
    sizes, arrays = arguments(program, rng, 2, (2, 3))
    step = 1e-5
    moved = [dict(arrays) for _ in range(2)]
    for n in program.wrt:
        arrays[f"{n}_dot"] = rng.uniform(-1, 1, np.shape(arrays[n]))
        for sign, point in zip((1, -1), moved, strict=True):
            point[n] = arrays[n] + sign * step * arrays[f"{n}_dot"]
    (above, *up), (below, *down) = (called(module, "gradients", sizes, point) for point in moved)
    _, *gradients = called(module, "gradients", sizes, arrays)
    slope = sum(np.vdot(g, arrays[f"{n}_dot"]) for n, g in zip(program.wrt, gradients, strict=True))
    assert slope == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-6), f"seed {seed}"
    for n, found, u, d in zip(program.wrt, called(module, "hvp", sizes, arrays), up, down, strict=True):
        expected = (u - d) / (2 * step)
        scale = np.abs(expected).max() + 1e-2
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * scale, err_msg=f"{n}, seed {seed}")


@pytest.mark.parametrize("name", [*EXAMPLES, *MODELS])
def test_plans_repeat_themselves_and_see_their_parameters(name: str) -> None:
    seed = secrets.randbits(32)
    rng = np.random.default_rng(seed)
    program = program_of(name, "float64")
    module = numpy_module(program)
    sizes, arrays = arguments(program, rng, 2)
    parameters = {a.name: arrays[a.name] for a in program.parameters}
    signature = inspect.signature(module.bind).parameters
    plan = module.bind(
        sizes["batch"], **parameters, **{n: v for n, v in sizes.items() if n in signature and n != "batch"}
    )
    for _ in range(2):
        data = {a.name: rng.uniform(0.1, 0.7, np.shape(arrays[a.name])) for a in program.data}
        for parameter in parameters.values():
            parameter[...] = rng.uniform(0.1, 0.7, parameter.shape)
        want = called(module, "gradients", sizes, {**parameters, **data})
        for _ in range(2):
            cost = plan(**data)
            assert cost == want[0], f"seed {seed}"
            for found, expected in zip(plan.gradients, want[1:], strict=True):
                np.testing.assert_array_equal(found, expected, err_msg=f"seed {seed}")


def test_windows_are_not_copied_out() -> None:
    """A convolution's workspace grows with its arrays, not with the elements of its windows."""
    text = """
        data x[C, P + K - 1, P + K - 1], t[O, P, P]
        parameter w[O, C, K, K]
        y[o, p, q] = sum[c, u, v](w[o, c, u, v] * x[c, p + u, q + v])
        cost = sum[o, p, q]((y[o, p, q] - t[o, p, q])**2)
    """
    program = lower(parse(text), name="model", dtype="float64", wrt=["x", "w"])
    module = numpy_module(program)
    batch, channels, size = 4, 3, 20
    for width in (3, 9):
        w = np.ones((channels, channels, width, width))
        plan = module.bind(batch, w=w, P=size)
        plan(np.ones((batch, channels, size + width - 1, size + width - 1)), np.ones((batch, channels, size, size)))
        arrays = batch * channels * (size + 2 * width) ** 2 + w.size
        assert plan.workspace_bytes <= 12 * 8 * arrays, width


def test_a_step_of_a_scan_pads_its_own_row() -> None:
    """Neighbours that may not be there: a border around the row that a step reads, not around all times."""
    program = program_of("wave", "float64")
    batch, places, times = 2, 30, 50
    plan = numpy_module(program).bind(batch, c=np.ones(places), dt=np.array(0.1), T=times)
    plan(np.ones((batch, places)), np.ones((batch, times, places)))
    assert plan.workspace_bytes <= 11 * 8 * batch * (times + 2) * (places + 2)
    tree = ast.parse(numpy_text(program))
    copied = [ast.unparse(c.args[1]) for f in ast.walk(tree) if isinstance(f, ast.For) for c in copies(f)]
    assert copied
    assert not {"u", "bend", "dbend"} & set(copied), copied


def copies(loop: ast.For) -> list[ast.Call]:
    """Every call of np.copyto in the loop."""
    return [n for n in ast.walk(loop) if isinstance(n, ast.Call) and ast.unparse(n.func) == "np.copyto"]


def test_loops_run_over_time_and_offsets_alone() -> None:
    """Python loops: a recurrence's own, and the places in a window that a matrix product or slice belongs to."""
    loops = {
        "rnn": {"t"},
        "gru": {"t"},
        "wave": {"t"},
        "conv2d": {"u", "v"},
        "average_pooling": {"u", "v"},
        "max_pooling": {"u"},
    }
    for name in EXAMPLES:
        tree = ast.parse(numpy_text(program_of(name, "float64")))
        kernels = [f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name.endswith("_kernel")]
        found = {n.target.id.rstrip("0123456789") for f in kernels for n in ast.walk(f) if isinstance(n, ast.For)}
        assert found == loops.get(name, set()), name
