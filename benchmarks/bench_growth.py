"""Time of derivation and generation: every model of `examples/`, and networks of growing depth.

    python benchmarks/bench_growth.py [--repeats 3] [--layers 10 20 50]

Each run is a new process. The clock starts after the imports: the formulas are read, derived with every step and
written as Markdown, lowered, and written as NumPy and C; nothing is compiled or checked. The last column of the
networks is the exponent of growth from the row above: 1 is linear in the layers.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

from timing import machine

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
STAGES = ("read", "derive", "write", "generate")
"""Formulas to System; System to Derivation; Derivation to Markdown; System to the files of both targets."""


def dense(layers: int) -> str:
    """Sigmoid layers of one width, squared error."""
    lines = ["data x[n], y[n]", f"parameter {', '.join(f'w{m}[n, n], b{m}[n]' for m in range(1, layers + 1))}"]
    for m in range(1, layers + 1):
        before = "x" if m == 1 else f"a{m - 1}"
        lines.append(f"z{m}[j] = b{m}[j] + sum[k](w{m}[j, k] * {before}[k])")
        lines.append(f"a{m}[j] = sigmoid(z{m}[j])")
    return "\n".join([*lines, f"cost = sum[j](squared_error(a{layers}[j], y[j]))"])


def residual(layers: int) -> str:
    """Layers that are added to what they read, each after a normalisation: every tensor is read more than once."""
    lines = ["data x[n], y[n]", f"parameter {', '.join(f'w{m}[n, n], g{m}[n]' for m in range(1, layers + 1))}"]
    for m in range(1, layers + 1):
        before = "x" if m == 1 else f"a{m - 1}"
        lines.append(f"r{m} = sqrt(mean[k]({before}[k]**2) + 1/100000)")
        lines.append(f"h{m}[j] = g{m}[j] * {before}[j] / r{m}")
        lines.append(f"a{m}[j] = {before}[j] + gelu(sum[k](w{m}[j, k] * h{m}[k]))")
    return "\n".join([*lines, f"cost = sum[j](squared_error(a{layers}[j], y[j]))"])


NETWORKS = {"dense": dense, "residual": residual}


def run(text: str) -> dict[str, list[float]]:
    """Wall and processor seconds of each stage, in this process."""
    from chainrule.codegen.pipeline import render
    from chainrule.symbolic import derive, parse

    found: dict[str, list[float]] = {}

    def timed(stage, call):
        wall, processor = time.perf_counter(), time.process_time()
        result = call()
        found[stage] = [time.perf_counter() - wall, time.process_time() - processor]
        return result

    system = timed("read", lambda: parse(text))
    derivation = timed("derive", lambda: derive(system))
    timed("write", derivation.markdown)
    timed("generate", lambda: render(system, targets=("numpy", "c"), dtype="float32"))
    return found


def typical(text: str, repeats: int) -> dict[str, list[float]]:
    """The median of several processes, stage by stage."""
    with tempfile.NamedTemporaryFile("w", suffix=".eq") as file:
        file.write(text)
        file.flush()
        command = [sys.executable, __file__, "--here", file.name]
        outputs = (subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(repeats))
        runs = [json.loads(done.stdout) for done in outputs]
    return {s: [median(r[s][m] for r in runs) for m in range(2)] for s in STAGES}


def cells(found: dict[str, list[float]]) -> str:
    """The totals, wall and processor, then the processor time of each stage."""
    wall, processor = (sum(found[s][m] for s in STAGES) for m in range(2))
    return " | ".join([f"{wall:.2f}", f"{processor:.2f}", *(f"{found[s][1]:.2f}" for s in STAGES)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="processes of each model; the median counts")
    parser.add_argument("--layers", type=int, nargs="+", default=[10, 20, 50])
    parser.add_argument("--here", help=argparse.SUPPRESS)  # one model, in a process of its own
    options = parser.parse_args()
    if options.here:
        print(json.dumps(run(Path(options.here).read_text(encoding="utf-8"))))
        return
    print(machine() + "\n", flush=True)
    columns = f"wall, s | processor, s | {' | '.join(STAGES)} |"
    print(f"| example | {columns}\n|---{'|---:' * (2 + len(STAGES))}|")
    for path in sorted(EXAMPLES.glob("*.eq")):
        print(f"| {path.stem} | {cells(typical(path.read_text(encoding='utf-8'), options.repeats))} |", flush=True)
    print(f"\n| network | {columns} growth |\n|---{'|---:' * (3 + len(STAGES))}|")
    for name, network in NETWORKS.items():
        found = {layers: typical(network(layers), options.repeats) for layers in options.layers}
        totals = {layers: sum(f[s][1] for s in STAGES) for layers, f in found.items()}
        growth = [""] + [f"{math.log(totals[b] / totals[a]) / math.log(b / a):.2f}" for a, b in pairwise(totals)]
        for layers, exponent in zip(found, growth, strict=True):
            print(f"| {layers} {name} layers | {cells(found[layers])} | {exponent} |", flush=True)


if __name__ == "__main__":
    main()
