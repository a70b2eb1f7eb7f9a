"""When a step may be done otherwise, if it is not always so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np


class At(Protocol):
    """What is asked of a step; see ``run.At``."""

    letters: dict[str, int]
    config: Any
    within: Any

    def input(self, name: str) -> np.ndarray | None: ...


def _labels(at: At) -> np.ndarray:
    labels = at.input("labels")
    return np.zeros(0, np.int64) if labels is None else labels


def _is_of_classes(at: At) -> bool:
    return at.within.run.case.architecture == "BioGptForSequenceClassification" and _labels(at).dtype.kind == "i"


CONDITIONS: dict[str, Callable[[At], bool]] = {
    "in calls with a past": lambda at: at.letters["S"] > at.letters["T"],
    "in calls without a past": lambda at: at.letters["S"] == at.letters["T"],
    "in calls with one token": lambda at: at.letters["T"] == 1,
    "in calls with several tokens": lambda at: at.letters["T"] > 1,
    "with an attention mask": lambda at: at.input("attention_mask") is not None,
    "without an attention mask": lambda at: at.input("attention_mask") is None,
    "in the language model": lambda at: at.within.run.case.architecture == "BioGptForCausalLM",
    "in the token classifier": lambda at: at.within.run.case.architecture == "BioGptForTokenClassification",
    "in the sequence classifier": lambda at: at.within.run.case.architecture == "BioGptForSequenceClassification",
    "for one of several classes": _is_of_classes,
    "for several labels": lambda at: _labels(at).dtype.kind == "f" and at.config.num_labels > 1,
    "where scale_embedding is true": lambda at: at.config.scale_embedding,
    "where scale_embedding is false": lambda at: not at.config.scale_embedding,
}
"""{words of the report: whether it holds at a step}."""
