"""lazy: names are found whoever was imported before, and nothing is imported that was not asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest

import chainrule.codegen
import chainrule.symbolic


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("package", [chainrule.symbolic, chainrule.codegen])
def test_every_public_name_is_found(package) -> None:
    for name in package.__all__:
        assert getattr(package, name) is not None
        assert name in dir(package)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense


def test_a_function_named_like_its_module_stays_the_function() -> None:
    code = (
        "import chainrule.symbolic.derive, chainrule.symbolic\n"
        "from chainrule.symbolic import derive\n"
        "import chainrule.symbolic.derive\n"
        "print(callable(derive), chainrule.symbolic.derive is derive)"
    )
    assert run(code) == "True True"


def test_the_packages_and_the_command_line_do_not_import_sympy() -> None:
    code = (
        "import sys, chainrule.codegen.cli, chainrule.symbolic; print('sympy' in sys.modules, 'numpy' in sys.modules)"
    )
    assert run(code) == "False False"
