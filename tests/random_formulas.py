"""Random formulas as trees that print as text, each with an interval that its values lie in.

The interval decides what may be done to a formula: a logarithm only of what is surely positive, an exponential
only of what is small. It is measured on a grid with a margin: close enough to draw by, not a proof.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["Function", "Grower", "Node", "Value", "leaf", "number", "over", "squashed"]

LIMIT = 8.0
"""A formula that may be larger than this goes through a bounded function before it is used further."""


@dataclass(frozen=True)
class Node:
    """A formula: text with a place for each part."""

    template: str
    parts: tuple[Node, ...] = ()

    def __str__(self) -> str:
        return self.template.format(*self.parts)

    def __iter__(self) -> Iterator[Node]:
        yield self
        for part in self.parts:
            yield from part

    def replaced(self, old: Node, new: Node) -> Node:
        """The tree with one node, found by identity, replaced."""
        if self is old:
            return new
        return Node(self.template, tuple(p.replaced(old, new) for p in self.parts))


class Value(NamedTuple):
    """A formula and the interval that its values lie in."""

    node: Node
    low: float
    high: float

    @property
    def most(self) -> float:
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True)
class Function:
    """A user's function: its arguments have to lie within -reach..reach."""

    name: str
    parameters: tuple[str, ...]
    body: Value
    reach: float

    @property
    def text(self) -> str:
        return f"{self.name}({', '.join(self.parameters)}) = {self.body.node}"


def leaf(text: str, low: float, high: float) -> Value:
    """A formula without parts."""
    return Value(Node(text), low, high)


def number(rng: np.random.Generator, low: float = -2.0, high: float = 2.0) -> Value:
    """A short decimal or a whole number."""
    value = float(rng.choice([round(rng.uniform(low, high), 1), round(rng.uniform(low, high), 2), rng.integers(1, 3)]))
    text = f"{value:g}"
    return leaf(f"({text})" if value < 0 else text, value, value)


def over(template: str, parts: Sequence[Value], low: float, high: float) -> Value:
    """A formula of parts."""
    return Value(Node(template, tuple(p.node for p in parts)), low, high)


def _sigmoid(v: float) -> float:
    return 1 / (1 + math.exp(-v))


_UNARY: tuple[tuple[str, Callable[[float], float], float, float, int], ...] = (
    # template, function, the arguments it is for, weight
    ("tanh({})", math.tanh, -50, 50, 4),
    ("sin({})", math.sin, -50, 50, 3),
    ("cos({})", math.cos, -50, 50, 2),
    ("atan({})", math.atan, -50, 50, 2),
    ("erf({})", math.erf, -50, 50, 2),
    ("erfc({})", math.erfc, -4, 4, 1),
    ("sigmoid({})", _sigmoid, -50, 50, 4),
    ("softplus({})", lambda v: math.log1p(math.exp(v)), -50, 50, 2),
    ("silu({})", lambda v: v * _sigmoid(v), -50, 50, 2),
    ("gelu({})", lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2, -50, 50, 2),
    ("relu({})", lambda v: max(v, 0.0), -50, 50, 2),
    ("leaky_relu({})", lambda v: max(v, v / 100), -50, 50, 1),
    ("elu({})", lambda v: v if v > 0 else math.expm1(v), -50, 50, 1),
    ("abs({})", abs, -50, 50, 2),
    ("exp({})", math.exp, -6, 2.5, 3),
    ("exp(-({})**2)", lambda v: math.exp(-v * v), -8, 8, 1),
    ("sinh({})", math.sinh, -2.5, 2.5, 1),
    ("cosh({})", math.cosh, -2.5, 2.5, 1),
    ("expm1({})", math.expm1, -6, 2.5, 1),
    ("log({})", math.log, 0.2, 1e6, 5),
    ("sqrt({})", math.sqrt, 0.2, 1e6, 5),
    ("log1p({})", math.log1p, -0.8, 1e6, 1),
    ("log(1 + ({})**2)", lambda v: math.log1p(v * v), -50, 50, 2),
    ("sqrt(1 + ({})**2)", lambda v: math.sqrt(1 + v * v), -50, 50, 2),
    ("1/(1 + ({})**2)", lambda v: 1 / (1 + v * v), -50, 50, 2),
    ("asin({})", math.asin, -0.9, 0.9, 2),
    ("acos({})", math.acos, -0.9, 0.9, 2),
    ("acos(0.7*sin({}))", lambda v: math.acos(0.7 * math.sin(v)), -50, 50, 1),
    ("tan({})", math.tan, -1.2, 1.2, 2),
    ("({})**2", lambda v: v * v, -6, 6, 4),
    ("({})**3", lambda v: v**3, -2, 2, 2),
    ("({})**4", lambda v: v**4, -2, 2, 1),
    ("({})**(1/3)", lambda v: v ** (1 / 3), 0.2, 50, 1),
    ("({})**-2", lambda v: v**-2, 0.4, 50, 1),
    ("({})**1.5", lambda v: v**1.5, 0.2, 6, 1),
    ("1/({})", lambda v: 1 / v, 0.3, 50, 3),
    ("2**({})", lambda v: 2**v, -5, 3, 1),
    ("-({})", lambda v: -v, -50, 50, 2),
    ("huber({}, 0.3)", lambda v: (v - 0.3) ** 2 / 2 if abs(v - 0.3) <= 1 else abs(v - 0.3) - 0.5, -50, 50, 1),
    ("log_cosh({}, 0.3)", lambda v: math.log(math.cosh(v - 0.3)), -50, 50, 1),
)


