"""Weight-only precisions."""

from edgeprof.recipes.base import Work


def weights_only(work: Work) -> Work:
    """The work, changed."""
    return work
