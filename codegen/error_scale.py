"""How much rounding error a kernel may make: float64 numbers that carry derivatives, and error bounds of both.

A `Bounded` number holds a value, its derivative along one direction (the tangent, by forward mode), or
along each of two directions and along both, and a running bound for the rounding error of each, in units
of the unit roundoff: an operation adds the size of the terms that it adds up, once for each rounding. A
kernel of unit roundoff u may then differ from the exact derivative by a small multiple of u times its
bound, whether the terms are large or small, and cancel or not. To first order in u.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sympy import Expr

from .number_systems import IDENTITY, Float, Integers, Value

__all__ = ["Bounded", "Number", "summation_factor"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Number:
    """Values and their error bounds, each part of one shape after broadcasting with the others.

    Part 0 is the value; part k the derivative along the directions whose bits k has: 1 along the first,
    2 along the second, 3 along both.
    """

    parts: tuple[Array, ...]
    errors: tuple[Array, ...]

    @property
    def value(self) -> Array:
        return self.parts[0]

    @property
    def error(self) -> Array:
        return self.errors[0]

    @property
    def tangent(self) -> Array:
        """The derivative along the first direction."""
        return self.parts[1]

    @property
    def slack(self) -> Array:
        """The bound of the tangent's error."""
        return self.errors[1]

    @property
    def shape(self) -> tuple[int, ...]:
        return np.broadcast_shapes(*(a.shape for a in (*self.parts, *self.errors)))

    def map(self, function: Callable[[Array], Array]) -> Number:
        """The function of every part and bound."""
        return Number(tuple(map(function, self.parts)), tuple(map(function, self.errors)))


_TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)

_DERIVATIVES: dict[str, Callable[[Array, Array], tuple[Array, Array, Array]]] = {
    "exp": lambda _x, y: (y, y, y),
    "log": lambda x, _y: (1 / x, -1 / x**2, 2 / x**3),
    "sin": lambda x, y: (np.cos(x), -y, -np.cos(x)),
    "cos": lambda x, y: (-np.sin(x), -y, np.sin(x)),
    "tan": lambda _x, y: (1 + y**2, 2 * y * (1 + y**2), 2 * (1 + y**2) * (1 + 3 * y**2)),
    "asin": lambda x, _y: ((1 - x**2) ** -0.5, x * (1 - x**2) ** -1.5, (1 + 2 * x**2) * (1 - x**2) ** -2.5),
    "acos": lambda x, _y: (-((1 - x**2) ** -0.5), -x * (1 - x**2) ** -1.5, -(1 + 2 * x**2) * (1 - x**2) ** -2.5),
    "atan": lambda x, _y: (1 / (1 + x**2), -2 * x / (1 + x**2) ** 2, (6 * x**2 - 2) / (1 + x**2) ** 3),
    "sinh": lambda x, y: (np.cosh(x), y, np.cosh(x)),
    "cosh": lambda x, y: (np.sinh(x), y, np.sinh(x)),
    "tanh": lambda _x, y: (1 - y**2, -2 * y * (1 - y**2), (1 - y**2) * (6 * y**2 - 2)),
    "asinh": lambda x, _y: ((1 + x**2) ** -0.5, -x * (1 + x**2) ** -1.5, (2 * x**2 - 1) * (1 + x**2) ** -2.5),
    "acosh": lambda x, _y: ((x**2 - 1) ** -0.5, -x * (x**2 - 1) ** -1.5, (2 * x**2 + 1) * (x**2 - 1) ** -2.5),
    "atanh": lambda x, _y: (1 / (1 - x**2), 2 * x / (1 - x**2) ** 2, (2 + 6 * x**2) / (1 - x**2) ** 3),
    "erf": lambda x, _y: _of_bell(x, 1),
    "erfc": lambda x, _y: _of_bell(x, -1),
    "expm1": lambda x, _y: (np.exp(x), np.exp(x), np.exp(x)),
    "log1p": lambda x, _y: (1 / (1 + x), -1 / (1 + x) ** 2, 2 / (1 + x) ** 3),
}
"""First, second and third derivative of each function, at x with y = f(x): written by hand, used by no kernel."""


_THROUGH_OUTPUT = ("exp", "tanh")
"""Functions whose slope, or that of what is made of them (σ, softplus, …), kernels compute from a stored output: forms
such as 1 - a² and a·(1 - a) are off by a rounding of 1, however small they are."""


def _of_bell(x: Array, sign: int) -> tuple[Array, Array, Array]:
    bell = sign * _TWO_OVER_SQRT_PI * np.exp(-(x**2))
    return bell, -2 * x * bell, (4 * x**2 - 2) * bell


def summation_factor(terms: int) -> float:
    """How many roundings a sum of so many terms is charged for: all, or the random walk's worst for long sums."""
    return min(float(terms), 4 + 4 * math.sqrt(terms))


