"""digits: NumPy kernels, cost, g = gradients(...); bind(batch, ...) for many calls.

    z1[j] = b1[j] + sum_k x[k]*w1[j,k]
    a1[j] = tanh(z1[j])
    z2[j] = b2[j] + sum_k a1[k]*w2[j,k]
    a2[j] = exp(z2[j])/(sum_k exp(z2[k]))
    cost = sum_j cross_entropy(a2[j], y[j])

The formulas are those of one sample; the first axis of data counts the samples.

Arrays are float32:
    x: [batch, 64], data
    y: [batch, 10], data
    w1: [32, 64], parameter
    b1: [32], parameter
    w2: [10, 32], parameter
    b2: [10], parameter
    a2: [batch, 10], output
"""

from collections import namedtuple
from contextvars import copy_context

import numpy as np

NAME = "digits"
DTYPE = np.dtype("float32")
SIZES = ()
ARGUMENTS = {
    "x": ("data", ("batch", 64)),
    "y": ("data", ("batch", 10)),
    "w1": ("parameter", (32, 64)),
    "b1": ("parameter", (32,)),
    "w2": ("parameter", (10, 32)),
    "b2": ("parameter", (10,)),
}
OUTPUTS = ("a2",)
WRT = ("w1", "b1", "w2", "b2")


# The kernels. Each function prepares one: it names arrays, makes views and constants, and returns the
# step that computes, which allocates nothing. `empty` allocates the workspace.


def _forward_kernel(sizes, parameters, results, empty):
    """step(x) fills a2 [batch, 10]."""
    (batch,) = sizes
    w1, b1, w2, b2 = parameters
    (a2,) = results
    z2_sum = z2 = a2_exp = a2
    z1_sum = z1 = a1 = empty((batch, 32))
    z2_turned = empty((10, batch))
    a2_max = a2_sum = empty((batch,))
    w1_T = w1.T
    w2_T = w2.T
    z2_T = z2.T
    a2_max_column = a2_max[:, None]
    ones_10 = np.ones(10, DTYPE)
    a2_sum_column = a2_sum[:, None]

    def step(x):
        # z1[s,j] = b1[j] + sum_k w1[j,k]*x[s,k]
        x.dot(w1_T, out=z1_sum)
        np.add(b1, z1_sum, out=z1)
        # a1[s,j] = tanh(z1[s,j])
        np.tanh(z1, out=a1)
        # z2[s,j] = b2[j] + sum_k a1[s,k]*w2[j,k]
        a1.dot(w2_T, out=z2_sum)
        np.add(b2, z2_sum, out=z2)
        # a2_max[s] = max_k z2[s,k]
        np.copyto(z2_turned, z2_T)
        np.maximum.reduce(z2_turned, axis=0, out=a2_max)
        # a2_exp[s,k] = exp(z2[s,k] - a2_max[s])
        np.subtract(z2, a2_max_column, out=a2_exp)
        np.exp(a2_exp, out=a2_exp)
        # a2_sum[s] = sum_k a2_exp[s,k]
        a2_exp.dot(ones_10, out=a2_sum)
        # a2[s,j] = a2_exp[s,j]/a2_sum[s]
        np.divide(a2_exp, a2_sum_column, out=a2)

    return step


