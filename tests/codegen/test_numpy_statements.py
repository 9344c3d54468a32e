"""Random statements of the kernel IR in NumPy against loops over single elements.

Affine subscripts with strides, shifts and reversals, loops bounded by other loops, guards, every kind
of reduction, scatters and scans. What a guard excludes is poisoned: elements that no admitted
combination reads hold NaN.
"""

from __future__ import annotations

import os

import numpy as np
import sympy as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_interpreter import run_kernel
from kernel_modules import numpy_module
from sympy import Integer

from chainrule.codegen.ir import BATCH, Argument, Buffer, Kernel, Kind, Map, Program, Reduce, Scan, Scatter, Statement
from chainrule.codegen.ir_check import check_kernel
from chainrule.codegen.ir_text import format_kernel
from chainrule.symbolic.expressions import Access, Range, Where, index, size
from chainrule.symbolic.system import Equation

N, M = size("N"), size("M")
LENGTHS = {N: 4, M: 3}
FUNCTIONS = (
    lambda e: e,
    sp.tanh,
    lambda e: 1 / (2 + e),
    lambda e: sp.exp(-e),
    lambda e: e**2,
)


def number(e: sp.Expr, env: dict) -> int:
    return int(e.xreplace({**LENGTHS, BATCH: 2, **env}))


def combinations(ranges, guards, env):
    """Every admitted combination of the loops."""
    if not ranges:
        if all(number(g, env) >= 0 for g in guards):
            yield env
        return
    r = ranges[0]
    for i in range(number(r.lower, env), number(r.upper, env) + 1):
        yield from combinations(ranges[1:], guards, {**env, r.symbol: Integer(i)})


@st.composite
def loops(draw, names, outer=()):
    found = []
    for name in names:
        extent = draw(st.sampled_from([N, M, Integer(3)]))
        lower = draw(st.sampled_from([Integer(0), Integer(0), Integer(0), Integer(1)]))
        upper = extent - 1
        if (outer or found) and draw(st.booleans()):
            other = draw(st.sampled_from([*outer, *found])).symbol
            if draw(st.booleans()):
                lower = sp.Max(0, other - draw(st.integers(-1, 1)))
            else:
                upper = sp.Min(other + draw(st.integers(-1, 1)), extent - 1)
        found.append(Range(index(name), lower, upper))
    return tuple(found)


@st.composite
def subscript(draw, symbols):
    chosen = draw(st.lists(st.sampled_from(symbols), min_size=0, max_size=2, unique=True)) if symbols else []
    e = Integer(draw(st.integers(-1, 2)))
    for s in chosen:
        e += draw(st.sampled_from([1, 1, 1, 2, -1, -2])) * s
    return sp.expand(e)


class Case:
    """Buffers and guards that make every access of one statement legal."""

    def __init__(self, ranges, guards, outer=()):
        self.ranges, self.guards, self.outer = ranges, list(guards), outer
        self.arguments: list[Buffer] = []

    def access(self, subscripts, *, exact=False):
        """An access of a new buffer, just large enough or too small on either side, and guards for the rest."""
        points = list(combinations([*self.outer, *self.ranges], self.guards, {}))
        shape = []
        for e in subscripts:
            values = [number(e, p) for p in points] or [0]
            length = Integer(max(1, max(values) + 1))
            if not exact and len(values) > 1 and max(values) > 0 and e.free_symbols and (max(values) + min(values)) % 2:
                length -= 1
            if min(values) < 0:
                self.guards.append(sp.expand(e))
            if max(values) >= length:
                self.guards.append(sp.expand(length - 1 - e))
            shape.append(length)
        name = f"x{len(self.arguments)}"
        self.arguments.append(Buffer(name, tuple(shape), Kind.PARAMETER))
        return Access(name, *subscripts)


@st.composite
def reductions(draw):
    lengths = draw(st.lists(st.sampled_from([N, M, Integer(1), Integer(3)]), max_size=2))
    kept = tuple(Range(index("ij"[m]), Integer(0), n - 1) for m, n in enumerate(lengths))
    reduced = draw(loops(["k", "l"][: draw(st.integers(0, 2))], kept))
    symbols = [r.symbol for r in (*kept, *reduced)]
    guards = []
    for _ in range(draw(st.integers(0, 2))):
        guard = draw(subscript(symbols))
        if guard.free_symbols:
            guards.append(guard)
    case = Case([*kept, *reduced], guards)
    factors = []
    for _ in range(draw(st.integers(1, 3))):
        subscripts = [draw(subscript(symbols)) for _ in range(draw(st.integers(1, 2)))]
        factor = draw(st.sampled_from(FUNCTIONS))(case.access(subscripts))
        if symbols and draw(st.integers(0, 4)) == 0:
            one = draw(st.sampled_from(symbols))
            factor = Where(sp.Le(one, draw(st.integers(0, 2))), factor, draw(st.integers(0, 2)))
        factors.append(factor)
    body = sp.Mul(*factors) if draw(st.booleans()) else sp.Add(*factors)
    kind = draw(st.sampled_from(["sum", "sum", "sum", "prod", "max", "min"]))
    target = Access("out", *(r.symbol for r in kept))
    equation = Equation("out", target.indices, kept, body)
    statement = Reduce(target, kept, equation, kind, reduced, body, tuple(case.guards))
    return statement, case, tuple(r.extent for r in kept)


