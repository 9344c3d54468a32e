"""A Program as C: the decisions are made here, the layout stands in `codegen/templates/c`."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from sympy import Expr

from . import sizes
from .describe import entry_comment, struct_lines, title
from .entries import EntryText, entry_text
from .functions import FunctionTable
from .helpers import helper_texts
from .interface import Interface, prototype
from .layout import folded

__all__ = ["called", "fill", "render_header", "render_source", "size_parameters"]

WIDE, NARROW = {"rows": 8, "vectors": 3}, {"rows": 6, "vectors": 2}
"""The register tile with vectors of 512 bits (32 registers), and with shorter ones (16 registers)."""
CHUNK_BYTES = 160 * 1024
"""Packed panels in use at a time: they share the second-level cache with the rest."""

_PURPOSES = (
    "What the model has learnt: read only, shared by all samples.",
    "The cotangents of the outputs: read only.",
    "A direction, as a tangent of each tensor: read only.",
    "Where the outputs go.",
    "Where the tangents of the outputs go.",
    "Where the gradients go, and their products with a direction: each has the shape of its tensor.",
)
"""What the structs are for, in the order of `Interface.structs`."""


def fill(template: str, **strings: object) -> str:
    """The template with its strings in place: an undefined name is an error, and C is not escaped as HTML."""
    engine = Environment(
        loader=PackageLoader("chainrule.codegen", "templates/c"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    return folded(engine.get_template(template).render(**strings))


def render_header(face: Interface) -> str:
    """NAME.h: structs and prototypes, each with its shapes."""
    return fill(
        "header.h.jinja",
        title=title(face.program, f"{face.program.name}.h", face),
        name=face.program.name,
        guard=face.program.name.upper(),
        structs=[
            {"type_name": s.type_name, "purpose": purpose, "lines": struct_lines(s, face)}
            for s, purpose in zip(face.structs, _PURPOSES, strict=True)
            if s.members
        ],
        entries=[{"comment": entry_comment(e, face), "prototype": prototype(e, face)} for e in face.entries],
        size_parameters=size_parameters(face),
    )


def render_source(face: Interface) -> str:
    """NAME.c."""
    program, used = face.program, set[str]()
    functions = FunctionTable(program, face.element, program.name, face.scope, used)
    texts = [entry_text(e, face, functions.name, used) for e in face.entries]
    own = {"size_parameters": size_parameters(face), "sizes": ", ".join(face.sizes), "name": program.name}
    shapes = _checked_shapes(face)
    kinds = {kind for t in texts for kind in t.layouts}
    entries = [_entry_strings(t, face) for t in texts]
    zero = [*(f"{s} == 0" for s in face.sizes), *_derived_axes(face)]
    everything = "\n".join([*(str(e) for e in entries), *shapes, *zero])
    return fill(
        "source.c.jinja",
        **own,
        title=title(program, f"{program.name}.c", face),
        real=face.element,
        helpers=helper_texts(used, face.element),
        functions=functions.definitions,
        shapes=shapes,
        products=_products(face, kinds) if kinds else "",
        entries=entries,
        size_zero=" || ".join(zero),
        plus="plus(" in everything or any(t.slots or t.products for t in texts),
        **called(everything, "minus", "divide", "monus", "smaller", "take", "memset"),
        workspace=face.own("workspace"),
        bytes=face.own("bytes"),
    )


def called(text: str, *functions: str) -> dict[str, bool]:
    """Which of the functions a text calls."""
    return {name: re.search(rf"\b{name}\(", text) is not None for name in functions}


def size_parameters(face: Interface) -> str:
    """The size arguments, as every function takes them."""
    return ", ".join(f"size_t {s}" for s in face.sizes)


def _entry_strings(text: EntryText, face: Interface) -> dict[str, object]:
    formulas = " ".join([*(elements for elements, _ in text.slots), *text.products])
    words = set(re.findall(r"\w+", formulas))
    return {
        "kind": text.kind,
        "prototype": text.prototype,
        "bytes_function": text.bytes_function,
        "slots": text.slots,
        "products": text.products,
        "unused_sizes": [s for s in face.sizes if s not in words],
        "null_check": " || ".join(f"!{p}" for p in text.pointers),
        "misaligned_check": " || ".join(f"misaligned({a})" for a in text.arrays),
        "declarations": text.declarations,
        "statements": text.statements,
        "unused": text.unused,
    }


def _shapes(face: Interface) -> list[tuple[Expr, ...]]:
    """The shapes of all arrays, once each."""
    buffers = (b for kernel in face.program.kernels for b in kernel.buffers if b.shape)
    arguments = [a.shape for a in face.program.parameters if a.shape]
    return list(dict.fromkeys([*arguments, *(b.shape for b in buffers)]))


def _checked_shapes(face: Interface) -> list[str]:
    """Element counts of all arrays whose size is decided at call time, in saturating arithmetic."""
    sized = [shape for shape in _shapes(face) if any(d.free_symbols for d in shape)]
    return list(dict.fromkeys(sizes.checked_elements(shape, face.size_env) for shape in sized))


def _derived_axes(face: Interface) -> list[str]:
    """The conditions under which an axis of the caller's that is computed from sizes has no elements."""
    return [f"{sizes.checked(d, face.size_env)} == 0" for d in face.axes]


def _products(face: Interface, kinds: set[str]) -> str:
    """The matrix product, with the ways of packing that are used."""
    element = 4 if face.element == "float" else 8
    lanes = [width // element for width in (64, 32, 16)]
    return fill(
        "product.c.jinja",
        name=face.program.name,
        real=face.element,
        zero="0.0f" if face.element == "float" else "0.0",
        wide=WIDE,
        narrow=NARROW,
        chunk=CHUNK_BYTES // element,
        broadcasts=[f"((vector){{{', '.join(['s'] * n)}}})" for n in lanes],
        natural="natural" in kinds,
        transposed="transposed" in kinds,
        strided="strided" in kinds,
        adding="adding" in kinds,
        plain={"adding", "plain"} <= kinds,
    )
