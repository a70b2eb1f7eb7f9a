"""minibiogpt tokenize: show the tokens of a text, with their ids and offsets.

A token that ends in · continues in the next token. With --json, "pieces" are the tokens as the vocabulary stores them,
where the last piece of a word ends in </w>.
"""

from __future__ import annotations

import argparse

from minibiogpt.cli.options import add_json, add_model, load_tokenizer, print_json, texts_of
from minibiogpt.tokenizer.tokens.labels import labels_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("text", nargs="*", help="text to tokenize; none or - reads standard input")
    add_model(parser)
    parser.add_argument(
        "--no-special", action="store_true", help="treat </s> and other special tokens in the text as plain text"
    )
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Print a table for each text, or a JSON list with a record for each."""
    texts = texts_of(options.text)
    tokenizer = load_tokenizer(options)
    records = []
    for text in texts:
        encoded = tokenizer(text, parse_special=not options.no_special, return_offsets=True)
        ids, offsets = encoded["input_ids"][0].tolist(), encoded["offsets"][0].tolist()
        pieces = tokenizer.convert_ids_to_tokens(ids)
        records.append({"text": text, "pieces": pieces, "ids": ids, "offsets": offsets})
    if options.json:
        print_json(records)
        return
    for record in records:
        labels = labels_of(record["ids"], tokenizer)
        width = max(map(len, ["token", *labels]))
        print(f"{'token':{width}}  {'id':>6}  {'start':>5}  {'end':>5}  text")
        for label, i, (start, end) in zip(labels, record["ids"], record["offsets"], strict=True):
            print(f"{label:{width}}  {i:6}  {start:5}  {end:5}  {record['text'][start:end]}")
        print(f"{len(record['ids'])} tokens")
