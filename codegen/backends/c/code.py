"""Lines of C."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from .layout import comment

__all__ = ["Code"]


@dataclass
class Code:
    """Lines of C with their indentation."""

    depth: int = 1
    lines: list[str] = field(default_factory=list)

    def add(self, line: str) -> None:
        self.lines.append("    " * self.depth + line)

    def comment(self, texts: Iterable[str]) -> None:
        self.lines.append(comment(texts, "    " * self.depth))

    def blank(self) -> None:
        """An empty line between two paragraphs."""
        if self.lines and self.lines[-1] and not self.lines[-1].endswith("{"):
            self.lines.append("")

    def open(self, line: str) -> None:
        self.add(f"{line} {{")
        self.depth += 1

    def close(self, levels: int = 1) -> None:
        for _ in range(levels):
            self.depth -= 1
            self.add("}")

    def block(self, inner: Code) -> None:
        """The lines of another block, here."""
        self.lines.extend(f"{'    ' * self.depth}{line}" for line in inner.lines)

    def loop(self, index: str, first: str, end: str) -> None:
        self.open(f"for (size_t {index} = {first}; {index} < {end}; {index}++)")
