"""What holds for every subcommand: help, errors, exit status."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from edgeprof import commands
from edgeprof._version import __version__
from edgeprof.commands import COMMANDS, show

NAMES = [entry.name for entry in COMMANDS]


def test_no_arguments_print_help(edgeprof):
    status, out, err = edgeprof()
    assert (status, err) == (0, "")
    assert all(re.search(rf"\n    {name}\s", out) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_help_of_each(name, edgeprof):
    status, out, err = edgeprof(name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: edgeprof {name} ")


def test_version(edgeprof):
    assert edgeprof("--version") == (0, f"edgeprof {__version__}\n", "")


def test_module_is_the_command_line():
    done = subprocess.run([sys.executable, "-m", "edgeprof", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"edgeprof {__version__}\n"


def test_help_imports_nothing_heavy():
    code = "import sys; from edgeprof.commands import main; main(['--help']); print(*sorted(sys.modules), file=sys.stderr)"
    loaded = set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr.split())
    assert not {"numpy", "pandas", "pyarrow", "onnx", "onnxruntime", "plotly", "rich", "jinja2", "psutil"} & loaded


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["cook"], "invalid choice: 'cook'"),
        (["show"], "The following arguments are required: FILE. See edgeprof show --help."),
        (["profile", "x.onnx", "--rnus", "3"], "Unrecognized arguments: --rnus 3. See edgeprof --help."),
        (["show", "x.edgeprof", "--by", "colour"], "invalid choice: 'colour'"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments, sentence, edgeprof):
    status, out, err = edgeprof(*arguments)
    assert (status, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--debug", "show", "nothing"], ["show", "nothing", "--debug"], ["show", "--debug", "nothing"]])
def test_debug_shows_the_traceback(arguments, edgeprof):
    status, _, err = edgeprof(*arguments)
    assert status == 2
    assert "Traceback" in err


def test_error_of_its_own_is_a_sentence(edgeprof, monkeypatch):
    monkeypatch.setattr(show, "print_table", lambda *_, **__: 1 / 0)
    monkeypatch.setattr("edgeprof.records.bundle.load", lambda *_, **__: None)
    status, _, err = edgeprof("show", "x")
    assert status == 2
    assert err == "edgeprof itself failed with ZeroDivisionError: division by zero. This is a bug: report it with the output of --debug.\n"


def test_interrupt_with_nothing_kept(edgeprof, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("edgeprof.records.bundle.load", interrupted)
    assert edgeprof("show", "x") == (130, "", "Stopped. Nothing was kept.\n")


def test_control_characters_in_an_error_are_written_out(edgeprof):
    _, _, err = edgeprof("show", "evil\x1b[31m\u202e.edgeprof")
    assert r"evil\x1b[31m\u202e.edgeprof" in err


def run(*arguments: str, **options):
    return subprocess.run([sys.executable, "-m", "edgeprof", *arguments], capture_output=True, check=False, **options)


@pytest.mark.parametrize("option", ["--json", "--all"])
def test_reader_that_goes_away_is_no_error(saved, option):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "edgeprof", "show", str(saved), option]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_output_that_cannot_be_written(saved):
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "edgeprof", "show", str(saved)], stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_names_that_the_encoding_does_not_have(saved):
    done = run("show", str(saved), env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert b"####" in done.stdout


def test_list_is_what_the_folder_holds():
    files = {name.removesuffix(".py").rstrip("_") for name in os.listdir(os.path.dirname(commands.__file__)) if not name.startswith("_")}
    assert set(NAMES) <= files
