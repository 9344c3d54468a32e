"""The calling layer, over NumPy and over C: what arrays are taken, what is said of the others, plans, threads."""

from __future__ import annotations

import gc
import inspect
import secrets
import threading
import tracemalloc
import warnings
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_modules import compare, compiled_module, numpy_module
from sample_programs import documented

from chainrule.codegen.build import find_compiler
from chainrule.codegen.ir import Program
from chainrule.codegen.lower import lower
from chainrule.symbolic import network, parse
from chainrule.symbolic.errors import BuildError, ShapeError

TARGETS = ["numpy", pytest.param("c", marks=pytest.mark.skipif(find_compiler() is None, reason="no C compiler"))]
NUMBERS = """
    data x[m], t
    parameter w[m], lam
    z = lam * sum[k](w[k] * x[k]) + t
    cost = z**2 + lam**2
"""
LAYER = """
    data x[m]
    parameter w[n, m], s
    p[i] = s * sum[k](w[i, k] * x[k])
    q = sum[k](x[k]**2) * s
    output p, q
"""
ODD = """
    data x[T]
    parameter r[2*T - 1], c[3]
    cost = sum[t](x[t]) * sum[k](r[k]) * sum[i](c[i])
"""


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    return request.param


def module_of(program: Program, target: str) -> ModuleType:
    return numpy_module(program) if target == "numpy" else compiled_module(program)


def module(target: str, text: str = "", dtype: str = "float64") -> ModuleType:
    program = lower(parse(text), name="model", dtype=dtype) if text else _documented(dtype)
    return module_of(program, target)


_PROGRAMS: dict[str, Program] = {}


def _documented(dtype: str) -> Program:
    return _PROGRAMS.setdefault(dtype, documented(dtype))


def arrays(dtype: str = "float64", batch: int = 5, m: int = 4, n: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"x": (batch, m), "y": (batch, n), "w": (n, m), "b": (n,)}
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def expected(given: dict[str, Any], dtype: str = "float64") -> tuple[float, Any]:
    plain = {name: np.array(value, dtype) for name, value in given.items()}
    return numpy_module(_documented(dtype)).gradients(**plain)


def assert_same(found: tuple[float, Any], wanted: tuple[float, Any], tolerance: float = 1e-12) -> None:
    assert found[0] == pytest.approx(wanted[0], rel=tolerance)
    for got, want in zip(found[1], wanted[1], strict=True):
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * 10)


# --- what is taken


def strided(a: np.ndarray) -> np.ndarray:
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def misaligned(a: np.ndarray) -> np.ndarray:
    memory = np.zeros(a.nbytes + 1, np.uint8)[1:]
    view = memory.view(a.dtype).reshape(a.shape) if a.dtype.alignment == 1 else np.ndarray(a.shape, a.dtype, memory)
    view[...] = a
    return view


def read_only(a: np.ndarray) -> np.ndarray:
    copy = a.copy()
    copy.flags.writeable = False
    return copy


