"""The command line: what it prints, what it writes, and one clear message for everything that goes wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from chainrule.codegen import cli
from chainrule.codegen.build import find_compiler
from chainrule.codegen.version import VERSION

MODEL = """\
data x[3], y[2]
parameter w[2, 3]
a[j] = tanh(sum[k](w[j, k] * x[k]))
cost = sum[j](squared_error(a[j], y[j]))
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.eq"
    path.write_text(MODEL)
    return path


def run(*arguments: str | Path, status: int = 0, text: str | None = None) -> Result:
    result = CliRunner().invoke(cli.program, [str(a) for a in arguments], input=text)
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result


def fails(*arguments: str | Path, text: str | None = None) -> str:
    """The message of a command that must end with exit status 2 and print nothing else."""
    result = run(*arguments, status=2, text=text)
    assert result.stdout == ""
    return result.stderr


def test_version_and_help() -> None:
    assert VERSION in run("--version").stdout
    assert "Example: chainrule" in run("--help").stdout
    for command in ("derive", "generate", "check", "catalogue"):
        for option in ("--help", "-h"):
            assert "Example: chainrule " + command in run(command, option).stdout


def test_generate_says_what_it_made(tmp_path: Path, model: Path) -> None:
    out = run("generate", model, "-o", tmp_path / "out").stdout
    folder = tmp_path / "out" / "small"
    assert sorted(p.name for p in folder.iterdir() if p.is_file()) == sorted(
        ["__init__.py", "small.c", "small.h", "derivation.md", "manifest.json"]
    )
    assert "small: float64 kernels forward, cost, gradients" in out
    for line in ("x  data  batch × 3", "w parameter 2 × 3", "a output batch × 2", "dw gradient 2 × 3"):
        assert line.split() in [row.split() for row in out.splitlines()]
    assert "operations per sample" in out
    assert "workspace" in out
    assert str(folder / "small.c") in out
    assert "check  passed" in out
    assert "\x1b" not in out


def test_generate_options(tmp_path: Path, model: Path) -> None:
    arguments = ("--name", "other", "--target", "c", "--dtype", "float32", "--wrt", "w,x", "--with-test", "--no-check")
    out = run("generate", model, "-o", tmp_path, *arguments).stdout
    manifest = json.loads((tmp_path / "other" / "manifest.json").read_text())
    assert (manifest["dtype"], manifest["wrt"], manifest["targets"]) == ("float32", ["w", "x"], ["c"])
    assert (tmp_path / "other" / "other_test.c").is_file()
    assert not (tmp_path / "other" / "__init__.py").exists()
    assert "check" not in out


def test_a_network_by_options(tmp_path: Path) -> None:
    network = ("--layers", "4,3,2", "--sigma", "relu", "--output", "softmax", "--cost", "cross_entropy")
    run("generate", *network, "--name", "net", "-o", tmp_path)
    out = run("check", *network, "--samples", "1", "--dtype", "float64").stdout
    assert "check  passed" in out
    assert {"w1", "b1", "w2", "b2"} <= {line.split()[0] for line in out.splitlines() if line}
    assert "softmax" in run("derive", *network).stdout or "exp" in run("derive", *network).stdout


def test_check_a_folder_and_find_a_wrong_gradient(tmp_path: Path, model: Path) -> None:
    folder = tmp_path / "small"
    run("generate", model, "-o", folder, "--no-check")
    out = run("check", folder).stdout
    assert "check  passed" in out
    targets = {line.split()[1] for line in out.splitlines() if line.startswith("w ")}
    assert targets == ({"numpy", "c"} if find_compiler() else {"numpy"})
    _falsify(folder)
    result = run("check", folder, "--target", "numpy", status=1)
    assert "FAILED" in result.stdout
    assert "wrong" in result.stdout


