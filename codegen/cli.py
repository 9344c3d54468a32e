"""The command line: each command resolves MODEL to a System, runs the pipeline and prints what came out.

Errors are one message on the standard error and exit status 2; a failed check is exit status 1.
"""

from __future__ import annotations

import errno
import io
import os
import secrets
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from chainrule.symbolic.errors import BuildError, ChainruleError

from .console import plain_warnings, progress, say, table
from .summary import describe, formulas, verdict
from .version import VERSION

if TYPE_CHECKING:
    from chainrule.symbolic.derive import Derivation
    from chainrule.symbolic.system import System

    from .check import Report
    from .load import Kernels
    from .pipeline import Sources

__all__ = ["main", "program"]

INTERRUPTED = 130
INPUT_BYTES = 2**20
"""More is read of no model; the language's own limits are far below."""
QUICK_TENSORS = 4
"""How many gradients the check of `generate` compares; `check` compares them all."""
DOCUMENTED = "documented"
"""The built-in model whose derivation is the reference document itself."""


class _Failure(click.ClickException):
    exit_code = 2


class _Program(click.Group):
    """The group of commands; whatever goes wrong in one of them becomes one message."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with plain_warnings():
                return super().invoke(ctx)
        except ChainruleError as error:
            raise _Failure(str(error)) from error
        except RecursionError as error:
            raise _Failure("the model is nested too deeply: split its formulas into several equations") from error
        except MemoryError as error:
            raise _Failure("out of memory: try a smaller model") from error
        except KeyboardInterrupt:
            say("Interrupted", error=True)
            ctx.exit(INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader has gone: click ends quietly
            raise _Failure(str(error)) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if os.environ.get("CHAINRULE_DEBUG"):
                raise
            raise _Failure(
                f"a defect in chainrule: {type(error).__name__}: {error}\n"
                "Please report it with the model; CHAINRULE_DEBUG=1 shows where it happened"
            ) from error


@click.group(
    cls=_Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: chainrule generate documented -o out",
)
@click.version_option(VERSION, package_name="chainrule", prog_name="chainrule")
def program() -> None:
    """From formulas to derivative kernels you can trust: derivation on paper, NumPy and C code, proof.

    MODEL is a .eq file, "-" for the standard input, the name of a built-in model, or the options --layers,
    --sigma, --output and --cost.
    """


def main() -> None:
    """The entry point of the `chainrule` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an output that has no letter for a symbol shows ? instead
            stream.reconfigure(errors="replace")
    program(prog_name="chainrule")


