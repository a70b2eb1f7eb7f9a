"""What sits on top of the base model: the language-modelling head and its loss."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from minibiogpt import generation, inputs
from minibiogpt.backend import Array, Backend
from minibiogpt.checkpoint import causal_lm_shapes, load_weights, random_weights, save_weights
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.layers import Linear, Weights
from minibiogpt.model import BioGptModel, describe
from minibiogpt.ops import cross_entropy
from minibiogpt.outputs import CausalLMOutput
from minibiogpt.trace import Tap, Trace


class BioGptForCausalLM:
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
        tied = config.tie_word_embeddings
        self.output_projection = Linear(weights["embed_tokens.weight" if tied else "output_projection.weight"])

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        backend: str | Backend = "numpy",
        dtype: str = "float32",
        attn_implementation: str = "auto",
    ) -> BioGptForCausalLM:
        """Load "demo", a folder in Hugging Face layout, or a hub id.

        float16 and bfloat16 files are widened to ``dtype``; float32 weights on NumPy stay in the file, mapped
        copy-on-write: they are read when first used, and changing one changes no file.

        Raises
        ------
        CheckpointError
            Listing every tensor that is missing or misshapen, or naming what is wrong with a file.
        """
        config, weights = load_weights(name, causal_lm_shapes, backend, dtype)
        return cls(config, weights, backend, attn_implementation)

    @classmethod
    def from_config(
        cls,
        config: BioGptConfig,
        seed: int = 0,
        backend: str | Backend = "numpy",
        dtype: str = "float32",
        attn_implementation: str = "auto",
    ) -> BioGptForCausalLM:
        """A model of these sizes with random weights drawn from ``seed``, untrained."""
        weights = random_weights(config, causal_lm_shapes(config), seed, backend, dtype)
        return cls(config, weights, backend, attn_implementation)

    @property
    def config(self) -> BioGptConfig:
        return self.biogpt.config

    @property
    def backend(self) -> Backend:
        return self.biogpt.backend

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
        """(name, array) of every weight, by its name in a checkpoint; a tied head is not counted again."""
        for name, x in self.biogpt.named_parameters():
            yield f"biogpt.{name}", x
        if self.output_projection.weight is not self.biogpt.embed_tokens.weight:
            yield "output_projection.weight", self.output_projection.weight

    def num_parameters(self) -> int:
        """How many numbers the model learned."""
        return sum(x.size for _, x in self.named_parameters())

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json and model.safetensors into FOLDER as transformers reads them, each beside and renamed."""
        save_weights(folder, self.config, dict(self.named_parameters()), self.backend, "BioGptForCausalLM")

    def __repr__(self) -> str:
        return describe(self)
