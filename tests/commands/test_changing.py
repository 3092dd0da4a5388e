"""``apply``, ``quantize``, ``prune``, ``estimate`` and ``search`` as a newcomer types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeprof.models import load_model
from edgeprof.recipes.recipe import parse_recipe, read_recipe
from edgeprof.records.bundle import load

SAMPLES = Path(__file__).parents[2] / "sample_models"
MODEL = SAMPLES / "resnet8_mnist.onnx"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Some of the held-out digits, ready as they are."""
    with np.load(SAMPLES / "held_out_digits.npz") as held:
        images, labels = held["images"][:80, None].astype(np.float32) / 255, held["labels"][:80].astype(np.int64)
    np.savez(tmp_path / "digits.npz", image=images, labels=labels)
    return tmp_path / "digits.npz"


def test_quantize_says_what_was_done_and_what_it_cost(edgeprof, data):
    status, out, _ = edgeprof(
        "quantize", MODEL, "--data", data, "--exclude", "/stem/conv/Conv", "-o", "int8.onnx", "--save-recipe", "r.recipe.toml"
    )
    assert status == 0
    assert "Wrote int8.onnx" in out and "layers int8." in out and "Before: top1" in out and "the answer changed for" in out
    made = load_model("int8.onnx")
    assert made.file_bytes < 0.5 * MODEL.stat().st_size
    assert [decision.layer for decision in read_recipe("r.recipe.toml").decisions if decision.precision == "fp32"] == ["/stem/conv/Conv"]
    status, out, _ = edgeprof("apply", MODEL, "r.recipe.toml", "--data", data, "-o", "again.onnx", "--json")
    told = json.loads(out)
    assert status == 0 and told["schema_version"] == 1
    assert told["parent_sha256"] == load_model(MODEL).digest and told["model_bytes"] == Path("again.onnx").stat().st_size
    assert {change["done"] for change in told["changes"] if change["layer"] == "/head/fc/Gemm"} == {"int8"}
    assert told["drop"]["n"] == told["after"]["top1"]["n"] == 40
    assert Path("again.onnx").read_bytes() == Path("int8.onnx").read_bytes()


def test_prune_shows_groups_and_removes_channels(edgeprof, data):
    status, out, _ = edgeprof("prune", MODEL, "--groups")
    assert status == 0 and "/stage3/conv2/conv/Conv" in out and "the model's output 'logits'" in out
    groups = json.loads(edgeprof("prune", MODEL, "--groups", "--json")[1])["groups"]
    assert groups[0]["name"] == "/stem/conv/Conv" and groups[0]["channels"] == 16
    status, out, _ = edgeprof("prune", MODEL, "0.25", "--data", data, "--layer", "/stage3/conv1/conv/Conv", "-o", "narrow.onnx")
    assert status == 0 and "64 to 48 channels" in out
    assert load_model("narrow.onnx").file_bytes < MODEL.stat().st_size


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("quantize", MODEL, "-o", "x.onnx"), "int8 needs calibration data"),
        (("quantize", MODEL, "-o", "x.onnx", "--data", "nowhere.npz"), "There is no data at nowhere.npz"),
        (("quantize", MODEL, "-o", "x.onnx", "--exclude", "/stem"), "no layer '/stem'"),
        (("prune", MODEL, "-o", "x.onnx"), "needs a RATIO"),
        (("prune", MODEL, "1.5", "-o", "x.onnx"), "RATIO is '1.5'"),
        (("prune", MODEL, "half", "-o", "x.onnx"), "RATIO is 'half'"),
        (("prune", MODEL, "0.5", "--layer", "/head/fc/Gemm", "-o", "x.onnx"), "cannot be pruned"),
        (("apply", MODEL, "nowhere.recipe.toml", "-o", "x.onnx"), "no recipe to read"),
        (("apply", "nowhere.onnx", "r.recipe.toml", "-o", "x.onnx"), "nowhere.onnx"),
        (("quantize", MODEL, "--precision", "fp16", "-o", MODEL), "is the model itself"),
        (("estimate", MODEL, "r.recipe.toml"), "--data"),
        (("search", MODEL, "--data", "nowhere.npz"), "There is no data at nowhere.npz"),
        (("search", MODEL, "--data", "x", "--width", "2"), "--width is '2'"),
        (("search", MODEL, "--data", "x", "--max-loss", "much"), "--max-loss is 'much'; give a number, 0 or more"),
        (("search", MODEL, "--data", "x", "--minutes", "0"), "--minutes is '0'; give a number, above 0"),
    ],
)
def test_mistakes_are_one_sentence(words, sentence, edgeprof):
    status, _, err = edgeprof(*words)
    assert status == 2 and sentence in err and err.count("\n") == 1
    assert not Path("x.onnx").exists()


def test_recipe_with_a_mistake_names_its_line(edgeprof):
    Path("r.recipe.toml").write_text('format = 1\n\n[[decisions]]\nlayer = "/stem/conv/Con"\nprecision = "int8"\n')
    status, _, err = edgeprof("apply", MODEL, "r.recipe.toml", "-o", "x.onnx")
    assert status == 2 and "line 3" in err and "did you mean '/stem/conv/Conv'?" in err


def test_estimate_then_search_share_a_study(edgeprof, data):
    Path("r.recipe.toml").write_text('format = 1\nname = "mine"\n[[decisions]]\npattern = "*"\nprecision = "int8"\n')
    common = ("--data", data, "--study", "study", "--runs", 2, "--mixtures", 1, "--calibration", 20)
    status, out, err = edgeprof("estimate", MODEL, "r.recipe.toml", *common, "-o", "guess.edgeprof")
    assert status == 0 and "ESTIMATED: a what-if, nothing was run" in out and "Saved guess.edgeprof" in err
    assert "(an estimate from shapes)" in out and "more runs narrow it" not in out
    guess = load("guess.edgeprof")
    assert guess.origin == "estimated" and parse_recipe(guess.context.recipe).name == "mine"
    status, out, _ = edgeprof(
        "search", MODEL, *common, "--trials", 20, "--build", 1, "--no-prune", "--max-loss", 1, "--save-recipe", "best.recipe.toml", "--json"
    )
    told = json.loads(out)
    assert status == 0 and told["complete"] and told["trials"] == 20 and told["best"] == told["candidates"][0]["name"]
    assert told["candidates"][0]["measured"]["latency_ms"] > 0
    assert read_recipe("best.recipe.toml").decisions == parse_recipe(told["candidates"][0]["recipe"]).decisions
    status, out, _ = edgeprof("search", MODEL, *common, "--trials", 20, "--build", 1, "--no-prune", "--max-latency-ms", 0.0001)
    assert status == 1 and "No measured candidate keeps to the constraints" in out
