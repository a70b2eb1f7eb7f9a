"""Read texts from the command line, the lines of a file or standard input, or a field of JSON Lines."""

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
from minibiogpt.errors import InputError, listed

CHUNK = 256
INPUT = "input_"  # prefix of a copied field that is named like a result


class Record(NamedTuple):
    """One text, the bytes it was read from, and the fields to copy to its result.

    ``words`` is the text as a list of words, if the input has it that way; ``text`` is then " ".join(words).
    """

    raw: bytes
    text: str
    fields: dict[str, Any]
    words: list[str] | None = None


class Source:
    """An input of records. Iterating reads them one by one.

    Attributes
    ----------
    name : what errors call the input. from_arguments : whether the texts are command-line arguments.
    path : the file, if there is one. rewindable : whether the input can be read twice, unlike a pipe.
    reserved, reserved_with_words : names of results, which a copied field may not have: it gets the prefix "input_".
        The second are those of a text that is split into words.
    """

    def __init__(
        self,
        name: str,
        lines: Callable[[], Iterable[bytes]],
        *,
        path: Path | None = None,
        from_arguments: bool = False,
        field: str | None = None,
        reserved: Collection[str] = (),
        reserved_with_words: Collection[str] = (),
    ) -> None:
        self.name, self.path, self.from_arguments = name, path, from_arguments
        self.rewindable = from_arguments or (path is not None and path.is_file())
        self._lines, self._field = lines, field
        self._reserved, self._reserved_with_words = reserved, reserved_with_words

    def __iter__(self) -> Iterator[Record]:
        for number, raw in enumerate(self._lines(), start=1):
            location = f"line {number} of {self.name}"
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(f"{location} must be UTF-8", str(error), "convert the texts first") from None
            if self._field is None:
                yield Record(raw, text, {"text": text})
            elif text.strip():
                fields, kept = self._object(location, text, self._field)
                value = fields[self._field]
                words = value if isinstance(value, list) else None
                yield Record(raw, value if words is None else " ".join(words), kept, words)

    def _object(self, location: str, line: str, field: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the JSON object of a line, which must have a text or words, and the fields to copy to the result.

        A field that is named like a result, such as a gold "label", is copied as "input_label".
        """
        remedy = "correct that line, or name another --field"
        try:
            fields = json.loads(line, object_pairs_hook=_without_repetition, parse_constant=_refuse_constant)
            json.dumps(fields, ensure_ascii=False, allow_nan=False).encode("utf-8")  # 1e999 is read as infinity
        except (ValueError, RecursionError) as error:  # a lone surrogate is a ValueError too
            raise InputError(f"{location} must be a JSON object", str(error), remedy) from None
        if not isinstance(fields, dict) or not _is_text(fields.get(field)):
            found = (
                f"no such field among {listed(map(repr, sorted(fields)))}"
                if isinstance(fields, dict)
                else type(fields).__name__
            )
            found = f"{type(fields[field]).__name__}" if isinstance(fields, dict) and field in fields else found
            found = "a list that holds something else" if found == "list" and isinstance(fields, dict) else found
            must = f"{location} must be a JSON object whose {field!r} is a string or a list of strings"
            raise InputError(must, found, remedy)
        reserved = {*self._reserved, *(self._reserved_with_words if isinstance(fields[field], list) else ())}
        kept = {(f"{INPUT}{name}" if name in reserved else name): value for name, value in fields.items()}
        if len(kept) < len(fields):
            twice = next(name for name in fields if f"{INPUT}{name}" in fields and name in reserved)
            must = f"{location} must have no field {twice!r}, a result's name, beside {INPUT + twice!r}"
            raise InputError(must, "both", "rename one of them")
        return fields, kept

    def scan(self) -> tuple[int, str] | None:
        """Check every line of a rewindable input, and return the count and the digest of its records."""
        if not self.rewindable:
            return None
        digest, count = Digest(), 0
        for record in self:
            digest.add(record)
            count += 1
        return count, digest.hex


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; one of two values of one name would be lost."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
        raise ValueError(f"the field {twice!r} twice")
    return fields


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name}, which is not valid JSON")


def _is_text(value: Any) -> bool:
    """Return whether a JSON value is a text, or a text split into words."""
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(word, str) for word in value))


class Digest:
    """SHA-256 of the records so far, each preceded by its length."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, record: Record) -> None:
        self._hash.update(b"%d:" % len(record.raw) + record.raw)

    @property
    def hex(self) -> str:
        return self._hash.hexdigest()


class Reader:
    """Read records from a source one chunk at a time, never ahead, and keep their count and digest."""

    def __init__(self, source: Source, size: int) -> None:
        self.size, self.records = size, 0
        self._digest, self._remaining = Digest(), iter(source)

    @property
    def digest(self) -> str:
        return self._digest.hex

    def take(self, count: int) -> list[Record]:
        """Return the next ``count`` records, or fewer at the end."""
        taken = list(islice(self._remaining, count))
        for record in taken:
            self._digest.add(record)
        self.records += len(taken)
        return taken

    def skip(self, count: int) -> None:
        """Skip ``count`` records that an earlier run has done, holding at most one chunk in memory."""
        while self.records < count and self.take(min(self.size, count - self.records)):
            pass

    def __iter__(self) -> Iterator[list[Record]]:
        while chunk := self.take(self.size):
            yield chunk


def add_input(parser: argparse.ArgumentParser) -> None:
    """Add the options for the input and the chunk size."""
    parser.add_argument("text", nargs="*", help="one or more texts; none or - reads standard input, one text per line")
    parser.add_argument("--file", metavar="FILE", help="read FILE, one text per line")
    parser.add_argument(
        "--jsonl",
        action="store_true",
        help="each line is a JSON object; its fields are copied to the output, a field named like "
        "a result, such as label, as input_label",
    )
    parser.add_argument(
        "--field",
        default="text",
        metavar="NAME",
        help="with --jsonl: field that holds the text, or a list of its words (default: text)",
    )
    parser.add_argument(
        "--no-special", action="store_true", help="treat </s> and other special tokens in the text as plain text"
    )
    parser.add_argument(
        "--chunk",
        type=int,
        default=CHUNK,
        metavar="N",
        help=f"texts read, sorted by length and written together, as one or more batches; a killed run repeats at most "
        f"one chunk (default: {CHUNK})",
    )


def source_of(
    options: argparse.Namespace, reserved: Collection[str] = (), reserved_with_words: Collection[str] = ()
) -> Source:
    """Return the input that the options name.

    Raises
    ------
    InputError
        If they name none or two, or a file that cannot be read.
    """
    checked_integer("--chunk", options.chunk, 1)
    from_arguments = bool(options.text) and options.text != ["-"]
    settings: dict[str, Any] = {"field": options.field if options.jsonl else None}
    settings |= {"reserved": reserved, "reserved_with_words": reserved_with_words}
    if options.file is not None:
        if options.file == "-":
            raise InputError("--file must be a file", "-", "leave --file out to read standard input")
        if options.text:
            found = f"--file and {options.text[0]!r}"
            raise InputError("the texts must come from one source", found, "leave one out")
        path = Path(options.file)
        if path.is_dir() or not os.access(path, os.R_OK):
            raise InputError("--file must be a readable file", str(path), "check the path")
        return Source(str(path), lambda: _lines_of(path), path=path, **settings)
    if from_arguments:
        if options.jsonl:
            raise InputError("--jsonl reads --file or standard input", "a text", "leave one out")
        return Source("the command line", lambda: map(_encoded, options.text), from_arguments=True)
    if not options.text and sys.stdin is not None and sys.stdin.isatty():
        raise InputError("a text must be given", "none", "type it in quotes, pipe it in, or name a --file")
    return Source("standard input", _standard_input, **settings)


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
    """Split at line feeds only, and remove a carriage return before one."""
    for line in file:
        yield line.removesuffix(b"\n").removesuffix(b"\r")
