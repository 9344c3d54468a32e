"""The architecture is what docs/architecture.md says: who imports whom, no circle, every room described."""

from __future__ import annotations

import re
import sys

from rooms import FIGURES, MODULES, ROOT, between_rooms, circles, figures, imports, room, rooms

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
REFRESH = "bring the page up to date with: python tests/rooms.py"


def test_the_rooms_stand_in_one_direction():
    """`symbolic` never imports `codegen`, `generated` imports neither; imports inside functions count."""
    for module, wanted in imports().items():
        above = {"symbolic": ("codegen", "generated"), "codegen": ("generated",), "generated": ("symbolic", "codegen")}
        wrong = [w for w in wanted if w.startswith(above[module.split(".")[0]])]
        assert not wrong, f"{module} imports {wrong}"


def test_generated_code_needs_numpy_alone():
    standard = {*sys.stdlib_module_names, "numpy"}
    for module, path in MODULES.items():
        if module.startswith("generated"):
            named = re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert set(named) <= standard, module


def test_there_is_no_circle():
    assert not circles(imports())
    assert not circles(between_rooms())


def test_a_backend_is_imported_by_name_alone():
    """Nothing outside a backend's folder imports from it."""
    backends = {n for n in rooms() if re.fullmatch(r"codegen/backends/\w+", n) and (ROOT / n).is_dir()}
    assert {"codegen/backends/c", "codegen/backends/numpy"} <= backends
    for module, wanted in imports().items():
        for other in wanted:
            assert room(other) not in backends or room(other) == room(module), f"{module} imports {other}"


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c"]
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_every_room_is_described():
    told = FIGURES.sub("", PAGE)
    named = set(re.findall(r"`((?:symbolic|codegen)/[\w/]+)`", told))
    parts = {"codegen/backends/formula", "codegen/backends/protocol"}  # told in their folder's row
    assert named | parts | {"symbolic", "codegen"} == set(rooms())


def test_the_figures_are_those_of_today():
    """Imports exactly; lines within a fifth, so that not every change has to touch the page."""
    (shown,) = FIGURES.findall(PAGE)
    told, today = (re.findall(r"^\| \S+ \| \**(\d+)\** \| .*$", text, re.MULTILINE) for text in (shown, figures()))
    without_lines = [re.sub(r"\d+", "", text) for text in (shown, figures())]
    assert without_lines[0] == without_lines[1], REFRESH
    for before, now in zip(told, today, strict=True):
        assert abs(int(now) - int(before)) <= max(40, int(before) / 5), f"{before} lines, today {now}: {REFRESH}"
