"""`Workbench`: the whole in a notebook's cell. It tells the browser what the `Bench` knows, and does what is clicked.

1. Small things are traits (what `edgeprof.workbench.told` says), numbers of views come as typed arrays when a view asks for them, and the
   module that draws a view when it is first shown: once for a page, however many Workbenches there are.
2. What takes long runs in the Bench's own thread; what it changes is told from there, so nothing waits for a cell to end.
3. A picture of the whole stands below the live view for whoever sees the notebook without Python (`edgeprof.widgets.base`).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from edgeprof.analysis.names import visible
from edgeprof.errors import EdgeprofError, UsageError
from edgeprof.figures.modules import own_style, script, style
from edgeprof.figures.pen import WIDTH
from edgeprof.records.profile import Profile
from edgeprof.widgets.base import STILL, WIDGET_MIME, compact, somebody_is_there
from edgeprof.workbench import told
from edgeprof.workbench.bench import Bench
from edgeprof.workbench.desk import LIVE
from edgeprof.workbench.following import Follower
from edgeprof.workbench.page import page
from edgeprof.workbench.picture import picture
from edgeprof.workbench.selection import Selection
from edgeprof.workbench.tasks import Task
from edgeprof.workbench.views import ESTIMATE, MODULES, VIEWS, Views

MOST_NOTES = 5
PICTURE_AFTER_S = 1.5
_LEVEL = 3
"""Of zlib: what is sent is as small as at 6 within a few per cent, in half of the time."""


@cache
def _source(name: str) -> bytes:
    """A view's module and its style sheet, packed."""
    return _packed({"source": compact(script(name)), "css": own_style(name)})


def _packed(told: object) -> bytes:
    """JSON, deflated: it is a tenth, and ``widget.js`` unpacks it without the page standing still."""
    return zlib.compress(json.dumps(told, separators=(",", ":")).encode(), _LEVEL)


def _hashes() -> dict[str, str]:
    return {name: hashlib.sha256(script(name).encode()).hexdigest()[:12] for name in MODULES}


