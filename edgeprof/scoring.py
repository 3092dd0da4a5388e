"""What a model's answers are worth: a `Score` on real data, with its interval, and what a change cost, pair by pair.

1. ``top1``: part of the samples whose largest output is the label; Wilson's 95 % interval (Wilson 1927).
2. ``mae``: mean absolute error against labels of the output's shape; 95 % interval of the mean over samples.
3. ``sqnr_db``: where there are no labels, how far the outputs are from those of the model that it was made from, as signal to noise power,
   ``10 log10(sum y^2 / sum (y - y')^2)`` over all samples; ``cosine``: mean cosine of the two. Intervals by bootstrap over samples
   (Efron 1979; 400 draws, one seed).
4. A callable ``metric(outputs, labels)`` gives a number (no interval), or one for each sample (95 % interval of their mean); larger is
   better.

What a change cost is read from pairs, the same sample before and after (`drop`): on 1,000 images two accuracies are told apart by about a
point only, the images on which the answer changed say more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from edgeprof import running
from edgeprof.apart import Apart, Told
from edgeprof.apart import call as call_apart
from edgeprof.datasets import Dataset
from edgeprof.errors import DataError, UsageError
from edgeprof.records.profile import Profile

Array = NDArray[Any]
Outputs = Mapping[str, Array]
Metric = str | Callable[[Outputs, Array | None], Any]

Z_95 = 1.959964
METRICS = ("top1", "mae", "sqnr_db", "cosine")
MOST_DB = 200.0
"""SQNR of outputs that do not differ at all, where the ratio has no end."""
_BOOTSTRAPS = 400
_LEAST_FOR_INTERVAL = 10


@dataclass(frozen=True)
class Score:
    """One number on data, with its 95 % interval (NaN where there is none).

    ``per_sample``: (n,) values whose mean it is, where it is one; None for `sqnr_db`. ``data_sha256`` is the Dataset's digest.
    """

    metric: str
    value: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0
    better: Literal["higher", "lower"] = "higher"
    data: str = ""
    data_sha256: str = ""
    per_sample: Array | None = field(default=None, repr=False, compare=False)

    @property
    def unit(self) -> str:
        """What stands behind the number: ``%`` for a share, ``dB``, or nothing."""
        return {"top1": "%", "sqnr_db": "dB"}.get(self.metric, "")

    def record(self) -> dict[str, object]:
        """What `RunContext.scores` holds of it, under its metric."""
        names = ("value", "low", "high", "n", "better", "data", "data_sha256")
        told = {name: getattr(self, name) for name in names}
        return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in told.items()}

    def __str__(self) -> str:
        scale = 100 if self.unit == "%" else 1
        ends = "" if math.isnan(self.low) else f" ({self.low * scale:.4g} to {self.high * scale:.4g})"
        return f"{self.metric} {self.value * scale:.4g}{f' {self.unit}' if self.unit else ''}{ends}, n = {self.n:,}"


@dataclass(frozen=True)
class Drop:
    """What a change cost: ``value`` is how much worse the score became (negative: better), with its 95 % interval over pairs of samples.

    NaN ends where the score is no mean over samples. ``changed`` is how many samples it went another way for.
    """

    value: float
    low: float
    high: float
    changed: int
    n: int


def metric_for(data: Dataset, outputs: Outputs, metric: Metric = "auto") -> Metric:
    """The metric itself; what ``"auto"`` means for this data. UsageError when there is no such metric, DataError when it needs labels."""
    if callable(metric):
        return metric
    first = next(iter(outputs.values()))
    labels = data.labels
    if metric == "auto":
        if labels is None:
            return "sqnr_db"
        return "top1" if labels.dtype.kind in "iu" and labels.ndim == 1 and first.ndim >= 2 else "mae"
    if metric not in METRICS:
        raise UsageError(f"There is no metric '{metric}'. Use one of {', '.join(METRICS)}, 'auto', or a function.")
    if metric in ("top1", "mae") and labels is None:
        raise DataError(f"{metric} needs labels and the data ({data.source}) has none. Add an array 'labels', or use sqnr_db.")
    return metric


def score_outputs(outputs: Outputs, data: Dataset, metric: Metric = "auto", reference: Outputs | None = None) -> Score:
    """The Score of a model's ``outputs`` for ``data``.

    Args:
        outputs: by name, samples along the first axis.
        data: with labels for the metrics that need them.
        metric: a name of `METRICS`, ``"auto"``, or a function; see the module.
        reference: outputs of the model that it is compared with, for sqnr_db and cosine.

    Raises:
        DataError: labels or a reference are missing or do not fit.
    """
    metric = metric_for(data, outputs, metric)
    told = {"n": len(data), "data": data.source, "data_sha256": data.digest}
    if callable(metric):
        return _of_function(metric, outputs, data, told)
    if metric in ("sqnr_db", "cosine"):
        if reference is None:
            raise DataError(
                f"{metric} compares with the outputs of the model that this one was made from. Give that model as the reference."
            )
        both = {name: (reference[name], outputs[name]) for name in outputs if name in reference}
        if not both:
            raise DataError(f"The two models have no output of the same name ({', '.join(outputs)}; {', '.join(reference)}).")
        return _sqnr(both, told) if metric == "sqnr_db" else _cosine(both, told)
    first, labels = next(iter(outputs.values())), cast(Array, data.labels)
    if metric == "top1":
        return _top1(first, labels, told)
    if first.shape != labels.shape:
        raise DataError(f"mae needs labels of the output's shape {first.shape}; the data has {labels.shape}.")
    errors = np.abs(first.astype(np.float64) - labels).reshape(len(labels), -1).mean(axis=1)
    return _mean("mae", errors, "lower", told)


def score(
    model: str | Path | bytes,
    data: Dataset,
    metric: Metric = "auto",
    *,
    reference: Outputs | None = None,
    worker: Apart | None = None,
    told: Told | None = None,
) -> Score:
    """The Score of ``model`` on ``data``, run in a process apart on this machine (``worker``, or one for this alone)."""
    return score_outputs(outputs_of(model, data, worker=worker, told=told), data, metric, reference)


def outputs_of(model: str | Path | bytes, data: Dataset, *, worker: Apart | None = None, told: Told | None = None) -> dict[str, Array]:
    """The model's outputs for ``data``, run in a process apart."""
    if worker is not None:
        return worker.call(running.outputs, model, data, told=told)
    name = "a model" if isinstance(model, bytes) else Path(model).name
    return call_apart(f"running {name}", running.outputs, model, data, told=told)


