"""Measures on a Dask cluster that is there already: workers on host machines, each with the boards that it may use as resources.

``dask worker tcp://... --resources "board:pi5=1"`` is a worker that measures on the board ``pi5``, one job at a time. Rules:

1. Dask runs a task again when its worker dies. A measurement is never run twice unasked: the task notes on the scheduler that it was
   begun, and refuses where that is noted already.
2. A sweep has at most one task a board on the cluster, so boards are shared fairly and models do not pile up on the scheduler.
3. A model is looked for where its path says, then among those that the worker was sent before; only then it is sent.
4. A board that no worker has, or has any more, is an error, not a wait.
"""

from __future__ import annotations

import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprof._version import __version__
from edgeprof.boards import get_board
from edgeprof.boards.base import Event, Planned, Progress
from edgeprof.errors import BoardError, BundleError, EdgeprofError, MissingExtra, ModelError, UsageError
from edgeprof.models import Graph, load_model
from edgeprof.records import bundle
from edgeprof.studies import Cell
from edgeprof.sweeping.plan import Task, stamp_of
from edgeprof.sweeping.runner import Hear, HostRunner, Outcome

if TYPE_CHECKING:
    from distributed import Client

SEND_LIMIT_BYTES = 256 << 20
"""Larger models are not sent; they must be on the worker's machine under the same path."""

CONNECT_WITHIN_S = 10.0
LOOK_EVERY_S = 1.0
BOARD_BACK_WITHIN_S = 20.0
"""How long a board may be without a worker before a task that waits for it gives up; a nanny starts a new worker within seconds."""

_SAY_EVERY_S = 0.5


# On this machine


class Cluster:
    """A connection to the scheduler at ``address``; a context. ``security``: files ``ca``, ``cert`` and ``key`` for TLS."""

    def __init__(self, address: str, security: Mapping[str, str] | None = None) -> None:
        self.topic = f"edgeprof-{secrets.token_hex(8)}"
        self.address = address
        self._listeners: dict[str, Callable[[Mapping[str, Any]], None]] = {}
        self.client = _client(address, security)
        self.client.subscribe_topic(self.topic, self._hear)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Exception):  # a scheduler that is gone
            self.client.unsubscribe_topic(self.topic)
        with suppress(Exception):
            self.client.close(timeout=5)

    def runner(self, board: str) -> ClusterRunner:
        """A runner for ``board``; UsageError when not exactly one worker has it."""
        workers = self.workers(board)
        if not workers:
            raise UsageError(
                f"No worker of the Dask cluster at {self.address} has the board '{board}'. Start one with the resource: "
                f'dask worker {self.address} --resources "board:{board}=1".'
            )
        if len(workers) > 1 or next(iter(workers.values())) != 1:
            raise UsageError(
                f"The board '{board}' is declared {sum(workers.values()):g} times by {len(workers)} worker(s) of the cluster; a board "
                "runs one job at a time. Let one worker declare it, as 1."
            )
        return ClusterRunner(self, board)

    def workers(self, board: str) -> dict[str, float]:
        """Addresses of the workers that have ``board``, and how often. OSError or TimeoutError when the scheduler does not answer."""
        found = self.client.scheduler_info(n_workers=-1)["workers"]
        name = resource(board)
        return {address: worker["resources"][name] for address, worker in found.items() if worker.get("resources", {}).get(name)}

    def listen(self, token: str, hear: Callable[[Mapping[str, Any]], None]) -> None:
        """Calls ``hear`` with what the task of this ``token`` says."""
        self._listeners[token] = hear

    def forget(self, token: str) -> None:
        """Listens to this task no more."""
        self._listeners.pop(token, None)

    def _hear(self, event: tuple[float, Any]) -> None:
        told = event[1]
        hear = self._listeners.get(str(told.get("token"))) if isinstance(told, dict) else None
        if hear is not None:
            hear(told)


