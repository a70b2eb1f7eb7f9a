"""Select names by patterns: exact names, wildcards, ranges and lists."""

from __future__ import annotations

import re
from collections.abc import Iterable

from minibiogpt.errors import InputError, nearest

RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
BRACES = re.compile(r"\{([^{}]*)\}")
MOST = 10_000  # patterns that one pattern may expand to


def expand(pattern: str) -> list[str]:
    """Expand the braces of a pattern into a list of patterns without braces.

    Examples
    --------
    >>> expand("layers.{0..2}.fc1")
    ['layers.0.fc1', 'layers.1.fc1', 'layers.2.fc1']
    >>> expand("layers.*.self_attn.{q,k}")
    ['layers.*.self_attn.q', 'layers.*.self_attn.k']
    """
    pending, done = [pattern], []
    while pending:
        one = pending.pop(0)
        braces = BRACES.search(one)
        if braces is None:
            done.append(one)
            continue
        ends = RANGE.fullmatch(braces[1])
        options = [str(i) for i in inclusive_range(int(ends[1]), int(ends[2]))] if ends else braces[1].split(",")
        pending += [one[: braces.start()] + option + one[braces.end() :] for option in options]
        if len(pending) + len(done) > MOST:
            raise InputError(f"a pattern must expand to at most {MOST:,} names", f"more: {pattern[:80]!r}", "use a *")
    return done


def inclusive_range(first: int, last: int) -> range:
    """Return the range including both ends, cut after ``MOST + 1`` values: enough for ``expand`` to reject it."""
    return range(first, min(last, first + MOST) + 1)


class Pattern:
    """One pattern: ``*`` matches any run of characters, ``{0..3}`` is a range, ``{q,k}`` a list; the rest is literal.

    In the trace of a ``generate`` call, whose names begin with ``step.{n}/``, a pattern without a ``/`` matches in
    every step.

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
            must = "a name or pattern must be a string"
            raise InputError(must, repr(text)[:80], 'pass names such as "layers.*.self_attn.probs"')
        self.text, self._within_step = text, "/" not in text
        parts = expand(text)
        self._exact = {part for part in parts if "*" not in part}
        wild = [".*".join(map(re.escape, part.split("*"))) for part in parts if "*" in part]
        self._wild = re.compile("|".join(wild), re.DOTALL) if wild else None
        self.matched = False  # whether any name has matched so far

    def matches(self, name: str) -> bool:
        """Whether ``name`` matches; a match also sets ``matched``."""
        if self._within_step:
            name = name.rpartition("/")[2]
        found = name in self._exact or (self._wild is not None and self._wild.fullmatch(name) is not None)
        self.matched = self.matched or found
        return found


def patterns_of(names: str | Iterable[str]) -> list[Pattern]:
    """Return the patterns, at least one."""
    if not isinstance(names, Iterable):
        must = "names must be a name, a pattern or an iterable of them"
        raise InputError(must, type(names).__name__, 'pass names such as "layers.*.self_attn.probs"')
    patterns = [Pattern(text) for text in ([names] if isinstance(names, str) else names)]
    if not patterns:
        raise InputError("names must not be empty", "an empty list", "omit names to select all")
    return patterns


def check_all_matched(patterns: Iterable[Pattern], names: Iterable[str], must: str, hint: str = "") -> None:
    """Check that every pattern has matched a name.

    Raises
    ------
    InputError
        If one has not; the message suggests the three closest of ``names``.
    """
    missed = [pattern.text for pattern in patterns if not pattern.matched]
    if missed:
        known = list(names)
        near = {one: ", ".join(nearest(one, _comparable(one, known))) for one in missed}
        unknown = "; ".join(f"{one!r} (nearest: {found})" if found else repr(one) for one, found in near.items())
        raise InputError(must, f"none called {unknown}", f"correct the name{hint}")


def _comparable(missed: str, known: list[str]) -> list[str]:
    """Return the names of one step of a ``generate`` call: the step of ``missed``, or else the last one."""
    steps = [name.rpartition("/")[0] for name in known]
    step, slash, _ = missed.rpartition("/")
    if not slash:
        return list(dict.fromkeys(name.rpartition("/")[2] for name in known))
    step = step if step in steps or not steps else steps[-1]
    return [name for name, prefix in zip(known, steps, strict=True) if prefix == step]
