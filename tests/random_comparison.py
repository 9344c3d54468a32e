"""Random Systems held to the reference: the kernel IR through its interpreter, and the kernels of each target.

for finding in compare(model): …     # what is wrong or refused; nothing where all agree
print(diagnosed(model))              # the first stage of the engine whose System is wrong
small = shrunk(model, finding)       # a smaller model with the same fault
"""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from interpreter import Interpreter
from jets import Reference, reference
from kernel_interpreter import run_program
from random_formulas import Node
from random_systems import Declared, Line, Model

from chainrule.codegen.lower import lower
from chainrule.codegen.pipeline import kernels, render
from chainrule.symbolic.derive import derive
from chainrule.symbolic.errors import ChainruleError
from chainrule.symbolic.samples import with_samples
from chainrule.symbolic.simplify import merged_sums, simplified
from chainrule.symbolic.stable import stable
from chainrule.symbolic.system import COST, Role, System
from chainrule.symbolic.tangents import hessian_product, tangent

__all__ = ["Case", "Finding", "compare", "diagnosed", "shrunk"]

TOLERANCE = {"float64": 1e-10, "float32": 2e-4}


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be: where, of what kind (wrong, refused or failed), and what."""

    where: str
    kind: str
    message: str

    @property
    def fault(self) -> tuple[str, str, str]:
        """What two models have in common that show the same fault."""
        return self.where, self.kind, self.message if self.kind == "failed" else ""


class Case:
    """A model at its point: what is asked for, and what must come out."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.system = model.parse()
        self.sizes, self.values = model.point()
        rng = np.random.default_rng([model.seed, 2])
        known = {s: self.sizes[s.name] for s in self.system.sizes}

        def drawn(name: str) -> np.ndarray:
            tensor = self.system.tensor(name)
            shape = tuple(int(d.xreplace(known)) for d in tensor.shape)
            full = (self.sizes["batch"], *shape) if tensor.per_sample else shape
            return rng.uniform(-1, 1, full)

        self.wrt = self._wrt(rng)
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
        except (ArithmeticError, ValueError):
            return False
        return all(np.isfinite(v).all() and np.abs(v).max(initial=0) < 1e12 for g in groups for v in g.values())

    @property
    def products(self) -> tuple[str, ...]:
        if not self.second:
            return ()
        return ("jvp", "hvp") if self.system.outputs else ("hvp",)

    def wanted(self, entry: str) -> dict[str, np.ndarray]:
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


def _difference(entry: str, found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], tolerance: float) -> str:
    """What differs; an empty text where all agree to rounding."""
    whole = max((float(np.abs(v).max(initial=0)) for v in wanted.values()), default=0.0)
    for name, value in wanted.items():
        got = np.asarray(found[name], dtype=float)
        if got.shape != np.shape(value):
            return f"{entry}: {name} has shape {got.shape}, expected {np.shape(value)}"
        scale = float(np.abs(value).max(initial=0))
        error = np.abs(got - value)
        if not (error <= tolerance * (scale + 1e-2 * whole + 1e-4)).all():
            return f"{entry}: {name} is\n{got}\nexpected\n{np.asarray(value)}"
    return ""


