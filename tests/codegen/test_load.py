"""load: folders that generate wrote are loaded; anything else is one clear error."""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from chainrule.codegen import cache, compile, generate, load
from chainrule.codegen.build import find_compiler
from chainrule.codegen.load import CALLABLE
from chainrule.symbolic import parse
from chainrule.symbolic.errors import BuildError, ShapeError

TEXT = """
data x[m], y[n]
parameter w[n, m], b[n]
z[j] = b[j] + sum[k](w[j, k] * x[k])
a[j] = tanh(z[j])
cost = sum[j]((a[j] - y[j])**2)
"""
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(parse(TEXT), tmp_path_factory.mktemp("out"), name="layer").folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "layer", ignore=shutil.ignore_patterns("__pycache__")))


@pytest.fixture
def arrays(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"x": (5, 3), "y": (5, 2), "w": (2, 3), "b": (2,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def expected_cost(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: np.ndarray) -> float:
    return float(((np.tanh(x @ w.T + b) - y) ** 2).sum() / len(x))


@needs_compiler
@pytest.mark.parametrize("target", CALLABLE)
def test_loaded_kernels_compute(folder: Path, arrays: dict[str, np.ndarray], target: str) -> None:
    kernels = load(folder, target=target)
    assert (kernels.name, kernels.target, kernels.dtype, kernels.wrt) == ("layer", target, "float64", ("w", "b"))
    assert kernels.cost(**arrays) == pytest.approx(expected_cost(**arrays), rel=1e-12)
    cost, gradients = kernels.gradients(**arrays)
    plan = kernels.bind(batch=5, w=arrays["w"], b=arrays["b"])
    assert plan(arrays["x"], arrays["y"]) == cost
    for name in kernels.wrt:
        np.testing.assert_array_equal(getattr(plan.gradients, name), getattr(gradients, name))
    again = parse(kernels.formulas)
    assert kernels.system.tensors == again.tensors
    assert {"forward", "cost", "gradients", "bind"} <= set(dir(kernels))


@needs_compiler
@pytest.mark.parametrize("target", CALLABLE)
def test_a_wrong_shape_is_a_shape_error(folder: Path, arrays: dict[str, np.ndarray], target: str) -> None:
    with pytest.raises(ShapeError, match="w: expected shape"):
        load(folder, target=target).cost(**{**arrays, "w": arrays["w"].T})


def test_an_entry_that_the_model_has_not(folder: Path) -> None:
    kernels = load(folder, target="numpy")
    with pytest.raises(AttributeError, match="has no vjp: expected one of forward, cost, gradients, bind"):
        _ = kernels.vjp
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = kernels.nonsense


@pytest.mark.parametrize("target", CALLABLE)
def test_generated_again_in_one_process_is_the_new_model(
    tmp_path: Path, arrays: dict[str, np.ndarray], target: str
) -> None:
    costs = []
    for factor in (2, 3):
        text = TEXT.replace("**2)", f"**2 * {factor})")
        costs.append(load(generate(parse(text), tmp_path, name="layer").folder, target=target).cost(**arrays))
    assert costs[1] / costs[0] == pytest.approx(1.5)
    assert not list(tmp_path.rglob("*.pyc"))


def damage(folder: Path, what: str) -> None:
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    if what == "no folder":
        shutil.rmtree(folder)
    elif what == "no manifest":
        manifest.unlink()
    elif what == "truncated manifest":
        manifest.write_text(manifest.read_text()[:100])
    elif what == "foreign manifest":
        manifest.write_text('{"name": "something else"}')
    elif what == "deep manifest":
        manifest.write_text("[" * 100_000)
    elif what == "list manifest":
        manifest.write_text("[]")
    elif what == "other schema":
        manifest.write_text(json.dumps({**content, "schema": 99}))
    elif what == "hostile name":
        manifest.write_text(json.dumps({**content, "name": "../../etc/passwd"}))
    elif what == "number for a name":
        manifest.write_text(json.dumps({**content, "name": 3}))
    elif what == "changed module":
        with (folder / "__init__.py").open("a") as stream:
            stream.write("\nimport os\n")
    elif what == "no module":
        (folder / "__init__.py").unlink()
    elif what == "changed C":
        (folder / "layer.c").write_text("int x;\n")


DAMAGES = {
    "no folder": "not a folder",
    "no manifest": "holds no generated kernels",
    "truncated manifest": "is damaged",
    "foreign manifest": "is damaged",
    "deep manifest": "is damaged",
    "list manifest": "is damaged",
    "other schema": "generate it again",
    "hostile name": "cannot name generated code",
    "number for a name": "is damaged",
    "changed module": "is not what generate wrote",
    "no module": "cannot read",
    "changed C": "is not what generate wrote",
}


@pytest.mark.parametrize(("what", "message"), DAMAGES.items(), ids=DAMAGES)
def test_a_damaged_folder_is_one_clear_error(folder: Path, what: str, message: str) -> None:
    damage(folder, what)
    before = set(sys.modules)
    with pytest.raises(BuildError, match=message) as caught:
        load(folder, target="c")
    assert str(folder) in str(caught.value) or what == "hostile name"
    assert not {m for m in set(sys.modules) - before if "_chainrule_" in m}


def test_a_request_that_cannot_be_met(folder: Path) -> None:
    with pytest.raises(BuildError, match="unknown target 'fortran': expected one of c, numpy"):
        load(folder, target="fortran")
    with pytest.raises(BuildError, match="expected 1"):
        load(folder, threads=4)
    (folder / "x").write_text("")
    with pytest.raises(BuildError, match="not a folder"):
        load(folder / "x")


def test_a_folder_made_for_one_target(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    numpy_alone = generate(parse(TEXT), tmp_path / "a", name="layer", targets=("numpy",)).folder
    with pytest.raises(BuildError, match=r"was generated without layer\.c"):
        load(numpy_alone, target="c")
    c_alone = generate(parse(TEXT), tmp_path / "b", name="layer", targets=("c",)).folder
    with pytest.raises(BuildError, match=r"was generated without __init__\.py"):
        load(c_alone, target="numpy")
    if find_compiler() is not None:
        assert load(c_alone, target="c").cost(**arrays) == pytest.approx(expected_cost(**arrays), rel=1e-12)


def test_without_a_compiler_numpy_runs_with_one_warning(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arrays: dict[str, np.ndarray]
) -> None:
    cache.warn_once.cache_clear()
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.warns(RuntimeWarning, match="no C compiler") as caught:
        kernels = load(folder, target="c")
    assert len(caught) == 1
    assert kernels.target == "numpy"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = compile(parse(TEXT), target="c")
    assert again.target == "numpy"
    for one in (kernels, again):
        assert one.cost(**arrays) == pytest.approx(expected_cost(**arrays), rel=1e-12)
