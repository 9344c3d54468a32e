"""Formulas, Systems, derivations: SymPy in, derivatives and their paper form out."""
