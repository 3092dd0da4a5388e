"""Everything that can be wrong with what edgeprof is given: one clear sentence, exit status 2, nothing written, nobody dies."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import edgeprof as ep
from edgeprof.commands import main
from edgeprof.errors import EdgeprofError
from edgeprof.records import bundle
from edgeprof.testing import make_profile

HEAD = '<ir_version: 8, opset_import: ["": 17]>'
RELU = "g (float[1,8] x) => (float[1,8] y) { y = Relu(x) }"
GOOD = parser.parse_model(f"{HEAD} {RELU}").SerializeToString()

Make = Callable[[Path], list[str]]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a good model and a good profile."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "good.onnx").write_bytes(GOOD)
    bundle.save(make_profile(), here / "good.edgeprof")
    return here


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def refused(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command line says when it refuses: one line on standard error, status 2, and the folder as before."""
    before = snapshot(folder)
    status = main(arguments)
    out, err = capsys.readouterr()
    assert status == 2, (out, err)
    assert out == ""
    assert "Traceback" not in err
    assert err.count("\n") == 1
    assert "  " not in err
    assert len(err) < 900
    first = err.split()[0]
    assert err[0].isupper() or err[0] == "'" or first.startswith("--") or "." in first or (folder / first).exists(), err
    assert err.rstrip()[-1] in ".?!" or "last words" in err, err
    assert snapshot(folder) == before
    return err


# Models


def model(text: str = RELU, **weights: np.ndarray) -> onnx.ModelProto:
    made = parser.parse_model(f"{HEAD} {text}")
    made.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return made


def saved(made: onnx.ModelProto, folder: Path) -> list[str]:
    (folder / "bad.onnx").write_bytes(made.SerializeToString())
    return ["bad.onnx"]


def raw(content: bytes, name: str = "bad.onnx") -> Make:
    def make(folder: Path) -> list[str]:
        (folder / name).write_bytes(content)
        return [name]

    return make


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.onnx", GOOD)
    return buffer.getvalue()


def changed(**fields: int) -> Make:
    def make(folder: Path) -> list[str]:
        made = model()
        if "opset" in fields:
            made.opset_import[0].version = fields["opset"]
        made.ir_version = fields.get("ir_version", made.ir_version)
        return saved(made, folder)

    return make


def external(location: str, **entries: str) -> Make:
    def make(folder: Path) -> list[str]:
        made = model("g (float[1,8] x) => (float[1,8] y) { y = Add(x, w) }", w=np.zeros((1, 8), np.float32))
        tensor = made.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **entries}.items():
            tensor.external_data.add(key=key, value=value)
        return saved(made, folder)

    return make


def linked_out(folder: Path) -> list[str]:
    (folder.parent / "secret").write_bytes(bytes(32))
    (folder / "data").symlink_to(folder.parent / "secret")
    return external("data")(folder)


def too_short(folder: Path) -> list[str]:
    (folder / "data").write_bytes(bytes(5))
    return external("data")(folder)


def huge(folder: Path) -> list[str]:
    made = model("g (float[1,8] x) => (float[1,8] y) { y = Add(x, w) }", w=np.zeros((1, 8), np.float32))
    made.graph.initializer[0].dims[:] = [2**40, 2**20]
    return saved(made, folder)


def huge_input(folder: Path) -> list[str]:
    made = model()
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.shape.dim[1].dim_value = 2**50
    return saved(made, folder)


def sequence_input(folder: Path) -> list[str]:
    sequence = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    output = helper.make_tensor_value_info("y", TensorProto.INT64, [])
    graph = helper.make_graph([helper.make_node("SequenceLength", ["x"], ["y"])], "g", [sequence], [output])
    return saved(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder)


