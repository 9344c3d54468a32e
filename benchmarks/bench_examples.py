"""Models of `examples/` side by side: generated plans, hand-written NumPy, PyTorch eager and JAX jit; float32.

    python benchmarks/bench_examples.py [--seconds 4] [--only attention]

Every contender first computes the gradients of the same data, and they are compared; then all take turns in one
process, on one processor. A ratio is a contender's time over hand-written NumPy's: below 1 is faster. PyTorch and
JAX take part where they are installed (the extra `peers`).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import inspect
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bench_kernels import require_equal
from frameworks import makers
from handwritten_examples import Attention, CausalAttention, LayerNorm, SoftmaxCrossEntropy
from timing import Timing, benchmark_environment, interleaved, machine

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


class Case(NamedTuple):
    """One example at some sizes; the gradients of `wrt`. `by_hand` makes the hand-written step."""

    model: str
    batch: int
    sizes: dict[str, int]
    wrt: tuple[str, ...]
    by_hand: Callable[[dict[str, np.ndarray], dict[str, np.ndarray]], Any]

    @property
    def title(self) -> str:
        sizes = ", ".join(f"{name} {extent}" for name, extent in self.sizes.items())
        return f"{self.model}, {sizes}, batch {self.batch}"


CASES = (
    Case("softmax_cross_entropy", 32, {"m": 64, "n": 10}, ("w", "b"), SoftmaxCrossEntropy),
    Case("softmax_cross_entropy", 256, {"m": 784, "n": 10}, ("w", "b"), SoftmaxCrossEntropy),
    Case("softmax_cross_entropy", 64, {"m": 256, "n": 1000}, ("w", "b"), SoftmaxCrossEntropy),
    Case("layer_norm", 32, {"D": 64}, ("g", "beta", "x"), LayerNorm),
    Case("layer_norm", 256, {"D": 768}, ("g", "beta", "x"), LayerNorm),
    Case("attention", 4, {"T": 16, "D": 32, "F": 16, "E": 16}, ("wq", "wk", "wv"), Attention),
    Case("attention", 8, {"T": 128, "D": 64, "F": 64, "E": 64}, ("wq", "wk", "wv"), Attention),
    Case("attention_causal", 4, {"T": 32, "D": 32, "F": 16, "E": 16}, ("wq", "wk", "wv"), CausalAttention),
    Case("attention_causal", 8, {"T": 128, "D": 64, "F": 64, "E": 64}, ("wq", "wk", "wv"), CausalAttention),
)


def inputs(case: Case, system: Any, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Parameters and data, float32; classes are one-hot."""
    sizes = {s: case.sizes[s.name] for s in system.sizes}
    made: dict[str, np.ndarray] = {}
    for tensor in system.inputs:
        shape = [int(d.xreplace(sizes)) for d in tensor.shape]
        if tensor not in system.data:
            made[tensor.name] = rng.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)
        elif case.model == "softmax_cross_entropy" and tensor.name == "y":
            made["y"] = np.eye(shape[0], dtype=np.float32)[rng.integers(0, shape[0], case.batch)]
        else:
            made[tensor.name] = rng.normal(size=[case.batch, *shape]).astype(np.float32)
    data = {t.name for t in system.data}
    return {n: a for n, a in made.items() if n not in data}, {n: a for n, a in made.items() if n in data}


def measure(case: Case, seconds: float) -> dict[str, Timing]:
    """One gradient step of each contender; ratios are to hand-written NumPy."""
    from chainrule.codegen import compile
    from chainrule.symbolic import parse_file

    system = parse_file(EXAMPLES / f"{case.model}.eq")
    parameters, data = inputs(case, system, np.random.default_rng(0))
    arguments = tuple(data.values())
    by_hand = case.by_hand(parameters, data)
    steps: dict[str, Callable[[], Any]] = {"NumPy by hand": lambda: by_hand(*arguments)}
    costs, gradients = {"NumPy by hand": by_hand(*arguments)}, {"NumPy by hand": by_hand.gradients}
    for target, title in (("numpy", "NumPy plan"), ("c", "C plan")):
        kernels = compile(system, target=target, dtype="float32", wrt=case.wrt)
        known = inspect.signature(kernels.bind).parameters  # sizes that no parameter has
        sizes = {name: extent for name, extent in case.sizes.items() if name in known}
        plan = kernels.bind(batch=case.batch, **parameters, **sizes)
        steps[title] = lambda plan=plan: plan(*arguments)
        costs[title], gradients[title] = plan(*arguments), plan.gradients._asdict()
    for title, make in makers(case.model).items():
        steps[title] = step = make(parameters, data, case.wrt)
        cost, found = step()
        costs[title], gradients[title] = float(cost), {n: np.asarray(g) for n, g in found.items()}
    require_equal(case.title, costs, gradients)
    return interleaved(steps, seconds, time.process_time)


CONTENDERS = ("NumPy by hand", "NumPy plan", "C plan", "PyTorch eager", "JAX jit")


def row(case: Case, seconds: float) -> None:
    """Print the hand-written step's time and every other contender's ratio to it."""
    found = measure(case, seconds)
    ratios = (f"{found[name].ratio:.2f}" if name in found else "" for name in CONTENDERS[1:])
    print(f"| {case.title} | {found[CONTENDERS[0]].seconds * 1e6:.1f} | {' | '.join(ratios)} |", flush=True)


def versions() -> str:
    """The frameworks that take part."""
    lines = []
    for name in ("torch", "jax"):
        try:
            lines.append(f"{name:<9} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name:<9} not installed: left out")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="measuring time of a case")
    parser.add_argument("--only", default="", help="cases whose title has this text")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)  # one case, in the prepared environment
    options = parser.parse_args()
    if options.case is not None:
        row(CASES[options.case], options.seconds)
        return
    print(f"{machine()}\n{versions()}\n", flush=True)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # JAX has no other way to be kept to one thread
    print(f"| one gradient step, float32 | {CONTENDERS[0]}, µs | {' | '.join(CONTENDERS[1:])} |")
    print(f"|---{'|---:' * len(CONTENDERS)}|", flush=True)
    for number, _ in ((n, c) for n, c in enumerate(CASES) if options.only in c.title):
        command = [sys.executable, __file__, "--case", str(number), "--seconds", str(options.seconds)]
        subprocess.run(command, env=benchmark_environment(1), check=True)


if __name__ == "__main__":
    main()
