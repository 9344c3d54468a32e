"""The kernel IR: what a backend sees. Loop nests over buffers, with every shape written out.

A `Program` is one model: its signature and its kernels. A `Kernel` is a straight list of
statements; each writes one whole buffer and is one of

- `Map`:      out[i…] = body                       elementwise, indices broadcast
- `Reduce`:   out[i…] = kind over r… of body       sum, prod, max or min; the body is fused in
- `Contract`: out[i…] = Σ_r left[…] · right[…]     two accesses with plain indices: a (batched) GEMM

`check_kernel` is the IR's type checker and `format_kernel` its printer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from sympy import Dummy, Expr, Integer, Symbol

from chainrule.symbolic.expressions import Access, Call, Range, accesses, walk
from chainrule.symbolic.samples import BATCH
from chainrule.symbolic.system import Equation, FunctionDefinition

__all__ = [
    "BATCH",
    "DTYPES",
    "Argument",
    "Buffer",
    "Contract",
    "Kernel",
    "Kind",
    "Map",
    "Program",
    "Reduce",
    "Statement",
    "check_kernel",
    "format_kernel",
]

DTYPES = ("float32", "float64")


class Kind(Enum):
    """Who owns a buffer's memory."""

    DATA = "data"  # the caller, read only, leading axis BATCH
    PARAMETER = "parameter"  # the caller, read only
    COTANGENT = "cotangent"  # the caller, read only: the adjoint of an output, for a vector-Jacobian product
    OUTPUT = "output"  # the caller, written
    LOCAL = "local"  # the workspace


@dataclass(frozen=True)
class Buffer:
    """A dense row-major array. `shape` includes the batch axis; `()` is one number.

    `tensor` is the tensor of the System whose values it holds, `adjoint_of` the one whose gradient.
    `slot` names the memory: local buffers with the same slot share it, at different times or, where
    a Map reads and writes the same element, in place. A local buffer may share an output's slot.
    """

    name: str
    shape: tuple[Expr, ...]
    kind: Kind
    adjoint_of: str | None = None
    slot: str = ""

    def __post_init__(self) -> None:
        if not self.slot:
            object.__setattr__(self, "slot", self.name)


@dataclass(frozen=True)
class Statement:
    """What all statements share: the element written, the loops over it, and where it comes from.

    `ranges` are the loops over the indices of `out`, in their order; each covers its whole axis.
    `equation` is the equation of the System that asks for it; `note` says in words what was done.
    """

    out: Access
    ranges: tuple[Range, ...]
    equation: Equation = field(compare=False)
    note: str = field(default="", compare=False, kw_only=True)

    def reads(self) -> list[Access]:
        """Every buffer element on the right side."""
        raise TypeError(f"{type(self).__name__} is not a statement of its own")


@dataclass(frozen=True)
class Map(Statement):
    """out[i…] = body, elementwise."""

    body: Expr

    def reads(self) -> list[Access]:
        return accesses(self.body)


@dataclass(frozen=True)
class Reduce(Statement):
    """out[i…] = `kind` of body over the `reduced` indices."""

    kind: str
    reduced: tuple[Range, ...]
    body: Expr

    def reads(self) -> list[Access]:
        return accesses(self.body)


@dataclass(frozen=True)
class Contract(Statement):
    """out[i…] = Σ over `reduced` of left · right; every subscript is a plain index."""

    reduced: tuple[Range, ...]
    left: Access
    right: Access

    def reads(self) -> list[Access]:
        return [self.left, self.right]


@dataclass(frozen=True)
class Kernel:
    """One entry point: `entry` is "forward", "cost", "gradients" or "vjp".

    `results` are the output buffers in the order in which they are returned (for "gradients" the
    cost comes first). `functions` define the names that `Call`s in the statements use.
    """

    entry: str
    buffers: tuple[Buffer, ...]
    statements: tuple[Statement, ...]
    results: tuple[str, ...]
    functions: tuple[FunctionDefinition, ...] = ()

    def buffer(self, name: str) -> Buffer:
        """The buffer of that name; KeyError where there is none."""
        for b in self.buffers:
            if b.name == name:
                return b
        raise KeyError(name)

    @property
    def arguments(self) -> tuple[Buffer, ...]:
        """The caller's read-only buffers, in order."""
        return tuple(b for b in self.buffers if b.kind in (Kind.DATA, Kind.PARAMETER, Kind.COTANGENT))

    @property
    def slots(self) -> Mapping[str, Buffer]:
        """The workspace: one buffer for each local slot (all that share it have the same shape)."""
        owned = {b.slot for b in self.buffers if b.kind is Kind.OUTPUT}
        found: dict[str, Buffer] = {}
        for b in self.buffers:
            if b.kind is Kind.LOCAL and b.slot not in owned:
                found.setdefault(b.slot, b)
        return found


@dataclass(frozen=True)
class Argument:
    """A tensor that the caller passes; `shape` is that of one sample (no batch axis)."""

    name: str
    shape: tuple[Expr, ...]
    kind: Kind