def _cost_kernel(sizes, parameters, results, empty):
    """step(x, y) returns the cost."""
    (batch,) = sizes
    w1, b1, w2, b2 = parameters
    z1_sum = z1 = a1 = empty((batch, 32))
    z2_sum = z2 = scratch = empty((batch, 10))
    z2_turned = empty((10, batch))
    a2_max = a2_sum = log_a2_sum = empty((batch,))
    a2_exp = empty((batch, 10))
    cost_sum__ = empty((batch,))
    w1_T = w1.T
    w2_T = w2.T
    z2_T = z2.T
    a2_max_column = a2_max[:, None]
    ones_10 = np.ones(10, DTYPE)
    scratch_flat = scratch.reshape(-1)

    def step(x, y):
        # z1[s,j] = b1[j] + sum_k w1[j,k]*x[s,k]
        x.dot(w1_T, out=z1_sum)
        np.add(b1, z1_sum, out=z1)
        # a1[s,j] = tanh(z1[s,j])
        np.tanh(z1, out=a1)
        # z2[s,j] = b2[j] + sum_k a1[s,k]*w2[j,k]
        a1.dot(w2_T, out=z2_sum)
        np.add(b2, z2_sum, out=z2)
        # a2_max[s] = max_k z2[s,k]
        np.copyto(z2_turned, z2_T)
        np.maximum.reduce(z2_turned, axis=0, out=a2_max)
        # a2_exp[s,k] = exp(z2[s,k] - a2_max[s])
        np.subtract(z2, a2_max_column, out=scratch)
        np.exp(scratch, out=a2_exp)
        # a2_sum[s] = sum_k a2_exp[s,k]
        a2_exp.dot(ones_10, out=a2_sum)
        # cost = (sum_s log(a2_sum[s])*(sum_j y[s,j]) - (sum_{s2,j2} (z2[s2,j2] - a2_max[s2])*y[s2,j2]))/batch
        y.dot(ones_10, out=cost_sum__)
        np.log(a2_sum, out=log_a2_sum)
        cost = (float(cost_sum__.dot(log_a2_sum)) - float(scratch_flat.dot(y.reshape(-1)))) / batch
        return cost

    return step


def _gradients_kernel(sizes, parameters, results, empty):
    """step(x, y) fills dw1 [32, 64], db1 [32], dw2 [10, 32], db2 [10] and returns the cost."""
    (batch,) = sizes
    w1, b1, w2, b2 = parameters
    dw1, db1, dw2, db2 = results
    z1_sum = z1 = a1 = empty((batch, 32))
    z2_sum = z2 = scratch = empty((batch, 10))
    z2_turned = empty((10, batch))
    a2_max = a2_sum = empty((batch,))
    a2_exp = dz2 = empty((batch, 10))
    cost_sum__ = cost_sum___over_a2_sum = empty((batch,))
    log_a2_sum = empty((batch,))
    da1 = empty((batch, 32))
    dz1 = empty((batch, 32))
    w1_T = w1.T
    w2_T = w2.T
    z2_T = z2.T
    a2_max_column = a2_max[:, None]
    ones_10 = np.ones(10, DTYPE)
    scratch_flat = scratch.reshape(-1)
    cost_sum___over_a2_sum_column = cost_sum___over_a2_sum[:, None]
    one_over_batch = np.array(1/batch, DTYPE)
    one = np.array(1, DTYPE)
    dz1_T = dz1.T
    ones_batch = np.ones(batch, DTYPE)
    dz2_T = dz2.T

    def step(x, y):
        # z1[s,j] = b1[j] + sum_k w1[j,k]*x[s,k]
        x.dot(w1_T, out=z1_sum)
        np.add(b1, z1_sum, out=z1)
        # a1[s,j] = tanh(z1[s,j])
        np.tanh(z1, out=a1)
        # z2[s,j] = b2[j] + sum_k a1[s,k]*w2[j,k]
        a1.dot(w2_T, out=z2_sum)
        np.add(b2, z2_sum, out=z2)
        # a2_max[s] = max_k z2[s,k]
        np.copyto(z2_turned, z2_T)
        np.maximum.reduce(z2_turned, axis=0, out=a2_max)
        # a2_exp[s,k] = exp(z2[s,k] - a2_max[s])
        np.subtract(z2, a2_max_column, out=scratch)
        np.exp(scratch, out=a2_exp)
        # a2_sum[s] = sum_k a2_exp[s,k]
        a2_exp.dot(ones_10, out=a2_sum)
        # cost = (sum_s log(a2_sum[s])*(sum_j y[s,j]) - (sum_{s2,j2} (z2[s2,j2] - a2_max[s2])*y[s2,j2]))/batch
        y.dot(ones_10, out=cost_sum__)
        np.log(a2_sum, out=log_a2_sum)
        cost = (float(cost_sum__.dot(log_a2_sum)) - float(scratch_flat.dot(y.reshape(-1)))) / batch
        # dz2[s,k] = (a2[s,k]*(sum_j y[s,j]) - y[s,k])/batch
        np.divide(cost_sum__, a2_sum, out=cost_sum___over_a2_sum)
        np.multiply(cost_sum___over_a2_sum_column, a2_exp, out=dz2)
        np.subtract(dz2, y, out=dz2)
        np.multiply(dz2, one_over_batch, out=dz2)
        # da1[s,k] = sum_j dz2[s,j]*w2[j,k]
        dz2.dot(w2, out=da1)
        # dz1[s,j] = (1 - a1[s,j]^2)*da1[s,j]
        np.square(a1, out=dz1)
        np.subtract(one, dz1, out=dz1)
        np.multiply(dz1, da1, out=dz1)
        # dw1[j,k] = sum_s dz1[s,j]*x[s,k]
        dz1_T.dot(x, out=dw1)
        # db1[j] = sum_s dz1[s,j]
        ones_batch.dot(dz1, out=db1)
        # dw2[j,k] = sum_s a1[s,k]*dz2[s,j]
        dz2_T.dot(a1, out=dw2)
        # db2[j] = sum_s dz2[s,j]
        ones_batch.dot(dz2, out=db2)
        return cost

    return step