def bfloat16_input(folder: Path) -> list[str]:
    infos = [helper.make_tensor_value_info(name, TensorProto.BFLOAT16, [1, 8]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", infos[:1], infos[1:])
    return saved(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder)


def unknown_op(folder: Path) -> list[str]:
    made = model()
    made.graph.node[0].op_type = "Frobnicate"
    return saved(made, folder)


def in_folder(folder: Path) -> list[str]:
    (folder / "models").mkdir()
    return ["models"]


BAD_MODELS: dict[str, tuple[Make, str]] = {
    "no such file": (lambda _: ["nowhere.onnx"], r"nowhere\.onnx"),
    "a folder": (in_folder, r"models.* (folder|not a file)"),
    "random bytes": (raw(bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8))), r"bad\.onnx"),
    "a text file": (raw(b"Dear reader, this is a letter.\n" * 20), r"bad\.onnx"),
    "a zip": (raw(zipped()), r"bad\.onnx.*zip"),
    "empty": (raw(b""), r"bad\.onnx is empty"),
    "truncated": (raw(GOOD[:-20]), r"bad\.onnx"),
    "a TFLite model": (raw(b"\x1c\x00\x00\x00TFL3", "bad.tflite"), r"TFLite.*\.onnx"),
    "unknown op": (unknown_op, r"no operator Frobnicate"),
    "opset 99": (changed(opset=99), r"opset.* newer .*runtime"),
    "IR 99": (changed(ir_version=99), r"IR version .*newer .*runtime"),
    "external data missing": (external("weights.bin"), r"'weights\.bin', which is not there"),
    "external data above": (external("../weights.bin"), r"'\.\./weights\.bin', which leaves the model's folder"),
    "external data elsewhere": (external("/etc/passwd"), r"'/etc/passwd', an absolute path"),
    "external data of Windows": (external("C:\\x"), r"'C:\\x', an absolute path"),
    "external data through a link": (linked_out, r"'data', a link that leads out of the model's folder"),
    "external data too short": (too_short, r"'data' is too short"),
    "external data with an odd offset": (external("good.onnx", offset="-5"), r"the offset '-5', expected a whole number"),
    "huge weight": (huge, r"bad\.onnx|'w'"),
    "huge input": (huge_input, r"inputs need .*--shape|no machine holds"),
    "sequence input": (sequence_input, r"Input 'x' is a sequence"),
    "bfloat16 input": (bfloat16_input, r"Input 'x' is bfloat16"),
}


@pytest.mark.parametrize("kind", BAD_MODELS)
def test_bad_model(kind, folder, capsys):
    make, sentence = BAD_MODELS[kind]
    arguments = make(folder)
    said = refused(["profile", *arguments], folder, capsys)
    assert re.search(sentence, said), said
    with pytest.raises(EdgeprofError) as caught:
        ep.profile(arguments[0], progress=False)
    assert re.search(sentence, str(caught.value))


# Options


NO_INPUT = r"'(z|image)'.* no input|no input.*'(z|image)'"
BAD_OPTIONS: dict[str, tuple[list[str], str]] = {
    "shape without a name": (["--shape", "1,8"], r"--shape is '1,8'; expected the input's name and its sizes"),
    "shape with words": (["--shape", "x=one,8"], r"--shape is 'x=one,8'"),
    "shape below zero": (["--shape", "x=-1,8"], r"--shape is 'x=-1,8'"),
    "shape with a hole": (["--shape", "x=1,,8"], r"--shape is 'x=1,,8'"),
    "shape beyond all": (["--shape", f"x={'9' * 30}"], r"--shape is"),
    "two shapes": (["--shape", "x=1,8", "--shape", "x=2,8"], r"two shapes"),
    "shape of another input": (["--shape", "image=1,8"], r"'image'"),
    "wrong shape": (["--shape", "x=1,9"], r"'x'.*(1|8).*9|x.*1×9"),
    "wrong rank": (["--shape", "x=8"], r"'x'"),
    "no threads": (["--threads", "many"], r"--threads is 'many'; give a whole number"),
    "threads below zero": (["--threads", "-1"], r"--threads is '-1'"),
    "half a thread": (["--threads", "1.5"], r"--threads is '1\.5'"),
    "no runs": (["--runs", "0"], r"--runs is '0'; give a whole number, 1 or more"),
    "not a number of runs": (["--runs", "nan"], r"--runs is 'nan'"),
    "warmup": (["--warmup", "long"], r"--warmup is 'long'; .* or auto"),
    "time limit nan": (["--time-limit", "nan"], r"--time-limit is 'nan'; give a number of seconds above 0"),
    "time limit 0": (["--time-limit", "0"], r"--time-limit is '0'"),
    "time limit inf": (["--time-limit", "inf"], r"--time-limit is 'inf'"),
    "cpus with words": (["--cpus", "big"], r"--cpus is 'big'; expected"),
    "cpus backwards": (["--cpus", "3-1"], r"--cpus is '3-1'"),
    "cpus without end": (["--cpus", "0-999999"], r"--cpus is '0-999999'"),
    "cpus that are not there": (["--cpus", "4000"], r"Cannot pin to CPUs 4000; this board has CPUs"),
    "unknown provider": (["--provider", "AbacusExecutionProvider"], r"no AbacusExecutionProvider; it has .*--provider"),
    "provider option without a dot": (["--provider-option", "x=1"], r"--provider-option is 'x=1'; expected PROVIDER\.KEY=VALUE"),
    "option of a provider not used": (
        ["--provider-option", "CUDAExecutionProvider.device_id=0"],
        r"for CUDAExecutionProvider, which is not used",
    ),
    "unknown board": (["--board", "atlantis"], r"no board 'atlantis'"),
    "unknown runtime": (["--runtime", "abacus"], r"no runtime 'abacus'"),
    "energy": (["--energy", "everything"], r"invalid choice: 'everything'"),
    "passes": (["--passes", "0"], r"--passes is '0'; give a whole number, 1 or more"),
    "budget": (["--energy-budget", "1"], r"--energy-budget is '1'; give 5 seconds or more"),
    "simulated board": (["--board", "simulated:atlantis"], r"no simulated board 'atlantis'"),
    "replay of nothing": (["--board", "replay:nowhere.edgeprof"], r"nowhere\.edgeprof"),
    "meter": (["--meter", "abacus"], r"no meter 'abacus'"),
    "sensor": (["--sensor", "rappl"], r"no sensors called 'rappl' \(did you mean 'rapl'\?\)\. Known are: ina3221, "),
    "sensor of a simulated board": (
        ["--sensor", "rapl", "--board", "simulated"],
        r"no sensors called 'rapl'\. Known are: power, environment",
    ),
    "optimization": (["--optimization", "extreme"], r"invalid choice: 'extreme'"),
    "seed": (["--seed", "lucky"], r"--seed is 'lucky'"),
}


