"""View: the arrays of a trace as self-contained pages, which a notebook shows in a frame.

``Stepper`` walks through one layer; ``Sampler`` through one row of logits. Neither needs anything that is not installed
with the package. ``minibiogpt.view.plots`` draws with matplotlib, and is imported by itself.
"""

from minibiogpt.view.page import Page
from minibiogpt.view.sampler import Sampler
from minibiogpt.view.stepper import Stepper

__all__ = ["Page", "Sampler", "Stepper"]