def drop(before: Score, after: Score) -> Drop:
    """How much worse ``after`` is than ``before``, the same samples and metric. UsageError when they are not of the same data."""
    if before.metric != after.metric or before.data_sha256 != after.data_sha256:
        raise UsageError(
            f"Scores of different kind or data cannot be compared: {before.metric} on {before.data}, {after.metric} on {after.data}."
        )
    sign = 1.0 if before.better == "higher" else -1.0
    value = sign * (before.value - after.value)
    if before.per_sample is None or after.per_sample is None:
        return Drop(value, math.nan, math.nan, 0, before.n)
    pairs = sign * (before.per_sample - after.per_sample)
    low, high = _interval_of_pairs(pairs) if before.metric == "top1" else _interval_of_mean(pairs)
    return Drop(value, low, high, int(np.count_nonzero(pairs)), before.n)


def with_scores(profile: Profile, *scores: Score) -> Profile:
    """The profile with ``scores`` in its context, in place of those of the same metric."""
    kept = {**profile.context.scores, **{one.metric: one.record() for one in scores}}
    return replace(profile, context=replace(profile.context, scores=kept))


def wilson(correct: int, n: int, z: float = Z_95) -> tuple[float, float]:
    """Ends of Wilson's score interval of a share, which stay inside 0 to 1 (Wilson 1927)."""
    value = correct / n
    centre = (value + z**2 / (2 * n)) / (1 + z**2 / n)
    margin = z * math.sqrt(value * (1 - value) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return max(0.0, centre - margin), min(1.0, centre + margin)


def sqnr_db(reference: Array, noisy: Array) -> float:
    """Signal to quantization noise in dB, at most `MOST_DB`; NaN when the reference is zero everywhere and the other is not."""
    signal, noise = _powers([(reference, noisy)])
    return _decibels(float(signal.sum()), float(noise.sum()))


def _top1(output: Array, labels: Array, told: Mapping[str, Any]) -> Score:
    if output.ndim != 2 or labels.ndim != 1:
        raise DataError(f"top1 needs one row of scores and one label a sample; the output is {output.shape}, the labels {labels.shape}.")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < output.shape[1]:
        raise DataError(f"Labels go from {labels.min()} to {labels.max()}; the model has {output.shape[1]} classes, counted from 0.")
    right = output.argmax(axis=1) == labels
    low, high = wilson(int(right.sum()), len(right))
    return Score("top1", float(right.mean()), low, high, better="higher", per_sample=right.astype(np.float64), **told)


def _sqnr(both: Mapping[str, tuple[Array, Array]], told: Mapping[str, Any]) -> Score:
    signal, noise = _powers(list(both.values()))
    value = _decibels(float(signal.sum()), float(noise.sum()))
    low, high = _bootstrap(np.stack([signal, noise]), lambda sums: [_decibels(*pair) for pair in sums.T.tolist()])
    return Score("sqnr_db", value, low, high, better="higher", **told)


def _cosine(both: Mapping[str, tuple[Array, Array]], told: Mapping[str, Any]) -> Score:
    a, b = (
        np.concatenate([np.asarray(pair[side], np.float64).reshape(len(pair[side]), -1) for pair in both.values()], axis=1)
        for side in (0, 1)
    )
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = np.all(a == b, axis=1)
    cosines = np.where(same, 1.0, np.divide((a * b).sum(axis=1), lengths, out=np.zeros(len(a)), where=lengths > 0))
    return _mean("cosine", cosines, "higher", told)


def _of_function(metric: Callable[[Outputs, Array | None], Any], outputs: Outputs, data: Dataset, told: Mapping[str, Any]) -> Score:
    name = getattr(metric, "__name__", type(metric).__name__).strip("<>") or "metric"
    try:
        found = np.asarray(metric(outputs, data.labels), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"The metric {name} failed: {error}. It takes outputs by name and labels, and gives a number or one a sample."
        ) from error
    if found.ndim == 0:
        return Score(name, float(found), **told)
    if found.shape != (len(data),):
        raise UsageError(
            f"The metric {name} gave an array of shape {found.shape}; expected a number, or one for each of {len(data)} samples."
        )
    return _mean(name, found, "higher", told)


def _mean(metric: str, values: Array, better: Literal["higher", "lower"], told: Mapping[str, Any]) -> Score:
    low, high = _interval_of_mean(values)
    return Score(metric, float(values.mean()), low, high, better=better, per_sample=values, **told)


def _interval_of_mean(values: Array) -> tuple[float, float]:
    if len(values) < _LEAST_FOR_INTERVAL:
        return math.nan, math.nan
    mean, margin = float(values.mean()), Z_95 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean - margin, mean + margin


def _interval_of_pairs(pairs: Array) -> tuple[float, float]:
    """95 % interval of the mean of pairs of 1, 0 and -1: half a count a cell more, so that all 0 is not certain (Agresti & Min 2005)."""
    n = len(pairs) + 2
    if n - 2 < _LEAST_FOR_INTERVAL:
        return math.nan, math.nan
    worse, better = float((pairs > 0).sum()) + 0.5, float((pairs < 0).sum()) + 0.5
    mean = (worse - better) / n
    margin = Z_95 * math.sqrt(worse + better - (worse - better) ** 2 / n) / n
    return mean - margin, mean + margin


def _powers(pairs: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """(n,) power of the signal and of the noise of each sample, all outputs together."""
    n = len(pairs[0][0])
    signal, noise = np.zeros(n), np.zeros(n)
    for reference, noisy in pairs:
        a, b = np.asarray(reference, np.float64).reshape(n, -1), np.asarray(noisy, np.float64).reshape(n, -1)
        if a.shape != b.shape:
            raise DataError(f"Outputs of different shapes cannot be compared: {reference.shape} and {noisy.shape}.")
        signal += (a**2).sum(axis=1)
        noise += ((a - b) ** 2).sum(axis=1)
    return signal, noise


def _decibels(signal: float, noise: float) -> float:
    if not math.isfinite(signal) or not math.isfinite(noise):
        return math.nan
    if not noise > 0:
        return MOST_DB
    return 10 * math.log10(signal / noise) if signal > 0 else math.nan


def _bootstrap(values: Array, statistic: Callable[[Array], list[float]]) -> tuple[float, float]:
    """95 % interval of a statistic of sums over samples; ``values``: (k, n), the statistic takes (k, draws) sums."""
    n = values.shape[1]
    if n < _LEAST_FOR_INTERVAL:
        return math.nan, math.nan
    draws = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=_BOOTSTRAPS)
    low, high = np.nanpercentile(statistic(values @ draws.T), [2.5, 97.5]).tolist()
    return low, high
