"""Every kind of statement, expression and name in generated C, through kernels made of just that."""

from __future__ import annotations

import math
import secrets
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
from c_programs import (
    COMPILERS,
    SANITIZED,
    WARNINGS,
    compiled,
    forward_program,
    layer_inputs,
    layer_reference,
    mapped,
    run,
)
from sample_programs import documented, full
from sympy import Integer

from chainrule.codegen.backends.c import render
from chainrule.codegen.ir import BATCH, Argument, Buffer, Contract, Kernel, Kind, Map, Program, Reduce
from chainrule.symbolic.expressions import Access, Call, Range, Where, size
from chainrule.symbolic.primitives import Sigmoid, Softplus
from chainrule.symbolic.system import Equation, FunctionDefinition

DTYPES = ("float32", "float64")

pytestmark = pytest.mark.skipif(not COMPILERS, reason="no C compiler")


# ---- contractions and reductions of every kind ---------------------------------------------------


def _einsum(statement: Contract, arrays: dict[str, np.ndarray]) -> np.ndarray:
    letters: dict[object, str] = {}
    for access in (statement.left, statement.right, statement.out):
        for symbol in access.indices:
            letters.setdefault(symbol, chr(ord("a") + len(letters)))
    spec = [",".join("".join(letters[i] for i in a.indices) for a in (statement.left, statement.right))]
    spec.append("".join(letters[i] for i in statement.out.indices))
    return np.einsum("->".join(spec), arrays[statement.left.name], arrays[statement.right.name])


def _random_contract(
    number: int, rng: np.random.Generator, extents: list[sp.Symbol]
) -> tuple[Contract, dict[str, tuple]]:
    ranges = [full(f"i{m}", e) for m, e in enumerate(extents)]
    role = rng.integers(0, 5, len(ranges))  # rows, columns, depth, batch, rows
    in_left = [r for r, k in zip(ranges, role, strict=True) if k != 1]
    in_right = [r for r, k in zip(ranges, role, strict=True) if k in (1, 2, 3)]
    out = [r for r, k in zip(ranges, role, strict=True) if k != 2]
    reduced = tuple(r for r, k in zip(ranges, role, strict=True) if k == 2)
    left, right, result = ([group[m] for m in rng.permutation(len(group))] for group in (in_left, in_right, out))
    names = (f"left{number}", f"right{number}", f"out{number}")
    accesses = [Access(n, *(r.symbol for r in g)) for n, g in zip(names, (left, right, result), strict=True)]
    equation = Equation(names[2], accesses[2].indices, tuple(result), accesses[0] * accesses[1])
    statement = Contract(accesses[2], tuple(result), equation, reduced, accesses[0], accesses[1])
    return statement, {n: tuple(r.extent for r in g) for n, g in zip(names, (left, right, result), strict=True)}


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_contractions(dtype: str, tmp_path: Path) -> None:
    """Any number of row, column, depth and batch indices in any order: as einsum has it."""
    seed = secrets.randbits(32)
    rng = np.random.default_rng(seed)
    sizes = [size(n) for n in "abcd"]
    statements, shapes = [], {}
    for number in range(40):
        chosen = [sizes[m] for m in rng.permutation(4)[: rng.integers(1, 5)]]
        statement, own = _random_contract(number, rng, chosen)
        statements.append(statement)
        shapes |= own
    program = forward_program(statements, shapes, [s.out.name for s in statements], dtype)
    kernels = compiled(program, tmp_path, ("-O1", "-march=native"))
    for extents in ((1, 1, 1, 1), (2, 3, 4, 5), (7, 18, 9, 3), (17, 2, 11, 33)):
        env = dict(zip(sizes, extents, strict=True))
        arrays = {
            a.name: rng.normal(size=tuple(int(d.subs(env)) for d in a.shape)).astype(dtype) for a in program.arguments
        }
        found = kernels("forward", (1, *extents), **arrays)
        for statement in statements:
            expected = _einsum(statement, arrays)
            terms = _einsum(statement, {n: np.abs(a) for n, a in arrays.items()}).max()  # nothing cancels in these
            error = np.abs(found[statement.out.name] - expected).max() / terms
            assert error < (4e-6 if dtype == "float32" else 1e-14), f"{statement} at {extents} (seed {seed})"


