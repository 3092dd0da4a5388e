"""Layers cut from optimised models: each by itself gives, bit for bit, what it gave within the model; damaged files are refused."""

from __future__ import annotations

import resource
import tempfile
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper, parser

import edgeprof as ep
from edgeprof.agent.runtimes import Refused, onnx_layers
from edgeprof.agent.runtimes.base import Runtime
from edgeprof.agent.runtimes.onnx_layers import Model, OnnxIsolation
from edgeprof.agent.runtimes.onnxruntime import load
from edgeprof.models.inputs import make_inputs
from tests.boards.conftest import MODELS, chain, weights
from tests.laws import examples

SAMPLES = Path(__file__).parents[2] / "sample_models"
RUNTIME = load()
COPIES = (1, 7)
RNG = np.random.default_rng(5)


def text(body: str, *arrays: tuple[str, np.ndarray], ir: int = 8, opset: int = 17) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: {ir}, opset_import: ["": {opset}]>\n{body}')
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in arrays)
    return model


def renamed(model: onnx.ModelProto, names: dict[str, str]) -> onnx.ModelProto:
    """The model with other names of its tensors."""
    for node in model.graph.node:
        for field in (node.input, node.output):
            field[:] = [names.get(name, name) for name in field]
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = names.get(value.name, value.name)
    return model


def sparse() -> onnx.ModelProto:
    model = text("g (float[1,4] x) => (float[1,4] y) { a = MatMul(x, w)\n y = Relu(a) }")
    values = numpy_helper.from_array(np.array([1.5, -2.0], np.float32), "w")
    indices = numpy_helper.from_array(np.array([1, 14]), "")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4, 4]))
    return model


def overridable() -> onnx.ModelProto:
    """As old exporters wrote it: weights stand among the inputs too."""
    model = text("g (float[1,8] x, float[8,8] w) => (float[1,8] y) { a = MatMul(x, w)\n y = Tanh(a) }", ("w", weights(8, 8)), ir=3)
    model.opset_import[0].version = 8
    return model


def function() -> onnx.ModelProto:
    return parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17, "own": 1]> g (float[1,8] x) => (float[1,8] y) { a = own.f(x)\n y = own.f(a) }\n'
        '<domain: "own", opset_import: ["": 17]> f (x) => (y) { a = Exp(x)\n b = Neg(a)\n y = Tanh(b) }'
    )


def scan() -> onnx.ModelProto:
    return text(
        "g (float[5,4] x, float[4] z) => (float[4] last, float[5,4] all) {"
        " k = Exp(z)\n last, all = Scan<num_scan_inputs = 1, body = b (float[4] s, float[4] e) => (float[4] t, float[4] o)"
        " { p = Mul(s, k)\n t = Add(p, e)\n o = Add(t, w) }>(z, x) }",
        ("w", weights(4)),
    )


