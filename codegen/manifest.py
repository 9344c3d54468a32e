"""`manifest.json`: what a generated folder holds, for whoever finds it. Written here, read here.

Nothing in it depends on the clock, the machine or the path: the same System gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.symbolic.errors import BuildError

from .files import MANIFEST, output_name, sha256
from .version import VERSION

if TYPE_CHECKING:
    from sympy import Expr

    from .ir import Program

__all__ = ["SAMPLE_BATCH", "SAMPLE_SIZE", "SCHEMA", "Manifest", "manifest_text", "read_manifest"]

SCHEMA = 1
SAMPLE_BATCH = 32
SAMPLE_SIZE = 64
"""The batch, and the value of every named size, at which the workspace is given as a number."""

_DTYPES = ("float32", "float64")
_LIMIT = 64 * 2**20
_LINE = 100


@dataclass(frozen=True)
class Manifest:
    """What a generated folder says of itself.

    `formulas` is the model as `.eq` text, `files` maps each file's name to its SHA-256.
    """

    name: str
    dtype: str
    wrt: tuple[str, ...]
    outputs: tuple[str, ...]
    entries: tuple[str, ...]
    formulas: str
    files: Mapping[str, str]


def manifest_text(program: Program, formulas: str, files: Mapping[str, str], targets: Sequence[str]) -> str:
    """The manifest of a program whose other files are `files` (file name → text), as JSON."""
    # whoever only loads a folder needs none of these, nor SymPy
    from .analysis import operations, workspace
    from .ir import BATCH

    counts = {k.entry: operations(k) for k in program.kernels}
    need = workspace(program)
    sample = {BATCH: SAMPLE_BATCH, **dict.fromkeys(program.sizes, SAMPLE_SIZE)}
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "chainrule": VERSION,
        "name": program.name,
        "dtype": program.dtype,
        "targets": list(targets),
        "sizes": [str(s) for s in program.sizes],
        "arguments": {a.name: {"kind": a.kind.value, "shape": [_plain(d) for d in a.shape]} for a in program.arguments},
        "outputs": list(program.outputs),
        "wrt": list(program.wrt),
        "entries": list(program.entries),
        "operations": {
            entry: {"per_sample": _plain(c.per_sample), "per_call": _plain(c.per_call)} for entry, c in counts.items()
        },
        "workspace": {
            "bytes": _plain(need),
            "example": {**{str(s): v for s, v in sample.items()}, "bytes": int(need.subs(sample))},
        },
        "formulas": formulas.splitlines(),
        "files": {name: sha256(text) for name, text in sorted(files.items())},
    }
    return _json(content) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a generated folder; BuildError where there is none, or not one of ours."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _LIMIT:
            raise ValueError("too large")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BuildError(
            f"{folder} holds no generated kernels: cannot read {path} ({error.strerror}); "
            "expected a folder that generate has written"
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error) or type(error).__name__) from error
    try:
        if content["schema"] != SCHEMA:
            raise BuildError(
                f"{path} has schema {content['schema']!r}, and chainrule {VERSION} reads {SCHEMA}: generate it again"
            )
        texts = [content["name"], content["dtype"], *content["formulas"], *content["files"].values()]
        texts += [*content["wrt"], *content["outputs"], *content["entries"]]
        if not all(isinstance(t, str) for t in texts) or content["dtype"] not in _DTYPES:
            raise TypeError("a field has an unexpected value")
        return Manifest(
            output_name(content["name"]),
            content["dtype"],
            tuple(content["wrt"]),
            tuple(content["outputs"]),
            tuple(content["entries"]),
            "\n".join(content["formulas"]) + "\n",
            dict(content["files"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error


def _json(value: Any, indent: str = "") -> str:
    """JSON with what fits on a line on one line."""
    short = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or (indent and len(indent) + len(short) <= _LINE):
        return short
    inner = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + _json(v, inner) for v in value) + f"\n{indent}]"
    members = (f"{inner}{json.dumps(k, ensure_ascii=False)}: {_json(v, inner)}" for k, v in value.items())
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"


def _plain(value: Expr) -> int | str:
    return int(value) if value.is_Integer else str(value)


def _damaged(path: Path, why: str) -> BuildError:
    return BuildError(f"{path} is damaged ({why}): generate it again")
