"""The paper notation: an ordered tree of formulas, and its LaTeX, MathML and terminal printers."""
