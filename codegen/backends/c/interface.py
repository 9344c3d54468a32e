"""The C surface of a program: structs, and each entry point's parameters in order.

Whoever calls the compiled code (a loader, the header, the test program) reads the order from here.
One number (shape ()) is always a `double`; arrays have the program's dtype.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sympy import Expr, Symbol

from chainrule.codegen.ir import BATCH, Buffer, Kernel, Kind, Program
from chainrule.symbolic.system import COST

from . import sizes
from .names import Names, member

__all__ = [
    "ELEMENT",
    "ENTRY_NAMES",
    "EntryPoint",
    "Interface",
    "Member",
    "Struct",
    "interface",
    "is_cost",
    "prototype",
    "real_of",
    "spell_shape",
    "tensor_of",
]

ELEMENT = {"float32": "float", "float64": "double"}
ENTRY_NAMES = {"gradients": "backward"}


@dataclass(frozen=True)
class Member:
    """One pointer of a struct: its C name, the tensor it stands for and the shape that it points to."""

    name: str
    tensor: str
    shape: tuple[Expr, ...]


@dataclass(frozen=True)
class Struct:
    """A struct of pointers: `NAME_parameters`, `NAME_cotangents`, `NAME_outputs` or `NAME_gradients`."""

    type_name: str
    members: tuple[Member, ...]
    read_only: bool

    def named(self, tensor: str) -> Member:
        return next(m for m in self.members if m.tensor == tensor)


@dataclass(frozen=True)
class EntryPoint:
    """`int NAME_entry(p, data…, c, batch, sizes…, out, g, cost, workspace, bytes)`, what it lacks left out.

    `data` are the data arrays it reads; `uses` says which of the structs and of the cost it has.
    """

    symbol: str
    kernel: Kernel
    data: tuple[Buffer, ...]
    parameters: bool
    cotangents: bool
    outputs: bool
    gradients: bool
    cost: bool


@dataclass(frozen=True)
class Interface:
    """Everything in the header. `names` holds the C names of sizes, data and the entry's own parameters."""

    program: Program
    element: str
    parameters: Struct
    cotangents: Struct
    outputs: Struct
    gradients: Struct
    entries: tuple[EntryPoint, ...]
    sizes: tuple[str, ...]
    names: dict[str, str]
    scope: Names

    @property
    def size_env(self) -> dict[Symbol, str]:
        """The C names of the size symbols."""
        return {s: self.names[str(s)] for s in (BATCH, *self.program.sizes)}

    def own(self, word: str) -> str:
        """The name of one of the entry points' own parameters: p, c, out, g, cost, workspace or bytes."""
        return self.names[f"own {word}"]

    def data(self, tensor: str) -> str:
        """The name of the parameter that passes a data array."""
        return self.names[f"data {tensor}"]


def is_cost(buffer: Buffer) -> bool:
    return buffer.name == COST and not buffer.shape


def tensor_of(buffer: Buffer) -> str:
    """The tensor that a buffer of the caller's stands for: for a derivative, the tensor it belongs to."""
    return buffer.adjoint_of or buffer.name


def real_of(element: str, shape: tuple[Expr, ...]) -> str:
    """The C type of an array's elements; one number is a double."""
    return element if shape else "double"


def spell_shape(shape: tuple[Expr, ...], env: dict[Symbol, str]) -> str:
    """A shape as the comments give it: `[batch, n]`."""
    return f"[{', '.join(sizes.plain(d, env) for d in shape)}]" if shape else "one number"


