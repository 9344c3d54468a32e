"""The built-in models, `.eq` files beside this module."""

from __future__ import annotations

from importlib import resources

from ..errors import FormulaError
from ..language import parse
from ..names import closest
from ..system import System

__all__ = ["builtin", "builtin_names"]


def builtin_names() -> tuple[str, ...]:
    """The names of the built-in models, in alphabetical order."""
    files = (entry.name for entry in resources.files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".eq") for name in files if name.endswith(".eq")))


def builtin(name: str) -> System:
    """The built-in model of that name.

    Raises FormulaError, with the nearest name, where there is none.
    """
    known = builtin_names()
    if name not in known:
        hint = closest(name, known) or f"the built-in models are {', '.join(known)}"
        raise FormulaError(f"there is no built-in model {name!r}", hint=hint)
    text = resources.files(__name__).joinpath(f"{name}.eq").read_text(encoding="utf-8")
    return parse(text, name=name, file=f"{name}.eq")
