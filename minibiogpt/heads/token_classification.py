"""BioGptForTokenClassification: one score per class at each position."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minibiogpt.backend import Array, ignore_overflow, on_backend
from minibiogpt.catalog.parameters import token_classification_shapes
from minibiogpt.heads.base import ModelWithHead
from minibiogpt.heads.losses import checked_class_labels, cross_entropy
from minibiogpt.model import inputs
from minibiogpt.model.layers import Linear, Weights, weights_under
from minibiogpt.model.outputs import TokenClassifierOutput
from minibiogpt.trace import Trace


class BioGptForTokenClassification(ModelWithHead):
    """BioGPT as a token classifier (named entities): one score per class at each position.

    Attributes
    ----------
    biogpt : the BioGptModel.
    classifier : the head, a Linear with bias, (labels, D).

    Source: BioGptForTokenClassification in transformers 4.57.
    """

    head = ("classifier.weight", "classifier.bias")

    def _make_head(self, weights: Weights) -> None:
        self.classifier = Linear(**weights_under(weights, "classifier"))

    shapes_of = staticmethod(token_classification_shapes)

    @ignore_overflow
    @on_backend
    @inputs.by_position(
        "input_ids", "token_type_ids", "attention_mask", "head_mask", "past_key_values", "inputs_embeds", "labels",
        "use_cache", "position_ids", "output_attentions", "output_hidden_states", "return_dict",
        two=("input_ids", "attention_mask"),  # nobody passes token types alone
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
        labels : (B, T) classes, or -100 (ignored); positions that attention_mask marks as padding are ignored too.
            The loss is the mean over the labels that are not ignored, in nats; NaN if there are none, as in PyTorch.

        Returns
        -------
        TokenClassifierOutput, or a tuple of its fields that are not None.
        """
        options = {"use_cache": False} | options  # the output has no field for a cache
        tap, options = self._make_tap(trace, options)
        base = self.biogpt(input_ids, attention_mask, return_dict=True, tap=tap.nested(), **options)
        tap.describe_call("token", {"labels": self.config.num_labels}, labels=labels)
        logits = tap("logits", self.classifier(base.last_hidden_state))  # (B, T, labels)
        loss = None if labels is None else tap("loss", self.backend.asarray(self._loss(logits, labels, attention_mask)))
        output = TokenClassifierOutput(loss, logits, base.hidden_states, base.attentions)
        tap.finish()
        return self._dict_or_tuple(output, return_dict)

    def _loss(self, logits: Array, labels: Any, attention_mask: Any) -> Array:
        """Return the loss (), from logits (B, T, labels) and labels (B, T)."""
        B, T, classes = logits.shape
        labels = checked_class_labels(
            inputs.as_backend_array("labels", labels, self.backend, "classes"), (B, T), classes, self.backend
        )
        if attention_mask is not None:
            real = self.backend.asarray(attention_mask)[:, -T:] != 0  # (B, T)
            labels = self.backend.xp.where(real.reshape(-1), labels, -100)
        return cross_entropy(logits.reshape(-1, classes), labels)

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        yield from super().named_parameters()
        yield "classifier.weight", self.classifier.weight
        yield "classifier.bias", self.classifier.bias
