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


@dataclass
class Array:
    """One array of the workspace, or a result: every name that it goes by, in order of use."""

    shape: tuple[Expr, ...]
    boolean: bool
    result: str | None = None
    names: list[str] = field(default_factory=list)
    scratch: str = ""  # the name of intermediate results in it


@dataclass(frozen=True)
class Memory:
    """The arrays of one kernel, and the name of every value that has one."""

    arrays: tuple[Array, ...]
    names: dict[int, str]


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
    final = _finals(steps, last, {v.number for v in kernel.results.values()})
    chains: dict[int, list[Value]] = {}
    for value in steps:
        if not is_host(value):
            chains.setdefault(final[value.number].number, []).append(value)
    owners = {v.number: name for name, v in kernel.results.items()}
    arrays = [Array(v.shape, False, name) for name, v in kernel.results.items() if not is_host(v)]
    ends = [len(steps)] * len(arrays)
    given: dict[int, str] = {}
    for time, value in enumerate(steps):
        if is_host(value) or value.number in given:
            continue
        number = final[value.number].number
        if number in owners:
            array = next(a for a in arrays if a.result == owners[number])
        else:
            array = _array(final[value.number], time, last[number], arrays, ends)
        _label(chains[number], array, {**kernel.names, **owners}, names, given)
    return Memory(tuple(arrays), given)


def _last_uses(kernel: Arrays, steps: list[Value]) -> dict[int, int]:
    """The step that reads each value last; results are read after all steps."""
    last = {v.number: m for m, v in enumerate(steps)}
    for time, value in enumerate(steps):
        for operand in value.operands:
            last[root(operand.value).number] = time
    last.update({v.number: len(steps) for v in kernel.results.values()})
    return last


def _finals(steps: list[Value], last: dict[int, int], results: set[int]) -> dict[int, Value]:
    """For each value the last one of those that are computed in place, one over the other."""
    final = {v.number: v for v in steps}
    computed = set(final)
    for time in range(len(steps) - 1, -1, -1):
        value = steps[time]
        for candidate in _replaceable(value):
            if candidate.number in computed and candidate.number not in results and last[candidate.number] == time:
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


def _label(chain: list[Value], array: Array, wanted: dict[int, str], names: Names, given: dict[int, str]) -> None:
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
        given[pending[0].number] = names.claim(_description(pending[0], given))
    elif pending:
        array.scratch = array.scratch or names.claim("condition" if array.boolean else "scratch")
        given.update((p.number, array.scratch) for p in pending)
    if pending and given[pending[0].number] not in array.names:
        array.names.append(given[pending[0].number])


def _description(value: Value, given: dict[int, str]) -> str:
    parts = []
    for operand in value.operands:
        v = root(operand.value)
        scalar = operand.scalar
        word = given.get(v.number) if scalar is None else number_name(scalar)
        if v.operation == "given":
            word = str(v.detail[0])
        parts.append(word)
    name = str(value.detail[0]) if value.operation == "ufunc" else ""
    joint = {"add": "plus", "subtract": "minus", "multiply": "times", "divide": "over"}.get(name)
    text = "condition" if value.boolean else "scratch"
    if value.detail[:1] == ("turned",) and parts[0]:
        text = f"{parts[0]}_turned"
    elif all(parts):
        if joint and len(parts) == 2:
            text = f"{parts[0]}_{joint}_{parts[1]}"
        elif name == "square":
            text = f"{parts[0]}_squared"
        elif len(parts) == 1 and name:
            text = f"{name}_{parts[0]}"
    return text if len(text) <= 24 else "condition" if value.boolean else "scratch"
