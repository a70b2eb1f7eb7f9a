"""Bad lines of an input: counted for one error, or listed on standard error and skipped."""

from __future__ import annotations

import sys
from typing import NamedTuple

from minibiogpt.cli.batch.lines import Fault
from minibiogpt.errors import InputError, printable

SHOWN = 8  # numbers of lines in one message
MAX_CHARACTERS = 500  # of a skipped line's reason


class BadLine(NamedTuple):
    """A line that cannot be used: its number from 1, its bytes, and why."""

    line: int
    raw: bytes
    fault: Fault


class Numbers:
    """Line numbers, of which only the first are kept: an input may have millions.

    Examples
    --------
    >>> numbers = Numbers()
    >>> for n in range(1, 30, 2):
    ...     numbers.add(n)
    >>> str(numbers)
    '1, 3, 5, 7, 9, 11, 13, 15 and 7 more'
    """

    def __init__(self) -> None:
        self.count = 0
        self._first: list[int] = []

    def add(self, number: int) -> None:
        self.count += 1
        if len(self._first) < SHOWN:
            self._first.append(number)

    def __str__(self) -> str:
        more = self.count - len(self._first)
        return ", ".join(map(str, self._first)) + (f" and {more} more" if more else "")


class Faults:
    """The first bad line, and the numbers of the others: those that break the same rule, and the rest."""

    def __init__(self, first: BadLine | None = None) -> None:
        self.first, self.same, self.rest = first, Numbers(), Numbers()

    def add(self, bad: BadLine) -> None:
        if self.first is None:
            self.first = bad
        else:
            (self.same if bad.fault.must == self.first.fault.must else self.rest).add(bad.line)

    def __bool__(self) -> bool:
        return self.first is not None

    def error(self, name: str | None) -> InputError:
        """Return the one error for all. ``name`` is that of the input, or None for the command line."""
        assert self.first is not None
        number, _, (must, found, remedy) = self.first
        texts = "text" if name is None else "line"
        if self.same.count:
            found += f", and the same fault in {texts}{'s' * (self.same.count > 1)} {self.same}"
        if self.rest.count:
            found += f", and other faults in {texts}{'s' * (self.rest.count > 1)} {self.rest}"
        if name is None:
            which = f"text {number}" if self.same.count or self.rest.count else "a text"
            return InputError(f"{which} {must}", found, remedy)
        return InputError(f"line {number} of {name} {must}", found, f"{remedy}, or skip such lines with --skip-bad")


def show_skipped(where: str, fault: Fault) -> None:
    """Print one line to standard error about a line that is skipped."""
    line = " ".join(f"{where} {fault.must}; found {fault.found}".split())
    cut = line if len(line) <= MAX_CHARACTERS else f"{line[:MAX_CHARACTERS]} ..."
    print(f"minibiogpt: skipped: {printable(cut)}", file=sys.stderr)
