"""Names that have a sign of their own: Greek letters, and the functions that TeX knows."""

from __future__ import annotations

__all__ = ["GREEK", "OPERATORS", "SIGNS", "WORDS", "bold"]

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon "
    "phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega infty"
)
GREEK = dict(
    zip(
        _GREEK.split(),
        "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ∞",
        strict=True,
    )
)
"""TeX command (without its backslash) to the letter; ∞ goes with them."""

_OPERATORS = "exp log sin cos tan sinh cosh tanh coth arcsin arccos arctan max min"
OPERATORS = frozenset(_OPERATORS.split())
"""Functions that are TeX commands."""

WORDS = frozenset({"cost", "avg"})
"""Words that the document writes as plain letters."""

SIGNS = {"=": "=", "!=": "≠", "<": "<", "<=": "≤", ">": ">", ">=": "≥", "and": "∧", "or": "∨"}
"""Relations and connectives as single characters."""

_BOLD = (("A", "Z", 0x1D400), ("a", "z", 0x1D41A), ("Α", "Ω", 0x1D6A8), ("α", "ω", 0x1D6C2), ("0", "9", 0x1D7CE))


def bold(letters: str) -> str:
    """Latin and Greek letters and digits as Unicode's bold ones; other signs as they are."""

    def sign(c: str) -> str:
        return next((chr(start + ord(c) - ord(first)) for first, last, start in _BOLD if first <= c <= last), c)

    return "".join(map(sign, letters))
