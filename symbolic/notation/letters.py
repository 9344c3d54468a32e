"""Which letter each index of one formula is shown by: two different indices that meet never share one."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

from sympy import Dummy, Expr

__all__ = ["Letters", "free_indices"]

_LETTERS = "ijklpqrtuv"


def free_indices(expressions: Iterable[Expr], replaced: Container[Expr] = ()) -> list[Dummy]:
    """The free indices, once each, in order of appearance; those inside `replaced` nodes are not seen."""
    found: dict[Dummy, None] = {}

    def visit(node: Expr, free: set[Expr]) -> None:
        if node in replaced:
            return
        if isinstance(node, Dummy) and node in free:
            found[node] = None
        for child in node.args:
            visit(child, free)

    for expression in expressions:
        visit(expression, expression.free_symbols)
    return list(found)


class Letters:
    """Letters by index, scope by scope; immutable: `bind` gives the inner scope.

    `taken` are names that mean something else in the formula (sizes, tensors): a letter that has to
    be chosen anew avoids them.
    """

    def __init__(self, taken: frozenset[str], chosen: Mapping[Dummy, str] | None = None) -> None:
        self.taken = taken
        self.chosen = dict(chosen or {})

    def __getitem__(self, symbol: Dummy) -> str:
        return self.chosen.get(symbol) or str(symbol.name)

    def bind(self, symbols: Iterable[Dummy]) -> Letters:
        """The scope in which these indices have letters too: their own names where those are free.

        An index that has a letter already is bound anew: inside it means something else.
        """
        inner = Letters(self.taken, self.chosen)
        for symbol in symbols:
            inner.chosen[symbol] = inner._choose(symbol.name)
        return inner

    def _choose(self, wanted: str) -> str:
        used = set(self.chosen.values())
        if wanted not in used:
            return wanted
        start = _LETTERS.find(wanted) + 1
        for letter in _LETTERS[start:] + _LETTERS[:start]:
            if letter not in used and letter not in self.taken:
                return letter
        while wanted in used:
            wanted += "'"
        return wanted