def _windowed(stride: int, dilation: int) -> tuple[list[Contract], dict[str, tuple]]:
    """y[s,o,p] = Σ_cu w[o,c,u] x[s,c,stride·p + dilation·u], and the gradient by w that goes with it."""
    s, o, c, p = (full(n, size(n.upper())) for n in "socp")
    u = full("u", Integer(3))
    x = Access("x", s.symbol, c.symbol, stride * p.symbol + dilation * u.symbol)
    w, y = Access("w", o.symbol, c.symbol, u.symbol), Access("y", s.symbol, o.symbol, p.symbol)
    d, dw = Access("d", *y.indices), Access("dw", *w.indices)
    forward = Contract(y, (s, o, p), Equation("y", y.indices, (s, o, p), x * w), (c, u), x, w)
    backward = Contract(dw, (o, c, u), Equation("dw", dw.indices, (o, c, u), x * d), (s, p), d, x)
    length = stride * (p.extent - 1) + 2 * dilation + 1
    result = (s.extent, o.extent, p.extent)
    shapes = {"x": (s.extent, c.extent, length), "w": (o.extent, c.extent, u.extent), "y": result, "d": result}
    return [forward, backward], {**shapes, "dw": shapes["w"]}


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (2, 3)])
def test_contractions_of_windows(stride: int, dilation: int, tmp_path: Path) -> None:
    """One matrix product for each place in the window; the places are added up, or stand in the result."""
    statements, shapes = _windowed(stride, dilation)
    program = forward_program(statements, shapes, ["y", "dw"], "float64")
    (source,) = (text for name, text in render(program).items() if name.endswith(".c") and "test" not in name)
    assert source.count("matrix_product_add(O, ") == 2
    kernels = compiled(program, tmp_path)
    rng = np.random.default_rng(secrets.randbits(32))
    for channels, outputs, length, samples in ((1, 1, 1, 1), (2, 3, 5, 4), (5, 9, 17, 2)):
        x = rng.normal(size=(samples, channels, stride * (length - 1) + 2 * dilation + 1))
        w = rng.normal(size=(outputs, channels, 3))
        d = rng.normal(size=(samples, outputs, length))
        part = np.stack([x[:, :, dilation * u :][:, :, : stride * (length - 1) + 1 : stride] for u in range(3)], -1)
        found = kernels("forward", (1, channels, outputs, length, samples), x=x, w=w, d=d)
        np.testing.assert_allclose(found["y"], np.einsum("scpu,ocu->sop", part, w), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found["dw"], np.einsum("scpu,sop->ocu", part, d), rtol=1e-10, atol=1e-12)


def test_indices_without_a_common_stride_are_loops(tmp_path: Path) -> None:
    """Rows of h[s, t + 1, :] do not follow each other from one s to the next: one product for each s, summed."""
    s, t, i, j = (full(n, size(n.upper())) for n in "stij")
    h, d = Access("h", s.symbol, t.symbol + 1, j.symbol), Access("d", s.symbol, t.symbol, i.symbol)
    out = Access("out", i.symbol, j.symbol)
    statement = Contract(out, (i, j), Equation("out", out.indices, (i, j), d * h), (s, t), d, h)
    shapes = {"h": (s.extent, t.extent + 2, j.extent), "d": (s.extent, t.extent, i.extent)}
    program = forward_program([statement], {**shapes, "out": (i.extent, j.extent)}, ["out"], "float64")
    kernels = compiled(program, tmp_path)
    rng = np.random.default_rng(secrets.randbits(32))
    for rows, columns, samples, steps in ((1, 1, 1, 1), (3, 5, 2, 4), (9, 25, 3, 1)):
        h, d = rng.normal(size=(samples, steps + 2, columns)), rng.normal(size=(samples, steps, rows))
        found = kernels("forward", (1, rows, columns, samples, steps), h=h, d=d)["out"]
        np.testing.assert_allclose(found, np.einsum("sti,stj->ij", d, h[:, 1:-1]), rtol=1e-10, atol=1e-12)


