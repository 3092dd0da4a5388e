"""Recipes as text and as data: they come back the same, mistakes are said with their line, and a later decision stands."""

import os
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.errors import OutputError, RecipeError
from edgeprof.models.graph import Graph, Layer
from edgeprof.recipes import recipe as recipes
from edgeprof.recipes.recipe import (
    Choice,
    Decision,
    Importance,
    Precision,
    Quantization,
    Recipe,
    choices,
    diff_recipes,
    parse_recipe,
    read_recipe,
    recipe_text,
    write_recipe,
)
from tests.laws import examples

OPS = ("Conv", "Gemm", "Relu")
FIELDS = ("precision", "prune", "channels", "importance", "sparsity")


def graph_of(*names, ops=("Conv",), nested=()):
    layers = [Layer(name, ops[i % len(ops)], (), ()) for i, name in enumerate(names)]
    inside = [Layer(name, "Conv", (), (), parent=names[0], branch="body") for name in nested]
    return Graph("toy", (*layers, *inside), (), (), {})


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.sampled_from(
    [
        '"',
        "\\",
        "a\\u0041",
        "'''",
        '"""',
        "[[decisions]]",
        "\n[[decisions]]\n",
        "\x00\x1f\x7f\x85\u2028\ufeff",
        "🧠/conv",
        "# no comment",
        "\r\n",
    ]
)
NAMES = TEXTS.filter(bool)


@st.composite
def decisions(draw, names=NAMES, patterns=NAMES, ops=NAMES, selectors=("layer", "pattern", "op_type")):
    selector = draw(st.sampled_from(selectors))
    said = {selector: draw({"layer": names, "pattern": patterns, "op_type": ops}[selector])}
    wishes = draw(st.sets(st.sampled_from(["precision", "prune", "channels", "sparsity"]), min_size=1))
    if "precision" in wishes:
        said["precision"] = draw(st.sampled_from(get_args(Precision)))
    if "prune" in wishes:
        said["prune"] = draw(st.floats(0, 1, exclude_max=True) | st.just(0))
    elif "channels" in wishes:
        said["channels"] = draw(st.integers(1, 1 << 31))
    if "sparsity" in wishes:
        said["sparsity"] = draw(st.floats(0, 1, exclude_max=True))
    if "prune" in said or "channels" in said:
        said["importance"] = draw(st.sampled_from([None, *get_args(Importance)]))
    return Decision(**said, line=draw(st.integers(0, 9)))


RECIPES = st.builds(
    Recipe,
    st.lists(decisions(), max_size=5).map(tuple),
    st.builds(
        Quantization, st.sampled_from(["auto", "uint8", "int8"]), st.booleans(), st.sampled_from(["minmax", "entropy", "percentile"])
    ),
    TEXTS,
    TEXTS,
)

# As text


@given(RECIPES)
def test_a_recipe_comes_back_from_its_text(recipe):
    text = recipe_text(recipe)
    again = parse_recipe(text)
    assert again == recipe
    assert recipe_text(again) == text
    headers = [number for number, line in enumerate(text.split("\n"), 1) if line == "[[decisions]]"]
    assert [decision.line for decision in again.decisions] == headers


@given(RECIPES)
@examples(0.3)
def test_a_recipe_comes_back_from_its_file(tmp_path_factory, recipe):
    path = write_recipe(recipe, tmp_path_factory.getbasetemp() / "law.recipe.toml")
    assert read_recipe(path) == recipe


def test_the_text_is_one_line_a_field_so_that_two_can_be_compared():
    recipe = Recipe((Decision(op_type="Conv", precision="int8"), Decision(layer="/fc", prune=0.25, importance="l2")), name="two")
    assert recipe_text(recipe) == (
        'format = 1\nname = "two"\n\n[[decisions]]\nop_type = "Conv"\nprecision = "int8"\n\n'
        '[[decisions]]\nlayer = "/fc"\nprune = 0.25\nimportance = "l2"\n'
    )


def test_the_text_of_the_documentation_is_a_recipe():
    text = "\n".join(line[4:] for line in recipes.__doc__.splitlines() if line.startswith("    "))
    recipe = parse_recipe(text)
    assert len(recipe.decisions) == 4
    assert recipe.decisions[2] == Decision(pattern="/block?/expand/*", prune=0.25, importance="l2")


def test_numbers_of_numpy_are_written_as_numbers():
    recipe = Recipe((Decision(layer="a", prune=np.float64(0.1), sparsity=np.float64(0.5)), Decision(layer="a", channels=np.int64(3))))
    assert parse_recipe(recipe_text(recipe)) == recipe


