"""`Desk`: what lies before a person at the Workbench: candidates, what is selected, what is decided, and what that would bring.

Nothing here takes long. Methods may be called from any thread; listeners are called from the thread that changed something, and hold no
lock.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from edgeprof.boards.base import Board
from edgeprof.errors import UsageError, did_you_mean
from edgeprof.models.graph import Graph
from edgeprof.recipes.recipe import Precision, Recipe
from edgeprof.recipes.target import Target, target_of, this_machine
from edgeprof.records.profile import Profile
from edgeprof.searching.constraints import Constraints
from edgeprof.searching.search import Knowledge
from edgeprof.whatif import Costs
from edgeprof.workbench import edits
from edgeprof.workbench.candidates import BASE, Candidate, named, titled
from edgeprof.workbench.past import Past
from edgeprof.workbench.previews import learning_s, plain_costs, preview
from edgeprof.workbench.selection import Held, Rows, Selection, found_in, hold, rows_of, selection_of
from edgeprof.workbench.state import MOST_RECIPES

Kinds = frozenset[str]
LIVE = "live"
_PREVIEWS = 64


class Desk:
    """The state of a Workbench; `Bench` adds the work in the background and the files. See there for what is given."""

    def __init__(
        self,
        graph: Graph | None,
        why_not: str,
        given: Sequence[Profile],
        *,
        board: str | Board,
        options: Mapping[str, Any],
        constraints: Constraints,
        precisions: Sequence[Precision],
        widths: Sequence[float],
        mixed: int,
        samples: int,
        can_calibrate: bool,
    ) -> None:
        self.graph = graph
        self.why_not = why_not
        self.board = board
        self.options = dict(options)
        self.constraints = constraints
        self.precisions, self.widths, self.mixed = tuple(precisions), tuple(widths), mixed
        self.findings: list[str] = []
        self._samples = samples
        self._given = {f"p{number}": profile for number, profile in enumerate(given, 1)}
        self._live: Profile | None = None
        self._able = edits.Able(graph, can_calibrate=can_calibrate) if graph is not None and not why_not else None
        self._lock = threading.RLock()
        self._listeners: list[Callable[[Kinds], object]] = []
        self._candidates: dict[str, Candidate] = {BASE: Candidate(BASE, graph.name)} if graph is not None and not why_not else {}
        self._count = 0
        self._knowledge: Knowledge | None = None
        self._took_s = math.nan
        self._shown = BASE if self.can_decide else next(iter(self._given), "")
        self._selected: Past[Held] = Past([Held()])
        self._recipes: Past[Recipe] = Past([Recipe()], most=MOST_RECIPES)
        self._plain: tuple[Profile | None, Costs] | None = None
        self._rows: dict[str, tuple[Profile | None, Rows]] = {}
        self._previews: dict[tuple[Any, ...], tuple[dict[str, Any], Profile | None, Knowledge | None]] = {}

    # What there is

    @property
    def can_decide(self) -> bool:
        """Whether there is a model to change."""
        return self.graph is not None and not self.why_not

    @property
    def base(self) -> Profile | None:
        """The measured profile of the model as it is; where there is no model to change, the first profile that was given."""
        with self._lock:
            if BASE in self._candidates:
                return self._candidates[BASE].measured
            return next(iter(self._given.values()), None)

    @property
    def candidates(self) -> list[Candidate]:
        """The model as it is, and recipes in the order in which they were first tried."""
        with self._lock:
            return list(self._candidates.values())

    @property
    def profiles(self) -> list[Profile]:
        """All there are, for charts: the model, of each candidate estimate and measurement, and those that were given."""
        with self._lock:
            own = [profile for one in self._candidates.values() for profile in (one.estimated, one.measured) if profile is not None]
            return [*own, *self._given.values()]

    @property
    def subjects(self) -> dict[str, Profile]:
        """What can be shown, by its key: of each candidate the measurement, else the estimate; profiles that were given; what is live."""
        with self._lock:
            found = {key: one.profile for key, one in self._candidates.items()} | self._given | {LIVE: self._live}
        return {key: profile for key, profile in found.items() if profile is not None}

    def profile_of(self, key: str) -> Profile | None:
        """What is known under a key: measured, else estimated; None when nothing is yet. UsageError when there is no such key."""
        with self._lock:
            if key in self._candidates:
                return self._candidates[key].profile
            if key == LIVE:
                return self._live
            if key in self._given:
                return self._given[key]
            raise UsageError(
                f"There is no {str(key)[:60]!r} here{did_you_mean(str(key)[:60], self._keys())}. There are: {', '.join(self._keys())}."
            )

    @property
    def live(self) -> Profile | None:
        """What has arrived of the measurement that is under way; whoever follows its events sets it."""
        return self._live

    @live.setter
    def live(self, profile: Profile | None) -> None:
        with self._changing("profiles", keep=False):
            self._live = profile

    @property
    def knowledge(self) -> Knowledge | None:
        """What was learned of the board; None before."""
        return self._knowledge

    def on_change(self, callback: Callable[[Kinds], object]) -> Callable[[], None]:
        """Calls ``callback`` with the kinds of what changed: selection, shown, recipe, candidates, tasks, profiles, knowledge.

        It is called from any thread; what it raises is kept in ``findings``. Returns a function that ends it.
        """
        with self._lock:
            self._listeners.append(callback)

        def end() -> None:
            with self._lock, contextlib.suppress(ValueError):
                self._listeners.remove(callback)

        return end

    # What is shown and selected

    @property
    def shown(self) -> str:
        """The key of what views show; set it to another. What is selected is found again there."""
        return self._shown

    @shown.setter
    def shown(self, key: str) -> None:
        self.profile_of(key)  # there is one
        if key != self._shown:
            with self._changing("shown", "selection"):
                self._shown = key

    @property
    def selection(self) -> Selection:
        """What is selected. Set it to a Selection, to names of layers of what is shown, or to a dict of the parts that change."""
        with self._lock:
            return self._found(self._selected.now)

    @selection.setter
    def selection(self, given: Selection | Mapping[str, Any] | Iterable[str] | None) -> None:
        with self._lock:
            tag, rows = self._tag_and_rows()
            now = self._found(self._selected.now)
            new = selection_of(given, now, rows, self._keys())
            if new == now:
                return
            self._selected.put(hold(new, tag, rows))
        self._changed("selection")

    def back(self) -> bool:
        """Selects what was selected before; False when there is nothing."""
        return self._moved(Past.back)

    def forward(self) -> bool:
        """Selects what was gone back from; False when there is nothing."""
        return self._moved(Past.forward)

    @property
    def can_go(self) -> tuple[bool, bool]:
        """Whether there is a selection to go back to, and one to go forward to."""
        with self._lock:
            return self._selected.can_back, self._selected.can_forward

    def original(self, layers: Iterable[str] | None = None) -> tuple[str, ...]:
        """The original nodes of ``layers`` of what is shown; None is those that are selected."""
        with self._lock:
            _, rows = self._tag_and_rows()
            return rows.original(self.selection.layers if layers is None else rows.named(_names(layers)))

    # The recipe

    @property
    def recipe(self) -> Recipe:
        """What is decided. Set it to another; RecipeError when that does not fit the model."""
        return self._recipes.now

    @recipe.setter
    def recipe(self, recipe: Recipe) -> None:
        if not isinstance(recipe, Recipe):
            raise UsageError(f"The recipe is a {type(recipe).__name__}; give a Recipe (edgeprof.recipes), or read one with load_recipe.")
        self._deciding().said(recipe)
        with self._lock:
            moved = self._recipes.put(recipe)
        self._told_of_recipe(moved)

    @property
    def decisions(self) -> list[dict[str, Any]]:
        """The recipe as entries to show; see `edits.listed`."""
        return edits.listed(self._able, self.recipe) if self._able is not None else []

    def decide(
        self,
        layers: Iterable[str] | None = None,
        *,
        precision: str | None = None,
        prune: float | None = None,
        sparsity: float | None = None,
    ) -> dict[str, Any]:
        """Decides for ``layers`` of what is shown, by their original nodes; None is those that are selected.

        Returns ``layers`` that it was decided for, ``along`` those that go with them (of the same group when pruned, or 8-bit with what
        they read), and ``left``, why not the others. UsageError when none of them can have it.
        """
        able = self._deciding()
        with self._lock:
            made = edits.decide(able, self.recipe, self.original(layers), precision=precision, prune=prune, sparsity=sparsity)
            moved = self._recipes.put(made.recipe)
        self._told_of_recipe(moved)
        return {"layers": list(made.done), "along": list(made.along), "left": dict(made.left)}

    def reset(self, layers: Iterable[str] | None = None) -> None:
        """Takes back what is decided for ``layers`` of what is shown; None is those that are selected, or all when none is."""
        able = self._deciding()
        with self._lock:
            nodes = self.original(layers) if layers is not None or self.selection.layers else None
            moved = self._recipes.put(edits.reset(able, self.recipe, nodes))
        self._told_of_recipe(moved)

    def remove(self, index: int) -> None:
        """Removes an entry of ``decisions``."""
        able = self._deciding()
        with self._lock:
            moved = self._recipes.put(edits.remove(able, self.recipe, index))
        self._told_of_recipe(moved)

    def undo(self) -> bool:
        """Takes the last change of the recipe back; False when there is none."""
        return self._moved(Past.back, recipe=True)

    def redo(self) -> bool:
        """Makes the change again that was taken back; False when there is none."""
        return self._moved(Past.forward, recipe=True)

    @property
    def can_undo(self) -> bool:
        """Whether there is a change to take back."""
        return self._recipes.can_back

    @property
    def can_redo(self) -> bool:
        """Whether there is a change to make again."""
        return self._recipes.can_forward

    def possible(self, layers: Iterable[str] | None = None) -> dict[str, Any]:
        """What can be decided for ``layers`` of what is shown; None is those that are selected.

        ``precisions``: each with "" or why not; ``prune`` and ``sparsity``: the same; ``group``: all that lose channels together with them;
        ``layers``: their original nodes; ``current``: what is decided now, "mixed" where that differs, None where it does not apply.
        """
        if self._able is None:
            none = dict.fromkeys(("fp32", *self.precisions), self.why_not)
            return {"precisions": none, "prune": self.why_not, "sparsity": self.why_not, "group": [], "layers": [],
                    "current": dict.fromkeys(("precision", "prune", "sparsity"))}  # fmt: skip
        return edits.possible(self._able, self.recipe, self.original(layers), self.precisions)

    def preview(self, recipe: Recipe | None = None) -> dict[str, Any]:
        """What a recipe would bring, at once; None is the one that is being decided.

        For each of latency_ms, energy_mj, peak_memory_bytes, model_bytes, score (with its ``metric`` and which is ``better``) and macs:
        ``before``, ``after`` with its interval ``low`` to ``high``, and ``change``, after less before, all NaN where it is not known; then
        ``why`` says why. ``limit`` is that of the constraints, and ``over`` whether it is exceeded. ``known`` is False while the board was
        not learned or where the recipe does not fit, ``why`` says so, ``seconds`` about how long learning will take.
        """
        recipe = self.recipe if recipe is None else recipe
        self._deciding()
        with self._lock:
            base, known = self.base, self._knowledge
        key = (recipe.decisions, recipe.quantization, id(base), id(known), self.constraints)
        kept = self._previews.get(key)
        if kept is None:
            plain = known is None
            costs = known.costs if known is not None else self._plain_costs(base)
            told = preview(
                costs, recipe, base=base, knowledge=known, constraints=self.constraints, learning_s=self._learning_s(base) if plain else 0.0
            )
            if len(self._previews) >= _PREVIEWS:
                self._previews = {}
            kept = self._previews[key] = (told, base, known)  # while they are held, nothing else has their ids
        return {name: dict(value) if isinstance(value, dict) else value for name, value in kept[0].items()}

    # The candidates

    def rename(self, key: str, name: str) -> None:
        """Gives a candidate another name."""
        with self._changing("candidates", "profiles"):
            one = self._known(key)
            self._candidates[key] = self._dressed(replace(one, name=str(name).strip()[:200] or one.name))

    def drop(self, key: str) -> None:
        """Takes a candidate off the list. What was built and measured stays in the study."""
        if self._known(key).key == BASE:
            raise UsageError("The model as it is stays. Drop a candidate.")
        with self._changing("candidates", "profiles", "shown", "selection"):
            del self._candidates[key]
            self._shown = BASE if self._shown == key else self._shown

    # Inside

    def _keep(self) -> None:
        """Has what changed written soon, where there is a place for it."""

    def _deciding(self) -> edits.Able:
        if self._able is None:
            raise UsageError(self.why_not)
        return self._able

    def _candidate(self, key: str | None = None, empty: str = "") -> Candidate:
        """The candidate ``key``, or that of the recipe that is now, made where there is none; ``empty`` is that of an empty recipe."""
        able = self._deciding()
        if key is not None:
            return self._known(key)
        recipe = self.recipe
        if not recipe.decisions:
            if empty:
                return self._known(empty)
            raise UsageError("The recipe decides nothing yet. Select layers and decide something for them.")
        with self._lock:
            found = next((one for one in self._candidates.values() if one.is_of(recipe)), None)
            if found is not None:
                return found
            name = named(recipe.name or edits.describe(able, recipe), {one.name for one in self._candidates.values()})
            self._count += 1
            found = Candidate(f"c{self._count}", name, replace(recipe, name=name, model_sha256=able.graph.digest))
            self._candidates[found.key] = found
        self._changed("candidates")
        return found

    def _known(self, key: str) -> Candidate:
        with self._lock:
            if key not in self._candidates:
                raise UsageError(f"There is no candidate {str(key)[:60]!r}{did_you_mean(str(key)[:60], self._candidates)}.")
            return self._candidates[key]

    def _recipe_of(self, key: str) -> Recipe:
        recipe = self._known(key).recipe
        if recipe is None:
            raise UsageError("The model as it is has no recipe.")
        return recipe

    def _update(self, key: str, **found: Any) -> Candidate:
        with self._changing("candidates", *(("profiles",) if {"estimated", "measured"} & found.keys() else ())):
            one = self._dressed(replace(self._known(key), **found))
            self._candidates[key] = one
        return one

    def _dressed(self, one: Candidate) -> Candidate:
        """With its name in the titles of its profiles."""
        if one.recipe is None or self.graph is None:
            return one
        title = f"{self.graph.name}, {one.name}"
        estimated, measured = (titled(profile, title) if profile is not None else None for profile in (one.estimated, one.measured))
        return replace(one, estimated=estimated, measured=measured)

    def _told_of_recipe(self, moved: bool) -> None:
        if moved:
            self._changed("recipe")

    def _moved(self, move: Callable[[Past[Any]], bool], *, recipe: bool = False) -> bool:
        with self._lock:
            moved = move(self._recipes if recipe else self._selected)
        if moved:
            self._changed("recipe" if recipe else "selection")
        return moved

    def _keys(self) -> list[str]:
        return [*self._candidates, *self._given, *([LIVE] if self._live is not None else [])]

    def _found(self, held: Held) -> Selection:
        tag, rows = self._tag_and_rows()
        return found_in(held, tag, rows, self._keys())

    def _tag_and_rows(self) -> tuple[str, Rows]:
        """The rows of what is shown, and what tells them from those of another profile."""
        profile = self.profile_of(self._shown) if self._shown else None
        tag = f"{self._shown} {profile.origin if profile is not None else 'model'}"
        known = self._rows.get(tag)
        if known is None or known[0] is not profile:
            known = self._rows[tag] = (profile, rows_of(profile, self.graph))
        return tag, known[1]

    @property
    def board_name(self) -> str:
        """What the board is called."""
        return self.board if isinstance(self.board, str) else self.board.name

    def _usable(self) -> tuple[Precision, ...]:
        """Precisions that can be built: int8 needs something to calibrate with."""
        return tuple(one for one in self.precisions if one != "int8" or (self._able is not None and self._able.can_calibrate))

    def _plain_costs(self, base: Profile | None) -> Costs:
        kept = self._plain
        if kept is None or kept[0] is not base:
            kept = self._plain = (base, plain_costs(self._deciding().graph, base, self._target(base)))
        return kept[1]

    def _target(self, base: Profile | None) -> Target:
        if self.board_name == "local":
            return this_machine()
        return target_of(base.context.fingerprint, self.board_name) if base is not None else Target()

    def _learning_s(self, base: Profile | None) -> float:
        runs = self.options.get("runs", 100)
        return learning_s(
            self._deciding().graph, base, runs=runs if isinstance(runs, int) else 100, precisions=self._usable(), widths=self.widths,
            mixed=self.mixed, samples=self._samples, told_s=self._took_s,
        )  # fmt: skip

    @contextmanager
    def _changing(self, *kinds: str, keep: bool = True) -> Iterator[None]:
        with self._lock:
            yield
        self._changed(*kinds, keep=keep)

    def _changed(self, *kinds: str, keep: bool = True) -> None:
        """Tells who listens, and has it written soon. Nobody calls it with the lock held."""
        if keep:
            self._keep()
        with self._lock:
            listeners = list(self._listeners)
        for listener in listeners:
            with self._contained():
                listener(frozenset(kinds))

    @contextmanager
    def _contained(self) -> Iterator[None]:
        """What listeners raise is their own, and no reason to stop."""
        try:
            yield
        except Exception as error:
            self.findings.append(f"What listens to this Workbench failed with {type(error).__name__}: {str(error)[:200]}.")
            del self.findings[:-100]


def _names(layers: Iterable[str]) -> list[str]:
    return [layers] if isinstance(layers, str) else list(layers)