def test_reductions_of_every_kind(tmp_path: Path) -> None:
    n, m = size("n"), size("m")
    i, j = full("i", n), full("j", m)
    u = Access("u", i.symbol, j.symbol)
    statements, shapes = [], {"u": (n, m)}
    for kind in ("sum", "prod", "max", "min"):
        for over, kept in (((i,), (j,)), ((j,), (i,)), ((i, j), ())):
            name = f"{kind}{len(statements)}"
            out = Access(name, *(r.symbol for r in kept))
            statements.append(Reduce(out, kept, Equation(name, out.indices, kept, u), kind, over, u))
            shapes[name] = tuple(r.extent for r in kept)
    kernels = compiled(forward_program(statements, shapes, [s.out.name for s in statements], "float32"), tmp_path)
    rng = np.random.default_rng(secrets.randbits(32))
    values = rng.normal(size=(5, 7)).astype(np.float32)
    found = kernels("forward", (1, 7, 5), u=values)
    for place, statement in enumerate(statements):
        function = {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min}[statement.kind]
        expected = function(values.astype(float), axis=(0, 1, (0, 1))[place % 3])
        np.testing.assert_allclose(found[statement.out.name], expected, rtol=2e-6, atol=1e-6)
    values[2, 3] = np.nan
    found = kernels("forward", (1, 7, 5), u=values)
    assert all(np.isnan(found[s.out.name]).any() for s in statements)


def test_fused_maps_that_must_not_be_fused(tmp_path: Path) -> None:
    """A Map that reads another row of what the one before it writes has a loop of its own."""
    n = size("n")
    i, j = full("i", n), full("j", n)
    u, v = Access("u", i.symbol, j.symbol), Access("v", j.symbol, i.symbol)
    statements = [mapped("v", (i, j), 2 * u), mapped("t", (i, j), v + u)]
    kernels = compiled(forward_program(statements, {"u": (n, n), "v": (n, n), "t": (n, n)}, ["t"]), tmp_path)
    values = np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(kernels("forward", (1, 3), u=values)["t"], 2 * values.T + values)


# ---- scalar expressions --------------------------------------------------------------------------


