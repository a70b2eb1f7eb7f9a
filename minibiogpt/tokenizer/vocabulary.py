"""The tokenizer's files: vocab.json, merges.txt and what tokenizer_config.json adds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minibiogpt.errors import CheckpointError, InputError, short_repr
from minibiogpt.files.reading import read_json, read_text
from minibiogpt.files.writing import write_atomically

SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>"}
OPTIONAL = ("cls_token", "mask_token")  # BioGPT has none; a tokenizer_config.json may name them
MAX_IDS = 1 << 31  # more than the rows of any embedding
NO_LIMIT = int(1e30)  # transformers' value for an unknown length


def checked_vocab(vocab: object) -> dict[str, int]:
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


def checked_special(special: dict[str, Any], vocab: dict[str, int]) -> tuple[dict[str, str], list[str]]:
    """Return the special tokens by name, and the additional ones; each must be a piece of the vocabulary."""
    additional = list(special.get("additional_special_tokens") or [])
    unknown = set(special) - {*SPECIAL, *OPTIONAL, "additional_special_tokens"}
    if unknown:
        must = f"an option of a tokenizer must be one of {', '.join((*SPECIAL, *OPTIONAL))}"
        raise InputError(must, sorted(unknown)[0], "correct its name")
    named = {**SPECIAL, **{name: token for name, token in special.items() if name != "additional_special_tokens"}}
    for name, token in [*named.items(), *(("additional_special_tokens", token) for token in additional)]:
        if not isinstance(token, str) or not token or token not in vocab:
            must = f"the vocabulary must hold {name} {token}"
            raise InputError(must, "no such piece", "use the model's own files")
    return named, additional


def read_merges(path: Path) -> list[tuple[str, str]]:
    """Return the first two columns of each line. A third (the count) and text after the last newline are ignored."""
    lines = read_text(path, "a tokenizer needs merges.txt").split("\n")[:-1]
    columns = [(number, line.split(maxsplit=2)[:2]) for number, line in enumerate(lines, 1) if line.strip()]
    for number, pair in columns:
        if len(pair) < 2:
            must = f"each line of {path} must hold two pieces"
            raise CheckpointError(must, f"{pair[0][:40]!r} alone on line {number}", "fetch the file again")
    return [(pair[0], pair[1]) for _, pair in columns]


def checked_merges(merges: object) -> list[tuple[str, str]]:
    must, remedy = "merges must be pairs of strings, the most frequent first", 'pass pairs such as [("a", "b</w>")]'
    if not isinstance(merges, Iterable):
        raise InputError(must, type(merges).__name__, remedy)
    pairs = list(merges)
    for pair in pairs:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(piece, str) for piece in pair):
            raise InputError(must, repr(pair), remedy)
    return [(a, b) for a, b in pairs]


def read_settings(folder: Path) -> dict[str, Any]:
    """Return padding, length and special tokens from tokenizer_config.json; an empty dict if there is no file."""
    path = folder / "tokenizer_config.json"
    config = _json_object(path)
    names = (*SPECIAL, *OPTIONAL, "padding_side", "clean_up_tokenization_spaces")
    settings = {name: config[name] for name in names if config.get(name) is not None}
    for name in (*SPECIAL, *OPTIONAL):
        if name in settings:
            settings[name] = _content(settings[name])
    if more := config.get("additional_special_tokens"):
        if not isinstance(more, list):
            must = f"{path} must list its additional_special_tokens"
            raise CheckpointError(must, type(more).__name__, "correct the file")
        settings["additional_special_tokens"] = [_content(token) for token in more]
    longest = config.get("model_max_length")
    if longest is not None:
        settings["model_max_length"] = NO_LIMIT if isinstance(longest, float) and longest >= NO_LIMIT else longest
    return settings


def write_vocabulary(folder: Path, vocab: dict[str, int], ranks: dict[tuple[str, str], int]) -> tuple[Path, Path]:
    """Write vocab.json and merges.txt, the most frequent pair first; return their paths."""
    content = json.dumps(vocab, ensure_ascii=False, indent=0) + "\n"
    lines = "".join(f"{a} {b}\n" for a, b in sorted(ranks, key=ranks.__getitem__))
    write_atomically(folder / "vocab.json", lambda temporary: temporary.write_text(content, encoding="utf-8"))
    write_atomically(
        folder / "merges.txt", lambda temporary: temporary.write_text(lines, encoding="utf-8", newline="\n")
    )
    return folder / "vocab.json", folder / "merges.txt"


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write tokenizer_config.json; an unknown length is omitted."""
    content = {"tokenizer_class": "BioGptTokenizer"} | {key: x for key, x in settings.items() if x != NO_LIMIT}
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    write_atomically(folder / "tokenizer_config.json", lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _json_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; an empty dict if there is no file."""
    found = read_json(path, f"{path.name} must be readable") if path.is_file() else {}
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} must hold a JSON object", type(found).__name__, "fetch the file again")
    return found


def _content(token: Any) -> Any:
    """Return the text of a special token, which transformers writes as a string or as an object with options."""
    return token.get("content") if isinstance(token, dict) else token


def check_nothing_added(folder: Path, vocab: dict[str, int]) -> None:
    """Raise if tokens were added outside vocab.json: they would be split here, but transformers gives each an id."""
    listed = _json_object(folder / "tokenizer_config.json").get("added_tokens_decoder")
    added = {_content(token): i for i, token in listed.items()} if isinstance(listed, dict) else {}
    for token, i in [*added.items(), *_json_object(folder / "added_tokens.json").items()]:
        if str(vocab.get(token)) != str(i):
            must = f"vocab.json in {folder} must hold every token"
            remedy = "add it there, and to additional_special_tokens in tokenizer_config.json"
            raise CheckpointError(must, f"{token!r} added as {i}", remedy)


def check_against_model(folder: Path, pieces: int) -> int:
    """Return how many embeddings the model has beyond the pieces (0 if config.json has no vocab_size).

    Fewer embeddings than pieces is an error: a piece without one would stop the model in the middle of some text.
    """
    path = folder / "config.json"
    rows = _json_object(path).get("vocab_size")
    if isinstance(rows, int) and pieces > rows:
        must = f"{folder} must not have more pieces than embeddings (vocab_size {rows})"
        raise CheckpointError(must, f"ids up to {pieces - 1}", "use the vocab.json that belongs to the model")
    return rows - pieces if isinstance(rows, int) else 0
