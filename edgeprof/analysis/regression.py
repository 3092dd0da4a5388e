"""Energy by layer from regression: what each layer must have drawn for the power readings of the whole model to come out. Not the default.

Readings while the model runs in a loop are explained by how much of each reading's time lay in each layer (least squares). It sounds
cheaper than a loop for each layer and mostly fails: a slow sensor's readings hold whole runs, so all look alike; a fast one's are
explained well only when its clock and the runs' agree far better than a layer lasts. **The sum over layers comes out right even when
every single one is wrong**, so a matching total proves nothing. ``benchmarks/bench_energy.py`` shows it. So `regress_energy` refuses
unless the clocks are known to agree within a quarter of the median layer, and a run spans several readings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from edgeprof.errors import UsageError
from edgeprof.records.profile import Profile

Floats = npt.NDArray[np.float64]

LARGEST_OFFSET_SHARE = 0.25
LEAST_READINGS_A_RUN = 4.0


def regress_energy(profile: Profile, *, average_ms: float, offset_error_ms: float, force: bool = False) -> pd.DataFrame:
    """``name, power_mw, energy_mj`` (above idle) of each top-level layer, from the readings made while the model ran in a loop.

    Args:
        profile: measured with ``energy="model"`` or ``"layers"``.
        average_ms: time before its stamp that a reading is the mean of.
        offset_error_ms: how far the sensor's clock may be from that of the runs.
        force: computes it although it cannot be right, to see how wrong it is.

    Raises:
        UsageError: the profile has no such readings, or the sensor cannot support the method (the sentence says why).
    """
    layers = profile.measured_layers
    layers = layers[(layers["parent"] == "") & layers["latency_ms"].notna()]
    if profile.context.energy.method == "" or layers.empty:
        raise UsageError(
            "Regression needs power readings of the model in a loop. Profile with energy='model' on a board with a power sensor."
        )
    time_ms = layers["latency_ms"].to_numpy(float)
    _check(time_ms, average_ms, offset_error_ms, force=force)
    at, power = _readings(profile)
    occupied, used = _occupancy(profile, at, average_ms, time_ms)
    above = power[used] - (profile.context.energy.idle_mw or 0.0)
    found = np.linalg.lstsq(occupied[used], above, rcond=None)[0]
    return pd.DataFrame({"name": layers["name"].to_numpy(), "power_mw": found, "energy_mj": found * time_ms / 1e3})


def _check(time_ms: Floats, average_ms: float, offset_error_ms: float, *, force: bool) -> None:
    median, run = float(np.median(time_ms)), float(time_ms.sum())
    if not force and not offset_error_ms <= LARGEST_OFFSET_SHARE * median:
        raise UsageError(
            f"The clocks may be {offset_error_ms:.3g} ms apart, the median layer takes {median:.3g} ms, and regression needs a quarter of"
            " that. Use energy='layers', which does not care."
        )
    if not force and average_ms * LEAST_READINGS_A_RUN > run:
        raise UsageError(
            f"A reading is the mean of {average_ms:.3g} ms, a run takes {run:.3g} ms: readings of whole runs tell nothing of its layers."
            " Use energy='layers', or a faster sensor."
        )


def _readings(profile: Profile) -> tuple[Floats, Floats]:
    """(time in ms, summed power in mW) of the readings of the channels that count; of channels read at other times the last value holds."""
    names = list(profile.context.energy.channels)
    table = profile.samples[profile.samples["channel"].isin(names)].dropna()
    wide = table.pivot_table(index="time_ms", columns="channel", values="value").reindex(columns=names).ffill().dropna()
    return wide.index.to_numpy(float), wide.sum(axis=1).to_numpy(float)


def _occupancy(profile: Profile, at: Floats, average_ms: float, time_ms: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """(readings, layers) part of each reading's time that lay in each layer, and which readings lay within a loop of the model."""
    edges = np.concatenate([[0.0], np.cumsum(time_ms)])
    occupied, used = np.zeros((len(at), len(time_ms))), np.zeros(len(at), bool)
    loops = profile.windows[(profile.windows["phase"] == "model") & (profile.windows["runs"] > 0)]
    for start, end, runs in zip(loops["start_ms"].tolist(), loops["end_ms"].tolist(), loops["runs"].tolist(), strict=True):
        inside = (at - average_ms >= start) & (at <= end)
        period = (end - start) / runs
        scaled = edges * (period / edges[-1])
        ends = [_spent(at[inside] - shift - start, scaled, period) for shift in (0.0, average_ms)]
        occupied[inside] = (ends[0] - ends[1]) / average_ms
        used |= inside
    return occupied, used


def _spent(since: Floats, edges: Floats, period: float) -> Floats:
    """(n, layers) ms spent in each layer until each time since the loop's start."""
    whole, rest = np.divmod(since, period)
    lengths = np.diff(edges)
    return np.asarray(whole[:, None] * lengths + np.clip(rest[:, None] - edges[:-1], 0.0, lengths))
