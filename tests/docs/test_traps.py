"""docs/traps.md names every cause that golden diagnose knows, in the trap of the mistakes that it is the cause of."""

from __future__ import annotations

import re

from minibiogpt.golden.diagnosis.library import CAUSES
from tests.reference.causes import CAUSES as EXPECTED
from tests.reference.mistakes import MISTAKES
from tests.support.pages import DOCS, text_of

TRAPS = text_of(DOCS / "traps.md")
OTHERS = "Causes that are no trap of the specification"


def sections(text: str) -> dict[str, str]:
    """Return {heading: text below it}."""
    parts = re.split(r"^## (.+)$", text, flags=re.M)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def ids(section: str) -> list[str]:
    """Return the ids after "Diagnosed as.", in a trap."""
    found = re.findall(r"^\*\*Diagnosed as\.\*\* (.*?)\.$", section, re.M | re.S)
    return [name for text in found for name in re.findall(r"`([^`]+)`", text)]


def listed(section: str) -> list[str]:
    """Return the ids in the first column of the table of causes that are no trap."""
    return [name for row in re.findall(r"^\| (`[^|]+) \|", section, re.M) for name in re.findall(r"`([^`]+)`", row)]


def test_every_cause_is_named_once_and_exists() -> None:
    found = sections(TRAPS)
    named = [name for heading, text in found.items() if heading != OTHERS for name in ids(text)]
    assert sorted([*named, *listed(found[OTHERS])]) == sorted(CAUSES)


def test_every_trap_but_the_first_has_causes() -> None:
    # The first is about comparing text: it is no mistake of a port.
    assert [heading[:2] for heading, text in sections(TRAPS).items() if heading != OTHERS and not ids(text)] == ["1."]


def test_each_mistake_is_in_the_trap_of_its_cause() -> None:
    seen = set()
    for heading, text in sections(TRAPS).items():
        for mistake in re.findall(r"^\| ([^|]+?) \| \d+ \|", text, re.M):
            assert EXPECTED[mistake].cause in ids(text), (heading, mistake)
            seen.add(mistake)
    assert seen == set(MISTAKES)


def test_an_id_of_a_line_that_wraps_is_found() -> None:
    assert ids("**Diagnosed as.** `a-b`,\n`c`.\n\nMore `d`.") == ["a-b", "c"]
