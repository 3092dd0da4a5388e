"""Scores: exact on toy answers, lawful on any, and the same accuracy on the sample models as their own script finds."""

import importlib.util
import math
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeprof import scoring
from edgeprof.apart import Apart
from edgeprof.datasets import Dataset, load_data
from edgeprof.errors import DataError, ModelError, UsageError
from edgeprof.models import load_model
from edgeprof.scoring import MOST_DB, Drop, Score, drop, metric_for, outputs_of, score, score_outputs, sqnr_db, wilson, with_scores
from edgeprof.testing import make_profile
from tests.laws import examples

SAMPLES = Path(__file__).parent.parent / "sample_models"


def answers(labels, classes=3):
    """Rows whose largest value is at the label."""
    return np.eye(classes, dtype=np.float32)[labels]


def data_of(n, labels=None):
    return Dataset({"x": np.arange(n, dtype=np.float32)}, None if labels is None else np.asarray(labels))


# top1


def test_top1_is_the_share_of_right_answers_with_wilsons_interval():
    """Newcombe 1998, table I: 15 of 148 has the score interval 0.0624 to 0.1605."""
    labels = np.zeros(148, int)
    found = score_outputs({"y": answers([0] * 15 + [1] * 133)}, data_of(148, labels), "top1")
    assert found.value == 15 / 148
    assert (round(found.low, 4), round(found.high, 4)) == (0.0624, 0.1605)
    assert (found.metric, found.n, found.better, found.unit) == ("top1", 148, "higher", "%")
    assert found.per_sample.tolist() == [1] * 15 + [0] * 133
    assert str(found) == "top1 10.14 % (6.239 to 16.05), n = 148"


