"""C99: `NAME.c` and `NAME.h` from a Program, and on request `NAME_test.c`."""

from __future__ import annotations

from chainrule.codegen.ir import Program

from .interface import EntryPoint, Interface, Member, Struct, interface
from .render import render_header, render_source
from .selftest import render_test

__all__ = ["EntryPoint", "Interface", "Member", "Struct", "interface", "name", "render"]

name = "c"
"""The target's name, as the user types it."""


def render(program: Program, *, with_test: bool = True) -> dict[str, str]:
    """The C files of the program: file name → text. The same program gives the same bytes.

    `with_test` adds `NAME_test.c`, a program that checks every gradient without Python. Raises
    LoweringError where an expression has no C counterpart; names the function.
    """
    face = interface(program)
    files = {f"{program.name}.h": render_header(face), f"{program.name}.c": render_source(face)}
    if with_test and any(e.gradients for e in face.entries):
        files[f"{program.name}_test.c"] = render_test(face)
    return files
