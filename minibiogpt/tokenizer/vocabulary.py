"""The vocabulary and its files, vocab.json and merges.txt."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from minibiogpt.errors import CheckpointError, InputError, short_repr
from minibiogpt.files.json_text import json_text
from minibiogpt.files.reading import read_json, read_text
from minibiogpt.files.writing import write_atomically

MAX_IDS = 1 << 31  # more than the rows of any embedding
NO_LIMIT = int(1e30)  # transformers' value for an unknown length
NEEDS = "a tokenizer needs {}"


def checked_vocab(vocab: object) -> dict[str, int]:
    """Return the vocabulary, read from vocab.json if ``vocab`` is a path."""
    if isinstance(vocab, str | os.PathLike):
        if not Path(vocab).suffix and not Path(vocab).is_file():  # the name of a model or a folder
            must, remedy = NEEDS.format("the path of a vocab.json"), "write BioGptTokenizer.from_pretrained(...)"
            raise InputError(must, short_repr(os.fspath(vocab)), f"{remedy} for a folder, a hub id or the demo")
        vocab = read_json(Path(vocab), NEEDS.format("vocab.json"))

    def valid(i: object) -> bool:
        return isinstance(i, int) and not isinstance(i, bool) and 0 <= i < MAX_IDS

    must, remedy = (
        "a vocabulary must map pieces to distinct integers, 0 or more",
        "use the model's own vocab.json",
    )
    if not isinstance(vocab, dict) or not vocab:
        raise InputError(must, type(vocab).__name__ if not isinstance(vocab, dict) else "nothing", remedy)
    bad = [piece for piece, i in vocab.items() if not valid(i)]
    if bad or len(set(vocab.values())) < len(vocab):
        raise InputError(
            must, f"{short_repr(bad[0])}: {short_repr(vocab[bad[0]])}" if bad else "a duplicate id", remedy
        )
    return vocab


def read_merges(path: Path) -> list[tuple[str, str]]:
    """Return the first two columns of each line. A third (the count) and text after the last newline are ignored."""
    lines = read_text(path, NEEDS.format("merges.txt")).split("\n")[:-1]
    columns = [(number, line.split(maxsplit=2)[:2]) for number, line in enumerate(lines, 1) if line.strip()]
    for number, pair in columns:
        if len(pair) < 2:
            must = f"each line of {path} must hold two pieces"
            raise CheckpointError(must, f"{pair[0][:40]!r} alone on line {number}", "fetch the file again")
    return [(pair[0], pair[1]) for _, pair in columns]


def checked_merges(merges: object) -> list[tuple[str, str]]:
    """Return the merges, read from merges.txt if ``merges`` is a path."""
    if isinstance(merges, str | os.PathLike):
        return read_merges(Path(merges))
    must, remedy = "merges must be pairs of strings, the most frequent first", 'pass pairs such as [("a", "b</w>")]'
    if not isinstance(merges, Iterable):
        raise InputError(must, type(merges).__name__, remedy)
    pairs = list(merges)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(piece, str) for piece in pair):
            raise InputError(must, short_repr(pair), remedy)
    return [(a, b) for a, b in pairs]


def write_vocabulary(
    folder: Path, prefix: str, vocab: dict[str, int], ranks: dict[tuple[str, str], int]
) -> tuple[str, str]:
    """Write vocab.json and merges.txt, the most frequent pair first; return their paths."""
    content = json_text(vocab, ascii_only=False, indent=0) + "\n"
    lines = "".join(f"{a} {b}\n" for a, b in sorted(ranks, key=ranks.__getitem__))
    first, second = folder / f"{prefix}vocab.json", folder / f"{prefix}merges.txt"
    write_atomically(first, lambda temporary: temporary.write_text(content, encoding="utf-8"))
    write_atomically(second, lambda temporary: temporary.write_text(lines, encoding="utf-8", newline="\n"))
    return str(first), str(second)
