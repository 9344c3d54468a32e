"""The opponent on models of `examples/`: gradient steps as a careful NumPy programmer writes them.

Every buffer is allocated once, `out=` everywhere, sums as products with ones (five times as fast as `sum`), sums of
products with `vecdot`, the ufunc's own `reduce`, scales folded into the smaller operand, views and constants made
once. Weights are `[out, in]`, samples come first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

__all__ = ["Attention", "CausalAttention", "LayerNorm", "SoftmaxCrossEntropy"]

Arrays = Mapping[str, np.ndarray]


class SoftmaxCrossEntropy:
    """softmax(w·x + b), cost_s = −Σ_j y_j ln p_j through the logarithm of the sum of exponentials."""

    def __init__(self, parameters: Arrays, data: Arrays) -> None:
        self.w, self.b = parameters["w"], parameters["b"]
        batch, dtype = len(data["x"]), self.w.dtype
        self.gradients = {"w": np.empty_like(self.w), "b": np.empty_like(self.b)}
        self.z, self.p = (np.empty((batch, len(self.b)), dtype) for _ in range(2))
        self.row = np.empty(batch, dtype)
        self.column = self.row[:, None]
        self.ones, self.scale = np.ones(batch, dtype), np.array(1 / batch, dtype)
        self.over_classes = np.ones(len(self.b), dtype)
        self.w_T, self.p_T = self.w.T, self.p.T

    def __call__(self, x: np.ndarray, y: np.ndarray) -> float:
        z, p, row, column = self.z, self.p, self.row, self.column
        x.dot(self.w_T, out=z)
        np.add(z, self.b, out=z)
        np.maximum.reduce(z, axis=1, out=row)
        np.subtract(z, column, out=z)
        likelihood = float(np.vdot(y, z))
        np.exp(z, out=p)
        p.dot(self.over_classes, out=row)
        np.divide(p, column, out=p)
        np.log(row, out=row)
        cost = (float(self.ones.dot(row)) - likelihood) / len(x)  # each y sums to 1

        np.subtract(p, y, out=p)
        np.multiply(p, self.scale, out=p)
        self.p_T.dot(x, out=self.gradients["w"])
        self.ones.dot(p, out=self.gradients["b"])
        return cost


class LayerNorm:
    """g·(x − mean)/√(variance + 1e-5) + beta over the last axis; squared error. The gradient of x too."""

    def __init__(self, parameters: Arrays, data: Arrays) -> None:
        self.g, self.beta = parameters["g"], parameters["beta"]
        shape, dtype = data["x"].shape, self.g.dtype
        self.gradients = {"g": np.empty_like(self.g), "beta": np.empty_like(self.beta), "x": np.empty(shape, dtype)}
        self.h, self.d, self.t = (np.empty(shape, dtype) for _ in range(3))
        self.mean, self.inverse, self.along = (np.empty(shape[0], dtype) for _ in range(3))
        self.mean_, self.inverse_, self.along_ = (a[:, None] for a in (self.mean, self.inverse, self.along))
        self.over_width = np.full(shape[1], 1 / shape[1], dtype)  # a product with it is the mean of each row
        self.ones = np.ones(shape[0], dtype)
        self.share, self.epsilon = np.array(1 / shape[1], dtype), np.array(1e-5, dtype)
        self.scale = np.array(2 / shape[0], dtype)

    def __call__(self, x: np.ndarray, t: np.ndarray) -> float:
        h, d, scratch, dx = self.h, self.d, self.t, self.gradients["x"]
        x.dot(self.over_width, out=self.mean)
        np.subtract(x, self.mean_, out=h)
        np.vecdot(h, h, out=self.inverse)
        np.multiply(self.inverse, self.share, out=self.inverse)
        np.add(self.inverse, self.epsilon, out=self.inverse)
        np.sqrt(self.inverse, out=self.inverse)
        np.reciprocal(self.inverse, out=self.inverse)
        np.multiply(h, self.inverse_, out=h)
        np.multiply(h, self.g, out=d)
        np.add(d, self.beta, out=d)
        np.subtract(d, t, out=d)
        cost = float(np.vdot(d, d)) / len(x)

        np.multiply(d, self.scale, out=d)
        self.ones.dot(d, out=self.gradients["beta"])
        np.multiply(d, h, out=scratch)
        self.ones.dot(scratch, out=self.gradients["g"])
        np.multiply(d, self.g, out=d)
        d.dot(self.over_width, out=self.mean)
        np.vecdot(d, h, out=self.along)
        np.multiply(self.along, self.share, out=self.along)
        np.multiply(h, self.along_, out=scratch)
        np.subtract(d, self.mean_, out=dx)
        np.subtract(dx, scratch, out=dx)
        np.multiply(dx, self.inverse_, out=dx)
        return cost


class Attention:
    """softmax(q·kᵀ/√F)·v with projections q, k, v of x; squared error."""

    def __init__(self, parameters: Arrays, data: Arrays) -> None:
        self.weights = [parameters[name] for name in ("wq", "wk", "wv")]
        batch, length, self.width = data["x"].shape
        dtype, rows = data["x"].dtype, batch * length
        self.gradients = {name: np.empty_like(parameters[name]) for name in ("wq", "wk", "wv")}
        flat = [np.empty((rows, len(w)), dtype) for w in (*self.weights, *self.weights)]
        self.flat, self.d_flat = flat[:3], flat[3:]  # q, k, v and their adjoints, one row for each position
        blocks = [a.reshape(batch, length, -1) for a in flat]
        (self.q, self.k, self.v), (self.dq, self.dk, self.dv) = blocks[:3], blocks[3:]
        self.p, self.ds = (np.empty((batch, length, length), dtype) for _ in range(2))
        self.o, self.d = (np.empty_like(self.v) for _ in range(2))
        self.row = np.empty((batch, length), dtype)
        self.column = self.row[..., None]
        self.ones, self.row_flat, self.p_rows = np.ones(length, dtype), self.row.reshape(-1), self.p.reshape(rows, -1)
        self.scale = np.array(1 / math.sqrt(self.q.shape[-1]), dtype)
        self.two_scale = np.array(2 / batch, dtype)
        self.w_T, self.d_flat_T = [w.T for w in self.weights], [d.T for d in self.d_flat]
        self.k_T, self.v_T, self.p_T, self.ds_T = (a.transpose(0, 2, 1) for a in (self.k, self.v, self.p, self.ds))

    def __call__(self, x: np.ndarray, t: np.ndarray) -> float:
        p, ds, d, row, column = self.p, self.ds, self.d, self.row, self.column
        rows = x.reshape(-1, self.width)
        for w_T, projected in zip(self.w_T, self.flat, strict=True):
            rows.dot(w_T, out=projected)
        np.multiply(self.q, self.scale, out=self.q)  # on the smaller operand
        np.matmul(self.q, self.k_T, out=p)
        self.masked()
        np.maximum.reduce(p, axis=2, out=row)
        np.subtract(p, column, out=p)
        np.exp(p, out=p)
        self.p_rows.dot(self.ones, out=self.row_flat)
        np.divide(p, column, out=p)
        np.matmul(p, self.v, out=self.o)
        np.subtract(self.o, t, out=d)
        cost = float(np.vdot(d, d)) / len(x)

        np.multiply(d, self.two_scale, out=d)
        np.matmul(self.p_T, d, out=self.dv)
        np.matmul(d, self.v_T, out=ds)
        np.vecdot(d, self.o, out=row)  # Σ_j dp·p, over the narrower axis
        np.subtract(ds, column, out=ds)
        np.multiply(ds, p, out=ds)
        np.matmul(self.ds_T, self.q, out=self.dk)
        np.matmul(ds, self.k, out=self.dq)
        np.multiply(self.dq, self.scale, out=self.dq)
        for d_T, gradient in zip(self.d_flat_T, self.gradients.values(), strict=True):
            d_T.dot(rows, out=gradient)
        return cost

    def masked(self) -> None:
        """Scores that take no part are put at −∞: here, none."""


class CausalAttention(Attention):
    """The same, position i over j <= i alone."""

    def __init__(self, parameters: Arrays, data: Arrays) -> None:
        super().__init__(parameters, data)
        length = data["x"].shape[1]
        self.later = np.triu(np.ones((length, length), np.bool_), 1)

    def masked(self) -> None:
        np.copyto(self.p, -np.inf, where=self.later)
