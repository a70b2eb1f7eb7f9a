"""What sits on top of the base model: the language-modelling and the two classification heads, and their losses."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Self

from minibiogpt import generation
from minibiogpt.backend import Array, Backend, unwarned, within_memory
from minibiogpt.checkpoint.weights import causal_lm_shapes, sequence_classification_shapes, token_classification_shapes
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import InputError
from minibiogpt.files.hub import find_model
from minibiogpt.generation import GenerationConfig
from minibiogpt.heads import scoring
from minibiogpt.model import BioGptModel, inputs
from minibiogpt.model.layers import Linear, Weights, below
from minibiogpt.model.ops import binary_cross_entropy, cross_entropy, mean_squared_error
from minibiogpt.model.outputs import CausalLMOutput, SequenceClassifierOutput, TokenClassifierOutput
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.trace import Tap, Trace
from minibiogpt.trace.edits import watching


class WithHead(Pretrained):
    """What the three heads share: the base model below them."""

    def __init__(
        self,
        config: BioGptConfig,
        weights: Weights,
        backend: str | Backend = "numpy",
        attn_implementation: str = "auto",
    ) -> None:
        self.biogpt = BioGptModel(config, weights, backend, attn_implementation)
        self.config, self.backend = config, self.biogpt.backend
        self._make_head(weights)

    @abstractmethod
    def _make_head(self, weights: Weights) -> None:
        """Take what belongs to the head from the weights."""

    @property
    def dtype(self) -> str:
        return self.biogpt.dtype

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """The base model's, each by its name with ``biogpt.`` in front."""
        return ((f"biogpt.{name}", x) for name, x in self.biogpt.named_parameters())

    def _watched(self, trace: Trace | None, options: dict[str, Any]) -> tuple[Tap, dict[str, Any]]:
        """The tap of this call, and the options that are left for the base model."""
        asked = {name: options.pop(name) for name in ("edits", "ablate", "patch_from") if name in options}
        return options.pop("tap", None) or watching(self.config, self.backend, trace, **asked), options

    def _returned(self, output: Any, return_dict: bool | None) -> Any:
        return output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()


class BioGptForCausalLM(WithHead):
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

    @unwarned
    @within_memory
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
        tap.tell("causal", labels=labels)
        logits = tap("logits", self.output_projection(base.last_hidden_state))  # (B, T, V)
        loss = None if labels is None else tap("loss", self.backend.asarray(self._loss(logits, labels)))
        output = CausalLMOutput(loss, logits, base.past_key_values, base.hidden_states, base.attentions)
        tap.finish()
        return self._returned(output, return_dict)

    def _loss(self, logits: Array, labels: Any) -> Array:
        """Position t predicts label t + 1: (B, T, V) and (B, T) give ()."""
        B, T, V = logits.shape
        labels = _classes(inputs.as_array("labels", labels, self.backend, "ids"), (B, T), V, self.backend)
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

    @unwarned
    @within_memory
    def generate(self, input_ids: Any = None, **options: Any) -> Any:
        """Continue each row of ``input_ids``; see ``minibiogpt.generation.generate`` for the options."""
        return generation.generate(self, input_ids, **options)

    def compute_transition_scores(self, sequences: Array, scores: Any, *given: Any, **options: Any) -> Array:
        """What each new token scored when it was chosen; see ``minibiogpt.generation.transition_scores``."""
        return generation.transition_scores(sequences, scores, *given, **options)

    @within_memory
    def score(self, input_ids: Any, attention_mask: Any = None, **options: Any) -> scoring.Scores:
        """ln p of each token given those before it; see ``minibiogpt.heads.scoring.score`` for the options."""
        return scoring.score(self, input_ids, attention_mask, **options)

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        yield from super().named_parameters()
        if self.output_projection.weight is not self.biogpt.embed_tokens.weight:
            yield "output_projection.weight", self.output_projection.weight


