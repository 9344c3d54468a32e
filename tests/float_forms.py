"""Scalar formulas as a kernel would compute them, in NumPy float64, beside their exact values by mpmath."""

from __future__ import annotations

import math
from collections.abc import Mapping

import mpmath
import numpy as np
import sympy as sp
from sympy.core.relational import Relational

from chainrule.symbolic.expressions import Maximum, Minimum, Where
from chainrule.symbolic.primitives import Sigmoid, Softplus, expm1, log1p

__all__ = ["DIGITS", "POINTS", "accuracy", "computed", "exact"]

DIGITS = 1000
"""Of the exact values: enough for exp(-2·1000) beside 1; what is smaller is 0 in float64."""

_SIZES = (0.0, 1e-300, 1e-17, 1e-8, 1e-3, 0.3, 1.0, 2.5, 7.0, 19.0, 36.5, 37.5, 100.0, 354.0, 356.0, 708.0, 711.0,
          744.0, 746.0, 1.5e3, 1e4, 1e6)  # fmt: skip
POINTS = np.array(sorted({s * v for v in _SIZES for s in (1.0, -1.0)}))
"""Both sides of every edge of float64's exponential, up to 1e6."""

_erf, _erfc = np.vectorize(math.erf, otypes=[float]), np.vectorize(math.erfc, otypes=[float])
_NUMPY = {
    sp.exp: np.exp, sp.log: np.log, sp.tanh: np.tanh, sp.sinh: np.sinh, sp.cosh: np.cosh, sp.erf: _erf, sp.erfc: _erfc,
    sp.Abs: np.abs, sp.sign: np.sign, log1p: np.log1p, expm1: np.expm1, sp.sin: np.sin, sp.cos: np.cos,
    Sigmoid: lambda z: np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z)))),
    Softplus: lambda z: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))), Maximum: np.maximum, Minimum: np.minimum,
}  # fmt: skip
_MPMATH = {
    sp.exp: mpmath.exp, sp.log: mpmath.log, sp.tanh: mpmath.tanh, sp.sinh: mpmath.sinh, sp.cosh: mpmath.cosh,
    sp.erf: mpmath.erf, sp.erfc: mpmath.erfc, sp.Abs: abs, sp.sign: mpmath.sign, sp.sin: mpmath.sin, sp.cos: mpmath.cos,
    Sigmoid: lambda z: 1 / (1 + mpmath.exp(-z)), Softplus: lambda z: mpmath.log(1 + mpmath.exp(z)),
    log1p: lambda z: mpmath.log(1 + z), expm1: lambda z: mpmath.exp(z) - 1, Maximum: max, Minimum: min,
}  # fmt: skip
_COMPARE = {"<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__", "==": "__eq__", "!=": "__ne__"}


def computed(expression: sp.Expr, env: Mapping[sp.Basic, np.ndarray]) -> np.ndarray:
    """The expression in float64, operation by operation; overflow gives what it gives."""
    with np.errstate(all="ignore"):
        return np.asarray(_walk(expression, env, _NUMPY, np.where, float), dtype=float)


def exact(expression: sp.Expr, env: Mapping[sp.Basic, float]) -> mpmath.mpf:
    """The expression at one point, with DIGITS digits."""
    with mpmath.workdps(DIGITS):
        known = {k: mpmath.mpf(float(v)) for k, v in env.items()}
        return _walk(expression, known, _MPMATH, lambda c, u, v: u if c else v, _rational)


def _rational(number: sp.Expr) -> mpmath.mpf:
    return mpmath.mpf(int(number.p)) / int(number.q) if number.is_Rational else mpmath.mpf(sp.N(number, DIGITS))


def _walk(e, env, functions, choose, constant):
    if e in env:
        return env[e]
    if e.is_Integer:
        return int(e)
    if not e.args or e.is_Rational:
        return constant(e)
    if isinstance(e, Where) and functions is _MPMATH:
        return _walk(
            e.then if _walk(e.condition, env, functions, choose, constant) else e.otherwise,
            env,
            functions,
            choose,
            constant,
        )
    inner = [_walk(a, env, functions, choose, constant) for a in e.args]
    if isinstance(e, Where):
        return choose(*inner)
    if isinstance(e, Relational):
        left, right = inner
        left = left if hasattr(left, _COMPARE[e.rel_op]) else float(left)
        return getattr(np.asarray(left) if functions is _NUMPY else mpmath.mpf(left), _COMPARE[e.rel_op])(right)
    if e.is_Add:
        return sum(inner[1:], inner[0])
    if e.is_Mul:
        return math.prod(inner[1:], start=inner[0])
    if e.is_Pow:
        base, exponent = inner
        if functions is _NUMPY:
            return np.float_power(base, exponent)
        return base**exponent
    return functions[e.func](*inner)


def accuracy(form: sp.Expr, formula: sp.Expr, env: Mapping[sp.Basic, np.ndarray]) -> tuple[float, str]:
    """The worst relative error of `form` in float64 against the exact value of `formula`, and where it is.

    Infinite where the form is no finite number although the exact value is one within float64's range.
    A result below 1e-300 counts as right when the exact value is below it too.
    """
    found = np.broadcast_to(computed(form, env), next(iter(env.values())).shape)
    worst, where = 0.0, ""
    for m, value in np.ndenumerate(found):
        point = {k: v[m] for k, v in env.items()}
        reference = exact(formula, point)
        if abs(reference) > 1.7e308:
            continue
        if not np.isfinite(value):
            error = math.inf
        elif abs(reference) < 1e-300:
            error = 0.0 if abs(value) <= 1.1e-300 else math.inf
        else:
            error = float(abs(mpmath.mpf(float(value)) - reference) / abs(reference))
        if error > worst:
            worst, where = error, f"{value} instead of {mpmath.nstr(reference, 17)} at {point}"
    return worst, where
