"""A System as `.eq` text: what the language reads, written.

`parse(format_system(system))` is the System again, up to the names of indices and the order of
equations. Where the ranges of indices do not follow from their use, `index` statements and conditions
state them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from itertools import groupby

import sympy as sp
from sympy import Dummy, Expr, Integer, Symbol
from sympy.codegen.cfunctions import expm1, log1p
from sympy.logic.boolalg import And, Boolean, Not, Or

from .errors import FormulaError
from .expressions import Access, Call, Delta, Maximum, Minimum, Range, Reduction, Where, accesses, alpha_key
from .language import parse
from .primitives import Sigmoid, Softplus
from .system import Equation, FunctionDefinition, System, Tensor

__all__ = ["format_expression", "format_system"]

_OR, _AND, _NOT, _COMPARE, _ADD, _MULTIPLY, _SIGN, _POWER, _ATOM = range(9)

_FUNCTIONS: dict[type, str] = {
    sp.exp: "exp", sp.log: "log", sp.sin: "sin", sp.cos: "cos", sp.tan: "tan", sp.asin: "asin", sp.acos: "acos",
    sp.atan: "atan", sp.sinh: "sinh", sp.cosh: "cosh", sp.tanh: "tanh", sp.erf: "erf", sp.erfc: "erfc",
    sp.Abs: "abs", sp.sign: "sign", log1p: "log1p", expm1: "expm1", Sigmoid: "sigmoid", Softplus: "softplus",
    Maximum: "max", Minimum: "min",
}  # fmt: skip


class _Ranges(Enum):
    """Which ranges of indices a text states."""

    NONE = 0  # none: they all follow from uses
    HIDDEN = 1  # those that no bare subscript gives
    ALL = 2


def format_system(system: System) -> str:
    """The System as `.eq` text that `parse` reads; the same System gives the same text.

    The text with the fewest statements of ranges that is read as the System again. One that no text
    gives, such as the gradient of another, is written with all of them.
    Raises FormulaError for what the language has no words for: derivatives, undefined functions that are called.
    """
    undefined = [f for f in system.functions if f.body is None]
    for ranges in _Ranges:
        text = _text(system, ranges)
        with suppress(FormulaError):
            if _key(parse(text, name=system.name, functions=undefined)) == _key(system):
                break
    return text


def _key(system: System) -> tuple[object, ...]:
    """What two Systems share that differ in the names of indices and the order of equations alone."""
    equations = []
    for e in system.equations:
        places = {r.symbol: Symbol(f"_left{m}", integer=True) for m, r in enumerate(e.ranges)}
        bounds = tuple((r.lower.xreplace(places), sp.expand(r.upper.xreplace(places))) for r in e.ranges)
        equations.append(
            (e.name, tuple(places.get(i, i) for i in e.indices), bounds, alpha_key(e.value.xreplace(places)))
        )
    return system.inputs, frozenset(system.tensors), frozenset(equations), system.outputs


def _text(system: System, ranges: _Ranges) -> str:
    kinds = groupby(system.inputs, key=lambda t: t.role)
    lines = [f"{role.value:<9} {', '.join(map(_declaration, tensors))}" for role, tensors in kinds]
    stated: dict[str, Expr | None] = {}
    writers = [_Writer(system, e, ranges=ranges, stated=stated) for e in system.equations]
    equations = [f"{w.left()} = {w.text(e.value)}" for w, e in zip(writers, system.equations, strict=True)]
    functions = [_function(system, f) for f in system.functions if f.origin == "user" and f.body is not None]
    lines += [
        f"index     {name} < {format_expression(extent)}" for name, extent in stated.items() if extent is not None
    ]
    for block in (functions, equations):
        lines += ["", *block] if block else []
    if system.outputs:
        lines += ["", f"output {', '.join(system.outputs)}"]
    return "\n".join(lines) + "\n"


def format_expression(expression: Expr, names: Mapping[Dummy, str] | None = None) -> str:
    """One formula, or one side of it, as the language writes it; FormulaError where it has no words for it.

    A bound index in `names` has that name, and its range stands elsewhere; so does any free one.
    """
    return _Writer(System((), ()), named=names or {}).text(expression)


def _declaration(tensor: Tensor) -> str:
    shape = ", ".join(map(format_expression, tensor.shape))
    return f"{tensor.name}[{shape}]" if shape else tensor.name


def _function(system: System, function: FunctionDefinition) -> str:
    assert function.body is not None
    writer = _Writer(system)
    arguments = ", ".join(p.name for p in function.parameters)
    return f"{function.name}({arguments}) = {writer.text(function.body)}"


@dataclass
class _Writer:
    """Writes one formula; `stated` collects every name of an index, with the length that a statement has to give."""

    system: System
    equation: Equation | None = None
    ranges: _Ranges = _Ranges.HIDDEN
    names: dict[Dummy, str] = field(default_factory=dict)
    stated: dict[str, Expr | None] = field(default_factory=dict)
    named: Mapping[Dummy, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        system = self.system
        self.names.update(self.named)
        self.taken = {t.name for t in system.tensors} | {s.name for s in system.sizes}
        self.taken |= {f.name for f in system.functions}
        if self.equation is not None:
            for r in self.equation.ranges:
                self._bind(r, accesses(self.equation.value))

    def left(self) -> str:
        assert self.equation is not None
        inner = ", ".join(self.text(i) for i in self.equation.indices)
        return f"{self.equation.name}[{inner}]" if inner else self.equation.name

    def text(self, expression: Expr, level: int = _OR) -> str:
        """The expression, in parentheses where it binds less tightly than `level`."""
        written, own = self._write(expression)
        return written if own >= level else f"({written})"

    def _write(self, e: Expr) -> tuple[str, int]:
        if isinstance(e, Dummy):
            return self.names.get(e, e.name), _ATOM
        if isinstance(e, sp.Symbol):
            return e.name, _ATOM
        if e in (sp.pi, sp.E):
            return ("pi" if e is sp.pi else "exp(1)"), _ATOM
        if isinstance(e, sp.Rational):
            return _rational(e)
        if isinstance(e, Access):
            inner = ", ".join(self.text(i) for i in e.indices)
            return (f"{e.name}[{inner}]" if inner else e.name), _ATOM
        if isinstance(e, sp.Add):
            return self._sum(e), _ADD
        if isinstance(e, (sp.Mul, sp.Pow)):
            return self._product(e)
        if isinstance(e, sp.floor):
            return self._quotient(e), _MULTIPLY
        if isinstance(e, Reduction):
            return self._reduction(e), _ATOM
        if isinstance(e, Boolean):
            return self._condition(e)
        return self._apply(e), _ATOM

    def _apply(self, e: Expr) -> str:
        if isinstance(e, Where):
            return f"where({self.text(e.condition)}, {self.text(e.then)}, {self.text(e.otherwise)})"
        if isinstance(e, Delta):
            return f"where({self.text(e.args[0], _ADD)} == {self.text(e.args[1], _ADD)}, 1, 0)"
        if isinstance(e, Call) and not any(e.orders):
            return f"{e.name}({', '.join(self.text(a) for a in e.arguments)})"
        name = _FUNCTIONS.get(e.func)
        if name is None:
            raise FormulaError(f"{e} has no form in the formula language", hint="write the formula without it")
        return f"{name}({', '.join(self.text(a) for a in e.args)})"

    def _sum(self, e: sp.Add) -> str:
        terms = sorted(e.args, key=lambda t: t.could_extract_minus_sign() or t.is_number)
        written = self.text(terms[0], _ADD)
        for term in terms[1:]:
            if term.could_extract_minus_sign():
                written += f" - {self.text(-term, _MULTIPLY)}"
            else:
                written += f" + {self.text(term, _ADD)}"
        return written

    def _product(self, e: Expr) -> tuple[str, int]:
        above, below = [], []
        sign = ""
        for factor in sp.Mul.make_args(e):
            if isinstance(factor, sp.Rational) and factor < 0:
                sign, factor = "-", -factor
            if isinstance(factor, sp.Rational):
                above += [Integer(factor.p)] if factor.p != 1 else []
                below += [Integer(factor.q)] if factor.q != 1 else []
            elif isinstance(factor, sp.Pow) and factor.exp.is_Rational and factor.exp < 0:
                below.append(factor.base**-factor.exp)
            else:
                above.append(factor)
        if len(above) == 1 and not below:
            only, own = self._power(above[0])
            return (f"-{only if own >= _POWER else f'({only})'}", _SIGN) if sign else (only, own)
        return sign + self._fraction(above, below), _SIGN if sign else _MULTIPLY

    def _fraction(self, above: list[Expr], below: list[Expr]) -> str:
        """A quotient of products. A number never stands where reading it would multiply a sum out."""
        numbers = [[f for f in side if f.is_Integer] for side in (above, below)]
        last = ""
        if any(f.is_Add for f in above) and any(numbers):
            above, below = ([f for f in side if not f.is_Integer] for side in (above, below))
            last = "".join(f"{mark}{f}" for mark, side in zip("*/", numbers, strict=True) for f in side)
        top = "*".join(self._factor(f) for f in above) or "1"
        if numbers[1] and not last and any(f.is_Add for f in below):
            below = [f for f in below if not f.is_Integer]
            top += "".join(f"/{f}" for f in numbers[1])
        bottom = "*".join(self._factor(f) for f in below)
        return top + (f"/{bottom if len(below) == 1 else f'({bottom})'}" if below else "") + last

    def _quotient(self, e: sp.floor) -> str:
        """floor(n/d) as `n//d`, of whole numbers."""
        above, below = sp.fraction(sp.together(e.args[0]))
        return f"{self.text(above, _ATOM)}//{self.text(below, _ATOM)}"

    def _factor(self, e: Expr) -> str:
        written, own = self._power(e)
        return written if own >= _POWER else f"({written})"

    def _power(self, e: Expr) -> tuple[str, int]:
        if not isinstance(e, sp.Pow):
            return self._write(e)
        if e.exp == sp.Rational(1, 2):
            return f"sqrt({self.text(e.base)})", _ATOM
        return f"{self.text(e.base, _ATOM)}**{self.text(e.exp, _ATOM)}", _POWER

    def _condition(self, e: Boolean) -> tuple[str, int]:
        if isinstance(e, And):
            return " and ".join(self.text(a, _NOT) for a in e.args), _AND
        if isinstance(e, Or):
            return " or ".join(self.text(a, _AND) for a in e.args), _OR
        if isinstance(e, Not):
            return f"not {self.text(e.args[0], _COMPARE)}", _NOT
        if isinstance(e, sp.core.relational.Relational):
            return f"{self.text(e.lhs, _ADD)} {e.rel_op} {self.text(e.rhs, _ADD)}", _COMPARE
        raise FormulaError(f"the condition {e} has no form in the formula language")

    def _reduction(self, e: Reduction) -> str:
        uses = accesses(e.body)
        conditions = [c for r in e.ranges for c in self._bind(r, uses)]
        conditions += [f"{self.text(g, _ADD)} >= 0" for g in e.guards]
        names = ", ".join(self.names[r.symbol] for r in e.ranges)
        guard = f" : {' and '.join(conditions)}" if conditions else ""
        body = self.text(e.body)
        for r in e.ranges:
            self.taken.discard(self.names[r.symbol])
        return f"{e.kind}[{names}{guard}]({body})"

    def _bind(self, r: Range, uses: Iterable[Access]) -> list[str]:
        """Name the index; conditions for the part of its range that its uses do not give."""
        if r.symbol in self.named:
            return []
        constant = not r.upper.atoms(Dummy, sp.Min)
        hidden = not self._evident(r, uses)
        state = constant and (self.ranges is _Ranges.ALL or (hidden and self.ranges is _Ranges.HIDDEN))
        extent = sp.expand(r.upper + 1) if state else None
        name = plain = "i" if r.symbol.name.startswith("Dummy_") else r.symbol.name
        number = 1
        while name in self.taken or self.stated.setdefault(name, extent) != extent:
            number += 1
            name = f"{plain}{number}"
        self.taken.add(name)
        self.names[r.symbol] = name
        if constant and self.ranges is _Ranges.NONE:
            return []
        lowers = [f"{name} >= {self.text(bound, _ADD)}" for bound in _parts(r.lower, sp.Max) if bound != 0 and hidden]
        uppers = [f"{name} <= {self.text(bound, _ADD)}" for bound in _parts(r.upper, sp.Min) if not constant]
        return [*lowers, *uppers]

    def _evident(self, r: Range, uses: Iterable[Access]) -> bool:
        """Whether the range is the whole axis, as far as it is defined, that the index subscripts alone somewhere."""
        for access in uses:
            known = any(t.name == access.name for t in self.system.tensors)
            if known and r.symbol in access.indices:
                axis = access.indices.index(r.symbol)
                extent = self.system.tensor(access.name).shape[axis]
                return bool(r.lower == self._first(access.name, axis) and sp.expand(r.extent + r.lower - extent) == 0)
        return False

    def _first(self, name: str, axis: int) -> Expr:
        """The first element along an axis that an equation defines."""
        starts = [e.indices[axis] for e in self.system.defining(name)]
        lowers = [r.lower for e in self.system.defining(name) for r in e.ranges if r.symbol in starts]
        return lowers[0] if lowers and all(isinstance(s, Dummy) for s in starts) else Integer(0)


def _rational(e: sp.Rational) -> tuple[str, int]:
    if e.q == 1:
        return str(e.p), _ATOM if e.p >= 0 else _SIGN
    return f"{e.p}/{e.q}", _MULTIPLY if e.p >= 0 else _SIGN


def _parts(bound: Expr, kind: type[Expr]) -> tuple[Expr, ...]:
    return tuple(bound.args) if isinstance(bound, kind) else (bound,)
