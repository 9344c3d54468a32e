"""Windows as Python text: a slice for each axis where that is enough, else shape and steps in elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sympy as sp
from sympy import Expr, Integer, Symbol

from chainrule.symbolic.affine import nonnegative

from .sizes import shape_text, whole_text
from .values import Window

__all__ = ["condition_text", "merged_text", "places_text", "slice_text", "slice_word", "steps_text"]

Names = Mapping[Symbol, str]


def slice_text(shape: Sequence[Expr], seen: Window, extents: Sequence[Expr], names: Names) -> str | None:
    """The window as a subscript such as `[:, 1:-1, ::2]`, "" for the whole array; None where it is no slice."""
    marks: list[str] = []
    order: list[int] = []
    for a, extent in enumerate(shape):
        along = [m for m, step in enumerate(seen.steps) if step[a] != 0]
        if len(along) > 1:
            return None
        if not along:
            marks.append(whole_text(seen.start[a], names))
            continue
        order.append(along[0])
        mark = _slice(extent, seen.start[a], seen.steps[along[0]][a], extents[along[0]], names)
        if mark is None:
            return None
        marks.append(mark)
    if order != list(range(len(seen.steps))):
        return None
    if not order and marks:
        marks.append("...")
    while marks and marks[-1] == ":":
        marks.pop()
    return f"[{', '.join(marks)}]" if marks else ""


def slice_word(text: str) -> str:
    """What a slice's text selects, in a word for names: `0` for `[:, 0]`, `from_1` for `[:, 1:]`, else `part`."""
    marks = [m for m in text.strip("[]").split(", ") if m not in (":", "...")]
    words = []
    for mark in marks:
        first, *rest = mark.split(":")
        last, step = (*rest, "", "")[:2]
        if not rest:
            words.append(first)
        elif step:
            words.append("reversed" if step == "-1" else f"by_{step}")
        else:
            words.append("_".join([f"from_{first}"] * bool(first) + [f"to_{last}"] * bool(last)))
    word = "_".join(words).replace(" + ", "_plus_").replace(" - ", "_minus_").replace("*", "_times_")
    return word if word.isidentifier() or word.isdigit() else "part"


def _slice(length: Expr, start: Expr, step: Expr, extent: Expr, names: Names) -> str | None:
    end = sp.expand(start + step * (extent - 1) + 1)
    if step != 1 and not nonnegative(extent - 1, {}):
        return None
    if step.is_Integer and step > 0:
        first = "" if start == 0 else whole_text(start, names)
        to_the_end = end == length or (step > 1 and nonnegative(end + step - 1 - length, {}))
        last = "" if to_the_end else whole_text(end if extent.is_Integer or step == 1 else sp.expand(end), names)
        return f"{first}:{last}" + (f":{step}" if step > 1 else "")
    if step == -1:
        stop = sp.expand(start - extent)
        if stop == -1:
            first = "" if sp.expand(start - length + 1) == 0 else whole_text(start, names)
            return f"{first}::-1"
        if nonnegative(stop, {}):
            return f"{whole_text(start, names)}:{whole_text(stop, names)}:-1"
    return None


def steps_text(shape: Sequence[Expr], seen: Window, extents: Sequence[Expr], names: Names) -> str:
    """Shape, steps and start of a window, in elements of a C-contiguous array."""
    strides = [sp.Mul(*shape[a + 1 :]) for a in range(len(shape))]
    steps = tuple(sp.Add(*(s * w for s, w in zip(step, strides, strict=True))) for step in seen.steps)
    start = sp.expand(sp.Add(*(s * w for s, w in zip(seen.start, strides, strict=True))))
    text = f"{shape_text(tuple(extents), names)}, {shape_text(steps, names)}"
    return text if start == 0 else f"{text}, {whole_text(start, names)}"


def merged_text(shape: Sequence[Expr], groups: Sequence[tuple[int, Expr, Expr, Expr]], names: Names) -> str:
    """Pairs of axes read as one: a reshape, and a slice where the pair covers more than the axis."""
    pairs = {m: rest for m, *rest in groups}
    extents: list[Expr] = []
    marks: list[str] = []
    m = 0
    while m < len(shape):
        if m not in pairs:
            extents.append(shape[m])
            marks.append(":")
            m += 1
            continue
        _, start, extent = pairs[m]
        length = sp.expand(shape[m] * shape[m + 1])
        extents.append(length)
        mark = _slice(length, start, Integer(1), extent, names)
        marks.append(mark if mark is not None else f"{whole_text(start, names)}:{whole_text(start + extent, names)}")
        m += 2
    text = f".reshape{shape_text(tuple(extents), names)}"
    return text if all(mark == ":" for mark in marks) else f"{text}[{', '.join(marks)}]"


def places_text(start: Expr, steps: Sequence[Expr], names: Names, indices: Sequence[str], length: Expr | None) -> str:
    """Subscripts of one axis over all loops, from index arrays; kept within `length` where they might leave it."""
    terms = [] if start == 0 and any(s != 0 for s in steps) else [whole_text(start, names)]
    for step, name in zip(steps, indices, strict=True):
        if step != 0:
            factor = whole_text(step, names)
            terms.append(
                name if step == 1 else f"{factor if step.is_Integer or step.is_Symbol else f'({factor})'} * {name}"
            )
    text = " + ".join(terms)
    return text if length is None else f"np.clip({text}, 0, {whole_text(length - 1, names)})"


def condition_text(condition: sp.Basic, names: Names) -> str:
    """A condition on whole numbers, element by element over index arrays."""
    if isinstance(condition, (sp.And, sp.Or)):
        sign = " & " if isinstance(condition, sp.And) else " | "
        return sign.join(f"({condition_text(a, names)})" for a in sp.ordered(condition.args))
    if isinstance(condition, sp.Not):
        return f"~({condition_text(condition.args[0], names)})"
    left, right = condition.args
    sign = {sp.Eq: "==", sp.Ne: "!="}.get(type(condition), getattr(condition, "rel_op", ""))
    if not left.is_Symbol and right == 0:  # i - j >= 0 reads better as i >= j
        terms = sp.Add.make_args(sp.expand(left))
        right = sp.Add(*(-t for t in terms if t.could_extract_minus_sign()))
        left = sp.Add(*(t for t in terms if not t.could_extract_minus_sign()))
    return f"{whole_text(left, names)} {sign} {whole_text(right, names)}"