def _expressions(u: sp.Expr, v: sp.Expr, n: sp.Symbol) -> list[sp.Expr]:
    third, e = sp.Rational(1, 3), sp.exp
    return [
        u**2, u**-1, u**3, u**7, u**64, (u + v) ** 2, (u * v) ** -2, sp.sqrt(v), v ** sp.Rational(-1, 2),
        v ** sp.Rational(3, 2), v**third, 2**u, v**u, u / 3, 2 * u / 3, third + u, sp.pi * u, sp.sqrt(2 / sp.pi) * u,
        u - v, -u, -u - v, -(u + v), -u * v, u - (v - 1), u / (v * 2), u / v / (u + 7), -(u**2), 1 - u**2, 2 * (u - v),
        e(-(u**2) / 2), sp.log(v), sp.log(1 + v), sp.tanh(u) * (1 - sp.tanh(u) ** 2), sp.sinh(u), sp.cosh(u),
        sp.sin(u), sp.cos(u), sp.tan(u), sp.atan(u), sp.asin(u / 9), sp.acos(u / 9), sp.asinh(u), sp.acosh(1 + v),
        sp.atanh(u / 9), sp.erf(u), sp.erfc(u), sp.Abs(u), sp.sign(u), sp.Max(u, v, 1), sp.Min(u, v, 1),
        Where(u > 0, u, 0), Where(u >= v, u * v, 3), Where(sp.And(u > -1, u < 1), u, v),
        Where(sp.Or(u > 2, v < 1), 1, u), Where(u > 0, Where(v > 1, u, v), 2) - 1, 2 * Where(u > 0, 1, -1) * v,
        u * n, u / n, u / sp.sqrt(n), (u + n) / (v + n), 2 * u / n + 3 * v / n, sp.atan2(u, v), Where(n > 3, u, v),
        sp.Float("0.1") * u, u * 10**20, u * sp.Rational(1, 10**12),
    ]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_expressions_mean_what_they_say(dtype: str, tmp_path: Path) -> None:
    """Every spelling of the printer against NumPy's evaluation of the same SymPy expression in float64."""
    n = size("n")
    i = full("i", n)
    u, v = Access("u", i.symbol), Access("v", i.symbol)
    expressions = _expressions(u, v, n)
    statements = [mapped(f"t{k}x", (i,), e) for k, e in enumerate(expressions)]
    shapes = dict.fromkeys(("u", "v", *(s.out.name for s in statements)), (n,))
    program = forward_program(statements, shapes, [s.out.name for s in statements], dtype)
    kernels = compiled(program, tmp_path, ("-O1",))
    seed = secrets.randbits(32)
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1.4, 1.4, 50).astype(dtype)
    y = rng.uniform(0.1, 3, 50).astype(dtype)
    found = kernels("forward", (1, 50), u=x, v=y)
    names = sp.symbols("x y", real=True)
    plain = {u: names[0], v: names[1], n: Integer(50)}
    for statement, expression in zip(statements, expressions, strict=True):
        body = expression.replace(Where, lambda k, a, b: sp.Piecewise((a, k), (b, True))).xreplace(plain)
        function = sp.lambdify(names, body, ["scipy", "numpy"] if body.has(sp.erf, sp.erfc) else "numpy")
        expected = np.broadcast_to(_evaluated(function, x, y), 50)
        scale = np.maximum(np.abs(expected), 1e-3)
        worst = (np.abs(found[statement.out.name] - expected) / scale).max()
        assert worst < (3e-5 if dtype == "float32" else 1e-13), f"{expression}: {worst} (seed {seed})"


