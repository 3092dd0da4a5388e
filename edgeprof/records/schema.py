"""The columns of every table in a Profile: one source for names, units, types and meanings.

Axis titles, report headings, hover texts and the JSON schema are made from this file.
Units are part of the names; a value that was not measured is NaN, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 1

BETWEEN_LAYERS = "(between layers)"
"""Name of the row that holds what no layer explains: plain median minus the sum of the layers, negative when they sum to more."""

ENERGY_UNIT = "mJ"

Kind = Literal["layer", "inserted", "nested", "between"]
"""``layer``: carries out original nodes; ``inserted``: added by the runtime (reorder, cast, copy); ``nested``: runs
inside an If, Loop, Scan or function, its time is not part of its parent's row; ``between``: `BETWEEN_LAYERS`."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    ``dtype`` is a pandas dtype, or ``"list"`` (a Python list of str) or ``"str"``. ``title`` is for people, with no unit;
    ``unit`` stands behind it where one is shown. ``better`` says which way is better for a person.
    """

    name: str
    dtype: str
    title: str
    unit: str
    meaning: str
    better: Literal["lower", "higher", ""] = ""

    @property
    def heading(self) -> str:
        """Title with unit, as on an axis: ``Latency (ms)``."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def is_metric(self) -> bool:
        """True when the column is a number that a heatmap or chart can show."""
        return self.dtype == "float64"


LAYER_COLUMNS: tuple[Column, ...] = (
    Column("index", "int64", "Index", "", "Position in the order of execution, from 0."),
    Column("name", "str", "Layer", "", "Unique name: that of the original node the layer is about, else the runtime's own."),
    Column("runtime_name", "str", "Runtime's name", "", "What the runtime calls the layer in its optimised graph and its trace."),
    Column("op_type", "str", "Op type", "", "Operator of the executed layer, as the runtime names it."),
    Column("kind", "str", "Kind", "", "layer, inserted (by the runtime), nested, or between."),
    Column("parent", "str", "Parent", "", "Name of the control-flow layer it runs inside, or empty."),
    Column("source_nodes", "list", "Original nodes", "", "Names of the model's own nodes that this layer carries out."),
    Column("provider", "str", "Provider", "", "Execution provider that ran it."),
    Column("precision", "str", "Precision", "", "Element type the layer computes in (float32, float16, int8 ...)."),
    Column("output_shape", "str", "Output shape", "", "Shape of the first output as run, such as 1×16×112×112."),
    Column("latency_ms", "float64", "Latency", "ms", "Typical time a run: middle runs and blocks, corrected for the instrument.", "lower"),
    Column("latency_low_ms", "float64", "Latency, low", "ms", "Lower end of the 95 % interval of latency_ms."),
    Column("latency_high_ms", "float64", "Latency, high", "ms", "Upper end of the 95 % interval of latency_ms."),
    Column("latency_p95_ms", "float64", "Latency p95", "ms", "95th percentile over runs, corrected.", "lower"),
    Column("latency_raw_ms", "float64", "Latency, raw", "ms", "Median as the runtime's profiler says it, not corrected.", "lower"),
    Column("share", "float64", "Share", "", "latency_ms over the plain median latency of the whole model (0 to 1).", "lower"),
    Column("calls", "float64", "Calls", "", "Times the layer ran in one run of the model (1; more inside a Loop)."),
    Column("macs", "float64", "MACs", "", "Multiply-accumulate operations a run, counted from the model.", "lower"),
    Column("param_bytes", "float64", "Weights", "B", "Bytes of the weights and constants the layer reads, from the model file.", "lower"),
    Column("activation_bytes", "float64", "Activations", "B", "Bytes of the activations read and written, from shapes.", "lower"),
    Column("peak_memory_bytes", "float64", "Peak memory", "B", "Most bytes in use while the layer ran.", "lower"),
    Column("workspace_bytes", "float64", "Workspace", "B", "Temporary bytes that the kernel itself took.", "lower"),
    Column("arithmetic_intensity", "float64", "Arithmetic intensity", "FLOP/B", "2·MACs over weight and activation bytes.", "higher"),
    Column("power_mw", "float64", "Power", "mW", "Mean power above idle while the layer ran.", "lower"),
    Column("energy_mj", "float64", "Energy", "mJ", "Energy above idle a run.", "lower"),
    Column("energy_low_mj", "float64", "Energy, low", "mJ", "Lower end of the 95 % interval of energy_mj."),
    Column("energy_high_mj", "float64", "Energy, high", "mJ", "Upper end of the 95 % interval of energy_mj."),
    Column("energy_method", "str", "Energy method", "", "How the energy was obtained; empty when it was not."),
)

RUN_COLUMNS: tuple[Column, ...] = (
    Column("run", "int64", "Run", "", "Position among all runs of the profile, from 0, in the order they ran."),
    Column("block", "int64", "Block", "", "Block of interleaved runs it belongs to."),
    Column("instrumented", "bool", "Instrumented", "", "True when the runtime's profiler was on."),
    Column("start_ms", "float64", "Start", "ms", "Start of the run since the start of the job, on the board's clock."),
    Column("latency_ms", "float64", "Latency", "ms", "Time of the whole run, as measured from outside it."),
    Column("outlier", "bool", "Outlier", "", "True when the run lies over 5 scaled MADs above the median of its kind."),
)

SPAN_COLUMNS: tuple[Column, ...] = (
    Column("layer", "int32", "Layer", "", "index of the layer in the layer table."),
    Column("run", "int32", "Run", "", "run of the run table (always an instrumented one)."),
    Column("start_ms", "float64", "Start", "ms", "Start of the layer's first call since the start of the job, on the board's clock."),
    Column("latency_raw_ms", "float32", "Latency, raw", "ms", "Time as the runtime's profiler says it, summed over calls."),
    Column("latency_ms", "float32", "Latency", "ms", "The same, corrected for the instrument, without nested layers."),
)

SAMPLE_COLUMNS: tuple[Column, ...] = (
    Column("time_ms", "float64", "Time", "ms", "Since the start of the job, on the board's clock."),
    Column("channel", "str", "Channel", "", "What was sampled, its unit as the ending of the name."),
    Column("value", "float64", "Value", "", "In the channel's unit."),
)

TABLES: dict[str, tuple[Column, ...]] = {
    "layers": LAYER_COLUMNS,
    "runs": RUN_COLUMNS,
    "spans": SPAN_COLUMNS,
    "samples": SAMPLE_COLUMNS,
}

COLUMNS: tuple[str, ...] = tuple(column.name for column in LAYER_COLUMNS)
METRICS: tuple[str, ...] = tuple(column.name for column in LAYER_COLUMNS if column.is_metric)
_BY_NAME = {column.name: column for column in LAYER_COLUMNS}


def column(name: str) -> Column:
    """The layer column of this name; KeyError when there is none."""
    return _BY_NAME[name]