def _falsify(folder: Path) -> None:
    """Let the folder's formulas say another cost than its kernels compute."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["formulas"] = [line.replace("cost = ", "cost = 2*") for line in manifest["formulas"]]
    path.write_text(json.dumps(manifest))


def test_check_repeats_with_its_seed(model: Path) -> None:
    first, second = (run("check", model, "--seed", "7", "--target", "numpy", "--dtype", "float64").stdout for _ in "ab")
    assert first == second
    assert "seed 7" in first


@pytest.mark.parametrize(("suffix", "mark"), [(".md", "$$"), (".tex", r"\documentclass"), (".html", "<html")])
def test_derive_writes_the_form_of_the_file_name(tmp_path: Path, model: Path, suffix: str, mark: str) -> None:
    out = tmp_path / f"out{suffix}"
    assert run("derive", model, "-o", out).stdout == ""
    assert mark in out.read_text()


def test_derive_to_the_terminal_and_from_the_standard_input(model: Path) -> None:
    shown = run("derive", model).stdout
    assert "Chain rule" in shown
    assert run("derive", "-", text=MODEL).stdout.splitlines()[2:] == shown.splitlines()[2:]


def test_an_input_that_is_no_text() -> None:
    result = CliRunner().invoke(cli.program, ["derive", "-"], input=b"\xff\xfe")
    assert result.exit_code == 2
    assert "byte 0 is not UTF-8" in result.stderr


def test_a_model_without_a_cost(tmp_path: Path) -> None:
    (tmp_path / "part.eq").write_text("data x[m]\nparameter w[n, m]\na[j] = tanh(sum[k](w[j, k]*x[k]))\n")
    out = run("generate", tmp_path / "part.eq", "-o", tmp_path).stdout
    assert "kernels forward, vjp" in out
    assert ["a", "cotangent", "batch", "×", "n"] in [line.split() for line in out.splitlines()]
    assert "check  passed" in out
    assert "check  passed" in run("check", tmp_path / "part").stdout


def test_derive_the_document(tmp_path: Path) -> None:
    out = tmp_path / "out.md"
    run("derive", "documented", "-o", out)
    assert out.read_text().count("$$") == 2 * 19


def test_catalogue() -> None:
    out = run("catalogue").stdout
    for name in ("sigmoid", "softmax", "cross_entropy", "documented"):
        assert name in out
    one = run("catalogue", "tanh").stdout
    assert "tanh(z) = tanh(z)" in one
    assert "d tanh/d z = 1 - tanh(z)**2" in one
    assert "did you mean 'sigmoid'?" in fails("catalogue", "sigmoyd")


MISTAKES = {
    "unknown model": (("derive", "documentd"), "did you mean 'documented'?"),
    "no model": (("derive",), "no model"),
    "missing file": (("derive", "/no/such/file.eq"), "cannot read"),
    "a folder for a file": (("derive", "/"), "cannot read"),
    "unknown command": (("nonsense",), "No such command"),
    "two models": (("derive", "documented", "--layers", "3,2"), "not both"),
    "sigma without layers": (("derive", "--sigma", "relu"), "needs --layers"),
    "one layer": (("derive", "--layers", "3"), "widths, found 1"),
    "an empty layer": (("derive", "--layers", "3,0"), "at least 1"),
    "unknown sigma": (("derive", "--layers", "3,2", "--sigma", "nonsense"), "nonsense"),
    "unknown wrt": (("derive", "documented", "--wrt", "q"), "no tensor 'q'"),
    "empty wrt": (("derive", "documented", "--wrt", ""), "separated by commas"),
    "unknown form": (("derive", "documented", "-o", "out.docx"), "expected a file name that ends in"),
    "unknown target": (("generate", "documented", "-o", "OUT", "--target", "rust"), "unknown target 'rust'"),
    "unknown dtype": (("generate", "documented", "-o", "OUT", "--dtype", "float16"), "float16"),
    "no output": (("generate", "documented"), "-o"),
    "hostile name": (("generate", "documented", "-o", "OUT", "--name", "../x"), "cannot name generated code"),
    "keyword": (("generate", "documented", "-o", "OUT", "--name", "class"), "keyword"),
    "unwritable": (("generate", "documented", "-o", "/proc/nowhere"), "cannot write"),
    "unwritable paper": (("derive", "documented", "-o", "/proc/nowhere/x.md"), "cannot write"),
    "no kernels here": (("check", "/"), "holds no generated kernels"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_clear_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in fails(*arguments)
    assert not list(tmp_path.iterdir())


HOSTILE = [
    "__import__('os').system('touch pwned')",
    "x.__class__",
    "9**9**9",
    "(" * 5000 + "x" + ")" * 5000,
    "-" * 5000 + "x",
    "x" * 3_000,
    "lambda: 0",
    "{{7*7}}",
    r"\input{/etc/passwd}",
    "\0",
    "exp(1e999999999)",
]


@pytest.mark.parametrize("formula", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_formulas_end_in_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, formula: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.eq").write_text(f"data x\nparameter w\ncost = w*x + {formula}\n")
    message = fails("generate", "bad.eq", "-o", "out")
    assert "bad.eq:3:" in message
    fails("derive", "--layers", "3,2", f"--sigma={formula}") if "\0" not in formula else None
    assert [p.name for p in tmp_path.iterdir()] == ["bad.eq"]


def test_an_error_shows_the_line_with_a_caret(tmp_path: Path) -> None:
    path = tmp_path / "wrong.eq"
    path.write_text("data x[m]\ncost = sum[k](q[k])\n")
    lines = fails("derive", path).splitlines()
    assert "wrong.eq:2:15:" in lines[0]
    assert lines[2].index("^") == lines[1].index("q[k]")


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RecursionError(), 2, "nested too deeply"),
        (MemoryError(), 2, "out of memory"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (ZeroDivisionError("x"), 2, "a defect in chainrule: ZeroDivisionError: x"),
        (OSError(28, "No space left on device"), 2, "No space left"),
    ],
)
def test_whatever_happens_is_one_message(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, message: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "_system", fail)
    result = run("check", "documented", status=status)
    assert message in result.stderr
    assert result.stdout == ""


def command(*arguments: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    code = "from chainrule.codegen.cli import main; main()"
    return subprocess.run(  # type: ignore[call-overload]
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False, **more
    )


def test_a_real_run_from_another_folder(tmp_path: Path) -> None:
    made = command("generate", "documented", "-o", "out", cwd=tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    assert "check  passed" in made.stdout
    use = "import sys; sys.path.insert(0, 'out'); import documented; print({'sympy'} & set(sys.modules))"
    alone = subprocess.run([sys.executable, "-c", use], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert alone.stdout.strip() == "set()"
    checked = command("check", "out/documented", cwd=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_an_output_without_the_letters_shows_question_marks() -> None:
    shown = command("derive", "documented", env={**os.environ, "PYTHONIOENCODING": "latin-1"}, encoding="latin-1")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "?" in shown.stdout


def test_a_real_run_that_fails(tmp_path: Path) -> None:
    failed = command("generate", "nonsense", "-o", "out", cwd=tmp_path)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr.startswith("Error: there is no built-in model 'nonsense'")
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_the_check_says_so(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": "", "CC": ""}
    made = command("generate", "documented", "-o", tmp_path, env=environment)
    assert made.returncode == 0
    assert made.stderr.count("Warning: no C compiler") == 1
    assert "comparisons of numpy with" in made.stdout


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "from chainrule.codegen.cli import main; main()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, "catalogue"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == ""
    child.stderr.close()
    child.wait()


def test_an_interrupt_ends_with_130_and_no_traceback() -> None:
    code = (
        "import signal, time, chainrule.codegen.cli as cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell's background job ignores it
        "def slow(*a):\n    print('ready', flush=True); time.sleep(60)\n"
        "cli._system = slow; cli.main()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, "check", "documented"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert (child.returncode, said) == (130, "Interrupted\n")
