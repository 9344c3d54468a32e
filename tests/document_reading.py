"""What the document's trees mean, read in two independent ways.

`Meaning` translates a tree (parsed from the document, never a derived one) into terms of SymPy and
brings them to a canonical form: total derivatives through the definitions, deltas collapsed,
definitions put in, bound indices renamed by position.

`Numbers` evaluates a tree with plain complex numbers, derivatives by the complex step: no SymPy,
no rule of the engine.
"""

from __future__ import annotations

import cmath
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import sympy as sp
from sympy import Dummy, Expr, Integer

from chainrule.symbolic import deltas, rules
from chainrule.symbolic.documented import documented_system
from chainrule.symbolic.expressions import Access, Call, Partial, Range, Reduction, alpha_key, freshen, index, size
from chainrule.symbolic.notation.tree import (
    Add,
    Apply,
    Big,
    Chain,
    Derivative,
    Formula,
    Fraction,
    Indexed,
    Negative,
    Number,
    Parenthesised,
    Product,
    Symbol,
    walk,
)
from chainrule.symbolic.samples import BATCH, with_samples
from chainrule.symbolic.system import COST, Role
from chainrule.symbolic.terms import Term

LAYER = Symbol("L")
BEFORE = Add((LAYER, Negative(Number("1"))))
DIMENSIONS = {"x": "m", "y": "n", "w": "nm", "b": "n", "z": "n", "a": "n"}
"""Which size each subscript of a tensor runs over."""


def tensor_of(node: Indexed) -> str:
    """The System's tensor that a symbol with its superscript names: a^{L-1} is x."""
    name = node.base.name if isinstance(node.base, Symbol) else "?"
    table = {("a", LAYER): "a", ("a", BEFORE): "x", ("w", LAYER): "w", ("b", LAYER): "b", ("z", LAYER): "z"}
    if name == "y" and node.above is None:
        return "y"
    return table[name, node.above]


def size_of(node: Formula) -> str | None:
    """`batch`, `n` or `m` for n, n_L and n_{(L-1)}; None for anything else."""
    table: dict[Formula, str] = {
        Symbol("n"): "batch",
        Indexed(Symbol("n"), (LAYER,)): "n",
        Indexed(Symbol("n"), (Parenthesised((BEFORE,)),)): "m",
    }
    return table.get(node)


def index_sizes(tree: Formula) -> dict[str, set[str]]:
    """For every index letter, the sizes of the dimensions at which it stands (type inference)."""
    found: dict[str, set[str]] = {}
    for node in walk(tree):
        if isinstance(node, Indexed) and node.base in (Symbol("a"), Symbol("w"), Symbol("b"), Symbol("z"), Symbol("y")):
            for letter, dimension in zip(node.below, DIMENSIONS[tensor_of(node)], strict=True):
                found.setdefault(letter.name, set()).add(dimension)
    return found


def cost_label(node: Formula) -> str | None:
    """`avg` or `s` for cost_{avg} and cost_s."""
    if isinstance(node, Indexed) and node.base == Symbol("cost") and node.above is None and len(node.below) == 1:
        return node.below[0].name
    return None


