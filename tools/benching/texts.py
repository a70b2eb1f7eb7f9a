"""Random texts as long as an abstract: what a tokenizer sees in PubMed, without text from PubMed."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from random import Random

from minibiogpt.errors import InputError

WORDS = 30_000  # size of the lexicon
MOST_TRIES = 100 * WORDS
END = "</w>"
SPECIAL = (
    "{} %", "(p < 0.{:02})", "{}.{} mg/kg", "IL-{}", "TNF-alpha", "({})", "95% CI: {}-{}", "n = {}", "{},{:03}",
    "patient's", "the patients'", "HLA-DR{}", "10^{}", "i.v.", "vs.", "e.g.", "[{}]", "{}-fold", "\"{}\"", "Na+/K+",
    "p53 & p{}", "{} °C", "β-{}", "{}/{}",
)  # fmt: skip


def lexicon(vocab: Path, random: Random) -> list[str]:
    """Return words joined from pieces of the vocabulary: zero to two that do not end a word, and one that does.

    Raises
    ------
    InputError
        If there is no vocab.json, or it has no pieces that end a word.
    """
    try:
        pieces = json.loads((vocab / "vocab.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        must, remedy = "--vocab must contain vocab.json and merges.txt", "choose the folder of a model"
        raise InputError(must, str(error), remedy) from None
    ends = sorted(piece.removesuffix(END) for piece in pieces if piece.endswith(END))
    ends = [piece for piece in ends if piece.isalpha()]
    begins = sorted(piece for piece in pieces if piece.isalpha())
    if not ends or not begins:
        raise InputError("vocab.json must contain pieces of words", "none", "choose the folder of a model")
    found: dict[str, None] = {}
    for _ in range(MOST_TRIES):
        found["".join(random.choices(begins, k=random.randrange(3))) + random.choice(ends)] = None
        if len(found) == WORDS:
            break
    return list(found)


def abstracts(count: int, vocab: Path, seed: int = 0, words: int = 200) -> list[str]:
    """Return ``count`` texts of about ``words`` words; the n-th word of the lexicon has a weight of 1 / n (Zipf)."""
    random = Random(seed)
    lexical = lexicon(vocab, random)
    weights = list(itertools.accumulate(1 / n for n in range(1, len(lexical) + 1)))
    texts = []
    for _ in range(count):
        drawn = iter(random.choices(lexical, cum_weights=weights, k=random.randint(words * 3 // 4, words * 5 // 4)))
        sentences = []
        while group := list(itertools.islice(drawn, random.randint(8, 30))):
            sentences.append(_sentence(group, random))
        texts.append(" ".join(sentences))
    return texts


def _sentence(words: list[str], random: Random) -> str:
    """Join words with the numbers, symbols and punctuation of an abstract, a capital letter and a full stop."""
    parts = []
    for word in words:
        chance = random.random()
        if chance < 0.05:
            parts.append(random.choice(SPECIAL).format(*(random.randint(1, 99) for _ in range(2))))
        elif chance < 0.08:
            word = f"{word}-{random.choice(words)}"
        elif chance < 0.10:
            word = f"({word})"
        elif chance < 0.16:
            word += random.choice(",,,;:")
        parts.append(word)
    text = " ".join(parts)
    return text[:1].upper() + text[1:] + random.choice("......?")
