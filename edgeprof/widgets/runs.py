"""`RunsView`: a view of a Profile whose runs can be selected too."""

from __future__ import annotations

from typing import Any

import pandas as pd
import traitlets

from edgeprof.widgets.base import View


class RunsView(View):
    """A view of layers and runs. ``selected_runs`` holds the numbers of the selected runs, as in ``profile.runs``, from both sides."""

    selected_runs: Any = traitlets.Tuple().tag(sync=True)

    @property
    def chosen_runs(self) -> pd.DataFrame:
        """The rows of the selected runs, in the order they ran, with all columns of the run table."""
        runs = self.profile.runs
        return runs[runs["run"].isin(self.selected_runs)].sort_values("run").reset_index(drop=True)

    @traitlets.validate("selected_runs")
    def _known_runs(self, proposal: Any) -> tuple[int, ...]:
        known = set(self.profile.runs["run"])
        try:
            numbers = tuple(int(number) for number in proposal["value"])
        except (TypeError, ValueError):
            raise traitlets.TraitError(f"selected_runs holds numbers of runs such as (0, 7), not {proposal['value']!r}.") from None
        for number in numbers:
            if number not in known:
                span = f"they go from {min(known)} to {max(known)}" if known else "it has no runs"
                raise traitlets.TraitError(f"There is no run {number} in this profile: {span}.")
        return numbers
