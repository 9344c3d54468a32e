"""Packages whose public names are loaded at first use: what is not asked for is not imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

__all__ = ["lazy_package"]


def lazy_package(package: str, offers: Mapping[str, Sequence[str]]) -> None:
    """Let `package` offer the names that stand beside each of its submodules in `offers`.

    A name may be that of a submodule as well: the package's attribute is then what the submodule
    offers under it, whoever imported the submodule before.
    """

    homes = {name: home for home, names in offers.items() for name in names}

    class LazyPackage(ModuleType):
        def __getattr__(self, name: str) -> Any:
            home = homes.get(name)
            if home is None:
                raise AttributeError(f"module {package!r} has no attribute {name!r}")
            value = getattr(importlib.import_module(f"{package}.{home}"), name)
            super().__setattr__(name, value)
            return value

        def __setattr__(self, name: str, value: Any) -> None:
            # the import system binds a submodule to its package: a public name stays what it is
            if not (name in homes and isinstance(value, ModuleType)):
                super().__setattr__(name, value)

        def __dir__(self) -> list[str]:
            return sorted({*super().__dir__(), *homes})

    sys.modules[package].__class__ = LazyPackage
