"""Comments and long lines of generated C, broken where a reader would break them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

__all__ = ["comment", "folded"]

_WIDTH = 118


def folded(text: str) -> str:
    """The text with every statement that is too long broken at spaces between its outermost operands."""
    return "\n".join(piece for line in text.split("\n") for piece in _pieces(line))


def _pieces(line: str) -> list[str]:
    code = line.lstrip()
    comment = code.startswith(("/*", "*")) or code.endswith("*/")
    if len(line) <= _WIDTH or comment or code.startswith("#") or code.endswith("\\") or '"' in code:
        return [line]
    indent = " " * (len(line) - len(code) + 8)
    pieces = []
    while len(line) > _WIDTH:
        place = _best_break(line)
        if place is None:
            break
        pieces.append(line[:place])
        line = indent + line[place + 1 :]
    return [*pieces, line]


def _best_break(line: str) -> int | None:
    """The space at the lowest depth of parentheses; among equals the last, before an operator or after a comma."""
    start = len(line) - len(line.lstrip())
    depth, best, best_rank = 0, None, (0, 0)
    for place, character in enumerate(line[:_WIDTH]):
        depth += (character in "([{") - (character in ")]}")
        if character != " " or place < max(start + 1, _WIDTH // 3):
            continue
        after = line[place + 1]
        if not (after in "+-*/?:&|<>=!" and line[place + 1 : place + 3] != "= ") and line[place - 1] != ",":
            continue
        if after == "*" and line[place + 2] != " ":
            continue  # a pointer, not a product
        rank = (depth, after in "*/<>=!")
        if best is None or rank <= best_rank:
            best, best_rank = place, rank
    return best


def comment(lines: Iterable[str], indent: str = "", width: int = 108) -> str:
    """A C comment of those lines, wrapped; nothing in them can end it early."""
    wrapped: list[str] = []
    for line in lines:
        safe = line.replace("*/", "* /").replace("/*", "/ *").replace("\\", "").replace("??", "? ?")
        lead = " " * (len(safe) - len(safe.lstrip()))
        wrapped.extend(textwrap.wrap(safe, width, subsequent_indent=f"{lead}    ", break_on_hyphens=False) or [""])
    if len(wrapped) == 1:
        return f"{indent}/* {wrapped[0]} */"
    middle = [f"{indent} * {w}".rstrip() for w in wrapped[1:-1]]
    return "\n".join([f"{indent}/* {wrapped[0]}", *middle, f"{indent} * {wrapped[-1]} */"])
