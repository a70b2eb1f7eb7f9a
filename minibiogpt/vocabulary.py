"""The tokenizer's files: vocab.json, merges.txt and what tokenizer_config.json adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minibiogpt.errors import CheckpointError, InputError
from minibiogpt.files import read_json

SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
NO_LIMIT = int(1e30)  # transformers' way to say that no length is known


def checked_vocab(vocab: object) -> dict[str, int]:
    def valid(i: object) -> bool:
        return isinstance(i, int) and not isinstance(i, bool) and i >= 0

    must, remedy = (
        "a vocabulary must map pieces to different whole numbers, 0 or more",
        "use the model's own vocab.json",
    )
    if not isinstance(vocab, dict) or not vocab:
        raise InputError(must, type(vocab).__name__ if not isinstance(vocab, dict) else "nothing", remedy)
    bad = [piece for piece, i in vocab.items() if not valid(i)]
    if bad or len(set(vocab.values())) < len(vocab):
        raise InputError(must, f"{bad[0]!r}: {vocab[bad[0]]!r}" if bad else "an id given twice", remedy)
    return vocab


def read_merges(path: Path) -> list[tuple[str, str]]:
    """The first two columns of each line; a third, the count, is passed over, as is what follows the last newline."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as error:
        found = getattr(error, "strerror", None) or str(error)
        raise CheckpointError(f"{path} must be a readable UTF-8 file", found, "fetch the file again") from None
    columns = [line.split()[:2] for line in lines]
    return [(pair[0], pair[1]) for pair in columns if len(pair) == 2]


def read_settings(folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json says of padding, length and special tokens; nothing when there is none."""
    path = folder / "tokenizer_config.json"
    if not path.is_file():
        return {}
    config = read_json(path, "tokenizer_config.json must be readable")
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} must hold a JSON object", type(config).__name__, "fetch the file again")
    settings = {name: config[name] for name in (*SPECIAL, "padding_side") if config.get(name) is not None}
    for name in SPECIAL:
        if isinstance(settings.get(name), dict):
            settings[name] = settings[name].get("content")
    longest = config.get("model_max_length")
    if isinstance(longest, int) and 0 < longest < NO_LIMIT:
        settings["model_max_length"] = longest
    return settings


def check_against_model(folder: Path, pieces: int) -> None:
    """A piece without an embedding would stop the model in the middle of some text."""
    path = folder / "config.json"
    rows = read_json(path, "config.json must be readable").get("vocab_size") if path.is_file() else None
    if isinstance(rows, int) and pieces > rows:
        must = f"{folder} must not have more pieces than embeddings (vocab_size {rows})"
        raise CheckpointError(must, f"ids up to {pieces - 1}", "use the vocab.json that belongs to the model")
