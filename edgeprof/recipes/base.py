"""What the steps of `apply` have in common: each takes a model and gives a changed one, with a `Change` for each wish of the recipe.

A step is ``step(work, ...) -> Work``. Nodes of the main graph are named as `Graph` names its layers throughout, so that what is left of an
original node after any step is found by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgeprof.datasets import Dataset
from edgeprof.errors import RecipeError
from edgeprof.models.graph import Graph
from edgeprof.recipes.recipe import Choice, Quantization
from edgeprof.recipes.target import Target


@dataclass(frozen=True)
class Change:
    """What became of one wish of a recipe: the field ``asked`` (precision, prune, sparsity) of ``layer``.

    ``wish`` is what was asked for in words (``int8``, ``25 % of 64 channels``), ``done`` what was made of it, empty when nothing;
    ``reason`` says why it is not what was asked for, in one clause.
    """

    layer: str
    asked: str
    wish: str
    done: str = ""
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Work:
    """A model on its way through the steps.

    ``model``: onnx ModelProto, its nodes named as layers are, initializers inside. ``graph``: the model as it came, by which ``choices``
    name layers. ``data``: for calibration, or None. ``mend``: whether layers are fitted anew after channels were removed. ``notes``:
    sentences for a reader of the result. ``ranges``: smallest and largest value of tensors on that data; what a step finds is added, so
    that the next work on the same model and data has it.
    """

    model: Any
    graph: Graph
    choices: Mapping[str, Choice]
    quantization: Quantization
    target: Target
    data: Dataset | None = None
    mend: bool = True
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)

    def then(self, model: Any, changes: Iterable[Change] = (), notes: Iterable[str] = ()) -> Work:
        """The same work with a changed model."""
        return replace(self, model=model, changes=(*self.changes, *changes), notes=(*self.notes, *notes))

    def needs_data(self, what: str) -> Dataset:
        """The data; RecipeError when there is none, since ``what`` needs it."""
        if self.data is None:
            raise RecipeError(f"{what} needs calibration data: samples that are like those in use. Give them with --data (data=...).")
        return self.data


@dataclass(frozen=True, eq=False)
class Built:
    """A changed model: ``model`` is the bytes of the file, ``parent`` the sha256 of the one that it was made from.

    ``changes`` say what became of each wish of the recipe, ``activation_type`` what ``auto`` meant (empty when nothing is int8).
    """

    model: bytes = field(repr=False)
    recipe_text: str
    parent: str
    name: str
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    activation_type: str = ""

    @property
    def refused(self) -> tuple[Change, ...]:
        """What was asked for and not done."""
        return tuple(change for change in self.changes if not change.done)


def refuse_or_report(work: Work, layer: str, asked: str, wish: str, reason: str) -> Change:
    """The Change for a wish that cannot be met; RecipeError when the recipe calls the layer by its name."""
    choice = work.choices[layer]
    fields = {"prune": ("prune", "channels")}.get(asked, (asked,))
    if choice.named & set(fields):
        line = next((choice.lines.get(name, 0) for name in fields if name in choice.lines), 0)
        raise RecipeError(f"{f'line {line}: ' if line else ''}'{layer}' cannot be {_DONE[asked].format(wish)}: {reason}. Leave it out.")
    return Change(layer, asked, wish, "", reason)


_DONE = {"precision": "made {0}", "prune": "pruned by {0}", "sparsity": "made sparse by {0}"}

Step = Callable[[Work], Work]
