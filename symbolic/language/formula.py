"""One formula's syntax tree to SymPy, node by node: arithmetic, mathematics, conditions, calls.

This much is elementwise; `indexed` adds tensors and reductions. Nothing here can grow without bound:
constant exponents are at most 64, constants stay within the range of a float, and both are checked
after every single operation.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import sympy as sp
from sympy import Expr, Integer, Rational
from sympy.codegen.cfunctions import expm1, log1p
from sympy.logic.boolalg import Boolean

from ..expressions import Call, Maximum, Minimum, Where, rebuild
from ..names import MATHEMATICAL_WORDS, closest
from ..reductions import REDUCTIONS
from ..system import FunctionDefinition
from .source import Code

__all__ = ["MATHEMATICS", "Formula", "Functions"]

MAX_POWER = 64
MAX_BITS = 4_096
MAX_MAGNITUDE = Integer(10) ** 300


class Functions(Protocol):
    """Where a formula finds the functions that it calls."""

    def get(self, name: str) -> FunctionDefinition | None: ...

    def known(self) -> Iterable[str]: ...


def _magnitude(u: Expr) -> Expr:
    """|u|, whose derivative is sign(u), 0 at 0; SymPy's Abs is sound only where it knows that u is real."""
    return sp.Abs(u) if u.is_extended_real else u * sp.sign(u)


MATHEMATICS: dict[str, Callable[[Expr], Expr]] = {
    "exp": sp.exp,
    "log": sp.log,
    "sqrt": sp.sqrt,
    "sin": sp.sin,
    "cos": sp.cos,
    "tan": sp.tan,
    "asin": sp.asin,
    "acos": sp.acos,
    "atan": sp.atan,
    "sinh": sp.sinh,
    "cosh": sp.cosh,
    "tanh": sp.tanh,
    "erf": sp.erf,
    "erfc": sp.erfc,
    "abs": _magnitude,
    "sign": sp.sign,
    "log1p": log1p,
    "expm1": expm1,
}
"""The usual mathematics: functions of one argument."""

_COMPARE: dict[type[ast.cmpop], Callable[[Expr, Expr], Boolean]] = {
    ast.Lt: sp.Lt,
    ast.LtE: sp.Le,
    ast.Gt: sp.Gt,
    ast.GtE: sp.Ge,
    ast.Eq: sp.Eq,
    ast.NotEq: sp.Ne,
}
_FAULTS = (TypeError, ValueError, ArithmeticError, RecursionError, AttributeError)


