"""Identifiers: every name in generated C comes from this table, so that none can clash or be a keyword."""

from __future__ import annotations

import re
from collections.abc import Iterable

from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.keywords import C_KEYWORDS, CPP_KEYWORDS

__all__ = ["RESERVED", "Names", "member"]


def _words(text: str) -> list[str]:
    return text.split()


_MACROS = _words("""
NULL INFINITY NAN HUGE_VAL HUGE_VALF EOF SIZE_MAX PTRDIFF_MAX errno assert linux unix main
""")

_STANDARD = _words("""
acos acosh asin asinh atan atan2 atanh cbrt ceil copysign cos cosh erf erfc exp exp2 expm1 fabs fdim floor fma
fmax fmin fmod frexp hypot ilogb ldexp lgamma llrint llround log log10 log1p log2 logb lrint lround modf nan
nearbyint nextafter nexttoward pow remainder remquo rint round scalbln scalbn sin sinh sqrt tan tanh tgamma trunc
isnan isinf isfinite isnormal signbit fpclassify
memcpy memset memmove memcmp malloc calloc realloc free abort exit abs labs llabs div printf puts putchar
size_t ptrdiff_t uintptr_t int32_t uint32_t int64_t uint64_t
""")

_OWN = _words("""
sigmoid softplus maximum minimum signum square cube pairwise
vector unaligned quad load store share pack_left pack_columns pack_rows transpose register_tile any_tile tile
matrix_product matrix_product_add matrix_product_space plus minus times divide larger smaller monus array_bytes take
misaligned check_sizes aligned_real
LANES TILE_ROWS TILE_VECTORS PANEL DEPTH CHUNK ALIGNMENT BROADCAST CASE
""")

_UNUSABLE = frozenset({*C_KEYWORDS, *CPP_KEYWORDS, *_MACROS})
"""What not even a member of a struct can be called."""

RESERVED: frozenset[str] = frozenset(
    [*_UNUSABLE, *_STANDARD, *(f"{name}f" for name in _STANDARD), *_OWN, *(f"power{n}" for n in range(4, 65))]
)
"""C and C++ keywords, what the standard headers define, and the static functions of the templates."""

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def _checked(name: str) -> str:
    if not _IDENTIFIER.fullmatch(name) or "__" in name:
        raise LoweringError(f"{name!r} cannot be a C identifier: use letters, digits and single underscores")
    return name


def member(name: str) -> str:
    """The name of a struct's member: as it is, unless C or C++ would not take it."""
    return f"{name}_" if _checked(name) in _UNUSABLE else name


class Names:
    """The identifiers of one scope. `claim` gives the name asked for, or the first numbered one that is free."""

    def __init__(self, taken: Iterable[str] = RESERVED) -> None:
        self._taken = set(taken)

    def claim(self, wanted: str) -> str:
        """A name that nothing else in this scope has: `wanted`, else `wanted2`, `wanted3`, …"""
        wanted = re.sub("_+", "_", wanted).rstrip("_")  # what lowering adds to tell temporaries apart
        base = f"{wanted}_" if _checked(wanted)[-1].isdigit() else wanted
        name, number = wanted, 2
        while name in self._taken:
            name, number = f"{base}{number}", number + 1
        self._taken.add(name)
        return name

    def inner(self) -> Names:
        """A scope inside this one: it sees, and so avoids, everything claimed so far."""
        return Names(self._taken)
