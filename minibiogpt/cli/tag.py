"""minibiogpt tag: find the labeled entities of each text, with offsets, using a token classification model.

Texts on the command line give a table. A file, standard input, --json and --output give JSON Lines. With --output,
repeating the same command resumes a killed run where it stopped. A text longer than the model's maximum is tagged in
windows: each token has the label of the first window that contains it, where it has the most context on its left.
"""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

import numpy as np

from minibiogpt.cli.batch.labelled import Prediction, add_labelled, run_labelled, window_options
from minibiogpt.cli.batch.loop import Job, ids_of
from minibiogpt.cli.batch.records import Record
from minibiogpt.cli.options import load_model
from minibiogpt.heads.labelling import token_probabilities
from minibiogpt.heads.tagging import STRATEGIES, Entity, Tagged, entities, word_label
from minibiogpt.heads.words import word_at, word_ids, word_starts
from minibiogpt.tokenizer import Piece
from minibiogpt.tokenizer.tokens.labels import labels_of

RESULT_FIELDS, WORDS = ("entities",), "words"
TOKEN_FIELDS = ("piece", "start", "end", "label", "score")


class Labelled(NamedTuple):
    """The pieces of a text without its leading ``</s>``, and the probabilities of their labels, (T, labels)."""

    pieces: list[Piece]
    p: np.ndarray


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_labelled(parser)
    parser.add_argument(
        "--strategy",
        default="first",
        choices=STRATEGIES,
        help="first (default), average, max: label a word by its first piece, by the mean over its pieces, or by the "
        "piece that is most certain; simple: label each piece on its own",
    )
    parser.add_argument(
        "--tokens", action="store_true", help="include each token, with its offsets, label and probability"
    )


def run(options: argparse.Namespace) -> None:
    """Check the input, tag it chunk by chunk, and write the results in input order."""
    reserved = RESULT_FIELDS + (("tokens",) if options.tokens else ())
    job = Job.of(options, reserved=reserved, reserved_with_words=(WORDS,))
    from minibiogpt import BioGptForTokenClassification

    model = load_model(options, BioGptForTokenClassification, seed=None)
    names = model.config.id2label
    windows = window_options(options, model.config)

    def compute(rows: list[list[Piece]]) -> list[Labelled]:
        ids = ids_of(rows)
        found = token_probabilities(model, ids, batch_tokens=options.batch_tokens, **windows)
        return [Labelled(row[1 : len(p)], p[1:]) for row, p in zip(rows, found, strict=True)]

    run_labelled(
        job,
        compute,
        lambda record, labelled: _prediction(job, names, record, labelled),
        lambda text, prediction: _lines(job, text, prediction),
        strategy=options.strategy,
        tokens=options.tokens,
    )


def _prediction(job: Job, names: dict[int, str], record: Record, labelled: Labelled) -> Prediction:
    """Return the result for one text: its entities, and if it is split into words the label of each word."""
    strategy, pieces, p = job.options.strategy, labelled.pieces, labelled.p
    starts = None if record.words is None else word_starts(record.words)
    words = word_ids(job.tokenizer, pieces, starts)
    labels = [(int(row.argmax()), float(row.max())) for row in p]  # of each piece on its own
    first = [i for i, word in enumerate(words) if i == 0 or words[i - 1] != word]  # the first piece of each word
    starts_word = {*first, len(words)}
    of_words = {
        words[i]: word_label(p[i:end], "first" if strategy == "simple" else strategy)
        for i, end in zip(first, [*first[1:], len(words)], strict=bool(first))
    }
    used = labels if strategy == "simple" else [of_words[word] for word in words]
    tagged = [
        Tagged(piece.span, names[label], score, ends_word=i + 1 in starts_word)
        for i, (piece, (label, score)) in enumerate(zip(pieces, used, strict=True))
    ]
    found = entities(tagged, "simple" if strategy == "simple" else "first")
    prediction: Prediction = {"entities": [_entity(entity, starts) for entity in found]}
    if record.words is not None:
        rows = ((word, *of_words.get(i, (None, None))) for i, word in enumerate(record.words))
        prediction[WORDS] = [
            {"word": word, "label": None if label is None else names[label], "score": score}
            for word, label, score in rows
        ]
    if job.options.tokens:
        tokens = job.tokenizer.convert_ids_to_tokens([piece.id for piece in pieces])
        prediction["tokens"] = [
            dict(zip(TOKEN_FIELDS, (token, *piece.span, names[label], score), strict=True))
            for token, piece, (label, score) in zip(tokens, pieces, labels, strict=True)
        ]
    return prediction


def _entity(entity: Entity, starts: list[int] | None) -> dict[str, Any]:
    """Return the fields of an entity, with its words [start_word, end_word) if the text was split into words."""
    fields = entity._asdict()
    if starts is not None:
        last = word_at(starts, max(entity.start, entity.end - 1))
        fields |= {"start_word": word_at(starts, entity.start), "end_word": last + 1}
    return fields


def _lines(job: Job, text: str, prediction: Prediction) -> str:
    """Return the table for one text."""
    lines, tokens = [f"{' '.join(text.split())}\n"], prediction.get("tokens", ())
    ids: Any = job.tokenizer.convert_tokens_to_ids([t["piece"] for t in tokens])
    labels = labels_of(ids, job.tokenizer)
    for label, t in zip(labels, tokens, strict=True):
        lines.append(f"  {label:20}  {t['start']:5}  {t['end']:5}  {t['score']:.3f}  {t['label']}\n")
    for e in prediction["entities"]:
        words = " ".join(text[e["start"] : e["end"]].split())
        lines.append(f"  {e['label']:20}  {e['start']:5}  {e['end']:5}  {e['score']:.3f}  {words}\n")
    return "".join(lines)
