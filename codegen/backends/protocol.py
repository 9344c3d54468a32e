"""What every target language provides: texts of source files, made from a Program and nothing else."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from chainrule.codegen.ir import Program

__all__ = ["Backend"]


@runtime_checkable
class Backend(Protocol):
    """A target language. Its package holds the passes and templates; nobody else knows the language."""

    @property
    def name(self) -> str:
        """The name of the target as the user types it: "numpy", "c"."""
        ...

    def render(self, program: Program) -> dict[str, str]:
        """Every source file of the program: file name → text. The same program gives the same bytes."""
        ...
