"""A reference for values, gradients and Hessian-vector products: the interpreter of Systems over jets.

A jet is a number with its derivatives by every input element (g), its derivative in one direction (d), and
the derivatives of that (h). One run of the interpreter gives all of them by operator overloading, exact to
rounding, where no formula is ever differentiated: it shares nothing with the engine's rules. At a kink the
branch that holds counts, as `docs/language.md` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import sympy as sp
from interpreter import Interpreter

from chainrule.symbolic.expressions import Maximum, Minimum
from chainrule.symbolic.primitives import Sigmoid, Softplus, expm1, log1p
from chainrule.symbolic.system import COST, System

__all__ = ["Jet", "JetInterpreter", "Reference", "Undecided", "reference"]


class Undecided(ArithmeticError):
    """Two values that are equal but for roundings were compared: either branch is right."""


class Jet:
    """v + derivatives: `g` by every input element, `d` along the direction, `h` = ∂d/∂(every input element)."""

    __slots__ = ("d", "g", "h", "v")

    def __init__(self, v: float, g: np.ndarray, d: float, h: np.ndarray) -> None:
        self.v, self.g, self.d, self.h = v, g, d, h

    def mapped(self, f: float, f1: float, f2: float) -> Jet:
        """A function of it, by the function's value and two derivatives."""
        return Jet(f, f1 * self.g, f1 * self.d, f1 * self.h + f2 * self.d * self.g)

    def __add__(self, other: Jet | float) -> Jet:
        if isinstance(other, Jet):
            return Jet(self.v + other.v, self.g + other.g, self.d + other.d, self.h + other.h)
        return Jet(self.v + other, self.g, self.d, self.h)

    def __mul__(self, other: Jet | float) -> Jet:
        if not isinstance(other, Jet):
            return Jet(self.v * other, self.g * other, self.d * other, self.h * other)
        cross = self.d * other.g + other.d * self.g
        return Jet(
            self.v * other.v,
            self.v * other.g + other.v * self.g,
            self.v * other.d + other.v * self.d,
            self.v * other.h + other.v * self.h + cross,
        )

    def __pow__(self, other: Jet | float) -> Jet:
        if isinstance(other, Jet):
            return _apply(math.exp, other * _apply(math.log, self))
        v, r = self.v, other
        second = r * (r - 1) * v ** (r - 2) if r not in (0, 1) else 0.0
        return self.mapped(v**r, r * v ** (r - 1) if r else 0.0, second)

    def __rpow__(self, other: float) -> Jet:
        return _apply(math.exp, self * math.log(other))

    __radd__, __rmul__ = __add__, __mul__

    def __lt__(self, other: Jet | float) -> bool:
        return self._above(other) < 0

    def __le__(self, other: Jet | float) -> bool:
        return self._above(other) <= 0

    def __gt__(self, other: Jet | float) -> bool:
        return self._above(other) > 0

    def __ge__(self, other: Jet | float) -> bool:
        return self._above(other) >= 0

    def _above(self, other: Jet | float) -> float:
        """By how much it is larger; Undecided where roundings would say which of two computed values is."""
        value = _plain(other)
        gap = self.v - value
        close = abs(gap) <= 1e-12 * max(1.0, abs(value))
        if close and other is not self and (gap or isinstance(other, Jet)):
            raise Undecided(f"{self.v} against {value}")
        return gap

    def __eq__(self, other: object) -> bool:
        return self.v == _plain(other)

    __hash__ = None


def _plain(value: object) -> float:
    return value.v if isinstance(value, Jet) else value


