"""minibiogpt classify: predict the class of each text, with probabilities, using a sequence classification model.

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
from minibiogpt.model.ops import softmax
from minibiogpt.tokenizer import Piece

if TYPE_CHECKING:
    from minibiogpt.heads import BioGptForSequenceClassification

RESULT_FIELDS = ("label", "labels", "score", "scores", "value", "values")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_labelled(parser)


def run(options: argparse.Namespace) -> None:
    """Check the input, classify it chunk by chunk, and write the results in input order."""
    job = Job.of(options, reserved=RESULT_FIELDS)
    from minibiogpt import BioGptForSequenceClassification

    model = load_model(options, BioGptForSequenceClassification, seed=None)
    run_labelled(job, lambda rows: _classify(job, model, rows), _line)


def _classify(job: Job, model: BioGptForSequenceClassification, rows: list[list[Piece]]) -> list[Prediction]:
    """Classify one batch, padded on the left so that the last position is the last token of every row."""
    rows = fit_length(rows, model.config, job.options.truncate)
    width, pad = max(len(row) for row in rows), model.config.pad_token_id or 0
    ids = np.array([[pad] * (width - len(row)) + [piece.id for piece in row] for row in rows], dtype=np.int64)
    mask = np.arange(width) >= width - np.array([[len(row)] for row in rows])
    logits = model.backend.to_numpy(model(ids, mask, use_cache=False, return_dict=True).logits)
    return [_prediction(model, row.astype("float64")) for row in checked_finite(logits)]


def _prediction(model: BioGptForSequenceClassification, logits: np.ndarray) -> Prediction:
    """Return the result for one text: values (regression), the labels above 0.5 (multi-label), or the best label."""
    names = model.config.id2label
    problem_type = model.config.problem_type or ("regression" if logits.size == 1 else "single_label_classification")
    if problem_type == "regression":
        values = {names[i]: float(x) for i, x in enumerate(logits)}
        return {"value": float(logits[0])} if logits.size == 1 else {"values": values}
    if problem_type == "multi_label_classification":
        p = 1 / (1 + np.exp(-logits))
        return {"labels": [names[int(i)] for i in np.flatnonzero(p > 0.5)], "scores": _by_name(names, p)}
    p = softmax(logits)
    best = int(p.argmax())
    return {"label": names[best], "score": float(p[best]), "scores": _by_name(names, p)}


def _by_name(names: dict[int, str], p: np.ndarray) -> dict[str, float]:
    return {names[i]: float(x) for i, x in enumerate(p)}


def _line(text: str, prediction: Prediction) -> str:
    """Return the line of the table for one text."""
    if "value" in prediction:
        result = f"{prediction['value']:.4f}"
    elif "values" in prediction:
        result = "  ".join(f"{name} {value:.4f}" for name, value in prediction["values"].items())
    elif "labels" in prediction:
        result = ", ".join(f"{name} {prediction['scores'][name]:.3f}" for name in prediction["labels"]) or "-"
    else:
        result = f"{prediction['label']} {prediction['score']:.3f}"
    return f"{result}  {' '.join(text.split())}\n"
