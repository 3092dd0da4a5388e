"""Samples for a model, in every form that they may be given in, and what is said of those that do not fit."""

import hashlib
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.datasets import Dataset, load_data
from edgeprof.errors import DataError, UsageError
from edgeprof.models.graph import Graph, TensorInfo


def graph_of(*inputs, notes=()):
    infos = [TensorInfo(name, dtype, shape) for name, dtype, shape in inputs]
    return Graph("net", (), tuple(infos), (), {}, notes=notes)


IMAGE = graph_of(("image", "float32", (1, 2, 3)))
TWO = graph_of(("x", "float32", (1, 3)), ("y", "int64", (1,)))
FOUR = graph_of(("x", "float32", (4, 3)))
WHOLE = graph_of(("x", "float32", (2, 3)), ("s", "float32", ()))
X = np.arange(60, dtype=np.float32).reshape(10, 2, 3)


class Tensor:
    """As other libraries have them: no array of NumPy, but one can be made."""

    def __init__(self, values, fails=False):
        self.values, self.fails = values, fails

    def __array__(self, dtype=None, copy=None):
        if self.fails:
            raise TypeError("can't convert a tensor on another device.\nmove it")
        return np.asarray(self.values, dtype)


def same(found, x=X, labels=None, name="image"):
    np.testing.assert_array_equal(found.inputs[name], x)
    assert found.inputs[name].dtype == np.float32
    if labels is None:
        assert found.labels is None
    else:
        np.testing.assert_array_equal(found.labels, labels)
    return True


# Forms


@pytest.mark.parametrize(
    "data",
    [
        X, X.astype(np.float64), {"image": X}, X.tolist(), Tensor(X), {"image": Tensor(X)},
        list(X), iter(X), X[:, None], (x for x in X), [{"image": x} for x in X], [X[:3], X[3:]], [X[:3], *X[3:]], [Tensor(x) for x in X],
    ],
)  # fmt: skip
def test_arrays_and_iterables_of_samples_or_batches(data):
    if isinstance(data, np.ndarray) and data.ndim == 4:
        data = list(data)
    found = load_data(data, IMAGE)
    assert same(found)
    assert (len(found), found.batch) == (10, 1)


LABELS = np.arange(10) % 3


@pytest.mark.parametrize(
    "data",
    [
        (X, LABELS), ({"image": X}, LABELS.tolist()), zip(X, LABELS, strict=True), list(zip(X, LABELS.tolist(), strict=True)),
        [[Tensor(X[i : i + 2]), Tensor(LABELS[i : i + 2])] for i in range(0, 10, 2)],
        [[{"image": x}, n] for x, n in zip(X, LABELS, strict=True)],
        [(x[None], [n]) for x, n in zip(X, LABELS, strict=True)], [(x[None], n) for x, n in zip(X, LABELS, strict=True)],
    ],
)  # fmt: skip
def test_labels_come_along(data):
    assert same(load_data(data, IMAGE), labels=LABELS)


def test_labels_of_several_numbers_a_sample():
    truth = np.arange(40.0).reshape(10, 4)
    assert same(load_data((X, truth), IMAGE), labels=truth)
    assert same(load_data(zip(X, truth, strict=True), IMAGE), labels=truth)
    assert same(load_data([(x[None], t) for x, t in zip(X, truth, strict=True)], IMAGE), labels=truth)
    assert same(load_data([(X[:5], truth[:5]), (X[5:], truth[5:])], IMAGE), labels=truth)


def test_a_generator_may_use_the_same_memory_for_each_sample():
    def frames():
        frame = np.empty((2, 3), np.float32)
        label = np.empty((), int)
        for n, x in enumerate(X):
            frame[:], label[...] = x, n
            yield frame, label

    assert same(load_data(frames(), IMAGE), labels=range(10))


def test_files_and_folders(tmp_path):
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", image=X, labels=LABELS)
    assert same(load_data(tmp_path / "x.npy", IMAGE))
    assert same(load_data(str(tmp_path / "x.npz"), IMAGE), labels=LABELS)
    folder = tmp_path / "folder"
    folder.mkdir()
    for n, x in enumerate(X):
        np.savez_compressed(folder / f"{n:02}.NPZ.npz", image=x, labels=LABELS[n])
    np.save(folder / ".hidden.npy", np.zeros(5))
    (folder / "readme.txt").write_text("no data")
    found = load_data(folder, IMAGE)
    assert same(found, labels=LABELS)
    assert found.source == "folder/"


