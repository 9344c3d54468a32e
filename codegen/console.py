"""What the command line prints: tables on a terminal, plain aligned text in a pipe, progress for long work."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import click

__all__ = ["plain_warnings", "progress", "say", "table"]

PATIENCE = 1.0
"""Seconds of work after which a terminal shows what is being done."""


def say(text: str = "", *, error: bool = False) -> None:
    """One or more lines to the standard output, or to the standard error."""
    click.echo(text, err=error)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: drawn on a terminal, columns two spaces apart in a pipe."""
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        drawn = Table(*head, header_style="bold", box=None, pad_edge=False)
        for row in rows:
            drawn.add_row(*(Text(cell) for cell in row))
        Console().print(drawn)
        return
    widths = [max(len(line[m]) for line in (head, *rows)) for m in range(len(head))]
    for line in (head, *rows):
        say("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Show `what` on the standard error while the block runs: on a terminal only, and not at once."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    status = Console(stderr=True).status(f"{what} …")
    timer = threading.Timer(PATIENCE, status.start)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        status.stop()


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Inside the block a warning is one line on the standard error."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        del category, filename, lineno, file, line
        say(f"Warning: {message}", error=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", RuntimeWarning)
        warnings.showwarning = show
        yield
