"""Names chosen by patterns: exact, with wildcards, ranges and lists."""

from __future__ import annotations

import re
from collections.abc import Iterable

from minibiogpt.errors import InputError, nearest

RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
BRACES = re.compile(r"\{([^{}]*)\}")
MOST = 10_000  # patterns that one pattern may stand for


def expand(pattern: str) -> list[str]:
    """The patterns without braces that one with braces stands for.

    Examples
    --------
    >>> expand("layers.{0..2}.fc1")
    ['layers.0.fc1', 'layers.1.fc1', 'layers.2.fc1']
    >>> expand("layers.*.self_attn.{q,k}")
    ['layers.*.self_attn.q', 'layers.*.self_attn.k']
    """
    found, done = [pattern], []
    while found:
        one = found.pop(0)
        braces = BRACES.search(one)
        if braces is None:
            done.append(one)
            continue
        ends = RANGE.fullmatch(braces[1])
        inner = [str(i) for i in whole_range(int(ends[1]), int(ends[2]))] if ends else braces[1].split(",")
        found += [one[: braces.start()] + part + one[braces.end() :] for part in inner]
        if len(found) + len(done) > MOST:
            raise InputError(f"a pattern must stand for at most {MOST:,} names", f"more: {pattern[:80]!r}", "use a *")
    return done


def whole_range(first: int, last: int) -> range:
    """Both ends belong to it; what is more than ``MOST`` is cut to one more, so that it is refused, not made."""
    return range(first, min(last, first + MOST) + 1)


class Pattern:
    """One pattern: ``*`` is any run of signs, ``{0..3}`` a range, ``{q,k}`` a list; anything else is itself.

    In a trace of a generation, whose names begin with ``step.{n}/``, a pattern without a ``/`` holds in every step.

    Examples
    --------
    >>> probs = Pattern("layers.{0..1}.*.probs")
    >>> [probs.matches(f"layers.{layer}.self_attn.probs") for layer in (0, 1, 2)]
    [True, True, False]
    >>> Pattern("logits").matches("step.3/logits"), Pattern("step.3/*").matches("step.3/logits")
    (True, True)
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            must = "a name, or a pattern of names, must be a text"
            raise InputError(must, repr(text)[:80], 'give names such as "layers.*.self_attn.probs"')
        self.text, self._within_step = text, "/" not in text
        parts = expand(text)
        self._exact = {part for part in parts if "*" not in part}
        wild = [".*".join(map(re.escape, part.split("*"))) for part in parts if "*" in part]
        self._wild = re.compile("|".join(wild), re.DOTALL) if wild else None
        self.matched = False  # whether any name has matched so far

    def matches(self, name: str) -> bool:
        """Whether ``name`` is meant; that it was is remembered in ``met``."""
        if self._within_step:
            name = name.rpartition("/")[2]
        found = name in self._exact or (self._wild is not None and self._wild.fullmatch(name) is not None)
        self.matched = self.matched or found
        return found


def patterns_of(names: str | Iterable[str]) -> list[Pattern]:
    """The patterns, of which there must be one."""
    if not isinstance(names, Iterable):
        must = "names must be a name, a pattern, or several of them"
        raise InputError(must, type(names).__name__, 'give names such as "layers.*.self_attn.probs"')
    patterns = [Pattern(text) for text in ([names] if isinstance(names, str) else names)]
    if not patterns:
        raise InputError("there must be a name to look for", "an empty list", "leave names away to take all")
    return patterns


def check_all_matched(patterns: Iterable[Pattern], names: Iterable[str], what: str, why: str = "") -> None:
    """Every pattern must have met a name.

    Raises
    ------
    InputError
        With the three nearest names for each that has not.
    """
    missed = [pattern.text for pattern in patterns if not pattern.matched]
    if missed:
        known = list(names)
        near = {one: ", ".join(nearest(one, _comparable(one, known))) for one in missed}
        told = "; ".join(f"{one!r} (nearest: {found})" if found else repr(one) for one, found in near.items())
        raise InputError(what, f"none called {told}", f"correct the name{why}")


def _comparable(missed: str, known: list[str]) -> list[str]:
    """Of a generation's names, which repeat themselves in every step, those of one: its own, or else the last."""
    steps = [name.rpartition("/")[0] for name in known]
    step, slash, _ = missed.rpartition("/")
    if not slash:
        return list(dict.fromkeys(name.rpartition("/")[2] for name in known))
    step = step if step in steps or not steps else steps[-1]
    return [name for name, its in zip(known, steps, strict=True) if its == step]
