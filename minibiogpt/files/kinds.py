"""What a file is, from its first bytes: a foreign file is refused by what it is, not by what its bytes would mean."""

from __future__ import annotations

import re
from pathlib import Path

START = 512  # bytes that are looked at: up to the mark of a tar archive
SIGNATURES = (
    (b"GGUF", "a GGUF file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"MATLAB 5.0 MAT-file", "a MATLAB file"),
    (b"\x93NUMPY", "a NumPy array (npy)"),
    (b"PK\x03\x04", "a zip archive, such as npz or torch.save write"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a zstd file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"PAR1", "a Parquet file"),
    (b"ARROW1", "an Arrow file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"%PDF-", "a PDF"),
    (b"\x7fELF", "a program"),
    (b"version https://git-lfs", "a pointer of Git LFS"),
)
# It begins with the length of its header, in eight bytes, which can look like a mark: 80 04 also begins a pickle.
SAFETENSORS = re.compile(rb".{6}\0\0\{", re.DOTALL)
PICKLE = re.compile(rb"\x80[\x02-\x05]")
ONNX = re.compile(rb"\x08[\x03-\x20]\x12[\x01-\x40][\x20-\x7e]")  # its version, then the name of what wrote it
HTML = re.compile(rb"\s*<(!doctype html|html|head|body|\?xml)", re.IGNORECASE)
NUMBERS = re.compile(r"[-+0-9.eE,;\s]+")


def kind_of(path: Path) -> str | None:
    """Return what the file is, such as "a GGUF file", or None if its start is not that of a known format.

    An OSError is not caught. ``path`` must be a regular file.
    """
    with path.open("rb") as file:
        return kind_of_bytes(file.read(START))


def kind_of_bytes(start: bytes) -> str | None:
    """Return what a file is that starts with these bytes, as many as there are up to ``START``.

    Examples
    --------
    >>> kind_of_bytes(b"GGUF" + bytes(20)), kind_of_bytes(b"<html><body>Log in"), kind_of_bytes(b"1.5,2\\n3,4\\n")
    ('a GGUF file', 'an HTML page', 'a table of numbers in text')
    >>> [kind_of_bytes(n.to_bytes(8, "little") + b"{}" + b" " * (n - 2)) for n in (8, 1152)]  # safetensors
    [None, None]
    """
    if not start:
        return "an empty file"
    if SAFETENSORS.match(start):
        return None
    for signature, kind in SIGNATURES:
        if start.startswith(signature):
            return kind
    if PICKLE.match(start):
        return "a pickle"
    if start[257:262] == b"ustar":
        return "a tar archive"
    if start[4:8] == b"TFL3":
        return "a TensorFlow Lite model"
    if ONNX.match(start):
        return "an ONNX model"
    return "an HTML page" if HTML.match(start.removeprefix(b"\xef\xbb\xbf")) else _text(start)


def _text(start: bytes) -> str | None:
    """Return which text it is, or None if it is not text."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "a text in UTF-16"
    try:
        text = start.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # else a character cut at the end of what was read
            return None
        text = start[: error.start].decode("utf-8-sig")
    if any(not (character.isprintable() or character.isspace()) for character in text):
        return None
    if text.lstrip()[:1] in ("{", "["):
        return "JSON"
    return "a table of numbers in text" if NUMBERS.fullmatch(text) else "a text"
