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
from edgeprof.errors import ModelError, ModelNotFound, OutputError, RecipeError
from edgeprof.models import load_model
from edgeprof.models.graph import Graph
from edgeprof.recipes.base import Built, Work
from edgeprof.recipes.recipe import Choice, Decision, Precision, Quantization, Recipe, choices, read_recipe, recipe_text, write_whole
from edgeprof.recipes.target import Target, this_machine

MOST_MODEL_BYTES = 2_000_000_000
"""Of a model with its weights: more does not fit in one protobuf message."""


def apply(
    model: str | os.PathLike[str] | Graph,
    recipe: Recipe | str | os.PathLike[str],
    *,
    data: Any = None,
    target: Target | None = None,
    mend: bool = True,
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
        mend: whether layers are fitted anew after channels were removed; without it a model is built sooner, and is as fast, but answers
            worse: for measuring time.
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
    path = Path(graph.path).absolute()
    if not graph.path or not path.is_file():
        raise ModelNotFound(f"The file of {graph.name} is not at {graph.path or 'any path'}. Give the path of the model.")
    if output is not None:
        _check_output(Path(output), path, graph)
    doing = f"changing {graph.name}"
    order = (path, graph, found, recipe.quantization, target, dataset, mend)
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
    graph = load_model(model)
    return apply(graph, quantize_recipe(precision, exclude, quantization, graph), **options)


def prune(
    model: str | os.PathLike[str] | Graph,
    ratio: float,
    *,
    layers: tuple[str, ...] | list[str] = ("*",),
    importance: Any = None,
    **options: Any,
) -> Built:
    """The short form: ``ratio`` of the output channels of ``layers`` (names or patterns) goes, where it can. ``options``: of `apply`."""
    graph = load_model(model)
    return apply(graph, prune_recipe(ratio, layers, importance, graph), **options)


def quantize_recipe(
    precision: Precision = "int8",
    exclude: tuple[str, ...] | list[str] = (),
    quantization: Quantization | None = None,
    graph: Graph | None = None,
) -> Recipe:
    """The recipe of `quantize`. A name that ``graph`` has is no pattern, whatever letters are in it."""
    decisions = [Decision(pattern="*", precision=precision), *(_selecting(text, graph, precision="fp32") for text in exclude)]
    return Recipe(tuple(decisions), quantization or Quantization())


def prune_recipe(ratio: float, layers: tuple[str, ...] | list[str] = ("*",), importance: Any = None, graph: Graph | None = None) -> Recipe:
    """The recipe of `prune`. A name that ``graph`` has is no pattern, whatever letters are in it."""
    return Recipe(tuple(_selecting(text, graph, prune=ratio, importance=importance) for text in layers))


def write_model(built: Built, path: str | os.PathLike[str]) -> Path:
    """Writes the model to ``path``, whole or not at all; OutputError when it cannot be written."""
    return write_whole(os.fspath(path), built.model)


def _check_output(output: Path, model: Path, graph: Graph) -> None:
    """OutputError when writing to ``output`` would destroy the model."""
    for file, what in [
        (model, "the model itself"),
        *((model.parent / name, "a file of the model's weights") for name in graph.external_files),
    ]:
        if output.resolve() == file.resolve() or (output.exists() and file.exists() and output.samefile(file)):
            raise OutputError(f"{output} is {what}. Name another file.")


def _selecting(text: str, graph: Graph | None, **decided: Any) -> Decision:
    is_name = graph is not None and any(layer.name == text for layer in graph.layers)
    return Decision(layer=text, **decided) if is_name or not any(c in text for c in "*?[") else Decision(pattern=text, **decided)


def _other_model(recipe: Recipe, graph: Graph) -> list[str]:
    if not recipe.model_sha256 or recipe.model_sha256 == graph.digest:
        return []
    return [f"The recipe was written for another model ({recipe.model_sha256[:12]}) than {graph.name} ({graph.digest[:12]})."]


def _apply(
    path: Path, graph: Graph, found: Mapping[str, Choice], settings: Quantization, target: Target, data: Dataset | None, mend: bool
) -> Work:
    """In the process apart. The Work that comes back has the bytes of the file in place of the model, and no data."""
    work = carry_out(Work(load_weights(path, graph), graph, found, settings, target, data, mend))
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

    from edgeprof.models.onnx import digest_of

    size = path.stat().st_size + sum((path.parent / name).stat().st_size for name in graph.external_files)
    if size > MOST_MODEL_BYTES:
        raise RecipeError(f"{graph.name} has {size:,} bytes of weights; models up to {MOST_MODEL_BYTES:,} bytes can be changed.")
    if digest_of(path, graph.external_files) != graph.digest:
        raise ModelError(f"{path.name} is not as it was when it was read: something has written to the file. Load it again.")
    model = onnx.load(path)
    top = [layer for layer in graph.layers if layer.parent is None]
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
