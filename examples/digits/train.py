"""Train the network of digits.eq on scikit-learn's 1,797 handwritten digits.

Mini-batch gradient descent, first on the committed NumPy kernels, which need NumPy alone, then on
the C ones, built from the same folder. Exit status 1 where a target reads less than 95 % of the
digits that it was not trained on.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib.resources import as_file, files
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

WIDTHS = (64, 32, 10)
REQUIRED = 0.95


class Digits(NamedTuple):
    """Images `[samples, 64]` in 0…1 and one-hot labels `[samples, 10]`, to train on and to test on."""

    x: np.ndarray
    y: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load_digits(rng: np.random.Generator) -> Digits:
    """The data set in a random order: the first three quarters to train on, the rest to test on."""
    try:
        from sklearn.datasets import load_digits as load
    except ImportError:
        sys.exit("This example reads scikit-learn's digits: pip install 'chainrule[examples]'")
    images, labels = load(return_X_y=True)
    order = rng.permutation(len(labels))
    x = (images[order] / 16).astype(np.float32)
    y = np.eye(WIDTHS[-1], dtype=np.float32)[labels[order]]
    cut = len(labels) * 3 // 4
    return Digits(x[:cut], y[:cut], x[cut:], y[cut:])


def initial_parameters(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Small random weights, zero biases: `w1[32, 64]`, `b1[32]`, `w2[10, 32]`, `b2[10]`."""
    parameters = {}
    for layer, (inputs, outputs) in enumerate(pairwise(WIDTHS), start=1):
        scale = 1 / np.sqrt(inputs)
        parameters[f"w{layer}"] = rng.normal(0, scale, (outputs, inputs)).astype(np.float32)
        parameters[f"b{layer}"] = np.zeros(outputs, dtype=np.float32)
    return parameters


def kernels_for(target: str) -> Any:
    """The kernels of digits.eq for "numpy" (ready made) or "c" (compiled here, once)."""
    if target == "numpy":
        from chainrule.generated import digits

        return digits
    from chainrule.codegen import load

    with as_file(files("chainrule.generated") / "digits") as folder:
        return load(folder, target=target)


def accuracy(kernels: Any, digits: Digits, parameters: dict[str, np.ndarray]) -> float:
    """The share of test digits whose largest output is the right one."""
    (outputs,) = kernels.forward(x=digits.x_test, **parameters)
    return float(np.mean(outputs.argmax(axis=1) == digits.y_test.argmax(axis=1)))


def train(target: str, digits: Digits, options: argparse.Namespace) -> float:
    """Train from the seed, print the loss of each epoch, return the accuracy on the test digits."""
    rng = np.random.default_rng(options.seed)
    parameters = initial_parameters(rng)
    kernels = kernels_for(target)
    plan = kernels.bind(batch=options.batch, **parameters)  # reads the parameters where they are
    start = time.perf_counter()
    for epoch in range(1, options.epochs + 1):
        order = rng.permutation(len(digits.x))
        batches = np.split(order[: len(order) // options.batch * options.batch], len(order) // options.batch)
        losses = []
        for batch in batches:
            losses.append(plan(digits.x[batch], digits.y[batch]))
            for name, value in parameters.items():
                value -= options.rate * getattr(plan.gradients, name)
        print(f"{target:<5}  epoch {epoch:3d}  loss {np.mean(losses):.4f}", flush=True)
    seconds = time.perf_counter() - start
    reached = accuracy(kernels, digits, parameters)
    print(f"{target:<5}  {reached:.1%} of {len(digits.x_test)} test digits, {seconds:.2f} s", flush=True)
    return reached


def main() -> int:
    """Train each target; 0 where all reach the required accuracy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=("numpy", "c"), nargs="+", default=["numpy", "c"])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=np.float32, default=np.float32(0.3), help="step of the descent")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    digits = load_digits(np.random.default_rng(options.seed))
    reached = [train(target, digits, options) for target in options.target]
    if min(reached) < REQUIRED:
        print(f"below the required {REQUIRED:.0%}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
