"""One table of textbook formulas: activations, costs, and softmax over a layer.

Each entry is its formula and nothing else: derivatives come from SymPy (`FunctionDefinition.derivative`),
overflow-free forms from the stabilising pass. At a kink the derivative is that of the branch that holds
at the point as written, so relu'(0) = 0; abs'(0) = 0 as sign(0).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sympy as sp
from sympy import Dummy, Expr, Symbol, erf, exp, log

from .errors import FormulaError
from .expressions import Access, Range, Reduction, Where, freshen, index, size
from .names import closest
from .system import FunctionDefinition

__all__ = ["CATALOGUE", "Entry", "definition", "lookup", "names", "softmax"]


@dataclass(frozen=True)
class Entry:
    """A formula by its name.

    `kind` is "activation" (of z), "cost" (of a and y, one neuron's share) or "layer" (of all z[j] of a
    layer: `body` is element j). `body` is a SymPy expression in the real symbols `parameters`, for a
    layer in the tensor accesses of that name. `kinks` says which derivative holds where there are two.
    """

    name: str
    kind: str
    parameters: tuple[Symbol, ...]
    body: Expr
    description: str
    kinks: str = ""


def softmax(value: Expr, over: Dummy, bound: Range, guards: Iterable[Expr] = ()) -> Expr:
    """exp(u_j) / Σ_k exp(u_k), where `value` is u_j and `over` is j.

    `bound` gives the bounds of k, a fresh index (its symbol is not used). With `guards`, affine expressions in j that
    must be >= 0, only those k take part, and the others are 0.
    """
    taken = {s.name for s in value.free_symbols}
    twin = index(next((letter for letter in "klpq" if letter not in taken), over.name))
    chosen = tuple(guards)
    inner = freshen(exp(value), {over: twin})
    below = Reduction("sum", inner, [Range(twin, bound.lower, bound.upper)], [freshen(g, {over: twin}) for g in chosen])
    condition = sp.And(*(g >= 0 for g in chosen))
    return Where(condition, exp(value) / below, sp.Integer(0))


_Z, _A, _Y = sp.symbols("z a y", real=True)
_J = index("j")
_LAYER = Range(index("k"), sp.Integer(0), size("n") - 1)


def _activation(name: str, body: Expr, description: str, kinks: str = "") -> Entry:
    return Entry(name, "activation", (_Z,), body, description, kinks)


def _cost(name: str, body: Expr, description: str, kinks: str = "") -> Entry:
    return Entry(name, "cost", (_A, _Y), body, description, kinks)


_ENTRIES = (
    _activation("identity", _Z, "the weighted input itself"),
    _activation("sigmoid", 1 / (1 + exp(-_Z)), "logistic function, between 0 and 1"),
    _activation("tanh", sp.tanh(_Z), "hyperbolic tangent, between -1 and 1"),
    _activation("relu", Where(_Z <= 0, 0, _Z), "rectifier", "derivative 0 at z = 0, where the branch z <= 0 holds"),
    _activation(
        "leaky_relu",
        Where(_Z <= 0, _Z / 100, _Z),
        "rectifier with slope 1/100 below 0",
        "derivative 1/100 at z = 0, where the branch z <= 0 holds",
    ),
    _activation(
        "elu",
        Where(_Z <= 0, exp(_Z) - 1, _Z),
        "exponential linear unit, alpha = 1",
        "first derivative 1 on both sides of z = 0; second derivative 1 there, from the branch z <= 0",
    ),
    _activation("softplus", log(1 + exp(_Z)), "smooth rectifier"),
    _activation("silu", _Z / (1 + exp(-_Z)), "sigmoid linear unit, z times sigmoid(z)"),
    _activation("gelu", _Z * (1 + erf(_Z / sp.sqrt(2))) / 2, "Gaussian error linear unit, the exact form with erf"),
    Entry(
        "softmax",
        "layer",
        (_Z,),
        softmax(Access("z", _J), _J, _LAYER),
        "exponentials normalised over a layer, a probability for each neuron",
    ),
    _cost("squared_error", (_A - _Y) ** 2, "squared difference"),
    _cost("half_squared_error", (_A - _Y) ** 2 / 2, "half of the squared difference"),
    _cost("absolute_error", sp.Abs(_A - _Y), "absolute difference", "derivative 0 at a = y, as sign(0)"),
    _cost(
        "huber",
        Where(sp.Abs(_A - _Y) <= 1, (_A - _Y) ** 2 / 2, sp.Abs(_A - _Y) - sp.Rational(1, 2)),
        "quadratic near the target, linear beyond delta = 1",
        "first derivatives agree where |a - y| = 1; second derivative 1 there, from the branch |a - y| <= 1",
    ),
    _cost("log_cosh", log(sp.cosh(_A - _Y)), "logarithm of the hyperbolic cosine of the difference"),
    _cost(
        "binary_cross_entropy",
        -_Y * log(_A) - (1 - _Y) * log(1 - _A),
        "negative log-likelihood of a yes-or-no outcome y under probability a",
    ),
    _cost("cross_entropy", -_Y * log(_A), "negative log-likelihood of a class, one neuron's share; after softmax"),
)

CATALOGUE: dict[str, Entry] = {entry.name: entry for entry in _ENTRIES}
"""Every entry by its name, activations first."""


def names(*kinds: str) -> tuple[str, ...]:
    """The names in the catalogue, of the kinds given or of all."""
    return tuple(e.name for e in CATALOGUE.values() if not kinds or e.kind in kinds)


def lookup(name: str) -> Entry:
    """The entry of that name.

    Raises FormulaError, with the nearest name, where there is none.
    """
    if name not in CATALOGUE:
        known = ", ".join(CATALOGUE)
        raise FormulaError(f"the catalogue has no {name!r}", hint=closest(name, CATALOGUE) or f"it has {known}")
    return CATALOGUE[name]


def definition(name: str) -> FunctionDefinition:
    """The elementwise function of that name, ready for a System.

    Raises FormulaError for an unknown name and for a layer, which is no elementwise function.
    """
    entry = lookup(name)
    if entry.kind == "layer":
        raise FormulaError(f"{name} works on a whole layer and is no elementwise function", hint=f"write {name}(z[j])")
    return FunctionDefinition(entry.name, entry.parameters, entry.body, "catalogue")