def test_an_input_may_be_called_labels(tmp_path):
    np.savez(tmp_path / "x.npz", labels=X)
    assert same(load_data(tmp_path / "x.npz", graph_of(("labels", "float32", (1, 2, 3)))), name="labels")


def test_several_inputs():
    x, y = np.ones((5, 3), np.float64), np.arange(5, dtype=np.int32)
    for data in ({"x": x, "y": y}, [{"x": x[i], "y": y[i]} for i in range(5)], [{"x": x[:2], "y": y[:2]}, {"x": x[2:], "y": y[2:]}]):
        found = load_data(data, TWO)
        assert (found.inputs["x"].dtype, found.inputs["y"].dtype) == (np.float32, np.int64)
        assert found.inputs["y"].tolist() == [0, 1, 2, 3, 4]


def test_a_dataset_is_checked_against_the_model_that_it_is_given_to():
    data = Dataset({"image": X}, [1] * 10, batch=7, source="mine")
    found = load_data(data, IMAGE)
    assert (found.batch, found.source, found.labels.tolist()) == (1, "mine", [1] * 10)
    with pytest.raises(DataError, match="has 'image', which is no input"):
        load_data(data, TWO)


def test_texts_are_fed_as_texts():
    found = load_data(np.array(["a", "bc"]), graph_of(("text", "string", (1,))))
    assert found.inputs["text"].tolist() == ["a", "bc"]


# Batches


def fed(dataset):
    return [({name: array.tolist() for name, array in feed.items()}, count) for feed, count in dataset.batches()]


def test_a_last_batch_that_is_not_full_repeats_its_last_sample():
    x = np.arange(30, dtype=np.float32).reshape(10, 3)
    found = load_data(x, FOUR)
    batches = fed(found)
    assert [count for _, count in batches] == [4, 4, 2]
    assert batches[2][0]["x"] == [x[8].tolist(), *[x[9].tolist()] * 3]
    assert np.concatenate([feed["x"][:count] for feed, count in batches]).tolist() == x.tolist()


def test_a_model_without_a_batch_axis_is_fed_one_sample_at_a_time():
    found = load_data({"x": np.arange(12, dtype=np.float32).reshape(2, 2, 3), "s": np.float32([5, 6])}, WHOLE)
    assert (found.batch, len(found)) == (0, 2)
    batches = list(found.batches())
    assert [(feed["x"].shape, feed["s"].shape, count) for feed, count in batches] == [((2, 3), (), 1)] * 2
    assert all(isinstance(feed["s"], np.ndarray) for feed, _ in batches)
    assert [float(feed["s"]) for feed, _ in batches] == [5, 6]


@given(st.integers(1, 30), st.integers(0, 9))
def test_batches_hold_every_sample_once(n, batch):
    x = np.arange(n)
    found = Dataset({"x": x}, batch=batch)
    counted = [np.atleast_1d(feed["x"])[:count] for feed, count in found.batches()]
    assert np.concatenate(counted).tolist() == x.tolist()
    assert all(feed["x"].shape == ((batch,) if batch else ()) for feed, _ in found.batches())


def test_axes_that_are_open_take_any_size():
    graph = graph_of(("tokens", "int64", (1, None)), ("unknown", "float32", None))
    found = load_data({"tokens": np.ones((3, 7), np.int32), "unknown": np.ones((3, 2, 2), np.float32)}, graph)
    assert (found.batch, found.inputs["tokens"].shape) == (1, (3, 7))


# Parts


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 3))
def test_parts_are_samples_with_their_labels_in_order(n, wanted, seed):
    data = Dataset({"x": np.arange(n)}, np.arange(n) * 2)
    for part in (data.take(wanted), data.take(wanted, seed)):
        assert len(part) == min(n, wanted)
        assert sorted(set(part.inputs["x"].tolist())) == part.inputs["x"].tolist()
        assert (part.inputs["x"] * 2 == part.labels).all()
    if wanted < n:
        one, rest = data.split(wanted, seed)
        assert len(one) == wanted
        assert sorted([*one.inputs["x"].tolist(), *rest.inputs["x"].tolist()]) == list(range(n))
        assert one.inputs["x"].tolist() == data.split(wanted, seed)[0].inputs["x"].tolist()
    else:
        with pytest.raises(UsageError, match="cannot be split"):
            data.split(wanted)
    with pytest.raises(UsageError, match="0 samples were asked for"):
        data.take(0)


