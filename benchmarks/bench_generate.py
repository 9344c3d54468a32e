"""Time of `chainrule generate`: the documented layer, and networks of growing depth.

    python benchmarks/bench_generate.py [--repeats 5] [--layers 5 10 20 40]

Each run is a new process into an empty folder with an empty cache: the import of SymPy, the derivation,
the files of both targets, the compilation of the C, and the check of both.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import NamedTuple

from timing import machine


class Cost(NamedTuple):
    """Seconds on the wall, and of processor time in the process and those that it started."""

    wall: float
    processor: float


def generate(model: list[str]) -> Cost:
    """What one `chainrule generate MODEL` takes."""
    with tempfile.TemporaryDirectory() as work:
        command = [str(Path(sys.executable).with_name("chainrule")), "generate", *model, "-o", f"{work}/out"]
        before, start = processor_time(), time.perf_counter()
        environment = {**os.environ, "CHAINRULE_CACHE": f"{work}/cache"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        return Cost(time.perf_counter() - start, processor_time() - before)


def processor_time() -> float:
    """User and system seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def typical(model: list[str], repeats: int) -> Cost:
    """The median of several runs."""
    return Cost(*(median(column) for column in zip(*(generate(model) for _ in range(repeats)), strict=True)))


def deep(layers: int) -> list[str]:
    """The model of that many sigmoid layers of 32 neurons."""
    return ["--layers", ",".join(["32"] * (layers + 1)), "--sigma", "sigmoid", "--cost", "squared_error"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="processes of each model; the median counts")
    parser.add_argument("--layers", type=int, nargs="+", default=[5, 10, 20, 40])
    options = parser.parse_args()
    print(machine() + "\n", flush=True)
    print("| chainrule generate | wall, s | processor, s | processor per further layer, ms |\n|---|---:|---:|---:|")
    cost = typical(["documented"], options.repeats)
    print(f"| documented | {cost.wall:.2f} | {cost.processor:.2f} | |", flush=True)
    before: tuple[int, Cost] | None = None
    for layers in options.layers:
        cost = typical(deep(layers), options.repeats)
        slope = ""
        if before is not None:
            slope = f"{(cost.processor - before[1].processor) / (layers - before[0]) * 1000:.0f}"
        print(f"| {layers} layers of 32 | {cost.wall:.2f} | {cost.processor:.2f} | {slope} |", flush=True)
        before = (layers, cost)


if __name__ == "__main__":
    main()
