"""The C backend: what it writes compiles clean everywhere, computes the right numbers and refuses bad calls."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
from c_programs import (
    COMPILERS,
    SANITIZED,
    WARNINGS,
    Compiled,
    compiled,
    forward_program,
    layer_reference,
    mapped,
    run,
    written,
)
from network_programs import network_program
from sample_programs import documented, full

from chainrule.codegen.backends import c, protocol
from chainrule.codegen.backends.c import interface, render
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Call, index, size

ROOT = Path(__file__).resolve().parents[2]
FAST = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")
DTYPES = ("float32", "float64")
PROGRAMS = {
    "documented-float32": documented("float32"),
    "documented-float64": documented("float64"),
    "softmax-float32": network_program(["m", "r", "n"], "float32", "relu", "softmax"),
    "static-float64": network_program([13, 20, 16, 3], "float64", "tanh", "sigmoid"),
}

pytestmark = pytest.mark.skipif(not COMPILERS, reason="no C compiler")


# ---- the text ------------------------------------------------------------------------------------


def test_it_is_a_backend() -> None:
    assert isinstance(c, protocol.Backend)
    assert c.name == "c"
    assert sorted(render(documented())) == ["documented.c", "documented.h", "documented_test.c"]
    assert sorted(render(documented(), with_test=False)) == ["documented.c", "documented.h"]


def test_same_program_same_bytes() -> None:
    """In one process after other work, and in processes with other hash seeds."""
    here = render(documented("float32"))
    [index("j") for _ in range(1000)]
    assert render(documented("float32")) == here
    script = "import sys, hashlib; sys.path.insert(0, sys.argv[1]); from sample_programs import documented\n"
    script += "from chainrule.codegen.backends.c import render\n"
    script += "print(hashlib.sha256(repr(sorted(render(documented('float32')).items())).encode()).hexdigest())"
    digests = set()
    for seed in ("1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", script, str(ROOT / "tests")]
        digests.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    import hashlib

    assert digests == {hashlib.sha256(repr(sorted(here.items())).encode()).hexdigest() + "\n"}


def test_reads_as_written_by_hand() -> None:
    """Equations stand above their loops, no Dummy leaks, no line is too long, no name is machine-made."""
    for program in PROGRAMS.values():
        for text in render(program).values():
            assert max(map(len, text.splitlines())) <= 120
            assert not re.search(r"_Dummy|_\d{2,}\b|_tmp|\t| $", text, re.MULTILINE)
    source = render(documented("float32"))["documented.c"]
    assert "/* z[s,j] = b[j] + sum_k w[j,k]*x[s,k]\n" in source
    assert "/* dw[j,k] = sum_s dz[s,j]*x[s,k] */" in source
    assert "const float scale = 2.0f / (float)batch;" in source
    assert "malloc" not in source


def test_what_c_cannot_say_is_an_error() -> None:
    i = full("i", size("n"))
    shapes = {"u": (size("n"),), "v": (size("n"),)}
    body = sp.zeta(Access("u", i.symbol))
    with pytest.raises(LoweringError, match="zeta"):
        render(forward_program([mapped("v", (i,), body)], shapes, ["v"]))
    call = Call("sigma", (0,), Access("u", i.symbol))
    with pytest.raises(LoweringError, match="sigma"):
        render(forward_program([mapped("v", (i,), call)], shapes, ["v"]))
    with pytest.raises(LoweringError, match="identifier"):
        render(
            forward_program(
                [mapped('v"; evil', (i,), Access("u", i.symbol))], {**shapes, 'v"; evil': (size("n"),)}, ['v"; evil']
            )
        )


def test_a_comment_cannot_be_ended_from_inside() -> None:
    i = full("i", size("n"))
    statement = replace(mapped("v", (i,), Access("u", i.symbol)), note="*/ int main(void) { return 1; } /* \\")
    source = render(forward_program([statement], {"u": (size("n"),), "v": (size("n"),)}, ["v"]))["probe.c"]
    assert "*/ int main" not in source
    assert "* / int main" in source


# ---- it compiles, and its own test passes --------------------------------------------------------


@pytest.mark.parametrize("model", PROGRAMS)
@pytest.mark.parametrize("cc", COMPILERS)
def test_no_warnings(cc: str, model: str, tmp_path: Path) -> None:
    program = PROGRAMS[model]
    folder = written(program, tmp_path)
    for flags in (FAST, ("-O0",), ("-O2", f"-D{program.name.upper()}_PORTABLE")):
        run([cc, *WARNINGS, *flags, "-c", f"{program.name}.c", f"{program.name}_test.c"], folder)


PATHS = {"native": ("-march=native",), "sse": (), "avx2": ("-mavx2", "-mfma"), "portable": ("-DPORTABLE",)}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("model", PROGRAMS)
def test_own_test_under_sanitizers(model: str, path: str, tmp_path: Path) -> None:
    program = PROGRAMS[model]
    if path == "avx2" and "avx2" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("this processor has no AVX2")
    flags = [f.replace("-DPORTABLE", f"-D{program.name.upper()}_PORTABLE") for f in PATHS[path]]
    folder, name = written(program, tmp_path), program.name
    run([COMPILERS[0], *WARNINGS, *SANITIZED, *flags, f"{name}.c", f"{name}_test.c", "-lm", "-o", "own"], folder)
    said = run(["./own"], folder).stdout
    assert "0 wrong: ok" in said


def test_own_test_catches_a_wrong_gradient(tmp_path: Path) -> None:
    folder = written(documented("float32"), tmp_path)
    source = (folder / "documented.c").read_text()
    wrong = source.replace("scale * (1.0f - a[i])", "scale * (1.001f - a[i])")
    assert wrong != source
    (folder / "documented.c").write_text(wrong)
    run([COMPILERS[0], "-std=c99", "-O1", "documented.c", "documented_test.c", "-lm", "-o", "own"], folder)
    done = subprocess.run(["./own"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "WRONG" in done.stdout


def test_from_cpp(tmp_path: Path) -> None:
    folder = written(documented("float32"), tmp_path)
    (folder / "caller.cpp").write_text(
        """#include "documented.h"
