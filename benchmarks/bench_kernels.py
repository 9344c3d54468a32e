"""Generated plans side by side with hand-written NumPy: one gradient step, float32.

    python benchmarks/bench_kernels.py [--threads 1 2] [--seconds 4]

Every contender first computes the gradients of the same data, and they are compared; then all take
turns in one process. A ratio is a contender's time over hand-written NumPy's: below 1 is faster.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from handwritten import ReluSoftmaxCrossEntropy, SigmoidSquaredError
from timing import Timing, benchmark_environment, interleaved, machine


class Case(NamedTuple):
    """One network and batch; `by_hand` makes the hand-written step."""

    widths: tuple[int, int, int]
    batch: int
    sigma: str
    output: str
    cost: str
    by_hand: Callable[[dict[str, np.ndarray], int], Any]

    @property
    def title(self) -> str:
        return f"{'-'.join(map(str, self.widths))} batch {self.batch} {self.sigma}, {self.output}, {self.cost}"


CASES = (
    Case((64, 32, 10), 32, "sigmoid", "sigmoid", "squared_error", SigmoidSquaredError),
    Case((784, 128, 10), 256, "relu", "softmax", "cross_entropy", ReluSoftmaxCrossEntropy),
)
TOLERANCE = 2e-5
"""Largest difference of two float32 gradients, relative to the largest entry of that gradient."""


def inputs(case: Case, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Parameters, samples and one-hot labels of a case, float32."""
    parameters = {}
    for layer, (fan_in, fan_out) in enumerate(pairwise(case.widths), start=1):
        parameters[f"w{layer}"] = rng.normal(0, fan_in**-0.5, (fan_out, fan_in)).astype(np.float32)
        parameters[f"b{layer}"] = rng.normal(0, 0.1, fan_out).astype(np.float32)
    x = rng.random((case.batch, case.widths[0]), dtype=np.float32)
    y = np.eye(case.widths[-1], dtype=np.float32)[rng.integers(0, case.widths[-1], case.batch)]
    return parameters, x, y


def require_equal(title: str, costs: dict[str, float], gradients: dict[str, dict[str, np.ndarray]]) -> None:
    """Stop unless all contenders computed the same cost and gradients."""
    reference = gradients["NumPy by hand"]
    for name, found in gradients.items():
        worst = max(
            [float(np.abs(found[k] - reference[k]).max() / np.abs(reference[k]).max()) for k in reference]
            + [abs(costs[name] / costs["NumPy by hand"] - 1)]
        )
        if not worst <= TOLERANCE:
            sys.exit(f"{title}: {name} differs from hand-written NumPy by {worst:.1e}")


def measure(case: Case, threads: int, seconds: float) -> dict[str, Timing]:
    """One gradient step of each contender; ratios are to hand-written NumPy."""
    from chainrule.codegen import compile
    from chainrule.symbolic import network

    parameters, x, y = inputs(case, np.random.default_rng(0))
    system = network(list(case.widths), sigma=case.sigma, output=case.output, cost=case.cost)
    steps = {"NumPy by hand": case.by_hand(parameters, case.batch)}
    for target, title in (("numpy", "NumPy plan"), ("c", "C plan")):
        kernels = compile(system, target=target, dtype="float32")
        steps[title] = kernels.bind(batch=case.batch, **parameters)
    costs = {name: step(x, y) for name, step in steps.items()}
    gradients = {"NumPy by hand": steps["NumPy by hand"].gradients}
    gradients |= {name: step.gradients._asdict() for name, step in steps.items() if name not in gradients}
    require_equal(case.title, costs, gradients)
    clock = time.thread_time if threads == 1 else time.perf_counter
    return interleaved({name: lambda step=step: step(x, y) for name, step in steps.items()}, seconds, clock)


def table(threads: int, seconds: float) -> None:
    """Print the times and ratios of every case, in this process's number of BLAS threads."""
    print(f"\n{threads} BLAS thread{'s' if threads > 1 else ''}\n")
    print("| one gradient step, float32 | contender | µs | ratio |\n|---|---|---:|---:|")
    for case in CASES:
        for name, timing in measure(case, threads, seconds).items():
            print(f"| {case.title} | {name} | {timing.seconds * 1e6:.1f} | {timing.ratio:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="BLAS threads, one table each")
    parser.add_argument("--seconds", type=float, default=4.0, help="measuring time of a case")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in the prepared environment
    options = parser.parse_args()
    if options.here:
        table(options.threads[0], options.seconds)
        return
    print(machine(), flush=True)
    for threads in options.threads:
        command = [sys.executable, __file__, "--here", "--threads", str(threads), "--seconds", str(options.seconds)]
        subprocess.run(command, env=benchmark_environment(threads), check=True)


if __name__ == "__main__":
    main()
