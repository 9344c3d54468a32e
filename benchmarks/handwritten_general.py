"""The opponents beyond dense networks: gradient steps as a careful NumPy programmer writes them.

Softmax regression, layer normalisation and attention of `examples/`, every buffer allocated once,
`out=` everywhere, transposed views made once, inner products of rows by `vecdot`.
Each step returns the mean cost over the batch.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["Attention", "CausalAttention", "LayerNorm", "LayerNormWithInput", "SoftmaxCrossEntropy"]

Arrays = dict[str, np.ndarray]


class SoftmaxCrossEntropy:
    """z = x·wᵀ + b, cost_s = −Σ_j y_j ln softmax(z)_j; gradients of w and b."""

    def __init__(self, parameters: Arrays, batch: int) -> None:
        self.w, self.b = parameters["w"], parameters["b"]
        dtype = self.w.dtype
        self.gradients = {"w": np.empty_like(self.w), "b": np.empty_like(self.b)}
        self.z, self.p = (np.empty((batch, len(self.b)), dtype) for _ in range(2))
        self.row = np.empty((batch, 1), dtype)
        self.ones, self.scale = np.ones(batch, dtype), np.array(1 / batch, dtype)
        self.w_T, self.p_T = self.w.T, self.p.T

    def __call__(self, x: np.ndarray, y: np.ndarray) -> float:
        z, p, row = self.z, self.p, self.row
        x.dot(self.w_T, out=z)
        np.add(z, self.b, out=z)
        np.max(z, axis=1, keepdims=True, out=row)
        np.subtract(z, row, out=z)
        likelihood = float(np.vdot(y, z))
        np.exp(z, out=p)
        np.sum(p, axis=1, keepdims=True, out=row)
        np.divide(p, row, out=p)
        np.log(row, out=row)
        cost = (float(np.sum(row)) - likelihood) / len(x)  # each y sums to 1
        np.subtract(p, y, out=p)
        np.multiply(p, self.scale, out=p)
        self.p_T.dot(x, out=self.gradients["w"])
        self.ones.dot(p, out=self.gradients["b"])
        return cost


class LayerNorm:
    """h = (x − mean)/√(variance + 1e-5), y = g·h + beta, squared error; gradients of g and beta."""

    def __init__(self, parameters: Arrays, batch: int) -> None:
        self.g, self.beta = parameters["g"], parameters["beta"]
        dtype, width = self.g.dtype, len(self.g)
        self.gradients = {"g": np.empty_like(self.g), "beta": np.empty_like(self.beta)}
        self.h, self.d, self.t = (np.empty((batch, width), dtype) for _ in range(3))
        self.row, self.mean = (np.empty((batch, 1), dtype) for _ in range(2))
        self.ones, self.ones_width = np.ones(batch, dtype), np.ones(width, dtype)
        self.share, self.two_scale = np.array(1 / width, dtype), np.array(2 / batch, dtype)
        self.epsilon = np.array(1e-5, dtype)

    def __call__(self, x: np.ndarray, t: np.ndarray) -> float:
        h, d, row = self.h, self.d, self.row
        x.dot(self.ones_width, out=row[:, 0])
        np.multiply(row, self.share, out=row)
        np.subtract(x, row, out=h)
        np.vecdot(h, h, out=row[:, 0])
        np.multiply(row, self.share, out=row)
        np.add(row, self.epsilon, out=row)
        np.sqrt(row, out=row)
        np.divide(h, row, out=h)
        np.multiply(h, self.g, out=d)
        np.add(d, self.beta, out=d)
        np.subtract(d, t, out=d)
        cost = float(np.vdot(d, d)) / len(x)
        np.multiply(d, self.two_scale, out=d)
        np.multiply(d, h, out=self.t)
        self.ones.dot(self.t, out=self.gradients["g"])
        self.ones.dot(d, out=self.gradients["beta"])
        return cost


class LayerNormWithInput(LayerNorm):
    """The same, and the gradient of x: (dh − mean(dh) − h·mean(dh·h))/√(variance + 1e-5)."""

    def __init__(self, parameters: Arrays, batch: int) -> None:
        super().__init__(parameters, batch)
        self.gradients = {"x": np.empty_like(self.h), **self.gradients}

    def __call__(self, x: np.ndarray, t: np.ndarray) -> float:
        cost = super().__call__(x, t)
        h, dx, scratch, mean = self.h, self.gradients["x"], self.t, self.mean
        np.multiply(self.d, self.g, out=dx)
        dx.dot(self.ones_width, out=mean[:, 0])
        np.multiply(mean, self.share, out=mean)
        np.subtract(dx, mean, out=dx)
        np.vecdot(dx, h, out=mean[:, 0])
        np.multiply(mean, self.share, out=mean)
        np.multiply(h, mean, out=scratch)
        np.subtract(dx, scratch, out=dx)
        np.divide(dx, self.row, out=dx)
        return cost


class Attention:
    """Scaled dot-product attention with learned projections, squared error; gradients of wq, wk and wv.

    The scale goes into q, which is smaller than the scores; Σ_j dp·p is Σ_e do·o, which is smaller too.
    """

    def __init__(self, parameters: Arrays, batch: int, length: int) -> None:
        self.wq, self.wk, self.wv = (parameters[n] for n in ("wq", "wk", "wv"))
        dtype = self.wq.dtype
        self.gradients = {n: np.empty_like(p) for n, p in parameters.items()}
        inner, outer = len(self.wq), len(self.wv)
        self.q, self.k, self.dq, self.dk = (np.empty((batch, length, inner), dtype) for _ in range(4))
        self.v, self.o, self.dv, self.t = (np.empty((batch, length, outer), dtype) for _ in range(4))
        self.p, self.dp = (np.empty((batch, length, length), dtype) for _ in range(2))
        self.row = np.empty((batch, length, 1), dtype)
        self.rows = batch * length
        self.ones = np.ones(length, dtype)
        self.scale, self.two_scale = np.array(1 / math.sqrt(inner), dtype), np.array(2 / batch, dtype)
        self.k_T, self.v_T, self.p_T, self.dp_T = (a.transpose(0, 2, 1) for a in (self.k, self.v, self.p, self.dp))

    def __call__(self, x: np.ndarray, t: np.ndarray) -> float:
        q, k, v, p, o, row = self.q, self.k, self.v, self.p, self.o, self.row
        samples = x.reshape(self.rows, -1)
        for weights, out in ((self.wq, q), (self.wk, k), (self.wv, v)):
            samples.dot(weights.T, out=out.reshape(self.rows, -1))
        np.multiply(q, self.scale, out=q)
        np.matmul(q, self.k_T, out=p)
        self.softmax()
        np.matmul(p, v, out=o)

        do = self.t
        np.subtract(o, t, out=do)
        cost = float(np.vdot(do, do)) / len(x)
        np.multiply(do, self.two_scale, out=do)
        np.matmul(self.p_T, do, out=self.dv)
        np.vecdot(do, o, out=row[:, :, 0])
        ds = self.dp
        np.matmul(do, self.v_T, out=ds)
        np.subtract(ds, row, out=ds)
        np.multiply(ds, p, out=ds)
        np.matmul(ds, k, out=self.dq)
        np.multiply(self.dq, self.scale, out=self.dq)
        np.matmul(self.dp_T, q, out=self.dk)
        for name, d in (("wq", self.dq), ("wk", self.dk), ("wv", self.dv)):
            d.reshape(self.rows, -1).T.dot(samples, out=self.gradients[name])
        return cost

    def softmax(self) -> None:
        """p ← softmax(p), row by row."""
        p, row = self.p, self.row
        np.max(p, axis=2, keepdims=True, out=row)
        np.subtract(p, row, out=p)
        np.exp(p, out=p)
        p.reshape(self.rows, -1).dot(self.ones, out=row.reshape(-1))
        np.divide(p, row, out=p)


class CausalAttention(Attention):
    """The same over positions j <= i alone: what comes later is put at −∞ before the softmax."""

    def __init__(self, parameters: Arrays, batch: int, length: int) -> None:
        super().__init__(parameters, batch, length)
        self.later = np.triu(np.ones((length, length), bool), 1)

    def softmax(self) -> None:
        np.copyto(self.p, -np.inf, where=self.later)
        super().softmax()
