"""Which letter each index of one formula is shown by: two different indices that meet never share one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sympy import Dummy, Expr

from ..expressions import walk

__all__ = ["Letters", "free_indices"]

_LETTERS = "ijklpqrtuv"


def free_indices(expressions: Iterable[Expr]) -> list[Dummy]:
    """The free indices, once each, in order of appearance."""
    found: dict[Dummy, None] = {}
    for expression in expressions:
        free = expression.free_symbols
        found.update((n, None) for n in walk(expression) if isinstance(n, Dummy) and n in free)
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
        """The scope in which these indices have letters too: their own names where those are free."""
        inner = Letters(self.taken, self.chosen)
        for symbol in symbols:
            if symbol not in inner.chosen:
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
