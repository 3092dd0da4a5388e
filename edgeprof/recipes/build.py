"""`apply`: a model file and a recipe in, the changed model out. The steps do the work, in this order:

1. sparsity (`sparsify`) and structured pruning (`prune`): what goes need not be quantized;
2. weight-only precisions (`weights`), fp16 (`half`), int8 (`quantize`).

All of it runs in a process apart: libraries that crash or eat memory take nothing along.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeprof import apart
from edgeprof.apart import Apart, Told
from edgeprof.datasets import Dataset, load_data
from edgeprof.errors import OutputError, RecipeError
from edgeprof.models import load_model
from edgeprof.models.graph import Graph
from edgeprof.recipes.base import Built, Work
from edgeprof.recipes.recipe import Choice, Decision, Precision, Quantization, Recipe, choices, read_recipe, recipe_text
from edgeprof.recipes.target import Target, this_machine

MOST_MODEL_BYTES = 2_000_000_000
"""Of a model with its weights: more does not fit in one protobuf message."""


def apply(
    model: str | os.PathLike[str] | Graph,
    recipe: Recipe | str | os.PathLike[str],
    *,
    data: Any = None,
    target: Target | None = None,
    output: str | os.PathLike[str] | None = None,
    worker: Apart | None = None,
    told: Told | None = None,
) -> Built:
    """Makes the model that ``recipe`` says of ``model``, and writes it to ``output`` when that is given.

    Args:
        model: path of an ONNX model, or the Graph that `load_model` gave.
        recipe: a Recipe, or the path of a ``.recipe.toml``.
        data: calibration data, which int8, activation-based importance and compensation need (`edgeprof.datasets.load_data`).
        target: the processor that it is meant for; None is this machine's.
        output: the path of the file to write, whole or not at all; never the model itself.
        worker: a process apart to do it in; None starts one.
        told: hears of progress.

    Raises:
        RecipeError: the recipe does not fit the model, a layer that it names cannot be changed so, or there is no data.
        DataError: the data does not fit the model.
        WorkerError: a library failed.
    """
    graph = load_model(model)
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(Path(recipe))
    found = choices(recipe, graph)
    dataset = None if data is None else load_data(data, graph)
    target = target or this_machine()
    if output is not None and Path(output).resolve() == Path(graph.path).resolve():
        raise OutputError(f"{output} is the model itself. Name another file.")
    doing = f"changing {graph.name}"
    order = (graph.path, graph, found, recipe.quantization, target, dataset)
    work = apart.call(doing, _apply, *order, told=told) if worker is None else worker.call(_apply, *order, told=told)
    kind = recipe.quantization.activation_type
    used = any(change.done == "int8" for change in work.changes)
    built = Built(
        model=work.model,
        recipe_text=recipe_text(replace(recipe, model_sha256=recipe.model_sha256 or graph.digest)),
        parent=graph.digest,
        name=graph.name,
        changes=work.changes,
        notes=(*_other_model(recipe, graph), *work.notes),
        activation_type=(target.activation_type if kind == "auto" else kind) if used else "",
    )
    if output is not None:
        write_model(built, output)
    return built


def quantize(
    model: str | os.PathLike[str] | Graph,
    *,
    precision: Precision = "int8",
    exclude: tuple[str, ...] | list[str] = (),
    quantization: Quantization | None = None,
    **options: Any,
) -> Built:
    """The short form: every layer that can be is ``precision``, but those that ``exclude`` names (or matches). ``options``: of `apply`."""
    return apply(model, quantize_recipe(precision, exclude, quantization), **options)


def prune(
    model: str | os.PathLike[str] | Graph,
    ratio: float,
    *,
    layers: tuple[str, ...] | list[str] = ("*",),
    importance: Any = None,
    **options: Any,
) -> Built:
    """The short form: ``ratio`` of the output channels of ``layers`` (names or patterns) goes, where it can. ``options``: of `apply`."""
    return apply(model, prune_recipe(ratio, layers, importance), **options)


def quantize_recipe(
    precision: Precision = "int8", exclude: tuple[str, ...] | list[str] = (), quantization: Quantization | None = None
) -> Recipe:
    """The recipe of `quantize`."""
    decisions = [Decision(pattern="*", precision=precision), *(_selecting(text, precision="fp32") for text in exclude)]
    return Recipe(tuple(decisions), quantization or Quantization())


def prune_recipe(ratio: float, layers: tuple[str, ...] | list[str] = ("*",), importance: Any = None) -> Recipe:
    """The recipe of `prune`."""
    return Recipe(tuple(_selecting(text, prune=ratio, importance=importance) for text in layers))


def write_model(built: Built, path: str | os.PathLike[str]) -> Path:
    """Writes the model to ``path``, whole or not at all; OutputError when it cannot be written."""
    file = Path(path)
    part = file.with_name(f".{file.name}.part")
    try:
        part.write_bytes(built.model)
        part.replace(file)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"{file} cannot be written: {error.strerror or error}. Free space or change permissions, then try again."
        ) from error
    return file


def _selecting(text: str, **decided: Any) -> Decision:
    return Decision(pattern=text, **decided) if any(c in text for c in "*?[") else Decision(layer=text, **decided)


def _other_model(recipe: Recipe, graph: Graph) -> list[str]:
    if not recipe.model_sha256 or recipe.model_sha256 == graph.digest:
        return []
    return [f"The recipe was written for another model ({recipe.model_sha256[:12]}) than {graph.name} ({graph.digest[:12]})."]


def _apply(path: str, graph: Graph, found: Mapping[str, Choice], settings: Quantization, target: Target, data: Dataset | None) -> Work:
    """In the process apart. The Work that comes back has the bytes of the file in place of the model, and no data."""
    work = carry_out(Work(load_weights(Path(path), graph), graph, found, settings, target, data))
    _check(work)
    return replace(work, model=work.model.SerializeToString(), data=None)


def carry_out(work: Work) -> Work:
    """The work after all steps, in the process apart. RecipeError when it cannot be done."""
    from edgeprof.recipes import half, prune, quantize, sparsify, weights

    for number, step in enumerate((sparsify.sparsify, prune.prune, weights.weights_only, half.half, quantize.quantize)):
        apart.tell("change", number, 5)
        work = step(work)
    return work


def load_weights(path: Path, graph: Graph) -> Any:
    """The model with all its weights, its nodes named as ``graph`` names its layers."""
    import onnx

    size = path.stat().st_size + sum((path.parent / name).stat().st_size for name in graph.external_files)
    if size > MOST_MODEL_BYTES:
        raise RecipeError(f"{graph.name} has {size:,} bytes of weights; models up to {MOST_MODEL_BYTES:,} bytes can be changed.")
    model = onnx.load(path)
    top = [layer for layer in graph.layers if layer.parent is None]
    if len(top) != len(model.graph.node):
        raise RecipeError(f"{graph.name} is not as it was when it was read; something writes to the file. Try again.")
    for layer, node in zip(top, model.graph.node, strict=True):
        node.name = layer.name
    return model


def _check(work: Work) -> None:
    """RecipeError when what came out is no valid model: a defect of edgeprof, but never one that is handed on."""
    import onnx

    try:
        onnx.checker.check_model(work.model, full_check=False)
        onnx.shape_inference.infer_shapes(work.model, strict_mode=False)
    except Exception as error:  # onnx's own
        text = " ".join(str(error).split())[:300]
        raise RecipeError(f"The changed {work.graph.name} is no valid model: {text}. Please report this, with the recipe.") from error
