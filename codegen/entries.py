"""The names of a model's entry points: what lowering makes, backends write and callers call."""

from __future__ import annotations

__all__ = ["ENTRIES", "PRODUCTS"]

PRODUCTS = ("jvp", "hvp", "gauss_newton")
"""Made on request: products with the Jacobian of the outputs, the cost's Hessian, its Gauss-Newton form."""

ENTRIES = ("forward", "cost", "gradients", "vjp", *PRODUCTS)
"""Every kernel that a model can have; `vjp` takes the place of the middle two without a cost."""
