"""The C surface of a program: structs, and each entry point's parameters in order.

Whoever calls the compiled code (a loader, the header, the test program) reads the order from here.
Gradients and their products (`hvp`, `gauss_newton`) share a struct, as they share their shapes. One
number (shape ()) is always a `double`; arrays have the program's dtype.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sympy import Expr, Symbol

from chainrule.codegen.ir import BATCH, Buffer, Kernel, Kind, Program
from chainrule.symbolic.affine import nonnegative
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
_GRADIENTS = ("gradients", "vjp", "hvp", "gauss_newton")
"""Entries whose results have the shapes of what is differentiated in."""


@dataclass(frozen=True)
class Member:
    """One pointer of a struct: its C name, the tensor it stands for and the shape that it points to."""

    name: str
    tensor: str
    shape: tuple[Expr, ...]


@dataclass(frozen=True)
class Struct:
    """A struct of pointers, such as `NAME_parameters` or `NAME_gradients`."""

    type_name: str
    members: tuple[Member, ...]
    read_only: bool

    def named(self, tensor: str) -> Member:
        return next(m for m in self.members if m.tensor == tensor)


@dataclass(frozen=True)
class EntryPoint:
    """`int NAME_entry(p, data…, c, v, batch, sizes…, out, g, cost, workspace, bytes)`, what it lacks left out.

    `data` are the data arrays it reads; `parameters`, `cotangents` and `tangents` say which structs it
    reads, `outputs` and `gradients` which it writes: the struct, or None.
    """

    symbol: str
    kernel: Kernel
    data: tuple[Buffer, ...]
    parameters: Struct | None
    cotangents: Struct | None
    tangents: Struct | None
    outputs: Struct | None
    gradients: Struct | None
    cost: bool

    @property
    def structs(self) -> Mapping[str, Struct]:
        """The structs by the name of their argument: p, c, v, out, g."""
        found = {
            "p": self.parameters,
            "c": self.cotangents,
            "v": self.tangents,
            "out": self.outputs,
            "g": self.gradients,
        }
        return {word: struct for word, struct in found.items() if struct is not None}

    def word(self, buffer: Buffer) -> str | None:
        """The argument in whose struct a buffer stands; None for data, the cost and the workspace."""
        if buffer.kind is Kind.OUTPUT:
            return None if is_cost(buffer) else "out" if self.gradients is None else "g"
        return {Kind.PARAMETER: "p", Kind.COTANGENT: "c", Kind.TANGENT: "v"}.get(buffer.kind)

    def member(self, buffer: Buffer) -> Member | None:
        """The member of a struct that leads to the buffer."""
        word = self.word(buffer)
        return self.structs[word].named(self.tensor(buffer)) if word is not None else None

    def tensor(self, buffer: Buffer) -> str:
        """The tensor that stands for a buffer of the caller's: for a derivative, what it is the derivative in."""
        if buffer.kind is Kind.OUTPUT and self.gradients is not None:
            written = [name for name in self.kernel.results if name != COST]
            return self.gradients.members[written.index(buffer.name)].tensor
        return tensor_of(buffer)


@dataclass(frozen=True)
class Interface:
    """Everything in the header. `names` holds the C names of sizes, data and the entry's own parameters.

    `axes` are the extents that a call has checked: they are computed from sizes, and at least 1.
    """

    program: Program
    element: str
    structs: tuple[Struct, ...]
    entries: tuple[EntryPoint, ...]
    sizes: tuple[str, ...]
    names: dict[str, str]
    scope: Names

    def struct(self, kind: str) -> Struct:
        """The struct `NAME_kind`, such as `NAME_parameters`; it may have no members."""
        return next(s for s in self.structs if s.type_name == f"{self.program.name}_{kind}")

    @property
    def parameters(self) -> Struct:
        return self.struct("parameters")

    @property
    def cotangents(self) -> Struct:
        return self.struct("cotangents")

    @property
    def outputs(self) -> Struct:
        return self.struct("outputs")

    @property
    def gradients(self) -> Struct:
        return self.struct("gradients")

    @property
    def axes(self) -> tuple[Expr, ...]:
        shapes = [(BATCH, *a.shape) for a in self.program.arguments]
        shapes += [m.shape for s in self.structs for m in s.members]
        found = dict.fromkeys(d for shape in shapes for d in shape if d.free_symbols and not d.is_Symbol)
        return tuple(d for d in found if not nonnegative(d - 1, {}))

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
    given = {w: f"const {s.type_name} *{face.own(w)}" for w, s in entry.structs.items() if s.read_only}
    written = [f"{s.type_name} *{face.own(w)}" for w, s in entry.structs.items() if not s.read_only]
    data = [f"const {real_of(face.element, b.shape)} *{face.data(b.name)}" for b in entry.data]
    parts = [given.pop("p")] if "p" in given else []
    parts += [*data, *given.values(), *(f"size_t {s}" for s in face.sizes), *written]
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


