"""What sits on top of the base model: the language-modelling head and its loss."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from minibiogpt import generation, inputs
from minibiogpt.backend import Array, Backend
from minibiogpt.checkpoint import causal_lm_shapes
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.layers import Linear, Weights
from minibiogpt.model import BioGptModel
from minibiogpt.ops import cross_entropy
from minibiogpt.outputs import CausalLMOutput
from minibiogpt.pretrained import Pretrained
from minibiogpt.trace import Tap, Trace


class BioGptForCausalLM(Pretrained):
    """BioGPT as a language model: logits of the next token at each position, their loss, and text generation.

    Attributes
    ----------
    biogpt : the BioGptModel.
    output_projection : the head, a Linear without bias; tied, it holds the very array of the token embedding.

    Source: BioGptForCausalLM in transformers 4.57.
    """

    def __init__(
        self,
        config: BioGptConfig,
        weights: Weights,
        backend: str | Backend = "numpy",
        attn_implementation: str = "auto",
    ) -> None:
        self.biogpt = BioGptModel(config, weights, backend, attn_implementation)
        self.config, self.backend = config, self.biogpt.backend
        tied = config.tie_word_embeddings
        self.output_projection = Linear(weights["embed_tokens.weight" if tied else "output_projection.weight"])

    shapes_of = staticmethod(causal_lm_shapes)

    @property
    def dtype(self) -> str:
        return self.biogpt.dtype

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
        base = self.biogpt(input_ids, attention_mask, return_dict=True, trace=trace, **options)
        tap = Tap(trace)
        logits = tap("logits", self.output_projection(base.last_hidden_state))  # (B, T, V)
        loss = None if labels is None else tap("loss", self._loss(logits, labels))
        output = CausalLMOutput(loss, logits, base.past_key_values, base.hidden_states, base.attentions)
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()

    def _loss(self, logits: Array, labels: Any) -> Array:
        """Position t predicts label t + 1: (B, T, V) and (B, T) give ()."""
        B, T, V = logits.shape
        labels = inputs.as_integers("labels", labels, self.backend, -100, V)
        if labels.shape != (B, T):
            must = f"labels must have the shape of the tokens, ({B}, {T})"
            raise InputError(must, f"shape {labels.shape}", "hand over input_ids, with -100 where nothing is learned")
        if bool(((labels < 0) & (labels != -100)).any()):
            raise InputError(f"labels must be -100 or in [0, {V})", "other negative ids", "use -100 to ignore a label")
        return cross_entropy(logits[:, :-1].reshape(-1, V), labels[:, 1:].reshape(-1))

    def generate(self, input_ids: Any = None, **options: Any) -> Array:
        """Continue each row of ``input_ids``; see ``minibiogpt.generation.generate`` for the options."""
        return generation.generate(self, input_ids, **options)

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        for name, x in self.biogpt.named_parameters():
            yield f"biogpt.{name}", x
        if self.output_projection.weight is not self.biogpt.embed_tokens.weight:
            yield "output_projection.weight", self.output_projection.weight