@given(st.integers(1, 2000), st.data())
def test_wilsons_interval_holds_the_share_and_stays_inside(n, data):
    correct = data.draw(st.integers(0, n))
    low, high = wilson(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    assert (low == 0) == (correct == 0)
    assert (high == 1) == (correct == n)


def test_an_answer_that_is_nan_is_never_right():
    outputs = answers([0, 1, 2])
    outputs[0] = np.nan
    outputs[1, 2] = np.nan
    found = score_outputs({"y": outputs}, data_of(3, [0, 1, 2]))
    assert found.per_sample.tolist() == [0, 0, 1]


@pytest.mark.parametrize("shape", [(3, 3), (3, 3, 1, 1), (3, 1, 3), (3, 1, 1, 3)])
def test_axes_of_length_one_beside_the_classes_do_not_matter(shape):
    found = score_outputs({"y": answers([0, 1, 1]).reshape(shape)}, data_of(3, [0, 1, 2]))
    assert (found.metric, found.value) == ("top1", 2 / 3)


# mae, sqnr_db, cosine


def test_mae_is_the_mean_over_samples_of_the_mean_error():
    outputs = np.float32([[1, 2], [3, 4], [5, 6]])
    found = score_outputs({"y": outputs}, data_of(3, [[1.0, 2], [4, 4], [5, 9]]))
    assert (found.metric, found.value, found.better) == ("mae", (0 + 0.5 + 1.5) / 3, "lower")
    assert math.isnan(found.low)
    assert found.per_sample.tolist() == [0, 0.5, 1.5]
    again = score_outputs({"y": np.arange(12.0)[:, None]}, data_of(12, np.arange(12) + 0.5))
    assert (again.value, again.low, again.high) == (0.5, 0.5, 0.5)


def test_sqnr_is_decibels_of_all_signal_over_all_noise():
    reference = {"a": np.float32([[3, 4], [0, 0]]), "b": np.float32([0, 5])}
    noisy = {"a": np.float32([[3, 3], [0, 0]]), "b": np.float32([0.5, 5]), "c": np.zeros(2)}
    found = score_outputs(noisy, data_of(2), "auto", reference)
    assert (found.metric, found.unit) == ("sqnr_db", "dB")
    assert found.value == pytest.approx(10 * math.log10(50 / 1.25))
    assert sqnr_db(np.float32([10]), np.float32([9])) == pytest.approx(20)
    assert sqnr_db(np.float32(10), np.float32(9)) == pytest.approx(20)
    assert math.isnan(sqnr_db(np.zeros(3), np.ones(3)))
    assert sqnr_db(np.zeros(3), np.zeros(3)) == MOST_DB


def test_a_difference_too_small_to_matter_is_no_more_than_the_most():
    assert sqnr_db(np.ones(1), np.ones(1) + 1e-12) == MOST_DB
    assert sqnr_db(np.full(4, 1e300), np.full(4, 1e300)) == MOST_DB
    assert sqnr_db(np.array([np.inf, -np.inf, 1]), np.array([np.inf, -np.inf, 1])) == MOST_DB


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_have_no_score(broken):
    reference, outputs = {"y": np.ones((20, 2))}, {"y": np.full((20, 2), broken)}
    for metric in ("sqnr_db", "cosine"):
        found = score_outputs(outputs, data_of(20), metric, reference)
        assert math.isnan(found.value)
        assert (math.isnan(found.low), math.isnan(found.high)) == (True, True)
        assert found.record()["value"] is None
        assert str(found) == f"{metric} –, n = 20"


def test_cosine_is_the_mean_over_samples():
    reference = {"y": np.float32([[1, 0], [1, 0], [0, 0], [0, 0], [1, 1]])}
    outputs = {"y": np.float32([[2, 0], [0, 3], [0, 0], [1, 0], [-1, -1]])}
    found = score_outputs(outputs, data_of(5), "cosine", reference)
    np.testing.assert_allclose(found.per_sample, [1, 0, 1, 0, -1], atol=1e-15)
    assert found.value == pytest.approx(0.2)


OUTPUTS = arrays.arrays(np.float32, st.tuples(st.integers(1, 15), st.integers(1, 4)), elements=st.floats(-100, 100, width=32))


@given(OUTPUTS, st.sampled_from([1e-3, 0.5, -2.0, 1e3]), st.randoms(use_true_random=False))
def test_laws_of_sqnr_and_cosine(reference, factor, random):
    n, rng = len(reference), np.random.default_rng(random.randrange(1 << 30))
    noisy = reference + rng.normal(size=reference.shape).astype(np.float32)
    order = rng.permutation(n)

    def value(metric, one, other):
        return score_outputs({"y": other}, data_of(n), metric, {"y": one}).value

    for metric, most in (("sqnr_db", MOST_DB), ("cosine", 1.0)):
        assert value(metric, reference, reference) == most
        plain = value(metric, reference, noisy)
        scaled = value(metric, reference.astype(float) * factor, noisy.astype(float) * factor)
        assert scaled == pytest.approx(plain, abs=1e-9, nan_ok=True)
        assert value(metric, reference[order], noisy[order]) == pytest.approx(plain, abs=1e-9, nan_ok=True)
        assert not plain > most
    assert value("cosine", reference, noisy) == pytest.approx(value("cosine", noisy, reference), abs=1e-12)


@given(st.integers(10, 60), st.integers(0, 99))
@examples(0.5)
def test_the_interval_of_sqnr_is_the_same_each_time_and_holds_the_value(n, seed):
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(n, 4))
    outputs = reference + 0.1 * rng.normal(size=(n, 4))
    found = score_outputs({"y": outputs}, data_of(n), "sqnr_db", {"y": reference})
    assert found == score_outputs({"y": outputs}, data_of(n), "sqnr_db", {"y": reference})
    assert found.low < found.value < found.high
    same = score_outputs({"y": reference}, data_of(n), "sqnr_db", {"y": reference})
    assert (same.low, same.value, same.high) == (MOST_DB, MOST_DB, MOST_DB)


# A function


def test_a_function_gives_a_number_or_one_a_sample():
    outputs, data = {"y": np.arange(12.0)}, data_of(12, np.zeros(12))

    def total(outputs, labels):
        return outputs["y"].sum() + labels.sum()

    def each(outputs, labels):
        return list(outputs["y"])

    found = score_outputs(outputs, data, total)
    assert (found.metric, found.value, found.per_sample, found.better) == ("total", 66, None, "higher")
    assert math.isnan(found.low)
    found = score_outputs(outputs, data, each)
    mean, margin = 5.5, 1.959964 * np.arange(12.0).std(ddof=1) / math.sqrt(12)
    assert (found.value, found.low, found.high) == pytest.approx((mean, mean - margin, mean + margin))
    assert score_outputs(outputs, data, lambda outputs, labels: 1).metric == "lambda"


