"""The calling layer of compiled kernels: that of the generated NumPy module, over a shared object.

A generated module checks arrays, solves sizes and allocates results; it reaches its kernels through
one table of functions `prepare(sizes, parameters, results, empty) -> step`. `attach` makes a copy of
the module whose table leads to the compiled functions instead. Pointers are collected once, when a
kernel is prepared; a step converts the addresses of its data and makes one call. ctypes releases
the GIL, and nothing is shared between two prepared kernels.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.symbolic.errors import BuildError, ChainruleError, ShapeError

__all__ = ["attach"]

Array = NDArray[Any]
Step = Callable[..., float]

_addressof, _from_buffer = ctypes.addressof, ctypes.c_char.from_buffer
_SYMBOLS = {"gradients": "backward"}
_TOO_LARGE = ctypes.c_size_t(-1).value


def attach(module: ModuleType, shared_object: str | os.PathLike[str]) -> ModuleType:
    """A copy of a generated NumPy module that computes with the kernels of `shared_object`.

    The module itself is left as it is. Raises BuildError where the shared object cannot be loaded or
    is of another model.
    """
    copy = _copied(module)
    copy.ShapeError = ShapeError  # type: ignore[attr-defined]
    try:
        library = ctypes.CDLL(os.fspath(shared_object))
        for entry in copy._KERNELS:
            copy._KERNELS[entry] = _Compiled(copy, library, entry).prepare
    except (OSError, AttributeError) as error:
        raise BuildError(f"{shared_object} cannot be loaded as the kernels of {copy.NAME}: {error}") from error
    return copy


def _copied(module: ModuleType) -> ModuleType:
    spec = module.__spec__
    if spec is None or spec.loader is None:
        raise BuildError(f"{module.__name__} has no loader: expected a generated module")
    copy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copy)
    return copy


def _address(array: Array) -> int:
    """Where the array's elements begin; by way of the buffer protocol, which is ten times as fast as `.ctypes`."""
    try:
        return _addressof(_from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError):  # read only
        return int(array.ctypes.data)