#include <cstdio>
#include <vector>
int main()
{
    const std::size_t batch = 2, m = 3, n = 4;
    std::vector<float> w(n * m, 0.5f), b(n, 0.1f), x(batch * m, 1.0f), y(batch * n, 0.0f);
    std::vector<float> dw(n * m), db(n), dx(batch * m);
    std::vector<char> workspace(documented_workspace(batch, m, n));
    const documented_parameters p = {w.data(), b.data()};
    documented_gradients g = {dw.data(), db.data(), dx.data()};
    double cost = 0;
    const int code = documented_backward(&p, x.data(), y.data(), batch, m, n, &g, &cost,
                                         workspace.data(), workspace.size());
    std::printf("%d %s %.6f", code, documented_error(code), cost);
    return code;
}
"""
    )
    run(["gcc", "-std=c99", "-O1", "-c", "documented.c", "-o", "documented.o"], folder)
    flags = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    run(["g++", *flags, "caller.cpp", "documented.o", "-lm", "-o", "caller"], folder)
    expected = 4 / (1 + np.exp(-1.6)) ** 2
    assert run(["./caller"], folder).stdout == f"0 no error {expected:.6f}"


# ---- numbers -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=DTYPES)
def layer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    return compiled(documented(request.param), tmp_path_factory.mktemp("layer"), FAST)


SIZES = [(1, 1, 1), (2, 3, 1), (3, 1, 2), (7, 5, 4), (6, 16, 15), (8, 17, 16), (9, 33, 31), (13, 48, 49), (25, 20, 97)]


@pytest.mark.parametrize("sizes", [*SIZES, (5, 1025, 3), (1030, 3, 50), (2050, 2, 2)])
def test_agrees_with_the_formulas(layer: Compiled, sizes: tuple[int, int, int]) -> None:
    """Around the edges of vectors, tiles and panels, and beyond the depth of one part (1024)."""
    seed = secrets.randbits(32)
    rng = np.random.default_rng(seed)
    batch, m, n = sizes
    arrays = {
        "w": rng.normal(size=(n, m)),
        "b": rng.normal(size=n),
        "x": rng.normal(size=(batch, m)),
        "y": rng.random((batch, n)),
    }
    arrays = {k: v.astype(layer.dtype).astype(np.float64) for k, v in arrays.items()}
    arrays["w"] = (arrays["w"] / np.sqrt(m)).astype(layer.dtype).astype(np.float64)
    expected = layer_reference(**arrays)
    found = {**layer("forward", sizes, **arrays), **layer("gradients", sizes, **arrays)}
    assert layer("cost", sizes, **arrays)["cost"] == found["cost"]
    tolerance = (2e-5 if layer.dtype == np.float32 else 1e-13) * np.sqrt(batch * m)
    for name, value in expected.items():
        scale = max(np.abs(value).max(), 1e-3)
        worst = np.abs(found[name] - value).max() / scale
        assert worst < tolerance, f"{name} at {sizes}: {worst} (seed {seed})"


def test_nan_in_nan_out(layer: Compiled) -> None:
    sizes = (3, 2, 2)
    arrays = {"w": np.ones((2, 2)), "b": np.zeros(2), "x": np.ones((3, 2)), "y": np.ones((3, 2))}
    arrays["x"][1, 0] = np.nan
    assert np.isnan(layer("forward", sizes, **arrays)["a"]).tolist() == [[False] * 2, [True] * 2, [False] * 2]
    gradients = layer("gradients", sizes, **arrays)
    assert np.isnan(gradients["cost"])
    assert np.isnan(gradients["w"]).all()
    assert np.isnan(gradients["b"]).all()


def test_nan_through_relu_and_softmax(tmp_path: Path) -> None:
    kernels = compiled(PROGRAMS["softmax-float32"], tmp_path)
    arrays = {"w1": np.ones((4, 3)), "b1": np.zeros(4), "w2": np.ones((2, 4)), "b2": np.zeros(2)}
    arrays |= {"x": np.full((1, 3), np.nan), "y": np.ones((1, 2))}
    found = kernels("gradients", (1, 3, 4, 2), **arrays)
    assert all(np.isnan(v).all() for v in found.values()), found


def test_same_result_every_time(layer: Compiled) -> None:
    """Whatever the workspace held before: the results have the same bits."""
    rng = np.random.default_rng(secrets.randbits(32))
    sizes = (33, 70, 19)
    arrays = {
        "w": rng.normal(size=(19, 70)),
        "b": rng.normal(size=19),
        "x": rng.normal(size=(33, 70)),
        "y": rng.normal(size=(33, 19)),
    }
    first, second = (layer("gradients", sizes, **arrays) for _ in range(2))
    assert all(first[n].tobytes() == second[n].tobytes() for n in first)


# ---- bad calls -----------------------------------------------------------------------------------


GOOD = {"w": np.ones((4, 3)), "b": np.ones(4), "x": np.ones((2, 3)), "y": np.ones((2, 4))}


def test_bad_calls_have_codes(layer: Compiled) -> None:
    need = layer.workspace(2, 3, 4)
    code, results = layer.call("gradients", GOOD, (2, 3, 4), bytes_given=need - 1)
    assert "workspace" in layer.said(code)
    assert (results["w"] == -7.5).all()
    for sizes in ((0, 3, 4), (2, 0, 4), (2, 3, 0)):
        code, _ = layer.call("gradients", GOOD, sizes, bytes_given=need)
        assert "size is 0" in layer.said(code)
        assert layer.workspace(*sizes) == 2**64 - 1
    for sizes in ((2**62, 3, 4), (2**33, 2**33, 4), (2, 2**40, 2**40), (2**63, 2**63, 2**63)):
        code, _ = layer.call("cost", GOOD, sizes, bytes_given=2**63)
        assert "address space" in layer.said(code)
        assert layer.workspace(*sizes) == 2**64 - 1
    assert layer.said(0) == "no error"
    assert layer.said(99) == "unknown error code"


def test_null_and_misaligned_pointers(layer: Compiled) -> None:
    import ctypes

    entry = layer.entry("forward")
    need = layer.workspace(1, 1, 1)
    scratch = ctypes.create_string_buffer(need)
    ones = (ctypes.c_double * 2)(1.0, 1.0)
    address = ctypes.addressof(ones)

    def call(w: int, x: int, a: int, workspace: object) -> str:
        p, out = (ctypes.c_void_p * 2)(w, address), (ctypes.c_void_p * 1)(a)
        numbers = [ctypes.c_size_t(n) for n in (1, 1, 1)]
        function = layer.shared_object[entry.symbol]
        return layer.said(function(p, ctypes.c_void_p(x), *numbers, out, workspace, ctypes.c_size_t(need)))

    assert call(address, address, address + 8, scratch) == "no error"
    assert "null" in call(0, address, address, scratch)
    assert "null" in call(address, 0, address, scratch)
    assert "null" in call(address, address, 0, scratch)
    assert "null" in call(address, address, address, None)
    assert "aligned" in call(address + 1, address, address, scratch)


def test_interface_tells_the_order_of_arguments() -> None:
    face = interface(documented("float32"))
    backward = next(e for e in face.entries if e.kernel.entry == "gradients")
    assert backward.symbol == "documented_backward"
    assert [b.name for b in backward.data] == ["x", "y"]
    assert [m.tensor for m in face.gradients.members] == ["w", "b", "x"]
    assert list(backward.structs) == ["p", "g"]
    assert backward.gradients is face.gradients
    assert backward.cost
