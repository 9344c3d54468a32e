"""An elementwise function from whatever a Python caller has: a name, a text, SymPy, or a callable.

SymPy expressions are copied node by node into what the language itself would have built, so that no
name, node or number of theirs gets further unless it is known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

import sympy as sp
from sympy import Expr, Integer, Symbol
from sympy.core.function import AppliedUndef, UndefinedFunction
from sympy.logic.boolalg import Boolean, BooleanFalse, BooleanTrue

from .catalogue import CATALOGUE, definition
from .errors import FormulaError
from .expressions import Call, Maximum, Minimum, Where
from .language import parse_function
from .language.formula import MATHEMATICS
from .names import name_problem
from .primitives import Sigmoid, Softplus, expm1, log1p
from .system import FunctionDefinition

__all__ = ["Copy", "FunctionLike", "elementwise", "undefined"]

FunctionLike: TypeAlias = str | Expr | UndefinedFunction | Callable[..., object]
"""A catalogue name, a formula's text, a SymPy expression, an undefined SymPy function, or a callable."""

_MOST_NODES = 2_000

_SAME: tuple[type[sp.Basic], ...] = (
    *(sp.Add, sp.Mul, sp.Pow, sp.exp, sp.log, sp.sin, sp.cos, sp.tan, sp.asin, sp.acos, sp.atan),
    *(sp.sinh, sp.cosh, sp.tanh, sp.erf, sp.erfc, sp.sign, log1p, expm1, Sigmoid, Softplus),
    *(Maximum, Minimum, Where, sp.And, sp.Or, sp.Not, sp.Lt, sp.Le, sp.Gt, sp.Ge, sp.Eq, sp.Ne),
)


def elementwise(like: FunctionLike, name: str, parameters: tuple[str, ...]) -> tuple[FunctionDefinition, ...]:
    """The function that `like` stands for, the last of the result, after the functions that it calls.

    A catalogue entry keeps its name and an undefined function its own; anything else is called `name`.
    A text or an expression is in the names `parameters`; an expression in one symbol may call it anything.
    A callable takes SymPy symbols and returns a SymPy expression.
    Raises FormulaError for what is no elementwise function of that many arguments.
    """
    if isinstance(like, str):
        return _from_text(like, name, parameters)
    symbols = tuple(Symbol(p, real=True) for p in parameters)
    if isinstance(like, UndefinedFunction):
        return (undefined(like.__name__, symbols),)
    if callable(like) and not isinstance(like, sp.Basic):
        like = _called(like, name, symbols)
    if not isinstance(like, Expr):
        message = f"{name}: expected a name, a formula, a SymPy expression or a callable, found {type(like).__name__}"
        raise FormulaError(message, hint="for example sigma='tanh', sigma='1/(1 + exp(-z))' or sigma=sympy.tanh")
    if (
        isinstance(like, AppliedUndef)
        and len(set(like.args)) == len(parameters)
        and all(a.is_Symbol for a in like.args)
    ):
        return (undefined(like.func.__name__, symbols),)
    copy = Copy(name, _pair(like, name, symbols))
    body = copy.visit(like)
    return (*copy.undefined.values(), FunctionDefinition(name, symbols, body, "user"))


def _from_text(text: str, name: str, parameters: tuple[str, ...]) -> tuple[FunctionDefinition, ...]:
    entry = CATALOGUE.get(text.strip())
    if entry is None:
        return parse_function(text, name, parameters)
    found = definition(entry.name)
    if len(found.parameters) != len(parameters):
        expected = "a cost, of a and y" if len(parameters) == 2 else "an activation, of z"
        raise FormulaError(f"{name}: expected {expected}, found the {entry.kind} {entry.name!r}")
    return (found,)


def undefined(name: str, parameters: tuple[Symbol, ...]) -> FunctionDefinition:
    problem = name_problem(name)
    if problem:
        raise FormulaError(f"{problem} and cannot name a function", hint="choose another name")
    return FunctionDefinition(name, parameters, None, "undefined")


def _called(function: Callable[..., object], name: str, symbols: tuple[Symbol, ...]) -> Expr:
    try:
        result = function(*symbols)
    except FormulaError:
        raise
    except Exception as fault:  # any error of the caller's own function
        hint = "it is called with SymPy symbols: use sympy.exp and the like, not math.exp or numpy.exp"
        raise FormulaError(f"{name}: the callable failed with {type(fault).__name__}: {fault}", hint=hint) from fault
    if isinstance(result, str):
        raise FormulaError(f"{name}: the callable returned a text", hint="return a SymPy expression")
    if isinstance(result, int | float) and not isinstance(result, bool):
        result = sp.Float(repr(result)) if isinstance(result, float) else Integer(result)
    if not isinstance(result, Expr):
        message = f"{name}: the callable returned a {type(result).__name__}, expected a SymPy expression"
        raise FormulaError(message, hint="return a SymPy expression of its arguments")
    return result


