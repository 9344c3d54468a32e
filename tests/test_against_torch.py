"""Values, gradients and Hessian-vector products against PyTorch's own functions and autograd, in float64.

Each example is written here as a user of PyTorch writes it, with `torch.nn` and `torch.nn.functional`: the two
sides share neither code nor formula.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from interpreted_kernels import InterpretedKernels
from interpreter import Interpreter
from models import TARGETS
from systems import example

from chainrule.codegen.pipeline import Sources, kernels, render
from chainrule.symbolic import System, derive

torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra `peers` has it")
F = torch.nn.functional

BATCH = 3
TOLERANCE = 1e-12
"""Largest difference, relative to the largest entry of the array."""


def squared_error(found, wanted):
    """The mean over the batch of each sample's sum of squares."""
    return ((found - wanted) ** 2).sum() / len(wanted)


def attention(v, causal=False):
    query, key, value = (v["x"] @ v[w].T for w in ("wq", "wk", "wv"))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # the one that is differentiable twice
        return squared_error(F.scaled_dot_product_attention(query, key, value, is_causal=causal), v["t"])


def attention_causal(v):
    return attention(v, causal=True)


def layer_norm(v):
    return squared_error(F.layer_norm(v["x"], v["g"].shape, v["g"], v["beta"], eps=1e-5), v["t"])


def rms_norm(v):
    return squared_error(F.rms_norm(v["x"], v["g"].shape, v["g"], eps=1e-5), v["t"])


def conv1d(v):
    found = F.conv1d(v["x"][:, None], v["h"][None, None], stride=2, dilation=3)
    return squared_error(torch.tanh(found[:, 0]), v["t"])


def conv2d(v):
    return squared_error(F.relu(F.conv2d(v["x"], v["w"], v["b"], stride=2, padding=1)), v["t"])


def average_pooling(v):
    return squared_error(F.avg_pool2d(torch.tanh(v["g"][:, None, None] * v["x"]), 2), v["t"])


def max_pooling(v):
    return squared_error(F.max_pool1d(v["g"][:, None] * v["x"], 2), v["t"])


def softmax_cross_entropy(v):
    return F.cross_entropy(F.linear(v["x"], v["w"], v["b"]), v["y"])


def rnn(v):
    weights = {"weight_ih_l0": v["w"], "weight_hh_l0": v["u"], "bias_ih_l0": v["b"]}
    return recurrent(torch.nn.RNN, weights, v["x"], v["y"], v["h0"])


def gru(v):
    """PyTorch's biases are two for each gate; the second of the candidate is `bn`, the others are spare."""
    spare = torch.zeros_like(v["bn"])
    weights = {
        "weight_ih_l0": torch.cat([v["wr"], v["wu"], v["wn"]]),
        "weight_hh_l0": torch.cat([v["ur"], v["uu"], v["un"]]),
        "bias_ih_l0": torch.cat([v["br"], v["bu"], spare]),
        "bias_hh_l0": torch.cat([spare, spare, v["bn"]]),
    }
    return recurrent(torch.nn.GRU, weights, v["x"], v["y"], spare)


def recurrent(kind, weights, x, wanted, first):
    """The error of the last state of a torch.nn module with these weights."""
    module = kind(x.shape[-1], len(first), batch_first=True, dtype=x.dtype)
    weights.setdefault("bias_hh_l0", torch.zeros_like(weights["bias_ih_l0"]))
    start = first.expand(1, len(x), -1).contiguous()
    _, last = torch.func.functional_call(module, weights, (x, start))
    return squared_error(last[0], wanted)


COSTS = {
    f.__name__: f
    for f in (
        attention,
        attention_causal,
        layer_norm,
        rms_norm,
        conv1d,
        conv2d,
        average_pooling,
        max_pooling,
        softmax_cross_entropy,
        rnn,
        gru,
    )
}
SIZES = {
    "attention": ({"T": 3, "D": 2, "E": 2, "F": 1}, {"T": 7, "D": 5, "E": 4, "F": 6}),
    "attention_causal": ({"T": 3, "D": 2, "E": 2, "F": 1}, {"T": 6, "D": 5, "E": 4, "F": 3}),
    "layer_norm": ({"D": 4}, {"D": 11}),
    "rms_norm": ({"D": 4}, {"D": 11}),
    "conv1d": ({"P": 2, "K": 2}, {"P": 9, "K": 4}),
    "conv2d": ({"C": 1, "O": 2, "P": 1, "Q": 2}, {"C": 3, "O": 4, "P": 5, "Q": 3}),
    "average_pooling": ({"C": 2, "P": 1, "Q": 2}, {"C": 3, "P": 4, "Q": 2}),
    "max_pooling": ({"C": 2, "P": 2}, {"C": 3, "P": 7}),
    "softmax_cross_entropy": ({"m": 3, "n": 2}, {"m": 8, "n": 5}),
    "rnn": ({"T": 3, "X": 2, "H": 2}, {"T": 7, "X": 3, "H": 5}),
    "gru": ({"T": 2, "X": 1, "H": 2}, {"T": 6, "X": 3, "H": 4}),
}
"""Small sizes, where elements are computed one by one, and larger ones."""


