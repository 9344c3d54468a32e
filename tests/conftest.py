"""Shared by all tests: one kernel cache for the run, fresh random inputs whose seed a failure shows."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
CACHE = "CHAINRULE_CACHE"
SEED = "CHAINRULE_TEST_SEED"

settings.register_profile("chainrule", deadline=None, print_blob=True)
settings.load_profile("chainrule")


def pytest_configure(config: pytest.Config) -> None:
    """Give the run a kernel cache of its own: the workers inherit it, the user's stays untouched."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="chainrule-test-cache-")
        os.environ[CACHE] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(scope="session", autouse=True)
def kernel_cache() -> Path:
    """The folder in which this run's compiled kernels are cached."""
    return Path(os.environ[CACHE])


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture
def seed() -> int:
    """A fresh seed, printed so that a failure shows it; CHAINRULE_TEST_SEED repeats one."""
    chosen = int(os.environ.get(SEED, secrets.randbits(32)))
    print(f"{SEED}={chosen}")
    return chosen


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """Random numbers from the fresh seed."""
    return np.random.default_rng(seed)
