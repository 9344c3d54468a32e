"""Numbers that a kernel computes outside of NumPy's arrays: sums over everything and arithmetic on them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sympy as sp
from sympy import Expr

from .contractions import Layout, einsum_subscripts
from .scope import Scope
from .sizes import real_text
from .values import Operand, Value

__all__ = ["Hosts"]


class Hosts:
    """Texts of Python numbers, in double precision. `uses` counts readers, `kept` are numbers of values with a name."""

    def __init__(self, scope: Scope, uses: Mapping[int, int], kept: Collection[int]) -> None:
        self._scope = scope
        self._uses = uses
        self._kept = kept

    def inlined(self, value: Value) -> bool:
        """Whether the value stands in the text of its only reader."""
        return self._uses[value.number] == 1 and value.number not in self._kept

    def text(self, value: Value) -> str:
        """The right side."""
        if value.operation == "sum":
            return f"float({self._inner(value)})"
        name = str(value.detail[0])
        terms = value.operands
        if name == "multiply" and any(o.scalar is not None for o in terms):
            other = next(o for o in terms if o.scalar is None)
            constant = next(o.scalar for o in terms if o.scalar is not None)
            return self._scaled(constant, self.term(other, 2))
        if name == "negative":
            return f"-{self.term(terms[0], 2)}"
        if name == "square":
            return f"{self.term(terms[0], 3)} ** 2"
        sign, level = {"add": ("+", 1), "subtract": ("-", 1), "multiply": ("*", 2)}[name]
        right = level + 1 if name == "subtract" else level
        return f"{self.term(terms[0], level)} {sign} {self.term(terms[1], right)}"

    def _scaled(self, constant: Expr, text: str) -> str:
        numerator, denominator = sp.fraction(constant)
        if numerator == -1:
            text = f"-{text}"
        elif numerator != 1:
            text = f"{self._number(numerator)} * {text}"
        return text if denominator == 1 else f"{text} / {self._number(denominator)}"

    def _number(self, number: Expr) -> str:
        text = real_text(number, self._scope.sizes)
        return text if number.is_Symbol or (number.is_Integer and number > 0) else f"({text})"

    def term(self, operand: Operand, level: int) -> str:
        """One operand, in parentheses where its operation binds less than `level`."""
        value = operand.value
        if operand.scalar is not None:
            return self._number(operand.scalar)
        if value.operation == "given":
            return f"float({self._scope.name(value)})"
        if not self.inlined(value):
            return self._scope.name(value)
        text = self.text(value)
        own = 4 if value.operation == "sum" else {"add": 1, "subtract": 1}.get(str(value.detail[0]), 2)
        return f"({text})" if own < level else text

    def _inner(self, value: Value) -> str:
        if len(value.operands) == 1:
            return f"np.add.reduce({self._scope.view(value.operands[0].value, Layout())}, axis=None)"
        left, right = value.operands
        strided = any(o.value.operation == "view" and o.value.rank > 1 for o in value.operands)
        if left.axes != right.axes or strided:
            parts = ", ".join(self._scope.view(o.value, Layout()) for o in value.operands)
            return f'np.einsum("{einsum_subscripts(value)}", {parts})'
        flat = Layout((sp.Mul(*left.value.shape),)) if left.value.rank > 1 else Layout()
        return f"{self._scope.view(left.value, flat)}.dot({self._scope.view(right.value, flat)})"
