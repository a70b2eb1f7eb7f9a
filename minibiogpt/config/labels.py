"""The names of the classes of a classification head: ``num_labels``, ``id2label`` and ``label2id``."""

from __future__ import annotations

import warnings
from typing import Any

from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError, short_repr, text_of

MAX_LABELS = 200_000  # their names take 80 MB; MeSH has 30,000 headings, ICD-10 with its procedures 150,000
MAX_DIGITS, MAX_BITS = 18, 1000  # of a class, and of a number that is a name: Python cannot print very long ones
DEFAULT_LABELS = 2  # number of classes if the config does not set it


def resolve_labels(num_labels: Any, id2label: Any) -> dict[int, str]:
    """Return {0: name, 1: name, ...}: the given names, or LABEL_0, LABEL_1, ... if there are none.

    JSON keys are strings, so "0" counts as 0. A name that is a number counts by its text: as a key of ``label2id`` it
    is a string anyway. If ``num_labels`` disagrees with the names, they win, with a warning.

    Examples
    --------
    >>> resolve_labels(0, {"1": "yes", "0": "no"})
    {0: 'no', 1: 'yes'}
    """
    num_labels = checked_number(num_labels)
    if id2label is None or id2label == {}:
        return {i: f"LABEL_{i}" for i in range(num_labels or DEFAULT_LABELS)}
    if not isinstance(id2label, dict) or not all(_is_class(key) and _is_name(id2label[key]) for key in id2label):
        must, remedy = "id2label must map 0, 1, 2 ... to names", 'write {"0": "NAME", ...}'
        raise InputError(must, short_repr(id2label), remedy)
    names = {int(key): str(name) for key, name in id2label.items()}
    if sorted(names) != list(range(len(names))):
        must = f"id2label must name the classes 0 to {len(names) - 1}"
        raise InputError(must, f"the keys {short_repr(sorted(names))}", "number the classes from 0")
    if num_labels not in (0, len(names)):
        warnings.warn(f"num_labels is {num_labels}, but id2label has {len(names)} names, which are used", stacklevel=5)
    if len(set(names.values())) < len(names):
        warnings.warn("id2label gives several classes the same name: label2id has only the last of them", stacklevel=5)
    return dict(sorted(names.items()))


def checked_number(num_labels: Any) -> int:
    """Return the number of classes as an int; 0 and None mean that the names decide."""
    number = 0 if num_labels is None else num_labels
    if isinstance(number, float) and number.is_integer():  # JSON written by a language without integers
        number = int(number)
    if not is_integer(number) or not 0 <= number <= MAX_LABELS:
        must = f"num_labels must be an integer, 1 to {MAX_LABELS:,}"
        raise InputError(must, f"num_labels {short_repr(num_labels)}", "correct num_labels")
    return int(number)


def inverse_labels(id2label: dict[int, str], label2id: Any) -> dict[str, int]:
    """Return {name: class}; a ``label2id`` that disagrees is ignored with a warning."""
    inverse = {name: i for i, name in id2label.items()}
    given = checked_inverse(label2id)
    if given and given != inverse:
        warnings.warn("id2label and label2id disagree: id2label is used", stacklevel=5)
    return inverse


def checked_inverse(label2id: Any) -> dict[str, int]:
    """Return ``label2id`` with keys that are strings, as in JSON; {} for None."""
    if label2id is not None and not isinstance(label2id, dict):
        raise InputError("label2id must map names to integers", type(label2id).__name__, "write {NAME: 0, ...}")
    return {text_of(name): label for name, label in (label2id or {}).items()}


def _is_class(key: object) -> bool:
    return not isinstance(key, bool) and (
        is_integer(key) or (isinstance(key, str) and key.isdecimal() and len(key) <= MAX_DIGITS)
    )


def _is_name(name: object) -> bool:
    return isinstance(name, str | float) or (isinstance(name, int) and name.bit_length() < MAX_BITS)