class ClusterRunner:
    """Runs on one board of the cluster. See `edgeprof.sweeping.runner.Runner`."""

    def __init__(self, cluster: Cluster, board: str) -> None:
        self._cluster, self._board = cluster, board
        self._token = ""
        self._future: Any = None
        self._worker = ""  # that has begun with the task
        self._wish = 0

    def run(self, task: Task, hear: Hear, free: Callable[[], object]) -> Outcome:
        """See `edgeprof.sweeping.runner.Runner.run`."""
        try:
            task.check()
            answer = self._ask(task, hear, None)
            if answer.get("status") == "no model":
                answer = self._ask(task, hear, _to_send(task.graph, answer["why"]))
            return _outcome(answer)
        except EdgeprofError as error:
            return Outcome("failed", None, str(error))

    def cancel(self) -> None:
        """See `edgeprof.sweeping.runner.Runner.cancel`."""
        self._stop(1)

    def kill(self) -> None:
        """See `edgeprof.sweeping.runner.Runner.kill`."""
        self._stop(2)

    def _ask(self, task: Task, hear: Hear, model: bytes | None) -> dict[str, Any]:
        """Submits a task and waits for its answer."""
        from distributed import Event as Flag

        client = self._cluster.client
        token = secrets.token_hex(8)
        self._token, self._worker = token, ""
        request = {
            "token": token, "topic": self._cluster.topic, "edgeprof": __version__, "board": self._board, "cell": asdict(task.cell),
            "path": str(Path(task.graph.path).absolute()), "shapes": task.options.get("shapes"), "options": dict(task.options),
        }  # fmt: skip
        self._cluster.listen(token, lambda told: self._take(told, hear))
        try:
            workers = list(self._cluster.workers(self._board))
            # large data goes beside the task's own description, and to the one worker that needs it
            data = client.scatter([model], workers=workers or None, hash=False)[0] if model is not None else None
            wanted = {resource(self._board): 1}
            self._future = client.submit(measure, request, data, key=f"edgeprof-{token}", resources=wanted, retries=0, pure=False)
            if self._wish:
                self._stop(self._wish)
            answer: dict[str, Any] = self._waited(self._future)
            Flag(_begun(token), client=client).clear()  # the scheduler need not remember it any more
            return answer
        except EdgeprofError:
            raise
        except Exception as error:
            if self._wish and "Cancelled" in type(error).__name__:
                return {"status": "cancelled", "error": _NOT_BEGUN}
            raise self._failure(error) from error
        finally:
            self._cluster.forget(token)
            self._future = None

    def _waited(self, future: Any) -> dict[str, Any]:
        """The task's answer; BoardError as soon as it cannot come any more."""
        missing_since: float | None = None
        while True:
            with suppress(TimeoutError):
                found: dict[str, Any] = future.result(timeout=LOOK_EVERY_S)
                return found
            if future.done():
                continue
            here = self._cluster.workers(self._board)
            if self._worker and self._worker not in here:
                future.cancel()
                raise BoardError(_LOST.format(board=self._board, worker=self._worker))
            missing_since = None if here else missing_since or time.monotonic()
            if missing_since is not None and time.monotonic() - missing_since > BOARD_BACK_WITHIN_S:
                future.cancel()
                raise BoardError(f"The worker of the board '{self._board}' left the Dask cluster. Start it again, then sweep again.")

    def _failure(self, error: Exception) -> EdgeprofError:
        """What an exception of Dask means."""
        name, client = type(error).__name__, self._cluster.client
        if client.status != "running" or "scheduler" in str(error):
            return BoardError(f"The Dask scheduler at {self._cluster.address} was lost ({name}). Start it again, then sweep again.")
        if name == "KilledWorker":
            return BoardError(_LOST.format(board=self._board, worker=self._worker or "of the cluster"))
        if "Cancelled" in name:
            return BoardError("Somebody else cancelled it on the Dask cluster. Sweep again.")
        return BoardError(
            f"The worker of the board '{self._board}' cannot do it: {name}: {error}. Check that edgeprof {__version__} is installed there."
        )

    def _take(self, told: Mapping[str, Any], hear: Hear) -> None:
        if told.get("begun"):
            self._worker = str(told["begun"])
        with suppress(KeyError, TypeError, ValueError):
            hear(Progress(str(told["phase"]), int(told["done"]), int(told["total"])))
        with suppress(KeyError, TypeError, ValueError):
            hear(Planned(float(told["seconds"]), str(told["text"])))

    def _stop(self, wish: int) -> None:
        self._wish = max(self._wish, wish)
        future, token = self._future, self._token
        if future is None:
            return
        client = self._cluster.client
        with suppress(Exception):  # who is gone needs no stopping; the wait for its answer finds out
            workers = [self._worker] if self._worker else list(self._cluster.workers(self._board))
            answers = client.run(stop, token, kill=wish > 1, workers=workers, on_error="ignore")
            if not any(answers.values()):
                future.cancel()


