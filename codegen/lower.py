"""From a System to a Program: batch axis, gradient, algebra, stable forms, then loop nests.

    System ─ with_samples ─ derive ─ simplified ─ stable ─► System ─ kernel by kernel ─► Program

A sum over products of tensors with different indices becomes a Contract; every other reduction a
Reduce with its body fused in; the rest of an equation a Map. Equal reductions are computed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import sympy as sp
from sympy import Dummy, Expr

from chainrule.symbolic.derive import derive
from chainrule.symbolic.errors import LoweringError
from chainrule.symbolic.expressions import Access, Call, Range, Reduction, rebuild, walk
from chainrule.symbolic.samples import with_samples
from chainrule.symbolic.simplify import merged_sums, simplified
from chainrule.symbolic.stable import canonical, stable
from chainrule.symbolic.system import COST, Equation, Role, System, Tensor

from .ir import DTYPES, Argument, Buffer, Contract, Kernel, Kind, Map, Program, Reduce, Statement, check_kernel
from .passes import assign_slots

__all__ = ["lower"]


def lower(
    system: System, *, name: str | None = None, dtype: str = "float64", wrt: Sequence[str] | None = None
) -> Program:
    """The Program of a System: kernels `forward`, `cost` and `gradients` (or `vjp` without a cost).

    `wrt` names the tensors whose gradients are computed (default: every parameter; without a cost
    the data too). Raises LoweringError where an equation has no kernel form, ValueError for another
    dtype than float32 or float64.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    derivation = derive(with_samples(system), wrt)
    ready = stable(merged_sums(simplified(derivation.result)))
    kernels = []
    if system.outputs:
        kernels.append(_kernel("forward", ready, system.outputs))
    if system.has_cost:
        kernels.append(_kernel("cost", ready, (COST,)))
        kernels.append(_kernel("gradients", ready, (COST, *ready.outputs)))
    else:
        kernels.append(_kernel("vjp", ready, ready.outputs))
    return Program(
        name or system.name,
        dtype,
        system.sizes,
        tuple(_arguments(system, ready)),
        system.outputs,
        derivation.wrt,
        tuple(kernels),
        system.equations,
    )


def _arguments(system: System, ready: System) -> Iterable[Argument]:
    """Data, parameters and cotangents with the shape of one sample; a cotangent has its output's name."""
    kinds = {Role.DATA: Kind.DATA, Role.PARAMETER: Kind.PARAMETER}
    for tensor in system.inputs:
        yield Argument(tensor.name, tensor.shape, kinds[tensor.role])
    for tensor in ready.inputs:
        if tensor.adjoint_of is not None:
            yield Argument(tensor.adjoint_of, system.tensor(tensor.adjoint_of).shape, Kind.COTANGENT)


def _kernel(entry: str, system: System, results: Sequence[str]) -> Kernel:
    kernel = _Lowering(system, tuple(results)).run(entry)
    kernel = assign_slots(kernel)
    check_kernel(kernel)
    return kernel


