"""Generates the committed kernels of `generated/` again, from a source tree:

    python -m chainrule.codegen.refresh

A committed folder is what today's code generates, byte for byte; a test compares.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from chainrule.symbolic.errors import BuildError, ChainruleError
from chainrule.symbolic.language import parse_file

from .pipeline import Generated, generate

__all__ = ["COMMAND", "MODELS", "Model", "main", "texts"]

COMMAND = "python -m chainrule.codegen.refresh"


@dataclass(frozen=True)
class Model:
    """One committed folder: `source` is its `.eq` file, seen from the root of the tree."""

    name: str
    source: str
    dtype: str
    wrt: tuple[str, ...] | None = None

    def generate(self, tree: Path, out: Path) -> Generated:
        """Write the kernels of both targets to the folder `out`/`name`."""
        system = parse_file(tree / self.source)
        return generate(system, out, name=self.name, targets=("numpy", "c"), dtype=self.dtype, wrt=self.wrt)


MODELS = (
    Model("documented", "symbolic/models/documented.eq", "float64", wrt=("w", "b", "x")),
    Model("digits", "examples/digits/digits.eq", "float32"),
)


def texts(model: Model, tree: Path) -> dict[str, bytes]:
    """What the model's folder should hold today: file name → content."""
    with tempfile.TemporaryDirectory() as out:
        return {path.name: path.read_bytes() for path in model.generate(tree, Path(out))}


def main() -> int:
    """Refresh every folder of `generated/` in the tree where the command is given."""
    tree = Path.cwd()
    try:
        if not all((tree / model.source).is_file() for model in MODELS):
            raise BuildError(f"{tree} is not the source tree: expected {', '.join(m.source for m in MODELS)} in it")
        for model in MODELS:
            for path in model.generate(tree, tree / "generated"):
                print(path.relative_to(tree))
    except ChainruleError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
