"""Formulas, Systems, derivations: SymPy in, derivatives and their paper form out."""

from typing import TYPE_CHECKING

from .errors import (
    ChainruleError,
    DerivationError,
    DocumentError,
    FormulaError,
    LoweringError,
    Position,
    ShapeError,
)
from .lazy import lazy_package

if TYPE_CHECKING:
    from .derive import Derivation, derive
    from .format import format_system
    from .indexed_sympy import from_sympy
    from .language import parse, parse_file
    from .layers import network
    from .system import COST, Equation, FunctionDefinition, Role, System, Tensor
    from .terms import Rule, Step, Term

__all__ = [
    "COST",
    "ChainruleError",
    "Derivation",
    "DerivationError",
    "DocumentError",
    "Equation",
    "FormulaError",
    "FunctionDefinition",
    "LoweringError",
    "Position",
    "Role",
    "Rule",
    "ShapeError",
    "Step",
    "System",
    "Tensor",
    "Term",
    "derive",
    "format_system",
    "from_sympy",
    "network",
    "parse",
    "parse_file",
]

_HOMES = {
    "derive": ("Derivation", "derive"),
    "format": ("format_system",),
    "indexed_sympy": ("from_sympy",),
    "language": ("parse", "parse_file"),
    "layers": ("network",),
    "system": ("COST", "Equation", "FunctionDefinition", "Role", "System", "Tensor"),
    "terms": ("Rule", "Step", "Term"),
}

lazy_package(__name__, _HOMES)
