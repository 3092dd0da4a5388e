"""profile(model, board=...) -> Profile: short, it only conducts."""

from __future__ import annotations

import math
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from edgeprof.boards import get_board
from edgeprof.boards.base import Board, Cancelled, Done, Event, Failed, Job, Progress, Started
from edgeprof.boards.local import LocalBoard
from edgeprof.building import Builder
from edgeprof.errors import EdgeprofError, UsageError, did_you_mean
from edgeprof.models import Graph, load_model
from edgeprof.models.inputs import check_inputs, make_inputs, read_inputs, shapes_of
from edgeprof.models.probes import make_probes
from edgeprof.records.profile import Origin, Profile
from edgeprof.records.trace import EnergyMode, EnergyPlan, RunPlan, Trace

_SETTLES_WITHIN_S = 5.0
Inputs = Mapping[str, Any] | str | Path
OnEvent = Callable[[Event], None]
Listener = bool | OnEvent | Literal["live"] | None
Optimization = Literal["all", "extended", "basic", "disabled"]


def profile(
    model: str | os.PathLike[str] | Graph,
    *,
    board: str | Board = "local",
    runtime: str = "auto",
    providers: Sequence[str] | None = None,
    provider_options: Mapping[str, Mapping[str, str]] | None = None,
    threads: int = 1,
    runs: int = 100,
    warmup: int | Literal["auto"] = "auto",
    optimization: Optimization = "all",
    cpus: Sequence[int] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    inputs: Inputs | None = None,
    seed: int = 0,
    energy: EnergyMode = "off",
    energy_plan: EnergyPlan | None = None,
    memory: bool = True,
    sensors: Sequence[str] | None = None,
    meters: Sequence[str] = (),
    time_limit_s: float | None = None,
    wait_s: float = 10.0,
    progress: Listener = None,
) -> Profile:
    """Measures where ``model`` spends time, memory and energy on ``board``.

    Makes ``runs`` plain runs and as many with the runtime's profiler on, in turn, and corrects the layers' times for what the
    profiler adds (docs/method.md); then a few runs for memory (docs/memory.md), and loops for energy where that is asked for
    (docs/energy.md). Interrupted (Ctrl-C), it returns what was measured until then, marked as incomplete.

    Args:
        model: path of an ONNX model, or the Graph that `load_model` gave.
        board: ``"local"``, ``"simulated"`` (docs/simulation.md), ``"replay:FILE.edgeprof"``, or a Board.
        runtime: ``"auto"`` or ``"onnxruntime"``.
        providers: execution providers in order of preference; None is the CPU.
        provider_options: options of a provider, by its name.
        threads: threads within a layer.
        runs: plain runs, and as many instrumented ones.
        warmup: runs before, or ``"auto"``: until run times are flat.
        optimization: how far the runtime may rewrite the graph.
        cpus: CPUs to pin the runtime to; None leaves it to the system.
        shapes: sizes of inputs that the model leaves open, ``{"image": [1, 3, 224, 224]}``.
        inputs: arrays by input name, or the path of a ``.npz`` or ``.npy``; None makes random ones.
        seed: for random inputs.
        energy: ``"off"``, ``"model"`` (the whole model in a loop) or ``"layers"`` (each layer in a loop of its own too, which takes
            minutes; how many is said before it begins). Without a power sensor all else is measured, and the profile says why not.
        energy_plan: how long, how often, on which channels; None is the default plan.
        memory: whether to make the runs for memory by layer.
        sensors: families of the board's sensors to read, such as ``["rapl", "thermal"]``; None reads all there are.
        meters: power meters that are read from here, such as ``["joulescope"]`` (docs/meters.md).
        time_limit_s: ends the measurement early and keeps what it has.
        wait_s: how long to wait for a board that somebody else measures on (BoardBusy after that).
        progress: None shows a progress bar, False nothing, ``"live"`` the growing heatmap in a notebook's cell (docs/live.md); a callable
            gets each event, first `Started` with the job, last its end with the Profile.

    Raises:
        EdgeprofError: the model, the inputs or the options make no sense (ModelError, InputError, UsageError), or the board failed
            (BoardError, whose ``profile`` holds what was measured until then).
    """
    place, graph, plan = _prepare(
        model, board, runtime=runtime, providers=providers, provider_options=provider_options, threads=threads, runs=runs, warmup=warmup,
        optimization=optimization, cpus=cpus, shapes=shapes, inputs=inputs, seed=seed, energy=energy, energy_plan=energy_plan,
        memory=memory, sensors=sensors, meters=meters, time_limit_s=time_limit_s, wait_s=wait_s,
    )  # fmt: skip
    return _finish(lambda: place.start(Path(graph.path), plan), graph, plan.input_source, place, progress)


