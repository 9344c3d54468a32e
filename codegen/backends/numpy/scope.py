"""Texts of operands: names, views and constants, each made once before the first step.

What changes from call to call (the data) is viewed inside the step; everything else is viewed once.
"""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Expr, Symbol
from sympy.logic.boolalg import Boolean

from .contractions import Layout
from .memory import Memory
from .names import Names, number_name
from .sizes import real_text, shape_text, whole_text
from .values import Operand, Value

__all__ = ["Scope"]


class Scope:
    """The names of one kernel function. `lines` is what stands before the step, in order of need."""

    def __init__(
        self,
        names: Names,
        sizes: Mapping[Symbol, str],
        memory: Memory,
        given: Mapping[str, str],
        volatile: frozenset[str],
    ) -> None:
        self.lines: list[str] = []
        self.sizes = sizes
        self._names = names
        self._memory = memory
        self._given = given
        self._volatile = volatile
        self._own: dict[int, str] = {}  # host numbers and prepared arrays
        self._constants: dict[Expr, str] = {}
        self._ones: dict[Expr, str] = {}
        self._views: dict[str, str] = {}

    def declare(self, value: Value, wanted: str) -> str:
        """A name for a value that has no array of the workspace."""
        self._own[value.number] = self._names.claim(wanted)
        return self._own[value.number]

    def name(self, value: Value) -> str:
        """The name of a value's array."""
        if value.operation == "given":
            return self._given[str(value.detail[0])]
        return self._own.get(value.number) or self._memory.names[value.number]

    def operand(self, operand: Operand, rank: int) -> str:
        """The operand, as NumPy broadcasts it to an array of `rank` axes."""
        if operand.scalar is not None:
            return self.constant(operand.scalar)
        order = tuple(sorted(range(len(operand.axes)), key=lambda m: operand.axes[m]))
        permute = None if order == tuple(range(len(order))) else order
        present = sorted(operand.axes)
        marks = [":" if a in present else "None" for a in range(present[0], rank)] if present else []
        subscript = f"[{', '.join(marks)}]" if "None" in marks else ""
        return self.view(operand.value, Layout(permute=permute, subscript=subscript))

    def view(self, value: Value, layout: Layout) -> str:
        """The value's array in another layout."""
        base, suffix = self._based(value)
        text = base
        if layout.reshape is not None:
            flat = len(layout.reshape) == 1
            shape = "-1" if flat else shape_text(layout.reshape, self.sizes)
            text, suffix = f"{text}.reshape({shape})", f"{suffix}_{'flat' if flat else 'matrix'}"
        if layout.permute == (1, 0):
            text, suffix = f"{text}.T", f"{suffix}_T"
        elif layout.permute is not None:
            text, suffix = f"{text}.transpose{layout.permute}", f"{suffix}_turned"
        if layout.subscript:
            word = "column" if layout.subscript == "[:, None]" else "spread"
            text, suffix = f"{text}{layout.subscript}", f"{suffix}_{word}"
        return self._kept(text, base, suffix)

    def _kept(self, text: str, base: str, suffix: str) -> str:
        """The text itself where it is a name or the array changes from call to call, else a name for the view."""
        if text == base or base in self._volatile:
            return text
        if text not in self._views:
            self._views[text] = self._names.claim(f"{base}{suffix}")
            self.lines.append(f"{self._views[text]} = {text}")
        return self._views[text]

    def _based(self, value: Value) -> tuple[str, str]:
        """The text of the array itself, and how the names of its views go on."""
        if value.operation != "view":
            return self.name(value), ""
        base = self.view(value.operands[0].value, Layout())
        kind, places = value.detail
        assert isinstance(places, tuple)
        if kind == "part":
            marks = ", ".join(":" if p is None else str(p) for p in places)
            text, suffix = f"{base}[{marks}]", "_part"
        else:
            letters = "".join("ijklmnop"[p] for p in places)
            text, suffix = f'np.einsum("{letters}->{"".join(sorted(set(letters)))}", {base})', "_diagonal"
        if value.operands[0].value.operation == "given" and base in self._volatile:
            self._volatile |= {text}
            return text, ""
        return self._kept(text, base, suffix), ""

    def constant(self, number: Expr) -> str:
        """A number of the kernel's dtype that only sizes decide, as an array of no axes: ufuncs take those fastest."""
        if number not in self._constants:
            name = self._names.claim("condition" if isinstance(number, Boolean) else number_name(number))
            text = real_text(number, self.sizes)
            dtype = "" if isinstance(number, Boolean) else ", DTYPE"
            self.lines.append(f"{name} = np.array({text}{dtype})")
            self._constants[number] = name
        return self._constants[number]

    def ones(self, extent: Expr) -> str:
        """A vector of ones: a product with it sums rows or columns faster than a reduction does."""
        if extent not in self._ones:
            label = str(extent) if extent.is_Symbol or extent.is_Integer else ""
            name = self._names.claim(f"ones_{label}" if label else "ones")
            self.lines.append(f"{name} = np.ones({whole_text(extent, self.sizes)}, DTYPE)")
            self._ones[extent] = name
        return self._ones[extent]
