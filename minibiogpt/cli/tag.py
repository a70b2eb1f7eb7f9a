"""minibiogpt tag: labelled stretches of each text, with their places in it, by a model with a tagging head.

Texts that are typed get a table; a file, a stream, --json and --output get JSON lines. With --output a killed run goes
on where it stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from minibiogpt.cli.batch.labelled import Said, add_labelled, finite, fitting, run_labelled
from minibiogpt.cli.batch.loop import Job
from minibiogpt.heads.tagging import STRATEGIES, Tagged, entities
from minibiogpt.model.batching import padded
from minibiogpt.model.ops import softmax
from minibiogpt.tokenizer import Piece
from minibiogpt.tokenizer.bpe import END_OF_WORD

if TYPE_CHECKING:
    from minibiogpt.heads import BioGptForTokenClassification

RESULTS = ("entities", "tokens")
TOKEN = ("piece", "start", "end", "label", "score")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_labelled(parser)
    parser.add_argument(
        "--strategy",
        default="first",
        choices=STRATEGIES,
        help="a word has its first piece's label (first), or each piece its own",
    )
    parser.add_argument("--tokens", action="store_true", help="also each token, its place, its label and probability")


def run(options: argparse.Namespace) -> None:
    """Read, check, compute chunk by chunk, write in the order of the input."""
    job = Job.of(options, reserved=RESULTS)
    from minibiogpt import BioGptForTokenClassification

    model = BioGptForTokenClassification.from_pretrained(
        job.folder, backend=options.backend, dtype=options.dtype, seed=None
    )
    run_labelled(job, lambda rows: _tagged(job, model, rows), _lines, strategy=options.strategy, tokens=options.tokens)


def _tagged(job: Job, model: BioGptForTokenClassification, rows: list[list[Piece]]) -> list[Said]:
    """A batch, padded on the right: causality hides the pads."""
    rows = fitting(rows, model.config, job.options.truncate)
    ids = padded([_ids(row) for row in rows])
    logits = model.backend.to_numpy(model(ids, use_cache=False, return_dict=True).logits)
    probs = softmax(finite(logits).astype("float64"))
    return [_record(job, model.config.id2label, row[1:], p[1:]) for row, p in zip(rows, probs, strict=True)]


def _ids(row: list[Piece]) -> np.ndarray:
    return np.array([piece.id for piece in row], dtype=np.int64)


def _record(job: Job, names: dict[int, str], row: list[Piece], p: np.ndarray) -> Said:
    """What is said of one text: row without the ``</s>`` in front, and p (T, labels), of which there may be more."""
    tok, best = job.tokenizer, p.argmax(axis=-1)
    tagged = []
    for t, piece in enumerate(row):
        ends = piece.piece.endswith(END_OF_WORD) or piece.id in tok.all_special_ids
        tagged.append(Tagged(piece.span, names[int(best[t])], float(p[t, best[t]]), ends))
    said: Said = {"entities": [entity._asdict() for entity in entities(tagged, job.options.strategy)]}
    if job.options.tokens:
        pieces = tok.convert_ids_to_tokens([piece.id for piece in row])
        rows = zip(pieces, tagged, strict=True)
        said["tokens"] = [dict(zip(TOKEN, (piece, *t.span, t.label, t.score), strict=True)) for piece, t in rows]
    return said


def _lines(text: str, said: Said) -> str:
    """For a reader: a table for each text."""
    told = [f"{' '.join(text.split())}\n"]
    for one in said.get("tokens", ()):
        told.append(f"  {one['piece']:20}  {one['start']:5}  {one['end']:5}  {one['score']:.3f}  {one['label']}\n")
    for one in said["entities"]:
        words = " ".join(text[one["start"] : one["end"]].split())
        told.append(f"  {one['label']:20}  {one['start']:5}  {one['end']:5}  {one['score']:.3f}  {words}\n")
    return "".join(told)
