"""The cases: the requests to both libraries, the rows they give in the table, and their minimum work."""

from __future__ import annotations

import argparse
import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from minibiogpt import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.files.hub import find_model
from minibiogpt.model.batching import batches
from tools.benching import limits, texts
from tools.benching.limits import Work

SEED = 0
FIRST_ID = 4  # smaller ids are special tokens
NEW, BEAM_NEW, BEAM_PROMPT, BEAMS = 16, 20, 32, 5
DEVICE_NEW = 64  # on a device: the median step must be a replayed CUDA graph, which is captured after a few steps
BATCH, DEVICE_BATCH = 8, 32
PROMPTS = (128, 512)
BATCH_PROMPT = 128
GROWTH, GROWTH_NEW = (64, 128, 256, 512, 1000), 8
SCORE_BUDGET = 1e-3  # relative error of a row's ln p in float32


@dataclass(frozen=True)
class Row:
    """A row of the table: its label, its minimum work, and the number of items it processes, for a rate."""

    label: str
    work: Work | None = None
    things: int | None = None


@dataclass(frozen=True)
class Case:
    """One request to all sides.

    Attributes
    ----------
    rows : rows of the table, by the names of the times in the answer.
    same : whether two results agree.
    attention : whether each attention implementation is a side; otherwise there is one side, called transformers.
    extra : further (side, job of the transformers worker); their results are not compared.
    strict : whether different results are an error.
    """

    request: dict[str, Any]
    rows: dict[str, Row]
    same: Callable[[Any, Any], bool] = operator.eq
    attention: bool = True
    extra: tuple[tuple[str, str], ...] = ()
    strict: bool = False


def on_device(options: argparse.Namespace) -> bool:
    return options.backend != "numpy"


def width(options: argparse.Namespace) -> int:
    """Bytes per element."""
    return limits.WIDTHS[options.dtype]


def new_tokens(options: argparse.Namespace, on_cpu: int) -> int:
    return DEVICE_NEW if on_device(options) else on_cpu


def random_ids(config: BioGptConfig, rows: int, length: int) -> list[list[int]]:
    random = Random(f"{SEED} {rows} {length}")
    return [random.choices(range(FIRST_ID, config.vocab_size), k=length) for _ in range(rows)]


def within(config: BioGptConfig, lengths: tuple[int, ...], new: int = 0) -> list[int]:
    """Cut the lengths so that ``new`` positions remain, and remove duplicates.

    Raises
    ------
    InputError
        If the model has at most ``new`` positions.
    """
    most = config.max_position_embeddings - new
    if most < 1:
        must = f"the model must have more than {new} positions"
        raise InputError(must, str(config.max_position_embeddings), "choose a larger model")
    return sorted({min(length, most) for length in lengths})


def prefill(config: BioGptConfig, options: argparse.Namespace) -> list[Case]:
    """one forward pass over one row, logits of all positions, without a cache"""
    return [
        Case(
            {"job": "prefill", "ids": random_ids(config, 1, T)},
            {"whole": Row(f"prefill {T}", limits.forward(config, T, logits=T, width=width(options)))},
        )
        for T in within(config, options.tokens)
    ]


def decode(config: BioGptConfig, options: argparse.Namespace) -> list[Case]:
    """greedy generate, one row: time to the first token, and per token after it"""
    lengths = within(config, options.prompts or PROMPTS, new_tokens(options, NEW))
    return [_generated(config, options, 1, T, "") for T in lengths]


def batch(config: BioGptConfig, options: argparse.Namespace) -> list[Case]:
    """the same for a batch of --batch rows"""
    B = options.batch or (DEVICE_BATCH if on_device(options) else BATCH)
    lengths = within(config, (BATCH_PROMPT,), new_tokens(options, NEW))
    return [_generated(config, options, B, T, f"{B}x") for T in lengths]


def _generated(config: BioGptConfig, options: argparse.Namespace, B: int, T: int, before: str) -> Case:
    new, size = new_tokens(options, NEW), width(options)
    rows = {
        "first": Row(f"in generate {before}{T}", limits.forward(config, T, rows=B, width=size)),
        "step": Row(f"decode {before}{T}, step", limits.mean_step(config, T, new, rows=B, width=size)),
    }
    if on_device(options):  # includes the steps before the CUDA graph, and its capture
        rows["whole"] = Row(f"generate {before}{T} + {new}")
    return Case({"job": "generate", "ids": random_ids(config, B, T), "new": new}, rows)


