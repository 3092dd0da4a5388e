"""Sweeps: many models on many boards with many settings. `sweep` measures them all into one study."""

from edgeprof.sweeping.sweep import Sweep, sweep

__all__ = ["Sweep", "sweep"]