def _public(names: Sequence[str], results: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Results by public name: the cost keeps its own."""
    rest = [v for n, v in results.items() if n != COST]
    named = dict(zip(names, rest, strict=True))
    return {**({COST: results[COST]} if COST in results else {}), **named}


def compare(model: Model, targets: Sequence[str] = (), dtypes: Sequence[str] = ("float64",)) -> list[Finding]:
    """Every level at which the model is wrong, refused or fails. The IR first, then the kernels."""
    case = Case(model)
    if not case.finite:
        return [Finding("reference", "unusable", "no finite value at the point")]
    checks: list[tuple[str, Callable[[Case], str]]] = [("ir", _ir)]
    checks += [(f"{t} {d}", lambda c, t=t, d=d: _kernels(c, t, d)) for t in targets for d in dtypes]
    found = []
    for where, check in checks:
        try:
            message = check(case)
            kind = "wrong"
        except ChainruleError as error:
            kind, message = "refused", f"{type(error).__name__}: {error}"
        except Exception as error:  # whatever else comes out is a fault to be shown
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = "failed"
            message = f"{type(error).__name__} in {place.name}: {str(error)[:300]}"
        if message:
            found.append(Finding(where, kind, message))
    return found


def _ir(case: Case) -> str:
    """The kernel IR, every buffer of its own and with shared memory."""
    program = lower(case.system, wrt=case.wrt, products=case.products)
    arrays = {**case.values, **case.cotangents, **_tangents(program.arguments, case)}
    for kernel in program.kernels:
        names = case.system.outputs if kernel.entry in ("forward", "jvp") else case.wrt
        for shared in (False, True):
            results = run_program(program, kernel.entry, case.sizes, arrays, shared=shared)
            found = _public(() if kernel.entry == "cost" else names, results)
            message = _difference(kernel.entry, found, case.wanted(kernel.entry), TOLERANCE["float64"])
            if message:
                return message + (" (in shared memory)" if shared else "")
    return ""


def _tangents(arguments: Sequence, case: Case) -> dict[str, np.ndarray]:
    """Directions by the names of the tangents that take them, in the order of `wrt`."""
    names = [a.name for a in arguments if a.kind.value == "tangent"]
    return dict(zip(names, case.directions.values(), strict=True)) if names else {}


def _kernels(case: Case, target: str, dtype: str) -> str:
    sources = render(case.system, targets=(target,), dtype=dtype, wrt=case.wrt)
    made = kernels(sources, target)
    for kernel in sources.program.kernels:
        entry = kernel.entry
        arguments = {a.name: a for a in sources.program.arguments}
        taken = {n: v.astype(dtype) for n, v in case.values.items()}
        if entry == "vjp":
            taken |= {n: v.astype(dtype) for n, v in case.cotangents.items()}
        if entry == "forward":
            needed = _needed(case.system)
            taken = {n: v for n, v in taken.items() if n in needed}
        del arguments
        result = getattr(made, entry)(**taken)
        if entry == "cost":
            found = {COST: np.asarray(result)}
        elif entry == "gradients":
            found = {COST: np.asarray(result[0]), **dict(zip(case.wrt, result[1], strict=True))}
        else:
            found = dict(zip(case.system.outputs if entry == "forward" else case.wrt, result, strict=True))
        message = _difference(entry, found, case.wanted(entry), TOLERANCE[dtype])
        if message:
            return message
    return ""


def _needed(system: System) -> set[str]:
    needed = set(system.outputs)
    for _ in system.equations:
        for equation in system.equations:
            if equation.name in needed:
                needed.update(equation.reads())
    return needed


def diagnosed(model: Model) -> str:
    """The first stage of the engine at which the gradient (or the product) is wrong, evaluated by the interpreter."""
    case = Case(model)
    batched = with_samples(case.system)
    said = []
    for entry, start in (("gradients", _gradient), ("hvp", _product), ("jvp", _jvp)):
        if entry not in ("gradients", *case.products):
            continue
        system = None
        stages: list[tuple[str, Callable[[System], System]]] = [
            ("derive", lambda _, start=start: start(case, batched)),
            ("simplified", simplified),
            ("merged_sums", merged_sums),
            ("stable", stable),
        ]
        for stage, step in stages:
            try:
                system = step(system)
                message = _stage(case, entry, system)
            except Exception as error:
                message = f"{type(error).__name__}: {error}"
            if message:
                said.append(f"after {stage}: {message}")
                break
    return "\n".join(said) or "every System is right"


def _gradient(case: Case, batched: System) -> System:
    return derive(batched, case.wrt, explain=False).result


def _product(case: Case, batched: System) -> System:
    return hessian_product(batched, case.wrt)


def _jvp(case: Case, batched: System) -> System:
    return tangent(batched, case.wrt, batched.outputs)


def _stage(case: Case, entry: str, system: System) -> str:
    values = dict(case.values)
    directions = iter(case.directions.values())
    for tensor in system.inputs:
        if tensor.tangent_of is not None:
            values[tensor.name] = next(directions)
        elif tensor.adjoint_of is not None:
            values[tensor.name] = case.cotangents[tensor.adjoint_of]
    machine = Interpreter(system, case.sizes, values)
    results = {n: machine.tensor(n) for n in system.outputs}
    names = case.system.outputs if entry == "jvp" else case.wrt
    wanted = {k: v for k, v in case.wanted(entry).items() if k != COST}
    return _difference(entry, _public(names, results), wanted, TOLERANCE["float64"])


# --- smaller models with the same fault


def shrunk(
    model: Model, fault: Finding, targets: Sequence[str] = (), seconds: float = 60, dtypes: Sequence[str] = ("float64",)
) -> Model:
    """A smaller model that shows the same fault, found within about that time."""
    end = time.monotonic() + seconds

    def same(candidate: Model) -> bool:
        try:
            return any(f.fault == fault.fault for f in compare(candidate, targets, dtypes))
        except Exception:
            return False

    progress = True
    while progress and time.monotonic() < end:
        progress = False
        for candidate in _smaller(model):
            if time.monotonic() > end:
                break
            if same(candidate):
                model, progress = candidate, True
                break
    return model


def _smaller(model: Model) -> Iterator[Model]:
    """Models that are one step smaller, the boldest steps first."""
    for name in dict.fromkeys(line.name for line in reversed(model.lines)):
        lines = tuple(line for line in model.lines if line.name != name)
        if lines:
            yield replace(model, lines=lines, outputs=tuple(o for o in model.outputs if o != name))
            yield from _given(model, name, lines)
    for name in model.outputs:
        yield replace(model, outputs=tuple(o for o in model.outputs if o != name))
    for name, value in model.sizes.items():
        for less in range(1, value):
            yield replace(model, sizes={**model.sizes, name: less})
    if model.batch > 1:
        yield replace(model, batch=1)
    for m, line in enumerate(model.lines):
        for node in line.value:
            for part in _simpler(node):
                changed = replace(line, value=line.value.replaced(node, part))
                yield replace(model, lines=(*model.lines[:m], changed, *model.lines[m + 1 :]))
    for m in range(len(model.stated)):
        yield replace(model, stated=(*model.stated[:m], *model.stated[m + 1 :]))


def _simpler(node: Node) -> Iterator[Node]:
    yield from node.parts
    if node.parts or "[" in node.template:
        yield Node("0.5")


def _given(model: Model, name: str, lines: tuple[Line, ...]) -> Iterator[Model]:
    """The model with a defined tensor given by the caller."""
    try:
        shape = tuple(str(d) for d in model.parse().tensor(name).shape)
    except (ChainruleError, KeyError):
        return
    if name != COST and not any("floor" in d or "M" in d for d in shape):
        used = any(re.search(rf"\b{name}\b", str(line.value)) for line in lines)
        outputs = tuple(o for o in model.outputs if o != name)
        made = Declared("data", name, shape, -1.0, 1.0)
        if used:
            yield replace(model, lines=lines, outputs=outputs, declared=(*model.declared, made))
