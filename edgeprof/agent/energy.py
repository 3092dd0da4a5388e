"""The energy phase: the model in a loop, then each layer in a loop of its own, with rest between.

What is done, in this order (docs/energy.md has the reasons):

1. Warm up until run time and temperature are flat, or for ``warm_limit_s``.
2. Rest (in its middle the sensors are read slowly, which shows what reading them costs), the whole model in a loop, rest: the anchor.
   The loop is said in blocks, so that an interval can be had.
3. Look whether the sensor can tell the loop from rest, and whether it could tell a layer; if not, say why and stop here.
4. Take the optimised model apart, time each layer by itself, put short layers of one op type into one loop, and say how long all will take.
5. In each pass: all loops, the whole model among them, in an order of their own; rest before, after and in between.

A reading may be a mean over longer than the time since the one before (``average_s``). Where something else ran before a loop or a rest,
it goes on for that time before it counts.

Nothing is computed here but what is needed to decide; powers and energies are made on the host from the windows and the samples.
"""

from __future__ import annotations

import math
import os
import random
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from .machine import Machine
from .runtimes import Refused
from .runtimes.base import Isolation, Session

MODEL = -1
MODEL_BLOCKS = 10
STRETCH_S = 0.05
FLAT = 0.02
FLAT_C = 0.5
ROUND_NS = 5_000_000
"""A round of a loop should take at least as long: what a call of the runtime costs is then some tenths of a per cent."""

MOST_COPIES = 512
FEWEST_READINGS = 12
"""Readings that a rest of the anchor has time for: with fewer its power is not known (see `power.Readings.window`)."""

FEWEST_IN_A_LOOP = 2.5
"""Readings that a loop has time for at least: two make a mean, and the first may be of what ran before."""

ONE_PERIOD = 1.2
"""An average over no more periods than that is taken care of where windows are read (`edgeprof.records.power.TRIM_PERIODS`)."""

SHORTEST_LOOP_S = 0.05

REST_EVERY_S = 12.0
REST_SHARE = 0.18
"""Of a budget what rests may take."""

SETTLE_S = 0.2
SIGMAS = 3.0
QUIET_S = 4.0
LEAST_HZ = 0.05
MOST_SIGNS = 20


class Loop(NamedTuple):
    """What one loop runs: nodes by position (none: the whole model), how often each in a round, and how long a round takes."""

    nodes: Tuple[int, ...]
    copies: int
    round_ns: float


class Pass(NamedTuple):
    """How long a loop and a rest of a pass last, how many loops lie between two rests, and how long all its rests take."""

    loop_s: float
    idle_s: float
    between: int
    rests_s: float


