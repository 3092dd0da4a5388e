"""Declared data: arrays and images become samples exactly as the file says, and nothing outside of its folder is touched."""

import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgeprof import declarations
from edgeprof.datasets import load_data
from edgeprof.declarations import read_declaration
from edgeprof.errors import DataError, MissingExtra
from edgeprof.models import load_model
from edgeprof.models.graph import Graph, TensorInfo

SAMPLES = Path(__file__).parent.parent / "sample_models"
GRAPH = Graph("net", (), (TensorInfo("x", "float32", (1, 3, 4, 5)),), (), {})
RGB = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4


@pytest.fixture
def declare(tmp_path):
    """Writes a declaration beside what is in ``tmp_path`` and reads it."""

    def declared(text, graph=GRAPH, most_bytes=1 << 30):
        path = tmp_path / "data.toml"
        path.write_text(text, encoding="utf-8")
        return read_declaration(path, graph, most_bytes)

    return declared


def save_images(folder, *names, image=RGB):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image + np.uint8(number)).save(folder / name)


# Arrays


@pytest.mark.parametrize(("name", "model"), [("held_out_digits", "resnet8_mnist"), ("held_out_clutter", "vit_clutter")])
def test_the_sample_declarations(name, model):
    data = load_data(SAMPLES / f"{name}.toml", load_model(SAMPLES / f"{model}.onnx"))
    with np.load(SAMPLES / f"{name}.npz") as arrays:
        images, labels = arrays["images"], arrays["labels"]
    np.testing.assert_array_equal(data.labels, labels)
    np.testing.assert_allclose(data.inputs["image"], images[:, None] / np.float32(255), rtol=1e-6)
    assert (len(data), data.source) == (1000, f"{name}.toml")


def test_the_text_of_the_documentation_is_read(tmp_path):
    text = "\n".join(line[4:] for line in declarations.__doc__.splitlines() if line.startswith("    "))
    (tmp_path / "data.toml").write_text(text)
    with pytest.raises(DataError, match="must name either a file of arrays"):
        read_declaration(tmp_path / "data.toml", GRAPH, 1 << 30)
    assert set(tomllib.loads(text)["inputs"]["image"]) == set(declarations._KEYS)


def test_arrays_are_scaled_then_normalized_by_channel(tmp_path, declare):
    values = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    np.savez(tmp_path / "d.npz", x=values, labels=[1, 2])
    inputs, labels = declare('file="d.npz"\nlabels="labels"\n[inputs.x]\nscale=0.5\nmean=[1,2,3]\nstd=[1,2,4]')
    expected = (values * 0.5 - np.reshape([1, 2, 3], (3, 1, 1))) / np.reshape([1, 2, 4], (3, 1, 1))
    np.testing.assert_allclose(inputs["x"], expected, rtol=1e-6)
    assert (inputs["x"].dtype, labels.tolist()) == (np.float32, [1, 2])
    inputs, labels = declare('file="d.npz"\n[inputs.x]\nlayout="NHWC"\nmean=[0,1,2,3,4]\nstd=2')
    np.testing.assert_allclose(inputs["x"], (values - [0.0, 1, 2, 3, 4]) / 2)
    assert labels is None


def test_arrays_get_axes_names_and_types(tmp_path, declare):
    np.savez(tmp_path / "d.npz", a=np.arange(6).reshape(2, 3), b=np.arange(2.0))
    inputs, _ = declare('file="d.npz"\n[inputs.x]\narray="a"\nadd_axis=2\ndtype="int8"\n[inputs."y z"]\narray="b"\ndtype="float64"')
    assert (inputs["x"].shape, inputs["x"].dtype, inputs["y z"].dtype) == ((2, 3, 1), np.int8, np.float64)
    assert declare('file="d.npz"\n[inputs.b]')[0]["b"].tolist() == [0, 1]
    np.save(tmp_path / "d.npy", np.ones((2, 3)))
    assert declare('file="d.npy"')[0]["x"].dtype == np.float32


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(0.01, 1e3))
def test_normalizing_is_arithmetic(tmp_path_factory, scale, mean, std):
    folder = tmp_path_factory.getbasetemp()
    values = np.linspace(-5, 5, 12).reshape(3, 4)
    np.save(folder / "law.npy", values)
    (folder / "law.toml").write_text(f'file="law.npy"\n[inputs.x]\nscale={scale!r}\nmean={mean!r}\nstd={std!r}\ndtype="float64"')
    inputs, _ = read_declaration(folder / "law.toml", GRAPH, 1 << 20)
    np.testing.assert_allclose(inputs["x"], (values * scale - mean) / std, rtol=1e-12, atol=1e-12)


