"""minibiogpt generate: continue texts by greedy decoding, sampling or beam search.

Several texts form a batch, padded on the left. On a terminal, a single text is written word by word. Options that are
not given follow the model's generation_config.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.checks import checked_integer
from minibiogpt.cli.options import add_json, add_model, load_model, load_tokenizer, print_json, texts_of
from minibiogpt.errors import InputError
from minibiogpt.files.reading import read_text
from minibiogpt.tokenizer import BioGptTokenizer

RECORD_KEYS = ("prompt", "text", "continuation", "prompt_ids", "new_ids")
INTEGER, FLOAT = {"type": int, "metavar": "N"}, {"type": float, "metavar": "X"}
OPTIONS: dict[str, tuple[dict[str, Any], str]] = {  # the options of GenerationConfig, under their own names
    "max_new_tokens": (INTEGER, "generate at most N tokens (20 if neither this nor a maximum length is set)"),
    "max_length": (INTEGER, "stop at N tokens, counting the prompt"),
    "min_new_tokens": (INTEGER, "generate at least N tokens"),
    "min_length": (INTEGER, "do not stop before N tokens, counting the prompt"),
    "num_beams": (INTEGER, "above 1: run beam search with N beams"),
    "num_return_sequences": (
        INTEGER,
        "return N texts per prompt: the best beams, or with --sample separate samples",
    ),
    "length_penalty": (FLOAT, "with --num-beams: score = log-probability / length ** X"),
    "scoring": (
        {"choices": ("transformers", "fairseq")},
        "with --num-beams: score hypotheses like transformers or like Microsoft's decoder in fairseq",
    ),
    "temperature": (FLOAT, "with --sample: divide the logits by X; below 1 sharpens the distribution"),
    "top_k": (INTEGER, "with --sample: keep the N most probable tokens (0 keeps all; 50 if the model sets nothing)"),
    "top_p": (FLOAT, "with --sample: keep the most probable tokens until their probabilities sum to X or more"),
    "min_p": (FLOAT, "with --sample: keep tokens at least X times as probable as the most probable one"),
    "typical_p": (FLOAT, "with --sample: keep the most typical tokens until their probabilities sum to X"),
    "repetition_penalty": (FLOAT, "above 1: make tokens that already occurred less probable"),
    "no_repeat_ngram_size": (INTEGER, "never repeat a sequence of N tokens (0: off)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Options that you leave out follow the model's generation_config.json, else transformers' defaults."
    parser.add_argument("text", nargs="*", help="text to continue; none or - reads all of standard input as one text")
    add_model(parser, runs=True)
    parser.add_argument("--file", metavar="FILE", help="continue each line of FILE")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="texts per batch (default: 16)")
    parser.add_argument(
        "--sample", action="store_true", help="sample each token instead of taking the most probable one"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="with --sample: seed of the random draws (default: 0)"
    )
    for name, (kind, help_text) in OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=None, help=help_text, **kind)
    parser.add_argument(
        "--early-stopping",
        choices=("true", "false", "never"),
        help="when to end beam search, as in transformers",
    )
    parser.add_argument("--stop", action="append", metavar="TEXT", help="stop after generating TEXT; repeatable")
    parser.add_argument(
        "--bad-word", action="append", metavar="TEXT", help="never generate TEXT in exactly this spelling; repeatable"
    )
    parser.add_argument(
        "--soft-prompt",
        type=int,
        default=0,
        metavar="N",
        help="append the ids of N soft-prompt tokens that the model was trained with (default: 0)",
    )
    parser.add_argument("--no-cache", action="store_true", help="recompute every position at each step")
    parser.add_argument(
        "--no-special", action="store_true", help="treat </s> and other special tokens in the text as plain text"
    )
    parser.add_argument(
        "--stream", action="store_true", help="write word by word even if standard output is not a terminal"
    )
    parser.add_argument("--split-digits", action="store_true", help="for BioGPT-Large: pass 100 to the model as 1 0 0")
    parser.add_argument(
        "--clean-large", action="store_true", help="for BioGPT-Large: print 1 0 0 as 100, and remove tags"
    )
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Load the model, then encode, generate and print one batch at a time."""
    texts = _texts(options)
    _check(texts, options)
    from minibiogpt import BioGptForCausalLM
    from minibiogpt.generation import TextStreamer

    tokenizer = load_tokenizer(options)
    overrides = _overrides(tokenizer, options)
    _prompt(tokenizer, texts[:1], options)  # report an unusable prompt before the weights are read
    model = load_model(options, BioGptForCausalLM)
    config = model.generation_config.updated(overrides)
    single = len(texts) * config.num_beams * config.num_return_sequences == 1
    on_terminal = sys.stdout.isatty() and not options.json and not options.clean_large
    streamer = TextStreamer(tokenizer, skip_special_tokens=True) if options.stream or (single and on_terminal) else None
    records = []
    for start in range(0, len(texts), options.batch_size):
        batch = texts[start : start + options.batch_size]
        prompt = _prompt(tokenizer, batch, options)
        ids = model.generate(**prompt, streamer=streamer, tokenizer=tokenizer, seed=options.seed + start, **overrides)
        batch_records = _records(tokenizer, batch, model.backend.to_numpy(ids), prompt["input_ids"].shape[1], options)
        if not options.json and streamer is None:
            print("\n".join(record["text"] for record in batch_records), flush=True)
        records += batch_records
    if options.json:
        print_json(records)


