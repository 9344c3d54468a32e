"""Scalar formulas to elementwise values: one NumPy ufunc for each node, numbers of sizes gathered into one.

Functions are a table; sums and products are walks, because what may be gathered depends on the
neighbours: constants are multiplied together once, factors of few axes come first, and a factor that
is 0 or 1 by a condition multiplies last, as a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import reduce

import sympy as sp
from sympy import Expr, Integer, Rational, Symbol
from sympy.codegen.cfunctions import expm1, hypot, log1p
from sympy.logic.boolalg import Boolean

from chainrule.codegen.backends.formula import content
from chainrule.symbolic.affine import guards_of, nonnegative
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Call, Delta, Maximum, Minimum, Where, contains
from chainrule.symbolic.primitives import Sigmoid, Softplus
from chainrule.symbolic.system import FunctionDefinition

from .recall import masked_exponential, row_apart, scaled_operand, weighted
from .values import Graph, Operand
from .windows import Loops, lifted, read, vanishes

__all__ = ["Elementwise"]

_UFUNCS = {
    sp.exp: "exp", sp.log: "log", expm1: "expm1", log1p: "log1p",
    sp.sin: "sin", sp.cos: "cos", sp.tan: "tan", sp.asin: "arcsin", sp.acos: "arccos", sp.atan: "arctan",
    sp.sinh: "sinh", sp.cosh: "cosh", sp.tanh: "tanh", sp.asinh: "arcsinh", sp.acosh: "arccosh", sp.atanh: "arctanh",
    sp.Abs: "absolute", sp.sign: "sign", sp.floor: "floor", sp.ceiling: "ceil",
    sp.atan2: "arctan2", hypot: "hypot",
    Maximum: "maximum", Minimum: "minimum", sp.Max: "maximum", sp.Min: "minimum",
}  # fmt: skip
_COMPARISONS = {
    sp.Lt: "less", sp.Le: "less_equal", sp.Gt: "greater", sp.Ge: "greater_equal", sp.Eq: "equal", sp.Ne: "not_equal",
    sp.And: "logical_and", sp.Or: "logical_or", sp.Not: "logical_not",
}  # fmt: skip
_SPECIAL = {sp.erf: "erf", sp.erfc: "erfc"}
_LARGEST_POWER = 8  # whole powers up to here are products


class Elementwise:
    """Builds the values of one statement's formula, written in the symbols of its loops.

    `buffers` holds what each buffer that is already written is made of, `functions` the definitions
    of the calls; `shared` are the numbers of values that several statements read. Raises LoweringError
    for a function that NumPy has no counterpart of.
    """

    def __init__(
        self,
        graph: Graph,
        buffers: Mapping[str, Operand],
        functions: Iterable[FunctionDefinition],
        loops: Loops,
        shared: Collection[int] = (),
    ) -> None:
        self._graph = graph
        self._buffers = buffers
        self._functions = {f.name: f for f in functions}
        self._axis: dict[Expr, int] = {s: m for m, s in enumerate(loops.symbols)}
        self.loops = loops
        self.finished = frozenset(o.value.number for o in buffers.values())
        self._shared = shared
        self._made: dict[Expr, Operand] = {}

    def build(self, formula: Expr) -> Operand:
        """The formula, laid over the statement's axes."""
        return self._build(formula)

    def apply(self, operation: str, name: str, operands: Iterable[Operand], *, boolean: bool = False) -> Operand:
        """One operation, element by element."""
        parts = tuple(operands)
        extents = self.loops.extents
        found = lifted(self._graph, operation, name, parts, extents, boolean=boolean)
        return found or self._graph.elementwise(operation, name, parts, extents, boolean=boolean)

    def holds(self, condition: Boolean) -> Operand:
        """A condition on indices and sizes alone, as truth values over the axes that it mentions."""
        axes = tuple(m for s, m in self._axis.items() if s in condition.free_symbols)
        own = {self.loops.symbols[m]: Symbol(f"_{place}", integer=True) for place, m in enumerate(axes)}
        shape = tuple(self.loops.extents[m] for m in axes)
        if not axes:
            return self._graph.scalar(condition)
        made = self._graph.value("condition", (), shape, (condition.xreplace(own),), boolean=True)
        self._graph.labels.setdefault(made.number, tuple(self.loops.names[m] for m in axes))
        return Operand(made, axes)

    def guarded(self, guards: Iterable[Expr], operand: Operand, otherwise: Expr) -> Operand:
        """The operand where all guards are >= 0, else the number."""
        excluded = sp.Or(*(sp.Lt(g, 0) for g in guards))
        if excluded == sp.false:
            return operand
        condition = self.holds(excluded)
        recalled = self.recalled(condition, operand) if otherwise == 0 else None
        parts = [condition, self._graph.scalar(otherwise), self._graph.number(operand)]
        return recalled or self.apply("select", "", parts)

    def recalled(self, excluded: Operand, operand: Operand) -> Operand | None:
        """The operand with 0 where the condition holds, as far as it is at hand."""
        extents = self.loops.extents
        parts = [excluded, self._graph.scalar(0), operand]
        return self._graph.find("select", "", parts, extents) or masked_exponential(
            self._graph, excluded, operand, extents
        )

    def _build(self, e: Expr) -> Operand:
        if e not in self._made:
            self._made[e] = self._node(e)
        return self._made[e]

    def _number(self, e: Expr) -> Operand:
        return self._graph.number(self._build(e))

    def _constant(self, e: Expr) -> bool:
        return not contains(e, lambda n: isinstance(n, Access) or n in self._axis)

    def _node(self, e: Expr) -> Operand:
        if self._constant(e):
            return self._graph.scalar(e)
        if e in self._axis:
            extent = self.loops.extents[self._axis[e]]
            made = self._graph.value("indices", (), (extent,), (Integer(0), extent - 1))
            self._graph.labels.setdefault(made.number, (self.loops.names[self._axis[e]],))
            return Operand(made, (self._axis[e],))
        for kind, rule in self._rules.items():
            if isinstance(e, kind):
                return rule(self, e)
        for table, operation in ((_UFUNCS, "ufunc"), (_SPECIAL, "special")):
            if e.func in table:
                operands = [self._number(a) for a in e.args]
                return self._fold(table[e.func], operands, operation)
        if e.func in _COMPARISONS:
            return self._condition(e)
        name = e.func.__name__
        raise LoweringError(f"{name} has no NumPy counterpart, in {e}: write it with functions of the catalogue")

    def _apply(self, name: str, *operands: Operand) -> Operand:
        if name in ("negative", "absolute") and operands[0].value.detail == ("negative",):
            inner = operands[0].value.operands[0].placed(operands[0].axes)
            return inner if name == "negative" else self._apply(name, inner)
        if name in ("maximum", "minimum"):
            operands = tuple(self._filled(o, operands) for o in operands)
        return self.apply("ufunc", name, operands)

    def _filled(self, operand: Operand, operands: tuple[Operand, ...]) -> Operand:
        """A number as an array of it: NumPy vectorises the maximum of two arrays, not of an array and a number."""
        if operand.scalar is None:
            return operand
        axes = tuple(sorted({a for o in operands for a in o.axes}))
        shape = tuple(self.loops.extents[a] for a in axes)
        return Operand(self._graph.value("copy", (operand,), shape), axes)

    def _fold(self, name: str, operands: list[Operand], operation: str = "ufunc") -> Operand:
        if len(operands) == 1 or operation == "special":
            return self.apply(operation, name, operands)
        return reduce(lambda u, v: self._apply(name, u, v), operands)

    # --- leaves, calls, conditions

    def _access(self, e: Access) -> Operand:
        return read(self._graph, self._buffers[e.name], e.indices, self.loops)

    def _call(self, e: Call) -> Operand:
        formula = self._functions[e.name].apply(e)
        if formula == e:
            raise LoweringError(f"{e.name} has no formula: a kernel needs one")
        return self._build(formula)

    def _condition(self, e: Boolean) -> Operand:
        if not contains(e, lambda n: isinstance(n, Access)) and _whole(e):
            return self.holds(e)
        operands = [self._build(a) for a in e.args]
        if not isinstance(e, (sp.And, sp.Or, sp.Not)):
            operands = [self._graph.number(o) for o in operands]
        name = _COMPARISONS[e.func]

        def combine(*parts: Operand) -> Operand:
            return self.apply("ufunc", name, parts, boolean=True)

        return combine(operands[0]) if len(operands) == 1 else reduce(combine, operands)

    def _where(self, e: Where) -> Operand:
        clamped = _as_clamp(e)
        if clamped is not None:
            return self._apply(clamped[0], self._number(clamped[1]), self._graph.scalar(clamped[2]))
        guards = guards_of(e.condition)
        if guards is not None:
            guards = tuple(g for g in guards if not nonnegative(g, self.loops.bounds))
            if not guards:
                return self._build(e.then)
            if e.otherwise == 0 and e.then != 1:
                then = self._build(e.then)
                if isinstance(e.then, Access):
                    guards = tuple(g for g in guards if not vanishes(then, g, self.loops))
                return self.guarded(guards, then, Integer(0))
        condition = self._build(e.condition)
        if (e.then, e.otherwise) == (1, 0):
            return condition
        if (e.then, e.otherwise) == (0, 1):
            return self.apply("ufunc", "logical_not", [condition], boolean=True)
        parts = [condition, self._number(e.then), self._number(e.otherwise)]
        return self.apply("select", "", parts)

    def _delta(self, e: Delta) -> Operand:
        return self._build(Where(sp.Eq(*e.args), Integer(1), Integer(0)))

    def _piecewise(self, e: sp.Piecewise) -> Operand:
        pieces = list(e.args)
        result: Expr = pieces[-1][0]
        for value, condition in reversed(pieces[:-1]):
            result = Where(condition, value, result)
        return self._build(result)

    # --- sums

    def _sum(self, e: sp.Add) -> Operand:
        common, e = content(e)
        if common != 1:
            return self.product(common, [self._number(e)])
        constant = Integer(0)
        terms: list[tuple[bool, Operand]] = []
        for term in e.args:
            if self._constant(term):
                constant += term
                continue
            coefficient, rest = term.as_coeff_Mul()
            negative = bool(coefficient.is_negative)
            terms.append((negative, self._number(-coefficient * rest if negative else term)))
        terms.sort(key=lambda t: (len(t[1].axes), t[0]))
        if constant != 0:
            first = terms[0][0] and not constant.could_extract_minus_sign()
            terms.insert(0 if first else 1, _signed(self._graph, constant))
        if terms[0][0]:
            positive = next((m for m, t in enumerate(terms) if not t[0] and t[1].axes == terms[0][1].axes), 0)
            terms.insert(0, terms.pop(positive))
        negative, total = terms[0]
        for sign, term in terms[1:]:
            if sign == negative:
                total = self._added("add", total, term)
            elif negative:
                total, negative = self._added("subtract", term, total), False
            else:
                total = self._added("subtract", total, term)
        return self._apply("negative", total) if negative else total

    def _added(self, name: str, one: Operand, two: Operand) -> Operand:
        """The sum or difference; a·b + a·c is a·(b + c) where a has all axes and b or c has fewer."""
        pairs = [[o.placed(t.axes) for o in t.value.operands] for t in (one, two) if _is_product(t)]
        if len(pairs) == 2 and one.axes == two.axes:
            for common in pairs[0]:
                if common in pairs[1] and len(common.axes) == len(one.axes):
                    left, right = (next(o for o in p if o != common) if p[0] != p[1] else common for p in pairs)
                    if min(len(left.axes), len(right.axes)) < len(common.axes):
                        return self._apply("multiply", common, self._apply(name, left, right))
        return self._apply(name, one, two)

    # --- products and powers

    def _product(self, e: sp.Mul) -> Operand:
        delta = next((f for f in e.args if isinstance(f, Delta)), None)
        if delta is not None:
            rest = sp.Mul(*(f for f in e.args if f is not delta))
            return self._build(Where(sp.Eq(*delta.args), rest, Integer(0)))
        constant = Integer(1)
        above: list[Operand] = []
        below: list[Operand] = []
        for factor in e.args:
            if self._constant(factor):
                constant *= factor
                continue
            if factor.is_Add:  # SymPy writes 2*(a - y) as 2*a - 2*y
                common, factor = content(factor)
                constant *= common
            if isinstance(factor, sp.Pow) and factor.exp.is_number and factor.exp.is_negative:
                below.append(self._number(factor.base**-factor.exp))
            else:
                above.append(self._build(factor))
        if not below:
            return self.product(constant, above)
        divisor = self.product(Integer(1), below)
        if not above:
            return self._quotient(constant, divisor)
        return self._apply("divide", self.product(constant, above), divisor)

    def product(self, constant: Expr, factors: Iterable[Operand]) -> Operand:
        """constant · the factors: those of few axes first, conditions last."""
        numbers = sorted((f for f in factors if not f.value.boolean), key=lambda f: len(f.axes))
        masks = [f for f in factors if f.value.boolean]
        if masks and not numbers and constant == 1:
            return reduce(self._both, masks)
        if constant != 1 and len(numbers) == 1 and not masks:
            scaled = scaled_operand(self._graph, constant, numbers[0])
            if scaled is None and numbers[0].value.number not in self._shared:
                scaled = weighted(self._graph, constant, numbers[0])
            if scaled is not None:
                return scaled
        if len(numbers) > 1 and numbers[-1].value.number not in self._shared:
            apart = row_apart(numbers[-1], numbers[:-1])
            if apart is not None:
                name, row, whole = apart
                few = self.product(constant, numbers[:-1])
                return self.product(Integer(1), [self._apply(name, few, row), whole, *masks])
        if constant == -1 and numbers:
            return self._apply("negative", self.product(Integer(1), [*numbers, *masks]))
        if constant != 1:
            numbers.insert(min(1, len(numbers)), self._graph.scalar(constant))
        return reduce(lambda u, v: self._apply("multiply", u, v), [*numbers, *masks])

    def _both(self, u: Operand, v: Operand) -> Operand:
        return self.apply("ufunc", "logical_and", [u, v], boolean=True)

    def _quotient(self, constant: Expr, divisor: Operand) -> Operand:
        if constant == 1:
            return self._apply("reciprocal", divisor)
        return self._apply("divide", self._graph.scalar(constant), divisor)

    def _power(self, e: sp.Pow) -> Operand:
        base, exponent = e.args
        if base == sp.E:
            return self._apply("exp", self._number(exponent))
        if exponent.is_number and exponent.is_negative:
            return self._apply("reciprocal", self._number(base**-exponent))
        if exponent == Rational(1, 2):
            return self._apply("sqrt", self._number(base))
        if exponent.is_Integer and exponent <= _LARGEST_POWER:
            return self._whole_power(self._number(base), int(exponent))
        if (2 * exponent).is_Integer and exponent < _LARGEST_POWER:
            root = self._apply("sqrt", self._number(base))
            return self._apply("multiply", root, self._whole_power(self._number(base), int(exponent)))
        return self._apply("power", self._number(base), self._number(exponent))

    def _whole_power(self, base: Operand, exponent: int) -> Operand:
        if exponent == 1:
            return base
        if exponent % 2:
            return self._apply("multiply", self._whole_power(base, exponent - 1), base)
        return self._apply("square", self._whole_power(base, exponent // 2))

    # --- functions that must not overflow

    def _sigmoid(self, e: Sigmoid) -> Operand:
        negative = self._number(-e.args[0]) if e.args[0].is_Mul else self._apply("negative", self._number(e.args[0]))
        decay = self._apply("exp", negative)
        return self._apply("reciprocal", self._apply("add", decay, self._graph.scalar(1)))

    def _softplus(self, e: Softplus) -> Operand:
        z = self._number(e.args[0])
        decay = self._apply("exp", self._apply("negative", self._apply("absolute", z)))
        return self._apply("add", self._apply("maximum", z, self._graph.scalar(0)), self._apply("log1p", decay))

    _rules: Mapping[type, Callable[[Elementwise, Expr], Operand]] = {
        Access: _access,
        Call: _call,
        Where: _where,
        Delta: _delta,
        sp.Piecewise: _piecewise,
        sp.Add: _sum,
        sp.Mul: _product,
        sp.Pow: _power,
        Sigmoid: _sigmoid,
        Softplus: _softplus,
    }


def _is_product(operand: Operand) -> bool:
    return operand.value.operation == "ufunc" and operand.value.detail[0] == "multiply"


def _signed(graph: Graph, constant: Expr) -> tuple[bool, Operand]:
    negative = constant.could_extract_minus_sign()
    return negative, graph.scalar(-constant if negative else constant)


def _as_clamp(e: Where) -> tuple[str, Expr, Expr] | None:
    """where(z <= c, c, z) and its like as ("maximum", z, c): NaN stays NaN."""
    condition = e.condition
    if not isinstance(condition, (sp.Lt, sp.Le, sp.Gt, sp.Ge)):
        return None
    small, large = condition.args if isinstance(condition, (sp.Lt, sp.Le)) else condition.args[::-1]
    if large.is_number == small.is_number:
        return None
    variable, bound = (small, large) if large.is_number else (large, small)
    names = {(large, small): "maximum", (small, large): "minimum"}
    name = names.get((e.then, e.otherwise))
    return None if name is None else (name, variable, bound)


def _whole(condition: Boolean) -> bool:
    """Whether the condition compares whole numbers, made of indices and sizes, alone."""
    if isinstance(condition, (sp.And, sp.Or, sp.Not)):
        return all(_whole(a) for a in condition.args)
    return condition.func in _COMPARISONS and all(a.is_integer for a in condition.args)
