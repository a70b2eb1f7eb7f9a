"""Pipelines: from texts to texts, labels or states in one call, under the names that transformers' pipelines have.

``factory`` makes them, ``base`` is what they have in common (lists, iterators, errors, a progress bar); there is a file
for each task. ``aggregation`` joins the labels of tokens into entities as transformers does.
"""

from minibiogpt.pipelines.factory import pipeline
from minibiogpt.pipelines.seeds import set_seed

__all__ = ["pipeline", "set_seed"]