def _evaluated(function: object, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    scope = function.__globals__  # type: ignore[attr-defined]
    scope["erf"], scope["erfc"] = np.vectorize(math.erf), np.vectorize(math.erfc)
    return np.asarray(function(x.astype(float), y.astype(float)))  # type: ignore[operator]


def test_functions_and_their_derivatives_are_called(tmp_path: Path) -> None:
    n, z = size("n"), sp.Symbol("z", real=True)
    i = full("i", n)
    u = Access("u", i.symbol)
    functions = (
        FunctionDefinition("sigma", (z,), z / (1 + Call("inner", (0,), z))),
        FunctionDefinition("inner", (z,), z**2),
        FunctionDefinition("scaled", (z,), z / sp.sqrt(n)),
    )
    statements = [
        mapped("v", (i,), Call("sigma", (0,), u)),
        mapped("t", (i,), Call("inner", (1,), u)),
        mapped("r", (i,), Call("scaled", (0,), u)),
    ]
    shapes = dict.fromkeys(("u", "v", "t", "r"), (n,))
    program = forward_program(statements, shapes, ["v", "t", "r"], "float64", functions)
    source = render(program)["probe.c"]
    assert "static inline double probe_sigma(double z)" in source
    kernels = compiled(program, tmp_path)
    x = np.linspace(-2, 2, 9)
    found = kernels("forward", (1, 9), u=x)
    np.testing.assert_allclose(found["v"], x / (1 + x**2), rtol=1e-15)
    np.testing.assert_allclose(found["t"], 2 * x, rtol=1e-15)
    np.testing.assert_allclose(found["r"], x / 3, rtol=1e-15)


def test_saturated_sigmoid_and_softplus_stay_finite(tmp_path: Path) -> None:
    i = full("i", size("n"))
    u = Access("u", i.symbol)
    statements = [mapped("v", (i,), Sigmoid(u)), mapped("t", (i,), Softplus(u))]
    kernels = compiled(
        forward_program(statements, {"u": (size("n"),), "v": (size("n"),), "t": (size("n"),)}, ["v", "t"]), tmp_path
    )
    points = np.array([-1000.0, -745.0, -40.0, 0.0, 40.0, 800.0, 1e308])
    found = kernels("forward", (1, len(points)), u=points)
    assert np.isfinite(found["v"]).all()
    assert np.isfinite(found["t"]).all()
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(found["v"], 1 / (1 + np.exp(-points)), rtol=4e-16, atol=1e-320)
    np.testing.assert_allclose(found["t"], np.logaddexp(0, points), rtol=4e-16)


def test_axes_computed_from_sizes_must_be_positive(tmp_path: Path) -> None:
    n, r = size("n"), size("r")
    i = full("i", n - r + 1)
    u = Access("u", i.symbol)
    shapes = {"u": (n - r + 1,), "v": (n - r + 1,)}
    kernels = compiled(forward_program([mapped("v", (i,), 2 * u)], shapes, ["v"]), tmp_path)
    assert kernels("forward", (1, 5, 3), u=np.ones(3))["v"].tolist() == [2.0] * 3
    code, _ = kernels.call("forward", {"u": np.ones(3)}, (1, 3, 5))
    assert "not positive" in kernels.said(code)
    code, _ = kernels.call("forward", {"u": np.ones(3)}, (1, 2**64 - 1, 1))
    assert "address space" in kernels.said(code)


def test_one_number_is_a_double(tmp_path: Path) -> None:
    """A parameter without axes and its gradient, in single precision, are doubles at the boundary."""
    n = size("n")
    i = full("i", n)
    statements = [
        mapped("v", (i,), Access("lam") * Access("u", i.symbol)),
        Reduce(Access("total"), (), Equation("total", (), (), Access("lam")), "sum", (i,), Access("v", i.symbol)),
    ]
    program = forward_program(statements, {"lam": (), "u": (n,), "v": (n,), "total": ()}, ["total", "v"], "float32")
    assert "const double *lam;" in render(program)["probe.h"]
    kernels = compiled(program, tmp_path)
    found = kernels("forward", (1, 4), lam=0.5, u=np.arange(4))
    assert found["total"] == 3.0
    assert found["total"].dtype == np.float64
    assert found["v"].tolist() == [0.0, 0.5, 1.0, 1.5]


def test_vjp(tmp_path: Path) -> None:
    """A program without a cost: cotangents in a struct of their own."""
    n = size("n")
    s, i = full("s", BATCH), full("i", n)
    S, I = s.symbol, i.symbol  # noqa: E741
    forward = Kernel(
        "forward",
        (Buffer("x", (BATCH, n), Kind.DATA), Buffer("w", (n,), Kind.PARAMETER), Buffer("a", (BATCH, n), Kind.OUTPUT)),
        (mapped("a", (s, i), sp.sin(Access("w", I) * Access("x", S, I))),),
        ("a",),
    )
    slope = sp.cos(Access("w", I) * Access("x", S, I)) * Access("a_bar", S, I)
    dw = slope * Access("x", S, I)
    vjp = Kernel(
        "vjp",
        (
            *forward.buffers[:2],
            Buffer("a_bar", (BATCH, n), Kind.COTANGENT, "a"),
            Buffer("dw", (n,), Kind.OUTPUT, "w"),
            Buffer("dx", (BATCH, n), Kind.OUTPUT, "x"),
        ),
        (
            Reduce(Access("dw", I), (i,), Equation("dw", (I,), (i,), dw), "sum", (s,), dw),
            mapped("dx", (s, i), slope * Access("w", I)),
        ),
        ("dw", "dx"),
    )
    arguments = (
        Argument("x", (n,), Kind.DATA),
        Argument("w", (n,), Kind.PARAMETER),
        Argument("a", (n,), Kind.COTANGENT, per_sample=True),
    )
    program = Program("probe", "float64", (n,), arguments, ("a",), ("w", "x"), (forward, vjp))
    kernels = compiled(program, tmp_path)
    rng = np.random.default_rng(5)
    x, w, cotangent = rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=(3, 4))
    found = kernels("vjp", (3, 4), x=x, w=w, c_a=cotangent)
    np.testing.assert_allclose(found["w"], (np.cos(w * x) * x * cotangent).sum(0), rtol=1e-13)
    np.testing.assert_allclose(found["x"], np.cos(w * x) * w * cotangent, rtol=1e-13)
    run([COMPILERS[0], *WARNINGS, *SANITIZED, "probe.c", "probe_test.c", "-lm", "-o", "own"], tmp_path)
    assert "0 wrong: ok" in run(["./own"], tmp_path).stdout