_LOST = "The worker {worker}, which measured on '{board}', was lost in the middle of it. Nothing was run again; sweep again to do so."

_NOT_BEGUN = "It was stopped before it began."


def resource(board: str) -> str:
    """Name of the resource that stands for ``board``."""
    return f"board:{board}"


def _begun(token: str) -> str:
    return f"edgeprof-begun-{token}"


def _client(address: str, security: Mapping[str, str] | None) -> Client:
    try:
        from distributed import Client
        from distributed.security import Security
    except ImportError as error:
        raise MissingExtra('A sweep on a Dask cluster needs distributed, which is not installed: pip install "edgeprof[dask]".') from error
    if security is not None and set(security) != {"ca", "cert", "key"}:
        raise UsageError(f"The security of Dask has {', '.join(sorted(security)) or 'nothing'}; give the files ca, cert and key.")
    for name, path in (security or {}).items():
        if not Path(path).is_file():
            raise UsageError(f"The file '{path}' for the {name} of TLS is not there. Give the path of a PEM file.")
    try:
        chosen = None
        if security is not None:
            names = {"tls_ca_file": security["ca"], "tls_client_cert": security["cert"], "tls_client_key": security["key"]}
            chosen = Security(require_encryption=True, **names)
        return Client(address, security=chosen, timeout=CONNECT_WITHIN_S, set_as_default=False, name="edgeprof")
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # TimeoutError among them; TypeError: TLS without its files
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(f"No Dask scheduler answers at {address}: {said}. Check the address, and the files of TLS for tls://.") from error


def _to_send(graph: Graph, why: str) -> bytes:
    """The model's bytes; ModelError when it cannot be sent, ``why`` says why that is needed."""
    if graph.external_files:
        raise ModelError(f"{why}, and it cannot be sent: it keeps weights in other files. Copy them to that machine, under the same path.")
    if graph.file_bytes > SEND_LIMIT_BYTES:
        raise ModelError(f"{why}, and it is too large to be sent. Copy it to that machine, under the same path.")
    return Path(graph.path).read_bytes()


def _outcome(answer: Mapping[str, Any]) -> Outcome:
    data, profile = answer.get("bundle"), None
    if data is not None:
        with tempfile.TemporaryDirectory(prefix="edgeprof-") as folder:
            path = Path(folder, "cell.edgeprof")
            path.write_bytes(data)
            try:
                profile = bundle.load(path)
            except BundleError as error:
                raise BoardError(f"What the worker sent cannot be read: {error}") from error
    return Outcome(answer["status"], profile, str(answer.get("error", "")))


# On a worker

_running: dict[str, HostRunner] = {}
_stopped: dict[str, bool] = {}
"""Tasks that were stopped before they began, and whether at once."""

_order = threading.Lock()
_MOST_STOPPED = 1000


