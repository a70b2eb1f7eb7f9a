"""Pipelines: from texts to texts, labels or states in one call, under the names that transformers' pipelines have.

``factory`` makes them, ``base`` is what they have in common (lists, iterators, errors, a progress bar); there is a file
for each task, whose class is imported when it is first used. ``aggregation`` joins the labels of tokens into entities
as transformers does.
"""

from typing import Any

from minibiogpt.pipelines.factory import CLASS_NAMES, class_of_task, pipeline
from minibiogpt.pipelines.seeds import set_seed

__all__ = [
    "FeatureExtractionPipeline",
    "TextClassificationPipeline",
    "TextGenerationPipeline",
    "TokenClassificationPipeline",
    "pipeline",
    "set_seed",
]


def __getattr__(name: str) -> Any:
    if name in CLASS_NAMES:
        return class_of_task(CLASS_NAMES[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
