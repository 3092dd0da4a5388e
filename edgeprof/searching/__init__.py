"""Search: recipes under constraints, found on estimates; the best are built, measured and scored, and the gap is shown."""

from edgeprof.searching.constraints import Constraints
from edgeprof.searching.result import Candidate, SearchResult
from edgeprof.searching.search import search

__all__ = ["Candidate", "Constraints", "SearchResult", "search"]
