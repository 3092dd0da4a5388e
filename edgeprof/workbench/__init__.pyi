from .bench import Bench
from .candidates import Candidate
from .selection import Selection
from .tasks import Task

__all__ = ["Bench", "Candidate", "Selection", "Task"]
