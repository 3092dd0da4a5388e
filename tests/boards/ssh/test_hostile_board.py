"""A board that is not what it should be: whatever it says, it ends in one sentence, writes nothing here and reaches no screen unchecked."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import re
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

import edgeprof as ep
import edgeprof.boards
from edgeprof import commands, profiler
from edgeprof.agent import protocol
from edgeprof.boards import collect, sensed, ssh
from edgeprof.boards.base import AgentJob, Cancelled, Done, Failed, Progress, Waiting
from edgeprof.boards.collect import Collector
from edgeprof.boards.ssh import SshBoard
from edgeprof.errors import BoardError, EdgeprofError
from edgeprof.models.inputs import make_inputs
from edgeprof.models.probes import make_probes
from edgeprof.records.profile import Profile
from edgeprof.records.trace import RunPlan
from edgeprof.reports import write
from tests.boards.conftest import MODELS
from tests.laws import examples

EVIL = "\x1b[31m\x07\u202eevil\n<script>alert(1)</script><img src=x onerror=alert(2)>`<b onclick=alert(3)>`"
"""Obeyed by a terminal, written backwards, or run by a browser, if it gets there as it is."""


class Said:
    """A way to an agent that says what it was given (see `edgeprof.boards.base.Link`)."""

    def __init__(self, frames: list[protocol.Frame], words: str = "") -> None:
        self._frames, self._words = frames, words

    def frames(self) -> Iterator[protocol.Frame]:
        yield from self._frames

    def begin(self) -> None: ...

    def cancel(self) -> None: ...

    def kill(self) -> None: ...

    def close(self) -> str:
        return ""

    def last_words(self) -> str:
        return self._words


@pytest.fixture(scope="module")
def recorded(sshd, ssh_board, tmp_path_factory) -> tuple[Path, RunPlan, list[protocol.Frame]]:
    """A model, its plan, and all that a real board said of it."""
    path = tmp_path_factory.mktemp("recorded") / "model.onnx"
    onnx.save(MODELS["two branches"](path.parent), path)
    plan = RunPlan(runs=3, warmup=1, inputs=make_inputs(ep.load_model(path)), probes=make_probes()[:1])
    job = ssh_board.start_detached(path, plan)
    while ssh_board.jobs()[0].state == "running":
        pass
    with (sshd.cache / "jobs" / job / "spool").open("rb") as spool:
        frames = list(iter(lambda: protocol.read(spool), None))
    ssh_board.kill(job)
    return path, plan, frames


def end_of(plan: RunPlan, frames: list[protocol.Frame]) -> Done | Failed | Cancelled:
    return list(AgentJob(Said(frames), Collector("board", "onnxruntime", plan, remote=True)).events())[-1]


def profile_of(recorded: tuple[Path, RunPlan, list[protocol.Frame]], frames: list[protocol.Frame]) -> Profile | None:
    """What becomes of it, by the same way as in `profile`."""
    path, plan, _ = recorded
    end = end_of(plan, frames)
    if isinstance(end, Failed):
        is_a_sentence(str(end.error))
    trace = end.error.trace if isinstance(end, Failed) else end.trace
    return profiler._partial(trace, ep.load_model(path), "random", "measured")


def is_a_sentence(text: str) -> None:
    assert text.isprintable() and 10 < len(text) < 2000, text


def test_what_was_recorded_is_a_profile(recorded):
    assert profile_of(recorded, recorded[2]).context.runs == 3


# Anything in any frame


def places(value: Any, path: tuple = ()) -> Iterator[tuple]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value[:3]):
            yield from places(item, (*path, index))
    yield path


def put_at(value: Any, path: tuple, new: Any) -> Any:
    if not path:
        return new
    changed = copy.copy(value)
    changed[path[0]] = put_at(value[path[0]], path[1:], new)
    return changed


DEEP: Any = []
for _ in range(200):
    DEEP = [DEEP]
NOISE = st.sampled_from(
    [None, True, -1, 0, 1 << 62, 1 << 64, 10**40, float("nan"), float("inf"), -1e308, "", EVIL, "x" * 100_000, [], {}, [[]], DEEP]
)


@examples(1, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_anything_in_a_frame_ends_in_one_sentence(recorded, data):
    path, plan, frames = copy.deepcopy(recorded)
    for _ in range(data.draw(st.integers(1, 2))):
        index = data.draw(st.integers(0, len(frames) - 1))
        frame = frames[index]
        place = data.draw(st.sampled_from([p for p in places(frame.fields) if p] or [()]))
        fields = put_at(frame.fields, place, copy.deepcopy(data.draw(NOISE))) if place else frame.fields
        frames = [*frames[:index], frame._replace(fields=fields), *frames[index + 1 :]]
    profile = profile_of((path, plan, frames), frames)
    if profile is not None:
        assert np.isfinite(profile.runs["latency_ms"]).all()


@examples(1, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data())
def test_frames_in_any_order_and_payloads_of_any_bytes_end_in_one_sentence(recorded, data):
    path, plan, frames = copy.deepcopy(recorded)
    for _ in range(data.draw(st.integers(1, 3))):
        index = data.draw(st.integers(0, len(frames) - 1))
        act = data.draw(st.sampled_from(["drop", "double", "move", "payload", "cut"]))
        frame = frames.pop(index)
        if act == "double":
            frames[index:index] = [frame, frame]
        elif act == "move":
            frames.insert(data.draw(st.integers(0, len(frames))), frame)
        elif act == "payload":
            frames.insert(index, frame._replace(payload=data.draw(st.binary(max_size=50)) or zlib.compress(b"[]")))
        elif act == "cut":
            frames.insert(index, frame._replace(payload=frame.payload[: len(frame.payload) // 2]))
        if not frames:
            frames = [frame]
    profile_of((path, plan, frames), frames)


# What it says reaches screens


KEPT = ("phase", "of", "kind", "id", "name", "type", "key", "quantity", "unit", "op_type")
"""Texts that decide what becomes of a frame; all others are for people."""


def spoiled(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {k: spoiled(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [spoiled(v, key) for v in value]
    return f"{value}{EVIL}" if isinstance(value, str) and key not in KEPT else value


def test_nothing_that_it_says_reaches_a_screen_or_a_page_as_it_is(recorded, tmp_path, monkeypatch):
    path, plan, frames = recorded
    frames = [frame._replace(fields=spoiled(frame.fields)) for frame in frames]
    extra = protocol.Frame("message", {"id": f"id{EVIL}", "text": EVIL}, b"")
    waiting = protocol.Frame("waiting", {"who": EVIL, "held_s": 1e300, "wait_s": 5}, b"")
    progress = protocol.Frame("progress", {"phase": EVIL, "done": 1, "total": 2}, b"")
    frames = [frames[0], waiting, progress, extra, *frames[1:]]
    events = list(AgentJob(Said(frames), Collector("board", "onnxruntime", plan, remote=True)).events())
    for event in events:
        if isinstance(event, Waiting | Progress):
            is_clean(event.text if isinstance(event, Waiting) else event.phase)
    profile = profiler._partial(events[-1].trace, ep.load_model(path), "random", "measured")
    profile.save(tmp_path / "x.edgeprof")
    for finding in profile.findings:
        is_clean(finding.text)
    for kind in ("html", "md"):
        page = write(ep.load(tmp_path / "x.edgeprof"), tmp_path / f"x.{kind}").read_text()
        assert "<script>alert(1)" not in page and "<img src=x" not in page and "\x1b" not in page and "\u202e" not in page
    shown = subprocess.run([sys.executable, "-m", "edgeprof", "show", tmp_path / "x.edgeprof"], capture_output=True, text=True, check=True)
    assert not set("\x1b\x07\u202e") & set(shown.stdout + shown.stderr)
    for error in ("died", "busy", "run", "memory", "provider", "no-runtime"):
        told = protocol.Frame("error", {"kind": error, "message": EVIL, "who": EVIL, "held_s": float("inf")}, b"")
        end = list(AgentJob(Said([told], words=EVIL), Collector("board", "onnxruntime", plan, remote=True)).events())[-1]
        assert isinstance(end, Failed)


UNSEEN = "\x1b\x07\u202e"
"""What no screen may get as it is."""
VIEWS: dict[str, Callable[[Profile, Profile], Any]] = {
    "heatmap": lambda profile, _: ep.heatmap(profile),
    "timeline": lambda profile, _: ep.timeline(profile),
    "memory": lambda profile, _: ep.memory(profile),
    "layers x boards": lambda *profiles: ep.heatmap(profiles),
}


@pytest.fixture
def evil(recorded) -> tuple[Profile, Profile]:
    """What a board told that spoiled every word, and the same of another board; their names are as a bundle may have them."""
    frames = [frame._replace(fields=spoiled(frame.fields)) for frame in recorded[2]]
    profile = profile_of(recorded, [*frames[:-1], protocol.Frame("message", {"id": "odd", "text": EVIL}, b""), frames[-1]])
    one, other = (replace(profile.context, board=f"{name}{EVIL}", model_name=f"model{EVIL}") for name in ("a", "b"))
    return replace(profile, context=one), replace(profile, context=other)


@pytest.mark.parametrize("kind", VIEWS)
def test_nothing_that_it_says_is_obeyed_in_a_notebook(kind, evil):
    """What a cell shows and a saved notebook holds; how a browser draws what it is sent stands in tests/ui."""
    view = VIEWS[kind](*evil)
    bundle, metadata = view._repr_mimebundle_()
    assert "evil" in bundle["text/plain"] and set(bundle) == {"text/plain", "image/png"}
    for text in (repr(evil[0]), *texts([bundle["text/plain"], metadata])):
        assert not set(UNSEEN) & set(text), ascii(text)


def test_nothing_that_it_says_is_run_in_a_figure(evil):
    for figure in (ep.compare_boards(evil), ep.bars(evil[0]), ep.roofline(evil[0])):
        for text in texts(figure.to_plotly_json()):
            assert not set(UNSEEN) & set(text) and not re.search("<(script|img|b onclick)", text), ascii(text)


def sent(view: Any) -> dict[str, Any]:
    """What a browser gets of a widget, but for our own programs."""
    return {key: value for key, value in view.get_state().items() if key not in ("_esm", "_css")}


def shows_no_evil(table: Any) -> None:
    page, plain = (table._repr_mimebundle_()[0][kind] for kind in ("text/html", "text/plain"))
    assert "evil" in page and not re.search("<(script|img|b onclick)", page)
    for text in (page, plain, *texts(sent(table))):
        assert not set(UNSEEN) & set(text), ascii(text)


def texts(value: Any) -> Iterator[str]:
    """All texts in a value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (str(key), *texts(item))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts(item)


