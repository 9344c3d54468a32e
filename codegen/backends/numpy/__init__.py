"""NumPy kernels: values in single assignment, memory by lifetime, one module as text.

    Kernel ─ arrays ─► Arrays ─ memory ─► Memory ─ emit ─► KernelText ─ module ─► `__init__.py`
"""

from __future__ import annotations

from .module import render

__all__ = ["name", "render"]

name = "numpy"
