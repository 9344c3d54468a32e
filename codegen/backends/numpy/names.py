"""Python identifiers of generated code, and numbers in words."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

from sympy import Expr

from chainrule.symbolic.errors import LoweringError

__all__ = ["Names", "checked", "number_name"]

_RESERVED = frozenset(
    [*keyword.kwlist, *keyword.softkwlist, "np", "math", "DTYPE", "step", "sizes", "parameters", "results", "empty",
     "float", "max", "min", "abs", "self", "None", "True", "False"]
)  # fmt: skip
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_SIGNS = (("**", "_to_the_"), ("*", "_times_"), ("/", "_over_"), ("+", "_plus_"), ("-", "_minus_"))


def checked(name: str) -> str:
    """The name itself, where a Python keyword argument can have it; LoweringError where not."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name, re.ASCII) or keyword.iskeyword(name):
        raise LoweringError(f"{name!r} cannot be the name of an argument in Python: rename the tensor")
    return name


class Names:
    """The identifiers of one function: `claim` gives the name asked for, or the first numbered one that is free."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = {*_RESERVED, *taken}

    def claim(self, wanted: str) -> str:
        """A name that nothing else in this function has."""
        base = f"{wanted}_" if wanted[-1].isdigit() else wanted
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{base}{number}", number + 1
        self._taken.add(name)
        return name


def number_name(number: Expr) -> str:
    """A number in words, as far as that is short: `two_over_batch`, `half`, else `constant`."""
    text = str(number).replace(" ", "")
    if text == "1/2":
        return "half"
    text = text.replace("oo", "infinity")
    text = re.sub(r"sqrt\((\w+)\)", r"sqrt_\1", text)
    text = re.sub(r"(?<![\w.])\d+(?![\w.])", lambda m: _WORDS[int(m[0])] if int(m[0]) < len(_WORDS) else m[0], text)
    if text.startswith("-"):
        text = f"minus_{text[1:]}"
    for sign, word in _SIGNS:
        text = text.replace(sign, word)
    return text if re.fullmatch(r"[a-z][a-zA-Z0-9_]*", text) and len(text) <= 24 else "constant"