class Formula:
    """Reads one formula in the names of `parameters`: `value` gives a number, `condition` a truth."""

    def __init__(self, code: Code, functions: Functions, parameters: Mapping[str, Expr]) -> None:
        self.code = code
        self.functions = functions
        self.parameters = parameters
        self._values: dict[type[ast.AST], Callable[..., Expr]] = {
            ast.Constant: self._number,
            ast.Name: self._name,
            ast.UnaryOp: self._sign,
            ast.BinOp: self._operation,
            ast.Call: self._call,
            ast.Subscript: self._subscript,
        }
        self._forms: dict[str, tuple[int, Callable[[ast.Call], Expr]]] = {
            "where": (3, self._where),
            "max": (2, self._larger),
            "min": (2, self._smaller),
            "softmax": (1, self._softmax),
        }

    def read(self) -> Expr:
        """The whole formula."""
        return self.value(self.code.tree())

    def value(self, node: ast.expr) -> Expr:
        """The number that a node stands for."""
        handler = self._values.get(type(node))
        if handler is not None:
            return self._settled(node, handler(node))
        written = self.code.written(node)
        if isinstance(node, ast.Compare | ast.BoolOp):
            raise self.code.error(
                f"expected a number, found the condition {written!r}", node, "write where(condition, 1, 0)"
            )
        if isinstance(node, ast.Tuple):
            raise self.code.error(f"expected one number, found {len(node.elts)}", node, "write one equation for each")
        raise self.code.error(f"expected a number, found {written!r}", node)

    def condition(self, node: ast.expr) -> Boolean:
        """The truth that a node stands for."""
        if isinstance(node, ast.BoolOp):
            join = sp.And if isinstance(node.op, ast.And) else sp.Or
            return self._form(node, join, *(self.condition(v) for v in node.values))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return self._form(node, sp.Not, self.condition(node.operand))
        if isinstance(node, ast.Compare):
            sides = [self.value(side) for side in (node.left, *node.comparators)]
            pairs = zip(node.ops, sides, sides[1:], strict=False)
            return sp.And(*(self._form(node, _COMPARE[type(op)], u, v) for op, u, v in pairs))
        written = self.code.written(node)
        raise self.code.error(
            f"expected a condition, found {written!r}", node, "compare two numbers, for example z > 0"
        )

    def _number(self, node: ast.Constant) -> Expr:
        return Rational(self.code.written(node))

    def _name(self, node: ast.Name) -> Expr:
        if node.id == "pi":
            return sp.pi
        if node.id in self.parameters:
            return self.parameters[node.id]
        raise self._unknown(node)

    def _unknown(self, node: ast.Name) -> Exception:
        if node.id in MATHEMATICS or node.id in self._forms or self.functions.get(node.id) is not None:
            return self.code.error(f"{node.id} is a function: it needs its argument", node, f"write {node.id}(…)")
        hint = (
            closest(node.id, self._visible()) or f"this formula knows {', '.join(sorted(self._visible())) or 'no name'}"
        )
        return self.code.error(f"unknown name {node.id!r}", node, hint)

    def _visible(self) -> Iterable[str]:
        return self.parameters

    def _sign(self, node: ast.UnaryOp) -> Expr:
        if isinstance(node.op, ast.Not):
            raise self.code.error("expected a number, found a condition", node, "write where(condition, 1, 0)")
        operand = self.value(node.operand)
        return -operand if isinstance(node.op, ast.USub) else operand

    def _operation(self, node: ast.BinOp) -> Expr:
        u, v = self.value(node.left), self.value(node.right)
        if isinstance(node.op, ast.Pow):
            return self._power(node, u, v)
        if isinstance(node.op, ast.FloorDiv):
            raise self.code.error("// divides sizes, not numbers", node, "write / for a quotient")
        if isinstance(node.op, ast.Div):
            if v == 0:
                raise self.code.error("a division by 0", node.right)
            return self._form(node, lambda: u / v)
        if isinstance(node.op, ast.Mult):
            return self._form(node, lambda: u * v)
        return u + v if isinstance(node.op, ast.Add) else u - v

    def _power(self, node: ast.BinOp, u: Expr, v: Expr) -> Expr:
        if v.is_number and abs(v) > MAX_POWER:
            raise self.code.error(
                f"a constant exponent above {MAX_POWER}", node.right, "use exp and log for such powers"
            )
        result = self._form(node, sp.Pow, u, v)
        factors = result.args if isinstance(result, sp.Mul) else (result,)
        if any(isinstance(f, sp.Pow) and f.exp.is_number and abs(f.exp) > MAX_POWER for f in factors):
            raise self.code.error(f"powers of powers that exceed {MAX_POWER}", node, "use exp and log for such powers")
        return self._real(node, result)

    def _call(self, node: ast.Call) -> Expr:
        if isinstance(node.func, ast.Subscript):
            return self._reduction(node, node.func)
        if not isinstance(node.func, ast.Name):
            raise self.code.error(f"expected the name of a function, found {self.code.written(node.func)!r}", node.func)
        name = node.func.id
        if name in self._forms:
            arity, form = self._forms[name]
            self._check_arity(node, name, arity)
            return form(node)
        if name in MATHEMATICS:
            self._check_arity(node, name, 1)
            function = MATHEMATICS[name]
            return self._real(node, self._form(node, function, self.value(node.args[0])))
        if name in REDUCTIONS:
            raise self.code.error(
                f"{name} needs its indices", node, f"write {name}[k](…), with the indices to run over"
            )
        definition = self.functions.get(name)
        if definition is None:
            raise self._unknown_function(node, name)
        self._check_arity(node, name, len(definition.parameters))
        return self._apply(node, definition, [self.value(a) for a in node.args])

    def _unknown_function(self, node: ast.Call, name: str) -> Exception:
        if name in self._visible():
            message = f"{name!r} is called like a function, but is none"
            return self.code.error(message, node, f"write {name}*(…) for a product, {name}[…] for an element")
        known = {*self.functions.known(), *MATHEMATICAL_WORDS, *REDUCTIONS} - {"pi"}
        hint = closest(name, known) or f"define it, {name}(z) = …, or use one that the catalogue has"
        return self.code.error(f"unknown function {name!r}", node, hint)

    def _check_arity(self, node: ast.Call, name: str, arity: int) -> None:
        if len(node.args) == arity:
            return
        numbers = {1: "one argument", 2: "two arguments", 3: "three arguments"}
        expected = numbers.get(arity, f"{arity} arguments")
        hint = f"write {name}[k](…) to reduce over an index" if name in REDUCTIONS else ""
        raise self.code.error(f"{name} takes {expected}, found {len(node.args)}", node, hint)

    def _apply(self, node: ast.Call, definition: FunctionDefinition, arguments: list[Expr]) -> Expr:
        if definition.body is not None and all(a.is_number for a in arguments):
            return self._constant(node, definition, arguments)
        return Call(definition.name, (0,) * len(arguments), *arguments)

    def _constant(self, node: ast.Call, definition: FunctionDefinition, arguments: list[Expr]) -> Expr:
        """A function of constants is worked out at once, operation by operation, so that it stays in range."""
        values = dict(zip(definition.parameters, arguments, strict=True))

        def work_out(e: Expr) -> Expr:
            if not e.args:
                return values.get(e, e)
            if isinstance(e, Call):
                inner = self.functions.get(e.name)
                parts = [work_out(a) for a in e.arguments]
                return rebuild(e, [*e.args[:2], *parts]) if inner is None else self._apply(node, inner, parts)
            result = self._form(node, rebuild, e, [work_out(a) for a in e.args])
            return self._settled(node, result) if isinstance(result, Expr) else result

        return work_out(definition.body)

    def _where(self, node: ast.Call) -> Expr:
        condition, then, otherwise = node.args
        return self._form(node, Where, self.condition(condition), self.value(then), self.value(otherwise))

    def _larger(self, node: ast.Call) -> Expr:
        return self._form(node, Maximum, *(self.value(a) for a in node.args))

    def _smaller(self, node: ast.Call) -> Expr:
        return self._form(node, Minimum, *(self.value(a) for a in node.args))

    def _softmax(self, node: ast.Call) -> Expr:
        raise self.code.error("softmax works on a whole layer", node, "use it in an equation, p[j] = softmax(z[j])")

    def _reduction(self, node: ast.Call, _: ast.Subscript) -> Expr:
        raise self.code.error("a function of the user has no sums", node, "write the sum in an equation")

    def _subscript(self, node: ast.Subscript) -> Expr:
        written = self.code.written(node)
        hint = "pass it as an argument: sigma(z, t) = …, a[j] = sigma(z[j], t[j])"
        raise self.code.error(f"a function sees its arguments alone, found {written!r}", node, hint)

    def _form(self, node: ast.expr, make: Callable[..., Expr], *arguments: object) -> Expr:
        """What SymPy makes of it; what it refuses is a fault of the formula."""
        try:
            return make(*arguments)
        except _FAULTS:
            raise self.code.error(f"{self.code.written(node)!r} has no real value", node) from None

    def _real(self, node: ast.expr, result: Expr) -> Expr:
        if result.has(sp.I):
            raise self.code.error(f"{self.code.written(node)!r} is not a real number", node)
        return result

    def _settled(self, node: ast.expr, result: Expr) -> Expr:
        """The result, once its constants are known to be real, finite and within the range of a float."""
        if result.is_Rational:
            self._check_rational(node, result)
        elif result.is_number:
            self._check_constant(node, result)
        elif result.is_Mul or result.is_Add:
            self._check_rational(node, result.args[0] if result.args[0].is_Rational else Integer(0))
        return result

    def _check_rational(self, node: ast.expr, number: Rational) -> None:
        bits = max(int(number.p).bit_length(), int(number.q).bit_length())
        if bits > MAX_BITS or abs(number) > MAX_MAGNITUDE:
            raise self.code.error(f"{self.code.written(node)!r} is beyond the range of a float", node)

    def _check_constant(self, node: ast.expr, number: Expr) -> None:
        if not number.has(sp.nan, sp.zoo, sp.oo, sp.S.NegativeInfinity):
            value = self._form(node, number.evalf, 15)
            if value.is_Rational or (value.is_Float and math.isfinite(_as_float(value))):
                return
        raise self.code.error(f"{self.code.written(node)!r} has no finite real value", node)


def _as_float(value: Expr) -> float:
    return math.inf if abs(value) > MAX_MAGNITUDE else float(value)
