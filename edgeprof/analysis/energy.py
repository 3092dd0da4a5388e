"""What must be known of energies and of how sensors were read: findings."""

from __future__ import annotations

from collections.abc import Iterator

from edgeprof.analysis.names import listed
from edgeprof.records.profile import Finding, Profile
from edgeprof.units import energy, latency, power, share

SEPARABLE = 0.15
"""A closure gap beyond this means that layers in loops of their own do not behave as they do in the model."""

GAP_INFO = 0.05
LOOP_SPEED = 0.05
IDLE_DRIFT = 0.05
SAMPLING_COST = 0.02
RATE_KEPT = 0.9


def energy_findings(profile: Profile) -> Iterator[Finding]:
    """All that is to be said about energy and sensors, for `edgeprof.analysis.findings`."""
    yield from _not_measured(profile)
    yield from _closure(profile)
    yield from _below_sensor(profile)
    yield from _conditions(profile)
    yield from _sensors(profile)


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
    gap, low, high = told.closure_gap, told.closure_gap_low, told.closure_gap_high
    if gap is None or abs(gap) <= GAP_INFO:
        return
    interval = f" [{share(low)}, {share(high)}]" if low is not None and high is not None else ""
    sums = f"the layers sum to {energy(told.layers_mj)}, the model takes {energy(told.above_idle_mj)} above idle"
    if abs(gap) > SEPARABLE:
        text = f"Layers are not separable here: {sums}, {share(gap)}{interval} apart. Their shares may be right, their energies are not."
        yield Finding("energy-closure", "warning", text)
    else:
        yield Finding("energy-closure", "info", f"In loops of their own {sums}: {share(gap)}{interval} apart.")


def _below_sensor(profile: Profile) -> Iterator[Finding]:
    layers = profile.measured_layers
    names = layers.loc[layers["energy_method"].str.startswith("not told"), "name"]
    if len(names):
        text = f"The sensor cannot tell {len(names)} layers from idle ({listed(names)}): they have no energy."
        yield Finding("energy-below-sensor", "info", text, tuple(names))


def _conditions(profile: Profile) -> Iterator[Finding]:
    told, thermal, end = profile.context.energy, profile.context.thermal, profile.context.latency
    if thermal.throttled:
        first = thermal.throttled[0]
        more = f" and {len(thermal.throttled) - 1} more" if len(thermal.throttled) > 1 else ""
        yield Finding("energy-throttled", "warning", f"The board slowed itself down while energy was measured: {first}{more}.")
    if told.loop_ms and end.median_ms and abs(told.loop_ms / end.median_ms - 1) > LOOP_SPEED:
        text = f"In the loop for energy a run took {latency(told.loop_ms)}, when timed {latency(end.median_ms)}: clocks or heat differed."
        yield Finding("energy-loop-speed", "warning", text)
    before, after = told.idle_before_mw, told.idle_after_mw
    if before and after and abs(after / before - 1) > IDLE_DRIFT:
        text = f"Idle power went from {power(before)} to {power(after)} over the measurement; energies above idle use a line between rests."
        yield Finding("energy-idle-drift", "info", text)
    if thermal.flat is False and told.method:
        yield Finding("energy-not-warm", "info", "Run time or temperature were still changing when the warm-up for energy ended.")


def _sensors(profile: Profile) -> Iterator[Finding]:
    told = profile.context.energy
    if told.quiet_idle_mw and told.idle_mw and told.idle_mw / told.quiet_idle_mw - 1 > SAMPLING_COST:
        cost, full, quiet = power(told.idle_mw - told.quiet_idle_mw), power(told.idle_mw), power(told.quiet_idle_mw)
        text = f"Reading the sensors costs {cost}: idle power is {full} at the full rate, {quiet} when they are read twice a second."
        yield Finding("sampling-cost", "info", text)
    for use in profile.context.sensors:
        if use.channels and use.problem:
            yield Finding(f"sensor-{use.name}", "warning", f"{use.problem[:1].upper()}{use.problem[1:]}.")
        elif use.rate_hz and use.achieved_hz is not None and use.achieved_hz < RATE_KEPT * use.rate_hz:
            text = f"{use.name} was read {use.achieved_hz:.3g} times a second, not {use.rate_hz:.3g}: {use.missed} readings came too late."
            yield Finding(f"sensor-{use.name}-slow", "info", text)
