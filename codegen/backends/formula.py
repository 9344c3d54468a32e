"""Equations and statements as a reader of generated code would write them: `z[s,j] = b[j] + sum_k w[j,k]*x[s,k]`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import sympy as sp
from sympy import Dummy, Expr, Symbol
from sympy.core.relational import Relational
from sympy.core.sorting import default_sort_key

from chainrule.codegen.ir import Contract, Map, Reduce, Scatter, Statement
from chainrule.symbolic.affine import lower_bounds, upper_bounds
from chainrule.symbolic.expressions import Access, Call, Range, Reduction, Where
from chainrule.symbolic.system import Equation

__all__ = ["content", "equation_text", "expression_text", "statement_text"]

_SUM, _PRODUCT, _POWER, _ATOM = range(1, 5)
_SHOWN = {"Maximum": "max", "Minimum": "min", "Abs": "abs", "Max": "max", "Min": "min"}
_SIGNS = {sp.Lt: "<", sp.Le: "<=", sp.Gt: ">", sp.Ge: ">=", sp.Eq: "==", sp.Ne: "!="}


class _Writer:
    """One formula. Indices that share a name are told apart by a number, in order of appearance."""

    def __init__(self) -> None:
        self._indices: dict[Symbol, str] = {}

    def index(self, symbol: Symbol) -> str:
        if symbol not in self._indices:
            name = base = symbol.name
            number = 2
            while name in self._indices.values():
                name = f"{base}{'_' if base[-1].isdigit() else ''}{number}"
                number += 1
            self._indices[symbol] = name
        return self._indices[symbol]

    def over(self, ranges: Iterable[Range], guards: Iterable[Expr] = ()) -> str:
        """`k`, or `{j,k : k <= j}` where conditions choose among the indices."""
        bounds = tuple(ranges)
        names = [self.index(r.symbol) for r in bounds]
        conditions = list(dict.fromkeys(self.condition(c) for r in bounds for c in _stated(r)))
        conditions += [text for g in guards if (text := self.condition(g)) not in conditions]
        if not conditions:
            return names[0] if len(names) == 1 else f"{{{','.join(names)}}}"
        return f"{{{','.join(names)} : {', '.join(conditions)}}}"

    def condition(self, difference: Expr) -> str:
        """`difference >= 0`, every term on the side where it is added: `k <= j`, and `k < n` for `k <= n - 1`."""
        terms = sp.Add.make_args(sp.expand(difference))
        less = sp.Add(*(-t for t in terms if t.could_extract_minus_sign()))
        more = sp.Add(*(t for t in terms if not t.could_extract_minus_sign()))
        if less.as_coefficients_dict()[sp.S.One] == 1 and less != 1:
            return f"{self.write(less - 1, _SUM)} < {self.write(more, _SUM)}"
        return f"{self.write(less, _SUM)} <= {self.write(more, _SUM)}"

    def write(self, node: Expr, level: int = 0) -> str:
        text, own = self._parts(node)
        return f"({text})" if own < level else text

    def _parts(self, node: Expr) -> tuple[str, int]:
        if isinstance(node, Access):
            inner = ",".join(self.write(i) for i in node.indices)
            return (f"{node.name}[{inner}]" if inner else node.name), _ATOM
        if isinstance(node, Reduction):
            body = self.bound(node.kind, node.ranges, node.body, node.guards)
            return body, _SUM
        if isinstance(node, Where):
            parts = (self.write(node.condition), self.write(node.then), self.write(node.otherwise))
            return f"where({', '.join(parts)})", _ATOM
        if isinstance(node, Call):
            primes = "'" * sum(node.orders)
            return f"{node.name}{primes}({', '.join(self.write(a) for a in node.arguments)})", _ATOM
        if node.is_Add:
            return self._sum(node), _SUM
        if node.is_Mul or (node.is_Pow and node.exp.is_number and node.exp.is_negative):
            return self._product(node), _PRODUCT
        if node.is_Pow:
            if node.exp == sp.Rational(1, 2):
                return f"sqrt({self.write(node.base)})", _ATOM
            return f"{self.write(node.base, _ATOM)}^{self.write(node.exp, _ATOM)}", _POWER
        if isinstance(node, Relational):
            return f"{self.write(node.lhs)} {_SIGNS[type(node)]} {self.write(node.rhs)}", 0
        if node.is_Symbol:
            return (self.index(node) if isinstance(node, Dummy) else node.name), _ATOM
        if node.is_Rational and not node.is_Integer:
            return str(node), _PRODUCT
        if node.args:
            name = _SHOWN.get(type(node).__name__, type(node).__name__.lower())
            return f"{name}({', '.join(self.write(a) for a in node.args)})", _ATOM
        return str(node), _ATOM

    def bound(self, kind: str, ranges: Iterable[Range], body: Expr, guards: Iterable[Expr] = ()) -> str:
        over = self.over(ranges, guards)
        if over == "{}":
            return self.write(body, _PRODUCT)
        return f"{kind}_{over} {self.write(body, _PRODUCT)}"

    def _sum(self, node: Expr) -> str:
        def place(term: Expr) -> tuple[object, ...]:
            return term.could_extract_minus_sign(), isinstance(term, Reduction), default_sort_key(term)

        terms = sorted(node.args, key=place)
        text = self.write(terms[0], _SUM)
        for term in terms[1:]:
            negative = term.could_extract_minus_sign()
            last = term is terms[-1] and isinstance(term, Reduction)
            text += f" {'-' if negative else '+'} {self.write(-term if negative else term, 0 if last else _PRODUCT)}"
        return text

    def _product(self, node: Expr) -> str:
        if node.could_extract_minus_sign():
            return f"-{self.write(-node, _PRODUCT)}"
        numerator, denominator = _fraction(node)
        if denominator != 1:
            return f"{self.write(numerator, _PRODUCT)}/{self.write(denominator, _POWER)}"
        factors = sorted(sp.Mul.make_args(node), key=lambda f: (not f.is_number, default_sort_key(f)))
        if len(factors) == 1:
            return str(node)
        return "*".join(self.write(f, _PRODUCT) for f in factors)


def _fraction(product: Expr) -> tuple[Expr, Expr]:
    """What is multiplied, and what it is divided by; SymPy's own would differentiate powers to see what is constant."""
    above, below = [], []
    for factor in sp.Mul.make_args(product):
        base, exponent = factor.as_base_exp()
        if factor.is_Rational:
            above.append(sp.Integer(factor.p))
            below.append(sp.Integer(factor.q))
        elif exponent.is_number and exponent.is_negative:
            below.append(base**-exponent)
        else:
            above.append(factor)
    return sp.Mul(*above), sp.Mul(*below)