ODD = {
    "unnamed nodes": lambda: text("g (float[1,8] x) => (float[1,8] y) { a = Exp(x)\n b = Sin(a)\n y = Add(a, b) }"),
    "optional inputs": lambda: text(
        "g (float[1,2,4,4] x) => (float[1,2,8,8] y) { a = Clip(x, , most)\n y = Resize<mode = \"nearest\">(a, , scales) }",
        ("most", np.float32(0.5)), ("scales", np.array([1, 1, 2, 2], np.float32)),
    ),
    "shared weights": lambda: text(
        "g (float[1,64] x) => (float[1,64] y) { a = MatMul(x, w)\n b = Tanh(a)\n y = MatMul(b, w) }", ("w", weights(64, 64))
    ),
    "if of outer values": lambda: text(
        "g (float[1,8] x, bool c) => (float[1,8] y) { o = Exp(x)\n r = If (c) <"
        " then_branch = t () => (float[1,8] a) { m = MatMul(o, w)\n a = Add(m, x) },"
        " else_branch = e () => (float[1,8] b) { b = Identity(o) }>\n y = Neg(r) }",
        ("w", weights(8, 8)),
    ),
    "loop of outer values": lambda: text(
        "g (float[8] x, int64 n) => (float[8] y) { o = Exp(x)\n c = Greater(n, zero)\n"
        " l = Loop (n, c, x) <body = b (int64 i, bool go, float[8] s) => (bool more, float[8] t) {"
        " more = Identity(c)\n k = If (go) <then_branch = u () => (float[8] a) { a = Mul(s, o) },"
        " else_branch = v () => (float[8] b) { b = Sub(s, w) }>\n t = Tanh(k) }>\n y = Neg(l) }",
        ("w", weights(8)), ("zero", np.int64(0)),
    ),
    "scan": scan,
    "half": lambda: text(
        "g (float[1,16] x) => (float[1,16] y) { h = Cast<to=10>(x)\n t = Transpose(h)\n r = Reshape(t, s)\n y = Cast<to=1>(r) }",
        ("s", np.array([1, 16])),
    ),
    "shapes": lambda: text(
        "g (float[b, 2, 3] x) => (float[b, 6] y) { s = Shape(x)\n f = Gather(s, zero)\n c = Concat<axis=0>(f, six)\n"
        " r = Reshape(x, c)\n y = Softmax(r) }",
        ("zero", np.array([0])), ("six", np.array([6])),
    ),
    "scalars": lambda: text(
        "g (float[3,4] x) => (float y) { a = ReduceSum<keepdims=0>(x)\n b = Sqrt(a)\n c = Exp(b)\n y = Add(a, c) }"
    ),
    "nothing in it": lambda: text(
        "g (float[3,4] x) => (float[n,4] y, int64 k) { a = Slice(x, none, none)\n b = Exp(a)\n y = Concat<axis=0>(b, b)\n k = Size(y) }",
        ("none", np.array([0])),
    ),
    "many types": lambda: text(
        "g (float[2,3] x, uint8[2,3] u, bool[2,3] m, double[2,3] d) => (float[2,3] y, double[2,3] z) {"
        " i = Cast<to=6>(x)\n j = Abs(i)\n s = Cast<to=5>(j)\n v = BitShift<direction = \"LEFT\">(u, one)\n w = Cast<to=12>(v)\n"
        " o = Cast<to=1>(w)\n p = Cast<to=1>(s)\n n = Not(m)\n q = Where(n, o, p)\n y = Neg(q)\n e = Sqrt(d)\n z = Exp(e) }",
        ("one", np.uint8(1)),
    ),
    "several outputs": lambda: text(
        "g (float[4,6] x) => (float[4,2] y, float[4,6] z, int64[4,2] k) { a, b, c = Split<axis=1>(x, sizes)\n y = Exp(b)\n"
        " v, k = TopK(x, two)\n q, s, o = DynamicQuantizeLinear(x)\n z = DequantizeLinear(q, s, o) }",
        ("sizes", np.array([2, 2, 2])), ("two", np.array([2])),
    ),
    "outputs left out": lambda: text(
        "g (float[5,1,3] x) => (float[1,1,4] y) { , h = LSTM<hidden_size = 4>(x, w, r)\n y = Neg(h) }",
        ("w", weights(1, 16, 3)), ("r", weights(1, 16, 4)),
    ),
    "sparse weights": sparse,
    "weights among inputs": overridable,
    "functions": function,
    "names": lambda: renamed(
        text("g (float[1,8] x) => (float[1,8] y) { a = Exp(x)\n b = Sin(a)\n c = Add(a, b)\n y = Mul(c, w) }", ("w", weights(8))),
        {"a": "é/日本\U0001f600", "b": 'q"\'\\', "c": "new\nline,comma/copy0", "w": "../../w", "x": " x/copy6",
         "y": "é/日本\U0001f600/copy0"},
    ),
}  # fmt: skip
ARRAYS = {
    "if of outer values": {"c": np.array(True)}, "loop of outer values": {"n": np.array(3)}, "shapes": {"x": weights(4, 2, 3)},
    "weights among inputs": {"x": weights(1, 8)},
}  # fmt: skip


