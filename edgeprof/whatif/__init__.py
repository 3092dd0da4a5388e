"""What-if: what a recipe would bring on the board where this model was measured, as a Profile whose origin is ``estimated``.

`estimate` makes it from profiles of this very model and of variants of it, all measured on that board (`edgeprof.variants` measures them).
"""

from edgeprof.whatif.estimate import estimate, sizes, totals
from edgeprof.whatif.fit import Costs, fit

__all__ = ["Costs", "estimate", "fit", "sizes", "totals"]