def test_health_that_it_tells_is_run_or_obeyed_nowhere(ssh_board, fake, tmp_path, monkeypatch):
    told = spoiled(dict(ssh_board.health())) | {EVIL: EVIL}
    (tmp_path / "told").write_text(json.dumps(told))
    board = fake(f"elif frame.type == 'health': say('reply', json.load(open({str(tmp_path / 'told')!r})))")
    table = ep.board_health(board)
    table.refresh()
    shows_no_evil(table)
    page = edgeprof.boards.status(board)
    assert not set(UNSEEN) & set(page.to_string()) and "<img src=x" not in page._repr_html_()
    monkeypatch.setattr("edgeprof.boards.get_board", lambda name: board)
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        commands.main(["boards", "health", "fake"])
    assert "evil" in shown.getvalue() and not set(UNSEEN) & set(shown.getvalue())
    board.close()
    refusing = fake(f"elif frame.type == 'health': say('error', {{'kind': 'os', 'message': {EVIL!r}}})")
    table = ep.board_health(refusing)
    table.refresh()
    shows_no_evil(table)
    refusing.close()


def is_clean(text: str) -> None:
    assert text.isprintable() and "\u202e" not in text, ascii(text)


# More than there is room for


def test_more_than_there_is_room_for_is_refused(recorded, monkeypatch):
    _, plan, frames = recorded
    bomb = zlib.compress(bytes(64 << 20), 9)
    monkeypatch.setattr(collect, "MAX_TRACE_BYTES", 1 << 20)
    monkeypatch.setattr(collect, "MAX_EXECUTED_BYTES", 1 << 20)
    monkeypatch.setattr(sensed, "MAX_UNPACKED_BYTES", 1 << 20)
    cases = {
        "trace": (protocol.Frame("trace", {"of": ""}, bomb), 1),
        "samples": (protocol.Frame("samples", {}, bomb), 1),
        "executed": (protocol.Frame("executed", {}, bytes(1 << 19)), 5),
        "message": (protocol.Frame("message", {"id": "x", "text": "y" * 100}, b""), 5000),
    }
    for kind, (frame, count) in cases.items():
        end = end_of(plan, [*frames[:3], *[frame] * count])
        assert isinstance(end, Failed), kind
        assert "limit" in str(end.error) or "more than" in str(end.error), (kind, end.error)
        is_a_sentence(str(end.error))


