"""BioGptForSequenceClassification: one score a class for each text, read at its last real token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minibiogpt.backend import Array, ignore_overflow, report_full_memory
from minibiogpt.catalog.parameters import sequence_classification_shapes
from minibiogpt.errors import InputError
from minibiogpt.heads.base import ModelWithHead
from minibiogpt.heads.losses import (
    binary_cross_entropy,
    class_labels,
    cross_entropy,
    mean_squared_error,
    problem_type_of,
)
from minibiogpt.model import inputs
from minibiogpt.model.layers import Linear, Weights, below
from minibiogpt.model.outputs import SequenceClassifierOutput
from minibiogpt.trace import Trace


class BioGptForSequenceClassification(ModelWithHead):
    """BioGPT as a classifier of whole texts: one score a class, read at the last real token.

    Attributes
    ----------
    biogpt : the BioGptModel.
    score : the head, a Linear without bias, (labels, D).

    Source: BioGptForSequenceClassification in transformers 4.57, but for the pooling: 4.57 reads the position (number
    of tokens that are not padding) - 1, which is the last real token only when the padding is on the right.
    """

    head = ("score.weight",)

    def _make_head(self, weights: Weights) -> None:
        self.score = Linear(**below(weights, "score"))

    shapes_of = staticmethod(sequence_classification_shapes)

    @ignore_overflow
    @report_full_memory
    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        *,
        labels: Any = None,
        return_dict: bool | None = None,
        trace: Trace | None = None,
        **options: Any,
    ) -> Any:
        """Run the model; every option of BioGptModel is taken, and nothing that is handed over is changed.

        Parameters
        ----------
        labels : what the loss compares with, by ``config.problem_type``; when that is None, one class is a regression,
            integers are single labels, and floats several labels.
            "regression": numbers (B,) or (B, labels); the mean squared error.
            "single_label_classification": classes (B,), -100 is ignored; the cross entropy in nats.
            "multi_label_classification": 0 or 1 for each class, (B, labels); the binary cross entropy in nats.

        Returns
        -------
        SequenceClassifierOutput, or a tuple of its fields that are not None.
        """
        tap, options = self._watched(trace, options)
        base = self.biogpt(input_ids, attention_mask, return_dict=True, tap=tap.part(), **options)
        tap.describe_call("sequence", {"labels": self.config.num_labels}, labels=labels)
        scores = tap("score", self.score(base.last_hidden_state))  # (B, T, labels)
        rows = self.backend.xp.arange(scores.shape[0])  # (B)
        logits = tap("logits", scores[rows, self._last_real(input_ids, attention_mask, scores)])
        loss = None if labels is None else tap("loss", self.backend.asarray(self._loss(logits, labels)))
        output = SequenceClassifierOutput(loss, logits, base.past_key_values, base.hidden_states, base.attentions)
        tap.finish()
        return self._returned(output, return_dict)

    def _last_real(self, input_ids: Any, attention_mask: Any, scores: Array) -> Array:
        """(B,) the position of each row's rightmost token that neither its id nor the mask calls padding.

        The last position when there are no ids: nobody knows then which embeddings are pads, as in transformers.
        """
        xp, pad = self.backend.xp, self.config.pad_token_id
        B, T, _ = scores.shape
        if input_ids is None or pad is None:
            return xp.full((B,), T - 1, dtype="int64")
        real = self.backend.asarray(input_ids) != pad  # (B, T)
        if attention_mask is not None:
            real = real & (self.backend.asarray(attention_mask)[:, -T:] != 0)  # (B, T)
        if not bool(real.any(axis=1).all()):
            raise InputError("each row must hold a token that is no padding", "a row of pads", "leave the row out")
        return xp.where(real, xp.arange(T), -1).max(axis=1)

    def _loss(self, logits: Array, labels: Any) -> Array:
        """(B, labels) and the labels give ()."""
        B, classes = logits.shape
        labels = inputs.as_array("labels", labels, self.backend, "numbers")
        problem = self.config.problem_type or problem_type_of(classes, labels)
        if problem == "single_label_classification":
            column = labels[:, 0] if labels.shape == (B, 1) else labels  # (B)
            return cross_entropy(logits, class_labels(column, (B,), classes, self.backend))
        if labels.shape != (B, classes) and (classes, labels.shape) != (1, (B,)):
            must = f"labels of a {problem.replace('_', ' ')} must have the shape of the logits, ({B}, {classes})"
            raise InputError(must, f"shape {labels.shape}", "give each text one number a class")
        targets = labels.reshape(B, classes).astype(logits.dtype)
        return (mean_squared_error if problem == "regression" else binary_cross_entropy)(logits, targets)

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        yield from super().named_parameters()
        yield "score.weight", self.score.weight
