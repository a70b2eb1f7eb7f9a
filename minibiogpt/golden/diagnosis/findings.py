"""An attempt that explains errors: what it explains, where it is made, and how it is combined with others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from minibiogpt.golden.diagnosis.library import PRIORITY
from minibiogpt.golden.diagnosis.measure import Error
from minibiogpt.golden.diagnosis.run import Knobs, Site
from minibiogpt.golden.diagnosis.ways.attempt import Attempt

Place = tuple[int, str]  # index of the case, and name of an array
COARSE = ("precision-", "table-")  # causes that are judged by coarser budgets
CLOSER = 0.5  # of an error, that an explanation may leave
MANY = 2  # arrays that an explanation may leave wrong at its steps, for each one that it explains
TELLING = 2.0  # budgets that an error must reach before an explanation can be known


@dataclass
class Finding:
    """An attempt that explains something, and what it explains.

    Attributes
    ----------
    sites : the steps that are done otherwise.
    explained : {place: (error before, error after)}.
    equal : attempts that explain the same arrays as well.
    """

    attempt: Attempt
    sites: list[Site]
    explained: dict[Place, tuple[Error, Error]]
    equal: list[Attempt] = field(default_factory=list)

    @property
    def known(self) -> bool:
        before = max(error.times for error, _ in self.explained.values())
        return all(after.ok for _, after in self.explained.values()) and before >= TELLING


@dataclass(frozen=True)
class Trial:
    """An attempt at certain sites, and what it does to the errors; ``left`` are those that it does not explain."""

    attempt: Attempt
    sites: frozenset[Site]
    explained: dict[Place, tuple[Error, Error]]
    broken: list[Place]
    left: list[Place] = field(default_factory=list)

    @property
    def size(self) -> float:
        """The sum of the errors that are left."""
        return sum(after.size for _, after in self.explained.values())

    @property
    def telling(self) -> bool:
        """Whether the errors become clearly smaller, and it does not leave many as they are."""
        before, after = (max(errors[k].times for errors in self.explained.values()) for k in (0, 1))
        close = before < TELLING and self.attempt.cause.startswith(COARSE)
        return after <= CLOSER * before and not (close or self.leaves_many)

    @property
    def leaves_many(self) -> bool:
        return len(self.left) > MANY * max(1, len(self.explained))

    @property
    def order(self) -> tuple[Any, ...]:
        certain = sum(before.times >= TELLING for before, _ in self.explained.values())
        return (
            -certain,
            len(self.left),
            self.attempt.rank,
            PRIORITY.get(self.attempt.cause, 99),
            len(self.attempt.changes),
        )


def scopes(attempt: Attempt, layer: int | None, layers: list[int], here: bool) -> list[frozenset[Site]]:
    """Return the sites at which an attempt is first made: the layer of its step, or all layers of the span."""

    def at(chosen: Iterable[int]) -> frozenset[Site]:
        found: set[Site] = set()
        for template in attempt.changes:
            found |= {(template, x) for x in chosen} if "{l}" in template else {(template, None)}
        return frozenset(found)

    if layer is None and not any("{l}" in template for template in attempt.changes):
        return [at([])]
    if layer is None:
        return [at(layers or [0])]
    return [at([layer])] if here or len(layers) < 2 else [at(layers), at([layer])]


def merged(changes: Mapping[Site, Knobs], attempt: Attempt, sites: Iterable[Site]) -> dict[Site, dict[str, Any]] | None:
    """Return the changes with those of the attempt; None if they contradict each other."""
    found = {site: dict(knobs) for site, knobs in changes.items()}
    for site in sites:
        own, new = found.setdefault(site, {}), attempt.changes[site[0]]
        if any(key in own and not _both(own, key, value) for key, value in new.items()):
            return None
        own |= {key: {**own[key], **value} if _both(own, key, value) else value for key, value in new.items()}
    return found


def _both(own: Mapping[str, Any], key: str, value: Any) -> bool:
    """Whether both are {prefix of a call: value}, for calls of their own."""
    return isinstance(value, Mapping) and isinstance(own.get(key), Mapping)
