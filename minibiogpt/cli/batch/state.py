"""FILE.state, the progress of an unfinished output: written atomically, and not trusted when it is read."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from minibiogpt.errors import InputError, short_repr
from minibiogpt.files.json_text import json_text
from minibiogpt.files.temporaries import not_writable
from minibiogpt.files.writing import write_atomically

START = b'{\n "settings": {\n  "minibiogpt": '  # of every state that we write
MAX_BYTES = 1 << 20
MAX_COUNT = 2**63 - 1
AWAY = "move it away, or choose another name"


@dataclass
class Progress:
    """What is complete: records with their digest, bytes of output, and sums over the records.

    ``made`` is true once FILE has been made of FILE.part, which is then no longer needed. ``replacing`` is true while
    FILE is a finished one that --overwrite replaces: the bytes are in FILE.part until they are complete.
    """

    records: int = 0
    digest: str = hashlib.sha256().hexdigest()
    bytes: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    made: bool = False
    replacing: bool = False


class DamagedState(InputError):
    """A state of ours that cannot be read; --overwrite replaces it."""


def state_path(path: Path) -> Path:
    return path.parent / f"{path.name}.state"


def write_state(state: Path, settings: dict[str, Any], progress: Progress) -> None:
    content = json_text({"settings": settings, "done": asdict(progress)}, indent=1) + "\n"
    write_atomically(state, lambda new: new.write_text(content, encoding="utf-8"))


def read_state(state: Path) -> tuple[dict[str, Any], Progress] | None:
    """Return the settings and the progress, or None without a state.

    Raises
    ------
    DamagedState
        If it begins as one of ours, but is damaged.
    InputError
        If it is anything else.
    """
    data = _content(state)
    if data is None:
        return None
    must = f"{state} must be the state of a minibiogpt run"
    if not (data.startswith(START) or START.startswith(data)):
        raise InputError(must, "a different file", AWAY)
    try:
        if len(data) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes")
        return _parsed(data)
    except (ValueError, RecursionError) as error:
        found = " ".join(str(error).split())[:200]
        raise DamagedState(must, found, "start again with --overwrite") from None


def open_own(path: Path, flags: int) -> int:
    """Open a file beside the output, without following a link or waiting for a pipe.

    Raises
    ------
    InputError
        If it is not a regular file with a single name. FileNotFoundError is passed on.
    """
    flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        facts = path.lstat()
        if (found := _not_own(facts)) is None:
            descriptor = os.open(path, flags)
            facts = os.fstat(descriptor)  # the file may have been replaced in between
            if (found := _not_own(facts)) is None:
                return descriptor
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise not_writable(path, error) from None
    raise InputError(f"{path} must be a regular file with one name", found, AWAY)


def _not_own(facts: os.stat_result) -> str | None:
    if stat.S_ISREG(facts.st_mode):
        return None if facts.st_nlink <= 1 else f"a file with {facts.st_nlink} names (hard links)"
    return (
        "a link" if stat.S_ISLNK(facts.st_mode) else "a folder" if stat.S_ISDIR(facts.st_mode) else "a pipe or device"
    )


def _content(state: Path) -> bytes | None:
    """Return the bytes of a state, at most one more than it may have."""
    try:
        descriptor = open_own(state, os.O_RDONLY)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read(MAX_BYTES + 1)


def _parsed(data: bytes) -> tuple[dict[str, Any], Progress]:
    content = json.loads(data.decode("utf-8"))
    if not (isinstance(content, dict) and content.keys() == {"settings", "done"}):
        raise ValueError("other fields than settings and done")
    settings, done = content["settings"], content["done"]
    known = {one.name for one in fields(Progress)}
    if not (
        isinstance(settings, dict) and isinstance(done, dict) and {"records", "digest", "bytes"} <= done.keys() <= known
    ):
        raise ValueError(f"done {short_repr(done)}")
    progress = Progress(**done)
    counts, sums = (progress.records, progress.bytes), progress.sums
    if not all(_is_count(n) for n in counts):
        raise ValueError(f"counts {short_repr(counts)}")
    if not (isinstance(progress.digest, str) and re.fullmatch("[0-9a-f]{64}", progress.digest)):
        raise ValueError(f"digest {short_repr(progress.digest)}")
    counted = isinstance(sums, dict) and all(_is_count(sums.get(name, 0)) for name in ("texts", "tokens"))
    if not (counted and all(map(_is_finite, sums.values()))):
        raise ValueError(f"sums {short_repr(sums)}")
    for name in ("made", "replacing"):
        if not isinstance(getattr(progress, name), bool):
            raise ValueError(f"{name} {short_repr(getattr(progress, name))}")
    return settings, progress


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_COUNT


def _is_finite(value: Any) -> bool:
    return (type(value) is int and abs(value) <= MAX_COUNT) or (type(value) is float and math.isfinite(value))
