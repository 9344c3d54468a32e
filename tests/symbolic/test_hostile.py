"""Nothing that a text can hold runs code, hangs, or ends in anything but a FormulaError."""

from __future__ import annotations

import builtins
import os
import random
import secrets
import subprocess
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule.symbolic import network
from chainrule.symbolic.errors import FormulaError
from chainrule.symbolic.language import parse, parse_function, parse_size

LIMIT = 2.0
"""Seconds that one text may take: far more than any takes, far less than a hang."""

CODE = [
    "__import__('os').system('touch /tmp/owned')",
    "__import__(os)",
    "eval(z)",
    "exec(z)",
    "open(z)",
    "compile(z)",
    "globals()",
    "z.__class__",
    "z.__class__.__mro__[1].__subclasses__()",
    "().__class__",
    "[].append(z)",
    "(lambda: 0)()",
    "lambda z: z",
    "[z for z in (1, 2)]",
    "(z for z in (1, 2))",
    "{z: 1}",
    "{z}",
    "{*z}",
    "*z",
    "**z",
    "z if z > 0 else 0",
    "(t := 3)",
    "await z",
    "yield z",
    "f'{z}'",
    "'text'",
    '"text"',
    "b'z'",
    "`z`",
    "z; import os",
    "z\nimport os",
    "import os",
    "del z",
    "raise z",
    "assert z",
    "True",
    "None",
    "...",
    "z.real",
    "z @ z",
    "z % 2",
    "z & 1",
    "z | 1",
    "~z",
    "z << 64",
    "z >> 1",
    "z ^ 2",
    "z is z",
    "z in z",
    "not z",
    "z and z",
    "z < 1",
    "z[0]",
    "z[0:1]",
    "z[::2]",
    "exp(z=1)",
    "exp(*z)",
    "exp(**z)",
    "exp()",
    "exp(z, z)",
    "exp",
    "(z, z)",
    "[z]",
    "()",
    "(",
    ")",
    "((z)",
    "(z]",
    "z z",
    "2z",
    "z..z",
    "1_000",
    "0x10",
    "0b1",
    "1j",
    "1e",
    "z # \x00",
    "z\x00",
    "z\x1b[31m",
    "z\x0c",
    "z\\\n+1",
    "σ(z)",
    "z²",
    "\u202ez",
    "ｚ",
    "\ud800",
    r"\input{/etc/passwd}",
    "{{ z }}",
    "{% for i in z %}",
    "Symbol(z)",
    "sympify(z)",
    "Function(z)",
    "Lambda(z, z)",
    "Integral(z)",
    "gamma(z)",
    "factorial(z)",
]

UNKNOWN = ["I", "oo", "zoo", "nan", "E", "Ellipsis", "inf", "S"]
"""Names that mean something to SymPy or Python, and nothing to a formula."""

BOMBS = [
    "9**9**9",
    "9**9**9**9",
    "(9**9)**9**9",
    "((2**64)**64)**64",
    "(((2*z)**64)**64)**64",
    "((((z**64)**64)**64)**64)**64",
    "2**(2**(2**64))",
    "z**100000000",
    "z**-100000000",
    "1e999999999",
    "1e-999999999",
    "1e301",
    "1e300*1e300",
    "1e300*z*1e300*z",
    "1e300*(1e300 + z)*1e300*1e300*1e300*1e300*1e300*1e300",
    "1" * 41,
    "0." + "1" * 400,
    "exp(exp(exp(exp(9))))",
    "exp(1000)",
    "exp(1e300)",
    "where(exp(exp(exp(100))) > 2, z, 0)",
    "where(z + exp(1e300) > 2, z, 0)",
    "log(exp(exp(exp(50))) - 5)",
    "factorial(10**9)",
    "gamma(10**9)",
    "cosh(1e300)",
    "tan(pi/2)",
    "1/0",
    "1/(z - z)",
    "0**-1",
    "log(0)",
    "log(-1)",
    "sqrt(-4)",
    "sqrt(-1 - 1)*z",
    "(-8)**(1/3)",
    "sqrt(-z**2)",
    "asin(2)",
    "tanh(" * 60 + "z" + ")" * 60,
    "(" * 10_000 + "z" + ")" * 10_000,
    "(" * 33 + "z" + ")" * 33,
    "-" * 4_000 + "z",
    "not " * 1_000 + "z",
    "z**" * 1_300 + "z",
    "z" + "*z" * 2_000,
    "+".join(["z"] * 2_000),
    "where(z > 0, " * 31 + "z" + ", 0)" * 31 + ")" * 5,
    "z" * 5_000,
    "z<" * 2_000 + "z",
    "z" + " " * 70_000,
    "# " + "x" * 70_000,
]

