"""Generated C in tests: compiled with every warning as an error, and called through ctypes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import sympy as sp

from chainrule.codegen.backends.c import EntryPoint, Interface, Struct, interface, render
from chainrule.codegen.ir import BATCH, Argument, Buffer, Kernel, Kind, Map, Program, Statement
from chainrule.symbolic.expressions import Access, Range
from chainrule.symbolic.system import Equation, FunctionDefinition

__all__ = [
    "COMPILERS",
    "SANITIZED",
    "WARNINGS",
    "Compiled",
    "compiled",
    "forward_program",
    "layer_inputs",
    "layer_reference",
    "mapped",
    "run",
    "written",
]

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wdouble-promotion", "-Wshadow", "-Werror")
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COMPILERS = tuple(c for c in ("gcc", "clang") if shutil.which(c))


def run(command: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; its output on failure is the assertion's message."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def written(program: Program, folder: Path) -> Path:
    """The rendered files, in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in render(program).items():
        (folder / name).write_text(text)
    return folder


class Compiled:
    """A loaded shared object, called with arrays by name: `kernels("gradients", x=…, …)`."""

    def __init__(self, program: Program, path: Path) -> None:
        self.program = program
        self.face: Interface = interface(program)
        self.dtype = np.dtype(program.dtype)
        self.shared_object = ctypes.CDLL(str(path))
        self._workspace = self.shared_object[f"{program.name}_workspace"]
        self._workspace.restype = ctypes.c_size_t
        self._error = self.shared_object[f"{program.name}_error"]
        self._error.restype = ctypes.c_char_p

    def workspace(self, *sizes: int) -> int:
        return int(self._workspace(*map(ctypes.c_size_t, sizes)))

    def said(self, code: int) -> str:
        """What an error code means."""
        return str(self._error(code).decode())

    def entry(self, name: str) -> EntryPoint:
        return next(e for e in self.face.entries if e.kernel.entry == name)

    def array(self, value: object, shape: tuple[object, ...]) -> np.ndarray:
        return np.ascontiguousarray(value, self.dtype if shape else np.float64)

    def _pack(self, struct: Struct, arrays: Mapping[str, np.ndarray]) -> ctypes.Array[ctypes.c_void_p]:
        pointers = [arrays[m.tensor].ctypes.data if m.tensor in arrays else None for m in struct.members]
        return (ctypes.c_void_p * max(1, len(pointers)))(*pointers)

    def _allocated(self, struct: Struct, env: Mapping[str, int]) -> dict[str, np.ndarray]:
        found = {}
        for m in struct.members:
            shape = tuple(min(max(int(d.subs(env)), 0), 5000) for d in m.shape)  # bad sizes get some array too
            found[m.tensor] = np.full(shape, -7.5, self.dtype if m.shape else np.float64)
        return found

    def call(
        self, name: str, arrays: Mapping[str, object], sizes: Sequence[int], *, bytes_given: int | None = None
    ) -> tuple[int, dict[str, np.ndarray]]:
        """The error code and the results by tensor name ("cost" among them). A cotangent is `c_` and its output."""
        entry, face = self.entry(name), self.face
        env = dict(zip(face.size_env, sizes, strict=True))
        shared = (Kind.PARAMETER, Kind.TANGENT)
        ranks = {a.name: a.shape for a in self.program.arguments if a.kind in shared and not a.per_sample}
        given = {n: self.array(v, ranks.get(n, (1,))) for n, v in arrays.items()}
        cotangents = {n[2:]: a for n, a in given.items() if n.startswith("c_")}
        outputs = self._allocated(entry.outputs, env) if entry.outputs else {}
        gradients = self._allocated(entry.gradients, env) if entry.gradients else {}
        cost = ctypes.c_double(-7.5)
        needed = self.workspace(*sizes) if bytes_given is None else bytes_given
        scratch = np.full(min(needed, 1 << 24) + 65, 0xA5, np.uint8)
        arguments: list[object] = [self._pack(entry.parameters, given)] if entry.parameters else []
        arguments += [ctypes.c_void_p(given[b.name].ctypes.data) for b in entry.data]
        arguments += [self._pack(entry.cotangents, cotangents)] if entry.cotangents else []
        arguments += [self._pack(entry.tangents, given)] if entry.tangents else []
        arguments += [ctypes.c_size_t(n) for n in sizes]
        arguments += [self._pack(entry.outputs, outputs)] if entry.outputs else []
        arguments += [self._pack(entry.gradients, gradients)] if entry.gradients else []
        arguments += [ctypes.byref(cost)] if entry.cost else []
        arguments += [ctypes.c_void_p(scratch.ctypes.data + 1), ctypes.c_size_t(needed)]
        code = int(self.shared_object[entry.symbol](*arguments))
        assert (scratch[1 + needed :] == 0xA5).all() if needed < 1 << 24 else True, "written behind the workspace"
        return code, {**outputs, **gradients, **({"cost": np.array(cost.value)} if entry.cost else {})}

    def __call__(self, name: str, sizes: Sequence[int], **arrays: object) -> dict[str, np.ndarray]:
        code, results = self.call(name, arrays, sizes)
        assert code == 0, code
        return results


