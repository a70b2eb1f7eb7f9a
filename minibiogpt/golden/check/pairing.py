"""Pair names: which array of the case each tensor of the candidate is, and why a tensor matches none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibiogpt.catalog.aliases import alias_of
from minibiogpt.catalog.descriptions import SUMMARIES
from minibiogpt.catalog.names import template_of
from minibiogpt.errors import InputError, nearest, short_repr
from minibiogpt.files.reading import read_json
from minibiogpt.golden.check.outputs import CACHE_NOTE, cached_name
from minibiogpt.golden.format.case import INPUT

EXAMPLE = '{"layers.0": "h.0", "layers.0.self_attn.q": {"name": "q0", "axes": "B T H Dh"}}'
INDEX = re.compile(r"\[(\d+)\]")
OUTPUTS = ("last_hidden_state", "hidden_states", "attentions")
MAX_NAME = 300  # characters of a name that may be another tool's
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


@dataclass(frozen=True)
class Mapped:
    """The entry of one array in a map file: the candidate's name for it, and optionally its axes there."""

    name: str
    axes: str | None = None


def pair(names: Iterable[str], known: Iterable[str], mapped: Mapping[str, Mapped] | None = None) -> list[Pair]:
    """Return a pair for each name of the candidate, in order; a mapped name has one for each array it is mapped to.

    The map comes first, then exact names, names without a leading ``biogpt.``, and aliases.

    Parameters
    ----------
    names : all names of the candidate.
    known : all names of the case.

    Raises
    ------
    InputError
        If the map has a name that the case or the candidate lacks.
    """
    names, known = list(names), dict.fromkeys(known)
    mapped = _checked_map(mapped or {}, names, known)
    by_their_name: dict[str, list[Pair]] = {}
    for ours, entry in mapped.items():
        by_their_name.setdefault(entry.name, []).append(Pair(entry.name, ours, entry.axes))
    found: list[Pair] = []
    for name in names:
        found += by_their_name.get(name) or [_pair(name, known)]
    return _with_suggestions(found, known)


def _pair(name: str, known: Mapping[str, Any]) -> Pair:
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
    alias = alias_of(output) if len(spelling) <= MAX_NAME else None
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


def read_map(path: Path) -> dict[str, Mapped]:
    """Read a map file: {"our.name": "their.name"} or {"our.name": {"name": "their.name", "axes": "B T H Dh"}}.

    Raises
    ------
    InputError
        If there is no such file, or it isn't a map.
    """
    if not path.exists():
        raise InputError("--map must name a file", f"no {path}", "check the path")
    content = read_json(path, "a map of names must exist", absent="check the path", broken="correct the file")
    must = f"{path} must hold JSON, such as {EXAMPLE}"
    if not isinstance(content, dict) or not content:
        raise InputError(must, short_repr(content), "correct the map")
    return {ours: _parsed_mapped(ours, value, must) for ours, value in content.items()}


def _parsed_mapped(ours: str, value: Any, must: str) -> Mapped:
    if isinstance(value, str):
        return Mapped(value)
    if isinstance(value, dict) and isinstance(value.get("name"), str) and set(value) <= {"name", "axes"}:
        if "axes" not in value:
            return Mapped(value["name"])
        if isinstance(value["axes"], str):
            return Mapped(value["name"], value["axes"])
    raise InputError(must, f"{short_repr(value)} for {short_repr(ours)}", "correct the map")


def _checked_map(mapped: Mapping[str, Mapped], names: list[str], known: Mapping[str, Any]) -> Mapping[str, Mapped]:
    """Return the entries of the map that are for this case: one map may serve all cases of a kit."""
    serves = any(ours in known for ours in mapped)
    for ours, entry in mapped.items():
        if not serves or template_of(ours) not in SUMMARIES:
            check_map_name("the case", ours, known)
        if ours in known:
            check_map_name("the candidate", entry.name, names)
    return {ours: entry for ours, entry in mapped.items() if ours in known}


def check_map_name(what: str, name: str, existing: Iterable[str]) -> None:
    """Check that ``what`` has an array of this name of a map."""
    if name not in existing:
        near = ", ".join(nearest(name, existing))
        found = f"{short_repr(name)}{f' (nearest: {near})' if near else ''}"
        raise InputError(f"a map must use names that exist in {what}", found, "correct the map")