def test_traces_that_are_never_whole_share_one_limit(recorded, monkeypatch):
    """Pieces of traces of thousands of probes that nobody asked for, none of which ends."""
    _, plan, frames = recorded
    monkeypatch.setattr(collect, "MAX_TRACE_BYTES", 4 << 20)
    piece = zlib.compress(bytes(1 << 20), 9)
    pieces = [protocol.Frame("trace", {"of": f"probe {number}"}, piece) for number in range(200)]
    tracemalloc.start()
    try:
        end = end_of(plan, [*frames[:3], *pieces])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert isinstance(end, Failed) and "a trace is over the size limit" in str(end.error)
    assert peak < 20 << 20


# Over the line


AGENT = """
import json, os, sys, time
sys.path.insert(0, {root!r})
from edgeprof.agent import protocol
out, source = sys.stdout.buffer, sys.stdin.buffer
def say(kind, fields, payload=b""):
    out.write(protocol.encode(kind, fields, payload)); out.flush()
out.write(b"EDGEPROF " + sys.argv[3].encode() + b" ready\\n")
out.write({hello}); out.flush()
while True:
    frame = protocol.read(source)
    if frame is None or frame.type == "bye":
        break
    elif frame.type == "have":
        say("reply", {{"have": {{d: {{"whole": True, "bytes": 0}} for d in frame.fields["digests"]}}}})
    {body}
    else:
        say("reply", {{}})
"""


