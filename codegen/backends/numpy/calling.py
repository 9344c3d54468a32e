"""The calling layer of a NumPy module as strings: signatures, tables of shapes, docstrings.

Each entry point takes every array that its formulas need, by name. Sizes come from shapes; those
that no shape gives away are keyword arguments too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import sympy as sp
from sympy import Expr, Symbol

from chainrule.codegen.entries import PRODUCTS
from chainrule.codegen.ir import BATCH, Buffer, Kernel, Kind, Program
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.system import COST

from .names import checked
from .sizes import whole_text

__all__ = ["Argument", "Calling", "Function", "calling", "quoted"]

TUPLES = {
    "forward": "Outputs",
    "gradients": "Gradients",
    "vjp": "Gradients",
    "jvp": "Tangents",
    "hvp": "HessianProduct",
    "gauss_newton": "GaussNewtonProduct",
}
_KINDS = {
    Kind.DATA: "data",
    Kind.PARAMETER: "parameter",
    Kind.COTANGENT: "cotangent",
    Kind.TANGENT: "tangent",
}


@dataclass(frozen=True)
class Argument:
    """An array that callers pass by `name`; `shape` includes the batch axis."""

    name: str
    kind: Kind
    shape: tuple[Expr, ...]


@dataclass(frozen=True)
class Function:
    """A function or method of the generated module."""

    name: str
    signature: str
    summary: str
    details: tuple[str, ...] = ()
    result: str = ""
    data: tuple[str, ...] = ()
    body: tuple[str, ...] = ()


def display(items: Iterable[str]) -> str:
    """A tuple display of Python texts."""
    parts = list(items)
    return f"({parts[0]},)" if len(parts) == 1 else f"({', '.join(parts)})"


def quoted(names: Iterable[str]) -> str:
    """A tuple display of names."""
    return display(f'"{n}"' for n in names)


class Calling:
    """Everything that the template's calling layer needs to know of a program."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.names: dict[Symbol, str] = {s: s.name for s in (BATCH, *program.sizes)}
        self.arguments = {a.name: a for a in _arguments(program)}
        for name in [*self.arguments, *map(str, program.sizes)]:
            checked(name)
        reserved = {str(BATCH), "self"}
        taken = [*self.arguments, *map(str, program.sizes)]
        for name in taken:
            if name in reserved or taken.count(name) > 1:
                raise LoweringError(f"{name!r} has another meaning in a kernel's signature: rename the tensor or size")

    # --- tables

    def axis(self, extent: Expr) -> str:
        """An axis as the tables write it: a number, or the text of a size."""
        return str(int(extent)) if extent.is_Integer else f'"{self.text(extent)}"'

    def text(self, extent: Expr) -> str:
        return whole_text(extent, self.names)

    def shape(self, shape: Iterable[Expr]) -> str:
        return display(self.axis(d) for d in shape)

    def bracket(self, shape: Sequence[Expr]) -> str:
        return f"[{', '.join(self.text(d) for d in shape)}]" if shape else "one number"

    def lengths(self) -> list[str]:
        """The table of axes whose length is an expression, as lines."""
        shapes = [a.shape for a in self.arguments.values()]
        shapes += [b.shape for k in self.program.kernels for b in self.results(k).values()]
        extents = {self.text(d): d for s in shapes for d in s if not d.is_Integer and not d.is_Symbol}
        if not extents:
            return ["_LENGTHS = {}  # no axis is longer than a name says"]
        rows = []
        for text, extent in extents.items():
            sizes = sorted(str(s) for s in extent.free_symbols)
            linear = sorted(str(s) for s in extent.free_symbols if _linear(extent, s))
            rows.append(f'    "{text}": ({quoted(sizes)}, lambda {", ".join(sizes)}: {text}, {quoted(linear)}),')
        return ["_LENGTHS = {", *rows, "}"]

    def results(self, kernel: Kernel) -> dict[str, Buffer]:
        """Public name → buffer of what the kernel returns besides the cost."""
        buffers = [kernel.buffer(name) for name in kernel.results if name != COST]
        outputs = self.program.outputs
        names = {"forward": outputs, "jvp": outputs, "cost": ()}.get(kernel.entry, self.program.wrt)
        named = dict(zip(names, buffers, strict=True))
        for name, buffer in named.items():
            if kernel.entry in ("gradients", "vjp") and (buffer.adjoint_of or name) != name:
                raise ValueError(f"{kernel.entry} returns the gradient of {buffer.adjoint_of} in the place of {name}'s")
        return named

    def reads(self, kernel: Kernel, *kinds: Kind) -> list[str]:
        """Public names of the kernel's own arguments of those kinds, in the order in which its function has them."""
        return [_public(b) for b in kernel.arguments if b.kind in kinds]

    # --- signatures

    def takes(self, kernel: Kernel) -> list[str]:
        """What callers of the entry pass: whatever the formulas of its results mention."""
        kinds = [Kind.DATA, Kind.PARAMETER]
        kinds += [Kind.COTANGENT] if kernel.entry in ("vjp", "hvp") else []  # of the outputs that the caller weighs
        kinds += [Kind.TANGENT] if kernel.entry in PRODUCTS else []
        if kernel.entry != "forward":
            return [a.name for a in self.arguments.values() if a.kind in kinds]
        needed = {_public(b) for b in kernel.arguments} | set(self.program.outputs)
        for equation in reversed(self.program.formulas):
            if equation.name in needed:
                needed.update(equation.reads())
        return [a.name for a in self.arguments.values() if a.kind in kinds and a.name in needed]

    def unsolved(self, names: Iterable[str]) -> list[str]:
        """Sizes that the shapes of those arrays do not give away: bare axes first, then expressions one by one."""
        extents = [d for n in names for d in self.arguments[n].shape]
        known = {d for d in extents if d.is_Symbol}
        for _ in self.program.sizes:
            for extent in extents:
                missing = extent.free_symbols - known
                if len(missing) == 1 and _linear(extent, *missing):
                    known |= missing
        return [str(s) for s in self.program.sizes if s not in known]

    def entry(self, kernel: Kernel) -> Function:
        """The module's function for a kernel."""
        names = self.takes(kernel)
        sizes = self.unsolved(names)
        samples = any(BATCH in b.shape for b in self.results(kernel).values())
        if samples and not any(BATCH in self.arguments[n].shape for n in names):
            sizes.append(str(BATCH))
        given = ", ".join(f'"{n}": {n}' for n in names)
        known = "".join(f", {s}={s}" for s in sizes)
        return Function(
            kernel.entry,
            f"*, {', '.join([*names, *sizes])}" if names or sizes else "",
            _summary(kernel, self.program),
            ("", *self.documented(names, sizes), *self.returned(kernel)),
            f'_call("{kernel.entry}", {{{given}}}{known})',
        )

    def documented(self, names: Iterable[str], sizes: Iterable[str] = ()) -> list[str]:
        lines = [f"{n}: {self.bracket(self.arguments[n].shape)}, {_KINDS[self.arguments[n].kind]}" for n in names]
        return [*lines, *(f"{s}: a size that no shape gives away" for s in sizes)]

    def returned(self, kernel: Kernel) -> list[str]:
        found = [f"{name} {self.bracket(b.shape)}" for name, b in self.results(kernel).items()]
        fields = f"({', '.join(found)})" if found else ""
        parts = ["the cost, a float"] if COST in kernel.results else []
        parts += [f"{TUPLES[kernel.entry]}{fields}"] if fields else []
        return ["", f"Returns {' and '.join(parts)}.", "Raises ShapeError or TypeError for an array that does not fit."]

    def bind(self) -> Function:
        """The module's function that makes a plan."""
        names = [a.name for a in self.arguments.values() if a.kind is Kind.PARAMETER]
        needed = self.unsolved(names)
        free = [str(s) for s in self.program.sizes if str(s) not in needed]
        signature = ", ".join(["batch", *(["*"] if names or self.program.sizes else []), *names, *needed])
        signature += "".join(f", {s}=None" for s in free)
        given = ", ".join(f'"{n}": {n}' for n in names)
        known = "".join(f", {s}={s}" for s in [*needed, *free])
        details = [
            "",
            "Buffers are allocated once and parameters bound by reference: what is written to them later,",
            "in place, is seen by the next call. Parameters have to be C-contiguous arrays of DTYPE.",
            *([""] if names else []),
            *self.documented(names),
        ]
        result = f"_bind(batch, {{{given}}}{known})"
        return Function("bind", signature, "A Plan for one batch size.", tuple(details), result)

    def methods(self) -> list[Function]:
        """The plan's methods: a call runs the gradients (or vjp) kernel."""
        found = []
        for kernel in self.program.kernels:
            main = kernel.entry == self.main
            taken = tuple(n for n in self.takes(kernel) if self.arguments[n].kind is not Kind.PARAMETER)
            reads = self.reads(kernel, Kind.DATA, Kind.COTANGENT, Kind.TANGENT)
            step = "self._step" if main else f'self._steps.get("{kernel.entry}") or self._prepare("{kernel.entry}")'
            run = f"self._run({', '.join([step, *reads])})"
            if COST in kernel.results:
                body = [f"return {run}"]
            else:
                result = "self.gradients" if main else f'self._results["{kernel.entry}"]'
                body = [run, f"return {result}"]
            name = "__call__" if main else kernel.entry
            summary = f"{_summary(kernel, self.program)} {_PLAN_RESULT[kernel.entry]}"
            found.append(Function(name, ", ".join(["self", *taken]), summary, data=taken, body=tuple(body)))
        return sorted(found, key=lambda f: f.name != "__call__")

    @property
    def main(self) -> str:
        """The entry that calling a plan runs."""
        return next((e for e in ("gradients", "vjp") if e in self.program.entries), "")


