"""The leaves and binders that SymPy lacks: element accesses, reductions, guards, named functions.

SymPy does the scalar algebra; whatever touches a binder is here. All nodes are immutable SymPy
expressions, so that `xreplace`, `free_symbols`, `cancel` and hashing work on them as on any other.

Invariant (hygiene): every index is a `Dummy`, and every `Reduction` inside one System binds indices
of its own. Whoever copies an expression to a second place calls `freshen` on the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import sympy as sp
from sympy import Dummy, Expr, Integer, Symbol, Tuple
from sympy.core.symbol import Str
from sympy.logic.boolalg import Boolean

__all__ = [
    "Access",
    "Call",
    "Delta",
    "Maximum",
    "Minimum",
    "Partial",
    "Range",
    "Reduction",
    "Where",
    "accesses",
    "alpha_key",
    "contains",
    "freshen",
    "index",
    "rebuild",
    "size",
    "walk",
]


def index(name: str) -> Dummy:
    """A fresh index: an integer that is equal to no other, shown as `name`."""
    return Dummy(name, integer=True)


def size(name: str) -> Symbol:
    """A size: a positive integer decided at call time, known by its name."""
    return Symbol(name, integer=True, positive=True)


@dataclass(frozen=True)
class Range:
    """An index and its inclusive bounds, `lower <= symbol <= upper`.

    Several bounds on one side stand as `Max(...)`/`Min(...)` of affine expressions.
    """

    symbol: Dummy
    lower: Expr
    upper: Expr

    @property
    def extent(self) -> Expr:
        """How many values the index takes (where that is not negative)."""
        return sp.expand(self.upper - self.lower + 1)


class Access(Expr):
    """One element of a tensor: `w[j, k]`, or a scalar tensor `lam` with no index at all."""

    is_commutative = True
    is_real = True

    def __new__(cls, name: str | Str, *indices: Expr | int) -> Access:
        label = name if isinstance(name, Str) else Str(name)
        node: Access = Expr.__new__(cls, label, *(Integer(i) if isinstance(i, int) else i for i in indices))
        return node

    @property
    def name(self) -> str:
        return str(self.args[0].name)

    @property
    def indices(self) -> tuple[Expr, ...]:
        return tuple(self.args[1:])

    def _sympystr(self, printer: object) -> str:
        inner = ", ".join(str(i) for i in self.indices)
        return f"{self.name}[{inner}]" if inner else self.name

    _sympyrepr = _sympystr


class Call(Expr):
    """A named elementwise function of the System, or a derivative of it, applied.

    `orders` counts the derivatives taken in each argument: `Call("sigma", (1,), z)` is σ′(z).
    What the name means (catalogue formula, user's formula, or nothing: an undefined function)
    stands in `System.functions`.
    """

    is_commutative = True
    is_real = True

    def __new__(cls, name: str | Str, orders: Iterable[int] | Tuple, *arguments: Expr) -> Call:
        label = name if isinstance(name, Str) else Str(name)
        node: Call = Expr.__new__(cls, label, Tuple(*orders), *arguments)
        return node

    @property
    def name(self) -> str:
        return str(self.args[0].name)

    @property
    def orders(self) -> tuple[int, ...]:
        return tuple(int(o) for o in self.args[1])

    @property
    def arguments(self) -> tuple[Expr, ...]:
        return tuple(self.args[2:])

    def fdiff(self, argindex: int = 1) -> Call:
        """The derivative in argument `argindex`, counted from 1 as SymPy does."""
        orders = tuple(o + (m == argindex - 1) for m, o in enumerate(self.orders))
        return Call(self.args[0], orders, *self.arguments)

    def _eval_derivative(self, symbol: Symbol) -> Expr:
        parts = (self.fdiff(m + 1) * a.diff(symbol) for m, a in enumerate(self.arguments) if a.has(symbol))
        return sp.Add(*parts)

    def _sympystr(self, printer: object) -> str:
        primes = (
            "'" * self.orders[0] if len(self.orders) == 1 else "".join(f"_{o}" for o in self.orders if any(self.orders))
        )
        return f"{self.name}{primes}({', '.join(str(a) for a in self.arguments)})"

    _sympyrepr = _sympystr


class Reduction(Expr):
    """`kind` over the bound indices of `body`: a sum, product, maximum or minimum.

    `ranges` are the bound indices with inclusive bounds, outermost first; `guards` are affine
    integer expressions that must all be >= 0 for a combination of indices to take part.
    An empty sum is 0 and an empty product 1, whatever the bounds (never Karr's convention).
    """

    KINDS = ("sum", "prod", "max", "min")
    is_commutative = True
    is_real = True

    def __new__(
        cls, kind: str | Str, body: Expr, ranges: Iterable[Range] | Tuple, guards: Iterable[Expr] | Tuple = ()
    ) -> Reduction:
        label = kind if isinstance(kind, Str) else Str(kind)
        if label.name not in cls.KINDS:
            raise ValueError(f"unknown reduction {label.name!r}: expected one of {', '.join(cls.KINDS)}")
        if not isinstance(ranges, Tuple):
            ranges = Tuple(*(Tuple(r.symbol, r.lower, r.upper) for r in ranges))
        node: Reduction = Expr.__new__(cls, label, body, ranges, Tuple(*guards))
        return node

    @property
    def kind(self) -> str:
        return str(self.args[0].name)

    @property
    def body(self) -> Expr:
        return self.args[1]

    @property
    def ranges(self) -> tuple[Range, ...]:
        return tuple(Range(*r) for r in self.args[2])

    @property
    def guards(self) -> tuple[Expr, ...]:
        return tuple(self.args[3])

    @property
    def bound_symbols(self) -> list[Dummy]:
        return [r[0] for r in self.args[2]]

    @property
    def free_symbols(self) -> set[Symbol]:
        inner = self.body.free_symbols | self.args[2].free_symbols | self.args[3].free_symbols
        return set(inner - set(self.bound_symbols))

    def _eval_derivative(self, symbol: Symbol) -> Expr:
        if self.kind != "sum":
            raise TypeError(f"a {self.kind} reduction has no term-by-term derivative")
        body = self.body.diff(symbol)
        return freshen(Reduction("sum", body, self.ranges, self.guards)) if body != 0 else Integer(0)

    def _sympystr(self, printer: object) -> str:
        bounds = ", ".join(f"{r.lower}<={r.symbol}<={r.upper}" for r in self.ranges)
        guards = "".join(f", {g}>=0" for g in self.guards)
        return f"{self.kind}[{bounds}{guards}]({self.body})"

    _sympyrepr = _sympystr


def _node(value: sp.Basic | int) -> sp.Basic:
    """A SymPy object as it is, Python's own numbers and truths as such; TypeError for text, which nothing reads."""
    if isinstance(value, bool):
        return sp.true if value else sp.false
    if isinstance(value, int):
        return Integer(value)
    if not isinstance(value, sp.Basic):
        raise TypeError(f"{value!r}: expected a SymPy object, came {type(value).__name__}")
    return value


class Where(Expr):
    """`then` where the condition holds, `otherwise` elsewhere: elementwise, both sides defined.

    Its derivative is that of the branch that holds *at* the point, as written.
    """

    is_commutative = True
    is_real = True

    def __new__(cls, condition: Boolean, then: Expr, otherwise: Expr) -> Expr:
        condition, then, otherwise = map(_node, (condition, then, otherwise))
        if condition == sp.true or then == otherwise:
            return then
        if condition == sp.false:
            return otherwise
        return Expr.__new__(cls, condition, then, otherwise)

    @property
    def condition(self) -> Boolean:
        return self.args[0]

    @property
    def then(self) -> Expr:
        return self.args[1]

    @property
    def otherwise(self) -> Expr:
        return self.args[2]

    def _eval_derivative(self, symbol: Symbol) -> Expr:
        return Where(self.condition, self.then.diff(symbol), self.otherwise.diff(symbol))

    def _sympystr(self, printer: object) -> str:
        return f"where({self.condition}, {self.then}, {self.otherwise})"

    _sympyrepr = _sympystr


class Maximum(sp.Function):
    """`max(u, v)`, elementwise; at a tie the derivative is that of u, the branch `u >= v` as written."""

    nargs = 2
    is_real = True

    def fdiff(self, argindex: int = 1) -> Expr:
        u, v = self.args
        return Where(u >= v, Integer(1), Integer(0)) if argindex == 1 else Where(u >= v, Integer(0), Integer(1))

    def _eval_evalf(self, prec: int) -> Expr:
        u, v = (a._eval_evalf(prec) for a in self.args)
        return max(u, v)


class Minimum(sp.Function):
    """`min(u, v)`, elementwise; at a tie the derivative is that of u, the branch `u <= v` as written."""

    nargs = 2
    is_real = True

    def fdiff(self, argindex: int = 1) -> Expr:
        u, v = self.args
        return Where(u <= v, Integer(1), Integer(0)) if argindex == 1 else Where(u <= v, Integer(0), Integer(1))

    def _eval_evalf(self, prec: int) -> Expr:
        u, v = (a._eval_evalf(prec) for a in self.args)
        return min(u, v)


class Delta(Expr):
    """Kronecker's δ of two index expressions: 1 where they are equal, else 0."""

    is_commutative = True
    is_integer = True

    def __new__(cls, left: Expr, right: Expr) -> Expr:
        difference = sp.expand(left - right)
        if difference == 0:
            return Integer(1)
        if difference.is_number:
            return Integer(0)
        return Expr.__new__(cls, left, right)

    def _sympystr(self, printer: object) -> str:
        return f"delta({self.args[0]}, {self.args[1]})"

    _sympyrepr = _sympystr


class Partial(Expr):
    """∂of/∂wrt, unevaluated: a derivative as it stands on paper before a rule has been applied."""

    is_commutative = True
    is_real = True

    def __new__(cls, of: Expr, wrt: Access) -> Partial:
        node: Partial = Expr.__new__(cls, of, wrt)
        return node

    @property
    def of(self) -> Expr:
        return self.args[0]

    @property
    def wrt(self) -> Access:
        wrt: Access = self.args[1]
        return wrt

    def _sympystr(self, printer: object) -> str:
        return f"D({self.of}, {self.wrt})"

    _sympyrepr = _sympystr


_ATOMIC = (Str, Symbol, Dummy)


def rebuild(expression: Expr, children: Iterable[Expr]) -> Expr:
    """The same node over other children (`expression` itself where nothing changed)."""
    fresh = tuple(children)
    return expression if fresh == expression.args else expression.func(*fresh)


def freshen(expression: Expr, replace: Mapping[Expr, Expr] | None = None) -> Expr:
    """Substitute free symbols and give every bound index a fresh name: capture cannot happen.

    `replace` maps free symbols (indices, sizes) to what takes their place.
    """
    mapping = dict(replace or {})

    def visit(node: Expr, env: Mapping[Expr, Expr]) -> Expr:
        if not node.args:
            return env.get(node, node)
        if isinstance(node, Reduction):
            inner = dict(env)
            ranges = []
            for r in node.ranges:
                symbol = index(r.symbol.name)
                ranges.append(Range(symbol, visit(r.lower, inner), visit(r.upper, inner)))
                inner[r.symbol] = symbol
            return Reduction(node.args[0], visit(node.body, inner), ranges, [visit(g, inner) for g in node.guards])
        return rebuild(node, [visit(a, env) for a in node.args])

    return visit(expression, mapping)


def alpha_key(expression: Expr) -> Expr:
    """The expression with its bound indices renamed by position: equal keys mean equal up to names."""

    def visit(node: Expr, env: Mapping[Expr, Expr], depth: int) -> Expr:
        if not node.args:
            return env.get(node, node)
        if isinstance(node, Reduction):
            inner = dict(env)
            ranges = []
            for m, r in enumerate(node.ranges):
                symbol = Symbol(f"_{depth + m}", integer=True)
                ranges.append(Tuple(symbol, visit(r.lower, inner, depth), visit(r.upper, inner, depth)))
                inner[r.symbol] = symbol
            below = depth + len(ranges)
            guards = [visit(g, inner, below) for g in node.guards]
            return Reduction(node.args[0], visit(node.body, inner, below), Tuple(*ranges), Tuple(*guards))
        return rebuild(node, [visit(a, env, depth) for a in node.args])

    return visit(expression, {}, 0)


def walk(expression: Expr) -> Iterator[Expr]:
    """Every node of the expression, the outermost first, left to right."""
    yield expression
    for child in expression.args:
        yield from walk(child)


def accesses(expression: Expr) -> list[Access]:
    """Every element access in the expression, once each, in order of appearance."""
    return list(dict.fromkeys(n for n in walk(expression) if isinstance(n, Access)))


def contains(expression: Expr, test: Callable[[Expr], bool]) -> bool:
    """Whether any node of the expression passes the test."""
    return any(test(n) for n in walk(expression))
