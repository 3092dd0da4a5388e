"""What decisions cost in answers, for a search: each tried alone, and the variants that were scored."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprof.recipes.recipe import Precision, parse_recipe
from edgeprof.sensitivities import sensitivity
from edgeprof.variants import Variants
from edgeprof.whatif import Costs
from edgeprof.whatif.quality import Quality
from edgeprof.workshop import Told, Workshop, scores_of


def quality_of(
    shop: Workshop, variants: Variants, costs: Costs, precisions: Sequence[Precision], widths: Sequence[float], told: Told | None
) -> Quality:
    """The Quality of the workshop's model: noise of each decision alone, and the curve from noise to loss through the scored variants."""
    found = sensitivity(shop, decisions=(*precisions, *widths), modes="only", costs=costs, progress=told or False)
    base = shop.base_score
    sign = 1.0 if base.better == "higher" else -1.0
    alone = Quality(found.noise(), base.metric, base.value, base.better)
    points = []
    for profile in variants.profiles:
        score = scores_of(profile).get(base.metric, {}).get("value")
        if isinstance(score, int | float):
            points.append((alone.noise_of(parse_recipe(profile.context.recipe), shop.graph), sign * (base.value - float(score))))
    known = tuple((noise, loss) for noise, loss in points if noise == noise)  # noqa: PLR0124 - not NaN
    return Quality(alone.noise, alone.metric, alone.value, alone.better, known)
