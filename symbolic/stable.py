"""Stabilisation, System to System: no NaN and no infinity on finite input where the value is finite.

- elementwise formulas: bounded forms of their exponentials (`stable_scalar`);
- log of a stored output (cross-entropy of a sigmoid or a softmax): the output's formula is put in;
- softmax and log-sum-exp: the maximum is subtracted, at the level of indices:

      m = max_k u_k,  e_i = exp(u_i - m),  S = Σ_k e_k,  softmax_i = e_i/S,  log Σ_k exp(u_k) = m + log S,

  and exp(u_i - l) is the same softmax_i where l is a stored log Σ_k exp(u_k);
- sums of the logarithm of a softmax, whose two parts have opposite signs, so that nothing cancels:

      Σ_i (log Σ_k exp(u_k) - u_i) y_i = log S · Σ_i y_i - Σ_i (u_i - m) y_i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import sympy as sp
from sympy import Dummy, Expr

from .affine import box
from .domains import protected
from .exponential_sums import covers, divides, is_term, matches, storable, sum_of_exp, weighted_sums
from .expressions import (
    Access,
    Call,
    Range,
    Reduction,
    Where,
    accesses,
    alpha_key,
    contains,
    freshen,
    index,
    rebuild,
    walk,
)
from .order import components, recurrent, together
from .samples import BATCH
from .simplify import tidied
from .stable_scalar import log_form, stabilised
from .system import Equation, FunctionDefinition, Role, System, Tensor

__all__ = ["canonical", "derivative_name", "grouped", "stable"]


def derivative_name(name: str, orders: tuple[int, ...], parameters: tuple[sp.Symbol, ...]) -> str:
    """The name of a derivative of a named function: `dsigma`, or `dcost_da` for one of several arguments."""
    if not any(orders):
        return name
    total = sum(orders)
    power = "" if total == 1 else str(total)
    if len(orders) == 1:
        return f"d{power}{name}"
    by = "".join(f"_d{p.name}{'' if o == 1 else o}" for p, o in zip(parameters, orders, strict=True) if o)
    return f"d{power}{name}{by}"


def stable(system: System) -> System:
    """The System in forms that a kernel can evaluate without overflow; same values, same outputs.

    Named functions that remain are redefined by their stable formulas; a derivative becomes a named
    function of its own, so that every remaining `Call` has orders 0.
    """
    return _Stabiliser(system).run()


@dataclass(frozen=True)
class _Scope:
    """The equation at work and the ranges of all indices in force."""

    name: str
    ranges: tuple[Range, ...]

    def inside(self, node: Expr) -> _Scope:
        """The scope of the node's children: a reduction adds its own indices."""
        return replace(self, ranges=(*self.ranges, *node.ranges)) if isinstance(node, Reduction) else self