MODELS = [
    "",
    "   \n\t\n",
    "# only a comment",
    "=",
    "==",
    "a",
    "a =",
    "= 1",
    "a = = 1",
    "a = 1 = 2",
    "data",
    "data x[",
    "data x[m",
    "data x]m[",
    "data x[m]\nparameter",
    "data x[-1]\na[i] = x[i]",
    "data x[0]\na[i] = x[i]",
    "data x[1.5]\na[i] = x[i]",
    "data x[m**99]\na[i] = x[i]",
    "data x[m//0]\na[i] = x[i]",
    "data x[" + "*".join(f"(a{i} + b{i})" for i in range(60)) + "]\na[i] = x[i]",
    "data x[" + ",".join(["m"] * 60) + "]\na = x",
    "data x[99999999999999999999]\na[i] = x[i]",
    "data x[m]\na[i] = x[" + "*".join(["(i + m)"] * 60) + "]",
    "data x[m]\na[i] = x[i*i]",
    "data x[m]\na[i] = x[i**2]",
    "data x[m]\na[i] = x[x[i]]",
    "data x[m]\na[i] = x[1e9]",
    "data x[m]\na[i] = x[i:i + 1]",
    "data x[m]\na[i:m] = x[i]",
    "data x[m]\na[i, i] = x[i]",
    "data x[m]\na[i + 1] = x[i]",
    "data x[m]\na[i][i] = x[i]",
    "data x[m]\na[i] = x[i][i]",
    "data x[m]\n(a)[i] += x[i]",
    "data x[m]\na = sum[" + ",".join("ijklmnopqrstuvw") + "](x[i])",
    "data x[m]\na = sum(x[i])",
    "data x[m]\na = sum[](x[i])",
    "data x[m]\na = sum[i]",
    "data x[m]\na = sum[i](x[i], x[i])",
    "data x[m]\na = sum[0](x[i])",
    "data x[m]\na = sum[i : ](x[i])",
    "data x[m]\na = sum[i : i](x[i])",
    "data x[m]\na = sum[i : x[i] > 0](x[i])",
    "data x[m]\na = sum[i : i < 2 : 3](x[i])",
    "data x[m]\na = sum[i : i != 2](x[i])",
    "data x[m]\na[i] = softmax(3)",
    "data x[m]\na[i] = softmax[i, j](x[i])",
    "data x[m]\na[i] = softmax[q](x[i])",
    "f(z) = f(z)\ndata x[m]\na[i] = f(x[i])",
    "f(z) = g(z)\ng(z) = f(z)\ndata x[m]\na[i] = f(x[i])",
    "f(z, z) = z\ndata x[m]\na[i] = f(x[i], x[i])",
    "f() = 1\ndata x[m]\na[i] = f()",
    "f(z) = x[0]\ndata x[m]\na[i] = f(x[i])",
    "f0(z) = z*z\n"
    + "\n".join(f"f{i + 1}(z) = f{i}(f{i}(z)) + z" for i in range(20))
    + "\ndata x[m]\na[i] = f20(x[i])",
    "f0(z) = z\n" + "\n".join(f"f{i + 1}(z) = f{i}(z)" for i in range(3_000)) + "\ndata x[m]\na[i] = f3000(x[i])",
    "\n".join(f"f{i}(z) = f{i + 1}(z)" for i in range(3_000)) + "\nf3000(z) = z\ndata x[m]\na[i] = f0(x[i])",
    "f(z) = exp(z)\ndata x[m]\na[i] = x[i] + f(f(f(f(f(9)))))",
    "f(z) = exp(exp(exp(exp(exp(z)))))\ndata x[m]\na[i] = x[i] + f(9)",
    "index p < 10",
    "index p",
    "index p > 3",
    "index 3 < p",
    "output",
    "output a",
    "output a[i]\ndata x[m]\na[i] = x[i]",
    "import = 3",
    "data int[m]\na[i] = int[i]",
    "data batch[m]\na[i] = batch[i]",
    "data __class__[m]\na[i] = __class__[i]",
    "data a__b[m]\na[i] = a__b[i]",
    "data _x[m]\na[i] = _x[i]",
    "data x_[m]\na[i] = x_[i]",
    "data " + "x" * 100 + "[m]",
    "data x[m], x[m]\na[i] = x[i]",
    "data x[x]\na[i] = x[i]",
    "\n".join(f"a{i} = a{i + 1}" for i in range(3_000)),
    "a = b\nb = a",
    "a[0] = 1",
    "a[t] = a[t - 1]\nindex t < 5",
    "a[0] = 1\na[t] = a[t]\nindex t < 5",
    "a[0] = 1\na[t] = a[t + 1]\nindex t < 5",
    "a[1] = 1\na[t] = a[t - 1]\nindex t < 5",
    "a[0] = 1\na[0] = 2\na[t] = a[t - 1]\nindex t < 5",
    "a[0] = 1\nb[t] = a[t]\na[t] = b[t]\nindex t < 5",
    "a[0] = 2\na[1] = a[0]**64\na[2] = a[1]**64\na[3] = a[2]**64\na[t] = a[t - 1]\nindex t < 5",
    "\n".join(f"a{i}[t] = a{i + 1}[t - 1]" for i in range(300)) + "\na300[0] = 1\na300[t] = a0[t - 1]\nindex t < 5",
    "\n".join(f"a{i}[t] = a{i + 1}[t - 1]" for i in range(62)) + "\na62[0] = 1\na62[t] = a0[t - 1]\nindex t < 5",
    "data x[T]\n" + "\n".join(f"a[T - {i}] = 1" for i in range(500)) + "\na[t] = a[t + 1] + x[t]",
    "data x[T]\na[t + 99999999999] = x[t]",
    "data x[T]\na[T*T*T*T*T*T*T*T] = 1\na[t] = a[t + 1] + x[t]",
]