_DERIVATIVES: dict[Callable[[float], float], Callable[[float], tuple[float, float, float]]] = {
    math.exp: lambda v: (math.exp(v),) * 3,
    math.log: lambda v: (math.log(v), 1 / v, -1 / v**2),
    math.sin: lambda v: (math.sin(v), math.cos(v), -math.sin(v)),
    math.cos: lambda v: (math.cos(v), -math.sin(v), -math.cos(v)),
    math.sinh: lambda v: (math.sinh(v), math.cosh(v), math.sinh(v)),
    math.cosh: lambda v: (math.cosh(v), math.sinh(v), math.cosh(v)),
    math.atan: lambda v: (math.atan(v), 1 / (1 + v * v), -2 * v / (1 + v * v) ** 2),
    math.asin: lambda v: (math.asin(v), (1 - v * v) ** -0.5, v * (1 - v * v) ** -1.5),
    math.acos: lambda v: (math.acos(v), -((1 - v * v) ** -0.5), -v * (1 - v * v) ** -1.5),
    math.erf: lambda v: (math.erf(v), _bell(v), -2 * v * _bell(v)),
    math.erfc: lambda v: (math.erfc(v), -_bell(v), 2 * v * _bell(v)),
    math.expm1: lambda v: (math.expm1(v), math.exp(v), math.exp(v)),
    math.log1p: lambda v: (math.log1p(v), 1 / (1 + v), -1 / (1 + v) ** 2),
    math.tan: lambda v: (math.tan(v), 1 / math.cos(v) ** 2, 2 * math.tan(v) / math.cos(v) ** 2),
    math.tanh: lambda v: (math.tanh(v), math.cosh(v) ** -2, -2 * math.tanh(v) * math.cosh(v) ** -2),
    abs: lambda v: (abs(v), float(np.sign(v)), 0.0),
}


def _bell(v: float) -> float:
    return 2 / math.sqrt(math.pi) * math.exp(-v * v)


def _apply(function: Callable[[float], float], value: Jet | float) -> Jet | float:
    if not isinstance(value, Jet):
        return function(value)
    return value.mapped(*_DERIVATIVES[function](value.v))


def _extremum(terms: Sequence[Jet | float], best: float) -> Jet | float:
    """The mean of the terms that attain the extremum."""
    attained = [t for t in terms if _plain(t) == best]
    return sum(attained[1:], attained[0]) * (1 / len(attained))


_FUNCTIONS: Mapping[type, Callable[..., Jet | float]] = {
    **{
        getattr(sp, f.__name__): (lambda value, f=f: _apply(f, value))
        for f in _DERIVATIVES
        if f not in (abs, math.expm1, math.log1p)
    },
    sp.Abs: lambda u: _apply(abs, u),
    sp.sign: lambda u: float(np.sign(_plain(u))),
    expm1: lambda u: _apply(math.expm1, u),
    log1p: lambda u: _apply(math.log1p, u),
    sp.Max: lambda *terms: max(terms),
    sp.Min: lambda *terms: min(terms),
    sp.floor: math.floor,
    sp.ceiling: math.ceil,
    Maximum: lambda u, v: u if u >= v else v,
    Minimum: lambda u, v: u if u <= v else v,
    Sigmoid: lambda z: (1 + _apply(math.exp, -1 * z)) ** -1,
    Softplus: lambda z: _apply(math.log1p, _apply(math.exp, z)),
}


class JetInterpreter(Interpreter):
    """A System over jets: `seeds` holds the jet of every element of every input, by name."""

    functions = _FUNCTIONS

    def __init__(
        self,
        system: System,
        sizes: Mapping[str, int],
        values: Mapping[str, np.ndarray],
        seeds: Mapping[str, np.ndarray],
    ) -> None:
        super().__init__(system, sizes, values)
        self.seeds = seeds

    def given(self, name: str, where: tuple[int, ...]) -> Jet:
        """An element of an input."""
        return self.seeds[name][where]

    def _defined(self, name: str, where: tuple[int, ...]) -> Jet | float:
        value = super()._defined(name, where)
        return value + self.seeds[name][where] if name in self.seeds else value

    def product(self, factors: Sequence[Jet | float]) -> Jet | float:
        """Their product; a 0 that is no jet cuts off whatever it multiplies."""
        result: Jet | float = 1.0
        for factor in factors:
            result = 0.0 if not isinstance(factor, Jet) and factor == 0 else result * factor
            if not isinstance(result, Jet) and result == 0:
                return 0.0
        return result

    def total(self, terms: Sequence[Jet | float]) -> Jet | float:
        """Their sum."""
        return sum(terms, 0.0)

    def extremum(self, kind: str, terms: Sequence[Jet | float]) -> Jet | float:
        """Their maximum or minimum."""
        return _extremum(terms, (max if kind == "max" else min)(map(_plain, terms)))


@dataclass(frozen=True)
class Reference:
    """What the kernels must return: outputs with a leading batch axis where they are per sample.

    `gradients` and `curvature` (the Hessian-vector product) are by tensor of `wrt`, `tangents` by output.
    """

    cost: float | None
    outputs: Mapping[str, np.ndarray]
    gradients: Mapping[str, np.ndarray]
    curvature: Mapping[str, np.ndarray]
    tangents: Mapping[str, np.ndarray]


