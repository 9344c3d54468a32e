"""A derivation on paper: Markdown, LaTeX, PDF, HTML, and text for a terminal.

Derivation → Page (what is said, once) → the form asked for. The forward equations come first, then
each derivative step by step with the rule and the reason, then the results: the general form, and
beside it the one with the functions' derivatives substituted. Below an equation, and below a result, stands its
matrix form where it has one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Protocol

from sympy import Integer

from .errors import BuildError
from .expressions import Partial, Range
from .matrices import batch_form, matrix_form
from .notation.latex import latex_rows
from .notation.matrices import MatrixNotation, conventions
from .notation.page import (
    Display,
    Heading,
    Page,
    Paragraph,
    Strong,
    Words,
    to_html,
    to_html_fragment,
    to_latex,
    to_markdown,
    to_text,
)
from .notation.show import Notation
from .notation.tree import Chain, Formula, Indexed, Symbol
from .rules import influencing
from .samples import BATCH
from .story import average_line, batch_letters
from .system import COST, Equation, Role, System, Tensor
from .terms import Rule, Step, total

__all__ = [
    "Derived",
    "compile_latex",
    "html",
    "html_fragment",
    "latex_document",
    "latex_fragment",
    "markdown",
    "matrix_notations",
    "page",
    "pdf",
    "result_equations",
    "text",
]

_SPECIAL = frozenset({Rule.LOCAL, Rule.SIMPLIFY})
"""Rules that put the formula of a named function in its place."""

SAMPLE_COST = Indexed(Symbol("cost"), (Symbol("s"),))
"""The cost of one sample, as shown."""

PDF_SECONDS = 120.0
"""How long pdflatex may take."""


class Derived(Protocol):
    """What a report reads of a derivation."""

    @property
    def system(self) -> System: ...
    @property
    def wrt(self) -> tuple[str, ...]: ...
    @property
    def steps(self) -> tuple[Step, ...]: ...
    @property
    def result(self) -> System: ...


def markdown(derivation: Derived) -> str:
    """The derivation as Markdown with `$$…$$` formulas."""
    return to_markdown(page(derivation))


def latex_document(derivation: Derived) -> str:
    """The derivation as a complete LaTeX document."""
    return to_latex(page(derivation))


def latex_fragment(derivation: Derived) -> str:
    """The results alone, `$$`-delimited, for a notebook."""
    notation = Notation.of(derivation.result)
    results = [notation.chain(steps[0].subject, *(s.after for s in steps)) for steps in _last_steps(derivation)]
    rows = [row for result in results for row in _result_rows(result)]
    body = " \\\\\n".join(rows)
    return f"$$\\begin{{aligned}}\n{body}\n\\end{{aligned}}$$"


def html(derivation: Derived) -> str:
    """The derivation as a complete HTML page with MathML, without script or network."""
    return to_html(page(derivation))


def html_fragment(derivation: Derived) -> str:
    """The derivation as HTML to stand inside another page."""
    return to_html_fragment(page(derivation))


def text(derivation: Derived) -> str:
    """The derivation as lines for a terminal."""
    return to_text(page(derivation))


def pdf(derivation: Derived) -> bytes:
    """The derivation as a PDF file's content; raises BuildError where pdflatex is missing or fails."""
    return compile_latex(latex_document(derivation))


def page(derivation: Derived) -> Page:
    """What the report says, in order."""
    notation = Notation.of(derivation.result)
    matrices = matrix_notations(derivation.result)
    results = [
        *_definitions(derivation.system, notation, matrices),
        Heading(1, ("Derivatives",)),
        *_derivatives(derivation, notation),
        Heading(1, ("Results",)),
        *_all_results(derivation, notation, matrices),
        *_average(derivation),
    ]
    items = [*_declarations(derivation.system, notation), *_how_to_read(results, notation), *results]
    return Page(f"Derivation of {derivation.system.name}", tuple(items))


def _declarations(system: System, notation: Notation) -> Iterator[Heading | Paragraph]:
    yield Heading(1, ("Formulas",))
    for label, role in (("Data: ", Role.DATA), ("Parameters: ", Role.PARAMETER)):
        tensors = [t for t in system.tensors if t.role is role]
        if tensors:
            yield Paragraph((label, *_listed([_declared(t, notation) for t in tensors]), "."))


def _definitions(
    system: System, notation: Notation, matrices: Sequence[MatrixNotation]
) -> Iterator[Paragraph | Display]:
    for function in system.functions:
        formula = notation.function(function)
        if formula is None:
            yield Paragraph((Symbol(function.name), " is any differentiable function."))
        else:
            yield Display(formula)
    for equation in system.equations:
        yield from _equation(equation, system, notation)
        yield from _in_matrix_form([equation], matrices)


def matrix_notations(result: System) -> tuple[MatrixNotation, ...]:
    """How matrix forms of a derived System are written: for one sample, and over the batch where there are samples."""
    single = MatrixNotation(Notation.of(result), result)
    if not any(t.per_sample for t in result.tensors):
        return (single,)
    _, count = batch_letters(result)
    average = Indexed(Symbol("cost"), (Symbol("avg"),))
    return single, MatrixNotation(Notation.of(result, {BATCH.name: count, COST: average}), result, batch=True)


def _in_matrix_form(equations: Sequence[Equation], matrices: Sequence[MatrixNotation]) -> Iterator[Display]:
    """The matrix forms of equations for one tensor, as one chain; for one sample, then over the batch."""
    for names in matrices:
        find, label = (batch_form, "over the batch") if names.batch else (matrix_form, "in matrix form")
        forms = [f for f in (find(e, names.system) for e in equations) if f is not None]
        if forms:
            yield Display(names.chain(forms), label=label)


