"""feature-extraction: the hidden state of each token."""

from __future__ import annotations

from typing import Any, ClassVar

from minibiogpt.errors import InputError
from minibiogpt.heads.labelling import hidden_states
from minibiogpt.pipelines.base import Pipeline, index_of
from minibiogpt.pipelines.encoding import (
    TOKENIZER_OPTIONS,
    checked_kwargs,
    checked_tokenizer_options,
    encoded,
    window_settings,
)


class FeatureExtractionPipeline(Pipeline):
    """The states after the final norm, one for each token (``</s>`` first).

    The result of a text is a nested list (1, T, D). A text longer than N tokens is processed in windows; the state of a
    token comes from the first one that contains it.

    Parameters
    ----------
    truncation : whether to truncate the texts. tokenize_kwargs : a dict of options of the tokenizer.
    return_tensors : return arrays of the model's backend instead of lists.
    window, stride : as in TokenClassificationPipeline.

    Source: FeatureExtractionPipeline in transformers 4.57; for a model with a head it returns the logits.
    """

    advice: ClassVar = {
        name: f"write tokenize_kwargs={{{name!r}: ...}}" for name in TOKENIZER_OPTIONS if name != "truncation"
    }
    names = ("truncation", "tokenize_kwargs", "return_tensors", "window", "stride")

    def _resolved(self, settings: dict[str, Any]) -> dict[str, Any]:
        options = checked_kwargs("tokenize_kwargs", settings.get("tokenize_kwargs"))
        if settings.get("truncation") is not None and "truncation" in options:
            must = "truncation must be given once"
            raise InputError(must, "truncation, and tokenize_kwargs with truncation", "leave one out")
        if options.get("padding") == "max_length":
            must = "the result has one state for each token, so padding cannot be 'max_length'"
            raise InputError(must, "padding='max_length'", "leave it out")
        options |= {"truncation": settings["truncation"]} if settings.get("truncation") is not None else {}
        return (
            settings | {"tokenizer": checked_tokenizer_options(options)} | window_settings(self.model.config, settings)
        )

    def _results(self, items: list[str], settings: dict[str, Any], first: int | None) -> list[Any]:
        N = self.model.config.max_position_embeddings
        rows = []
        for i, text in enumerate(items):
            rows.append(encoded(self.tokenizer, text, None, settings["tokenizer"], N, index_of(first, i)))
        model = getattr(self.model, "biogpt", self.model)
        options = {name: settings[name] for name in ("window", "stride")}
        states = hidden_states(model, rows, batch_size=settings.get("batch_size"), **options)
        if settings.get("return_tensors"):
            return [self.model.backend.asarray(one[None]) for one in states]
        return [one[None].astype("float64").tolist() for one in states]
