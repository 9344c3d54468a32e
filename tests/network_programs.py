"""Kernel programs of whole networks, built statement by statement: dense layers, softmax with cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import sympy as sp
from sympy import Expr, Integer

from chainrule.codegen.ir import BATCH, Argument, Buffer, Contract, Kernel, Kind, Map, Program, Reduce, Statement
from chainrule.symbolic.expressions import Access, Maximum, Range, Where, index, size
from chainrule.symbolic.primitives import Sigmoid
from chainrule.symbolic.system import Equation

__all__ = ["network_program"]


def _range(name: str, extent: Expr) -> Range:
    return Range(index(name), Integer(0), extent - 1)


def _equation(out: Access, ranges: Sequence[Range], value: Expr) -> Equation:
    return Equation(out.name, out.indices, tuple(ranges), value)


class _Network:
    """Statements of the forward pass, the cost and the backward pass of one network."""

    def __init__(self, widths: Sequence[Expr], hidden: str, output: str) -> None:
        self.widths, self.hidden, self.output = widths, hidden, output
        self.buffers: dict[str, Buffer] = {}
        self.statements: list[Statement] = []
        self.layers = len(widths) - 1

    def buffer(
        self, name: str, shape: tuple[Expr, ...], kind: Kind = Kind.LOCAL, adjoint_of: str | None = None
    ) -> None:
        self.buffers[name] = Buffer(name, shape, kind, adjoint_of)

    def map(self, name: str, ranges: tuple[Range, ...], value: Expr) -> None:
        out = Access(name, *(r.symbol for r in ranges))
        self.statements.append(Map(out, ranges, _equation(out, ranges, value), value))

    def reduce(self, name: str, ranges: tuple[Range, ...], kind: str, over: tuple[Range, ...], value: Expr) -> None:
        out = Access(name, *(r.symbol for r in ranges))
        self.statements.append(Reduce(out, ranges, _equation(out, ranges, value), kind, over, value))

    def contract(self, name: str, ranges: tuple[Range, ...], over: Range, left: Access, right: Access) -> None:
        out = Access(name, *(r.symbol for r in ranges))
        equation = _equation(out, ranges, left * right)
        self.statements.append(Contract(out, ranges, equation, (over,), left, right))

    def layer(self, number: int) -> tuple[Range, Range, Range]:
        return _range("s", BATCH), _range("j", self.widths[number]), _range("k", self.widths[number - 1])

    def previous(self, number: int) -> str:
        return f"a{number - 1}" if number > 1 else "x"

    def forward(self) -> None:
        for n in range(1, self.layers + 1):
            s, j, k = self.layer(n)
            for name in (f"product{n}", f"z{n}", f"a{n}"):
                self.buffer(name, (BATCH, self.widths[n]))
            above = Access(self.previous(n), s.symbol, k.symbol)
            self.contract(f"product{n}", (s, j), k, above, Access(f"w{n}", j.symbol, k.symbol))
            self.map(f"z{n}", (s, j), Access(f"b{n}", j.symbol) + Access(f"product{n}", s.symbol, j.symbol))
            self.activation(n, s, j)

    def activation(self, n: int, s: Range, j: Range) -> None:
        z = Access(f"z{n}", s.symbol, j.symbol)
        kind = self.output if n == self.layers else self.hidden
        if kind == "softmax":
            self.buffer("peak", (BATCH,))
            self.buffer("e", (BATCH, self.widths[n]))
            self.buffer("total", (BATCH,))
            self.reduce("peak", (s,), "max", (j,), z)
            self.map("e", (s, j), sp.exp(z - Access("peak", s.symbol)))
            self.reduce("total", (s,), "sum", (j,), Access("e", s.symbol, j.symbol))
            self.map(f"a{n}", (s, j), Access("e", s.symbol, j.symbol) / Access("total", s.symbol))
            return
        self.map(f"a{n}", (s, j), {"relu": Maximum(z, Integer(0)), "sigmoid": Sigmoid(z), "tanh": sp.tanh(z)}[kind])

    def cost(self) -> None:
        s, j, _ = self.layer(self.layers)
        a, y = Access(f"a{self.layers}", s.symbol, j.symbol), Access("y", s.symbol, j.symbol)
        self.buffer("cost_sum", ())
        self.buffer("cost", (), Kind.OUTPUT)
        if self.output == "softmax":
            z, peak, total = (
                Access(f"z{self.layers}", s.symbol, j.symbol),
                Access("peak", s.symbol),
                Access("total", s.symbol),
            )
            self.reduce("cost_sum", (), "sum", (s, j), y * (sp.log(total) + peak - z))
        else:
            self.reduce("cost_sum", (), "sum", (s, j), (a - y) ** 2)
        self.map("cost", (), Access("cost_sum") / BATCH)

    def backward(self) -> None:
        for n in range(self.layers, 0, -1):
            s, j, k = self.layer(n)
            z, a = Access(f"z{n}", s.symbol, j.symbol), Access(f"a{n}", s.symbol, j.symbol)
            self.buffer(f"dz{n}", (BATCH, self.widths[n]), Kind.LOCAL, f"z{n}")
            if n == self.layers:
                y = Access("y", s.symbol, j.symbol)
                own = 2 * (a - y) * a * (1 - a) / BATCH
                if self.output == "softmax":  # the rows of y need not sum to 1
                    self.buffer("y_sum", (BATCH,))
                    self.reduce("y_sum", (s,), "sum", (j,), y)
                    own = (a * Access("y_sum", s.symbol) - y) / BATCH
            else:
                da = Access(f"da{n}", s.symbol, j.symbol)
                own = {"relu": Where(z > 0, da, 0), "sigmoid": da * a * (1 - a), "tanh": da * (1 - a**2)}[self.hidden]
            self.map(f"dz{n}", (s, j), own)
            dz = Access(f"dz{n}", s.symbol, j.symbol)
            self.buffer(f"dw{n}", (self.widths[n], self.widths[n - 1]), Kind.OUTPUT, f"w{n}")
            self.buffer(f"db{n}", (self.widths[n],), Kind.OUTPUT, f"b{n}")
            self.contract(f"dw{n}", (j, k), s, dz, Access(self.previous(n), s.symbol, k.symbol))
            self.reduce(f"db{n}", (j,), "sum", (s,), dz)
            if n > 1:
                self.buffer(f"da{n - 1}", (BATCH, self.widths[n - 1]), Kind.LOCAL, f"a{n - 1}")
                self.contract(f"da{n - 1}", (s, k), j, dz, Access(f"w{n}", j.symbol, k.symbol))


def network_program(
    widths: Sequence[int | str],
    dtype: str = "float64",
    hidden: str = "sigmoid",
    output: str = "sigmoid",
    name: str = "net",
) -> Program:
    """A dense network. `output` "softmax" has the cross-entropy with y as cost, the others the squared error.

    Widths are numbers, or names of sizes decided at call time.
    """
    shapes = [size(w) if isinstance(w, str) else Integer(w) for w in widths]
    last = len(widths) - 1
    arguments = [Argument("x", (shapes[0],), Kind.DATA), Argument("y", (shapes[last],), Kind.DATA)]
    for n in range(1, last + 1):
        arguments.append(Argument(f"w{n}", (shapes[n], shapes[n - 1]), Kind.PARAMETER))
        arguments.append(Argument(f"b{n}", (shapes[n],), Kind.PARAMETER))
    wrt = tuple(a.name for a in arguments if a.kind is Kind.PARAMETER)
    kernels = []
    for entry in ("forward", "cost", "gradients"):
        made = _Network(shapes, hidden, output)
        for a in arguments:
            shape = (BATCH, *a.shape) if a.kind is Kind.DATA else a.shape
            if entry != "forward" or a.name != "y":
                made.buffer(a.name, shape, a.kind)
        made.forward()
        results: tuple[str, ...] = (f"a{last}",)
        if entry == "forward":
            made.buffer(f"a{last}", (BATCH, shapes[last]), Kind.OUTPUT)
        else:
            made.cost()
            results = ("cost",)
        if entry == "gradients":
            made.backward()
            results = ("cost", *(f"d{w}" for w in wrt))
        kernels.append(Kernel(entry, tuple(made.buffers.values()), tuple(made.statements), results))
    sizes = tuple(dict.fromkeys(s for s in shapes if s.is_Symbol))
    return Program(name, dtype, sizes, tuple(arguments), (f"a{last}",), wrt, tuple(kernels))
