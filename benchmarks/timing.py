"""Timing that a busy machine disturbs little: contenders take turns, the median counts."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import NamedTuple

__all__ = ["Timing", "benchmark_environment", "interleaved", "machine"]


class Timing(NamedTuple):
    """Median seconds of one call, and the median over the rounds of its time over the first contender's."""

    seconds: float
    ratio: float


def interleaved(
    contenders: Mapping[str, Callable[[], object]], seconds: float = 4.0, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Timing]:
    """Time the contenders in turn, round by round, for `seconds`.

    In a round each is called for about 5 ms, in an order that changes from round to round. What slows
    the machine for a while slows a whole round, and leaves the ratios within it alone. `clock` may be
    `time.thread_time` where every contender runs on this thread alone: then other processes do not count.
    """
    repeats = {}
    for name, call in contenders.items():
        shortest = float("inf")
        for _ in range(6):  # the first ones warm up; a call that another process delays must not set the number
            start = time.perf_counter()
            call()
            shortest = min(shortest, time.perf_counter() - start)
        repeats[name] = max(1, round(0.005 / max(shortest, 1e-7)))
    first, *_ = contenders
    order = list(contenders)
    rounds: list[dict[str, float]] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(rounds) < 5:
        order = [*order[1:], order[0]]
        times = {}
        for name in order:
            call = contenders[name]
            start = clock()
            for _ in range(repeats[name]):
                call()
            times[name] = (clock() - start) / repeats[name]
        rounds.append(times)
    return {
        name: Timing(median(r[name] for r in rounds), median(r[name] / r[first] for r in rounds)) for name in contenders
    }


def benchmark_environment(threads: int) -> dict[str, str]:
    """The environment for a measuring process: its number of BLAS threads, and BLAS free to choose its kernels."""
    forced = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    kept = {name: value for name, value in os.environ.items() if name not in forced}
    return {**kept, "OPENBLAS_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def machine() -> str:
    """Processor, cores, compiler, Python and NumPy, one a line."""
    import numpy as np

    cpu = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = information.read_text(encoding="utf-8").splitlines()
        fields = dict(map(str.strip, line.split(":", 1)) for line in reversed(lines) if ":" in line)
        cpu = f"{fields.get('model name', cpu)} (family {fields.get('cpu family')}, model {fields.get('model')})"
        widest = next((n for n in ("avx512f", "avx2", "avx", "sse2") if n in fields.get("flags", "").split()), "")
        cpu += f", {widest}" if widest else ""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return "\n".join(
        [
            f"cpu       {cpu}, {os.cpu_count()} cores",
            f"compiler  {compiler()}",
            f"python    {platform.python_version()}, NumPy {np.__version__} ({blas['name']} {blas['version']})",
        ]
    )


def compiler() -> str:
    """The first line of `cc --version`."""
    try:
        run = subprocess.run([os.environ.get("CC", "cc"), "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "none"
    return run.stdout.splitlines()[0]


if __name__ == "__main__":
    sys.stdout.write(machine() + "\n")
