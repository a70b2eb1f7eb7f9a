"""minibiogpt classify: the class of each text, and how probable it is, by a model with a classification head.

Texts that are typed get a table; a file, a stream, --json and --output get JSON lines. With --output a killed run goes
on where it stopped when the same command is given again.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

from minibiogpt.cli.batch.labelled import add_labelled, finite, fitting, run_labelled
from minibiogpt.cli.batch.loop import Job
from minibiogpt.model.ops import softmax
from minibiogpt.tokenizer import Piece

if TYPE_CHECKING:
    from minibiogpt.heads import BioGptForSequenceClassification

RESULTS = ("label", "labels", "score", "scores", "value", "values")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_labelled(parser)


def run(options: argparse.Namespace) -> None:
    """Read, check, compute chunk by chunk, write in the order of the input."""
    job = Job.of(options, reserved=RESULTS)
    from minibiogpt import BioGptForSequenceClassification

    model = BioGptForSequenceClassification.from_pretrained(
        job.folder, backend=options.backend, dtype=options.dtype, seed=None
    )
    run_labelled(job, lambda rows: _classified(job, model, rows), _line)


def _classified(job: Job, model: BioGptForSequenceClassification, rows: list[list[Piece]]) -> list[dict[str, Any]]:
    """A batch, padded on the left, so that every row's last token stands at the end."""
    rows = fitting(rows, model.config, job.options.truncate)
    width, pad = max(len(row) for row in rows), model.config.pad_token_id or 0
    ids = np.array([[pad] * (width - len(row)) + [piece.id for piece in row] for row in rows], dtype=np.int64)
    mask = np.arange(width) >= width - np.array([[len(row)] for row in rows])
    logits = model.backend.to_numpy(model(ids, mask, use_cache=False, return_dict=True).logits)
    return [_said(model, row.astype("float64")) for row in finite(logits)]


def _said(model: BioGptForSequenceClassification, logits: np.ndarray) -> dict[str, Any]:
    """By the kind of problem: numbers; each class by itself, those above one half named; or one class of all."""
    names = model.config.id2label
    kind = model.config.problem_type or ("regression" if logits.size == 1 else "single_label_classification")
    if kind == "regression":
        values = {names[i]: float(x) for i, x in enumerate(logits)}
        return {"value": float(logits[0])} if logits.size == 1 else {"values": values}
    if kind == "multi_label_classification":
        p = 1 / (1 + np.exp(-logits))
        return {"labels": [names[int(i)] for i in np.flatnonzero(p > 0.5)], "scores": _by_name(names, p)}
    p = softmax(logits)
    best = int(p.argmax())
    return {"label": names[best], "score": float(p[best]), "scores": _by_name(names, p)}


def _by_name(names: dict[int, str], p: np.ndarray) -> dict[str, float]:
    return {names[i]: float(x) for i, x in enumerate(p)}


def _line(text: str, said: dict[str, Any]) -> str:
    """For a reader."""
    if "value" in said:
        told = f"{said['value']:.4f}"
    elif "values" in said:
        told = "  ".join(f"{name} {value:.4f}" for name, value in said["values"].items())
    elif "labels" in said:
        told = ", ".join(f"{name} {said['scores'][name]:.3f}" for name in said["labels"]) or "-"
    else:
        told = f"{said['label']} {said['score']:.3f}"
    return f"{told}  {' '.join(text.split())}\n"
