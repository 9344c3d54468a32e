"""The formula of an equation: tensors, indices, reductions; and a record of how each index is used.

The range of an index is not known while the formula is read. Its bounds are two placeholder symbols,
which `shapes` replaces once it has seen every use.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import sympy as sp
from sympy import Dummy, Expr, Integer

from .. import catalogue
from ..expressions import Access, Where, index
from ..names import closest, name_problem
from ..reductions import REDUCTIONS
from .drafts import Draft, Names, Use, Variable
from .formula import Formula, Functions
from .left import LeftIndex, left_side
from .source import Code
from .statements import MAX_INTEGER, MAX_SIZE_NODES, EquationText, elements, size_of

__all__ = ["IndexedFormula", "draft"]


def draft(text: EquationText, functions: Functions, names: Names) -> Draft:
    """Read one equation."""
    formula = IndexedFormula(text.body, functions, names)
    subscripts: list[Variable | Expr] = []
    for element, node in zip(left_side(text, names), text.nodes, strict=True):
        if isinstance(element, LeftIndex):
            subscripts.append(formula.variable(element.name, node, text.code, shift=element.shift))
        else:
            subscripts.append(element)
    formula.left = tuple(s for s in subscripts if isinstance(s, Variable))
    value = formula.read()
    variables, uses, reads = tuple(formula.variables), tuple(formula.uses), tuple(formula.reads)
    return Draft(text, tuple(subscripts), value, variables, uses, reads, formula.guards)


class IndexedFormula(Formula):
    """Reads the right side of an equation."""

    def __init__(self, code: Code, functions: Functions, names: Names) -> None:
        super().__init__(code, functions, {})
        self.names = names
        self.left: tuple[Variable, ...] = ()
        self.variables: list[Variable] = []
        self.uses: list[Use] = []
        self.reads: dict[str, None] = {}
        self.guards: dict[Variable, tuple[Expr, ...]] = {}
        self._scope: dict[str, Variable] = {}
        self._facts: list[Expr] = []

    def variable(self, name: str, node: ast.expr, code: Code, *, bound: bool = False, shift: int = 0) -> Variable:
        """A new index in scope."""
        for kind, taken in (("a tensor", self.names.ranks), ("a size", self.names.sizes)):
            if name in taken:
                raise code.error(
                    f"{name!r} is {kind} and cannot be an index", node, "choose another name for the index"
                )
        lower, upper = (Dummy(f"{side}_{name}", integer=True) for side in ("lower", "upper"))
        made = Variable(index(name), lower, upper, node, code, bound, shift)
        self.variables.append(made)
        self._scope[name] = made
        return made

    def _visible(self) -> Iterable[str]:
        return {*self._scope, *self.names.ranks, *self.names.sizes}

    def _name(self, node: ast.Name) -> Expr:
        name = node.id
        if name in self._scope:
            return self._scope[name].value
        if name in self.names.ranks:
            return self._access(node, name, ())
        if name in self.names.sizes:
            return self.names.sizes[name]
        return super()._name(node)

    def _operation(self, node: ast.BinOp) -> Expr:
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        if isinstance(node.op, ast.FloorDiv) and names <= self.names.sizes.keys():
            return size_of(self.code, node, positive=False)
        return super()._operation(node)

    def _subscript(self, node: ast.Subscript) -> Expr:
        if not isinstance(node.value, ast.Name):
            raise self.code.error(f"expected a tensor, found {self.code.written(node.value)!r}", node.value)
        name = node.value.id
        if name not in self.names.ranks:
            if name in self._scope or name in self.names.sizes:
                raise self.code.error(f"{name!r} has no elements", node, "only tensors take subscripts")
            hint = closest(name, self.names.ranks) or f"declare it, data {name}[…] or parameter {name}[…], or define it"
            raise self.code.error(f"unknown tensor {name!r}", node, hint)
        return self._access(node, name, elements(node.slice))

    def _access(self, node: ast.expr, name: str, subscripts: tuple[ast.expr, ...]) -> Access:
        rank = self.names.ranks[name]
        if len(subscripts) != rank:
            letters = ", ".join("ijklpqrs"[:rank])
            expected = f"{rank} subscript{'s' if rank != 1 else ''}"
            hint = f"write {name}[{letters}]" if rank else f"write {name} alone"
            raise self.code.error(f"{name!r} takes {expected}, found {len(subscripts)}", node, hint)
        indices = [self._affine(s) for s in subscripts]
        facts = tuple(self._facts)
        for axis, (subscript, place) in enumerate(zip(indices, subscripts, strict=True)):
            self.uses.append(Use(name, axis, subscript, facts, place, node, self.code))
        self.reads[name] = None
        return Access(name, *indices)

    def _affine(self, node: ast.expr) -> Expr:
        """A subscript: whole-number multiples of indices, plus whole numbers and sizes."""
        if isinstance(node, ast.Slice):
            message = "a subscript is one element, not a slice"
            raise self.code.error(message, node, "name the element, x[k], and sum over k where needed")
        result = self._integer(node)
        if result is None:
            hint = "write whole-number multiples of indices, plus sizes and numbers: x[2*p + q - 1]"
            raise self.code.error(f"the subscript {self.code.written(node)!r} is not affine in the indices", node, hint)
        return result

    def _integer(self, node: ast.expr) -> Expr | None:
        """The node as an affine expression in the indices; None where it is none."""
        if sum(1 for _ in ast.walk(node)) > MAX_SIZE_NODES:
            return None
        polynomial = self._polynomial(node)
        if polynomial is None:
            return None
        expanded = rest = sp.expand(polynomial)
        for variable in self._scope.values():
            factor = expanded.coeff(variable.symbol, 1)
            rest = rest - factor * variable.symbol
            if not factor.is_Integer:
                return None
        return None if sp.expand(rest).has(*self._symbols()) else expanded

    def _symbols(self) -> list[Dummy]:
        return [v.symbol for v in self._scope.values()] or [Dummy()]

    def _polynomial(self, node: ast.expr) -> Expr | None:
        if isinstance(node, ast.Constant):
            return Integer(node.value) if isinstance(node.value, int) and node.value <= MAX_INTEGER else None
        if isinstance(node, ast.Name):
            return self._integer_name(node)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.FloorDiv):
            names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            return size_of(self.code, node, positive=False) if names <= self.names.sizes.keys() else None
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            operand = self._polynomial(node.operand)
            return None if operand is None else -operand
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult):
            u, v = self._polynomial(node.left), self._polynomial(node.right)
            if u is None or v is None:
                return None
            return {ast.Add: u + v, ast.Sub: u - v, ast.Mult: u * v}[type(node.op)]
        return None

    def _integer_name(self, node: ast.Name) -> Expr | None:
        name = node.id
        if name in self._scope:
            return self._scope[name].value
        if name in self.names.sizes:
            return self.names.sizes[name]
        if name in self.names.ranks:
            return None
        problem = name_problem(name)
        if problem:
            raise self.code.error(f"{problem} and cannot name an index", node, "choose another name")
        hint = f"sum over it, sum[{name}](…), or put it on the left side"
        raise self.code.error(f"the index {name!r} stands on the right side, but not on the left", node, hint)

    @contextmanager
    def _assuming(self, facts: Iterable[Expr]) -> Iterator[None]:
        before = self._facts
        self._facts = [*before, *facts]
        yield
        self._facts = before

    @contextmanager
    def _binding(self, names: Iterable[tuple[str, ast.expr]]) -> Iterator[tuple[Variable, ...]]:
        """New bound indices, in scope inside the block alone."""
        before = dict(self._scope)
        made = []
        for name, node in names:
            if name in self._scope:
                message = f"the index {name!r} already has a meaning here"
                raise self.code.error(message, node, "give the inner index another name")
            made.append(self.variable(name, node, self.code, bound=True))
        yield tuple(made)
        self._scope = before

    def _where(self, node: ast.Call) -> Expr:
        test, then, otherwise = node.args
        condition = self.condition(test)
        with self._assuming(self._facts_of(test, True)):
            u = self.value(then)
        with self._assuming(self._facts_of(test, False)):
            v = self.value(otherwise)
        return self._form(node, Where, condition, u, v)

    def _facts_of(self, node: ast.expr, holds: bool) -> list[Expr]:
        """Affine expressions that are >= 0 where the condition is true (or false): what guards an access."""
        if isinstance(node, ast.UnaryOp):
            return self._facts_of(node.operand, not holds)
        if isinstance(node, ast.BoolOp):
            if isinstance(node.op, ast.And) == holds:
                return [fact for part in node.values for fact in self._facts_of(part, holds)]
            return []
        if not isinstance(node, ast.Compare):
            return []
        parts = list(zip(node.ops, (node.left, *node.comparators), node.comparators, strict=False))
        if not holds and len(parts) > 1:
            return []
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        if not names <= {*self._scope, *self.names.sizes}:
            return []
        return [fact for op, left, right in parts for fact in self._fact(op, left, right, holds)]

    def _fact(self, op: ast.cmpop, left: ast.expr, right: ast.expr, holds: bool = True) -> list[Expr]:
        u, v = self._integer(left), self._integer(right)
        if u is None or v is None:
            return []
        kind = type(op) if holds else _OPPOSITE[type(op)]
        table = {ast.Lt: [v - u - 1], ast.LtE: [v - u], ast.Gt: [u - v - 1], ast.GtE: [u - v], ast.Eq: [u - v, v - u]}
        return [sp.expand(fact) for fact in table.get(kind, [])]

    def _reduction(self, node: ast.Call, head: ast.Subscript) -> Expr:
        name = head.value.id if isinstance(head.value, ast.Name) else self.code.written(head.value)
        self._check_arity(node, name, 1)
        if name == "softmax":
            return self._softmax_over(node, head)
        if name not in REDUCTIONS:
            hint = closest(name, REDUCTIONS) or f"the reductions are {', '.join(REDUCTIONS)}"
            raise self.code.error(f"unknown reduction {name!r}", head, hint)
        indices, conditions = _index_list(head)
        named = [(self._index_name(i), i) for i in indices]
        with self._binding(named) as variables:
            guards = [guard for c in conditions for guard in self._guards(c)]
            self.guards.update((variable, tuple(guards)) for variable in variables)
            with self._assuming(guards):
                body = self.value(node.args[0])
        return self._form(node, REDUCTIONS[name], body, [v.placeholder for v in variables], guards)

    def _index_name(self, node: ast.expr) -> str:
        if not isinstance(node, ast.Name):
            hint = "write sum[k](…), sum[j, k](…) or sum[k : k <= i](…)"
            raise self.code.error(f"expected an index, found {self.code.written(node)!r}", node, hint)
        problem = name_problem(node.id)
        if problem:
            raise self.code.error(f"{problem} and cannot name an index", node, "choose another name")
        return node.id

    def _guards(self, node: ast.expr) -> list[Expr]:
        """The condition of a conditional range, as affine expressions that must all be >= 0."""
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            return [guard for part in node.values for guard in self._guards(part)]
        guards: list[Expr] = []
        if isinstance(node, ast.Compare):
            sides = (node.left, *node.comparators)
            for op, left, right in zip(node.ops, sides, sides[1:], strict=False):
                guards.extend(self._fact(op, left, right))
        if not guards or any(isinstance(op, ast.NotEq) for op in getattr(node, "ops", ())):
            hint = "compare indices with < <= > >= == and join with `and`; for anything else write where(…) in the sum"
            raise self.code.error(f"{self.code.written(node)!r} is no condition on indices", node, hint)
        return guards

    def _softmax(self, node: ast.Call) -> Expr:
        names = {n.id for n in ast.walk(node.args[0]) if isinstance(n, ast.Name)}
        inside = [v for v in self.left if v.name in names]
        if not inside:
            message = "softmax finds no index of the left side in its argument"
            raise self.code.error(message, node, "name the index to normalise over: softmax[k](…)")
        return self._normalised(node, inside[-1], [])

    def _softmax_over(self, node: ast.Call, head: ast.Subscript) -> Expr:
        indices, conditions = _index_list(head)
        if len(indices) != 1:
            raise self.code.error(
                f"softmax runs over one index, found {len(indices)}", head, "write softmax[j](z[i, j])"
            )
        variable = self._scope.get(self._index_name(indices[0]))
        if variable is None:
            written = self.code.written(indices[0])
            message = f"softmax runs over an index of the equation, and {written!r} is none"
            raise self.code.error(message, indices[0], "name an index of the left side")
        return self._normalised(node, variable, [guard for c in conditions for guard in self._guards(c)])

    def _normalised(self, node: ast.Call, variable: Variable, guards: list[Expr]) -> Expr:
        # The denominator reads the argument at every value of the index: what guards one of them is no guard there.
        before = self._facts
        self._facts = [f for f in before if not f.has(variable.symbol)] + guards
        value = self.value(node.args[0])
        self._facts = before
        return self._form(node, catalogue.softmax, value, variable.symbol, variable.placeholder, guards)


def _index_list(head: ast.Subscript) -> tuple[list[ast.expr], list[ast.expr]]:
    """The indices of `sum[i, j : condition]` and its conditions, which Python reads as slices."""
    indices: list[ast.expr] = []
    conditions: list[ast.expr] = []
    for element in elements(head.slice):
        if isinstance(element, ast.Slice) and element.lower and element.upper and not element.step:
            indices.append(element.lower)
            conditions.append(element.upper)
        else:
            indices.append(element)
    return indices, conditions


_OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
