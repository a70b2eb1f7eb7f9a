"""Looking inside a call: every named array, recorded or replaced on its way. Knows names and arrays, no layers."""

from minibiogpt.trace.trace import Edit, Tap, Trace, Watch, mean_and_largest

__all__ = ["Edit", "Tap", "Trace", "Watch", "mean_and_largest"]
