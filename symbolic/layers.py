"""The everyday network: dense layers, one after the other, and a cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Integral

import sympy as sp
from sympy import Expr, Integer

from . import catalogue
from .elementwise import FunctionLike, elementwise
from .errors import FormulaError
from .expressions import Access, Call, Range, Reduction, index, size, walk
from .language import parse_size
from .names import name_problem
from .system import COST, Equation, FunctionDefinition, Role, System, Tensor

__all__ = ["network"]

_MOST_LAYERS = 1_000
_SIZE_NODES = (sp.Symbol, sp.Rational, sp.Add, sp.Mul, sp.floor)


@dataclass(frozen=True)
class _Activation:
    """What a layer does to its z: a function by its name, or softmax over the layer."""

    name: str
    layer: bool = False


def network(
    widths: Sequence[int | str | Expr],
    *,
    sigma: FunctionLike | Sequence[FunctionLike] = "sigmoid",
    output: FunctionLike | None = None,
    cost: FunctionLike = "squared_error",
    name: str = "network",
) -> System:
    """A network of dense layers: z_l = b_l + w_l a_{l-1}, a_l = σ(z_l), cost = Σ_j cost(a_L[j], y[j]).

    `widths` are the neurons of each layer, the inputs first: numbers, names or expressions of names
    ("2*T - 1"), or SymPy expressions. `sigma` is one function, or a list with one for each hidden
    layer, or one for each layer; `output` is that of the last layer (default: the last of `sigma`).
    Each is a catalogue name, a formula's text in z (for `cost` in a and y), a SymPy expression, a
    callable on SymPy symbols, or an undefined function such as `sympy.Function("sigma")`; "softmax"
    works over the whole layer. Tensors: data x[n_0] and y[n_L], parameters w1[n_1, n_0], b1[n_1], w2, …,
    defined z1, a1, z2, ….

    Raises FormulaError for fewer than two widths, an unknown function, or as many functions as fit
    neither the hidden layers nor all of them.
    """
    sizes = _sizes(widths)
    likes = _for_each_layer(sigma, output, len(sizes) - 1)
    functions: dict[str, FunctionDefinition] = {}
    activations = _activations(likes, functions)
    *helpers, loss = _cost(cost)
    for function in (*helpers, loss):
        _add(functions, function)
    tensors = list(_given(sizes))
    equations: list[Equation] = []
    below = "x"
    for number, activation in enumerate(activations, 1):
        equations.extend(_layer(number, below, sizes[number - 1], sizes[number], activation))
        below = f"a{number}"
        tensors.extend(Tensor(f"{t}{number}", (sizes[number],), Role.DEFINED, True) for t in "za")
    equations.append(_cost_equation(below, sizes[-1], loss))
    tensors.append(Tensor(COST, (), Role.DEFINED, True))
    return System(tuple(tensors), tuple(equations), tuple(functions.values()), (below,), name)


def _sizes(widths: Sequence[int | str | Expr]) -> list[Expr]:
    if isinstance(widths, str) or not isinstance(widths, Iterable):
        raise FormulaError("expected a list of widths", hint="for example [784, 128, 10], the inputs first")
    sizes = [_size(w) for w in widths]
    if not 2 <= len(sizes) <= _MOST_LAYERS + 1:
        message = f"expected 2 to {_MOST_LAYERS + 1} widths, found {len(sizes)}"
        raise FormulaError(message, hint="the inputs first, then one width for each layer: [784, 128, 10]")
    taken = {"x", "y", COST} | {f"{t}{n}" for t in "wbza" for n in range(1, len(sizes))}
    for symbol in {s for width in sizes for s in width.free_symbols}:
        if symbol.name in taken:
            raise FormulaError(
                f"{symbol.name!r} is a tensor of the network and cannot be a size", hint="rename the size"
            )
    return sizes


def _size(width: int | str | Expr) -> Expr:
    if isinstance(width, str):
        return parse_size(width)
    if isinstance(width, Integral) and not isinstance(width, bool):
        return parse_size(str(int(width))) if int(width) > 0 else _too_small(width)
    if not isinstance(width, Expr) or not all(isinstance(n, _SIZE_NODES) for n in walk(width)):
        raise FormulaError(f"expected a width, found {width!r}", hint="a number, a name such as 'n', or '2*T - 1'")
    for symbol in width.free_symbols:
        problem = name_problem(symbol.name)
        if problem:
            raise FormulaError(f"{problem} and cannot name a size", hint="choose another name")
    result = width.xreplace({s: size(s.name) for s in width.free_symbols})
    if not result.is_integer:
        raise FormulaError(f"expected a whole number of neurons, found {width}", hint="use + - * of names and numbers")
    return _too_small(width) if result.is_positive is False else result


def _too_small(width: object) -> Expr:
    raise FormulaError(f"a width is at least 1, found {width}")


def _for_each_layer(
    sigma: FunctionLike | Sequence[FunctionLike], output: FunctionLike | None, layers: int
) -> list[FunctionLike]:
    if not isinstance(sigma, list | tuple):
        return [sigma] * (layers - 1) + [sigma if output is None else output]
    chosen = list(sigma)
    if not chosen or len(chosen) not in (layers - 1, layers) or (len(chosen) == layers and output is not None):
        expected = f"{layers - 1} functions (one for each hidden layer) with an output"
        message = f"expected {expected}, or {layers} (one for each layer) without, found {len(chosen)}"
        if not (layers == 1 and not chosen and output is not None):
            raise FormulaError(message, hint="sigma may be one function for all layers")
    if len(chosen) == layers:
        return chosen
    return [*chosen, chosen[-1] if output is None else output]


def _activations(likes: list[FunctionLike], functions: dict[str, FunctionDefinition]) -> list[_Activation]:
    """The activation of each layer; a formula used for all layers is `sigma`, else the first of its layers names it."""
    known: list[tuple[FunctionLike, _Activation]] = []
    chosen: list[_Activation] = []
    several = any(not _same(like, likes[0]) for like in likes)
    for number, like in enumerate(likes, 1):
        found = next((activation for other, activation in known if _same(like, other)), None)
        if found is None:
            found = _activation(like, f"sigma{number}" if several else "sigma", functions)
            known.append((like, found))
        chosen.append(found)
    return chosen


def _same(one: FunctionLike, other: FunctionLike) -> bool:
    return one is other or (type(one) is type(other) and bool(one == other))


def _activation(like: FunctionLike, name: str, functions: dict[str, FunctionDefinition]) -> _Activation:
    if isinstance(like, str) and like.strip() in catalogue.names("layer"):
        return _Activation(like.strip(), layer=True)
    found = elementwise(like, name, ("z",))
    for function in found:
        _add(functions, function)
    return _Activation(found[-1].name)


def _cost(like: FunctionLike) -> tuple[FunctionDefinition, ...]:
    if isinstance(like, str) and like.strip() in catalogue.names("layer"):
        raise FormulaError(f"cost: expected a cost, of a and y, found {like.strip()!r}", hint="use it as the output")
    return elementwise(like, "loss", ("a", "y"))


def _add(functions: dict[str, FunctionDefinition], function: FunctionDefinition) -> None:
    if functions.setdefault(function.name, function) != function:
        raise FormulaError(f"two different functions are named {function.name!r}", hint="rename one of them")


def _given(sizes: list[Expr]) -> Iterator[Tensor]:
    yield Tensor("x", (sizes[0],), Role.DATA, True)
    yield Tensor("y", (sizes[-1],), Role.DATA, True)
    for number, (below, width) in enumerate(pairwise(sizes), 1):
        yield Tensor(f"w{number}", (width, below), Role.PARAMETER)
        yield Tensor(f"b{number}", (width,), Role.PARAMETER)


def _over(name: str, extent: Expr) -> Range:
    return Range(index(name), Integer(0), extent - 1)


def _layer(number: int, below: str, inputs: Expr, width: Expr, activation: _Activation) -> Iterator[Equation]:
    """z_j = b_j + Σ_k w_jk · below_k, and a_j = σ(z_j)."""
    j, k = _over("j", width), _over("k", inputs)
    product = Access(f"w{number}", j.symbol, k.symbol) * Access(below, k.symbol)
    weighted = Access(f"b{number}", j.symbol) + Reduction("sum", product, [k])
    yield Equation(f"z{number}", (j.symbol,), (j,), weighted)
    j = _over("j", width)
    z = Access(f"z{number}", j.symbol)
    value = catalogue.softmax(z, j.symbol, j) if activation.layer else Call(activation.name, (0,), z)
    yield Equation(f"a{number}", (j.symbol,), (j,), value)


def _cost_equation(last: str, width: Expr, loss: FunctionDefinition) -> Equation:
    """cost = Σ_j loss(a_j, y_j)."""
    j = _over("j", width)
    share = Call(loss.name, (0, 0), Access(last, j.symbol), Access("y", j.symbol))
    return Equation(COST, (), (), Reduction("sum", share, [j]))
