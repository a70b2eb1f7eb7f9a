"""minibiogpt tag: find the labeled entities of each text, with offsets, using a token classification model.

Texts on the command line give a table. A file, standard input, --json and --output give JSON Lines. With --output,
repeating the same command resumes a killed run where it stopped.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from minibiogpt.cli.batch.labelled import Prediction, add_labelled, checked_finite, fit_length, run_labelled
from minibiogpt.cli.batch.loop import Job
from minibiogpt.cli.options import load_model
from minibiogpt.heads.tagging import STRATEGIES, Tagged, entities
from minibiogpt.model.batching import padded
from minibiogpt.model.ops import softmax
from minibiogpt.tokenizer import Piece
from minibiogpt.tokenizer.bpe import END_OF_WORD

if TYPE_CHECKING:
    from minibiogpt.heads import BioGptForTokenClassification

RESULT_FIELDS = ("entities", "tokens")
TOKEN_FIELDS = ("piece", "start", "end", "label", "score")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_labelled(parser)
    parser.add_argument(
        "--strategy",
        default="first",
        choices=STRATEGIES,
        help="first (default): label a word by its first piece; simple: label each piece on its own",
    )
    parser.add_argument(
        "--tokens", action="store_true", help="include each token, with its offsets, label and probability"
    )


def run(options: argparse.Namespace) -> None:
    """Check the input, tag it chunk by chunk, and write the results in input order."""
    job = Job.of(options, reserved=RESULT_FIELDS)
    from minibiogpt import BioGptForTokenClassification

    model = load_model(options, BioGptForTokenClassification, seed=None)
    run_labelled(job, lambda rows: _tag(job, model, rows), _lines, strategy=options.strategy, tokens=options.tokens)


def _tag(job: Job, model: BioGptForTokenClassification, rows: list[list[Piece]]) -> list[Prediction]:
    """Tag one batch, padded on the right. The causal mask hides the padding."""
    rows = fit_length(rows, model.config, job.options.truncate)
    ids = padded([_ids(row) for row in rows])
    logits = model.backend.to_numpy(model(ids, use_cache=False, return_dict=True).logits)
    probs = softmax(checked_finite(logits).astype("float64"))
    return [_prediction(job, model.config.id2label, row[1:], p[1:]) for row, p in zip(rows, probs, strict=True)]


def _ids(row: list[Piece]) -> np.ndarray:
    return np.array([piece.id for piece in row], dtype=np.int64)


def _prediction(job: Job, names: dict[int, str], row: list[Piece], p: np.ndarray) -> Prediction:
    """Return the result for one text. ``row`` has no leading ``</s>``; ``p`` (T, labels) may include padding."""
    tok, best = job.tokenizer, p.argmax(axis=-1)
    tagged = []
    for t, piece in enumerate(row):
        ends = piece.piece.endswith(END_OF_WORD) or piece.id in tok.all_special_ids
        tagged.append(Tagged(piece.span, names[int(best[t])], float(p[t, best[t]]), ends))
    prediction: Prediction = {"entities": [entity._asdict() for entity in entities(tagged, job.options.strategy)]}
    if job.options.tokens:
        pieces = tok.convert_ids_to_tokens([piece.id for piece in row])
        rows = zip(pieces, tagged, strict=True)
        prediction["tokens"] = [
            dict(zip(TOKEN_FIELDS, (piece, *t.span, t.label, t.score), strict=True)) for piece, t in rows
        ]
    return prediction


def _lines(text: str, prediction: Prediction) -> str:
    """Return the table for one text."""
    lines = [f"{' '.join(text.split())}\n"]
    for t in prediction.get("tokens", ()):
        lines.append(f"  {t['piece']:20}  {t['start']:5}  {t['end']:5}  {t['score']:.3f}  {t['label']}\n")
    for e in prediction["entities"]:
        words = " ".join(text[e["start"] : e["end"]].split())
        lines.append(f"  {e['label']:20}  {e['start']:5}  {e['end']:5}  {e['score']:.3f}  {words}\n")
    return "".join(lines)