def test_the_digest_tells_values_types_names_and_labels_apart():
    one = Dataset({"x": X}, LABELS)
    others = [Dataset({"x": X + 1}, LABELS), Dataset({"y": X}, LABELS), Dataset({"x": X.astype(np.float64)}, LABELS), Dataset({"x": X}),
              Dataset({"x": X.reshape(10, 3, 2)}, LABELS), Dataset({"x": X}, LABELS + 1), Dataset({"x": X, "labels": LABELS})]  # fmt: skip
    assert len({one.digest, *(other.digest for other in others)}) == 8
    assert Dataset({"x": np.asfortranarray(X)}, LABELS.copy(), 4, "elsewhere").digest == one.digest
    assert pickle.loads(pickle.dumps(one)).digest == one.digest
    assert len(one.digest) == hashlib.sha256().digest_size * 2


def test_it_says_what_it_is():
    assert repr(load_data((X, LABELS), IMAGE)) == "<Dataset given arrays: 10 samples of image, with labels>"


# What does not fit

NAN = X.copy()
NAN[3, 1, 1], NAN[7, 0, 0] = np.nan, np.inf

REFUSED = {
    "a number": (5, IMAGE, "^Data is int; give a path"),
    "bytes": (b"123", IMAGE, "^Data is bytes; give a path"),
    "a wrong name": ({"imag": X}, IMAGE, r"has 'imag', which is no input \(did you mean 'image'\?\)\. The model's input is 'image'"),
    "a name too many": ({"image": X, "z": X}, IMAGE, "has 'z', which is no input"),
    "a name too few": ({"x": np.ones((1, 3))}, TWO, "has nothing for the input 'y'"),
    "no name for two": (X, TWO, "An array was given without a name, and net has several inputs"),
    "a wrong shape": (X[:, :1], IMAGE, r"has samples of the shape \[1, 3\] for 'image'; expected \[2, 3\]\.$"),
    "a wrong rank": (X[:, 0, 0], IMAGE, r"has the shape \[10\] for 'image'; expected samples of \[2, 3\] along a first axis"),
    "no axis at all": (np.float32(1), IMAGE, r"has the shape \[\] for 'image'"),
    "whole numbers for floats": (X.astype(np.uint8), IMAGE, r"is uint8 for 'image'; expected float32\. Convert it, or declare how"),
    "floats for whole numbers": ({"x": np.ones((2, 3)), "y": np.ones(2)}, TWO, "is float64 for 'y'; expected int64"),
    "texts": (X.astype("U"), IMAGE, "is string for 'image'; expected float32"),
    "objects": ([{"image": object()}], IMAGE, "The data for 'image' is no array of numbers"),
    "times": (np.zeros((1, 2, 3), "M8[s]"), IMAGE, "is no array of numbers"),
    "records": (np.zeros((1, 2, 3), [("a", "f4")]), IMAGE, "is no array of numbers"),
    "ragged": ({"image": [[1], [1, 2]]}, IMAGE, "NumPy makes no array of the data for 'image'"),
    "on another device": (Tensor(X, fails=True), IMAGE, "NumPy makes no array of the data for 'image': can't convert a tensor"),
    "NaN and infinity": (NAN, IMAGE, "holds NaN or infinity in 2 of 10 samples for 'image'. Remove those"),
    "too large for the type": (X.astype(np.float64) * 1e38, IMAGE, "has values for 'image' that float32 cannot hold, 56 of them"),
    "too large whole numbers": (np.array([1 << 40, 1]), graph_of(("x", "int32", (1,))), "for 'x' that int32 cannot hold, 1 of them"),
    "no samples": (X[:0], IMAGE, "has no samples. Give at least one; for calibration 100 or more"),
    "an empty list": ([], IMAGE, "has no samples"),
    "an empty generator": (iter(()), IMAGE, "has no samples"),
    "different numbers": ({"x": np.ones((2, 3)), "y": np.ones(3, int)}, TWO, "different numbers of samples: 2 of x, 3 of y"),
    "different numbers in an item": ([{"x": np.ones((2, 3)), "y": np.ones(3, int)}], TWO, "for its inputs in item 1"),
    "different numbers of labels": ((X, LABELS[:4]), IMAGE, "10 of image, 4 of labels"),
    "labels of some": ([(X[0], 1), X[1]], IMAGE, "2 of image, 1 of labels"),
    "different shapes": ([X[0], X[:, :1]], IMAGE, "samples of different shapes; all must have the same"),
    "text labels": ((X, ["cat"] * 10), IMAGE, r"has <U3 labels \[10\]; expected a number"),
    "one label for all": ((X, 3), IMAGE, r"has int64 labels \[\]; expected a number"),
    "labels that are missing": ((X, [1.0, np.nan] * 5), IMAGE, "holds NaN or infinity among its labels"),
    "a model without inputs": ({}, graph_of(), "net takes no inputs"),
    "a sequence": (X, graph_of(("x", "", None)), "'x' is a sequence, map, optional or sparse tensor"),
}  # fmt: skip
REFUSED["different batches"] = (
    {"x": np.ones((4, 3)), "y": np.ones((4, 1, 1), int)},
    graph_of(("x", "float32", (4, 3)), ("y", "int64", (1, 1))),
    r"take samples in different numbers \('x' takes 4, 'y' takes no axis for them\)",
)  # fmt: skip


