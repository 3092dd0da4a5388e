"""Whole calls: what comes first, what is kept, what is refused, and a real model."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from edgeprof.commands import main
from edgeprof.errors import RecipeError, UsageError
from edgeprof.recipes.build import quantize
from edgeprof.recipes.recipe import Quantization, read_recipe
from edgeprof.sensitivities import Sensitivity, sensitivity
from edgeprof.sensitivities.kept import NAME
from edgeprof.workshop import Workshop
from tests.sensitivity.nets import CONVS, images, labelled, net

SAMPLES = Path(__file__).parents[2] / "sample_models"
QUIET = {"measure": False, "progress": False}


def right(outputs, labels):
    return outputs["y"].argmax(axis=1) == labels


@pytest.mark.parametrize("damaged", CONVS)
def test_a_damaged_layer_comes_first(tmp_path, damaged):
    path = net(tmp_path / "net.onnx", damaged=damaged)
    one_scale = Quantization(per_channel=False)
    found = sensitivity(path, data=images(), modes=("only", "weights"), quantization=one_scale, calibration=16, **QUIET)
    ranked = found.ranking("loss")
    assert ranked["layer"].iloc[0] == damaged and found.ranking("loss", mode="weights")["layer"].iloc[0] == damaged
    assert found.nodes_to_exclude(10**-2.5) == [damaged]
    assert found.metric == "sqnr_db" and ranked["loss"].iloc[0] > 0.01


def test_an_outlier_that_the_next_layer_takes_back_hurts_both(tmp_path):
    path = net(tmp_path / "net.onnx", damaged="second", taken_back=True)
    options = {"data": images(), "modes": ("only", "weights"), "calibration": 16, "study": tmp_path / "study", **QUIET}
    found = sensitivity(path, quantization=Quantization(per_channel=False), **options)
    assert set(found.ranking()["layer"].iloc[:2]) == {"second", "third"}
    by_channel = sensitivity(path, quantization=Quantization(per_channel=True), **options)
    alone = {one: one.ranking(mode="weights").set_index("layer")["sqnr_db"]["second"] for one in (found, by_channel)}
    assert alone[by_channel] > alone[found] + 20, "a scale for each channel saves the weights"


def test_what_is_known_is_not_tried_again(tmp_path):
    path = net(tmp_path / "net.onnx")
    options = {"data": labelled(path), "modes": "only", "calibration": 16, "study": tmp_path / "study", **QUIET}
    heard = []

    def stop_after_two(phase, done, total):
        heard.append((phase, done, total))
        if total and done == 2:
            raise KeyboardInterrupt

    first = sensitivity(path, **options | {"progress": stop_after_two})
    assert (first.ended, first.ran, first.left, first.complete) == ("interrupted", 2, 4, False)
    assert set(first.table["status"]) >= {"done", "left"} and heard[-1][1:] == (2, 6)
    second = sensitivity(path, **options)
    assert (second.ended, second.ran, second.left) == ("complete", 4, 0)
    lines = (tmp_path / "study" / NAME).read_text().splitlines()
    third = sensitivity(path, **options)
    assert third.ran == 0 and third.table.equals(second.table) and (tmp_path / "study" / NAME).read_text().splitlines() == lines
    assert Sensitivity.load(tmp_path / "study" / "sensitivity.json").table.equals(third.table)
    other = sensitivity(path, **options | {"quantization": Quantization(activation_type="int8"), "layers": ["second"]})
    assert other.ran == 2 and set(other.table["layer"]) == {"(all)", "second"}


def test_without_time_all_is_left(tmp_path):
    path = net(tmp_path / "net.onnx")
    options = {"data": images(), "calibration": 16, "study": tmp_path / "study", "modes": ("only", "weights"), **QUIET}
    found = sensitivity(path, **options, minutes=1e-9)
    assert found.ended == "out of time" and found.ran == 0 and set(found.table["status"]) == {"left"}
    assert set(CONVS) < set(found.table["layer"]) and math.isnan(found.table["saved_bytes"].iloc[0])
    assert found.nodes_to_exclude(1.0) == [*CONVS, "fc"], "what was not tried stays float"


def test_a_process_that_dies_costs_nothing_that_was_found(tmp_path):
    path = net(tmp_path / "net.onnx")
    with Workshop(path, data=images(), calibration=16) as shop:

        def end_it(phase, done, total):
            if total and done == 3:
                shop.worker.close()

        found = sensitivity(shop, modes="only", measure=False, progress=end_it)
    assert found.complete and found.ran == 6 and set(found.table["status"]) == {"done", "cannot"}


def test_a_function_as_metric_and_labels(tmp_path):
    path = net(tmp_path / "net.onnx", damaged="second")
    options = {"data": labelled(path, 60), "modes": "only", "calibration": 16, "quantization": Quantization(per_channel=False), **QUIET}
    with Workshop(path, data=options.pop("data"), calibration=options.pop("calibration"), metric=right, study=tmp_path / "study") as shop:
        own = sensitivity(shop, **options)
        again = sensitivity(shop, **options)
        shop.metric = "top1"
        named = sensitivity(shop, **options)
    assert (own.metric, named.metric, own.value) == ("right", "top1", 1.0)
    assert own.table["loss"].equals(named.table["loss"]) and own.table["sqnr_db"].equals(named.table["sqnr_db"])
    assert again.ran == 0 and named.ran == own.ran, "what another metric found does not count"
    row = named.ranking().iloc[0]
    assert row["layer"] == "second" and row["loss"] > 0 and row["loss_low"] > 0


def test_bytes_that_are_saved_are_those_of_the_files(tmp_path):
    path = net(tmp_path / "net.onnx")
    found = sensitivity(
        path, data=images(), modes=("only", "without"), layers=["second"], calibration=16, study=tmp_path / "study", **QUIET
    )
    saved = {(row["layer"], row["mode"]): row["saved_bytes"] for row in found.table.to_dict("records") if row["status"] == "done"}
    with Workshop(path, data=images(), calibration=16, study=tmp_path / "study") as shop:
        whole = shop.build(found.recipe(1e9)).stat().st_size
    assert saved["(all)", "all"] == pytest.approx(path.stat().st_size - whole, abs=64)
    assert saved["second", "only"] != saved["second", "without"]


def test_what_makes_no_sense_is_refused(tmp_path):
    path = net(tmp_path / "net.onnx")
    for options, text in (
        ({"decisions": "int7"}, "no decision 'int7' .did you mean 'int8'"),
        ({"decisions": (1.5,)}, "above 0 and below 1"),
        ({"decisions": ()}, "nothing to decide"),
        ({"modes": "onyl"}, "no mode 'onyl' .did you mean 'only'"),
        ({"layers": ["secnd"]}, "no layer 'secnd' .did you mean 'second'"),
        ({"samples": 0}, "samples is 0"),
        ({"minutes": 0}, "minutes is 0"),
        ({"data": None}, "needs data"),
    ):
        with pytest.raises(UsageError, match=text):
            sensitivity(path, **{"data": images(), **QUIET, **options})
    with Workshop(path, data=images()) as shop, pytest.raises(UsageError, match="brings its own data"):
        sensitivity(shop, data=images())


def test_a_quantized_model_is_refused(tmp_path):
    path = net(tmp_path / "net.onnx")
    quantize(path, data=images(), output=tmp_path / "q.onnx")
    with pytest.raises(RecipeError, match="quantized already"):
        sensitivity(tmp_path / "q.onnx", data=images(), **QUIET)


def test_a_real_model(tmp_path):
    model, data = SAMPLES / "resnet8_mnist.onnx", SAMPLES / "held_out_digits.toml"
    found = sensitivity(model, data=data, modes="only", samples=24, calibration=24, **QUIET)
    alone = found.ranking()
    whole = found.table[found.table["mode"] == "all"].iloc[0]
    assert found.complete and len(alone) == 14 and (alone["sqnr_db"] > whole["sqnr_db"]).all()
    noise = sum(found.noise().values())
    assert 0.3 < noise / 10 ** (-whole["sqnr_db"] / 10) < 3, "noise adds up, roughly"
    assert set(found.table.loc[found.table["status"] == "cannot", "op_type"]) == {"Relu", "Flatten"}


def test_the_command(tmp_path, capsys):
    path = net(tmp_path / "net.onnx")
    x, labels = labelled(path)
    np.savez(tmp_path / "data.npz", x=x, labels=labels)
    options = ["--data", str(tmp_path / "data.npz"), "-o", str(tmp_path / "study"), "--calibration", "16", "--no-measure"]
    recipe = tmp_path / "r.recipe.toml"
    status = main(["sensitivity", str(path), *options, "--mode", "only", "--export", str(recipe), "--most-loss", "0.05"])
    printed = capsys.readouterr()
    assert status == 0 and "All layers int8: loss" in printed.out and "second" in printed.out
    assert read_recipe(recipe).decisions[0].precision == "int8" and "scored on 32 samples" in printed.err
    assert main(["sensitivity", str(path), *options, "--mode", "only", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ran"] == 0 and {row["status"] for row in told["trials"]} == {"done", "cannot"}
    assert main(["sensitivity", str(path), *options, "--tensor", "second"]) == 0
    assert "output of second_relu" in capsys.readouterr().out
    assert main(["sensitivity", str(path), *options, "--most-loss", "much"]) == 2
