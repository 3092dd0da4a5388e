"""Studies: folders of many profiles. `Study` opens one."""

from edgeprof.studies.cell import Cell
from edgeprof.studies.study import Study

__all__ = ["Cell", "Study"]