# Images


def test_images_are_channels_first_or_last_in_their_colors(tmp_path, declare):
    save_images(tmp_path / "p", "b.png", "a/c.png")
    Image.fromarray(RGB).save(tmp_path / "p" / "d.PNG", format="png")
    expected = np.stack([RGB + np.uint8(1), RGB, RGB])  # in the order of their paths: a/c.png, b.png, d.PNG
    assert (declare('images="p"')[0]["x"] == expected.transpose(0, 3, 1, 2)).all()
    assert (declare('images="p"\n[inputs.x]\nlayout="NHWC"')[0]["x"] == expected).all()
    assert (declare('images="p"\n[inputs.x]\ncolor="BGR"\nlayout="NHWC"\ndtype="uint8"')[0]["x"] == expected[..., ::-1]).all()
    gray = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in expected])
    assert (declare('images="p"\n[inputs.x]\ncolor="L"')[0]["x"] == gray[:, None]).all()
    assert (declare('images="p"\n[inputs.x]\ncolor="L"\nlayout="NHWC"')[0]["x"] == gray[..., None]).all()
    assert (declare('images="p"\n[inputs.x]\ncolor="L"\nlayout="NHW"')[0]["x"] == gray).all()


def test_images_are_resized_then_cropped_in_the_middle(tmp_path, declare):
    save_images(tmp_path / "p", "a.png")
    Image.fromarray(np.repeat(np.repeat(RGB, 2, 0), 3, 1)).save(tmp_path / "p" / "b.png")
    found, _ = declare('images="p"\n[inputs.x]\nlayout="NHWC"\nresize=[4, 5]\ncrop=[2, 3]')
    assert found["x"].shape == (2, 2, 3, 3)
    assert (found["x"][0] == RGB[1:3, 1:4]).all()
    assert (declare('images="p"\n[inputs.x]\ncrop=[4, 5]')[0]["x"][0] == RGB.transpose(2, 0, 1)).all()
    assert declare('images="p"\n[inputs.x]\nresize=[8, 6]')[0]["x"].shape == (2, 3, 8, 6)


def test_mean_and_std_are_by_channel_of_images(tmp_path, declare):
    save_images(tmp_path / "p", "a.png")
    rule = "scale=0.5\nmean=[1, 2, 3]\nstd=[1, 2, 4]"
    expected = (RGB * 0.5 - [1, 2, 3]) / [1, 2, 4]
    np.testing.assert_allclose(declare(f'images="p"\n[inputs.x]\nlayout="NHWC"\n{rule}')[0]["x"][0], expected, rtol=1e-6)
    np.testing.assert_allclose(declare(f'images="p"\n[inputs.x]\n{rule}')[0]["x"][0], expected.transpose(2, 0, 1), rtol=1e-6)


def test_what_is_hidden_is_no_image_of_the_data(tmp_path, declare):
    save_images(tmp_path / "p", "cat/a.png", "cat/.ipynb_checkpoints/a.png", ".thumbnails/a.png", "dog/b.png", "dog/._b.png")
    inputs, labels = declare('images="p"\nlabels="folders"')
    assert (len(inputs["x"]), labels.tolist()) == (2, [0, 1])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_pictures_of_eight_bits_are_read_whatever_their_mode(tmp_path, declare, mode):
    (tmp_path / "p").mkdir()
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.fromarray(RGB).convert(mode).save(tmp_path / "p" / f"a.{suffix}")
    assert declare('images="p"')[0]["x"].shape == (1, 3, 4, 5)


def test_labels_by_folder_count_the_folders_of_the_first_level(tmp_path, declare):
    save_images(tmp_path / "p", "dog/x/1.png", "cat/x/1.png", "cat/2.png", "owl/x/3.png")
    (tmp_path / "p" / "eel").mkdir()  # a class of which there are no images here
    _, labels = declare('images="p"\nlabels="folders"')
    assert labels.tolist() == [0, 0, 1, 3]
    save_images(tmp_path / "p", "4.png")
    with pytest.raises(DataError, match=r"4\.png is in no folder of a class below p"):
        declare('images="p"\nlabels="folders"')