def _texts(options: argparse.Namespace) -> list[str]:
    """Return the texts on the command line, the lines of --file, or all of standard input as one text."""
    if options.file is None:
        return texts_of(options.text)
    if options.text:
        raise InputError("the texts must come from one source", f"--file and {options.text[0]!r}", "leave one out")
    broken = "name a text file in UTF-8, with one text per line"
    return read_text(Path(options.file), "--file must exist", absent="check the path", broken=broken).splitlines()


def _check(texts: list[str], options: argparse.Namespace) -> None:
    """Check what can be checked before the model is loaded."""
    checked_integer("--batch-size", options.batch_size, 1)
    if not texts:
        raise InputError("there must be a text to continue", f"none in {options.file}", "write one text per line")
    for text in texts:
        if not text.strip():
            raise InputError("a text to continue must contain a word", repr(text), "type one")
    if options.stream and options.json:
        raise InputError("the output must be a stream or JSON", "--stream and --json", "leave one out")
    if options.stream and options.clean_large:
        raise InputError("a text to clean must be complete", "--stream and --clean-large", "leave one out")


def _prompt(tokenizer: BioGptTokenizer, texts: list[str], options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Return the texts as ids, padded on the left, each followed by the ids of the soft prompt."""
    from minibiogpt.tokenizer.large_text import split_digits

    texts = list(map(split_digits, texts)) if options.split_digits else texts
    extra = tokenizer.soft_prompt_ids
    if not 0 <= options.soft_prompt <= len(extra):
        must = f"--soft-prompt must be at most the number of embeddings beyond the vocabulary, {len(extra)}"
        raise InputError(must, str(options.soft_prompt), "choose the fine-tuned model that has the soft prompt")
    special = not options.no_special
    prompt = tokenizer(texts, padding=True, padding_side="left", parse_special=special, return_attention_mask=True)
    soft = np.tile(np.array(extra[: options.soft_prompt], dtype=np.int64), (len(texts), 1))
    return {
        "input_ids": np.concatenate([prompt["input_ids"], soft], axis=1),
        "attention_mask": np.concatenate([prompt["attention_mask"], np.ones_like(soft)], axis=1),
    }


def _overrides(tokenizer: BioGptTokenizer, options: argparse.Namespace) -> dict[str, Any]:
    """Return the generation options given on the command line. They override the model's own."""
    overrides = {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
    overrides["return_dict_in_generate"] = False  # only the ids are needed, whatever the model's own options are
    overrides |= {"do_sample": True} if options.sample else {}
    overrides |= {"use_cache": False} if options.no_cache else {}
    overrides |= {"stop_strings": options.stop} if options.stop else {}
    if options.early_stopping is not None:
        overrides["early_stopping"] = {"true": True, "false": False}.get(options.early_stopping, options.early_stopping)
    if options.bad_word:
        overrides["bad_words_ids"] = [tokenizer.encode(word, add_special_tokens=False) for word in options.bad_word]
    return overrides


def _records(
    tokenizer: BioGptTokenizer, texts: list[str], rows: np.ndarray, width: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Return a record per row: the prompt, the whole text, its new part, and the ids of both without padding."""
    from minibiogpt.tokenizer.large_text import clean_large

    clean = clean_large if options.clean_large else str
    rows_per_text, pad, records = len(rows) // len(texts), tokenizer.pad_token_id, []
    for i, row in enumerate(rows):
        prompt, new = ([token for token in part.tolist() if token != pad] for part in (row[:width], row[width:]))
        whole = clean(tokenizer.decode(row, skip_special_tokens=True))
        continuation = clean(tokenizer.decode(new, skip_special_tokens=True))
        values = (texts[i // rows_per_text], whole, continuation, prompt, new)
        records.append(dict(zip(RECORD_KEYS, values, strict=True)))
    return records
