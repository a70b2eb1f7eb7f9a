"""The one error a user of unusable input sees: what must hold, what was found, what to do."""

import difflib
from collections.abc import Iterable
from reprlib import Repr

_SHORT = Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200


class InputError(ValueError):
    """Raised when something handed to minibiogpt cannot be used.

    Parameters
    ----------
    must : what must hold, as a sentence without its full stop.
    found : what was found instead.
    remedy : what the caller can do about it.

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
    """``repr(value)``, cut where it is long or deep: what a file holds may be as large as the file.

    Examples
    --------
    >>> short_repr([1, "a"]), len(short_repr("a" * 9999))
    ("[1, 'a']", 200)
    """
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python's limit on the digits of an integer
        return "a number of thousands of digits"


class CheckpointError(InputError):
    """Raised when a model's files (config, weights, vocabulary) cannot be used."""


class DeviceMemoryError(InputError):
    """Raised when a device's memory is full; what was on it before is still there, and usable."""


def nearest(name: str, known: Iterable[str], most: int = 3) -> list[str]:
    """The names most like ``name``, or ending most like it, the likest first.

    Examples
    --------
    >>> nearest("probz", ["layers.0.self_attn.probs", "layers.0.fc1", "logits"])
    ['layers.0.self_attn.probs']
    """

    def likeness(a: str, b: str) -> float:
        return difflib.SequenceMatcher(None, a, b).ratio()

    def both(one: str) -> float:
        return max(likeness(name, one), likeness(name.rpartition(".")[2], one.rpartition(".")[2]))

    ranked = sorted(((both(one), one) for one in known), key=lambda pair: -pair[0])
    return [one for ratio, one in ranked[:most] if ratio > 0.6]
