"""minibiogpt generate: continue texts, greedily or by sampling.

Several texts make one batch, padded on the left. A single text is written word by word on a terminal.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

from minibiogpt.cli.options import add_json, add_model, print_json, texts_of
from minibiogpt.errors import InputError

GENERATION = ("max_new_tokens", "max_length", "min_length", "temperature", "top_k", "top_p", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="*", help="what to continue; none or - reads standard input")
    add_model(parser, runs=True)
    parser.add_argument("--max-new-tokens", type=int, metavar="N", help="at most so many (default 20)")
    parser.add_argument("--max-length", type=int, metavar="N", help="at most so many, the prompt included")
    parser.add_argument("--min-length", type=int, default=0, metavar="N", help="no end before, the prompt included")
    parser.add_argument("--sample", action="store_true", help="draw each token instead of taking the most probable")
    parser.add_argument("--temperature", type=float, default=1.0, metavar="X", help="with --sample: below 1 sharpens")
    parser.add_argument(
        "--top-k", type=int, default=50, metavar="K", help="with --sample: the K most probable (50; 0: all)"
    )
    parser.add_argument(
        "--top-p", type=float, default=1.0, metavar="P", help="with --sample: as many as exceed P in all"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="with --sample: another seed, another text")
    parser.add_argument("--no-cache", action="store_true", help="compute every position anew at each step")
    parser.add_argument("--no-special", action="store_true", help="treat </s> and the like in the text as text")
    parser.add_argument("--stream", action="store_true", help="write word by word even when this is no terminal")
    parser.add_argument("--split-digits", action="store_true", help="BioGPT-Large: read 100 as 1 0 0")
    parser.add_argument("--clean-large", action="store_true", help="BioGPT-Large: write 100 for 1 0 0, and no tags")
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Load, encode, generate, print."""
    texts = texts_of(options.text)
    for text in texts:
        if not text.strip():
            raise InputError("a text must hold a word to continue", repr(text), "type one")
    if options.stream and options.json:
        raise InputError("the output must be a stream or JSON", "--stream and --json", "leave one out")
    if options.stream and options.clean_large:
        raise InputError("a text to clean must be whole", "--stream and --clean-large", "leave one out")
    from minibiogpt import BioGptForCausalLM, BioGptTokenizer
    from minibiogpt.generation import TextStreamer
    from minibiogpt.text import clean_large, split_digits

    tokenizer = BioGptTokenizer.from_pretrained(options.model)
    model = BioGptForCausalLM.from_pretrained(options.model, backend=options.backend, dtype=options.dtype)
    read = [split_digits(text) for text in texts] if options.split_digits else texts
    clean = clean_large if options.clean_large else str
    prompt = tokenizer(read, padding=True, padding_side="left", parse_special=not options.no_special)
    streams = options.stream or (len(texts) == 1 and sys.stdout.isatty() and not options.json and clean is str)
    streamer = TextStreamer(tokenizer) if streams else None
    ids = model.generate(
        prompt["input_ids"],
        attention_mask=prompt["attention_mask"],
        do_sample=options.sample,
        use_cache=not options.no_cache,
        streamer=streamer,
        **{name: getattr(options, name) for name in GENERATION},
    )
    rows = model.backend.to_numpy(ids)
    if options.json:
        width = prompt["input_ids"].shape[1]
        print_json([_record(tokenizer, text, row, width, clean) for text, row in zip(texts, rows, strict=True)])
    elif streamer is None:
        print("\n".join(map(clean, tokenizer.batch_decode(rows, skip_special_tokens=True))))


def _record(tokenizer: Any, text: str, row: Any, width: int, clean: Callable[[str], str]) -> dict[str, Any]:
    """One row for a program: the prompt, the whole text, the new part, and the ids of both without padding."""
    pad = tokenizer.pad_token_id
    prompt, new = ([i for i in part.tolist() if i != pad] for part in (row[:width], row[width:]))
    whole = clean(tokenizer.decode(row, skip_special_tokens=True))
    continuation = clean(tokenizer.decode(new, skip_special_tokens=True))
    return {"prompt": text, "text": whole, "continuation": continuation, "prompt_ids": prompt, "new_ids": new}
