"""NumPy kernels: right against loops over single elements, shared work done once, no warning, no loop, same bytes."""

from __future__ import annotations

import ast
import os
import secrets
import subprocess
import sys
import warnings
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_modules import compare, numpy_module, numpy_text
from sample_programs import documented
from sympy import Integer

from chainrule.codegen.ir import BATCH, Argument, Buffer, Contract, Kernel, Kind, Map, Program, Reduce
from chainrule.codegen.lower import lower
from chainrule.symbolic import network, parse
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Range, Where, index, size
from chainrule.symbolic.system import Equation

TOLERANCE = {"float32": 2e-5, "float64": 1e-13}

MODELS = {
    "attention": """
        data x[T, D]
        parameter wq[D, D], wk[D, D], wv[D, D]
        q[t, i] = sum[k](wq[i, k] * x[t, k])
        k1[t, i] = sum[k](wk[i, k] * x[t, k])
        v[t, i] = sum[k](wv[i, k] * x[t, k])
        s[t, u] = sum[i](q[t, i] * k1[u, i]) / sqrt(D)
        e[t, u] = exp(s[t, u] - max[r](s[t, r]))
        p[t, u] = e[t, u] / sum[r](e[t, r])
        o[t, i] = sum[u](p[t, u] * v[u, i])
        output o
    """,
    "logistic regression": """
        data x[m], y
        parameter w[m], lam, c
        p = sigmoid(c + sum[k](w[k] * x[k]))
        cost = -(y * log(p) + (1 - y) * log(1 - p)) + lam * sum[k](w[k]**2)
    """,
    "layer norm": """
        data x[m], y[m]
        parameter g[m], b[m]
        mu = mean[k](x[k])
        v = mean[k]((x[k] - mu)**2)
        h[k] = g[k] * (x[k] - mu) / sqrt(v + 1/100) + b[k]
        cost = sum[k](gelu(h[k]) * y[k])
    """,
    "transposed and weighted": """
        data x[m, n], y[n, m]
        parameter w[m], u[m, n]
        z[i, j] = x[i, j] * w[i] + y[j, i] * u[i, j]
        c = sum[i, j](z[i, j] * y[j, i] * w[i])
        output z, c
    """,
    "three axes": """
        data x[m], y[p]
        parameter W[p, m, q], u[q]
        z[i] = sum[j, k](W[i, j, k] * x[j] * u[k])
        cost = sum[i]((z[i] - y[i])**2) / p
    """,
    "an output that is an input, and one twice": """
        data x[m]
        parameter w[m]
        a[i] = x[i]
        b[i] = w[i]
        c[i] = w[i] * x[i]
        d[i] = w[i] * x[i]
        output a, b, c, d
    """,
    "powers and quotients": """
        data x[m]
        parameter w[m], s
        z[i] = w[i]**3 / x[i] + sqrt(x[i] + 1) / (1 + w[i]**2) - (x[i] + w[i])**(5/2) + s**2 * x[i]**w[i] - 1/x[i]**2
        cost = sum[i](z[i] / 7)
    """,
    "functions": """
        data x[m]
        parameter w[m]
        z[i] = sin(x[i]) * cosh(w[i]) + atan(x[i] - w[i]) + tanh(w[i]) + log(x[i] + w[i]) + elu(w[i] - 1)
        r[i] = silu(z[i]) + softplus(w[i]) + abs(x[i] - 1) + erf(w[i]) + max(z[i], w[i]) * min(x[i], 1)
        cost = sum[i](r[i]**2 + huber(w[i], x[i]))
    """,
}
CONDITIONS = """
    data x[m]
    parameter w[m]
    z[i] = where(w[i] * x[i] > 1/2 and w[i] < 1, w[i]**2, x[i] / 3) + where(x[i] <= 1, 0, w[i])
    cost = sum[i](z[i] * where(z[i] > 1/2 or not x[i] < 1/4, 1, 0))
"""


