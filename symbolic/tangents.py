"""Forward mode over a System: the tangent of every tensor in a direction of the inputs.

    ẏ_I = Σ over every occurrence x_f in y's equation of ∂y_I/∂x_f · ẋ_f

It uses the rules of reverse mode and the same deltas, here solved for the tangent's own index. On a
System of first derivatives it gives second ones: the tangent of the gradient in the direction v is
the Hessian-vector product H·v (forward over reverse).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sympy import Expr, Integer

from .deltas import collapse, hoist
from .derive import derive
from .errors import DerivationError
from .expressions import Access, Partial, Range, index
from .fold import fold_term, known_results
from .rules import influenced, influencing, unfold_all
from .simplify import simplified
from .system import COST, Equation, Role, System, Tensor, renamed
from .terms import Term, total

__all__ = ["gauss_newton_product", "hessian_product", "tangent", "tangent_name"]


def tangent_name(name: str, taken: set[str]) -> str:
    """`name` with `_dot` behind it, and underscores where another tensor has that name already."""
    label = f"{name}_dot"
    while label in taken:
        label += "_"
    return label


def tangent(system: System, directions: Sequence[str], results: Sequence[str]) -> System:
    """The System with the tangents of `results`, its new outputs, in the given directions.

    Each direction is an input tensor; its tangent is a new input of the same shape, `w_dot` for w
    (`Tensor.tangent_of` tells which). A result that no direction reaches is 0. Raises
    DerivationError for a direction that is no input.
    """
    inputs = {t.name for t in system.inputs}
    for name in directions:
        if name not in inputs:
            raise DerivationError(f"{name!r} is no direction: expected one of {', '.join(sorted(inputs))}")
    walk = _Forward(system)
    for name in directions:
        walk.declare(name, system.tensor(name).role)
    groups = system.recurrences()
    reads: dict[str, set[str]] = {}
    for equation in system.equations:
        reads.setdefault(equation.name, set()).update(equation.reads())
    for equation in system.equations:
        members = groups.get(equation.name, (equation.name,))  # base cases too: of a number the tangent is 0
        if any(not reads[member].isdisjoint(walk.names) for member in members):
            for member in members:
                walk.declare(member, Role.DEFINED)
        walk.step(equation)
    for name in results:
        walk.zero(name)
    return replace(
        system,
        tensors=(*system.tensors, *walk.tensors),
        equations=(*system.equations, *walk.equations),
        outputs=tuple(walk.names[name] for name in results),
    )


def hessian_product(system: System, wrt: Sequence[str], gradient: System | None = None) -> System:
    """∂²cost/∂wrt² applied to a direction: the tangents of the gradients, as outputs in the order of `wrt`.

    `gradient` is the simplified System of the gradients, where the caller has it already.
    """
    gradient = gradient or simplified(derive(system, wrt, explain=False).result)
    return tangent(gradient, wrt, gradient.outputs)


def gauss_newton_product(system: System, wrt: Sequence[str]) -> System:
    """Jᵀ·H·J applied to a direction of `wrt`: J that of `system.outputs`, H the cost's Hessian in them.

    Where the cost reads a tensor of `wrt` directly too (a penalty), H has that tensor among its
    variables, so that the penalty's own curvature is in the product.
    """
    if not system.has_cost or not system.outputs:
        raise DerivationError("a Gauss-Newton product needs a cost, and outputs that it is a function of")
    tail, head = _split(system)
    direct = tuple(n for n in wrt if n in influencing(tail, COST))
    stray = (influenced(system, *wrt) & {t.name for t in tail.inputs}) - {*system.outputs, *direct}
    if stray:
        raise DerivationError(f"the cost reads {', '.join(sorted(stray))} beside the outputs: name them as outputs too")
    forward = tangent(head, wrt, head.outputs)
    curvature = hessian_product(tail, (*system.outputs, *direct))
    backward = _renamed(derive(head, wrt, explain=False).result, "g")
    return _composed(system, wrt, forward, curvature, backward, direct)


def _split(system: System) -> tuple[System, System]:
    """(what the cost needs beside the outputs, what the outputs need): the outputs are data of the first."""
    after = {COST}
    for equation in reversed(system.equations):
        if equation.name in after:
            after.update(set(equation.reads()) - set(system.outputs))
    tail_equations = tuple(e for e in system.equations if e.name in after)
    read = {n for e in tail_equations for n in e.reads()} | after
    given = tuple(
        replace(t, role=Role.DATA) if t.name in system.outputs else t for t in system.tensors if t.name in read
    )
    tail = replace(system, tensors=given, equations=tail_equations, outputs=())
    before = influencing(system, *system.outputs)
    head_tensors = tuple(t for t in system.tensors if t.role is not Role.DEFINED or t.name in before)
    head = replace(system, tensors=head_tensors, equations=tuple(e for e in system.equations if e.name in before))
    return tail, head


def _renamed(system: System, prefix: str) -> System:
    """The System whose adjoints have another name, so that two gradients can stand in one System."""
    names = {t.name: f"{prefix}_{t.name}" for t in system.tensors if t.adjoint_of is not None}
    return renamed(system, names)


def _composed(
    system: System, wrt: Sequence[str], forward: System, curvature: System, backward: System, direct: Sequence[str]
) -> System:
    """The three stages as one System: J·v, then H·(J·v), then Jᵀ of that."""
    of = {t.tangent_of: t.name for t in curvature.tensors if t.tangent_of is not None}
    seeds = {t.adjoint_of: t.name for t in backward.inputs if t.adjoint_of is not None}
    bridge = {seed: of[_adjoint(curvature, name)] for name, seed in seeds.items()}
    backward = renamed(backward, bridge)
    tensors: dict[str, Tensor] = {}
    for part in (system, forward, curvature, backward):
        for tensor in part.tensors:
            known = tensors.get(tensor.name)
            if known is None or known.role is not Role.DEFINED:
                tensors[tensor.name] = tensor
    equations: list[Equation] = []
    for part in (forward, curvature, backward):  # what two stages need has the same equation in both
        made = {e.name for e in equations}
        equations.extend(e for e in part.equations if e.name not in made)
    outputs = []
    for name, label in zip(wrt, backward.outputs, strict=True):
        if name in direct:
            label = _with_penalty(label, of[_adjoint(curvature, name)], tensors, equations)
        outputs.append(label)
    return replace(system, tensors=tuple(tensors.values()), equations=tuple(equations), outputs=tuple(outputs))


def _adjoint(system: System, name: str) -> str:
    return next(t.name for t in system.tensors if t.adjoint_of == name)


def _with_penalty(label: str, penalty: str, tensors: dict[str, Tensor], equations: list[Equation]) -> str:
    """The sum of the product through the outputs and the cost's own curvature in the tensor."""
    whole = f"{label}_total"
    tensor = tensors[label]
    ranges = tuple(Range(index("i"), Integer(0), d - 1) for d in tensor.shape)
    symbols = tuple(r.symbol for r in ranges)
    tensors[whole] = replace(tensor, name=whole)
    equations.append(Equation(whole, symbols, ranges, Access(label, *symbols) + Access(penalty, *symbols)))
    return whole


