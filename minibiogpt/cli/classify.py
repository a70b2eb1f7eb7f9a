"""minibiogpt classify: predict the class of each text, with probabilities, using a sequence classification model.

Texts on the command line give a table. A file, standard input, --json and --output give JSON Lines. With --output,
repeating the same command resumes a killed run where it stopped. A text longer than the model's maximum is classified
in windows, whose scores --combine joins.

As in transformers, problem_type in config.json decides what a score is: the value itself for a regression, a sigmoid
for a multi-label model or a single class, a softmax otherwise. "scores" and "values" are objects by name, or lists of
{"label", "score"} and {"label", "value"} if several classes have the same name.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from minibiogpt.cli.batch.labelled import Prediction, add_labelled, run_labelled, window_options
from minibiogpt.cli.batch.loop import Job, ids_of
from minibiogpt.cli.options import load_model
from minibiogpt.config import BioGptConfig
from minibiogpt.heads.labelling import COMBINATIONS, class_scores, sigmoid
from minibiogpt.model.ops import softmax
from minibiogpt.tokenizer import Piece

THRESHOLD = 0.5  # a label of a multi-label model has a larger score
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
    problem_type, activation = _problem_type(model.config), _activation(model.config)

    def compute(rows: list[list[Piece]]) -> list[Prediction]:
        ids = ids_of(rows)
        settings = {"combine": options.combine, "batch_tokens": options.batch_tokens, **windows}
        scores = class_scores(model, ids, activation, **settings)
        return [_prediction(problem_type, model.config.id2label, row) for row in scores]

    run_labelled(job, compute, lambda _, prediction: prediction, _line, combine=options.combine)


def _problem_type(config: BioGptConfig) -> str:
    """Return the config's problem type; if it has none, the classes are exclusive."""
    return config.problem_type or "single_label_classification"


def _activation(config: BioGptConfig) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function from logits to scores that transformers' pipeline chooses for the config."""
    if config.problem_type == "regression":
        return np.asarray
    return sigmoid if config.problem_type == "multi_label_classification" or config.num_labels == 1 else softmax


def _prediction(problem_type: str, names: dict[int, str], scores: np.ndarray) -> Prediction:
    """Return the result for one text: values (regression), the labels above 0.5 (multi-label), or the best label."""
    if problem_type == "regression":
        return {"value": float(scores[0])} if scores.size == 1 else {"values": _by_name(names, scores, "value")}
    if problem_type == "multi_label_classification":
        labels = [names[int(i)] for i in np.flatnonzero(scores > THRESHOLD)]
        return {"labels": labels, "scores": _by_name(names, scores)}
    best = int(scores.argmax())
    return {"label": names[best], "score": float(scores[best]), "scores": _by_name(names, scores)}


def _by_name(names: dict[int, str], p: np.ndarray, key: str = "score") -> dict[str, float] | list[dict[str, Any]]:
    """Return {name: score}; as a list of {"label": name, key: score} if two classes have the same name."""
    if len(set(names.values())) < len(names):
        return [{"label": names[i], key: float(x)} for i, x in enumerate(p)]
    return {names[i]: float(x) for i, x in enumerate(p)}


def _pairs(scores: dict[str, float] | list[dict[str, Any]]) -> list[tuple[str, float]]:
    """Return (name, score) of each class from either form."""
    if isinstance(scores, dict):
        return list(scores.items())
    return [(one["label"], one["value"] if "value" in one else one["score"]) for one in scores]


def _line(text: str, prediction: Prediction) -> str:
    """Return the line of the table for one text."""
    if "value" in prediction:
        result = f"{prediction['value']:.4f}"
    elif "values" in prediction:
        result = "  ".join(f"{name} {value:.4f}" for name, value in _pairs(prediction["values"]))
    elif "labels" in prediction:
        chosen = [(name, score) for name, score in _pairs(prediction["scores"]) if score > THRESHOLD]
        result = ", ".join(f"{name} {score:.3f}" for name, score in chosen) or "-"
    else:
        result = f"{prediction['label']} {prediction['score']:.3f}"
    return f"{result}  {' '.join(text.split())}\n"
