"""The examples run as their pages say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn", reason="the examples extra is not installed")


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = project / "examples" / "digits" / "train.py"
    return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_digits_are_learnt(project: Path, target: str) -> None:
    """At least 95 % of the test digits, and a loss that is printed every epoch and falls."""
    result = run(project, "--target", target)
    assert result.returncode == 0, result.stdout + result.stderr
    losses = [float(value) for value in re.findall(r"loss (\S+)", result.stdout)]
    assert len(losses) == 30
    assert losses[-1] < losses[0] / 4
    (reached,) = re.findall(r"([\d.]+)% of 450 test digits", result.stdout)
    assert float(reached) >= 95


def test_a_miss_is_an_exit_status(project: Path) -> None:
    """Too little training must not pass for success."""
    result = run(project, "--target", "numpy", "--epochs", "1", "--rate", "0.0001")
    assert result.returncode == 1
    assert "below the required 95%" in result.stderr
