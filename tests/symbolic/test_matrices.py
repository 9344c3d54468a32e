"""Matrix forms: each equals its equation in numbers, as a value and as printed, and the expected ones exist."""

from __future__ import annotations

import secrets

import numpy as np
import pytest
from matrix_values import Point, form_value, labels_of, printed_value
from systems import EXAMPLES, MODELS, example, system_of

from chainrule.symbolic import derive, network, parse
from chainrule.symbolic.matrices import MatrixForm, batch_form, matrix_form
from chainrule.symbolic.notation.letters import Letters
from chainrule.symbolic.report import matrix_notations, result_equations
from chainrule.symbolic.system import Equation, System


def compare(system: System, equations: tuple[Equation, ...], seed: int) -> int:
    """How many forms there are, each held against the interpreter, element by element."""
    point = Point(system, seed)
    count = 0
    for names in matrix_notations(system):
        for equation in equations:
            form = (batch_form if names.batch else matrix_form)(equation, system)
            if form is not None:
                count += 1
                for labels in labels_of(equation, form.target, point):
                    wanted = point.entry(
                        form.target, names.batch, tuple(int(point.scalar(x, labels)) for x in form.target.labels)
                    )
                    _same(form_value(form.value, point, names.batch, labels), wanted, equation, seed)
                    letters = Letters(names.notation.taken).bind(labels)
                    scope = {letters[s]: i for s, i in labels.items()} | dict(point.sizes)
                    scope |= {names.notation.symbols["batch"].name: point.samples} if names.batch else {}
                    _, side = names.chain([form]).sides
                    _same(printed_value(side, point, names, scope), wanted, equation, seed)
    return count


def _same(found: np.ndarray | float, wanted: np.ndarray | float, equation: Equation, seed: int) -> None:
    found = np.broadcast_to(found, np.shape(wanted))
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-10, err_msg=f"{equation.target}, seed {seed}")


@pytest.mark.parametrize("name", MODELS)
def test_every_form_equals_its_equation(name: str) -> None:
    derivation = derive(system_of(name))
    seed = secrets.randbits(32)
    equations = (*derivation.result.equations, *result_equations(derivation))
    count = compare(derivation.result, equations, seed)
    print(f"{name}: {count} forms of {len(equations)} equations, seed {seed}")
