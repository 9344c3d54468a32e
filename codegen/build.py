"""The one place that compiles: C source to a shared object, from the per-user cache where it can.

The cache's key holds all that the object depends on: the sources, the flags, the compiler and its
version, the CPU's features (the code is for this very CPU) and chainrule's version.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chainrule.symbolic.errors import BuildError

from .cache import cached
from .files import sha256
from .version import VERSION

__all__ = ["FLAGS", "Compiler", "find_compiler", "shared_object"]

NATIVE = "-march=native"
# never -ffast-math: linked into a shared object it sets flush-to-zero for the whole process
FLAGS = (
    "-O3", NATIVE, "-std=c99", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast"
)  # fmt: skip
LIBRARIES = ("-lm",)
SECONDS = 600
"""A compiler that takes longer is stopped."""


@dataclass(frozen=True)
class Compiler:
    """A C compiler: the command with its own arguments, and what it says of its version."""

    command: tuple[str, ...]
    version: str


def find_compiler() -> Compiler | None:
    """The C compiler: $CC where it is set, else the first of cc, gcc and clang; None where there is none."""
    return _find(os.environ.get("CC", ""), os.environ.get("PATH", ""))


def shared_object(name: str, sources: Mapping[str, str]) -> Path:
    """The shared object of `NAME.c` in `sources` (file name → text; headers beside it), built or cached.

    Raises BuildError where there is no compiler, or with the compiler's message where it fails.
    """
    compiler = find_compiler()
    if compiler is None:
        raise BuildError("no C compiler: expected cc, gcc or clang on the PATH, or $CC to name one")
    parts = (sorted(sources.items()), name, FLAGS, LIBRARIES, compiler.command, compiler.version, _cpu(), VERSION)
    return cached(sha256(json.dumps(parts)), ".so", lambda folder: _compile(compiler, name, sources, folder))


@functools.cache
def _find(chosen: str, path: str) -> Compiler | None:
    try:
        commands = [shlex.split(chosen)] if chosen.strip() else [["cc"], ["gcc"], ["clang"]]
    except ValueError:
        return None
    for command in commands:
        program = shutil.which(command[0], path=path)
        if program is None:
            continue
        said = _run((program, *command[1:], "--version"))
        if said.returncode == 0:
            return Compiler((program, *command[1:]), said.stdout)
    return None


@functools.cache
def _cpu() -> str:
    """What decides which instructions `-march=native` may use."""
    facts = [platform.system(), platform.machine()]
    wanted = ("vendor_id", "cpu family", "model", "flags", "Features", "CPU implementer", "CPU part", "isa")
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if not line.strip():
                break  # the first core speaks for all
            if line.partition(":")[0].strip() in wanted:
                facts.append(line)
    except OSError:
        facts.append(platform.processor())
    return "\n".join(facts)


def _run(command: tuple[str, ...], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the compiler, its messages untranslated; BuildError where it cannot be run or does not end."""
    try:
        return subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{command[0]} was stopped after {SECONDS} seconds: try a smaller model") from error
    except OSError as error:
        raise BuildError(f"cannot run the C compiler {command[0]}: {error.strerror}") from error


def _compile(compiler: Compiler, name: str, sources: Mapping[str, str], folder: Path) -> Path:
    for file, text in sources.items():
        (folder / file).write_text(text, encoding="utf-8")
    made = folder / f"{name}.so"
    arguments = (f"{name}.c", "-o", made.name, *LIBRARIES)
    result = _run((*compiler.command, *FLAGS, *arguments), folder)
    if result.returncode != 0 and "march" in result.stderr:
        portable = tuple(f for f in FLAGS if f != NATIVE)
        result = _run((*compiler.command, *portable, *arguments), folder)
    if result.returncode != 0 or not made.is_file():
        said = "\n".join(result.stderr.strip().splitlines()[:20]) or f"exit status {result.returncode}"
        raise BuildError(
            f"the C compiler {compiler.command[0]} did not compile {name}.c:\n{said}\n"
            "Expected a C99 compiler and its standard library; $CC names another compiler"
        )
    return made
