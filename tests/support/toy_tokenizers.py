"""Small tokenizers with random vocabularies: ours, transformers' slow one, and a fast one with the same pieces.

There is no fast BioGptTokenizer. For texts of the letters a to f and blanks, Moses only splits at blanks, so a fast
tokenizer with the same merges gives the same pieces: it shows what fast tokenizers do with words and windows.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import tokenizers
import transformers

from minibiogpt import BioGptTokenizer

SPECIAL = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
LETTERS = "abcdef"


def vocabulary(seed: int, letters: str = LETTERS) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a vocabulary whose pieces include every letter, and random merges of them."""
    rng = random.Random(seed)
    pieces = [*letters, *(letter + "</w>" for letter in letters)]
    merges: list[tuple[str, str]] = []
    for _ in range(rng.randint(0, 30)):
        left, right = rng.choice([piece for piece in pieces if not piece.endswith("</w>")]), rng.choice(pieces)
        if left + right not in pieces:
            merges.append((left, right))
            pieces.append(left + right)
    order = pieces.copy()
    rng.shuffle(order)
    return SPECIAL | {piece: i for i, piece in enumerate(order, len(SPECIAL))}, merges


def make_ours(seed: int, letters: str = LETTERS, **options: Any) -> BioGptTokenizer:
    return BioGptTokenizer(*vocabulary(seed, letters), **options)


def make_slow(folder: Path, seed: int, letters: str = LETTERS, **options: Any) -> Any:
    """Return transformers' BioGptTokenizer with the same vocabulary; its files are written to ``folder``."""
    vocab, merges = vocabulary(seed, letters)
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text("".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    return transformers.BioGptTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), **options)


def make_fast(seed: int, **options: Any) -> Any:
    """Return a fast tokenizer with the same vocabulary, which puts </s> before each text as BioGPT does."""
    vocab, merges = vocabulary(seed)
    model = tokenizers.models.BPE(vocab, merges, unk_token="<unk>", end_of_word_suffix="</w>")
    fast = tokenizers.Tokenizer(model)
    fast.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    fast.post_processor = tokenizers.processors.TemplateProcessing(
        single="</s> $A", pair="</s>:0 $A:0 </s>:1 $B:1", special_tokens=[("</s>", 2)]
    )
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "sep_token": "</s>", "eos_token": "</s>", "bos_token": "<s>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=fast, **names, **options)