def _image(function: Callable[[float], float], low: float, high: float) -> tuple[float, float]:
    """The values over an interval, with a margin where they are not bounded there exactly."""
    values = [function(low + (high - low) * s / 40) for s in range(41)]
    margin = 0.02 * (max(values) - min(values))
    return min(values) - margin, max(values) + margin


def squashed(rng: np.random.Generator, value: Value, limit: float) -> Value:
    """The formula, through a bounded function if it may leave -limit..limit."""
    if value.most <= limit:
        return value
    templates = ["tanh({})", "sin({})", "atan({})", "erf({})"]
    if len(str(value.node)) < 20:
        templates.append("({0})/sqrt(1 + ({0})**2)")
    template = str(rng.choice(templates))
    bound = 1.58 if template.startswith("atan") else 1.0
    result = over(template, [value], -bound, bound)
    return result if bound <= limit else over(f"{limit / 2:.2g}*{{}}", [result], -limit, limit)


class Grower:
    """Grows formulas; subclasses say what the leaves are."""

    def __init__(self, rng: np.random.Generator, functions: Sequence[Function] = ()) -> None:
        self.rng = rng
        self.functions = list(functions)

    def chance(self, probability: float) -> bool:
        """True that often."""
        return bool(self.rng.random() < probability)

    def leaf(self) -> Value:
        """A formula of no depth."""
        raise NotImplementedError

    def special(self, depth: int) -> Value | None:  # noqa: ARG002
        """A formula that only some growers know; None for one of the ordinary kinds."""
        return None

    def grow(self, depth: int) -> Value:
        """A formula of at most that depth."""
        if depth <= 0 or self.chance(0.1):
            return self.leaf()
        made = self.special(depth)
        if made is None:
            kind = self.rng.choice(["binary", "unary", "call", "where"], p=[0.5, 0.36, 0.1, 0.04])
            made = getattr(self, f"_{kind}")(depth)
        return squashed(self.rng, made, LIMIT)

    def _unary(self, depth: int) -> Value:
        inner = self.grow(depth - 1)
        usable = [u for u in _UNARY if u[2] <= inner.low and inner.high <= u[3]]
        weights = np.array([u[4] for u in usable], float)
        template, function, *_ = usable[int(self.rng.choice(len(usable), p=weights / weights.sum()))]
        return over(template, [inner], *_image(function, inner.low, inner.high))

    def _binary(self, depth: int) -> Value:
        u, v = self.grow(depth - 1), self.grow(depth - 1)
        corners = [u.low * v.low, u.low * v.high, u.high * v.low, u.high * v.high]
        choices: list[tuple[float, Callable[[], Value]]] = [
            (3, lambda: over("({} + {})", [u, v], u.low + v.low, u.high + v.high)),
            (2, lambda: over("({} - {})", [u, v], u.low - v.high, u.high - v.low)),
            (4, lambda: over("({} * {})", [u, v], min(corners), max(corners))),
            (0.6, lambda: over("max({}, {})", [u, v], max(u.low, v.low), max(u.high, v.high))),
            (0.6, lambda: over("min({}, {})", [u, v], min(u.low, v.low), min(u.high, v.high))),
            (0.5, lambda: over("squared_error({}, {})", [u, v], 0, max(u.high - v.low, v.high - u.low) ** 2)),
        ]
        if v.low >= 0.3:
            ends = [u.low / v.low, u.low / v.high, u.high / v.low, u.high / v.high]
            choices.append((4, lambda: over("({} / {})", [u, v], min(ends), max(ends))))
        else:
            choices.append((1, lambda: over("({} / (1 + ({})**2))", [u, v], min(u.low, 0), max(u.high, 0))))
        if u.low >= 0.3 and u.high <= 4 and v.most <= 2:
            powers = [a**b for a in (u.low, u.high) for b in (v.low, v.high)]
            choices.append((2, lambda: over("({})**({})", [u, v], min(powers), max(powers))))
        weights = np.array([w for w, _ in choices])
        return choices[int(self.rng.choice(len(choices), p=weights / weights.sum()))][1]()

    def _call(self, depth: int) -> Value:
        if not self.functions:
            return self._unary(depth)
        function = self.functions[int(self.rng.integers(len(self.functions)))]
        arguments = [squashed(self.rng, self.grow(depth - 1), function.reach) for _ in function.parameters]
        places = ", ".join("{}" for _ in arguments)
        return over(f"{function.name}({places})", arguments, function.body.low, function.body.high)

    def _where(self, depth: int) -> Value:
        u, v = self.grow(depth - 1), self.grow(depth - 1)
        a, b = self.leaf(), self.leaf()
        test = str(
            self.rng.choice(["{} > {}", "{} <= {}", "not {} < {}", "0 < {} or {} > 0.1", "{0} > 0.1 and {1} < 0.7"])
        )
        return over(
            f"where({test}, {{2}}, {{3}})" if "{0}" in test else _numbered(test),
            [a, b, u, v],
            min(u.low, v.low),
            max(u.high, v.high),
        )


def _numbered(test: str) -> str:
    return f"where({test.format('{0}', '{1}')}, {{2}}, {{3}})"
