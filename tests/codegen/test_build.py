"""build: one build for many processes, damaged objects found, no compiler, no cache, no hang."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
import tomllib
import warnings
from pathlib import Path

import pytest

from chainrule.codegen import build, cache
from chainrule.codegen.build import find_compiler, shared_object
from chainrule.codegen.cache import cache_folder
from chainrule.codegen.version import VERSION
from chainrule.symbolic.errors import BuildError

SOURCE = {"unit.c": '#include "unit.h"\nint answer(void) { return ANSWER; }\n', "unit.h": "#define ANSWER 42\n"}
needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    cache.warn_once.cache_clear()


def answer(path: Path) -> int:
    return ctypes.CDLL(str(path)).answer()


def compiler_script(folder: Path, body: str) -> str:
    """A stand-in for the compiler that does something first; `$real` is the true one."""
    found = find_compiler()
    assert found is not None
    script = folder / "cc-script"
    script.write_text(
        f"#!/bin/sh\nreal='{found.command[0]}'\ncase $1 in --version) exec $real --version;; esac\n{body}\n"
    )
    script.chmod(0o755)
    return str(script)


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((Path(build.__file__).parents[1] / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION


@needs_compiler
def test_built_once_then_cached_owner_only(tmp_path: Path) -> None:
    path = shared_object("unit", SOURCE)
    assert answer(path) == 42
    first = path.stat()
    assert shared_object("unit", dict(reversed(SOURCE.items()))) == path
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (first.st_mtime_ns, first.st_ino)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert sorted(p.suffix for p in (tmp_path / "cache").iterdir()) == [".lock", ".sha256", ".so"]
    assert shared_object("unit", {**SOURCE, "unit.h": "#define ANSWER 43\n"}) != path


@needs_compiler
@pytest.mark.parametrize("damage", ["truncated", "empty", "flipped"])
def test_a_damaged_object_is_found_before_it_is_loaded(damage: str) -> None:
    path = shared_object("unit", SOURCE)
    content = path.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    path.write_bytes({"truncated": content[:middle], "empty": b"", "flipped": flipped}[damage])
    with pytest.warns(RuntimeWarning, match="was damaged"):
        again = shared_object("unit", SOURCE)
    assert answer(again) == 42


@needs_compiler
def test_a_missing_half_is_made_again_without_a_word() -> None:
    path = shared_object("unit", SOURCE)
    path.with_name(path.name + ".sha256").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert answer(shared_object("unit", SOURCE)) == 42


def _build_in_process(_: int) -> int:
    return answer(shared_object("unit", SOURCE))


@needs_compiler
def test_eight_processes_one_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", compiler_script(tmp_path, f"echo run >> '{tmp_path}/runs'; sleep 0.2; exec $real \"$@\""))
    with multiprocessing.get_context("fork").Pool(8) as pool:
        assert pool.map(_build_in_process, range(8), chunksize=1) == [42] * 8
    assert (tmp_path / "runs").read_text().split() == ["run"]


@needs_compiler
def test_a_killed_build_leaves_nothing_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"""
        from chainrule.codegen.build import shared_object
        shared_object("unit", {SOURCE!r})
    """
    slow = compiler_script(tmp_path, f"touch '{tmp_path}/started'; echo half > unit.so; exec sleep 60")
    monkeypatch.setenv("CC", slow)
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], start_new_session=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.kill()  # the process alone: its compiler is still running, as after a crash
    child.wait()
    Path(slow).write_text(f'#!/bin/sh\nexec {_real(monkeypatch)} "$@"\n')
    started = time.monotonic()
    assert answer(shared_object("unit", SOURCE)) == 42
    assert time.monotonic() - started < 20
    assert not list((tmp_path / "cache").glob("*scratch*"))
    os.killpg(child.pid, signal.SIGKILL)


def _real(monkeypatch: pytest.MonkeyPatch) -> str:
    with monkeypatch.context() as context:
        context.delenv("CC")
        found = find_compiler()
    assert found is not None
    return found.command[0]


@needs_compiler
def test_a_compile_error_carries_the_compilers_message_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="nonsense") as caught:
        shared_object("unit", {"unit.c": "int answer(void) { return nonsense; }\n"})
    assert "did not compile unit.c" in str(caught.value)
    assert [p.suffix for p in (tmp_path / "cache").iterdir()] == [".lock"]


@needs_compiler
def test_a_compiler_without_native_gets_portable_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse = 'case "$*" in *march=native*) echo "unknown -march value" >&2; exit 1;; esac\nexec $real "$@"'
    monkeypatch.setenv("CC", compiler_script(tmp_path, refuse))
    assert answer(shared_object("unit", SOURCE)) == 42


@pytest.mark.parametrize(
    ("variable", "value"), [("PATH", ""), ("CC", "/no/such/compiler"), ("CC", "'"), ("CC", "false")]
)
def test_no_compiler_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv(variable, value)
    assert find_compiler() is None
    with pytest.raises(BuildError, match="no C compiler"):
        shared_object("unit", SOURCE)


@needs_compiler
def test_a_cache_that_cannot_be_made_gives_way_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(RuntimeWarning, match="temporary folder") as caught:
        paths = [shared_object("unit", SOURCE) for _ in range(2)]
    assert len(caught) == 1
    path, again = paths
    assert path == again
    assert answer(path) == 42


@needs_compiler
def test_a_read_only_cache_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        (tmp_path / "cache").mkdir(mode=0o500)
        with pytest.warns(RuntimeWarning, match="cannot be used"):
            assert answer(shared_object("unit", SOURCE)) == 42
        return
    # root writes everywhere: the kernel's own read-only file system stands in
    monkeypatch.setenv("CHAINRULE_CACHE", "/proc/self")
    with pytest.warns(RuntimeWarning, match="temporary folder"):
        assert answer(shared_object("unit", SOURCE)) == 42


def test_a_cache_that_others_can_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)
    with pytest.warns(RuntimeWarning, match="others can write"):
        folder = cache_folder()
    assert folder != tmp_path / "cache"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_cache_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.os, "geteuid", lambda: 12345)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        assert cache_folder() != tmp_path / "cache"


def test_the_cache_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAINRULE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "chainrule"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "chainrule"


def test_the_temporary_cache_goes_with_its_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code = "from chainrule.codegen.cache import cache_folder; print(cache_folder())"
    environment = {**os.environ, "CHAINRULE_CACHE": str(tmp_path / "file" / "x"), "TMPDIR": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert Path(run.stdout.strip()).parent == tmp_path
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
