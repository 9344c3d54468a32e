"""Random Systems: the kernels of both targets agree with a brute-force reference, or are refused for a reason.

The everyday run has 50 systems, the same each time, so that what passes on one machine passes on the next.
`CHAINRULE_RANDOM_SYSTEMS=500` draws that many from fresh seeds (the long suite), `CHAINRULE_RANDOM_SEED=N` one alone. A
failure prints the model as text, its seed, and a smaller model with the same fault.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import Iterator

import numpy as np
import pytest
from interpreter import numeric_gradient
from random_comparison import Case, Finding, compare
from random_diagnosis import diagnosed, shrunk
from random_systems import Model, Written, random_model
from sympy import Integer

from chainrule.codegen import build
from chainrule.symbolic import FormulaError

COUNT = int(os.environ.get("CHAINRULE_RANDOM_SYSTEMS", "0"))
EVERYDAY = range(60_000, 60_050)
ONE = os.environ.get("CHAINRULE_RANDOM_SEED")
SHARES = 10
"""The systems are shared out over so many tests, which may run in parallel."""

SECONDS_TO_SHRINK = 20

REFUSALS: tuple[str, ...] = ()
"""What may be refused, as patterns of messages that say what to do: everything that is drawn is to work."""


@pytest.fixture(autouse=True)
def quick_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """C is compiled without optimisation: hundreds of sources, each called a few times."""
    monkeypatch.setattr(build, "FLAGS", tuple("-O0" if flag == "-O3" else flag for flag in build.FLAGS))


def told(model: Model | Written, findings: list[Finding]) -> str:
    """What a failure prints."""
    faults = "\n".join(f"{f.where} {f.kind}: {f.message}" for f in findings)
    text = f"CHAINRULE_RANDOM_SEED={model.seed}\n{model.text}at {model.sizes}, batch {model.batch}\n{faults}\n"
    if isinstance(model, Model):
        small = shrunk(model, findings[0], SECONDS_TO_SHRINK)
        text += f"\nsmaller:\n{small.text}at {small.sizes}, batch {small.batch}\n"
        model = small
    return text + diagnosed(model)


def seeds(share: int) -> Iterator[int]:
    """The seeds of one share: fresh ones in the long suite; with CHAINRULE_RANDOM_SEED that one, in the first share."""
    if ONE is not None:
        yield from [int(ONE)] if share == 0 else []
        return
    if not COUNT:
        yield from EVERYDAY[share::SHARES]
    for _ in range(COUNT // SHARES + (share < COUNT % SHARES)):
        yield secrets.randbits(32)


@pytest.mark.parametrize("share", range(SHARES))
def test_random_systems_agree_with_the_reference(share: int) -> None:
    for seed in seeds(share):
        print(f"CHAINRULE_RANDOM_SEED={seed}")
        model = random_model(seed)
        findings = [f for f in compare(model) if f.kind != "unusable" and not _excused(f)]
        assert not findings, told(model, findings)


def _excused(finding: Finding) -> bool:
    """A refusal that a user can act on; it is printed."""
    excused = finding.kind == "refused" and any(re.search(pattern, finding.message) for pattern in REFUSALS)
    if excused:
        print(f"refused: {finding.message}")
    return excused


REGRESSIONS = {
    "a sum that a step scales by its index": Written(
        "data x[n], y[n, m]\nparameter w[m]\nindex p < n + 1\nindex v < m\na[v, 0] = w[v]\n"
        "a[v, p] = sin(a[v, p - 1] * sin(cos(sum[k, i : i >= 2*k](0.5*p * y[k, i]))))\n"
        "cost = sum[v, p](a[v, p]**2)*x[0]\n",
        {"n": 2, "m": 4},
        2,
    ),
    "a function of the larger of two numbers": Written(
        "data x[n]\na[i] = erf(max(2**0.54/4, 0)) * x[i] + erf(min(0.1, 0.2)) * x[i]\noutput a\n", {"n": 2}, 2
    ),
    "an output for each sample that no data are needed for": Written(
        "data x[n, m]\na = sqrt(x[n - 1, 0] / x[n - 1, 0])\ncost = tanh(a)\noutput a\n", {"n": 2, "m": 2}, 3
    ),
    "a base case of a number, of what is no recurrence": Written(
        "data x[3, m, 2]\nindex j < 3\nindex l < m\nc[j, l, 0] = l\nindex s < 2\n"
        "c[j, l, s] = sin(x[j, l, s]*0.5)\noutput c\n",
        {"m": 2},
        2,
    ),
    "a minimum over windows, transposed, as a square": Written(
        "data x[m]\nparameter w[m, m]\nindex j < m\nindex t < 3\n"
        "h[j, u] = min[t](where(3*j + 3*t + 1 < m, w[u, 3*j + 3*t + 1], 0)) + x[j]\noutput h\n",
        {"m": 3},
        2,
    ),
    "an index of a step with the name of the scan's": Written(
        "data x[n], y[m]\nparameter b[n, n]\nindex i2 < m + 1\na[0, q] = x[q]\n"
        "a[i2, q] = sin(sum[s](b[q, s] * a[i2 - 1, s]) + y[0])\ncost = sum[i2, q](a[i2, q]**3)\n",
        {"n": 2, "m": 3},
        2,
    ),
    "a function under a softmax": Written(
        "data x[m, n]\nf(u, v) = gelu(v)\na[t] = softmax(f(0.5, where(0 <= t + 1 and t + 1 < n, x[t, t + 1], 0)))\n",
        {"m": 2, "n": 3},
        2,
    ),
    "a diagonal of a tensor with a shift": Written(
        "data x[m]\nparameter w[m + 2, m]\nindex s < m\nc[s, j] = x[s] - w[j + 2, j]\ncost = mean[i, k](c[i, k]**2)\n",
        {"m": 2},
        2,
    ),
    "a diagonal in a sum, twice": Written(
        "data x[n]\nparameter w[n, n]\na[t] = x[0]*x[t] + sum[q](w[q, q]**2 * x[q])\n", {"n": 2}, 2
    ),
    "a size that no buffer has": Written(
        "data x[n]\nc[2] = n/3\nc[v] = c[v + 1]\ncost = logsumexp[i](exp(-x[i]**2)) + c[0]\noutput c\n", {"n": 2}
    ),
    "strided reads of a base case": Written(
        "data x[n, 2]\nparameter w[2]\na[0, u] = x[n - 1, u]**2\nindex q < 4\na[q, u] = tanh(w[u] * a[q - 1, u])\n"
        "e[j] = sum[u](a[2*j, u])**2\nindex j < 2\ncost = sum[i](e[i])\n",
        {"n": 2},
        2,
    ),
    "a number against a tensor": Written("data x[n]\ng[p] = max(exp(0.5), 2*x[p])**2\n", {"n": 3}, 2),
    "a log-sum-exp in a step of a recurrence": Written(
        "data x\nparameter b[n, n]\ne[2, k] = x\n"
        "e[j, v] = 0.5*sum[q](b[v, q] * e[j + 1, q]) + 0.5*sum[t : t <= j](logsumexp[k](b[v, k]))\nindex t < 3\n",
        {"n": 2},
        2,
    ),
    "a step that starts where reads allow, after others are known": Written(
        "data x[n], y[2, 3*n]\nindex p < 2\nindex u < n + 1\nindex v < n\na[k, 0] = tanh(x[0]*k)\nindex k < n + 1\n"
        "c[u, p] = tanh(a[u, p - 1] + sum[v : v <= p](y[p, 2*p + v]) * y[p - 1, p])\na[u, p] = sin(c[u, p] * x[0])\n"
        "output a\n",
        {"n": 2},
    ),
    "a guard by a size that is rounded": Written(
        "data x[n]\nindex p < n//2 + 1\na[p] = where(p < n//2, x[2*p], 0)**2\n"
        "b[q] = where(3 - q >= 0 and 3 - q < n//2 + 1, a[3 - q], 1) * x[q]\n",
        {"n": 3},
        2,
    ),
    "sums of sums of a recurrence": Written(
        "data x[n]\nparameter w[2]\na[0, u] = x[n - 1]**2 * w[u]\nindex q < 4\na[q, u] = tanh(w[u] * a[q - 1, u])\n"
        "e[j] = sum[u](a[2*j, u])**2\nindex j < 2\ncost = sum[i](e[i])\n",
        {"n": 2},
        2,
    ),
    "an output that nothing asked for reaches": Written(
        "data x[m, n]\nindex p < 3\na[p] = 0.9\nc[u] = exp(x[u, 0])\noutput a, c\n", {"n": 1, "m": 2}, 2
    ),
    "a factor that stands twice in a sum": Written(
        "data x[n, m], c[2, n]\nindex i < m\ne[i, p] = sin(sum[l : l < i](c[0, p] * x[p, l]))\n", {"n": 3, "m": 2}, 4
    ),
    "an index as a number among the elements of one array": Written(
        "data x[n]\na[p] = -x[p] * max(0.5*p, x[p])\nindex p < n\ncost = sum[p](a[p]**2)\n", {"n": 3}, 2
    ),
    "a minimum over strides": Written("data a[n]\nindex s < 2\nc[q] = atan(min[s](a[q + 2*s]))\n", {"n": 4}, 2),
    "a mean of what a condition admits": Written(
        "data a[n, n]\nindex k < n\nindex p < 3\ncost = mean[k, p : p <= k + 1](a[k, 0] * where(p < n, a[p, k], 0))\n",
        {"n": 2},
    ),
    "part of an array as it is": Written("data x[n]\nindex i < 1\na[i] = x[i]\n", {"n": 3}, 3),
    "an array from its second element on": Written("data y[n + 1]\ne[s] = y[s + 1]\n", {"n": 2}, 2),
    "a bell of a large sum": Written(
        "data x[r]\nparameter b\nc = 12*b\ncost = x[0] * tanh(exp(-c**2))\n", {"r": 2}, 2, 3
    ),
    "a product in a step of a recurrence": Written(
        "parameter d[m + 1, r], w[m, m]\nc[i, j, 0] = prod[s](tanh(sum[q](d[j, q])))\nindex s < m\nindex i < m\n"
        "c[i, k, t] = sum[q](w[i, q] * c[q, k, t - 1])\nindex t < 2\n",
        {"m": 2, "r": 2},
    ),
    "an element that a step's condition keeps inside": Written(
        "parameter b[2], w[m, m]\nindex s < 2\nc[0, i] = 0.5\n"
        "c[s, t] = tanh(sum[k](w[t, k] * c[s - 1, k]) + where(0 <= 2*s and 2*s < 2, b[2*s], 0))\n",
        {"m": 2},
    ),
    "two base cases, each a sum over all": Written(
        "parameter x[n, n], w\na[0] = sum[i, j](x[i, j])\na[1] = sum[i, j](x[i, j]**2)\nindex t < 4\n"
        "a[t] = a[t - 1]*w + a[t - 2]\noutput a\n",
        {"n": 2},
    ),
    "a mean of as many as its condition counts": Written(
        "parameter w[3*m - 1, m]\nindex u < 1\nindex p < m + 1\nindex j < m\n"
        "c[p, j] = mean[u : u <= p](w[p + 2*j, j])\n",
        {"m": 3},
    ),
    "the largest of computed terms": Written(
        "data x[n], y[m]\nparameter b\nc[k] = max[u]((x[k] + b) / sigmoid(b) * y[u] + x[k])\n", {"n": 3, "m": 4}, 3, 3
    ),
    "the smallest of terms that are equal in pairs": Written(
        "data x[n]\ne[l] = min[q](x[n - 1 - q] + (x[q] - 0.8)) + l\nindex l < n + 1\ncost = sum[i](e[i]**2)\n",
        {"n": 4},
        1,
        7,
    ),
    "the largest step so far": Written(
        "data e[n, m]\nparameter a[m, m]\nv[0, j] = e[0, j]\nindex t < n\n"
        "v[t, j] = max[i](v[t - 1, i]*e[0, j] + a[i, j]) + e[t, j]\ncost = max[j](v[n - 1, j]*e[0, 0] + e[0, j])\n",
        {"n": 3, "m": 4},
        3,
    ),
    "a function of an index alone, in a step": Written(
        "data x[m]\nindex s < m + 1\na[i, 0] = 0.5*x[i]\nindex i < m\nc[l, s] = 0.9*a[l, s - 1] * x[m - 1 - l]\n"
        "a[l, s] = sin(c[l, s] * huber(0.5*s, 0.3))\noutput a\n",
        {"m": 2},
        2,
    ),
    "a comparison of activations": Written(
        "data x[n]\nparameter w\na[q] = 0.5*q + w*x[q]\nindex q < n\nc[s] = softplus(a[s])\n"
        "cost = sum[v](exp(-c[v]**2)) * (1.5 + tanh(max(c[n - 1], silu(a[0]))))\n",
        {"n": 2},
        2,
    ),
    "a quotient of neighbours": Written(
        "data y[n + 1]\nparameter w[2*n]\nindex u < n\ng[u] = atan(y[u + 1] * (w[2*u + 1] / y[u]))\n"
        "cost = sum[u](g[u])\n",
        {"n": 1},
    ),
    "error functions of sizes": Written("data x[n]\nf(u) = erf(u)\na[p] = x[p] * f(n/3) + erfc(n/4)\n", {"n": 2}, 2),
}
"""Small models of faults that random ones had."""


@pytest.mark.parametrize("model", REGRESSIONS.values(), ids=REGRESSIONS.keys())
def test_models_of_faults_that_were(model: Written) -> None:
    findings = compare(model)
    assert not findings, told(model, findings)


SMOOTH = (
    "data x[n], y[m]\nparameter w[m, n]\nf(u, v) = exp(-u**2) * sin(v) + u**3 / (1 + v**2)\n"
    "h[0, j] = tanh(sum[k](w[j, k] * x[k]))\nindex t < 3\nh[t, j] = sin(h[t - 1, j] + y[j] * t)\n"
    "p[j] = softmax(sum[t](h[t, j]))\nindex t2 < 3\n"
    "cost = sum[j](f(p[j], y[j])) + prod[k](1 + x[k]**2) + logsumexp[j](y[j]) + log(1 + erf(x[0])**2)"
    " + atan(x[0]) * sqrt(2 + x[n - 1])**1.5 + asin(x[0]/2)*acos(x[0]/3)"
    " + sum[k, j](2**w[j, k] * cosh(x[k]) * tan(y[j]/2))\n"
)


def test_the_reference_agrees_with_differences(seed: int) -> None:
    """Two ways without any rule: jets, and differences of the interpreter's cost; first and second derivatives."""
    models = (Written(SMOOTH.replace("index t2 < 3\n", ""), {"n": 2, "m": 3}, 2, seed + m) for m in itertools.count())
    case = next(c for c in map(Case, models) if c.second)  # some are asked for gradients of what equations define
    for name in case.wrt:
        numeric = numeric_gradient(case.system, case.sizes, case.values, name)
        np.testing.assert_allclose(case.expected.gradients[name], numeric, rtol=1e-8, atol=1e-9)
    h = 2.0**-12

    def gradient(steps: int) -> dict[str, np.ndarray]:
        moved = {n: v + steps * h * case.directions[n] if n in case.directions else v for n, v in case.values.items()}
        other = Case(case.model)
        other.values = moved
        return dict(other.expected.gradients)

    ahead, behind, far, back = gradient(1), gradient(-1), gradient(2), gradient(-2)
    for name in case.wrt:
        numeric = (8 * (ahead[name] - behind[name]) - (far[name] - back[name])) / (12 * h)
        np.testing.assert_allclose(case.expected.curvature[name], numeric, rtol=1e-8, atol=1e-9)