class Cut:
    """The layers of a model as a job takes it apart: optimised and saved by the runtime, in a folder with nothing else in it."""

    def __init__(self, model: Path, folder: Path, inputs: dict[str, np.ndarray] | None = None, optimization: str = "all") -> None:
        self.inputs = as_sent(make_inputs(ep.load_model(model)) | (inputs or {}))
        self.options = {"threads": 1, "optimization": optimization, "workdir": str(folder)}
        self.executed = folder / "executed.onnx"
        RUNTIME.open(str(model), self.inputs, self.options, save_to=str(self.executed))
        self.before = sorted(folder.iterdir())
        self.layers = RUNTIME.isolate(str(self.executed), self.inputs, self.options)
        self.nodes = onnx.load(self.executed, load_external_data=False).graph.node

    def results(self, nodes: list[int], copies: int) -> dict[str, object]:
        """What the nodes make in one run by themselves."""
        session = self.layers.open(nodes, copies)
        session.run(1)
        bound = [] if hasattr(session, "outputs") else session._binding.get_outputs()
        if all(value.is_tensor() for value in bound):
            values = [value.numpy() for value in bound] or session.results().values()
        else:
            values = session._binding.copy_outputs_to_cpu()  # which dies of texts
        return dict(zip([name for i in nodes for name in self.nodes[i].output if name], values, strict=True))

    def whole(self, names: list[str]) -> dict[str, object]:
        """The same of the whole optimised model, tapped with the onnx package."""
        model = onnx.load(self.executed, load_external_data=False)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        path = self.executed.with_name("whole.onnx")
        path.write_bytes(model.SerializeToString())
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads, options.log_severity_level = 1, 4
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        path.unlink()
        return dict(zip(names, session.run(names, self.inputs), strict=True))


