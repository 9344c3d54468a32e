"""How much rounding error a kernel may make: float64 numbers that carry error bounds and a tangent.

A `Bounded` number holds a value, its derivative along one direction (the tangent, by forward mode)
and a running bound for the rounding error of each, in units of the unit roundoff: an operation adds
the size of the terms that it adds up, once for each rounding. A kernel of unit roundoff u may then
differ from the exact derivative by a small multiple of u times the tangent's bound, whether the
terms are large or small, and cancel or not. To first order in u.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sympy import Expr

from .number_systems import IDENTITY, Float, Integers, Value

__all__ = ["Bounded", "Number", "summation_factor"]

Array = NDArray[np.float64]


class Number(NamedTuple):
    """value, bound of its error; tangent, bound of the tangent's error. All of one shape after broadcasting."""

    value: Array
    error: Array
    tangent: Array
    slack: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(*(a.shape for a in self))


_TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)

_DERIVATIVES: dict[str, Callable[[Array, Array], tuple[Array, Array]]] = {
    "exp": lambda _x, y: (y, y),
    "log": lambda x, _y: (1 / x, -1 / x**2),
    "sin": lambda x, y: (np.cos(x), -y),
    "cos": lambda x, y: (-np.sin(x), -y),
    "tan": lambda _x, y: (1 + y**2, 2 * y * (1 + y**2)),
    "asin": lambda x, _y: ((1 - x**2) ** -0.5, x * (1 - x**2) ** -1.5),
    "acos": lambda x, _y: (-((1 - x**2) ** -0.5), -x * (1 - x**2) ** -1.5),
    "atan": lambda x, _y: (1 / (1 + x**2), -2 * x / (1 + x**2) ** 2),
    "sinh": lambda x, y: (np.cosh(x), y),
    "cosh": lambda x, y: (np.sinh(x), y),
    "tanh": lambda _x, y: (1 - y**2, -2 * y * (1 - y**2)),
    "asinh": lambda x, _y: ((1 + x**2) ** -0.5, -x * (1 + x**2) ** -1.5),
    "acosh": lambda x, _y: ((x**2 - 1) ** -0.5, -x * (x**2 - 1) ** -1.5),
    "atanh": lambda x, _y: (1 / (1 - x**2), 2 * x / (1 - x**2) ** 2),
    "erf": lambda x, _y: (_TWO_OVER_SQRT_PI * np.exp(-(x**2)), -2 * x * _TWO_OVER_SQRT_PI * np.exp(-(x**2))),
    "erfc": lambda x, _y: (-_TWO_OVER_SQRT_PI * np.exp(-(x**2)), 2 * x * _TWO_OVER_SQRT_PI * np.exp(-(x**2))),
    "expm1": lambda x, _y: (np.exp(x), np.exp(x)),
    "log1p": lambda x, _y: (1 / (1 + x), -1 / (1 + x) ** 2),
}
"""First and second derivative of each function, at x with y = f(x): written by hand, used by no kernel."""


def summation_factor(terms: int) -> float:
    """How many roundings a sum of so many terms is charged for: all, or the random walk's worst for long sums."""
    return min(float(terms), 4 + 4 * math.sqrt(terms))