def _words(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Words separated by commas."""
    del ctx
    if value is None:
        return None
    words = tuple(word.strip() for word in value.split(","))
    if not all(words):
        raise click.BadParameter(f"expected names separated by commas, got {value!r}", param=parameter)
    return words


def _model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """MODEL, or the options that stand for it."""
    for decorate in (
        click.option("--cost", metavar="NAME", help="Cost of the network: a catalogue name or a formula in a and y."),
        click.option("--output", metavar="NAME", help="Activation of the last layer."),
        click.option("--sigma", metavar="NAME", multiple=True, help="Activation; once, or once for each layer."),
        click.option("--layers", metavar="WIDTHS", callback=_words, help="A dense network, such as 784,128,10."),
        click.argument("model", required=False),
    ):
        command = decorate(command)
    return command


_wrt_option = click.option(
    "--wrt", metavar="NAMES", callback=_words, help="Tensors to differentiate by, such as w,b. Default: all parameters."
)
_dtypes = click.Choice(["float32", "float64"])


def _system(model: str | None, network_options: dict[str, Any]) -> System:
    """The System that MODEL or the network options stand for."""
    given = {name: value for name, value in network_options.items() if value}
    if "layers" in given:
        if model is not None:
            raise click.UsageError(f"give MODEL or --layers, not both: got {model!r} and --layers")
        from chainrule.symbolic.layers import network

        sigma = given.pop("sigma", ())
        if sigma:
            given["sigma"] = sigma[0] if len(sigma) == 1 else list(sigma)
        return network(list(given.pop("layers")), **given)
    if given:
        raise click.UsageError(f"--{next(iter(given))} needs --layers")
    if model is None:
        raise click.UsageError("no model: give a .eq file, the name of a built-in model, or --layers")
    from chainrule.symbolic.language import parse, parse_file
    from chainrule.symbolic.models import builtin

    if model == "-":
        return parse(_standard_input(), file="<stdin>")
    if model.endswith(".eq") or "/" in model or Path(model).is_file():
        return parse_file(model)
    return builtin(model)


@program.command(epilog="Example: chainrule derive documented -o backprop.md")
@_model_options
@_wrt_option
@click.option("-o", "out", metavar="FILE", help="Write .md, .tex, .html or .pdf instead of to the terminal.")
def derive(model: str | None, wrt: tuple[str, ...] | None, out: str | None, **network_options: Any) -> None:
    """Derive every gradient of MODEL on paper, step by step.

    `derive documented` tells the story of the reference document: every displayed formula, in its order.
    """
    from chainrule.symbolic import derive as differentiate

    suffix = Path(out).suffix.lower() if out else ""
    if out and suffix not in (".md", ".tex", ".html", ".pdf"):
        raise BuildError(f"{out}: unknown form {suffix!r}; expected a file name that ends in .md, .tex, .html or .pdf")
    with progress("Deriving"):
        if model == DOCUMENTED and wrt is None and not any(network_options.values()):
            forms = _document_forms()
        else:
            forms = _forms(differentiate(_system(model, network_options), wrt))
        content = _paper(forms, suffix)
    if not out:
        say(content.decode() if isinstance(content, bytes) else content.rstrip("\n"))
        return
    from .files import write_file

    write_file(out, content)


def _standard_input() -> str:
    content = sys.stdin.buffer.read(INPUT_BYTES)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BuildError(f"the standard input is not a text: byte {error.start} is not UTF-8") from error


_Forms = dict[str, Callable[[], str]]
"""What writes a derivation, by the ending of the file; the text for a terminal has none."""


def _forms(derivation: Derivation) -> _Forms:
    return {"": derivation.text, ".md": derivation.markdown, ".tex": derivation.latex, ".html": derivation.html}


def _document_forms() -> _Forms:
    from chainrule.symbolic import documented as story

    return {
        "": story.documented_text,
        ".md": story.documented_markdown,
        ".tex": story.documented_latex,
        ".html": story.documented_html,
    }


def _paper(forms: _Forms, suffix: str) -> str | bytes:
    """The derivation in the form that the file's ending asks for."""
    if suffix == ".pdf":
        from chainrule.symbolic.report import compile_latex

        return compile_latex(forms[".tex"]())
    return forms[suffix]()


@program.command(epilog="Example: chainrule generate documented -o out --dtype float32")
@_model_options
@click.option("-o", "out", metavar="DIR", required=True, help="Folder in which the folder NAME is written.")
@click.option("--name", metavar="NAME", help="Name of the folder and of the C functions. Default: the model's.")
@click.option("--target", "targets", metavar="NAMES", default="numpy,c", callback=_words, show_default=True)
@click.option("--dtype", type=_dtypes, default="float64", show_default=True)
@_wrt_option
@click.option("--products", metavar="NAMES", callback=_words, help="Also jvp, hvp or gauss_newton kernels.")
@click.option("--with-test", is_flag=True, help="Add NAME_test.c, which checks the gradients without Python.")
@click.option("--no-check", is_flag=True, help="Do not check the kernels that were written.")
def generate(
    model: str | None,
    out: str,
    name: str | None,
    targets: tuple[str, ...],
    dtype: str,
    wrt: tuple[str, ...] | None,
    products: tuple[str, ...] | None,
    with_test: bool,
    no_check: bool,
    **network_options: Any,
) -> None:
    """Write NumPy and C kernels of MODEL and its derivatives to DIR/NAME, and check them."""
    from . import pipeline
    from .load import CALLABLE

    with progress("Deriving and writing kernels"):
        system = _system(model, network_options)
        sources = pipeline.render(
            system,
            name=name,
            targets=targets,
            dtype=dtype,
            wrt=wrt,
            products=products or (),
            with_test=with_test,
        )
        unchecked = no_check or not CALLABLE & sources.texts.keys()
        checking = None if unchecked else _Checking(sources, secrets.randbits(32), samples=1, tensors=QUICK_TENSORS)
        paper = pipeline.derivation_text(system, wrt)
        made = pipeline.write(sources, out, derivation=paper)
    describe(made)
    if checking is None:
        return
    with progress("Checking"):
        reports = checking.reports()
    if not verdict(reports, of=len(sources.program.wrt)):
        raise click.exceptions.Exit(1)


class _Checking:
    """A check of rendered sources; the C is compiled while Python goes on."""

    def __init__(self, sources: Sources, seed: int, samples: int, tensors: int | None = None) -> None:
        self._sources = sources
        self._options = {"seed": seed, "samples": samples, "tensors": tensors}
        if "c" in sources.texts:
            threading.Thread(target=self._build, daemon=True).start()

    def _build(self) -> None:
        from .build import find_compiler
        from .load import built

        # the same build is asked for again, and waited for, where its result or its error is wanted
        with suppress(BuildError):
            if find_compiler() is not None:
                built(self._sources.program.name, self._sources.texts["c"])

    def reports(self) -> list[Report]:
        """One report for each target that can run here; C is also held against NumPy."""
        from . import pipeline
        from .load import CALLABLE

        kernels = {t: pipeline.kernels(self._sources, t) for t in self._sources.texts if t in CALLABLE}
        return _checked(kernels, **self._options)


def _checked(kernels: dict[str, Kernels], **options: Any) -> list[Report]:
    from .check import check

    # "c" may have become "numpy" where there is no compiler
    found = {k.target: k for k in kernels.values()}
    return [check(k, peer=found.get("numpy") if t == "c" else None, **options) for t, k in found.items()]


@program.command(epilog="Example: chainrule check digits.eq --dtype float32,float64")
@_model_options
@click.option("--target", "targets", metavar="NAMES", callback=_words, help="Default: numpy,c.")
@click.option("--dtype", "dtypes", metavar="NAMES", callback=_words, help="Default: float64,float32.")
@_wrt_option
@click.option("--samples", type=click.IntRange(1, 1000), default=3, show_default=True, help="Random points.")
@click.option("--seed", type=click.IntRange(0), help="Repeat a check with the seed that it printed.")
def check(
    model: str | None,
    targets: tuple[str, ...] | None,
    dtypes: tuple[str, ...] | None,
    wrt: tuple[str, ...] | None,
    samples: int,
    seed: int | None,
    **network_options: Any,
) -> None:
    """Check the kernels of MODEL, or of a generated folder, against independent oracles.

    Every gradient is compared with the five-point rule and with high-precision differences of the
    formulas, at random points; C is compared with NumPy. The exit status is 1 where one is wrong.
    """
    seed = secrets.randbits(32) if seed is None else seed  # one for all targets and dtypes
    with progress("Checking"):
        if model is not None and Path(model).is_dir():
            reports = _folder_reports(Path(model), targets, dtypes, wrt, samples, seed)
        else:
            from . import pipeline

            system = _system(model, network_options)
            wanted = dtypes or ("float64", "float32")
            # the name of a file may not be a name for code, and nothing is written here
            facts: dict[str, Any] = {"name": "model", "targets": targets or ("numpy", "c"), "wrt": wrt}
            checks = [_Checking(pipeline.render(system, dtype=d, **facts), seed, samples) for d in wanted]
            reports = [report for one in checks for report in one.reports()]
    if not verdict(reports):
        raise click.exceptions.Exit(1)


def _folder_reports(
    folder: Path,
    targets: tuple[str, ...] | None,
    dtypes: tuple[str, ...] | None,
    wrt: tuple[str, ...] | None,
    samples: int,
    seed: int,
) -> list[Report]:
    from .load import MODULE, load
    from .manifest import read_manifest

    if dtypes or wrt:
        raise click.UsageError(f"--dtype and --wrt are fixed in {folder}: leave them out, or give MODEL")
    files = read_manifest(folder).files
    present = [t for t, there in (("numpy", MODULE in files), ("c", any(f.endswith(".c") for f in files))) if there]
    return _checked({t: load(folder, t) for t in targets or present}, samples=samples, seed=seed)


@program.command(epilog="Example: chainrule catalogue sigmoid")
@click.argument("name", required=False)
def catalogue(name: str | None) -> None:
    """List what formulas may use by name, with formulas and derivatives, or show one entry."""
    from chainrule.symbolic.catalogue import CATALOGUE, lookup

    if name is not None:
        entry = lookup(name)
        say(f"{entry.name}: {entry.description}")
        for left, right in formulas(entry):
            say(f"  {left} = {right}")
        if entry.kinks:
            say(f"  {entry.kinks}")
        return
    rows = []
    for entry in CATALOGUE.values():
        first, *others = formulas(entry)
        rows.append((entry.kind, " = ".join(first), others[0][1] if others else ""))
    table(("kind", "formula", "derivative"), rows)
    from chainrule.symbolic.models import builtin_names

    say(f"\nBuilt-in models: {', '.join(builtin_names())}")