@dataclass
class _Stabiliser:
    system: System
    equations: list[Equation] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    shared: dict[Expr, list[tuple[tuple[Range, ...], str]]] = field(default_factory=dict)
    # a value -> the boxes over which it is stored, and the tensors
    functions: dict[str, FunctionDefinition] = field(default_factory=dict)

    def run(self) -> System:
        system = self.system
        self.tensors = list(system.tensors)
        for equation in system.equations:
            value = self._logs_of_outputs(equation.value)
            value = value if value == equation.value else tidied(value)
            scope = _Scope(equation.name, equation.ranges)
            value = self._log_sum_exp(value, scope)
            value = self._softmax(value, scope)
            self.equations.append(replace(equation, value=value))
        return replace(
            system,
            equations=tuple(replace(e, value=_scalar(self._named(e.value))) for e in grouped(self.equations)),
            tensors=tuple(self.tensors),
            functions=tuple(self.functions.values()),
        )

    def _named(self, expression: Expr) -> Expr:
        """Calls of stable functions: short formulas put in, long ones named, derivatives included."""
        if isinstance(expression, Call):
            arguments = [self._named(a) for a in expression.arguments]
            definition = self.system.function(expression.name)
            body = definition.derivative(expression.orders)
            if body is None:
                return rebuild(expression, (*expression.args[:2], *arguments))
            body = _scalar(self._named(body))
            name = derivative_name(expression.name, expression.orders, definition.parameters)
            if _short(body) or not accesses(expression):  # of indices and sizes alone: a number
                return body.xreplace(dict(zip(definition.parameters, arguments, strict=True)))
            self.functions[name] = FunctionDefinition(name, definition.parameters, body, definition.origin)
            return Call(name, (0,) * len(arguments), *arguments)
        return rebuild(expression, [self._named(a) for a in expression.args])

    def _logs_of_outputs(self, expression: Expr) -> Expr:
        """log(…a…) with a's formula put in where the logarithm then splits, named functions opened for it."""
        if isinstance(expression, Call):
            opened = self.system.expanded(expression)
            if opened != expression and contains(opened, lambda n: isinstance(n, sp.log)):
                replaced = self._logs_of_outputs(opened)
                return replaced if replaced != opened else expression
            return expression
        if isinstance(expression, sp.log):
            argument = expression.args[0].replace(lambda n: isinstance(n, Access), self._formula)
            form = log_form(argument) if argument != expression.args[0] else None
            if form is not None:
                return form
        return rebuild(expression, [self._logs_of_outputs(a) for a in expression.args])

    def _formula(self, access: Access) -> Expr:
        """The right side of an output made of exponentials, at the access; else the access."""
        equations = self.system.defining(access.name)
        if len(equations) != 1 or not all(isinstance(i, Dummy) for i in equations[0].indices):
            return access
        value = self.system.expanded(equations[0].value)
        if not value.has(sp.exp, sp.tanh):
            return access
        return freshen(value, dict(zip(equations[0].indices, access.indices, strict=True)))

    def _log_sum_exp(self, expression: Expr, scope: _Scope) -> Expr:
        """log Σ_k exp(u_k) → m + log S, as an equation of its own, shared by all who ask."""
        if isinstance(expression, sp.log) and sum_of_exp(expression.args[0]):
            found = self._lookup(expression, scope)
            if found is None:
                _, maximum, total = self._shifted(expression.args[0], scope)
                found = self._define("lse", maximum + sp.log(total), scope, expression)
            return found
        inner = scope.inside(expression)
        if isinstance(expression, Reduction) and expression.kind == "sum" and not expression.guards:
            split = self._log_softmax(expression, inner)
            if split is not None:
                return split
        return rebuild(expression, [self._log_sum_exp(a, inner) for a in expression.args])

    def _log_softmax(self, sum_: Reduction, scope: _Scope) -> Expr | None:
        """Σ_i (log Σ_k exp(u_k) - u_i) y_i → log S · Σ_i y_i - Σ_i (u_i - m) y_i, or the same with other signs."""
        factors = sp.Mul.make_args(sum_.body)
        for factor in (f for f in factors if isinstance(f, sp.Add) and len(f.args) == 2):
            for sign in (1, -1):
                logs = [t for t in factor.args if isinstance(sign * t, sp.log) and sum_of_exp((sign * t).args[0])]
                if len(logs) != 1:
                    continue
                total, argument = (sign * logs[0]).args[0], -sign * (factor - logs[0])
                rest = sp.Mul(*(f for f in factors if f is not factor))
                along = [r for r in sum_.ranges if is_term(sp.exp(argument), total, r) and rest.has(r.symbol)]
                if len(along) == 1 and along[0].symbol not in total.free_symbols:
                    _, maximum, shifted = self._shifted(total, scope)
                    weights = Reduction("sum", rest, along)
                    others = [r for r in sum_.ranges if r not in along]
                    first = sp.log(shifted) * weights
                    first = Reduction("sum", first, others) if others else first
                    second = Reduction("sum", (argument - maximum) * rest, sum_.ranges)
                    return sign * (freshen(first) - second)
        return None

    def _softmax(self, expression: Expr, scope: _Scope) -> Expr:
        """exp(u_i)/Σ_k exp(u_k) → exp(u_i - m)/Σ_k exp(u_k - m), also where it is written exp(u_i - log Σ_k …)."""
        if isinstance(expression, sp.exp):
            return self._normalised(expression, scope) or expression
        if isinstance(expression, sp.Mul):
            made, rest = self._quotients(list(expression.args), scope)
            rest = weighted_sums(rest)
            if made or rest != list(expression.args):
                return sp.Mul(*made, *(self._softmax(f, scope) for f in rest))
        inner = scope.inside(expression)
        return rebuild(expression, [self._softmax(a, inner) for a in expression.args])

    def _quotients(self, factors: list[Expr], scope: _Scope) -> tuple[list[Expr], list[Expr]]:
        """Every exp(u_i) of a product over a Σ_k exp(u_k) of its own, shifted; and the factors that are left.

        exp(u_i)·exp(u_j)/(Σ_k exp(u_k))² has two such quotients, and so has exp(2·u_i)/(Σ_k exp(u_k))².
        """
        made: list[Expr] = []
        while True:
            pairs = [(n, q) for n in factors if isinstance(n, sp.exp) for q in factors if divides(q)]
            if not pairs:
                return made, factors
            own = (p for p in pairs if self._power(*p, scope))  # its own sum first, where it has one
            numerator, quotient = next(own, pairs[0])
            total, power = quotient.base, -quotient.exp
            times = self._power(numerator, quotient, scope) or 1
            factors.remove(numerator)
            factors.remove(quotient)
            factors.extend([total ** (times - power)] if times < power else [])
            made.append(self._shifted_quotient(sp.exp(sp.expand(numerator.args[0] / times)), total, scope) ** times)

    def _power(self, numerator: Expr, quotient: Expr, scope: _Scope) -> int:
        """The greatest power, up to the quotient's, of a term of its sum that the numerator is; 0 for none."""
        total, most = quotient.base, int(-quotient.exp)
        if len(total.ranges) != 1:
            return 0
        roots = ((c, sp.exp(sp.expand(numerator.args[0] / c))) for c in range(most, 0, -1))
        return next((c for c, root in roots if any(matches(root, total, r) for r in scope.ranges)), 0)

    def _normalised(self, exponential: sp.exp, scope: _Scope) -> Expr | None:
        """exp(u_i - l) → exp(u_i - m)/S where the tensor l holds log Σ_k exp(u_k), whose parts are there already."""
        for term in sp.Add.make_args(exponential.args[0]):
            equations = self.system.defining((-term).name) if isinstance(-term, Access) else ()
            if len(equations) != 1 or not all(isinstance(i, Dummy) for i in (-term).indices):
                continue
            value = freshen(equations[0].value, dict(zip(equations[0].indices, (-term).indices, strict=True)))
            if not isinstance(value, sp.log) or not sum_of_exp(value.args[0]) or self._lookup(value, scope) is None:
                continue
            numerator = sp.exp(exponential.args[0] - term)
            if any(matches(numerator, value.args[0], r) for r in scope.ranges):
                return self._shifted_quotient(numerator, value.args[0], scope)
        return None

    def _shifted_quotient(self, numerator: Expr, total: Reduction, scope: _Scope) -> Expr:
        exponential, maximum, shifted = self._shifted(total, scope)
        bound = total.ranges[0]
        for r in scope.ranges:
            if is_term(numerator, total, r):
                return exponential.xreplace({bound.symbol: r.symbol}) / shifted
        return sp.exp(numerator.args[0] - maximum) / shifted

    def _shifted(self, total: Reduction, scope: _Scope) -> tuple[Expr, Access, Access]:
        """(exp(u_k - m) at the sum's own index, m, S) for Σ_k exp(u_k), each an equation, made once."""
        argument = total.body.args[0]
        maximum_value = Reduction("max", argument, total.ranges, total.guards)
        maximum = self._lookup(maximum_value, scope) or self._define("max", maximum_value, scope, maximum_value)
        exponential = sp.exp(argument - maximum)
        if storable(total):
            inside = scope.inside(total)
            exponential = self._lookup(exponential, inside) or self._define("exp", exponential, inside, exponential)
        shifted = self._lookup(total, scope)
        if shifted is None:
            shifted = self._define("sum", Reduction("sum", exponential, total.ranges, total.guards), scope, total)
        return exponential, maximum, shifted

    def _define(self, suffix: str, value: Expr, scope: _Scope, origin: Expr) -> Access:
        """A new equation for a part of an equation, found again by `origin`, whose free indices it carries."""
        key, ranges = self._place(origin, scope)
        renamed = {r.symbol: index(r.symbol.name) for r in ranges}
        fresh = tuple(replace(r, symbol=renamed[r.symbol]) for r in ranges)
        name = self._fresh(f"{scope.name}_{suffix}")
        shape = tuple(sp.expand(r.upper + 1) for r in fresh)
        self.tensors.append(Tensor(name, shape, Role.DEFINED, BATCH in shape))
        value = protected(freshen(value, renamed), fresh, self._shape)
        self.equations.append(Equation(name, tuple(r.symbol for r in fresh), fresh, value))
        self.shared.setdefault(key, []).append((ranges, name))
        return Access(name, *(r.symbol for r in ranges))

    def _lookup(self, origin: Expr, scope: _Scope) -> Access | None:
        """Where the value of an expression is stored, read at the expression's own free indices."""
        key, ranges = self._place(origin, scope)
        found = (name for boxed, name in self.shared.get(key, []) if all(map(covers, boxed, ranges)))
        name = next(found, None)
        return None if name is None else Access(name, *(r.symbol for r in ranges))

    def _place(self, origin: Expr, scope: _Scope) -> tuple[Expr, tuple[Range, ...]]:
        """A key for an expression, and the box at work: a range for each of its free indices in the key's order."""
        body, free = canonical(origin)
        boxes = {r.symbol: r for r in box(scope.ranges)}
        return body, tuple(boxes[v] for v in free)

    def _shape(self, name: str) -> tuple[Expr, ...]:
        return next(t.shape for t in self.tensors if t.name == name)

    def _fresh(self, name: str) -> str:
        taken = {t.name for t in self.tensors}
        while name in taken:
            name += "_"
        return name


