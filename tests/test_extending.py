"""The walk-throughs of docs/extending.md do what they say, each in one place of a fresh copy of the sources.

A `diff` block is applied to the copy, a block marked `source` is a new file in it, one marked `file` a file beside
it; `console` and `pycon` blocks are then run on the copy. Nothing but what the section shows is changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import Block, blocks, run_console

PAGE = "docs/extending.md"
ROOMS = ("symbolic", "codegen", "generated")
HUNK = re.compile(r"^@@.*\n", re.MULTILINE)
DOCTEST = """
import doctest, sys
from pathlib import Path
test = doctest.DocTestParser().get_doctest(Path(sys.argv[1]).read_text(), {}, "docs/extending.md", None, 0)
sys.exit(doctest.DocTestRunner().run(test).failed)
"""


def sections() -> dict[str, list[Block]]:
    """The blocks of each walk-through, by the section's title."""
    text = (Path(__file__).parent.parent / PAGE).read_text(encoding="utf-8")
    parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return {title: blocks(part) for title, part in pairs if part.lstrip().startswith("*Walk-through.*")}


SECTIONS = sections()


class Copy:
    """A copy of the sources, importable as `chainrule`, and an empty folder to work in."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.tree, self.work = folder / "tree", folder / "work"
        self.work.mkdir()
        for room in ROOMS:
            shutil.copytree(project / room, self.tree / room, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "path").mkdir()
        (folder / "path" / "chainrule").symlink_to(self.tree)
        self.environment = {"PYTHONPATH": str(folder / "path")}
        self.touched: set[str] = set()

    def run(self, block: Block) -> None:
        if block.kind == "diff":
            self._apply(block.text)
        elif block.mark == "source":
            path = self.tree / block.name
            path.parent.mkdir(parents=True)
            path.write_text(block.text, encoding="utf-8")
            self.touched.add(block.name)
        elif block.mark == "file":
            (self.work / block.name).write_text(block.text, encoding="utf-8")
        elif block.kind == "console":
            run_console(block, PAGE, self.work, self.environment)
        elif block.kind == "pycon":
            self._doctest(block)
        else:
            pytest.fail(f"{PAGE}: a {block.kind!r} block that nothing runs")

    def _apply(self, diff: str) -> None:
        """Each hunk's old lines, which stand in the file exactly once, become its new lines."""
        head, *hunks = HUNK.split(diff)
        (name,) = re.findall(r"^\+\+\+ b/(.*)$", head, re.MULTILINE)
        path = self.tree / name
        text = path.read_text(encoding="utf-8")
        for hunk in hunks:
            lines = [(line[:1], line[1:]) for line in hunk.splitlines(keepends=True)]
            old = "".join(rest for sign, rest in lines if sign != "+")
            new = "".join(rest for sign, rest in lines if sign != "-")
            assert text.count(old) == 1, f"{PAGE}: these lines stand {text.count(old)} times in {name}:\n{old}"
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
        self.touched.add(name)

    def _doctest(self, block: Block) -> None:
        page = self.work / "page.txt"
        page.write_text(block.text, encoding="utf-8")
        command = [sys.executable, "-c", DOCTEST, str(page)]
        done = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("title", SECTIONS)
def test_a_walk_through(title, project, tmp_path):
    copy = Copy(project, tmp_path)
    for block in SECTIONS[title]:
        copy.run(block)
    assert len(copy.touched) == 1, f"{title}: {sorted(copy.touched)}"


def test_there_is_one_of_each():
    assert list(SECTIONS) == ["A new activation", "A new reduction", "A new rewriting", "A new backend"]


def test_files_that_the_page_names_are_there(project):
    """Every path in backticks, but for placeholders in capitals and the walk-throughs' own."""
    text = (project / PAGE).read_text(encoding="utf-8")
    found = set(re.findall(r"`((?:symbolic|codegen|tests|docs|generated|benchmarks|examples)/[\w/.]*)`", text))
    made = {b.name for s in SECTIONS.values() for b in s if b.mark == "source"}
    missing = [name for name in found - made if "NAME" not in name and not (project / name).exists()]
    assert not missing, f"{PAGE} names {missing}"
