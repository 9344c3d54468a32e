"""Every command, program and formula of README.md is run and its shown output compared.

Blocks are run in the order of the page, in one folder that starts empty. `<!-- file: NAME -->` before a
block writes it to that file; `console` blocks are commands after `$ ` with their output, `pycon` blocks
doctests. The two set-up blocks, marked `<!-- ci: NAME -->`, need a network: `.ci/run` runs them word for word.
"""

from __future__ import annotations

import doctest
import re
import shutil
from pathlib import Path

import pytest
from pages import Block, blocks, pattern, run_console, without_blocks

FORMULA = re.compile(r"^\$\$.*?\$\$$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page() -> str:
    return (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tour")


def run_doctest(block: Block, names: dict[str, object]) -> None:
    test = doctest.DocTestParser().get_doctest(block.text, names, "README.md", "README.md", block.line)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    failed, tried = runner.run(test, out=report.append, clear_globs=False)
    names.update(test.globs)
    assert tried, f"README.md:{block.line}: no example in this block"
    assert not failed, "".join(report)


def test_tour(page: str, tour: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first block to the last, as a reader would type them."""
    if shutil.which("cc") is None:
        pytest.skip("the tour compiles C")
    monkeypatch.chdir(tour)
    monkeypatch.syspath_prepend(str(tour))
    names: dict[str, object] = {"__name__": "__readme__"}
    for block in blocks(page):
        if block.mark == "ci":
            continue
        if block.mark == "file":
            (tour / block.name).write_text(block.text, encoding="utf-8")
        elif block.kind == "console":
            run_console(block, "README.md", tour)
        elif block.kind == "pycon":
            run_doctest(block, names)
        else:
            pytest.fail(f"README.md:{block.line}: a {block.kind!r} block that nothing runs")
    derivation = "".join(p.read_text(encoding="utf-8") for p in sorted(tour.rglob("*.md")))
    for formula in FORMULA.findall(page):
        assert formula in derivation, f"README.md shows a formula that no derivation of the tour contains:\n{formula}"


def test_set_up_commands_are_those_of_ci(page: str, project: Path) -> None:
    """Both set-up blocks start from nothing, and the CI script runs exactly these."""
    marked = {b.name: b.text for b in blocks(page) if b.mark == "ci"}
    script = (project / ".ci" / "run").read_text(encoding="utf-8")
    assert list(marked) == re.findall(r"^run_readme (\w+)$", script, re.MULTILINE)
    assert all(text.startswith("python3 -m venv .venv") for text in marked.values())


def test_links_lead_somewhere(page: str, project: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", without_blocks(page))
    missing = [t for t in targets if not (project / t).exists()]
    assert not missing, f"README.md links to {missing}"


@pytest.mark.parametrize(
    ("shown", "printed", "equal"),
    [
        ("a … c\n", "a b c\n", True),
        ("a\n…\nd\n", "a\nb\nc\nd\n", True),
        ("a\n…\nd\n", "a\nb\nc\n", False),
        ("1.5 (x)\n", "1.5 (x)\n", True),
        ("1.5\n", "1x5\n", False),
    ],
)
def test_shown_output_is_compared(shown: str, printed: str, equal: bool) -> None:
    assert bool(re.fullmatch(pattern(shown), printed)) is equal