def test_the_same_seed_gives_the_same_model() -> None:
    seed = secrets.randbits(32)
    one, two = random_model(seed), random_model(seed)
    assert one == two
    assert all((a == b).all() for a, b in zip(one.point()[1].values(), two.point()[1].values(), strict=True))


def test_what_is_drawn_is_accepted_and_varied() -> None:
    """Nearly all that is drawn is a model as it stands, and the constructs of the language are among them."""
    models = [random_model(secrets.randbits(32)) for _ in range(30)]
    refused = [reason for m in models for reason, _ in m.refused]
    assert len(refused) <= 6, "\n".join(refused)
    text = "\n".join(m.text for m in models)
    for construct in ("sum[", "where(", "softmax", "index ", "cost = ", "2*", "output "):
        assert construct in text, construct


def test_a_fault_is_found_and_shrunk(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """With a wrong rule put in, a random model shows it, and the smaller one still does."""
    from chainrule.symbolic import rules

    monkeypatch.setattr(rules, "_sum_weight", lambda *_: (Integer(2),))
    for number in range(20):
        model = random_model(seed + number)
        findings = [f for f in compare(model) if f.kind == "wrong"]
        if findings:
            small = shrunk(model, findings[0], seconds=5)
            assert len(small.text) <= len(model.text)
            assert any(f.fault == findings[0].fault for f in compare(small))
            return
    pytest.fail("no model has a sum?")


def test_a_refusal_of_the_parser_says_where_and_what_to_do() -> None:
    with pytest.raises(FormulaError) as caught:
        Written("data x[n]\na[i] = x[i - 1]\n", {"n": 2}).parse()
    assert caught.value.hint
    assert caught.value.position is not None
