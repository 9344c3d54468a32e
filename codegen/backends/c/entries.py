"""One entry point as text: its signature, its checks, the names of its arrays, its statements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sympy import Symbol

from chainrule.codegen.ir import Buffer, Kernel, Kind
from chainrule.symbolic.expressions import Call

from . import sizes
from .body import Body
from .functions import with_sizes_inlined
from .interface import EntryPoint, Interface, is_cost, prototype
from .names import Names
from .nest import Prover

__all__ = ["EntryText", "entry_text"]


@dataclass(frozen=True)
class EntryText:
    """The strings that the template sets: see `source.c.jinja`."""

    symbol: str
    kind: str
    prototype: str
    pointers: tuple[str, ...]
    arrays: tuple[str, ...]
    bytes_function: str
    declarations: tuple[str, ...]
    statements: str
    slots: tuple[tuple[str, str], ...]  # elements in saturating arithmetic, the arrays that live there
    products: tuple[str, ...]  # elements that matrix products work in
    unused: tuple[str, ...]
    layouts: tuple[str, ...]  # how products are packed: natural, transposed, strided


class _Arrays:
    """C names of one kernel's buffers, and where the caller's pointers come from."""

    def __init__(self, entry: EntryPoint, face: Interface, names: Names) -> None:
        self.entry, self.face = entry, face
        self.names: dict[str, str] = {}
        self.sources: dict[str, str] = {}
        for buffer in entry.kernel.buffers:
            if buffer.kind is Kind.DATA:
                self.names[buffer.name] = face.data(buffer.name)
                continue
            if buffer.kind is Kind.OUTPUT and is_cost(buffer):
                self.names[buffer.name] = face.own("cost")
                continue
            self.names[buffer.name] = names.claim(buffer.name)
            word, member = entry.word(buffer), entry.member(buffer)
            if word is not None and member is not None:
                self.sources[buffer.name] = f"{face.own(word)}->{member.name}"

    def pointers(self) -> tuple[list[str], list[str]]:
        """The pointers that must not be null (a struct before its members), and the element arrays among them."""
        entry = self.entry
        mine = [b for b in entry.kernel.buffers if b.name in self.sources]
        owners = dict.fromkeys(self.sources[b.name].split("->")[0] for b in mine)
        data = [self.names[b.name] for b in entry.data]
        members = [(self.sources[b.name], b) for b in mine]
        cost = [self.face.own("cost")] if entry.cost else []
        arrays = data + [source for source, b in members if b.shape]
        return [*owners, *data, *cost, *(source for source, _ in members)], arrays

    def declarations(self, body: Body, next_name: str, workspace: str) -> list[str]:
        """Local names of the caller's arrays, then those of the workspace: one pointer for each slot."""
        lines, owners = [], {}
        for buffer in self.entry.kernel.buffers:
            if buffer.name in self.sources and buffer.name in body.referenced:
                lines.append(self._outside(buffer))
                if buffer.kind is Kind.OUTPUT:
                    owners[buffer.slot] = self.names[buffer.name]
        inside = [self._inside(b, owners, next_name) for b in _locals(self.entry.kernel, body)]
        if any("take(" in line for line in inside) or body.products:
            alignment = f"(ALIGNMENT - (uintptr_t){workspace} % ALIGNMENT) % ALIGNMENT"
            lines.append(f"char *{next_name} = (char *){workspace} + {alignment};")
        lines.extend(inside)
        if body.products:
            lines.append(f"{self.face.element} *const {body.space_name} = ({self.face.element} *)(void *){next_name};")
        return lines

    def _outside(self, buffer: Buffer) -> str:
        name, source, element = self.names[buffer.name], self.sources[buffer.name], self.face.element
        if buffer.kind is Kind.OUTPUT:
            return f"{element} *restrict {name} = {source};" if buffer.shape else f"double *{name} = {source};"
        return f"const {element} *restrict {name} = {source};" if buffer.shape else f"const double {name} = *{source};"

    def _inside(self, buffer: Buffer, owners: dict[str, str], next_name: str) -> str:
        name, element = self.names[buffer.name], self.face.element
        if buffer.slot in owners:
            return f"{element} *const {name} = {owners[buffer.slot]}; /* in place */"
        owners[buffer.slot] = name
        count = sizes.elements(buffer.shape, self.face.size_env, Prover({}, self.face.axes).nonnegative)
        return f"{element} *restrict {name} = take(&{next_name}, {count});"


def _locals(kernel: Kernel, body: Body) -> list[Buffer]:
    return [b for b in kernel.buffers if b.kind is Kind.LOCAL and b.shape and b.name in body.referenced]


def entry_text(entry: EntryPoint, face: Interface, call: Callable[[Call], str], used: set[str]) -> EntryText:
    """The strings of one entry point; the helpers that it needs are added to `used`."""
    kernel = with_sizes_inlined(entry.kernel)
    names, env = face.scope.inner(), face.size_env
    arrays = _Arrays(entry, face, names)
    body = Body(kernel, face.element, env, arrays.names, names, call, used, face.axes).emit()
    next_name, workspace = names.claim("next"), face.own("workspace")
    pointers, elements = arrays.pointers()
    declarations = arrays.declarations(body, next_name, workspace)
    ignored = [face.own(w) for w in entry.structs if face.own(w) not in pointers]
    needs = any(workspace in line for line in declarations)
    return EntryText(
        entry.symbol,
        kernel.entry,
        prototype(entry, face),
        tuple(pointers),
        tuple(elements),
        face.scope.claim(f"{entry.symbol.removeprefix(face.program.name + '_')}_bytes"),
        tuple(declarations),
        "\n".join(body.code.lines),
        tuple(_slots(kernel, body, arrays.names, env)),
        tuple(_product_spaces(body, env)),
        tuple(ignored if needs else [*ignored, workspace]),
        tuple(_layouts(body)),
    )


def _slots(kernel: Kernel, body: Body, names: dict[str, str], env: dict[Symbol, str]) -> list[tuple[str, str]]:
    owned = {b.slot for b in kernel.buffers if b.kind is Kind.OUTPUT}
    found: dict[str, tuple[str, list[str]]] = {}
    for buffer in _locals(kernel, body):
        if buffer.slot not in owned:
            elements = sizes.checked_elements(buffer.shape, env)
            found.setdefault(buffer.slot, (elements, []))[1].append(names[buffer.name])
    return [(elements, ", ".join(sharing)) for elements, sharing in found.values()]


def _product_spaces(body: Body, env: dict[Symbol, str]) -> list[str]:
    found: dict[str, None] = {}
    for product in body.products:
        extents = ", ".join(sizes.checked(e, env) for e in (product.rows, product.columns, product.depth))
        need = f"matrix_product_space({extents}, {int(product.left_depth != 1)})"
        found.setdefault(f"plus({need}, {sizes.checked(product.scratch, env)})" if product.scratch != 0 else need)
    return list(found)


def _layouts(body: Body) -> list[str]:
    found: dict[str, None] = {}
    for product in body.products:
        found.setdefault("natural" if product.right_column == 1 else "transposed")
        if product.left_depth != 1:
            found.setdefault("strided")
        found.setdefault("adding" if product.adds else "plain")
    return list(found)
