"""Random Systems held to the reference: the kernels of both targets, made once and called at two sets of sizes.

for finding in compare(model): …     # what is wrong, refused or failed; nothing where all agree
"""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from jets import Reference, reference
from random_systems import Model, Written

from chainrule.codegen.ir import Kind
from chainrule.codegen.load import Kernels
from chainrule.codegen.pipeline import Sources, kernels, render
from chainrule.symbolic.errors import BuildError, ChainruleError
from chainrule.symbolic.system import COST, Role

__all__ = ["TARGETS", "TOLERANCE", "Case", "Finding", "caught", "compare", "difference", "dtype_of"]

TARGETS = ("numpy", "c")
TOLERANCE = {"float64": 1e-10, "float32": 2e-4}
FLOOR = {1e-10: 1e-3, 2e-4: 1e-1}
"""What is told from 0, in tolerances: terms near 1 that cancel leave their roundings."""

Results: TypeAlias = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be: where, of what kind (wrong, refused or failed), and what."""

    where: str
    kind: str
    message: str

    @property
    def fault(self) -> tuple[str, str, str]:
        """What two models have in common that show the same fault."""
        said = re.sub(r"\d+", "0", self.message.splitlines()[0]) if self.kind == "failed" else ""
        return self.where, self.kind, said


class Case:
    """A model at its point: what is asked for, and what must come out."""

    def __init__(self, model: Model | Written) -> None:
        self.model = model
        self.system = model.parse()
        self.sizes, self.values = model.point()
        known = {s: self.sizes[s.name] for s in self.system.sizes}
        self.wrt = self._wrt(np.random.default_rng([model.seed, 2]))
        rng = np.random.default_rng([model.seed, 3])

        def drawn(name: str) -> np.ndarray:
            tensor = self.system.tensor(name)
            shape = tuple(int(d.xreplace(known)) for d in tensor.shape)
            full = (self.sizes["batch"], *shape) if tensor.per_sample else shape
            return rng.uniform(-1, 1, full).astype(np.float32).astype(float)

        inputs = {t.name for t in self.system.inputs}
        self.second = all(n in inputs for n in self.wrt)
        self.directions = {n: drawn(n) for n in self.wrt} if self.second else {}
        self.cotangents = {} if self.system.has_cost else {n: drawn(n) for n in self.system.outputs}

    def _wrt(self, rng: np.random.Generator) -> tuple[str, ...]:
        """Parameters, at times some data too, at times a tensor that an equation defines."""
        system = self.system
        names = [t.name for t in (system.parameters if system.has_cost else system.inputs)]
        if not names or rng.random() < 0.4:
            names = [str(n) for n in rng.permutation([t.name for t in system.inputs])]
            names = names[: rng.integers(1, len(names) + 1)]
        if rng.random() < 0.1:
            made = [t.name for t in system.tensors if t.role is Role.DEFINED and t.name != COST]
            one_equation = [n for n in made if len(system.defining(n)) == 1 and n not in system.recurrences()]
            names += [str(n) for n in rng.permutation(one_equation)[:1]]
        return tuple(names)

    @cached_property
    def expected(self) -> Reference:
        return reference(self.system, self.sizes, self.values, self.wrt, self.directions, self.cotangents)

    @property
    def finite(self) -> bool:
        """Whether the reference can be used."""
        try:
            groups = (self.expected.outputs, self.expected.gradients, self.expected.curvature)
        except (ArithmeticError, ValueError, TypeError):  # TypeError: a root of a negative number is complex
            return False
        return all(np.isfinite(v).all() and np.abs(v).max(initial=0) < 1e12 for g in groups for v in g.values())

    @property
    def products(self) -> tuple[str, ...]:
        if not self.second:
            return ()
        return ("jvp", "hvp") if self.system.outputs else ("hvp",)

    def wanted(self, entry: str) -> Results:
        """The results of an entry point by public name."""
        expected = self.expected
        cost = {COST: np.asarray(expected.cost)} if expected.cost is not None else {}
        return {
            "forward": dict(expected.outputs),
            "cost": cost,
            "gradients": {**cost, **expected.gradients},
            "vjp": dict(expected.gradients),
            "hvp": dict(expected.curvature),
            "jvp": dict(expected.tangents),
        }[entry]

    def elsewhere(self) -> Iterator[Case]:
        """The same model at other sizes and another batch: the first that is usable."""
        rng = np.random.default_rng([self.model.seed, 4])
        for _ in range(4):
            sizes = {name: int(rng.integers(1, 5)) for name in self.model.sizes}
            batch = int(rng.integers(1, 5))
            if sizes == self.model.sizes or not self._fits(sizes):
                continue
            other = Case(replace(self.model, sizes=sizes, batch=batch))
            if other.finite:
                yield other
                return

    def _fits(self, sizes: Mapping[str, int]) -> bool:
        """Whether no axis is empty at these sizes, and none so long that the reference takes seconds."""
        known = {s: sizes[s.name] for s in self.system.sizes}
        shapes = [[int(d.xreplace(known)) for d in t.shape] for t in self.system.tensors]
        return all(min(s, default=1) >= 1 and np.prod(s) <= 64 for s in shapes)


def difference(entry: str, found: Results, wanted: Results, tolerance: float) -> str:
    """What differs; an empty text where all agree to rounding."""
    whole = max((float(np.abs(v).max(initial=0)) for v in wanted.values()), default=0.0)
    for name, value in wanted.items():
        got = np.asarray(found[name], dtype=float)
        if got.shape != np.shape(value):
            return f"{entry}: {name} has shape {got.shape}, expected {np.shape(value)}"
        scale = float(np.abs(value).max(initial=0))
        error = np.abs(got - value)
        if not (error <= tolerance * (scale + 1e-2 * whole + FLOOR[tolerance])).all():
            return f"{entry}: {name} is\n{got}\nexpected\n{np.asarray(value)}"
    return ""


def dtype_of(seed: int) -> str:
    """The dtype that a random model's kernels have: every fourth is in float32."""
    return "float32" if seed % 4 == 3 else "float64"


