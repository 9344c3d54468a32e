"""The static scalar functions that generated files may hold, each where it is used."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["helper_texts"]

_HELPERS = {
    "signum": """
/* The sign of z: -1, 0 or 1; NaN for NaN. */
static inline REAL signum(REAL z)
{
    return z > ZERO ? ONE : z < ZERO ? -ONE : z;
}
""",
    "maximum": """
/* The larger of u and v; NaN where either is. */
static inline REAL maximum(REAL u, REAL v)
{
    return u > v || u != u ? u : v;
}
""",
    "minimum": """
/* The smaller of u and v; NaN where either is. */
static inline REAL minimum(REAL u, REAL v)
{
    return u < v || u != u ? u : v;
}
""",
    "sigmoid": """
/* 1/(1 + exp(-z)): from exp(-|z|), which cannot overflow. */
static inline REAL sigmoid(REAL z)
{
    const REAL e = EXP(-FABS(z));
    return (z < ZERO ? e : ONE) / (ONE + e);
}
""",
    "softplus": """
/* log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)), which cannot overflow. */
static inline REAL softplus(REAL z)
{
    return (z < ZERO ? ZERO : z) + LOG1P(EXP(-FABS(z)));
}
""",
    "pairwise": """
/* The sum of eight partial sums. */
static inline double pairwise(const double *u)
{
    return ((u[0] + u[1]) + (u[2] + u[3])) + ((u[4] + u[5]) + (u[6] + u[7]));
}
""",
    "square": """
static inline REAL square(REAL u)
{
    return u * u;
}
""",
    "cube": """
static inline REAL cube(REAL u)
{
    return u * u * u;
}
""",
}


def _power(exponent: int) -> str:
    """u**exponent by repeated squaring."""
    lines, factors, square, power = [], [], "u", 1
    while power <= exponent:
        if exponent & power:
            factors.append(square)
        if power * 2 <= exponent:
            lines.append(f"    const REAL u{power * 2} = {square} * {square};\n")
        square, power = f"u{power * 2}", power * 2
    return f"\nstatic inline REAL power{exponent}(REAL u)\n{{\n{''.join(lines)}    return {' * '.join(factors)};\n}}\n"


def helper_texts(used: Iterable[str], real: str) -> list[str]:
    """The definitions of the helpers used, for the C type `real`, in a fixed order."""
    suffix = "f" if real == "float" else ""
    wanted = set(used)
    texts = [_HELPERS[name] for name in _HELPERS if name in wanted]
    texts.extend(_power(n) for n in sorted(int(name[5:]) for name in wanted if name.startswith("power")))
    table = {"REAL": real, "ZERO": f"0.0{suffix}", "ONE": f"1.0{suffix}"}
    table |= {"EXP": f"exp{suffix}", "FABS": f"fabs{suffix}", "LOG1P": f"log1p{suffix}"}
    for word, meaning in table.items():
        texts = [t.replace(word, meaning) for t in texts]
    return [t.strip("\n") for t in texts]
