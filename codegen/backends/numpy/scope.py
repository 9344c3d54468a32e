"""Texts of operands: names, views and constants, each made once before the first step.

What changes from call to call (the data) or from step to step of a loop is viewed where it is used;
everything else is viewed once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sympy as sp
from sympy import Expr, Symbol

from .contractions import Layout
from .memory import Memory
from .names import Names, number_name
from .sizes import is_truth, real_text, shape_text, whole_text
from .slices import merged_text, slice_text, slice_word, steps_text
from .values import Operand, Value, Window
from .windows import window

__all__ = ["Scope"]


class Scope:
    """The names of one kernel function.

    `lines` is what stands before the step, in order of need; `special` are the module's own functions used.
    """

    def __init__(
        self,
        names: Names,
        sizes: Mapping[Symbol, str],
        memory: Memory,
        given: Mapping[str, str],
        volatile: frozenset[str],
    ) -> None:
        self.lines: list[str] = []
        self._pending: list[tuple[str, bool]] = []
        self.special: dict[str, None] = {}
        self.sizes = dict(sizes)
        self.conditional = False  # what a condition guards may not exist without it
        self._names = names
        self._memory = memory
        self._given = given
        self._volatile = set(volatile)
        self._own: dict[int, str] = {}  # host numbers and prepared arrays
        self._constants: dict[Expr, str] = {}
        self._weights: dict[tuple[Expr, Expr], str] = {}
        self._views: dict[str, str] = {}
        self._prepared: dict[tuple[str, str], str] = {}
        self._fixed: dict[str, str] = {}  # views made in the step
        self._local: dict[str, str] = {}  # and in a loop or condition
        self._looped: set[str] = set()  # what changes with a loop's index

    def declare(self, value: Value, wanted: str) -> str:
        """A name for a value that has no array of the workspace."""
        self._own[value.number] = self._names.claim(wanted)
        return self._own[value.number]

    def passing(self, value: Value, wanted: str) -> str:
        """A name for what each step of a loop computes anew."""
        name = self.declare(value, wanted)
        self._volatile.add(name)
        self._looped.add(name)
        return name

    def index(self, symbol: Symbol, enclosing: Collection[str] = ()) -> str:
        """The name of a loop's index: the same for loops that follow each other, another within `enclosing` loops."""
        if symbol not in self.sizes:
            indices = {n for s, n in self.sizes.items() if isinstance(s, sp.Dummy)}
            wanted = symbol.name if symbol.name not in set(self.sizes.values()) - indices else symbol.name.lower()
            again = wanted in indices and wanted not in enclosing
            self.sizes[symbol] = wanted if again else self._names.claim(wanted)
        return str(self.sizes[symbol])

    def taken(self) -> list[tuple[str, bool]]:
        """Lines that the next line of the step needs before it, and whether they depend on a loop's index."""
        lines, self._pending = self._pending, []
        return lines

    def leave(self) -> None:
        """Forget the views made within a loop or condition."""
        self._local = {}

    def name(self, value: Value) -> str:
        """The name of a value's array, or the window that it was computed in."""
        if value.operation == "given":
            return self._given[str(value.detail[0])]
        if value.operation in ("cell", "store"):
            return self._memory.cells[value.cell]
        if value.number in self._memory.placed:
            return self.slot(self._memory.placed[value.number])
        return self._own.get(value.number) or self._memory.names[value.number]

    # --- parts of arrays that are written

    def slot(self, target: Value) -> str:
        """The part of an array that a store or a pad writes."""
        base = self.name(target)
        if target.operation == "store":
            stored = target.stored
            return self._windowed(base, target.shape, stored.place, stored.shape, "")
        before = target.detail[0]
        inner = target.operands[0].value.shape
        rank = len(inner)
        steps = tuple(tuple(sp.Integer(a == m) for a in range(rank)) for m in range(rank))
        return self._windowed(base, target.shape, Window(before, steps), inner, "inside")  # type: ignore[arg-type]

    # --- operands

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
        base, suffix = self._based(value), ""
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
        if text == base:
            return text
        if base in self._volatile:
            self._volatile.add(text)
            if base in self._looped:
                self._looped.add(text)
            return text
        if text not in self._views:
            self._views[text] = self._names.claim(f"{base}{suffix}")
            self.lines.append(f"{self._views[text]} = {text}")
        return self._views[text]

    def _based(self, value: Value) -> str:
        """The text of the array itself."""
        if value.operation != "view":
            return self.name(value)
        source = value.operands[0].value
        base = self.view(source, Layout())
        seen = window(value)
        if seen is None:
            groups = value.detail[0]
            assert isinstance(groups, tuple)
            return self._kept(f"{base}{merged_text(source.shape, groups, self.sizes)}", base, "_merged")
        return self._windowed(base, source.shape, seen, value.shape, "")

    def _windowed(self, base: str, shape: tuple[Expr, ...], seen: Window, extents: tuple[Expr, ...], word: str) -> str:
        """A window of an array: a slice where that says it, else by counting elements."""
        symbols = {s for e in seen.start for s in e.free_symbols if isinstance(s, sp.Dummy)}
        for symbol in symbols:
            self.index(symbol)
        looped = bool(symbols) or base in self._looped or self.conditional
        sliced = slice_text(shape, seen, extents, self.sizes)
        if sliced is not None:
            text = f"{base}{sliced}"
            if looped:
                self._volatile.add(text)
                self._looped.add(text)
            return text if looped else self._kept(text, base, f"_{word or slice_word(sliced)}")
        self.special["windows"] = None
        text = f"_windows({base}, {steps_text(shape, seen, extents, self.sizes)})"
        if base not in self._volatile and not looped:
            return self._kept(text, base, "_windows")
        found = self._local if looped else self._fixed
        if text not in found:
            found[text] = self._names.claim(f"{base if base.isidentifier() else 'array'}_windows")
            self._volatile.add(found[text])
            if looped:
                self._looped.add(found[text])
            self._pending.append((f"{found[text]} = {text}", looped))
        return found[text]

    def prepared(self, text: str, wanted: str) -> str:
        """A name for what the text computes before the first step."""
        key = wanted, text
        if key not in self._prepared:
            self._prepared[key] = self._names.claim(wanted)
            self.lines.append(f"{self._prepared[key]} = {text}")
        return self._prepared[key]

    def counting(self, label: str, extent: Expr, behind: int) -> str:
        """The numbers 0, 1, … of an axis with `behind` more axes to the right of it."""
        marks = f"[:{', None' * behind}]" if behind else ""
        return self.prepared(f"np.arange({whole_text(extent, self.sizes)}){marks}", label)

    # --- constants

    def constant(self, number: Expr) -> str:
        """A number of the kernel's dtype that only sizes decide, as an array of no axes: ufuncs take those fastest."""
        if any(isinstance(s, sp.Dummy) for s in number.free_symbols):
            return f"({real_text(number, self.sizes)})"
        if number not in self._constants:
            name = self._names.claim("condition" if is_truth(number) else number_name(number))
            text = real_text(number, self.sizes)
            dtype = "" if is_truth(number) else ", DTYPE"
            self.lines.append(f"{name} = np.array({text}{dtype})")
            self._constants[number] = name
        return self._constants[number]

    def weights(self, extent: Expr, number: object = sp.S.One) -> str:
        """A vector of one number, 1 where nothing is scaled: a product with it sums faster than a reduction does."""
        assert isinstance(number, Expr)
        if (extent, number) not in self._weights:
            label = str(extent) if extent.is_Symbol or extent.is_Integer else ""
            word = "ones" if number == 1 else f"{number_name(number)}_along"
            name = self._names.claim(f"{word}_{label}" if label else word)
            length = whole_text(extent, self.sizes)
            made = f"np.ones({length}, DTYPE)"
            made = made if number == 1 else f"np.full({length}, {real_text(number, self.sizes)}, DTYPE)"
            self.lines.append(f"{name} = {made}")
            self._weights[extent, number] = name
        return self._weights[extent, number]
