"""Names: which array of the case a tensor of the candidate stands for, and what to say of one that stands for none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibiogpt.catalog.aliases import alias_of
from minibiogpt.errors import InputError, nearest, short_repr
from minibiogpt.files.reading import read_json
from minibiogpt.golden.format.case import INPUT

EXAMPLE = '{"layers.0": "h.0", "layers.0.self_attn.q": {"name": "q0", "axes": "B T H Dh"}}'
MOST_NEAREST = 12  # unpaired names whose nearest are looked for: likeness is slow to find


@dataclass(frozen=True)
class Pair:
    """A tensor of the candidate and the array of the case it stands for.

    Attributes
    ----------
    candidate, ours : their name and ours, both whole; ours is None where it stands for none.
    axes : its axes, where an alias or a map declares them.
    reason : why it stands for none. note : what to know of an alias.
    """

    candidate: str
    ours: str | None
    axes: str | None = None
    reason: str = ""
    note: str = ""


@dataclass(frozen=True)
class Mapped:
    """What a map file says of one array: the candidate's name of it, and perhaps its axes."""

    name: str
    axes: str | None = None


def pair(names: Iterable[str], known: Iterable[str], mapped: Mapping[str, Mapped] | None = None) -> list[Pair]:
    """A pair for each name of the candidate, in its order; of a mapped name, one for each array it is mapped to.

    Exact names first, then those less a leading ``biogpt.``, then the aliases. ``known``: all names of the case.

    Raises
    ------
    InputError
        If the map names what is not there.
    """
    names, known = list(names), dict.fromkeys(known)
    mapped = mapped or {}
    _check_map(mapped, names, known)
    by_their_name: dict[str, list[Pair]] = {}
    for ours, one in mapped.items():
        by_their_name.setdefault(one.name, []).append(Pair(one.name, ours, one.axes))
    found: list[Pair] = []
    for name in names:
        found += by_their_name.get(name) or [_pair(name, known)]
    return _with_nearest(found, known)


def _pair(name: str, known: Mapping[str, Any]) -> Pair:
    step, slash, rest = name.rpartition("/") if name.startswith("step.") else ("", "", name)
    for short in (rest, rest.removeprefix("biogpt."), INPUT + rest):
        if f"{step}{slash}{short}" in known:
            return Pair(name, f"{step}{slash}{short}")
    alias = alias_of(name)
    if alias is None:
        return Pair(name, None)
    if alias.refusal:
        return Pair(name, None, reason=alias.refusal)
    if alias.name in known:
        return Pair(name, alias.name, alias.axes or None, note=alias.note)
    return Pair(name, None, reason=f"it is {alias.name}, which the case does not hold")


def _with_nearest(pairs: list[Pair], known: Mapping[str, Any]) -> list[Pair]:
    """The first few names that stand for nothing are told the three nearest."""
    found, left = [], MOST_NEAREST
    for one in pairs:
        if one.ours is None and not one.reason and left:
            left -= 1
            near = ", ".join(nearest(one.candidate, known))
            one = Pair(one.candidate, None, reason=f"the nearest are {near}" if near else "no name is like it")
        found.append(one)
    return found


def read_map(path: Path) -> dict[str, Mapped]:
    """A map file: {"our.name": "their.name"} or {"our.name": {"name": "their.name", "axes": "B T H Dh"}}.

    Raises
    ------
    InputError
        If it is none.
    """
    if not path.exists():
        raise InputError("--map must name a file", f"no {path}", "check the path")
    content = read_json(path, "a map of names must be there")
    must = f"{path} must hold JSON, such as {EXAMPLE}"
    if not isinstance(content, dict) or not content:
        raise InputError(must, short_repr(content), "correct the map")
    return {ours: _mapped(ours, one, must) for ours, one in content.items()}


def _mapped(ours: str, one: Any, must: str) -> Mapped:
    if isinstance(one, str):
        return Mapped(one)
    if isinstance(one, dict) and isinstance(one.get("name"), str) and set(one) <= {"name", "axes"}:
        if "axes" not in one:
            return Mapped(one["name"])
        if isinstance(one["axes"], str):
            return Mapped(one["name"], one["axes"])
    raise InputError(must, f"{short_repr(one)} for {short_repr(ours)}", "correct the map")


def _check_map(mapped: Mapping[str, Mapped], names: list[str], known: Mapping[str, Any]) -> None:
    for ours, one in mapped.items():
        for what, name, there in (("the case", ours, known), ("the candidate", one.name, names)):
            if name not in there:
                near = ", ".join(nearest(name, there))
                found = f"{short_repr(name)}{f' (nearest: {near})' if near else ''}"
                raise InputError(f"a map must name what is in {what}", found, "correct the map")