@dataclass
class _Lowering:
    """One kernel in the making."""

    system: System
    results: tuple[str, ...]
    statements: list[Statement] = field(default_factory=list)
    temporaries: dict[str, tuple[Expr, ...]] = field(default_factory=dict)  # name -> shape
    shared: dict[Expr, tuple[str, tuple[int, ...]]] = field(default_factory=dict)  # reduction -> temporary, index order
    aliases: dict[str, str] = field(default_factory=dict)  # a copy -> what it copies

    def run(self, entry: str) -> Kernel:
        needed = self._needed()
        for equation in self.system.equations:
            if equation.name in needed:
                self._equation(equation)
        used = {a.name for s in self.statements for a in s.reads()}
        buffers = [
            self._buffer(t) for t in self.system.tensors if t.name in used | {s.out.name for s in self.statements}
        ]
        buffers += [Buffer(n, shape, Kind.LOCAL) for n, shape in self.temporaries.items()]
        called = self._called()
        functions = tuple(f for f in self.system.functions if f.name in called)
        return Kernel(entry, tuple(buffers), tuple(self.statements), self.results, functions)

    def _needed(self) -> set[str]:
        needed = set(self.results)
        for equation in reversed(self.system.equations):
            if equation.name in needed:
                needed.update(equation.reads())
        return needed

    def _called(self) -> set[str]:
        """Names of functions used by the statements, and by those functions."""
        bodies = [b for s in self.statements if (b := getattr(s, "body", None)) is not None]
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
        if kind is Kind.DATA and tensor.adjoint_of is not None:
            kind = Kind.COTANGENT
        return Buffer(tensor.name, tensor.shape, kind, tensor.adjoint_of)

    def _equation(self, equation: Equation) -> None:
        self._refuse(equation)
        value = self._resolved(equation.value)
        if isinstance(value, Access) and equation.name not in self.results and value.indices == equation.indices:
            self.aliases[equation.name] = value.name
            return
        if isinstance(value, Reduction):
            self._reduce(value, equation, equation.target)
            return
        body = self._extracted(value, equation, equation.ranges)
        self.statements.append(Map(equation.target, equation.ranges, equation, body))

    def _resolved(self, expression: Expr) -> Expr:
        """Copies replaced by what they copy."""
        if isinstance(expression, Access):
            return Access(self.aliases.get(expression.name, expression.name), *expression.indices)
        return rebuild(expression, [self._resolved(a) for a in expression.args]) if self.aliases else expression

    def _refuse(self, equation: Equation) -> None:
        """A LoweringError for what has no kernel form: partial ranges, affine subscripts, deltas."""
        shape = self.system.tensor(equation.name).shape
        whole = len(equation.ranges) == len(shape) and all(
            r.lower == 0 and sp.expand(r.extent - d) == 0 for r, d in zip(equation.ranges, shape, strict=True)
        )
        if not whole or equation.name in equation.reads():
            raise LoweringError(
                f"{equation.target}: recurrences and equations over part of a tensor have no kernel form yet"
            )
        for node in walk(equation.value):
            if isinstance(node, Access) and not all(isinstance(i, Dummy | sp.Integer) for i in node.indices):
                raise LoweringError(f"{equation.target} reads {node}: only plain subscripts have a kernel form yet")
            if isinstance(node, Reduction) and (node.guards or any(r.lower != 0 for r in node.ranges)):
                raise LoweringError(f"{equation.target}: reductions over part of a range have no kernel form yet")

    def _extracted(self, expression: Expr, equation: Equation, scope: Sequence[Range]) -> Expr:
        """The expression with every reduction computed before it and read from a temporary."""
        if isinstance(expression, Reduction):
            key, free = canonical(expression)
            if key not in self.shared:
                ranges = tuple(r for r in scope if r.symbol in free)
                name = self._temporary(f"{equation.name}_{expression.kind}", ranges)
                symbols = tuple(r.symbol for r in ranges)
                self.shared[key] = name, tuple(free.index(v) for v in symbols)
                self._reduce(expression, equation, Access(name, *symbols), ranges)
            name, order = self.shared[key]
            return Access(name, *(free[m] for m in order))
        return rebuild(expression, [self._extracted(a, equation, scope) for a in expression.args])

    def _temporary(self, name: str, ranges: Sequence[Range]) -> str:
        taken = {t.name for t in self.system.tensors} | self.temporaries.keys()
        while name in taken:
            name += "_"
        self.temporaries[name] = tuple(r.extent for r in ranges)
        return name

    def _reduce(
        self, reduction: Reduction, equation: Equation, out: Access, ranges: Sequence[Range] | None = None
    ) -> None:
        """`out` = the reduction, as a Contract where its factors allow, else as a Reduce."""
        loops = tuple(equation.ranges if ranges is None else ranges)
        body = self._extracted(reduction.body, equation, (*loops, *reduction.ranges))
        if reduction.kind == "sum" and not isinstance(body, sp.Add):
            factors = _Factors.of(body, loops, reduction.ranges)
            if factors.contractible:
                self._contract(factors, equation, out)
                return
        self.statements.append(Reduce(out, loops, equation, reduction.kind, reduction.ranges, body))

    def _contract(self, factors: _Factors, equation: Equation, out: Access) -> None:
        """Pairwise contractions, the last one into `out`."""
        while len(factors.groups) > 2:
            left, right, reduced, rest = factors.pair()
            ranges = tuple(r for r in factors.every if r.symbol in (left.indices | right.indices) and r not in reduced)
            name = self._temporary(f"{equation.name}_sum", ranges)
            target = Access(name, *(r.symbol for r in ranges))
            operands = self._operand(left, factors, equation), self._operand(right, factors, equation)
            self.statements.append(Contract(target, ranges, equation, reduced, *operands))
            factors = factors.with_group(rest, _Group(frozenset(r.symbol for r in ranges), (target,)), reduced)
        left, right = factors.oriented()
        operands = self._operand(left, factors, equation), self._operand(right, factors, equation)
        self.statements.append(Contract(out, factors.loops, equation, factors.reduced, *operands))

    def _operand(self, group: _Group, factors: _Factors, equation: Equation) -> Access:
        """The group as one access: itself, or a Map of its factors."""
        if len(group.factors) == 1 and isinstance(group.factors[0], Access) and group.plain:
            return group.factors[0]
        ranges = tuple(r for r in factors.every if r.symbol in group.indices)
        name = self._temporary(f"{equation.name}_factor", ranges)
        target = Access(name, *(r.symbol for r in ranges))
        self.statements.append(Map(target, ranges, equation, sp.Mul(*group.factors)))
        return target


