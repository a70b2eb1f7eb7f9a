"""BioGptForSequenceClassification: one score per class for each text, read at its last real token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minibiogpt.backend import Array, ignore_overflow, on_backend
from minibiogpt.catalog.parameters import sequence_classification_shapes
from minibiogpt.errors import InputError
from minibiogpt.heads.base import ModelWithHead
from minibiogpt.heads.losses import (
    binary_cross_entropy,
    checked_class_labels,
    cross_entropy,
    infer_problem_type,
    mean_squared_error,
)
from minibiogpt.model import inputs
from minibiogpt.model.layers import Linear, Weights, weights_under
from minibiogpt.model.outputs import SequenceClassifierOutput
from minibiogpt.trace import Trace


class BioGptForSequenceClassification(ModelWithHead):
    """BioGPT as a text classifier: one score per class, read at the last real token.

    Attributes
    ----------
    biogpt : the BioGptModel.
    score : the head, a Linear without bias, (labels, D).

    Source: BioGptForSequenceClassification in transformers 4.57, except for the pooling: 4.57 reads the position
    (number of real tokens) - 1, which is the last real token only if the padding is on the right.
    """

    head = ("score.weight",)

    def _make_head(self, weights: Weights) -> None:
        self.score = Linear(**weights_under(weights, "score"))

    shapes_of = staticmethod(sequence_classification_shapes)

    @ignore_overflow
    @on_backend
    @inputs.by_position(
        "input_ids", "attention_mask", "head_mask", "past_key_values", "inputs_embeds", "labels", "use_cache",
        "position_ids", "output_attentions", "output_hidden_states", "return_dict",
    )  # fmt: skip
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
        """Run the model. All options of BioGptModel are accepted, and no argument is modified.

        Parameters
        ----------
        labels : the targets; ``config.problem_type`` chooses the loss. If it is None, one class means regression,
            int64 or int32 labels a single label per text, other dtypes multiple labels.
            "regression": numbers (B,) or (B, labels); mean squared error.
            "single_label_classification": classes (B,), -100 is ignored; cross-entropy in nats.
            "multi_label_classification": 0 or 1 for each class, (B, labels); binary cross-entropy in nats.

        Returns
        -------
        SequenceClassifierOutput, or a tuple of its fields that are not None.
        """
        tap, options = self._make_tap(trace, options)
        base = self.biogpt(input_ids, attention_mask, return_dict=True, tap=tap.nested(), **options)
        tap.describe_call("sequence", {"labels": self.config.num_labels}, labels=labels)
        scores = tap("score", self.score(base.last_hidden_state))  # (B, T, labels)
        rows = self.backend.xp.arange(scores.shape[0])  # (B)
        logits = tap("logits", scores[rows, self._last_real_positions(input_ids, attention_mask, scores)])
        loss = None if labels is None else tap("loss", self.backend.asarray(self._loss(logits, labels)))
        output = SequenceClassifierOutput(loss, logits, base.past_key_values, base.hidden_states, base.attentions)
        tap.finish()
        return self._dict_or_tuple(output, return_dict)

    def _last_real_positions(self, input_ids: Any, attention_mask: Any, scores: Array) -> Array:
        """Return (B,) the position of each row's rightmost real token: neither its id nor the mask marks it as padding.

        Without input_ids it is the last position, as in transformers: embeddings don't show which ones are pads.
        """
        xp, pad = self.backend.xp, self.config.pad_token_id
        B, T, _ = scores.shape
        if input_ids is None or pad is None:
            return xp.full((B,), T - 1, dtype="int64")
        real = self.backend.asarray(input_ids) != pad  # (B, T)
        if attention_mask is not None:
            real = real & (self.backend.asarray(attention_mask)[:, -T:] != 0)  # (B, T)
        if not bool(real.any(axis=1).all()):
            raise InputError("each row must hold a real token", "a row of pads", "leave the row out")
        return xp.where(real, xp.arange(T), -1).max(axis=1)

    def _loss(self, logits: Array, labels: Any) -> Array:
        """Return the loss (), from logits (B, labels) and the labels."""
        B, classes = logits.shape
        labels = inputs.as_backend_array("labels", labels, self.backend, "numbers")
        problem = self.config.problem_type or infer_problem_type(classes, labels)
        if problem == "single_label_classification":
            column = labels[:, 0] if labels.shape == (B, 1) else labels  # (B)
            return cross_entropy(logits, checked_class_labels(column, (B,), classes, self.backend))
        if labels.shape != (B, classes) and (classes, labels.shape) != (1, (B,)):
            must = f"labels of a {problem.replace('_', ' ')} must have the shape of the logits, ({B}, {classes})"
            raise InputError(must, f"shape {labels.shape}", "give each text one number per class")
        targets = labels.reshape(B, classes).astype(logits.dtype)
        return (mean_squared_error if problem == "regression" else binary_cross_entropy)(logits, targets)

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        yield from super().named_parameters()
        yield "score.weight", self.score.weight