def test_labels_by_table(tmp_path, declare):
    save_images(tmp_path / "p", "a/1.png", "b/1.png", "b/2.png")
    table = tmp_path / "l.csv"

    def labels(text):
        table.write_bytes(text.encode() if isinstance(text, str) else text)
        return declare('images="p"\nlabels="l.csv"')[1].tolist()

    assert labels("name,label\na/1.png,3\nb/1.png, 4 ,x\n\n2.png,5\n") == [3, 4, 5]
    assert labels(b"\xef\xbb\xbfa/1.png,3\r\nb/1.png,4\r\n2.png,5\r\n") == [3, 4, 5]
    assert labels('2.png,0\n1.png,9\n"a/1.png","3"\nb/1.png,4') == [3, 4, 0]
    for text, sentence in [
        ("1.png,3\n2.png,4", r"l\.csv has no label for a/1\.png and 1 others; expected lines of name,label"),
        ("a/1.png,3\nb/1.png,3", r"l\.csv has no label for b/2\.png; expected"),
        ("a/1.png,3\nb/1.png,cat\n2.png,1", r"l\.csv: invalid literal .*'cat'; labels are whole numbers"),
        (f"a/1.png,3\nb/1.png,{10**30}\n2.png,1", r"l\.csv: .*; labels are whole numbers"),
        (f"a/1.png,{'9' * 5000}\nb/1.png,1\n2.png,1", r"l\.csv: .*; labels are whole numbers"),
        (b"\xff\xfe", r"l\.csv is no table of name,label in UTF-8"),
        (f'"{"a" * 200_000}",1', r"l\.csv is no table of name,label in UTF-8: field larger than field limit"),
    ]:
        with pytest.raises(DataError, match=sentence):
            labels(text)
    with pytest.raises(DataError, match=r"The labels cannot be read from .*other\.csv: No such file"):
        declare('images="p"\nlabels="other.csv"')


def test_pillow_is_imported_for_images_only(monkeypatch, tmp_path, declare):
    monkeypatch.setitem(sys.modules, "PIL", None)
    np.save(tmp_path / "d.npy", np.ones((2, 3)))
    assert declare('file="d.npy"')[0]["x"].shape == (2, 3)
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "a.png").touch()
    with pytest.raises(MissingExtra, match=r"Images need Pillow\. Install it"):
        declare('images="p"')


# What is refused


def test_nothing_outside_of_the_folder_is_touched(tmp_path, declare):
    outside = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    save_images(outside, "a.png")
    np.save(outside / "d.npy", np.ones(3))
    (outside / "l.csv").write_text("a.png,1")
    (tmp_path / "link.npy").symlink_to(outside / "d.npy")
    (tmp_path / "linked").symlink_to(outside)
    (tmp_path / "loop").symlink_to("loop")
    save_images(tmp_path / "p", "a.png")
    for said in (
        f'file="../{outside.name}/d.npy"', f'file="{outside}/d.npy"', 'file="link.npy"', 'images="linked"', 'images=".."', "file=5",
        'file="a\\u0000b"',
        f'images="p"\nlabels="../{outside.name}/l.csv"', 'images="p"\nlabels="linked/l.csv"', f'file="p/../../{outside.name}/d.npy"',
    ):  # fmt: skip
        with pytest.raises(DataError, match=r"data\.toml names .*, which is not in its folder\. Put the data beside it"):
            declare(said)
    with pytest.raises(DataError, match=r"loop|not in its folder"):
        declare('file="loop"')
    (tmp_path / "p" / "b.png").symlink_to(outside / "a.png")
    with pytest.raises(DataError, match=r"b\.png is a link to a file that is not in the folder of data\.toml"):
        declare('images="p"')
    (tmp_path / "p" / "b.png").unlink()
    (tmp_path / "p" / "b.png").symlink_to("a.png")
    assert len(declare('images="p"')[0]["x"]) == 2