def start(model: str | os.PathLike[str] | Graph, *, board: str | Board, **options: Any) -> str:
    """Starts a measurement on a board over SSH, leaves it there, and returns its name for `attach`: ``"pi5/20261124T101500-1a2b3c4d"``.

    ``options`` are those of `profile`.

    Raises:
        EdgeprofError: as `profile`; UsageError when the board is none over SSH, where alone jobs run by themselves.
    """
    defaults = {name: value for name, value in (profile.__kwdefaults__ or {}).items() if name not in ("board", "progress")}
    for name in options:
        if name not in defaults:
            raise UsageError(f"There is no option '{name}'{did_you_mean(name, defaults)}. Those of `profile` can be given.")
    place, graph, plan = _prepare(model, board, **{**defaults, **options})
    begin = getattr(place, "start_detached", None)
    if begin is None:
        raise UsageError(f"A job on {place.name} ends with whoever started it. Name a board over SSH, or stay attached.")
    return f"{place.name}/{begin(Path(graph.path), plan)}"


def attach(job: str, model: str | os.PathLike[str] | None = None, *, board: Board | None = None, progress: Listener = None) -> Profile:
    """The Profile of a measurement that was started before, by `start` or by a `profile` whose link was lost.

    Follows it from its beginning to its end, and then removes it from the board. Interrupted (Ctrl-C), it is cancelled there.

    Args:
        job: ``"BOARD/JOB"``, as `start`, the error of a lost link, and ``edgeprof boards jobs`` say it.
        model: the model's path; None fetches it from the board.
        board: the board itself, when it has no name in a boards file.
        progress: as of `profile`.

    Raises:
        EdgeprofError: there is no such job, the model is another, or the job failed (BoardError).
    """
    from edgeprof.boards.ssh import SshBoard, ssh_board

    name, slash, number = job.rpartition("/")
    if not slash:
        raise UsageError(f"'{job}' names no job; expected BOARD/JOB, as `edgeprof boards jobs` lists them.")
    place = board if isinstance(board, SshBoard) else ssh_board(name)
    attached = place.attached(number)
    with tempfile.TemporaryDirectory(prefix="edgeprof-", ignore_cleanup_errors=True) as folder:
        path = place.model_of(attached, Path(folder)) if model is None else attached.checked_model(Path(model))
        graph = load_model(path, shapes_of(attached.plan.inputs))
        return _finish(lambda: place.follow(attached), graph, attached.plan.input_source, place, progress)


