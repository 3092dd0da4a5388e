"""sweep(models, boards=[...]) -> Sweep: one table, and one bundle a cell in a study folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeprof.boards.base import Board
from edgeprof.studies import Study
from edgeprof.studies.table import table_of
from edgeprof.sweeping.conduct import Lane, OnEvent, conduct
from edgeprof.sweeping.plan import Model, Plan, make_plan
from edgeprof.sweeping.runner import HostRunner, Runner

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Sweep:
    """What came of a sweep. ``table`` has one row a cell that was asked for; the profiles are in ``study``.

    ``interrupted``: it was stopped before all cells were measured.
    """

    study: Study
    table: pd.DataFrame
    interrupted: bool = False

    @property
    def failures(self) -> pd.DataFrame:
        """The rows of cells that have no whole profile."""
        return self.table[~(self.table["status"].isin(["done", "skipped"]) & (self.table["error"] == ""))]

    def __repr__(self) -> str:
        return f"{self.table!r}\n{self.study!r}"

    def _repr_html_(self) -> str:
        return str(self.table._repr_html_())  # type: ignore[operator]  # pandas escapes what the cells hold


def sweep(
    models: Model | Sequence[Model],
    *,
    boards: str | Board | Sequence[str | Board] = ("local",),
    settings: Sequence[Mapping[str, Any]] | None = None,
    out: str | os.PathLike[str] = "study",
    runs: int = 100,
    resume: bool = True,
    progress: bool | OnEvent | None = None,
    dask: str | None = None,
    dask_security: Mapping[str, str] | None = None,
    **options: Any,
) -> Sweep:
    """Profiles each of ``models`` on each of ``boards`` with each of ``settings``.

    A board runs one job at a time, boards run side by side. What fails does not stop the others, and nothing is tried again by itself; a
    new call measures what is not done yet. Ctrl-C ends all jobs and keeps what they have, marked as incomplete; a second one ends them
    at once.

    Args:
        models: paths of ONNX models, or Graphs.
        boards: as `edgeprof.profile` takes them, each name once.
        settings: options of `edgeprof.profile` that differ, such as ``[{"threads": 1}, {"threads": 2, "optimization": "basic"}]``.
        out: the study folder; made if it is not there (docs/fleets.md).
        runs: plain runs of each cell, and as many instrumented ones.
        resume: leave out what is done already in the study with the same model, board, settings and versions. False measures all again.
        progress: None shows a progress bar a board, False nothing; a callable gets the board's name and each event.
        dask: address of a Dask scheduler (``tcp://host:port``, ``tls://host:port``): its workers measure, each on the boards that it
            declares as resources (docs/fleets.md). None measures from here.
        dask_security: ``ca``, ``cert`` and ``key``: files for TLS.
        options: options of `edgeprof.profile` for all cells.

    Raises:
        EdgeprofError: a model, a board or an option makes no sense, the folder cannot be written or the cluster does not answer; nothing
            was measured then.
    """
    plan = make_plan(models, boards, settings, {"runs": runs, **options}, remote=dask is not None)
    with ExitStack() as stack:
        lanes = _lanes(plan, dask, dask_security, stack)
        study = Study.create(out)
        study.add_request(plan.request)
        for graph in plan.graphs:
            study.keep_model(graph)
        if progress is None or progress is True:
            from edgeprof.sweeping.bars import Bars

            progress = stack.enter_context(Bars({board: len(lane.tasks) for board, lane in lanes.items()}))
        rows, interrupted = conduct(lanes, study, progress or (lambda board, event: None), again=not resume)
    cells = [task.cell for tasks in plan.tasks.values() for task in tasks]
    return Sweep(study, table_of([rows[cell.key] for cell in cells]), interrupted)


def _lanes(plan: Plan, dask: str | None, security: Mapping[str, str] | None, stack: ExitStack) -> dict[str, Lane]:
    runners: dict[str, Runner]
    if dask is None:
        making = threading.Lock()
        runners = {name: HostRunner(board, making) for name, board in plan.boards.items() if not isinstance(board, str)}
    else:
        from edgeprof.sweeping.cluster import Cluster

        cluster = stack.enter_context(Cluster(dask, security))
        runners = {name: cluster.runner(name) for name in plan.boards}
    return {name: Lane(runner, plan.tasks[name]) for name, runner in runners.items()}