def _how_to_read(items: Sequence[Heading | Paragraph | Display], notation: Notation) -> Iterator[Paragraph]:
    """What the matrix forms on the page take for granted."""
    shown = [i for i in items if isinstance(i, Display) and i.label]
    if shown:
        batch = any(i.label == "over the batch" for i in shown)
        yield Paragraph(conventions([i.formula for i in shown], notation, batch))


def _declared(tensor: Tensor, notation: Notation) -> Words:
    """The tensor's name and its shape."""
    name = notation.name(tensor.name)
    if not tensor.shape:
        return (name, ", a number")
    return (name, " of shape (", *_listed([(notation.size(d),) for d in tensor.shape]), ")")


def _listed(items: Iterable[Words]) -> Words:
    words: list[str | Strong | Formula] = []
    for item in items:
        words += [", ", *item] if words else item
    return tuple(words)


def _equation(equation: Equation, system: System, notation: Notation) -> Iterator[Paragraph | Display]:
    """The equation, preceded by its ranges where they are not the whole tensor."""
    shape = system.tensor(equation.name).shape
    partial = [
        r
        for i, d in zip(equation.indices, shape, strict=True)
        for r in equation.ranges
        if r.symbol == i and (r.lower != 0 or r.upper != d - 1)
    ]
    if partial:
        yield Paragraph(("For ", *_listed((b,) for b in notation.bounds(partial)), ":"))
    yield Display(notation.equation(equation))


def _derivatives(derivation: Derived, notation: Notation) -> Iterator[Heading | Paragraph | Display]:
    for _, group in groupby(derivation.steps, key=lambda s: s.identity.rpartition(".")[0]):
        steps = list(group)
        subject = steps[0].subject
        asked = subject.wrt if isinstance(subject, Partial) else subject
        yield Heading(2, ("With respect to ", notation.formula(asked)))
        for step in steps:
            reason = f": {step.why}." if step.why else "."
            yield Paragraph((Strong(step.rule.value[:1].upper() + step.rule.value[1:]), reason))
            yield Display(notation.step(step))


def _all_results(
    derivation: Derived, notation: Notation, matrices: Sequence[MatrixNotation]
) -> Iterator[Paragraph | Display]:
    """For each tensor the last formula of its derivation, then its matrix form."""
    for steps in _last_steps(derivation):
        yield Display(notation.chain(steps[0].subject, *(s.after for s in steps)))
        yield from _in_matrix_form([e for s in steps for e in _equations(s, derivation.result)], matrices)


def result_equations(derivation: Derived) -> tuple[Equation, ...]:
    """The results as equations for the adjoints of `derivation.result`: the general forms and the substituted ones."""
    return tuple(e for steps in _last_steps(derivation) for s in steps for e in _equations(s, derivation.result))


def _equations(step: Step, result: System) -> Iterator[Equation]:
    """What the step says of a derivative, as an equation for its tensor; none where no tensor holds it."""
    if isinstance(step.subject, Partial):
        wrt = step.subject.wrt
        for tensor in result.tensors:
            if tensor.adjoint_of == wrt.name and tensor.role is Role.DEFINED:
                ranges = (Range(i, Integer(0), d - 1) for i, d in zip(wrt.indices, tensor.shape, strict=True))
                yield Equation(tensor.name, wrt.indices, tuple(ranges), total(step.after))


def _last_steps(derivation: Derived) -> Iterator[list[Step]]:
    """For each tensor the step to the general form, and to the substituted one where there is such."""
    by_tensor: dict[str, list[Step]] = {}
    for step in derivation.steps:
        by_tensor.setdefault(step.identity.rpartition(".")[0], []).append(step)
    for steps in by_tensor.values():
        general = [s for s in steps if s.rule not in _SPECIAL]
        special = [s for s in steps if s.rule in _SPECIAL]
        yield [*general[-1:], *special[-1:]]


def _average(derivation: Derived) -> Iterator[Paragraph | Display]:
    """What the derivatives for one sample say of the average cost, where there is one."""
    system = derivation.system
    behind = influencing(system, COST) if system.has_cost else ()
    names = [name for name in derivation.wrt if name in behind]
    if names and Notation.of(system).cost == SAMPLE_COST:
        yield Paragraph(("The cost of a batch is the mean over its samples; for any element of these tensors:",))
        yield Display(average_line(system, names[0]).formula)


def _result_rows(result: Formula) -> list[str]:
    return latex_rows(result) if isinstance(result, Chain) else []


def compile_latex(source: str) -> bytes:
    """The PDF that pdflatex makes of a complete document: same source, same bytes.

    Raises BuildError where pdflatex is not installed, fails or takes longer than PDF_SECONDS.
    """
    program = shutil.which("pdflatex")
    if program is None:
        raise BuildError(
            "pdflatex is not on the PATH: install TeX (Debian: texlive-latex-base, texlive-latex-recommended), "
            "or write a .tex file and compile it elsewhere"
        )
    command = [program, "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error", "derivation.tex"]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1"}
    with tempfile.TemporaryDirectory(prefix="chainrule-tex-") as folder:
        Path(folder, "derivation.tex").write_text(source, encoding="utf-8")
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, timeout=PDF_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BuildError(f"pdflatex took longer than {PDF_SECONDS:.0f} s and was stopped") from error
        made = Path(folder, "derivation.pdf")
        if done.returncode != 0 or not made.exists():
            log = done.stdout.decode("utf-8", "replace").splitlines()
            fault = next((m for m, line in enumerate(log) if line.startswith("!")), max(len(log) - 10, 0))
            raise BuildError("pdflatex failed:\n" + "\n".join(log[fault : fault + 10]))
        return made.read_bytes()