class BioGptForSequenceClassification(WithHead):
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

    @unwarned
    @within_memory
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
        tap.tell("sequence", {"labels": self.config.num_labels}, labels=labels)
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
        problem = self.config.problem_type or _problem_type(classes, labels)
        if problem == "single_label_classification":
            column = labels[:, 0] if labels.shape == (B, 1) else labels  # (B)
            return cross_entropy(logits, _classes(column, (B,), classes, self.backend))
        if labels.shape != (B, classes) and (classes, labels.shape) != (1, (B,)):
            must = f"labels of a {problem.replace('_', ' ')} must have the shape of the logits, ({B}, {classes})"
            raise InputError(must, f"shape {labels.shape}", "give each text one number a class")
        targets = labels.reshape(B, classes).astype(logits.dtype)
        return (mean_squared_error if problem == "regression" else binary_cross_entropy)(logits, targets)

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        yield from super().named_parameters()
        yield "score.weight", self.score.weight


class BioGptForTokenClassification(WithHead):
    """BioGPT as a classifier of tokens (named entities): one score a class at each position.

    Attributes
    ----------
    biogpt : the BioGptModel.
    classifier : the head, a Linear with bias, (labels, D).

    Source: BioGptForTokenClassification in transformers 4.57.
    """

    head = ("classifier.weight", "classifier.bias")

    def _make_head(self, weights: Weights) -> None:
        self.classifier = Linear(**below(weights, "classifier"))

    shapes_of = staticmethod(token_classification_shapes)

    @unwarned
    @within_memory
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
        labels : (B, T) classes, or -100 (ignored); what the attention_mask calls padding is ignored too. The loss is
            the mean over the labels that count, in nats; NaN when none does, as in PyTorch.

        Returns
        -------
        TokenClassifierOutput, or a tuple of its fields that are not None.
        """
        options = {"use_cache": False} | options  # no output carries it
        tap, options = self._watched(trace, options)
        base = self.biogpt(input_ids, attention_mask, return_dict=True, tap=tap.part(), **options)
        tap.tell("token", {"labels": self.config.num_labels}, labels=labels)
        logits = tap("logits", self.classifier(base.last_hidden_state))  # (B, T, labels)
        loss = None if labels is None else tap("loss", self.backend.asarray(self._loss(logits, labels, attention_mask)))
        output = TokenClassifierOutput(loss, logits, base.hidden_states, base.attentions)
        tap.finish()
        return self._returned(output, return_dict)

    def _loss(self, logits: Array, labels: Any, attention_mask: Any) -> Array:
        """(B, T, labels) and (B, T) give ()."""
        B, T, classes = logits.shape
        labels = _classes(inputs.as_array("labels", labels, self.backend, "classes"), (B, T), classes, self.backend)
        if attention_mask is not None:
            real = self.backend.asarray(attention_mask)[:, -T:] != 0  # (B, T)
            labels = self.backend.xp.where(real.reshape(-1), labels, -100)
        return cross_entropy(logits.reshape(-1, classes), labels)

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        yield from super().named_parameters()
        yield "classifier.weight", self.classifier.weight
        yield "classifier.bias", self.classifier.bias


def _problem_type(classes: int, labels: Array) -> str:
    """As transformers chooses it: int64 and int32 are single labels, every other dtype is several."""
    if classes == 1:
        return "regression"
    return "single_label_classification" if str(labels.dtype) in ("int64", "int32") else "multi_label_classification"


def _classes(labels: Array, shape: tuple[int, ...], classes: int, backend: Backend) -> Array:
    """One class or -100 for each of ``shape``, in one row of int64."""
    if labels.shape != shape:
        must = f"labels must have the shape {'of the tokens, ' if len(shape) == 2 else ''}{shape}"
        raise InputError(must, f"shape {labels.shape}", "give one number each, -100 where none is learned")
    labels = inputs.as_integers("labels", labels.reshape(1, -1), backend, -100, classes)[0]
    if bool(((labels < 0) & (labels != -100)).any()):
        raise InputError(f"labels must be -100 or in [0, {classes})", "others below 0", "use -100 to ignore a label")
    return labels