@pytest.fixture
def fake(sshd, tmp_path):
    """A board whose agent is ``body``, a branch of the loop of `AGENT`."""

    def make(body: str, hello: str = "protocol.encode('hello', {'protocol': 1})") -> SshBoard:
        path = tmp_path / "python"
        root = str(Path(ep.__file__).parent.parent)
        path.write_text(f"#!{sys.executable}\n{AGENT.format(root=root, body=body, hello=hello)}")
        path.chmod(0o755)
        return SshBoard(replace(sshd.entry, name="fake", python=str(path)))

    return make


ON_ATTACH = {
    "garbage": "out.write(os.urandom(100_000))",
    "a header without end": "out.write(b'E' * 1_000_000)",
    "a frame over the limit": "out.write(b'EP1 10 999999999999\\n')",
    "a header over the limit": "out.write(b'EP1 99999999 0\\n')",
    "deep nesting": "out.write(b'EP1 100000 0\\n' + b'[' * 100_000)",
    "no type": "out.write(b'EP1 2 0\\n{}')",
    "a cut frame": "say('attached', {}); out.write(b'EP1 50 10\\n{'); sys.exit()",
    "an end and nothing else": "say('attached', {}); say('ended', {'death': '\\x1b[31m', 'words': '\\x1b[31m<b>'})",
    "an end that is none": "say('attached', {}); say('ended', {'death': 5, 'words': {}})",
    "a result before anything": "say('attached', {}); say('result', {'complete': True}); say('ended', {})",
    "an answer of another kind": "say('error', {'kind': 5, 'message': ['\\x1b[31m']})",
}


