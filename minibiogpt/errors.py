"""The errors for unusable input: each says what must hold, what was found and what to do."""

import difflib
import numbers
from collections import Counter
from collections.abc import Iterable
from heapq import nlargest
from itertools import pairwise
from reprlib import Repr
from typing import Any

MAX_NAME = 100  # characters of one name in a list
MOST_COMPARED, LEAST_SIMILAR = 200, 0.6  # of ``nearest``
DIGITS = 4000  # of an integer; Python refuses to print one of more than 4,300


class _Short(Repr):
    """reprlib's abbreviations, for values that print badly, too. No value makes it fail."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 200

    def repr1(self, value: Any, level: int) -> str:
        try:
            if isinstance(value, numbers.Number) and hasattr(value, "item"):  # NumPy's: 0.5, not np.float64(0.5)
                return str(value)
            return super().repr1(value, level)
        except Exception:  # a class that is called list, but is none; or one whose attributes fail
            return f"<{type(value).__name__} object>"

    def repr_int(self, value: int, level: int) -> str:
        long = int.bit_length(value) > DIGITS * 10 // 3
        return "an integer with thousands of digits" if long else super().repr_int(value, level)

    def repr_bytes(self, value: bytes, level: int) -> str:
        shown = repr(value[: self.maxother])
        return shown if len(shown) <= self.maxother else f"{shown[: self.maxother - 3]}..."

    repr_bytearray = repr_bytes


_SHORT = _Short()


class InputError(ValueError):
    """Raised when an argument or a file cannot be used.

    Parameters
    ----------
    must : what must hold, as a sentence without the full stop.
    found : what was found instead.
    remedy : what the caller can do.

    Examples
    --------
    >>> print(InputError("a size must be at least 1", "hidden_size 0", "correct config.json"))
    a size must be at least 1; found hidden_size 0; correct config.json
    """

    def __init__(self, must: str, found: str, remedy: str) -> None:
        super().__init__(f"{must}; found {found}; {remedy}")
        self.must, self.found, self.remedy = must, found, remedy

    def __reduce__(self) -> tuple:
        return type(self), (self.must, self.found, self.remedy)


def short_repr(value: object) -> str:
    """Return ``repr(value)`` in one line, truncated where it is long or deeply nested.

    A value may be as large as its file, the text of an array has several lines, and a class may fail to print itself.

    Examples
    --------
    >>> short_repr([1, "a"]), len(short_repr("a" * 9999))
    ("[1, 'a']", 200)
    """
    return " ".join(line.strip() for line in _SHORT.repr(value).splitlines())


def listed(names: Iterable[object], most: int = 8) -> str:
    """Join the first names, each truncated and in one line, and say how many more there are.

    A file may hold any number of names, and any names.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2), listed([])
    ('a, b and 1 more', 'nothing')
    """
    every = list(names)
    shown = ", ".join(map(_short_name, every[:most]))
    return f"{shown} and {len(every) - most} more" if len(every) > most else shown or "nothing"


def text_of(value: object) -> str:
    """Return ``str(value)``, or ``short_repr(value)`` if that fails."""
    try:
        return str(value)
    except Exception:  # Python's limit on the digits of an integer, or a class that fails
        return short_repr(value)


def printable(text: str) -> str:
    """Return the text with escapes for control characters, which names and texts from files may contain.

    Examples
    --------
    >>> print(printable("\x1b[31mred β"))
    \\x1b[31mred β
    """
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def _short_name(name: object) -> str:
    text = text_of(name)
    shown = text if len(text) <= MAX_NAME else f"{text[:MAX_NAME]}..."
    return shown if shown.isprintable() else repr(shown)[1:-1]


def shared_start(names: Iterable[str], least: float = 0.9) -> tuple[str, int]:
    """Return the longest start, up to a dot, that most of the names have, and how many have it; ("", 0) if none.

    Examples
    --------
    >>> shared_start([f"transformer.layers.{i}.bias" for i in range(19)] + ["head"])
    ('transformer.layers.', 19)
    """
    every, start, count = [name[: 2 * MAX_NAME] for name in names], "", 0
    while True:
        longer = Counter(name[: name.index(".", len(start)) + 1] for name in every if _goes_on(name, start))
        found, n = longer.most_common(1)[0] if longer else ("", 0)
        if not found or n < least * len(every):
            return start, count
        start, count = found, n


def _goes_on(name: str, start: str) -> bool:
    return name.startswith(start) and "." in name[len(start) :]


class CheckpointError(InputError):
    """Raised when a model's files (config, weights, vocabulary) cannot be used."""


class DeviceMemoryError(InputError):
    """Raised when a device runs out of memory; arrays that were already on it stay valid."""


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Return the names in ``known`` closest to ``name``, in full or in their last component, closest first.

    The time is bounded: of more than 200 names, only the 200 that share most pairs of characters with ``name`` are
    compared, and of a name longer than 100 characters only its two ends.

    Examples
    --------
    >>> nearest("probz", ["layers.0.self_attn.probs", "layers.0.fc1", "logits"])
    ['layers.0.self_attn.probs']
    """

    def ratio(a: str, b: str) -> float:
        matcher = difflib.SequenceMatcher(None, _ends(a), _ends(b))
        return matcher.ratio() if matcher.quick_ratio() > LEAST_SIMILAR else 0.0

    def similarity(other: str) -> tuple[float, float]:
        whole = ratio(name, other)
        return max(whole, ratio(name.rpartition(".")[2], other.rpartition(".")[2])), whole

    compared = list(known)
    if len(compared) > MOST_COMPARED:
        pairs = set(pairwise(_ends(name)))
        compared = nlargest(MOST_COMPARED, compared, lambda other: len(pairs.intersection(pairwise(_ends(other)))))
    ranked = sorted(((similarity(other), other) for other in compared), key=lambda pair: pair[0], reverse=True)
    return [other for (score, _), other in ranked[:most] if score > LEAST_SIMILAR]


def _ends(name: str) -> str:
    """Return a name, or the two ends of a long one."""
    return name if len(name) <= MAX_NAME else name[: MAX_NAME // 2] + name[-MAX_NAME // 2 :]
