"""What the command line says of generated kernels, of checks and of the catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .console import say, table
from .files import MANIFEST

if TYPE_CHECKING:
    from chainrule.symbolic.catalogue import Entry

    from .check import Report, Row
    from .ir import Program
    from .pipeline import Generated

__all__ = ["describe", "formulas", "verdict"]


def describe(made: Generated) -> None:
    """Print what was generated: tensors, operations, workspace, files."""
    facts = json.loads((made.folder / MANIFEST).read_text(encoding="utf-8"))
    say(f"{facts['name']}: {facts['dtype']} kernels {', '.join(facts['entries'])}\n")
    table(("tensor", "kind", "shape"), _tensors(made.program))
    say()
    counts = [(entry, _number(count["per_sample"])) for entry, count in facts["operations"].items()]
    table(("kernel", "operations per sample"), counts)
    say(f"\nworkspace  {_workspace(facts['workspace'])}")
    if "c" in facts["targets"]:
        sizes = ", ".join(["batch", *facts["sizes"]])
        say(f"           in C {facts['name']}_workspace({sizes}) says how much, packed copies included")
    say()
    table(("file", "bytes"), [(str(path), _number(path.stat().st_size)) for path in made])


def verdict(reports: Sequence[Report], *, of: int | None = None) -> bool:
    """Print the reports' rows and the verdict; whether all is right.

    After a quick check, of some of `of` gradients, only the rows that are not right are printed.
    """
    rows = [r for report in reports for r in report.rows]
    shown = [r for r in rows if of is None or r.verdict != "ok"]
    if of is not None:
        say()
    if shown:
        head = ("tensor", "target", "dtype", "against", "compared", "worst error", "allowed", "verdict")
        table(head, [_cells(r) for r in shown])
        say()
    right = bool(reports) and all(report.ok for report in reports)
    wrong = sum(r.verdict != "ok" for r in rows)
    targets = " and ".join(dict.fromkeys(r.target for r in rows))
    seeds = ", ".join(dict.fromkeys(str(report.seed) for report in reports))
    said = "passed" if right else f"FAILED, {wrong} of {len(rows)} rows are not ok"
    count = sum(r.compared for r in rows)
    say(f"check  {said}: {count} comparisons of {targets} with independent oracles (seed {seeds})")
    compared = len({r.tensor for r in rows if r.oracle != "formula"})
    if of is not None and compared < of:
        say(f"       {compared} of {of} gradients, drawn at random: chainrule check compares them all")
    return right


def formulas(entry: Entry) -> list[tuple[str, str]]:
    """Left and right sides: the formula, then the derivative by the first argument where it is elementwise."""
    from chainrule.symbolic.catalogue import definition
    from chainrule.symbolic.format import format_expression

    arguments = ", ".join(p.name for p in entry.parameters)
    if entry.kind == "layer":
        return [(f"{entry.name}[j]({arguments}[j])", format_expression(entry.body)), _layer_derivative(entry)]
    lines = [(f"{entry.name}({arguments})", format_expression(entry.body))]
    orders = (1,) + (0,) * (len(entry.parameters) - 1)
    by = f"d {entry.name}/d {entry.parameters[0]}"
    return [*lines, (by, format_expression(definition(entry.name).derivative(orders)))]


def _layer_derivative(entry: Entry) -> tuple[str, str]:
    """∂cost/∂z of a whole layer a = f(z), with the adjoint of a given: what its backward pass computes."""
    from chainrule.symbolic.derive import derive
    from chainrule.symbolic.format import format_expression
    from chainrule.symbolic.language import parse

    system = parse(f"parameter z[n]\na[j] = {entry.name}[j](z[j])\noutput a")
    adjoint = derive(system, ["z"]).gradient("z")
    return f"with a = {entry.name}(z): {format_expression(adjoint.target)}", format_expression(adjoint.value)


def _tensors(program: Program) -> list[tuple[str, str, str]]:
    """Arguments, outputs and gradients with their shapes as the caller sees them."""
    from chainrule.symbolic.system import COST

    shapes = {b.name: b.shape for kernel in program.kernels for b in kernel.buffers}
    rows = [(a.name, a.kind.value, _shape(shapes.get(a.name, a.shape))) for a in program.arguments]
    for kernel in program.kernels:
        kind = {"forward": "output", "gradients": "gradient", "vjp": "gradient"}.get(kernel.entry)
        if kind:
            rows += [(r, kind, _shape(shapes[r])) for r in kernel.results if r != COST]
    return rows


def _shape(shape: Iterable[object]) -> str:
    return " × ".join(str(d) for d in shape) or "one number"


def _number(value: int | str) -> str:
    return f"{value:,}" if isinstance(value, int) else value


def _workspace(need: dict[str, Any]) -> str:
    if isinstance(need["bytes"], int):
        return f"{_number(need['bytes'])} bytes"
    at = ", ".join(f"{name} = {value}" for name, value in need["example"].items() if name != "bytes")
    return f"{need['bytes']} bytes, {_number(need['example']['bytes'])} at {at}"


def _cells(r: Row) -> tuple[str, ...]:
    figures = (f"{r.error:.2e}", f"{r.tolerance:.2e}") if r.compared else ("", "")
    return (r.tensor, r.target, r.dtype, r.oracle, str(r.compared), *figures, r.verdict)