MISTAKES = {
    "no toml": ("a = 1\nb = [?", r"^That is no TOML: .*line 2"),
    "a key of the recipe": ("\nnam = 'x'", r"^line 2: A recipe has 'nam', which means nothing \(did you mean 'name'\?\)"),
    "format": ("# c\nformat = 2", "^line 2: format is 2; this edgeprof reads 1"),
    "format true": ("format = true", "^line 1: format is True"),
    "name": ("\n\nname = 5", "^line 3: name is 5; expected a text"),
    "quantization": ("quantization = 1", r"^line 1: quantization is no table; write \[quantization\]"),
    "a setting": ("[quantization]\nper_chanel = true", r"^line 2: quantization has 'per_chanel'.*did you mean 'per_channel'"),
    "a setting's value": ("[quantization]\n\ncalibration = 'entropi'", r"^line 3: calibration is 'entropi' \(did you mean 'entropy'"),
    "per_channel": ("[quantization]\nper_channel = 1", "^line 2: per_channel is 1; expected one of true, false"),
    "decisions": ("\ndecisions = 3", r"^line 2: decisions is no list of tables; write \[\[decisions\]\]"),
    "a table of decisions": ("[decisions]\nlayer = 'x'", "^line 1: decisions is no list"),
    "a decision's key": ("[[decisions]]\nlayer = 'x'\nprecison = 'int8'", r"^line 3: A decision has 'precison'.*did you mean 'precision'"),
    "line is no key": ("[[decisions]]\nlayer = 'x'\nline = 4\nsparsity = 0.5", "^line 3: A decision has 'line'"),
    "no selector": ("[[decisions]]\nprecision = 'int8'", "^line 1: A decision selects layers by one of .* this one has none of them"),
    "two selectors": ("\n[[decisions]]\nlayer='x'\npattern='y'\nprune=0.5", "^line 2: .* this one has layer and pattern"),
    "a selector that is no text": ("[[decisions]]\nlayer = 5\nprune = 0.5", "^line 2: layer is 5; expected a text"),
    "a selector that is false": ("[[decisions]]\nop_type = false\nprune = 0.5", "^line 2: op_type is False; expected a text"),
    "nothing decided": ("[[decisions]]\nlayer='x'", "^line 1: The decision for layer 'x' decides nothing"),
    "importance alone": ("[[decisions]]\nlayer='x'\nimportance='l1'", "^line 1: The decision for layer 'x' decides nothing"),
    "importance of nothing": ("[[decisions]]\nlayer='x'\nsparsity=0.1\nimportance='l1'", "has an importance and prunes nothing"),
    "prune and channels": ("[[decisions]]\nop_type='Conv'\nprune=0.1\nchannels=3", "^line 1: .*op type 'Conv' has both prune and channels"),
    "precision": ("[[decisions]]\nlayer='x'\nprecision='int9'", r"^line 3: precision is 'int9' \(did you mean 'int8'.*of fp32"),
    "a precision that is no text": ("[[decisions]]\nlayer='x'\nprecision=['int8']", r"^line 3: precision is \['int8'\]; expected one of"),
    "importance": ("[[decisions]]\nlayer='x'\nprune=0.1\nimportance='L2'", "^line 4: importance is 'L2'.*expected one of l1, l2"),
    "prune 1": ("[[decisions]]\nlayer='x'\nprune=1", "^line 3: prune is 1; expected a part from 0 up to but not 1"),
    "prune true": ("[[decisions]]\nlayer='x'\nprune=true", "^line 3: prune is True"),
    "prune nan": ("[[decisions]]\nlayer='x'\nprune=nan", "^line 3: prune is nan"),
    "prune -inf": ("[[decisions]]\nlayer='x'\nprune=-inf", "^line 3: prune is -inf"),
    "prune text": ("[[decisions]]\nlayer='x'\nprune='0.5'", "^line 3: prune is '0.5'"),
    "sparsity": ("[[decisions]]\nlayer='x'\nsparsity=-0.1", "^line 3: sparsity is -0.1"),
    "channels 0": ("[[decisions]]\nlayer='x'\nchannels=0", "^line 3: channels is 0; expected how many stay, 1 or more"),
    "channels 1.5": ("[[decisions]]\nlayer='x'\nchannels=1.5", "^line 3: channels is 1.5"),
    "channels true": ("[[decisions]]\nlayer='x'\nchannels=true", "^line 3: channels is True"),
    "a huge number": (f"[[decisions]]\nlayer='x'\nchannels=0x{'F' * 100_000}", "^line 3: channels is a number that is far too large"),
    "a huge part": (f"[[decisions]]\nlayer='x'\nprune=0x{'F' * 100_000}", "^line 3: prune is a number that is far too large"),
    "in one line": ("\ndecisions = [{layer='x', prune=2}]", "^line 2: prune is 2"),
    "behind what looks like a header": (
        'name = """\n[[decisions]]\n"""\n[[decisions]] # one\nlayer="x"\nprune=0.1\n[["decisions"]]\nlayer="y"\nprune=3',
        "^line 9: prune is 3",
    ),
    "behind odd line ends": ("# \x85 \u2028 \u2029\r\n[[decisions]]\r\nlayer='x\x85'\nprune=3", "^line 4: prune is 3"),
    "a key with a newline": ('"a\\nb" = 1', r"^line 1: A recipe has 'a\\nb', which means"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "sentence"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_a_sentence_with_its_line(text, sentence):
    with pytest.raises(RecipeError, match=sentence) as error:
        parse_recipe(text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


def test_mistakes_of_a_recipe_made_in_python_have_no_line():
    with pytest.raises(RecipeError, match=r"^prune is 1;"):
        Recipe((Decision(layer="x", prune=1),))
    with pytest.raises(RecipeError, match=r"^per_channel is None;"):
        Recipe(quantization=Quantization(per_channel=None))
    with pytest.raises(RecipeError, match=r"^layer is '\\ud800', which holds half a character"):
        Recipe((Decision(layer="\ud800", prune=0.5),))
    with pytest.raises(RecipeError, match="at most 100,000"):
        Recipe((Decision(layer="x", prune=0.5),) * 100_001)


def test_files_that_are_no_recipes(tmp_path):
    path = tmp_path / "x.recipe.toml"
    with pytest.raises(RecipeError, match=r"no recipe to read at .*No such file"):
        read_recipe(path)
    with pytest.raises(RecipeError, match=r"no recipe to read at .*directory"):
        read_recipe(tmp_path)
    with pytest.raises(RecipeError, match="no recipe to read at"):
        read_recipe("a\0b")
    path.write_bytes(os.urandom(1000) + b"\xff")
    with pytest.raises(RecipeError, match=r"^x\.recipe\.toml is no UTF-8 text"):
        read_recipe(path)
    path.write_bytes(b"#" * 5_000_000)
    with pytest.raises(RecipeError, match=r"^x\.recipe\.toml is larger than 4,194,304 bytes"):
        read_recipe(path)
    path.write_text("a" + ".a" * 1_000_000 + " = 1")
    with pytest.raises(RecipeError, match=r"^x\.recipe\.toml: That is no TOML: the key on line 1 has more than 64 parts"):
        read_recipe(path)
    path.write_bytes(b"\xef\xbb\xbf[[decisions]]\r\nlayer = 'x'\r\nprune = 2\r\n")
    with pytest.raises(RecipeError, match=r"^x\.recipe\.toml: line 3: prune is 2"):
        read_recipe(path)


def test_a_recipe_is_written_whole_or_not_at_all(tmp_path):
    there = tmp_path / "there.toml"
    there.write_text("as it was")
    for path in (tmp_path, there / "under a file", tmp_path / "no folder" / "x", tmp_path / ("n" * 300), "a\0b", ""):
        with pytest.raises(OutputError, match="cannot be written"):
            write_recipe(Recipe(), path)
    assert [path.name for path in tmp_path.iterdir()] == ["there.toml"]
    assert there.read_text() == "as it was"


# Of a model


def test_a_later_decision_stands_field_by_field():
    graph = graph_of("a", "b", "c")
    recipe = Recipe(
        (
            Decision(pattern="*", precision="int8", prune=0.5, importance="l1", line=3),
            Decision(op_type="Conv", sparsity=0.25, line=7),
            Decision(layer="b", precision="fp32", channels=8, line=9),
            Decision(pattern="[bc]", sparsity=0, line=12),
        )
    )
    found = choices(recipe, graph)
    assert list(found) == ["a", "b", "c"]
    assert found["a"] == Choice("int8", 0.5, None, "l1", 0.25)
    assert found["b"] == Choice("fp32", None, 8, "l1", 0, frozenset({"precision", "prune", "channels"}))
    assert found["b"].lines == {"precision": 9, "prune": 9, "channels": 9, "importance": 3, "sparsity": 12}
    assert [found[name].is_pruned for name in "abc"] == [True, True, True]
    assert not Choice(prune=0).is_pruned


SOME = st.lists(decisions(st.sampled_from("abcd"), st.sampled_from(["*", "[ab]", "?", "c*"]), st.sampled_from(OPS)), max_size=6)


@given(SOME, decisions(st.sampled_from("abcd"), selectors=("layer",)))
def test_the_last_decision_for_a_layer_determines_what_it_says(before, last):
    graph = graph_of("a", "b", "c", "d", ops=OPS)
    found = choices(Recipe((*before, last)), graph)
    said = {name: getattr(last, name) for name in FIELDS if getattr(last, name) is not None}
    for name, value in said.items():
        assert getattr(found[last.layer], name) == value
        assert name in found[last.layer].named
    if {"prune", "channels"} & set(said):
        assert (found[last.layer].prune is None) != (found[last.layer].channels is None)
    others = choices(Recipe(before), graph)
    assert {name: choice for name, choice in found.items() if name != last.layer} == {
        name: choice for name, choice in others.items() if name != last.layer
    }


@given(SOME)
def test_saying_everything_twice_changes_nothing(said):
    graph = graph_of("a", "b", "c", "d", ops=OPS)
    once = choices(Recipe(said), graph)
    assert {layer: replace(choice, importance=None) for layer, choice in choices(Recipe(said) + said, graph).items()} == {
        layer: replace(choice, importance=None) for layer, choice in once.items()
    }
    assert set(once) == {layer.name for layer in graph.layers if any(decision.selects(layer) for decision in said)}


@pytest.mark.parametrize(
    ("decision", "sentence"),
    [
        (Decision(layer="/block1/con/Conv", prune=0.5, line=4), "^line 4: toy has no layer .* .did you mean '/block1/conv/Conv'"),
        (Decision(layer="inner", prune=0.5), "^'inner' runs inside another layer .* Leave it out"),
        (Decision(pattern="inne?", prune=0.5), "No layer of toy matches the pattern 'inne[?]'. Its layers are called '/block1/conv/Conv'"),
        (Decision(op_type="conv", prune=0.5), r"no layer of op type 'conv' \(did you mean 'Conv'\?\)\. It has: Conv\.$"),
        (Decision(layer="x" * 4_000_000, prune=0.5), r"has no layer 'xxx.*\.\.\.\.$"),
    ],
)  # fmt: skip
def test_what_selects_nothing_is_said_with_the_nearest_name(decision, sentence):
    graph = graph_of("/block1/conv/Conv", "/block2/conv/Conv", nested=("inner",))
    with pytest.raises(RecipeError, match=sentence):
        choices(Recipe((decision,)), graph)


def test_a_layer_that_every_decision_names_costs_no_search_of_the_model(monkeypatch):
    """Thousands of layers and of decisions: by name and by op type, work grows with what is selected, not with their product."""
    n = 5000
    graph = graph_of(*(f"/block{i}/conv" for i in range(n)), ops=OPS)
    asked = []
    monkeypatch.setattr(Decision, "selects", lambda self, layer: asked.append(layer))
    said = [Decision(layer=f"/block{i}/conv", precision="int8") for i in range(n)]
    found = choices(Recipe((*said, Decision(op_type="Conv", prune=0.5))), graph)
    assert len(found) == n
    assert asked == []


def test_a_pattern_is_matched_with_letters_as_they_are():
    graph = graph_of("A/x", "a/x", "a/y[0]")
    assert list(choices(Recipe((Decision(pattern="a/*", prune=0.5),)), graph)) == ["a/x", "a/y[0]"]
    assert list(choices(Recipe((Decision(layer="a/y[0]", prune=0.5),)), graph)) == ["a/y[0]"]


def test_the_difference_of_two_recipes_is_a_table_of_what_they_mean():
    graph = graph_of("a", "b")
    one = Recipe((Decision(pattern="*", precision="int8"),))
    two = Recipe((Decision(layer="a", precision="int8"), Decision(layer="b", precision="fp32", prune=0.5)), Quantization(per_channel=False))
    table = diff_recipes(one, two, graph)
    assert table.to_numpy().tolist() == [
        ["", "per_channel", True, False],
        ["b", "precision", "int8", "fp32"],
        ["b", "prune", None, 0.5],
    ]
    same = Recipe((Decision(op_type="Conv", precision="int8"),))
    assert list(diff_recipes(one, same, graph).columns) == ["layer", "field", "before", "after"]
    assert diff_recipes(one, same, graph).empty
