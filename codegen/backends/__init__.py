"""One folder for each target language, behind the protocol of `protocol.py`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from .protocol import Backend

__all__ = ["backend"]


def backend(target: str) -> Backend:
    """The backend of that name: its package, which offers `name` and `render`."""
    return cast("Backend", importlib.import_module(f"{__name__}.{target}"))
