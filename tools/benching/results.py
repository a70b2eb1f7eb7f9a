"""What has been measured, kept line by line in a file, so that an interrupted run loses nothing and can resume.

The first line of the file is the request: what must be the same for two measurements to belong in one table. Each
further line is one measurement, {"key", "value"}, or a note that may occur several times, {"note", "value"}.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minibiogpt.errors import InputError

REQUEST, PLAN = "request", "plan"


class Results:
    """Measurements by key, and notes by name, in the order in which they were made."""

    def __init__(self, request: dict[str, Any], path: Path | None = None, resume: bool = False) -> None:
        """Start a file of results, or continue one.

        Raises
        ------
        InputError
            If the file exists already and is not to be continued, or is of another request.
        """
        self.request, self.path = json.loads(json.dumps(request)), path
        self.values: dict[str, Any] = {}
        self.notes: dict[str, list[Any]] = {}
        self.total, self.begun = 0, 0
        if path is None:
            if resume:
                raise InputError("--resume needs the file to continue", "no --results", "add --results FILE")
            return
        if path.exists() and path.stat().st_size:
            self._continue(path, resume)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write({REQUEST: self.request})

    def _continue(self, path: Path, resume: bool) -> None:
        if not resume:
            remedy = "add --resume to continue it, or choose another name"
            raise InputError("--results must name a new file", f"{path} exists", remedy)
        request, self.values, self.notes, used = read(path)
        if request != self.request:
            found = "; ".join(differences(request, self.request))
            must = f"--resume needs the options, packages and machine of {path.name}"
            raise InputError(must, found, "repeat them, or choose another --results")
        with path.open("r+b") as file:  # an interrupted write leaves half a line
            file.truncate(used)

    def once(self, key: str, make: Callable[[], Any], shown: Callable[[Any], list[str]] | None = None) -> Any:
        """Return the value of a key, measuring, saving and printing it if it is not there yet."""
        self.begun += 1
        of = f" ({self.begun} of {self.total})" if self.total else ""
        if key in self.values:
            print(f"bench: {key}{of}: measured before", file=sys.stderr)
            return self.values[key]
        print(f"bench: {key}{of}", file=sys.stderr)
        value = json.loads(json.dumps(make()))
        self._write({"key": key, "value": value})
        self.values[key] = value
        for line in shown(value) if shown else []:
            print(textwrap.fill(line, 120, initial_indent="  ", subsequent_indent="    "), file=sys.stderr)
        return value

    def plan(self, keys: list[str]) -> None:
        """Save the order of the keys, and count them in what is printed."""
        self.total, self.begun = len(keys), 0
        self.note(PLAN, keys)

    def note(self, name: str, value: Any) -> None:
        """Save a value that may occur several times, such as the load of the machine at each start."""
        value = json.loads(json.dumps(value))
        self._write({"note": name, "value": value})
        self.notes.setdefault(name, []).append(value)

    def _write(self, line: dict[str, Any]) -> None:
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any], dict[str, list[Any]], int]:
    """Return the request, values and notes of a file, and the number of bytes of its complete lines.

    Raises
    ------
    InputError
        If it is not a file of results.
    """
    values: dict[str, Any] = {}
    notes: dict[str, list[Any]] = {}
    whole = path.read_bytes()
    used = whole.rfind(b"\n") + 1
    try:
        first, *lines = (json.loads(line) for line in whole[:used].splitlines())
        request = first[REQUEST]
        for line in lines:
            if "key" in line:
                values[line["key"]] = line["value"]
            else:
                notes.setdefault(line["note"], []).append(line["value"])
    except (ValueError, KeyError, TypeError):
        must = "the file must contain results that --results wrote"
        raise InputError(must, str(path), "choose another file") from None
    return request, values, notes, used


def in_order(values: dict[str, Any], plans: list[list[str]]) -> dict[str, Any]:
    """Return the values in the order of the longest plan: a resumed run measures what is missing at the end.

    Examples
    --------
    >>> list(in_order({"c": 1, "x": 2, "a": 3}, [["a", "b", "c"], ["x"]]))
    ['a', 'c', 'x']
    """
    keys = [key for plan in sorted(plans, key=len, reverse=True) for key in plan]
    return {key: values[key] for key in dict.fromkeys((*keys, *values)) if key in values}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return what differs between two requests.

    Examples
    --------
    >>> differences({"threads": 1, "dtype": "float32"}, {"threads": 2, "dtype": "float32"})
    ['threads was 1, is 2']
    """
    found = []
    for name in dict.fromkeys((*before, *now)):
        a, b = before.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b)
        elif a != b:
            found.append(f"{name} was {_shown(a)}, is {_shown(b)}")
    return found


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
