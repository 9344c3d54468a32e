"""Activations inside a formula as tensors of their own, System to System.

    a_j = m_j tanh(z_j)   →   t_j = tanh(z_j),  a_j = m_j t_j

so that the derivative goes through the stored value (tanh′ = 1 - t²) instead of being evaluated anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import sympy as sp
from sympy import Dummy, Expr

from .affine import box
from .errors import LoweringError
from .expressions import Access, Call, Range, Reduction, rebuild
from .simplify import inverted_by_exponential
from .stored import Part, Store
from .system import System

__all__ = ["with_stored_activations"]


def with_stored_activations(system: System) -> System:
    """The System whose activations of a whole tensor, where they tell their own derivative, are tensors.

    Equations of a recurrence stay as they are, and so does one that is such an activation itself.
    """
    walk = _Activations(system)
    skipped = system.recurrences()
    for equation in system.equations:
        whole = equation.name in skipped or walk.stores(equation.value, equation.ranges)
        value = equation.value if whole else walk.replaced(equation.value, equation.ranges, equation.name)
        walk.store.equations.append(replace(equation, value=value))
    return walk.store.system()


class _Activations:
    def __init__(self, system: System) -> None:
        self.system = system
        self.store = Store(system)

    def replaced(self, node: Expr, ranges: Sequence[Range], name: str) -> Expr:
        """The expression with its activations read from their tensors; `name` is the equation's."""
        if isinstance(node, Access):
            return node
        inside = (*ranges, *node.ranges) if isinstance(node, Reduction) else ranges
        node = rebuild(node, [self.replaced(a, inside, name) for a in node.args])
        part = self.stores(node, inside)
        return node if part is None else self.store.read(part, node, f"{name}_{_label(node)}")

    def stores(self, node: Expr, ranges: Sequence[Range]) -> Part | None:
        """What would be stored of an activation σ(z[i, j]), over all of z; None for anything else."""
        argument = node.args[-1] if isinstance(node, Call | sp.tanh) else None
        if not isinstance(argument, Access) or (isinstance(node, Call) and node.orders != (0,)):
            return None
        indices = argument.indices
        if not indices or len(set(indices)) < len(indices) or not all(isinstance(i, Dummy) for i in indices):
            return None
        try:
            table = {r.symbol: r for r in box(ranges)}
        except LoweringError:
            return None
        place = tuple(table[i] for i in indices if i in table)
        shape = self.system.tensor(argument.name).shape
        whole = len(place) == len(shape) and all(
            r.lower == 0 and sp.expand(r.extent - d) == 0 for r, d in zip(place, shape, strict=True)
        )
        return Part(node, place) if whole and inverted_by_exponential(node, self.system) else None


def _label(node: Expr) -> str:
    return node.name if isinstance(node, Call) else type(node).__name__
