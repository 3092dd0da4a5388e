"""Runs and parents of made-up traces: exact nanoseconds, written down in whole microseconds as ONNX Runtime does.

A body is taken to begin 1 µs after its If or Loop and to end 1 µs before it; recorded ones have 2 to 9 µs.
"""

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeprof.importers.onnxruntime import decode

from .test_onnxruntime import line, paths, run_line, trace


@dataclass
class Writer:
    """Walks a tree of nodes on an exact clock and keeps lines in the order the events end, with the truth beside them."""

    now_ns: int = 5_000_000
    lines: list = field(default_factory=list)  # (start_ns, bytes)
    truth: list = field(default_factory=list)  # per run: [(start_ns, path)]

    def run(self, nodes, gaps):
        started = self.now_ns
        self.truth.append([])
        self.now_ns += gaps[0]
        self.execute(nodes, "")
        self.now_ns += gaps[1]
        self.add(started, "model_run", "Session", "")
        self.now_ns += gaps[2]

    def execute(self, nodes, above):
        started = self.now_ns
        for node in nodes:
            self.node(node, above)
        self.add(started, "SequentialExecutor::Execute", "Session", "")

    def node(self, node, above):
        name, op, before_ns, own_ns, bodies = node
        self.now_ns += before_ns
        started = self.now_ns
        if op:
            for body in bodies:
                self.now_ns += 1000 + own_ns  # feeds are made before a body runs
                self.execute(body, name)
                self.now_ns += 1000  # and its results fetched
        self.now_ns += own_ns
        self.truth[-1].append((started, f"{above} > {name}" if above else name))
        self.add(started, f"{name}_kernel_time", "Node", op or "Neg")

    def add(self, started, name, cat, op):
        args = f'{{"op_name" : "{op}","provider" : "P","node_index" : "0"}}' if op else "{}"
        self.lines.append((started, line(name, started // 1000, (self.now_ns - started) // 1000, cat=cat, args=args)))


_times = st.integers(0, 400) | st.integers(0, 4000)
_leaf = st.tuples(st.sampled_from("abcdef"), st.just(""), _times, _times, st.just(()))


def _nested(inner):
    bodies = st.lists(st.lists(inner, min_size=1, max_size=3), max_size=3)
    return st.tuples(st.sampled_from("uvw"), st.sampled_from(["If", "Loop", "Scan"]), _times, _times, bodies)


_node = st.recursive(_leaf, lambda inner: inner | _nested(inner), max_leaves=12)
_gaps = st.tuples(_times, _times, _times.map(lambda gap: gap + 1000))


@given(st.lists(st.tuples(st.lists(_node, max_size=5), _gaps), min_size=1, max_size=4))
def test_runs_and_parents_of_any_tree_are_found(runs):
    writer = Writer()
    for nodes, gaps in runs:
        writer.run(nodes, gaps)
    spans = decode(trace(*(text for _, text in writer.lines)))
    assert len(spans.run_start_ns) == len(runs)
    for run, truth in enumerate(writer.truth):
        assert sorted(paths(spans, run)) == sorted(path for _, path in truth)
    assert len(set(spans.kinds)) == len(spans.kinds) == len(set(spans.kind.tolist()))
    for kind, parent in zip(spans.kind.tolist(), spans.parent.tolist(), strict=True):
        around = spans.kinds[spans.kind[parent]] if parent >= 0 else None
        assert spans.kinds[kind].inside == (f"{around.inside}{around.name}\n" if around else "")


def tree():
    """Two runs of: a, an If with b and c inside, d, a Loop of two rounds of (e, an If with f), g; with 2 µs around bodies."""
    inner = ("w", "If", 100, 2500, [[("f", "", 300, 500, ())]])
    nodes = [
        ("a", "", 300, 200, ()),
        ("u", "If", 50, 2500, [[("b", "", 300, 700, ()), ("c", "", 10, 90, ())]]),
        ("d", "", 50, 100, ()),
        ("v", "Loop", 100, 2500, [[("e", "", 200, 100, ()), inner]] * 2),
        ("g", "", 60, 400, ()),
    ]
    writer = Writer()
    for _ in range(2):
        writer.run(nodes, (200, 200, 2000))
    return writer


EXPECTED = ["a", "u", "u > b", "u > c", "d", "v", "v > e", "v > w", "w > f", "v > e", "v > w", "w > f", "g"]


def test_events_in_the_order_they_ended():
    spans = decode(trace(*(text for _, text in tree().lines)))
    assert [paths(spans, run) for run in (0, 1)] == [EXPECTED] * 2


def test_events_in_the_order_they_started():
    spans = decode(trace(*(text for _, text in sorted(tree().lines, key=lambda item: item[0]))))
    assert [paths(spans, run) for run in (0, 1)] == [EXPECTED] * 2


def test_events_in_no_order():
    lines = [text for _, text in tree().lines]
    shuffled = [lines[i] for i in np.random.default_rng(3).permutation(len(lines))]
    spans = decode(trace(*shuffled))
    assert [sorted(paths(spans, run)) for run in (0, 1)] == [sorted(EXPECTED)] * 2


def test_without_executor_events_the_control_flow_event_itself_decides():
    spans = decode(trace(*(text for _, text in tree().lines if b"Executor" not in text)))
    assert [sorted(paths(spans, run)) for run in (0, 1)] == [sorted(EXPECTED)] * 2


def test_only_control_flow_is_a_parent_and_only_on_its_own_thread():
    args = '{"op_name" : "If","provider" : "P","node_index" : "1"}'
    body = line("SequentialExecutor::Execute", 12, 20, cat="Session", args="{}", tid=2)
    inside, elsewhere = line("b_kernel_time", 15, 1, tid=2), line("c_kernel_time", 16, 1, tid=3)
    control = line("i_kernel_time", 10, 30, args=args, tid=2)
    spans = decode(trace(inside, elsewhere, body, control, line("a_kernel_time", 5, 50), run_line(0, 99)))
    assert paths(spans, 0) == ["a", "i", "i > b", "c"]


def test_an_event_in_the_microsecond_between_two_runs_goes_by_its_line():
    first, second = line("a_kernel_time", 10, 0), line("b_kernel_time", 10, 0)
    spans = decode(trace(first, run_line(0, 10), second, run_line(10, 10)))
    assert [paths(spans, 0), paths(spans, 1)] == [["a"], ["b"]]


def test_events_before_between_and_after_runs_belong_to_none():
    lines = [line("a_kernel_time", 1, 1), run_line(5, 10), line("b_kernel_time", 20, 1), run_line(30, 10), line("c_kernel_time", 50, 1)]
    assert decode(trace(*lines)).run.tolist() == [-1, -1, -1]


def test_a_child_may_seem_to_end_a_microsecond_after_its_parent():
    args = '{"op_name" : "Loop","provider" : "P","node_index" : "1"}'
    body = line("SequentialExecutor::Execute", 11, 8, cat="Session", args="{}")
    spans = decode(trace(line("b_kernel_time", 11, 9), body, line("l_kernel_time", 10, 10, args=args), run_line(0, 30)))
    assert paths(spans, 0) == ["l", "l > b"]


def test_times_are_those_of_the_file_behind_the_given_start():
    spans = decode(trace(line("a_kernel_time", 3, 2), run_line(1, 9)), start_ns=10**18)
    assert spans.start_ns.tolist() == [10**18 + 3000]
    assert spans.duration_ns.tolist() == [2000]
    assert spans.run_start_ns.tolist() == [10**18 + 1000]
    assert spans.run_duration_ns.tolist() == [9000]


_event = st.tuples(st.sampled_from(["If", "Neg", "Execute", "run"]), st.integers(0, 12), st.integers(0, 12), st.integers(1, 2))


@given(st.lists(_event, max_size=12), st.booleans())
def test_no_event_is_its_own_ancestor_however_odd_the_times_are(rows, by_end):
    lines = []
    for op, ts, dur, tid in sorted(rows, key=lambda row: row[1] + row[2]) if by_end else rows:
        if op in ("If", "Neg"):
            lines.append(line("a_kernel_time", ts, dur, tid=tid, args=f'{{"op_name" : "{op}","node_index" : "1"}}'))
        elif op == "run":
            lines.append(run_line(ts, dur, tid=tid))
        else:
            lines.append(line("SequentialExecutor::Execute", ts, dur, cat="Session", args="{}", tid=tid))
    spans = decode(trace(*lines))
    assert (spans.parent < np.arange(len(spans))).all()
    assert all(spans.kinds[spans.kind[p]].op_type == "If" for p in spans.parent if p >= 0)