# ---- names ---------------------------------------------------------------------------------------


HOSTILE = [
    {"x": "p", "y": "next", "w": "space", "b": "plus", "a": "out", "z": "share"},
    {"x": "exp", "y": "sigmoid", "w": "vector", "b": "matrix_product", "a": "g", "z": "scale"},
    {"x": "double", "y": "restrict", "w": "int", "b": "class", "a": "bytes", "z": "workspace"},
    {"x": "s", "y": "j", "w": "k", "b": "i", "a": "z_sj", "z": "z"},
]


def _renamed(program: Program, names: dict[str, str], sizes: dict[str, str]) -> Program:
    def expression(e: sp.Expr) -> sp.Expr:
        accesses = {a: Access(names.get(a.name, a.name), *a.indices) for a in e.atoms(Access)}
        return e.xreplace(accesses).xreplace({size(o): size(n) for o, n in sizes.items()})

    def ranges(rs: tuple[Range, ...]) -> tuple[Range, ...]:
        return tuple(Range(r.symbol, r.lower, expression(r.upper)) for r in rs)

    def statement(s: Map | Reduce | Contract) -> Map | Reduce | Contract:
        parts = {f: expression(getattr(s, f)) for f in ("out", "body", "left", "right") if hasattr(s, f)}
        parts |= {f: ranges(getattr(s, f)) for f in ("ranges", "reduced") if hasattr(s, f)}
        return replace(s, **parts)

    def buffer(b: Buffer) -> Buffer:
        shape = tuple(expression(d) for d in b.shape)
        adjoint = names.get(b.adjoint_of, b.adjoint_of) if b.adjoint_of else None
        return replace(
            b, name=names.get(b.name, b.name), shape=shape, adjoint_of=adjoint, slot=names.get(b.slot, b.slot)
        )

    kernels = tuple(
        replace(
            k,
            buffers=tuple(buffer(b) for b in k.buffers),
            statements=tuple(statement(s) for s in k.statements),
            results=tuple(names.get(r, r) for r in k.results),
        )
        for k in program.kernels
    )
    arguments = tuple(
        replace(a, name=names.get(a.name, a.name), shape=tuple(expression(d) for d in a.shape))
        for a in program.arguments
    )
    return replace(
        program,
        sizes=tuple(size(sizes.get(s.name, s.name)) for s in program.sizes),
        arguments=arguments,
        outputs=tuple(names.get(o, o) for o in program.outputs),
        wrt=tuple(names.get(o, o) for o in program.wrt),
        kernels=kernels,
    )


@pytest.mark.parametrize("names", HOSTILE)
def test_names_that_clash(names: dict[str, str], tmp_path: Path) -> None:
    """Tensors and sizes may be called as they like: the generator's own names give way."""
    program = _renamed(documented("float32"), names, {"m": "s", "n": "cost_sum"} if "s" not in names.values() else {})
    kernels = compiled(program, tmp_path / "so")
    rng = np.random.default_rng(1)
    arrays = layer_inputs(rng, (2, 3, 4))
    expected = layer_reference(**arrays)
    found = kernels("gradients", (2, 3, 4), **{names[n]: a for n, a in arrays.items()})
    np.testing.assert_allclose(found[names["w"]], expected["w"], rtol=1e-4, atol=1e-6)
    name = program.name
    run([COMPILERS[-1], *WARNINGS, "-O1", f"{name}.c", f"{name}_test.c", "-lm", "-o", "own"], tmp_path / "so")
    run(["./own"], tmp_path / "so")
    (tmp_path / "so" / "header.cpp").write_text(f'#include "{name}.h"\nint main() {{ return 0; }}\n')
    run(["g++", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c", "header.cpp"], tmp_path / "so")