@pytest.mark.parametrize("kind", ON_ATTACH)
def test_nonsense_in_place_of_a_job(kind, fake, recorded):
    board = fake(f"elif frame.type == 'attach': {ON_ATTACH[kind]}; out.flush()")
    with pytest.raises(BoardError) as caught:
        ep.profile(recorded[0], board=board, runs=3, warmup=1, progress=False)
    board.close()
    is_a_sentence(str(caught.value))


def test_answers_that_make_no_sense(fake):
    """Whatever is asked, an answer of the wrong shape is one sentence."""
    for answer in ({}, {"jobs": 5}, {"jobs": [5, {"job": EVIL, "about": 5, "bytes": "x"}]}, {"jobs": None, "killed": None, "bytes": "x"}):
        board = fake(f"elif frame.type: say('reply', json.loads({json.dumps(answer)!r}))")
        for ask in (board.jobs, board.clean, lambda: board.kill("20260101T000000-0123abcd"), lambda: board.attached("x")):  # noqa: B023
            try:
                found = ask()
            except BoardError as error:
                is_a_sentence(str(error))
            else:
                assert not isinstance(found, list) or all(job.job.isprintable() and isinstance(job.bytes, int) for job in found)
        board.close()


HOSTILE_NAMES = (["../outside"], ["/outside"], [5], ["a\0b"], [None], ["x" * 5000], ["model.onnx/.."], "../x", [["x"]])


@pytest.mark.parametrize("names", HOSTILE_NAMES, ids=ascii)
def test_a_job_that_names_files_outside_its_folder(names, fake, recorded, tmp_path, temporary):
    from edgeprof.boards.opening import opening

    path, plan, _ = recorded
    stream = io.BytesIO(opening(path, plan, "onnxruntime", workdir="work", compression=0))
    job = protocol.read(stream)
    data = protocol.encode("job", {**job.fields, "external_files": names}) + stream.read()
    (tmp_path / "opening").write_bytes(data)
    told = {"job": "20260101T000000-0123abcd", "about": {"model": "../../evil\x1b[31m", "files": []}}
    board = fake(
        f"elif frame.type == 'jobs': say('reply', json.loads({json.dumps({'jobs': [told]})!r}))\n"
        f"    elif frame.type == 'get':\n"
        f"        data = open({str(tmp_path / 'opening')!r}, 'rb').read() if frame.fields['name'] == 'opening' else b'evil'\n"
        f"        say('reply', {{'size': len(data)}}, data)"
    )
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(temporary)}
    with pytest.raises(EdgeprofError) as caught:
        ep.attach("fake/20260101T000000-0123abcd", board=board, progress=False)
    board.close()
    is_a_sentence(str(caught.value))
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(temporary)} == before


def test_a_file_that_is_larger_than_it_may_be_is_not_held_in_memory(fake, monkeypatch, tmp_path):
    monkeypatch.setattr(ssh, "MOST_MODEL_BYTES", 100 << 20)
    board = fake("elif frame.type == 'get': say('reply', {'size': (100 << 20) + frame.fields['offset'] // 100}, bytes(1 << 22))")
    attached = ssh.Attached("fake", "20260101T000000-0123abcd", {}, RunPlan(runs=1), "onnxruntime")
    tracemalloc.start()
    try:
        with pytest.raises(BoardError, match=r"fake sends [\d,]+ bytes for model\.onnx; at most 104,857,600 are taken\."):
            board.model_of(attached, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()
    board.close()


@pytest.mark.parametrize(
    "said", ["os.urandom(1000)", "b'EP1 10 9999999999\\n'", "b'E' * 1000", "protocol.encode('hello', {'protocol': [9]})"]
)
def test_a_door_that_begins_with_nonsense(said, fake, recorded):
    board = fake("elif 0: pass", hello=said)
    for ask in (board.health, board.jobs, lambda: ep.profile(recorded[0], board=board, runs=3, warmup=1, progress=False)):
        with pytest.raises(BoardError) as caught:
            ask()
        is_a_sentence(str(caught.value))
    board.close()
