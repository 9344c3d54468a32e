"""A page of headings, words and displayed formulas, and its four forms.

What a page says is decided once; Markdown, LaTeX, HTML and terminal text only lay it out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import escape

from .latex import ROW_WIDTH, latex, latex_rows
from .mathml import mathml
from .names import GREEK
from .text import TEXT_WIDTH, text, text_rows
from .tree import Chain, Formula

__all__ = [
    "Display",
    "Heading",
    "Page",
    "Paragraph",
    "Strong",
    "Words",
    "to_html",
    "to_html_fragment",
    "to_latex",
    "to_markdown",
    "to_text",
]


@dataclass(frozen=True)
class Strong:
    """A word that stands out: the name of a rule."""

    text: str


Words = tuple[str | Strong | Formula, ...]


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is a section."""

    level: int
    words: Words


@dataclass(frozen=True)
class Paragraph:
    """Running text with formulas in it."""

    words: Words


@dataclass(frozen=True)
class Display:
    """A formula on a line (or several) of its own, words before it; `whole` keeps it on one line."""

    formula: Formula
    whole: bool = False
    label: str = ""


@dataclass(frozen=True)
class Page:
    """A title and what follows, in order."""

    title: str
    items: tuple[Heading | Paragraph | Display, ...]


def _rows(item: Display) -> list[str]:
    """The formula's LaTeX rows: one without alignment marks, or several for `aligned`."""
    rows = _broken(item) if not item.whole else []
    return _labelled(item, rows if len(rows) > 1 else [latex(item.formula)])


def _broken(item: Display) -> list[str]:
    """The formula's rows, broken where it is wide."""
    if not isinstance(item.formula, Chain):
        return [latex(item.formula)]
    return latex_rows(item.formula, ROW_WIDTH - len(item.label))


def _labelled(item: Display, rows: list[str]) -> list[str]:
    """The rows of LaTeX with the label before the first."""
    return [rf"\text{{{item.label}: }} {rows[0]}", *rows[1:]] if item.label else rows


def to_markdown(page: Page) -> str:
    """Markdown in which each displayed formula is a `$$…$$` block."""
    blocks = [f"# {_markdown_escape(page.title)}"]
    for item in page.items:
        if isinstance(item, Heading):
            blocks.append(f"{'#' * (item.level + 1)} {_markdown_words(item.words)}")
        elif isinstance(item, Paragraph):
            blocks.append(_markdown_words(item.words))
        else:
            rows = _rows(item)
            blocks.append(f"$${rows[0]}$$" if len(rows) == 1 else f"$$\n{_environment('aligned', rows)}\n$$")
    return "\n\n".join(blocks) + "\n"


def _environment(name: str, rows: list[str]) -> str:
    body = " \\\\\n".join(rows)
    return f"\\begin{{{name}}}\n{body}\n\\end{{{name}}}"


def _markdown_escape(words: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|$~])", r"\\\1", words)


def _markdown_words(words: Words) -> str:
    parts = []
    for word in words:
        if isinstance(word, Formula):
            parts.append(f"${latex(word)}$")
        elif isinstance(word, Strong):
            parts.append(f"**{_markdown_escape(word.text)}**")
        else:
            parts.append(_markdown_escape(word))
    return "".join(parts)


_PREAMBLE = r"""\documentclass[11pt]{article}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage[a4paper,margin=2.2cm]{geometry}
\usepackage{amsmath}
\usepackage{amssymb}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt}
"""


def to_latex(page: Page) -> str:
    """A complete document for pdflatex (article, amsmath); long formulas are broken into rows."""
    title = _latex_escape(page.title)
    lines = [_PREAMBLE + f"\\title{{{title}}}\n\\date{{}}\n\\begin{{document}}\n\\maketitle"]
    for item in page.items:
        if isinstance(item, Heading):
            command = "section" if item.level == 1 else "subsection"
            lines.append(f"\\{command}*{{{_latex_words(item.words)}}}")
        elif isinstance(item, Paragraph):
            lines.append(_latex_words(item.words))
        else:
            lines.append(_environment("align*", _labelled(item, _broken(item))))
    lines.append("\\end{document}")
    return "\n\n".join(lines) + "\n"


_LATEX_SPECIAL = {
    **{c: "\\" + c for c in "#$%&_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "∂": r"$\partial$",
    "′": "$'$",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "—": "---",
    **{letter: f"$\\{name}$" for name, letter in GREEK.items()},
}


def _latex_escape(words: str) -> str:
    """Text for LaTeX; what has no sign there becomes a question mark."""
    signs = (_LATEX_SPECIAL.get(c, c) for c in words)
    return "".join(s if s.isascii() else "?" for s in signs)


def _latex_words(words: Words) -> str:
    parts = []
    for word in words:
        if isinstance(word, Formula):
            parts.append(f"${latex(word)}$")
        elif isinstance(word, Strong):
            parts.append(rf"\textbf{{{_latex_escape(word.text)}}}")
        else:
            parts.append(_latex_escape(word))
    return "".join(parts)


_STYLE = (
    "body{max-width:60rem;margin:2rem auto;padding:0 1rem;font-family:serif;line-height:1.5}"
    "math[display=block]{margin:.8rem 0;overflow-x:auto}"
)


def to_html(page: Page) -> str:
    """A complete page that needs no script and no network: formulas are MathML."""
    title = escape(page.title)
    head = f'<meta charset="utf-8">\n<title>{title}</title>\n<style>{_STYLE}</style>'
    body = to_html_fragment(page)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{body}</body>\n</html>\n'


def to_html_fragment(page: Page) -> str:
    """The page's content alone, to stand inside another page (a notebook)."""
    lines = [f"<h1>{escape(page.title)}</h1>"]
    for item in page.items:
        if isinstance(item, Heading):
            lines.append(f"<h{item.level + 1}>{_html_words(item.words)}</h{item.level + 1}>")
        elif isinstance(item, Paragraph):
            lines.append(f"<p>{_html_words(item.words)}</p>")
        else:
            lines.append(mathml(item.formula, label=item.label))
    return "\n".join(lines) + "\n"


def _html_words(words: Words) -> str:
    parts = []
    for word in words:
        if isinstance(word, Formula):
            parts.append(mathml(word, display=False))
        elif isinstance(word, Strong):
            parts.append(f"<strong>{escape(word.text)}</strong>")
        else:
            parts.append(escape(word))
    return "".join(parts)


def to_text(page: Page) -> str:
    """Plain lines for a terminal; each further side of a chain stands below the first equals sign."""
    lines = [page.title, "=" * len(page.title), ""]
    for item in page.items:
        if isinstance(item, Heading):
            words = _text_words(item.words)
            lines += ["", words, ("-" if item.level == 1 else ".") * len(words), ""]
        elif isinstance(item, Paragraph):
            lines += [_text_words(item.words)]
        else:
            label = f"{item.label}: " if item.label else ""
            first, *rest = text_rows(item.formula, TEXT_WIDTH - len(label))
            lines += [f"    {label}{first}", *(f"    {' ' * len(label)}{row}" for row in rest), ""]
    return "\n".join(lines).rstrip() + "\n"


def _text_words(words: Words) -> str:
    return "".join(w if isinstance(w, str) else w.text if isinstance(w, Strong) else text(w) for w in words)
