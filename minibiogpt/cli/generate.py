"""minibiogpt generate: continue texts, greedily, by sampling or by beam search.

Several texts are computed together, padded on the left. A single text is written word by word on a terminal. What is
not said follows the model's generation_config.json.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.checks import checked_integer
from minibiogpt.cli.options import add_json, add_model, print_json, texts_of
from minibiogpt.errors import InputError
from minibiogpt.files.reading import read_text
from minibiogpt.tokenizer import BioGptTokenizer

RECORD = ("prompt", "text", "continuation", "prompt_ids", "new_ids")
WHOLE, NUMBER = {"type": int, "metavar": "N"}, {"type": float, "metavar": "X"}
OPTIONS: dict[str, tuple[dict[str, Any], str]] = {  # of GenerationConfig, each by its own name
    "max_new_tokens": (WHOLE, "at most so many (20)"),
    "max_length": (WHOLE, "at most so many, the prompt included"),
    "min_new_tokens": (WHOLE, "no end before so many"),
    "min_length": (WHOLE, "no end before so many, the prompt included"),
    "num_beams": (WHOLE, "beam search: keep so many hypotheses (1)"),
    "num_return_sequences": (WHOLE, "texts for each prompt (1): several beams, or with --sample several draws"),
    "length_penalty": (NUMBER, "with --num-beams: score = log-probability / length ** X (1)"),
    "scoring": (
        {"choices": ("transformers", "fairseq")},
        "with --num-beams: rank as transformers does, or as Microsoft's own decoder",
    ),
    "temperature": (NUMBER, "with --sample: below 1 sharpens"),
    "top_k": (WHOLE, "with --sample: the N most probable (50; 0: all)"),
    "top_p": (NUMBER, "with --sample: the most probable, until they exceed X in all"),
    "min_p": (NUMBER, "with --sample: those at least X times as probable as the best"),
    "typical_p": (NUMBER, "with --sample: those nearest to the expected surprise, X in all"),
    "repetition_penalty": (NUMBER, "above 1: what was there is less probable"),
    "no_repeat_ngram_size": (WHOLE, "no sequence of N tokens comes twice"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="*", help="what to continue; none or -: all of standard input, as one text")
    add_model(parser, runs=True)
    parser.add_argument("--file", metavar="FILE", help="continue each line of FILE")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="texts computed together (16)")
    parser.add_argument("--sample", action="store_true", help="draw each token instead of taking the most probable")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="with --sample: another seed, other texts (0)")
    for name, (kind, told) in OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", default=None, help=told, **kind)
    parser.add_argument("--early-stopping", choices=("true", "false", "never"), help="when beam search ends (false)")
    parser.add_argument("--stop", action="append", metavar="TEXT", help="end where this was written; may be repeated")
    parser.add_argument(
        "--bad-word", action="append", metavar="TEXT", help="never write this, spelt just so; may be repeated"
    )
    parser.add_argument("--soft-prompt", type=int, default=0, metavar="N", help="append the ids of N trained prompts")
    parser.add_argument("--no-cache", action="store_true", help="compute every position anew at each step")
    parser.add_argument("--no-special", action="store_true", help="treat </s> and the like in the text as text")
    parser.add_argument("--stream", action="store_true", help="write word by word even when this is no terminal")
    parser.add_argument("--split-digits", action="store_true", help="BioGPT-Large: read 100 as 1 0 0")
    parser.add_argument("--clean-large", action="store_true", help="BioGPT-Large: write 100 for 1 0 0, and no tags")
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Load, then encode, generate and print, a batch at a time."""
    texts = _texts(options)
    _check(texts, options)
    from minibiogpt import BioGptForCausalLM
    from minibiogpt.generation import TextStreamer

    tokenizer = BioGptTokenizer.from_pretrained(options.model)
    said = _said(tokenizer, options)
    _prompt(tokenizer, texts[:1], options)  # what is wrong with it is wrong before the weights are read
    model = BioGptForCausalLM.from_pretrained(options.model, backend=options.backend, dtype=options.dtype)
    settled = model.generation_config.updated(said)
    one = len(texts) * settled.num_beams * settled.num_return_sequences == 1
    on_terminal = sys.stdout.isatty() and not options.json and not options.clean_large
    streamer = TextStreamer(tokenizer) if options.stream or (one and on_terminal) else None
    records = []
    for start in range(0, len(texts), options.batch_size):
        batch = texts[start : start + options.batch_size]
        prompt = _prompt(tokenizer, batch, options)
        ids = model.generate(**prompt, streamer=streamer, tokenizer=tokenizer, seed=options.seed + start, **said)
        found = _records(tokenizer, batch, model.backend.to_numpy(ids), prompt["input_ids"].shape[1], options)
        if not options.json and streamer is None:
            print("\n".join(record["text"] for record in found), flush=True)
        records += found
    if options.json:
        print_json(records)