def _prepare(
    model: str | os.PathLike[str] | Graph,
    board: str | Board,
    *,
    runtime: str,
    providers: Sequence[str] | None,
    provider_options: Mapping[str, Mapping[str, str]] | None,
    threads: int,
    runs: int,
    warmup: int | Literal["auto"],
    optimization: Optimization,
    cpus: Sequence[int] | None,
    shapes: Mapping[str, Sequence[int]] | None,
    inputs: Inputs | None,
    seed: int,
    energy: EnergyMode,
    energy_plan: EnergyPlan | None,
    memory: bool,
    sensors: Sequence[str] | None,
    meters: Sequence[str],
    time_limit_s: float | None,
    wait_s: float,
) -> tuple[Board, Graph, RunPlan]:
    """Where, what and how, all checked."""
    check_options(runs, warmup, threads, runtime, energy, time_limit_s, wait_s)
    place = get_board(board)
    graph, arrays = _model_and_inputs(model, shapes, inputs, seed)
    plan = RunPlan(
        runs=runs,
        warmup=warmup,
        threads=threads,
        providers=tuple(providers or ()),
        provider_options=provider_options or {},
        optimization=optimization,
        cpus=tuple(cpus) if cpus is not None else None,
        inputs=arrays,
        input_source="random" if inputs is None else "given",
        external_files=graph.external_files,
        wait_s=wait_s,
        probes=make_probes(),
        time_limit_s=time_limit_s,
        memory=memory,
        energy=energy,
        energy_plan=_checked_plan(energy_plan or EnergyPlan()),
        sensors=tuple(sensors) if sensors is not None else None,
        meters=tuple(meters),
    )
    return place, graph, plan


def _finish(begin: Callable[[], Job], graph: Graph, source: str, place: Board, progress: Listener) -> Profile:
    origin = place.origin
    listen = _listener(
        progress, graph, source, origin, here=isinstance(place, LocalBoard)
    )  # first: what it takes to draw is loaded before anything is measured
    return _follow(begin(), listen, Builder(graph, source, origin))


def check_options(runs: int, warmup: int | str, threads: int, runtime: str, energy: str, time_limit_s: float | None, wait_s: float) -> None:
    """Raises UsageError when an option of `profile` makes no sense, whatever the model and the board."""
    if runs < 1:
        raise UsageError(f"runs is {runs}; at least 1 is needed, 50 or more for an interval that means something.")
    if warmup != "auto" and (not isinstance(warmup, int) or warmup < 0):
        raise UsageError(f"warmup is {warmup!r}; give a number of runs or 'auto'.")
    if threads < 0:
        raise UsageError(f"threads is {threads}; give 1 or more, or 0 for the runtime's own choice.")
    if runtime not in ("auto", "onnxruntime"):
        raise UsageError(f"There is no runtime '{runtime}'. Use 'auto' or 'onnxruntime'.")
    if energy not in ("off", "model", "layers"):
        raise UsageError(f"energy is {energy!r}; give 'off', 'model' or 'layers'.")
    if time_limit_s is not None and not 0 < time_limit_s < math.inf:
        raise UsageError(f"time_limit_s is {time_limit_s}; give a number of seconds above 0, or None.")
    if not 0 <= wait_s < math.inf:
        raise UsageError(f"wait_s is {wait_s}; give a number of seconds, 0 or more.")


def _checked_plan(plan: EnergyPlan) -> EnergyPlan:
    """``plan`` itself; UsageError when its numbers make no sense."""
    for name, least in _LEAST.items():
        value = getattr(plan, name)
        if value is not None and not least <= value < math.inf:
            raise UsageError(f"{name} of the energy plan is {value}; give {least} or more.")
    if plan.on_throttle not in ("mark", "stop"):
        raise UsageError(f"on_throttle of the energy plan is {plan.on_throttle!r}; give 'mark' or 'stop'.")
    return plan


_LEAST: Mapping[str, float] = {
    "passes": 1, "samples": 10, "loop_s": 0.1, "model_s": 0.5, "idle_s": 0.2, "budget_s": 5, "warm_limit_s": 0, "cool_down_s": 0,
    "average_s": 0, "small_us": 0, "seed": 0,
}  # fmt: skip