@pytest.fixture(autouse=True)
def _no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", [*MODELS, "conditions"])
def test_kernels_agree_with_loops(name: str, dtype: str) -> None:
    program = lower(parse(MODELS.get(name, CONDITIONS)), name="model", dtype=dtype)
    seed = secrets.randbits(32)
    error = compare(program, numpy_module(program), np.random.default_rng(seed), TOLERANCE[dtype])
    assert error <= 1, f"{name} {dtype}: {error:.1f} times the tolerance, seed {seed}"


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_the_documented_layer(dtype: str) -> None:
    program, seed = documented(dtype), secrets.randbits(32)
    error = compare(program, numpy_module(program), np.random.default_rng(seed), TOLERANCE[dtype], low=-2, high=2)
    assert error <= 1, f"{error:.1f} times the tolerance, seed {seed}"


@pytest.mark.parametrize("cost", ["cross_entropy", "squared_error"])
def test_a_softmax_network(cost: str) -> None:
    program = lower(network(["m", 3, "n"], sigma="relu", output="softmax", cost=cost), name="net")
    seed = secrets.randbits(32)
    error = compare(program, numpy_module(program), np.random.default_rng(seed), TOLERANCE["float64"])
    assert error <= 1, f"{error:.1f} times the tolerance, seed {seed}"


# --- contractions: every order of indices, through programs made by hand


def contraction(left: str, right: str, out: str, names: str = "u v r") -> Program:
    """r = Σ u·v with subscripts as in einsum; s is the sample."""
    u, v, r = names.split()
    extents = {"s": BATCH, **{c: size(c.upper()) for c in "ijklm"}}
    ranges = {c: Range(index(c), Integer(0), e - 1) for c, e in extents.items()}
    shapes = {name: tuple(extents[c] for c in axes) for name, axes in ((u, left), (v, right), (r, out))}
    kinds = {u: Kind.DATA if left.startswith("s") else Kind.PARAMETER, v: Kind.PARAMETER, r: Kind.OUTPUT}
    access = {n: Access(n, *(ranges[c].symbol for c in a)) for n, a in ((u, left), (v, right), (r, out))}
    reduced = tuple(ranges[c] for c in extents if c in left + right and c not in out)
    equation = Equation(r, access[r].indices, tuple(ranges[c] for c in out), access[u] * access[v])
    statement = Contract(access[r], equation.ranges, equation, reduced, access[u], access[v])
    buffers = tuple(Buffer(n, shapes[n], kinds[n]) for n in kinds)
    arguments = tuple(Argument(n, shapes[n][1:] if kinds[n] is Kind.DATA else shapes[n], kinds[n]) for n in (u, v))
    sizes = tuple(extents[c] for c in "ijklm" if c in left + right)
    kernel = Kernel("forward", buffers, (statement,), (r,))
    return Program("contraction", "float64", sizes, arguments, (r,), (), (kernel,), (equation,))


@pytest.mark.parametrize(
    ("subscripts", "call"),
    [
        ("sk,jk->sj", ".dot("), ("sk,kj->sj", ".dot("), ("sj,sk->jk", ".dot("), ("sj,sk->kj", ".dot("),
        ("sik,jk->sij", ".dot("), ("sij,sik->jk", ".dot("), ("si,i->s", ".dot("), ("s,si->i", ".dot("),
        ("sij,ij->s", ".dot("), ("sij,jk->ski", "einsum"), ("sijk,kjl->sil", "einsum"), ("sijk,jkl->sil", ".dot("),
        ("sij,sjk->sik", "np.matmul"), ("sij,skj->sik", "np.matmul"), ("sij,sj->si", "np.matmul"),
        ("sj,sij->si", "np.matmul"), ("si,si->s", "np.vecdot("), ("si,j->sij", "np.multiply"),
        ("si,si->si", "np.multiply"), ("sij,ij->", "einsum"), ("is,sj->ij", ".dot("),
    ],
)  # fmt: skip
def test_every_order_of_indices(subscripts: str, call: str) -> None:
    inputs, out = subscripts.split("->")
    program = contraction(*inputs.split(","), out)
    text = numpy_text(program)
    if call != "einsum":
        assert "einsum" not in text
    seed = secrets.randbits(32)
    error = compare(program, numpy_module(program), np.random.default_rng(seed), 1e-14)
    assert error <= 1, f"{subscripts}: {error:.1f} times the tolerance, seed {seed}"
    assert call in text, subscripts


