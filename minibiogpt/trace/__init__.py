"""Looking inside a model call: every named array, recorded or replaced while the call runs.

``trace`` holds the arrays, ``tap`` is the call in the model that records or replaces one, ``edits`` turns the options
of a call into replacements, ``patterns`` selects names, ``lookup`` answers ``trace[name]``, ``missing`` says why
no array has a name. This subpackage does not import the layers.
"""

from minibiogpt.trace.tap import Edit, Recorder, Tap
from minibiogpt.trace.trace import Trace, mean_and_largest

__all__ = ["Edit", "Recorder", "Tap", "Trace", "mean_and_largest"]