@pytest.mark.parametrize("kind", BAD_OPTIONS)
def test_bad_option(kind, folder, capsys):
    options, sentence = BAD_OPTIONS[kind]
    said = refused(["profile", "good.onnx", *options], folder, capsys)
    assert re.search(sentence, said), said


BAD_ARGUMENTS = {
    "runs": ({"runs": 0}, "runs is 0"),
    "warmup": ({"warmup": -1}, "warmup is -1"),
    "threads": ({"threads": -1}, "threads is -1"),
    "board": ({"board": "atlantis"}, "no board 'atlantis'"),
    "runtime": ({"runtime": "abacus"}, "no runtime 'abacus'"),
    "energy": ({"energy": "everything"}, "energy is 'everything'; give 'off', 'model' or 'layers'"),
    "energy plan": ({"energy_plan": ep.EnergyPlan(samples=5)}, "samples of the energy plan is 5; give 10 or more"),
    "throttle": ({"energy_plan": ep.EnergyPlan(on_throttle="pray")}, "on_throttle of the energy plan is 'pray'"),
    "time limit": ({"time_limit_s": float("nan")}, "time_limit_s is nan"),
    "cpus": ({"cpus": [4000]}, "Cannot pin to CPUs 4000"),
    "provider": ({"providers": ["AbacusExecutionProvider"]}, "no AbacusExecutionProvider"),
    "shapes": ({"shapes": {"x": [1, 9]}}, "'x'"),
    "inputs": ({"inputs": {"x": np.zeros((1, 8))}}, r"expected float32 \[1, 8\], the data is float64"),
}


@pytest.mark.parametrize("kind", BAD_ARGUMENTS)
def test_bad_argument_in_python(kind):
    options, sentence = BAD_ARGUMENTS[kind]
    with pytest.raises(EdgeprofError, match=sentence):
        ep.profile("good.onnx", progress=False, **options)


# Input data


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(array: np.ndarray, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def claiming_too_much() -> bytes:
    data = npy(np.zeros((1, 8), np.float32))
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 8), }"
    return data[:8] + struct.pack("<H", len(header) + 1) + header + b"\n" + bytes(32)