def _pair(expression: Expr, name: str, symbols: tuple[Symbol, ...]) -> dict[Symbol, Symbol]:
    """The function's own symbols for the free symbols of the expression, matched by name."""
    free = sorted(expression.free_symbols, key=lambda s: s.name)
    if len(symbols) == 1 and len(free) == 1:
        return {free[0]: symbols[0]}
    by_name = {s.name: s for s in symbols}
    for symbol in free:
        if symbol.name not in by_name:
            expected = " and ".join(by_name)
            message = f"{name}: expected an expression in {expected}, found the symbol {symbol.name!r}"
            raise FormulaError(message, hint=f"write it in the symbols {expected}, or pass a callable")
    return {symbol: by_name[symbol.name] for symbol in free}


class Copy:
    """Copies an expression into the language's own nodes; collects undefined functions on the way."""

    def __init__(self, name: str, symbols: Mapping[Symbol, Symbol]) -> None:
        self.name = name
        self.symbols = symbols
        self.undefined: dict[str, FunctionDefinition] = {}
        self._nodes = 0
        self.special: dict[type[sp.Basic], Callable[[Expr], Expr]] = {
            sp.Piecewise: self._piecewise,
            sp.Max: lambda e: self._chain(Maximum, e.args),
            sp.Min: lambda e: self._chain(Minimum, e.args),
            sp.Heaviside: self._heaviside,
            sp.Abs: lambda e: MATHEMATICS["abs"](self.visit(e.args[0])),
        }

    def visit(self, expression: Expr | Boolean) -> Expr:
        """The copy of one node."""
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise FormulaError(f"{self.name}: an expression of more than {_MOST_NODES} operations", hint="simplify it")
        if isinstance(expression, Symbol):
            return self.symbol(expression)
        if isinstance(expression, sp.Float):
            return self._float(expression)
        if expression.is_Rational or expression in (sp.pi, sp.E) or isinstance(expression, BooleanTrue | BooleanFalse):
            return expression
        if isinstance(expression, AppliedUndef):
            return self.call(expression)
        special = self.special.get(expression.func)
        if special is not None:
            return special(expression)
        if expression.func in _SAME:
            return expression.func(*(self.visit(a) for a in expression.args))
        hint = "use + - * / **, exp, log, sqrt, trigonometric and hyperbolic functions, erf, Abs, Max, Min, Piecewise"
        raise FormulaError(f"{self.name}: {expression.func.__name__} is not part of the language", hint=hint)

    def symbol(self, symbol: Symbol) -> Expr:
        """What a symbol stands for."""
        return self.symbols[symbol]

    def _float(self, number: sp.Float) -> Expr:
        value = float(number)
        if value != value or value in (float("inf"), float("-inf")):
            raise FormulaError(f"{self.name}: {number} is not a finite number")
        return sp.Rational(repr(value))

    def call(self, expression: AppliedUndef) -> Expr:
        """What a call of an undefined SymPy function stands for."""
        name = expression.func.__name__
        count = len(expression.args)
        symbols = tuple(Symbol(f"u{m + 1}" if count > 1 else "u", real=True) for m in range(count))
        known = self.undefined.setdefault(name, undefined(name, symbols))
        if len(known.parameters) != count:
            raise FormulaError(f"{self.name}: {name} is used with {len(known.parameters)} and with {count} arguments")
        return Call(name, (0,) * count, *(self.visit(a) for a in expression.args))

    def _piecewise(self, expression: sp.Piecewise) -> Expr:
        *pieces, (last, condition) = expression.args
        if condition != sp.true:
            hint = "end it with the pair (expression, True)"
            raise FormulaError(f"{self.name}: a Piecewise that is undefined somewhere", hint=hint)
        result = self.visit(last)
        for value, test in reversed(pieces):
            result = Where(self.visit(test), self.visit(value), result)
        return result

    def _chain(self, kind: type[sp.Function], arguments: Iterable[Expr]) -> Expr:
        first, *others = (self.visit(a) for a in arguments)
        for other in others:
            first = kind(first, other)
        return first

    def _heaviside(self, expression: sp.Heaviside) -> Expr:
        u, at_zero = self.visit(expression.args[0]), self.visit(expression.args[1])
        return Where(u < 0, Integer(0), Where(u > 0, Integer(1), at_zero))
