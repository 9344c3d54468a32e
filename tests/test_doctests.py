"""The examples in docstrings give what they show; modules are found by import name, so none is loaded twice."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import chainrule.codegen
import chainrule.symbolic

MODULES = [
    found.name
    for package in (chainrule.symbolic, chainrule.codegen)
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    if not found.name.endswith("__main__")
]


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    report: list[str] = []
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in finder.find(importlib.import_module(name)):
        runner.run(example, out=report.append)
    assert not report, "".join(report)
