"""The texts that a command works on: typed, one a line of a file or of standard input, or a field of JSON lines."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from minibiogpt.checks import checked_integer
from minibiogpt.errors import InputError

CHUNK = 256


class Record(NamedTuple):
    """One text, the bytes it was read from, and the fields that its result carries on."""

    raw: bytes
    text: str
    fields: dict[str, Any]


class Source:
    """Where the records come from; iterating reads them one by one.

    Attributes
    ----------
    name : as an error names it. typed : whether the texts stand on the command line.
    path : the file, where there is one. rewindable : whether they can be read twice: not what a pipe brings.
    """

    def __init__(
        self,
        name: str,
        lines: Callable[[], Iterable[bytes]],
        *,
        path: Path | None = None,
        typed: bool = False,
        field: str | None = None,
        reserved: Collection[str] = (),
    ) -> None:
        self.name, self.path, self.typed = name, path, typed
        self.rewindable = typed or (path is not None and path.is_file())
        self._lines, self._field, self._reserved = lines, field, reserved

    def __iter__(self) -> Iterator[Record]:
        for number, raw in enumerate(self._lines(), start=1):
            place = f"line {number} of {self.name}"
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{place} must be UTF-8", str(error), "convert the texts first") from None
            if self._field is None:
                yield Record(raw, text, {"text": text})
            elif text.strip():
                fields = self._object(place, text, self._field)
                yield Record(raw, fields[self._field], fields)

    def _object(self, place: str, line: str, field: str) -> dict[str, Any]:
        """One JSON object that has a text and leaves the names of the results free."""
        remedy = "correct that line, or name another --field"
        try:
            fields = json.loads(line)
            json.dumps(fields, ensure_ascii=False).encode("utf-8")
        except (ValueError, RecursionError) as error:  # a half of a surrogate pair is a ValueError too
            raise InputError(f"{place} must be a JSON object", str(error), remedy) from None
        if not isinstance(fields, dict) or not isinstance(fields.get(field), str):
            found = f"no such field in {sorted(fields)}" if isinstance(fields, dict) else type(fields).__name__
            found = f"{type(fields[field]).__name__}" if isinstance(fields, dict) and field in fields else found
            raise InputError(f"{place} must be a JSON object whose {field!r} is a string", found, remedy)
        taken = [name for name in fields if name in self._reserved]
        if taken:
            raise InputError(f"{place} must leave the names of the results free", f"{taken[0]!r}", "rename that field")
        return fields

    def survey(self) -> tuple[int, str] | None:
        """Read what can be read twice: every line is checked before anything is computed. (Number, digest.)"""
        if not self.rewindable:
            return None
        digest, count = Digest(), 0
        for record in self:
            digest.add(record)
            count += 1
        return count, digest.hex


class Digest:
    """SHA-256 of the records so far, each with its length before it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, record: Record) -> None:
        self._hash.update(b"%d:" % len(record.raw) + record.raw)

    @property
    def hex(self) -> str:
        return self._hash.hexdigest()


class Reader:
    """Takes records from a source a chunk at a time, never more, and knows how far it is."""

    def __init__(self, source: Source, size: int) -> None:
        self.size, self.records = size, 0
        self._digest, self._left = Digest(), iter(source)

    @property
    def digest(self) -> str:
        return self._digest.hex

    def take(self, count: int) -> list[Record]:
        """The next records, fewer at the end."""
        taken = list(islice(self._left, count))
        for record in taken:
            self._digest.add(record)
        self.records += len(taken)
        return taken

    def skip(self, count: int) -> None:
        """Pass over what an earlier run has done, holding a chunk at most."""
        while self.records < count and self.take(min(self.size, count - self.records)):
            pass

    def __iter__(self) -> Iterator[list[Record]]:
        while chunk := self.take(self.size):
            yield chunk


def add_input(parser: argparse.ArgumentParser) -> None:
    """Where the texts come from, and how many are taken at a time."""
    parser.add_argument("text", nargs="*", help="a text; none or - reads standard input, one text a line")
    parser.add_argument("--file", metavar="FILE", help="read FILE, one text a line")
    parser.add_argument("--jsonl", action="store_true", help="each line is a JSON object; its fields are carried on")
    parser.add_argument("--field", default="text", metavar="NAME", help="with --jsonl: where the text is (text)")
    parser.add_argument("--no-special", action="store_true", help="treat </s> and the like in the text as text")
    parser.add_argument(
        "--chunk", type=int, default=CHUNK, metavar="N", help=f"texts read, sorted and written together ({CHUNK})"
    )


def source_of(options: argparse.Namespace, reserved: Collection[str] = ()) -> Source:
    """The one source that the options name.

    Raises
    ------
    InputError
        If they name none or two, or a file that cannot be read.
    """
    checked_integer("--chunk", options.chunk, 1)
    typed = bool(options.text) and options.text != ["-"]
    field = options.field if options.jsonl else None
    if options.file is not None:
        if options.file == "-":
            raise InputError("--file must be a file", "-", "leave it out to read standard input")
        if options.text:
            found = f"--file and {options.text[0]!r}"
            raise InputError("the texts must come from one place", found, "leave one out")
        path = Path(options.file)
        if path.is_dir() or not os.access(path, os.R_OK):
            raise InputError("--file must be a file that can be read", str(path), "check the path")
        return Source(str(path), lambda: _lines_of(path), path=path, field=field, reserved=reserved)
    if typed:
        if options.jsonl:
            raise InputError("--jsonl reads --file or standard input", "a text", "leave one out")
        return Source("the command line", lambda: map(_encoded, options.text), typed=True)
    if not options.text and sys.stdin is not None and sys.stdin.isatty():
        raise InputError("a text must be given", "none", "type it in quotes, pipe it in, or name a --file")
    return Source("standard input", _standard_input, field=field, reserved=reserved)


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError("a text must be UTF-8", str(error), "convert it first") from None


def _lines_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from _lines(file)


def _standard_input() -> Iterator[bytes]:
    return _lines(sys.stdin.buffer) if sys.stdin is not None else iter(())


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Only a line feed ends a line, with or without a carriage return before it."""
    for line in file:
        yield line.removesuffix(b"\n").removesuffix(b"\r")
