"""minibiogpt classify: predict the class of each text, with probabilities, using a sequence classification model.

Texts on the command line give a table. A file, standard input, --json and --output give JSON Lines. With --output,
repeating the same command resumes a killed run where it stopped. A text longer than the model's maximum is classified
in windows, whose scores --combine joins.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from minibiogpt.cli.batch.labelled import Prediction, add_labelled, fitted, run_labelled, window_options
from minibiogpt.cli.batch.loop import Job
from minibiogpt.cli.options import load_model
from minibiogpt.heads.labelling import COMBINATIONS, class_scores, sigmoid
from minibiogpt.model.ops import softmax
from minibiogpt.tokenizer import Piece

if TYPE_CHECKING:
    from minibiogpt.heads import BioGptForSequenceClassification

RESULT_FIELDS = ("label", "labels", "score", "scores", "value", "values")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_labelled(parser)
    parser.add_argument(
        "--combine",
        default="mean",
        choices=COMBINATIONS,
        help="how the scores of a text longer than a window follow from those of its windows: mean (default), weighted "
        "by their new tokens; last: those of its last tokens alone; max: the largest of each class",
    )


def run(options: argparse.Namespace) -> None:
    """Check the input, classify it chunk by chunk, and write the results in input order."""
    job = Job.of(options, reserved=RESULT_FIELDS)
    from minibiogpt import BioGptForSequenceClassification

    model = load_model(options, BioGptForSequenceClassification, seed=None)
    windows = window_options(options, model.config)
    problem_type = _problem_type(model)

    def compute(rows: list[list[Piece]]) -> list[Prediction]:
        ids = fitted(rows, model.config, options.truncate)
        settings = {"combine": options.combine, "batch_tokens": options.batch_tokens, **windows}
        scores = class_scores(model, ids, ACTIVATIONS[problem_type], **settings)
        return [_prediction(problem_type, model.config.id2label, row) for row in scores]

    run_labelled(job, compute, lambda _, prediction: prediction, _line, combine=options.combine)


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "regression": np.asarray,
    "multi_label_classification": sigmoid,
    "single_label_classification": softmax,
}


def _problem_type(model: BioGptForSequenceClassification) -> str:
    """Return the config's problem type; if it has none, one class is a regression, several are exclusive."""
    single = model.config.num_labels == 1
    return model.config.problem_type or ("regression" if single else "single_label_classification")


def _prediction(problem_type: str, names: dict[int, str], scores: np.ndarray) -> Prediction:
    """Return the result for one text: values (regression), the labels above 0.5 (multi-label), or the best label."""
    if problem_type == "regression":
        return {"value": float(scores[0])} if scores.size == 1 else {"values": _by_name(names, scores)}
    if problem_type == "multi_label_classification":
        labels = [names[int(i)] for i in np.flatnonzero(scores > 0.5)]
        return {"labels": labels, "scores": _by_name(names, scores)}
    best = int(scores.argmax())
    return {"label": names[best], "score": float(scores[best]), "scores": _by_name(names, scores)}


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
