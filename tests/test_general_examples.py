"""Every model of examples/ as a whole: read, derived on paper, generated for both targets and dtypes, and checked."""

from __future__ import annotations

import functools
import re
import secrets
import shutil
from pathlib import Path

import numpy as np
import pytest
from models import DTYPES, TARGETS, compiled_quickly

from chainrule.codegen import check, compile
from chainrule.symbolic import Derivation, System, derive, parse_file
from chainrule.symbolic.report import compile_latex

FOLDER = Path(__file__).parent.parent / "examples"
NAMES = tuple(path.stem for path in sorted(FOLDER.glob("*.eq")))
PRINTED = ("attention_causal", "conv2d", "functional", "gru", "max_pooling", "transformer_block")
"""Derivations that are set by pdflatex: between them they have every kind of formula."""

LEFTOVERS = re.compile(r"Piecewise|KroneckerDelta|Heaviside|Subs\(|Dummy|_\w+_dot_dot|\bnan\b|\bzoo\b")


@functools.cache
def model(name: str) -> System:
    return parse_file(FOLDER / f"{name}.eq")


@functools.cache
def derivation(name: str) -> Derivation:
    return derive(model(name))


def compiled(name: str, target: str, dtype: str):
    """Kernels with the gradients of every input."""
    return compiled_quickly(model(name), target, dtype, [t.name for t in model(name).inputs])


@pytest.mark.parametrize("name", NAMES)
def test_the_derivation_renders(name):
    """In every form, a section for each parameter, and nothing of the machinery shows."""
    made = derivation(name)
    markdown, text, latex, html = made.markdown(), made.text(), made.latex(), made.html()
    wanted = len(model(name).parameters)
    assert markdown.count("### With respect to") >= wanted
    assert text.count("With respect to") >= wanted
    assert latex.count("With respect to") >= wanted
    assert html.count("With respect to") >= wanted
    for form in (markdown, text, latex):
        assert not LEFTOVERS.search(form), LEFTOVERS.search(form)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("name", PRINTED)
def test_the_derivation_can_be_printed(name):
    assert compile_latex(derivation(name).latex()).startswith(b"%PDF")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_kernels_are_right(name, target, dtype):
    kernels = compiled(name, target, dtype)
    peer = compiled(name, "numpy", dtype) if target == "c" else None
    report = check(kernels, peer=peer, samples=2)
    assert report, report.table()
    assert (kernels.target, kernels.dtype) == (target, dtype)
    outputs = {n for n in model(name).outputs if n != "cost"}
    assert {r.tensor for r in report.rows} == {"cost", *outputs, *kernels.wrt}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", NAMES)
def test_sizes_are_decided_at_each_call(name, target):
    """The same kernels at sizes of one, of a few, and of some more."""
    kernels = compiled(name, target, "float64")
    names = [s.name for s in model(name).sizes]
    for extents in ([1] * len(names), range(2, 2 + len(names)), range(len(names) + 3, 3, -1)):
        report = check(kernels, samples=1, sizes=dict(zip(names, extents, strict=True)), tensors=3)
        assert report, report.table()


EXPONENTIAL = ("attention", "attention_causal", "gaussian_mixture", "log_sum_exp", "softmax_cross_entropy")


@pytest.mark.parametrize(
    ("name", "target"), [*((n, "numpy") for n in NAMES), *((n, "c") for n in EXPONENTIAL)], ids="-".join
)
def test_large_values_stay_finite(name, target):
    """Cost, gradients and Hessian products where logits are in the thousands; float64 holds all their results."""
    system = model(name)
    kernels = compile(system, target=target, products=["hvp"])
    seed = secrets.randbits(32)
    rng = np.random.default_rng(seed)
    sizes = {s: 3 + m for m, s in enumerate(system.sizes)}
    values = {}
    for tensor in system.inputs:
        shape = tuple(int(d.xreplace(sizes)) for d in tensor.shape)
        values[tensor.name] = rng.normal(scale=30, size=(2, *shape) if tensor.per_sample else shape)
    cost, gradients = kernels.gradients(**values)
    products = kernels.hvp(**values, **{f"{n}_dot": rng.normal(size=values[n].shape) for n in kernels.wrt})
    assert np.isfinite(cost), f"seed {seed}"
    for wrt, gradient, product in zip(kernels.wrt, gradients, products, strict=True):
        assert np.isfinite(gradient).all(), f"{wrt}, seed {seed}"
        assert np.isfinite(product).all(), f"Hessian product of {wrt}, seed {seed}"


def test_the_page_lists_every_example(project):
    page = (project / "examples" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\w+)\]\((\w+)\.eq\) \|", page, re.MULTILINE)
    assert [n for n, _ in listed] == [n for _, n in listed]
    assert sorted(n for n, _ in listed) == sorted(NAMES)
