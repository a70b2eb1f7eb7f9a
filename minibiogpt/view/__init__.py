"""View: the arrays of a trace as self-contained HTML pages, which notebooks show in a frame.

``Explorer`` shows the whole model, ``Stepper`` one layer step by step, ``Sampler`` one row of logits. They need only
what the package installs.
``minibiogpt.view.plots`` draws with matplotlib; import it separately.
"""

from minibiogpt.view.explorer import Explorer
from minibiogpt.view.page import Page
from minibiogpt.view.sampler import Sampler
from minibiogpt.view.stepper import Stepper

__all__ = ["Explorer", "Page", "Sampler", "Stepper"]