X = np.zeros((1, 8), np.float32)
BAD_DATA: dict[str, tuple[str, bytes | None, str]] = {
    "no such file": ("nowhere.npz", None, r"no input data at nowhere\.npz"),
    "not arrays": ("bad.npz", b"hello", r"bad\.npz is not an array in NumPy's format"),
    "empty": ("bad.npy", b"", r"bad\.npy is not an array"),
    "wrong name": ("bad.npz", npz(z=X), r"'z', which is no input"),
    "one missing": ("bad.npz", npz(), r"bad\.npz holds no arrays|No data was given for the input 'x'"),
    "one too many": ("bad.npz", npz(x=X, z=X), r"'z', which is no input"),
    "wrong dtype": ("bad.npz", npz(x=X.astype("float64")), r"'x': expected float32 \[1, 8\], the data is float64.*astype\('float32'\)"),
    "texts for numbers": ("bad.npy", npy(np.full((1, 8), "a")), r"expected float32 \[1, 8\], the data is string"),
    "wrong shape": ("bad.npy", npy(np.zeros((1, 9), np.float32)), r"'x'"),
    "objects": ("bad.npy", npy(np.array([{}]), allow_pickle=True), r"holds Python objects, which are not loaded"),
    "cut off": ("bad.npz", npz(x=X)[:-30], r"bad\.npz"),
    "claims too much": ("bad.npy", claiming_too_much(), r"claims 3\.20 TB"),
}


@pytest.mark.parametrize("kind", BAD_DATA)
def test_bad_data(kind, folder, capsys):
    name, content, sentence = BAD_DATA[kind]
    if content is not None:
        (folder / name).write_bytes(content)
    said = refused(["profile", "good.onnx", "--inputs", name], folder, capsys)
    assert re.search(sentence, said), said
    with pytest.raises(EdgeprofError, match=sentence):
        ep.profile("good.onnx", inputs=name, progress=False)


def test_run_that_fails(folder, capsys):
    made = model("g (int64[1,4] ids) => (float[1,4,8] y) { y = Gather(table, ids) }", table=np.zeros((32, 8), np.float32))
    saved(made, folder)
    (folder / "ids.npy").write_bytes(npy(np.full((1, 4), 99)))
    said = refused(["profile", "bad.onnx", "--inputs", "ids.npy"], folder, capsys)
    assert re.search(r"A run of the model failed: .*--inputs", said)


# Where the model runs


def test_agent_that_dies_at_once(folder, capsys, monkeypatch, tmp_path):
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nkill -9 $$\n")
    script.chmod(0o755)
    monkeypatch.setattr("edgeprof.boards.local.sys.executable", str(script))
    said = refused(["profile", "good.onnx"], folder, capsys)
    assert said.startswith("The agent on local died: killed by SIGKILL. Nothing had been measured yet.")


def test_agent_that_cannot_be_started(folder, capsys, monkeypatch):
    monkeypatch.setattr("edgeprof.boards.local.sys.executable", "/nowhere/python")
    said = refused(["profile", "good.onnx"], folder, capsys)
    assert said.startswith("The agent cannot be started with /nowhere/python: No such file or directory.")


# Where results go


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB; only root can make one."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small file system cannot be mounted here (root is needed)")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def fill(disk: Path) -> None:
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


def test_disk_is_full_before_the_measurement(small_disk, folder, capsys):
    said = refused(["profile", "good.onnx", "-o", str(small_disk / "x.edgeprof")], folder, capsys)
    assert "No space left on device" in said
    assert not list(small_disk.iterdir())


@pytest.mark.parametrize("name", ["x.html", "x.csv", "x.json", "x.parquet", "x.md"])
def test_disk_is_full_for_a_report(name, small_disk, folder, capsys):
    fill(small_disk)
    said = refused(["report", "good.edgeprof", "-o", str(small_disk / name)], folder, capsys)
    assert "the disk is full" in said
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_disk_is_full_for_a_bundle_in_python(small_disk):
    old = small_disk / "x.edgeprof"
    old.write_bytes(bytes(60 << 10))
    with pytest.raises(EdgeprofError, match="No space left on device"):
        make_profile().save(str(old))
    assert old.read_bytes() == bytes(60 << 10)
    assert [path.name for path in small_disk.iterdir()] == ["x.edgeprof"]


