"""Maps of names: {our name: the candidate's}, with patterns for the layers and alternatives, for one case or a kit.

``{l}`` stands for the layer, and ``{l+1}`` in the candidate's name for the layer counted from 1; ``{n}`` stands for the
step of several calls. A name without ``step.{n}/`` serves every call: the candidate's name then has the same prefix.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minibiogpt.catalog.descriptions import SUMMARIES
from minibiogpt.catalog.names import STEP, template_of
from minibiogpt.errors import InputError, nearest, short_repr
from minibiogpt.files.reading import read_json

EXAMPLE = '{"layers.{l}": "h.{l}", "layers.0.self_attn.q": {"name": "q0", "axes": "B T H Dh"}}'
HOLE = re.compile(r"\{(l|n)(?:\+1)?\}")


@dataclass(frozen=True)
class Mapped:
    """The entry of one array in a map file: the candidate's name for it, and optionally its axes there.

    Attributes
    ----------
    others : further names; the first that the candidate has counts.
    """

    name: str
    axes: str | None = None
    others: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.others)


def read_map(path: Path) -> dict[str, Mapped]:
    """Read a map file: {"our.name": "their.name"} or {"our.name": {"name": "their.name", "axes": "B T H Dh"}}.

    Instead of a name there may be a list of names.

    Raises
    ------
    InputError
        If there is no such file, it isn't a map, or only one of two names has a ``{l}``.
    """
    if not path.exists():
        raise InputError("--map must name a file", f"no {path}", "check the path")
    content = read_json(path, "a map of names must exist", absent="check the path", broken="correct the file")
    must = f"{path} must hold JSON, such as {EXAMPLE}"
    if not isinstance(content, dict) or not content:
        raise InputError(must, short_repr(content), "correct the map")
    found = {ours: _parsed_mapped(ours, value, must) for ours, value in content.items()}
    for ours, entry in found.items():
        for theirs in entry.names:
            if set(HOLE.findall(ours)) != set(HOLE.findall(theirs)):
                must = f"{path} must have {{l}} and {{n}} in both names of an entry or in neither"
                raise InputError(must, f"{short_repr(theirs)} for {short_repr(ours)}", "correct the map")
    return found


def _parsed_mapped(ours: str, value: Any, must: str) -> Mapped:
    one: dict[str, Any] = {"name": value}
    if isinstance(value, dict) and "name" in value and set(value) <= {"name", "axes"}:
        one = value
    names = one["name"] if isinstance(one["name"], list) else [one["name"]]
    if not names or not all(isinstance(text, str) for text in (*names, one.get("axes", ""))):
        raise InputError(must, f"{short_repr(value)} for {short_repr(ours)}", "correct the map")
    return Mapped(names[0], one.get("axes"), tuple(names[1:]))


def filled(mapped: Mapping[str, Mapped], known: Iterable[str]) -> dict[str, tuple[str, Mapped]]:
    """Return {array of the case: (key in the map, its entry with the layer and the step filled in)}.

    A full name comes before a pattern, a pattern with ``step.{n}/`` before one without, and an entry before those that
    follow it.

    Examples
    --------
    >>> known = ["step.1/layers.0.fc1", "step.1/layers.0.fc2", "step.1/logits"]
    >>> found = filled({"layers.{l}.fc1": Mapped("h.{l+1}", None, ("fc.{l}",)), "logits": Mapped("y")}, known)
    >>> [(ours, entry.names) for ours, (_, entry) in found.items()]
    [('step.1/logits', ('step.1/y',)), ('step.1/layers.0.fc1', ('step.1/h.1', 'step.1/fc.0'))]
    """
    names, found = dict.fromkeys(known), dict[str, tuple[str, Mapped]]()
    in_step: dict[str, list[str]] = {}
    for name in names:
        in_step.setdefault(STEP.sub("", name, count=1), []).append(name)
    patterns = [key for key in mapped if HOLE.search(key)]
    with_call = [key for key in patterns if key.startswith("step.")]
    found |= {key: (key, mapped[key]) for key in mapped if key in names and key not in patterns}
    plain = [key for key in mapped if key not in names and key not in patterns]
    for key in (*with_call, *plain, *patterns):
        if key in plain:
            matches = [(name, dict[str, str]()) for name in in_step.get(key, ())]
        else:
            matching = _matching(key)
            tried = ((name, matching.fullmatch(name)) for name in names)
            matches = [(name, match.groupdict()) for name, match in tried if match]
        for name, numbers in matches:
            if name not in found:
                found[name] = (key, _in(name, key, mapped[key], numbers))
    return found


def _matching(key: str) -> re.Pattern[str]:
    """Return the regular expression of the names that a key with ``{l}`` or ``{n}`` serves."""
    seen: set[str] = set()

    def number(hole: re.Match[str]) -> str:
        again = hole[1] in seen
        seen.add(hole[1])
        return f"(?P={hole[1]})" if again else f"(?P<{hole[1]}>[0-9]{{1,9}})"

    text = re.sub(r"\\\{(l|n)\\\}", number, re.escape(key))
    return re.compile(text if key.startswith("step.") else f"(?:step\\.[0-9]{{1,9}}/)?{text}")


def _in(name: str, key: str, entry: Mapped, numbers: Mapping[str, str]) -> Mapped:
    """Return the entry for one array, with the prefix of its call unless the key has one."""
    step = STEP.match(name) if not key.startswith("step.") else None

    def theirs(template: str) -> str:
        def number(hole: re.Match[str]) -> str:
            return str(int(numbers[hole[1]]) + hole[0].endswith("+1}"))

        return (step[0] if step else "") + HOLE.sub(number, template)

    first, *others = map(theirs, entry.names)
    return Mapped(first, entry.axes, tuple(others))


def chosen(entries: Mapping[str, tuple[str, Mapped]], names: Container[str]) -> dict[str, tuple[str, Mapped]]:
    """Return the entries that ``filled`` returned, each with the first of its names that the candidate has."""
    found = {}
    for ours, (key, entry) in entries.items():
        theirs = next((name for name in entry.names if name in names), None)
        if theirs is not None:
            found[ours] = (key, replace(entry, name=theirs, others=()))
    return found


def with_axes_of(entries: Mapping[str, tuple[str, Mapped]], axes: Mapping[str, str]) -> dict[str, tuple[str, Mapped]]:
    """Return the entries, with the axes of logits fitted to the case: one map serves cases with different heads.

    Parameters
    ----------
    axes : {array of the case: its axes}.

    Examples
    --------
    >>> found = with_axes_of({"logits": ("logits", Mapped("y", "T B V"))}, {"logits": "B labels"})
    >>> found["logits"][1].axes
    'B labels'
    """
    found = dict(entries)
    for ours, (key, entry) in entries.items():
        letters = axes.get(ours, "").split()
        if entry.axes is not None and template_of(ours) == "logits" and letters:
            declared = [letters[-1] if one in ("V", "labels") else one for one in entry.axes.split()]
            kept = " ".join(one for one in declared if one != "T" or "T" in letters)
            found[ours] = (key, replace(entry, axes=kept))
    return found


def check_keys(mapped: Mapping[str, Mapped], entries: Mapping[str, tuple[str, Mapped]], known: Iterable[str]) -> None:
    """Check that every key of a map is an array of this case.

    If the map serves the case, a key may also be the name of another array of BioGPT: one map serves many cases.
    """
    used = {key for key, _ in entries.values()}
    for key in mapped:
        if key not in used and (not used or template_of(key) not in SUMMARIES):
            check_map_name("the case", key, known)


def check_theirs(
    entries: Mapping[str, tuple[str, Mapped]], used: Container[str], what: str, names: Iterable[str]
) -> None:
    """Check that of each key's names in the candidate one is there, for one layer at least."""
    for key, entry in entries.values():
        if key not in used:
            check_map_name(what, entry.name, names)


def check_map_name(what: str, name: str, existing: Iterable[str]) -> None:
    """Check that ``what`` has an array of this name of a map."""
    if name not in existing:
        near = ", ".join(nearest(name, existing))
        found = f"{short_repr(name)}{f' (nearest: {near})' if near else ''}"
        raise InputError(f"a map must use names that exist in {what}", found, "correct the map")
