"""Array values in single assignment: every value is computed once, however many statements ask for it.

A `Value` is an array (or a number) made by one operation from other values. An `Operand` lays a
value into something of more axes: `axes[m]` is the axis there that the value's axis m runs along, so
that a bias laid over samples and neurons is one value, whatever reads it. Values are hash-consed: the
same operation on the same operands is the same value, which is how statements share work.

What a loop or a condition encloses (a `Region`) has values of its own where it depends on the loop's
index, or on an array that the loop writes; everything else is computed before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sympy import Basic, Expr, Integer

from chainrule.symbolic.expressions import Range

__all__ = ["Graph", "Operand", "Region", "Store", "Value", "Window"]


@dataclass(frozen=True)
class Region:
    """Where values are computed: within `loops`, the outermost first, or under conditions `when` (all >= 0), or both.

    `block` tells apart the regions of a kernel that follow each other; a `backward` loop counts down.
    """

    block: int
    loops: tuple[Range, ...] = ()
    when: tuple[Expr, ...] = ()
    backward: bool = False


@dataclass(frozen=True)
class Window:
    """A view's elements: `start[a]` along each axis a of the array, `steps[m][a]` further along the view's axis m."""

    start: tuple[Expr, ...]
    steps: tuple[tuple[Expr, ...], ...]

    @property
    def overlapping(self) -> bool:
        """Whether two axes of the view run along one axis of the array."""
        return any(sum(s[a] != 0 for s in self.steps) > 1 for a in range(len(self.start)))


@dataclass(frozen=True)
class Store:
    """The detail of a store: the window of a cell that is written, its shape, how it is written, and which store it is.

    `how` is "set", the ufunc that puts window and operand together, or "scatter" where the operand is
    added at these places, each as often as it occurs.
    """

    place: Window
    shape: tuple[Expr, ...]
    how: str
    cell: str
    version: int


@dataclass(frozen=True, eq=False)
class Value:
    """One array: `operation` applied to `operands`, of that shape; `boolean` says that it holds truth values.

    Operations and their `detail`:

    - `given`: an argument of the kernel; its name
    - `scalar`: a number that only sizes decide; its SymPy expression
    - `indices`: the whole numbers from a lower to an upper bound; the two bounds
    - `condition`: a condition on indices and sizes alone, the index of axis m written as the symbol `_m`
    - `ufunc`: a NumPy ufunc; its name
    - `special`: a function of the module's own; its name
    - `select`: where(condition, then, otherwise)
    - `copy`: the operand, laid out in full; "number" where truth values become 0 and 1, "turned" where
      its axes change places, "result" where it is written to a result's own memory at each call
    - `view`: elements of the operand without a copy: a Window, or groups of two axes each read as one,
      of a stride, a start and a length
    - `pad`: the operand with zeros around it; how many before and after, for each axis
    - `sum`: Σ of the product of one or two operands; the number of axes that are summed, the last ones, and for
      one operand a number that each of its elements is multiplied by, where that is not 1
    - `fold`: prod, max or min of one operand; the ufunc's name and the number of axes
    - `cell`: an array that several statements, or the steps of a loop, fill; its name and its version
    - `store`: a cell after the second operand has been written to a window of it; a Store
    """

    number: int
    operation: str
    operands: tuple[Operand, ...]
    shape: tuple[Expr, ...]
    detail: tuple[object, ...] = ()
    boolean: bool = False
    region: Region | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def cell(self) -> str:
        """The buffer that a cell, or a store to it, is."""
        return self.stored.cell if self.operation == "store" else str(self.detail[0])

    @property
    def stored(self) -> Store:
        """The detail of a store."""
        (detail,) = self.detail
        assert isinstance(detail, Store)
        return detail

    @property
    def whole(self) -> Operand:
        """The value laid into an array of its own axes."""
        return Operand(self, tuple(range(self.rank)))

    @property
    def static(self) -> bool:
        """Whether sizes alone decide the value, so that it is computed once, when a plan is bound."""
        if self.region is not None or self.operation in ("cell", "store"):
            return False
        if self.operation in ("scalar", "indices", "condition"):
            return True
        if self.operation == "copy" and self.detail[:1] == ("result",):
            return False
        return bool(self.operands) and all(o.value.static for o in self.operands)


@dataclass(frozen=True)
class Operand:
    """A value laid into something of more axes."""

    value: Value
    axes: tuple[int, ...]

    def placed(self, axes: Iterable[int] | Mapping[int, int]) -> Operand:
        """The operand moved: what ran along axis m runs along `axes[m]`."""
        target = axes if isinstance(axes, Mapping) else tuple(axes)
        return Operand(self.value, tuple(target[a] for a in self.axes))

    @property
    def scalar(self) -> Expr | None:
        """The number (or truth value) that this is, where sizes alone decide it."""
        return self.value.detail[0] if self.value.operation == "scalar" else None


_COMMUTATIVE = {"add", "multiply", "maximum", "minimum", "logical_and", "logical_or"}


class Graph:
    """The values of one kernel, in the order in which they were asked for."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self.section = 0  # which statement asks now
        self.region: Region | None = None  # and what encloses it
        self.block = 0  # and which stretch of the kernel that is: a loop is one of its own
        self.sections: list[int] = []  # the statement that each value was first made for
        self.blocks: list[int] = []  # and the block
        self.labels: dict[int, tuple[str, ...]] = {}  # what the axes of a value over indices are called
        self.reserved: dict[str, tuple[Expr, ...]] = {}  # names of results, and their shapes
        self.cells: dict[str, tuple[tuple[Expr, ...], bool]] = {}  # shape, and whether it begins as zeros
        self.stores: list[Value] = []
        self._known: dict[object, Value] = {}

    def value(
        self,
        operation: str,
        operands: tuple[Operand, ...],
        shape: tuple[Expr, ...],
        detail: tuple[object, ...] = (),
        *,
        boolean: bool = False,
        always: bool = False,
    ) -> Value:
        """The value of that operation: the one there is, or a new one; with `always` the region's own."""
        region = self.region if always or self._enclosed(operands, (shape, detail)) else None
        key = self._key(operation, operands, shape, detail, boolean, region)
        found = self._known.get(key)
        if found is None:
            found = Value(len(self.values), operation, operands, shape, detail, boolean, region)
            self._known[key] = found
            self.values.append(found)
            self.sections.append(self.section)
            self.blocks.append(self.block)
        return found

    @property
    def sums(self) -> Iterator[Value]:
        """The sums of two factors that can be used here."""
        here = (None, self.region)
        return (v for v in self.values if v.operation == "sum" and len(v.operands) == 2 and v.region in here)

    def new_cell(self, name: str, shape: tuple[Expr, ...], *, zeroed: bool = False) -> Value:
        """An array that is filled piece by piece; `zeroed` where what nothing fills is to be 0."""
        while name in self.cells or (name in self.reserved and self.reserved[name] != shape):
            name += "_parts"
        self.cells[name] = shape, zeroed
        return self.cell(name, shape)

    def cell(self, name: str, shape: tuple[Expr, ...], before: Value | None = None) -> Value:
        """That array as it stands at this place of the program."""
        operands = () if before is None else (before.whole,)
        return self.value("cell", operands, shape, (name, len(self.values)), always=True)

    def store(self, cell: Value, source: Operand, place: Window, shape: tuple[Expr, ...], how: str) -> Value:
        """The cell after the source has been written to (or added to) a window of that shape."""
        detail = Store(place, shape, how, cell.cell, len(self.values))
        stored = self.value("store", (cell.whole, source), cell.shape, (detail,))
        self.stores.append(stored)
        return stored

    def _enclosed(self, operands: tuple[Operand, ...], detail: object) -> bool:
        """Whether a value belongs to the region at work: it depends on a loop, or a condition alone encloses it."""
        if self.region is None:
            return False
        if not self.region.loops:
            return any(not o.value.static for o in operands)
        symbols = {r.symbol for r in self.region.loops}
        inside = (o.value.region is not None and o.value.region.block == self.region.block for o in operands)
        return any(inside) or any(symbols & e.free_symbols for e in _expressions(detail))

    @staticmethod
    def _key(
        operation: str,
        operands: tuple[Operand, ...],
        shape: tuple[Expr, ...],
        detail: object,
        boolean: bool,
        region: Region | None,
    ) -> object:
        parts = [(o.value.number, o.axes) for o in operands]
        if operation == "ufunc" and isinstance(detail, tuple) and detail[0] in _COMMUTATIVE:
            parts.sort()
        return operation, tuple(parts), shape, detail, boolean, region

    def given(self, name: str, shape: tuple[Expr, ...]) -> Value:
        """An argument of the kernel."""
        return self.value("given", (), shape, (name,))

    def scalar(self, number: Expr | int) -> Operand:
        """A number that only sizes decide."""
        return Operand(self.value("scalar", (), (), (Integer(number) if isinstance(number, int) else number,)), ())

    def elementwise(
        self,
        operation: str,
        name: str,
        operands: Iterable[Operand],
        extents: tuple[Expr, ...],
        *,
        boolean: bool = False,
    ) -> Operand:
        """The operation element by element, over the axes (of `extents`) that its operands have."""
        inner, axes = _laid(tuple(operands))
        detail = (name,) if name else ()
        made = self.value(operation, inner, tuple(extents[a] for a in axes), detail, boolean=boolean)
        return Operand(made, axes)

    def find(self, operation: str, name: str, operands: Iterable[Operand], extents: tuple[Expr, ...]) -> Operand | None:
        """The same where it has been computed already, else None."""
        inner, axes = _laid(tuple(operands))
        shape, detail = tuple(extents[a] for a in axes), (name,) if name else ()
        region = self.region if self._enclosed(inner, (shape, detail)) else None
        found = self._known.get(self._key(operation, inner, shape, detail, False, region))
        return None if found is None else Operand(found, axes)

    def full(self, operand: Operand, shape: tuple[Expr, ...]) -> Value:
        """The operand as a value of exactly these axes in this order, copied only where it has to be."""
        if operand.axes == tuple(range(len(shape))) and operand.scalar is None:
            return operand.value
        return self.value("copy", (operand,), shape)

    def number(self, operand: Operand) -> Operand:
        """The operand with truth values turned into 0 and 1."""
        if not operand.value.boolean:
            return operand
        return operand if operand.scalar is not None else Operand(self._as_number(operand.value), operand.axes)

    def _as_number(self, value: Value) -> Value:
        return self.value("copy", (value.whole,), value.shape, ("number",))


def _laid(operands: tuple[Operand, ...]) -> tuple[tuple[Operand, ...], tuple[int, ...]]:
    """The operands laid into an array of the axes that they have, and these axes."""
    axes = sorted({a for o in operands for a in o.axes})
    place = {a: m for m, a in enumerate(axes)}
    return tuple(o.placed(place) for o in operands), tuple(axes)


def _expressions(detail: object) -> Iterator[Basic]:
    """Every SymPy expression in nested tuples."""
    if isinstance(detail, Basic):
        yield detail
    elif isinstance(detail, Store):
        yield from detail.place.start
    elif isinstance(detail, Window):
        yield from detail.start
    elif isinstance(detail, tuple):
        for part in detail:
            yield from _expressions(part)
