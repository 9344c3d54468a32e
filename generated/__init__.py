"""Ready-made kernels; each needs NumPy alone."""
