"""Checkpoints for the tests of pipelines: the demo with random heads; and transformers' pipelines of them."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import transformers

from minibiogpt import BioGptForSequenceClassification, BioGptForTokenClassification, BioGptTokenizer
from minibiogpt.files.hub import DEMO

TEXTS = [
    "Ibuprofen is best used for pain.",
    "Insulin",
    "BRCA1 mutations cause hereditary breast cancer (rare).",
    "",
    "a",
]
LABELS = {0: "O", 1: "B-DRUG", 2: "I-DRUG", 3: "B-GENE", 4: "I-GENE"}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "single": (BioGptForSequenceClassification, {"id2label": {0: "no", 1: "yes", 2: "maybe"}}),
    "several": (BioGptForSequenceClassification, {"num_labels": 4, "problem_type": "multi_label_classification"}),
    "one": (BioGptForSequenceClassification, {"num_labels": 1}),
    "number": (BioGptForSequenceClassification, {"num_labels": 1, "problem_type": "regression"}),
    "tags": (BioGptForTokenClassification, {"id2label": LABELS}),
}


@cache
def folder(kind: str) -> Path:
    """Return a folder with the demo and a random head, large enough that texts differ in their classes."""
    if kind == "demo":
        return DEMO
    model_class, changes = KINDS[kind]
    path = Path(mkdtemp(prefix=kind))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the checkpoint")
        warnings.filterwarnings("ignore", ".*train the head before use")
        model_class.from_pretrained("demo", initializer_range=0.2, seed=3, **changes).save_pretrained(path)
    tok = BioGptTokenizer.from_pretrained("demo")
    tok.padding_side = "right"  # transformers 4.57 reads the wrong position of a text that is padded on the left
    tok.save_pretrained(path)
    return path


@cache
def theirs(task: str, kind: str, **options: Any) -> Any:
    """Return transformers' pipeline of the same folder, on the CPU."""
    transformers.logging.set_verbosity_error()
    return transformers.pipeline(task, model=str(folder(kind)), device=-1, **options)


def assert_same(got: Any, want: Any, tolerance: float = 2e-5) -> None:
    """Assert that two nested results have the same structure, keys and strings, and numbers that differ by rounding."""
    if isinstance(want, dict):
        assert isinstance(got, dict)
        assert list(got) == list(want)
        for name in want:
            assert_same(got[name], want[name], tolerance)
    elif isinstance(want, list):
        assert isinstance(got, list)
        assert len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            assert_same(one, other, tolerance)
    elif isinstance(want, str | int | None):
        assert got == want
    else:
        assert isinstance(got, float), "a Python float, which JSON can write"
        assert abs(got - float(want)) <= tolerance * max(1, abs(float(want)))
