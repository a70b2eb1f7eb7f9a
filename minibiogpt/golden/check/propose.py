"""Propose a map of names: the entries for which most cases and layers vote, with ``{l}`` for the layer.

Arrays with the same values in one case, such as probs and weights, are distinguished by another.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path
from typing import Any

from minibiogpt.catalog.names import LAYER, STEP
from minibiogpt.errors import InputError, listed
from minibiogpt.golden.candidate.reader import open_candidate
from minibiogpt.golden.check.calls import expected
from minibiogpt.golden.check.checker import candidate_of, cases_of_kit, read_case
from minibiogpt.golden.check.outputs import split_layers
from minibiogpt.golden.check.recognize import Vote, votes_of

HOWS = ("closest", "values", "name")  # the surest last


@dataclass
class Proposal:
    """A map in the syntax of ``--map``, and remarks on what it leaves open.

    Attributes
    ----------
    counts : {how: number of entries that were found so}.
    missing : names of ours, with ``{l}``, that nothing was recognized as. doubtful : those with the closest array only.
    """

    entries: dict[str, Any] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(reversed(HOWS), 0))
    missing: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    doubtful: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return what was found, what was not, and what to check."""
        words = {"name": "by their names", "values": "by their values", "closest": "as the closest"}
        counts = ", ".join(f"{n} {words[how]}" for how, n in self.counts.items() if n)
        found = [f"{len(self.entries)} entries: {counts}"] if self.entries else []
        found += [f"not found: {listed(self.missing, 20)}"] if self.missing else []
        found += [f"check these, whose values don't agree: {listed(self.doubtful, 20)}"] if self.doubtful else []
        return [*found, *self.remarks]


def proposed_map(path: Path, theirs: Path, tool: str | None = None) -> Proposal:
    """Return the map for a case and its candidate, or for a kit and the folder of its candidates.

    Parameters
    ----------
    tool : whose names the candidate has; None to recognize it.

    Raises
    ------
    InputError
        If the case or the kit is invalid, or no candidate can be read.
    """
    named = cases_of_kit(path, theirs) if path.is_dir() else {"": read_case(path)}
    votes, errors = [], []
    for name, case in named.items():
        try:
            file = candidate_of(theirs, name) if name else theirs
            if file is None:
                continue
            with open_candidate(file, partial(expected, case, {}, tool)) as tensors:
                votes.append(votes_of(case, split_layers(tensors, case.config), tool))
        except InputError as error:
            errors.append(error)
    if not votes and errors:
        raise errors[0]
    found = propose(votes)
    found.remarks += [f"left out: {error}" for error in errors]
    return found


def propose(cases: Iterable[Mapping[str, list[Vote]]]) -> Proposal:
    """Return the map that most cases and layers vote for.

    Examples
    --------
    >>> vote = {"layers.0.fc1": [Vote("h.0.up", "values")], "layers.1.fc1": [Vote("h.1.up", "values")]}
    >>> propose([vote]).entries
    {'layers.{l}.fc1': 'h.{l}.up'}
    """
    tally: dict[str, dict[str, list[tuple[str, Vote]]]] = {}
    plain_names: dict[str, bool] = {}
    for at, case in enumerate(cases):
        for ours, votes in case.items():
            plain_names[_key(ours)] = plain_names.get(_key(ours), False) or bool(votes)
            for vote in votes:
                for key, theirs in _templates(ours, vote.theirs):
                    tally.setdefault(key, {}).setdefault(theirs, []).append((f"{at} {ours}", vote))
    found = Proposal(missing=[name for name, has_votes in plain_names.items() if not has_votes])
    done: set[str] = set()
    for key in sorted(tally, key=lambda key: "{l}" not in key):  # those of a single layer only where a pattern fails
        _choose(key, tally[key], done, found)
    order = {name: i for i, name in enumerate(plain_names)}
    found.entries = dict(sorted(found.entries.items(), key=lambda item: order.get(_key(item[0]), len(order))))
    return found


def _choose(key: str, ways: Mapping[str, list[tuple[str, Vote]]], done: set[str], found: Proposal) -> None:
    """Add the entry that most arrays vote for, and what else it might be."""
    left = {theirs: [(at, vote) for at, vote in votes if at not in done] for theirs, votes in ways.items()}

    def rank(theirs: str) -> tuple[Any, ...]:
        votes = [vote for _, vote in left[theirs]]
        surest = max((HOWS.index(vote.how) for vote in votes), default=-1)
        unturned = sum(vote.has_order(vote.ours) for vote in votes)
        return len(votes), surest, sum(vote.same_rank for vote in votes), unturned

    used = [entry if isinstance(entry, str) else entry["name"] for entry in found.entries.values()]
    best = max(left, key=lambda one: (*rank(one), one not in used, SequenceMatcher(None, key, one).ratio()))
    votes = [vote for _, vote in left[best]]
    if not votes or ("{l}" in key and len({at for some in left.values() for at, _ in some}) > 2 * len(votes)):
        return
    done.update(at for at, _ in left[best])
    axes = _common_axes(votes)
    how = HOWS[max(HOWS.index(vote.how) for vote in votes)]
    found.entries[key] = {"name": best, "axes": axes} if axes else best
    found.counts[how] += 1
    same = {vote.theirs for vote in votes}  # under another template
    rivals = [one for one in left if rank(one) == rank(best) and not same & {vote.theirs for _, vote in left[one]}]
    if not set(rivals) <= set(used):
        found.remarks.append(f"{key}: {best} was chosen; the same values are in {listed(rivals, 3)}")
    if how == "closest":
        found.doubtful.append(key)


def _common_axes(votes: list[Vote]) -> str:
    """Return the order of the axes in most votes, or "" if it is ours. A case with one row doesn't show where B is."""
    ours = {vote.ours for vote in votes}
    orders = dict.fromkeys([*(vote.ours for vote in votes), *(vote.order for vote in votes)])
    order = max(orders, key=lambda letters: sum(vote.has_order(letters) for vote in votes))
    text = " ".join(order)
    return "" if order in ours else text.replace("H Dh", "D") if "H Dh" in " ".join(votes[0].ours) else text


def _key(ours: str) -> str:
    return LAYER.sub("layers.{l}", STEP.sub("", ours, count=1).removeprefix("step.{n}/"))


def _templates(ours: str, theirs: str) -> Iterator[tuple[str, str]]:
    """Yield (our name, theirs) with ``{l}`` and ``{n}`` in the places that can stand for this layer and step."""
    step, layer = STEP.match(ours), LAYER.search(ours)
    plain, their = ours[len(step[0]) if step else 0 :], theirs
    if step and theirs.startswith(step[0]):
        their = theirs[len(step[0]) :]
        step = None
    starts = _filled(their, int(step[1]), "n") if step else [their]
    start = "step.{n}/" if step else ""
    for one in starts:
        for template in _filled(one, int(layer[1]), "l") if layer else ():
            yield start + LAYER.sub("layers.{l}", plain), template
        yield start + plain, one


def _filled(name: str, number: int, letter: str) -> list[str]:
    """Return the name with ``{l}`` or ``{l+1}`` for one of its numbers, or for all that are the same."""
    found: dict[str, None] = {}
    for value, hole in ((number, f"{{{letter}}}"), (number + 1, f"{{{letter}+1}}")):
        alone = re.compile(rf"(?<![0-9]){value}(?![0-9])")
        places = [match.span() for match in alone.finditer(name)]
        found |= {alone.sub(hole, name): None} if len(places) > 1 else {}
        found |= {name[:first] + hole + name[last:]: None for first, last in places}
    return list(found)
