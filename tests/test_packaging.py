"""What is shipped is complete, and no room imports what it must not."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOMS = ("symbolic", "codegen", "generated")
RESOURCES = {".py", ".typed", ".jinja", ".c", ".h", ".eq", ".md", ".json"}
NOT_SOURCE = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "*.so")


def sources(project: Path, room: str) -> list[Path]:
    return sorted((project / room).rglob("*.py"))


def module_name(project: Path, path: Path) -> str:
    parts = path.relative_to(project).with_suffix("").parts
    return ".".join(("chainrule", *(parts[:-1] if parts[-1] == "__init__" else parts)))


def imports(project: Path, path: Path, *, at_import: bool = False) -> set[str]:
    """Absolute names of all modules that a file imports; `at_import` leaves out those inside functions."""
    package = module_name(project, path)
    if path.name != "__init__.py":
        package = package.rpartition(".")[0]
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if at_import and (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_type_checking(node)):
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            source = ".".join(filter(None, (base, node.module)))
            found.add(source)
            found.update(f"{source}.{alias.name}" for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))
    return found


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("symbolic", ("chainrule.codegen", "chainrule.generated", "codegen", "generated", "symbolic")),
        ("codegen", ("codegen", "generated", "symbolic")),
        ("generated", ("chainrule.symbolic", "chainrule.codegen", "codegen", "symbolic", "sympy")),
    ],
)
def test_rooms_import_only_what_they_may(project: Path, room: str, forbidden: tuple[str, ...]) -> None:
    wrong = [
        f"{path.relative_to(project)} imports {name}"
        for path in sources(project, room)
        for name in sorted(imports(project, path))
        if any(inside(name, package) for package in forbidden)
    ]
    assert not wrong, "\n".join(wrong)


def test_nobody_but_its_own_package_knows_a_backend(project: Path) -> None:
    """A backend is reached by its name through `codegen.backends`, so that a new one is one new folder."""
    backends = [p.parent for p in (project / "codegen" / "backends").glob("*/__init__.py")]
    wrong = [
        f"{path.relative_to(project)} imports {name}"
        for path in sources(project, "codegen")
        for name in sorted(imports(project, path))
        for backend in backends
        if inside(name, module_name(project, backend / "__init__.py"))
        and backend not in path.parents
        and path.parent != project / "codegen" / "backends"
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_imports(project: Path) -> None:
    """Modules can be put in an order in which each imports only earlier ones, as it is loaded."""
    files = {module_name(project, p): p for room in ROOMS for p in sources(project, room)}
    reads = {
        name: {n for n in imports(project, path, at_import=True) if n in files and not inside(name, n)}
        for name, path in files.items()
    }
    state: dict[str, bool] = {}  # False: on the way, True: done

    def visit(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            circle = (*way[way.index(name) :], name)
            pytest.fail("a circle of imports: " + " → ".join(circle))
        if state.get(name):
            return
        for other in sorted(reads[name]):
            visit(other, (*way, name))
        state[name] = True

    for name in sorted(files):
        visit(name, ())


def test_every_module_states_what_it_offers(project: Path) -> None:
    silent = [
        str(path.relative_to(project))
        for room in ("symbolic", "codegen")
        for path in sources(project, room)
        if path.name not in ("__init__.py", "__main__.py")
        and not any(
            isinstance(node, ast.Assign) and any(getattr(t, "id", "") == "__all__" for t in node.targets)
            for node in ast.parse(path.read_text(encoding="utf-8")).body
        )
    ]
    assert not silent, f"no __all__ in {', '.join(silent)}"


def test_every_package_is_listed(project: Path) -> None:
    listed = set(tomllib.loads((project / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    present = {module_name(project, p) for room in ROOMS for p in sources(project, room) if p.name == "__init__.py"}
    assert present <= listed, f"add to `packages` in pyproject.toml: {sorted(present - listed)}"


def build(backend_call: str, source: Path) -> None:
    """Run one PEP 517 hook of setuptools in `source`; needs no network."""
    code = f"from setuptools import build_meta; build_meta.{backend_call}"
    run = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel made from the sdist made from the tree: what a user would install."""
    work = tmp_path_factory.mktemp("dist")
    shutil.copytree(project, work / "tree", ignore=NOT_SOURCE)
    build(f"build_sdist({str(work)!r})", work / "tree")
    (archive,) = work.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(work, filter="data")
    build(f"build_wheel({str(work)!r})", work / archive.name.removesuffix(".tar.gz"))
    (result,) = work.glob("*.whl")
    return result


def test_wheel_holds_every_source_template_and_model(project: Path, wheel: Path) -> None:
    expected = {
        f"chainrule/{path.relative_to(project).as_posix()}"
        for room in ROOMS
        for path in (project / room).rglob("*")
        if path.is_file() and path.suffix in RESOURCES and "__pycache__" not in path.parts
    }
    held = set(zipfile.ZipFile(wheel).namelist())
    assert expected <= held, f"not shipped: {sorted(expected - held)}"
    assert all(name.startswith(("chainrule/", "chainrule-")) for name in held), "a generic name in site-packages"


def test_generated_kernels_need_numpy_alone(wheel: Path, tmp_path: Path) -> None:
    """From the wheel, with every other dependency made unimportable, the committed kernels import."""
    zipfile.ZipFile(wheel).extractall(tmp_path)
    names = [p.parent.name for p in (tmp_path / "chainrule" / "generated").glob("*/__init__.py")]
    assert names, "no generated kernels"
    code = f"""
import importlib, sys
for hidden in ("sympy", "mpmath", "jinja2", "click", "rich", "chainrule.symbolic", "chainrule.codegen"):
    sys.modules[hidden] = None
sys.path.insert(0, {str(tmp_path)!r})
for name in {sorted(names)!r}:
    kernels = importlib.import_module("chainrule.generated." + name)
    assert kernels.__file__.startswith({str(tmp_path)!r}), kernels.__file__
    assert callable(kernels.gradients)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ""}
    )
    assert run.returncode == 0, run.stderr


def test_version_stands_in_the_change_log(project: Path) -> None:
    newest = re.search(r"^## \[(\d[^\]]*)\]", (project / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None, "CHANGELOG.md lists no version"
    assert newest.group(1) == importlib.metadata.version("chainrule")
