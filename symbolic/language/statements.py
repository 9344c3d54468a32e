"""The five kinds of statement, read from their syntax trees: no name is looked up here."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import sympy as sp
from sympy import Expr, Integer

from ..expressions import size
from ..names import STATEMENT_WORDS, name_problem
from .source import Code, Source, split

__all__ = [
    "Declaration",
    "EquationText",
    "FunctionText",
    "IndexBound",
    "OutputName",
    "Statement",
    "elements",
    "read",
    "size_of",
]

MAX_RANK = 8
MAX_SIZE_NODES = 32
MAX_INTEGER = 2**31 - 1

_STARTS = re.compile(rf"({'|'.join(STATEMENT_WORDS)})(?=\s+[A-Za-z_(\[0-9])")
_EQUALS = re.compile(r"(?<![<>=!:])=(?!=)")


@dataclass(frozen=True)
class Declaration:
    """`data x[m]` or `parameter w[n, m]`: a tensor that the caller passes."""

    kind: str
    name: str
    shape: tuple[Expr, ...]
    code: Code
    node: ast.expr


@dataclass(frozen=True)
class FunctionText:
    """`sigma(z) = …`: a user's own elementwise function."""

    name: str
    parameters: tuple[str, ...]
    code: Code
    node: ast.expr
    body: Code


@dataclass(frozen=True)
class EquationText:
    """`z[j] = …`, `h[t + 1] = …` or `h[0] = …`: what the left side's subscripts mean depends on the sizes."""

    name: str
    code: Code
    node: ast.expr
    body: Code

    @property
    def nodes(self) -> tuple[ast.expr, ...]:
        """The trees of the left side's subscripts."""
        return elements(self.node.slice) if isinstance(self.node, ast.Subscript) else ()


@dataclass(frozen=True)
class IndexBound:
    """`index p < 10`: the range of every index of that name, stated outright."""

    name: str
    extent: Expr
    code: Code
    node: ast.expr
    extent_node: ast.expr


@dataclass(frozen=True)
class OutputName:
    """`output a`: a tensor that forward returns."""

    name: str
    code: Code
    node: ast.expr


Statement = Declaration | FunctionText | EquationText | IndexBound | OutputName


def read(source: Source) -> list[Statement]:
    """Every statement of the text, in order."""
    return [s for code in split(source) for s in _read(code)]


def _read(code: Code) -> Iterator[Statement]:
    word = _STARTS.match(code.text)
    if word is not None:
        yield from _READERS[word.group(1)](code.cut(word.end()))
    elif code.text in STATEMENT_WORDS:
        raise code.error(f"expected a name after {code.text!r}", len(code.text), "for example: data x[m], y[n]")
    else:
        yield _definition(code)


def elements(node: ast.expr) -> tuple[ast.expr, ...]:
    """The parts of a list with commas; the node itself where there is no comma."""
    return tuple(node.elts) if isinstance(node, ast.Tuple) else (node,)


def _named(code: Code, node: ast.expr, what: str) -> str:
    if not isinstance(node, ast.Name):
        raise code.error(f"expected the name of {what}, found {code.written(node)!r}", node)
    problem = name_problem(node.id)
    if problem:
        raise code.error(f"{problem} and cannot name {what}", node, "choose another name")
    return node.id


def _declarations(kind: str, code: Code) -> Iterator[Declaration]:
    equals = _EQUALS.search(code.text)
    if equals:
        message = f"a {kind} declaration gives a shape, not a value"
        raise code.error(message, equals.start(), f"write {kind} w[n, m], and the equation on a line of its own")
    for item in elements(code.tree()):
        if isinstance(item, ast.Subscript):
            sizes = elements(item.slice)
            _check_rank(code, item, len(sizes))
            shape = tuple(size_of(code, node) for node in sizes)
            yield Declaration(kind, _named(code, item.value, "a tensor"), shape, code, item.value)
        else:
            yield Declaration(kind, _named(code, item, "a tensor"), (), code, item)


def _data(code: Code) -> Iterator[Declaration]:
    return _declarations("data", code)


def _parameter(code: Code) -> Iterator[Declaration]:
    return _declarations("parameter", code)


