"""What a file is, from its first bytes; tests/golden/candidate has whole files of most kinds."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from minibiogpt.files.kinds import SIGNATURES, START, kind_of, kind_of_bytes

BOM = b"\xef\xbb\xbf"


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        *((signature + bytes(99), kind) for signature, kind in SIGNATURES),
        *((pickle.dumps([1.5], protocol), "a pickle") for protocol in (2, 3, 4, 5)),
        (bytes(4) + b"TFL3" + bytes(99), "a TensorFlow Lite model"),
        (BOM + b"<html>", "an HTML page"),
        (b"\n <!doctype HTML>", "an HTML page"),
        (BOM + b'{"a": 1}', "JSON"),
        (b" [1", "JSON"),
        ("é\n".encode(), "a text"),
        (b"1.5\n", "a table of numbers in text"),
        (b"\xfe\xff\0x", "a text in UTF-16"),
        (b"a\0b", None),
        (b"\xffa" + bytes(99), None),
        (b"", "an empty file"),
    ],
)
def test_kinds_by_hand(start: bytes, kind: str | None) -> None:
    assert kind_of_bytes(start) == kind


@pytest.mark.parametrize("character", ["é", "€", "😀"])
def test_a_character_that_is_cut_is_still_text(tmp_path: Path, character: str) -> None:
    for before in range(len(character.encode())):
        (tmp_path / "x").write_bytes(b"a" * (START - before) + character.encode())
        assert kind_of(tmp_path / "x") == "a text"
    assert kind_of_bytes(b"a\xff" + b"a" * 99) is None


@pytest.mark.parametrize("length", [8, 640, 896, 1152, 1408, 0x8B1F, 0x120308])
def test_the_length_of_a_safetensors_header_is_no_mark_of_another_file(length: int) -> None:
    """1152 is 80 04 in little-endian order, as a pickle begins, and 0x8b1f is 1f 8b, as gzip does."""
    assert kind_of_bytes(length.to_bytes(8, "little") + b'{"__metadata__":{}}') is None
