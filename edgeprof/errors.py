"""Every exception that edgeprof raises on purpose.

    EdgeprofError               one or two sentences: expected, came, do this
    ├── UsageError              an argument or option that makes no sense
    ├── MissingExtra            an optional package is needed and not installed
    ├── ModelError              the model file cannot be read, or says something impossible
    │   ├── ModelNotFound
    │   └── UnsafeModel         it points outside its folder, or claims absurd sizes
    ├── InputError              input tensors do not fit the model
    ├── TraceError              a recorded trace cannot be read
    ├── BundleError             a .edgeprof file cannot be read or written
    │   ├── BundleDamaged       names the damaged member; the rest can be loaded
    │   └── BundleTooNew
    ├── OutputError             a result cannot be written (disk full, read-only folder)
    ├── StudyError              a folder is no study, or its files cannot be read
    ├── DataError               calibration or test data cannot be read, or does not fit the model
    ├── RecipeError             a recipe makes no sense, or not for this model; names the line
    ├── WorkerError             a process that worked on a model crashed, was killed, ran out of memory, or a library failed in it
    ├── Stopped                 what was under way was asked to end, and did; what there was by then is kept
    └── BoardError              something went wrong where the model runs
        ├── BoardUnreachable    no way to it: host down, key refused, host key unknown or changed, no Python there
        ├── BoardBusy           somebody else measures on it
        ├── BoardLost           the agent or the link died; ``trace`` holds what had arrived
        ├── RuntimeRefused      the runtime does not take this model or these options
        ├── RunFailed           the model was loaded but a run failed
        └── MeterError          a power meter beside the board is not there, does not answer, or is no meter

They are raised where the cause is known and caught at the top only: ``commands/__init__.py``
and the notebook panel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeprof.records.profile import Profile
    from edgeprof.records.trace import Trace


class EdgeprofError(Exception):
    """Base of all errors that are meant to be read by a person. It travels between processes with all that it carries."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (type(self), self.args, self.__dict__)


class UsageError(EdgeprofError):
    """An argument or option makes no sense."""


class MissingExtra(EdgeprofError):
    """An optional package is needed for this and is not installed."""


class ModelError(EdgeprofError):
    """The model file cannot be read, or says something impossible."""


class ModelNotFound(ModelError):
    """There is no model at this path."""


class UnsafeModel(ModelError):
    """The model points outside its folder or claims absurd sizes."""


class InputError(EdgeprofError):
    """Input tensors do not fit the model."""


class TraceError(EdgeprofError):
    """A recorded trace cannot be read."""


class BundleError(EdgeprofError):
    """A ``.edgeprof`` file cannot be read or written."""


class BundleDamaged(BundleError):
    """A member of a bundle is damaged; ``members`` names each."""

    def __init__(self, message: str, members: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.members = members


class BundleTooNew(BundleError):
    """The bundle was written by a newer edgeprof."""


class OutputError(EdgeprofError):
    """A result cannot be written."""


class StudyError(EdgeprofError):
    """A folder is no study, or its files cannot be read."""


class DataError(EdgeprofError):
    """Calibration or test data cannot be read, or does not fit the model."""


class RecipeError(EdgeprofError):
    """A recipe makes no sense, or not for this model."""


class WorkerError(EdgeprofError):
    """A process that worked on a model crashed, was killed, ran out of memory, or a library failed in it."""


class Stopped(EdgeprofError):
    """What was under way was asked to end, and did; what there was by then is kept."""


class BoardError(EdgeprofError):
    """Something went wrong where the model runs; ``trace`` is what had arrived by then, ``profile`` what could be made of it."""

    def __init__(self, message: str, trace: Trace | None = None) -> None:
        super().__init__(message)
        self.trace = trace
        self.profile: Profile | None = None


class BoardUnreachable(BoardError):
    """There is no way to the board: host down, key refused, host key unknown or changed, no Python there."""


class BoardBusy(BoardError):
    """Somebody else measures on the board and was not done in time."""


class BoardLost(BoardError):
    """The agent or the link to it died in the middle of a job."""


class RuntimeRefused(BoardError):
    """The runtime does not take this model or these options."""


class RunFailed(BoardError):
    """The model was loaded but a run of it failed."""


class MeterError(BoardError):
    """A power meter beside the board is not there, does not answer, or is no meter."""


def _remade(kind: type[EdgeprofError], args: tuple[object, ...], carried: dict[str, object]) -> EdgeprofError:
    """An error without its constructor, which may ask for more than the sentence."""
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(carried)
    return error


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the known name that is closest to ``name``, or nothing: a part of a sentence."""
    import difflib  # only when something went wrong

    close = difflib.get_close_matches(name, list(known), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""
