"""When tensors live and which share memory: toy graphs whose answers are clear, and laws over graphs of any kind."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.models.graph import Graph, Layer, TensorInfo
from edgeprof.records import schema
from edgeprof.records.lifetimes import ALIASING, alive, lifetimes, share_storage, tensor_table
from edgeprof.records.rows import Row
from edgeprof.records.trace import EventKind

KB = 1024.0
NAN = math.nan
END = 99


def toy(
    layers: dict[str, tuple[str, list[str], list[str]]],
    sizes: dict[str, float | None],
    *,
    inputs: tuple[str, ...] = ("x",),
    outputs: tuple[str, ...] = ("y",),
    parents: dict[str, str] | None = None,
    initializers: tuple[str, ...] = (),
) -> Graph:
    """A graph of ``{name: (op_type, inputs, outputs)}``; a tensor of ``n`` kB has n * 256 float32, of None an unknown axis."""
    tensors = {t: TensorInfo(t, "float32", (None,) if kb is None else (round(kb * 256),)) for t, kb in sizes.items()}
    made = tuple(Layer(n, op, tuple(i), tuple(o), parent=(parents or {}).get(n)) for n, (op, i, o) in layers.items())
    return Graph("toy", made, *(tuple(tensors[t] for t in names) for names in (inputs, outputs)), tensors, frozenset(initializers))


def rows_of(graph: Graph) -> list[Row]:
    """A row a layer, in the file's order."""
    return [
        Row(layer.name, layer.name, layer.op_type, "nested" if layer.parent else "layer", layer.parent or "", (layer.name,))
        for layer in graph.layers
    ]


def lives(graph: Graph) -> dict[str, tuple[str, int, int]]:
    return {name: (t.kind, t.producer, t.last_use) for name, t in lifetimes(graph, rows_of(graph)).items()}


def shared(graph: Graph, allocated_kb: list[float], before_kb: list[float] | None = None) -> dict[str, str]:
    """The storage of each tensor that has not its own. Unless said otherwise the runtime holds nothing but what is alive."""
    rows, tensors = rows_of(graph), lifetimes(graph, rows_of(graph))
    share_storage(tensors, graph, rows, np.array(allocated_kb) * KB, np.array(before_kb or [0.0] * len(rows)) * KB)
    return {name: t.storage for name, t in tensors.items() if t.storage != name}


def chain(*ops: str, size: float = 1) -> Graph:
    names = ["x", *(f"t{i}" for i in range(len(ops) - 1)), "y"]
    layers = {f"n{i}": (op, [names[i]], [names[i + 1]]) for i, op in enumerate(ops)}
    return toy(layers, dict.fromkeys(names, size))


# ---- from when to when ----


def test_chain():
    graph = toy(
        {"a": ("Conv", ["x", "w"], ["t0"]), "b": ("Relu", ["t0"], ["t1"]), "c": ("Conv", ["t1"], ["y"])},
        {"x": 1, "w": 5, "t0": 2, "t1": 3, "y": 4},
        initializers=("w",),
    )
    assert lives(graph) == {"x": ("input", -1, 0), "t0": ("activation", 0, 1), "t1": ("activation", 1, 2), "y": ("output", 2, 2)}
    assert (alive(lifetimes(graph, rows_of(graph)), 3) / KB).tolist() == [2, 5, 7]


BRANCHES = toy(
    {
        "a": ("Conv", ["x"], ["t"]),
        "left": ("Conv", ["t"], ["l"]),
        "right": ("Conv", ["t"], ["r"]),
        "join": ("Add", ["l", "r"], ["y"]),
    },
    {"x": 1, "t": 2, "l": 4, "r": 8, "y": 16},
)


def test_branches_and_two_readers():
    assert lives(BRANCHES)["t"] == ("activation", 0, 2)
    assert lives(BRANCHES)["l"] == ("activation", 1, 3)
    assert (alive(lifetimes(BRANCHES, rows_of(BRANCHES)), 4) / KB).tolist() == [2, 6, 14, 28]