_PLAN_RESULT = {
    "forward": "Views of the plan's arrays.",
    "cost": "",
    "gradients": "The gradients are in `self.gradients`.",
    "vjp": "They stay in `self.gradients`.",
    "jvp": "Views of the plan's arrays.",
    "hvp": "Views of the plan's arrays.",
    "gauss_newton": "Views of the plan's arrays.",
}


def _summary(kernel: Kernel, program: Program) -> str:
    wrt, outputs = ", ".join(program.wrt), ", ".join(program.outputs)
    weighed = "cost_avg's Hessian" if COST in program.entries else "the Hessian of what the cotangents weigh"
    return {
        "forward": f"The outputs {', '.join(program.outputs)}.",
        "cost": "cost_avg, the mean over the batch of the cost of one sample.",
        "gradients": f"cost_avg and its gradients with respect to {wrt}, in one pass.",
        "vjp": f"The vector-Jacobian product: gradients with respect to {wrt} of what the cotangents weigh.",
        "jvp": f"The Jacobian-vector product: tangents of {outputs} in the direction of the tangents.",
        "hvp": f"The product of {weighed} with respect to {wrt} with the tangents.",
        "gauss_newton": f"The product of cost_avg's Gauss-Newton matrix with respect to {wrt} with the tangents.",
    }[kernel.entry]


def _linear(extent: Expr, size: Symbol) -> bool:
    """Whether the length tells the size, once the other sizes are known."""
    return bool(extent.is_polynomial(size) and sp.degree(extent, size) == 1)


def _public(buffer: Buffer) -> str:
    """The name by which callers pass a buffer: a cotangent has that of its output."""
    return (buffer.adjoint_of or buffer.name) if buffer.kind is Kind.COTANGENT else buffer.name


def _arguments(program: Program) -> Iterable[Argument]:
    """The program's arguments with their shapes in a kernel, the batch axis included."""
    seen = {(_public(b), b.kind): b.shape for k in program.kernels for b in k.arguments}
    for a in program.arguments:
        usual = (BATCH, *a.shape) if a.per_sample or a.kind is Kind.DATA else a.shape
        yield Argument(a.name, a.kind, seen.get((a.name, a.kind), usual))


def calling(program: Program) -> Calling:
    """The calling layer of a program. Raises LoweringError for names that Python cannot take."""
    return Calling(program)
