"""The per-user cache: files by the hash of what they are made from, each made once and checked at every use.

A file is made in a scratch folder under an flock, which the kernel releases whatever happens to the
process, and moved into place by `os.replace`; its own hash stands beside it, so that a truncated or
flipped file is found before it is loaded, and made again. Other users can neither read nor plant anything.
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .files import sha256

__all__ = ["cache_folder", "cached", "warn_once"]


@functools.cache
def warn_once(message: str) -> None:
    """Warn the user, once in a process for each message."""
    warnings.warn(message, RuntimeWarning, stacklevel=3)


def cache_folder() -> Path:
    """The user's cache: $CHAINRULE_CACHE, else chainrule below $XDG_CACHE_HOME or ~/.cache.

    Made owner-only. Where it cannot be used, or others could write into it, a folder that lives as
    long as the process takes its place, with one warning.
    """
    try:
        folder = _wanted()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = folder.stat()
    except (OSError, RuntimeError) as error:
        return _temporary(f"no cache folder: {error}")
    if facts.st_uid != os.geteuid():
        return _temporary(f"the cache folder {folder} belongs to another user")
    if facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return _temporary(f"others can write into the cache folder {folder}; chmod go-w would make it usable")
    return folder


def cached(key: str, suffix: str, make: Callable[[Path], Path]) -> Path:
    """The file of that key, intact; where there is none, `make(scratch folder)` makes it, in one process of many.

    `key` is a hexadecimal digest of everything that the content depends on. What `make` raises comes
    through, and leaves nothing. A cache that cannot be written is replaced for this process.
    """
    folder = cache_folder()
    path = folder / f"{key}{suffix}"
    if _intact(path):
        return path
    try:
        return _make(path, key, make)
    except OSError as error:
        path = _temporary(f"the cache folder {folder} cannot be used: {error}") / path.name
        return path if _intact(path) else _make(path, key, make)


def _wanted() -> Path:
    chosen = os.environ.get("CHAINRULE_CACHE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification: a relative path there is to be ignored
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "chainrule"


def _temporary(reason: str) -> Path:
    warn_once(f"{reason}; using a temporary folder, so kernels are built again in every process")
    return _private(os.getpid())


@functools.cache
def _private(process: int) -> Path:
    """This process's own folder (a forked child makes another), removed when it ends."""
    folder = tempfile.mkdtemp(prefix="chainrule-")

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return Path(folder)


def _digest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _intact(path: Path) -> bool:
    try:
        return _digest_path(path).read_text(encoding="ascii") == sha256(path.read_bytes())
    except (OSError, ValueError):
        return False


def _make(path: Path, key: str, make: Callable[[Path], Path]) -> Path:
    with _lock(path.with_name(f"{key}.lock")):
        if _intact(path):
            return path
        if path.exists() and _digest_path(path).exists():
            warnings.warn(f"{path} was damaged: making it again", RuntimeWarning, stacklevel=4)
        for left in path.parent.glob(f"{key}.scratch-*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{key}.scratch-", dir=path.parent))
        try:
            made = make(scratch)
            digest = scratch / "digest"
            digest.write_text(sha256(made.read_bytes()), encoding="ascii")
            # the digest goes last: a file without one is made again, without a word
            _digest_path(path).unlink(missing_ok=True)
            made.replace(path)
            digest.replace(_digest_path(path))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return path


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock of that file; the kernel releases it even when the process is killed."""
    import fcntl

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        # a process forked meanwhile has the descriptor too: closing this one alone would not release the lock
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)