class _Compiled:
    """One compiled function: `int NAME_entry(p, data…, c, v, batch, sizes…, out or g, cost, workspace, bytes)`."""

    def __init__(self, module: ModuleType, library: ctypes.CDLL, entry: str) -> None:
        arguments: dict[str, tuple[str, tuple[object, ...]]] = module.ARGUMENTS
        read: tuple[str, ...] = module._DATA[entry]
        order = list(arguments)
        self.name: str = module.NAME
        self.entry = entry
        self.double = np.float64 == module.DTYPE
        self.members = [n for n, (kind, _) in arguments.items() if kind == "parameter"]
        self.parameters: tuple[str, ...] = module._PARAMETERS[entry]
        data = sorted((n for n in read if arguments[n][0] == "data"), key=order.index)
        self.data = [read.index(n) for n in data]
        self.structs = [s for kind in ("cotangent", "tangent") if (s := _struct(arguments, read, kind))]
        self.results = len(module._RESULTS[entry])
        self.sizes = 1 + len(module.SIZES)
        self.has_cost = entry in ("cost", "gradients")
        self.error = library[f"{self.name}_error"]
        self.error.argtypes, self.error.restype = [ctypes.c_int], ctypes.c_char_p
        self.workspace = library[f"{self.name}_workspace"]
        self.workspace.argtypes, self.workspace.restype = [ctypes.c_size_t] * self.sizes, ctypes.c_size_t
        self.function = library[f"{self.name}_{_SYMBOLS.get(entry, entry)}"]
        before = bool(self.members) + len(self.data) + len(self.structs)
        after = bool(self.results) + self.has_cost + 1
        self.function.argtypes = [
            *[ctypes.c_void_p] * before,
            *[ctypes.c_size_t] * self.sizes,
            *[ctypes.c_void_p] * after,
            ctypes.c_size_t,
        ]
        self.function.restype = ctypes.c_int

    def prepare(
        self, sizes: Sequence[int], parameters: Sequence[Array], results: Sequence[Array], empty: Callable[..., Array]
    ) -> Step:
        """A step over these parameters and results, with a workspace of its own."""
        needed = self.workspace(*sizes)
        if needed == _TOO_LARGE:
            raise ShapeError(f"{self.name}: arrays of these sizes do not fit the address space: {tuple(sizes)}")
        scratch = empty((max(needed, 1),), np.uint8)
        given = dict(zip(self.parameters, parameters, strict=True))
        inputs, outputs = _Numbers(self.double), _Numbers(self.double)
        members = [_address(inputs.through(given[n])) if n in given else None for n in self.members]
        struct = _pointers(members)
        directions = [_pointers([None] * len(members)) for members in self.structs]
        written = _pointers([_address(outputs.through(a)) for a in results])
        cost = ctypes.c_double()
        head = [ctypes.addressof(struct)] if self.members else []
        tail = [ctypes.addressof(d) for d in directions]
        tail += [*sizes, *([ctypes.addressof(written)] if self.results else [])]
        tail += [ctypes.addressof(cost)] if self.has_cost else []
        tail += [_address(scratch), needed]
        owned = (struct, written, scratch, *parameters, *results)  # what the pointers lead to
        if not inputs and not outputs and self.data == list(range(len(self.data))) and not self.structs:
            return self._plain_step(head, tail, cost, owned)
        return self._step(head, tail, cost, directions, inputs, outputs, owned)

    def _plain_step(self, head: list[int], tail: list[int], cost: ctypes.c_double, owned: object) -> Step:
        """The step of a kernel that takes arrays of data alone: as little as possible at each call."""
        function, fault = self.function, self._fault

        def step(*data: Array, _owned: object = owned) -> float:
            code = function(*head, *map(_address, data), *tail)
            if code:
                raise fault(code)
            return cost.value

        return step

    def _step(
        self,
        head: list[int],
        tail: list[int],
        cost: ctypes.c_double,
        directions: Sequence[ctypes.Array[ctypes.c_void_p]],
        inputs: _Numbers,
        outputs: _Numbers,
        owned: object,
    ) -> Step:
        """The step of any kernel."""

        def step(*arrays: Array, _owned: object = owned) -> float:
            inputs.read()
            passed = [inputs.passed(a) for a in arrays]
            for struct, places in zip(directions, self.structs, strict=True):
                for place, m in enumerate(places):
                    struct[place] = _address(passed[m]) if m is not None else None
            code = self.function(*head, *[_address(passed[m]) for m in self.data], *tail)
            if code:
                raise self._fault(code)
            outputs.write()
            return cost.value

        return step

    def _fault(self, code: int) -> ChainruleError:
        said = self.error(code)
        return ChainruleError(f"{self.name}: {self.entry}: {said.decode() if said else code}")


def _struct(arguments: dict[str, tuple[str, tuple[object, ...]]], read: Sequence[str], wanted: str) -> list[int | None]:
    """For each member of the struct of cotangents, or of tangents, where a step finds it; None where it is not read.

    A function that reads none of them does not take the struct.
    """
    places = {n: m for m, n in enumerate(read)}
    found = [places.get(n) for n, (kind, _) in arguments.items() if kind == wanted]
    return found if any(m is not None for m in found) else []


def _pointers(addresses: Sequence[int | None]) -> ctypes.Array[ctypes.c_void_p]:
    """A struct of pointers, as an array of them."""
    return (ctypes.c_void_p * max(1, len(addresses)))(*addresses)


class _Numbers:
    """Arrays of no axes: the compiled kernels take one number as a double, whatever the dtype."""

    def __init__(self, double: bool) -> None:
        self._double = double
        self._pairs: list[tuple[Array, Array]] = []

    def __bool__(self) -> bool:
        return bool(self._pairs)

    def through(self, array: Array) -> Array:
        """The array to point to: a double in the place of a single-precision number."""
        if array.ndim or self._double:
            return array
        self._pairs.append((array, np.array(array, np.float64)))
        return self._pairs[-1][1]

    def passed(self, array: Array) -> Array:
        """The array to point to in one call."""
        return array if array.ndim or self._double else np.array(array, np.float64)

    def read(self) -> None:
        """Copy the caller's numbers in."""
        for own, double in self._pairs:
            double[...] = own

    def write(self) -> None:
        """Copy the results out."""
        for own, double in self._pairs:
            own[...] = double
