"""files: whole or nothing, and never the user's own files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chainrule.codegen import files
from chainrule.codegen.files import MANIFEST, output_name, sha256, write_file, write_folder
from chainrule.symbolic.errors import BuildError


def texts(**named: str) -> dict[str, str]:
    """File texts with the manifest that names them."""
    content = {name.replace("_py", ".py").replace("_c", ".c"): text for name, text in named.items()}
    manifest = {"chainrule": "0", "files": {n: sha256(t) for n, t in content.items()}}
    return {**content, MANIFEST: json.dumps(manifest)}


def listing(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", ["a", "digits", "conv_2d", "x" * 64])
def test_good_names(name: str) -> None:
    assert output_name(name) == name


HOSTILE = [
    "",
    "A",
    "1a",
    "_a",
    "a-b",
    "a b",
    "a/b",
    "../a",
    "..",
    "/etc/passwd",
    "a\n",
    "a\0",
    "é",
    "ａ",
    "x" * 65,
    "a;system('x')",
    '"',
    "{{a}}",
    "for",
    "lambda",
    "int",
    "restrict",
    "class",
    "main",
    "math",
    "numpy",
    "a.b",
    "${a}",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(BuildError) as caught:
        output_name(name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).isascii() or "…" in str(caught.value)


def test_new_folder_holds_exactly_the_texts(tmp_path: Path) -> None:
    made = texts(a_py="1", b_c="2")
    paths = write_folder(tmp_path / "out" / "net", made)
    assert listing(tmp_path) == {f"out/net/{n}": t for n, t in made.items()}
    assert [p.name for p in paths] == list(made)


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    code = (
        "import os, sys; os.umask(0o027)\n"
        "from chainrule.codegen.files import write_folder, write_file\n"
        "write_folder(sys.argv[1] + '/net', {'a': '1'}); write_file(sys.argv[1] + '/f', '1')\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    modes = [oct((tmp_path / n).stat().st_mode & 0o777) for n in ("net", "net/a", "f")]
    assert modes == ["0o750", "0o640", "0o640"]


def test_second_generation_replaces_ours_removes_stale_keeps_foreign(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    write_folder(folder, texts(a_py="1", b_c="2", old_c="3", edited_c="4"))
    (folder / "mine.txt").write_text("mine")
    (folder / "edited.c").write_text("edited by hand")
    second = texts(a_py="new")
    write_folder(folder, second)
    assert listing(folder) == {**second, "mine.txt": "mine", "edited.c": "edited by hand"}
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def test_a_file_of_the_user_in_the_way_is_not_overwritten(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "a.py").write_text("mine")
    with pytest.raises(BuildError, match="not written by chainrule"):
        write_folder(folder, texts(a_py="1"))
    assert listing(tmp_path) == {"net/a.py": "mine"}


@pytest.mark.parametrize(
    "manifest", ["", "[]", "{", '{"files": 3}', "[" * 100_000, '{"chainrule": "0", "files": {"../x": ""}}']
)
def test_a_damaged_manifest_owns_nothing(tmp_path: Path, manifest: str) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    (tmp_path / "x").write_text("")
    (folder / MANIFEST).write_text(manifest)
    (folder / "a.py").write_text("mine")
    with pytest.raises(BuildError, match="not written by chainrule"):
        write_folder(folder, texts(a_py="1"))
    assert (tmp_path / "x").exists()
    assert (folder / "a.py").read_text() == "mine"


@pytest.mark.parametrize("failing", range(4))
@pytest.mark.parametrize("existing", [False, True])
def test_a_failure_in_the_middle_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, existing: bool
) -> None:
    folder = tmp_path / "net"
    if existing:
        write_folder(folder, texts(a_py="1", stale_c="2"))
    before = listing(tmp_path)
    calls = 0
    original_open, original_replace = os.open, Path.replace

    def fail() -> None:
        nonlocal calls
        calls += 1
        if calls > failing:
            raise OSError(28, "No space left on device")

    def replace(self: Path, target: Path) -> Path:
        if self.parent.name != "before":
            fail()
        return original_replace(self, target)

    def create(path: str, flags: int, mode: int = 0o777, **more: int) -> int:
        if flags & os.O_EXCL:
            fail()
        return original_open(path, flags, mode, **more)

    if existing:
        monkeypatch.setattr(files.Path, "replace", replace)
    else:
        monkeypatch.setattr(files.os, "open", create)
    new = texts(a_py="new", b_py="new", c_py="new", d_py="new")
    with pytest.raises(BuildError, match="No space left"):
        write_folder(folder, new)
    monkeypatch.undo()
    assert listing(tmp_path) == before
    assert [p.name for p in tmp_path.iterdir()] == (["net"] if existing else [])


@pytest.mark.parametrize("writer", [lambda p: write_folder(p, texts(a_py="1")), lambda p: write_file(p, "1")])
def test_unwritable_output_is_one_clear_error(tmp_path: Path, writer) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "net", Path("/proc/chainrule/net"), tmp_path / ("x" * 300) / "net"):
        with pytest.raises(BuildError, match="cannot write") as caught:
            writer(path)
        assert str(path) in str(caught.value)
    assert listing(tmp_path) == {"file": ""}


def test_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "net").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BuildError, match="symbolic link"):
        write_folder(tmp_path / "net", texts(a_py="1"))
    folder = tmp_path / "real"
    write_folder(folder, texts(a_py="1"))
    (folder / "a.py").unlink()
    (folder / "a.py").symlink_to(tmp_path / "victim")
    write_folder(folder, texts(a_py="2"))
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    write_file(tmp_path / "link", "3")
    assert (tmp_path / "victim").read_text() == "precious"
    assert (folder / "a.py").read_text() == "2"
    assert (tmp_path / "link").read_text() == "3"


def test_folders_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "net" / "a.py").mkdir(parents=True)
    with pytest.raises(BuildError, match="is a folder"):
        write_folder(tmp_path / "net", texts(a_py="1"))
    with pytest.raises(BuildError, match="is a folder"):
        write_file(tmp_path / "net", "1")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(BuildError, match="is a file"):
        write_folder(tmp_path / "file", texts(a_py="1"))


def test_a_device_is_written_to_and_stays() -> None:
    write_file("/dev/null", "gone")
    assert Path("/dev/null").is_char_device()
    result = subprocess.run(
        [sys.executable, "-c", "from chainrule.codegen.files import write_file; write_file('/dev/stdout', 'out')"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert result.stdout == "out"


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.md"
    assert write_file(path, "σ") == path
    write_file(str(path), b"2")
    assert listing(tmp_path) == {"a/b.md": "2"}
