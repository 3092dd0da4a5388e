"""Search: recipes under constraints, found on estimates; the best are built, measured and scored, and the gap is shown."""

from edgeprof.search.constraints import Constraints
from edgeprof.search.result import Candidate, SearchResult
from edgeprof.search.search import search

__all__ = ["Candidate", "Constraints", "SearchResult", "search"]
