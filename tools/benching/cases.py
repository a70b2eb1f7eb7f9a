"""The cases: what both sides are asked, the rows of the table that come of it, and what they must at least do."""

from __future__ import annotations

import argparse
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from minibiogpt import BioGptConfig
from minibiogpt.batching import batches
from minibiogpt.errors import InputError
from minibiogpt.hub import find_model
from tools.benching import limits, texts
from tools.benching.limits import Work

SEED = 0
FIRST_ID = 4  # below it are the special ids
NEW, BEAM_NEW, BEAM_PROMPT, BEAMS = 16, 20, 32, 5
PROMPTS = (128, 512)
BATCH_PROMPT = 128
GROWTH, GROWTH_NEW = (64, 128, 256, 512, 1000), 8
SCORE_BUDGET = 1e-3  # relative, of a row's ln p in float32


@dataclass(frozen=True)
class Row:
    """A line of the table: its label, what it must at least do, and how many things it goes through, for a rate."""

    label: str
    work: Work | None = None
    things: int | None = None


@dataclass(frozen=True)
class Case:
    """One request to all sides; ``rows`` by the name that its seconds have in the answer.

    Attributes
    ----------
    same : whether two results are those of the same work.
    attention : whether there is a side for each attention; otherwise there is one, called transformers.
    extra : further sides, and the jobs of the peer's worker that they are; their results are not compared.
    strict : whether a difference of results is an error.
    """

    request: dict[str, Any]
    rows: dict[str, Row]
    same: Callable[[Any, Any], bool] = operator.eq
    attention: bool = True
    extra: tuple[tuple[str, str], ...] = ()
    strict: bool = False


def random_ids(config: BioGptConfig, rows: int, length: int) -> list[list[int]]:
    random = Random(f"{SEED} {rows} {length}")
    return [random.choices(range(FIRST_ID, config.vocab_size), k=length) for _ in range(rows)]


def within(config: BioGptConfig, lengths: tuple[int, ...], new: int = 0) -> list[int]:
    """The lengths, each cut so that ``new`` positions are left, each once.

    Raises
    ------
    InputError
        If the model has no more than ``new``.
    """
    most = config.max_position_embeddings - new
    if most < 1:
        must = f"the model must take more than {new} positions"
        raise InputError(must, str(config.max_position_embeddings), "name a larger model")
    return sorted({min(length, most) for length in lengths})


def prefill(config: BioGptConfig, options: argparse.Namespace) -> list[Case]:
    """one forward pass over one row, logits of all positions, no cache"""
    return [
        Case(
            {"job": "prefill", "ids": random_ids(config, 1, T)},
            {"whole": Row(f"prefill {T}", limits.forward(config, T, asked=T))},
        )
        for T in within(config, options.tokens)
    ]


def decode(config: BioGptConfig, options: argparse.Namespace) -> list[Case]:
    """generate, greedy, one row: until the first token, and for each token after it"""
    return [_generated(config, 1, T, "") for T in within(config, PROMPTS, NEW)]


def batch(config: BioGptConfig, options: argparse.Namespace) -> list[Case]:
    """the same for several rows at once, --batch of them"""
    B = options.batch
    return [_generated(config, B, T, f"{B}x") for T in within(config, (BATCH_PROMPT,), NEW)]


def _generated(config: BioGptConfig, B: int, T: int, before: str) -> Case:
    rows = {
        "first": Row(f"in generate {before}{T}", limits.forward(config, T, rows=B)),
        "step": Row(f"decode {before}{T}, step", limits.mean_step(config, T, NEW, rows=B)),
    }
    return Case({"job": "generate", "ids": random_ids(config, B, T), "new": NEW}, rows)


def beam(config: BioGptConfig, options: argparse.Namespace) -> list[Case]:
    """beam search with five beams, one row: for each token after the first"""
    T = within(config, (BEAM_PROMPT,), BEAM_NEW)[0]
    work = limits.mean_step(config, T, BEAM_NEW, rows=BEAMS)
    request = {"job": "generate", "ids": random_ids(config, 1, T), "new": BEAM_NEW, "beams": BEAMS}
    return [Case(request, {"step": Row(f"beam {BEAMS}x{T}, step", work)})]


def score(config: BioGptConfig, options: argparse.Namespace) -> list[Case]:
    """ln p of every token of --sentences rows of 5 to 80 tokens, in the same batches"""
    rows = sentences(config, options.sentences)
    grouped = batches([len(row) for row in rows])
    work = limits.scoring(config, [len(row) for row in rows], grouped)
    request = {"job": "score", "rows": rows, "batches": grouped}
    return [Case(request, {"whole": Row(f"score {len(rows)} sentences", work, len(rows))}, same=close)]


def sentences(config: BioGptConfig, count: int) -> list[list[int]]:
    """Rows of random ids; lengths are gamma-distributed around 25, cut to 5 at least and 80 (or N) at most."""
    random, most = Random(SEED), min(80, config.max_position_embeddings)
    lengths = [min(most, max(5, round(random.gammavariate(3, 25 / 3)))) for _ in range(count)]
    return [random.choices(range(FIRST_ID, config.vocab_size), k=length) for length in lengths]


def close(ours: list[float], theirs: list[float]) -> bool:
    """Whether every row's ln p is the same to ``SCORE_BUDGET``; NaN is never.

    Examples
    --------
    >>> close([-100.0], [-100.05]), close([-100.0], [-101.0]), close([float("nan")] * 2, [1.0, 1.0])
    (True, False, False)
    """
    pairs = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(math.isclose(a, b, rel_tol=SCORE_BUDGET) for a, b in pairs)


def tokenize(config: BioGptConfig, options: argparse.Namespace) -> list[Case]:
    """--texts texts of the length of an abstract to ids, by a tokenizer that has seen no word yet"""
    vocab = (find_model("demo") if options.vocab is None else options.vocab).resolve()
    if not (vocab / "merges.txt").is_file():
        raise InputError("--vocab must hold vocab.json and merges.txt", str(vocab), "name a model's folder")
    request = {"job": "tokenize", "texts": texts.abstracts(options.texts, vocab, SEED), "vocab": str(vocab)}
    row = {"whole": Row(f"tokenize {options.texts} texts", None, options.texts)}
    extra = (("sacremoses alone", "moses"),)
    return [Case(request, row, attention=False, extra=extra, strict=True)]


def growing(config: BioGptConfig) -> dict[str, list[tuple[Case, str, Work]]]:
    """For each way to grow: the cases, which of their times counts, and their operations."""
    longer = within(config, GROWTH)
    prefills = [
        (Case({"job": "prefill", "ids": random_ids(config, 1, T)}, {"whole": Row(f"growth, prefill {T}")}), "whole", T)
        for T in longer
    ]
    steps = []
    for T in within(config, GROWTH, GROWTH_NEW):
        request = {"job": "generate", "ids": random_ids(config, 1, T), "new": GROWTH_NEW}
        steps.append((Case(request, {"step": Row(f"growth, decode {T}")}), "step", T))
    return {
        "prefill": [(case, name, limits.forward(config, T, asked=T)) for case, name, T in prefills],
        "decode, step": [(case, name, limits.mean_step(config, T, GROWTH_NEW)) for case, name, T in steps],
    }


TIMED = {case.__name__: case for case in (prefill, decode, batch, beam, score, tokenize)}