def reference(
    system: System,
    sizes: Mapping[str, int],
    values: Mapping[str, np.ndarray],
    wrt: Sequence[str],
    directions: Mapping[str, np.ndarray],
    cotangents: Mapping[str, np.ndarray],
) -> Reference:
    """Sample by sample over jets. `values` and `directions` hold data with a leading batch axis, and so do the
    cotangents of outputs that are per sample; they are used where the System has no cost."""
    batched = {t.name for t in system.tensors if t.per_sample}
    batch = sizes["batch"]
    shapes = {name: _shape(system, name, sizes) for name in wrt}
    count = sum(math.prod(s) for s in shapes.values())
    made: list[_Sample] = []
    for s in range(batch):
        cut = {n: v[s] if n in batched else v for n, v in values.items()}
        along = {n: v[s] if n in batched else v for n, v in directions.items()}
        pull = {n: v[s] if n in batched else v for n, v in cotangents.items()}
        made.append(_sample(system, sizes, cut, along, pull, shapes, count, first=s == 0))
    scale = 1 / batch if system.has_cost else 1.0
    cost = math.fsum(_plain(m.target) for m in made) * scale if system.has_cost else None
    found: dict[str, dict[str, np.ndarray]] = {"g": {}, "h": {}}
    for key in found:
        at = 0
        for name, shape in shapes.items():
            parts = [m.derivatives(key, count)[at : at + math.prod(shape)].reshape(shape) * scale for m in made]
            found[key][name] = np.stack(parts) if name in batched else np.sum(parts, axis=0)
            at += math.prod(shape)
    stacked = {
        n: {
            k: np.stack([getattr(m, k)[n] for m in made]) if n in batched else getattr(made[0], k)[n]
            for k in ("outputs", "tangents")
        }
        for n in system.outputs
    }
    return Reference(
        cost,
        {n: s["outputs"] for n, s in stacked.items()},
        found["g"],
        found["h"],
        {n: s["tangents"] for n, s in stacked.items()},
    )


@dataclass(frozen=True)
class _Sample:
    target: Jet | float
    outputs: Mapping[str, np.ndarray]
    tangents: Mapping[str, np.ndarray]

    def derivatives(self, key: str, count: int) -> np.ndarray:
        return getattr(self.target, key) if isinstance(self.target, Jet) else np.zeros(count)


def _shape(system: System, name: str, sizes: Mapping[str, int]) -> tuple[int, ...]:
    known = {s: sizes[s.name] for s in system.sizes}
    return tuple(int(sp.sympify(d).xreplace(known)) for d in system.tensor(name).shape)


def _sample(
    system: System,
    sizes: Mapping[str, int],
    values: Mapping[str, np.ndarray],
    along: Mapping[str, np.ndarray],
    pull: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[int, ...]],
    count: int,
    *,
    first: bool,
) -> _Sample:
    """One sample: the cost, or without one the outputs times their cotangents (those of shared ones once)."""
    zero = np.zeros(count)
    seeds = {}
    for name, value in values.items():
        seeds[name] = np.empty(np.shape(value), dtype=object)
        for where in np.ndindex(np.shape(value)):
            seeds[name][where] = Jet(float(value[where]), zero, 0.0, zero)
    at = 0
    for name, shape in shapes.items():
        seeds.setdefault(name, np.full(shape, Jet(0.0, zero, 0.0, zero), dtype=object))
        for where in np.ndindex(shape):
            unit = zero.copy()
            unit[at] = 1.0
            at += 1
            seeds[name][where] = Jet(seeds[name][where].v, unit, float(along[name][where]) if along else 0.0, zero)
    machine = JetInterpreter(system, sizes, values, seeds)
    whole = {n: {i: machine.element(n, *i) for i in np.ndindex(machine.shapes[n])} for n in system.outputs}
    if system.has_cost:
        target = machine.element(COST)
    else:
        batched = {t.name for t in system.tensors if t.per_sample}
        chosen = [n for n in system.outputs if first or n in batched]
        target = machine.total([pull[n][i] * e for n in chosen for i, e in whole[n].items()])

    def filled(n: str, part: Callable[[Jet | float], float]) -> np.ndarray:
        made = np.zeros(machine.shapes[n])
        for i, element in whole[n].items():
            made[i] = part(element)
        return made

    return _Sample(
        target,
        {n: filled(n, _plain) for n in whole},
        {n: filled(n, lambda e: e.d if isinstance(e, Jet) else 0.0) for n in whole},
    )
