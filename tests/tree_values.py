"""Values of ordered trees and of SymPy expressions, each by a walk of its own: two opinions for one formula."""

from __future__ import annotations

import cmath
from collections.abc import Callable, Mapping
from math import prod

import sympy as sp
from sympy import Expr

from chainrule.symbolic.expressions import Access, Reduction
from chainrule.symbolic.notation.tree import (
    Add,
    Apply,
    Big,
    Formula,
    Fraction,
    Indexed,
    Negative,
    Number,
    Power,
    Product,
    Root,
    Symbol,
)

FUNCTIONS: dict[str, Callable[[complex], complex]] = {"exp": cmath.exp, "sin": cmath.sin, "tanh": cmath.tanh}
Elements = Callable[[str, tuple[int, ...]], complex]


def tree_value(node: Formula, scope: Mapping[str, complex], element: Elements) -> complex:
    """The value of a tree; `scope` gives letters and sizes, `element` the tensors."""

    def value(inner: Formula, **bound: int) -> complex:
        return tree_value(inner, {**scope, **bound}, element)

    match node:
        case Number(text):
            return complex(text)
        case Symbol(name):
            return complex(scope[name])
        case Indexed(Symbol(name), (), Number(exponent)) if name in scope:  # a size has no layer: a power
            return complex(scope[name]) ** int(exponent)
        case Indexed(Symbol(name), below, above):
            layer = above.text if isinstance(above, Number) else ""
            return element(name + layer, tuple(int(value(i).real) for i in below))
        case Negative(body):
            return -value(body)
        case Add(terms):
            return sum((value(t) for t in terms), 0j)
        case Product(factors):
            return prod((value(f) for f in factors), start=1 + 0j)
        case Fraction(above, below):
            return value(above) / value(below)
        case Power(base, exponent):
            return value(base) ** value(exponent)
        case Root(body):
            return cmath.sqrt(value(body))
        case Apply(Symbol(name), (argument,)):
            return FUNCTIONS[name](value(argument))
        case Big("sum", Symbol(name), lower, upper, body):
            first, last = (int(value(b).real) for b in (lower, upper))
            return sum((value(body, **{name: i}) for i in range(first, last + 1)), 0j)
    raise ValueError(f"no value for {node}")


def sympy_value(node: Expr, scope: Mapping[Expr, int], element: Elements) -> complex:
    """The value of an expression of a System; `scope` gives indices and sizes, `element` the tensors."""

    def value(inner: Expr) -> complex:
        return sympy_value(inner, scope, element)

    if node in scope:
        return complex(scope[node])
    if node.is_number:
        return complex(node)
    if isinstance(node, Access):
        return element(node.name, tuple(int(value(i).real) for i in node.indices))
    if isinstance(node, Reduction):
        (r,) = node.ranges
        span = range(int(value(r.lower).real), int(value(r.upper).real) + 1)
        return sum((sympy_value(node.body, {**scope, r.symbol: i}, element) for i in span), 0j)
    values = [value(a) for a in node.args]
    if isinstance(node, sp.Add):
        return sum(values, 0j)
    if isinstance(node, sp.Mul):
        return prod(values, start=1 + 0j)
    if isinstance(node, sp.Pow):
        return values[0] ** values[1]
    return FUNCTIONS[type(node).__name__](*values)