def refused(call: object, *arguments: object) -> FormulaError:
    """The FormulaError that the call ends in, within the processor time allowed."""
    start = time.process_time()
    with pytest.raises(FormulaError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert time.process_time() - start < LIMIT
    assert len(str(caught.value)) < 10_000
    assert all(c.isprintable() or c in "\n\t" for c in str(caught.value))
    return caught.value


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would run a text's code ends the test."""

    def stop(*_: object, **__: object) -> None:
        raise AssertionError("a text was evaluated")

    for name in ("eval", "exec"):
        monkeypatch.setattr(builtins, name, stop)
    monkeypatch.setattr(os, "system", stop)
    monkeypatch.setattr(subprocess, "Popen", stop)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("text", [*CODE, *UNKNOWN])
def test_code_is_refused_in_a_function(text: str) -> None:
    refused(parse_function, text, "sigma", ("z",))


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("text", BOMBS, ids=lambda t: t[:40])
def test_bombs_are_refused_quickly(text: str) -> None:
    refused(parse_function, text, "sigma", ("z",))


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("text", [*CODE, *BOMBS], ids=lambda t: t[:40])
def test_code_and_bombs_are_refused_in_a_model_and_a_network(text: str) -> None:
    refused(parse, f"data x[m]\na[i] = x[i] + {text}")
    refused(parse, f"data x[{text}]\na[i] = x[i]")
    refused(parse, f"data z[m]\na[i] = z[{text}]")
    refused(lambda: network([2, 3], sigma=text))
    refused(parse_size, text)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("text", MODELS, ids=lambda t: t[:40])
def test_broken_models_are_refused_quickly(text: str) -> None:
    refused(parse, text)


@pytest.mark.usefixtures("nothing_runs")
@pytest.mark.parametrize("name", ["", "1a", "A", "a b", "../x", "int", "a" * 99, "__class__", "a\n", None, 3])
def test_a_model_has_a_plain_name(name: object) -> None:
    refused(lambda: parse("a = 1", name=name))  # type: ignore[arg-type]


WORDS = """
data parameter index output sum mean max min prod logsumexp softmax where and or not exp log sqrt abs pi x y w b z a m n
i j k p q t 0 1 2 3 10 64 0.5 1e9 ( ) [ ] , : = < <= > >= == != + - * / ** // # x[i] w[i,j] sum[k]( sigmoid( cost ^ . __
lambda if else import
"""
PIECES = [*WORDS.split(), "\n", "\n"]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_gives_a_model_or_a_formula_error(text: str) -> None:
    for call in (lambda: parse(text), lambda: parse_function(text, "sigma", ("z",)), lambda: parse_size(text)):
        with suppress(FormulaError):
            call()


def test_random_words_give_a_model_or_a_formula_error() -> None:
    seed = secrets.randbits(32)
    rng = random.Random(seed)
    start = time.perf_counter()
    for _ in range(1_500):
        body = "".join(rng.choice(PIECES) + rng.choice(["", " "]) for _ in range(rng.randrange(1, 25)))
        try:
            parse(f"data x[m], y[n]\nparameter w[n, m]\na[i] = {body}")
        except FormulaError:
            continue
        except Exception as fault:
            pytest.fail(f"seed {seed}: {body!r} ended in {fault!r}")
    assert time.perf_counter() - start < 60, f"seed {seed}"


def test_nothing_but_the_error_is_said_of_a_malformed_number(recwarn: pytest.WarningsRecorder) -> None:
    """Python's own parser warns of these on standard error."""
    with pytest.raises(FormulaError, match="out of place"):
        parse("data x[m]\na[i] = exp0.5and\n")
    assert not recwarn.list


BROKEN = "data x[m], y[n]\nparameter w[n, m], b[n]\nz[j] = b[j] + sum[k](w[j, k] * x[k])\na[j] = sigmoid(z[j])\n"


@pytest.mark.parametrize("cut", range(0, len(BROKEN), 3))
def test_a_model_cut_short_is_read_or_refused(cut: int) -> None:
    with suppress(FormulaError):
        parse(BROKEN[:cut])
