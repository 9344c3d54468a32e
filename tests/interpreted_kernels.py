"""Kernels that the interpreter of the kernel IR runs: the oracle's check and the peers' tests without a backend.

They answer the calls that generated ones do (`forward`, `cost`, `gradients`, `vjp`, products), one sample batch at
a time, in float64. Memory is shared by slots, as in generated code.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Sequence

import numpy as np
import sympy as sp
from kernel_interpreter import run_program

from chainrule.codegen.ir import Kind, Program
from chainrule.codegen.lower import lower
from chainrule.symbolic import System

__all__ = ["InterpretedKernels"]


class InterpretedKernels:
    """The kernels of a System, lowered and interpreted."""

    target, dtype = "kernel IR", "float64"

    def __init__(self, system: System, wrt: Sequence[str] | None = None, products: Sequence[str] = ()) -> None:
        self.system = system
        self.program: Program = lower(system, wrt=wrt, products=products)
        self.wrt = self.program.wrt

    def forward(self, **arrays):
        return self._named("forward", self.program.outputs, self._run("forward", arrays))

    def cost(self, **arrays) -> float:
        return float(self._run("cost", arrays)[0])

    def gradients(self, **arrays):
        cost, *found = self._run("gradients", arrays)
        return float(cost), self._named("gradients", self.wrt, found)

    def vjp(self, **arrays):
        return self._named("gradients", self.wrt, self._run("vjp", arrays))

    def hvp(self, **arrays):
        return self._named("hvp", self.wrt, self._run("hvp", arrays))

    def _run(self, entry: str, arrays) -> list[np.ndarray]:
        return list(run_program(self.program, entry, self._sizes(arrays), arrays, shared=True).values())

    def _named(self, title: str, names: Sequence[str], values: Sequence[np.ndarray]):
        return namedtuple(title, names)(*values)

    def _sizes(self, arrays) -> dict[str, int]:
        """Every size by name, and the batch, from the arrays' shapes: extents are affine, solved one by one."""
        sizes: dict[sp.Symbol, int] = {}
        batch, equations = 1, []
        for argument in self.program.arguments:
            if argument.name in arrays:
                shape = np.shape(arrays[argument.name])
                if argument.per_sample or argument.kind is Kind.DATA:
                    batch, *shape = shape
                equations.extend(zip(argument.shape, shape, strict=True))
        for _ in range(len(equations) + 1):
            for declared, extent in equations:
                unknown = declared.xreplace(sizes).free_symbols
                if len(unknown) == 1:
                    (symbol,) = unknown
                    (sizes[symbol],) = sp.solve(declared.xreplace(sizes) - extent, symbol)
        return {**{s.name: int(v) for s, v in sizes.items()}, "batch": int(batch)}