@dataclass(frozen=True)
class Program:
    """One model, lowered: the signature that every backend and caller shares, and the kernels.

    `sizes` are the size symbols in the order of the size arguments (BATCH apart). `wrt` are the
    tensors whose gradients are returned, in order; `outputs` what forward returns.
    """

    name: str
    dtype: str
    sizes: tuple[Symbol, ...]
    arguments: tuple[Argument, ...]
    outputs: tuple[str, ...]
    wrt: tuple[str, ...]
    kernels: tuple[Kernel, ...]
    formulas: tuple[Equation, ...] = ()  # the model as the user wrote it, for comments

    def kernel(self, entry: str) -> Kernel:
        """The kernel of that entry; KeyError where the model has none."""
        for k in self.kernels:
            if k.entry == entry:
                return k
        raise KeyError(entry)

    @property
    def entries(self) -> tuple[str, ...]:
        return tuple(k.entry for k in self.kernels)

    @property
    def data(self) -> tuple[Argument, ...]:
        return tuple(a for a in self.arguments if a.kind is Kind.DATA)

    @property
    def parameters(self) -> tuple[Argument, ...]:
        return tuple(a for a in self.arguments if a.kind is Kind.PARAMETER)


def check_kernel(kernel: Kernel) -> None:
    """Raise ValueError, naming the statement, unless the kernel is well formed.

    Every buffer is declared once, written before it is read and written by one statement; ranks and
    loop bounds agree with shapes; contractions have plain indices; calls have definitions.
    """
    names = [b.name for b in kernel.buffers]
    if len(set(names)) != len(names):
        raise ValueError(f"{kernel.entry}: a buffer is declared twice")
    shapes: dict[str, tuple[Expr, ...]] = {}
    for b in kernel.buffers:
        if b.kind is Kind.LOCAL and shapes.setdefault(b.slot, b.shape) != b.shape:
            raise ValueError(f"{kernel.entry}: buffers of different shapes share the slot {b.slot!r}")
    ready = {b.name for b in kernel.arguments}
    defined = {f.name for f in kernel.functions if f.body is not None}
    for statement in kernel.statements:
        for problem in _problems(kernel, statement, ready, defined):
            raise ValueError(f"{kernel.entry}: {format_statement(statement)}: {problem}")
        ready.add(statement.out.name)
    for name in kernel.results:
        if name not in ready:
            raise ValueError(f"{kernel.entry}: the result {name!r} is never written")


def _problems(kernel: Kernel, statement: Statement, ready: set[str], defined: set[str]) -> Iterator[str]:
    loops = {r.symbol: r for r in (*statement.ranges, *getattr(statement, "reduced", ()))}
    if statement.out.name in ready:
        yield f"{statement.out.name} is written twice"
    if statement.out.indices != tuple(r.symbol for r in statement.ranges):
        yield "the loops are not the left side's indices in order"
    for access in (statement.out, *statement.reads()):
        try:
            buffer = kernel.buffer(access.name)
        except KeyError:
            yield f"{access.name} is not a buffer"
            return
        if access is not statement.out and access.name not in ready:
            yield f"{access.name} is read before it is written"
        if len(access.indices) != len(buffer.shape):
            yield f"{access} has {len(access.indices)} indices, its buffer {len(buffer.shape)} axes"
        for subscript, extent in zip(access.indices, buffer.shape, strict=False):
            if isinstance(subscript, Dummy):
                loop = loops.get(subscript)
                if loop is None:
                    yield f"{access} uses an index that no loop binds"
                elif loop.lower != 0 or loop.extent - extent != 0:
                    yield f"the loop over {subscript} does not cover its axis of {access.name}"
            elif isinstance(statement, Contract) or not isinstance(subscript, Integer):
                yield f"{access} has a subscript that is not a plain index"
    body = getattr(statement, "body", None)
    if body is not None:
        for node in walk(body):
            if isinstance(node, Call) and node.name not in defined:
                yield f"{node.name} has no definition"


def format_statement(statement: Statement) -> str:
    """One line: `map`, `reduce` or `contract`, the element written and its right side."""
    if isinstance(statement, Map):
        return f"map      {statement.out} = {statement.body}"
    if isinstance(statement, Reduce):
        over = ", ".join(str(r.symbol) for r in statement.reduced)
        return f"reduce   {statement.out} = {statement.kind}[{over}]({statement.body})"
    if isinstance(statement, Contract):
        over = ", ".join(str(r.symbol) for r in statement.reduced)
        return f"contract {statement.out} = sum[{over}]({statement.left} * {statement.right})"
    raise TypeError(f"unknown statement {statement!r}")


def format_kernel(kernel: Kernel, dtype: str = "float64") -> str:
    """The kernel as text: buffers with kind, dtype, shape and slot, then one statement a line."""
    lines = [f"kernel {kernel.entry}"]
    for b in kernel.buffers:
        shape = ", ".join(str(d) for d in b.shape)
        slot = "" if b.slot == b.name else f" in {b.slot}"
        lines.append(f"  {b.kind.value:<9} {b.name}: {dtype}[{shape}]{slot}")
    lines.extend(f"  {format_statement(s)}" for s in kernel.statements)
    lines.append(f"  return {', '.join(kernel.results)}")
    return "\n".join(lines)
