"""Expressions in sizes as Python text: whole numbers for shapes, real numbers for constants."""

from __future__ import annotations

from collections.abc import Mapping

import sympy as sp
from sympy import Expr, Symbol
from sympy.logic.boolalg import Boolean
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Where
from chainrule.symbolic.primitives import textbook

__all__ = ["is_truth", "real_text", "shape_text", "whole_text"]

_FUNCTIONS = {
    "exp": "np.exp", "log": "np.log", "sin": "np.sin", "cos": "np.cos", "tan": "np.tan", "tanh": "np.tanh",
    "sinh": "np.sinh", "cosh": "np.cosh", "asin": "np.arcsin", "acos": "np.arccos", "atan": "np.arctan",
    "asinh": "np.arcsinh", "acosh": "np.arccosh", "atanh": "np.arctanh", "atan2": "np.arctan2",
    "log1p": "np.log1p", "expm1": "np.expm1", "hypot": "np.hypot", "Abs": "abs", "sign": "np.sign",
    "erf": "math.erf", "erfc": "math.erfc",
    "floor": "np.floor", "ceiling": "np.ceil", "Max": "max", "Min": "min", "Maximum": "max", "Minimum": "min",
}  # fmt: skip


_ATOM = PRECEDENCE["Atom"]


class _Printer(StrPrinter):  # type: ignore[misc]
    """SymPy's own infix text, with Python's names."""

    printmethod = ""  # nodes of our own print themselves for readers, not for Python

    def __init__(self, names: Mapping[Symbol, str]) -> None:
        super().__init__({"order": None})
        self._sizes = names

    def _print_Symbol(self, expr: Symbol) -> str:
        if expr not in self._sizes:
            raise LoweringError(f"{expr} is not a size of the model")
        return self._sizes[expr]

    _print_Dummy = _print_Symbol

    def _print_Pi(self, expr: Expr) -> str:
        del expr
        return "np.pi"

    def _print_Exp1(self, expr: Expr) -> str:
        del expr
        return "np.e"

    def _print_Infinity(self, expr: Expr) -> str:
        del expr
        return "np.inf"

    def _print_NegativeInfinity(self, expr: Expr) -> str:
        del expr
        return "-np.inf"

    def _print_Pow(self, expr: Expr, rational: bool = False) -> str:
        del rational
        base = self.parenthesize(expr.base, _ATOM, strict=True)
        if expr.exp == -1:
            return f"1/{base}"
        return f"{base}**{self.parenthesize(expr.exp, _ATOM, strict=True)}"

    def _print_floor(self, expr: Expr) -> str:
        numerator, denominator = sp.fraction(sp.together(expr.args[0]))
        return f"(({self._print(numerator)})//({self._print(denominator)}))"

    def _print_ceiling(self, expr: Expr) -> str:
        numerator, denominator = sp.fraction(sp.together(expr.args[0]))
        return f"(-((-({self._print(numerator)}))//({self._print(denominator)})))"

    def _print_Where(self, expr: Where) -> str:
        return f"({self._print(expr.then)} if {self._print(expr.condition)} else {self._print(expr.otherwise)})"

    def _print_And(self, expr: Expr) -> str:
        return "(" + " and ".join(f"({self._print(a)})" for a in sp.ordered(expr.args)) + ")"

    def _print_Or(self, expr: Expr) -> str:
        return "(" + " or ".join(f"({self._print(a)})" for a in sp.ordered(expr.args)) + ")"

    def _print_Not(self, expr: Expr) -> str:
        return f"(not ({self._print(expr.args[0])}))"

    def _print_Relational(self, expr: Expr) -> str:
        signs = {"==": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
        return f"({self._print(expr.lhs)} {signs[expr.rel_op]} {self._print(expr.rhs)})"

    def _print_Function(self, expr: Expr) -> str:
        name = _FUNCTIONS.get(expr.func.__name__)
        if name is None:
            raise LoweringError(f"{expr.func.__name__} of sizes alone has no NumPy counterpart, in {expr}")
        return f"{name}({', '.join(self._print(a) for a in expr.args)})"

    _print_Max = _print_Min = _print_Maximum = _print_Minimum = _print_Abs = _print_Function


def is_truth(number: Expr) -> bool:
    """Whether the expression is a truth value (SymPy's symbols are Booleans too)."""
    return isinstance(number, Boolean) and not number.is_Symbol


def whole_text(expression: Expr, names: Mapping[Symbol, str]) -> str:
    """A whole-number expression, for shapes and bounds."""
    return str(_Printer(names).doprint(expression))


def real_text(expression: Expr, names: Mapping[Symbol, str]) -> str:
    """A real number (or truth value) that sizes decide."""
    if expression.has(sp.erf, sp.erfc):
        numbers = [n for n in expression.atoms(sp.erf, sp.erfc) if n.is_number]
        expression = expression.xreplace({n: n.evalf(20) for n in numbers})
    return str(_Printer(names).doprint(textbook(expression)))


def shape_text(shape: tuple[Expr, ...], names: Mapping[Symbol, str]) -> str:
    """A shape as a tuple display."""
    inner = ", ".join(whole_text(d, names) for d in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"
