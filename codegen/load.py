"""The one place that loads: generated text or a generated folder to kernels that can be called.

A module is executed from bytes whose hash was checked, never from a stale bytecode file, under a
name of its own, so that a model generated again in the same process is the new one.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from chainrule.symbolic.errors import BuildError, ShapeError

from .backends import TARGETS, backend
from .build import find_compiler, shared_object
from .cache import cached, warn_once
from .entries import ENTRIES, PRODUCTS
from .files import sha256
from .manifest import Manifest, read_manifest

if TYPE_CHECKING:
    from chainrule.symbolic.system import System

__all__ = ["CALLABLE", "MODULE", "Kernels", "built", "check_callable", "check_request", "kernels_from_texts", "load"]

MODULE = "__init__.py"
"""The NumPy kernels; they also are the calling layer of the other targets."""
_SOURCES = {"numpy": (MODULE,), "c": ("{name}.c", "{name}.h")}
CALLABLE = _SOURCES.keys()
"""The targets whose files are called from Python: what each needs beside the calling layer, and `_attach`, say how."""
_LOADING = threading.RLock()


class Kernels:
    """A model's kernels, ready to be called.

    `forward`, `cost`, `gradients` and `bind` where the model has a cost, `forward` and `vjp` where it
    has none, and the products asked for, as the generated code defines them. `target` is what runs:
    "numpy" also where "c" was asked for and there is no C compiler. `formulas` is the model as `.eq` text.
    """

    ENTRIES = (*ENTRIES, "bind")

    def __init__(
        self,
        namespace: Any,
        *,
        name: str,
        target: str,
        dtype: str,
        wrt: tuple[str, ...],
        formulas: str,
        system: System | None = None,
    ) -> None:
        self.name = name
        self.target = target
        self.dtype = dtype
        self.wrt = wrt
        self.formulas = formulas
        self._namespace = namespace
        self._system = system

    @functools.cached_property
    def system(self) -> System:
        """The model's formulas as a System (read from `formulas` where the kernels come from a folder)."""
        if self._system is not None:
            return self._system
        from chainrule.symbolic.language import parse

        return parse(self.formulas)

    def __getattr__(self, name: str) -> Any:
        if name in self.ENTRIES:
            found = getattr(self.__dict__.get("_namespace"), name, None)
            if found is not None:
                return found
            present = ", ".join(e for e in self.ENTRIES if hasattr(self.__dict__.get("_namespace"), e))
            raise AttributeError(f"the model {self.name} has no {name}: expected one of {present}")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *(e for e in self.ENTRIES if hasattr(self._namespace, e))]

    def __repr__(self) -> str:
        return f"<{self.target} kernels of {self.name}, {self.dtype}>"


def load(folder: str | os.PathLike[str], target: str = "c", *, threads: int = 1) -> Kernels:
    """The kernels of a folder that `generate` has written; the C ones are built once, then cached.

    Raises BuildError where the folder is missing, foreign, damaged or changed by hand, where it was
    generated without that target, or where its C does not compile. Without a C compiler the NumPy
    kernels take the place of the C ones, with one warning.
    """
    check_request(target, threads)
    check_callable(target)
    path = Path(folder)
    if not path.is_dir():
        raise BuildError(f"{path} is not a folder: expected one that generate has written, such as out/NAME")
    manifest = read_manifest(path)
    texts = {}
    for file in (pattern.format(name=manifest.name) for pattern in _SOURCES[target]):
        if file not in manifest.files:
            raise BuildError(f"{path} was generated without {file}: generate it again with --target numpy,c")
        texts[file] = _checked(path / file, manifest.files[file])
    if MODULE in manifest.files:
        texts[MODULE] = _checked(path / MODULE, manifest.files[MODULE])
    else:
        texts[MODULE] = _calling_layer(manifest)
    module = _module(manifest.name, path.absolute() / MODULE, texts[MODULE].encode())
    namespace, actual = _attach(module, manifest.name, texts, target)
    return Kernels(
        namespace,
        name=manifest.name,
        target=actual,
        dtype=manifest.dtype,
        wrt=manifest.wrt,
        formulas=manifest.formulas,
    )