def _stated(bound: Range) -> Iterable[Expr]:
    """The bounds of an index that are not those of an axis: a lower one other than 0, an upper one with an index."""
    yield from (bound.symbol - lower for lower in lower_bounds(bound) if lower != 0)
    yield from (upper - bound.symbol for upper in upper_bounds(bound) if upper.atoms(Dummy))


def content(total: Expr) -> tuple[Expr, Expr]:
    """A sum as a number times the rest, where that spares multiplications: 2u - 2v, (u + v)/3, but not u + 1/100."""
    number, rest = total.primitive()
    spares = all(abs(t.as_coeff_Mul()[0]) == 1 for t in rest.args)
    return (number, rest) if spares or number.is_Integer else (sp.S.One, total)


def expression_text(expression: Expr) -> str:
    """The expression in infix notation."""
    return _Writer().write(expression)


@lru_cache(maxsize=4096)
def equation_text(equation: Equation) -> str:
    """The equation as a reader would write it."""
    writer = _Writer()
    return f"{writer.write(equation.target)} = {writer.write(equation.value)}"


def statement_text(statement: Statement) -> str:
    """What one statement computes, as a formula."""
    writer = _Writer()
    left = writer.write(statement.out)
    if isinstance(statement, Map):
        return f"{left} = {writer.write(statement.body)}"
    if isinstance(statement, Reduce):
        return f"{left} = {writer.bound(statement.kind, statement.reduced, statement.body, statement.guards)}"
    if isinstance(statement, Scatter):
        over = writer.over(statement.ranges, statement.guards)
        return f"{left} += {writer.write(statement.body)} over {over}, from 0"
    if isinstance(statement, Contract):
        over = writer.over(statement.reduced)
        return f"{left} = sum_{over} {writer.write(statement.left)}*{writer.write(statement.right)}"
    raise TypeError(f"unknown statement {statement!r}")