@dataclass
class Meaning:
    """Terms and canonical forms of the sides of one formula; `generic` is what A stands for."""

    generic: Access | None = None
    system: object = field(default_factory=lambda: with_samples(documented_system()))
    free: dict[str, Dummy] = field(default_factory=dict)
    ranges: dict[Dummy, Range] = field(default_factory=dict)

    def sides(self, chain: Chain) -> list[Expr]:
        """The canonical form of every side of the chain."""
        sizes = {"n": size("n"), "m": size("m"), "batch": BATCH}
        known = {r.symbol for r in self.ranges.values()}
        for letter, dimensions in {**index_sizes(chain), "s": {"batch"}}.items():
            self.free[letter] = index(letter)
            if len(dimensions) == 1:
                extent = sizes[next(iter(dimensions))]
                self.ranges[self.free[letter]] = Range(self.free[letter], Integer(0), extent - 1)
        assert not known & set(self.free.values())
        return [self.canonical(self.terms(side, self.free)) for side in chain.sides]

    def terms(self, node: Formula, scope: Mapping[str, Dummy]) -> list[Term]:
        """The formula as a sum of flat terms."""
        if isinstance(node, Add):
            return [t for part in node.terms for t in self.terms(part, scope)]
        if isinstance(node, Negative):
            return [Term((Integer(-1), *t.factors), t.bound, t.deltas, t.guards) for t in self.terms(node.body, scope)]
        if isinstance(node, Product):
            return crossed([self.terms(f, scope) for f in node.factors])
        if isinstance(node, Big):
            symbol = index(node.index.name)
            bound = Range(symbol, self.plain(node.lower, scope), self.plain(node.upper, scope))
            inner = self.terms(node.body, {**scope, node.index.name: symbol})
            return [Term(t.factors, (bound, *t.bound), t.deltas, t.guards) for t in inner]
        if isinstance(node, Derivative):
            of = flat_sum(self.terms(node.of, scope))
            (wrt,) = self.terms(node.wrt, scope)
            return list(rules.unfold_all(Partial(of, wrt.factors[0]), self.system, through=True))
        return [Term((self.plain(node, scope),))]

    def plain(self, node: Formula, scope: Mapping[str, Dummy]) -> Expr:
        """A formula without sums and derivatives as one expression."""
        if isinstance(node, Number):
            return Integer(int(node.text))
        if isinstance(node, Fraction):
            return self.plain(node.numerator, scope) / self.plain(node.denominator, scope)
        if isinstance(node, Add | Negative | Product):
            return flat_sum(self.terms(node, scope))
        if node == Symbol("A"):
            assert self.generic is not None
            return self.generic
        if size_of(node):
            return {"batch": BATCH, "n": size("n"), "m": size("m")}[size_of(node)]
        if cost_label(node):
            return Access(COST) if cost_label(node) == "avg" else Access("cost_s", scope["s"])
        if isinstance(node, Apply):
            arguments = [self.plain(a, scope) for a in node.arguments]
            return Call(node.function.name, [0] * len(arguments), *arguments)
        if isinstance(node, Indexed):
            name = tensor_of(node)
            sample = () if name in "wb" else (scope["s"],)
            return Access(name, *sample, *(scope[i.name] for i in node.below))
        raise ValueError(f"no meaning for {node}")

    def canonical(self, terms: list[Term]) -> Expr:
        """Deltas collapsed, definitions put in, sums flat, bound indices named by position."""
        collapsed = [deltas.collapse(t, tuple(self.ranges.values())) for t in terms]
        defined = [flat(self.defined(t.expression)) for t in collapsed]
        return sp.Add(*(alpha_key(t.expression) for part in defined for t in part))

    def defined(self, expression: Expr) -> Expr:
        """Every element of a defined tensor replaced by its right side, down to the inputs."""
        while True:
            found = {
                a: rules.definition_at(a, self.system)
                for a in expression.atoms(Access)
                if self.system.tensor(a.name).role is Role.DEFINED
            }
            if not found:
                return freshen(expression)
            expression = expression.xreplace(found)


def crossed(groups: list[list[Term]]) -> list[Term]:
    """The product of sums of terms as a sum of terms."""
    return [
        Term(
            tuple(f for t in combination for f in t.factors),
            tuple(b for t in combination for b in t.bound),
            tuple(d for t in combination for d in t.deltas),
            tuple(g for t in combination for g in t.guards),
        )
        for combination in itertools.product(*groups)
    ]


def flat(expression: Expr) -> list[Term]:
    """The expression as a sum of terms with every outer sum's indices in front."""
    if isinstance(expression, sp.Add):
        return [t for part in expression.args for t in flat(part)]
    if isinstance(expression, sp.Mul):
        return crossed([flat(f) for f in expression.args])
    if isinstance(expression, Reduction):
        return [
            Term(t.factors, expression.ranges + t.bound, t.deltas, expression.guards + t.guards)
            for t in flat(expression.body)
        ]
    return [Term((expression,))]


def flat_sum(terms: list[Term]) -> Expr:
    return sp.Add(*(t.expression for t in terms))