def test_skip_connection_lives_until_it_is_added():
    graph = toy(
        {"a": ("Conv", ["x"], ["t"]), "b": ("Conv", ["t"], ["u"]), "c": ("Conv", ["u"], ["v"]), "d": ("Add", ["v", "t"], ["y"])},
        {"x": 1, "t": 2, "u": 4, "v": 8, "y": 16},
    )
    assert lives(graph)["t"] == ("activation", 0, 3)
    assert (alive(lifetimes(graph, rows_of(graph)), 4) / KB).tolist() == [2, 6, 14, 26]


def test_output_that_nobody_reads_lives_while_its_layer_runs():
    graph = toy({"a": ("TopK", ["x"], ["t", "unused"]), "b": ("Relu", ["t"], ["y"])}, {"x": 1, "t": 2, "unused": 4, "y": 8})
    assert lives(graph)["unused"] == ("activation", 0, 0)
    assert (alive(lifetimes(graph, rows_of(graph)), 2) / KB).tolist() == [6, 10]


def test_output_of_the_model_lives_to_the_end_though_it_is_read_before():
    graph = toy(
        {"a": ("Conv", ["x"], ["y"]), "b": ("Relu", ["y"], ["t"]), "c": ("Relu", ["t"], ["z"])},
        {"x": 1, "y": 2, "t": 4, "z": 8},
        outputs=("y", "z"),
    )
    assert lives(graph)["y"] == ("output", 0, 2) and lives(graph)["z"] == ("output", 2, 2)
    assert (alive(lifetimes(graph, rows_of(graph)), 3) / KB).tolist() == [2, 6, 14]


def test_input_that_is_an_output_stays_the_callers():
    graph = toy({"a": ("Relu", ["x"], ["t"])}, {"x": 1, "t": 2}, outputs=("x", "t"))
    assert lives(graph) == {"x": ("input", -1, 0), "t": ("output", 0, 0)}


def test_weights_are_no_tensors_even_when_they_are_declared_as_inputs():
    graph = toy({"a": ("Add", ["x", "w"], ["y"])}, {"x": 1, "w": 1, "y": 1}, inputs=("x", "w"), initializers=("w",))
    assert set(lives(graph)) == {"x", "y"}


def test_absent_inputs_and_outputs_are_no_tensors():
    graph = toy({"a": ("Clip", ["x", "", ""], ["y", ""])}, {"x": 1, "y": 1})
    assert set(lives(graph)) == {"x", "y"}


def test_a_layer_without_a_row_makes_nothing_and_keeps_nothing():
    rows = [row for row in rows_of(BRANCHES) if row.name != "right"]
    found = lifetimes(BRANCHES, rows)
    assert set(found) == {"x", "t", "l", "y"} and found["t"].last_use == 1


def test_rows_decide_the_order_not_the_file():
    first, second = ("a", ("Relu", ["x"], ["t"])), ("b", ("Relu", ["x"], ["u"]))
    rest, sizes = {"c": ("Add", ["t", "u"], ["y"])}, {"x": 1, "t": 2, "u": 4, "y": 8}
    graph = toy(dict([first, second]) | rest, sizes)
    found = lifetimes(graph, rows_of(toy(dict([second, first]) | rest, sizes)))
    assert (found["u"].producer, found["t"].producer) == (0, 1)
    assert list(found) == ["x", "u", "t", "y"]


def test_the_shapes_as_run_win_over_the_models():
    graph = toy({"a": ("NonZero", ["x"], ["y"])}, {"x": 1, "y": None})
    ran = EventKind("a", "NonZero", output_types=(("int64", (1, 8)),))
    row = Row("a", "a", "NonZero", "layer", types=ran)
    assert lifetimes(graph, [row])["y"].size == 64
    two = EventKind("a", "NonZero", output_types=(("int64", (1, 8)), ("int64", (1,))))
    assert math.isnan(lifetimes(graph, [Row("a", "a", "NonZero", "layer", types=two)])["y"].size), "nobody knows which is which"


