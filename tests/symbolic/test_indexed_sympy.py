"""Systems from SymPy objects: they mean what the same text means."""

from __future__ import annotations

import random
import secrets

import pytest
import sympy as sp
from sympy import Eq, Function, Idx, IndexedBase, Integer, Lambda, Piecewise, Product, Rational, Sum, Symbol

from chainrule.symbolic import FormulaError, System, derive, from_sympy, parse
from chainrule.symbolic.expressions import alpha_key

m, n, T, D, H, r = sp.symbols("m n T D H r", integer=True, positive=True)
i, j, k, p, q, t = sp.symbols("i j k p q t", integer=True)
x, y, w = IndexedBase("x", shape=(m,)), IndexedBase("y", shape=(n,)), IndexedBase("w", shape=(n, m))
z, a, h = IndexedBase("z"), IndexedBase("a"), IndexedBase("h")
cost, lam = sp.symbols("cost lam")


def keys(system: System) -> list[tuple[object, ...]]:
    """Every equation up to the names of its indices, with the bounds of those of the left side."""
    found: list[tuple[object, ...]] = []
    for e in system.equations:
        names = {s.symbol: Symbol(f"left{m}", integer=True) for m, s in enumerate(e.ranges)}
        bounds = tuple((b.lower, b.upper) for b in e.ranges)
        found.append((e.name, *(names.get(s, s) for s in e.indices), bounds, alpha_key(e.value.xreplace(names))))
    return found


def same(system: System, text: str) -> None:
    expected = parse(text, name=system.name)
    assert system.tensors == expected.tensors
    assert keys(system) == keys(expected)
    assert system.outputs == expected.outputs
    assert system.functions == expected.functions


def fault(*arguments: object, **options: object) -> FormulaError:
    with pytest.raises(FormulaError) as caught:
        from_sympy(*arguments, **options)  # type: ignore[arg-type]
    return caught.value


