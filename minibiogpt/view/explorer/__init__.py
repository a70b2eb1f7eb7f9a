"""Explorer: the whole model as one page. ``bundle`` packs arrays; ``recorded`` computes what a recorded page cannot."""

from minibiogpt.view.explorer.explorer import Explorer

__all__ = ["Explorer"]
