"""text-classification: the classes of a text, with their scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minibiogpt.checks import checked_integer
from minibiogpt.errors import InputError, short_repr
from minibiogpt.heads.labelling import COMBINATIONS, class_scores, sigmoid
from minibiogpt.model.ops import softmax
from minibiogpt.pipelines.base import Pipeline, as_plain_texts, index_of, named
from minibiogpt.pipelines.encoding import TOKENIZER_OPTIONS, checked_tokenizer_options, encoded, window_settings

FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "none": np.asarray,
}


class TextClassificationPipeline(Pipeline):
    """The best class of each text, or all of them.

    A text may be a dict {"text": ..., "text_pair": ...}. The result of a text is {"label": ..., "score": ...}, or with
    ``top_k`` a list of them. As in transformers, a single string without ``top_k`` gives a list of one.

    Parameters
    ----------
    top_k : how many classes to return, the best first; None: all.
    function_to_apply : "softmax", "sigmoid" or "none"; by default none for a regression, sigmoid for a multi-label
        model or a single class, softmax otherwise.
    return_all_scores : the old name of ``top_k=None``; the classes are then in the order of their ids.
    truncation, padding, max_length, add_special_tokens : options of the tokenizer.
    window, stride, combine : how a text longer than ``window`` tokens (default: N) is split. Windows
        overlap by ``stride`` tokens (default: half a window); ``combine`` ("mean", "last", "max") joins their scores,
        see ``minibiogpt.heads.labelling.class_scores``.

    Source: TextClassificationPipeline in transformers 4.57, which cannot classify texts longer than N tokens.
    """

    names = ("top_k", "function_to_apply", "return_all_scores", *TOKENIZER_OPTIONS, "window", "stride", "combine")

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Run the pipeline; see the class for the options."""
        inputs = as_plain_texts(inputs)
        result = super().__call__(inputs, **options)
        return [result] if isinstance(inputs, str) and "top_k" not in options else result

    def _resolved(self, settings: dict[str, Any]) -> dict[str, Any]:
        name = settings.get("function_to_apply")
        if name is not None and not (isinstance(name, str) and name.lower() in FUNCTIONS):
            must = f"function_to_apply must be one of {', '.join(FUNCTIONS)}"
            raise InputError(must, short_repr(name), "leave it out to let the model's problem_type decide")
        combine = settings.get("combine", "mean")
        if combine not in COMBINATIONS:
            raise InputError(
                f"combine must be one of {', '.join(COMBINATIONS)}", short_repr(combine), "choose one of these"
            )
        settings["function"] = FUNCTIONS[self._default_function() if name is None else name.lower()]
        settings["form"] = self._form(settings)
        settings |= {"combine": combine, "tokenizer": checked_tokenizer_options(settings)}
        return settings | window_settings(self.model.config, settings)

    def _default_function(self) -> str:
        config = self.model.config
        if config.problem_type == "regression":
            return "none"
        many = config.problem_type == "multi_label_classification"
        return "sigmoid" if many or config.num_labels == 1 else "softmax"

    def _form(self, settings: dict[str, Any]) -> tuple[str, int | None]:
        """Return the form of a result, "best", "sorted" or "by class", and the number of classes in it."""
        if "top_k" in settings:
            k = settings["top_k"]
            return "sorted", None if k is None else checked_integer("top_k", k, 1)
        every = settings.get("return_all_scores")
        if every is not None:
            message = "return_all_scores is an old option: use top_k=None for all classes, 1 for one"
            self._warn_once("return_all_scores", message)
        return ("by class", None) if every else ("best", 1)

    def _is_single(self, inputs: Any, settings: dict[str, Any]) -> bool:
        return isinstance(inputs, str | dict)

    def _check_item(self, item: Any, index: int | None, settings: dict[str, Any]) -> None:
        if isinstance(item, dict):
            known = set(item) <= {"text", "text_pair"} and "text" in item
            if not known or not all(isinstance(part, str) for part in item.values()):
                must = f"{named(index)}, a dict, must have the strings 'text' and 'text_pair'"
                raise InputError(must, short_repr(item), 'pass {"text": ..., "text_pair": ...}, or a string')
        elif not isinstance(_as_pair(item), dict):
            super()._check_item(item, index, settings)

    def _not_a_text(self, item: Any, index: int | None) -> InputError:
        if isinstance(item, list | tuple):
            remedy = 'pass a pair of texts as {"text": ..., "text_pair": ...}'
            return InputError(f"{named(index)} must be a string or a dict", short_repr(item), remedy)
        return super()._not_a_text(item, index)

    def _results(self, items: list[Any], settings: dict[str, Any], first: int | None) -> list[Any]:
        N = self.model.config.max_position_embeddings
        rows = []
        for i, item in enumerate(map(_as_pair, items)):
            text, pair = (item["text"], item.get("text_pair")) if isinstance(item, dict) else (item, None)
            rows.append(encoded(self.tokenizer, text, pair, settings["tokenizer"], N, index_of(first, i)))
        options = {name: settings[name] for name in ("window", "stride", "combine")}
        scores = class_scores(self.model, rows, settings["function"], batch_size=settings.get("batch_size"), **options)
        return [self._result(row, *settings["form"]) for row in scores]

    def _result(self, scores: np.ndarray, form: str, top_k: int | None) -> Any:
        names = self.model.config.id2label
        if form == "best":
            return {"label": names[int(scores.argmax())], "score": float(scores.max())}
        order = np.argsort(-scores, kind="stable") if form == "sorted" else np.arange(scores.size)
        return [{"label": names[int(i)], "score": float(scores[i])} for i in order[:top_k]]


def _as_pair(item: Any) -> Any:
    """Return a text or a dict; ``[[text, pair]]``, the old form of a pair, becomes a dict."""
    if isinstance(item, list) and len(item) == 1 and isinstance(item[0], list) and len(item[0]) == 2:
        text, pair = item[0]
        return {"text": text, "text_pair": pair} if isinstance(text, str) and isinstance(pair, str) else item
    return item
