"""Bytes to texts: lines, a byte-order mark, and what a file that is not UTF-8 seems to be."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, TextIO

from minibiogpt.errors import InputError

BOM = b"\xef\xbb\xbf"
MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
COMPRESSED = {  # how such a file begins: what it is, and the program that unpacks it to standard output
    b"\x1f\x8b": ("a gzip file", "gunzip -c"),
    b"BZh91AY&SY": ("a bzip2 file", "bunzip2 -c"),
    b"\xfd7zXZ\0": ("an xz file", "xz -dc"),
    b"\x28\xb5\x2f\xfd": ("a Zstandard file", "zstd -dc"),
    b"PK\x03\x04": ("a zip file", "unzip -p"),
}
DOCUMENTS = {  # how files begin that hold texts in a form of their own
    b"%PDF-": "a PDF file",
    b"{\\rtf": "an RTF file",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Office file, such as .xls or .doc",
    b"PAR1": "a Parquet file",
    b"\x93NUMPY": "a NumPy file",
    b"\x89HDF": "an HDF5 file",
    b"SQLite format 3\0": "an SQLite file",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip file",
    b"Rar!\x1a\x07": "a RAR file",
}
OFFICE = (b"[Content_Types].xml", b"_rels/", b"docProps/", b"xl/", b"word/", b"ppt/", b"mimetypeapplication/")
OFFICE_NAMES = (".xlsx", ".docx", ".pptx", ".ods", ".odt")
TABLES = (".csv", ".tsv")
JSON_START = (b'{"', b"[{", b'["')
SAMPLE = 4096  # bytes of the first line that show its encoding


class Fault(NamedTuple):
    """Why a line cannot be used: what must hold, what was found, what to do."""

    must: str
    found: str
    remedy: str


def is_blank(text: str) -> bool:
    """Return whether a text has no token: it is empty, or holds only spaces and control characters.

    Examples
    --------
    >>> [is_blank(text) for text in ("", " \\t\\u2028", "\\0", "\\0a", "-")]
    [True, True, True, False, False]
    """
    return not text.strip() or all(c.isspace() or c < " " for c in text)  # Moses drops control characters


def lines_of(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the lines: they end at line feeds only, and a carriage return before one is removed.

    A byte-order mark at the start is no text.

    Raises
    ------
    InputError
        If the input begins like a compressed file, or like text in UTF-16 or UTF-32.
    """
    for number, line in enumerate(file, start=1):
        if number == 1:
            check_start(line, name)
            line = line.removeprefix(BOM)
        yield line.removesuffix(b"\n").removesuffix(b"\r")


def one_text(data: bytes, name: str) -> str:
    """Return all of an input as one text, without a byte-order mark and the last line end.

    Raises
    ------
    InputError
        If it is not UTF-8.
    """
    check_start(data[:SAMPLE], name)
    data = data.removeprefix(BOM).removesuffix(b"\n").removesuffix(b"\r")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        begin = data.rfind(b"\n", 0, error.start) + 1
        end = data.find(b"\n", error.start)
        fault = not_utf8(data[begin : end if end >= 0 else len(data)], name)
        raise InputError(f"line {number} of {name} {fault.must}", fault.found, fault.remedy) from None


def check_start(line: bytes, name: str) -> None:
    """Refuse an input whose first line shows that it is not UTF-8 text at all."""
    if (document := _document(line, name)) is not None:
        remedy = "write its texts into a text file, one per line, or as JSON Lines"
        raise InputError(f"{name} must be UTF-8 text", document, remedy)
    for start, (kind, program) in COMPRESSED.items():
        if line.startswith(start):
            remedy = f"unpack it: {command(program, name)}"
            raise InputError(f"line 1 of {name} must be UTF-8 text", kind, remedy)
    mark = next((mark for mark in MARKS if line.startswith(mark)), None)
    encoding = MARKS[mark] if mark else _without_mark(line[:SAMPLE])
    if encoding is not None:
        found = encoding.upper() + (f", which begins with the bytes {mark.hex(' ')}" if mark else "")
        raise InputError(f"line 1 of {name} must be UTF-8", found, _convert(encoding, name))


