"""From a System to NumPy and C kernels: lower, render, build, load, check."""

from typing import TYPE_CHECKING

from chainrule.symbolic.errors import BuildError, ChainruleError, LoweringError, ShapeError
from chainrule.symbolic.lazy import lazy_package

if TYPE_CHECKING:
    from .check import Report, check
    from .load import Kernels, load
    from .pipeline import Generated, compile, generate

__all__ = [
    "BuildError",
    "ChainruleError",
    "Generated",
    "Kernels",
    "LoweringError",
    "Report",
    "ShapeError",
    "check",
    "compile",
    "generate",
    "load",
]

_HOMES = {"check": ("Report", "check"), "load": ("Kernels", "load"), "pipeline": ("Generated", "compile", "generate")}

lazy_package(__name__, _HOMES)
