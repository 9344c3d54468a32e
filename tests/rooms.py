"""What the sources say of themselves: the rooms, their lines, and who imports whom. Writes docs/architecture.md.

    python tests/rooms.py        # the figures of the page, brought up to date

A room is a module of `symbolic` or `codegen`, or a package in them. Imports inside functions count; those for type
checkers alone do not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["FIGURES", "ROOT", "TOP", "circles", "figures", "imports", "lines", "room", "rooms"]

ROOT = Path(__file__).resolve().parent.parent
TOP = ("symbolic", "codegen", "generated")
FIGURES = re.compile(r"(?<=<!-- figures: python tests/rooms.py -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)


def modules() -> dict[str, Path]:
    """Every module by its dotted name, `chainrule` left out."""
    found = {}
    for top in TOP:
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def room(module: str) -> str:
    """The room of a module: `symbolic/derive`, `symbolic/notation`, `codegen/backends/c`."""
    path = MODULES[module].relative_to(ROOT)
    depth = 3 if path.parts[:2] == ("codegen", "backends") else 2
    return "/".join((*path.parts[:-1], path.stem)[:depth]).removesuffix("/__init__")


def rooms() -> tuple[str, ...]:
    """Every room of the two that hold the work, in alphabetical order."""
    return tuple(sorted({room(m) for m in MODULES if not m.startswith("generated")}))


def imports() -> dict[str, set[str]]:
    """The modules that each module imports."""
    return {name: set(_imported(name, path)) for name, path in MODULES.items()}


def _imported(name: str, path: Path) -> Iterator[str]:
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in _run(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted = [alias.name for alias in node.names]
        else:
            above = ["chainrule", *package[: len(package) - node.level + 1]] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            inner = [f"{base}.{alias.name}" for alias in node.names]
            wanted = [w if w.removeprefix("chainrule.") in MODULES else base for w in inner]
        yield from (w.removeprefix("chainrule.") for w in wanted if w.removeprefix("chainrule.") in MODULES)


def _run(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports that are carried out, now or when a function is called."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not (isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"):
            yield from _run(child)


def circles(graph: Mapping[str, set[str]]) -> list[str]:
    """Every node that reaches itself."""

    def reach(start: str) -> set[str]:
        found: set[str] = set()
        waiting = list(graph[start])
        while waiting:
            node = waiting.pop()
            if node not in found:
                found.add(node)
                waiting.extend(graph[node])
        return found

    return [node for node in graph if node in reach(node)]


def between_rooms() -> dict[str, set[str]]:
    """The rooms that each room imports from."""
    found: dict[str, set[str]] = {name: set() for name in rooms()}
    for module, wanted in imports().items():
        if not module.startswith("generated"):
            found[room(module)].update(room(w) for w in wanted)
    return {name: {w for w in wanted - {name} if w not in TOP} for name, wanted in found.items()}


def lines(name: str) -> int:
    """The lines of a room."""
    return sum(len(p.read_text(encoding="utf-8").splitlines()) for m, p in MODULES.items() if room(m) == name)


def figures() -> str:
    """The table of rooms for the page, lines to the nearest ten."""
    rows = ["", "| room | lines | imports |", "|---|---:|---|"]
    graph = between_rooms()
    for top in ("symbolic", "codegen"):
        inside = [name for name in rooms() if name.split("/")[0] == top]
        rows.append(f"| **{top}** | **{round(sum(map(lines, inside)), -1)}** | |")
        for name in (n for n in inside if n != top):
            near = sorted(w.removeprefix(f"{top}/") for w in graph[name])
            rows.append(f"| `{name}` | {round(lines(name), -1)} | {', '.join(f'`{w}`' for w in near)} |")
    return "\n".join([*rows, "", ""])


if __name__ == "__main__":
    page = ROOT / "docs" / "architecture.md"
    page.write_text(FIGURES.sub(lambda _: figures(), page.read_text(encoding="utf-8")), encoding="utf-8")
