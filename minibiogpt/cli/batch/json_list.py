"""A JSON list that is printed item by item, so that an error or a kill does not lose the earlier items."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from minibiogpt.cli.options import printable_json


class JsonList:
    """Prints each item at once; in total, what ``print_json`` prints for the list of them.

    After an error, the list of the items so far is closed. If there are none, nothing is printed.

    Examples
    --------
    >>> with JsonList() as printed:
    ...     printed.add([{"a": 1}])
    [
     {
      "a": 1
     }
    ]
    """

    def __init__(self) -> None:
        self._started = False

    def add(self, items: Iterable[Any]) -> None:
        """Print some items."""
        for item in items:
            text = printable_json(item, indent=1).replace("\n", "\n ")
            sys.stdout.write(f"{',' if self._started else '['}\n {text}")
            self._started = True
        sys.stdout.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None:
            sys.stdout.write("\n]\n" if self._started else "[]\n")
        elif self._started:
            with contextlib.suppress(OSError):  # the pipe may be what failed
                sys.stdout.write("\n]\n")
                sys.stdout.flush()
