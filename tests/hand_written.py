"""The documented layer as a System built by hand, and kernels for it written by hand, right or wrong on purpose."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp
from sympy import Integer, Rational

from chainrule.symbolic.catalogue import definition
from chainrule.symbolic.expressions import Access, Call, Range, Reduction, Where, index, size
from chainrule.symbolic.system import Equation, FunctionDefinition, Role, System, Tensor

__all__ = ["HARD_SIGMOID", "HandWritten", "full", "layer"]

_Z = sp.Symbol("z", real=True)
HARD_SIGMOID = FunctionDefinition(
    "hardsigmoid", (_Z,), Where(_Z <= -3, 0, Where(_Z >= 3, 1, _Z / 6 + Rational(1, 2))), "user"
)


def full(name: str, extent: sp.Expr) -> Range:
    """An index over a whole axis."""
    return Range(index(name), Integer(0), extent - 1)


def layer(sigma: str | FunctionDefinition = "sigmoid", cost: str = "squared_error", with_cost: bool = True) -> System:
    """One dense layer of the document: x[m], y[n], w[n, m], b[n]; without a cost its output is `a`."""
    m, n = size("m"), size("n")
    functions = [definition(sigma) if isinstance(sigma, str) else sigma]
    tensors = [
        Tensor("x", (m,), Role.DATA, True),
        Tensor("w", (n, m), Role.PARAMETER),
        Tensor("b", (n,), Role.PARAMETER),
        Tensor("z", (n,), Role.DEFINED, True),
        Tensor("a", (n,), Role.DEFINED, True),
    ]
    j, k = full("j", n), full("k", m)
    dot = Reduction("sum", Access("w", j.symbol, k.symbol) * Access("x", k.symbol), [k])
    equations = [Equation("z", (j.symbol,), (j,), Access("b", j.symbol) + dot)]
    j = full("j", n)
    equations.append(Equation("a", (j.symbol,), (j,), Call(functions[0].name, (0,), Access("z", j.symbol))))
    if with_cost:
        functions.append(definition(cost))
        tensors += [Tensor("y", (n,), Role.DATA, True), Tensor("cost", (), Role.DEFINED, True)]
        j = full("j", n)
        share = Call(cost, (0, 0), Access("a", j.symbol), Access("y", j.symbol))
        equations.append(Equation("cost", (), (), Reduction("sum", share, [j])))
    return System(tuple(tensors), tuple(equations), tuple(functions), ("a",))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


@dataclass
class HandWritten:
    """Kernels of `layer` with squared error, in NumPy, without the engine; `spoil` alters the gradients.

    `spoil(gradients, inputs)` takes the named gradients as a dict and changes them in place.
    """

    system: System = field(default_factory=layer)
    dtype: str = "float64"
    sigma: Callable[[Any], Any] = _sigmoid
    slope: Callable[[Any], Any] = lambda z: _sigmoid(z) * (1 - _sigmoid(z))
    spoil: Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], None] = lambda _gradients, _inputs: None
    target: str = "numpy"
    wrt: tuple[str, ...] = ("w", "b", "x")

    def forward(self, *, x: np.ndarray, w: np.ndarray, b: np.ndarray) -> Any:
        return namedtuple("Outputs", "a")(self.sigma(x @ w.T + b))

    def cost(self, *, y: np.ndarray, **inputs: np.ndarray) -> float:
        residual = self.forward(**inputs).a - y
        return float((residual**2).sum(dtype=np.float64) / len(y))

    def gradients(self, *, y: np.ndarray, **inputs: np.ndarray) -> tuple[float, Any]:
        cotangent = 2 * (self.forward(**inputs).a - y) / y.dtype.type(len(y))
        return self.cost(y=y, **inputs), self.vjp(a=cotangent, **inputs)

    def vjp(self, *, a: np.ndarray, **inputs: np.ndarray) -> Any:
        x, w, b = inputs["x"], inputs["w"], inputs["b"]
        delta = a * self.slope(x @ w.T + b)
        found = {"w": delta.T @ x, "b": delta.sum(axis=0), "x": delta @ w}
        self.spoil(found, inputs)
        return namedtuple("Gradients", self.wrt)(*(found[name] for name in self.wrt))
