"""The functions of one model: the user's own, those given from Python, and the catalogue's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sympy import Expr, Symbol

from ..catalogue import definition, names
from ..expressions import Call, walk
from ..system import FunctionDefinition
from .formula import Formula
from .source import Code
from .statements import FunctionText

__all__ = ["FunctionTable", "elementwise"]

MAX_DEPTH = 24
"""Functions that call functions that call functions …, at most."""

MAX_EXPANDED = 20_000
"""Operations of a formula once every call is replaced by the function's formula, at most."""


class FunctionTable:
    """Finds a function by its name, reading the user's definitions when they are first asked for.

    A name of the user comes before one given from Python, and that before the catalogue.
    """

    def __init__(self, texts: Iterable[FunctionText] = (), given: Iterable[FunctionDefinition] = ()) -> None:
        self._texts: dict[str, FunctionText] = {}
        self._ready: dict[str, FunctionDefinition] = {}
        self._costs: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._depths: dict[str, int] = {}
        self._under_way: list[str] = []
        for text in texts:
            if text.name in self._texts:
                line = self._texts[text.name].code.position().line
                message = f"the function {text.name!r} is defined twice: first in line {line}"
                raise text.code.error(message, 0, "rename one of them, or remove it")
            self._texts[text.name] = text
        self._ready.update((f.name, f) for f in given if f.name not in self._texts)

    def known(self) -> Iterable[str]:
        """Every name that can be called, for suggestions."""
        return {*self._texts, *self._ready, *names()}

    def get(self, name: str) -> FunctionDefinition | None:
        """The function of that name; None where there is none."""
        if name not in self._ready:
            if name in self._texts:
                self._ready[name] = self._read(self._texts[name])
            elif name in names("activation", "cost"):
                self._ready[name] = definition(name)
        return self._ready.get(name)

    def read_all(self) -> None:
        """Read every definition, so that a fault in one that is never called is found too."""
        for name in self._texts:
            self.get(name)

    def _read(self, text: FunctionText) -> FunctionDefinition:
        if text.name in self._under_way:
            cycle = " -> ".join((*self._under_way[self._under_way.index(text.name) :], text.name))
            message = f"the functions define each other in a cycle: {cycle}"
            raise text.code.error(message, 0, "a function is made of functions defined without it")
        self._under_way.append(text.name)
        self._check_depth(text, len(self._under_way))
        parameters = {name: Symbol(name, real=True) for name in text.parameters}
        body = Formula(text.body, self, parameters).read()
        self._under_way.pop()
        self._depths[text.name] = 1 + max(
            (self._depths.get(n.name, 0) for n in walk(body) if isinstance(n, Call)), default=0
        )
        self._check_depth(text, self._depths[text.name])
        self.check_size(body, text.body)
        return FunctionDefinition(text.name, tuple(parameters.values()), body, "user")

    def _check_depth(self, text: FunctionText, depth: int) -> None:
        if depth > MAX_DEPTH:
            message = f"functions that call each other more than {MAX_DEPTH} deep"
            raise text.code.error(message, 0, "store a value on the way in a tensor of its own")

    def used(self, expressions: Iterable[Expr]) -> tuple[FunctionDefinition, ...]:
        """The functions that the expressions call, directly or not, in order of the text, callees first."""
        reached: set[str] = set()
        pending = list(expressions)
        while pending:
            for node in walk(pending.pop()):
                function = self.get(node.name) if isinstance(node, Call) else None
                if function is not None and function.name not in reached:
                    reached.add(function.name)
                    pending.extend(() if function.body is None else (function.body,))
        return tuple(f for f in self._ready.values() if f.name in reached)

    def check_size(self, expression: Expr, code: Code) -> None:
        """Refuse a formula that nested calls would make too large: functions of functions double quickly."""
        operations = self._operations(expression, {})
        if operations > MAX_EXPANDED:
            message = (
                f"written out, this formula has about {operations:.3g} operations: at most {MAX_EXPANDED} are allowed"
            )
            raise code.error(message, 0, "store a part of it in a tensor of its own")

    def _operations(self, expression: Expr, arguments: Mapping[Expr, int]) -> int:
        if not expression.args:
            return arguments.get(expression, 1)
        function = self.get(expression.name) if isinstance(expression, Call) else None
        if function is None or function.body is None:
            return 1 + sum(self._operations(a, arguments) for a in expression.args)
        fixed, uses = self._cost(function)
        sizes = (self._operations(a, arguments) for a in expression.arguments)
        return fixed + sum(n * size for n, size in zip(uses, sizes, strict=True))

    def _cost(self, function: FunctionDefinition) -> tuple[int, tuple[int, ...]]:
        """Operations of a function written out: a fixed number, and how often each argument stands in it."""
        if function.name not in self._costs:
            nothing = dict.fromkeys(function.parameters, 0)
            fixed = self._operations(function.body, nothing)
            uses = (self._operations(function.body, {**nothing, p: 1}) - fixed for p in function.parameters)
            self._costs[function.name] = (fixed, tuple(uses))
        return self._costs[function.name]


def elementwise(code: Code, name: str, parameters: tuple[str, ...]) -> tuple[FunctionDefinition, FunctionTable]:
    """The function `name(parameters) = code`, and the table that knows the functions it calls."""
    table = FunctionTable()
    symbols = {p: Symbol(p, real=True) for p in parameters}
    body = Formula(code, table, symbols).read()
    table.check_size(body, code)
    return FunctionDefinition(name, tuple(symbols.values()), body, "user"), table