def _shapes(program: Program, entries: Iterable[str], names: Sequence[str]) -> list[tuple[str, tuple[Expr, ...]]]:
    """The shapes of kernels' results (the cost apart), under the given names."""
    found: dict[str, tuple[Expr, ...]] = {}
    for entry in entries:
        kernel = program.kernel(entry)
        written = [kernel.buffer(name) for name in kernel.results if name != COST]
        for name, buffer in zip(names, written, strict=True):
            found.setdefault(name, buffer.shape)
    return list(found.items())


def _structs(program: Program) -> tuple[Struct, ...]:
    """Every struct of the program, those without members too."""
    entries = set(program.entries)
    given = [(a.kind, a.name, (BATCH, *a.shape) if a.per_sample else a.shape) for a in program.arguments]
    cotangents, tangents = ([(n, s) for k, n, s in given if k is kind] for kind in (Kind.COTANGENT, Kind.TANGENT))
    moved = program.kernel("jvp").results if "jvp" in entries else ()
    found: list[tuple[str, bool, Iterable[tuple[str, tuple[Expr, ...]]]]] = [
        ("parameters", True, ((a.name, a.shape) for a in program.parameters)),
        ("cotangents", True, cotangents),
        ("tangents", True, tangents),
        ("outputs", False, _shapes(program, [e for e in ("forward",) if e in entries], program.outputs)),
        ("output_tangents", False, _shapes(program, [e for e in ("jvp",) if e in entries], moved)),
        ("gradients", False, _shapes(program, [e for e in _GRADIENTS if e in entries], program.wrt)),
    ]
    return tuple(Struct(f"{program.name}_{kind}", _members(m), read_only) for kind, read_only, m in found)


def interface(program: Program) -> Interface:
    """The C surface of the program."""
    scope = Names()
    names = {str(s): scope.claim(str(s)) for s in (BATCH, *program.sizes)}
    structs = _structs(program)
    for argument in program.data:
        names[f"data {argument.name}"] = scope.claim(argument.name)
    moves = any(a.kind is Kind.TANGENT for a in program.arguments)
    for own in ("p", "c", *(["v"] if moves else []), "out", "g", "cost", "workspace", "bytes"):
        names[f"own {own}"] = scope.claim(own)
    for kernel in program.kernels:
        scope.claim(f"{program.name}_{ENTRY_NAMES.get(kernel.entry, kernel.entry)}")
    for struct in structs:
        scope.claim(struct.type_name)
    for own in ("workspace", "error"):
        scope.claim(f"{program.name}_{own}")
    return Interface(
        program,
        ELEMENT[program.dtype],
        structs,
        tuple(_entry(program, k, structs) for k in program.kernels),
        tuple(names[str(s)] for s in (BATCH, *program.sizes)),
        names,
        scope,
    )


def _entry(program: Program, kernel: Kernel, structs: Sequence[Struct]) -> EntryPoint:
    parameters, cotangents, tangents, outputs, output_tangents, gradients = structs
    results = [kernel.buffer(name) for name in kernel.results]
    kinds = {b.kind for b in kernel.arguments}
    place = {a.name: n for n, a in enumerate(program.arguments)}
    data = sorted((b for b in kernel.arguments if b.kind is Kind.DATA), key=lambda b: place[b.name])
    written = {"forward": outputs, "jvp": output_tangents}.get(kernel.entry)
    return EntryPoint(
        f"{program.name}_{ENTRY_NAMES.get(kernel.entry, kernel.entry)}",
        kernel,
        tuple(data),
        parameters=parameters if program.parameters else None,
        cotangents=cotangents if Kind.COTANGENT in kinds else None,
        tangents=tangents if Kind.TANGENT in kinds else None,
        outputs=written,
        gradients=gradients if kernel.entry in _GRADIENTS else None,
        cost=any(is_cost(b) for b in results),
    )
