"""The version of chainrule, as generated files name it."""

__all__ = ["VERSION"]

VERSION = "0.1.0"
