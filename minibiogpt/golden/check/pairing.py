"""Pair names: which array of the case each tensor of the candidate is, and why a tensor matches none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from minibiogpt.catalog.aliases import Alias, alias_of
from minibiogpt.catalog.tools import TOOLS, alias_in
from minibiogpt.errors import nearest
from minibiogpt.golden.check.mapping import Mapped, check_keys, check_theirs, chosen, filled
from minibiogpt.golden.check.outputs import CACHE_NOTE, cached_name
from minibiogpt.golden.format.case import INPUT

INDEX = re.compile(r"\[(\d+)\]")
OUTPUTS = ("last_hidden_state", "hidden_states", "attentions")
MAX_NAME = 300  # characters of a name that may be another tool's
MAX_TRIED = 2000  # names by which a tool is recognized
MAX_SUGGESTIONS = 12  # unpaired names that get suggestions: finding similar names is slow


@dataclass(frozen=True)
class Pair:
    """A tensor of the candidate and the array of the case it is paired with.

    Attributes
    ----------
    candidate, reference_name : the full names in the candidate and in the case; reference_name is None if it matches
        no array.
    axes : its axes, if an alias or a map declares them.
    reason : why it matches no array.
    note : a remark on the alias.
    meant : our name of the array, if the case doesn't have it.
    """

    candidate: str
    reference_name: str | None
    axes: str | None = None
    reason: str = ""
    note: str = ""
    meant: str | None = None


def pair(
    names: Iterable[str],
    known: Iterable[str],
    mapped: Mapping[str, Mapped] | None = None,
    names_of: str | None = None,
) -> list[Pair]:
    """Return a pair for each name of the candidate, in order; a mapped name has one for each array it is mapped to.

    The map comes first, then the names of a tool, exact names, names without a leading ``biogpt.``, and aliases.

    Parameters
    ----------
    names : all names of the candidate.
    known : all names of the case.
    names_of : the tool, one of ``catalog.tools.TOOLS``, or None.

    Raises
    ------
    InputError
        If the map has a name that the case or the candidate lacks.
    """
    names, known = list(names), dict.fromkeys(known)
    entries = filled(mapped or {}, known)
    check_keys(mapped or {}, entries, known)
    found = chosen(entries, dict.fromkeys(names))
    check_theirs(entries, {key for key, _ in found.values()}, "the candidate", names)
    return _with_suggestions(_pairs(names, known, {ours: entry for ours, (_, entry) in found.items()}, names_of), known)


def guess_tool(names: Iterable[str], known: Iterable[str], mapped: Mapping[str, Mapped]) -> str | None:
    """Return the tool whose names these are, if fewer than half of them are understood without, and more with it.

    Parameters
    ----------
    mapped : {our name: an entry with one name of the candidate}.

    Examples
    --------
    >>> guess_tool(["l_out-0", "result_norm", "logits"], ["layers.0", "layer_norm", "logits"], {})
    'llama.cpp'
    """
    names, known = list(names)[:MAX_TRIED], dict.fromkeys(known)

    def understood(tool: str | None) -> int:
        return sum(
            one.reference_name is not None or one.meant is not None for one in _pairs(names, known, mapped, tool)
        )

    without = understood(None)
    if 2 * without >= len(names):
        return None
    counts = {tool: understood(tool) for tool in TOOLS}
    best = max(counts, key=lambda tool: counts[tool])
    return best if counts[best] > without else None


def _pairs(names: list[str], known: Mapping[str, Any], mapped: Mapping[str, Mapped], tool: str | None) -> list[Pair]:
    by_their_name: dict[str, list[Pair]] = {}
    for ours, entry in mapped.items():
        by_their_name.setdefault(entry.name, []).append(Pair(entry.name, ours, entry.axes))
    found: list[Pair] = []
    for name in names:
        found += by_their_name.get(name) or [pair_one(name, known, tool)]
    return found


def pair_one(name: str, known: Mapping[str, Any], tool: str | None = None) -> Pair:
    """Return the pair of one name, without suggestions and without a map."""
    if tool is not None and len(name) <= MAX_NAME:
        ways = (_aliased(name, alias_in(tool, spelling), known) for spelling in spellings(name))
        found = next((one for one in ways if one.meant or one.reason or one.reference_name is not None), None)
        if found is not None:
            return found
    first, *others = [_pair_as(name, spelling, known) for spelling in spellings(name)]
    return next((found for found in (first, *others) if found.reference_name is not None), first)


def spellings(name: str) -> list[str]:
    """Return the name and other spellings of it, as files may have.

    These are Windows' backslashes, a file ending, an index in brackets, and the first element of a module's tuple.

    Examples
    --------
    >>> spellings("step.0\\\\layers[1].npy"), spellings("layers.0[0]")
    (['step.0\\\\layers[1].npy', 'step.0/layers[1]', 'step.0/layers.1'], ['layers.0[0]', 'layers.0.0', 'layers.0'])
    """
    clean = name.replace("\\", "/").removesuffix(".npy")
    return list(dict.fromkeys((name, clean, INDEX.sub(r".\1", clean), clean.removesuffix("[0]"))))


def _pair_as(name: str, spelling: str, known: Mapping[str, Any]) -> Pair:
    """Return the pair of a tensor called ``name`` as if it were called ``spelling``."""
    step, slash, rest = spelling.rpartition("/") if spelling.startswith("step.") else ("", "", spelling)
    for short in (rest, rest.removeprefix("biogpt."), INPUT + rest):
        if f"{step}{slash}{short}" in known:
            return Pair(name, f"{step}{slash}{short}")
    if ours := cached_name(rest.removeprefix("biogpt.")):
        full = f"{step}{slash}{ours}"
        return Pair(name, full, note=CACHE_NOTE) if full in known else _absent(name, full)
    output = spelling.removeprefix("biogpt.")  # of the model in the middle, as a hook on it gets
    output = output if output.startswith(OUTPUTS) else spelling
    return _aliased(name, alias_of(output) if len(spelling) <= MAX_NAME else None, known)


def _aliased(name: str, alias: Alias | None, known: Mapping[str, Any]) -> Pair:
    """Return the pair of a tensor by the alias of its name."""
    if alias is None:
        return Pair(name, None)
    if alias.refusal:
        return Pair(name, None, reason=alias.refusal)
    if alias.name in known:
        return Pair(name, alias.name, alias.axes or None, note=alias.note)
    return _absent(name, alias.name)


def _absent(name: str, ours: str) -> Pair:
    """Return the pair of a tensor that is an array of BioGPT, but none of the case."""
    reason = "its calls have no such array either" if name == ours else f"it is {ours}, which the case doesn't have"
    return Pair(name, None, reason=reason, meant=ours)


def _with_suggestions(pairs: list[Pair], known: Mapping[str, Any]) -> list[Pair]:
    """Add the three most similar names to the first few pairs that match no array."""
    found, left = [], MAX_SUGGESTIONS
    for item in pairs:
        if item.reference_name is None and not item.reason and left:
            left -= 1
            if item.candidate.startswith("["):
                reason = 'it has a position but no name: save a dict, {"logits": ...}'
                found.append(Pair(item.candidate, None, reason=reason))
                continue
            near = ", ".join(nearest(item.candidate, known))
            reason = f"the closest names are {near}" if near else "no name is similar"
            item = Pair(item.candidate, None, reason=reason)
        found.append(item)
    return found