def _texts(options: argparse.Namespace) -> list[str]:
    """Those that were typed, or the lines of --file, or all of standard input as one text."""
    if options.file is None:
        return texts_of(options.text)
    if options.text:
        raise InputError("the texts must come from one place", f"--file and {options.text[0]!r}", "leave one out")
    return read_text(Path(options.file), "--file must be there").splitlines()


def _check(texts: list[str], options: argparse.Namespace) -> None:
    """What can be said before anything is loaded."""
    checked_integer("--batch-size", options.batch_size, 1)
    if not texts:
        raise InputError("there must be a text to continue", f"none in {options.file}", "write one a line")
    for text in texts:
        if not text.strip():
            raise InputError("a text must hold a word to continue", repr(text), "type one")
    if options.stream and options.json:
        raise InputError("the output must be a stream or JSON", "--stream and --json", "leave one out")
    if options.stream and options.clean_large:
        raise InputError("a text to clean must be whole", "--stream and --clean-large", "leave one out")


def _prompt(tokenizer: BioGptTokenizer, texts: list[str], options: argparse.Namespace) -> dict[str, np.ndarray]:
    """The texts padded on the left, and behind each the ids of the soft prompt."""
    from minibiogpt.tokenizer.large_text import split_digits

    texts = list(map(split_digits, texts)) if options.split_digits else texts
    extra = tokenizer.soft_prompt_ids
    if not 0 <= options.soft_prompt <= len(extra):
        must = f"--soft-prompt must be at most the model's embeddings beyond its vocabulary, {len(extra)}"
        raise InputError(must, str(options.soft_prompt), "choose the fine-tuned model that it belongs to")
    prompt = tokenizer(texts, padding=True, padding_side="left", parse_special=not options.no_special)
    soft = np.tile(np.array(extra[: options.soft_prompt], dtype=np.int64), (len(texts), 1))
    return {
        "input_ids": np.concatenate([prompt["input_ids"], soft], axis=1),
        "attention_mask": np.concatenate([prompt["attention_mask"], np.ones_like(soft)], axis=1),
    }


def _said(tokenizer: BioGptTokenizer, options: argparse.Namespace) -> dict[str, Any]:
    """The options of generate that were typed, and no others: those follow the model's own."""
    said = {name: getattr(options, name) for name in OPTIONS if getattr(options, name) is not None}
    said["return_dict_in_generate"] = False  # ids are enough here, whatever the model's own options are
    said |= {"do_sample": True} if options.sample else {}
    said |= {"use_cache": False} if options.no_cache else {}
    said |= {"stop_strings": options.stop} if options.stop else {}
    if options.early_stopping is not None:
        said["early_stopping"] = {"true": True, "false": False}.get(options.early_stopping, options.early_stopping)
    if options.bad_word:
        said["bad_words_ids"] = [tokenizer.encode(word, add_special_tokens=False) for word in options.bad_word]
    return said


def _records(
    tokenizer: BioGptTokenizer, texts: list[str], rows: np.ndarray, width: int, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Each row for a program: the prompt, the whole text, the new part, and the ids of both without padding."""
    from minibiogpt.tokenizer.large_text import clean_large

    clean = clean_large if options.clean_large else str
    times, pad, found = len(rows) // len(texts), tokenizer.pad_token_id, []
    for i, row in enumerate(rows):
        prompt, new = ([token for token in part.tolist() if token != pad] for part in (row[:width], row[width:]))
        whole = clean(tokenizer.decode(row, skip_special_tokens=True))
        continuation = clean(tokenizer.decode(new, skip_special_tokens=True))
        told = (texts[i // times], whole, continuation, prompt, new)
        found.append(dict(zip(RECORD, told, strict=True)))
    return found