# The calling layer: arrays in, checked; results out. What the kernels compute is no business of it.

_KERNELS = {"forward": _forward_kernel, "cost": _cost_kernel, "gradients": _gradients_kernel}
_DATA = {"forward": ("x",), "cost": ("x", "y"), "gradients": ("x", "y")}
_PARAMETERS = {"forward": ("w1", "b1", "w2", "b2"), "cost": ("w1", "b1", "w2", "b2"), "gradients": ("w1", "b1", "w2", "b2")}
_RESULTS = {
    "forward": {"a2": ("batch", 10)},
    "cost": {},
    "gradients": {"w1": (32, 64), "b1": (32,), "w2": (10, 32), "b2": (10,)},
}
_LENGTHS = {}  # no axis is longer than a name says
Outputs = namedtuple("Outputs", ("a2",))
Gradients = namedtuple("Gradients", ("w1", "b1", "w2", "b2"))
_TUPLES = {"forward": Outputs, "gradients": Gradients}
_ndarray = np.ndarray
_dtype = DTYPE


class ShapeError(ValueError):
    """An array whose shape does not fit the model: says which, what was expected and what came."""


def _array(name, value):
    """The value as an aligned array of DTYPE in C order, converted where nothing is lost: itself where it is one."""
    if value.__class__ is _ndarray and value.dtype is _dtype and value.flags.c_contiguous and value.flags.aligned:
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected plain numbers, got a masked array; fill it first, as with {name}.filled(0)")
    try:
        found = np.asarray(value)
    except Exception as error:
        raise TypeError(f"{name}: expected an array of {DTYPE}, got {type(value).__name__} ({error})") from error
    plain = not hasattr(value, "dtype")  # Python numbers and lists of them have no precision of their own
    if found.dtype.kind not in "biuf" or not (plain or np.can_cast(found.dtype, DTYPE, "safe")):
        raise TypeError(
            f"{name}: expected {DTYPE}, or what converts to it without loss; got {found.dtype}; "
            f"convert it yourself, as with {name}.astype({DTYPE.name!r}), if the loss is meant"
        )
    with np.errstate(over="ignore"):
        array = np.require(found, DTYPE, ["C", "A"])
    if plain and not np.array_equal(np.isinf(array), np.isinf(found)):
        raise TypeError(f"{name}: a number is too large for {DTYPE}")
    return array


def _text(shape):
    inner = ", ".join(str(axis) for axis in shape)
    return f"({inner},)" if len(shape) == 1 else f"({inner})"


