"""Wall time of `chainrule generate`: the documented layer, and networks of growing depth.

    python benchmarks/bench_generate.py [--repeats 5] [--layers 5 10 20 40]

Each run is a new process, the import of SymPy included, into an empty folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from timing import machine


def wall_time(model: list[str], repeats: int) -> float:
    """Median seconds of `chainrule generate MODEL` for both targets."""
    command = [sys.executable, "-m", "chainrule.codegen", "generate", *model, "--target", "numpy,c"]
    times = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            subprocess.run([*command, "-o", str(Path(folder) / "out")], check=True, capture_output=True)
            times.append(time.perf_counter() - start)
    return median(times)


def deep(layers: int) -> list[str]:
    """The model of that many sigmoid layers of 32 neurons."""
    return ["--layers", ",".join(["32"] * (layers + 1)), "--sigma", "sigmoid", "--cost", "squared_error"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="processes of each model; the median counts")
    parser.add_argument("--layers", type=int, nargs="+", default=[5, 10, 20, 40])
    options = parser.parse_args()
    print(machine() + "\n", flush=True)
    print("| chainrule generate, NumPy and C | seconds | per layer beyond the first row, ms |\n|---|---:|---:|")
    print(f"| documented | {wall_time(['documented'], options.repeats):.2f} | |", flush=True)
    first: tuple[int, float] | None = None
    for layers in options.layers:
        seconds = wall_time(deep(layers), options.repeats)
        slope = "" if first is None else f"{(seconds - first[1]) / (layers - first[0]) * 1000:.0f}"
        print(f"| {layers} layers of 32 | {seconds:.2f} | {slope} |", flush=True)
        first = first or (layers, seconds)


if __name__ == "__main__":
    main()
