"""BioGptForCausalLM: the language model: logits of the next token, their loss, generation and scores."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any, Self

from minibiogpt import generation
from minibiogpt.backend import Array, ignore_overflow, report_full_memory
from minibiogpt.catalog.parameters import causal_lm_shapes
from minibiogpt.files.hub import find_model
from minibiogpt.generation import GenerationConfig
from minibiogpt.heads import scoring
from minibiogpt.heads.base import ModelWithHead
from minibiogpt.heads.losses import class_labels, cross_entropy
from minibiogpt.model import inputs
from minibiogpt.model.layers import Linear, Weights
from minibiogpt.model.outputs import CausalLMOutput
from minibiogpt.trace import Trace


class BioGptForCausalLM(ModelWithHead):
    """BioGPT as a language model: logits of the next token at each position, their loss, and text generation.

    Attributes
    ----------
    biogpt : the BioGptModel.
    output_projection : the head, a Linear without bias; tied, it holds the very array of the token embedding.
    generation_config : what ``generate`` does when it is not told otherwise: the folder's generation_config.json.

    Source: BioGptForCausalLM in transformers 4.57.
    """

    def _make_head(self, weights: Weights) -> None:
        self.generation_config = GenerationConfig.from_model_config(self.config)
        tied = self.config.tie_word_embeddings
        self.output_projection = Linear(weights["embed_tokens.weight" if tied else "output_projection.weight"])

    shapes_of = staticmethod(causal_lm_shapes)

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
        labels : (B, T) integers, ids or -100 (ignored). They are shifted here: hand over input_ids themselves.
            The loss is the mean over the labels that count, in nats; NaN when none does, as in PyTorch.

        Returns
        -------
        CausalLMOutput, or a tuple of its fields that are not None.
        """
        tap, options = self._watched(trace, options)
        base = self.biogpt(input_ids, attention_mask, return_dict=True, tap=tap.part(), **options)
        tap.describe_call("causal", labels=labels)
        logits = tap("logits", self.output_projection(base.last_hidden_state))  # (B, T, V)
        loss = None if labels is None else tap("loss", self.backend.asarray(self._loss(logits, labels)))
        output = CausalLMOutput(loss, logits, base.past_key_values, base.hidden_states, base.attentions)
        tap.finish()
        return self._returned(output, return_dict)

    def _loss(self, logits: Array, labels: Any) -> Array:
        """Position t predicts label t + 1: (B, T, V) and (B, T) give ()."""
        B, T, V = logits.shape
        labels = class_labels(inputs.as_array("labels", labels, self.backend, "ids"), (B, T), V, self.backend)
        return cross_entropy(logits[:, :-1].reshape(-1, V), labels.reshape(B, T)[:, 1:].reshape(-1))

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], *args: Any, **options: Any) -> Self:
        """As every model; and the folder's generation_config.json, if there is one."""
        folder = find_model(name)
        model = super().from_pretrained(folder, *args, **options)
        if (folder / generation.GENERATION_CONFIG).is_file():
            model.generation_config = GenerationConfig.from_pretrained(folder)
        return model

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """As every model; and generation_config.json."""
        super().save_pretrained(folder)
        self.generation_config.save_pretrained(folder)

    @ignore_overflow
    @report_full_memory
    def generate(self, input_ids: Any = None, **options: Any) -> Any:
        """Continue each row of ``input_ids``; see ``minibiogpt.generation.generate`` for the options."""
        return generation.generate(self, input_ids, **options)

    def compute_transition_scores(self, sequences: Array, scores: Any, *given: Any, **options: Any) -> Array:
        """What each new token scored when it was chosen; see ``minibiogpt.generation.transition_scores``."""
        return generation.transition_scores(sequences, scores, *given, **options)

    @report_full_memory
    def score(self, input_ids: Any, attention_mask: Any = None, **options: Any) -> scoring.Scores:
        """ln p of each token given those before it; see ``minibiogpt.heads.scoring.score`` for the options."""
        return scoring.score(self, input_ids, attention_mask, **options)

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        yield from super().named_parameters()
        if self.output_projection.weight is not self.biogpt.embed_tokens.weight:
            yield "output_projection.weight", self.output_projection.weight