@pytest.mark.parametrize(("data", "graph", "sentence"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_a_sentence(data, graph, sentence):
    with pytest.raises(DataError, match=sentence) as error:
        load_data(data, graph)
    assert "\n" not in str(error.value)


def test_a_size_that_was_only_assumed_is_said_to_be():
    note = "Input 'image': the model leaves sizes open; taken axis 1 ('h') as 2. Use --shape image=1,2,3 to say otherwise."
    with pytest.raises(
        DataError, match=r"expected \[2, 3\]\. The model leaves sizes open: load it with those of the data \(--shape image="
    ):
        load_data(X[:, :1], graph_of(("image", "float32", (1, 2, 3)), notes=(note,)))


def test_files_that_hold_no_data(tmp_path):
    for path, sentence in [
        (tmp_path / "none.npz", "There is no data at"),
        ("n" * 5000, "There is no data at n"),
        ("a\0b", r"There is no data at 'a\\x00b'"),
        (tmp_path, r"holds no \.npy or \.npz files\.$"),
    ]:
        with pytest.raises(DataError, match=sentence):
            load_data(path, IMAGE)
    (tmp_path / "x.PNG").touch()
    with pytest.raises(DataError, match=r"Its 1 images need a \.toml that says how they become inputs: docs/data\.md"):
        load_data(tmp_path, IMAGE)
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + b"junk" * 10)
    with pytest.raises(DataError, match="is not an array in NumPy's format"):
        load_data(tmp_path, IMAGE)
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(DataError, match="holds Python objects, which are not loaded"):
        load_data(tmp_path / "o.npy", IMAGE)
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(DataError, match=r"folder\.npz"):
        load_data(tmp_path / "folder.npz", IMAGE)


def test_absurd_claims_and_bombs_are_refused_before_memory_is_taken(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 2, 3), }"
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    (tmp_path / "claim.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"1234")
    with pytest.raises(DataError, match=r"claims .* TB"):
        load_data(tmp_path / "claim.npy", IMAGE)
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("image.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (500_000, 2, 3)})
        member.write(bytes(12_000_000))
    with pytest.raises(DataError, match=r"unpacks to 12\.0 MB, more than 1\.00 MB"):
        load_data(tmp_path / "bomb.npz", IMAGE, most_bytes=1_000_000)


def test_data_without_end_is_stopped(tmp_path):
    def forever():
        while True:
            yield X[0]

    with pytest.raises(DataError, match=r"needs more than 100 kB\. Give fewer samples"):
        load_data(forever(), IMAGE, most_bytes=100_000)
    for n in range(5):
        np.save(tmp_path / f"{n}.npy", X)
    with pytest.raises(DataError, match=r"needs more than 1\.00 kB"):
        load_data(tmp_path, IMAGE, most_bytes=1000)


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr("edgeprof.datasets.MOST_FILES", 2)
    for n in range(3):
        np.save(tmp_path / f"{n}.npy", X)
    with pytest.raises(DataError, match="holds more than 2 files"):
        load_data(tmp_path, IMAGE)
