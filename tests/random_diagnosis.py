"""After a failure: the first stage of the engine that is wrong, and a smaller model with the same fault.

print(diagnosed(model))              # a System, or the kernel IR through its interpreter
small = shrunk(model, finding)       # a smaller model with the same fault
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from interpreter import Interpreter
from kernel_interpreter import run_program
from random_comparison import TOLERANCE, Case, Finding, caught, compare, difference, dtype_of
from random_formulas import Node
from random_systems import Declared, Line, Model, Written

from chainrule.codegen.lower import lower
from chainrule.symbolic.derive import derive
from chainrule.symbolic.errors import ChainruleError
from chainrule.symbolic.samples import with_samples
from chainrule.symbolic.simplify import merged_sums, simplified
from chainrule.symbolic.stable import stable
from chainrule.symbolic.system import COST, System
from chainrule.symbolic.tangents import hessian_product, tangent

__all__ = ["diagnosed", "shrunk", "stages"]


def _public(names: Sequence[str], results: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Results by public name: the cost keeps its own."""
    rest = [v for n, v in results.items() if n != COST]
    named = dict(zip(names, rest, strict=True))
    return {**({COST: results[COST]} if COST in results else {}), **named}


def _ir(case: Case) -> str:
    """The kernel IR, every buffer of its own and with shared memory."""
    program = lower(case.system, wrt=case.wrt, products=case.products)
    arrays = {**case.values, **case.cotangents, **_tangents(program.arguments, case)}
    for kernel in program.kernels:
        names = case.system.outputs if kernel.entry in ("forward", "jvp") else case.wrt
        for shared in (False, True):
            results = run_program(program, kernel.entry, case.sizes, arrays, shared=shared)
            found = _public(() if kernel.entry == "cost" else names, results)
            message = difference(kernel.entry, found, case.wanted(kernel.entry), TOLERANCE["float64"])
            if message:
                return message + (" (in shared memory)" if shared else "")
    return ""


def _tangents(arguments: Sequence, case: Case) -> dict[str, np.ndarray]:
    """Directions by the names of the tangents that take them, in the order of `wrt`."""
    names = [a.name for a in arguments if a.kind.value == "tangent"]
    return dict(zip(names, case.directions.values(), strict=True)) if names else {}


def diagnosed(model: Model | Written) -> str:
    """The first stage of the engine at which the gradient (or the product) is wrong: the kernel IR, and Systems."""
    case = Case(model)
    ir = "\n".join(f.message for f in caught("ir", lambda: _ir(case)))
    return f"{stages(case)}\n{f'kernel IR: {ir}' if ir else 'the kernel IR is right'}"


def stages(case: Case) -> str:
    """The first System on the way to the kernel IR that is wrong, evaluated by the interpreter."""
    batched = with_samples(case.system)
    said = []
    for entry, start in (("gradients", _gradient), ("hvp", _product), ("jvp", _jvp)):
        if entry not in ("gradients", *case.products):
            continue
        system = None
        steps: list[tuple[str, Callable[[System], System]]] = [
            ("derive", lambda _, start=start: start(case, batched)),
            ("simplified", simplified),
            ("merged_sums", merged_sums),
            ("stable", stable),
        ]
        for stage, step in steps:
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
    return difference(entry, _public(names, results), wanted, TOLERANCE["float64"])


# --- smaller models with the same fault


def shrunk(model: Model, fault: Finding, seconds: float = 60) -> Model:
    """A smaller model that shows the same fault, found within about that time."""
    end = time.monotonic() + seconds

    def same(candidate: Model) -> bool:
        try:
            return any(f.fault == fault.fault for f in compare(candidate, dtype_of(model.seed)))
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