class _Forward:
    """The tangents made so far."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.names: dict[str, str] = {}  # tensor -> its tangent
        self.tensors: list[Tensor] = []
        self.equations: list[Equation] = []
        self.taken = {t.name for t in system.tensors}
        self.known = known_results(system)  # softmax's own value in its tangent, and the like

    def declare(self, name: str, role: Role) -> None:
        """The tangent's tensor, once."""
        if name in self.names:
            return
        tensor = self.system.tensor(name)
        label = tangent_name(name, self.taken)
        self.taken.add(label)
        self.names[name] = label
        self.tensors.append(Tensor(label, tensor.shape, role, tensor.per_sample, tangent_of=name))

    def step(self, equation: Equation) -> None:
        """The tangent of one equation; none where nothing it reads has one."""
        read = [n for n in equation.reads() if n in self.names]
        if not read and equation.name not in self.names:
            return
        self.declare(equation.name, Role.DEFINED)
        renamed = {r.symbol: index(r.symbol.name) for r in equation.ranges}
        ranges = tuple(
            Range(renamed[r.symbol], r.lower.xreplace(renamed), r.upper.xreplace(renamed)) for r in equation.ranges
        )
        value = equation.value.xreplace(renamed)
        terms = [t for name in read for t in self._terms(value, name, ranges)]
        indices = tuple(renamed.get(i, i) for i in equation.indices)
        self.equations.append(Equation(self.names[equation.name], indices, ranges, total(tuple(terms))))

    def _terms(self, value: Expr, name: str, ranges: tuple[Range, ...]) -> list[Term]:
        shape = self.system.tensor(name).shape
        bound = tuple(Range(index(f"i{m}"), Integer(0), d - 1) for m, d in enumerate(shape))
        wrt = Access(name, *(r.symbol for r in bound))
        direction = Access(self.names[name], *wrt.indices)
        found = unfold_all(Partial(value, wrt), self.system)
        whole = [replace(t, factors=(*t.factors, direction), bound=(*t.bound, *bound)) for t in found]
        return [hoist(fold_term(collapse(t, ranges), self.known, ranges)) for t in whole]

    def zero(self, name: str) -> None:
        """A result that no direction reaches."""
        if name in self.names:
            return
        self.declare(name, Role.DEFINED)
        ranges = tuple(Range(index("i"), Integer(0), d - 1) for d in self.system.tensor(name).shape)
        self.equations.append(Equation(self.names[name], tuple(r.symbol for r in ranges), ranges, Integer(0)))
