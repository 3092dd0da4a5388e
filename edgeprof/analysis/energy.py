"""What must be known of energies and of how sensors were read: findings."""

from __future__ import annotations

from collections.abc import Iterator

from edgeprof.analysis.names import listed
from edgeprof.records.context import Energy
from edgeprof.records.profile import Finding, Profile
from edgeprof.units import energy, latency, power, share

SEPARABLE = 0.15
"""A closure gap beyond this means that layers in loops of their own do not behave as they do in the model."""

GAP_INFO = 0.05
LOOP_SPEED = 0.05
IDLE_DRIFT = 0.05
SAMPLING_COST = 0.02
LAG = 0.05
RATE_KEPT = 0.9


def energy_findings(profile: Profile) -> Iterator[Finding]:
    """All that is to be said about energy and sensors, for `edgeprof.analysis.findings`."""
    yield from _not_measured(profile)
    yield from _closure(profile)
    yield from _below_sensor(profile)
    yield from _conditions(profile)
    yield from _sensors(profile)


def sampling_seen_mw(told: Energy) -> float | None:
    """The least cost of reading the sensors in mW that could have been seen; None when it was not measured."""
    return None if told.sampling_error_mw is None else 1.96 * told.sampling_error_mw


def _not_measured(profile: Profile) -> Iterator[Finding]:
    told = profile.context.energy
    if told.asked == "off" or not told.reason:
        return
    if told.method == "":
        yield Finding("energy-not-measured", "warning", f"Energy was not measured. {told.reason}")
    elif told.asked == "layers" and told.method == "model":
        yield Finding("energy-model-only", "warning", f"Energy was measured for the whole model, not by layer. {told.reason}")
    else:
        yield Finding("energy-doubtful", "warning", f"Energies are doubtful. {told.reason}")


def _closure(profile: Profile) -> Iterator[Finding]:
    """How far the layers' sum is from the model's energy above idle."""
    told = profile.context.energy
    gap = told.closure_gap
    if gap is None or abs(gap) <= GAP_INFO:
        return
    apart = f"{share(abs(gap))}{_interval(told)} {'less' if gap > 0 else 'more'}"
    sums = f"the layers sum to {energy(told.layers_mj)}, {apart} than the {energy(told.above_idle_mj)} that the model takes above idle"
    missing = _without_energy(profile)
    if missing and gap > 0:
        text = f"In loops of their own {sums}; {_layers(len(missing))} without an energy ({listed(missing)}) took part of that."
        yield Finding("energy-closure", "warning" if gap > SEPARABLE else "info", text, missing)
    elif abs(gap) > SEPARABLE and abs(_gap_at_timed_speed(profile)) < abs(gap) / 2:
        text = f"In loops of their own {sums}. Most of that is speed: the layers' times are those of runs that were faster or slower."
        yield Finding("energy-closure", "warning", text)
    elif abs(gap) > SEPARABLE:
        text = f"Layers are not separable here: {sums}. Their shares may be right, their energies are not."
        yield Finding("energy-closure", "warning", text)
    else:
        yield Finding("energy-closure", "info", f"In loops of their own {sums}.")


def _gap_at_timed_speed(profile: Profile) -> float:
    """The closure gap if a run of the model's loop had taken as long as a timed one; the gap itself where a time is not known."""
    told, end = profile.context.energy, profile.context.latency
    gap = told.closure_gap or 0.0
    return 1 - (1 - gap) * told.loop_ms / end.median_ms if told.loop_ms and end.median_ms else gap


def _interval(told: Energy) -> str:
    """That of the gap's size."""
    if told.closure_gap is None or told.closure_gap_low is None or told.closure_gap_high is None:
        return ""
    low, high = told.closure_gap_low, told.closure_gap_high
    return f" [{share(low)}, {share(high)}]" if told.closure_gap > 0 else f" [{share(-high)}, {share(-low)}]"


def _without_energy(profile: Profile) -> tuple[str, ...]:
    """Layers of the top level that ran and have no energy."""
    layers = profile.measured_layers
    return tuple(layers.loc[(layers["kind"] != "nested") & layers["latency_ms"].notna() & layers["energy_mj"].isna(), "name"])


def _below_sensor(profile: Profile) -> Iterator[Finding]:
    layers = profile.measured_layers
    names = layers.loc[layers["energy_method"].str.startswith("not told"), "name"]
    if len(names):
        text = f"The sensor cannot tell {_layers(len(names))} from idle ({listed(names)}): no energy is given for what it cannot tell."
        yield Finding("energy-below-sensor", "info", text, tuple(names))


def _layers(count: int) -> str:
    return f"{count} layer{'s' * (count != 1)}"


def _conditions(profile: Profile) -> Iterator[Finding]:
    told, thermal, end = profile.context.energy, profile.context.thermal, profile.context.latency
    if thermal.throttled:
        signs = listed(thermal.throttled, limit=120)
        yield Finding("energy-throttled", "warning", f"The board slowed itself down while energy was measured: {signs}.")
    if told.loop_ms and end.median_ms and abs(told.loop_ms / end.median_ms - 1) > LOOP_SPEED:
        text = f"In the loop for energy a run took {latency(told.loop_ms)}, when timed {latency(end.median_ms)}: clocks or heat differed."
        yield Finding("energy-loop-speed", "warning", text)
    before, after = told.idle_before_mw, told.idle_after_mw
    if before is not None and after is not None and abs(after - before) > IDLE_DRIFT * abs(before):
        text = f"Idle power went from {power(before)} to {power(after)} over the measurement; energies above idle use a line between rests."
        yield Finding("energy-idle-drift", "info", text)
    if thermal.flat is False and told.method:
        yield Finding("energy-not-warm", "info", "Run time or temperature were still changing when the warm-up for energy ended.")


def _sensors(profile: Profile) -> Iterator[Finding]:
    told = profile.context.energy
    cost, least = told.sampling_mw, sampling_seen_mw(told)
    if cost is not None and told.idle_mw and least is not None and cost > max(least, SAMPLING_COST * told.idle_mw):
        text = f"Reading the sensors at their full rate adds {power(cost)} to an idle power of {power(told.idle_mw - cost)}."
        yield Finding("sampling-cost", "info", text)
    if told.lag is not None and told.lag > LAG:
        text = (
            f"After the model's loop the power fell slowly: over the first third of the rest {share(told.lag)} of the step was still to go."
            " If the sensor averages over longer than it says, energies are wrong: give that time (--sensor-average)."
            " If the board itself takes so long to come to rest, rest longer (EnergyPlan.idle_s)."
        )
        yield Finding("energy-lag", "warning", text)
    if told.stuck_s:
        text = f"The power sensor read the same for {told.stuck_s:.0f} s, at rest and under load alike: what it read then does not count."
        yield Finding("energy-sensor-stuck", "warning", text)
    for use in profile.context.sensors:
        if use.channels and use.problem:
            yield Finding(f"sensor-{use.name}", "warning", f"{use.problem[:1].upper()}{use.problem[1:].rstrip('.')}.")
        elif use.rate_hz and use.achieved_hz is not None and use.achieved_hz < RATE_KEPT * use.rate_hz:
            late = f"{use.missed} reading{'s' * (use.missed != 1)} came too late or not at all"
            text = f"The sensor {use.name} was read {use.achieved_hz:.3g} times a second, not {use.rate_hz:.3g}: {late}."
            yield Finding(f"sensor-{use.name}-slow", "info", text)