class Paper:
    """The derivation itself: its result is evaluated element by element, for each sample alone."""

    def __init__(self, system: System, wrt: tuple[str, ...]) -> None:
        self.system, self.wrt = system, wrt
        self.result = derive(system, wrt).result

    def gradients(self, **arrays):
        data = {t.name for t in self.system.data}
        batch = len(next(arrays[name] for name in data))
        costs, found = [], {name: [] for name in self.wrt}
        for s in range(batch):
            values = {name: a[s] if name in data else a for name, a in arrays.items()}
            sample = Interpreter(self.result, sizes_of(self.system, values), values)
            costs.append(sample.element("cost"))
            for name, adjoint in zip(self.wrt, self.result.outputs, strict=True):
                found[name].append(sample.tensor(adjoint) / batch)
        return sum(costs) / batch, [np.array(g) if name in data else sum(g) for name, g in found.items()]


def sizes_of(system: System, values: Mapping[str, np.ndarray]) -> dict[str, int]:
    """The sizes that have an axis of their own."""
    pairs = (p for t in system.inputs for p in zip(t.shape, np.shape(values[t.name]), strict=True))
    return {d.name: n for d, n in pairs if d.is_Symbol}


@functools.cache
def sources(name: str, products: tuple[str, ...]) -> Sources:
    """The files of both targets, with gradients of every input."""
    system = example(name)
    return render(system, targets=TARGETS, dtype="float64", wrt=[t.name for t in system.inputs], products=products)


@functools.cache
def made(name: str, how: str, products: tuple[str, ...] = ()) -> Any:
    """The kernels of an example with respect to every input, made in one of several ways."""
    system = example(name)
    wrt = tuple(t.name for t in system.inputs)
    if how == "paper":
        return Paper(system, wrt)
    if how == "kernel IR":
        return InterpretedKernels(system, wrt, products)
    return kernels(sources(name, products), how)


def drawn(name: str, sizes: Mapping[str, int], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Normal numbers for every input of an example."""
    system = example(name)
    extents = {s: sizes[s.name] for s in system.sizes}
    arrays = {}
    for tensor in system.inputs:
        shape = [int(d.xreplace(extents)) for d in tensor.shape]
        arrays[tensor.name] = rng.normal(size=[BATCH, *shape] if tensor in system.data else shape)
    return arrays


def agree(found: np.ndarray, wanted: torch.Tensor, what: str) -> None:
    wanted = wanted.detach().numpy()
    assert np.shape(found) == wanted.shape, what
    scale = np.abs(wanted).max() or 1.0
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE * scale, err_msg=what)


CASES = [(name, how, m) for name in COSTS for how in TARGETS for m in range(2)]
SLOWLY = [(name, how, 0) for name in COSTS for how in ("paper", "kernel IR")]


@pytest.mark.parametrize(("name", "how", "size"), [*SLOWLY, *CASES])
def test_gradients_are_those_of_pytorch(name, how, size, rng):
    arrays = drawn(name, SIZES[name][size], rng)
    leaves = {n: torch.tensor(a, requires_grad=True) for n, a in arrays.items()}
    wanted = COSTS[name](leaves)
    cost, found = made(name, how).gradients(**arrays)
    assert cost == pytest.approx(wanted.item(), rel=TOLERANCE)
    gradients = torch.autograd.grad(wanted, list(leaves.values()))
    for n, g, w in zip(leaves, found, gradients, strict=True):
        agree(g, w, f"∂cost_avg/∂{n}")


@pytest.mark.parametrize(("name", "how", "size"), CASES)
def test_hessian_vector_products_are_those_of_pytorch(name, how, size, rng):
    arrays = drawn(name, SIZES[name][size], rng)
    along = drawn(name, SIZES[name][size], rng)
    leaves = {n: torch.tensor(a, requires_grad=True) for n, a in arrays.items()}
    gradients = torch.autograd.grad(COSTS[name](leaves), list(leaves.values()), create_graph=True)
    slope = sum((g * torch.tensor(along[n])).sum() for n, g in zip(leaves, gradients, strict=True))
    wanted = torch.autograd.grad(slope, list(leaves.values()))
    found = made(name, how, ("hvp",)).hvp(**arrays, **{f"{n}_dot": a for n, a in along.items()})
    for n, g, w in zip(leaves, found, wanted, strict=True):
        agree(g, w, f"Hessian product of {n}")
