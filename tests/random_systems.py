"""A generator of random Systems, as text in the formula language, so that a failure can be read and parsed again.

    model = random_model(seed)          # declarations, functions, equations as trees, sizes, a batch
    print(model.text)
    system = model.parse()
    sizes, values = model.point()       # where its value, gradient and Hessian are finite

Each equation is tried as it is drawn: `model.refused` holds those that the parser did not accept, and why.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import sympy as sp
from random_formulas import Function, Grower, Node, Value, leaf, number, over, squashed
from sympy import Expr, Integer

from chainrule.symbolic import FormulaError, System, parse
from chainrule.symbolic.expressions import size
from chainrule.symbolic.system import Role

__all__ = ["Declared", "Line", "Model", "Written", "random_model"]

LETTERS = "ijklpqstuv"
NAMES = {"data": ("x", "y", "d3", "d4", "d5", "d6"), "parameter": ("w", "b", "w3", "w4", "w5", "w6")}
DEFINED = ("a", "c", "e", "g", "h", "o", "z", "dw", "a2", "c2", "e2", "g2", "h2", "z2")
MOST_INPUTS = 5
MOST_ELEMENTS = 36
"""Elements of a tensor, at most: every one is a derivative, and the interpreters are slow."""


@dataclass(frozen=True)
class Declared:
    """An input: its kind, name, the sizes of its axes, and the interval that its values are drawn from."""

    kind: str
    name: str
    shape: tuple[str, ...]
    low: float
    high: float

    @property
    def text(self) -> str:
        return f"{self.kind} {self.name}[{', '.join(self.shape)}]" if self.shape else f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Line:
    """One equation: the name and the subscripts of its left side, and its formula."""

    name: str
    subscripts: tuple[str, ...]
    value: Node

    @property
    def text(self) -> str:
        left = f"{self.name}[{', '.join(self.subscripts)}]" if self.subscripts else self.name
        return f"{left} = {self.value}"


@dataclass(frozen=True)
class Model:
    """A random System as text, with sizes and a batch to evaluate it at."""

    seed: int
    sizes: Mapping[str, int]
    batch: int
    declared: tuple[Declared, ...] = ()
    functions: tuple[Function, ...] = ()
    stated: tuple[tuple[str, str], ...] = ()  # index, size
    lines: tuple[Line, ...] = ()
    outputs: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    @property
    def text(self) -> str:
        """The model in the formula language; declarations that nothing uses are left out."""
        body = "\n".join(line.text for line in self.lines)
        used = _words(body)
        parts = [d.text for d in self.declared if d.name in used]
        parts += [f.text for f in self.functions if f.name in used]
        parts += [f"index {name} < {extent}" for name, extent in self.stated if name in used]
        parts += [body]
        parts += [f"output {', '.join(self.outputs)}"] if self.outputs else []
        return "\n".join(parts) + "\n"

    def parse(self) -> System:
        return parse(self.text, name=f"random_{self.seed}")

    def point(self) -> Point:
        return point(self.parse(), self.sizes, self.batch, self.seed, {d.name: (d.low, d.high) for d in self.declared})


@dataclass(frozen=True)
class Written:
    """A model as a text, with what a random one has."""

    text: str
    sizes: Mapping[str, int] = field(default_factory=dict)
    batch: int = 1
    seed: int = 0

    def parse(self) -> System:
        return parse(self.text, name="written")

    def point(self) -> Point:
        return point(self.parse(), self.sizes, self.batch, self.seed, {})


Point: TypeAlias = tuple[dict[str, int], dict[str, np.ndarray]]
"""Sizes by name ("batch" too), and inputs, data with a leading batch axis."""


def point(
    system: System, sizes: Mapping[str, int], batch: int, seed: int, limits: Mapping[str, tuple[float, float]]
) -> Point:
    """Inputs within their limits (-1 and 1 where there are none), exact in float32: the same for the same seed."""
    rng = np.random.default_rng([seed, 1])
    known = {s: sizes[s.name] for s in system.sizes}
    values = {}
    for tensor in system.inputs:
        shape = tuple(int(d.xreplace(known)) for d in tensor.shape)
        if tensor.role is Role.DATA:
            shape = (batch, *shape)
        values[tensor.name] = rng.uniform(*limits.get(tensor.name, (-1, 1)), shape).astype(np.float32).astype(float)
    return {**{s.name: n for s, n in known.items()}, "batch": batch}, values


def random_model(seed: int) -> Model:
    """The model of a seed."""
    return _Builder(seed).build()


@dataclass(frozen=True)
class _Index:
    """An index in scope: it runs from `first` to `extent` - 1."""

    name: str
    extent: Expr
    first: int = 0


@dataclass(frozen=True)
class _Known:
    """A tensor that formulas may read."""

    name: str
    shape: tuple[Expr, ...]
    low: float
    high: float


def surely(expression: Expr) -> bool:
    """Whether the expression is >= 0 for all sizes >= 1: no negative coefficient when every size is put 1 higher."""
    moved = sp.expand(sp.expand(expression).subs({s: s + 1 for s in expression.free_symbols}, simultaneous=True))
    return not moved.has(sp.floor) and all(c >= 0 for c in moved.as_coefficients_dict().values())


def _words(text: str) -> set[str]:
    return set(re.findall(r"[A-Za-z]\w*", text))


def size_text(extent: Expr) -> str:
    """A size in the formula language."""
    rounded = sorted(extent.atoms(sp.floor), key=str)
    text = str(extent)
    for each in rounded:
        numerator, denominator = sp.fraction(sp.together(each.args[0]))
        text = text.replace(str(each), f"(({numerator})//{denominator})")
    return text


class _Builder:
    """Grows a model, equation by equation; what the parser refuses is taken back."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.seed = seed
        names = ("n", "m", "r")[: self.rng.integers(1, 4)]
        self.sizes = {name: int(self.rng.choice([1, 2, 3, 4], p=[0.15, 0.35, 0.35, 0.15])) for name in names}
        self.declared: list[Declared] = []
        self.functions: list[Function] = []
        self.stated: list[tuple[str, str]] = []
        self.lines: list[Line] = []
        self.readable: list[_Known] = []
        self.defined: dict[str, bool] = {}  # name -> whether it may be an output
        self.refused: list[tuple[str, str]] = []
        self.partners: dict[str, tuple[str, ...]] = {}  # tensors of one recurrence
        self.letters = 0

    # --- pieces

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, items: Sequence, weights: Sequence[float] | None = None):
        p = None if weights is None else np.array(weights, float) / np.sum(weights)
        return items[int(self.rng.choice(len(items), p=p))]

    def at(self, extent: Expr) -> int:
        """The extent at the model's sizes."""
        return int(sp.sympify(extent).subs({size(n): v for n, v in self.sizes.items()}))

    def extent(self) -> Expr:
        """A length for an index."""
        named = [size(n) for n in self.sizes]
        axes = [d for t in self.readable for d in t.shape if surely(d - 1) and self.at(d) <= 5]
        grown = [s + 1 for s in named] + [2 * s for s in named] + [named[0] + named[-1]]
        groups = [
            named,
            axes or named,
            [Integer(1), Integer(2), Integer(3)],
            [g for g in grown if self.at(g) <= 5] or named,
        ]
        return self.pick(self.pick(groups, [6, 5, 2, 1]))

    def declare(self, shape: Sequence[Expr], kind: str | None = None) -> _Known | None:
        """A new input; None where there are enough."""
        if len(self.declared) >= MOST_INPUTS or math.prod(self.at(d) for d in shape) > MOST_ELEMENTS:
            return None
        kind = kind or self.pick(["data", "parameter"])
        name = next(n for n in NAMES[kind] if n not in {d.name for d in self.declared})
        low, high = self.pick([(-1.0, 1.0), (0.3, 1.3)], [4, 1])
        self.declared.append(Declared(kind, name, tuple(size_text(d) for d in shape), low, high))
        self.readable.append(_Known(name, tuple(shape), low, high))
        return self.readable[-1]

    def letter(self, taken: Iterable[str]) -> str:
        """An index letter that is free in this equation; its range may be stated, so no other equation has it."""
        taken = set(taken)
        self.letters += 1
        return self.pick([x for x in LETTERS if x not in {t.rstrip("0123456789_") for t in taken}]) + f"{self.letters}"

    def model(self, **changes) -> Model:
        made = Model(
            self.seed,
            dict(self.sizes),
            int(self.rng.integers(1, 4)),
            tuple(self.declared),
            tuple(self.functions),
            tuple(self.stated),
            tuple(self.lines),
            (),
            tuple(self.refused),
        )
        return replace(made, **changes)

    # --- the whole

    def build(self) -> Model:
        for _ in range(int(self.rng.choice([0, 1, 2], p=[0.5, 0.35, 0.15]))):
            self._function()
        self._base_inputs()
        wanted = self.pick([1, 2, 3, 4, 5], [4, 4, 3, 1, 0.5])
        forms: list[tuple[float, Callable[[], None]]] = [
            (9, self._general),
            (2, self._dense),
            (2, self._window),
            (2, self._softmax),
            (1, self._normalised),
            (3, self._recurrence),
        ]
        for _ in range(wanted * 3):
            if len(self.defined) >= wanted:
                break
            saved = (list(self.declared), list(self.stated), list(self.lines), list(self.readable), dict(self.defined))
            self.pick([f for _, f in forms], [w for w, _ in forms])()
            if not self._accepted():
                self.declared, self.stated, self.lines, self.readable, self.defined = saved
        return self._finished()

    def _accepted(self) -> bool:
        """Whether the parser takes the new equations; then the shapes that it found are those from now on."""
        model = self._prefix()
        try:
            system = model.parse()
        except FormulaError as error:
            self.refused.append((str(error), model.text))
            return False
        known = {size(n): v for n, v in self.sizes.items()}
        shapes = {t.name: t.shape for t in system.tensors}
        extents = {n: [int(d.xreplace(known)) for d in s] for n, s in shapes.items()}
        if any(e < 1 for found in extents.values() for e in found):
            return False
        if any(math.prod(found) > MOST_ELEMENTS for found in extents.values()):
            return False
        self.readable = [replace(t, shape=shapes.get(t.name, t.shape)) for t in self.readable]
        return True

    def _prefix(self) -> Model:
        """The model so far: inputs that nothing reads yet are summed, and all is an output."""
        extra = [self._reading(t.name, t.shape) for t in self._unread() if t.name not in self.defined]
        outputs = [n for n, whole in self.defined.items() if whole] + [line.name for line in extra]
        return self.model(lines=(*self.lines, *extra), outputs=tuple(outputs))

    def _unread(self) -> list[_Known]:
        def reads(name: str) -> bool:
            own = self.partners.get(name, (name,))
            return any(name in _words(str(line.value)) for line in self.lines if line.name not in own)

        return [t for t in self.readable if not reads(t.name)]

    def _reading(self, name: str, shape: Sequence[Expr]) -> Line:
        return Line(f"total_{name}", (), self._summed(name, shape, "({})**2").node)

    def _summed(self, name: str, shape: Sequence[Expr], template: str, kind: str = "sum") -> Value:
        indices: list[str] = []
        for _ in shape:
            indices.append(self.letter(indices))
        inner = template.format(f"{name}[{', '.join(indices)}]" if shape else name)
        return leaf(f"{kind}[{', '.join(indices)}]({inner})" if shape else inner, -50, 50)

    def _finished(self) -> Model:
        """A cost over all that is not read yet; or none, and outputs."""
        rng = self.rng
        unread = self._unread()
        if self.chance(0.8):
            terms = []
            for t in unread:
                template = self.pick(["{}", "({})**2", "tanh({})", "sin({0}) * {0}", "exp(-({})**2)", "huber({}, 0.2)"])
                kind = self.pick(["sum", "mean", "logsumexp"], [4, 2, 1])
                terms.append(self._summed(t.name, t.shape, template, kind))
            parameters = [
                t for t in self.readable if t.name in {d.name for d in self.declared if d.kind == "parameter"}
            ]
            if parameters and self.chance(0.3):
                chosen = self.pick(parameters)
                terms.append(self._summed(chosen.name, chosen.shape, "0.1 * {}**2"))
            if not terms or self.chance(0.3):
                terms.append(_Equation(self, []).grow(2))
            value = terms[0]
            for term in terms[1:]:
                value = over(self.pick(["{} + {}", "{} - {}", "({}) * (1.5 + tanh({}))"]), [value, term], -50, 50)
            self.lines.append(Line("cost", (), value.node))
            outputs: list[str] = []
            if self.chance(0.3):
                whole = [n for n, w in self.defined.items() if w]
                outputs = [str(n) for n in rng.permutation(whole)[: rng.integers(1, 3)]]
            return self.model(outputs=tuple(outputs))
        self.lines += [self._reading(t.name, t.shape) for t in unread if t.name not in self.defined]
        whole = [n for n, w in self.defined.items() if w]
        ends = [t.name for t in unread if t.name in whole] + [x.name for x in self.lines if x.name.startswith("total_")]
        if self.chance(0.5) or len(ends) < len([t for t in unread if t.name in self.defined]):
            return self.model(outputs=tuple(dict.fromkeys([*ends, *(n for n in whole if self.chance(0.2))])))
        return self.model()

    def _base_inputs(self) -> None:
        """Inputs whose shapes give away every size; the first is data."""
        named = [size(n) for n in self.sizes]
        self.rng.shuffle(named)
        together = self.chance(0.4) and math.prod(self.at(s) for s in named) <= MOST_ELEMENTS
        groups = [named] if together else [[s] for s in named]
        for m, group in enumerate(groups):
            self.declare(group, "data" if m == 0 else None)

    def _function(self) -> None:
        parameters = ("u", "v", "z")[: self.pick([1, 2, 3], [3, 4, 1])]
        reach = float(self.pick([1.0, 2.0, 3.0]))
        grower = _FunctionGrower(self.rng, self.functions, parameters, reach)
        body = grower.grow(self.pick([1, 2, 3], [4, 3, 1]))
        if not set(parameters) & _words(str(body.node)):
            body = over("{} * {}", [leaf(parameters[0], -reach, reach), body], -reach * body.most, reach * body.most)
        self.functions.append(Function(f"f{len(self.functions) + 1}", parameters, body, reach))

    # --- forms of equations

    def _name(self) -> str:
        return next(n for n in DEFINED if n not in self.defined)

    def _define(
        self, name: str, indices: Sequence[_Index], value: Value, subscripts: Sequence[str] | None = None
    ) -> None:
        shown = tuple(i.name for i in indices) if subscripts is None else tuple(subscripts)
        self.lines.append(Line(name, shown, value.node))
        self.defined[name] = True
        if name not in {t.name for t in self.readable}:
            self.readable.append(_Known(name, tuple(i.extent for i in indices), value.low, value.high))

    def _left(self, rank: int) -> list[_Index]:
        found: list[_Index] = []
        for _ in range(rank):
            extent = self.extent()
            if math.prod(self.at(i.extent) for i in found) * self.at(extent) <= MOST_ELEMENTS:
                found.append(_Index(self.letter(i.name for i in found), extent))
        return found

    def state(self, indices: Iterable[_Index]) -> None:
        for i in indices:
            if i.name not in dict(self.stated):
                self.stated.append((i.name, size_text(i.extent)))

    def _general(self) -> None:
        indices = self._left(self.pick([0, 1, 2, 3], [2, 5, 3, 1]))
        equation = _Equation(self, indices)
        value = equation.grow(self.pick([1, 2, 3, 4], [4, 4, 1, 0.3]))
        equation.state_where_needed(value, indices)
        self._define(self._name(), indices, value)

    def _dense(self) -> None:
        """σ(b_j + Σ_k w_jk x_k) over a tensor that is there, in one equation or two."""
        left = self._left(1)
        equation = _Equation(self, left)
        source = self.pick([t for t in self.readable if t.shape] or [self.readable[0]])
        bound = [_Index(self.letter([left[0].name]), source.shape[-1])] if source.shape else []
        with_bound = [*left, *bound]
        weights = self.declare([i.extent for i in with_bound], "parameter") or self.pick(self.readable)
        inner = _Equation(self, with_bound)
        a, b = inner.read(weights), inner.read(source, [i.name for i in bound])
        count = math.prod(self.at(i.extent) for i in bound)
        places = ", ".join(i.name for i in bound)
        most = count * a.most * b.most
        total = over(f"sum[{places}]({{}} * {{}})" if bound else "{} * {}", [a, b], -most, most)
        bias = equation.leaf()
        total = squashed(self.rng, over("{} + {}", [bias, total], bias.low - most, bias.high + most), 12)
        self.state(with_bound)
        self._define(self._name(), left, total)
        if self.chance(0.6):
            again = [_Index(self.letter([]), left[0].extent)]
            z = leaf(f"{self.lines[-1].name}[{again[0].name}]", total.low, total.high)
            template = self.pick(["tanh({})", "sigmoid({})", "relu({})", "gelu({})", "softplus({})", "silu({})"])
            self._define(self._name(), again, over(template, [z], min(total.low, -1), max(total.high, 3)))

    def _window(self) -> None:
        """A stencil whose range the parser infers: y[p] = Σ_q h[q] · x[s·p + d·q + c], pooling, or padding."""
        source = self.pick([t for t in self.readable if t.shape] or [self.readable[0]])
        if not source.shape:
            self._general()
            return
        axis = int(self.rng.integers(len(source.shape)))
        p = self.letter([])
        q = self.letter([p])
        stride, dilation = self.pick([1, 2, 3], [4, 3, 1]), self.pick([1, 2, 3], [4, 2, 1])
        shift = self.pick([0, 1, -1], [4, 1, 2])
        reach = self.pick([Integer(2), Integer(3), Integer(1), size(self.pick(list(self.sizes)))])
        subscript = f"{stride}*{p} + {dilation}*{q}".replace("1*", "") + (
            f" + {shift}" if shift > 0 else f" - {-shift}" if shift else ""
        )
        others = [_Index(self.letter([p, q]), d) for m, d in enumerate(source.shape) if m != axis]
        places = [i.name for i in others]
        places.insert(axis, subscript)
        read = leaf(f"{source.name}[{', '.join(places)}]", source.low, source.high)
        guarded = shift < 0 or self.chance(0.3)
        if guarded:
            extent = size_text(source.shape[axis])
            other = self.pick(["0", "1", "0.5"], [4, 1, 1])
            template = f"where(0 <= {subscript} and {subscript} < {extent}, {{}}, {other})"
            read = over(template, [read], min(source.low, 0), max(source.high, 1))
            self.stated.append((p, size_text(self.extent())))
        weights = self.declare([reach], self.pick(["parameter", "data"])) if self.chance(0.7) else None
        self.stated += [] if weights is not None else [(q, size_text(reach))]
        count = self.at(reach)
        most = count * read.most * (1 if weights is None else max(abs(weights.low), weights.high))
        if weights is not None:
            value = over(f"sum[{q}]({weights.name}[{q}] * {{}})", [read], -most, most)
        else:
            kind = self.pick(["sum", "mean", "max", "min", "logsumexp"])
            value = over(f"{kind}[{q}]({{}})", [read], -most - 2, most + 2)
        value = squashed(self.rng, value, 6)
        left = [_Index(p, Integer(1)), *others]
        self._define(self._name(), left, value)

    def _softmax(self) -> None:
        left = self._left(int(self.rng.integers(1, 3)))
        equation = _Equation(self, left)
        inner = squashed(self.rng, equation.grow(int(self.rng.integers(1, 3))), 4)
        for i in left:
            if not re.search(rf"\b{i.name}\b", str(inner.node)):
                inner = over("{} + {}", [inner, equation.touching([i.name])], inner.low - 2, inner.high + 2)
        over_index = left[-1].name
        template = "softmax({})"
        if self.chance(0.4):
            over_index = self.pick(left).name
            others = [i.name for i in left if i.name != over_index]
            condition = f" : {over_index} <= {self.pick(others)}" if others and self.chance(0.6) else ""
            template = f"softmax[{over_index}{condition}]({{}})"
        self.state(left)
        self._define(self._name(), left, over(template, [inner], 0, 1))

    def _normalised(self) -> None:
        """Layer normalisation of a tensor along its last axis, in one equation."""
        source = self.pick([t for t in self.readable if t.shape] or [self.readable[0]])
        left = [_Index(self.letter([]), source.shape[0])] if len(source.shape) == 1 else []
        for d in source.shape if len(source.shape) > 1 else ():
            left.append(_Index(self.letter(i.name for i in left), d))
        if not left:
            self._general()
            return
        head = ", ".join(i.name for i in left[:-1])
        head = head + ", " if head else ""
        i, k, q = left[-1].name, self.letter(x.name for x in left), self.letter([x.name for x in left])
        at = f"{source.name}[{head}{{}}]"
        mean = f"mean[{k}]({at.format(k)})"
        spread = f"mean[{q}]({at.format(q)}**2)"
        text = self.pick(
            [
                f"({at.format(i)} - {mean}) / sqrt({spread} + 0.1)",
                f"{at.format(i)} / sqrt({spread} + 0.1)",
                f"exp({at.format(i)}) / sum[{k}](exp({at.format(k)}))",
            ]
        )
        value = leaf(text, -4, 4)
        self._define(self._name(), left, value)

    # --- recurrences

    def _recurrence(self) -> None:
        kind = self.pick(["plain", "two", "reverse", "shifted", "mutual"], [4, 2, 2, 2, 3])
        base_count = 2 if kind == "two" else 1
        steps = self.pick(
            [Integer(base_count + 1), Integer(base_count + 2), *(size(n) + base_count for n in self.sizes)]
        )
        state = self._left(self.pick([0, 1, 2], [3, 5, 1]))
        position = int(self.rng.integers(len(state) + 1))
        name = self._name()

        def place(time: str, names: Sequence[str]) -> tuple[str, ...]:
            found = list(names)
            found.insert(position, time)
            return tuple(found)

        def elements(time: str, names: Sequence[str]) -> str:
            return f"{name}[{', '.join(place(time, names))}]"

        own = [i.name for i in state]
        edges = [size_text(steps - 1)] if kind == "reverse" else [str(m) for m in range(base_count)]
        if kind == "reverse" and steps.is_Integer and self.chance(0.5):
            edges = [str(steps - 1)]
        for m, edge in enumerate(edges):
            fresh = [_Index(self.letter([]), i.extent) for i in state] if m else state
            base = squashed(self.rng, _Equation(self, fresh).grow(int(self.rng.integers(0, 3))), 1.0)
            self.state(fresh)
            self.lines.append(Line(name, place(edge, [i.name for i in fresh]), base.node))
        t = self.letter(own)
        first = {"reverse": 0, "shifted": 0}.get(kind, base_count)
        last = steps - 1 if kind in ("reverse", "shifted") else steps
        time = _Index(t, last, first)
        fresh = [_Index(self.letter([t]), i.extent) for i in state]
        names = [i.name for i in fresh]
        earlier = {"reverse": f"{t} + 1", "shifted": t}.get(kind, f"{t} - 1")
        reads = leaf(elements(earlier, names), -1, 1)
        if names and self.chance(0.5):
            axis = int(self.rng.integers(len(names)))
            j = _Index(self.letter([t, *names]), state[axis].extent)
            mixed = [j.name if m == axis else n for m, n in enumerate(names)]
            weights = self.declare([state[axis].extent, state[axis].extent], "parameter")
            count = self.at(j.extent)
            self.state([j])
            weight = f"{weights.name}[{names[axis]}, {j.name}] * " if weights is not None else ""
            reads = leaf(f"sum[{j.name}]({weight}{elements(earlier, mixed)})", -1.3 * count, 1.3 * count)
        if kind == "two":
            reads = over(f"{{}} * {elements(f'{t} - 2', names)}", [reads], -reads.most, reads.most)
        scope = [time, *fresh]
        drive = squashed(self.rng, _Equation(self, scope).grow(int(self.rng.integers(0, 3))), 1.0)
        value = self._stepped(reads, drive)
        self.state([time, *fresh])
        left = place(f"{t} + 1" if kind == "shifted" else t, names)
        if kind == "mutual":
            self._mutual(name, value, scope, left)
        else:
            self.lines.append(Line(name, left, value.node))
        self.defined[name] = True
        shape = [i.extent for i in state]
        shape.insert(position, steps)
        self.readable.append(_Known(name, tuple(shape), -1, 1))

    def _stepped(self, reads: Value, drive: Value) -> Value:
        kind = self.pick(["tanh({} + {})", "sin({} * {})", "0.5*{} + 0.5*{}", "0.9*{} * {}", "tanh({}) * sigmoid({})"])
        if "tanh" not in kind and "sin" not in kind:
            reads = squashed(self.rng, reads, 1.0)
        return over(kind, [reads, drive], -1, 1)

    def _mutual(self, name: str, value: Value, scope: Sequence[_Index], left: tuple[str, ...]) -> None:
        """The step in two equations: a tensor without a base case, which reads earlier elements, and one of it."""
        other = next(n for n in DEFINED if n not in self.defined and n != name)
        self.lines.append(Line(other, left, value.node))
        read = f"{other}[{', '.join(left)}]"
        drive = squashed(self.rng, _Equation(self, scope).grow(1), 1.0)
        self.lines.append(Line(name, left, self._stepped(leaf(read, -1, 1), drive).node))
        self.defined[other] = False
        self.partners[name] = (name, other)