def kernels_from_texts(texts: Mapping[str, str], target: str, **facts: Any) -> Kernels:
    """The kernels of rendered sources (file name → text); `facts` are the other arguments of Kernels."""
    source = texts[MODULE].encode()

    def write(folder: Path) -> Path:
        made = folder / MODULE
        made.write_bytes(source)
        return made

    path = cached(sha256(source), ".py", write)
    module = _module(facts["name"], path, source)
    namespace, actual = _attach(module, facts["name"], texts, target)
    return Kernels(namespace, target=actual, **facts)


def built(name: str, texts: Mapping[str, str]) -> Path:
    """The shared object of a model's C among its file texts; raises BuildError as `shared_object` does."""
    return shared_object(name, {file: texts[file] for file in (f"{name}.c", f"{name}.h")})


def check_request(target: str, threads: int) -> None:
    """Raise BuildError for a target or a number of threads that there is not."""
    if target not in TARGETS:
        raise BuildError(f"unknown target {target!r}: expected one of {', '.join(TARGETS)}")
    if threads != 1:
        raise BuildError(f"threads={threads!r}: kernels run on one thread; expected 1")


def check_callable(target: str) -> None:
    """Raise BuildError for a target whose files are not called from Python."""
    if target not in CALLABLE:
        raise BuildError(f"{target} kernels are not called from Python: expected one of {', '.join(CALLABLE)}")


def _calling_layer(manifest: Manifest) -> str:
    """The NumPy module of a folder that was generated for C alone, from its formulas."""
    from chainrule.symbolic.language import parse

    from .lower import lower

    products = tuple(e for e in manifest.entries if e in PRODUCTS)
    system = parse(manifest.formulas)
    program = lower(system, name=manifest.name, dtype=manifest.dtype, wrt=manifest.wrt, products=products)
    return backend("numpy").render(program)[MODULE]


def _checked(path: Path, digest: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BuildError(f"cannot read {path} ({error.strerror}): generate the folder again") from error
    if sha256(content) != digest:
        raise BuildError(
            f"{path} is not what generate wrote (its hash differs from the manifest's): generate the folder again, "
            "or import a changed copy under another name"
        )
    return content.decode()


class _Source(importlib.abc.SourceLoader):
    """Loads a module from bytes already read and checked; no bytecode is read or written."""

    def __init__(self, path: Path, source: bytes) -> None:
        self._path = path
        self._source = source

    def get_filename(self, fullname: str) -> str:
        del fullname
        return str(self._path)

    def get_data(self, path: str | bytes) -> bytes:
        del path
        return self._source


def _module(name: str, path: Path, source: bytes) -> ModuleType:
    unique = f"_chainrule_{name}_{sha256(str(path).encode() + source)[:16]}"
    with _LOADING:
        known = sys.modules.get(unique)
        if known is not None:
            return known
        loader = _Source(path, source)
        spec = importlib.util.spec_from_loader(unique, loader)
        assert spec is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[unique] = module
        try:
            loader.exec_module(module)
            # what the generated file defines for itself is, inside chainrule, one of its own errors
            vars(module)["ShapeError"] = ShapeError
        except Exception as error:
            del sys.modules[unique]
            raise BuildError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    return module


def _attach(module: ModuleType, name: str, texts: Mapping[str, str], target: str) -> tuple[Any, str]:
    """What answers the calls, and the target that it really is."""
    if target == "numpy":
        return module, target
    if find_compiler() is None:
        warn_once("no C compiler (cc, gcc or clang on the PATH, or $CC): NumPy kernels run instead of C ones")
        return module, "numpy"
    from .backends.c_calling import attach

    return attach(module, built(name, texts)), target