class TestMeaning:
    def test_the_dense_layer(self) -> None:
        o, c = Idx("o", n), Idx("c", m)
        b = IndexedBase("b", shape=(n,))
        equations = [
            Eq(z[o], b[o] + Sum(w[o, c] * x[c], (c, 0, m - 1))),
            Eq(a[o], 1 / (1 + sp.exp(-z[o]))),
            Eq(cost, Sum((a[o] - y[o]) ** 2, (o, 0, n - 1))),
        ]
        system = from_sympy(equations, data=[x, y], parameters=[w, b], name="dense")
        same(
            system,
            """
            data x[m], y[n]
            parameter w[n, m], b[n]
            z[j] = b[j] + sum[k](w[j, k] * x[k])
            a[j] = 1 / (1 + exp(-z[j]))
            cost = sum[j]((a[j] - y[j])**2)
            """,
        )
        assert [tensor.adjoint_of for tensor in derive(system).result.tensors[-2:]] == ["w", "b"]

    def test_a_convolution_takes_its_ranges_from_uses(self) -> None:
        kernel = IndexedBase("h", shape=(r,))
        system = from_sympy([Eq(z[p], Sum(kernel[q] * x[2 * p + q], (q, 0, r - 1)))], data=x, parameters=kernel)
        same(system, "data x[m]\nparameter h[r]\nz[p] = sum[q](h[q] * x[2*p + q])")

    def test_limits_that_depend_on_indices_are_conditions(self) -> None:
        equations = [
            Eq(a[i], x[i] * Sum(x[k], (k, 0, i - 1))),
            Eq(Symbol("pairs"), Sum(x[i] * x[j], (i, 0, j - 1), (j, 0, m - 1))),
        ]
        same(
            from_sympy(equations, data=[x]),
            "data x[m]\na[i] = x[i]*sum[k : k <= i - 1](x[k])\npairs = sum[j, i : i <= j - 1](x[i]*x[j])",
        )

    def test_limits_by_max_and_min(self) -> None:
        equation = Eq(a[i], Sum(x[k], (k, sp.Max(0, i - 2), sp.Min(i + 2, m - 1))) + x[i])
        system = from_sympy([equation], data=[x])
        same(system, "data x[m]\na[i] = x[i] + sum[k : k >= i - 2 and k <= i + 2 and k <= m - 1](x[k])")

    def test_a_window_within_constant_limits(self) -> None:
        system = from_sympy([Eq(Symbol("s"), Sum(x[k] * x[k - 1], (k, 1, m - 1)))], data=[x])
        same(system, "data x[m]\ns = sum[k : k >= 1](x[k] * x[k - 1])")

    def test_equal_names_of_different_lengths_are_kept_apart(self) -> None:
        equations = [Eq(Symbol("s"), Sum(1, (k, 0, 4)) * Sum(x[k], (k, 0, m - 1)) + Sum(k, (k, 0, 6)))]
        same(
            from_sympy(equations, data=[x]),
            "data x[m]\nindex i < 5\nindex j < 7\ns = sum[i](1)*sum[k](x[k]) + sum[j](j)",
        )

    def test_a_recurrence_with_a_ranged_index(self) -> None:
        step = Idx("t", (1, T))
        series = IndexedBase("x", shape=(T,))
        equations = [Eq(h[0], lam), Eq(h[step], sp.tanh(h[step - 1] + series[step - 1])), Eq(cost, h[T] ** 2)]
        system = from_sympy(equations, data=[series], parameters=[lam])
        same(
            system,
            "data x[T]\nparameter lam\nindex t < T + 1\nh[0] = lam\nh[t] = tanh(h[t-1] + x[t-1])\ncost = h[T]**2",
        )

    def test_shifted_left_sides_and_base_cases_at_a_size(self) -> None:
        series = IndexedBase("x", shape=(T,))
        forwards = from_sympy([Eq(h[0], 0), Eq(h[t + 1], h[t] / 2 + series[t])], data=[series])
        same(forwards, "data x[T]\nh[0] = 0\nh[t + 1] = h[t]/2 + x[t]\noutput h")
        backwards = from_sympy([Eq(h[T], 0), Eq(h[t], h[t + 1] / 2 + series[t])], data=[series])
        same(backwards, "data x[T]\nh[T] = 0\nh[t] = h[t + 1]/2 + x[t]\noutput h")

    def test_padding_by_piecewise(self) -> None:
        u = Idx("u", m)
        same(
            from_sympy([Eq(a[u], Piecewise((x[u - 1], u >= 1), (0, True)))], data=[x]),
            "data x[m]\nindex u < m\na[u] = where(u >= 1, x[u - 1], 0)",
        )

    def test_mathematics(self) -> None:
        value = sp.Max(x[i], 0) + sp.Abs(x[i]) + sp.sign(x[i]) + sp.erf(x[i]) + sp.pi * sp.E + Rational(13, 30)
        system = from_sympy([Eq(a[i], value + Product(x[k], (k, 0, m - 1)))], data=[x])
        text = "max(0, x[i]) + abs(x[i]) + sign(x[i]) + erf(x[i]) + pi*exp(1) + 13/30 + prod[k](x[k])"
        same(system, f"data x[m]\na[i] = {text}")

    def test_a_delta_is_a_comparison_of_indices(self) -> None:
        system = from_sympy([Eq(z[j, k], w[j, k] * sp.KroneckerDelta(j, k))], parameters=[w])
        same(system, "parameter w[n, m]\nz[j, k] = w[j, k]*where(j == k, 1, 0)")

    def test_functions(self) -> None:
        f, g, relu = Function("f"), Function("g"), Function("relu")
        u, v = sp.symbols("u v")
        equation = Eq(a[i], f(x[i], lam) + g(x[i]) + relu(x[i]))
        system = from_sympy([equation], data=[x], parameters=[lam], functions={f: Lambda((u, v), u * sp.tanh(v))})
        assert [(fn.name, fn.origin) for fn in system.functions] == [
            ("f", "user"),
            ("g", "undefined"),
            ("relu", "catalogue"),
        ]
        assert str(system.function("f").body) == "u*tanh(v)"
        named = from_sympy([Eq(a[i], g(x[i]))], data=[x], functions={"g": "softplus"})
        assert [fn.name for fn in named.functions] == ["softplus"]
        written = from_sympy([Eq(a[i], g(x[i]))], data=[x], functions={"g": "u * sigmoid(u)"})
        assert str(written.function("g").body) == "u*sigmoid(u)"

    def test_pairs_stand_for_equations_that_sympy_would_evaluate(self) -> None:
        same(from_sympy([(h[0], 1), (h[t], 2 * h[t - 1] + x[t])], data=[x]), "data x[m]\nh[0] = 1\nh[t]=2*h[t-1]+x[t]")

    def test_dummies_and_sizes(self) -> None:
        index = sp.Dummy(integer=True)
        system = from_sympy([Eq(Symbol("s"), Sum(x[index] / m, (index, 0, m - 1)))], data=[x], outputs=["s"])
        same(system, "data x[m]\ns = sum[i](x[i]/m)\noutput s")

    def test_the_same_objects_give_the_same_system(self) -> None:
        equations = [Eq(a[i], Sum(x[k] * x[j], (k, 0, i), (j, 0, m - 1)) + x[i])]
        one, two = (from_sympy(equations, data=[x]) for _ in range(2))
        assert [str(e.value) for e in one] == [str(e.value) for e in two]