@settings(max_examples=40)
@given(st.permutations("sijk"), st.data())
def test_random_contractions(axes: list[str], data: st.DataObject) -> None:
    left = "s" + "".join(data.draw(st.permutations([a for a in axes if a != "s"][: data.draw(st.integers(1, 3))])))
    right = "".join(data.draw(st.permutations(axes[: data.draw(st.integers(1, 4))])))
    kept = [c for c in dict.fromkeys(left + right) if data.draw(st.booleans())]
    program = contraction(left, right, "".join(data.draw(st.permutations(kept))))
    assert compare(program, numpy_module(program), np.random.default_rng(0), 1e-14) <= 1


def reduction(kind: str, axes: str, out: str, body=lambda u: u) -> Program:
    """out = kind over the other axes of body(u[axes])."""
    base = contraction(axes, "i", "")
    kernel = base.kernels[0]
    contract = kernel.statements[0]
    loops = dict(zip(axes, [*contract.left.indices], strict=True))
    ranges = {c: Range(loops[c], Integer(0), d - 1) for c, d in zip(axes, kernel.buffer("u").shape, strict=True)}
    target = Access("r", *(loops[c] for c in out))
    equation = Equation("r", target.indices, tuple(ranges[c] for c in out), body(contract.left))
    reduced = tuple(ranges[c] for c in axes if c not in out)
    statement = Reduce(target, equation.ranges, equation, kind, reduced, body(contract.left))
    shape = tuple(ranges[c].extent for c in out)
    buffers = (kernel.buffer("u"), Buffer("r", shape, Kind.OUTPUT))
    kernels = (Kernel("forward", buffers, (statement,), ("r",)),)
    sizes = tuple(s for s in base.sizes if s in {v for d in kernel.buffer("u").shape for v in d.free_symbols})
    return Program("reduction", "float64", sizes, base.arguments[:1], ("r",), (), kernels, (equation,))


@pytest.mark.parametrize("kind", ["sum", "prod", "max", "min"])
@pytest.mark.parametrize("out", ["", "s", "i", "j", "sj", "js", "ij", "si"])
def test_every_reduction(kind: str, out: str) -> None:
    seed = secrets.randbits(32)
    for body in (lambda u: u, lambda u: 3 * u**2, lambda u: sp.exp(u) + 1):
        program = reduction(kind, "sij", out, body)
        error = compare(program, numpy_module(program), np.random.default_rng(seed), 1e-13)
        assert error <= 1, f"{kind} -> {out}: {error:.1f} times the tolerance, seed {seed}"


def elementwise(body, name: str = "model") -> Program:
    """r[s, i] = body(u[s, i], s, i)."""
    base = reduction("sum", "si", "si")
    statement = base.kernels[0].statements[0]
    made = body(statement.body, *statement.out.indices)
    equation = Equation("r", statement.out.indices, statement.ranges, made)
    kernel = Kernel("forward", base.kernels[0].buffers, (Map(statement.out, statement.ranges, equation, made),), ("r",))
    return Program(name, "float64", base.sizes, base.arguments, ("r",), (), (kernel,), (equation,))


def test_indices_and_sizes_stand_in_formulas() -> None:
    seed = secrets.randbits(32)
    for body in (
        lambda u, s, i: u * i / (1 + s) + BATCH,
        lambda u, s, i: Where(i <= s, u, -u),
        lambda u, _, i: Where(sp.And(BATCH > 2, sp.Eq(i, 1)), u, sp.sqrt(BATCH)),
        lambda *_: sp.Integer(7) / 3 + sp.pi * sp.log(BATCH) + sp.erf(sp.Rational(1, 3)),
        lambda u, s, i: Access("u", Integer(0), i) + Access("u", s, Integer(1)) * u,
        lambda u, _, i: sp.Max(u, 1, i) - sp.Min(u, sp.Rational(1, 2)) + sp.sign(u - 1) + sp.floor(3 * u),
    ):
        program = elementwise(body)
        error = compare(program, numpy_module(program), np.random.default_rng(seed), 1e-14)
        assert error <= 1, f"{program.kernels[0].statements[0]}: {error:.1f} times the tolerance, seed {seed}"


def test_a_function_that_numpy_lacks_is_an_error() -> None:
    with pytest.raises(LoweringError, match="gamma"):
        numpy_text(elementwise(lambda u, *_: sp.gamma(u)))


