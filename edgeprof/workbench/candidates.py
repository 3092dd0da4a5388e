"""A candidate of the Workbench: the model as it is, or a recipe, and what came of it so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from edgeprof.recipes.recipe import Recipe
from edgeprof.records.profile import Profile
from edgeprof.workshop import scores_of

BASE = "base"
State = Literal["new", "estimated", "built", "measured", "failed"]


@dataclass(frozen=True, eq=False)
class Candidate:
    """``key`` stays ("base", "c1", "c2" ...), ``name`` is for people, ``recipe`` is None for the model as it is.

    ``scores`` are those of a model that was scored and not measured; `score` has the one to show. ``failed`` says why the last thing that
    was to be done with it was not done.
    """

    key: str
    name: str
    recipe: Recipe | None = None
    estimated: Profile | None = None
    measured: Profile | None = None
    built: bool = False
    scores: Mapping[str, Any] | None = None
    failed: str = ""

    @property
    def profile(self) -> Profile | None:
        """What is known of it: measured, else estimated."""
        return self.measured if self.measured is not None else self.estimated

    @property
    def status(self) -> State:
        """How far it came."""
        if self.measured is not None:
            return "measured"
        if self.failed:
            return "failed"
        return "built" if self.built else "estimated" if self.estimated is not None else "new"

    @property
    def score(self) -> dict[str, Any] | None:
        """``metric``, ``value``, ``low``, ``high``, ``n``, ``better``, ``estimated``: on data where it was scored, else an estimate."""
        measured = scores_of(self.measured) if self.measured is not None else {}
        estimated = scores_of(self.estimated) if self.estimated is not None else {}
        for scores, is_estimate in ((measured, False), (self.scores or {}, False), (estimated, True)):
            for metric, record in scores.items():
                if isinstance(record, Mapping):
                    return {"metric": metric, **record, "estimated": is_estimate}
        return None

    def is_of(self, recipe: Recipe) -> bool:
        """Whether it is this recipe, whatever that is called."""
        own = self.recipe
        return own is not None and (own.decisions, own.quantization) == (recipe.decisions, recipe.quantization)

    def __repr__(self) -> str:
        return f"<Candidate {self.key}: {self.name}, {self.status}>"


def titled(profile: Profile, name: str) -> Profile:
    """``profile`` with a name for people in its title."""
    return replace(profile, context=replace(profile.context, model_name=name)) if profile.context.model_name != name else profile


def named(name: str, taken: set[str]) -> str:
    """``name``, numbered when it is taken."""
    number, found = 2, name
    while found in taken:
        found, number = f"{name} ({number})", number + 1
    return found
