"""The models of `bench_examples` in PyTorch and JAX, as their users write them: eager and autograd, jit and grad.

Each maker takes the parameters, the data and the tensors to differentiate by, and returns a step: called without
arguments, it gives the cost and the gradients by name. A framework that is not installed has no makers.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Step", "makers"]

Arrays = Mapping[str, np.ndarray]
Step = Callable[[], tuple[Any, Mapping[str, Any]]]
Maker = Callable[[Arrays, Arrays, Sequence[str]], Step]


def makers(model: str) -> dict[str, Maker]:
    """The frameworks that are installed, by title."""
    found: dict[str, Maker] = {}
    with contextlib.suppress(ImportError):
        found["PyTorch eager"] = _torch(model)
    with contextlib.suppress(ImportError):
        found["JAX jit"] = _jax(model)
    return found


def _torch(model: str) -> Maker:
    import torch
    import torch.nn.functional as F

    torch.set_num_threads(1)

    def softmax_cross_entropy(v: Mapping[str, Any]) -> Any:
        return F.cross_entropy(F.linear(v["x"], v["w"], v["b"]), v["y"])

    def layer_norm(v: Mapping[str, Any]) -> Any:
        found = F.layer_norm(v["x"], v["g"].shape, v["g"], v["beta"], eps=1e-5)
        return ((found - v["t"]) ** 2).sum() / len(v["x"])

    def attention(v: Mapping[str, Any], causal: bool = False) -> Any:
        query, key, value = (F.linear(v["x"], v[w]) for w in ("wq", "wk", "wv"))
        found = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        return ((found - v["t"]) ** 2).sum() / len(v["x"])

    def attention_causal(v: Mapping[str, Any]) -> Any:
        return attention(v, causal=True)

    cost = {f.__name__: f for f in (softmax_cross_entropy, layer_norm, attention, attention_causal)}[model]

    def make(parameters: Arrays, data: Arrays, wrt: Sequence[str]) -> Step:
        values = {n: torch.from_numpy(a) for n, a in {**parameters, **data}.items()}
        leaves = [values[n].requires_grad_() for n in wrt]

        def step() -> tuple[Any, Mapping[str, Any]]:
            found = cost(values)
            return found.detach(), dict(zip(wrt, torch.autograd.grad(found, leaves), strict=True))

        return step

    return make


def _jax(model: str) -> Maker:
    import jax
    import jax.numpy as jnp

    def softmax_cross_entropy(v: Mapping[str, Any]) -> Any:
        logits = v["x"] @ v["w"].T + v["b"]
        return -(v["y"] * jax.nn.log_softmax(logits)).sum() / len(v["x"])

    def layer_norm(v: Mapping[str, Any]) -> Any:
        centred = v["x"] - v["x"].mean(axis=1, keepdims=True)
        variance = (centred**2).mean(axis=1, keepdims=True)
        found = v["g"] * centred * jax.lax.rsqrt(variance + 1e-5) + v["beta"]
        return ((found - v["t"]) ** 2).sum() / len(v["x"])

    def attention(v: Mapping[str, Any], causal: bool = False) -> Any:
        query, key, value = (v["x"] @ v[w].T for w in ("wq", "wk", "wv"))
        scores = jnp.einsum("sif,sjf->sij", query, key) / math.sqrt(query.shape[-1])
        scores = jnp.where(jnp.tri(scores.shape[-1], dtype=bool), scores, -jnp.inf) if causal else scores
        found = jax.nn.softmax(scores) @ value
        return ((found - v["t"]) ** 2).sum() / len(v["x"])

    def attention_causal(v: Mapping[str, Any]) -> Any:
        return attention(v, causal=True)

    cost = {f.__name__: f for f in (softmax_cross_entropy, layer_norm, attention, attention_causal)}[model]

    def make(parameters: Arrays, data: Arrays, wrt: Sequence[str]) -> Step:
        values = {n: jnp.asarray(a) for n, a in {**parameters, **data}.items()}
        fixed = {n: a for n, a in values.items() if n not in wrt}
        both = jax.jit(jax.value_and_grad(lambda moving, fixed: cost({**moving, **fixed})))
        moving = {n: values[n] for n in wrt}

        def step() -> tuple[Any, Mapping[str, Any]]:
            found: tuple[Any, Mapping[str, Any]] = jax.block_until_ready(both(moving, fixed))
            return found

        return step

    return make