# --- the text


def kernel_functions(text: str) -> list[ast.FunctionDef]:
    tree = ast.parse(text)
    return [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.endswith("_kernel")]


def test_a_module_imports_numpy_and_the_standard_library_alone() -> None:
    for node in ast.walk(ast.parse(numpy_text(documented()))):
        if isinstance(node, ast.Import):
            assert [a.name for a in node.names] == ["numpy"]
        elif isinstance(node, ast.ImportFrom):
            assert node.module in sys.stdlib_module_names


def test_no_loop_in_a_kernel() -> None:
    loops = (ast.For, ast.While, ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.SetComp)
    for function in kernel_functions(numpy_text(lower(parse(MODELS["attention"]), name="model"))):
        assert not [n for n in ast.walk(function) if isinstance(n, loops)]


def test_shared_work_is_done_once() -> None:
    text = numpy_text(lower(network([4, 3, 2], output="softmax", cost="cross_entropy"), name="net"))
    body = text[text.index("def _gradients_kernel") : text.index("# The calling layer")]
    assert body.count("np.exp(") == 2  # the sigmoid's and the softmax's
    assert body.count("np.subtract(a2, y") <= 1
    assert "np.exp" not in text[text.index("# The calling layer") :]


def test_a_mean_of_row_sums_is_one_inner_product() -> None:
    text = numpy_text(lower(network([4, 3, 2]), name="net"))
    assert "cost = float(a2_minus_y_flat.dot(a2_minus_y_flat)) / batch" in text


def test_sums_of_scaled_row_sums() -> None:
    """Σ_s (−2·Σ_i u² + Σ_i u·v − 3·Σ_i u), with each row sum a statement of its own."""
    base = reduction("sum", "si", "s")
    kernel = base.kernels[0]
    (row,) = kernel.statements
    s, u, v = row.ranges, row.body, Access("v", row.reduced[0].symbol)

    def reduced(name: str, body: sp.Expr) -> Reduce:
        return Reduce(Access(name, s[0].symbol), s, row.equation, "sum", row.reduced, body)

    parts = [reduced("p", u**2), reduced("q", u * v), reduced("t", u)]
    p, q, t = (part.out for part in parts)
    for body in (-2 * p + q - 3 * t, -p, -(p - q), 5 * (q - t) - p, p * q - t, p - q * t):
        total = Map(Access("c", s[0].symbol), s, row.equation, body)
        final = Reduce(Access("r"), (), row.equation, "sum", s, total.out)
        buffers = [kernel.buffer("u"), Buffer("v", kernel.buffer("u").shape[1:], Kind.PARAMETER)]
        buffers += [Buffer(n, (BATCH,), Kind.LOCAL) for n in "pqtc"] + [Buffer("r", (), Kind.OUTPUT)]
        made = Kernel("forward", tuple(buffers), (*parts, total, final), ("r",))
        arguments = (*base.arguments, Argument("v", buffers[1].shape, Kind.PARAMETER))
        program = Program("sums", "float64", base.sizes, arguments, ("r",), (), (made,), ())
        seed = secrets.randbits(32)
        error = compare(program, numpy_module(program), np.random.default_rng(seed), 1e-13)
        assert error <= 1, f"{body}: {error:.1f} times the tolerance, seed {seed}"


def test_the_layer_reads_as_by_hand() -> None:
    text = numpy_text(documented())
    body = text[text.index("def step(x, y)", text.index("def _gradients")) : text.index("# The calling layer")]
    lines = [line.strip() for line in body.splitlines() if line.strip()]
    assert lines[1:9] == [
        "# z[s,j] = b[j] + sum_k w[j,k]*x[s,k]",
        "x.dot(w_T, out=product)",
        "np.add(b, product, out=z)",
        "# a[s,j] = sigmoid(z[s,j])",
        "np.negative(z, out=a)",
        "np.exp(a, out=a)",
        "np.add(a, one, out=a)",
        "np.reciprocal(a, out=a)",
    ]
    assert not any(len(line) > 120 for line in text.splitlines())


