"""BioGptForCausalLM: BioGPT as a language model, with next-token logits, loss, generation and scoring."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from minibiogpt import generation
from minibiogpt.backend import Array, backend_of, ignore_overflow, on_backend
from minibiogpt.catalog.parameters import causal_lm_shapes
from minibiogpt.checks import checked_integer, is_integer
from minibiogpt.errors import InputError
from minibiogpt.generation import GenerationConfig
from minibiogpt.heads import scoring
from minibiogpt.heads.base import ModelWithHead
from minibiogpt.heads.losses import checked_class_labels, cross_entropy
from minibiogpt.model import inputs
from minibiogpt.model.layers import Linear, Weights
from minibiogpt.model.outputs import CausalLMOutput
from minibiogpt.trace import Trace


class BioGptForCausalLM(ModelWithHead):
    """BioGPT as a language model: next-token logits at each position, their loss, and text generation.

    Attributes
    ----------
    biogpt : the BioGptModel.
    output_projection : the head, a Linear without bias. If tied, its weight is the same array as the token embedding.
    generation_config : the default options of ``generate``, from the folder's generation_config.json.

    Source: BioGptForCausalLM in transformers 4.57.
    """

    def _make_head(self, weights: Weights) -> None:
        self.generation_config = GenerationConfig.from_model_config(self.config)
        tied = self.config.tie_word_embeddings
        self.output_projection = Linear(weights["embed_tokens.weight" if tied else "output_projection.weight"])

    shapes_of = staticmethod(causal_lm_shapes)

    @ignore_overflow
    @on_backend
    @inputs.by_position(
        "input_ids", "attention_mask", "head_mask", "inputs_embeds", "past_key_values", "labels", "use_cache",
        "position_ids", "output_attentions", "output_hidden_states", "return_dict",
    )  # fmt: skip
    def __call__(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        *,
        labels: Any = None,
        logits_to_keep: Any = 0,
        return_dict: bool | None = None,
        trace: Trace | None = None,
        **options: Any,
    ) -> Any:
        """Run the model. All options of BioGptModel are accepted, and no argument is modified.

        Parameters
        ----------
        labels : (B, T) integers, ids or -100 (ignored). They are shifted here, so pass input_ids unshifted.
            The loss is the mean over the labels that are not ignored, in nats; NaN if all are, as in PyTorch.
        logits_to_keep : the number of last positions whose logits are computed, 0 for all, or the indices of those
            positions. The other logits are not returned. (In transformers 4.57 BioGPT ignores this argument, which
            other models have.)

        Returns
        -------
        CausalLMOutput, or a tuple of its fields that are not None.
        """
        tap, options = self._make_tap(trace, options)
        base = self.biogpt(input_ids, attention_mask, return_dict=True, tap=tap.nested(), **options)
        tap.describe_call("causal", labels=labels)
        hidden = _kept(base.last_hidden_state, logits_to_keep, labels)
        logits = tap("logits", self.output_projection(hidden))  # (B, T, V)
        loss = None if labels is None else tap("loss", self.backend.asarray(self._loss(logits, labels)))
        output = CausalLMOutput(loss, logits, base.past_key_values, base.hidden_states, base.attentions)
        tap.finish()
        return self._dict_or_tuple(output, return_dict)

    def _loss(self, logits: Array, labels: Any) -> Array:
        """Return the loss (), from logits (B, T, V) and labels (B, T): position t predicts label t + 1."""
        B, T, V = logits.shape
        labels = checked_class_labels(
            inputs.as_backend_array("labels", labels, self.backend, "ids"), (B, T), V, self.backend
        )
        return cross_entropy(logits[:, :-1].reshape(-1, V), labels.reshape(B, T)[:, 1:].reshape(-1))

    def _read_more(self, folder: Callable[[], Path]) -> None:
        """Read the folder's generation_config.json, if there is one."""
        path = folder()
        if (path / generation.GENERATION_CONFIG).is_file():
            self.generation_config = GenerationConfig.from_pretrained(path)

    def save_pretrained(self, folder: str | os.PathLike[str], **options: Any) -> None:
        """Save as every model does, and also generation_config.json."""
        super().save_pretrained(folder, **options)
        self.generation_config.save_pretrained(folder)

    @ignore_overflow
    @on_backend
    def generate(self, input_ids: Any = None, generation_config: Any = None, **options: Any) -> Any:
        """Continue each row of ``input_ids``; see ``minibiogpt.generation.generate`` for the options."""
        return generation.generate(self, input_ids, generation_config, **options)

    def compute_transition_scores(self, sequences: Array, scores: Any, *args: Any, **options: Any) -> Array:
        """Return the score of each generated token; see ``minibiogpt.generation.transition_scores``."""
        return generation.transition_scores(sequences, scores, *args, **options)

    @on_backend
    def score(self, input_ids: Any, attention_mask: Any = None, **options: Any) -> scoring.Scores:
        """Return ln p of each token given those before it; see ``minibiogpt.heads.scoring.score`` for the options."""
        return scoring.score(self, input_ids, attention_mask, **options)

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        yield from super().named_parameters()
        if self.output_projection.weight is not self.biogpt.embed_tokens.weight:
            yield "output_projection.weight", self.output_projection.weight


def _kept(hidden: Array, logits_to_keep: Any, labels: Any) -> Array:
    """Return the positions of ``hidden``, (B, T, D), whose logits are to be computed."""
    if is_integer(logits_to_keep) and logits_to_keep == 0:
        return hidden
    if labels is not None:
        raise InputError("the loss needs the logits of all positions", "logits_to_keep and labels", "leave one out")
    if is_integer(logits_to_keep):
        return hidden[:, -checked_integer("logits_to_keep", logits_to_keep, 0) :]
    T, backend = hidden.shape[1], backend_of(hidden)
    return hidden[:, inputs.as_integers("logits_to_keep", logits_to_keep, backend, -T, T, "(M)")]
