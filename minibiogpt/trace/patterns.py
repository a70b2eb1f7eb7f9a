"""Select names by patterns: exact names, wildcards, ranges and lists, also in the spelling of other tools."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

from minibiogpt.catalog.names import checked_name, template_of, wildcards
from minibiogpt.errors import InputError, short_repr

if TYPE_CHECKING:
    from minibiogpt.catalog.aliases import Alias

RANGE = re.compile(r"([0-9]{1,9})\.\.([0-9]{1,9})")
BRACES = re.compile(r"\{([^{}]*)\}")
LIST = re.compile(r"\{([^{}]*,[^{}]*)\}")
MOST = 10_000  # patterns that one pattern may expand to, and characters of a pattern
MOST_CHARACTERS = 2_000_000  # of the patterns that one pattern expands to
MOST_PATTERNS, MOST_WILD = 100_000, 1_000  # patterns, and those with a * that one pattern may expand to


def expand(pattern: str) -> list[str]:
    """Expand the braces of a pattern into a list of patterns without braces.

    Raises
    ------
    InputError
        If the pattern is too long, expands to too many, or has a range that goes down.

    Examples
    --------
    >>> expand("layers.{0..2}.fc1")
    ['layers.0.fc1', 'layers.1.fc1', 'layers.2.fc1']
    >>> expand("layers.*.self_attn.{q,k}")
    ['layers.*.self_attn.q', 'layers.*.self_attn.k']
    """
    if len(pattern) > MOST:
        raise InputError(
            f"a pattern must have at most {MOST:,} characters", f"{len(pattern):,}", "pass a list of names"
        )
    pending, done = [pattern], []
    while pending:
        one = pending.pop(0)
        braces = BRACES.search(one)
        if braces is None:
            done.append(one)
            continue
        ends = RANGE.fullmatch(braces[1])
        if ends and int(ends[1]) > int(ends[2]):
            remedy = f"write {{{ends[2]}..{ends[1]}}}"
            raise InputError("a range must go up", f"{braces[0]} in {short_repr(pattern)}", remedy)
        options = [str(i) for i in inclusive_range(int(ends[1]), int(ends[2]))] if ends else braces[1].split(",")
        pending += [one[: braces.start()] + option + one[braces.end() :] for option in options]
        count = len(pending) + len(done)
        if count > MOST or count * len(one) > MOST_CHARACTERS:
            raise InputError(f"a pattern must expand to at most {MOST:,} names", f"more: {pattern[:80]!r}", "use a *")
    return done


def alternatives(pattern: str) -> list[str]:
    """Return the patterns that the lists in braces stand for; the ranges stay. Too many lists stay, too.

    Examples
    --------
    >>> alternatives("layers.{0..2}.self_attn.{q,k}")
    ['layers.{0..2}.self_attn.q', 'layers.{0..2}.self_attn.k']
    """
    found = [pattern]
    while braces := LIST.search(found[0]):
        found = [one.replace(braces[0], option, 1) for one in found for option in braces[1].split(",")]
        if len(found) > MOST_WILD:
            return [pattern]
    return list(dict.fromkeys(found))


def inclusive_range(first: int, last: int) -> range:
    """Return the range including both ends, cut after ``MOST + 1`` values: enough for ``expand`` to reject it."""
    return range(first, min(last, first + MOST) + 1)


class Pattern:
    """One pattern: ``*`` matches any run of characters, ``{0..3}`` is a range, ``{q,k}`` a list; the rest is literal.

    In the trace of a ``generate`` call, whose names begin with ``step.{n}/``, a pattern without a ``/`` matches in
    every step. A pattern that matches no name of ours may be one of another tool; see ``minibiogpt.catalog.foreign``.

    Attributes
    ----------
    text : the pattern. meant : our name if the pattern is a name of another tool; otherwise the text.
    matched : whether any name has matched so far.
    aliases : {name of another tool that the pattern matches: its alias}; for a ``*``, those of some layers only.

    Examples
    --------
    >>> probs = Pattern("layers.{0..1}.*.probs")
    >>> [probs.matches(f"layers.{layer}.self_attn.probs") for layer in (0, 1, 2)]
    [True, True, False]
    >>> Pattern("logits").matches("step.3/logits"), Pattern("step.3/*").matches("step.3/logits")
    (True, True)
    >>> Pattern("blocks.*.hook_mlp_out").matches("layers.3.fc2")
    True
    """

    def __init__(self, text: str) -> None:
        self.text = self.meant = checked_name(text)
        self.matched = False
        self.aliases: dict[str, Alias] = {}
        self._within_step = "/" not in text
        parts = expand(self.text)
        self._exact = {part for part in parts if "*" not in part}
        wild = [part for part in parts if "*" in part]
        if len(wild) > MOST_WILD:
            must = f"a pattern must expand to at most {MOST_WILD:,} patterns with a *"
            raise InputError(must, f"{len(wild):,}: {short_repr(text)}", "use a * for the range, too")
        self._wild = wildcards(wild) if wild else None
        self._theirs: re.Pattern[str] | None = None
        self._understand_other_tools(parts)

    def _understand_other_tools(self, parts: list[str]) -> None:
        """Add the meaning of the parts that match no name of ours; it is loaded only when there is one."""
        from minibiogpt.catalog.foreign import is_ours, request_of, resolve_request, theirs_in

        theirs = [part for part in parts if not is_ours(part)]
        for part in theirs:
            step = part[: part.rfind("/") + 1]
            names = theirs_in(part) if "*" in part else [part]
            found = {name: request_of(name if name == part else step + name) for name in names}
            self.aliases |= {name: alias for name, alias in found.items() if alias is not None}
            if "*" not in part:
                self._exact.add(resolve_request(part))
                self.meant = resolve_request(part) if part in self.aliases and len(parts) == 1 else self.text
        wild = [part for part in theirs if "*" in part]
        self._theirs = wildcards(wild) if wild else None

    def matches(self, name: str) -> bool:
        """Whether ``name`` matches; a match also sets ``matched``."""
        if self._within_step:
            name = name.rpartition("/")[2]
        found = name in self._exact or (self._wild is not None and self._wild.fullmatch(name) is not None)
        if not found and self._theirs is not None:
            from minibiogpt.catalog.foreign import spellings

            found = any(self._theirs.fullmatch(their) for their in spellings(name))
        self.matched = self.matched or found
        return found


def patterns_of(names: str | Iterable[str]) -> list[Pattern]:
    """Return the patterns, at least one."""
    names = names.tolist() if hasattr(names, "tolist") else names
    if not isinstance(names, Iterable) or isinstance(names, bytes | bytearray):
        must = "names must be a name, a pattern or an iterable of them"
        raise InputError(must, type(names).__name__, 'pass names such as "layers.*.self_attn.probs"')
    patterns = [Pattern(text) for text in ([names] if isinstance(names, str) else islice(names, MOST_PATTERNS + 1))]
    if not patterns:
        raise InputError("names must not be empty", "an empty list", "omit names to select all")
    if len(patterns) > MOST_PATTERNS:
        raise InputError(f"there must be at most {MOST_PATTERNS:,} names", "more", "use a *")
    return patterns


def differences(patterns: Iterable[Pattern]) -> list[str]:
    """Return one sentence for each kind of array that a pattern asks for by another tool's name and that differs there.

    Examples
    --------
    >>> differences(patterns_of(["blocks.0.attn.hook_z", "blocks.0.hook_mlp_out"]))
    ['blocks.0.attn.hook_z is layers.0.self_attn.context here, with the axes (B, T, D) instead of (B, T, H, Dh)']
    """
    found: dict[str, str] = {}
    for pattern in patterns:
        if pattern.aliases:
            from minibiogpt.catalog.foreign import difference

            for their, alias in pattern.aliases.items():
                found.setdefault(template_of(alias.name), difference(their, alias))
    return [text for text in found.values() if text]


def warn_of_differences(patterns: Iterable[Pattern], stacklevel: int = 3) -> None:
    """Warn once, in one line, if the arrays have other axes in the tool whose names are used."""
    found = differences(patterns)
    if found:
        more = f"; and {len(found) - 2} more" if len(found) > 2 else ""
        warnings.warn(f"{'; '.join(found[:2])}{more}", stacklevel=stacklevel)
