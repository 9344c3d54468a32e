"""A Program to the text of its NumPy module: kernels first, the calling layer after them."""

from __future__ import annotations

import functools
from importlib.resources import files

import jinja2

from chainrule.codegen.backends.formula import equation_text
from chainrule.codegen.ir import Kind, Program
from chainrule.symbolic.system import COST

from .calling import TUPLES, Calling, calling, quoted
from .emit import KernelText, kernel_text

__all__ = ["MODULE", "render"]

MODULE = "__init__.py"
_TEMPLATES = ("module.py.jinja", "calling.py.jinja", "erf.py.jinja", "windows.py.jinja")
_HELPERS = {"erf": "erf.py.jinja", "erfc": "erf.py.jinja", "windows": "windows.py.jinja"}


def render(program: Program) -> dict[str, str]:
    """The program's module, `__init__.py`: it imports NumPy and the standard library, nothing else."""
    face = calling(program)
    kernels = [kernel_text(k, program.sizes) for k in program.kernels]
    helpers = list(dict.fromkeys(_HELPERS[name] for k in kernels for name in k.special))
    environment = _environment()
    text = environment.get_template("module.py.jinja").render(
        **_head(program, face),
        kernels=[_kernel(program, face, k) for k in kernels],
        math=any("math.erf" in line for k in kernels for line in (*k.prepare, *k.body)),
        helpers=[environment.get_template(name).render().strip() for name in helpers],
        **_tables(program, face),
        plan_data=[a.name for a in face.arguments.values() if a.kind is not Kind.PARAMETER],
        main=face.main,
        methods=face.methods(),
        functions=[*(face.entry(k) for k in program.kernels), face.bind()],
    )
    return {MODULE: text.rstrip() + "\n"}


@functools.cache
def _environment() -> jinja2.Environment:
    folder = files("chainrule.codegen.templates.numpy")
    texts = {name: (folder / name).read_text(encoding="utf-8") for name in _TEMPLATES}
    return jinja2.Environment(
        loader=jinja2.DictLoader(texts),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # the output is Python; every string in it comes from checked names
    )


def _head(program: Program, face: Calling) -> dict[str, object]:
    usage = "cost, g = gradients(...)" if face.main == "gradients" else "g = vjp(...)"
    tensors = [f"{n}: {face.bracket(a.shape)}, {a.kind.value}" for n, a in face.arguments.items()]
    for kernel in program.kernels:
        if kernel.entry == "forward":
            tensors += [f"{n}: {face.bracket(b.shape)}, output" for n, b in face.results(kernel).items()]
    return {
        "title": f"{program.name}: NumPy kernels, {usage}; bind(batch, ...) for many calls.",
        "formulas": [equation_text(e) for e in program.formulas],
        "usage": "The formulas are those of one sample; the first axis of data counts the samples.",
        "dtype": program.dtype,
        "tensors": tensors,
        "name": program.name,
        "sizes": quoted(map(str, program.sizes)),
        "arguments": [f'"{n}": ("{a.kind.value}", {face.shape(a.shape)}),' for n, a in face.arguments.items()],
        "outputs": quoted(program.outputs),
        "wrt": quoted(program.wrt),
    }


def _tables(program: Program, face: Calling) -> dict[str, object]:
    entries = {k.entry: k for k in program.kernels}
    results = {e: face.results(k) for e, k in entries.items()}
    fields = {e: quoted(found) for e, found in results.items() if e in TUPLES}
    tuples = [f'{TUPLES[e]} = namedtuple("{TUPLES[e]}", {f})' for e, f in fields.items()]
    tuples.append(f"_TUPLES = {_dictionary({e: TUPLES[e] for e in fields})}")
    return {
        "table": _dictionary({e: f"_{e}_kernel" for e in entries}),
        "data": _dictionary(
            {e: quoted(face.reads(k, Kind.DATA, Kind.COTANGENT, Kind.TANGENT)) for e, k in entries.items()}
        ),
        "parameters": _dictionary({e: quoted(face.reads(k, Kind.PARAMETER)) for e, k in entries.items()}),
        "results": [
            f'"{e}": {_dictionary({n: face.shape(b.shape) for n, b in found.items()})},' for e, found in results.items()
        ],
        "lengths": face.lengths(),
        "tuples": tuples,
    }


def _kernel(program: Program, face: Calling, text: KernelText) -> dict[str, object]:
    kernel = program.kernel(text.entry)
    fills = [f"{n} {face.bracket(kernel.buffer(n).shape)}" for n in kernel.results if n != COST]
    parts = [f"fills {', '.join(fills)}"] if fills else []
    parts += ["returns the cost"] if COST in kernel.results else []
    return {
        "function": f"_{text.entry}_kernel",
        "summary": f"step({text.signature}) {' and '.join(parts)}.",
        "unpack": text.unpack,
        "prepare": text.prepare,
        "signature": text.signature,
        "body": text.body,
    }


def _dictionary(items: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{k}": {v}' for k, v in items.items()) + "}"
