"""What a report says of memory, energy and sensors: sentences on the method, facts, and how well each sensor was read."""

from __future__ import annotations

import math

from edgeprof import units
from edgeprof.analysis.energy import sampling_seen_mw
from edgeprof.figures.numbers import show
from edgeprof.records.profile import Profile
from edgeprof.records.schema import column


def memory_method(profile: Profile) -> list[str]:
    """How the memory columns were obtained."""
    told = profile.context.memory
    sentences = [f"{column(name).title}: {source}." for name, source in told.sources.items()]
    if told.base_bytes is not None:
        held = units.size(told.base_bytes)
        sentences.append(f"Before the first layer the runtime's allocator held {held} (weights and the like), which is not counted.")
    return sentences


def energy_method(profile: Profile) -> list[str]:
    """How energy was obtained, or why it was not."""
    told, thermal = profile.context.energy, profile.context.thermal
    if told.method == "":
        return [f"Energy was not measured. {told.reason}".strip()] if told.reason else []
    seconds = f" for {told.seconds:.0f} s" if told.seconds else ""
    sentences = [
        f"Energy: {' + '.join(told.channels)} ({told.scope}) was read while the model ran in a loop{seconds} ({told.runs} runs,"
        f" {told.samples} readings) and at rest before and after; intervals come from drawing blocks of the loop again (bootstrap)."
    ]
    if told.method == "layers":
        loops = len(told.groups)
        sentences.append(
            f"By layer: {loops} loops of single layers with the inputs of a real run, in {told.passes} passes in shuffled order, with rest"
            " between. A layer's energy is the power above idle of its loop times its time in the model. Its interval holds the sensor's"
            " noise and that of its time, not how a layer by itself differs from the same in the model: the closure gap shows that."
            " Nothing is scaled; the scaled figures stand in a column of their own."
        )
    elif told.reason:
        sentences.append(f"Energy by layer was not measured. {told.reason}")
    if thermal.warm_s is not None:
        flat = {True: "run time and temperature were flat", False: "they were still changing", None: "how flat is not known"}[thermal.flat]
        sentences.append(f"Warm-up before: {thermal.warm_s:.0f} s; then {flat}.")
    return sentences


def energy_facts(profile: Profile) -> list[tuple[str, str, str]]:
    """(what, value, note) of the energy of one inference; empty when it was not measured."""
    told = profile.context.energy
    if told.inference_mj is None or told.above_idle_mj is None:
        return []
    facts = [
        ("Above idle, one inference", _interval(told.above_idle_mj, told.above_idle_low_mj, told.above_idle_high_mj), "95 % interval"),
        ("In all, one inference", _interval(told.inference_mj, told.inference_low_mj, told.inference_high_mj), "idle power included"),
        ("Power", units.power(told.loop_mw), f"while the model runs; idle {units.power(told.idle_mw)}"),
    ]
    if told.closure_gap is not None:
        low, high = told.closure_gap_low, told.closure_gap_high
        ends = f"[{units.share(low)}, {units.share(high)}]; " if low is not None and high is not None else ""
        facts.append(("Closure gap", units.share(told.closure_gap), f"{ends}the layers sum to {units.energy(told.layers_mj)}"))
    least = sampling_seen_mw(told)
    if told.sampling_mw is not None and least is not None:
        text = units.power(told.sampling_mw) if told.sampling_mw > least else f"under {units.power(max(0.0, told.sampling_mw) + least)}"
        facts.append(("Cost of sampling", text, "idle power at the full rate less that when read twice a second"))
    return facts


def sensor_rows(profile: Profile) -> list[tuple[str, str, str, str]]:
    """(sensor, channels, readings, problem) of each sensor that was read or could have been."""
    rows = []
    for use in profile.context.sensors:
        names = ", ".join(channel.title or channel.name for channel in use.channels)
        readings = ""
        if use.channels:
            aimed = "" if use.rate_hz is None else f" of {use.rate_hz:.3g}"
            rate = "" if use.achieved_hz is None else f", {use.achieved_hz:.3g}{aimed} a second"
            readings = f"{use.samples}{rate}, {use.missed} missed"
        rows.append((use.name, names, readings, use.problem))
    return rows


def layer_energy_rows(profile: Profile) -> list[tuple[str, str, str, str]]:
    """(layer, energy with its interval, scaled to close, method) of each layer, in the order they ran; empty without energies."""
    layers = profile.layers
    if layers["energy_mj"].isna().all():
        return []
    names = ("name", "energy_mj", "energy_low_mj", "energy_high_mj", "energy_closed_mj", "energy_method")
    return [
        (name, units.energy_interval(value, low, high), show(closed, "energy_closed_mj"), method)
        for name, value, low, high, closed, method in zip(*(layers[n].tolist() for n in names), strict=True)
    ]


def _interval(value: float, low: float | None, high: float | None) -> str:
    return units.energy_interval(value, math.nan if low is None else low, math.nan if high is None else high)