@pytest.mark.parametrize(
    ("metric", "sentence"),
    [
        (lambda outputs, labels: outputs["logits"], r"The metric lambda failed: KeyError: 'logits'\. It takes outputs by name \(y\)"),
        (lambda outputs: 1, "The metric lambda failed: TypeError"),
        (lambda outputs, labels: "good", "The metric lambda failed: ValueError"),
        (lambda outputs, labels: None, "The metric lambda failed: ValueError: it returned nothing"),
        (lambda outputs, labels: [1, 2], r"gave an array of shape \(2,\); expected a number, or one for each of 3 samples"),
        (lambda outputs, labels: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_function_that_fails_is_said_to(metric, sentence):
    with pytest.raises(UsageError, match=sentence):
        score_outputs({"y": np.ones(3)}, data_of(3), metric)


def test_a_functions_own_sentence_is_kept():
    def refuse(outputs, labels):
        raise DataError("These are not the labels that it needs.")

    with pytest.raises(DataError, match=r"^These are not"):
        score_outputs({"y": np.ones(3)}, data_of(3), refuse)


# Which metric, and what it needs


def test_auto_follows_the_labels():
    rows, one = {"y": np.ones((4, 3))}, {"y": np.ones((4, 1))}
    assert metric_for(data_of(4), rows) == "sqnr_db"
    assert metric_for(data_of(4, [0, 1, 2, 1]), rows) == "top1"
    assert metric_for(data_of(4, np.uint8([0, 1, 2, 1])), rows) == "top1"
    assert metric_for(data_of(4, [0.5, 1, 2, 1]), rows) == "mae"
    assert metric_for(data_of(4, [0, 1, 2, 1]), one) == "mae"
    assert metric_for(data_of(4, np.ones((4, 3), int)), rows) == "mae"
    assert metric_for(data_of(4), rows, "cosine") == "cosine"


@pytest.mark.parametrize(
    ("outputs", "labels", "metric", "reference", "error", "sentence"),
    [
        ((3, 2), None, "top-1", None, UsageError, r"There is no metric 'top-1' \(did you mean 'top1'\?\)\. Use one of top1, mae"),
        ((3, 2), None, None, None, UsageError, "There is no metric 'None'"),
        ((3, 2), None, "top1", None, DataError, r"top1 needs labels and the data \(given\) has none\. Add an array 'labels'"),
        ((3, 2), None, "auto", None, DataError, "sqnr_db compares with the outputs of the model that this one was made from"),
        ((3, 2), [0, 1, 1], "cosine", None, DataError, "cosine compares with"),
        ((3, 2), [0, 1, 2], "top1", None, DataError, "Labels go from 0 to 2; the model has 2 classes, counted from 0"),
        ((3, 2), [-1, 1, 0], "top1", None, DataError, "Labels go from -1 to 1"),
        ((3, 2), [0.5, 1, 0], "top1", None, DataError, "top1 needs labels that are whole numbers"),
        ((3, 2, 2), [0, 1, 0], "top1", None, DataError, r"one row of scores and one label a sample; the output is \(3, 2, 2\)"),
        ((3, 2), [[0], [1], [0]], "top1", None, DataError, r"the labels \(3, 1\)"),
        ((3, 2), [0.5, 1, 0], "mae", None, DataError, r"mae needs labels of the output's shape \(3, 2\); the data has \(3,\)"),
        ((3, 2), None, "sqnr_db", {"z": np.ones((3, 2))}, DataError, r"no numbers in an output of the same name \(y; z\)"),
        ((3, 2), None, "sqnr_db", {"y": np.array(["a"] * 3)}, DataError, "no numbers in an output of the same name"),
        ((3, 2), None, "cosine", {"y": np.ones((3, 3))}, DataError, r"The output 'y' has the shapes \(3, 3\) and \(3, 2\)"),
        ((3, 2), None, "sqnr_db", {"y": np.ones((4, 2))}, DataError, r"The output 'y' has the shapes \(4, 2\) and \(3, 2\)"),
    ],
)
def test_what_is_missing_or_does_not_fit(outputs, labels, metric, reference, error, sentence):
    with pytest.raises(error, match=sentence):
        score_outputs({"y": np.ones(outputs)}, data_of(3, labels), metric, reference)


def test_whole_labels_may_be_floats():
    assert score_outputs({"y": answers([0, 1, 2])}, data_of(3, [0.0, 1.0, 2.0]), "top1").value == 1


def test_an_empty_output_is_compared_all_the_same():
    outputs = {"y": np.ones((3, 0)), "z": np.ones((3, 2))}
    for metric, most in (("sqnr_db", MOST_DB), ("cosine", 1.0)):
        assert score_outputs(outputs, data_of(3), metric, outputs).value == most


# What a change cost


def right(values, **more):
    """A top1 Score of right (1) and wrong (0) answers."""
    per_sample = np.asarray(values, float)
    return Score("top1", float(per_sample.mean()), n=len(per_sample), data_sha256="d", per_sample=per_sample, **more)


def test_a_drop_counts_the_pairs_that_changed():
    """10 lost, 2 won of 100: Bonett and Price's interval is (11 - 3) / 102 -+ 1.96 sqrt((14 / 102 - (8 / 102)^2) / 102)."""
    before, after = right([1] * 90 + [0] * 10), right([1] * 80 + [0] * 10 + [1] * 2 + [0] * 8)
    found = drop(before, after)
    margin = 1.959964 * math.sqrt((14 / 102 - (8 / 102) ** 2) / 102)
    assert (found.value, found.changed, found.n) == (pytest.approx(0.08), 12, 100)
    assert (found.low, found.high) == pytest.approx((8 / 102 - margin, 8 / 102 + margin))


def test_no_answer_changed_is_not_certainty():
    found = drop(right([1] * 100), right([1] * 100))
    assert (found.value, found.changed) == (0, 0)
    assert found.low == -found.high
    assert 0.01 < found.high < 0.05


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_laws_of_a_drop_in_accuracy(pairs):
    before, after = right([a for a, _ in pairs]), right([b for _, b in pairs])
    found, back = drop(before, after), drop(after, before)
    assert found.value == -back.value
    assert (found.low, found.high) == pytest.approx((-back.high, -back.low))
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.changed == back.changed == sum(a != b for a, b in pairs)


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=1, max_size=30), st.sampled_from(["higher", "lower"]))
def test_laws_of_a_drop_of_a_mean(pairs, better):
    before, after = (
        Score("m", float(values.mean()), n=len(values), better=better, data_sha256="d", per_sample=values) for values in np.array(pairs).T
    )
    found, back = drop(before, after), drop(after, before)
    assert found.value == -back.value
    assert (found.value > 0) == ((before.value > after.value) if better == "higher" else (before.value < after.value))
    if len(pairs) < 10:
        assert math.isnan(found.low)
    else:
        assert found.low - 1e-9 <= found.value <= found.high + 1e-9
        assert (found.low, found.high) == pytest.approx((-back.high, -back.low))


def test_scores_that_are_no_means_have_a_drop_without_an_interval():
    found = drop(Score("sqnr_db", 30.0, n=5, data_sha256="d"), Score("sqnr_db", 20.0, n=5, data_sha256="d"))
    assert (found.value, math.isnan(found.low), found.changed) == (10, True, 0)
    assert isinstance(found, Drop)


def test_scores_of_other_data_or_metrics_are_not_compared():
    one = right([1, 0])
    for other in (replace(one, metric="mae"), replace(one, data_sha256="e")):
        with pytest.raises(UsageError, match="Scores of different kind or data cannot be compared"):
            drop(one, other)


# Records


def test_a_score_is_kept_with_a_profile_and_replaced_by_one_of_the_same_metric():
    profile = make_profile()
    old, new, other = right([0, 1]), right([1, 1]), Score("sqnr_db", math.nan, n=2)
    changed = with_scores(with_scores(profile, old, other), new)
    assert changed.context.scores == {"top1": new.record(), "sqnr_db": other.record()}
    assert new.record() == {"value": 1.0, "low": None, "high": None, "n": 2, "better": "higher", "data": "", "data_sha256": "d"}
    assert other.record()["value"] is None
    assert profile.context.scores == {}
    assert pickle.loads(pickle.dumps(new)).record() == new.record()


@given(OUTPUTS.filter(lambda array: array.shape[1] > 1), st.integers(0, 9))
def test_the_order_of_samples_leaves_an_accuracy_as_it_is(outputs, seed):
    n, rng = len(outputs), np.random.default_rng(seed)
    labels, order = rng.integers(0, outputs.shape[1], n), rng.permutation(n)
    one = score_outputs({"y": outputs}, data_of(n, labels))
    other = score_outputs({"y": outputs[order]}, data_of(n, labels[order]))
    assert one.metric == "top1"
    assert (one.value, one.low, one.high) == (other.value, other.low, other.high)
    assume(n > 1)
    assert one.low <= one.value <= one.high


# Real models


@pytest.fixture(scope="module")
def worker():
    """One process for all models."""
    with Apart("scoring models") as one:
        yield one


@pytest.mark.parametrize("name", ["resnet8_mnist", "dscnn_mnist"])
def test_a_sample_model_has_the_accuracy_that_its_own_script_finds(worker, name):
    spec = importlib.util.spec_from_file_location("evaluate_sample", SAMPLES / "evaluate.py")
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script
    spec.loader.exec_module(script)
    path = SAMPLES / f"{name}.onnx"
    data = load_data(SAMPLES / "held_out_digits.toml", load_model(path))
    found, expected = score(path, data, worker=worker), script.evaluate(path)
    assert (found.metric, found.n, found.data, found.data_sha256) == ("top1", 1000, "held_out_digits.toml", data.digest)
    assert found.value == expected.value
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_two_models_are_compared_by_their_outputs(worker):
    path = SAMPLES / "dscnn_mnist.onnx"
    data = load_data(SAMPLES / "held_out_digits.toml", load_model(path)).take(30)
    unlabelled = Dataset(data.inputs, None, data.batch)
    reference = outputs_of(str(path), unlabelled, worker=worker)
    assert score(path.read_bytes(), unlabelled, reference=reference, worker=worker).value == MOST_DB
    other = score(SAMPLES / "resnet8_mnist.onnx", unlabelled, "cosine", reference=reference, worker=worker)
    assert 0 < other.value < 1


def test_what_is_missing_is_said_before_the_model_is_run(monkeypatch):
    monkeypatch.setattr(scoring, "outputs_of", None)  # calling it would fail
    for metric, sentence in [("auto", "sqnr_db compares with"), ("cosine", "cosine compares with"), ("top1", "top1 needs labels")]:
        with pytest.raises(DataError, match=sentence):
            score("model.onnx", data_of(3), metric)
    with pytest.raises(UsageError, match="There is no metric 'accuracy'"):
        score("model.onnx", data_of(3), "accuracy")


def test_a_relative_path_means_this_folder(worker, tmp_path, monkeypatch):
    worker.call(str)
    (tmp_path / "m.onnx").write_bytes((SAMPLES / "dscnn_mnist.onnx").read_bytes())
    monkeypatch.chdir(tmp_path)
    data = load_data(np.zeros((2, 1, 28, 28), np.float32), load_model("m.onnx"))
    assert outputs_of("m.onnx", data, worker=worker)["logits"].shape == (2, 10)
    with pytest.raises(ModelError, match="There is no model at"):
        outputs_of("none.onnx", data, worker=worker)
    assert outputs_of("m.onnx", data)["logits"].shape == (2, 10)


def test_the_runtime_is_not_in_the_process_that_applies_and_scores():
    code = f"""
import sys
import numpy as np
from edgeprof.datasets import load_data
from edgeprof.models import load_model
from edgeprof.recipes.build import apply
from edgeprof.recipes.recipe import Decision, Recipe
from edgeprof.scoring import score

path = {str(SAMPLES / "dscnn_mnist.onnx")!r}
data = load_data({str(SAMPLES / "held_out_digits.toml")!r}, load_model(path)).take(3)
built = apply(path, Recipe((Decision(pattern="*", precision="fp32"),)), data=data)
print(score(built.model, data).value, "onnxruntime" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "1.0 False\n"