def measure(request: Mapping[str, Any], model: bytes | None) -> dict[str, Any]:
    """The task: ``status`` (done, failed, cancelled, or ``no model``: send it), ``bundle`` and ``error``."""
    from distributed import Event as Flag
    from distributed import get_client, get_worker

    token, worker = str(request["token"]), get_worker()
    if request["edgeprof"] != __version__:
        return {"status": "failed", "error": f"The worker has edgeprof {__version__}, not {request['edgeprof']}. Install the same on both."}
    begun = Flag(_begun(token), client=get_client())
    if begun.is_set():
        return {"status": "failed", "error": _LOST.format(board=request["board"], worker="of before")}
    try:
        graph = _model_here(request, model, Path(worker.local_directory))
        if isinstance(graph, str):
            return {"status": "no model", "why": graph}
        task = Task(_cell(request), graph, request["options"], stamp_of(graph))
        runner = HostRunner(get_board(request["board"]), threading.Lock())
        with _order:
            if token in _stopped:
                return {"status": "cancelled", "error": _NOT_BEGUN}
            _running[token] = runner
        begun.set()
        worker.log_event(request["topic"], {"token": token, "begun": worker.address})
        outcome = runner.run(task, _Teller(worker, request), lambda: None)
    except EdgeprofError as error:
        return {"status": "failed", "error": str(error)}
    finally:
        _running.pop(token, None)
    return {"status": outcome.status, "error": outcome.error, "bundle": _bundle_bytes(outcome)}


def stop(token: str, *, kill: bool = False) -> bool:
    """Stops a task of this worker; whether it was running. One that is not will not begin."""
    with _order:
        runner = _running.get(token)
        if runner is None:
            _stopped[token] = kill
            while len(_stopped) > _MOST_STOPPED:
                del _stopped[next(iter(_stopped))]
            return False
    (runner.kill if kill else runner.cancel)()
    return True


class _Teller:
    """Passes progress on to who asked for the task: each new phase, and a count twice a second."""

    def __init__(self, worker: Any, request: Mapping[str, Any]) -> None:
        self._worker, self._topic, self._token = worker, request["topic"], request["token"]
        self._phase, self._said_at = "", 0.0

    def __call__(self, event: Event) -> None:
        told: dict[str, Any] = {}
        if isinstance(event, Progress):
            if event.phase == self._phase and time.monotonic() - self._said_at < _SAY_EVERY_S:
                return
            self._phase, self._said_at = event.phase, time.monotonic()
            told = {"phase": event.phase, "done": event.done, "total": event.total}
        elif isinstance(event, Planned):
            told = {"seconds": event.seconds, "text": event.text}
        if told:
            self._worker.log_event(self._topic, {"token": self._token, **told})


def _model_here(request: Mapping[str, Any], model: bytes | None, folder: Path) -> Graph | str:
    """The model on this machine, or a sentence's beginning on why it is not here."""
    cell = _cell(request)
    kept = folder / "edgeprof-models" / cell.model_sha256 / Path(cell.model).name
    if model is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        bundle.write_atomically(kept, model)
    for path in (Path(request["path"]), kept):
        with suppress(EdgeprofError, OSError):
            graph = load_model(path, request["shapes"])
            if graph.digest == cell.model_sha256:
                return graph
    if model is not None:
        raise ModelError(f"{cell.model} arrived on the worker as another model than it was sent. Sweep again.")
    return f"{cell.model} is not on the worker's machine"


def _cell(request: Mapping[str, Any]) -> Cell:
    return Cell(**request["cell"])


def _bundle_bytes(outcome: Outcome) -> bytes | None:
    if outcome.profile is None:
        return None
    with tempfile.TemporaryDirectory(prefix="edgeprof-") as folder:
        path = Path(folder, "cell.edgeprof")
        bundle.save(outcome.profile, path)
        return path.read_bytes()
