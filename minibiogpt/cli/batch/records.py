"""Read texts from the command line, the lines of a file or standard input, or a field of JSON Lines."""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from minibiogpt.cli.batch.faults import BadLine, Faults, Numbers, show_skipped
from minibiogpt.cli.batch.jsonl import parse_object
from minibiogpt.cli.batch.lines import Fault, habit_of, is_blank, lines_of, not_utf8
from minibiogpt.errors import InputError, short_repr

LINE = "line"  # with --skip-bad, the field of a result that holds the number of its line
Check = Callable[["Record"], Fault | None]


class Record(NamedTuple):
    """One text, the bytes it was read from, and the fields to copy to its result.

    ``words`` is the text as a list of words, if the input has it that way; ``text`` is then " ".join(words).
    ``line`` is the number of its line, or of the text on the command line, from 1.
    """

    raw: bytes
    text: str
    fields: dict[str, Any]
    words: list[str] | None = None
    line: int = 0


class Scan(NamedTuple):
    """What a first reading found: how many texts, and the count and digest of all lines."""

    texts: int
    lines: int
    digest: str


class Source:
    """An input of texts. Iterating reads them one by one, and with ``skip_bad`` also yields the bad lines.

    Blank lines at the end are no texts. Others are bad, as are lines that are not UTF-8, that are not the JSON objects
    they should be, or in which ``check`` finds a fault.

    Attributes
    ----------
    name : what errors call the input. from_arguments : whether the texts are command-line arguments.
    path : the file, if there is one. rewindable : whether the input can be read twice, unlike a pipe.
    field : with JSON Lines, the field that holds the text.
    reserved, reserved_with_words : names of results, which a copied field may not have: it gets the prefix "input_".
        The second are those of a text that is split into words.
    skip_bad : whether to skip bad lines, and list them on standard error, instead of raising an InputError.
    check : finds what a command cannot use, or returns None.
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
        skip_bad: bool = False,
    ) -> None:
        self.name, self.path, self.from_arguments, self.skip_bad = name, path, from_arguments, skip_bad
        self.rewindable = from_arguments or (path is not None and path.is_file())
        self.check: Check | None = None
        self._lines, self._field, self._listed = lines, field, False
        self._reserved = [*reserved, LINE] if skip_bad else reserved
        self._reserved_with_words = reserved_with_words

    @classmethod
    def of_arguments(cls, texts: list[str], skip_bad: bool = False) -> Source:
        """Return the texts on the command line as a source."""
        raw = [text.encode("utf-8", "surrogatepass") for text in texts]  # surrogates are refused like bytes in a file
        return cls("the command line", lambda: raw, from_arguments=True, skip_bad=skip_bad)

    @classmethod
    def of_file(cls, path: Path, **settings: Any) -> Source:
        def lines() -> Iterator[bytes]:
            with path.open("rb") as file:
                yield from lines_of(file, str(path))

        return cls(str(path), lines, path=path, **settings)

    @classmethod
    def of_standard_input(cls, **settings: Any) -> Source:
        name = "standard input"
        return cls(name, lambda: iter(()) if sys.stdin is None else lines_of(sys.stdin.buffer, name), **settings)

    def __iter__(self) -> Iterator[Record | BadLine]:
        for item in self._items():
            if isinstance(item, BadLine):
                if not self.skip_bad:
                    raise self._error(Faults(item))
                if not self._listed:
                    show_skipped(self.where(item.line), item.fault)
            yield item

    def scan(self) -> Scan | None:
        """Check every line of a rewindable input. The error of bad lines names them all, or the first of them.

        Raises
        ------
        InputError
            If there are bad lines to refuse, or no texts.
        """
        if not self.rewindable:
            return None
        digest, texts, faults = Digest(), 0, Faults()
        for item in self._items():
            digest.add(item.raw)
            if isinstance(item, Record):
                texts += 1
            elif self.skip_bad:
                show_skipped(self.where(item.line), item.fault)
            else:
                faults.add(item)
        self._listed = True
        if faults:
            raise self._error(faults)
        if not digest.lines:
            raise self.nothing()
        return Scan(texts, digest.lines, digest.hex)

    def _error(self, faults: Faults) -> InputError:
        return faults.error(None if self.from_arguments else self.name)

    def nothing(self) -> InputError:
        """Return the error of an input without texts."""
        must = f"{self.name} must contain a text"
        return InputError(must, "no text", "give one" if self.from_arguments else "write one per line")

    def warn_of_nothing(self) -> None:
        """Say that all were skipped: --field or --file is probably not what was meant."""
        warnings.warn(f"{self.name} has no text that can be used: all are skipped", stacklevel=2)

    def where(self, numbers: int | Numbers) -> str:
        """Return "line 2 of FILE", "lines 2, 5 and 7 more of FILE", "text 2" or "texts 2, 5" of the command line."""
        many = isinstance(numbers, Numbers) and numbers.count > 1
        if self.from_arguments:
            return f"text{'s' * many} {numbers}"
        return f"line{'s' * many} {numbers} of {self.name}"

    def _items(self) -> Iterator[Record | BadLine]:
        """Yield every record and every bad line; blank lines only once another line follows."""
        number = blank = returns = 0
        for number, raw in enumerate(self._lines(), start=1):
            returns = raw.count(b"\r") if number == 1 else 0
            if number == 1 and self._field is None and not self.from_arguments:
                self._warn_of_habit(raw)
            item = self._read(number, raw)
            if item is None and not self.from_arguments:
                blank += 1
                continue
            for earlier in range(number - blank, number):
                yield BadLine(earlier, b"", Fault("must contain a word", "a blank line", "remove it"))
            blank = 0
            if item is None:
                item = BadLine(number, raw, Fault("must contain a word", short_repr(raw.decode()), "type one"))
            elif isinstance(item, Record) and self.check is not None and (fault := self.check(item)) is not None:
                item = BadLine(number, raw, fault)
            yield item
        if returns and not self.from_arguments:
            warnings.warn(
                f"{self.name} is one line, with {returns} carriage returns in it, which end no line: if they should, "
                "convert it with tr '\\r' '\\n'",
                stacklevel=2,
            )

    def _warn_of_habit(self, first: bytes) -> None:
        """Say in one line that the lines are probably not the texts."""
        if (habit := habit_of(first, self.name)) is not None:
            warnings.warn(habit, stacklevel=2)

    def _read(self, number: int, raw: bytes) -> Record | BadLine | None:
        """Return the record of a line, what is wrong with it, or None if it is blank."""
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            unreadable = Fault("must be UTF-8", str(error), "convert it first")
            return BadLine(number, raw, unreadable if self.from_arguments else not_utf8(raw, self.name))
        if is_blank(text):
            return None
        line = {LINE: number} if self.skip_bad else {}
        if self._field is None:
            return Record(raw, text, {"text": text} | line, None, number)
        found = parse_object(text, self._field, self._reserved, self._reserved_with_words, self.name)
        if isinstance(found, Fault):
            return BadLine(number, raw, found)
        value, kept = found
        words = value if isinstance(value, list) else None
        text = value if isinstance(value, str) else " ".join(value)
        if is_blank(text):
            must = f"must contain a word in {self._field!r}"
            return BadLine(number, raw, Fault(must, short_repr(value), "remove the line"))
        return Record(raw, text, kept | line, words, number)


class Digest:
    """The count of the lines so far, and their SHA-256, each preceded by its length."""

    def __init__(self) -> None:
        self._hash, self.lines = hashlib.sha256(), 0

    def add(self, raw: bytes) -> None:
        self._hash.update(b"%d:" % len(raw) + raw)
        self.lines += 1

    @property
    def hex(self) -> str:
        return self._hash.hexdigest()


class Reader:
    """Read records from a source one chunk at a time, never ahead.

    ``lines`` and ``digest`` are those of all lines so far, of bad ones too, but not of blank ones at the end. With
    ``whole`` chunks only, a bad line raises its error at once; otherwise after the chunk of the records before it.
    """

    def __init__(self, source: Source, size: int, *, whole: bool = True) -> None:
        self.size, self.whole = size, whole
        self._error: InputError | None = None
        self._digest, self._remaining = Digest(), iter(source)

    @property
    def lines(self) -> int:
        return self._digest.lines

    @property
    def digest(self) -> str:
        return self._digest.hex

    def take(self, count: int) -> list[Record]:
        """Return the next ``count`` records, or fewer at the end."""
        if self._error is not None:
            raise self._error
        taken: list[Record] = []
        try:
            while len(taken) < count and (item := next(self._remaining, None)) is not None:
                self._digest.add(item.raw)
                if isinstance(item, Record):
                    taken.append(item)
        except InputError as error:
            if self.whole or not taken:
                raise
            self._error = error
        return taken

    def skip(self, count: int) -> None:
        """Skip ``count`` lines that an earlier run has done."""
        while self.lines < count and (item := next(self._remaining, None)) is not None:
            self._digest.add(item.raw)

    def __iter__(self) -> Iterator[list[Record]]:
        while chunk := self.take(self.size):
            yield chunk
