"""Numbers as C literals: the machine number nearest to the exact value, in its shortest spelling."""

from __future__ import annotations

import struct
from fractions import Fraction

import sympy as sp
from sympy import Expr

from chainrule.symbolic.errors import LoweringError

__all__ = ["literal"]


def literal(value: Expr, real: str) -> str:
    """`value`, any real constant, as a literal of the C type `real` ("float" or "double")."""
    suffix = "f" if real == "float" else ""
    infinity = "INFINITY" if real == "float" else "HUGE_VAL"
    if value is sp.oo or value is sp.S.NegativeInfinity:
        return infinity if value is sp.oo else f"-{infinity}"
    nearest = _nearest(_exact(value), real)
    if nearest in (float("inf"), float("-inf")):
        return infinity if nearest > 0 else f"-{infinity}"
    return _shortest(nearest, real) + suffix


def _exact(value: Expr) -> Fraction:
    if value.is_Rational:
        return Fraction(int(value.p), int(value.q))
    number = sp.Float(value, 40) if value.is_Float else value.evalf(40)
    if not (number.is_Float and number.is_finite):
        raise LoweringError(f"{value} is not a finite real number")
    exact = sp.Rational(number)
    return Fraction(int(exact.p), int(exact.q))


def _single(value: float) -> float:
    try:
        rounded: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    return rounded


def _nearest(value: Fraction, real: str) -> float:
    try:
        double = value.numerator / value.denominator
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    if real == "double":
        return double
    # Rounding twice can miss the nearest float by one place: compare with both neighbours.
    single = _single(double)
    if single in (float("inf"), float("-inf")) or single == 0.0:
        return single
    bits = struct.unpack("<i", struct.pack("<f", single))[0]
    near = [struct.unpack("<f", struct.pack("<i", bits + step))[0] for step in (0, -1, 1)]
    candidates = [c for c in near if c - c == 0.0]
    return float(min(candidates, key=lambda c: abs(Fraction(c) - value)))


def _shortest(value: float, real: str) -> str:
    if real == "double":
        text = repr(value)
    else:
        text = next(t for t in (f"{value:.{digits}g}" for digits in range(1, 10)) if _single(float(t)) == value)
    plain = f"{value:.1f}"
    if value.is_integer() and abs(value) < 1e6:
        return plain
    return text if any(c in text for c in ".en") else f"{text}.0"
