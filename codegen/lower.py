"""From a System to a Program: batch axis, long arguments stored, gradient, algebra, stable forms, then loop nests.

System ─ with_samples ─ with_intermediates ─ derive ─ simplified ─ merged_sums ─ stable ─ masked
       ─ with_shared_factors ─► System ─ kernel by kernel ─► Program
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chainrule.symbolic.derive import derive
from chainrule.symbolic.intermediates import with_intermediates
from chainrule.symbolic.masks import masked
from chainrule.symbolic.rules import influencing
from chainrule.symbolic.samples import with_samples
from chainrule.symbolic.shared_factors import with_shared_factors
from chainrule.symbolic.simplify import merged_sums, simplified
from chainrule.symbolic.stable import stable
from chainrule.symbolic.system import COST, Role, System, Tensor
from chainrule.symbolic.tangents import gauss_newton_product, hessian_product, tangent

from .entries import PRODUCTS
from .ir import DTYPES, Argument, Kernel, Kind, Program
from .ir_check import check_kernel
from .loops import Lowering
from .passes import assign_slots

__all__ = ["lower"]


def lower(
    system: System,
    *,
    name: str | None = None,
    dtype: str = "float64",
    wrt: Sequence[str] | None = None,
    products: Sequence[str] = (),
) -> Program:
    """The Program of a System: kernels `forward`, `cost` and `gradients` (or `vjp` without a cost).

    `wrt` names the tensors whose gradients are computed (default: every parameter; without a cost
    the data too). `products` asks for further kernels: "jvp" (tangents of the outputs), "hvp" and
    "gauss_newton" (products with the cost's Hessian), all in directions of `wrt`. Raises
    LoweringError where an equation has no kernel form, ValueError for another dtype than float32 or
    float64 or another product.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype {dtype!r}: expected one of {', '.join(DTYPES)}")
    batched = with_intermediates(with_samples(system))
    derivation = derive(batched, wrt, explain=False)
    gradient = simplified(derivation.result)
    ready = _ready(gradient, (*system.outputs, *((COST,) if system.has_cost else ())))
    kernels = []
    if system.outputs:
        kernels.append(_kernel("forward", ready, system.outputs))
    if system.has_cost:
        kernels.append(_kernel("cost", ready, (COST,)))
        kernels.append(_kernel("gradients", ready, (COST, *ready.outputs)))
    else:
        kernels.append(_kernel("vjp", ready, ready.outputs))
    directions: tuple[Tensor, ...] = ()
    for product in products:
        made = _ready(simplified(_product(product, batched, derivation.wrt, gradient)), ())
        directions = directions or tuple(t for t in made.inputs if t.tangent_of is not None)
        kernels.append(_kernel(product, made, made.outputs))
    return Program(
        name or system.name,
        dtype,
        system.sizes,
        (*_arguments(system, ready), *(_direction(t) for t in directions)),
        system.outputs,
        derivation.wrt,
        tuple(kernels),
        system.equations,
    )


def _ready(simple: System, keep: Sequence[str]) -> System:
    """Merged sums and stable forms of all that the System's outputs, and the tensors in `keep`, are made of."""
    live = influencing(simple, *simple.outputs, *keep)
    tensors = (t for t in simple.tensors if t.role is not Role.DEFINED or t.name in live)
    wanted = simple.with_equations((e for e in simple.equations if e.name in live), tensors)
    return with_shared_factors(masked(stable(merged_sums(wanted, keep))))


def _product(product: str, batched: System, wrt: Sequence[str], gradient: System) -> System:
    """The System of one product; its outputs are the results. `gradient` are the gradients, simplified."""
    if product == "jvp":
        return tangent(batched, wrt, batched.outputs)
    if product == "hvp":
        return hessian_product(batched, wrt, gradient)
    if product == "gauss_newton":
        return gauss_newton_product(batched, wrt)
    raise ValueError(f"product {product!r}: expected one of {', '.join(PRODUCTS)}")


def _direction(tensor: Tensor) -> Argument:
    shape = tensor.shape[1:] if tensor.per_sample else tensor.shape
    return Argument(tensor.name, shape, Kind.TANGENT, tensor.per_sample)


def _arguments(system: System, ready: System) -> Iterable[Argument]:
    """Data, parameters and cotangents with the shape of one sample; a cotangent has its output's name."""
    kinds = {Role.DATA: Kind.DATA, Role.PARAMETER: Kind.PARAMETER}
    for tensor in system.inputs:
        yield Argument(tensor.name, tensor.shape, kinds[tensor.role], tensor.role is Role.DATA)
    for tensor in ready.inputs:
        if tensor.adjoint_of is not None:
            yield Argument(tensor.adjoint_of, system.tensor(tensor.adjoint_of).shape, Kind.COTANGENT, tensor.per_sample)


def _kernel(entry: str, system: System, results: Sequence[str]) -> Kernel:
    kernel = assign_slots(Lowering(system, tuple(results)).run(entry))
    check_kernel(kernel)
    return kernel