@dataclass
class Numbers:
    """A tiny network with numbers in it; evaluates trees at given values of the free index letters."""

    sizes: Mapping[str, int]
    inputs: Mapping[tuple[object, ...], complex]
    sigma: Callable[[complex], complex]
    cost: Callable[[complex, complex], complex]
    generic: Callable[[int], tuple[object, ...]] | None = None
    shifted: tuple[tuple[object, ...], complex] | None = None

    STEP = 1e-40

    def free_values(self, chain: Chain) -> Iterator[dict[str, int]]:
        """Every assignment of the free index letters (and the sample) that is in range everywhere."""
        spans = {
            letter: min(self.sizes[d] for d in dimensions)
            for letter, dimensions in {**index_sizes(chain), "s": {"batch"}}.items()
        }
        for values in itertools.product(*(range(n) for n in spans.values())):
            yield dict(zip(spans, values, strict=True))

    def value(self, node: Formula, scope: Mapping[str, int]) -> complex:
        """The formula's value; KeyError where an element is out of range."""
        if isinstance(node, Number):
            return complex(node.text)
        if isinstance(node, Add):
            return sum((self.value(t, scope) for t in node.terms), 0j)
        if isinstance(node, Negative):
            return -self.value(node.body, scope)
        if isinstance(node, Fraction):
            return self.value(node.numerator, scope) / self.value(node.denominator, scope)
        if isinstance(node, Product):
            result = 1 + 0j
            for factor in node.factors:
                result *= self.value(factor, scope)
            return result
        if isinstance(node, Big):
            lower, upper = (int(self.value(b, scope).real) for b in (node.lower, node.upper))
            return sum((self.value(node.body, {**scope, node.index.name: i}) for i in range(lower, upper + 1)), 0j)
        if isinstance(node, Derivative):
            key = self.key(node.wrt, scope)
            moved = Numbers(self.sizes, self.inputs, self.sigma, self.cost, self.generic, (key, 1j * self.STEP))
            return complex(moved.value(node.of, scope).imag / self.STEP)
        if isinstance(node, Apply):
            arguments = [self.value(a, scope) for a in node.arguments]
            return self.sigma(*arguments) if node.function == Symbol("sigma") else self.cost(*arguments)
        if size_of(node):
            return complex(self.sizes[size_of(node)])
        if cost_label(node):
            return self.average() if cost_label(node) == "avg" else self.cost_s(scope["s"])
        return self.element(self.key(node, scope))

    def key(self, node: Formula, scope: Mapping[str, int]) -> tuple[object, ...]:
        """(tensor, sample or None, indices…)"""
        if node == Symbol("A"):
            assert self.generic is not None
            return self.generic(scope["s"])
        name = tensor_of(node)
        return (name, None if name in "wb" else scope["s"], *(scope[i.name] for i in node.below))

    def element(self, key: tuple[object, ...]) -> complex:
        """The element's value from the definitions, plus the shift where it is the one differentiated by."""
        name, sample, *indices = key
        if name == "z":
            (j,) = indices
            value = self.element(("b", None, j))
            for k in range(self.sizes["m"]):
                value += self.element(("w", None, j, k)) * self.element(("x", sample, k))
        elif name == "a":
            value = self.sigma(self.element(("z", sample, *indices)))
        else:
            value = self.inputs[key]
        return value + (self.shifted[1] if self.shifted is not None and self.shifted[0] == key else 0)

    def cost_s(self, sample: int) -> complex:
        total = 0j
        for j in range(self.sizes["n"]):
            total += self.cost(self.element(("a", sample, j)), self.element(("y", sample, j)))
        return total

    def average(self) -> complex:
        return sum((self.cost_s(s) for s in range(self.sizes["batch"])), 0j) / self.sizes["batch"]


def smooth_functions(a: float, b: float) -> tuple[Callable[[complex], complex], Callable[[complex, complex], complex]]:
    """A concrete σ and cost, analytic (the complex step needs that), with random constants."""
    return (lambda z: cmath.tanh(a * z) + b * z), (lambda u, y: (u - y) ** 2 * cmath.exp(a * u) + b * u * y)
