"""The one place that writes: whole files and whole folders, or nothing.

Everything is staged beside its destination and moved there by `os.replace`, so a reader never sees
half a file, and an error leaves what stood before. A folder's `manifest.json` is moved last: it
names the files and their hashes, so that even a killed process leaves a folder that says so.
Whatever it does not name is the user's, and is neither overwritten nor removed.
"""

from __future__ import annotations

import hashlib
import json
import keyword
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from chainrule.symbolic.errors import BuildError
from chainrule.symbolic.keywords import C_KEYWORDS, CPP_KEYWORDS

__all__ = ["MANIFEST", "RESERVED", "output_name", "sha256", "write_file", "write_folder"]

MANIFEST = "manifest.json"

_C_HEADERS = """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg
    stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype
"""
RESERVED = frozenset({*C_KEYWORDS, *CPP_KEYWORDS, *_C_HEADERS.split(), *keyword.kwlist, "main", "numpy", "chainrule"})
"""Names that a module, a C file or its header cannot bear: keywords, and files they would hide."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.]{0,127}", re.ASCII)


def output_name(name: str) -> str:
    """`name` itself where it may name generated files and functions; BuildError where it may not."""
    if not _NAME.fullmatch(name):
        shown = ascii(name if len(name) <= 40 else name[:40] + "…")
        raise BuildError(
            f"{shown} cannot name generated code: expected a lower-case letter, then at most 63 letters a-z, "
            "digits or underscores"
        )
    if name in RESERVED:
        raise BuildError(
            f"{name!r} cannot name generated code: it is a keyword or a standard file of Python, C or C++; "
            f"choose another name, {name}_model for instance"
        )
    return name


def sha256(content: bytes | str) -> str:
    """The SHA-256 of the content (of its UTF-8 bytes), in hexadecimal."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def write_file(path: str | os.PathLike[str], content: bytes | str) -> Path:
    """Write one file whole or not at all, and return its path.

    A regular file or a symbolic link to one is replaced (the link, never what it points to); a
    device or a pipe such as /dev/stdout is written to. Raises BuildError where it cannot be written.
    """
    target = Path(path)
    data = content.encode() if isinstance(content, str) else content
    try:
        kind = _kind(target)
        if kind == "folder":
            raise BuildError(f"{target} is a folder: expected the path of a file to write; add a file name")
        if kind == "device":
            with target.open("wb") as stream:
                stream.write(data)
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = _stage(_beside(target.parent, target.name), data)
        try:
            staged.replace(target)
        except BaseException:
            staged.unlink(missing_ok=True)
            raise
    except BrokenPipeError:
        raise
    except OSError as error:
        raise _unwritable(target, error) from error
    return target


def write_folder(folder: str | os.PathLike[str], texts: Mapping[str, str]) -> tuple[Path, ...]:
    """Write `texts` (file name → content, among them a manifest) as one folder, whole or not at all.

    A new folder appears by one rename. In an existing one the files that its manifest names are
    replaced, those that are no longer made are removed, and the user's own stay; where a file of the
    user's stands in the way, or nothing can be written, a BuildError says so and nothing has changed.
    """
    target = Path(folder)
    for name in texts:
        if not _FILE.fullmatch(name):
            raise ValueError(f"not a plain file name: {name!r}")
    order = sorted(texts, key=lambda name: (name == MANIFEST, name))
    try:
        if target.is_symlink() or (target.exists() and not target.is_dir()):
            what = "a symbolic link" if target.is_symlink() else "a file"
            raise BuildError(f"{target} is {what}: expected a folder or nothing; remove it or choose another output")
        stale = _stale(target, texts)
        target.parent.mkdir(parents=True, exist_ok=True)
        stage = _beside(target.parent, target.name)
        stage.mkdir()
        try:
            for name in order:
                _stage(stage / name, texts[name].encode())
            if target.exists():
                _exchange(stage, target, order, stale)
            else:
                stage.rename(target)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except OSError as error:
        raise _unwritable(target, error) from error
    return tuple(target / name for name in texts)


def _kind(path: Path) -> str:
    """What stands at the path (links followed): "folder", "device", "file" or "nothing"."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "nothing"
    if stat.S_ISDIR(mode):
        return "folder"
    return "file" if stat.S_ISREG(mode) else "device"


def _beside(folder: Path, name: str) -> Path:
    """A path in the folder that nobody else has, for what will become `name`."""
    return folder / f".{name}.{secrets.token_hex(8)}"


def _stage(path: Path, data: bytes) -> Path:
    """A new file at the path that holds the data; removed on error. The process's umask applies."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _owned(folder: Path) -> dict[str, str]:
    """Files of the folder that its manifest calls ours, with their hashes; none where it is unreadable."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest["files"]
        if not isinstance(manifest["chainrule"], str):
            return {}
        return {n: str(h) for n, h in files.items() if _FILE.fullmatch(n)} | {MANIFEST: ""}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def _stale(folder: Path, texts: Iterable[str]) -> list[str]:
    """Files of an earlier generation that are not made again; BuildError where the user's stand in the way."""
    owned = _owned(folder)
    for name in texts:
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            raise BuildError(f"{path} is a folder: expected a file or nothing; remove it or choose another output")
        if name not in owned and os.path.lexists(path):
            raise BuildError(
                f"{path} was not written by chainrule and would be lost: choose another output folder or name, "
                "or move the file away"
            )
    unchanged = []
    for name in set(owned) - set(texts):
        path = folder / name
        if path.is_file() and not path.is_symlink() and sha256(path.read_bytes()) == owned[name]:
            unchanged.append(name)
    return sorted(unchanged)


def _exchange(stage: Path, target: Path, names: list[str], stale: list[str]) -> None:
    """Move the staged files over the target's; on error put back what stood there."""
    before = stage / "before"
    before.mkdir()
    touched: list[str] = []
    try:
        for name in (*stale, *names):
            if os.path.lexists(target / name):
                _keep(target / name, before / name)
            touched.append(name)
            if name in stale:
                (target / name).unlink()
            else:
                (stage / name).replace(target / name)
    except BaseException:
        for name in touched:
            if os.path.lexists(before / name):
                (before / name).replace(target / name)
            else:
                (target / name).unlink(missing_ok=True)
        raise


def _keep(path: Path, copy: Path) -> None:
    """A second name for the file (a copy where the file system has no hard links)."""
    try:
        os.link(path, copy, follow_symlinks=False)
    except OSError:
        shutil.copy2(path, copy, follow_symlinks=False)


def _unwritable(path: Path, error: OSError) -> BuildError:
    reason = error.strerror or str(error)
    return BuildError(
        f"cannot write {path}: {reason}; expected a place where files can be made: "
        "check the path, its permissions and the space left, or choose another output"
    )
