"""Check real BioGPT weights against published outputs: `python tools/check_real.py --model FOLDER` (or a hub id).

Recomputes token ids, logits and generated texts that were published for microsoft/biogpt and microsoft/BioGPT-Large.
The vocab_size in the config selects which of the two. Prints a table: what, expected, found, and whether they agree.
The base model takes some minutes on a CPU, most of them for beam search. Exit codes: 0 all agree, 1 something differs,
2 the folder cannot be used.

Sources: the tests and model cards of transformers (base), a user's published log of BioGPT-Large.
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # the package in this repository, installed or not

from minibiogpt import BioGptForCausalLM, BioGptTokenizer, InputError

LOGITS_WITHIN = 1e-4  # the published tolerance
BEAM_SEARCH = {"num_beams": 5, "min_length": 100, "max_length": 1024, "early_stopping": True}


class Loaded(NamedTuple):
    """The model and tokenizer to check."""

    model: BioGptForCausalLM
    tokenizer: BioGptTokenizer


class Check(NamedTuple):
    """One published output, and the function that recomputes it."""

    what: str
    expected: Any
    find: Callable[[Loaded], Any]
    within: float = 0.0


def token_ids(text: str, expected: list[int], pair: str | None = None) -> Check:
    what = f"ids of {text!r}" if pair is None else f"ids of {text!r} and {pair!r}"
    return Check(what, expected, lambda loaded: loaded.tokenizer.encode(text, pair))


def logits(ids: list[int], expected: list[list[float]]) -> Check:
    """Check the first rows and columns of the logits, (T, V)."""
    rows, columns = np.shape(expected)

    def find(loaded: Loaded) -> list[list[float]]:
        found = loaded.model.backend.to_numpy(loaded.model([ids]).logits)  # (B, T, V)
        return found[0, :rows, :columns].tolist()

    return Check(f"logits of {ids}, the first {rows} x {columns}", expected, find, LOGITS_WITHIN)


def texts(how: str, prompts: list[str], expected: list[str], **options: Any) -> Check:
    """Check the texts generated from prompts in one left-padded batch."""

    def find(loaded: Loaded) -> list[str]:
        prompt = loaded.tokenizer(prompts, padding=True, padding_side="left")
        ids = loaded.model.generate(prompt["input_ids"], attention_mask=prompt["attention_mask"], **options)
        return loaded.tokenizer.batch_decode(loaded.model.backend.to_numpy(ids), skip_special_tokens=True)

    return Check(f"{how}: {' | '.join(prompts)}", expected, find)


BASE = [
    token_ids("Trastuzumab", [2, 7548, 1171, 32924]),
    token_ids("trastuzumab", [2, 16503]),
    token_ids("COVID-19 is", [2, 4805, 9, 656, 21]),
    token_ids("</s>", [2, 2]),
    token_ids("sequence builders", [2, 528, 20437, 9067, 2, 1912, 9, 528, 8100], pair="multi-sequence build"),
    token_ids("Ibuprofen is best used for", [2, 453, 5433, 18099, 21, 1102, 69, 16]),
    logits(
        [2, 4805, 9, 656, 21],
        [[-9.5236, -9.8918, 10.4557], [-11.0469, -9.6423, 8.1022], [-8.8664, -7.8826, 5.5325]],
    ),
    texts(
        "greedy, 20 tokens in all",
        ["Hello, my dog is a little", "Today, I"],
        [
            "Hello, my dog is a little bit bigger than a little bit.",
            "Today, I have a good idea of how to use the information",
        ],
        max_length=20,
    ),
    texts(
        "beam search, 5 beams",
        ["COVID-19 is"],
        [
            "COVID-19 is a global pandemic caused by severe acute respiratory syndrome coronavirus 2 (SARS-CoV-2), the "
            "causative agent of coronavirus disease 2019 (COVID-19), which has spread to more than 200 countries and "
            "territories, including the United States (US), Canada, Australia, New Zealand, the United Kingdom (UK), "
            "and the United States of America (USA), as of March 11, 2020, with more than 800,000 confirmed cases and "
            "more than 800,000 deaths."
        ],
        **BEAM_SEARCH,
    ),
]
LARGE = [
    token_ids("this is a test", [2, 54, 34, 21, 229]),
    token_ids("Trastuzumab", [2, 39243]),
    texts(
        "greedy, 50 tokens in all",
        ["Patient reports severe back pain"],
        [
            "Patient reports severe back pain and weakness in his right leg. MRI of the lumbar spine showed a large "
            "epidural mass extending from L1 to L5. The mass was excised and the patient's symptoms resolved. The mass "
            "was diagnosed as a chordoma. Chor"
        ],
        max_length=50,
    ),
]
PUBLISHED = {42384: BASE, 57717: LARGE}  # by vocab_size


def load(name: str, dtype: str) -> Loaded:
    """Load the model and its tokenizer.

    Raises
    ------
    InputError
        If they cannot be loaded.
    """
    return Loaded(BioGptForCausalLM.from_pretrained(name, dtype=dtype), BioGptTokenizer.from_pretrained(name))


def published_for(loaded: Loaded) -> list[Check]:
    """Return the checks for a model with this vocabulary size."""
    size = loaded.model.config.vocab_size
    if size not in PUBLISHED:
        must = f"vocab_size must be {' or '.join(map(str, PUBLISHED))} (base or Large)"
        raise InputError(must, str(size), "pass the folder of microsoft/biogpt or microsoft/BioGPT-Large")
    return PUBLISHED[size]


def carry_out(check: Check, loaded: Loaded) -> dict[str, Any]:
    """Run a check and return a row of the table. An error counts as a difference and does not stop the run."""
    row = {"what": check.what, "expected": check.expected}
    try:
        found = check.find(loaded)
    except (InputError, TypeError) as error:  # TypeError: an option that this version does not have
        return {**row, "found": f"{type(error).__name__}: {error}", "agrees": False}
    return {**row, "found": found, "agrees": agrees(found, check.expected, check.within)}


def agrees(found: Any, expected: Any, within: float) -> bool:
    """Return whether two values are equal, or numbers equal to ``within``; NaN never agrees."""
    if not within:
        return found == expected
    return np.shape(found) == np.shape(expected) and bool(np.all(np.abs(np.subtract(found, expected)) <= within))


def show(row: dict[str, Any]) -> str:
    """Format a row: its verdict, and below it the expected and found values, indented."""
    lines = [f"{'ok     ' if row['agrees'] else 'DIFFERS'}  {row['what']}"]
    for name in ("expected", "found"):
        start = f"         {name + ':':10}"
        lines.append(textwrap.fill(_text(row[name]), 118, initial_indent=start, subsequent_indent=" " * len(start)))
    return "\n".join(lines)


def _text(value: Any) -> str:
    """Format numbers with four decimals, as published; texts are unchanged."""
    if isinstance(value, list):
        return " | ".join(value) if all(isinstance(one, str) for one in value) else f"[{', '.join(map(_text, value))}]"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", required=True, help="a folder in Hugging Face layout, or a hub id")
    parser.add_argument("--dtype", default="float32", help="float32 (default) or float64")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(argv)
    try:
        loaded = load(options.model, options.dtype)
        checks = published_for(loaded)
    except InputError as error:
        print(f"check_real: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    rows = []
    for check in checks:
        rows.append(carry_out(check, loaded))
        if not options.json:
            print(show(rows[-1]), flush=True)
    different = sum(not row["agrees"] for row in rows)
    if options.json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
    else:
        print(f"{len(rows) - different} of {len(rows)} published outputs agree")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
