"""The words that C and C++ keep for themselves, up to C23 and C++23: in one place for all who make names."""

from __future__ import annotations

import re

__all__ = ["CPP_KEYWORDS", "C_KEYWORDS"]

_C = """
    auto break case char const continue default do double else enum extern float for goto if inline int long
    register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
    alignas alignof asm bool complex constexpr false imaginary noreturn nullptr static_assert thread_local true
    typeof typeof_unqual _Bool _Complex _Imaginary
"""
_CPP = """
    alignas alignof and and_eq asm atomic_cancel bitand bitor bool catch char8_t char16_t char32_t class compl
    concept consteval constexpr constinit const_cast co_await co_return co_yield decltype delete dynamic_cast
    explicit export false friend mutable namespace new noexcept not not_eq nullptr operator or or_eq private
    protected public reinterpret_cast requires static_assert static_cast template this thread_local throw true
    try typeid typename using virtual wchar_t xor xor_eq
"""

C_KEYWORDS = frozenset(re.findall(r"\w+", _C))
"""Keywords of C, and the macros of its headers that stand for keywords."""

CPP_KEYWORDS = frozenset(re.findall(r"\w+", _CPP))
"""Keywords of C++, some of them C's too."""
