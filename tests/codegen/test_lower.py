"""Kernels compute what the equations say: every entry of every System, by a brute-force interpreter of kernels
against one of Systems; with each buffer apart and with slots shared. The same System, the same text."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
from interpreter import Interpreter
from kernel_interpreter import run_kernel
from systems import MODELS, assert_same, case, system_of

from chainrule.codegen import lower as rooms
from chainrule.codegen.ir import BATCH, Buffer, Contract, Kernel, Kind, Map, Program, Reduce
from chainrule.codegen.ir_check import check_kernel
from chainrule.codegen.ir_text import format_kernel
from chainrule.codegen.lower import lower
from chainrule.codegen.passes import assign_slots
from chainrule.symbolic import network, parse
from chainrule.symbolic.samples import with_samples

pytestmark = pytest.mark.usefixtures("every_statement")


@pytest.fixture
def every_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs with statements that no backend writes yet are made too."""
    if hasattr(rooms, "_refuse"):
        monkeypatch.setattr(rooms, "_refuse", lambda _: None)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_the_equations(name):
    it = case(name)
    program = lower(it.system, wrt=it.derivation.wrt)
    kernel = program.kernel("gradients")
    check_kernel(kernel)
    for shared in (False, True):
        found = run_kernel(kernel, it.sizes, it.values, shared=shared)
        assert list(found) == list(kernel.results)
        assert_same(found, it.gradients, f"{it.label}, slots shared: {shared}")


@pytest.mark.parametrize("name", MODELS)
def test_forward_and_cost_are_those_of_the_equations(name):
    it = case(name)
    program = lower(it.system)
    equations = Interpreter(with_samples(it.system), it.sizes, it.values)
    for shared in (False, True):
        cost = run_kernel(program.kernel("cost"), it.sizes, it.values, shared=shared)
        assert cost["cost"] == pytest.approx(equations.element("cost"), rel=1e-10), it.label
        if it.system.outputs:
            found = run_kernel(program.kernel("forward"), it.sizes, it.values, shared=shared)
            assert_same(found, {n: equations.tensor(n) for n in it.system.outputs}, it.label)


@pytest.mark.parametrize("name", MODELS)
def test_no_tensor_outgrows_the_formulas(name):
    """Every buffer has at most as many axes as a sum in the System has indices: no windows, no Kronecker tensors."""
    system = system_of(name)
    kernel = lower(system).kernel("gradients")
    most = max(len(t.shape) + t.per_sample for t in system.tensors)
    deepest = max([len(s.loops) for s in kernel.flat if isinstance(s, Contract | Reduce)], default=0)
    for buffer in kernel.buffers:
        assert len(buffer.shape) <= max(most, deepest - 1), f"{buffer.name}{list(buffer.shape)} in {name}"


VJP = """
data x[m]
parameter w[n, m], b[n]
z[j] = b[j] + sum[k](w[j, k]*x[k])
a[j] = tanh(z[j])
output a, z
"""


def test_vector_jacobian_products_take_cotangents(rng, seed):
    system = parse(VJP)
    program = lower(system)
    assert [a.name for a in program.arguments if a.kind is Kind.COTANGENT] == ["a", "z"]
    sizes = {"m": 3, "n": 2, "batch": 4}
    values = {"x": (4, 3), "w": (2, 3), "b": (2,), "a": (4, 2), "z": (4, 2)}
    values = {n: rng.normal(size=shape) for n, shape in values.items()}
    a = np.tanh(values["x"] @ values["w"].T + values["b"])
    dz = values["z"] + values["a"] * (1 - a**2)
    expected = {"dw": dz.T @ values["x"], "db": dz.sum(0), "dx": dz @ values["w"]}
    for shared in (False, True):
        assert_same(run_kernel(program.kernel("vjp"), sizes, values, shared=shared), expected, f"seed {seed}")


# --- which statements --------------------------------------------------------------------------


def statements(text: str, kind: type, entry: str = "gradients") -> list:
    return [s for s in lower(parse(text)).kernel(entry).flat if isinstance(s, kind)]


REGULARISED = """
data x[n], y
parameter w[n], lam
cost = (sum[k](w[k]*x[k]) - y)**2 + lam*sum[k](w[k]**2)
"""


def test_what_does_not_depend_on_the_sample_is_made_once():
    """Σ w² is one number, not one for each sample, and its gradient is no sum over samples."""
    (square,) = [s for s in statements(REGULARISED, Reduce) if str(s.body) == f"w[{s.reduced[0].symbol}]**2"]
    assert BATCH not in {v for r in square.loops for v in r.upper.free_symbols}
    apart = REGULARISED.replace("lam*sum[k](w[k]**2)", "reg\nreg = lam*sum[k](w[k]**2)")
    (once,) = [s for s in statements(apart, Reduce) if str(s.body) == f"w[{s.reduced[0].symbol}]**2"]
    assert not once.ranges
    (final,) = [s for s in statements(REGULARISED, Map) if s.out.name == "dw"]
    assert "lam*w" in str(final.body).replace("2*", "")