def program_of(statements, arguments, shape, locals_=()):
    arguments = (*arguments, Buffer("lengths", (N, M), Kind.PARAMETER))  # which says how long the loops are
    buffers = (*arguments, *locals_, Buffer("out", shape, Kind.OUTPUT))
    kernel = Kernel("forward", buffers, tuple(statements), ("out",))
    check_kernel(kernel)
    public = tuple(Argument(b.name, b.shape, b.kind) for b in arguments)
    return Program("model", "float64", (N, M), public, ("out",), (), (kernel,))


def poisoned(case: Case, statement: Statement, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random arrays, NaN where no admitted combination reads them.

    A sum of products is a contraction, in which 0 times NaN is NaN: there all numbers are finite.
    """
    arrays = {}
    every = {r.symbol for r in case.ranges}
    sums = getattr(statement, "kind", "") == "sum"
    product = statement.body.is_Mul or statement.body.has(Where) or every - statement.body.free_symbols
    finite = sums and product
    reads = {a.name: a for a in statement.reads()}
    for buffer in case.arguments:
        shape = [number(d, {}) for d in buffer.shape]
        array = rng.uniform(0.5, 1.5, shape) if finite else np.full(shape, np.nan)
        access = reads.get(buffer.name)
        guards = case.guards if isinstance(statement, (Reduce, Scatter)) else ()
        for env in combinations([*case.outer, *case.ranges], guards, {}) if access is not None else ():
            array[tuple(number(e, env) for e in access.indices)] = rng.uniform(0.5, 1.5)
        arrays[buffer.name] = array
    return arrays


def agree(program: Program, arrays: dict[str, np.ndarray]) -> None:
    kernel = program.kernels[0]
    sizes = {"N": LENGTHS[N], "M": LENGTHS[M], "batch": 2}
    arrays["lengths"] = np.zeros((LENGTHS[N], LENGTHS[M]))
    want = run_kernel(kernel, sizes, arrays)["out"]
    module = numpy_module(program)
    found = module.forward(**arrays).out
    written = ~np.isnan(want)
    np.testing.assert_allclose(found[written], want[written], rtol=1e-10, atol=1e-12, err_msg=format_kernel(kernel))
    assert (found[~written] == 0).all() or written.all(), format_kernel(kernel)


RANDOM = settings(
    deadline=None,
    max_examples=int(os.environ.get("CHAINRULE_EXAMPLES", "60")),
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@RANDOM
@given(reductions(), st.integers(0, 2**32 - 1))
def test_reductions(drawn, seed):
    statement, case, shape = drawn
    used = {a.name for a in statement.reads()}
    case.arguments = [b for b in case.arguments if b.name in used]
    program = program_of([statement], case.arguments, shape)
    arrays = poisoned(case, statement, np.random.default_rng(seed))
    if statement.kind in ("max", "min"):
        arrays = {n: np.nan_to_num(a, nan=1.0) for n, a in arrays.items()}
    agree(program, arrays)


@st.composite
def scatters(draw):
    """out[f(i, j)] += body, of one or two axes."""
    ranges = draw(loops(["i", "j", "k"][: draw(st.integers(1, 3))]))
    symbols = [r.symbol for r in ranges]
    guards = [g for g in (draw(subscript(symbols)) for _ in range(draw(st.integers(0, 1)))) if g.free_symbols]
    case = Case(ranges, guards)
    target = case.access([draw(subscript(symbols)) for _ in range(draw(st.integers(1, 2)))])
    shape = case.arguments.pop().shape
    subscripts = [draw(subscript(symbols)) for _ in range(draw(st.integers(1, 2)))]
    body = draw(st.sampled_from(FUNCTIONS))(case.access(subscripts))
    out = Access("out", *target.indices)
    return Scatter(out, ranges, Equation("out", (), (), body), body, tuple(case.guards)), case, shape


@RANDOM
@given(scatters(), st.integers(0, 2**32 - 1))
def test_scatters(drawn, seed):
    statement, case, shape = drawn
    program = program_of([statement], case.arguments, shape)
    case.ranges = [*case.ranges]
    arrays = {
        b.name: np.random.default_rng(seed).uniform(0.5, 1.5, [number(d, {}) for d in b.shape]) for b in case.arguments
    }
    agree(program, arrays)


@st.composite
def maps(draw):
    """Two maps that fill parts of one buffer, and one that reads it; what no map fills stays 0."""
    split = draw(st.integers(0, 3))
    case = Case([], [])
    i, j = index("i"), index("j")
    parts = [Range(i, Integer(0), Integer(split - 1)), Range(j, Integer(split + draw(st.integers(0, 1))), N - 1)]
    statements = []
    for part in parts:
        inner = Case([part], [])
        inner.arguments = case.arguments
        step = draw(st.sampled_from([1, -1, 2]))
        e = sp.expand(step * part.symbol + draw(st.integers(0, 2)))
        lowest = min([number(e, p) for p in combinations([part], [], {})], default=0)
        body = draw(st.sampled_from(FUNCTIONS))(inner.access([sp.expand(e - min(0, lowest))], exact=True))
        target = Access("a", part.symbol)
        statements.append(Map(target, (part,), Equation("a", target.indices, (part,), body), body))
    case.guards = []
    k = Range(index("k"), Integer(0), N - 1)
    shift = draw(st.integers(-1, 1))
    inside = sp.And(k.symbol + shift >= 0, k.symbol + shift <= N - 1)
    body = Where(inside, Access("a", k.symbol + shift), 0) + k.symbol
    written = {number(s.out.indices[0], p) for s in statements for p in combinations(s.ranges, [], {})}
    filled = written == set(range(LENGTHS[N]))
    target = Access("out", k.symbol)
    equation = Equation("out", target.indices, (k,), body)
    statements.append(Map(target, (k,), equation, body if filled else sp.Integer(1) * k.symbol))
    return statements, case, (N,)


@RANDOM
@given(maps(), st.integers(0, 2**32 - 1))
def test_maps_of_parts(drawn, seed):
    statements, case, shape = drawn
    program = program_of(statements, case.arguments, shape, [Buffer("a", (N,), Kind.LOCAL)])
    rng = np.random.default_rng(seed)
    agree(program, {b.name: rng.uniform(0.5, 1.5, [number(d, {}) for d in b.shape]) for b in case.arguments})


@st.composite
def scans(draw):
    """h[t, i] from h[t - 1, ·], forwards or backwards, with a temporary, a condition and a guarded sum."""
    reverse = draw(st.booleans())
    t, i, j = index("t"), index("i"), index("j")
    width = draw(st.sampled_from([M, Integer(1), Integer(3)]))
    before = 1 if reverse else -1
    span = Range(t, Integer(0), N - 1) if reverse else Range(t, Integer(1), N)
    start = N if reverse else Integer(0)
    ri, rj = Range(i, Integer(0), width - 1), Range(j, Integer(0), width - 1)
    arguments = [Buffer("x", (N + 1, width), Kind.PARAMETER), Buffer("u", (width, width), Kind.PARAMETER)]
    base = Map(
        Access("h", start, i), (ri,), Equation("h", (start, i), (ri,), Access("x", start, i)), Access("x", start, i)
    )
    guard = draw(st.sampled_from([i - j, j - i + 1, t - j, N - 1 - t, t - 1 - i]))
    guards = (guard,) if draw(st.booleans()) else ()
    read = Access("h", t + before, j) * Access("u", i, j)
    read = draw(st.sampled_from([read, sp.tanh(Access("h", t + before, j) - Access("u", j, i))]))
    temporary = Reduce(Access("s", i), (ri,), Equation("s", (i,), (ri,), read), "sum", (rj,), read, guards)
    body = sp.tanh(Access("x", t, i) + Access("s", i) / 4) + draw(
        st.sampled_from([Integer(0), t / N, Access("h", t + before, i)])
    )
    step = Map(Access("h", t, i), (ri,), Equation("h", (t, i), (ri,), body), body)
    inner = [temporary, step]
    if draw(st.booleans()):
        condition = draw(st.sampled_from([t - 2, N - 2 - t]))
        extra = Map(
            Access("g", t, i),
            (ri,),
            Equation("g", (t, i), (ri,), body),
            Access("s", i) * Access("h", t, i),
            when=(condition,),
        )
        inner.append(extra)
    scan = Scan(span, reverse, tuple(inner))
    k = Range(index("k"), Integer(0), N)
    out = Map(Access("out", k.symbol, i), (k, ri), Equation("out", (), (), body), Access("h", k.symbol, i) ** 2)
    return [base, scan, out], arguments, (N + 1, width), width


@RANDOM
@given(scans(), st.integers(0, 2**32 - 1))
def test_scans(drawn, seed):
    statements, arguments, shape, width = drawn
    locals_ = [
        Buffer("h", shape, Kind.LOCAL),
        Buffer("s", (width,), Kind.LOCAL),
        Buffer("g", shape, Kind.LOCAL),
    ]
    used = {s.out.name for top in statements for s in (top.statements if isinstance(top, Scan) else (top,))}
    program = program_of(statements, arguments, shape, [b for b in locals_ if b.name in used])
    rng = np.random.default_rng(seed)
    agree(program, {b.name: rng.uniform(0.5, 1.5, [number(d, {}) for d in b.shape]) for b in arguments})