class Bounded(Float):
    """The number system of `Number`s with derivatives along one direction, or two.

    `closeness` is the least distance to a kink, in units of its own error.
    """

    def __init__(self, directions: int = 1) -> None:
        super().__init__()
        self.closeness = math.inf
        self.count = 2**directions

    def exact(self, value: Array, *tangents: Array | None) -> Number:
        """An input: no error, and the tangent of each direction (default: none)."""
        zero = np.zeros(1)
        given = [zero if t is None else t for t in tangents]
        parts = [value, *given, *[zero] * (self.count - 1 - len(given))]
        return Number(tuple(parts), (zero,) * self.count)

    def number(self, constant: Expr) -> Value:
        value = np.array([float(constant)])
        zero = np.zeros(1)
        rest = (zero,) * (self.count - 1)
        return Number((value, *rest), (zero if constant.is_Integer else np.abs(value), *rest))

    def integers(self, values: Integers) -> Value:
        return self.exact(values[..., None].astype(np.float64))

    def empty(self, shape: tuple[int, ...]) -> Value:
        return Number(*(tuple(np.full(shape, np.nan) for _ in range(self.count)) for _ in range(2)))

    def gather(self, array: Value, where: tuple[Integers, ...]) -> Value:
        taken: Number = array.map(lambda part: part[where] if part.ndim > 1 else part)
        return taken

    def store(self, array: Value, where: tuple[Integers, ...], value: Value, mask: NDArray[Any]) -> None:
        for part, source in zip(_all(array), _all(value), strict=True):
            part[where] = np.where(mask, source, part[where])

    def add(self, a: Value, b: Value) -> Value:
        return Number(
            tuple(x + y for x, y in zip(a.parts, b.parts, strict=True)),
            tuple(
                ex + ey + np.abs(x) + np.abs(y)
                for x, y, ex, ey in zip(a.parts, b.parts, a.errors, b.errors, strict=True)
            ),
        )

    def subtract(self, a: Value, b: Value) -> Value:
        return self.add(a, Number(tuple(-p for p in b.parts), b.errors))

    def multiply(self, a: Value, b: Value) -> Value:
        parts, errors = [], []
        for part in range(self.count):
            value, error = np.zeros(1), np.zeros(1)
            for m, n in _SHARED[part]:
                x, y = np.abs(a.parts[m]), np.abs(b.parts[n])
                value = value + a.parts[m] * b.parts[n]
                error = error + x * b.errors[n] + y * a.errors[m] + x * y
            parts.append(value)
            errors.append(error)
        return Number(tuple(parts), tuple(errors))

    def power(self, base: Value, exponent: Expr | Value) -> Value:
        if not isinstance(exponent, Expr):
            return self.apply("exp", self.multiply(exponent, self.apply("log", base)))
        p, x = float(exponent), base.value
        factors = [p, p * (p - 1), p * (p - 1) * (p - 2)]
        slopes = [f * x ** (p - m - 1) if f != 0 else np.zeros(1) for m, f in enumerate(factors)]
        return self._chain(base, x**p, *slopes)

    def apply(self, name: str, value: Value) -> Value:
        result = super().apply(name, value.value)
        room = 1.0 if name in _THROUGH_OUTPUT else 0.0
        return self._chain(value, result, *_DERIVATIVES[name](value.value, result), room=room)

    def _chain(
        self, a: Number, result: Array, first: Array, second: Array, third: Array, *, room: float = 0.0
    ) -> Number:
        """f(a): along one direction f'·ȧ, along both f'·ä + f''·ȧ·ȧ' (Faà di Bruno).

        `room` is what the slope may be off beside its own size.
        """
        slope, bend = np.abs(first) + room, np.abs(second) + room
        parts, errors = [result], [np.abs(first) * a.error + np.abs(result)]
        for tangent, error in zip(a.parts[1:], a.errors[1:], strict=True):
            parts.append(first * tangent)
            errors.append(np.abs(first) * error + np.abs(tangent) * (np.abs(second) * a.error + slope))
        if self.count == 4:
            x, y = np.abs(a.parts[1]), np.abs(a.parts[2])
            parts[3] = parts[3] + second * a.parts[1] * a.parts[2]
            errors[3] = errors[3] + np.abs(second) * (x * a.errors[2] + y * a.errors[1])
            errors[3] = errors[3] + (2 * bend + np.abs(third) * a.error) * x * y
        return Number(tuple(parts), tuple(errors))

    def value(self, a: Value) -> NDArray[Any]:
        array: NDArray[Any] = a.value
        return array

    def select(self, mask: NDArray[Any], then: Value, otherwise: Value) -> Value:
        return Number(
            tuple(np.where(mask, t, o) for t, o in zip(then.parts, otherwise.parts, strict=True)),
            tuple(np.where(mask, t, o) for t, o in zip(then.errors, otherwise.errors, strict=True)),
        )

    def fold(self, kind: str, value: Value, mask: NDArray[Any], axes: int) -> Value:
        shape = np.broadcast_shapes(value.shape, mask.shape)
        count = math.prod(shape[:axes])

        def flat(part: Array, fill: float) -> Array:
            return np.where(mask, np.broadcast_to(part, shape), fill).reshape(count, *shape[axes:])

        start = (IDENTITY[kind], *[0.0] * (self.count - 1))
        parts = [flat(part, fill) for part, fill in zip(value.parts, start, strict=True)]
        errors = [flat(part, 0.0) for part in value.errors]
        if kind == "sum":
            factor = summation_factor(count)
            sizes = [e.sum(axis=0) + factor * np.abs(p).sum(axis=0) for p, e in zip(parts, errors, strict=True)]
            return Number(tuple(p.sum(axis=0) for p in parts), tuple(sizes))
        elements = [Number(tuple(p[m] for p in parts), tuple(e[m] for e in errors)) for m in range(count)]
        empty = tuple(np.full(shape[axes:], fill) for fill in start)
        result = Number(empty, tuple(np.zeros(shape[axes:]) for _ in start))
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


_SHARED = (((0, 0),), ((0, 1), (1, 0)), ((0, 2), (2, 0)), ((0, 3), (1, 2), (2, 1), (3, 0)))
"""For each part of a product, the parts of the factors that it is made of (Leibniz)."""


def _all(number: Number) -> tuple[Array, ...]:
    return (*number.parts, *number.errors)