@dataclass(frozen=True)
class _Group:
    """Factors of a product that run over the same indices (or fewer)."""

    indices: frozenset[Dummy]
    factors: tuple[Expr, ...]

    @property
    def plain(self) -> bool:
        """Whether its one access has distinct plain indices."""
        indices = self.factors[0].indices
        return all(isinstance(i, Dummy) for i in indices) and len(set(indices)) == len(indices)


@dataclass(frozen=True)
class _Factors:
    """A product under a sum, its factors grouped by the indices that they run over."""

    groups: tuple[_Group, ...]
    loops: tuple[Range, ...]
    reduced: tuple[Range, ...]

    @classmethod
    def of(cls, body: Expr, loops: Sequence[Range], reduced: Sequence[Range]) -> _Factors:
        known = {r.symbol for r in (*loops, *reduced)}
        sets = [(frozenset(f.free_symbols & known), f) for f in sp.Mul.make_args(body)]
        largest = [s for s, _ in sets if not any(s < other for other, _ in sets)]
        groups: dict[frozenset[Dummy], list[Expr]] = {s: [] for s in dict.fromkeys(largest)}
        for indices, factor in sets:
            home = min((g for g in groups if indices <= g), key=lambda g: (g != indices, len(g)))
            groups[home].append(factor)
        return cls(tuple(_Group(s, tuple(f)) for s, f in groups.items()), tuple(loops), tuple(reduced))

    @property
    def every(self) -> tuple[Range, ...]:
        return (*self.loops, *self.reduced)

    @property
    def contractible(self) -> bool:
        """At least two groups, each reduced index in at least one, and no group that runs over all."""
        covered = frozenset().union(*(g.indices for g in self.groups))
        reads = all(any(isinstance(n, Access) for f in g.factors for n in walk(f)) for g in self.groups)
        return len(self.groups) >= 2 and reads and {r.symbol for r in self.reduced} <= covered

    def pair(self) -> tuple[_Group, _Group, tuple[Range, ...], tuple[_Group, ...]]:
        """Two groups to contract first, the indices that only they have, and the other groups."""
        best = None
        for m, left in enumerate(self.groups):
            for right in self.groups[m + 1 :]:
                rest = tuple(g for g in self.groups if g not in (left, right))
                others = frozenset().union(*(g.indices for g in rest))
                own = (left.indices | right.indices) - others
                reduced = tuple(r for r in self.reduced if r.symbol in own)
                size = len((left.indices | right.indices) - {r.symbol for r in reduced})
                if best is None or (size, -len(reduced)) < best[0]:
                    best = ((size, -len(reduced)), (left, right, reduced, rest))
        if best is None:
            raise LoweringError("a contraction needs two operands")
        return best[1]

    def oriented(self) -> tuple[_Group, _Group]:
        """The last two groups, the one that carries the earlier index of the result on the left."""
        left, right = self.groups
        for loop in self.loops:
            if (loop.symbol in left.indices) != (loop.symbol in right.indices):
                return (left, right) if loop.symbol in left.indices else (right, left)
        return left, right

    def with_group(self, rest: tuple[_Group, ...], group: _Group, reduced: tuple[Range, ...]) -> _Factors:
        """The product after a pair has been contracted."""
        return _Factors((*rest, group), self.loops, tuple(r for r in self.reduced if r not in reduced))
