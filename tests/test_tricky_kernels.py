"""Systems made to go wrong, as kernels of both targets: each passes the check, with its products."""

from __future__ import annotations

import pytest
from models import compiled_quickly
from systems import tricky
from tricky_systems import TRICKY

from chainrule.codegen import check


@pytest.mark.parametrize("name", TRICKY)
def test_kernels_are_right(name):
    system = tricky(name)
    wrt = [t.name for t in system.inputs]
    peer = compiled_quickly(system, "numpy", "float64", wrt)
    for kernels, other in ((peer, None), (compiled_quickly(system, "c", "float64", wrt), peer)):
        report = check(kernels, peer=other, samples=1)
        assert report, report.table()
