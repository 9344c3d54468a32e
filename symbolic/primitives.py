"""Elementwise functions that a backend evaluates as one well-behaved operation.

`sigmoid` and `softplus` never overflow for finite arguments; SymPy's `log1p`, `expm1` and `hypot`
are reused as they are. Each is defined by its textbook formula (`textbook`), which is what its
derivative and every oracle use; how it is computed without overflow is the backends' business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import sympy as sp
from mpmath.libmp import prec_to_dps
from sympy import Expr
from sympy.codegen.cfunctions import expm1, log1p

__all__ = ["Sigmoid", "Softplus", "expm1", "log1p", "textbook"]


class Sigmoid(sp.Function):
    """1/(1 + exp(-z)), for every finite z."""

    nargs = 1
    is_real = True
    is_positive = True

    def fdiff(self, argindex: int = 1) -> Expr:
        (z,) = self.args
        return Sigmoid(z) * Sigmoid(-z)

    def _eval_evalf(self, prec: int) -> Expr | None:
        return _evaluated(lambda z: 1 / (1 + mpmath.exp(-z)), self.args[0], prec)

    def _sympystr(self, printer: object) -> str:
        return f"sigmoid({self.args[0]})"


class Softplus(sp.Function):
    """log(1 + exp(z)), for every finite z."""

    nargs = 1
    is_real = True
    is_positive = True

    def fdiff(self, argindex: int = 1) -> Expr:
        return Sigmoid(self.args[0])

    def _eval_evalf(self, prec: int) -> Expr | None:
        return _evaluated(lambda z: mpmath.log1p(mpmath.exp(z)), self.args[0], prec)

    def _sympystr(self, printer: object) -> str:
        return f"softplus({self.args[0]})"


def _evaluated(function: Callable[[Any], Any], argument: Expr, prec: int) -> Expr | None:
    """The function's value to `prec` bits; None where the argument is no number, as SymPy asks."""
    if not argument.is_number:
        return None
    digits = prec_to_dps(prec) + 10
    with mpmath.workdps(digits):
        return sp.Float(function(mpmath.mpf(sp.N(argument, digits))), digits)


def textbook(expression: Expr) -> Expr:
    """The expression with every primitive replaced by the formula that defines it."""
    table = {
        Sigmoid: lambda z: 1 / (1 + sp.exp(-z)),
        Softplus: lambda z: sp.log(1 + sp.exp(z)),
        log1p: lambda z: sp.log(1 + z),
        expm1: lambda z: sp.exp(z) - 1,
    }
    for kind, formula in table.items():
        expression = expression.replace(kind, formula)
    return expression
