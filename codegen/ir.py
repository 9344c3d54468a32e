"""The kernel IR: what a backend sees. Loop nests over buffers, with every shape written out.

A `Program` is one model: its signature and its kernels. A `Kernel` is a list of statements, each
of which is one of

- `Map`:      out[i…] = body                       elementwise, indices broadcast
- `Reduce`:   out[i…] = kind over r… of body       sum, prod, max or min; the body is fused in
- `Contract`: out[i…] = Σ_r left[…] · right[…]     two accesses: a (batched) GEMM where subscripts are plain
- `Scatter`:  out = 0; out[f(i…)] += body           where an index cannot be solved for
- `Scan`:     for t…: statements                   a recurrence, in order of t or against it

Subscripts on the right are affine in the loop indices and sizes; bounds of a loop may depend on the
loops before it. A guarded combination (`guards`) that fails takes no part, and is not read.

`ir_check.check_kernel` is its type checker and `ir_text.format_kernel` its printer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from sympy import Expr, Symbol

from chainrule.symbolic.expressions import Access, Range, accesses
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
    "Scan",
    "Scatter",
    "Statement",
]

DTYPES = ("float32", "float64")


class Kind(Enum):
    """Who owns a buffer's memory."""

    DATA = "data"  # the caller, read only, leading axis BATCH
    PARAMETER = "parameter"  # the caller, read only
    COTANGENT = "cotangent"  # the caller, read only: the adjoint of an output, for a vector-Jacobian product
    TANGENT = "tangent"  # the caller, read only: the direction of an input, for a product with a Jacobian or Hessian
    OUTPUT = "output"  # the caller, written
    LOCAL = "local"  # the workspace


@dataclass(frozen=True)
class Buffer:
    """A dense row-major array. `shape` includes the batch axis; `()` is one number.

    `tensor` is the tensor of the System whose values it holds, `adjoint_of` the one whose gradient,
    `tangent_of` the one whose tangent.
    `slot` names the memory: local buffers with the same slot share it, at different times or, where
    a Map reads and writes the same element, in place. A local buffer may share an output's slot.
    """

    name: str
    shape: tuple[Expr, ...]
    kind: Kind
    adjoint_of: str | None = None
    slot: str = ""
    tangent_of: str | None = None

    def __post_init__(self) -> None:
        if not self.slot:
            object.__setattr__(self, "slot", self.name)


@dataclass(frozen=True)
class Statement:
    """What all statements share: the element written, the loops over it, and where it comes from.

    `ranges` are the loops over the indices of `out`, in their order; a range may cover part of its
    axis, and a subscript of `out` may be a number or the index of an enclosing Scan instead.
    `equation` is the equation of the System that asks for it; `note` says in words what was done.
    `when` are affine conditions >= 0 on the indices of enclosing Scans and on sizes.
    """

    out: Access
    ranges: tuple[Range, ...]
    equation: Equation = field(compare=False)
    note: str = field(default="", compare=False, kw_only=True)
    when: tuple[Expr, ...] = field(default=(), kw_only=True)

    @property
    def loops(self) -> tuple[Range, ...]:
        """Every loop of the statement, the outermost first."""
        return self.ranges

    @property
    def whole(self) -> bool:
        """Whether every loop covers a box from 0: no bound depends on another index."""
        symbols = {r.symbol for r in self.loops}
        return all(r.lower == 0 and not r.upper.free_symbols & symbols for r in self.loops)

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
    """out[i…] = `kind` of body over the `reduced` indices, where all `guards` are >= 0.

    The value of an empty reduction is 0 for a sum and 1 for a product.
    """

    kind: str
    reduced: tuple[Range, ...]
    body: Expr
    guards: tuple[Expr, ...] = ()

    @property
    def loops(self) -> tuple[Range, ...]:
        return (*self.ranges, *self.reduced)

    def reads(self) -> list[Access]:
        return accesses(self.body)


@dataclass(frozen=True)
class Contract(Statement):
    """out[i…] = Σ over `reduced` of left · right, over whole boxes, every access in range."""

    reduced: tuple[Range, ...]
    left: Access
    right: Access

    @property
    def loops(self) -> tuple[Range, ...]:
        return (*self.ranges, *self.reduced)

    @property
    def plain(self) -> bool:
        """Whether every subscript is a loop index of its own: a (batched) matrix product."""
        symbols = {r.symbol for r in self.loops}
        return all(
            set(a.indices) <= symbols and len(set(a.indices)) == len(a.indices)
            for a in (self.out, self.left, self.right)
        )

    def reads(self) -> list[Access]:
        return [self.left, self.right]


@dataclass(frozen=True)
class Scatter(Statement):
    """out = 0, then out[f(i…)] += body over all loops; subscripts of `out` are affine in them."""

    body: Expr
    guards: tuple[Expr, ...] = ()

    def reads(self) -> list[Access]:
        return accesses(self.body)


@dataclass(frozen=True)
class Scan:
    """The statements once for each value of an index, in order (`reverse`: from the last to the first)."""

    range: Range
    reverse: bool
    statements: tuple[Statement, ...]

    def reads(self) -> list[Access]:
        """Every buffer element on a right side."""
        return list(dict.fromkeys(a for s in self.statements for a in s.reads()))


@dataclass(frozen=True)
class Kernel:
    """One entry point: `entry` is "forward", "cost", "gradients", "vjp", or one of PRODUCTS.

    `results` are the output buffers in the order in which they are returned (for "gradients" the
    cost comes first). `functions` define the names that `Call`s in the statements use.
    """

    entry: str
    buffers: tuple[Buffer, ...]
    statements: tuple[Statement | Scan, ...]
    results: tuple[str, ...]
    functions: tuple[FunctionDefinition, ...] = ()

    def buffer(self, name: str) -> Buffer:
        """The buffer of that name; KeyError where there is none."""
        for b in self.buffers:
            if b.name == name:
                return b
        raise KeyError(name)

    @property
    def flat(self) -> tuple[Statement, ...]:
        """Every statement in order, those inside scans too."""
        return tuple(s for top in self.statements for s in (top.statements if isinstance(top, Scan) else (top,)))

    @property
    def arguments(self) -> tuple[Buffer, ...]:
        """The caller's read-only buffers, in order."""
        return tuple(b for b in self.buffers if b.kind not in (Kind.OUTPUT, Kind.LOCAL))

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
    """A tensor that the caller passes; `shape` is that of one sample (no batch axis).

    A cotangent is passed under its output's name, a tangent under its own (`w_dot`).
    `per_sample` says whether it has the batch axis.
    """

    name: str
    shape: tuple[Expr, ...]
    kind: Kind
    per_sample: bool = False


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
