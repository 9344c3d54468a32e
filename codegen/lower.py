"""From a System to a Program: batch axis, gradient, algebra, stable forms, then loop nests.

    System ─ with_samples ─ derive ─ simplified ─ merged_sums ─ stable ─► System ─ kernel by kernel ─► Program

A sum over products of tensors with different indices becomes a Contract; every other reduction a
Reduce with its body fused in; a sum over an unsolved delta a Scatter; a recurrence a Scan; the rest
of an equation a Map. Equal reductions are computed once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import sympy as sp
from sympy import Dummy, Expr

from chainrule.symbolic.affine import box
from chainrule.symbolic.derive import derive
from chainrule.symbolic.domains import protected
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Call, Delta, Range, Reduction, rebuild, walk
from chainrule.symbolic.rules import influencing
from chainrule.symbolic.samples import with_samples
from chainrule.symbolic.simplify import merged_sums, simplified
from chainrule.symbolic.stable import canonical, stable
from chainrule.symbolic.system import COST, Equation, Role, System, Tensor
from chainrule.symbolic.tangents import gauss_newton_product, hessian_product, tangent

from .contractions import Factors, Group
from .entries import PRODUCTS
from .ir import (
    DTYPES,
    Argument,
    Buffer,
    Contract,
    Kernel,
    Kind,
    Map,
    Program,
    Reduce,
    Scan,
    Scatter,
    Statement,
    check_kernel,
)
from .passes import assign_slots
from .scans import plan_scan

__all__ = ["lower"]


def lower(
    system: System,
    *,
    name: str | None = None,
    dtype: str = "float64",
    wrt: Sequence[str] | None = None,
    products: Sequence[str] = (),
) -> Program:
    """The Program of a System: kernels `forward`, `cost` and `gradients` (or `vjp` without a cost).

    `wrt` names the tensors whose gradients are computed (default: every parameter; without a cost
    the data too). `products` asks for further kernels: "jvp" (tangents of the outputs), "hvp" and
    "gauss_newton" (products with the cost's Hessian), all in directions of `wrt`. Raises
    LoweringError where an equation has no kernel form, ValueError for another dtype than float32 or
    float64 or another product.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    batched = with_samples(system)
    derivation = derive(batched, wrt, explain=False)
    ready = _ready(derivation.result, system.outputs)
    kernels = []
    if system.outputs:
        kernels.append(_kernel("forward", ready, system.outputs))
    if system.has_cost:
        kernels.append(_kernel("cost", ready, (COST,)))
        kernels.append(_kernel("gradients", ready, (COST, *ready.outputs)))
    else:
        kernels.append(_kernel("vjp", ready, ready.outputs))
    directions: tuple[Tensor, ...] = ()
    for product in products:
        made = _ready(_product(product, batched, derivation.wrt), ())
        directions = directions or tuple(t for t in made.inputs if t.tangent_of is not None)
        kernels.append(_kernel(product, made, made.outputs))
    return Program(
        name or system.name,
        dtype,
        system.sizes,
        (*_arguments(system, ready), *(_direction(t) for t in directions)),
        system.outputs,
        derivation.wrt,
        tuple(kernels),
        system.equations,
    )


def _ready(system: System, keep: Sequence[str]) -> System:
    """Algebra and stable forms; the tensors in `keep` stay beside the System's outputs."""
    return stable(merged_sums(simplified(system), keep))


def _product(product: str, batched: System, wrt: Sequence[str]) -> System:
    """The System of one product; its outputs are the results."""
    if product == "jvp":
        return tangent(batched, wrt, batched.outputs)
    if product == "hvp":
        return hessian_product(batched, wrt)
    if product == "gauss_newton":
        return gauss_newton_product(batched, wrt)
    raise ValueError(f"product {product!r}: expected one of {', '.join(PRODUCTS)}")


def _direction(tensor: Tensor) -> Argument:
    shape = tensor.shape[1:] if tensor.per_sample else tensor.shape
    return Argument(tensor.name, shape, Kind.TANGENT, tensor.per_sample)


def _arguments(system: System, ready: System) -> Iterable[Argument]:
    """Data, parameters and cotangents with the shape of one sample; a cotangent has its output's name."""
    kinds = {Role.DATA: Kind.DATA, Role.PARAMETER: Kind.PARAMETER}
    for tensor in system.inputs:
        yield Argument(tensor.name, tensor.shape, kinds[tensor.role], tensor.role is Role.DATA)
    for tensor in ready.inputs:
        if tensor.adjoint_of is not None:
            yield Argument(tensor.adjoint_of, system.tensor(tensor.adjoint_of).shape, Kind.COTANGENT, tensor.per_sample)


def _kernel(entry: str, system: System, results: Sequence[str]) -> Kernel:
    kernel = assign_slots(_Lowering(system, tuple(results)).run(entry))
    check_kernel(kernel)
    for statement in kernel.statements:
        _refuse(statement)
    return kernel


def _refuse(statement: Statement | Scan) -> None:
    """A LoweringError for what no backend writes yet."""
    if isinstance(statement, Scan | Scatter):
        raise LoweringError(f"{statement!r}: recurrences and scatters have no kernel form yet")
    plain = all(isinstance(i, Dummy | sp.Integer) for a in statement.reads() for i in a.indices)
    indices = {v for v in getattr(statement, "body", sp.Integer(0)).free_symbols if isinstance(v, Dummy)}
    inside = {v for a in statement.reads() for v in a.free_symbols}
    if not plain or not statement.whole or getattr(statement, "guards", None) or indices - inside:
        raise LoweringError(
            f"{statement.equation.target}: shifted subscripts, conditions on indices and partial ranges have no "
            "kernel form yet"
        )


@dataclass
class _Lowering:
    """One kernel in the making."""

    system: System
    results: tuple[str, ...]
    statements: list[Statement | Scan] = field(default_factory=list)
    temporaries: dict[str, tuple[Expr, ...]] = field(default_factory=dict)  # name -> shape
    shared: dict[Hashable, tuple[str, tuple[int, ...]]] = field(default_factory=dict)  # -> temporary, order of indices
    aliases: dict[str, str] = field(default_factory=dict)  # a copy -> what it copies
    outer: tuple[Range, ...] = ()  # the index of the scan at work

    def run(self, entry: str) -> Kernel:
        needed = influencing(self.system, *self.results)
        groups = self.system.recurrences()
        done: set[str] = set()
        for equation in self.system.equations:
            group = groups.get(equation.name)
            if equation.name not in needed or equation.name in done:
                continue
            if group is None:
                self._equation(equation)
            else:
                done.update(group)
                self._recurrence([e for e in self.system.equations if e.name in group])
        kernel = Kernel(entry, (), tuple(self.statements), self.results)
        used = {a.name for s in kernel.flat for a in (s.out, *s.reads())}
        buffers = [self._buffer(t) for t in self.system.tensors if t.name in used]
        buffers += [Buffer(n, shape, Kind.LOCAL) for n, shape in self.temporaries.items()]
        called = self._called(kernel)
        functions = tuple(f for f in self.system.functions if f.name in called)
        return replace(kernel, buffers=tuple(buffers), functions=functions)

    def _called(self, kernel: Kernel) -> set[str]:
        """Names of functions used by the statements, and by those functions."""
        bodies = [b for s in kernel.flat if (b := getattr(s, "body", None)) is not None]
        called: set[str] = set()
        while bodies:
            for node in walk(bodies.pop()):
                if isinstance(node, Call) and node.name not in called:
                    called.add(node.name)
                    bodies.append(self.system.function(node.name).body)
        return called

    def _buffer(self, tensor: Tensor) -> Buffer:
        kinds = {Role.DATA: Kind.DATA, Role.PARAMETER: Kind.PARAMETER, Role.DEFINED: Kind.LOCAL}
        kind = Kind.OUTPUT if tensor.name in self.results else kinds[tensor.role]
        if tensor.role is not Role.DEFINED and tensor.adjoint_of is not None:
            kind = Kind.COTANGENT
        if tensor.role is not Role.DEFINED and tensor.tangent_of is not None:
            kind = Kind.TANGENT
        return Buffer(tensor.name, tensor.shape, kind, tensor.adjoint_of, tangent_of=tensor.tangent_of)

    def _recurrence(self, equations: list[Equation]) -> None:
        """Base cases as they are, the rest as one Scan; temporaries in it belong to one step."""
        plan = plan_scan(equations)
        for base in plan.bases:
            self._equation(base)
        outside, shared, self.outer = self.statements, self.shared, (plan.range,)
        inner: list[Statement] = []
        for equation, conditions in zip(plan.steps, plan.conditions, strict=True):
            self.statements, self.shared = [], {}
            self._equation(replace(equation, ranges=tuple(r for r in equation.ranges if r.symbol != plan.range.symbol)))
            inner.extend(replace(s, when=conditions) for s in self.statements if isinstance(s, Statement))
        self.statements, self.shared, self.outer = outside, shared, ()
        self.statements.append(Scan(plan.range, plan.reverse, tuple(inner)))

    def _equation(self, equation: Equation) -> None:
        value = self._resolved(equation.value)
        copy = isinstance(value, Access) and value.indices == equation.indices and self._defines_all(equation)
        if copy and equation.name not in self.results:
            self.aliases[equation.name] = value.name
        elif isinstance(value, Reduction):
            self._reduce(value, equation, equation.target, equation.ranges)
        else:
            body = self._extracted(value, equation, equation.ranges)
            self.statements.append(Map(equation.target, equation.ranges, equation, body))

    def _defines_all(self, equation: Equation) -> bool:
        """Whether the equation alone defines every element of its tensor."""
        shape = self.system.tensor(equation.name).shape
        return len(equation.ranges) == len(shape) and all(
            r.lower == 0 and sp.expand(r.extent - d) == 0 for r, d in zip(equation.ranges, shape, strict=True)
        )

    def _resolved(self, expression: Expr) -> Expr:
        """Copies replaced by what they copy."""
        if isinstance(expression, Access):
            return Access(self.aliases.get(expression.name, expression.name), *expression.indices)
        return rebuild(expression, [self._resolved(a) for a in expression.args]) if self.aliases else expression

    def _extracted(self, expression: Expr, equation: Equation, scope: Sequence[Range]) -> Expr:
        """The expression with every reduction computed before it and read from a temporary.

        A temporary is computed over a whole box, so its reads are held inside their tensors again.
        """
        if isinstance(expression, Reduction):
            body, free = canonical(expression)
            loops = {r.symbol: r for r in box(scope, self.outer) if r.symbol in free}
            ordered = [loops[v] for v in free if v in loops]
            key = body, tuple((r.lower, r.upper) for r in ordered)
            if key not in self.shared:
                ranges = tuple(loops.values())
                name = self._temporary(f"{equation.name}_{expression.kind}", ranges)
                self.shared[key] = name, tuple(ordered.index(r) for r in ranges)
                value = protected(expression, (*self.outer, *ranges), self._shape)
                self._reduce(value, equation, Access(name, *loops), ranges)
            name, order = self.shared[key]
            return Access(name, *(ordered[m].symbol for m in order))
        if isinstance(expression, Access):
            return expression
        return rebuild(expression, [self._extracted(a, equation, scope) for a in expression.args])

    def _shape(self, name: str) -> tuple[Expr, ...]:
        return self.temporaries[name] if name in self.temporaries else self.system.tensor(name).shape

    def _temporary(self, name: str, ranges: Sequence[Range]) -> str:
        """A local buffer whose axes are as long as the ranges reach (they are read at the same indices)."""
        taken = {t.name for t in self.system.tensors} | self.temporaries.keys()
        while name in taken:
            name += "_"
        self.temporaries[name] = tuple(sp.expand(r.upper + 1) for r in ranges)
        return name

    def _reduce(self, reduction: Reduction, equation: Equation, out: Access, loops: tuple[Range, ...]) -> None:
        """`out` = the reduction: a Scatter, a Contract where its factors allow, else a Reduce."""
        if reduction.body.has(Delta):
            self._scatter(reduction, equation, out, loops)
            return
        body = self._extracted(reduction.body, equation, (*loops, *reduction.ranges))
        if reduction.kind == "sum" and not isinstance(body, sp.Add) and _box(loops, reduction):
            factors = Factors.of(body, loops, reduction.ranges)
            if factors.contractible:
                self._contract(factors, equation, out)
                return
        self.statements.append(Reduce(out, loops, equation, reduction.kind, reduction.ranges, body, reduction.guards))

    def _scatter(self, reduction: Reduction, equation: Equation, out: Access, loops: tuple[Range, ...]) -> None:
        """Σ δ(J, f(k…)) u as `out[f(k…)] += u`: the delta's free index is written, not searched for."""
        factors = sp.Mul.make_args(reduction.body)
        places: dict[Expr, Expr] = {}
        free = {r.symbol for r in loops}
        for delta in (f for f in factors if isinstance(f, Delta)):
            sides = (delta.args, delta.args[::-1])
            here, there = next(
                ((a, b) for a, b in sides if a in free - places.keys() and not b.free_symbols & free), (None, None)
            )
            if here is None:
                raise LoweringError(f"{equation.target}: neither side of {delta} is an index of the result alone")
            places[here] = there
        ranges = (*(r for r in loops if r.symbol not in places), *reduction.ranges)
        body = self._extracted(sp.Mul(*(f for f in factors if not isinstance(f, Delta))), equation, ranges)
        target = Access(out.name, *(places.get(i, i) for i in out.indices))
        self.statements.append(Scatter(target, ranges, equation, body, reduction.guards))

    def _contract(self, factors: Factors, equation: Equation, out: Access) -> None:
        """Pairwise contractions, the last one into `out`."""
        while len(factors.groups) > 2:
            left, right, reduced, rest = factors.pair()
            ranges = tuple(r for r in factors.every if r.symbol in left.indices | right.indices and r not in reduced)
            name = self._temporary(f"{equation.name}_sum", ranges)
            target = Access(name, *(r.symbol for r in ranges))
            operands = self._operand(left, factors, equation), self._operand(right, factors, equation)
            self.statements.append(Contract(target, ranges, equation, reduced, *operands))
            factors = factors.with_group(rest, Group(frozenset(r.symbol for r in ranges), (target,)), reduced)
        left, right = factors.oriented()
        operands = self._operand(left, factors, equation), self._operand(right, factors, equation)
        self.statements.append(Contract(out, factors.loops, equation, factors.reduced, *operands))

    def _operand(self, group: Group, factors: Factors, equation: Equation) -> Access:
        """The group as one access: itself, or a Map of its factors."""
        if group.access is not None:
            return group.access
        ranges = tuple(r for r in factors.every if r.symbol in group.indices)
        name = self._temporary(f"{equation.name}_factor", ranges)
        target = Access(name, *(r.symbol for r in ranges))
        self.statements.append(Map(target, ranges, equation, sp.Mul(*group.factors)))
        return target


def _box(loops: Sequence[Range], reduction: Reduction) -> bool:
    """Whether the loops cover a whole box: no guards, no bound that depends on an index."""
    ranges = (*loops, *reduction.ranges)
    return not reduction.guards and all(
        r.lower == 0 and not any(isinstance(v, Dummy) for v in r.upper.free_symbols) for r in ranges
    )
