"""The formula language: `.eq` text, read as mathematics, to a System. The grammar is in docs/language.md.

    source      text -> statements -> whitelisted syntax trees, within limits on every size
    statements  data, parameter, index, output, functions, equations
    formula     one tree -> SymPy: arithmetic, mathematics, conditions;  indexed: tensors and reductions
    left        the left side of an equation;  drafts: an equation as read
    functions   the user's own functions and the catalogue's
    layouts     base cases;  recurrences: tensors that depend on each other, in an order that makes all
    shapes      the range of every index, the shape of every tensor;  proofs: what follows from ranges
    elaborate   all of it -> System

Nothing that a text holds is ever evaluated: names and numbers go through `ast` and a whitelist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from sympy import Expr

from ..errors import FormulaError
from ..names import name_problem
from ..system import FunctionDefinition, System
from .elaborate import elaborate
from .functions import elementwise
from .source import MAX_TEXT, Code, Source, split
from .statements import size_of

__all__ = ["model_name", "parse", "parse_file", "parse_function", "parse_size"]


def parse(
    text: str, *, name: str = "model", file: str = "<text>", functions: Iterable[FunctionDefinition] = ()
) -> System:
    """The System that a `.eq` text describes.

    `name` is the System's, `file` what errors call the text. `functions` are elementwise functions
    known besides the text's own and the catalogue's, undefined ones (`body=None`) included.
    Raises FormulaError, with file, line and column, for anything that is no model.
    """
    if not isinstance(text, str):
        raise FormulaError(f"expected text, found {type(text).__name__}", hint="for a file use parse_file(path)")
    if not isinstance(name, str) or model_name(name) != name:
        raise FormulaError(f"{name!r} cannot name a model", hint="expected lower-case letters, digits and underscores")
    return elaborate(Source(text.replace("\r\n", "\n"), file), name, tuple(functions))


def parse_file(path: str | Path) -> System:
    """The System in a `.eq` file; its name is that of the file, made an identifier.

    Raises FormulaError as `parse` does, and for a file that cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as opened:
            content = opened.read(4 * MAX_TEXT + 1)
        text = content.decode("utf-8-sig")
    except OSError as fault:
        raise FormulaError(f"cannot read {path}: {fault.strerror or fault}") from None
    except UnicodeDecodeError as fault:
        raise FormulaError(
            f"{path} is not a text: byte {fault.start} is not UTF-8", hint="save it as plain text"
        ) from None
    return parse(text, name=model_name(path.stem), file=str(path))


def model_name(stem: str) -> str:
    """An identifier as near to `stem` as possible: lower-case letters, digits and underscores."""
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:40].rstrip("_") or "model"
    if not name[0].isalpha():
        name = f"model_{name}"[:40]
    return f"{name}_model" if name_problem(name) else name


def parse_function(text: str, name: str, parameters: tuple[str, ...]) -> tuple[FunctionDefinition, ...]:
    """The elementwise function `name(parameters) = text`, the last of the result, after all those that it calls.

    Raises FormulaError as `parse` does.
    """
    code = _one_line(text, f"<{name}>")
    function, table = elementwise(code, name, parameters)
    return (*table.used([function.body]), function)


def parse_size(text: str) -> Expr:
    """A size, such as `784`, `n` or `2*T - 1`.

    Raises FormulaError as `parse` does.
    """
    code = _one_line(text, "<size>")
    return size_of(code, code.tree())


def _one_line(text: str, file: str) -> Code:
    source = Source(text, file)
    found = list(split(source))
    if len(found) != 1:
        raise source.error(f"expected one formula, found {len(found)}", 0)
    return found[0]