def _length(axis, sizes):
    """The length of an axis; None while a size in it is not known."""
    if axis in sizes:
        return sizes[axis]
    if axis in _LENGTHS:
        names, formula, _ = _LENGTHS[axis]
        return formula(*[sizes[name] for name in names]) if all(name in sizes for name in names) else None
    return axis if isinstance(axis, int) else None


def _misfit(name, shape, sizes, origin):
    """The error that says what shape was expected, why, and what to do."""
    kind, axes = ARGUMENTS[name]
    used = dict.fromkeys(size for axis in axes for size in _LENGTHS.get(axis, ((axis,), None))[0])
    known = ", ".join(f"{size}={sizes[size]} from {origin[size]}" for size in used if origin.get(size, name) != name)
    lengths = [_length(axis, sizes) for axis in axes]
    advice = "pass an array of that shape"
    if axes[:1] == ("batch",) and len(shape) == len(axes) - 1:
        advice = f"the first axis counts the samples: for one sample pass {name}[None]"
    elif list(shape[::-1]) == lengths != list(shape):
        advice = f"pass {name}.T"
    expected = f"{_text(axes)} with {known}" if known else _text(axes)
    return ShapeError(f"{name}: expected shape {expected}; got {_text(shape)}; {advice}")


def _solve(shapes, given, source="the call"):
    """Every size from the arrays' shapes: bare names first, then expressions with one size unknown."""
    sizes = {name: _count(name, value) for name, value in given.items()}
    origin = dict.fromkeys(sizes, source)
    axes = [(name, *pair) for name, shape in shapes.items() for pair in zip(ARGUMENTS[name][1], shape)]
    for name, axis, length in axes:
        if length == 0:
            what = "the batch is empty: pass at least one sample" if axis == "batch" else f"the axis {axis} is empty"
            raise ShapeError(f"{name}: expected lengths of at least 1; got {_text(shapes[name])}; {what}")
        if not isinstance(axis, int) and axis not in _LENGTHS and axis not in sizes:
            sizes[axis], origin[axis] = length, name
    for name, axis, length in axes * len(SIZES) if _LENGTHS else ():
        names, formula, linear = _LENGTHS.get(axis, ((), None, ()))
        unknown = [size for size in names if size not in sizes]
        if len(unknown) == 1 and unknown[0] in linear:
            low, high = (formula(*(sizes.get(size, trial) for size in names)) for trial in (0, 1))
            if high != low and (length - low) % (high - low) == 0 and (length - low) // (high - low) > 0:
                sizes[unknown[0]], origin[unknown[0]] = (length - low) // (high - low), name
    for name, shape in shapes.items():
        if shape != _shape(ARGUMENTS[name][1], sizes):
            raise _misfit(name, shape, sizes, origin)
    return sizes


def _count(name, value):
    """A size or batch given by the caller as a number."""
    try:
        number = value.__index__()
    except (AttributeError, TypeError):
        raise TypeError(f"{name}: expected a whole number, got {type(value).__name__}") from None
    if number < 1:
        raise ShapeError(f"{name}: expected at least 1; got {number}")
    return number


def _shape(axes, sizes):
    return tuple([_length(axis, sizes) for axis in axes])


def _order(sizes):
    """The sizes as kernels take them; one that no argument of the kernel has does not matter."""
    return tuple(sizes.get(name, 1) for name in ("batch", *SIZES))


def _answer(entry, cost, results):
    """What a call returns: the cost, a named tuple, or both."""
    if entry == "cost":
        return cost
    return (cost, _TUPLES[entry](*results)) if entry == "gradients" else _TUPLES[entry](*results)


def _call(entry, given, **known):
    """One call with results and workspace of its own."""
    arrays = {name: _array(name, value) for name, value in given.items()}
    sizes = _solve({name: array.shape for name, array in arrays.items()}, known)
    sizes.setdefault("batch", 1)
    results = [np.empty(_shape(axes, sizes), DTYPE) for axes in _RESULTS[entry].values()]
    with np.errstate(all="ignore"):  # infinities and NaN tell the caller by themselves
        parameters = [arrays[name] for name in _PARAMETERS[entry]]
        step = _KERNELS[entry](_order(sizes), parameters, results, lambda shape, dtype=DTYPE: np.empty(shape, dtype))
        cost = step(*[arrays[name] for name in _DATA[entry]])
    return _answer(entry, cost, results)


