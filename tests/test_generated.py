"""The committed kernels are what today's code generates, byte for byte."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np
import pytest

from chainrule.codegen.refresh import COMMAND, MODELS, texts

NAMES = [model.name for model in MODELS]


@pytest.mark.parametrize("name", NAMES)
def test_regenerated_byte_for_byte(project: Path, name: str) -> None:
    folder = project / "generated" / name
    (model,) = (m for m in MODELS if m.name == name)
    fresh = texts(model, project)
    committed = {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and "__pycache__" not in p.parts
    }
    differences = [
        line
        for file in sorted(fresh.keys() | committed.keys())
        for line in difflib.unified_diff(
            committed.get(file, b"").decode().splitlines(),
            fresh.get(file, b"").decode().splitlines(),
            f"generated/{name}/{file}",
            f"regenerated {file}",
            lineterm="",
        )
    ]
    assert fresh == committed, "\n".join([*differences, f"to accept this: {COMMAND}"])


def test_every_committed_folder_has_a_model(project: Path) -> None:
    folders = {p.parent.name for p in (project / "generated").glob("*/__init__.py")}
    assert folders == set(NAMES), f"to refresh: {COMMAND}"


def test_documented_is_the_documented_layer(rng: np.random.Generator) -> None:
    """The formulas of the reference document, as loops over samples and neurons, agree with the kernels."""
    from chainrule.generated import documented

    batch, m, n = 3, 4, 2
    x, y = rng.normal(size=(batch, m)), rng.uniform(size=(batch, n))
    w, b = rng.normal(size=(n, m)), rng.normal(size=n)
    cost, gradients = documented.gradients(x=x, y=y, w=w, b=b)

    expected_cost, dw, db, dx = 0.0, np.zeros((n, m)), np.zeros(n), np.zeros((batch, m))
    for s in range(batch):
        for j in range(n):
            z = b[j] + sum(w[j, k] * x[s, k] for k in range(m))
            a = 1 / (1 + np.exp(-z))
            expected_cost += (a - y[s, j]) ** 2 / batch
            delta = 2 * (a - y[s, j]) * a * (1 - a) / batch
            db[j] += delta
            for k in range(m):
                dw[j, k] += delta * x[s, k]
                dx[s, k] += delta * w[j, k]
    assert cost == pytest.approx(expected_cost, rel=1e-12)
    assert gradients._fields == ("w", "b", "x")
    for found, expected in zip(gradients, (dw, db, dx), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-13)
