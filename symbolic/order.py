"""The order of equations: which depend on each other through an index (recurrences), and which come first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

__all__ = ["components", "recurrent", "together"]


def components(reads: Mapping[str, Iterable[str]]) -> list[tuple[str, ...]]:
    """Strongly connected groups of names, each after all that it reads (Tarjan, without recursion).

    `reads` maps each name to the names that it reads; names that are no key are given, and left out.
    Inside a group the order is that of the mapping.
    """
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[tuple[str, ...]] = []
    place = {name: m for m, name in enumerate(reads)}
    for root in reads:
        if root in number:
            continue
        number[root] = low[root] = len(number)
        stack.append(root)
        path = [(root, iter([n for n in reads[root] if n in reads]))]
        while path:
            name, rest = path[-1]
            for successor in rest:
                if successor not in number:
                    number[successor] = low[successor] = len(number)
                    stack.append(successor)
                    path.append((successor, iter([n for n in reads[successor] if n in reads])))
                    break
                if successor in stack:
                    low[name] = min(low[name], number[successor])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[name])
                if low[name] == number[name]:
                    cut = stack.index(name)
                    found.append(tuple(sorted(stack[cut:], key=place.__getitem__)))
                    del stack[cut:]
    return found


def recurrent(group: Sequence[str], reads: Mapping[str, Iterable[str]]) -> bool:
    """Whether a group of `components` depends on itself."""
    return len(group) > 1 or group[0] in set(reads[group[0]])


def together(names: Sequence[str], group: Sequence[str]) -> list[int]:
    """An order of the positions in `names` in which those of the group stand together, at the place of the first.

    What stood between them, and does not depend on them, comes before; all else keeps its place.
    """
    inside = [m for m, name in enumerate(names) if name in group]
    between = [m for m in range(inside[0], inside[-1] + 1) if names[m] not in group]
    return [*range(inside[0]), *between, *inside, *range(inside[-1] + 1, len(names))]
