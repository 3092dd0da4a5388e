import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.errors import InputError
from edgeprof.models.graph import TensorInfo
from edgeprof.models.shapes import choose, default_size, evaluate


def chosen(*inputs, given=None, features=None):
    return choose([TensorInfo(name, dtype, shape) for name, dtype, shape in inputs], given or {}, features or {})


def shapes(*inputs, **more):
    return [tensor.shape for tensor in chosen(*inputs, **more).inputs]


@pytest.mark.parametrize(
    ("dtype", "shape", "expected"),
    [
        ("float32", ("batch", 3, 224, 224), (1, 3, 224, 224)),
        ("float32", ("N", 3, "H", "W"), (1, 3, 224, 224)),
        ("float32", (None, 3, None, None), (1, 3, 224, 224)),
        ("float32", (None, None, None, 3), (1, 224, 224, 3)),
        ("uint8", (None, 1, None, None), (1, 1, 224, 224)),
        ("float32", (None, None, None, None), (1, 3, 224, 224)),
        ("float32", ("batch", "channels", "height", "width"), (1, 3, 224, 224)),
        ("int64", ("batch_size", "sequence_length"), (1, 128)),
        ("int64", ("unk__0", "unk__1"), (1, 128)),
        ("int32", (None, None), (1, 128)),
        ("float32", ("batch", "n_frames", 80), (1, 128, 80)),
        ("float32", (None, 16), (1, 16)),
        ("float32", (None, "features"), (1, 1)),
        ("float32", (4, "features"), (4, 1)),
        ("float32", (), ()),
    ],
)
def test_defaults_by_name_and_place(dtype, shape, expected):
    assert shapes(("x", dtype, shape)) == [expected]


def test_what_was_assumed_is_said_with_the_way_to_change_it():
    notes = chosen(("image", "float32", ("batch", 3, None, 32))).notes
    assert notes == (
        "Input 'image': the model leaves sizes open; taken axis 0 ('batch') as 1, axis 2 as 224. "
        "Use --shape image=1,3,224,32 to say otherwise.",
    )
    assert chosen(("image", "float32", (1, 3, 8, 8))).notes == ()


def test_one_symbol_has_one_size_and_a_given_shape_decides_it():
    inputs = (("ids", "int64", ("batch", "seq")), ("mask", "int64", ("batch", "seq")))
    result = chosen(*inputs, given={"mask": [2, 77]})
    assert [tensor.shape for tensor in result.inputs] == [(2, 77), (2, 77)]
    assert result.symbols == {"batch": 2, "seq": 77}
    assert result.notes == ()


def test_expressions_of_symbols_have_their_value():
    inputs = (("ids", "int64", ("batch", "seq")), ("mask", "int64", ("batch", "past + seq")), ("past", "float32", ("batch", 4, "past", 8)))
    assert shapes(*inputs, given={"past": [1, 4, 10, 8], "ids": [1, 5]}) == [(1, 5), (1, 15), (1, 4, 10, 8)]


def test_the_first_layers_weights_decide_over_the_default():
    assert shapes(("x", "float32", (None, None, 8, 8)), features={"x": {1: 16}}) == [(1, 16, 8, 8)]


def test_an_input_of_unknown_rank_stays_open_and_is_said():
    result = chosen(("x", "float32", None))
    assert result.inputs[0].shape is None
    assert "give it with --shape x=" in result.notes[0]
    assert shapes(("x", "float32", None), given={"x": [2, 2]}) == [(2, 2)]


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("picture", [1], r"'picture', which is no input. The model's input is 'x' float32 \[batch, 3, 8\]"),
        ("x", [1, 3], r"\[1, 3\] does not fit the input 'x': it has 2 axes, the model has 3, \[batch, 3, 8\]. Give it as --shape x=1,3,8"),
        ("x", [1, 4, 8], r"the model fixes axis 1 to 3, 4 was given"),
        ("x", [-1, 3, 8], r"sizes must be whole numbers, 0 or more"),
        ("x", [1.5, 3, 8], r"sizes must be whole numbers"),
        ("x", ["1", 3, 8], r"sizes must be whole numbers"),
    ],
)
def test_shapes_that_do_not_fit(name, shape, says):
    with pytest.raises(InputError, match=says):
        chosen(("x", "float32", ("batch", 3, 8)), given={name: shape})


def test_two_sizes_for_one_symbol():
    with pytest.raises(InputError, match="axis 0 is 'n', which was already given as 2"):
        chosen(("a", "float32", ("n",)), ("b", "float32", ("n",)), given={"a": [2], "b": [3]})


@pytest.mark.parametrize(
    ("expression", "value"),
    [("a", 3), ("a + b", 7), ("2*a", 6), ("b//2", 2), ("a - 1", 2), ("c", None), ("a b", None), ("a + ", None), ("-a", None),
     ("a - 10", None), ("a//0", None), ("__import__('os')", None), ("(" * 500, None), ("9**9**9", None)],
)  # fmt: skip
def test_expressions(expression, value):
    assert evaluate(expression, {"a": 3, "b": 4}) == value


@given(
    st.lists(st.one_of(st.none(), st.text(max_size=8), st.integers(0, 512)), max_size=6),
    st.sampled_from(["float32", "int64", "uint8", "string", ""]),
)
def test_every_open_axis_gets_a_size_and_fixed_ones_stay(shape, dtype):
    result = chosen(("x", dtype, tuple(shape)))
    assert all(isinstance(dim, int) for dim in result.inputs[0].shape)
    assert all(new == old for new, old in zip(result.inputs[0].shape, shape, strict=True) if isinstance(old, int))
    assert bool(result.notes) == any(not isinstance(dim, int) for dim in shape)


@given(st.integers(0, 7), st.text(max_size=10))
def test_a_default_is_never_zero(axis, symbol):
    assert default_size(TensorInfo("x", "float32", (None,) * 8), axis, symbol) >= 1


def test_sizes_may_be_numpys_and_never_absurd():
    assert shapes(("x", "float32", ("n", 3)), given={"x": np.array([2, 3])}) == [(2, 3)]
    with pytest.raises(InputError, match="sizes must be whole numbers"):
        chosen(("x", "float32", ("n", 3)), given={"x": [10**30, 3]})