def test_disk_is_full_in_the_temporary_folder(small_disk, folder, capsys, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    fill(small_disk)
    said = refused(["profile", "good.onnx"], folder, capsys)
    assert re.search("No space left|no space|temporary", said), said


BAD_OUTPUTS: dict[str, tuple[str, str]] = {
    "folder that cannot be written": ("/proc/x.edgeprof", r"/proc"),
    "no such folder": ("nowhere/x.edgeprof", r"The folder of the output, nowhere, does not exist"),
    "a file as folder": ("good.onnx/x.edgeprof", r"The folder of the output, good\.onnx, is no folder"),
    "a folder": ("taken.edgeprof", r"taken\.edgeprof is a folder"),
    "another ending": ("x.html", r"The output is 'x\.html'; a profile's name ends in \.edgeprof"),
    "no ending": ("x", r"ends in \.edgeprof"),
    "name too long": ("x" * 300 + ".edgeprof", r"more than a file can have"),
}


@pytest.mark.parametrize("kind", BAD_OUTPUTS)
@pytest.mark.parametrize("command", [["profile", "good.onnx"], ["import", "trace.json", "--model", "good.onnx"]])
def test_bad_output_is_refused_before_anything_is_done(kind, command, folder, capsys, monkeypatch):
    def too_late(*_, **__):
        raise AssertionError("work was done before the output was looked at")

    monkeypatch.setattr("edgeprof.profiler.profile", too_late)
    monkeypatch.setattr("edgeprof.importers.import_trace", too_late)
    (folder / "taken.edgeprof").mkdir()
    name, sentence = BAD_OUTPUTS[kind]
    said = refused([*command, "-o", name], folder, capsys)
    assert re.search(sentence, said), said


@pytest.mark.parametrize("name", ["/proc/x.html", "nowhere/x.html", "good.onnx/x.html", "taken.html", "x.docx", "x"])
def test_bad_output_of_a_report(name, folder, capsys):
    (folder / "taken.html").mkdir()
    refused(["report", "good.edgeprof", "-o", name], folder, capsys)


# Bundles


def member_changed(folder: Path) -> list[str]:
    data = (folder / "good.edgeprof").read_bytes()
    at = data.index(b"PAR1", data.index(b"runs.parquet")) + 8
    (folder / "bad.edgeprof").write_bytes(data[:at] + bytes(4) + data[at + 4 :])
    return ["bad.edgeprof"]


def newer(folder: Path) -> list[str]:
    with zipfile.ZipFile("good.edgeprof") as old, zipfile.ZipFile("bad.edgeprof", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "profile.json":
                content = json.dumps({**json.loads(content), "schema_version": 999}).encode()
            new.writestr(name, content)
    return ["bad.edgeprof"]


def cut(folder: Path) -> list[str]:
    (folder / "bad.edgeprof").write_bytes((folder / "good.edgeprof").read_bytes()[:3000])
    return ["bad.edgeprof"]


def a_folder(folder: Path) -> list[str]:
    (folder / "bad.edgeprof").mkdir()
    return ["bad.edgeprof"]


BAD_BUNDLES: dict[str, tuple[Make, str]] = {
    "no such file": (lambda _: ["nowhere.edgeprof"], r"nowhere\.edgeprof: No such file"),
    "a folder": (a_folder, r"bad\.edgeprof.*(folder|directory)"),
    "empty": (raw(b"", "bad.edgeprof"), r"bad\.edgeprof is empty"),
    "a model": (lambda _: ["good.onnx"], r"good\.onnx is not a zip file.*Expected a \.edgeprof bundle"),
    "another zip": (raw(zipped(), "bad.edgeprof"), r"bad\.edgeprof is not a bundle"),
    "cut off": (cut, r"bad\.edgeprof is cut off or damaged"),
    "damaged": (member_changed, r"bad\.edgeprof is damaged: runs\.parquet .*--partial"),
    "newer": (newer, r"written by a newer edgeprof \(schema 999.*Update edgeprof"),
}


@pytest.mark.parametrize("kind", BAD_BUNDLES)
def test_bad_bundle(kind, folder, capsys):
    make, sentence = BAD_BUNDLES[kind]
    arguments = make(folder)
    for command in (["show"], ["show", "--json"], ["report", "-o", "out.html", "good.edgeprof"]):
        said = refused([*command, *arguments], folder, capsys)
        assert re.search(sentence, said), said
    with pytest.raises(EdgeprofError, match=sentence):
        ep.load(arguments[0])


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"hello", b"[{", GOOD, zipped(), b"\x1f\x8b broken"])
def test_bad_trace(content, folder, capsys):
    (folder / "trace.json").write_bytes(content)
    refused(["import", "trace.json", "--model", "good.onnx"], folder, capsys)


@pytest.mark.parametrize("arguments", [["nowhere.json", "--model", "good.onnx"], ["good.onnx", "--model", "nowhere.onnx"]])
def test_nothing_to_import(arguments, folder, capsys):
    refused(["import", *arguments], folder, capsys)
