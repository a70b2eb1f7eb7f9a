"""View: the arrays of a trace as self-contained HTML pages, which notebooks show in a frame.

``Stepper`` walks through one layer, ``Sampler`` through one row of logits. Both need only what the package installs.
``minibiogpt.view.plots`` draws with matplotlib; import it separately.
"""

from minibiogpt.view.page import Page
from minibiogpt.view.sampler import Sampler
from minibiogpt.view.stepper import Stepper

__all__ = ["Page", "Sampler", "Stepper"]
