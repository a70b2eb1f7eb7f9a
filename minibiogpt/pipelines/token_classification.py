"""token-classification: the labels of the tokens of a text, or the entities that they add up to."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from minibiogpt.errors import InputError, short_repr
from minibiogpt.heads.labelling import token_probabilities
from minibiogpt.heads.words import analyse_words, word_ids, word_starts
from minibiogpt.pipelines.aggregation import STRATEGIES, Token, aggregated
from minibiogpt.pipelines.base import Pipeline, as_plain_texts, index_of, named
from minibiogpt.pipelines.encoding import checked_tokenizer_options, window_settings
from minibiogpt.tokenizer import Piece


class TokenClassificationPipeline(Pipeline):
    """The labels of tokens, or entities with their places in the text.

    The result of a text is a list of dicts: "entity", "score", "index", "word", "start", "end" for tokens,
    "entity_group", "score", "word", "start", "end" for entities.

    Parameters
    ----------
    aggregation_strategy : "none" (default): each token whose label is not ignored; "simple": join tokens of one
        entity; "first", "average", "max": give each word one label first, see ``minibiogpt.heads.tagging.word_label``.
    ignore_labels : labels to leave out, by default ["O"].
    is_split_into_words, delimiter : the text is a list of words, which are encoded one by one; places are those
        in ``delimiter.join(words)`` (default " ").
    truncation, max_length : truncate the texts, by default not at all.
    window, stride : a text longer than ``window`` tokens (default: N) is labeled in windows that overlap by
        ``stride`` tokens (default: half a window). A token has the label of the first window that contains it.
    grouped_entities, ignore_subwords : old names of strategies: both True is "first", the first alone "simple".

    Source: TokenClassificationPipeline in transformers 4.57, as it works with a fast tokenizer. With its tokenizer for
    BioGPT, a slow one, it has no places, no strategies for words and no stride, and truncates texts. Words end at the
    tokenizer's end-of-word mark, so an unknown character does not end a word.
    """

    names = (
        "aggregation_strategy",
        "ignore_labels",
        "is_split_into_words",
        "delimiter",
        "truncation",
        "max_length",
        "padding",
        "window",
        "stride",
        "grouped_entities",
        "ignore_subwords",
    )

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Run the pipeline; see the class for the options. A single list of words gives a list of one result."""
        inputs = as_plain_texts(inputs)
        result = super().__call__(inputs, **options)
        split = {**self.options, **options}.get("is_split_into_words") and isinstance(inputs, list | tuple)
        return [result] if split and inputs and not isinstance(inputs[0], list | tuple) else result

    def _resolved(self, settings: dict[str, Any]) -> dict[str, Any]:
        strategy = self._old_strategy(settings) or settings.get("aggregation_strategy") or "none"
        strategy = str(getattr(strategy, "value", strategy)).lower()  # transformers' enumeration has values
        if strategy not in STRATEGIES:
            must = f"aggregation_strategy must be one of {', '.join(STRATEGIES)}"
            raise InputError(must, short_repr(settings["aggregation_strategy"]), "choose one of these")
        ignored = settings.get("ignore_labels")
        ignored = ["O"] if ignored is None else ignored
        if isinstance(ignored, str) or not all(isinstance(label, str) for label in ignored):
            raise InputError("ignore_labels must be a list of labels", short_repr(ignored), 'write ["O"]')
        delimiter = settings.get("delimiter")
        delimiter = " " if delimiter is None else delimiter
        if not isinstance(delimiter, str):
            raise InputError("delimiter must be a string", short_repr(delimiter), 'leave it out for " "')
        options = checked_tokenizer_options(settings)
        N = self.model.config.max_position_embeddings
        limit = options.get("max_length", min(self.tokenizer.model_max_length, N))
        cuts = options.get("truncation", "max_length" in options) not in (False, "do_not_truncate")
        settings |= {"strategy": strategy, "ignored": set(ignored), "delimiter": delimiter}
        return settings | {"limit": limit if cuts else None} | window_settings(self.model.config, settings)

    def _old_strategy(self, settings: dict[str, Any]) -> str | None:
        grouped, whole_words = settings.get("grouped_entities"), settings.get("ignore_subwords")
        if grouped is None and whole_words is None:
            return None
        strategy = ("first" if whole_words else "simple") if grouped else "none"
        found = "grouped_entities and ignore_subwords are old options"
        self._warn_once("grouped_entities", f"{found}: use aggregation_strategy={strategy!r}")
        return strategy

    def _is_single(self, inputs: Any, settings: dict[str, Any]) -> bool:
        if settings.get("is_split_into_words"):
            return isinstance(inputs, list | tuple) and bool(inputs) and all(isinstance(word, str) for word in inputs)
        return isinstance(inputs, str)

    def _check_item(self, item: Any, index: int | None, settings: dict[str, Any]) -> None:
        if not settings.get("is_split_into_words"):
            super()._check_item(item, index, settings)
        elif not (isinstance(item, list | tuple) and all(isinstance(word, str) for word in item)):
            must = f"with is_split_into_words, {named(index)} must be a list of words"
            raise InputError(must, short_repr(item), "split it, or leave is_split_into_words out")

    def _not_a_text(self, item: Any, index: int | None) -> InputError:
        if isinstance(item, list | tuple):
            remedy = "join its words, or pass is_split_into_words=True"
            return InputError(f"{named(index)} must be a string", short_repr(item), remedy)
        return super()._not_a_text(item, index)

    def _results(self, items: list[Any], settings: dict[str, Any], first: int | None) -> list[Any]:
        tok = self.tokenizer
        analysed, limit = [], settings["limit"]
        for i, item in enumerate(items):
            starts = None if isinstance(item, str) else word_starts(item, settings["delimiter"])
            pieces = tok.analyse(item) if starts is None else analyse_words(tok, item, delimiter=settings["delimiter"])
            if limit is not None and len(pieces) >= limit:
                if settings.get("truncation") is None:
                    what = f"{named(index_of(first, i))} has {len(pieces) + 1} tokens"
                    warnings.warn(f"{what} and is truncated to max_length {limit}", stacklevel=2)
                pieces = pieces[: max(limit - 1, 0)]
            text = item if isinstance(item, str) else settings["delimiter"].join(item)
            analysed.append((text, pieces, word_ids(tok, pieces, starts)))
        rows = [[tok.sep_token_id, *(piece.id for piece in pieces)] for _, pieces, _ in analysed]
        options = {name: settings[name] for name in ("window", "stride")}
        found = token_probabilities(self.model, rows, batch_size=settings.get("batch_size"), **options)
        return [self._result(*one, p[1:], settings) for one, p in zip(analysed, found, strict=True)]

    def _result(
        self, text: str, pieces: Sequence[Piece], words: Sequence[int], p: np.ndarray, settings: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """Return the result of one text, from its pieces and the probabilities (T, labels) of their labels."""
        names = self.model.config.id2label
        if settings["strategy"] == "none":
            found = [self._token(text, piece, i + 1, p[i], names) for i, piece in enumerate(pieces)]
            return [token for token in found if token["entity"] not in settings["ignored"]]
        tokens = [Token(piece, word, row) for piece, word, row in zip(pieces, words, p, strict=True)]
        groups = aggregated(tokens, names, settings["strategy"], self._text_of)
        return [group for group in groups if group["entity_group"] not in settings["ignored"]]

    def _token(self, text: str, piece: Piece, index: int, p: np.ndarray, names: dict[int, str]) -> dict[str, Any]:
        best, (start, end) = int(p.argmax()), piece.span
        word = text[start:end] if piece.id == self.tokenizer.unk_token_id else piece.piece
        fields = {"entity": names[best], "score": float(p[best]), "index": index, "word": word}
        return fields | {"start": start, "end": end}

    def _text_of(self, pieces: list[Piece]) -> str:
        return self.tokenizer.convert_tokens_to_string([piece.piece for piece in pieces])