def grouped(equations: Sequence[Equation]) -> list[Equation]:
    """The equations with those of each recurrence together, behind the parts that are computed before them."""
    reads: dict[str, list[str]] = {}
    for equation in equations:
        reads.setdefault(equation.name, []).extend(equation.reads())
    for group in components(reads):
        if recurrent(group, reads):
            equations = [equations[m] for m in together([e.name for e in equations], group)]
    return list(equations)


def canonical(expression: Expr) -> tuple[Expr, tuple[Dummy, ...]]:
    """A key that is equal for expressions equal up to index names and the sign under even powers, and the
    free indices in its order."""
    free: dict[Dummy, Expr] = {}
    outer = expression.free_symbols
    by_name = sorted((n for n in walk(expression) if isinstance(n, Access)), key=lambda a: a.name)
    for node in (*by_name, expression):  # by the tensors' names first: sums sort their terms by index names too
        for part in walk(node):
            if isinstance(part, Dummy) and part in outer and part not in free:
                free[part] = sp.Symbol(f"_f{len(free)}", integer=True)
    return alpha_key(_unsigned(expression.xreplace(free))), tuple(free)


def _unsigned(expression: Expr) -> Expr:
    """(v - u)² written as (u - v)², by one choice for both."""
    if not expression.args or isinstance(expression, Access):
        return expression
    expression = rebuild(expression, [_unsigned(a) for a in expression.args])
    if isinstance(expression, sp.Pow) and expression.exp.is_even and expression.base.could_extract_minus_sign():
        return (-expression.base) ** expression.exp
    return expression


def _short(body: Expr) -> bool:
    """One primitive or a few operations: not worth a name."""
    functions = sum(isinstance(n, sp.Function) for n in walk(body))
    branches = sum(isinstance(n, Where) for n in walk(body))
    return bool(functions + branches <= 1 and sp.count_ops(body) <= 6)


def _scalar(expression: Expr) -> Expr:
    """Bounded forms everywhere in the expression, inside sums too."""
    return stabilised(_inside_reductions(expression))


def _inside_reductions(expression: Expr) -> Expr:
    """The expression with bounded forms in the bodies of its reductions."""
    if isinstance(expression, Reduction):
        return Reduction(expression.kind, _scalar(expression.body), expression.ranges, expression.guards)
    if isinstance(expression, Access) or not contains(expression, lambda n: isinstance(n, Reduction)):
        return expression
    return rebuild(expression, [_inside_reductions(a) for a in expression.args])