def not_utf8(line: bytes, name: str) -> Fault:
    """Return the fault of a line that is not UTF-8, with the encoding that it seems to have.

    Examples
    --------
    >>> print(*not_utf8("naïve".encode("latin1"), "a.txt"), sep=" | ")
    must be UTF-8 | byte ef, which is 'ï' in Latin-1 | convert it: iconv -f latin1 -t utf-8 a.txt > NEW
    """
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        at = error.start
    found = f"byte {line[at]:02x}"
    if not line.decode("utf-8", errors="ignore").isascii():  # other characters are valid: a damaged character
        return Fault("must be UTF-8", f"{found} at byte {at + 1} of the line", "correct that line")
    encoding, spoken = "latin1", "Latin-1"
    if any(0x80 <= byte < 0xA0 for byte in line):  # control characters in Latin-1
        encoding, spoken = "cp1252", "Windows-1252"
    try:
        found += f", which is {line[at : at + 1].decode(encoding)!r} in {spoken}"
        line.decode(encoding)
    except UnicodeDecodeError:
        return Fault("must be UTF-8", f"byte {line[at]:02x} at byte {at + 1} of the line", "correct that line")
    return Fault("must be UTF-8", found, _convert(encoding, name))


def _document(line: bytes, name: str) -> str | None:
    """Return what kind of document begins so, or None. Office files are zip files with known names in them."""
    inside = line[30:].startswith(OFFICE)  # where the first name is, unless a line feed is before it
    if line.startswith(b"PK\x03\x04") and (inside or name.lower().endswith(OFFICE_NAMES)):
        return "an Office file, such as .xlsx, .docx or .ods"
    return next((kind for start, kind in DOCUMENTS.items() if line.startswith(start)), None)


def habit_of(line: bytes, name: str) -> str | None:
    """Return a warning about a first line that shows a file of rows or of JSON, each of whose lines is read as a text.

    Examples
    --------
    >>> habit_of(b"id,text", "a.csv")
    'each line of a.csv is read as a text, its header, separators and quotation marks included'
    """
    if line.lstrip().startswith(JSON_START) or line.strip() in (b"[", b"{"):
        remedy = "score, embed, classify and tag read one field of JSON Lines with --jsonl"
        return f"each line of {name} is read as a text, braces and quotation marks included: {remedy}"
    if name.lower().endswith(TABLES):
        return f"each line of {name} is read as a text, its header, separators and quotation marks included"
    return None


def _without_mark(start: bytes) -> str | None:
    """Return UTF-16LE or UTF-16BE for English text in it: every second byte is NUL, and no other is."""
    even, odd = start[::2], start[1::2]
    if len(start) < 4:
        return None
    if not any(odd[: len(even)]) and 0 not in even[:-1]:
        return "utf-16le"
    return "utf-16be" if not any(even) and 0 not in odd else None


def _convert(encoding: str, name: str) -> str:
    return f"convert it: {command(f'iconv -f {encoding} -t utf-8', name)}"


def command(program: str, name: str) -> str:
    """Return the command that writes what is needed to a new file, or to the pipe."""
    if name == "standard input":
        piped = "funzip" if program == "unzip -p" else program  # unzip reads no pipe
        return f"pipe it through {piped}"
    return f"{program} {shlex.quote(name)} > NEW"


def check_standard_output(read: os.stat_result | None, name: str) -> None:
    """Refuse to write standard output to the file that is read: with >> it would grow as it is read, without end."""
    written = status_of(sys.stdout)
    if read is None or written is None or not stat.S_ISREG(read.st_mode) or not os.path.samestat(read, written):
        return
    found = f"{name}" + ("" if read.st_size else ", which is empty: > empties a file before the command starts")
    raise InputError("standard output must not go to the file that is read", found, "redirect it to another: > NEW")


def status_of(stream: TextIO) -> os.stat_result | None:
    """Return what the system knows of a stream; of one without a file, as in a notebook, or a closed one, None."""
    try:
        return os.fstat(stream.fileno())
    except (OSError, ValueError):
        return None