def as_sent(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs as the agent gets them: texts are objects."""
    return {name: array.astype(object) if array.dtype.kind in "US" else array for name, array in inputs.items()}


def same(one: object, other: object) -> bool:
    """Bit for bit."""
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(same, one, other))
    if one.dtype == object:
        return one.tolist() == other.tolist()
    return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def check(cut: Cut, nodes: Iterable[int] | None = None) -> None:
    """Each layer that can be run by itself, and groups of them, against the whole model."""
    taken = [i for i in range(len(cut.nodes)) if i not in cut.layers.reasons] if nodes is None else list(nodes)
    assert cut.layers.op_types == [node.op_type for node in cut.nodes]
    expected = cut.whole([name for i in taken for name in cut.nodes[i].output if name]) if taken else {}
    groups = [sorted(RNG.choice(taken, min(len(taken), 4), replace=False).tolist()) for _ in range(3)] if taken else []
    for some in [*([i] for i in taken), *groups]:
        for copies in COPIES:
            for name, value in cut.results(some, copies).items():
                assert same(value, expected[name]), (some, copies, name)
    cut.layers.close()
    assert sorted(cut.executed.parent.iterdir()) == cut.before


@pytest.fixture
def cut(tmp_path: Path) -> Callable[..., Cut]:
    def make(model: onnx.ModelProto | Path, **options: object) -> Cut:
        folder = tmp_path / "job"
        folder.mkdir()
        path = model if isinstance(model, Path) else tmp_path / "model.onnx"
        if not isinstance(model, Path):
            onnx.save(model, path)
        return Cut(path, folder, **options)

    return make


# Bit for bit


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.onnx")), ids=lambda path: path.stem)
def test_sample_models(path, cut):
    layers = cut(path)
    assert layers.layers.reasons == {}
    check(layers)


@pytest.mark.parametrize("kind", sorted(set(MODELS) - {"no nodes", "long chain", "no inputs"}))
def test_models_of_every_kind(kind, cut, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    onnx.save(MODELS[kind](folder), folder / "model.onnx")
    layers = cut(folder / "model.onnx")
    assert layers.layers.reasons == {}
    check(layers)


@pytest.mark.parametrize("optimization", ["all", "disabled"])
@pytest.mark.parametrize("kind", ODD)
def test_odd_models(kind, optimization, cut):
    layers = cut(ODD[kind](), inputs=ARRAYS.get(kind), optimization=optimization)
    assert layers.layers.reasons == {}
    assert len(layers.nodes) > 0
    check(layers)


def test_a_long_chain_is_taken_apart_in_a_few_runs(cut, monkeypatch):
    real, opened = RUNTIME.open_for_results, []
    monkeypatch.setattr(RUNTIME, "open_for_results", lambda *args: opened.append(args) or real(*args))
    layers = cut(chain(1000), optimization="disabled")
    assert len(layers.nodes) == 1000
    assert len(opened) <= 4
    check(layers, range(0, 1000, 250))


def test_a_model_without_layers(cut):
    layers = cut(MODELS["no nodes"](Path()))
    assert (layers.layers.op_types, layers.layers.reasons) == ([], {})
    check(layers)


def test_layers_that_read_chance_get_what_chance_gave_once(cut):
    layers = cut(MODELS["no inputs"](Path()))
    assert layers.layers.reasons == {}
    first, second = (next(iter(layers.results([1], 3).values())) for _ in range(2))
    assert same(first, second)
    assert first.shape == (8,)


# What cannot be run by itself

NO_ARRAYS = {
    "sequence": (
        "g (float[4,6] x) => (float[4,6] y) { s = SplitToSequence<axis=0>(x)\n a = ConcatFromSequence<axis=0>(s)\n y = Exp(a) }",
        {1: "its input s is no plain tensor"},
    ),
    "texts": (
        "g (float[4,6] x) => (float[4,6] y) { t = Cast<to=8>(x)\n a = Cast<to=1>(t)\n y = Exp(a) }",
        {1: "its input t is no plain tensor"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_who_reads_what_is_no_array_is_left_out(kind, cut):
    body, reasons = NO_ARRAYS[kind]
    layers = cut(text(body), optimization="disabled")
    assert layers.layers.reasons == reasons
    check(layers)


def test_what_the_runtime_cannot_hand_out_hinders_nobody_else(cut):
    """There are no bfloat16 arrays: a run that asks for such a tensor among others fails as a whole."""
    body = (
        "b = Exp(x)\n c = Sin(b)\n t = Cast<to=16>(c)\n a = Cast<to=1>(t)\n d = Exp(a)\n"
        " u = Cast<to=16>(d)\n e = Cast<to=1>(u)\n y = Sin(e)"
    )
    layers = cut(text(f"g (float[4,6] x) => (float[4,6] y) {{ {body} }}"), optimization="disabled")
    assert layers.layers.reasons == {3: "its input t is no plain tensor", 6: "its input u is no plain tensor"}
    for makes_one in (2, 5):
        assert len(layers.layers.open([makes_one], 7).run(2)) == 4
    check(layers, [0, 1, 4, 7])


def test_optionals_are_refused_when_they_are_opened(cut):
    body = "g (float[4,6] x) => (float[4,6] y) { o = Optional(x)\n a = OptionalGetElement(o)\n y = Exp(a) }"
    layers = cut(text(body), optimization="disabled")
    with pytest.raises(Refused, match="OptionalGetElement"):
        layers.layers.open([1], 1)
    check(layers, [2])


def test_names_that_are_no_utf8(cut, tmp_path):
    """The runtime takes them, but cannot say them in Python; what a reason says can be written as UTF-8."""
    model = text("g (float[1,8] x) => (float[1,8] y) { aaaa = Exp(x)\n b = Sin(aaaa)\n y = Neg(b) }").SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(model.replace(b"aaaa", b"a\xff\xfea"))
    executed = tmp_path / "executed.onnx"
    inputs, options = {"x": weights(1, 8)}, {"threads": 1, "optimization": "disabled", "workdir": str(tmp_path)}
    RUNTIME.open(str(path), inputs, options, save_to=str(executed))
    layers = RUNTIME.isolate(str(executed), inputs, options)
    assert layers.reasons == {0: r"its output a\xff\xfea has a name that is no UTF-8", 1: r"its input a\xff\xfea is no plain tensor"}
    assert len(layers.open([2], 3).run(1)) == 2


def test_a_model_that_does_not_run_is_refused_and_leaves_nothing(cut, tmp_path):
    body = "g (float[1,8] x, int64[1] i) => (float[1,1] y) { a = Exp(x)\n b = Gather<axis=1>(a, i)\n c = Neg(b)\n y = Sin(c) }"
    with pytest.raises(Refused, match="out of data bounds") as refused:
        cut(text(body), inputs={"i": np.array([99])}, optimization="disabled")
    assert refused.value.kind == "run"
    assert {path.name for path in (tmp_path / "job").iterdir()} == {"executed.onnx"}


# Size and damage


def test_a_big_node_has_few_copies(cut):
    """Its attributes are in each copy of it."""
    model = text("g (float[1,8] x) => (float[1,8] y) { a = Exp(x)\n y = Neg(a) }")
    model.graph.node[1].doc_string = "x" * (onnx_layers.MOST_NODE_BYTES // 10)
    layers = cut(model, optimization="disabled").layers
    sizes = [layers.most_copies(nodes, 512) for nodes in ([0], [1], [0, 1], [1, 1, 1, 1], [1] * 30)]
    assert sizes == [512, 9, 9, 2, 1]
    assert layers.most_copies([0], 3) == 3


def test_cutting_copies_no_weights():
    """What is kept of a model are views of its bytes."""
    data = text("g (float[1,8] x) => (float[1,8] y) { y = Add(x, w) }", ("w", np.zeros((5_000_000, 1, 1), np.float32))).SerializeToString()
    tracemalloc.start()
    try:
        model = Model(data)
        model.between()
        assert tracemalloc.get_traced_memory()[1] < len(data) / 10
    finally:
        tracemalloc.stop()


class Refusing(Runtime):
    """Runs nothing: what is left is the taking apart."""

    def open_for_results(self, model, inputs, options):
        raise Refused("load", "no")

    open = open_for_results


def taken_apart(data: bytes) -> None:
    """Takes a file apart as far as that goes without a runtime; Refused when it cannot be."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "executed.onnx")
        path.write_bytes(data)
        try:
            layers = OnnxIsolation(Refusing(), str(path), {"x": np.zeros((1, 8), np.float32)}, {})
            for i, node in enumerate(layers._model.nodes):
                layers._model.cut([i], {name: np.zeros((2, 3), np.float32) for name in node.inputs}, 2)
        finally:
            assert [left.name for left in Path(folder).iterdir()] == ["executed.onnx"]


WHOLE = [MODELS["if"](Path()).SerializeToString(), ODD["loop of outer values"]().SerializeToString(), sparse().SerializeToString()]


@pytest.mark.parametrize("data", WHOLE, ids=len)
def test_a_whole_file_is_refused_by_the_runtime_alone(data):
    with pytest.raises(Refused, match=r"^no$"):
        taken_apart(data + text("g (float[1,8] x) => (float[1,8] y) { a = Exp(x)\n y = Neg(a) }").SerializeToString())


@examples(4)
@given(st.data(), st.sampled_from(WHOLE))
def test_changed_bytes_are_a_model_or_refused(data, whole):
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        taken_apart(bytes(changed))
    except Refused as refused:
        str(refused).encode()


@given(st.data(), st.sampled_from(WHOLE))
def test_a_file_that_was_cut_off_is_refused_unless_it_is_a_model(data, whole):
    length = data.draw(st.integers(1, len(whole) - 1))
    try:
        taken_apart(whole[:length])
    except Refused:
        return
    onnx.ModelProto.FromString(whole[:length])  # it ended between two fields: onnx's own reader takes it too


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x38\x05", id="graph that is a number"),
        pytest.param(b"\x3a\x02\x08\x05", id="node that is a number"),
        pytest.param(b"\x3a\x04\x0a\x02\x08\x01", id="name that is a number"),
        pytest.param(b"\x3a\xff\xff\xff\xff\x7f", id="far longer than the file"),
        pytest.param(b"\x3a" + b"\xff" * 20, id="length of 140 bits"),
        pytest.param(b"\x3b", id="group"),
    ],
)
def test_what_is_no_model_is_refused(data):
    with pytest.raises(Refused, match="cannot be taken apart"):
        taken_apart(data)


def test_bodies_nested_without_end_are_refused():
    graph = b""
    for _ in range(3000):
        attribute = onnx_layers.message(6, graph)
        graph = onnx_layers.message(1, onnx_layers.message(5, attribute))
    with pytest.raises(Refused, match="cannot be taken apart"):
        taken_apart(onnx_layers.message(7, graph))


def test_a_model_that_was_not_saved(tmp_path):
    with pytest.raises(Refused, match="optimised model is not there: No such file"):
        RUNTIME.isolate(str(tmp_path / "executed.onnx"), {}, {})


def test_a_disk_that_is_full_is_a_reason_and_leaves_nothing(cut, tmp_path):
    """A limit to the size of files stands for it: 8 kB of a tensor do not fit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    model = MODELS["two branches"](Path())
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        with pytest.raises(Refused, match=r"tensors between layers cannot be kept in /\S+/job, which may be full \("):
            cut(model, optimization="disabled")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in (tmp_path / "job").iterdir() if not path.name.startswith("executed.onnx")]
