"""Scalar SymPy expressions as C: the one place that knows how each function is spelt.

Every function that a kernel may use is a row of `_LIBRARY` (libm's own) or of `helpers.HELPERS`
(static functions of ours); anything else is an error that names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sympy as sp
from sympy import Expr, Symbol
from sympy.codegen import cfunctions
from sympy.core.relational import Relational
from sympy.core.sorting import default_sort_key
from sympy.logic.boolalg import Boolean

from chainrule.codegen.backends.formula import content
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Call, Delta, Maximum, Minimum, Where
from chainrule.symbolic.primitives import Sigmoid, Softplus

from . import sizes
from .literals import literal
from .order import is_costly

__all__ = ["ATOM", "TERNARY", "UNARY", "ScalarPrinter"]

TERNARY, OR, AND, RELATION, ADD, MULTIPLY, UNARY, ATOM = range(8)

_LIBRARY: Mapping[type, str] = {
    sp.exp: "exp",
    sp.log: "log",
    sp.sin: "sin",
    sp.cos: "cos",
    sp.tan: "tan",
    sp.asin: "asin",
    sp.acos: "acos",
    sp.atan: "atan",
    sp.atan2: "atan2",
    sp.sinh: "sinh",
    sp.cosh: "cosh",
    sp.tanh: "tanh",
    sp.asinh: "asinh",
    sp.acosh: "acosh",
    sp.atanh: "atanh",
    sp.erf: "erf",
    sp.erfc: "erfc",
    sp.gamma: "tgamma",
    sp.loggamma: "lgamma",
    sp.Abs: "fabs",
    sp.floor: "floor",
    sp.ceiling: "ceil",
    cfunctions.log1p: "log1p",
    cfunctions.expm1: "expm1",
    cfunctions.log2: "log2",
    cfunctions.log10: "log10",
    cfunctions.exp2: "exp2",
    cfunctions.Cbrt: "cbrt",
    cfunctions.Sqrt: "sqrt",
    cfunctions.hypot: "hypot",
    cfunctions.fma: "fma",
}

_ARITY: Mapping[type, int] = {sp.atan2: 2, cfunctions.hypot: 2, cfunctions.fma: 3}

_OURS: Mapping[type, str] = {
    Sigmoid: "sigmoid",
    Softplus: "softplus",
    Maximum: "maximum",
    Minimum: "minimum",
    sp.Max: "maximum",
    sp.Min: "minimum",
    sp.sign: "signum",
}

_NEGATED = {sp.Lt: sp.Ge, sp.Le: sp.Gt, sp.Gt: sp.Le, sp.Ge: sp.Lt}


class ScalarPrinter:
    """Prints expressions of one C type (`real`: "float" or "double").

    `sizes` spells size symbols and indices, `values` real symbols (a function's parameters), `read`
    an array element, `call` the name of a user's function. `fixed` says of a factor that the loops leave
    it alone; `hoist` makes it a constant before them and returns its name. `used` collects the helpers.
    """

    def __init__(
        self,
        real: str,
        size_names: Mapping[Symbol, str],
        read: Callable[[Access], str],
        call: Callable[[Call], str],
        used: set[str],
        values: Mapping[Symbol, str] | None = None,
        fixed: Callable[[Expr], bool] | None = None,
        hoist: Callable[[Expr], str] = str,
    ) -> None:
        self.real = real
        self.size_names = size_names
        self.values = dict(values or {})
        self.used = used
        self._read = read
        self._call = call
        self._fixed = fixed
        self._hoist = hoist
        self._branches = 0  # conditionals around what is printed: an array may not be read before them

    def text(self, node: Expr, level: int = TERNARY) -> str:
        """C text of the expression, in parentheses where it binds less tightly than `level`."""
        text, own = self._parts(node)
        return f"({text})" if own < level else text

    def libm(self, name: str) -> str:
        """libm's function for this type."""
        return f"{name}f" if self.real == "float" else name

    def helper(self, name: str) -> str:
        """A static function of ours, which the file must then hold."""
        self.used.add(name)
        return name

    def number(self, value: Expr) -> str:
        return literal(value, self.real)

    def _parts(self, node: Expr) -> tuple[str, int]:
        if isinstance(node, Access):
            return self._read(node), ATOM
        if is_costly(node) and not node.is_number and self._is_fixed(node):
            return self._held(node).name, ATOM
        if isinstance(node, Call):
            return f"{self._call(node)}({', '.join(self.text(a) for a in node.arguments)})", ATOM
        if isinstance(node, Where):
            return self._where(node), TERNARY
        if isinstance(node, Boolean) and not node.is_Symbol:
            return self._condition(node)
        if isinstance(node, Delta):
            one, zero = self.number(sp.S.One), self.number(sp.S.Zero)
            return f"{sizes.compare(sp.Eq(*node.args, evaluate=False), self.size_names)} ? {one} : {zero}", TERNARY
        if node.is_number:
            text = self.number(node)
            return text, UNARY if text.startswith("-") else ATOM
        if node.is_Symbol:
            if node in self.values:
                return self.values[node], ATOM
            return f"({self.real}){sizes.plain(node, self.size_names)}", UNARY
        if node.is_Add:
            return self._sum(node) if content(node)[0] == 1 else self._product(node)
        if node.is_Mul:
            return self._product(node)
        if node.is_Pow:
            return self._power(node)
        return self._function(node), ATOM

    def _function(self, node: Expr) -> str:
        arguments = [self.text(a) for a in node.args]
        kind = type(node)
        if kind in _LIBRARY and len(arguments) == _ARITY.get(kind, 1):
            return f"{self.libm(_LIBRARY[kind])}({', '.join(arguments)})"
        if kind in (sp.Max, sp.Min):
            arguments = [self.text(a) for a in sorted(node.args, key=default_sort_key)]
            text = arguments[0]
            for argument in arguments[1:]:
                text = f"{self.helper(_OURS[kind])}({text}, {argument})"
            return text
        if kind in _OURS:
            return f"{self.helper(_OURS[kind])}({', '.join(arguments)})"
        raise LoweringError(f"the C backend has no function {kind.__name__!r} (in {node})")

    def _sum(self, node: Expr) -> tuple[str, int]:
        terms = sorted(node.args, key=lambda t: (t.could_extract_minus_sign(), default_sort_key(t)))
        text = self.text(terms[0], ADD)
        for term in terms[1:]:
            negative = term.could_extract_minus_sign()
            text += f" {'-' if negative else '+'} {self.text(-term if negative else term, MULTIPLY)}"
        return text, ADD

    def _product(self, node: Expr) -> tuple[str, int]:
        constant, above, below = self._split(node)
        if constant < 0:
            text, _ = self._write(-constant, above, below)
            return f"-{text}", UNARY
        return self._write(constant, above, below)

    def _write(self, constant: Expr, above: list[Expr], below: list[Expr]) -> tuple[str, int]:
        if constant.is_Rational and constant.q != 1 and constant.p == 1 and above:
            below, constant = [sp.Integer(constant.q), *below], sp.S.One
        if constant != 1 or not above:
            above = [constant, *above]
        return self._quotient(above, below)

    def _split(self, node: Expr) -> tuple[Expr, list[Expr], list[Expr]]:
        """A product's constant, its other factors, and the factors it is divided by; fixed factors hoisted."""
        factors = sorted(sp.Mul.make_args(node), key=default_sort_key)
        constant = sp.Mul(*(f for f in factors if f.is_number))
        others = [f for f in factors if not f.is_number]
        for place, factor in enumerate(others):
            if factor.is_Add:  # 2*u - 2*v is 2*(u - v), and the 2 joins the constant
                common, others[place] = content(factor)
                constant *= common
        fixed = [f for f in others if self._is_fixed(f)]
        work = len(fixed) + (abs(constant) != 1) > 1 or any(f.args and not isinstance(f, Access) for f in fixed)
        if len(fixed) < len(others) and work and any(f.args for f in fixed):
            held = self._held(sp.Mul(abs(constant), *fixed))
            constant, others = sp.sign(constant), [held, *(f for f in others if f not in fixed)]
        below = [1 / f for f in others if f.is_Pow and f.exp.is_number and f.exp.is_negative]
        above = [f for f in others if not (f.is_Pow and f.exp.is_number and f.exp.is_negative)]
        return constant, above, below

    def _is_fixed(self, node: Expr) -> bool:
        """Whether the loops leave the value alone and it may be computed before them."""
        return bool(self._fixed and self._fixed(node)) and not (self._branches and node.has(Access))

    def _held(self, value: Expr) -> Symbol:
        """The value, computed before the loops, under the name it got there."""
        held = Symbol(self._hoist(value), real=True)
        self.values[held] = held.name
        return held

    def _quotient(self, above: list[Expr], below: list[Expr]) -> tuple[str, int]:
        text = " * ".join(self.text(f, MULTIPLY if m == 0 else UNARY) for m, f in enumerate(above))
        if len(below) == 1:
            text += f" / {self.text(below[0], UNARY)}"
        elif below:
            text += f" / ({' * '.join(self.text(f, UNARY) for f in below)})"
        return text, MULTIPLY

    def _power(self, node: Expr) -> tuple[str, int]:
        base, exponent = node.as_base_exp()
        if exponent.is_number and exponent.is_negative:
            return self._quotient([sp.S.One], [base**-exponent])
        if exponent == sp.Rational(1, 2):
            return f"{self.libm('sqrt')}({self.text(base)})", ATOM
        if exponent.is_Integer and 2 <= exponent <= 64:
            inner, own = self._parts(base)
            if exponent == 2 and own == ATOM and "(" not in inner:
                return f"{inner} * {inner}", MULTIPLY
            name = {2: "square", 3: "cube"}.get(int(exponent), f"power{int(exponent)}")
            return f"{self.helper(name)}({inner})", ATOM
        if base == 2:
            return f"{self.libm('exp2')}({self.text(exponent)})", ATOM
        return f"{self.libm('pow')}({self.text(base)}, {self.text(exponent)})", ATOM

    def _where(self, node: Where) -> str:
        """A conditional. Where one side is a constant, a NaN in the comparison takes the other side.

        So `where(z > 0, z, 0)` is written `z <= 0 ? 0 : z`: the same value for every number, and NaN for NaN.
        """
        condition, then, otherwise = node.condition, node.then, node.otherwise
        if type(condition) in _NEGATED and otherwise.is_number and not then.is_number:
            condition = _NEGATED[type(condition)](condition.lhs, condition.rhs, evaluate=False)
            then, otherwise = otherwise, then
        test = self.text(condition, OR)
        self._branches += 1
        text = f"{test} ? {self.text(then, OR)} : {self.text(otherwise)}"
        self._branches -= 1
        return text

    def _condition(self, node: Boolean) -> tuple[str, int]:
        if isinstance(node, Relational):
            if self._whole(node.lhs) and self._whole(node.rhs):
                return sizes.compare(node, self.size_names), RELATION
            sign = {sp.Lt: "<", sp.Le: "<=", sp.Gt: ">", sp.Ge: ">=", sp.Eq: "==", sp.Ne: "!="}[type(node)]
            return f"{self.text(node.lhs, ADD)} {sign} {self.text(node.rhs, ADD)}", RELATION
        if isinstance(node, sp.Not):
            return f"!{self.text(node.args[0], UNARY)}", UNARY
        if isinstance(node, (sp.And, sp.Or)):
            word, level = ("&&", AND) if isinstance(node, sp.And) else ("||", OR)
            parts = sorted(node.args, key=default_sort_key)
            # gcc asks for parentheses around && inside ||.
            return f" {word} ".join(self.text(p, RELATION) for p in parts), level
        if node in (sp.true, sp.false):
            return ("1" if node == sp.true else "0"), ATOM
        raise LoweringError(f"the C backend has no condition {node}")

    def _whole(self, node: Expr) -> bool:
        return all(s in self.size_names for s in node.free_symbols) and not node.has(Access) and bool(node.is_integer)
