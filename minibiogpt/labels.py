"""The names of the classes of a classification head, as config.json holds them."""

from __future__ import annotations

import warnings
from typing import Any

from minibiogpt.errors import InputError, shown

PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
MOST_LABELS = 1_000_000  # beyond which a config is taken for broken
DEFAULT_LABELS = 2  # how many classes a config has that names none


def settled_labels(num_labels: Any, id2label: Any) -> dict[int, str]:
    """{0: name, 1: name ...}: the names that were given, or LABEL_0, LABEL_1 ... when there are none.

    JSON has no whole numbers for keys: "0" is 0. Names that disagree with ``num_labels`` hold, with a warning.
    """
    if isinstance(num_labels, bool) or not isinstance(num_labels, int) or not 0 <= num_labels <= MOST_LABELS:
        must = f"num_labels must be a whole number, 1 to {MOST_LABELS:,}"
        raise InputError(must, f"num_labels {num_labels!r}", "correct num_labels")
    if id2label is None or id2label == {}:
        return {i: f"LABEL_{i}" for i in range(num_labels or DEFAULT_LABELS)}
    if not isinstance(id2label, dict) or not all(_whole(key) and isinstance(id2label[key], str) for key in id2label):
        must, remedy = "id2label must map 0, 1, 2 ... to names", 'write {"0": "NAME", ...}'
        raise InputError(must, shown(id2label), remedy)
    names = {int(key): name for key, name in id2label.items()}
    if sorted(names) != list(range(len(names))):
        must = f"id2label must name the classes 0 to {len(names) - 1}"
        raise InputError(must, f"the keys {shown(sorted(names))}", "number the classes from 0")
    if num_labels not in (0, len(names)):
        warnings.warn(f"num_labels is {num_labels}, but id2label has {len(names)} names: these hold", stacklevel=4)
    if len(set(names.values())) < len(names):
        warnings.warn("id2label gives several classes one name: results by name show only the last", stacklevel=4)
    return dict(sorted(names.items()))


def inverted(id2label: dict[int, str], label2id: Any) -> dict[str, int]:
    """{name: class}; a ``label2id`` that says otherwise is passed over with a warning."""
    inverse = {name: i for i, name in id2label.items()}
    if label2id is not None and not isinstance(label2id, dict):
        raise InputError("label2id must map names to whole numbers", type(label2id).__name__, "write {NAME: 0, ...}")
    if label2id and label2id != inverse:
        warnings.warn("id2label and label2id disagree: id2label holds", stacklevel=4)
    return inverse


def _whole(key: object) -> bool:
    return not isinstance(key, bool) and (isinstance(key, int) or (isinstance(key, str) and key.isdecimal()))