KINDS = {
    "strided": strided,
    "reversed": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "column by column": np.asfortranarray,
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "misaligned": misaligned,
    "read only": read_only,
    "a list": lambda a: a.tolist(),
    "a tuple": lambda a: tuple(a.tolist()),
    "a matrix": lambda a: a.view(type("Sub", (np.ndarray,), {})),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["x", "y", "w", "b"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_layout_gives_the_same_result(target: str, dtype: str, name: str, kind: str) -> None:
    given = arrays(dtype)
    changed = {**given, name: KINDS[kind](given[name])}
    kernels = module(target, dtype=dtype)
    assert_same(kernels.gradients(**changed), kernels.gradients(**given), 0)
    if name in ("x", "y"):
        plan = kernels.bind(5, w=given["w"], b=given["b"])
        assert plan(changed["x"], changed["y"]) == kernels.gradients(**given)[0]


@pytest.mark.parametrize("kind", ["bool", "int8", "uint16", "int32", "float16", "float32"])
def test_dtypes_that_lose_nothing(target: str, kind: str) -> None:
    given = {name: (4 * a).astype(kind) for name, a in arrays().items()}
    assert_same(module(target).gradients(**given), expected(given))


def test_a_float32_kernel_takes_float16_and_numbers(target: str) -> None:
    given = arrays("float32")
    given["b"] = given["b"].astype("float16")
    cost, gradients = module(target, dtype="float32").gradients(**given)
    assert isinstance(cost, float)
    assert {g.dtype for g in gradients} == {np.dtype("float32")}
    assert module(target, NUMBERS, "float32").cost(x=[[1, 2]], t=[3], w=[0.5, 1.5], lam=2) == pytest.approx(104)


BAD_DTYPES = {
    "complex128": lambda a: a.astype(complex),
    "object": lambda a: a.astype(object),
    "<U": lambda a: a.astype(str),
    "datetime64": lambda a: a.astype("datetime64[s]"),
    "float128": lambda a: a.astype(np.longdouble),
    "masked": lambda a: np.ma.masked_array(a, a > 0),
    "NoneType|object": lambda _: None,
    "object|inhomogeneous": lambda _: [[1.0, 2.0], [3.0]],
    "complex128|complex": lambda a: (a * 1j).tolist(),
}


@pytest.mark.parametrize("what", BAD_DTYPES)
@pytest.mark.parametrize("name", ["x", "w"])
def test_dtypes_that_lose_something_are_errors(target: str, name: str, what: str) -> None:
    if what == "float128" and not hasattr(np, "float128"):
        pytest.skip("no wider float here")
    given = arrays()
    given[name] = BAD_DTYPES[what](given[name])
    with pytest.raises(TypeError, match=rf"^{name}: .*({what})"):
        module(target).gradients(**given)


def test_float64_is_not_narrowed(target: str) -> None:
    given = arrays("float32")
    given["w"] = given["w"].astype("float64")
    with pytest.raises(TypeError, match=r"w: expected float32.* got float64; .*w\.astype\('float32'\)"):
        module(target, dtype="float32").gradients(**given)
    with pytest.raises(TypeError, match="b: a number is too large for float32"):
        module(target, dtype="float32").gradients(**{**arrays("float32"), "b": [1e300, 0, 0]})


# --- shapes and names


def test_shapes_that_do_not_fit(target: str) -> None:
    kernels, given = module(target), arrays()
    for name, value, message in [
        ("w", np.ones((3, 5)), r"w: expected shape \(n, m\) with n=3 from y, m=4 from x; got \(3, 5\)"),
        ("w", given["w"].T.copy(), r"w: expected shape .*; got \(4, 3\); pass w\.T"),
        ("b", np.ones(2), r"b: expected shape \(n,\) with n=3 from y; got \(2,\)"),
        ("b", np.ones((3, 1)), r"b: expected shape \(n,\) .*; got \(3, 1\)"),
        ("y", np.ones((4, 3)), r"y: expected shape \(batch, n\) with batch=5 from x; got \(4, 3\)"),
        ("x", np.ones(4), r"x: expected shape \(batch, m\).*; got \(4,\); .* for one sample pass x\[None\]"),
        ("x", np.ones((0, 4)), r"x: .* got \(0, 4\); the batch is empty: pass at least one sample"),
        ("b", np.float64(1), r"b: expected shape \(n,\) .*; got \(\)"),
    ]:
        with pytest.raises(kernels.ShapeError, match=message):
            kernels.gradients(**{**given, name: value})
        assert issubclass(kernels.ShapeError, ValueError)


def test_an_axis_of_length_0_is_an_error(target: str) -> None:
    kernels = module(target)
    with pytest.raises(kernels.ShapeError, match=r"x: .*the axis m is empty"):
        kernels.gradients(x=np.ones((2, 0)), y=np.ones((2, 1)), w=np.ones((1, 0)), b=np.ones(1))


def test_names_that_are_missing_or_unknown(target: str) -> None:
    kernels, given = module(target), arrays()
    with pytest.raises(TypeError, match="'weights'"):
        kernels.gradients(**given, weights=1)
    del given["b"]
    with pytest.raises(TypeError, match="'b'"):
        kernels.gradients(**given)
    with pytest.raises(TypeError, match="positional"):
        kernels.gradients(*given.values())


def test_signatures_and_docstrings_name_the_arrays(target: str) -> None:
    kernels = module(target)
    assert str(inspect.signature(kernels.gradients)) == "(*, x, y, w, b)"
    assert str(inspect.signature(kernels.forward)) == "(*, x, w, b)"
    assert "w: [n, m], parameter" in kernels.gradients.__doc__
    assert kernels.ARGUMENTS["x"] == ("data", ("batch", "m"))
    assert (kernels.NAME, kernels.DTYPE, kernels.SIZES) == ("documented", "float64", ("m", "n"))


def test_axes_that_are_expressions(target: str) -> None:
    kernels = module(target, ODD)
    x, c = np.ones((2, 4)), np.ones(3)
    assert kernels.cost(x=x, r=np.ones(7), c=c) == pytest.approx(4 * 7 * 3)
    with pytest.raises(kernels.ShapeError, match=r"r: expected shape \(2\*T - 1,\) with T=4 from x; got \(8,\)"):
        kernels.cost(x=x, r=np.ones(8), c=c)
    with pytest.raises(kernels.ShapeError, match=r"c: expected shape \(3,\); got \(4,\)"):
        kernels.cost(x=x, r=np.ones(7), c=np.ones(4))
    plan = kernels.bind(2, r=np.ones(7), c=c)  # T is solved from 2*T - 1 = 7
    assert plan.cost(x) == pytest.approx(84)
    with pytest.raises(kernels.ShapeError, match="r: expected shape"):
        kernels.bind(2, r=np.ones(6), c=c)
    with pytest.raises(kernels.ShapeError, match=r"r: expected shape .* with T=5 from the call"):
        kernels.bind(2, r=np.ones(7), c=c, T=5)


# --- numbers, and systems without a cost


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text", [NUMBERS, LAYER], ids=["numbers", "layer"])
def test_numbers_and_cotangents(target: str, text: str, dtype: str) -> None:
    program, seed = lower(parse(text), name="model", dtype=dtype), secrets.randbits(32)
    tolerance = {"float32": 3e-6, "float64": 1e-13}[dtype]
    error = compare(program, module_of(program, target), np.random.default_rng(seed), tolerance)
    assert error <= 1, f"{error:.1f} times the tolerance, seed {seed}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_bound_number_is_read_at_each_call(target: str, dtype: str) -> None:
    kernels = module(target, NUMBERS, dtype)
    w, lam = np.ones(2, dtype), np.array(1, dtype)
    plan = kernels.bind(1, w=w, lam=lam)
    x, t = np.ones((1, 2), dtype), np.zeros(1, dtype)
    assert plan(x, t) == pytest.approx(5)
    assert float(plan.gradients.lam) == pytest.approx(10)
    lam[...] = 3
    assert plan(x, t) == pytest.approx(45)
    assert plan.gradients.lam == pytest.approx(30)
    assert plan.gradients.lam.dtype == dtype


def test_a_plan_of_a_layer(target: str) -> None:
    kernels = module(target, LAYER)
    w, s, x = np.arange(6.0).reshape(2, 3), np.array(2.0), np.ones((4, 3))
    plan = kernels.bind(4, w=w, s=s)
    dp, dq = np.ones((4, 2)), np.zeros(4)
    found = plan(x, dp, dq)
    wanted = kernels.vjp(x=x, w=w, s=s, p=dp, q=dq)
    assert found is plan.gradients
    assert found._fields == wanted._fields
    for got, want in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(got, want)
    assert str(inspect.signature(kernels.Plan.__call__)) == "(self, x, p, q)"
    assert not hasattr(kernels, "gradients")


# --- plans


def test_a_plan_gives_what_a_call_gives(target: str) -> None:
    for dtype in ("float32", "float64"):
        kernels, given = module(target, dtype=dtype), arrays(dtype)
        plan = kernels.bind(batch=5, w=given["w"], b=given["b"])
        assert_same((plan(given["x"], given["y"]), plan.gradients), kernels.gradients(**given), 0)
        assert plan.cost(given["x"], given["y"]) == kernels.cost(**given)
        forward = kernels.forward(x=given["x"], w=given["w"], b=given["b"])
        np.testing.assert_array_equal(plan.forward(given["x"]).a, forward.a)
        assert plan(y=given["y"], x=given["x"]) == plan(given["x"], given["y"])
        assert {a.dtype for a in (*plan.gradients, forward.a)} == {np.dtype(dtype)}
        assert plan.workspace_bytes > 0


def test_a_plan_sees_parameters_change(target: str) -> None:
    kernels, given = module(target), arrays()
    plan = kernels.bind(5, w=given["w"], b=given["b"])
    before = plan(given["x"], given["y"])
    given["w"] *= 0.5
    given["b"] += 1
    after = plan(given["x"], given["y"])
    assert before != after
    assert_same((after, plan.gradients), kernels.gradients(**given), 0)


def test_a_plan_keeps_its_parameters_alive(target: str) -> None:
    kernels, given = module(target), arrays()
    wanted = kernels.gradients(**given)[0]
    plan = kernels.bind(5, w=given["w"].copy(), b=given["b"].copy())
    gc.collect()
    np.ones(12)
    assert plan(given["x"], given["y"]) == wanted


def test_parameters_that_cannot_be_referred_to(target: str) -> None:
    kernels, given = module(target), arrays()
    w, b = given["w"], given["b"]
    for value, found in [
        (w.astype("float32"), "float32"),
        (np.asfortranarray(w), "float64, strided"),
        (w.astype(">f8"), ">f8"),
        (misaligned(w), "float64, misaligned"),
        (w.tolist(), "list"),
        (np.ma.masked_array(w), "MaskedArray"),
        (None, "NoneType"),
    ]:
        message = f"w: a plan refers to its parameters, .* got {found}; make one with w = np.ascontiguousarray"
        with pytest.raises(TypeError, match=message):
            kernels.bind(5, w=value, b=b)
    assert kernels.bind(5, w=read_only(w), b=b)(given["x"], given["y"]) == kernels.cost(**given)


def test_batches_and_sizes_that_do_not_fit_a_plan(target: str) -> None:
    kernels, given = module(target), arrays()
    bound = {"w": given["w"], "b": given["b"]}
    for batch, error, message in [
        (0, kernels.ShapeError, "batch: expected at least 1; got 0"),
        (2.5, TypeError, "batch: expected a whole number, got float"),
        (None, TypeError, "batch: expected a whole number, got NoneType"),
    ]:
        with pytest.raises(error, match=message):
            kernels.bind(batch, **bound)
    assert kernels.bind(np.int32(5), **bound, m=4, n=3)(given["x"], given["y"]) == kernels.cost(**given)
    with pytest.raises(kernels.ShapeError, match=r"w: expected shape \(n, m\) with m=9 from the call; got"):
        kernels.bind(5, **bound, m=9)
    with pytest.raises(TypeError, match="'k'"):
        kernels.bind(5, **bound, k=1)
    plan = kernels.bind(5, **bound)
    for x, message in [
        (np.ones((4, 4)), r"x: expected shape \(batch, m\) with batch=5 from bind, m=4 from bind; got \(4, 4\)"),
        (np.ones(4), r"got \(4,\); .* for one sample pass x\[None\]"),
        (np.ones((0, 4)), "x: the batch is empty; this plan is bound to batch=5"),
    ]:
        with pytest.raises(kernels.ShapeError, match=message):
            plan(x, given["y"])
    with pytest.raises(TypeError, match="x: expected float64"):
        plan(given["x"].astype(complex), given["y"])
    assert plan(given["x"], given["y"]) == kernels.cost(**given)  # a refused call leaves the plan as it was


def test_sizes_that_only_data_have_are_named_when_bound(target: str) -> None:
    kernels = module(target, "data x[m]\nparameter s\ncost = sum[k](s * x[k])")
    s = np.array(2.0)
    assert kernels.bind(2, s=s, m=3).cost(np.ones((2, 3))) == pytest.approx(6)
    with pytest.raises(TypeError, match="'m'"):
        kernels.bind(2, s=s)


def test_results_of_calls_are_the_callers(target: str) -> None:
    kernels, given = module(target), arrays()
    first = kernels.gradients(**given)[1]
    kept = [g.copy() for g in first]
    kernels.gradients(**{**given, "x": -given["x"]})
    for got, want, source in zip(first, kept, ("w", "b", "x"), strict=True):
        np.testing.assert_array_equal(got, want)
        assert got.flags.owndata
        assert not np.shares_memory(got, given[source])


def test_data_that_lie_in_a_plans_results(target: str) -> None:
    kernels, given = module(target), arrays()
    plan = kernels.bind(5, w=given["w"], b=given["b"])
    plan(given["x"], given["y"])
    assert plan.gradients.x.shape == given["x"].shape
    wanted = kernels.gradients(**{**given, "x": plan.gradients.x.copy()})
    assert_same((plan(plan.gradients.x, given["y"]), plan.gradients), wanted, 0)
    forward = plan.forward(given["x"]).a
    wanted = kernels.gradients(**{**given, "y": forward.copy()[::-1]})
    assert_same((plan(given["x"], forward[::-1]), plan.gradients), wanted, 0)

    kernels = module(target, LAYER)
    bound = {"w": np.arange(9.0).reshape(3, 3), "s": np.array(2.0)}
    plan = kernels.bind(5, **bound)
    x = given["x"][:, :3].copy()
    once = kernels.forward(x=x, **bound).p
    for view in (lambda p: p, lambda p: p[:]):  # p is written before q reads x
        for got, want in zip(plan.forward(view(plan.forward(x).p)), kernels.forward(x=once, **bound), strict=True):
            np.testing.assert_array_equal(got, want)


def test_a_plan_does_not_allocate(target: str) -> None:
    kernels, given = module(target), arrays(batch=512, m=90, n=80)
    plan = kernels.bind(512, w=given["w"], b=given["b"])
    x, y = given["x"], given["y"]
    for _ in range(5):
        plan(x, y), plan.forward(x), plan.cost(x, y)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(20):
            plan(x, y), plan.forward(x), plan.cost(x, y)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now - before < 2_000
    assert peak - before < 100_000  # no array of the batch (327,680 bytes): NumPy's iterators take 64 KB to broadcast


def test_the_warnings_of_the_caller_are_untouched(target: str) -> None:
    kernels, given = module(target), arrays()
    plan = kernels.bind(5, w=given["w"], b=given["b"])
    with np.errstate(all="raise"):
        settings_before = np.geterr()
        plan(1e300 * given["x"], given["y"])
        kernels.gradients(**{**given, "x": 1e300 * given["x"]})
        assert np.geterr() == settings_before


def test_eight_threads(target: str) -> None:
    kernels = module(target)
    cases = [arrays(batch=16, m=30, n=20, seed=s) for s in range(8)]
    wanted = [kernels.gradients(**c) for c in cases]
    faults: list[str] = []

    def work(number: int) -> None:
        case = cases[number]
        plan = kernels.bind(16, w=case["w"], b=case["b"])
        for _ in range(100):
            for cost, found in (kernels.gradients(**case), (plan(case["x"], case["y"]), plan.gradients)):
                same = all(np.array_equal(a, b) for a, b in zip(found, wanted[number][1], strict=True))
                if cost != wanted[number][0] or not same:
                    faults.append(f"thread {number}")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults


# --- attach


@pytest.mark.skipif(find_compiler() is None, reason="no C compiler")
def test_c_agrees_with_numpy_and_leaves_its_module_alone() -> None:
    program = lower(network(["m", 5, "n"], sigma="relu", output="softmax", cost="cross_entropy"), name="net")
    plain, compiled = numpy_module(program), compiled_module(program)
    assert plain._KERNELS["cost"].__name__ == "_cost_kernel"
    assert compiled.ShapeError is ShapeError
    assert plain.ShapeError is not ShapeError
    rng = np.random.default_rng(0)
    shapes = {"x": (7, 4), "y": (7, 3), "w1": (5, 4), "b1": (5,), "w2": (3, 5), "b2": (3,)}
    given = {name: rng.random(shape) for name, shape in shapes.items()}
    assert_same(compiled.gradients(**given), plain.gradients(**given))


def test_a_shared_object_of_something_else(tmp_path) -> None:
    from chainrule.codegen.backends.c_calling import attach

    path = tmp_path / "other.so"
    path.write_bytes(b"not an object")
    with pytest.raises(BuildError, match=r"other\.so cannot be loaded as the kernels of documented"):
        attach(numpy_module(_documented("float64")), path)


@settings(max_examples=60)
@given(st.data())
def test_random_shapes_give_a_result_or_a_shape_error(data: st.DataObject) -> None:
    kernels = numpy_module(_documented("float64"))
    lengths = st.lists(st.integers(0, 3), max_size=3)
    given = {name: np.ones(data.draw(lengths)) for name in ("x", "y", "w", "b")}
    x, y, w, b = (given[n].shape for n in ("x", "y", "w", "b"))
    fits = len(x) == len(y) == 2 and x[0] == y[0] and w == (y[1], x[1]) and b == (y[1],) and 0 not in (*x, *y)
    if fits:
        kernels.gradients(**given)
    else:
        with pytest.raises(kernels.ShapeError):
            kernels.gradients(**given)
