"""NumPy kernels: values in single assignment, memory by lifetime, one module as text.

    Kernel ─ arrays ─► Arrays ─ memory ─► Memory ─ emit ─► KernelText ─ module ─► `__init__.py`

Each arrow is the module of that name.
"""

from __future__ import annotations

from .module import render

__all__ = ["name", "render"]

name = "numpy"
