"""The C kernels of every example: the values of the kernel interpreter, no warning, no access outside an array."""

from __future__ import annotations

import functools
import secrets
from pathlib import Path

import numpy as np
import pytest
from c_programs import COMPILERS, SANITIZED, WARNINGS, Compiled, compiled, run, written
from kernel_interpreter import run_kernel

from chainrule.codegen.backends.c.interface import Interface
from chainrule.codegen.entries import PRODUCTS
from chainrule.codegen.ir import BATCH, Kind, Program
from chainrule.codegen.lower import lower
from chainrule.symbolic import parse_file

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.eq"))
NAMES = [path.stem for path in EXAMPLES]
QUICK = ("-O1", "-march=native")

pytestmark = pytest.mark.skipif(not COMPILERS, reason="no C compiler")


@functools.cache
def program(name: str, dtype: str = "float64") -> Program:
    """The example's kernels, products included."""
    return lower(parse_file(EXAMPLES[NAMES.index(name)]), dtype=dtype, products=PRODUCTS)


@functools.cache
def kernels(name: str, folder: Path) -> Compiled:
    return compiled(program(name), folder / name, QUICK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


def inputs(face: Interface, sizes: tuple[int, ...], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Arguments by name; positive, so that every example is inside its domain."""
    env = dict(zip(face.size_env, sizes, strict=True))
    found = {}
    for a in face.program.arguments:
        batched = a.kind is Kind.DATA or a.per_sample
        shape = tuple(int(d.subs(env)) for d in ((BATCH, *a.shape) if batched else a.shape))
        found[a.name] = rng.uniform(0.1, 1.0, shape)
    return found


def random_sizes(face: Interface, batch: int, rng: np.random.Generator) -> tuple[int, ...]:
    return (batch, *(int(n) for n in rng.integers(1, 5, len(face.sizes) - 1)))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_values_are_those_of_the_kernel_interpreter(name: str, batch: int, folder: Path) -> None:
    made = kernels(name, folder)
    seed = secrets.randbits(32)
    rng = np.random.default_rng(seed)
    sizes = random_sizes(made.face, batch, rng)
    given = inputs(made.face, sizes, rng)
    env = {str(s): n for s, n in zip(made.face.size_env, sizes, strict=True)}
    for entry in made.face.entries:
        kernel = entry.kernel
        expected = run_kernel(kernel, env, given)
        found = made(kernel.entry, sizes, **given)
        for result, value in expected.items():
            tensor = "cost" if result == "cost" else entry.tensor(kernel.buffer(result))
            scale = max(np.abs(value).max(), 1e-3)
            worst = np.abs(found[tensor] - value).max() / scale
            # a norm over one element divides a difference that is 0 by sqrt(1e-5): rounding is all there is
            assert worst < 1e-8, f"{kernel.entry}: {result} at {sizes}: {worst} (seed {seed})"


@pytest.mark.parametrize("name", NAMES)
def test_hessian_products_are_differences_of_gradients(name: str, folder: Path) -> None:
    """(∇cost(w + h v) - ∇cost(w - h v)) / 2h at h = 2^-14, in double precision; the doubled step tells its error."""
    if "hvp" not in program(name).entries:
        pytest.skip("no Hessian products")
    made = kernels(name, folder)
    seed = secrets.randbits(32)
    rng = np.random.default_rng(seed)
    sizes = random_sizes(made.face, 2, rng)
    given = inputs(made.face, sizes, rng)
    h = 2.0**-14

    def moved(step: float) -> dict[str, np.ndarray]:
        return made("gradients", sizes, **{n: v + step * given.get(f"{n}_dot", 0) for n, v in given.items()})

    by_step = {m: moved(m * h) for m in (1, -1, 2, -2)}
    found = made("hvp", sizes, **given)
    for wrt in program(name).wrt:
        numeric, coarse = ((by_step[m][wrt] - by_step[-m][wrt]) / (2 * m * h) for m in (1, 2))
        scale = max(np.abs(numeric).max(), np.abs(by_step[1][wrt]).max(), 1e-3)
        excess = (np.abs(found[wrt] - numeric) - np.abs(coarse - numeric)).max() / scale
        assert excess < 1e-5, f"{wrt} at {sizes}: {excess} (seed {seed})"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NAMES)
def test_own_test_under_sanitizers(name: str, dtype: str, tmp_path: Path) -> None:
    where = written(program(name, dtype), tmp_path)
    run([COMPILERS[0], *WARNINGS, *SANITIZED, *QUICK[1:], f"{name}.c", f"{name}_test.c", "-lm", "-o", "own"], where)
    assert "0 wrong: ok" in run(["./own"], where).stdout


@pytest.mark.parametrize("name", NAMES)
def test_no_warnings(name: str, tmp_path: Path) -> None:
    """With both compilers, optimised and portable, and from C++."""
    where = written(program(name, "float32"), tmp_path)
    for cc in COMPILERS:
        run([cc, *WARNINGS, "-O3", "-march=native", "-c", f"{name}.c", f"{name}_test.c"], where)
        run([cc, *WARNINGS, "-O2", f"-D{name.upper()}_PORTABLE", "-c", f"{name}.c"], where)
    (where / "header.cpp").write_text(f'#include "{name}.h"\nint main() {{ return {name}_error(0) == nullptr; }}\n')
    run(["g++", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c", "header.cpp"], where)
