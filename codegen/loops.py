"""One kernel in the making: equations become loop nests.

A sum over products of tensors with different indices becomes a Contract; every other reduction a
Reduce with its body fused in; a sum over an unsolved delta a Scatter; a recurrence a Scan; the rest
of an equation a Map. Equal reductions are computed once.
Sums over the border of a tensor read zeros around it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace

import sympy as sp
from sympy import Dummy, Expr

from chainrule.symbolic.affine import bounds_of, box, nonnegative
from chainrule.symbolic.domains import protected
from chainrule.symbolic.expressions import (
    Access,
    Call,
    Delta,
    Range,
    Reduction,
    Where,
    accesses,
    freshen,
    index,
    rebuild,
    walk,
)
from chainrule.symbolic.rules import influencing
from chainrule.symbolic.stable import canonical
from chainrule.symbolic.system import Equation, Role, System, Tensor

from .contractions import Factors, Group, Pair
from .ir import Buffer, Contract, Kernel, Kind, Map, Reduce, Scan, Scatter, Statement
from .padding import Border, finite, padding, with_guards_for_conditions
from .scans import plan_scan

__all__ = ["Lowering"]


@dataclass(frozen=True)
class _Step:
    """One equation of a scan, while its statements are made."""

    range: Range
    names: frozenset[str]  # of the tensors that the scan computes
    whole: tuple[Range, ...]  # the equation's ranges, the scan's index among them
    conditions: tuple[Expr, ...]


@dataclass
class Lowering:
    """One kernel in the making."""

    system: System
    results: tuple[str, ...]
    statements: list[Statement | Scan] = field(default_factory=list)
    temporaries: dict[str, tuple[Expr, ...]] = field(default_factory=dict)  # name -> shape
    shared: dict[Hashable, tuple[str, tuple[int, ...]]] = field(default_factory=dict)  # -> temporary, order of indices
    partial: set[str] = field(default_factory=set)  # temporaries that hold what nobody asked for, too
    aliases: dict[str, str] = field(default_factory=dict)  # a copy -> what it copies
    step: _Step | None = None  # the equation of a scan at work
    before: tuple[list[Statement | Scan], dict[Hashable, tuple[str, tuple[int, ...]]]] = field(
        default_factory=lambda: ([], {})
    )  # the statements before the scan at work, and what they share

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
        names = frozenset(e.name for e in equations)
        inner: list[Statement] = []
        self.before = self.statements, self.shared
        for equation, conditions in zip(plan.steps, plan.conditions, strict=True):
            self.step = _Step(plan.range, names, equation.ranges, conditions)
            self.statements, self.shared = [], {}
            self._equation(replace(equation, ranges=tuple(r for r in equation.ranges if r.symbol != plan.range.symbol)))
            inner.extend(replace(s, when=conditions) for s in self.statements if isinstance(s, Statement))
        (self.statements, self.shared), self.step = self.before, None
        self.statements.append(Scan(plan.range, plan.reverse, tuple(inner)))

    def _before_scan(self, reduction: Reduction, equation: Equation, scope: Sequence[Range], step: _Step) -> Expr:
        """A reduction that reads nothing of the scan, computed for all its steps at once."""
        own = self.statements, self.shared
        (self.statements, self.shared), self.step = self.before, None
        known = {r.symbol for r in step.whole}
        stored = self._extracted(reduction, equation, (*step.whole, *(r for r in scope if r.symbol not in known)))
        (self.statements, self.shared), self.step = own, step
        return stored

    def _equation(self, equation: Equation) -> None:
        value = self._resolved(equation.value)
        alone = self.step is None and self._defines_all(equation)
        key, ordered = _key(value, equation.ranges)
        if alone and key in self.shared:
            value = self._read(key, ordered)
        copy = isinstance(value, Access) and value.indices == equation.indices and alone
        if copy and equation.name not in self.results:
            self.aliases[equation.name] = value.name
        elif isinstance(value, Reduction):
            self._reduce(value, equation, equation.target, equation.ranges)
            if alone and len(ordered) == len(equation.ranges):
                self.shared[key] = equation.name, tuple(ordered.index(r) for r in equation.ranges)
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
            step = self.step
            if step is not None and not step.names & {a.name for a in accesses(expression)}:
                return self._before_scan(expression, equation, scope, step)
            outer, facts = ((step.range,), step.conditions) if step is not None else ((), ())
            loops = tuple(r for r in box(scope, outer) if r.symbol in expression.free_symbols)

            shifted, ranges = _from_zero(loops)
            moved = freshen(expression, shifted)

            def make(target: Access) -> None:
                value = protected(moved, (*outer, *ranges), self._shape, facts)
                if value != moved or self.partial & {a.name for a in accesses(value)}:
                    self.partial.add(target.name)
                self._reduce(value, equation, target, ranges)

            stored = self._stored(moved, f"{equation.name}_{expression.kind}", ranges, make)
            back = {n.symbol: r.symbol - r.lower for n, r in zip(ranges, loops, strict=True)}
            return Access(stored.name, *(i.xreplace(back) for i in stored.indices))
        if isinstance(expression, Access):
            return expression
        if isinstance(expression, Delta):
            return Where(sp.Eq(*expression.args), sp.Integer(1), sp.Integer(0))
        return rebuild(expression, [self._extracted(a, equation, scope) for a in expression.args])

    def _stored(self, value: Expr, name: str, loops: Sequence[Range], make: Callable[[Access], None]) -> Access:
        """The temporary that holds a value over the loops: one that is there already, or one that `make` writes."""
        key, ordered = _key(value, loops)
        if key not in self.shared:
            name = self._temporary(name, loops)
            self.shared[key] = name, tuple(ordered.index(r) for r in loops)
            make(Access(name, *(r.symbol for r in loops)))
        return self._read(key, ordered)

    def _read(self, key: Hashable, ordered: Sequence[Range]) -> Access:
        """Where a value is stored, at the indices in which it was asked for."""
        name, order = self.shared[key]
        return Access(name, *(ordered[m].symbol for m in order))

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
        if any(isinstance(f, Delta) for f in sp.Mul.make_args(reduction.body)):
            self._scatter(reduction, equation, out, loops)
            return
        reduction = with_guards_for_conditions(reduction)
        body = self._extracted(reduction.body, equation, (*loops, *reduction.ranges))
        body = finite(body, reduction, self.partial)
        reduction = Reduction(reduction.kind, body, reduction.ranges, reduction.guards)
        if reduction.kind == "sum" and _whole(loops) and self.step is None:
            reduction = self._without_border(reduction, equation, loops)
        factors = _factors(reduction, loops)
        if factors is not None:
            self._contract(factors, equation, out)
        else:
            self.statements.append(
                Reduce(out, loops, equation, reduction.kind, reduction.ranges, reduction.body, reduction.guards)
            )

    def _without_border(self, reduction: Reduction, equation: Equation, loops: tuple[Range, ...]) -> Reduction:
        """The sum over a whole box, zeros put around tensors, where its conditions are about their borders alone."""
        if not reduction.guards and _free_of_indices(reduction.ranges):
            return reduction
        found = padding(reduction, loops, self._shape)
        if found is None or not found.borders:
            return reduction
        copies = {access: self._with_border(access, border, equation) for access, border in found.borders.items()}
        return Reduction("sum", reduction.body.xreplace(copies), found.ranges)

    def _with_border(self, access: Access, border: Border, equation: Equation) -> Access:
        """The access to a copy of its tensor that has zeros around it."""
        if border not in self.shared:
            around = zip(self._shape(border.name), border.before, border.after, strict=True)
            inner, outer = [], []
            for m, (extent, before, after) in enumerate(around):
                symbol = index("ijklpq"[m % 6])
                outer.append(Range(symbol, sp.Integer(0), sp.expand(extent + before + after - 1)))
                inner.append(Range(symbol, sp.Integer(before), sp.expand(extent + before - 1)))
            name = self._temporary(f"{border.name}_padded", outer)
            self.shared[border] = name, ()
            target = Access(name, *(r.symbol for r in outer))
            source = Access(border.name, *(r.symbol - b for r, b in zip(inner, border.before, strict=True)))
            note = "zeros around it"
            self.statements.append(Map(target, tuple(outer), equation, sp.Integer(0), note=note))
            self.statements.append(Map(target, tuple(inner), equation, source, note=note))
        name, _ = self.shared[border]
        return Access(name, *(i + b for i, b in zip(access.indices, border.before, strict=True)))

    def _scatter(self, reduction: Reduction, equation: Equation, out: Access, loops: tuple[Range, ...]) -> None:
        """Σ δ(J, f(k…)) u as `out[f(k…)] += u`: the delta's free index is written, not searched for.

        A delta that names no place of its own (between two free indices, or of a bound index alone) becomes a
        condition; all do in a scan, and where `out` is a part of its tensor, for a scatter begins with zeros.
        """
        factors = sp.Mul.make_args(reduction.body)
        deltas = [f for f in factors if isinstance(f, Delta)]
        whole = self.step is None and (out.name in self.temporaries or self._defines_all(equation))
        places = _places(deltas, {r.symbol for r in loops}) if whole and reduction.kind == "sum" else {}
        conditions = [c for d in deltas for c in _equal(d.xreplace(places)) if c != 0]
        ranges = (*(r for r in loops if r.symbol not in places), *reduction.ranges)
        known = bounds_of(ranges)
        for r in (r for r in loops if r.symbol in places):  # a temporary may hold fewer elements than there are places
            ends = (sp.expand(c.xreplace(places)) for c in (r.symbol - r.lower, r.upper - r.symbol))
            conditions += [c for c in ends if not nonnegative(c, known)]
        body = freshen(sp.Mul(*(f for f in factors if not isinstance(f, Delta))), places)
        guards = (*(g.xreplace(places) for g in reduction.guards), *conditions)
        if places:
            target = Access(out.name, *(places.get(i, i) for i in out.indices))
            body = self._extracted(body, equation, ranges)
            self.statements.append(Scatter(target, ranges, equation, body, guards))
        else:
            self._reduce(Reduction(reduction.kind, body, reduction.ranges, guards), equation, out, loops)

    def _contract(self, factors: Factors, equation: Equation, out: Access) -> None:
        """Pairwise contractions, the last one into `out`."""

        def known(pair: Pair) -> bool:
            key, _ = _key(*factors.product(*pair[:3]))
            return key in self.shared

        while len(factors.groups) > 2:
            left, right, reduced, rest = factors.pair(known)
            indices = (left.indices | right.indices) - {r.symbol for r in reduced}
            together = Group(indices, (*left.factors, *right.factors))
            if reduced:
                together = Group(indices, (self._pair_sum(left, right, reduced, factors, equation),))
            factors = factors.with_group(rest, together, reduced)
        left, right = factors.oriented()
        operands = self._operand(left, factors, equation), self._operand(right, factors, equation)
        self.statements.append(Contract(out, factors.loops, equation, factors.reduced, *operands))

    def _pair_sum(
        self,
        left: Group,
        right: Group,
        reduced: tuple[Range, ...],
        factors: Factors,
        equation: Equation,
    ) -> Access:
        """The sum over the indices that only two of several groups have, in a temporary."""
        value, ranges = factors.product(left, right, reduced)

        def make(target: Access) -> None:
            operands = self._operand(left, factors, equation), self._operand(right, factors, equation)
            self.statements.append(Contract(target, ranges, equation, reduced, *operands))

        return self._stored(value, f"{equation.name}_sum", ranges, make)

    def _operand(self, group: Group, factors: Factors, equation: Equation) -> Access:
        """The group as one access: itself, or a Map of its factors."""
        if group.access is not None:
            return group.access
        ranges = factors.axes(group)
        body = sp.Mul(*group.factors)

        def make(target: Access) -> None:
            self.statements.append(Map(target, ranges, equation, body))

        return self._stored(body, f"{equation.name}_factor", ranges, make)


def _key(value: Expr, loops: Sequence[Range]) -> tuple[Hashable, list[Range]]:
    """A key that is equal for equal values over equal ranges, and the loops in its order."""
    body, free = canonical(value)
    ranges = {r.symbol: r for r in loops}
    ordered = [ranges[v] for v in free if v in ranges]
    return (body, tuple((r.lower, r.upper) for r in ordered)), ordered


def _factors(reduction: Reduction, loops: tuple[Range, ...]) -> Factors | None:
    """The factors of a contraction; None where the reduction is none."""
    if reduction.kind != "sum" or isinstance(reduction.body, sp.Add) or reduction.guards:
        return None
    if not _whole(loops) or not _free_of_indices(reduction.ranges):
        return None
    shifted, ranges = _from_zero(reduction.ranges)
    factors = Factors.of(freshen(reduction.body, shifted), loops, ranges)
    return factors if factors.contractible else None


def _places(deltas: Sequence[Delta], free: set[Dummy]) -> dict[Expr, Expr]:
    """The free indices that a delta gives as an expression of bound ones."""
    places: dict[Expr, Expr] = {}
    for delta in deltas:
        for here, there in (delta.args, delta.args[::-1]):
            if here in free - places.keys() and not there.free_symbols & free:
                places[here] = there
                break
    return places


def _equal(delta: Expr) -> tuple[Expr, ...]:
    """The delta's equality as expressions that are all >= 0; none where it holds anyway, -1 where it never does."""
    if not isinstance(delta, Delta):
        return () if delta == 1 else (sp.Integer(-1),)
    difference = sp.expand(delta.args[0] - delta.args[1])
    return difference, -difference


def _whole(loops: Sequence[Range]) -> bool:
    """Whether the loops cover a whole box from 0."""
    return _free_of_indices(loops) and all(r.lower == 0 for r in loops)


def _free_of_indices(ranges: Sequence[Range]) -> bool:
    """Whether no bound depends on an index."""
    return not any(isinstance(v, Dummy) for r in ranges for b in (r.lower, r.upper) for v in b.free_symbols)


def _from_zero(ranges: Sequence[Range]) -> tuple[dict[Expr, Expr], tuple[Range, ...]]:
    """Ranges of a box from 0, and what the old indices are in the new ones."""
    moved = tuple(
        r if r.lower == 0 else Range(index(r.symbol.name), sp.Integer(0), sp.expand(r.upper - r.lower)) for r in ranges
    )
    pairs = zip(ranges, moved, strict=True)
    return {r.symbol: n.symbol + r.lower for r, n in pairs if r is not n}, moved