def prototype(entry: EntryPoint, face: Interface) -> str:
    """`int NAME_entry(…)`, wrapped and aligned behind the parenthesis."""
    parts = [f"const {face.parameters.type_name} *{face.own('p')}"] if entry.parameters else []
    parts += [f"const {real_of(face.element, b.shape)} *{face.data(b.name)}" for b in entry.data]
    parts += [f"const {face.cotangents.type_name} *{face.own('c')}"] if entry.cotangents else []
    parts += [f"size_t {s}" for s in face.sizes]
    parts += [f"{face.outputs.type_name} *{face.own('out')}"] if entry.outputs else []
    parts += [f"{face.gradients.type_name} *{face.own('g')}"] if entry.gradients else []
    parts += [f"double *{face.own('cost')}"] if entry.cost else []
    parts += [f"void *{face.own('workspace')}", f"size_t {face.own('bytes')}"]
    return _wrapped(f"int {entry.symbol}(", parts)


def _wrapped(head: str, parts: list[str], line: int = 118) -> str:
    """A parameter list, broken where a line would be too long."""
    rows, row = [], head
    for number, part in enumerate(parts):
        piece = part + (", " if number + 1 < len(parts) else ")")
        if len(row) + len(piece.rstrip()) > line:
            rows.append(row.rstrip())
            row = " " * len(head)
        row += piece
    return "\n".join([*rows, row])


def _members(found: Iterable[tuple[str, tuple[Expr, ...]]]) -> tuple[Member, ...]:
    unique = dict(found)
    return tuple(Member(member(tensor), tensor, shape) for tensor, shape in unique.items())


def _results(program: Program, derivative: bool) -> list[tuple[str, tuple[Expr, ...]]]:
    found = []
    for kernel in program.kernels:
        for buffer in (kernel.buffer(name) for name in kernel.results):
            if not is_cost(buffer) and (buffer.adjoint_of is not None) == derivative:
                found.append((tensor_of(buffer), buffer.shape))
    order = program.wrt if derivative else program.outputs
    place = {name: n for n, name in enumerate(order)}
    return sorted(found, key=lambda item: place.get(item[0], len(place)))


def interface(program: Program) -> Interface:
    """The C surface of the program."""
    cotangents = [(tensor_of(b), b.shape) for k in program.kernels for b in k.arguments if b.kind is Kind.COTANGENT]
    scope = Names()
    names = {str(s): scope.claim(str(s)) for s in (BATCH, *program.sizes)}
    for argument in program.data:
        names[f"data {argument.name}"] = scope.claim(argument.name)
    for own in ("p", "c", "out", "g", "cost", "workspace", "bytes"):
        names[f"own {own}"] = scope.claim(own)
    for kernel in program.kernels:
        scope.claim(f"{program.name}_{ENTRY_NAMES.get(kernel.entry, kernel.entry)}")
    for own in ("parameters", "cotangents", "outputs", "gradients", "workspace", "error"):
        scope.claim(f"{program.name}_{own}")
    return Interface(
        program,
        ELEMENT[program.dtype],
        Struct(f"{program.name}_parameters", _members((a.name, a.shape) for a in program.parameters), True),
        Struct(f"{program.name}_cotangents", _members(cotangents), True),
        Struct(f"{program.name}_outputs", _members(_results(program, False)), False),
        Struct(f"{program.name}_gradients", _members(_results(program, True)), False),
        tuple(_entry(program, k) for k in program.kernels),
        tuple(names[str(s)] for s in (BATCH, *program.sizes)),
        names,
        scope,
    )


def _entry(program: Program, kernel: Kernel) -> EntryPoint:
    results = [kernel.buffer(name) for name in kernel.results]
    place = {a.name: n for n, a in enumerate(program.arguments)}
    data = sorted((b for b in kernel.arguments if b.kind is Kind.DATA), key=lambda b: place[b.name])
    return EntryPoint(
        f"{program.name}_{ENTRY_NAMES.get(kernel.entry, kernel.entry)}",
        kernel,
        tuple(data),
        parameters=bool(program.parameters),
        cotangents=any(b.kind is Kind.COTANGENT for b in kernel.arguments),
        outputs=any(not is_cost(b) and b.adjoint_of is None for b in results),
        gradients=any(b.adjoint_of is not None for b in results),
        cost=any(is_cost(b) for b in results),
    )