def _aligned(nbytes):
    """Uninitialised bytes that begin on a cache line."""
    memory = np.empty(nbytes + 64, np.uint8)
    start = -memory.__array_interface__["data"][0] % 64
    return memory[start : start + nbytes]


class Plan:
    """The kernels bound to one batch size and, by reference, to parameters: made by `bind`.

    A call allocates nothing, sees what was last written to the parameters, and returns views of the
    plan's own arrays, which the next call overwrites: copy what has to last. One thread at a time.
    """

    def __init__(self, sizes, parameters):
        self._sizes = sizes
        self._parameters = parameters
        context = copy_context()
        context.run(np.seterr, all="ignore")  # infinities and NaN tell the caller by themselves
        self._run = context.run
        self._steps = {}
        self.workspace_bytes = 0
        self._carve()
        self._shape_x = _shape(ARGUMENTS["x"][1], sizes)
        self._shape_y = _shape(ARGUMENTS["y"][1], sizes)
        self._step = self._prepare("gradients")
        self.gradients = self._results["gradients"]

    def _carve(self):
        """One block of memory for all results, so that data that lie in it can be told at once."""
        shapes = [(entry, _shape(axes, self._sizes)) for entry, found in _RESULTS.items() for axes in found.values()]
        lengths = [int(np.prod(shape)) * DTYPE.itemsize for _, shape in shapes]
        starts = [sum(-(-length // 64) * 64 for length in lengths[:m]) for m in range(len(lengths) + 1)]
        block = _aligned(starts[-1])
        self._memory = block.base
        arrays = {entry: [] for entry in _RESULTS}
        for (entry, shape), start, length in zip(shapes, starts, lengths):
            arrays[entry].append(block[start : start + length].view(DTYPE).reshape(shape))
        self._results = {entry: _TUPLES[entry](*found) for entry, found in arrays.items() if entry in _TUPLES}

    def _empty(self, shape, dtype=DTYPE):
        """An array of the workspace."""
        dtype = np.dtype(dtype)
        block = _aligned(int(np.prod(shape)) * dtype.itemsize)
        self.workspace_bytes += block.nbytes
        return block.view(dtype).reshape(shape)

    def _prepare(self, entry):
        """The step of a kernel, made when it is first needed."""
        parameters = [self._parameters[name] for name in _PARAMETERS[entry]]
        results = list(self._results.get(entry, ()))
        step = self._run(_KERNELS[entry], _order(self._sizes), parameters, results, self._empty)
        self._steps[entry] = step
        return step

    def _take(self, name, value):
        """Data that are not yet as a kernel takes them."""
        array = _array(name, value)
        if array.shape != _shape(ARGUMENTS[name][1], self._sizes):
            if array.shape[:1] == (0,):
                raise ShapeError(f"{name}: the batch is empty; this plan is bound to batch={self._sizes['batch']}")
            raise _misfit(name, array.shape, self._sizes, dict.fromkeys(self._sizes, "bind"))
        return array.copy() if np.may_share_memory(array, self._memory) else array

    def __call__(self, x, y):
        """cost_avg and its gradients with respect to w1, b1, w2, b2, in one pass. The gradients are in `self.gradients`."""
        _ready = x.__class__ is _ndarray and x.dtype is _dtype and x.shape == self._shape_x
        if not (_ready and x.flags.carray and x.base is not self._memory):
            x = self._take("x", x)
        _ready = y.__class__ is _ndarray and y.dtype is _dtype and y.shape == self._shape_y
        if not (_ready and y.flags.carray and y.base is not self._memory):
            y = self._take("y", y)
        return self._run(self._step, x, y)

    def forward(self, x):
        """The outputs a2. Views of the plan's arrays."""
        _ready = x.__class__ is _ndarray and x.dtype is _dtype and x.shape == self._shape_x
        if not (_ready and x.flags.carray and x.base is not self._memory):
            x = self._take("x", x)
        self._run(self._steps.get("forward") or self._prepare("forward"), x)
        return self._results["forward"]

    def cost(self, x, y):
        """cost_avg, the mean over the batch of the cost of one sample. """
        _ready = x.__class__ is _ndarray and x.dtype is _dtype and x.shape == self._shape_x
        if not (_ready and x.flags.carray and x.base is not self._memory):
            x = self._take("x", x)
        _ready = y.__class__ is _ndarray and y.dtype is _dtype and y.shape == self._shape_y
        if not (_ready and y.flags.carray and y.base is not self._memory):
            y = self._take("y", y)
        return self._run(self._steps.get("cost") or self._prepare("cost"), x, y)


def _bound(name, value):
    """A parameter as a plan can refer to it: no conversion, or later changes would not be seen."""
    if isinstance(value, _ndarray) and not isinstance(value, np.ma.MaskedArray):
        array = np.asarray(value)
        if array.dtype == DTYPE and array.flags.c_contiguous and array.flags.aligned:
            return array
        order = "" if array.flags.c_contiguous else ", strided"
        found = f"{array.dtype}{order}{'' if array.flags.aligned else ', misaligned'}"
    else:
        found = type(value).__name__
    raise TypeError(
        f"{name}: a plan refers to its parameters, so it takes C-contiguous arrays of {DTYPE} only; got {found}; "
        f"make one with {name} = np.ascontiguousarray({name}, dtype={DTYPE.name!r}) and update it in place"
    )


def _bind(batch, given, **known):
    """A plan, once sizes are known and agree."""
    parameters = {name: _bound(name, value) for name, value in given.items()}
    given = {"batch": batch} | {name: value for name, value in known.items() if value is not None}
    sizes = _solve({name: array.shape for name, array in parameters.items()}, given)
    return Plan(sizes, parameters)

def forward(*, x, w1, b1, w2, b2):
    """The outputs a2.

    x: [batch, 64], data
    w1: [32, 64], parameter
    b1: [32], parameter
    w2: [10, 32], parameter
    b2: [10], parameter

    Returns Outputs(a2 [batch, 10]).
    Raises ShapeError or TypeError for an array that does not fit.
    """
    return _call("forward", {"x": x, "w1": w1, "b1": b1, "w2": w2, "b2": b2})


def cost(*, x, y, w1, b1, w2, b2):
    """cost_avg, the mean over the batch of the cost of one sample.

    x: [batch, 64], data
    y: [batch, 10], data
    w1: [32, 64], parameter
    b1: [32], parameter
    w2: [10, 32], parameter
    b2: [10], parameter

    Returns the cost, a float.
    Raises ShapeError or TypeError for an array that does not fit.
    """
    return _call("cost", {"x": x, "y": y, "w1": w1, "b1": b1, "w2": w2, "b2": b2})


def gradients(*, x, y, w1, b1, w2, b2):
    """cost_avg and its gradients with respect to w1, b1, w2, b2, in one pass.

    x: [batch, 64], data
    y: [batch, 10], data
    w1: [32, 64], parameter
    b1: [32], parameter
    w2: [10, 32], parameter
    b2: [10], parameter

    Returns the cost, a float and Gradients(w1 [32, 64], b1 [32], w2 [10, 32], b2 [10]).
    Raises ShapeError or TypeError for an array that does not fit.
    """
    return _call("gradients", {"x": x, "y": y, "w1": w1, "b1": b1, "w2": w2, "b2": b2})


def bind(batch, *, w1, b1, w2, b2):
    """A Plan for one batch size.

    Buffers are allocated once and parameters bound by reference: what is written to them later,
    in place, is seen by the next call. Parameters have to be C-contiguous arrays of DTYPE.

    w1: [32, 64], parameter
    b1: [32], parameter
    w2: [10, 32], parameter
    b2: [10], parameter
    """
    return _bind(batch, {"w1": w1, "b1": b1, "w2": w2, "b2": b2})