class _FunctionGrower(Grower):
    """Formulas of a function's parameters."""

    def __init__(
        self, rng: np.random.Generator, functions: Sequence[Function], parameters: Sequence[str], reach: float
    ):
        super().__init__(rng, functions)
        self.parameters, self.reach = parameters, reach

    def leaf(self) -> Value:
        if self.chance(0.15):
            return number(self.rng)
        return leaf(str(self.rng.choice(self.parameters)), -self.reach, self.reach)


class _Equation(Grower):
    """Formulas of tensors, indices and sizes, over the indices in scope."""

    def __init__(self, builder: _Builder, scope: Sequence[_Index]) -> None:
        super().__init__(builder.rng, builder.functions)
        self.builder = builder
        self.scope = list(scope)

    def state_where_needed(self, value: Value, indices: Sequence[_Index]) -> None:
        """State the ranges of those indices that nothing else surely gives: all, or those without a bare use."""
        text = str(value.node)
        for i in indices:
            bare = re.search(rf"[\[ ]{i.name}[\],]", text) is not None and f"where(0 <= {i.name}" not in text
            if not bare or self.chance(0.4):
                self.builder.state([i])

    # --- leaves

    def leaf(self) -> Value:
        roll = self.rng.random()
        if roll < 0.08:
            return number(self.rng)
        if roll < 0.14 and self.scope:
            i = self.builder.pick(self.scope)
            return over("0.5*{}", [leaf(i.name, 0, 0)], 0, 0.5 * (self.builder.at(i.extent) - 1))
        if roll < 0.16:
            n = self.builder.pick(list(self.builder.sizes))
            value = self.builder.sizes[n]
            return self.builder.pick([leaf(f"{n}/3", value / 3, value / 3), leaf(f"1/{n}", 1 / value, 1 / value)])
        made = self._new() if self.chance(0.25) else None
        return made or self.read(self.builder.pick(self.builder.readable))

    def touching(self, names: Sequence[str]) -> Value:
        """A read of some tensor with those indices in its subscripts, or the indices as numbers."""
        for _ in range(12):
            found = self.read(self.builder.pick(self.builder.readable), names)
            if all(re.search(rf"\b{n}\b", str(found.node)) for n in names):
                return found
        chosen = [i for i in self.scope if i.name in names]
        new = self.builder.declare([i.extent for i in chosen])
        if new is not None:
            return leaf(f"{new.name}[{', '.join(i.name for i in chosen)}]", new.low, new.high)
        self.builder.state(chosen)
        return leaf("(" + " + ".join(f"0.3*{n}" for n in names) + ")", 0, 4)

    def read(self, tensor: _Known, prefer: Sequence[str] = ()) -> Value:
        """An element of the tensor, at subscripts in the indices in scope that stay inside it."""
        subscripts, conditions = [], []
        for extent in tensor.shape:
            text, guarded = self._subscript(extent, prefer)
            subscripts.append(text)
            if guarded:
                conditions.append(f"0 <= {text} and {text} < {size_text(extent)}")
        if not tensor.shape:
            return leaf(tensor.name, tensor.low, tensor.high)
        read = leaf(f"{tensor.name}[{', '.join(subscripts)}]", tensor.low, tensor.high)
        if not conditions:
            return read
        template = f"where({' and '.join(conditions)}, {{}}, 0)"
        return over(template, [read], min(read.low, 0), max(read.high, 0))

    def _subscript(self, extent: Expr, prefer: Sequence[str]) -> tuple[str, bool]:
        """A subscript for an axis, and whether it needs a guard."""
        choices: list[tuple[float, str]] = []
        for i in self.scope:
            weight = 6 if i.name in prefer else 1
            if i.extent == extent:
                choices += [(8 * weight, i.name), (1.5 * weight, f"{size_text(extent - 1)} - {i.name}")]
            choices += [(0.7 * weight, t) for t in self._affine(i, extent)]
            choices += [(0.5 * weight, t) for k in self.scope if k is not i for t in self._pairs(i, k, extent)]
        room = surely(extent - 1)
        if self.scope and (self.chance(0.08) or not (choices or room)):
            i = self.builder.pick(self.scope)
            shift = self.builder.pick(["{} - 1", "{} + 1", "2*{} - 1", "{} - 2", "3 - {}", "2*{}"]).format(i.name)
            self.builder.state(self.scope)
            return shift, True
        if not (choices or room):
            return "0", True
        choices += [(0.5, "0"), (0.3, size_text(extent - 1))] if room else []
        return self.builder.pick([t for _, t in choices], [w for w, _ in choices]), False

    def _affine(self, i: _Index, extent: Expr) -> list[str]:
        """a·i + c with every value inside the axis."""
        found = []
        for a, c in ((1, 1), (1, 0), (1, 2), (2, 0), (2, 1), (3, 0), (1, -1), (1, -2)):
            inside = i.first * a + c >= 0 and surely(extent - 1 - a * (i.extent - 1) - c)
            if inside and not (a == 1 and c == 0 and i.extent == extent):
                text = i.name if a == 1 else f"{a}*{i.name}"
                found.append(f"{text} + {c}" if c > 0 else f"{text} - {-c}" if c < 0 else text)
        if found:
            self.builder.state([i])
        return found

    def _pairs(self, i: _Index, k: _Index, extent: Expr) -> list[str]:
        found = []
        for a, b in ((1, 1), (2, 1), (2, 3)):
            if surely(extent - 1 - a * (i.extent - 1) - b * (k.extent - 1)):
                found.append(f"{a}*{i.name} + {b}*{k.name}".replace("1*", ""))
        if surely(extent - i.extent) and surely(extent - k.extent) and extent == i.extent + k.extent - 1:
            found.append(f"{size_text(i.extent - 1)} - {i.name} + {k.name}")
        if found:
            self.builder.state([i, k])
        return found

    def _new(self) -> Value | None:
        """An element of a new input, whose shape fits the subscripts."""
        rank = int(self.builder.pick([0, 1, 2, 3], [1, 5, 4, 1])) if self.scope else int(self.chance(0.3))
        shape, subscripts = [], []
        stated: list[_Index] = []
        for _ in range(rank):
            form = self.builder.pick(["bare", "pair", "affine", "reversed", "fixed"], [8, 2, 2, 1, 0.5])
            i = self.builder.pick(self.scope) if self.scope else None
            k = self.builder.pick(self.scope) if self.scope else None
            if i is None or form == "fixed":
                shape.append(Integer(2))
                subscripts.append(str(self.rng.integers(2)))
            elif form == "bare":
                shape.append(i.extent)
                subscripts.append(i.name)
            elif form == "reversed":
                shape.append(i.extent)
                subscripts.append(f"{size_text(i.extent - 1)} - {i.name}")
                stated.append(i)
            elif form == "affine" or k is i:
                a, c = self.builder.pick([(1, 1), (2, 0), (2, 1), (3, 0), (1, 2)])
                shape.append(sp.expand(a * (i.extent - 1) + c + 1))
                subscripts.append((f"{a}*{i.name}" if a > 1 else i.name) + (f" + {c}" if c else ""))
                stated.append(i)
            else:
                a, b = self.builder.pick([(1, 1), (2, 1), (1, 2), (2, 3)])
                shape.append(sp.expand(a * (i.extent - 1) + b * (k.extent - 1) + 1))
                subscripts.append(f"{a}*{i.name} + {b}*{k.name}".replace("1*", ""))
                stated += [i, k]
        if any(i.has(sp.floor) for i in shape):
            return None
        new = self.builder.declare(shape)
        if new is None:
            return None
        self.builder.state(stated)
        return leaf(f"{new.name}[{', '.join(subscripts)}]" if rank else new.name, new.low, new.high)

    # --- what only equations have

    def special(self, depth: int) -> Value | None:
        roll = self.rng.random()
        if roll < 0.22:
            return self._reduction(depth)
        if roll < 0.27 and len(self.scope) >= 2:
            return self._branches(depth)
        return None

    def _branches(self, depth: int) -> Value:
        """where(condition on indices, u, v)."""
        i, k = (x.name for x in self.rng.permutation(np.array(self.scope, dtype=object))[:2])
        test = self.builder.pick(
            [f"{i} == {k}", f"{i} != {k}", f"{i} < {k}", f"{i} <= {k} + 1", f"{i} > 0", f"2*{i} <= {k}"]
        )
        u, v = self.grow(depth - 1), self.grow(depth - 1)
        self.builder.state(x for x in self.scope if x.name in (i, k))
        return over(f"where({test}, {{}}, {{}})", [u, v], min(u.low, v.low), max(u.high, v.high))

    def _reduction(self, depth: int) -> Value:
        kind = self.builder.pick(["sum", "mean", "prod", "max", "min", "logsumexp"], [9, 3, 2, 2, 1.5, 2])
        outer = list(self.scope)
        made: list[_Index] = []
        for _ in range(self.builder.pick([1, 2], [4, 1])):
            extent = self.builder.extent()
            if math.prod(self.builder.at(i.extent) for i in made) * self.builder.at(extent) <= 12:
                made.append(_Index(self.builder.letter(i.name for i in [*outer, *made]), extent))
        if not made or len(outer) + len(made) > 5:
            return self.leaf()
        self.scope = [*outer, *made]
        body = self.grow(depth - 1)
        missing = [i.name for i in made if not re.search(rf"\b{i.name}\b", str(body.node))]
        if missing and self.chance(0.8):
            factor = self.touching(missing)
            corners = [a * b for a in (body.low, body.high) for b in (factor.low, factor.high)]
            body = over("{} * {}", [body, factor], min(corners), max(corners))
        elif missing:
            self.builder.state(i for i in made if i.name in missing)
        body = squashed(self.rng, body, {"prod": 1.5, "logsumexp": 3.0}.get(kind, 6.0))
        self.state_where_needed(body, made)
        condition, maybe_empty = self._condition(outer, made, kind) if self.chance(0.25) else ("", False)
        self.scope = outer
        count = math.prod(self.builder.at(i.extent) for i in made)
        low, high = self._bounds(kind, body, count, maybe_empty or bool(condition))
        names = ", ".join(i.name for i in made)
        return squashed(self.rng, over(f"{kind}[{names}{condition}]({{}})", [body], low, high), 8)

    def _condition(self, outer: Sequence[_Index], made: Sequence[_Index], kind: str) -> tuple[str, bool]:
        """A condition on the new indices; one that leaves some of them in where nothing else makes sense."""
        k = made[-1]
        others = [*outer, *made[:-1]]
        self.builder.state([k])
        if not others:
            return (f" : {k.name} > 0", True) if kind in ("sum", "prod") else (f" : {k.name} <= 1", False)
        i = self.builder.pick(others)
        self.builder.state([i])
        forms = [f"{k.name} <= {i.name}", f"{k.name} <= {i.name} + 1", f"2*{k.name} <= {i.name}"]
        if i.extent == k.extent:
            forms += [
                f"{i.name} <= {k.name}",
                f"{k.name} >= {i.name} and {k.name} <= {i.name} + 1",
                f"{k.name} == {i.name}",
            ]
        if kind in ("sum", "prod"):
            forms += [
                f"{k.name} < {i.name}",
                f"{i.name} < {k.name}",
                f"{k.name} == {i.name} + 1",
                f"{k.name} >= 2*{i.name}",
            ]
        return f" : {self.builder.pick(forms)}", True

    def _bounds(self, kind: str, body: Value, count: int, fewer: bool) -> tuple[float, float]:
        low, high = body.low, body.high
        if kind == "sum":
            ends = [low * count, high * count, *([0.0, low, high] if fewer else [])]
        elif kind == "prod":
            ends = (
                [low**count, high**count] if low > 0 else [-(body.most**count), body.most**count, -body.most, body.most]
            )
            ends += [1.0, low, high] if fewer else []
        elif kind == "logsumexp":
            ends = [low, high + math.log(count)]
        else:
            ends = [low, high]
        return min(ends), max(ends)