MISTAKES = {
    "no toml": ("file = [", r"^data\.toml is no TOML: "),
    "made to be slow": (f"a{'.a' * 200_000}=1", r"^data\.toml is no TOML: the key on line 1 has more than 64 parts"),
    "nested": (f"a={'[' * 100_000}", "nested too deeply"),
    "a key": ('fil = "d.npz"', r"^data\.toml has 'fil', which means nothing \(did you mean 'file'\?\)"),
    "neither": ("[inputs.x]", "must name either a file of arrays .* or a folder of images"),
    "both": ('file="d.npz"\nimages="p"', "must name either a file"),
    "inputs": ('file="d.npz"\ninputs=3', r"inputs must be tables such as \[inputs\.x\]"),
    "an input": ('file="d.npz"\n[inputs]\nx=3', "inputs must be tables"),
    "labels": ('file="d.npz"\nlabels=["a"]', r"labels is \['a'\]; expected a text"),
    "no array": ('file="d.npz"\n[inputs.x]\narray="imags"', r"no array 'imags' \(did you mean 'images'\?\)\. It has: images, words"),
    "no labels": ('file="d.npz"\nlabels="label"\n[inputs.x]\narray="images"', r"d\.npz has no array 'label'"),
    "words": ('file="d.npz"\n[inputs.x]\narray="words"', r"The data for 'x' is no array of numbers \(<U1\)"),
    "labels of an array without name": ('file="d.npy"\nlabels="labels"', r"d\.npy holds one array without a name"),
    "no file": ('file="none.npz"', "There is no input data at"),
    "a folder": ('file="p"', "is not a file"),
    "no folder": ('images="none"', r"There is no folder .*none with images\. Check 'images' in data\.toml"),
    "no images": ('images="empty"', r"holds no images \(\.png"),
    "images for two": ('images="p"\n[inputs.x]\n[inputs.y]', "a folder of images and 2 inputs"),
    "a rule": ('file="d.npz"\n[inputs.x]\nmeen=1', r"^data\.toml, input 'x' has 'meen', which means nothing \(did you mean 'mean'\?\)"),
    "a rule of images": ('file="d.npz"\n[inputs.x]\nresize=[1,2]', "has resize, which is for images"),
    "a rule of arrays": ('images="p"\n[inputs.x]\nadd_axis=1', "has add_axis, which is for arrays"),
    "array": ('file="d.npz"\n[inputs.x]\narray=3', "array is 3; expected a name"),
    "layout": ('file="d.npz"\n[inputs.x]\nlayout="CHW"', "layout is 'CHW'; expected one of NCHW, NHWC, NHW"),
    "color": ('images="p"\n[inputs.x]\ncolor=["RGB"]', r"color is \['RGB'\]; expected one of"),
    "dtype": ('file="d.npz"\n[inputs.x]\ndtype="object"', "dtype is 'object'; expected one of float32"),
    "resize": ('images="p"\n[inputs.x]\nresize=[0, 5]', r"resize is \[0, 5\]; expected \[height, width\]"),
    "resize to true": ('images="p"\n[inputs.x]\nresize=[true, true]', r"resize is \[True, True\]"),
    "an absurd size": ('images="p"\n[inputs.x]\nresize=[100000, 5]', r"resize is \[100000, 5\]"),
    "crop": ('images="p"\n[inputs.x]\ncrop=5', r"crop is 5; expected \[height, width\]"),
    "a crop of more than all": ('images="p"\n[inputs.x]\ncrop=[5, 5]', r"a\.png is 4 x 5, smaller than crop = \[5, 5\]\. Declare a resize"),
    "scale nan": ('file="d.npz"\n[inputs.x]\nscale=nan', "scale is nan; expected a number"),
    "scale list": ('file="d.npz"\n[inputs.x]\nscale=[1]', r"scale is \[1\]; expected a number\."),
    "scale true": ('file="d.npz"\n[inputs.x]\nscale=true', "scale is True"),
    "a huge scale": (f'file="d.npz"\n[inputs.x]\nscale=0x{"F" * 10_000}', "scale is a number that is far too large"),
    "mean inf": ('file="d.npz"\n[inputs.x]\nmean=[1, inf]', r"mean is \[1, inf\]; expected a number, or one for each channel"),
    "no mean": ('file="d.npz"\n[inputs.x]\nmean=[]', r"mean is \[\]"),
    "std 0": ('file="d.npz"\n[inputs.x]\nstd=[1, 0]', "std is 0, which nothing can be divided by"),
    "channels": ('file="d.npz"\n[inputs.x]\narray="images"\nmean=[1,2]', "mean or std has 2 values, the data 3 channels"),
    "channels of images": ('images="p"\n[inputs.x]\ncolor="L"\nmean=[1,2,3]', "mean or std has 3 values, the data 1 channels"),
    "add_axis": ('file="d.npz"\n[inputs.x]\nadd_axis=0', "add_axis is 0; expected the place of the new axis, 1 or more"),
    "add_axis true": ('file="d.npz"\n[inputs.x]\nadd_axis=true', "add_axis is True"),
    "add_axis behind": ('file="d.npz"\n[inputs.x]\narray="images"\nadd_axis=5', "has 4 axes; add_axis = 5 is behind the last"),
    "no place for colors": ('images="p"\n[inputs.x]\nlayout="NHW"', "layout NHW has no place for colors"),
    "no channels": ('file="d.npz"\n[inputs.x]\nlayout="NHW"\nmean=[1]', "layout NHW has no channels"),
    "a type that cannot hold it": (
        'file="d.npz"\n[inputs.x]\narray="images"\nmean=0.5\ndtype="uint8"', "goes from -0.5 to .*, which uint8 cannot hold"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_a_sentence(tmp_path, declare, text, sentence):
    np.savez(tmp_path / "d.npz", images=np.arange(60).reshape(1, 3, 4, 5), words=np.array(["a"]))
    np.save(tmp_path / "d.npy", np.ones((2, 3)))
    (tmp_path / "empty").mkdir()
    save_images(tmp_path / "p", "a.png")
    with pytest.raises(DataError, match=sentence) as error:
        declare(text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_declarations_that_cannot_be_read(tmp_path):
    path = tmp_path / "data.toml"
    for content, sentence in [(b"\xff\xfe", "is no TOML: "), (b"#" * 1_100_000, "is larger than 1,048,576 bytes")]:
        path.write_bytes(content)
        with pytest.raises(DataError, match=rf"^data\.toml {sentence}"):
            read_declaration(path, GRAPH, 1 << 20)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_declaration(tmp_path, GRAPH, 1 << 20)
    path.write_bytes(b'\xef\xbb\xbffile = "none.npy"\r\n')
    with pytest.raises(DataError, match="There is no input data"):
        read_declaration(path, GRAPH, 1 << 20)


def png_that_claims(width, height):
    import struct
    import zlib

    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunks + struct.pack(">I", 4) + b"IDATxxxx" + struct.pack(">I", zlib.crc32(b"IDATxxxx"))


def test_images_that_cannot_be_read(tmp_path, declare):
    save_images(tmp_path / "p", "a.png")
    bad = tmp_path / "p" / "b.png"
    whole = (tmp_path / "p" / "a.png").read_bytes()
    for content, sentence in [
        (b"", "is no image that can be read"),
        (b"GIF89a junk", "is no image that can be read"),
        (whole[: len(whole) // 2], "is no image that can be read"),
        (png_that_claims(9_500, 9_500), "is no image that can be read"),
        (png_that_claims(11_000, 11_000), r"claims 11000 x 11000 pixels; at most 100,000,000 are read"),
        (png_that_claims(50_000, 50_000), "is no image that can be read|claims"),
    ]:
        bad.write_bytes(content)
        with pytest.raises(DataError, match=rf"^b\.png {sentence}"):
            declare('images="p"')
    Image.fromarray(np.full((4, 5), 40_000, np.uint16)).save(bad)
    with pytest.raises(DataError, match=r"^b\.png has pixels of the kind I;16, not of 8 bits"):
        declare('images="p"')
    bad.unlink()
    bad.mkdir()
    with pytest.raises(DataError, match=r"^b\.png is no image"):
        declare('images="p"')


def test_images_of_several_sizes_and_of_too_many_bytes(tmp_path, declare, monkeypatch):
    save_images(tmp_path / "p", "a.png", "b.png")
    Image.fromarray(RGB[:3]).save(tmp_path / "p" / "c.png")
    with pytest.raises(DataError, match=r"c\.png has another size than a\.png\. Declare resize = \[height, width\]"):
        declare('images="p"')
    with pytest.raises(DataError, match=r"The images in p need more than 100 B\. Give fewer, or a smaller size"):
        declare('images="p"', most_bytes=100)
    monkeypatch.setattr(declarations, "_MOST_IMAGES", 2)
    with pytest.raises(DataError, match="holds more than 2 images"):
        declare('images="p"')
