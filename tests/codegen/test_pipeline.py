"""pipeline: the same System gives the same bytes; generate and compile make kernels that agree."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from chainrule.codegen import compile, generate, load
from chainrule.codegen.build import find_compiler
from chainrule.symbolic import DerivationError, network, parse
from chainrule.symbolic.errors import BuildError

TEXT = """
data x[m], y[n]
parameter w[n, m], b[n]
z[j] = b[j] + sum[k](w[j, k] * x[k])
a[j] = sigmoid(z[j])
cost = sum[j](squared_error(a[j], y[j]))
"""


def test_what_is_written(tmp_path: Path) -> None:
    made = generate(parse(TEXT), tmp_path / "out", name="layer", dtype="float32", wrt=("w", "x"))
    assert made.folder == tmp_path / "out" / "layer"
    assert {p.name for p in made} == {"__init__.py", "layer.c", "layer.h", "derivation.md", "manifest.json"}
    assert len(made) == 5
    assert all(p.parent == made.folder and p.is_file() for p in made)
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert manifest["files"] == {
        p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in made if p.name != "manifest.json"
    }
    assert (manifest["name"], manifest["dtype"], manifest["wrt"]) == ("layer", "float32", ["w", "x"])
    assert manifest["arguments"]["w"] == {"kind": "parameter", "shape": ["n", "m"]}
    assert manifest["entries"] == ["forward", "cost", "gradients"]
    assert set(manifest["operations"]) == set(manifest["entries"])
    assert manifest["workspace"]["example"]["bytes"] > 0
    assert parse("\n".join(manifest["formulas"])).tensors == parse(TEXT).tensors
    everything = "".join(p.read_text() for p in made)
    assert str(tmp_path) not in everything


def test_options_choose_the_files(tmp_path: Path) -> None:
    system = parse(TEXT)
    made = generate(system, tmp_path / "layer", name="layer", targets=("c",), with_test=True, derivation=False)
    assert made.folder == tmp_path / "layer"
    assert {p.name for p in made} == {"layer.c", "layer.h", "layer_test.c", "manifest.json"}
    again = generate(system, tmp_path, name="layer", targets=("numpy",), derivation=False)
    assert {p.name for p in tmp_path.joinpath("layer").iterdir()} == {p.name for p in again}


def test_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    code = (
        "import sys; from chainrule.symbolic import network; from chainrule.codegen import generate\n"
        "generate(network([3, 4, 2], sigma='tanh', output='softmax', cost='cross_entropy'), sys.argv[1], name='net')\n"
    )
    digests = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, str(out)], env=environment, check=True)
        digests.append({p.name: p.read_text() for p in sorted((out / "net").iterdir()) if p.is_file()})
    assert digests[0] == digests[1]


def test_twice_in_one_process_the_same_bytes(tmp_path: Path) -> None:
    first, second = (generate(parse(TEXT), tmp_path / n, name="layer") for n in "ab")
    assert [p.read_text() for p in first] == [p.read_text() for p in second]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_compiled_and_generated_kernels_agree(tmp_path: Path, rng: np.random.Generator, dtype: str) -> None:
    system = network([5, 4, 3], sigma="tanh", output="softmax", cost="cross_entropy")
    arrays = {t.name: rng.normal(size=[int(d) for d in t.shape]).astype(dtype) for t in system.parameters}
    arrays["x"] = rng.normal(size=(7, 5)).astype(dtype)
    arrays["y"] = np.eye(3, dtype=dtype)[rng.integers(0, 3, 7)]
    targets = ("numpy", "c") if find_compiler() else ("numpy",)
    folder = generate(system, tmp_path, name="net", dtype=dtype).folder
    found = [k for t in targets for k in (compile(system, target=t, dtype=dtype), load(folder, target=t))]
    reference_cost, reference = found[0].gradients(**arrays)
    tolerance = 50 * float(np.finfo(dtype).eps)
    for kernels in found:
        cost, gradients = kernels.gradients(**arrays)
        assert kernels.dtype == dtype
        assert cost == pytest.approx(reference_cost, rel=tolerance)
        for a, b in zip(gradients, reference, strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"name": "for"}, BuildError, "keyword"),
        ({"name": "../x"}, BuildError, "cannot name"),
        ({"dtype": "float16"}, BuildError, "unknown dtype 'float16': expected one of float32, float64"),
        ({"targets": ("numpy", "rust")}, BuildError, "unknown target 'rust'"),
        ({"targets": ()}, BuildError, "no targets"),
        ({"targets": "numpy"}, BuildError, "no targets"),
        ({"wrt": ("w", "nonsense")}, DerivationError, "nonsense"),
    ],
)
def test_a_bad_request_writes_nothing(tmp_path: Path, change: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        generate(parse(TEXT), tmp_path, **{"name": "layer", **change})
    assert not list(tmp_path.iterdir())


def test_an_unwritable_output_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="cannot write"):
        generate(parse(TEXT), tmp_path / "file", name="layer")
