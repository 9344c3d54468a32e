"""One folder for each target language, behind the protocol of `protocol.py`."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from .protocol import Backend

__all__ = ["TARGETS", "backend"]

TARGETS = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__) if module.ispkg))
"""Every target: each folder here is one."""


def backend(target: str) -> Backend:
    """The backend of that name: its package, which offers `name` and `render`."""
    return cast("Backend", importlib.import_module(f"{__name__}.{target}"))