@pytest.mark.parametrize("names", ["np step DTYPE", "float empty results", "sizes parameters out", "ndarray x step"])
def test_names_of_the_module_are_no_obstacle(names: str) -> None:
    program = contraction("si", "ji", "sj", names)
    assert compare(program, numpy_module(program), np.random.default_rng(0), 1e-14) <= 1


@pytest.mark.parametrize("text", ["parameter batch[m]\ndata x[m]\ncost = sum[i](batch[i] * x[i])"])
def test_a_name_that_calls_need_is_an_error(text: str) -> None:
    with pytest.raises(Exception, match="batch"):
        numpy_text(lower(parse(text), name="model"))


def test_the_same_program_gives_the_same_bytes() -> None:
    here = Path(__file__).resolve().parent.parent
    code = (
        "from chainrule.codegen.lower import lower\nfrom chainrule.symbolic import network\n"
        "from kernel_modules import numpy_text\n"
        "print(numpy_text(lower(network([4, 3, 2], sigma='gelu', output='softmax', cost='cross_entropy'), name='net')))"
    )
    texts = set()
    for seed in ("1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(here)}
        run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        texts.add(run.stdout)
    assert len(texts) == 1


# --- numbers at the edges


def test_saturated_inputs_give_finite_results() -> None:
    program = lower(network([2, 2, 2], output="softmax", cost="cross_entropy"), name="net")
    x, y = np.array([[1000.0, -1000.0]]), np.array([[1.0, 0.0]])
    eye = np.eye(2)
    cost, gradients = numpy_module(program).gradients(x=x, y=y, w1=eye, b1=np.zeros(2), w2=500 * eye, b2=np.zeros(2))
    assert np.isfinite(cost)
    assert all(np.isfinite(g).all() for g in gradients)


@pytest.mark.parametrize("sigma", ["sigmoid", "relu", "tanh", "gelu", "softplus", "elu", "leaky_relu"])
def test_nan_in_nan_out(sigma: str) -> None:
    program = lower(network([2, 2], sigma=sigma), name="net")
    arrays = {"x": [[np.nan, 1.0]], "y": [[0.0, 0.0]], "w1": np.ones((2, 2)), "b1": np.zeros(2)}
    cost, gradients = numpy_module(program).gradients(**arrays)
    assert np.isnan(cost)
    assert np.isnan(gradients.w1).all()
    assert np.isnan(gradients.b1).all()


def test_infinities_give_no_warning() -> None:
    program = lower(network([2, 2], sigma="exp(z)"), name="net")
    arrays = {"x": [[1e4, np.inf]], "y": [[0.0, 0.0]], "w1": np.ones((2, 2)), "b1": np.zeros(2)}
    assert numpy_module(program).cost(**arrays) == np.inf
    plan = numpy_module(program).bind(1, w1=arrays["w1"], b1=arrays["b1"])
    assert plan(arrays["x"], arrays["y"]) == np.inf


@pytest.mark.parametrize(("name", "limit"), [("erf", 1.1), ("erfc", 3.5)])
def test_erf_to_a_few_ulp(name: str, limit: float) -> None:
    program = elementwise(lambda u, *_: getattr(sp, name)(u))
    function = getattr(numpy_module(program), f"_{name}")
    seed = secrets.randbits(32)
    rng = np.random.default_rng(seed)
    edges = [0.0, -0.0, 0.25, 0.84375, 1.25, 1 / 0.35, 5.99, 26.5, -6.5, 1e-300]
    z = np.concatenate([rng.uniform(-27, 26, 400), rng.uniform(-3, 3, 800), edges])
    with mpmath.workdps(40):
        exact = [getattr(mpmath, name)(mpmath.mpf(v)) for v in z]
        errors = [abs(mpmath.mpf(v) - e) / np.spacing(abs(float(e))) for v, e in zip(function(z), exact, strict=True)]
    worst = int(np.argmax([float(e) for e in errors]))
    assert errors[worst] <= limit, f"{name}({z[worst]}): {float(errors[worst]):.2f} ULP, seed {seed}"
    assert np.isnan(function(np.array([np.nan]))).all()
    assert function(np.array([np.inf, -np.inf])).tolist() == {"erf": [1, -1], "erfc": [0, 2]}[name]
    assert function(np.ones(2, np.float32)).dtype == np.float32
