"""`NAME_test.c`: a program that holds the kernels against a differentiated reference in plain loops."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sympy import Add, Integer

from chainrule.codegen.ir import BATCH, Buffer, Kernel, Kind, Map, Program, Reduce
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Range, index
from chainrule.symbolic.system import COST, Equation

from . import sizes
from .body import Body
from .functions import FunctionTable, with_sizes_inlined
from .helpers import helper_texts
from .interface import EntryPoint, Interface, Struct, real_of, spell_shape, tensor_of
from .names import Names, member
from .nest import Prover
from .render import called, fill

__all__ = ["render_test"]

_TRIALS = (
    (1, 1, 1, 1, 1, 1, 1),
    (3, 2, 5, 3, 4, 2, 3),
    (7, 5, 3, 4, 2, 3, 5),
    (5, 17, 6, 7, 3, 4, 2),
    (2, 9, 33, 2, 5, 3, 4),
)
"""Batch and sizes of each run; further sizes repeat."""


@dataclass(frozen=True)
class _Tensor:
    """One input of the model, or the cotangent of one of its outputs."""

    field: str
    tensor: str
    kind: Kind
    shape: str
    elements: str
    real: str
    data: bool


def render_test(face: Interface) -> str:
    """The text of the test program of a model that has gradients: those with respect to inputs are tested.

    A tensor that an equation defines cannot be varied by itself. Raises LoweringError where there are only such.
    """
    entry = next(e for e in face.entries if e.gradients)
    tensors = _tensors(face)
    fields = {t.tensor: t.field for t in tensors if t.kind is not Kind.COTANGENT}
    reference = _Reference(face, tensors)
    narrow = face.element == "float"
    gradients = [
        {
            "label": m.tensor,
            "field": fields[m.tensor],
            "result": f"g.{m.name}",
            "elements": sizes.elements(m.shape, face.size_env),
            "real": real_of(face.element, m.shape),
        }
        for m in face.gradients.members
        if m.tensor in fields
    ]
    if not gradients:
        raise LoweringError("no gradient can be tested: with_test needs one with respect to data or a parameter")
    strings = reference.strings()
    text = str(strings["reference_statements"]) + str(strings["reference_elements"])
    return fill(
        "test.c.jinja",
        **strings,
        **called(text, "larger", "smaller", "monus", "memset"),
        **_call(face, entry, tensors),
        name=face.program.name,
        real=face.element,
        derivative=entry.symbol.removeprefix(f"{face.program.name}_"),
        tensors=tensors,
        gradients=gradients,
        comparisons=sorted({g["real"] for g in gradients}),
        sizes=face.sizes,
        size_format=", ".join(f"{s} %zu" for s in face.sizes),
        size_lines=[f"const size_t {s} = at->{s};" for s in face.sizes] + [f"(void){s};" for s in face.sizes],
        trials=_trials(face),
        narrows=narrow and any(t.real == "float" for t in tensors),
        step="1e-3",
        tolerance="1e-4" if narrow else "1e-7",
        noise="1e-6" if narrow else "1e-10",
    )


def _trials(face: Interface) -> list[tuple[int, ...]]:
    count = len(face.sizes)
    return list(dict.fromkeys(tuple(row[n % len(row)] for n in range(count)) for row in _TRIALS))


def _tensors(face: Interface) -> list[_Tensor]:
    scope, found = Names(), []
    for kind, described in (
        (Kind.PARAMETER, [(a.name, a.shape) for a in face.program.parameters]),
        (Kind.DATA, [(a.name, (BATCH, *a.shape)) for a in face.program.data]),
        (Kind.COTANGENT, [(m.tensor, m.shape) for m in face.cotangents.members]),
    ):
        for tensor, shape in described:
            wanted = f"cotangent_{tensor}" if kind is Kind.COTANGENT else member(tensor)
            text, count = spell_shape(shape, face.size_env), sizes.elements(shape, face.size_env)
            found.append(
                _Tensor(scope.claim(wanted), tensor, kind, text, count, real_of(face.element, shape), kind is Kind.DATA)
            )
    return found


class _Reference:
    """The scalar whose derivatives are wanted, as a kernel of plain loops in double precision."""

    def __init__(self, face: Interface, tensors: list[_Tensor]) -> None:
        program = face.program
        self.face, self.tensors = face, tensors
        self.cost = COST in program.entries
        kernel = program.kernel(COST) if self.cost else _weighted(program, face)
        buffers = tuple(replace(b, kind=Kind.LOCAL) if b.kind is Kind.OUTPUT else b for b in kernel.buffers)
        self.kernel = with_sizes_inlined(replace(kernel, buffers=buffers))

    def strings(self) -> dict[str, object]:
        face, used = self.face, set[str]()
        scope = face.scope.inner()
        for own in ("in", "at"):
            scope.claim(own)
        functions = FunctionTable(face.program, "double", "reference", scope, used)
        names = {b.name: scope.claim(b.name) for b in self.kernel.buffers}
        body = Body(
            self.kernel, "double", face.size_env, names, scope, functions.name, used, face.axes, products=False
        ).emit()
        lines = [f"const size_t {s} = at->{s};" for s in face.sizes] + [f"(void){s};" for s in face.sizes]
        owners: dict[str, str] = {}
        counts: list[str] = []
        for buffer in (b for b in self.kernel.buffers if b.name in body.referenced):
            lines.extend(self._declared(buffer, names[buffer.name], owners, counts))
        if not counts:
            lines.append("(void)next;")
        return {
            "cost": self.cost,
            "value": "cost" if self.cost else "value",
            "helpers": helper_texts(used, "double"),
            "functions": functions.definitions,
            "reference_declarations": lines,
            "reference_statements": "\n".join(body.code.lines),
            "reference_elements": " + ".join(counts) or "0",
            "reference_result": names[self.kernel.results[0]],
            "reference_meaning": "cost_avg." if self.cost else "The sum of cotangent * output over all outputs.",
        }

    def _declared(self, buffer: Buffer, name: str, owners: dict[str, str], counts: list[str]) -> list[str]:
        if buffer.kind is not Kind.LOCAL:
            tensor = tensor_of(buffer)
            field = next(t.field for t in self.tensors if t.tensor == tensor and t.kind is buffer.kind)
            return [
                f"const double *const {name} = in->{field};" if buffer.shape else f"const double {name} = *in->{field};"
            ]
        if not buffer.shape:
            return []
        if buffer.slot in owners:
            return [f"double *const {name} = {owners[buffer.slot]}; /* in place */"]
        owners[buffer.slot] = name
        proved = Prover({}, self.face.axes).nonnegative
        counts.append(sizes.elements(buffer.shape, self.face.size_env, proved))
        return [f"double *const {name} = take(&next, {counts[-1]});"]


def _weighted(program: Program, face: Interface) -> Kernel:
    """The forward kernel, and the sum of its outputs weighted with their cotangents."""
    forward = program.kernel("forward")
    buffers, statements, parts = list(forward.buffers), list(forward.statements), []
    for cotangent in face.cotangents.members:
        output = forward.buffer(cotangent.tensor)
        ranges = tuple(Range(index("i"), Integer(0), d - 1) for d in output.shape)
        weight, part = f"cotangent_{output.name}", Access(f"weighted_{output.name}")
        symbols = [r.symbol for r in ranges]
        product = Access(output.name, *symbols) * Access(weight, *symbols)
        buffers.append(Buffer(weight, output.shape, Kind.COTANGENT, adjoint_of=output.name))
        buffers.append(Buffer(part.name, (), Kind.LOCAL))
        equation = Equation(part.name, (), (), product)
        statements.append(Reduce(part, (), equation, "sum", ranges, product))
        parts.append(part)
    total = Access("weighted_sum")
    buffers.append(Buffer(total.name, (), Kind.LOCAL))
    statements.append(Map(total, (), Equation(total.name, (), (), Add(*parts)), Add(*parts)))
    return replace(forward, buffers=tuple(buffers), statements=tuple(statements), results=(total.name,))


def _call(face: Interface, entry: EntryPoint, tensors: list[_Tensor]) -> dict[str, object]:
    """The caller's side: structs filled from the inputs, the call, what is to be freed."""
    lines, freed = [], [f"free(in.{t.field});" for t in tensors]
    values = {}
    for t in tensors:
        values[t.kind, t.tensor] = f"in.{t.field}"
        if t.real == "float":
            lines.append(f"float *const {t.field}_narrow = narrowed(in.{t.field}, {t.elements});")
            values[t.kind, t.tensor] = f"{t.field}_narrow"
            freed.append(f"free({t.field}_narrow);")

    def struct(kind: Kind, of: Struct, variable: str) -> None:
        items = ", ".join(f".{m.name} = {values[kind, m.tensor]}" for m in of.members)
        lines.append(f"const {of.type_name} {variable} = {{ {items} }};")

    if face.parameters.members:
        struct(Kind.PARAMETER, face.parameters, "p")
    if entry.cotangents:
        struct(Kind.COTANGENT, face.cotangents, "c")
    lines.append(f"{face.gradients.type_name} g;")
    for m in face.gradients.members:
        real, count = real_of(face.element, m.shape), sizes.elements(m.shape, face.size_env)
        lines.append(f"g.{m.name} = allocate({count}, sizeof({real}));")
        freed.append(f"free(g.{m.name});")
    lines += ["void *workspace = allocate(bytes, 1);", *(["double cost = 0.0;"] if entry.cost else [])]

    def call(of: EntryPoint, cost: str) -> str:
        read = [f"&{word}" for word, s in of.structs.items() if s.read_only and word != "p"]
        arguments = ["&p"] * bool(of.parameters) + [values[Kind.DATA, b.name] for b in of.data] + read
        arguments += [*face.sizes, *["&g"] * bool(of.gradients), *[cost] * of.cost, "workspace", "bytes"]
        return f"{of.symbol}({', '.join(arguments)})"

    costs = [e for e in face.entries if e.kernel.entry == COST]
    return {
        "call_lines": lines,
        "free_lines": freed,
        "derivative_call": call(entry, "&cost"),
        "cost_call": call(costs[0], "&cost_alone") if costs else "",
    }