def test_a_border_of_zeros_is_a_copy_and_a_contraction():
    """The windows of a padded convolution are never stored."""
    kernel = lower(system_of("conv2d")).kernel("gradients")
    assert any(isinstance(s, Contract) and s.out.name in ("y", "y_sum") for s in kernel.flat)
    assert {len(b.shape) for b in kernel.buffers if b.kind is Kind.LOCAL} <= {0, 4}
    assert "x_padded" in {b.name for b in kernel.buffers}


def test_a_window_of_a_function_is_not_stored():
    kernel = lower(system_of("windowed_map")).kernel("gradients")
    assert max(len(b.shape) for b in kernel.buffers) == 2


def test_equal_sums_are_computed_once_and_over_their_own_range():
    text = """
data x[P + 1, K]
parameter w[K]
index p < P
index q < P + 1
a[p] = sin(sum[k](x[p, k]*w[k]))
b[q] = cos(sum[k](x[q, k]*w[k])) + tanh(sum[k](x[q, k]*w[k]))
cost = sum[p](a[p]*b[p + 1])
"""
    assert (
        len(
            statements(text, Contract, "cost")
            + [s for s in statements(text, Reduce, "cost") if len(s.out.indices) == 2]
        )
        == 2
    )


def test_a_product_of_low_rank_stays_one():
    """Σ_kq u_jq v_kq x_k goes through (x v), and its gradient reads that again."""
    kernel = lower(system_of("low_rank_dense")).kernel("gradients")
    n, m = (system_of("low_rank_dense").tensor(t).shape[0] for t in ("y", "x"))
    assert (n, m) not in [b.shape for b in kernel.buffers]


def test_a_recurrence_keeps_its_loop_free_of_conditions():
    """The RNN: what reads no h goes before the loop, and the last element of its adjoint stands apart."""
    kernel = lower(system_of("rnn")).kernel("gradients")
    forward, backward = (s for s in kernel.statements if not isinstance(s, Map | Reduce | Contract))
    assert [type(s) for s in forward.statements] == [Contract, Map]
    assert [type(s) for s in backward.statements] == [Map, Contract]
    assert not any(s.when for s in (*forward.statements, *backward.statements))
    assert not any("tanh" in str(s.body) for s in backward.statements if isinstance(s, Map))


# --- the same System, the same text ------------------------------------------------------------

_PRINT = """
import sys
from chainrule.codegen import lower as rooms
from chainrule.codegen.ir_text import format_kernel
rooms._refuse = lambda _: None
from systems import system_of
for name in sys.argv[1:]:
    for kernel in rooms.lower(system_of(name)).kernels:
        print(format_kernel(kernel))
"""
SEVERAL = ("conv2d", "gru", "attention_causal", "transformer_block", "rnn_softmax", "sigmoid+binary_cross_entropy")


def printed(program: Program) -> str:
    return "".join(format_kernel(k) + "\n" for k in program.kernels)


def test_the_text_does_not_depend_on_the_hash_seed_nor_on_what_ran_before(project):
    path = os.pathsep.join([*sys.path, str(project / "tests")])
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _PRINT, *SEVERAL],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "77")
    }
    outputs.add("".join(printed(lower(system_of(name))) for name in SEVERAL))
    outputs.add("".join(printed(lower(system_of(name))) for name in SEVERAL))
    assert len(outputs) == 1


def test_statements_grow_with_the_layers_and_no_faster():
    def count(layers: int) -> int:
        return len(lower(network([3] * (layers + 1))).kernel("gradients").statements)

    ten, forty = count(10), count(40)
    assert forty - 4 * ten <= 0
    assert (forty - count(30)) == (count(20) - ten)


# --- slots: the interpreter would notice a wrong one --------------------------------------------


def test_a_wrong_slot_is_noticed():
    """Two tensors that live at once in one slot give wrong gradients when memory is shared."""
    it = case("tanh+squared_error")
    kernel = lower(it.system, wrt=it.derivation.wrt).kernel("gradients")
    same = [b for b in kernel.buffers if b.kind is Kind.LOCAL and b.name in ("a1", "da1", "z1")]
    merged = {b.name: "a1" for b in same}
    broken = dataclasses.replace(
        kernel, buffers=tuple(dataclasses.replace(b, slot=merged.get(b.name, b.slot)) for b in kernel.buffers)
    )
    found = run_kernel(broken, it.sizes, it.values, shared=True)
    assert any(not np.allclose(found[n], v) for n, v in it.gradients.items())


def test_slots_are_shared_at_all():
    kernel = lower(system_of("transformer_block")).kernel("gradients")
    locals_ = [b for b in kernel.buffers if b.kind is Kind.LOCAL]
    assert len({b.slot for b in locals_}) < 0.7 * len(locals_)
    assert assign_slots(kernel).buffers == kernel.buffers
    assert all(isinstance(b, Buffer) for b in kernel.slots.values())
    assert isinstance(kernel, Kernel)