# ---- bodies ----


def with_body(read_inside: str = "") -> Graph:
    """``t`` and ``u`` are made, a Loop runs two layers a round and reads ``t``; its body may read ``u``. Another layer follows."""
    return toy(
        {
            "a": ("Conv", ["x"], ["t"]),
            "b": ("Conv", ["x"], ["u"]),
            "loop": ("Loop", ["t"], ["v"]),
            "loop/body/p": ("Relu", [read_inside or "t"], ["in"]),
            "loop/body/q": ("Relu", ["in"], ["out"]),
            "c": ("Relu", ["v"], ["y"]),
        },
        {"x": 1, "t": 2, "u": 4, "v": 8, "y": 16, "in": 32, "out": 64},
        parents={"loop/body/p": "loop", "loop/body/q": "loop"},
    )


def test_a_layer_with_bodies_holds_what_it_reads_until_they_are_done():
    assert lives(with_body())["t"] == ("activation", 0, 4)
    assert lives(with_body())["u"] == ("activation", 1, 1)
    assert lives(with_body())["v"] == ("activation", 2, 5)


def test_what_a_body_reads_is_held_by_the_layer_around_it():
    assert lives(with_body("u"))["u"] == ("activation", 1, 4)


def test_tensors_within_bodies_are_not_listed():
    assert set(lives(with_body())) == {"x", "t", "u", "v", "y"}


def test_bodies_in_bodies():
    graph = toy(
        {
            "a": ("Conv", ["x"], ["t"]),
            "if": ("If", ["x"], ["y"]),
            "if/then/loop": ("Loop", ["x"], ["l"]),
            "if/then/loop/body/n": ("Relu", ["t"], ["m"]),
            "if/then/end": ("Relu", ["l"], ["e"]),
        },
        {"x": 1, "t": 2, "y": 4, "l": 8, "m": 16, "e": 32},
        parents={"if/then/loop": "if", "if/then/loop/body/n": "if/then/loop", "if/then/end": "if"},
    )
    assert lives(graph)["t"] == ("activation", 0, 4)
    assert lives(graph)["y"] == ("output", 1, 4), "an output lives to the last row of all, within a body or not"


def test_an_output_of_a_layer_with_bodies_that_nobody_reads_lives_until_they_are_done():
    graph = toy(
        {"loop": ("Loop", ["x"], ["y", "unused"]), "loop/body/p": ("Relu", ["x"], ["in"]), "c": ("Relu", ["x"], ["z"])},
        {"x": 1, "y": 2, "unused": 4, "in": 8, "z": 16},
        outputs=("z",),
        parents={"loop/body/p": "loop"},
    )
    assert lives(graph)["unused"] == ("activation", 0, 1)


# ---- in place ----


def test_a_chain_in_place_is_one_storage():
    graph = chain("Conv", "Relu", "Sigmoid", "Conv")
    assert shared(graph, [1, 0, 0, 1]) == {"t1": "t0", "t2": "t0"}


def test_what_took_memory_of_its_own_shares_none():
    assert shared(chain("Conv", "Relu", "Sigmoid", "Conv"), [1, 1, 1, 1]) == {}


def test_not_known_what_a_layer_took_is_not_in_place():
    assert shared(chain("Conv", "Relu", "Conv"), [1, NAN, 1]) == {}


@pytest.mark.parametrize(("took", "in_place"), [(0.0, True), (0.05, True), (0.07, False), (0.5, False), (1.5, False)])
def test_rounding_of_the_allocator_hides_nothing(took, in_place):
    assert (shared(chain("Conv", "Relu", "Conv"), [1, took, 1]) == {"t1": "t0"}) == in_place


def test_tensors_as_small_as_the_rounding_are_left_alone():
    assert shared(chain("Conv", "Relu", "Conv", size=1 / 16), [0, 0, 0]) == {}