def _index(code: Code) -> Iterator[IndexBound]:
    for item in elements(code.tree()):
        if not (isinstance(item, ast.Compare) and len(item.ops) == 1 and isinstance(item.ops[0], ast.Lt | ast.LtE)):
            raise code.error("expected the range of an index", item, "write index p < 10, or index p < m - r + 1")
        extent = size_of(code, item.comparators[0], positive=isinstance(item.ops[0], ast.Lt))
        if isinstance(item.ops[0], ast.LtE):
            extent = sp.expand(extent + 1)
        yield IndexBound(_named(code, item.left, "an index"), extent, code, item.left, item.comparators[0])


def _output(code: Code) -> Iterator[OutputName]:
    for item in elements(code.tree()):
        if isinstance(item, ast.Subscript):
            raise code.error("an output is named without its indices", item, f"write output {code.written(item.value)}")
        yield OutputName(_named(code, item, "an output"), code, item)


_READERS: dict[str, Callable[[Code], Iterator[Statement]]] = {
    "data": _data,
    "parameter": _parameter,
    "index": _index,
    "output": _output,
}


def _definition(code: Code) -> Statement:
    signs = [m.start() for m in _EQUALS.finditer(code.text) if _outside(code.text, m.start())]
    if not signs:
        hint = "expected data …, parameter …, index …, output …, or an equation name[indices] = formula"
        raise code.error("this is not a statement: it has no =", 0, hint)
    if len(signs) > 1:
        raise code.error("a second = in one statement", signs[1], "write one equation a line; == compares")
    left, body = code.cut(0, signs[0]), code.cut(signs[0] + 1)
    if not left.text:
        raise code.error("nothing stands before =", signs[0], "write name[indices] = formula")
    if not body.text:
        raise code.error("nothing stands after =", signs[0], "write the formula on the same line, or open a bracket")
    node = left.tree()
    if isinstance(node, ast.Call):
        return _function(left, node, body)
    if isinstance(node, ast.Subscript):
        name = _named(left, node.value, "a tensor")
        _check_rank(left, node, len(elements(node.slice)))
        return EquationText(name, left, node, body)
    return EquationText(_named(left, node, "a tensor"), left, node, body)


def _outside(text: str, column: int) -> bool:
    head = text[:column]
    return head.count("(") + head.count("[") == head.count(")") + head.count("]")


def _function(code: Code, node: ast.Call, body: Code) -> FunctionText:
    name = _named(code, node.func, "a function")
    if not node.args:
        raise code.error(f"{name}() has no argument", node, f"write {name}(z) = …, or {name} = … for a scalar")
    parameters = tuple(_named(code, a, "a function's argument") for a in node.args)
    for place, parameter in enumerate(parameters):
        if parameter in parameters[:place]:
            raise code.error(f"two arguments of {name} are named {parameter!r}", node.args[place], "rename one")
    return FunctionText(name, parameters, code, node, body)


def _check_rank(code: Code, node: ast.expr, rank: int) -> None:
    if rank > MAX_RANK:
        raise code.error(f"a tensor of {rank} axes: at most {MAX_RANK} are allowed", node)


def _integer(code: Code, node: ast.Constant) -> Integer:
    if not isinstance(node.value, int):
        raise code.error(f"expected a whole number, found {code.written(node)}", node)
    if node.value > MAX_INTEGER:
        raise code.error(f"expected a whole number up to {MAX_INTEGER}, found {code.written(node)}", node)
    return Integer(node.value)


def size_of(code: Code, node: ast.expr, *, positive: bool = True) -> Expr:
    """A size: a whole number, a name, or an expression of both with + - * and //."""
    if sum(1 for _ in ast.walk(node)) > MAX_SIZE_NODES:
        raise code.error("this size is too long an expression", node, "name a size and use the name")
    result = sp.expand(_size(code, node))
    if positive and result.is_number and result < 1:
        raise code.error(f"a size is at least 1, found {result}", node)
    return result


def _size(code: Code, node: ast.expr) -> Expr:
    if isinstance(node, ast.Constant):
        return _integer(code, node)
    if isinstance(node, ast.Name):
        return size(_named(code, node, "a size"))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_size(code, node.operand)
    if isinstance(node, ast.BinOp):
        left, right = _size(code, node.left), _size(code, node.right)
        if isinstance(node.op, ast.FloorDiv) and right.is_Integer and right > 0:
            return sp.floor(sp.expand(left) / right)
        if isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
            return {ast.Add: left + right, ast.Sub: left - right, ast.Mult: left * right}[type(node.op)]
    hint = "a size is made of whole numbers and names with + - * and // by a number, for example 2*T - 1"
    raise code.error(f"expected a size, found {code.written(node)!r}", node, hint)
