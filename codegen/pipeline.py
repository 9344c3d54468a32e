"""The pipeline on one screen, from a System to files or to kernels.

    System ─ lower ─► Program ─ backends ─► Sources (file texts) ─► write_folder   generate
                                                    └─► build, load ─► Kernels     compile

Each stage's output is the next one's input, and none looks back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from chainrule.symbolic.errors import BuildError
from chainrule.symbolic.format import format_system

from .backends import TARGETS, backend
from .entries import PRODUCTS
from .files import MANIFEST, output_name, write_folder
from .ir import DTYPES, Program
from .load import MODULE, Kernels, check_callable, check_request, kernels_from_texts
from .lower import lower
from .manifest import manifest_text

if TYPE_CHECKING:
    import os

    from chainrule.symbolic.system import System

__all__ = ["DERIVATION", "Generated", "Sources", "compile", "derivation_text", "generate", "kernels", "render", "write"]

DERIVATION = "derivation.md"


@dataclass(frozen=True)
class Sources:
    """A model on its way to files: the System, the Program, and the texts of each target's files."""

    system: System
    program: Program
    texts: Mapping[str, Mapping[str, str]]
    formulas: str


@dataclass(frozen=True)
class Generated:
    """What `generate` wrote: the folder and its files, iterated in the order written."""

    folder: Path
    files: tuple[Path, ...]
    program: Program

    def __iter__(self) -> Iterator[Path]:
        return iter(self.files)

    def __len__(self) -> int:
        return len(self.files)


def generate(
    system: System,
    out: str | os.PathLike[str],
    *,
    name: str | None = None,
    targets: Sequence[str] = ("numpy", "c"),
    dtype: str = "float64",
    wrt: Sequence[str] | None = None,
    products: Sequence[str] = (),
    with_test: bool = False,
    derivation: bool = True,
) -> Generated:
    """Write the model's kernels, derivation and manifest to the folder `out`/`name`, whole or not at all.

    `name` defaults to the System's; an `out` that ends in it already is the folder itself. `wrt` are
    the tensors whose gradients are wanted (default: every parameter). `products` asks for kernels of
    second order and forward mode: "jvp", "hvp", "gauss_newton", in directions of `wrt`. `with_test` adds a C program
    that checks the gradients without Python. Raises BuildError for a bad name, target or dtype and
    for an output that cannot be written, DerivationError or LoweringError where the model has no kernels.
    """
    sources = render(system, name=name, targets=targets, dtype=dtype, wrt=wrt, products=products, with_test=with_test)
    return write(sources, out, derivation=derivation_text(system, wrt) if derivation else None)


def compile(
    system: System,
    target: str = "c",
    dtype: str = "float64",
    *,
    threads: int = 1,
    wrt: Sequence[str] | None = None,
    products: Sequence[str] = (),
) -> Kernels:
    """The model's kernels, ready to be called; built in the per-user cache.

    Without a C compiler the NumPy kernels take the place of the C ones, with one warning. Raises
    what `generate` does, and BuildError where the C does not compile.
    """
    check_request(target, threads)
    check_callable(target)
    return kernels(render(system, targets=(target,), dtype=dtype, wrt=wrt, products=products), target)


def render(
    system: System,
    *,
    name: str | None = None,
    targets: Sequence[str] = ("numpy", "c"),
    dtype: str = "float64",
    wrt: Sequence[str] | None = None,
    products: Sequence[str] = (),
    with_test: bool = False,
) -> Sources:
    """Lower the System and render the sources of every target; `with_test` adds NAME_test.c to the C ones."""
    chosen = output_name(system.name if name is None else name)
    if dtype not in DTYPES:
        raise BuildError(f"unknown dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    if not targets or isinstance(targets, str):
        raise BuildError(f"no targets: expected some of {', '.join(TARGETS)}, got {targets!r}")
    for target in targets:
        check_request(target, threads=1)
    for product in products:
        if isinstance(products, str) or product not in PRODUCTS:
            raise BuildError(f"unknown products {products!r}: expected some of {', '.join(PRODUCTS)}")
    program = lower(system, name=chosen, dtype=dtype, wrt=wrt, products=tuple(dict.fromkeys(products)))
    texts = {target: _rendered(target, program, with_test) for target in dict.fromkeys(targets)}
    return Sources(system, program, texts, format_system(system))


def _rendered(target: str, program: Program, with_test: bool) -> dict[str, str]:
    render_program: Callable[..., dict[str, str]] = backend(target).render
    # a test that needs no Python is something that only C has
    return render_program(program, with_test=with_test) if target == "c" else render_program(program)


def derivation_text(system: System, wrt: Sequence[str] | None = None) -> str:
    """The derivation of the model's gradients, in Markdown."""
    from chainrule.symbolic.derive import derive

    return derive(system, wrt).markdown()


def write(sources: Sources, out: str | os.PathLike[str], *, derivation: str | None = None) -> Generated:
    """Write rendered sources, and the derivation's text, to the folder that generate's `out` stands for."""
    program = sources.program
    texts: dict[str, str] = {}
    for rendered in sources.texts.values():
        texts.update(rendered)
    if derivation is not None:
        texts[DERIVATION] = derivation
    texts[MANIFEST] = manifest_text(program, sources.formulas, texts, tuple(sources.texts))
    folder = Path(out)
    folder = folder if folder.name == program.name else folder / program.name
    return Generated(folder, write_folder(folder, texts), program)


def kernels(sources: Sources, target: str) -> Kernels:
    """Load rendered sources. The NumPy module is the calling layer of every target: rendered here if need be."""
    texts = {file: text for rendered in sources.texts.values() for file, text in rendered.items()}
    if MODULE not in texts:
        texts.update(backend("numpy").render(sources.program))
    return kernels_from_texts(
        texts,
        target,
        name=sources.program.name,
        dtype=sources.program.dtype,
        wrt=sources.program.wrt,
        formulas=sources.formulas,
        system=sources.system,
    )