def test_memory_that_is_still_read_is_not_given_away():
    graph = toy(
        {"a": ("Conv", ["x"], ["t"]), "b": ("Relu", ["t"], ["u"]), "c": ("Add", ["t", "u"], ["y"])},
        dict.fromkeys("xtuy", 1),
    )
    assert shared(graph, [1, 0, 1]) == {}, "t is read once more"
    assert shared(graph, [1, 1, 0]) == {"y": "t"}, "the first input that is over"


def test_an_alias_shares_with_what_is_still_read():
    graph = toy(
        {"a": ("Conv", ["x"], ["t"]), "b": ("Reshape", ["t", "s"], ["u"]), "c": ("Add", ["t", "u"], ["y"])},
        dict.fromkeys("xtuy", 1) | {"s": 1 / 64},
    )
    assert shared(graph, [1, 0, 1]) == {"u": "t"}


def test_a_storage_is_over_when_all_in_it_are_over():
    graph = toy(
        {
            "a": ("Conv", ["x"], ["t"]),
            "b": ("Reshape", ["t", "s"], ["u"]),
            "c": ("Relu", ["u"], ["v"]),
            "d": ("Add", ["t", "v"], ["y"]),
        },
        dict.fromkeys("xtuvy", 1) | {"s": 1 / 64},
    )
    assert shared(graph, [1, 0, 0, 1]) == {"u": "t"}, "v would overwrite t, which d reads under its first name"


@pytest.mark.parametrize("op", sorted(ALIASING))
def test_an_input_handed_on_stays_the_callers(op):
    graph = toy({"a": (op, ["x"], ["t"]), "b": ("Conv", ["t"], ["y"])}, dict.fromkeys("xty", 1))
    assert shared(graph, [0, 1]) == {"t": "x"}
    rows, tensors = rows_of(graph), lifetimes(graph, rows_of(graph))
    share_storage(tensors, graph, rows, np.array([0, KB]), np.zeros(2))
    assert alive(tensors, 2).tolist() == [0, KB], "the caller's memory counts in nothing"


def test_the_callers_memory_is_never_written_to():
    assert shared(chain("Relu", "Conv"), [0, 1]) == {}


def test_only_tensors_of_the_same_size_share():
    graph = toy({"a": ("Conv", ["x"], ["t"]), "b": ("Relu", ["t"], ["y"])}, {"x": 1, "t": 2, "y": 1})
    assert shared(graph, [2, 0]) == {}


def test_an_output_is_shared_only_when_the_layer_took_less_than_all_of_them():
    graph = toy({"a": ("Conv", ["x"], ["t"]), "b": ("Custom", ["t"], ["y", "z"])}, {"x": 1, "t": 2, "y": 2, "z": 4}, outputs=("y", "z"))
    assert shared(graph, [2, 4]) == {"y": "t"}
    assert shared(graph, [2, 6]) == {}


def test_two_outputs_do_not_take_one_input():
    graph = toy({"a": ("Conv", ["x"], ["t"]), "b": ("Custom", ["t"], ["y", "z"])}, dict.fromkeys("xtyz", 1), outputs=("y",))
    assert shared(graph, [1, 0]) == {"y": "t"}, "z is read by nobody, and lives with y for all that"


def test_two_outputs_take_two_inputs():
    graph = toy(
        {"a": ("Conv", ["x"], ["t"]), "b": ("Conv", ["x"], ["u"]), "c": ("Custom", ["t", "u"], ["y", "z"])},
        dict.fromkeys("xtuyz", 1),
        outputs=("y", "z"),
    )
    assert shared(graph, [1, 1, 0]) == {"y": "t", "z": "u"}


def test_sizes_that_are_not_known_are_never_in_place():
    graph = toy({"a": ("Conv", ["x"], ["t"]), "b": ("Relu", ["t"], ["y"])}, {"x": 1, "t": None, "y": None})
    assert shared(graph, [1, 0]) == {}
    assert alive(lifetimes(graph, rows_of(graph)), 2).tolist() == [0, 0]


