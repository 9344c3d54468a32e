"""From a System to NumPy and C kernels: lower, render, build, load, check."""
