"""console: a terminal sees tables and progress, a pipe plain text and silence."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from chainrule.codegen.console import plain_warnings, progress, say, table

ROWS = [("w", "2 × 3"), ("[red]x[/red]", "a" * 200)]


def on_a_terminal(code: str) -> str:
    """What a program writes to a terminal, its standard output and error alike."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "300"}
    child = subprocess.Popen([sys.executable, "-c", code], stdout=slave, stderr=slave, stdin=slave, env=environment)
    os.close(slave)
    said = b""
    try:
        while chunk := os.read(master, 4096):
            said += chunk
    except OSError:  # the other end is closed
        pass
    os.close(master)
    assert child.wait() == 0, said
    return said.decode()


def test_a_table_in_a_pipe_is_aligned_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    table(("tensor", "shape"), ROWS)
    assert capsys.readouterr().out.splitlines() == [
        "tensor        shape",
        "w             2 × 3",
        "[red]x[/red]  " + "a" * 200,
    ]


def test_a_table_on_a_terminal_is_drawn() -> None:
    said = on_a_terminal(f"from chainrule.codegen.console import table; table(('tensor', 'shape'), {ROWS!r})")
    assert "\x1b[1m" in said
    assert "[red]x[/red]" in said
    assert "a" * 200 in said


def test_progress_shows_on_a_terminal_after_a_while() -> None:
    code = (
        "import time; from chainrule.codegen import console; console.PATIENCE = {patience}\n"
        "with console.progress('Deriving'): time.sleep(0.3)\n"
    )
    assert "Deriving" in on_a_terminal(code.format(patience=0.05))
    assert "Deriving" not in on_a_terminal(code.format(patience=5))


def test_progress_is_silent_in_a_pipe(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chainrule.codegen.console.PATIENCE", 0)
    with progress("Deriving"):
        say("out")
        say("err", error=True)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("out\n", "err\n")


def test_a_warning_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    import warnings

    with plain_warnings():
        warnings.warn("no C compiler", RuntimeWarning, stacklevel=1)
        warnings.warn("something old", DeprecationWarning, stacklevel=1)
    assert capsys.readouterr().err == "Warning: no C compiler\n"