def test_memory_that_the_runtime_held_from_before_is_no_input_of_a_layer_that_cannot_work_in_place():
    graph = chain("MatMul", "MatMul", "MatMul", "MatMul")
    assert shared(graph, [1, 1, 0, 0], before_kb=[0, 1, 2, 2]) == {}, "two buffers, used in turn"
    elementwise = chain("MatMul", "MatMul", "MatMul", "Relu")
    assert shared(elementwise, [1, 1, 0, 0], before_kb=[0, 1, 2, 2]) == {"y": "t2"}


def test_a_long_chain_takes_no_time():
    graph = chain(*["Conv"], *["Relu"] * 20_000)
    found = shared(graph, [1.0] + [0.0] * 20_000)
    assert set(found.values()) == {"t0"} and len(found) == 20_000


# ---- the table ----


def table_of(graph: Graph, allocated: list[float], peak: int | None):
    rows, tensors = rows_of(graph), lifetimes(graph, rows_of(graph))
    share_storage(tensors, graph, rows, np.array(allocated) * KB, np.zeros(len(rows)))
    return tensor_table(tensors, peak)


def test_table():
    table = table_of(chain("Conv", "Relu", "Conv"), [1, 0, 1], 1)
    assert list(table.columns) == [c.name for c in schema.TENSOR_COLUMNS]
    assert table["tensor"].tolist() == ["x", "t0", "t1", "y"]
    assert table["kind"].tolist() == ["input", "activation", "activation", "output"]
    assert table["shape"].tolist() == ["256"] * 4 and table["dtype"].tolist() == ["float32"] * 4
    assert table["size_bytes"].tolist() == [KB] * 4
    assert table["storage"].tolist() == [0, 1, 1, 3]
    assert table["at_peak"].tolist() == [False, True, True, False]


def test_what_was_over_before_the_peak_is_not_at_it_though_its_memory_is():
    table = table_of(chain("Conv", "Relu", "Sigmoid", "Conv"), [1, 0, 0, 1], 3)
    assert table.loc[table["at_peak"], "tensor"].tolist() == ["t2", "y"]
    assert table["storage"].tolist() == [0, 1, 1, 1, 4]


def test_without_a_peak_nothing_is_at_it():
    assert not table_of(chain("Conv", "Relu"), [1, 1], None)["at_peak"].any()


def test_shapes_in_words():
    shapes = {"a": (1, 16, 8), "b": (), "c": (None, 3), "d": ("batch", 3), "e": None, "f": (0,)}
    tensors = {name: TensorInfo(name, "float32", shape) for name, shape in shapes.items()}
    layer = Layer("n", "Split", ("x",), tuple(shapes))
    graph = Graph("g", (layer,), (TensorInfo("x"),), (), tensors)
    table = tensor_table(lifetimes(graph, rows_of(graph)), 0).set_index("tensor")
    assert table.loc[list(shapes), "shape"].tolist() == ["1×16×8", "scalar", "?×3", "batch×3", "", "0"]
    np.testing.assert_array_equal(table.loc[list(shapes), "size_bytes"], [512, 4, NAN, NAN, NAN, 0])


def test_nothing_at_all():
    graph = Graph("empty", (), (), (), {})
    assert tensor_table(lifetimes(graph, []), None).empty
    assert not len(alive({}, 0))


# ---- laws ----


@st.composite
def graphs(draw):
    """A graph whose layers read any tensors made before them; some have bodies, two outputs, or outputs of unknown size."""
    names, layers, parents = ["x"], {}, {}
    sizes = {"x": draw(st.sampled_from([1, 2]))}
    for i in range(draw(st.integers(1, 12))):
        op = draw(st.sampled_from(["Conv", "Relu", "Reshape", "Identity", "Add", "Custom", "Loop"]))
        reads = draw(st.lists(st.sampled_from(names[-5:]), min_size=1, max_size=2))
        made = [f"t{i}_{k}" for k in range(draw(st.integers(1, 2)) if op == "Custom" else 1)]
        layers[f"n{i}"] = (op, reads, made)
        if op == "Loop":
            layers[f"n{i}/body/m"] = ("Relu", [draw(st.sampled_from(names[-5:]))], [f"in{i}"])
            parents[f"n{i}/body/m"] = f"n{i}"
        sizes |= {name: draw(st.sampled_from([1, 2, 1, 2, 1, 2, None])) for name in made} | {f"in{i}": 1}
        names += made
    ends = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
    return toy(layers, sizes, outputs=tuple(ends), parents=parents)