class Bounded(Float):
    """The number system of `Number`s. `closeness` is the least distance to a kink, in units of its own error."""

    def __init__(self) -> None:
        super().__init__()
        self.closeness = math.inf

    def exact(self, value: Array, tangent: Array | None = None) -> Number:
        """An input: no error, and the tangent of the direction (default: none)."""
        zero = np.zeros(1)
        return Number(value, zero, zero if tangent is None else tangent, zero)

    def number(self, constant: Expr) -> Value:
        value = np.array([float(constant)])
        zero = np.zeros(1)
        return Number(value, zero if constant.is_Integer else np.abs(value), zero, zero)

    def integers(self, values: Integers) -> Value:
        return self.exact(values[..., None].astype(np.float64))

    def empty(self, shape: tuple[int, ...]) -> Value:
        return Number(*(np.full(shape, np.nan) for _ in range(4)))

    def gather(self, array: Value, where: tuple[Integers, ...]) -> Value:
        return Number(*(part[where] if part.ndim > 1 else part for part in array))

    def store(self, array: Value, where: tuple[Integers, ...], value: Value, mask: NDArray[Any]) -> None:
        for part, source in zip(array, value, strict=True):
            part[where] = np.where(mask, source, part[where])

    def add(self, a: Value, b: Value) -> Value:
        return Number(
            a.value + b.value,
            a.error + b.error + np.abs(a.value) + np.abs(b.value),
            a.tangent + b.tangent,
            a.slack + b.slack + np.abs(a.tangent) + np.abs(b.tangent),
        )

    def subtract(self, a: Value, b: Value) -> Value:
        return self.add(a, Number(-b.value, b.error, -b.tangent, b.slack))

    def multiply(self, a: Value, b: Value) -> Value:
        va, vb, ta, tb = np.abs(a.value), np.abs(b.value), np.abs(a.tangent), np.abs(b.tangent)
        slack = va * b.slack + tb * a.error + vb * a.slack + ta * b.error + va * tb + vb * ta
        return Number(
            a.value * b.value,
            va * b.error + vb * a.error + va * vb,
            a.value * b.tangent + b.value * a.tangent,
            slack,
        )

    def power(self, base: Value, exponent: Expr | Value) -> Value:
        if not isinstance(exponent, Expr):
            return self.apply("exp", self.multiply(exponent, self.apply("log", base)))
        p, x = float(exponent), base.value
        first = p * x ** (p - 1) if p != 0 else np.zeros(1)
        second = p * (p - 1) * x ** (p - 2) if p not in (0, 1) else np.zeros(1)
        return self._chain(base, x**p, first, second)

    def apply(self, name: str, value: Value) -> Value:
        result = super().apply(name, value.value)
        return self._chain(value, result, *_DERIVATIVES[name](value.value, result))

    def _chain(self, a: Number, result: Array, first: Array, second: Array) -> Number:
        slope = np.abs(first)
        return Number(
            result,
            slope * a.error + np.abs(result),
            first * a.tangent,
            slope * a.slack + np.abs(a.tangent) * (np.abs(second) * a.error + slope),
        )

    def value(self, a: Value) -> NDArray[Any]:
        array: NDArray[Any] = a.value
        return array

    def select(self, mask: NDArray[Any], then: Value, otherwise: Value) -> Value:
        return Number(*(np.where(mask, t, o) for t, o in zip(then, otherwise, strict=True)))

    def fold(self, kind: str, value: Value, mask: NDArray[Any], axes: int) -> Value:
        shape = np.broadcast_shapes(value.shape, mask.shape)
        count = math.prod(shape[:axes])
        neutral = (IDENTITY[kind], 0.0, 0.0, 0.0)
        parts = [
            np.where(mask, np.broadcast_to(part, shape), fill).reshape(count, *shape[axes:])
            for part, fill in zip(value, neutral, strict=True)
        ]
        if kind == "sum":
            factor = summation_factor(count)
            value_, tangent = parts[0].sum(axis=0), parts[2].sum(axis=0)
            error = parts[1].sum(axis=0) + factor * np.abs(parts[0]).sum(axis=0)
            return Number(value_, error, tangent, parts[3].sum(axis=0) + factor * np.abs(parts[2]).sum(axis=0))
        elements = [Number(*(part[m] for part in parts)) for m in range(count)]
        result = Number(*(np.full(shape[axes:], fill) for fill in neutral))
        for m, element in enumerate(elements):
            if kind == "prod":
                result = self.multiply(result, element)
                continue
            if m:
                self.kink(self.subtract(element, result), np.array([True]))
            ahead = element.value > result.value if kind == "max" else element.value < result.value
            result = self.select(ahead, element, result)
        return result

    def kink(self, distance: Value, active: NDArray[Any]) -> None:
        ratio = np.abs(distance.value) / (distance.error + np.finfo(float).tiny)
        live = np.where(active, ratio, np.inf)
        self.closeness = min(self.closeness, float(np.min(live, initial=np.inf)))

    def allow(self, value: Value, read: Sequence[Value]) -> Value:
        """Room for a derivative that is computed from the stored output (σ' = a(1-a), 1-a², …).

        Such forms are off by a rounding of the output, or of 1, times what flows into the function.
        """
        room = sum((np.abs(r.tangent) for r in read), np.zeros(1)) * (1 + np.abs(value.value))
        return value._replace(slack=value.slack + room)
