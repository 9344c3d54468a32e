"""Which names a formula may define: a strict pattern, minus every word that generated code needs."""

from __future__ import annotations

import difflib
import keyword
import re
from collections.abc import Iterable

from .keywords import C_KEYWORDS, CPP_KEYWORDS
from .reductions import REDUCTIONS

__all__ = ["MATHEMATICAL_WORDS", "STATEMENT_WORDS", "closest", "name_problem"]

STATEMENT_WORDS = ("data", "parameter", "index", "output")
"""Words that start a statement."""

_WORDS = "exp log sqrt sin cos tan asin acos atan sinh cosh tanh erf erfc abs sign log1p expm1 pi where softmax"
MATHEMATICAL_WORDS = tuple(_WORDS.split())
"""Mathematics that formulas call by these names and that cannot be defined anew."""

_LONGEST = 40

_GENERATED = frozenset(
    re.findall(
        r"\w+",
        """
        batch bytes workspace np numpy self size_t ptrdiff_t intptr_t uintptr_t float_t double_t int8_t int16_t int32_t
        int64_t uint8_t uint16_t uint32_t uint64_t NULL NAN INFINITY EOF HUGE_VAL HUGE_VALF SIZE_MAX INT_MAX errno main
        malloc calloc free memcpy memset printf linux unix gradients forward vjp
        """,
    )
)
_PATTERN = re.compile(r"[A-Za-z](?:_?[A-Za-z0-9])*\Z")


def name_problem(name: str) -> str | None:
    """Why `name` cannot be the name of a tensor, size, index or function; None where it can."""
    if keyword.iskeyword(name):
        return f"{name!r} is a Python keyword"
    if name in C_KEYWORDS:
        return f"{name!r} is a C keyword"
    if name in CPP_KEYWORDS:
        return f"{name!r} is a C++ keyword"
    if name in STATEMENT_WORDS or name in REDUCTIONS or name in MATHEMATICAL_WORDS:
        return f"{name!r} is a word of the formula language"
    if name in _GENERATED:
        return f"{name!r} is a name that generated code needs for itself"
    if len(name) > _LONGEST:
        return f"a name of {len(name)} characters: at most {_LONGEST} are allowed"
    if not _PATTERN.match(name):
        return f"{name!r} is not a name: expected letters, digits and single underscores, a letter first"
    return None


def closest(name: str, candidates: Iterable[str]) -> str:
    """`did you mean …?` for the nearest of the candidates, or an empty text."""
    found = difflib.get_close_matches(name, sorted(set(candidates)), n=1, cutoff=0.6)
    return f"did you mean {found[0]!r}?" if found else ""