class TestErrors:
    def test_an_index_that_nothing_binds(self) -> None:
        assert "k is no tensor, no size, and no index" in fault([Eq(z[j], w[j, k] * x[k])], data=[x, w]).message

    def test_two_objects_of_one_name(self) -> None:
        caught = fault([Eq(a[Idx("i", m)], x[Idx("i")])], data=[x])
        assert "two different indices named i" in caught.message

    def test_a_shape_conflict_shows_the_text(self) -> None:
        caught = fault([Eq(z[j], Sum(w[k, j] * x[k], (k, 0, m - 1)))], data=[x], parameters=[w])
        assert caught.position is not None
        assert caught.position.text == "z[j] = sum[k](x[k]*w[k, j])"
        assert "k runs over m by index k < m" in caught.message

    def test_a_shape_that_the_equations_do_not_give(self) -> None:
        caught = fault([Eq(IndexedBase("a", shape=(m + 1,))[i], x[i])], data=[x])
        assert "a is declared with the shape (m + 1,)" in caught.message

    def test_a_range_that_starts_too_late(self) -> None:
        u = Idx("u", (1, m - 1))
        assert "u starts at 1" in fault([Eq(a[u], x[u])], data=[x]).message

    def test_subscripts_from_one(self) -> None:
        assert "k runs over m + 1" in fault([Eq(Symbol("s"), Sum(x[k], (k, 1, m)))], data=[x]).message

    def test_sums_that_sympy_counts_negatively(self) -> None:
        assert "counts that negatively" in fault([Eq(Symbol("s"), x[0] * Sum(k, (k, 5, 2)))], data=[x]).message
        system = from_sympy([Eq(Symbol("s"), x[m - 1] * Sum(x[k], (k, 3, m - 1)))], data=[x])
        assert system.equations

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            (sp.Derivative(x[i], x[i]), "Derivative is not part of the language"),
            (sp.Integral(Symbol("u"), (Symbol("u"), 0, 1)), "Integral is not part of the language"),
            (sp.gamma(x[i]), "gamma is not part of the language"),
            (sp.oo * x[i], "not part of the language"),
            (x[i] * sp.I, "ImaginaryUnit"),
            (Sum(x[k], (k, 0, sp.oo)), "Infinity"),
            (x[x[i]], "not affine"),
            (x[i * i], "not affine"),
            (Symbol("unknown") * x[i], "unknown is no tensor"),
            (IndexedBase("v")[i], "unknown tensor 'v'"),
            (IndexedBase("x")[i, i], "takes 1 subscript"),
            (x, "IndexedBase is not part of the language"),
            (Function("lambda")(x[i]), "'lambda' is a Python keyword"),
            (Function("f")(x[i]) + Function("f")(x[i], 1), "takes 1 argument"),
            (Piecewise((x[i], x[i] > 0)), "undefined somewhere"),
            (IndexedBase("x[0])+open")[i], "is not a name"),
            (Function("system('true');f")(x[i]), "is not a name"),
        ],
        ids=str,
    )
    def test_what_has_no_words(self, value: sp.Expr, message: str) -> None:
        assert message in str(fault([(a[i], value)], data=[x]))

    @pytest.mark.parametrize(
        ("equations", "options", "message"),
        [
            ([sp.true], {}, "expected an equation, found True"),
            (["a = 1"], {}, "expected an equation"),
            ([(a[i], "open('x')")], {}, "expected an equation"),
            ([Eq(a[i], z[i])], {"data": [z]}, "z has no shape"),
            ([Eq(a[i], x[i])], {"data": ["x"]}, "a str is no tensor"),
            ([Eq(a[i], x[i])], {"data": [IndexedBase("x", shape=(m / 2,))]}, "expected a size"),
            ([Eq(a[i], x[i])], {"data": [IndexedBase("x", shape=(Symbol("int"),))]}, "'int' is a C keyword"),
            ([Eq(x[i], 2)], {"data": [x]}, "'x' is defined twice"),
            ([Eq(a[i, i], x[i])], {"data": [x]}, "stands twice"),
            ([Eq(a[2 * i], x[i])], {"data": [x]}, "expected an index or a number on the left side"),
            ([Eq(a[i], x[i])], {"data": [x], "outputs": ["x y"]}, "is not a name"),
            ([Eq(x[i] + 1, a[i])], {"data": [x]}, "is no tensor"),
            ([], {}, "no equation"),
        ],
        ids=str,
    )
    def test_what_is_no_model(self, equations: list[object], options: dict[str, object], message: str) -> None:
        assert message in str(fault(equations, **options))


