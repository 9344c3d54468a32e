"""Values to memory: which array each value is written to, and what it is called.

A value takes the place of an operand that nobody needs any more, where the operation reads and
writes the same element; other values share an array when their lifetimes do not meet. Values that
share memory keep names of their own, so that the text still says what is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sympy import Expr

from .arrays import Arrays
from .names import Names, number_name
from .values import Operand, Value

__all__ = ["Array", "Memory", "allocate", "is_host", "root"]

_HOST_UFUNCS = {"add", "subtract", "multiply", "negative", "square"}
_PLACED = {"ufunc", "special", "select", "copy"}
_WORDS = {"turned": "turned", "reordered": "reordered", "shifted": "shifted", "contiguous": "copy"}
_KEPT = {"pad", "store", "condition", "indices"}
_STRIDED = {"ufunc", "special", "select", "copy", "store", "pad"}


@dataclass
class Array:
    """One array of the workspace, or a result: every name that it goes by, in order of use.

    `zeroed` says that it is filled with zeros before the first step.
    """

    shape: tuple[Expr, ...]
    boolean: bool
    result: str | None = None
    names: list[str] = field(default_factory=list)
    scratch: str = ""  # the name of intermediate results in it
    zeroed: bool = False


@dataclass(frozen=True)
class Memory:
    """The arrays of one kernel, the name of every value that has one, and of every cell.

    `placed` are the values that are computed right where they belong: in the window of a cell, or
    inside a border, that the store or pad of that number would copy them to.
    """

    arrays: tuple[Array, ...]
    names: dict[int, str]
    cells: dict[str, str]
    placed: dict[int, Value]


def root(value: Value) -> Value:
    """The value whose memory this one lies in."""
    while value.operation == "view":
        value = value.operands[0].value
    return value


def is_host(value: Value) -> bool:
    """Whether the value is a Python number at call time: sums over everything and plain arithmetic on them."""
    if value.rank or value.boolean or value.static:
        return False
    if value.operation == "sum":
        return True
    if value.operation != "ufunc" or value.detail[0] not in _HOST_UFUNCS:
        return False
    operands = [o.value for o in value.operands]
    return any(is_host(v) for v in operands) and all(is_host(v) or v.operation in ("scalar", "given") for v in operands)


def allocate(kernel: Arrays, names: Names) -> Memory:
    """Arrays for the values of a kernel. The same kernel gives the same arrays."""
    steps = [v for _, v in kernel.steps]
    last = _last_uses(kernel, steps)
    placed = _placed(kernel, steps)
    final = _finals(steps, last, {v.number for v in kernel.results.values()}, placed)
    chains: dict[int, list[Value]] = {}
    for value in steps:
        if _needs_array(value) and value.number not in placed:
            chains.setdefault(final[value.number].number, []).append(value)
    cells = {name: names.claim(name) for name in kernel.cells}
    filled = {name for name, v in kernel.results.items() if v.operation in ("cell", "store") and v.cell == name}
    owners = {v.number: name for name, v in kernel.results.items() if name not in filled}
    arrays = [_result(name, v, name in filled, cells, kernel) for name, v in kernel.results.items() if not is_host(v)]
    inner = [n for n in cells if n not in filled]
    arrays += [Array(kernel.cells[n][0], False, None, [cells[n]], zeroed=kernel.cells[n][1]) for n in inner]
    ends = [len(steps)] * len(arrays)
    given: dict[int, str] = {}
    for time, value in enumerate(steps):
        if not _needs_array(value) or value.number in given or value.number in placed:
            continue
        number = final[value.number].number
        if number in owners:
            array = next(a for a in arrays if a.result == owners[number])
        elif value.operation == "pad":
            array = Array(value.shape, False, zeroed=True)
            arrays.append(array)
            ends.append(len(steps))
        else:
            array = _array(final[value.number], time, last[number], arrays, ends)
        _label(chains[number], array, {**kernel.names, **owners}, names, given, cells)
    return Memory(tuple(arrays), given, cells, placed)


def _needs_array(value: Value) -> bool:
    return not is_host(value) and value.operation not in ("store", "condition", "indices")


def _result(name: str, value: Value, filled: bool, cells: dict[str, str], kernel: Arrays) -> Array:
    """The array of a result; `filled` where it is the cell of that name, filled piece by piece."""
    zeroed = value.operation == "pad" or (filled and kernel.cells[name][1])
    return Array(value.shape, False, name, [cells[name]] if filled else [], zeroed=zeroed)


def _last_uses(kernel: Arrays, steps: list[Value]) -> dict[int, int]:
    """The step that reads each value last; results are read after all steps, and a loop reads until its end.

    A number may stand in the text of its only reader: what it is made of is read there too.
    """
    last = {v.number: m for m, v in enumerate(steps)}
    ends = {v.region.block: m for m, v in enumerate(steps) if v.region is not None and v.region.loops}
    for time in range(len(steps) - 1, -1, -1):
        value = steps[time]
        reader = last[value.number] if is_host(value) else time
        for source in (root(o.value) for o in value.operands):
            block = value.region.block if value.region is not None and value.region.loops else None
            outside = source.region is None or source.region.block != block
            end = ends[block] + 1 if block is not None and outside else reader
            last[source.number] = max(last.get(source.number, 0), end)
    last.update({v.number: len(steps) for v in kernel.results.values()})
    return last


def _placed(kernel: Arrays, steps: list[Value]) -> dict[int, Value]:
    """Values that can be computed where a store or a pad wants them; whoever else reads them takes any strides."""
    users: dict[int, list[Value]] = {}
    for value in steps:
        for operand in value.operands:
            users.setdefault(root(operand.value).number, []).append(value)
            if operand.value.operation == "view":
                users[root(operand.value).number].append(operand.value)
    results = {v.number for v in kernel.results.values()}
    times = {v.number: m for m, v in enumerate(steps)}
    stores = [(m, v.cell) for m, v in enumerate(steps) if v.operation == "store"]
    found: dict[int, Value] = {}
    for time, value in enumerate(steps):
        if value.operation not in ("store", "pad") or (value.operation == "store" and value.stored.how != "set"):
            continue
        source = value.operands[-1]
        shape = value.stored.shape if value.operation == "store" else source.value.shape
        fits = source.axes == tuple(range(source.value.rank)) and source.value.shape == shape
        free = source.value.number in times and source.value.number not in results and source.value.number not in found
        start = times.get(source.value.number, time)
        free = free and not any(start < m < time and value.operation == "store" and n == value.cell for m, n in stores)
        alike = all(u.operation in _STRIDED for u in users.get(source.value.number, []))
        here = source.value.operation in _PLACED and source.value.region == value.region and not is_host(source.value)
        if fits and free and alike and here and not source.value.boolean and source.value.rank:
            found[source.value.number] = value
    return found


def _finals(steps: list[Value], last: dict[int, int], results: set[int], placed: dict[int, Value]) -> dict[int, Value]:
    """For each value the last one of those that are computed in place, one over the other."""
    final = {v.number: v for v in steps}
    replaced = {v.number for v in steps if v.operation not in _KEPT} - results - set(placed)
    for time in range(len(steps) - 1, -1, -1):
        value = steps[time]
        if value.number in placed:
            continue
        for candidate in _replaceable(value):
            same = candidate.region == value.region or value.region is None or not value.region.loops
            if candidate.number in replaced and same and last[candidate.number] == time:
                final[candidate.number] = final[value.number]
                break
    return final


def _replaceable(value: Value) -> Iterator[Value]:
    """Operands in whose place the value can be computed, element by element."""
    if value.operation not in ("ufunc", "special", "select"):
        return
    whole = tuple(range(value.rank))
    operands: Iterable[Operand] = value.operands[2:] if value.operation == "select" else value.operands
    for operand in operands:
        candidate = operand.value
        same = operand.axes == whole and candidate.boolean == value.boolean and not is_host(candidate)
        elsewhere = (o for o in value.operands if root(o.value) is candidate)
        alone = all(o.value is candidate and o.axes == whole for o in elsewhere)
        if same and alone and candidate.operation != "view" and not is_host(value):
            yield candidate


def _array(final: Value, start: int, end: int, arrays: list[Array], ends: list[int]) -> Array:
    """An array that is free from `start` on, or a new one; taken until `end`."""
    for m, array in enumerate(arrays):
        if (array.shape, array.boolean) == (final.shape, final.boolean) and array.result is None and ends[m] < start:
            ends[m] = end
            return array
    arrays.append(Array(final.shape, final.boolean))
    ends.append(end)
    return arrays[-1]


def _label(
    chain: list[Value],
    array: Array,
    wanted: dict[int, str],
    names: Names,
    given: dict[int, str],
    cells: dict[str, str],
) -> None:
    """Names for a chain: an intermediate result is called after the buffer that it becomes, or after what it is."""
    pending: list[Value] = []
    for value in chain:
        pending.append(value)
        if value.number in wanted:
            name = names.claim(wanted[value.number])
            given.update((p.number, name) for p in pending)
            array.names.append(name)
            pending = []
    if len(pending) == 1:
        given[pending[0].number] = names.claim(_description(pending[0], given, cells))
    elif pending:
        array.scratch = array.scratch or names.claim("condition" if array.boolean else "scratch")
        given.update((p.number, array.scratch) for p in pending)
    if pending and given[pending[0].number] not in array.names:
        array.names.append(given[pending[0].number])


def _description(value: Value, given: dict[int, str], cells: dict[str, str]) -> str:
    parts = []
    for operand in value.operands:
        v = root(operand.value)
        scalar = operand.scalar
        word = given.get(v.number) if scalar is None else number_name(scalar)
        if v.operation == "given":
            word = str(v.detail[0])
        elif v.operation in ("cell", "store"):
            word = cells[v.cell]
        parts.append(word)
    name = str(value.detail[0]) if value.operation == "ufunc" else ""
    joint = {"add": "plus", "subtract": "minus", "multiply": "times", "divide": "over"}.get(name)
    text = "condition" if value.boolean else "scratch"
    if value.operation == "copy" and value.detail[:1] and value.detail[0] in _WORDS and parts[0]:
        text = f"{parts[0]}_{_WORDS[str(value.detail[0])]}"
    elif value.operation == "sum" and value.region is not None:
        text = "product"
    elif value.operation == "pad":
        text = f"{parts[0] or 'array'}_padded"
    elif all(parts):
        if joint and len(parts) == 2:
            text = f"{parts[0]}_{joint}_{parts[1]}"
        elif name == "square":
            text = f"{parts[0]}_squared"
        elif len(parts) == 1 and name:
            text = f"{name}_{parts[0]}"
    return text if len(text) <= 24 else "condition" if value.boolean else "scratch"
