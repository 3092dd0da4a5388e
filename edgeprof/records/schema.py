"""The columns of every table in a Profile: one source for names, units, types and meanings.

Axis titles, report headings, hover texts and the JSON schema are made from this file.
Units are part of the names; a value that was not measured is NaN, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA_VERSION = 2

BETWEEN_LAYERS = "(between layers)"
"""Name of the row that holds what no layer explains: plain median minus the sum of the layers, negative when they sum to more."""


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
    Column("live_memory_bytes", "float64", "Live memory", "B", "Activations in use when the layer ended, its inputs included.", "lower"),
    Column("peak_memory_bytes", "float64", "Peak memory", "B", "Most activations and workspace in use while the layer ran.", "lower"),
    Column("workspace_bytes", "float64", "Workspace", "B", "Temporary bytes that the kernel itself took.", "lower"),
    Column("arithmetic_intensity", "float64", "Arithmetic intensity", "FLOP/B", "2·MACs over weight and activation bytes.", "higher"),
    Column("power_mw", "float64", "Power", "mW", "Mean power above idle while the layer ran.", "lower"),
    Column("energy_mj", "float64", "Energy", "mJ", "Energy above idle a run.", "lower"),
    Column("energy_low_mj", "float64", "Energy, low", "mJ", "Lower end of the 95 % interval of energy_mj."),
    Column("energy_high_mj", "float64", "Energy, high", "mJ", "Upper end of the 95 % interval of energy_mj."),
    Column("energy_closed_mj", "float64", "Energy, closed", "mJ", "energy_mj scaled so that all layers sum to the whole model's.", "lower"),
    Column("latency_isolated_ms", "float64", "Latency, isolated", "ms", "Time in the loop that its power was read in."),
    Column("energy_method", "str", "Energy method", "", "How the energy was obtained, or why it was not."),
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

WINDOW_COLUMNS: tuple[Column, ...] = (
    Column("phase", "str", "Phase", "", "load, warmup, measure, memory, idle, model, layers or cooldown."),
    Column("label", "str", "Label", "", "What ran in it: a block's number, or the layers of a loop."),
    Column("group", "int32", "Group", "", "Loop of the energy measurement: index into context.energy.groups; -1: none."),
    Column("pass", "int32", "Pass", "", "Pass of the energy measurement, from 0; -1: none."),
    Column("start_ms", "float64", "Start", "ms", "Since the start of the job, on the board's clock."),
    Column("end_ms", "float64", "End", "ms", "Since the start of the job, on the board's clock."),
    Column("runs", "int64", "Runs", "", "Runs of the model, or rounds of a loop, that were made in it."),
    Column("note", "str", "Note", "", "throttled, or slow (sampled slowly to see what sampling costs); else empty."),
)

TENSOR_COLUMNS: tuple[Column, ...] = (
    Column("tensor", "str", "Tensor", "", "Name in the executed graph."),
    Column("kind", "str", "Kind", "", "input (held by the caller), activation or output."),
    Column("dtype", "str", "Element type", "", "float32, int8 ..."),
    Column("shape", "str", "Shape", "", "As run, such as 1×16×112×112."),
    Column("size_bytes", "float64", "Size", "B", "Bytes of its elements; NaN when its shape is not known.", "lower"),
    Column("producer", "int32", "Producer", "", "index of the layer that makes it; -1: an input of the model."),
    Column("last_use", "int32", "Last use", "", "index of the last layer that reads it; of an output that of the last layer."),
    Column("storage", "int32", "Storage", "", "Row of the tensor whose memory it takes over (in place), else its own row."),
    Column("at_peak", "bool", "At peak", "", "True when it was alive at the peak of the whole run."),
)

TABLES: dict[str, tuple[Column, ...]] = {
    "layers": LAYER_COLUMNS,
    "runs": RUN_COLUMNS,
    "spans": SPAN_COLUMNS,
    "samples": SAMPLE_COLUMNS,
    "windows": WINDOW_COLUMNS,
    "tensors": TENSOR_COLUMNS,
}

COLUMNS: tuple[str, ...] = tuple(column.name for column in LAYER_COLUMNS)
METRICS: tuple[str, ...] = tuple(column.name for column in LAYER_COLUMNS if column.is_metric)
_BY_NAME = {column.name: column for column in LAYER_COLUMNS}


def column(name: str) -> Column:
    """The layer column of this name; KeyError when there is none."""
    return _BY_NAME[name]