class EnergyPhase:
    """Does it for one job. ``job["power"]`` says which channels count and how often they are read."""

    def __init__(self, host: Any, job: Dict[str, Any], frames: Sequence[Any], machine: Machine) -> None:
        self._host, self._job, self._machine = host, job, machine
        self._frames = [f for f in frames if f.type == "array"]
        self._options = dict(job["options"], workdir=job["workdir"])
        self._plan = job["energy_plan"]
        self._rate_hz = max(LEAST_HZ, float(job["power"]["rate_hz"]))
        told_s = self._plan.get("average_s")
        average_s = float(job["power"].get("average_s", 0.0) if told_s is None else told_s)
        self._average_s = average_s if average_s * self._rate_hz > ONE_PERIOD else 0.0
        self._signs = machine.throttled()
        self._throttled: List[str] = []
        self._done = self._total = 0
        self._rests: List[Tuple[int, int]] = []
        self._began_ns = int(job.get("began_ns") or machine.now_ns())
        self._late = False

    def run(self) -> Dict[str, Any]:
        """Everything; the fields of the result. Windows go out as they end."""
        if self._job.get("cpus"):
            self._machine.pin(list(self._job["cpus"]))
        runtime = self._machine.load(self._job["runtime"])
        inputs = runtime.decode_arrays(self._frames)
        model = runtime.open(self._job["model_path"], inputs, self._options)
        told: Dict[str, Any] = {"channels": list(self._job["power"]["channels"]), "scope": self._job["power"]["scope"]}
        run_ns, told["warm_s"], told["flat"] = self._warm(model)
        refused = self._says_nothing() or self._anchor(model, run_ns)
        complete = not self._stopped()
        if not refused and self._job["energy"] == "layers" and complete:
            executed = os.path.join(self._options["workdir"], "executed.onnx")
            try:
                layers = runtime.isolate(executed, inputs, self._options)
            except Refused as error:
                refused = str(error)
            else:
                complete, refused = self._layers(model, run_ns, layers)
                layers.close()
        self._host.say("energy", dict(told, refused=refused, throttled=self._throttled[:MOST_SIGNS]))
        return {"complete": complete, "environment_after": self._machine.fingerprint()}

    # The whole model

    def _warm(self, model: Session) -> Tuple[float, float, bool]:
        """Runs until flat; (time of a run in ns, seconds it took, whether it became flat)."""
        began, limit_s = self._machine.now_ns(), float(self._plan["warm_limit_s"])
        before: Optional[Tuple[float, Optional[float]]] = None
        times = model.run(1)
        run_ns = float(times[1] - times[0])
        level = 0
        while True:
            seconds = (self._machine.now_ns() - began) / 1e9
            if level >= 2 or seconds >= limit_s or self._stopped():
                self._say_window("warmup", began, self._machine.now_ns())
                return run_ns, seconds, level >= 2
            stretch_s = max(0.5, min(5.0, limit_s / 6))
            self._progress("warmup", int(seconds), int(limit_s))
            start = self._machine.now_ns()
            runs = self._go(model, run_ns, stretch_s)
            run_ns = (self._machine.now_ns() - start) / max(1, runs)
            now = run_ns, self._machine.temperature_c()
            level = level + 1 if before is not None and _is_flat(before, now) else 0
            before = now

    def _says_nothing(self) -> str:
        """Why measuring would be in vain: nothing that the sensor has said until now was a measurement. Nothing when some was."""
        told = self._power(0, self._machine.now_ns()) or {}
        return _why_nothing(told, self._rate_hz) if told.get("failed") and not told.get("readings") else ""

    def _anchor(self, model: Session, run_ns: float) -> str:
        """Rest, model, rest; why layers, or anything, cannot be told. Nothing when they can, or when it was stopped."""
        least_s = max(float(self._plan["model_s"]), self._plan["samples"] / self._rate_hz)
        seconds = max(least_s, MODEL_BLOCKS * self._average_s)  # each block has readings of its own
        rest_s = max(float(self._plan["idle_s"]), min(least_s / 4, 50 / self._rate_hz), FEWEST_READINGS / self._rate_hz)
        quiet_s = max(QUIET_S, 8 / min(self._rate_hz, 2.0))
        planned = max(seconds, MODEL_BLOCKS * run_ns / 1e9) + 3 * rest_s + quiet_s + 4 * self._average_s
        text = "energy of the model will take about %s" % _duration(planned)
        self._host.say("plan", {"what": "model", "seconds": planned, "text": text})
        self._total, self._done = MODEL_BLOCKS, 0
        self._rest(rest_s)
        self._host.say("slow", {})
        self._rest(quiet_s, note="slow")
        self._host.say("full", {})
        self._rest(rest_s)
        self._go(model, run_ns, self._average_s)
        start = self._machine.now_ns()
        for _ in range(MODEL_BLOCKS):
            if not self._stopped():
                self._loop(model, run_ns, seconds / MODEL_BLOCKS, "model", MODEL, -1)
        end = self._machine.now_ns()
        self._rest(rest_s)
        return "" if self._stopped() else self._judge((start, end))

    def _judge(self, loop: Tuple[int, int]) -> str:
        """Why the sensor is not up to layers, or nothing. Without an answer (an external meter) the host has to judge."""
        told = self._power(*loop)
        rests = [self._power(*rest) for rest in self._rests[-2:]]
        if told is None or any(rest is None for rest in rests):
            return ""
        for one in (told, *rests):
            if one and not one.get("readings"):
                return _why_nothing(one, self._rate_hz)
        for start in (loop[0], (loop[0] + loop[1]) // 2):  # from the beginning, or in the middle
            loaded, after = self._power(start, loop[1]) or told, rests[-1] or told
            if max(loaded.get("values", 2), after["values"]) <= 1 and loaded["mean_mw"] == after["mean_mw"]:
                return "the power sensor is stuck: it read %.0f mW at rest and under load alike" % after["mean_mw"]
        idle = sum(rest["mean_mw"] for rest in rests if rest) / len(rests)
        error = math.sqrt(told["error_mw"] ** 2 + sum(rest["error_mw"] ** 2 for rest in rests if rest) / len(rests) ** 2)
        above = told["mean_mw"] - idle
        if above <= SIGMAS * error:
            return "the power sensor cannot tell the model from rest: %.0f mW above idle, give or take %.0f mW" % (above, error)
        seconds = (loop[1] - loop[0]) / 1e9
        loop_s = max(SHORTEST_LOOP_S, self._pass(21, self._plan.get("budget_s")).loop_s)
        of_a_layer = error * math.sqrt(seconds / (loop_s * int(self._plan["passes"])))
        if above < SIGMAS * of_a_layer:
            return (
                "the power sensor can tell the model from rest (%.0f mW above idle), but in the time of a layer's loop it is only good for"
                " %.0f mW; more passes or a longer budget may do" % (above, of_a_layer)
            )
        return ""

    # Layers

    def _layers(self, model: Session, run_ns: float, layers: Isolation) -> Tuple[bool, str]:
        """All passes over all loops; False when it was stopped early, and why it was not even tried, or nothing."""
        loops, skipped, times = self._make_loops(layers)
        if self._stopped():
            return False, ""
        groups = [{"nodes": loop.nodes, "copies": loop.copies, "isolated_ns": [times[i] for i in loop.nodes]} for loop in loops]
        passes, one = int(self._plan["passes"]), self._pass(len(loops) + 1, self._plan.get("budget_s"))
        if loops and self._is_too_short(one):
            return True, self._too_short(len(loops) + 1, one)
        whole = Loop((), 1, run_ns)
        turns_s = sum(self._turn_s(loop, one.loop_s) for loop in [whole, *loops])
        seconds = passes * (turns_s + one.rests_s) + (passes - 1) * float(self._plan["cool_down_s"])
        self._host.say("groups", {"groups": groups, "skipped": [[i, text] for i, text in skipped.items()], "planned_s": seconds})
        text = "energy by layer will take about %s: %d loops of %.1f s in %d %s" % (
            _duration(seconds), len(loops), one.loop_s, passes, "passes" if passes > 1 else "pass",
        )  # fmt: skip
        self._host.say("plan", {"what": "layers", "seconds": seconds, "text": text})
        if not loops:
            return True, ""
        self._total, self._done = passes * (len(loops) + 1), 0
        for number in range(passes):
            if number and float(self._plan["cool_down_s"]):
                self._rest(float(self._plan["cool_down_s"]), "cooldown", number)
            order: List[Tuple[int, Loop]] = [(MODEL, whole), *enumerate(loops)]
            random.Random(int(self._plan["seed"]) + number).shuffle(order)  # noqa: S311 - an order, no secret
            self._rest(one.idle_s, number=number)
            for place, (group, loop) in enumerate(order):
                if self._stopped():
                    return False, ""
                self._turn(model if group == MODEL else None, layers, loop, one.loop_s, group, number)
                if (place + 1) % one.between == 0 and place + 1 < len(order):
                    self._rest(one.idle_s, number=number)
            self._rest(one.idle_s, number=number)
        return not self._stopped(), ""

    def _make_loops(self, layers: Isolation) -> Tuple[List[Loop], Dict[int, str], Dict[int, float]]:
        """Loops, nodes that have none with the reason, and the time of each node by itself in ns."""
        skipped = dict(layers.reasons)
        times: Dict[int, float] = {}
        for i in range(len(layers.op_types)):
            if i not in skipped and not self._stopped():
                self._progress("isolate", i, len(layers.op_types))
                try:
                    times[i] = self._time_alone(layers, i)
                except Refused as error:
                    skipped[i] = str(error)
        small: Dict[str, List[int]] = {}
        loops = []
        for i, time_ns in times.items():
            if time_ns < float(self._plan["small_us"]) * 1e3:
                small.setdefault(layers.op_types[i], []).append(i)
            else:
                loops.append(_loop_of(layers, [i], time_ns))
        loops += [_loop_of(layers, nodes, sum(times[i] for i in nodes)) for nodes in small.values()]
        return loops, skipped, times

    def _time_alone(self, layers: Isolation, node: int) -> float:
        """Time of one node in ns: the median of a few runs, with so many copies that a call weighs little."""
        session = layers.open([node], 1)
        one = _median(_durations(session.run(5))[1:])
        copies = layers.most_copies([node], max(1, min(MOST_COPIES // 8, int(ROUND_NS / 20 / max(one, 1.0)))))
        if copies > 1:
            session = layers.open([node], copies)
            one = _median(_durations(session.run(6))[1:]) / copies
        session.close()
        return one

    def _turn(self, model: Optional[Session], layers: Isolation, loop: Loop, loop_s: float, group: int, number: int) -> None:
        """One loop of one pass. A layer's session is opened for it and closed again: memory stays small."""
        session = model or layers.open(loop.nodes, loop.copies)
        self._go(session, loop.round_ns, self._settle_s(loop_s))
        self._loop(session, loop.round_ns, loop_s, "model" if group == MODEL else "layers", group, number)
        if model is None:
            session.close()

    def _pass(self, loops: int, budget_s: Optional[float] = None) -> Pass:
        """A pass of so many loops: each long enough for the sensor, or all of it within its share of the budget."""
        passes = int(self._plan["passes"])
        loop_s = max(float(self._plan["loop_s"]), float(self._plan["samples"]) / passes / self._rate_hz, 2 * self._average_s)
        idle_s = max(float(self._plan["idle_s"]), 10 / self._rate_hz)
        if budget_s is None:
            between = max(1, int(REST_EVERY_S / (loop_s + self._average_s)))
            rests = 1 + -(-loops // between)
        else:
            share_s = float(budget_s) / passes
            between = max(1, int(REST_EVERY_S * loops / share_s))
            rests = 1 + -(-loops // between)
            idle_s = max(FEWEST_IN_A_LOOP / self._rate_hz, min(idle_s, REST_SHARE * share_s / rests - self._average_s))
            turn_s = (share_s - rests * (idle_s + self._average_s)) / loops
            loop_s = min(max(turn_s / 1.2, turn_s - SETTLE_S), turn_s - self._average_s)
        return Pass(loop_s, idle_s, between, rests * (idle_s + self._average_s))

    def _is_too_short(self, one: Pass) -> bool:
        """Whether its loops are too short for the sensor."""
        return one.loop_s < max(SHORTEST_LOOP_S, FEWEST_IN_A_LOOP / self._rate_hz, self._average_s)

    def _too_short(self, loops: int, one: Pass) -> str:
        needed = float(self._plan["budget_s"])
        while self._is_too_short(self._pass(loops, needed)):
            needed *= 1.02
        sensor = "%.3g readings a second" % self._rate_hz
        if self._average_s:
            sensor += ", each a mean over %.3g s," % self._average_s
        return "the budget leaves %.2f s for each of %d loops, in which a sensor of %s says too little; give it %d s or more" % (
            max(0.0, one.loop_s), loops, sensor, math.ceil(needed),
        )  # fmt: skip

    def _settle_s(self, loop_s: float) -> float:
        """How long a loop runs before it counts."""
        return max(min(SETTLE_S, loop_s / 5), self._average_s)

    def _turn_s(self, loop: Loop, loop_s: float) -> float:
        """How long a loop takes with what runs before it counts; neither is shorter than a round."""
        round_s = loop.round_ns / 1e9
        return max(loop_s, round_s) + max(self._settle_s(loop_s), round_s)

    # Loops and rest

    def _go(self, session: Session, round_ns: float, seconds: float) -> int:
        """Runs for so long; how many rounds."""
        now = self._machine.now_ns
        end = now() + int(seconds * 1e9)
        stretch = max(1, int(STRETCH_S * 1e9 / max(round_ns, 1.0)))
        rounds = 0
        while now() < end and not self._stopped():
            count = max(1, min(stretch, int((end - now()) / max(round_ns, 1.0))))
            session.run(count)
            rounds += count
        return rounds

    def _loop(self, session: Session, round_ns: float, seconds: float, phase: str, group: int, number: int) -> None:
        start = self._machine.now_ns()
        rounds = self._go(session, round_ns, seconds)
        if rounds:
            self._say_window(phase, start, self._machine.now_ns(), group, number, rounds, self._look())
        self._done += 1
        self._progress("energy", self._done, self._total)

    def _rest(self, seconds: float, phase: str = "idle", number: int = -1, note: str = "") -> None:
        if self._stopped():
            return
        self._machine.rest(min(self._average_s, self._left_s()))
        start = self._machine.now_ns()
        self._machine.rest(min(seconds, self._left_s()))
        end = self._machine.now_ns()
        self._say_window(phase, start, end, MODEL, number, 0, note)
        if not note:
            self._rests.append((start, end))

    def _look(self) -> str:
        """``throttled`` when the board says that it slowed down since the last look, or is slowed down now."""
        signs = self._machine.throttled()
        new = [sign for sign in signs if sign not in self._signs]
        self._signs = signs
        if new and not self._throttled and self._plan["on_throttle"] == "stop":
            self._host.say("message", {"id": "throttle-stop", "text": "energy: stopped because the board slowed itself down (%s)" % new[0]})
        self._throttled += [sign for sign in new if sign not in self._throttled]
        slow = self._machine.slowed_down()
        if slow and not self._throttled:  # it was when this phase began
            self._throttled = signs[-1:] or ["its processor is slowed down"]
        return "throttled" if new or slow else ""

    def _stopped(self) -> bool:
        return bool(self._host.cancelled() or (self._throttled and self._plan["on_throttle"] == "stop") or self._is_late())

    def _is_late(self) -> bool:
        """Whether the job's time limit has passed; says so once."""
        limit = self._job.get("time_limit_s")
        if limit is not None and not self._late and self._machine.now_ns() - self._began_ns > limit * 1e9:
            self._late = True
            self._host.say("message", {"id": "time-limit", "text": "energy: stopped at the time limit of %s s" % limit})
        return self._late

    def _left_s(self) -> float:
        limit = self._job.get("time_limit_s")
        return math.inf if limit is None else max(0.0, limit - (self._machine.now_ns() - self._began_ns) / 1e9)

    def _power(self, start_ns: int, end_ns: int) -> Optional[Dict[str, Any]]:
        """What the supervisor knows of the power then; None when the readings are not on this board."""
        return self._host.ask("power", {"start_ns": start_ns, "end_ns": end_ns}) or None

    def _progress(self, phase: str, done: int, total: int) -> None:
        self._host.say("progress", {"phase": phase, "done": done, "total": total})

    def _say_window(
        self, phase: str, start_ns: int, end_ns: int, group: int = MODEL, number: int = -1, runs: int = 0, note: str = ""
    ) -> None:
        window = {"phase": phase, "start_ns": start_ns, "end_ns": end_ns, "group": group, "round": number, "runs": runs, "note": note}
        self._host.say("window", window)


def _why_nothing(told: Dict[str, Any], rate_hz: float) -> str:
    """Why a window has no power; ``told`` is the supervisor's answer."""
    problem = "".join("; %s" % text for text in told.get("problems", []))
    if told.get("failed"):
        text = "the power sensor gave %d readings that are no measurement: below zero, out of all bounds, or no number"
        return text % int(told["failed"]) + problem
    return "the power sensor gave too few readings: it answered less often than the %.3g times a second it should" % rate_hz + problem


def _loop_of(layers: Isolation, nodes: Sequence[int], time_ns: float) -> Loop:
    copies = layers.most_copies(nodes, max(1, min(MOST_COPIES, math.ceil(ROUND_NS / max(time_ns, 1.0)))))
    return Loop(tuple(nodes), copies, copies * time_ns)


def _is_flat(before: Tuple[float, Optional[float]], now: Tuple[float, Optional[float]]) -> bool:
    steady = abs(now[0] / before[0] - 1) <= FLAT
    return steady and (before[1] is None or now[1] is None or abs(now[1] - before[1]) <= FLAT_C)


def _durations(times: Sequence[int]) -> List[int]:
    return [times[i + 1] - times[i] for i in range(0, len(times), 2)]


def _median(values: Sequence[float]) -> float:
    return float(sorted(values)[len(values) // 2])


def _duration(seconds: float) -> str:
    if seconds < 90:
        return "%.0f s" % seconds
    return "%.0f min" % (seconds / 60) if seconds < 5400 else "%.1f h" % (seconds / 3600)