class Writer:
    """A random formula, as text and as SymPy."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.count = 0

    def formula(self, scope: dict[str, Symbol], depth: int) -> tuple[str, sp.Expr]:
        kinds = [self.leaf] * (4 if depth == 0 else 1)
        if depth:
            kinds += [self.arithmetic, self.arithmetic, self.function, self.reduction, self.power]
            kinds += [self.condition] if len(scope) == 2 else []  # Sum folds a Piecewise as it is made
        return self.rng.choice(kinds)(scope, depth)

    def leaf(self, scope: dict[str, Symbol], _: int) -> tuple[str, sp.Expr]:
        number = Rational(self.rng.randrange(1, 40), self.rng.choice([1, 2, 4, 5, 10]))
        choices: list[tuple[str, sp.Expr]] = [("lam", lam), (f"({number})", number), ("m", m)]
        of_m = [s for s in scope if s.startswith("k")]
        of_n = [s for s in scope if s.startswith("j")]
        choices += [(f"x[{s}]", x[scope[s]]) for s in of_m] + [(f"y[{s}]", y[scope[s]]) for s in of_n]
        choices += [(f"w[{u}, {v}]", w[scope[u], scope[v]]) for u in of_n for v in of_m]
        choices += [(f"x[m - 1 - {s}]", x[m - 1 - scope[s]]) for s in of_m] + [(s, scope[s]) for s in scope]
        return self.rng.choice(choices)

    def arithmetic(self, scope: dict[str, Symbol], depth: int) -> tuple[str, sp.Expr]:
        (s, u), (o, v) = self.formula(scope, depth - 1), self.formula(scope, depth - 1)
        sign = self.rng.choice("+-*/")
        if sign == "/":
            return f"({s}) / (2 + ({o})**2)", u / (2 + v**2)
        return f"(({s}) {sign} ({o}))", {"+": u + v, "-": u - v, "*": u * v}[sign]

    def function(self, scope: dict[str, Symbol], depth: int) -> tuple[str, sp.Expr]:
        s, u = self.formula(scope, depth - 1)
        name = self.rng.choice(["exp", "tanh", "sin", "sqrt", "gelu", "f"])
        known = {"exp": sp.exp, "tanh": sp.tanh, "sin": sp.sin, "sqrt": sp.sqrt}
        s, u = (f"1 + ({s})**2", 1 + u**2) if name == "sqrt" else (s, u)
        return f"{name}({s})", known.get(name, Function(name))(u)

    def power(self, scope: dict[str, Symbol], depth: int) -> tuple[str, sp.Expr]:
        s, u = self.formula(scope, depth - 1)
        exponent = self.rng.choice([2, 3])
        return f"({s})**{exponent}", u**exponent

    def condition(self, scope: dict[str, Symbol], depth: int) -> tuple[str, sp.Expr]:
        (s, u), (o, v) = self.formula(scope, depth - 1), self.formula(scope, depth - 1)
        name = self.rng.choice(list(scope))
        self.count += 1  # SymPy works out powers of a Piecewise, and equal conditions inside one another
        chosen = Piecewise((u, scope[name] >= self.count), (v, True))
        return f"tanh(where({name} >= {self.count}, {s}, {o}))", sp.tanh(chosen)

    def reduction(self, scope: dict[str, Symbol], depth: int) -> tuple[str, sp.Expr]:
        self.count += 1
        name = f"{self.rng.choice('jk')}{self.count}"
        symbol = Symbol(name, integer=True)
        size, access = (n, y) if name[0] == "j" else (m, x)
        s, u = self.formula({**scope, name: symbol}, depth - 1)
        s, u = f"{access.label}[{name}]*({s})", access[symbol] * u
        others = [o for o in scope if o[0] == name[0]]
        if others and self.rng.random() < 0.5:
            other = self.rng.choice(others)
            return f"sum[{name} : {name} <= {other}]({s})", Sum(u, (symbol, 0, scope[other]))
        return f"sum[{name}]({s})", Sum(u, (symbol, 0, size - 1))


def test_random_equations_mean_what_their_text_means() -> None:
    seed = secrets.randbits(32)
    rng = random.Random(seed)
    used = "cos(lam + x[0] + y[0] + w[0, 0])", sp.cos(lam + x[0] + y[0] + w[0, 0])
    undefined = from_sympy([Eq(a[i], Function("f")(x[i]))], data=[x]).functions
    for _ in range(60):
        text, value = Writer(rng).formula({"j": j, "k": k}, rng.randrange(1, 5))
        written = f"data x[m], y[n]\nparameter w[n, m], lam\nindex j < n\nindex k < m\na[j, k] = {used[0]} + {text}"
        left = a[Idx("j", n), Idx("k", m)]
        value = (used[1] + value).xreplace({j: left.indices[0], k: left.indices[1]})
        try:
            expected = parse(written, functions=undefined)
        except FormulaError as refused:
            pytest.fail(f"seed {seed}: {text!r} was refused: {refused}")
        system = from_sympy([(left, value)], data=[x, y], parameters=[w, lam])
        assert keys(system) == keys(expected), f"seed {seed}: {text}"


def test_numbers_stay_exact() -> None:
    system = from_sympy([(Symbol("s"), x[0] * sp.Float("0.1") + Integer(10) ** 20)], data=[x])
    same(system, "data x[m]\ns = x[0]/10 + 100000000000000000000")