def compiled(program: Program, folder: Path, flags: Sequence[str] = ("-O1", "-march=native")) -> Compiled:
    """The program built as a shared object and loaded."""
    written(program, folder)
    name = program.name
    run([COMPILERS[0], *WARNINGS, *flags, "-fPIC", "-shared", f"{name}.c", "-lm", "-o", f"{name}.so"], folder)
    return Compiled(program, folder / f"{name}.so")


def forward_program(
    statements: Sequence[Statement],
    shapes: Mapping[str, tuple[sp.Expr, ...]],
    outputs: Sequence[str],
    dtype: str = "float64",
    functions: tuple[FunctionDefinition, ...] = (),
) -> Program:
    """A program that is one forward kernel; arrays that nothing writes are parameters."""
    made = {s.out.name for s in statements}
    kinds = {n: Kind.OUTPUT if n in outputs else Kind.LOCAL if n in made else Kind.PARAMETER for n in shapes}
    buffers = tuple(Buffer(n, s, kinds[n]) for n, s in shapes.items())
    kernel = Kernel("forward", buffers, tuple(statements), tuple(outputs), functions)
    arguments = tuple(Argument(n, s, Kind.PARAMETER) for n, s in shapes.items() if kinds[n] is Kind.PARAMETER)
    symbols = {str(d): d for s in shapes.values() for e in s for d in sp.sympify(e).free_symbols if d != BATCH}
    sizes = tuple(symbols[n] for n in sorted(symbols))
    return Program("probe", dtype, sizes, arguments, tuple(outputs), (), (kernel,))


def mapped(name: str, ranges: tuple[Range, ...], body: sp.Expr) -> Map:
    out = Access(name, *(r.symbol for r in ranges))
    return Map(out, ranges, Equation(name, out.indices, ranges, body), body)


def layer_inputs(rng: np.random.Generator, sizes: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Inputs of the documented layer at (batch, m, n)."""
    batch, m, n = sizes
    shapes = {"w": (n, m), "b": (n,), "x": (batch, m), "y": (batch, n)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def layer_reference(w: np.ndarray, b: np.ndarray, x: np.ndarray, y: np.ndarray) -> dict[str, np.ndarray]:
    """The document's formulas for one sigmoid layer and the squared error, in float64, sample by sample."""
    a = np.empty((len(x), len(b)))
    dw, db, dx = np.zeros(w.shape), np.zeros(b.shape), np.zeros(x.shape)
    cost = 0.0
    for s in range(len(x)):
        a[s] = 1 / (1 + np.exp(-(b + w @ x[s])))
        cost += np.sum((a[s] - y[s]) ** 2) / len(x)
        delta = 2 * (a[s] - y[s]) * a[s] * (1 - a[s]) / len(x)
        dw += np.outer(delta, x[s])
        db += delta
        dx[s] = delta @ w
    return {"a": a, "cost": np.array(cost), "w": dw, "b": db, "x": dx}
