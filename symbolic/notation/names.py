"""Names that have a sign of their own: Greek letters, and the functions that TeX knows."""

from __future__ import annotations

__all__ = ["GREEK", "OPERATORS", "SIGNS", "WORDS"]

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