def beam(config: BioGptConfig, options: argparse.Namespace) -> list[Case]:
    """beam search with five beams, one row: time per token after the first"""
    new = new_tokens(options, BEAM_NEW)
    T = within(config, (BEAM_PROMPT,), new)[0]
    work = limits.mean_step(config, T, new, rows=BEAMS, width=width(options))
    request = {"job": "generate", "ids": random_ids(config, 1, T), "new": new, "beams": BEAMS}
    return [Case(request, {"step": Row(f"beam {BEAMS}x{T}, step", work)})]


def score(config: BioGptConfig, options: argparse.Namespace) -> list[Case]:
    """ln p of every token of --sentences rows of 5 to 80 tokens, in the same batches for both libraries"""
    rows = sentences(config, options.sentences)
    grouped = batches([len(row) for row in rows])
    work = limits.scoring(config, [len(row) for row in rows], grouped, width(options))
    request = {"job": "score", "rows": rows, "batches": grouped}
    return [Case(request, {"whole": Row(f"score {len(rows)} sentences", work, len(rows))}, same=close)]


def sentences(config: BioGptConfig, count: int) -> list[list[int]]:
    """Return rows of random ids; lengths follow a gamma distribution around 25, limited to 5 to 80 (or N)."""
    random, most = Random(SEED), min(80, config.max_position_embeddings)
    lengths = [min(most, max(5, round(random.gammavariate(3, 25 / 3)))) for _ in range(count)]
    return [random.choices(range(FIRST_ID, config.vocab_size), k=length) for length in lengths]


def close(ours: list[float], theirs: list[float]) -> bool:
    """Return whether ln p of every row agrees within ``SCORE_BUDGET``; NaN never agrees.

    Examples
    --------
    >>> close([-100.0], [-100.05]), close([-100.0], [-101.0]), close([float("nan")] * 2, [1.0, 1.0])
    (True, False, False)
    """
    pairs = zip(ours, theirs, strict=False)
    return len(ours) == len(theirs) and all(math.isclose(a, b, rel_tol=SCORE_BUDGET) for a, b in pairs)


def tokenize(config: BioGptConfig, options: argparse.Namespace) -> list[Case]:
    """--texts texts as long as an abstract to ids, by a tokenizer whose cache of words is empty"""
    vocab = (find_model("demo") if options.vocab is None else options.vocab).resolve()
    if not (vocab / "merges.txt").is_file():
        must, remedy = "--vocab must contain vocab.json and merges.txt", "choose the folder of a model"
        raise InputError(must, str(vocab), remedy)
    request = {"job": "tokenize", "texts": texts.abstracts(options.texts, vocab, SEED), "vocab": str(vocab)}
    row = {"whole": Row(f"tokenize {options.texts} texts", None, options.texts)}
    extra = (("sacremoses alone", "moses"),)
    return [Case(request, row, attention=False, extra=extra, strict=True)]


def growing(config: BioGptConfig, options: argparse.Namespace) -> dict[str, list[tuple[Case, str, Work]]]:
    """For prefill and for a decode step: (case, name of the time to use, work) at growing lengths."""
    lengths = within(config, GROWTH)
    prefills = [
        (Case({"job": "prefill", "ids": random_ids(config, 1, T)}, {"whole": Row(f"growth, prefill {T}")}), "whole", T)
        for T in lengths
    ]
    steps, new = [], new_tokens(options, GROWTH_NEW)
    for T in within(config, GROWTH, new):
        request = {"job": "generate", "ids": random_ids(config, 1, T), "new": new}
        steps.append((Case(request, {"step": Row(f"growth, decode {T}")}), "step", T))
    return {
        "prefill": [(case, name, limits.forward(config, T, logits=T)) for case, name, T in prefills],
        "decode, step": [(case, name, limits.mean_step(config, T, new)) for case, name, T in steps],
    }


TIMED = {case.__name__: case for case in (prefill, decode, batch, beam, score, tokenize)}
