"""minibiogpt generate: continue texts by greedy decoding, sampling or beam search.

Several texts form a batch, padded on the left. On a terminal, a single text is written word by word. Options that are
not given follow the model's generation_config.json, or else transformers' defaults.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np

from minibiogpt.checks import checked_integer
from minibiogpt.cli.batch.inputs import add_file, add_truncate, file_source, warn_of_file_name
from minibiogpt.cli.batch.json_list import JsonList
from minibiogpt.cli.batch.prompts import Prompts, room
from minibiogpt.cli.batch.records import LINE, Record, Source
from minibiogpt.cli.options import add_json, add_model, load_model, load_tokenizer, texts_of
from minibiogpt.cli.parsing.effects import effective
from minibiogpt.errors import InputError
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
    parser.add_argument("text", nargs="*", help="text to continue; none or - reads all of standard input as one text")
    add_model(parser, runs=True)
    add_file(parser, "continue each line of FILE")
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
    parser.add_argument(
        "--keep-soft-prompt",
        action="store_true",
        help="show soft-prompt tokens in the text, as learned1, learned2, ...",
    )
    add_truncate(parser, "of a text that leaves no room for the new tokens, keep only the last tokens")
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
    """Check all texts, then encode, generate and print one batch at a time."""
    _check(options)
    source = _source(options)
    if not options.skip_bad:
        source.scan()  # before the model is read
    from minibiogpt import BioGptForCausalLM

    tokenizer = load_tokenizer(options)
    overrides, soft = _overrides(tokenizer, options), _soft_prompt(tokenizer, options.soft_prompt)
    model = load_model(options, BioGptForCausalLM)
    config, N = model.generation_config.updated(overrides), model.config.max_position_embeddings
    overrides = effective(options, overrides, config)
    new, most = room(config, N, options.truncate)
    prompts = Prompts(
        tokenizer, not options.no_special, options.split_digits, soft, N, model.config.vocab_size, new, most,
        options.truncate,
    )  # fmt: skip
    source.check = prompts.check
    scanned = source.scan()
    single = scanned is not None and scanned.texts * config.num_beams * config.num_return_sequences == 1
    streamer = _streamer(tokenizer, single, options)
    start = 0
    with JsonList() if options.json else nullcontext() as listed:
        for batch, prompt in prompts.batches(_records(source), options.batch_size):
            settings: dict[str, Any] = {"streamer": streamer, "tokenizer": tokenizer, "seed": options.seed + start}
            ids = model.backend.to_numpy(model.generate(**prompt, **settings, **overrides))
            start += len(batch)
            results = _results(tokenizer, batch, ids, prompt["input_ids"].shape[1], options)
            if listed is not None:
                listed.add(results)
            elif streamer is None:
                print("\n".join(result["text"] for result in results), flush=True)
        if not start and not options.skip_bad:
            raise source.nothing()  # of a pipe
    if not start:
        source.warn_of_nothing()
    if prompts.cut.count:
        was = "was" if prompts.cut.count == 1 else "were"
        warnings.warn(f"{source.where(prompts.cut)} {was} truncated to the last {prompts.kept} tokens", stacklevel=2)


def _source(options: argparse.Namespace) -> Source:
    """Return the texts on the command line, the lines of --file, or all of standard input as one text."""
    if options.file is not None:
        return file_source(options, skip_bad=options.skip_bad)
    warn_of_file_name(options.text)
    if options.skip_bad and options.text and options.text != ["-"]:
        return Source.of_arguments(options.text, skip_bad=True)
    return Source.of_arguments(texts_of(options.text), options.skip_bad)


def _records(source: Source) -> Iterator[Record]:
    return (item for item in source if isinstance(item, Record))


def _check(options: argparse.Namespace) -> None:
    """Check what can be checked before anything is read."""
    checked_integer("--batch-size", options.batch_size, 1)
    if options.stream and options.json:
        raise InputError("the output must be a stream or JSON", "--stream and --json", "leave one out")
    if options.stream and options.clean_large:
        raise InputError("a text to clean must be complete", "--stream and --clean-large", "leave one out")


def _soft_prompt(tokenizer: BioGptTokenizer, count: int) -> Sequence[int]:
    """Return the ids of the soft prompt."""
    extra = tokenizer.soft_prompt_ids
    if not 0 <= count <= len(extra):
        must = f"--soft-prompt must be at most the number of embeddings beyond the vocabulary, {len(extra)}"
        raise InputError(must, str(count), "choose the fine-tuned model that has the soft prompt")
    return extra[:count]


def _streamer(tokenizer: BioGptTokenizer, single: bool, options: argparse.Namespace) -> Any:
    """Return what writes each word at once with --stream, or for a single text on a terminal; else None."""
    from minibiogpt.generation import TextStreamer

    class WordStreamer(TextStreamer):
        """Leaves out the words of soft-prompt tokens."""

        def put(self, ids: Any) -> None:
            super().put(_shown(tokenizer, np.asarray(ids).reshape(-1).tolist(), options))

    on_terminal = sys.stdout.isatty() and not options.json and not options.clean_large
    return WordStreamer(tokenizer, skip_special_tokens=True) if options.stream or (single and on_terminal) else None


def _shown(tokenizer: BioGptTokenizer, ids: list[int], options: argparse.Namespace) -> list[int]:
    """Return the ids without those of soft-prompt tokens, which are no words, unless --keep-soft-prompt is given."""
    hidden = () if options.keep_soft_prompt else tokenizer.soft_prompt_ids
    return [i for i in ids if i not in hidden]


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


def _results(
    tokenizer: BioGptTokenizer, batch: list[Record], rows: np.ndarray, width: int, options: argparse.Namespace
) -> Iterator[dict[str, Any]]:
    """Yield a result per row: the prompt, the whole text, its new part, and the ids of both without padding."""
    from minibiogpt.tokenizer.large_text import clean_large

    clean = clean_large if options.clean_large else str
    rows_per_text, pad = len(rows) // len(batch), tokenizer.pad_token_id
    for i, row in enumerate(rows):
        prompt, new = ([token for token in part.tolist() if token != pad] for part in (row[:width], row[width:]))
        whole, continuation = (
            clean(tokenizer.decode(_shown(tokenizer, ids, options), skip_special_tokens=True))
            for ids in (row.tolist(), new)
        )
        record = batch[i // rows_per_text]
        values = (record.text, whole, continuation, prompt, new)
        line = {LINE: record.line} if options.skip_bad else {}
        yield dict(zip(RECORD_KEYS, values, strict=True)) | line
