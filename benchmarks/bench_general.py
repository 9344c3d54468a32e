"""Generated plans side by side with hand-written NumPy beyond dense networks: one gradient step, float32.

    python benchmarks/bench_general.py [--threads 1] [--seconds 4]

Softmax cross-entropy, layer normalisation and attention. Every contender first computes the gradients
of the same data, and they are compared; then all take turns in one process. A ratio is a contender's
time over hand-written NumPy's: below 1 is faster.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from handwritten_general import Attention, CausalAttention, LayerNorm, LayerNormWithInput, SoftmaxCrossEntropy
from timing import Timing, benchmark_environment, interleaved, machine

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TOLERANCE = 1e-4
"""Largest difference of two float32 gradients, relative to the largest entry of that gradient."""


class Case(NamedTuple):
    """One example at given sizes; `by_hand` makes the hand-written step."""

    example: str
    batch: int
    sizes: dict[str, int]
    by_hand: Callable[..., Any]
    wrt: tuple[str, ...] | None = None

    @property
    def title(self) -> str:
        wrt = f", gradients of {', '.join(self.wrt)}" if self.wrt else ""
        return f"{self.example} batch {self.batch} {' '.join(f'{n}={v}' for n, v in self.sizes.items())}{wrt}"


CASES = (
    Case("softmax_cross_entropy", 64, {"m": 64, "n": 10}, SoftmaxCrossEntropy),
    Case("softmax_cross_entropy", 256, {"m": 784, "n": 100}, SoftmaxCrossEntropy),
    Case("layer_norm", 64, {"D": 256}, LayerNorm),
    Case("layer_norm", 512, {"D": 512}, LayerNorm),
    Case("layer_norm", 64, {"D": 256}, LayerNormWithInput, ("x", "g", "beta")),
    Case("layer_norm", 512, {"D": 512}, LayerNormWithInput, ("x", "g", "beta")),
    Case("attention", 8, {"T": 32, "D": 64, "E": 64, "F": 64}, Attention),
    Case("attention", 16, {"T": 128, "D": 64, "E": 64, "F": 64}, Attention),
    Case("attention_causal", 8, {"T": 32, "D": 64, "E": 64, "F": 64}, CausalAttention),
    Case("attention_causal", 16, {"T": 128, "D": 64, "E": 64, "F": 64}, CausalAttention),
)


def inputs(case: Case, program: Any, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Parameters and data of a case, float32; where a model has labels that sum to 1, theirs do."""
    parameters, data = {}, []
    for argument in program.arguments:
        shape = [int(d.xreplace({s: case.sizes[s.name] for s in d.free_symbols})) for d in argument.shape]
        if argument.kind.value == "parameter":
            parameters[argument.name] = rng.normal(0, shape[-1] ** -0.5, shape).astype(np.float32)
        elif case.by_hand is SoftmaxCrossEntropy and argument.name == "y":
            data.append(np.eye(shape[0], dtype=np.float32)[rng.integers(0, shape[0], case.batch)])
        else:
            data.append(rng.normal(size=(case.batch, *shape)).astype(np.float32))
    return parameters, data


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


def measure(case: Case, targets: list[str], threads: int, seconds: float) -> dict[str, Timing]:
    """One gradient step of each contender; ratios are to hand-written NumPy."""
    from chainrule.codegen import compile
    from chainrule.codegen.lower import lower
    from chainrule.symbolic import parse_file

    system = parse_file(EXAMPLES / f"{case.example}.eq")
    parameters, data = inputs(case, lower(system, wrt=case.wrt), np.random.default_rng(0))
    length = (case.sizes["T"],) if "T" in case.sizes else ()
    steps: dict[str, Any] = {"NumPy by hand": case.by_hand(parameters, case.batch, *length)}
    for target in targets:
        kernels = compile(system, target=target, dtype="float32", wrt=case.wrt)
        title = f"{'NumPy' if target == 'numpy' else 'C'} plan"
        steps[title] = kernels.bind(batch=case.batch, **parameters, **{n: case.sizes[n] for n in length_names(case)})
    costs = {name: step(*data) for name, step in steps.items()}
    gradients = {"NumPy by hand": steps["NumPy by hand"].gradients}
    gradients |= {name: step.gradients._asdict() for name, step in steps.items() if name not in gradients}
    require_equal(case.title, costs, gradients)
    clock = time.thread_time if threads == 1 else time.perf_counter
    return interleaved({name: lambda step=step: step(*data) for name, step in steps.items()}, seconds, clock)


def length_names(case: Case) -> list[str]:
    """Sizes that no parameter's shape gives away."""
    return ["T"] if "T" in case.sizes else []


def table(targets: list[str], threads: int, seconds: float, only: str) -> None:
    """Print the times and ratios of every case, in this process's number of BLAS threads."""
    print(f"\n{threads} BLAS thread{'s' if threads > 1 else ''}\n")
    print("| one gradient step, float32 | contender | µs | ratio |\n|---|---|---:|---:|")
    for case in CASES:
        if only in case.title:
            for name, timing in measure(case, targets, threads, seconds).items():
                print(f"| {case.title} | {name} | {timing.seconds * 1e6:.1f} | {timing.ratio:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="BLAS threads, one table each")
    parser.add_argument("--seconds", type=float, default=4.0, help="measuring time of a case")
    parser.add_argument("--target", nargs="+", default=["numpy"], choices=["numpy", "c"], help="plans to measure")
    parser.add_argument("--case", default="", help="only the cases whose title has this text")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in the prepared environment
    options = parser.parse_args()
    if options.here:
        table(options.target, options.threads[0], options.seconds, options.case)
        return
    print(machine(), flush=True)
    for threads in options.threads:
        command = [sys.executable, __file__, "--here", "--threads", str(threads), "--seconds", str(options.seconds)]
        command += ["--case", options.case, "--target", *options.target]
        subprocess.run(command, env=benchmark_environment(threads), check=True)


if __name__ == "__main__":
    main()