def _model_and_inputs(
    model: str | os.PathLike[str] | Graph, shapes: Mapping[str, Sequence[int]] | None, inputs: Inputs | None, seed: int
) -> tuple[Graph, dict[str, Any]]:
    graph = load_model(model, shapes)
    if inputs is None:
        return graph, make_inputs(graph, seed=seed)
    given = inputs if isinstance(inputs, Mapping) else read_inputs(inputs, graph)
    names = {tensor.name for tensor in graph.inputs}
    sizes = {name: size for name, size in shapes_of(given).items() if name in names}
    graph = load_model(graph.path, {**sizes, **(shapes or {})})
    return graph, check_inputs(graph, given)


def _follow(job: Job, listen: OnEvent, builder: Builder) -> Profile:
    """Passes events on until the job ends; Ctrl-C ends it early and keeps what was measured. The last event holds the Profile."""
    with _interrupt_cancels(job):
        try:
            _tell(listen, Started(job), job)
            for event in job.events():
                last = _built(event, builder, listen) if isinstance(event, Done | Cancelled | Failed) else event
                _tell(listen, last, job)
        except BaseException:  # of the listener, or of a second Ctrl-C: nobody waits for this job any more
            job.kill()
            job.settle(_SETTLES_WITHIN_S)
            raise
    if isinstance(last, Failed):
        raise last.error
    if isinstance(last, Done | Cancelled) and isinstance(last.trace, Profile):
        return last.trace
    raise KeyboardInterrupt  # cancelled before anything was measured


def _built(end: Done | Cancelled | Failed, builder: Builder, listen: OnEvent) -> Done | Cancelled | Failed:
    """The end of a job with the Profile in place of its Trace: built once, for who called and for who listens."""
    if isinstance(end, Failed):
        end.error.profile = builder.build_partial(end.error.trace)
        return end
    if not isinstance(end.trace, Trace):
        return end
    if isinstance(end, Cancelled) and not any(len(block.spans.run_start_ns) for block in end.trace.blocks):
        return Cancelled(None)
    try:
        return type(end)(builder.build(end.trace))
    except EdgeprofError:
        listen(end)  # whoever shows it hears that it is over
        raise


def _tell(listen: OnEvent, event: Event, job: Job) -> None:
    try:
        listen(event)
    except KeyboardInterrupt:  # a listener's own way of stopping
        if job.cancelled:
            raise
        job.cancel()


@contextmanager
def _interrupt_cancels(job: Job) -> Iterator[None]:
    """The first Ctrl-C asks the job to end and to keep what it has; the second is a KeyboardInterrupt.

    A handler, because an exception may strike between two instructions, when an event was taken and nobody has it yet.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
        yield
        return

    def handle(number: int, frame: object) -> None:
        if job.cancelled:
            raise KeyboardInterrupt
        job.cancel()

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _listener(progress: Listener, graph: Graph, source: str, origin: Origin, *, here: bool) -> OnEvent:
    if callable(progress):
        return progress
    if progress is False:
        return lambda event: None
    if progress == "live":
        from edgeprof.watching import Watcher, can_watch

        return Watcher(graph, source, origin, bar_of(graph.name), here=here) if can_watch() else bar_of(graph.name)
    if progress not in (None, True):
        raise UsageError(f"progress is {progress!r}; give None, False, 'live' or a function that takes events.")
    return bar_of(graph.name)


def bar_of(name: str) -> OnEvent:
    """Shows how far the job is, by tqdm."""
    from tqdm.auto import tqdm

    bar = tqdm(total=None, desc=f"{name}: load", unit="run", leave=False)

    def show(event: Event) -> None:
        if isinstance(event, Progress):
            bar.set_description(f"{name}: {event.phase}", refresh=False)
            bar.unit, bar.unit_scale = ("B", True) if event.phase == "send" else ("run", False)
            bar.total, bar.n = event.total or None, event.done
            bar.refresh()
        elif isinstance(event, Done | Cancelled | Failed):
            bar.close()

    return show


def _partial(trace: Trace | None, graph: Graph, source: str, origin: Origin) -> Profile | None:
    """What can be made of a Trace that was cut short, or None."""
    return Builder(graph, source, origin).build_partial(trace)