@st.composite
def runs(draw):
    """A graph, and what a runtime took in each layer: some, none or all of its outputs' bytes."""
    graph = draw(graphs())
    made = [[graph.tensor(name).nbytes for name in layer.outputs] for layer in graph.layers]
    took = [draw(st.sampled_from([0.0, float(np.nansum(sizes)), float(np.nanmax([0, *sizes])), NAN])) for sizes in made]
    before = draw(st.lists(st.sampled_from([0.0, KB, 4 * KB, 16 * KB]), min_size=len(took), max_size=len(took)))
    return graph, np.array(took), np.array(before)


def simulated(graph: Graph) -> list[float]:
    """Bytes alive while each layer runs, counted by running: made when its layer begins, freed behind the last that needs it."""
    rows, found = rows_of(graph), []
    outermost = {layer.name: layer.parent or layer.name for layer in graph.layers}
    made = {name: layer.name for layer in graph.layers if layer.parent is None for name in layer.outputs}
    outputs = {tensor.name for tensor in graph.outputs}
    for position in range(len(rows)):
        begun = {outermost[row.name] for row in rows[: position + 1]}
        open_or_later = {outermost[row.name] for row in rows[position:]}
        needed = {name for layer in graph.layers if outermost[layer.name] in open_or_later for name in (*layer.inputs, *layer.outputs)}
        kept = [name for name, layer in made.items() if layer in begun and name in needed | outputs]
        found.append(float(np.nansum([graph.tensor(name).nbytes for name in kept])))
    return found


@given(graphs())
def test_bytes_alive_are_those_of_a_naive_run(graph):
    assert alive(lifetimes(graph, rows_of(graph)), len(graph.layers)).tolist() == simulated(graph)


@given(runs(), st.integers(0, 11))
def test_every_tensor_at_the_peak_is_alive_then(run, at):
    graph, took, before = run
    peak, rows = min(at, len(took) - 1), rows_of(graph)
    tensors = lifetimes(graph, rows)
    own = alive(tensors, len(rows))
    share_storage(tensors, graph, rows, took, before)
    table = tensor_table(tensors, peak)
    chosen = table[table["at_peak"]]
    assert ((chosen["producer"] <= peak) & (chosen["last_use"] >= peak) & (chosen["kind"] != "input")).all()
    assert (alive(tensors, len(rows)) <= own).all(), "sharing never takes more"
    callers = table["kind"].to_numpy()[table["storage"]] == "input"
    held = chosen[~callers[chosen.index]].groupby("storage")["size_bytes"].max()
    assert held.sum() == alive(tensors, len(rows))[peak], "and they are all that is alive"


@given(runs())
def test_tensors_that_are_alive_at_once_share_only_when_one_is_the_others_alias(run):
    graph, took, before = run
    rows, tensors = rows_of(graph), lifetimes(graph, rows_of(graph))
    share_storage(tensors, graph, rows, took, before)
    op_types = {name: layer.op_type for layer in graph.layers for name in layer.outputs}
    for name, tensor in tensors.items():
        root = tensors[tensor.storage]
        assert root.storage == tensor.storage, "storage names the first of a chain"
        assert tensor.storage == name or tensor.size == root.size
        assert root.kind != "input" or tensor.storage == name or op_types[name] in ALIASING
        before_it = [t for t in tensors.values() if t.storage == tensor.storage and t.producer < tensor.producer]
        together = [t for t in before_it if t.last_use > tensor.producer]
        assert not together or op_types[name] in ALIASING
        beside = [t for t in tensors.values() if t.storage == tensor.storage and t.producer == tensor.producer and t is not tensor]
        assert not beside, "outputs of one layer never share"
