"""The numbers that the oracle computes with: float64, and mpmath at any precision.

A number system is a set of elementwise operations on arrays whose last axis is the lanes
(independent evaluations made at once). `error_scale.Bounded` is a third one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from numpy.typing import NDArray
from sympy import Expr

__all__ = ["IDENTITY", "Float", "Integers", "Precise", "Value"]

Value = Any
"""A number system's array, lanes last: an ndarray, or the number system's own structure."""

Integers = NDArray[np.int64]

IDENTITY = {"sum": 0.0, "prod": 1.0, "max": -math.inf, "min": math.inf}
_FOLD = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}
_NUMPY_NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh"}
_NUMPY_NAMES |= {"acosh": "arccosh", "atanh": "arctanh"}


class Float:
    """float64, elementwise NumPy. `kinks` collects on which side of each kink a lane stands."""

    def __init__(self) -> None:
        self.kinks: list[NDArray[Any]] = []

    def number(self, constant: Expr) -> Value:
        return np.array([float(constant)])

    def integers(self, values: Integers) -> Value:
        return values[..., None].astype(np.float64)

    def empty(self, shape: tuple[int, ...]) -> Value:
        return np.full(shape, np.nan)

    def gather(self, array: Value, where: tuple[Integers, ...]) -> Value:
        return array[where]

    def store(self, array: Value, where: tuple[Integers, ...], value: Value, mask: NDArray[Any]) -> None:
        array[where] = np.where(mask, value, array[where])

    def add(self, a: Value, b: Value) -> Value:
        return a + b

    def multiply(self, a: Value, b: Value) -> Value:
        return a * b

    def subtract(self, a: Value, b: Value) -> Value:
        return a - b

    def power(self, base: Value, exponent: Expr | Value) -> Value:
        return base ** (float(exponent) if isinstance(exponent, Expr) else exponent)

    def apply(self, name: str, value: Value) -> Value:
        if name in ("erf", "erfc"):
            return np.vectorize(getattr(math, name), otypes=[float])(value)
        return getattr(np, _NUMPY_NAMES.get(name, name))(value)

    def value(self, a: Value) -> NDArray[Any]:
        """The plain values, for comparisons."""
        array: NDArray[Any] = a
        return array

    def select(self, mask: NDArray[Any], then: Value, otherwise: Value) -> Value:
        return np.where(mask, then, otherwise)

    def fold(self, kind: str, value: Value, mask: NDArray[Any], axes: int) -> Value:
        """`kind` over the first `axes` axes, of the elements that the mask admits."""
        shape = np.broadcast_shapes(value.shape, mask.shape)
        filled = np.where(mask, np.broadcast_to(value, shape), IDENTITY[kind])
        flat = filled.reshape(-1, *shape[axes:])
        if kind in ("max", "min") and len(flat) > 1:
            self.kinks.append(np.argmax(flat if kind == "max" else -flat, axis=0) + 1)
        return _FOLD[kind].reduce(flat, axis=0, initial=IDENTITY[kind])

    def kink(self, distance: Value, active: NDArray[Any]) -> None:
        """A place where the formula changes branch, `distance` away from it (0: exactly there)."""
        self.kinks.append(np.where(active, np.sign(distance), 0))


class Precise(Float):
    """mpmath numbers of `digits` decimal digits, in object arrays. Outside the reals the value is NaN."""

    def __init__(self, digits: int = 80) -> None:
        super().__init__()
        self.context = mpmath.mp.clone()
        self.context.dps = digits
        self._nan = self.context.mpf("nan")
        self._power = self._real(lambda b, e: b**e, 2)
        self._functions: dict[str, Callable[[Value], Value]] = {}

    def _real(self, function: Callable[..., Any], arity: int) -> Callable[..., Value]:
        def guarded(*arguments: Any) -> Any:
            try:
                result = function(*arguments)
            except (ArithmeticError, ValueError):
                return self._nan
            return result if isinstance(result, self.context.mpf) else self._nan

        ufunc: Callable[..., Value] = np.frompyfunc(guarded, arity, 1)
        return ufunc

    def array(self, values: NDArray[Any]) -> Value:
        """float64 numbers, exactly."""
        return np.asarray(np.frompyfunc(lambda v: self.context.mpf(float(v)), 1, 1)(values), dtype=object)

    def number(self, constant: Expr) -> Value:
        out = np.empty(1, dtype=object)
        out[0] = self._exact(constant)
        return out

    def _exact(self, constant: Expr) -> Any:
        if isinstance(constant, sp.Rational):
            return self.context.mpf(int(constant.p)) / int(constant.q)
        return self.context.make_mpf(sp.N(constant, self.context.dps + 10)._mpf_)

    def integers(self, values: Integers) -> Value:
        return np.frompyfunc(lambda v: self.context.mpf(int(v)), 1, 1)(values[..., None])

    def empty(self, shape: tuple[int, ...]) -> Value:
        return np.full(shape, self._nan, dtype=object)

    def power(self, base: Value, exponent: Expr | Value) -> Value:
        if isinstance(exponent, Expr):
            exponent = int(exponent) if isinstance(exponent, sp.Integer) else self._exact(exponent)
        return self._power(base, exponent)

    def apply(self, name: str, value: Value) -> Value:
        if name not in self._functions:
            own = {"expm1": lambda v: self.context.exp(v) - 1, "log1p": lambda v: self.context.log(1 + v)}
            self._functions[name] = self._real(own.get(name) or getattr(self.context, name), 1)
        return self._functions[name](value)

    def fold(self, kind: str, value: Value, mask: NDArray[Any], axes: int) -> Value:
        shape = np.broadcast_shapes(value.shape, mask.shape)
        neutral = self.context.mpf(IDENTITY[kind])
        filled = np.where(mask, np.broadcast_to(value, shape), neutral)
        return _FOLD[kind].reduce(filled.reshape(-1, *shape[axes:]), axis=0, initial=neutral)

    def kink(self, distance: Value, active: NDArray[Any]) -> None:
        """Nothing to note: the float64 oracle decides which points are far enough from a kink."""
