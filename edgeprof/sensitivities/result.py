"""`Sensitivity`: what came of all trials, as a table that can be ranked, kept and made a recipe of."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from edgeprof import units
from edgeprof.analysis.names import shorten
from edgeprof.errors import DataError, UsageError, did_you_mean
from edgeprof.recipes.recipe import Quantization, Recipe
from edgeprof.scoring import MOST_DB
from edgeprof.sensitivities.trials import ALL, excluding, keeping, prune_part
from edgeprof.whatif.quality import Quality

if TYPE_CHECKING:
    import pandas as pd

By = Literal["loss", "saved_ms", "saved_mj", "saved_bytes", "loss_per_ms", "loss_per_mj", "loss_per_byte"]
Better = Literal["higher", "lower"]
Ended = Literal["complete", "interrupted", "out of time"]
RANKINGS: tuple[By, ...] = ("loss", "saved_ms", "saved_mj", "saved_bytes", "loss_per_ms", "loss_per_mj", "loss_per_byte")
COLUMNS: Mapping[str, str] = {
    "layer": "The layer, or (all).",
    "op_type": "Its op type.",
    "decision": "What was decided: a precision, or prune and the part of the channels that goes.",
    "mode": "only, without, weights, activations or all.",
    "status": "done; left: not tried yet; failed: it could not be tried; cannot: the layer cannot have the decision by itself.",
    "loss": "How much worse the score became than that of the compared model; for sqnr_db the noise as a part of the outputs' power.",
    "loss_low": "Lower end of its 95 % interval, over pairs of samples.",
    "loss_high": "Upper end.",
    "changed": "Samples whose score changed.",
    "sqnr_db": "Signal to noise of the outputs against the model as it is, in dB.",
    "sqnr_low_db": "Lower end of its 95 % interval.",
    "sqnr_high_db": "Upper end.",
    "cosine": "Mean cosine of the outputs and those of the model as it is.",
    "saved_ms": "Time that the decision saves on the board; NaN where it is not known.",
    "saved_low_ms": "Lower end of its 95 % interval, where it was measured.",
    "saved_high_ms": "Upper end.",
    "saved_mj": "Energy above idle that it saves.",
    "saved_bytes": "Bytes of the model file that it saves.",
    "saved_basis": "How time and energy are known: measured, measured in place, or estimated.",
    "reason": "Why it was not tried.",
}
_FORMAT = 1
_TEXTS = ("layer", "op_type", "decision", "mode", "status", "saved_basis", "reason")
_PER: Mapping[str, str] = {"loss_per_ms": "saved_ms", "loss_per_mj": "saved_mj", "loss_per_byte": "saved_bytes"}
_SHOWN = 25
_MODE_TITLES: Mapping[str, str] = {"weights": "Weights", "activations": "Activations", "without": "Without"}
"""Of columns with the SQNR in other modes than ``only``."""


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """What each decision costs in answers and saves, layer by layer.

    ``table`` has the columns `COLUMNS`, a row a trial in the model's order. ``metric`` is what ``loss`` is of, ``value`` the model's own
    score, ``samples`` how many it was found on. ``saved_error``: estimates of whole models were off by so much, as a part (95 %); NaN
    unless savings are estimated. ``ended``: whether it was stopped or ran out of time. ``ran``: trials that were carried out now;
    all others were known.
    """

    model_name: str
    model_sha256: str
    metric: str
    value: float
    better: Better
    data: str
    samples: int
    board: str
    quantization: Quantization
    table: pd.DataFrame = field(repr=False)
    saved_error: float = math.nan
    ended: Ended = "complete"
    ran: int = 0

    @property
    def complete(self) -> bool:
        """Whether nothing is left to try."""
        return self.ended == "complete"

    @property
    def decisions(self) -> tuple[str, ...]:
        """The decisions that were tried."""
        return tuple(dict.fromkeys(self.table["decision"].tolist()))

    @property
    def left(self) -> int:
        """How many trials are left."""
        return int((self.table["status"] == "left").sum())

    def ranking(self, by: By = "loss", decision: str | None = None, mode: str = "only") -> pd.DataFrame:
        """The rows of a decision (None: of all) in a mode that were done, ranked.

        1. ``loss``: what costs most first. A loss whose interval holds 0 counts as 0, and noise decides: lowest SQNR first.
        2. ``saved_ms``, ``saved_mj``, ``saved_bytes``: what saves most first.
        3. ``loss_per_ms``, ``loss_per_mj``, ``loss_per_byte``: what costs least for what it saves first: noise over savings, since a loss
           may be 0; what saves nothing comes last. The column of that name is added.
        """
        if by not in RANKINGS:
            raise UsageError(f"by is {by!r}{did_you_mean(by, RANKINGS)}; it can be one of {', '.join(RANKINGS)}.")
        table = self._rows(decision, mode)
        if by == "loss":
            sure = table["loss"].where(~((table["loss_low"] <= 0) & (table["loss_high"] >= 0)), 0.0)
            return table.assign(_sure=sure).sort_values(["_sure", "sqnr_db"], ascending=[False, True], kind="stable").drop(columns="_sure")
        if by in _PER:
            saved = table[_PER[by]]
            table = table.assign(**{by: (table["sqnr_db"].map(noise_of) / saved).where(saved > 0)})
            return table.sort_values(by, ascending=True, kind="stable", na_position="last")
        return table.sort_values(by, ascending=False, kind="stable", na_position="last")

    def noise(self) -> dict[tuple[str, str], float]:
        """(layer, decision) -> noise that the decision alone adds to the outputs, as a part of their power."""
        rows = self._rows(None, "only")
        return {
            (layer, decision): noise_of(db) for layer, decision, db in zip(rows["layer"], rows["decision"], rows["sqnr_db"], strict=True)
        }

    def quality(self, decision: str) -> Quality:
        """What several layers with a decision cost together, from what was tried: noise adds up, and loss is a curve over noise.

        Where the whole model was tried, noise is scaled so that all layers together have what was found there.
        """
        noise = {key: value for key, value in self.noise().items() if key[1] == decision}
        done = self._rows(decision, None)
        together = done.loc[done["mode"] == "all", "sqnr_db"].map(noise_of)
        total = math.fsum(value for value in noise.values() if not math.isnan(value))
        factor = float(together.iloc[0]) / total if len(together) and total > 0 and together.iloc[0] > 0 else 1.0
        points = done[done["mode"].isin(["only", "without", "all"]) & done["loss"].notna() & done["sqnr_db"].notna()]
        pairs = [(noise_of(db), loss) for db, loss in zip(points["sqnr_db"], points["loss"], strict=True)]
        return Quality({key: value * factor for key, value in noise.items()}, self.metric, self.value, self.better, tuple(pairs))

    def predicted_loss(self, excluded: Sequence[str], decision: str = "int8") -> float:
        """The loss to expect when all layers that were tried have a decision but ``excluded``; for sqnr_db the noise. An estimate."""
        quality = self.quality(decision)
        noise = math.fsum(value for (layer, _), value in quality.noise.items() if layer not in set(excluded))
        return noise if self.metric == "sqnr_db" else quality.loss(noise)

    def nodes_to_exclude(self, most_loss: float, decision: str = "int8") -> list[str]:
        """The layers to leave as they are so that the loss stays within ``most_loss``: the noisiest, as few as will do.

        Loss as in the table: 0.005 is half a point of top1, and for sqnr_db 0.01 is 20 dB. Layers that were not tried, or failed, are
        excluded too. See `quality` for what is assumed.
        """
        if math.isnan(most_loss) or most_loss < 0:
            raise UsageError(f"most_loss is {most_loss}; give how much worse the score may become, 0 or more.")
        quality = self.quality(decision)
        loud = sorted(quality.noise, key=lambda key: -_or_inf(quality.noise[key]))
        unknown = self.table[
            (self.table["decision"] == decision) & (self.table["mode"] == "only") & self.table["status"].isin(["left", "failed"])
        ]
        excluded = list(dict.fromkeys(unknown["layer"].tolist()))
        for layer, _ in loud:
            if self.predicted_loss(excluded, decision) <= most_loss:
                break
            excluded.append(layer)
        return self._ordered(excluded)

    def recipe(self, most_loss: float, decision: str = "int8") -> Recipe:
        """The recipe that gives all layers a decision but `nodes_to_exclude`."""
        excluded = self.nodes_to_exclude(most_loss, decision)
        name = f"{decision} but {len(excluded)} layer{'s' * (len(excluded) != 1)}" if excluded else f"all {decision}"
        if prune_part(decision) is None:
            made = excluding(decision, excluded, self.quantization, name)
        else:
            kept = [layer for layer, own in self.noise() if own == decision and layer not in excluded]
            made = keeping(decision, kept, self.quantization, name)
        return Recipe(made.decisions, made.quantization, made.name, self.model_sha256)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes it as JSON, whole or not at all, and returns the path. OutputError when it cannot be written."""
        from edgeprof.records.bundle import write_atomically

        file = Path(path)
        write_atomically(file, json.dumps(self.record(), indent=1, allow_nan=False).encode())
        return file

    def record(self) -> dict[str, Any]:
        """All of it as plain data; NaN is None."""
        told = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("table", "quantization")}
        rows = [{name: _plain(value) for name, value in row.items()} for row in self.table.to_dict("records")]
        return {
            "format": _FORMAT,
            **{name: _plain(value) for name, value in told.items()},
            "quantization": asdict(self.quantization),
            "trials": rows,
        }

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Sensitivity:
        """What `save` wrote. DataError when that is something else."""
        file = Path(path)
        try:
            told = json.loads(file.read_bytes())
            return cls._read(told)
        except OSError as error:
            raise DataError(f"There is no sensitivity to read at {file}: {error.strerror or error}. Check the path.") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{file.name} is no sensitivity that this edgeprof can read. Make it anew: edgeprof sensitivity.") from error

    @classmethod
    def _read(cls, told: Mapping[str, Any]) -> Sensitivity:
        if told["format"] != _FORMAT:
            raise ValueError("another format")
        value, error = (math.nan if told[name] is None else float(told[name]) for name in ("value", "saved_error"))
        if told["better"] not in get_args(Better) or told["ended"] not in get_args(Ended):
            raise ValueError("not one of the words that are known")
        return cls(
            model_name=str(told["model_name"]),
            model_sha256=str(told["model_sha256"]),
            metric=str(told["metric"]),
            value=value,
            better=told["better"],
            data=str(told["data"]),
            samples=int(told["samples"]),
            board=str(told["board"]),
            quantization=Quantization(**told["quantization"]),
            table=table_of([dict(row) for row in told["trials"]]),
            saved_error=error,
            ended=told["ended"],
            ran=int(told["ran"]),
        )

    def __repr__(self) -> str:
        done = int((self.table["status"] == "done").sum())
        rest = f", {self.left} left" if self.left else ""
        return f"<Sensitivity of {shorten(self.model_name)}: {', '.join(self.decisions)}; {done} trials on {self.samples} samples{rest}>"

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(text)}</th>" for text in self.headings())
        body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in self.rows(_SHOWN))
        more = max(0, len(self._rows(None, "only")) - _SHOWN)
        rest = f"<p>{more} more, see table.</p>" if more else ""
        return f"<p>{escape(repr(self)[1:-1])}</p><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"

    def notes(self) -> list[str]:
        """Sentences on the whole: the model's own score, the model in which all layers have a decision, and how savings are known."""
        scale, unit = (100, " %") if self.metric == "top1" else (1, "")
        found = [] if self.metric == "sqnr_db" else [f"The model's own {self.metric}: {self.value * scale:.4g}{unit}."]
        for row in self._rows(None, "all").to_dict("records"):
            saved = [word for word in self._saved(row) if word != units.MISSING]
            loss = "" if self.metric == "sqnr_db" else f"loss {self.show_loss(row)}, "
            found.append(f"All layers {row['decision']}: {loss}SQNR {show_db(row['sqnr_db'])}; saves {', '.join(saved)}.")
        basis = set(self.table["saved_basis"])
        if "measured in place" in basis:
            found.append(f"Time saved is measured on {self.board}, layer by layer in the whole model; changes of format are not in it.")
        if "estimated" in basis:
            off = "" if math.isnan(self.saved_error) else f"; whole models were estimated within {self.saved_error:.1%}"
            found.append(f"Time saved (~) is estimated from variants measured on {self.board}, changes of format included{off}.")
        return found

    def headings(self) -> list[str]:
        """Titles of `rows`."""
        loss = "Noise" if self.metric == "sqnr_db" else f"Loss of {shorten(self.metric, 24)}"
        return ["Layer", *self._decision("Decision"), loss, "SQNR", *self._mode_titles(), *self._saved_titles()]

    def rows(self, most: int | None = None, by: By = "loss", decision: str | None = None) -> list[list[str]]:
        """A ranking as texts: a row a layer and decision, modes side by side."""
        ranked = self.ranking(by, decision)
        db = {(row["layer"], row["decision"], row["mode"]): row["sqnr_db"] for row in self._rows(decision, None).to_dict("records")}
        found = []
        for row in ranked.head(most if most is not None else len(ranked)).to_dict("records"):
            modes = [show_db(db.get((row["layer"], row["decision"], mode), math.nan)) for mode in self._modes]
            words = [shorten(row["layer"], 40), *self._decision(row["decision"]), self.show_loss(row)]
            found.append([*words, show_db(row["sqnr_db"]), *modes, *self._saved(row)])
        return found

    def show_loss(self, row: Mapping[Any, Any]) -> str:
        """A row's loss with its interval, in points where it is a share."""
        value, low, high = (row[name] for name in ("loss", "loss_low", "loss_high"))
        if math.isnan(value):
            return units.MISSING
        if self.metric == "sqnr_db":
            return f"{value:.2g}"
        scale, form = (100, "+.1f") if self.metric == "top1" else (1, "+.3g")
        ends = "" if math.isnan(low) else f" [{low * scale:{form}}, {high * scale:{form}}]"
        return f"{value * scale:{form}}{' pt' * (self.metric == 'top1')}{ends}"

    @cached_property
    def _has(self) -> tuple[bool, bool]:
        return bool(self.table["saved_ms"].notna().any()), bool(self.table["saved_mj"].notna().any())

    def _decision(self, text: str) -> list[str]:
        """In a column of its own only where there are several."""
        return [text] * (len(self.decisions) > 1)

    @cached_property
    def _modes(self) -> list[str]:
        done = set(self._rows(None, None)["mode"])
        return [mode for mode in _MODE_TITLES if mode in done]

    def _mode_titles(self) -> list[str]:
        return [_MODE_TITLES[mode] for mode in self._modes]

    def _saved_titles(self) -> list[str]:
        return [*["Saves"] * self._has[0], *["Energy"] * self._has[1], "File"]

    def _saved(self, row: Mapping[Any, Any]) -> list[str]:
        mark = "~" if row["saved_basis"] == "estimated" else ""
        time = units.MISSING if math.isnan(row["saved_ms"]) else f"{mark}{units.latency(row['saved_ms'])}"
        energy = units.MISSING if math.isnan(row["saved_mj"]) else f"{mark}{units.energy(row['saved_mj'])}"
        size = units.MISSING if math.isnan(row["saved_bytes"]) else units.size(row["saved_bytes"])
        return [*[time] * self._has[0], *[energy] * self._has[1], size]

    def _rows(self, decision: str | None, mode: str | None) -> pd.DataFrame:
        if decision is not None and decision not in self.decisions:
            raise UsageError(f"'{decision}' was not tried{did_you_mean(decision, self.decisions)}. There are: {', '.join(self.decisions)}.")
        table = self.table[self.table["status"] == "done"]
        table = table if decision is None else table[table["decision"] == decision]
        return table if mode is None else table[(table["mode"] == mode) & ((table["layer"] != ALL) | (mode == "all"))]

    def _ordered(self, names: Sequence[str]) -> list[str]:
        order = {name: place for place, name in enumerate(dict.fromkeys(self.table["layer"].tolist()))}
        return sorted(names, key=order.__getitem__)


def table_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table with exactly `COLUMNS`; what is None or missing is NaN, or an empty text."""
    import pandas as pd

    blanks: dict[str, Any] = {name: "" if name in _TEXTS else math.nan for name in COLUMNS}
    full = [{name: row[name] if row.get(name) is not None else blank for name, blank in blanks.items()} for row in rows]
    kinds = {name: "str" if name in _TEXTS else "float64" for name in COLUMNS}
    table = pd.DataFrame(full, columns=list(COLUMNS))
    return table.astype({name: kind for name, kind in kinds.items() if kind == "float64"})


def noise_of(db: float) -> float:
    """SQNR as the noise's part of the signal's power; 0 where nothing differs at all."""
    return 0.0 if db >= MOST_DB else math.nan if math.isnan(db) else 10 ** (-db / 10)


def show_db(db: float) -> str:
    """``31.4 dB``; ``exact`` where nothing differs."""
    return units.MISSING if math.isnan(db) else "exact" if db >= MOST_DB else f"{db:.1f} dB"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _or_inf(value: float) -> float:
    return math.inf if math.isnan(value) else value