class Workbench(anywidget.AnyWidget):
    """All views of a model in one notebook cell, linked by one selection, and what is decided beside them.

    ``bench`` is what it shows (`edgeprof.workbench.bench.Bench`): selection, recipe, candidates, what runs; all that can be clicked can be
    called there. ``shown`` is the key of the candidate that is looked at, ``against`` that of the one it is compared with.

    Args:
        subject: path of an ONNX model (measured on ``board`` when the cell is shown; layers can be decided), a Profile or the path of a
            ``.edgeprof``, a list of those (to compare), a study folder that a Workbench kept, or a Bench.
        theme: ``"auto"`` (JupyterLab's, else the system's), ``"light"`` or ``"dark"``.
        **options: of `edgeprof.workbench.bench.Bench`: ``board``, ``data``, ``study``, ``constraints``, ``precisions``, and those of
            `edgeprof.profile`, such as ``runs`` or ``threads``.

    Raises:
        EdgeprofError: the model, the profiles, the data or the options make no sense.
    """

    _esm = compact(script("workbench") + STILL + (Path(__file__).parent / "widget.js").read_text("utf-8"))
    _css = style("workbench")

    picture_width = WIDTH

    head: Any = traitlets.Dict().tag(sync=True)
    subjects: Any = traitlets.List().tag(sync=True)
    shown: Any = traitlets.Unicode().tag(sync=True)
    against: Any = traitlets.Unicode().tag(sync=True)
    selected: Any = traitlets.Dict().tag(sync=True)
    can_go: Any = traitlets.Tuple((False, False)).tag(sync=True)
    versions: Any = traitlets.Dict().tag(sync=True)
    empty: Any = traitlets.Dict().tag(sync=True)
    decide: Any = traitlets.Dict(allow_none=True, default_value=None).tag(sync=True)
    tasks: Any = traitlets.List().tag(sync=True)
    notes: Any = traitlets.List().tag(sync=True)
    lane: Any = traitlets.Unicode().tag(sync=True)
    arrangement: Any = traitlets.Dict().tag(sync=True)
    hashes: Any = traitlets.Dict().tag(sync=True)
    theme: Any = traitlets.Enum(("auto", "light", "dark"), "auto").tag(sync=True)
    still: Any = traitlets.Unicode().tag(sync=True)

    def __init__(self, subject: Any, *, theme: str = "auto", **options: Any) -> None:
        self.bench = subject if isinstance(subject, Bench) else Bench(subject, **options)
        self._views, self._guard = Views(), threading.RLock()
        self._versions: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._failed: dict[int, Task] = {}
        self._own_notes: list[dict[str, Any]] = []
        self._dismissed: set[str] = set()
        self._handle: Any = None
        self._timer: threading.Timer | None = None
        try:
            super().__init__(theme=theme, hashes=_hashes())
        except traitlets.TraitError as error:
            raise UsageError(str(error)) from error
        self._tell_all()
        self._follower = Follower(self.bench, self._show_lane)
        self.bench.on_change(self._changed)
        self.on_msg(self._heard)

    def open(self) -> None:
        """Opens the way to the browser, when somebody is there."""
        if somebody_is_there():
            super().open()

    def close(self) -> None:
        """Ends the widget and the work in the background."""
        self.bench.close()
        super().close()

    # -- Python's side --

    @property
    def selection(self) -> Selection:
        """What is selected in all views: layers of the profile that is looked at, runs, candidates. Set one, or names of layers."""
        return self.bench.selection

    @selection.setter
    def selection(self, wish: Selection | Mapping[str, Any] | Sequence[str]) -> None:
        self.bench.selection = wish

    @property
    def profile(self) -> Profile | None:
        """The profile that is looked at; None while there is none."""
        return self._subjects().get(self.bench.shown)

    def back(self) -> None:
        """The selection before this one."""
        self.bench.back()

    def forward(self) -> None:
        """The selection that `back` left."""
        self.bench.forward()

    def save_page(self, path: str | os.PathLike[str]) -> Path:
        """Writes one HTML file that shows all views without Python and without a network. OutputError when it cannot be written."""
        from edgeprof.records.bundle import write_atomically

        subjects = self._subjects()
        if self.bench.shown not in subjects:
            raise UsageError("There is nothing to show yet. Measure the model first.")
        labels = {one["key"]: one["label"] for one in told.subjects(self.bench, subjects)}
        heads = {key: told.head(self.bench, profile) for key, profile in subjects.items()}
        made = page(subjects, labels=labels, heads=heads, shown=self.bench.shown, selected=self.selected, arrangement=self.arrangement)
        write_atomically(Path(path), made)
        return Path(path)

    def picture(self) -> bytes:
        """All views as one PNG picture, for notebooks that no browser draws."""
        return picture(
            self._subjects(), self.bench.shown, self.against, self.bench.selection, told.head(self.bench, self.profile), self._views
        )

    def __repr__(self) -> str:
        return f"<Workbench of {visible(self.head['header']['model'])}: {len(self.subjects)} to look at>"

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        png = base64.b64encode(self.picture()).decode("ascii")
        return {"text/plain": repr(self), "image/png": png}, {"image/png": {"width": self.picture_width, "alt": repr(self).strip("<>")}}

    def _ipython_display_(self) -> None:
        """Shows the live Workbench and, below it, the picture; measures the model as it is when that was not done yet.

        Where nobody looks on, it waits for that measurement: the picture shall have something to show.
        """
        from IPython.display import display

        task = self.bench.measure("base") if self.bench.can_decide and self.bench.base is None else None
        if self.comm is None:
            if task is not None:
                task.wait()
            still, metadata = self._repr_mimebundle_()
            display(still, metadata=metadata, raw=True)  # type: ignore[no-untyped-call]
            return
        spec = {"version_major": 2, "version_minor": 1, "model_id": self.model_id}
        display({"text/plain": repr(self), "text/html": "", WIDGET_MIME: spec}, raw=True)  # type: ignore[no-untyped-call]
        self._handle = display({"text/plain": repr(self), "text/html": ""}, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        self._picture_soon()

    def _picture_soon(self) -> None:
        """Has the picture in the notebook renewed when what the browser asks for first was answered: nobody looks at it now."""
        if self._handle is None:
            return
        with self._guard:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = threading.Timer(PICTURE_AFTER_S, self._renew_picture)
            self._timer.daemon = True
            self._timer.start()

    def _renew_picture(self) -> None:
        with contextlib.suppress(Exception):  # a picture that cannot be drawn is no reason to stop; the live view says what is wrong
            still, metadata = self._repr_mimebundle_()
            self.still = still["image/png"][-64:]
            self._handle.update(still, metadata=metadata, raw=True)

    # -- telling the browser --

    def _subjects(self) -> dict[str, Profile]:
        """All that can be looked at; what is looked at and not measured yet, with what is known of it so far."""
        found = self.bench.subjects
        running = found.pop(LIVE, None)
        if running is not None and (self.bench.shown not in found or self.bench.shown == self._measured_now()):
            found = {self.bench.shown: running, **found} if self.bench.shown not in found else {**found, self.bench.shown: running}
        return found

    def _points(self) -> dict[str, Profile]:
        """What the Pareto chart shows: of each candidate the measurement under its key, and the estimate that came before it."""
        both = [(one.key, one.estimated) for one in self.bench.candidates if one.measured is not None]
        return self._subjects() | {f"{key}{ESTIMATE}": estimated for key, estimated in both if estimated is not None}

    def _measured_now(self) -> str:
        return next((task.key for task in self.bench.tasks if task.status == "running" and task.kind == "measure"), "")

    def _show_lane(self, html: str) -> None:
        self.lane = html

    def _tell_all(self) -> None:
        self._tell(frozenset({"selection", "shown", "recipe", "candidates", "tasks", "profiles", "knowledge"}))

    def _changed(self, kinds: frozenset[str]) -> None:
        """The bench changed something, in whatever thread."""
        if "tasks" in kinds:
            finished = [task for task in self.bench.tasks if task.status in ("done", "failed", "cancelled") and task.id not in self._failed]
            for task in finished:
                self._failed[task.id] = task
            ended = bool(finished)
        else:
            ended = False
        self._tell(kinds)
        if ended:
            self._picture_soon()

    def _tell(self, kinds: frozenset[str]) -> None:
        bench = self.bench
        with self._guard, self.hold_sync():
            subjects = self._subjects()
            shown = subjects.get(bench.shown)
            if kinds & {"profiles", "candidates", "shown", "tasks"}:
                self._tell_subjects(subjects)
                self.head = told.head(bench, shown, running=told.running(bench) if shown is bench.live or shown is None else "")
                self.empty = told.empty(bench, shown, self.against, len(subjects))
            if "tasks" in kinds:
                self.tasks = told.tasks(bench)
                self.notes = self._all_notes()
            if kinds & {"selection", "shown", "profiles", "candidates"}:
                chosen = bench.selection
                self.selected = {"layers": list(chosen.layers), "runs": list(chosen.runs), "candidates": list(chosen.candidates)}
                self.can_go = tuple(bench.can_go)
            self.decide = told.decide(bench, shown)

    def _tell_subjects(self, subjects: Mapping[str, Profile]) -> None:
        bench = self.bench
        changed = {key: id(profile) for key, profile in subjects.items()}
        if changed != self._seen:
            for key, new in changed.items():
                if self._seen.get(key) != new:
                    self._versions[key] = self._versions.get(key, 0) + 1
            self._versions["candidates"] = self._versions.get("candidates", 0) + 1
            self._seen = changed
            self._kept = subjects  # an id is only theirs while they live
        self.subjects = told.subjects(bench, subjects)
        self.shown = bench.shown
        if self.against not in subjects or self.against == bench.shown:
            self.against = ""
        self.versions = dict(self._versions)

    def _all_notes(self) -> list[dict[str, Any]]:
        failed = [told.task_note(task) for task in self._failed.values() if task.status == "failed"]
        notes = [*told.notes(self.bench), *failed, *self._own_notes]
        return [note for note in notes if note["id"] not in self._dismissed][-MOST_NOTES:]

    def _note(self, error: Exception) -> None:
        text = str(error) if isinstance(error, EdgeprofError) else f"{type(error).__name__}: {error}"
        with self._guard:
            self._own_notes = [*self._own_notes, {"id": f"own {len(self._own_notes)}", "kind": "warning", "title": "", "text": text}][-50:]
            self.notes = self._all_notes()

    # -- hearing the browser --

    @traitlets.observe("selected")
    def _selected_there(self, change: Any) -> None:
        chosen = self.bench.selection
        wish = Selection(**{name: tuple(change.new.get(name, ())) for name in ("layers", "runs", "candidates")})
        if wish != chosen:
            self._try(lambda: setattr(self.bench, "selection", wish))

    @traitlets.observe("shown")
    def _shown_there(self, change: Any) -> None:
        if change.new and change.new != self.bench.shown:
            self._try(lambda: setattr(self.bench, "shown", change.new))

    @traitlets.observe("against")
    def _against_changed(self, _: Any) -> None:
        self.empty = told.empty(self.bench, self.profile, self.against, len(self._subjects()))

    def _try(self, act: Callable[[], Any]) -> Any:
        """Does what was asked for; what is wrong with it stands in the notes."""
        try:
            return act()
        except (EdgeprofError, traitlets.TraitError) as error:
            self._note(error)
            return None

    def _heard(self, _: Any, message: Mapping[str, Any], buffers: Any) -> None:
        """A view asks for its data or its module, or a person wants something done."""
        number = message.get("id")
        try:
            answer, numbers = self._answer(message)
        except Exception as error:  # whatever it is, who waits must hear of it
            self.send({"id": number, "error": str(error) if isinstance(error, EdgeprofError) else f"{type(error).__name__}: {error}"})
            return
        self.send({"id": number, "answer": answer}, numbers)

    def _answer(self, message: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        name, values = str(message.get("name")), message.get("values") or {}
        if message.get("ask") == "module" and name in MODULES:
            return {}, [_source(name)]
        if message.get("ask") == "view" and name in VIEWS:
            parts = self._views.make(name, self._subjects(), self.bench.shown, self.against, values, self._points(), told.names(self.bench))
            metas = [{"part": part, "meta": view.meta} for part, view in parts.items()]
            return {}, [_packed(metas), *(zlib.compress(view.numbers, _LEVEL) for view in parts.values())]
        if message.get("ask") == "act" and name in _ACTS:
            return self._try(lambda: _ACTS[name](self, values)) or {}, []
        raise UsageError(f"The Workbench does not know {message.get('ask')!r} of {name!r}.")

    def _save(self, values: Mapping[str, Any]) -> dict[str, Any]:
        path = Path(str(values["path"])).expanduser()
        if values["what"] == "page":
            self.save_page(path)
        elif values["what"] == "recipe":
            self.bench.save_recipe(path)
        else:
            self.bench.save(path)
        return {"text": f"Saved as {path}."}

    def _load(self, values: Mapping[str, Any]) -> dict[str, Any]:
        self.bench.load_recipe(Path(str(values["path"])).expanduser())
        return {"text": "The recipe is loaded; undo brings the one before back."}

    def _dismiss(self, values: Mapping[str, Any]) -> None:
        self._dismissed.add(str(values["id"]))
        with self._guard:
            self.notes = self._all_notes()

    def _cancel(self, values: Mapping[str, Any]) -> None:
        for task in self.bench.tasks:
            if task.id == values["id"]:
                task.cancel()


def _set(name: str) -> Callable[[Workbench, Mapping[str, Any]], None]:
    def act(view: Workbench, values: Mapping[str, Any]) -> None:
        setattr(view, name, values["key"])

    return act


_ACTS: Mapping[str, Callable[[Workbench, Mapping[str, Any]], Any]] = {
    "back": lambda view, _: view.bench.back(),
    "forward": lambda view, _: view.bench.forward(),
    "show": lambda view, values: setattr(view.bench, "shown", values["key"]),
    "against": _set("against"),
    "decide": lambda view, values: view.bench.decide(**{name: values[name] for name in ("precision", "prune") if name in values}),
    "remove": lambda view, values: view.bench.remove(values["index"]),
    "undo": lambda view, _: view.bench.undo(),
    "redo": lambda view, _: view.bench.redo(),
    "select_nodes": lambda view, values: setattr(view.bench, "selection", values["nodes"]),
    "learn": lambda view, _: view.bench.learn() and None,
    "estimate": lambda view, _: view.bench.estimate() and None,
    "build": lambda view, _: view.bench.build() and None,
    "measure": lambda view, _: view.bench.measure() and None,
    "measure_base": lambda view, _: view.bench.measure("base") and None,
    "score": lambda view, _: view.bench.score() and None,
    "cancel": Workbench._cancel,
    "dismiss": Workbench._dismiss,
    "code": lambda view, _: {"text": view.bench.code()},
    "save_choices": lambda view, _: {"choices": told.choices_to_save(view.bench)},
    "save": Workbench._save,
    "load": Workbench._load,
}
"""What can be wanted from the browser."""
