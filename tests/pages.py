"""Markdown pages whose blocks are run: commands with their output, doctests, files.

In shown output `…` stands for anything within a line, and alone on a line for any lines. `<!-- MARK: NAME -->`
before a block says what it is for.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "blocks", "commands", "pattern", "run_console", "without_blocks"]

_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>ci|file|source): (?P<name>.*?) -->\n)?^```(?P<kind>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """One fenced block: `line` is where it starts; `mark` and `name` come from the comment before it."""

    line: int
    kind: str
    text: str
    mark: str
    name: str


def blocks(page: str) -> list[Block]:
    """Every block of the page, in order."""
    return [
        Block(page[: m.start("kind")].count("\n") + 1, m["kind"], m["text"], m["mark"] or "", m["name"] or "")
        for m in _BLOCK.finditer(page)
    ]


def without_blocks(page: str) -> str:
    """The prose."""
    return _BLOCK.sub("", page)


def pattern(shown: str) -> str:
    """The regular expression of shown output, with `…` as described above."""
    lines = []
    for line in shown.splitlines():
        whole = line.strip() == "…"
        lines.append(r"(?:.*\n)*?" if whole else re.escape(line.rstrip()).replace("…", ".*?") + r"[ \t]*\n")
    return "".join(lines)


def commands(text: str) -> list[tuple[str, str]]:
    """Commands of a `console` block (a trailing backslash goes on) with the output shown below each."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found[-1][0].endswith("\\\n"):
            found[-1] = (found[-1][0] + line, "")
        else:
            found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def run_console(block: Block, page: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run a `console` block of the named page in the folder and compare what it shows."""
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    for command, shown in commands(block.text):
        where = f"{page}:{block.line}: $ {command}"
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=folder,
            env={**os.environ, "PATH": path, "COLUMNS": "100", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        assert run.returncode == 0, f"{where}{run.stdout}"
        printed = "".join(line.rstrip() + "\n" for line in run.stdout.splitlines())
        assert re.fullmatch(pattern(shown), printed), f"{where}printed\n{printed}\n{page} shows\n{shown}"