def compare(model: Model | Written, dtype: str | None = None) -> list[Finding]:
    """All that is wrong, is refused or fails in the kernels of the model, NumPy and C."""
    case = Case(model)
    if not case.finite:
        return [Finding("reference", "unusable", "no finite value at the point")]
    dtype = dtype or dtype_of(model.seed)
    made: list[Sources] = []
    found = caught("render", lambda: made.append(_rendered(case, dtype)) or "")
    if found:
        return found
    cases = [case, *case.elsewhere()]
    return [f for t in TARGETS for f in caught(f"{t} {dtype}", lambda t=t: _target(made[0], t, cases, dtype))]


def _rendered(case: Case, dtype: str) -> Sources:
    return render(case.system, targets=TARGETS, dtype=dtype, wrt=case.wrt, products=case.products)


def caught(where: str, check: Callable[[], str]) -> list[Finding]:
    """What a check says, or what comes out of it. C that does not compile is a fault, no refusal."""
    try:
        message, kind = check(), "wrong"
    except ChainruleError as error:
        kind = "failed" if isinstance(error, BuildError) else "refused"
        lines = [x for x in str(error).splitlines() if " error: " in x] or [str(error)]
        message = f"{type(error).__name__}: {lines[0]}"
    except Exception as error:  # whatever else comes out is a fault to be shown
        place = traceback.extract_tb(error.__traceback__)[-1]
        kind = "failed"
        message = f"{type(error).__name__} in {place.name}: {str(error)[:300]}"
    return [Finding(where, kind, message)] if message else []


def _target(sources: Sources, target: str, cases: Sequence[Case], dtype: str) -> str:
    """The first result of the target's kernels that differs."""
    made = kernels(sources, target)
    for case in cases:
        arrays = _arrays(sources, case, dtype)
        for kernel in sources.program.kernels:
            found = _called(made, kernel.entry, arrays, case)
            message = difference(kernel.entry, found, case.wanted(kernel.entry), TOLERANCE[dtype])
            if message:
                return f"{message}\nat {case.sizes}"
        message = _planned(made, arrays, case, dtype)
        if message:
            return f"{message}\nat {case.sizes}"
    return ""


def _arrays(sources: Sources, case: Case, dtype: str) -> dict[str, np.ndarray]:
    """All that callers may pass: inputs, cotangents by their outputs' names, directions by those of the tangents."""
    tangents = [a.name for a in sources.program.arguments if a.kind is Kind.TANGENT]
    along = dict(zip(tangents, case.directions.values(), strict=True)) if tangents else {}
    return {n: v.astype(dtype) for n, v in {**case.values, **case.cotangents, **along}.items()}


def _asked(function: Callable, arrays: Results, case: Case) -> dict:
    """What a function takes by name: arrays, and sizes that no shape gives away."""
    names = inspect.signature(function).parameters
    sizes = {n: v for n, v in case.sizes.items() if n in names and names[n].default is inspect.Parameter.empty}
    return {n: v for n, v in {**sizes, **arrays}.items() if n in names}


def _called(made: Kernels, entry: str, arrays: Results, case: Case) -> Results:
    """The results of an entry point by public name."""
    result = getattr(made, entry)(**_asked(getattr(made, entry), arrays, case))
    return _named(entry, result, case)


def _named(entry: str, result: object, case: Case) -> Results:
    if entry == "cost":
        return {COST: np.asarray(result)}
    if entry == "gradients":
        cost, gradients = result
        return {COST: np.asarray(cost), **dict(zip(case.wrt, gradients, strict=True))}
    names = case.system.outputs if entry in ("forward", "jvp") else case.wrt
    return dict(zip(names, result, strict=True))


def _planned(made: Kernels, arrays: Results, case: Case, dtype: str) -> str:
    """The main entry by a bound plan, called a second time: nothing of the first call may be left."""
    entry = "gradients" if case.system.has_cost else "vjp"
    plan = made.bind(**_asked(made.bind, arrays, case))
    asked = _asked(plan.__call__, arrays, case)
    plan(**{n: np.asarray(0.5 * v, dtype) for n, v in asked.items()})
    cost = plan(**asked)
    result = (cost, plan.gradients) if entry == "gradients" else plan.gradients
    return difference(f"bound {entry}", _named(entry, result, case), case.wanted(entry), TOLERANCE[dtype])
