"""A System as `.eq` text: what the language reads, written.

`parse(format_system(system))` is the System again, up to the names of indices. Where the ranges of
indices do not follow from their use, `index` statements and conditions state them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import sympy as sp
from sympy import Dummy, Expr, Integer
from sympy.codegen.cfunctions import expm1, log1p
from sympy.logic.boolalg import And, Boolean, Not, Or

from .errors import FormulaError
from .expressions import Access, Call, Delta, Maximum, Minimum, Range, Reduction, Where, accesses
from .primitives import Sigmoid, Softplus
from .system import Equation, FunctionDefinition, Role, System, Tensor

__all__ = ["format_expression", "format_system"]

_OR, _AND, _NOT, _COMPARE, _ADD, _MULTIPLY, _SIGN, _POWER, _ATOM = range(9)

_FUNCTIONS: dict[type, str] = {
    sp.exp: "exp", sp.log: "log", sp.sin: "sin", sp.cos: "cos", sp.tan: "tan", sp.asin: "asin", sp.acos: "acos",
    sp.atan: "atan", sp.sinh: "sinh", sp.cosh: "cosh", sp.tanh: "tanh", sp.erf: "erf", sp.erfc: "erfc",
    sp.Abs: "abs", sp.sign: "sign", log1p: "log1p", expm1: "expm1", Sigmoid: "sigmoid", Softplus: "softplus",
    Maximum: "max", Minimum: "min",
}  # fmt: skip


def format_system(system: System) -> str:
    """The System as `.eq` text that `parse` reads; the same System gives the same text.

    Raises FormulaError for what the language has no words for: derivatives, undefined functions that are called.
    """
    given = ((Role.DATA, system.data), (Role.PARAMETER, system.parameters))
    lines = [f"{role.value:<9} {', '.join(map(_declaration, tensors))}" for role, tensors in given if tensors]
    writers = [_Writer(system, e) for e in system.equations]
    equations = [f"{w.left()} = {w.text(e.value)}" for w, e in zip(writers, system.equations, strict=True)]
    stated = {name: extent for w in writers for name, extent in w.stated.items()}
    functions = [_function(system, f) for f in system.functions if f.origin == "user" and f.body is not None]
    lines += [f"index     {name} < {format_expression(extent)}" for name, extent in stated.items()]
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
    """Writes one formula; `stated` collects the ranges that an `index` statement has to give."""

    system: System
    equation: Equation | None = None
    names: dict[Dummy, str] = field(default_factory=dict)
    stated: dict[str, Expr] = field(default_factory=dict)
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
        evident = self._evident(r.symbol, uses)
        name = r.symbol.name
        number = 2
        while name in self.taken:
            name = f"{r.symbol.name}{number}"
            number += 1
        self.taken.add(name)
        self.names[r.symbol] = name
        if r.lower == 0 and evident is not None and sp.expand(r.extent - evident) == 0:
            return []
        conditions = [f"{name} >= {self.text(bound, _ADD)}" for bound in _parts(r.lower, sp.Max) if bound != 0]
        if evident is None and not r.upper.atoms(Dummy, sp.Min):
            self.stated[name] = r.upper + 1
            return conditions
        return conditions + [f"{name} <= {self.text(bound, _ADD)}" for bound in _parts(r.upper, sp.Min)]

    def _evident(self, symbol: Dummy, uses: Iterable[Access]) -> Expr | None:
        """The extent of the first axis that the index subscripts alone, if there is one."""
        for access in uses:
            if symbol in access.indices and any(t.name == access.name for t in self.system.tensors):
                return self.system.tensor(access.name).shape[access.indices.index(symbol)]
        return None


def _rational(e: sp.Rational) -> tuple[str, int]:
    if e.q == 1:
        return str(e.p), _ATOM if e.p >= 0 else _SIGN
    return f"{e.p}/{e.q}", _MULTIPLY if e.p >= 0 else _SIGN


def _parts(bound: Expr, kind: type[Expr]) -> tuple[Expr, ...]:
    return tuple(bound.args) if isinstance(bound, kind) else (bound,)
