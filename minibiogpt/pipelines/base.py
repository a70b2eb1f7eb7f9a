"""What all pipelines have in common: options, lists and iterators of texts, errors that name the text, progress."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

from minibiogpt.backend import Device, device_of
from minibiogpt.checks import checked_folder, checked_integer, plain
from minibiogpt.errors import InputError, short_repr
from minibiogpt.generation.options.warning import warn_caller
from minibiogpt.idioms import no_attribute, no_option
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.progress import errors_on_terminal, progress_bar
from minibiogpt.tokenizer import BioGptTokenizer

PROGRESS_BAR_ABOVE = 50  # texts
COMMON = ("batch_size", "progress", "num_workers")
ADVICE = {
    "feature_extractor": "leave it out: only texts are supported",
    "image_processor": "leave it out: only texts are supported",
    "processor": "leave it out: only texts are supported",
    "pipeline_class": "leave it out: the task chooses the class",
    "binary_output": "leave it out, and pickle the result",
    "offset_mapping": "leave it out: the tokenizer knows the offsets",
    "return_dict_in_generate": "call model.generate for scores, logits and the cache",
    "output_scores": "call model.generate, which returns scores",
    "output_logits": "call model.generate, which returns logits",
    "return_type": "use return_full_text or return_tensors",
    "continue_final_message": "leave it out: BioGPT has no chat template",
    "input_ids": "call model.generate, or pass the text",
    "attention_mask": "leave it out: the pipeline pads",
    **dict.fromkeys(("generate_kwargs", "generation_kwargs"), "pass the options themselves, such as max_new_tokens=20"),
    **dict.fromkeys(("forward_params", "preprocess_params", "postprocess_params"), "pass the options themselves"),
    **dict.fromkeys(("tokenizer_kwargs", "config_kwargs"), "pass the object itself, loaded with those options"),
    "args_parser": "leave it out: no arguments are parsed",
    "chat_template": "leave it out: BioGPT has no chat template",
    "modelcard": "leave it out: read the README.md of the checkpoint",
    **dict.fromkeys(("lang", "src_lang", "tgt_lang"), "leave it out: BioGPT has one language, English"),
}
ATTRIBUTES = {
    "framework": "the arrays are those of .model.backend",
    "modelcard": "read the README.md of the checkpoint",
    "feature_extractor": "only texts are supported",
    "push_to_hub": "write the files with save_pretrained, then upload the folder",
    "ensure_tensor_on_device": "arrays are made on .device",
    "generation_config": "pass its options to the pipeline or to a call, or change .model.generation_config",
    "predict": "call the pipeline itself",
    "transform": "call the pipeline itself",
    "preprocess": "call .tokenizer",
    "forward": "call .model",
    "postprocess": "call the pipeline itself",
    "torch_dtype": "write .dtype",
    "prefix": "pass prefix=... to the pipeline or to a call; it is in .options",
    "assistant_model": "leave it out: it only changes the speed",
    "assistant_tokenizer": "leave it out: it only changes the speed",
    "image_processor": "only texts are supported",
    "processor": "only texts are supported",
    "binary_output": "pickle the result",
    "call_count": "count the calls yourself",
    "check_model_type": "read .model, whose class is that of the task",
    "default_input_names": "read the names of the parameters of a call",
    "device_placement": "arrays are made on .device",
    "get_inference_context": "nothing computes gradients",
    **dict.fromkeys(("run_single", "run_multi", "iterate", "get_iterator"), "call the pipeline itself"),
    "XL_PREFIX": "pass prefix=...",
    "config": "write .model.config",
}


class Pipeline(ABC):
    """A model and its tokenizer, called with texts.

    Attributes
    ----------
    task : the name that the pipeline was made with. model, tokenizer : what it runs.
    options : the options of every call, unless the call sets them: those given to ``pipeline``.
    """

    model: Any
    names: ClassVar[tuple[str, ...]] = ()  # the options of the task
    advice: ClassVar[Mapping[str, str]] = {}  # what to write instead of other options
    chunk: ClassVar[int] = 256  # texts that are sorted by length together

    def __init__(self, task: str, model: Pretrained, tokenizer: BioGptTokenizer, options: Mapping[str, Any]) -> None:
        self.task, self.model, self.tokenizer, self.options = task, model, tokenizer, dict(options)
        self._warned: set[str] = set()
        self._settings({})

    @property
    def device(self) -> Device:
        """The device that the model computes on, "cpu" or "cuda:0"."""
        return device_of(self.model.backend)

    @property
    def dtype(self) -> str:
        """The dtype of the model's weights and computation."""
        return self.model.dtype

    def __call__(self, inputs: Any, **options: Any) -> Any:
        """Run the pipeline.

        Parameters
        ----------
        inputs : a text, a list, array or column of texts, or an iterator, generator or dataset of texts.
        batch_size : the largest number of texts in a forward pass; by default as many as fit into a batch of 512
            tokens. It changes the speed, not the result (except of texts that are sampled).
        progress : whether to show a progress bar on stderr; None: on a terminal, for more than 50 texts.
        num_workers : accepted because transformers has it, without effect.

        Returns
        -------
        The result of one text; for a list, the list of their results, in order; for an iterator or a dataset, an
        iterator over the results. It reads ``batch_size`` texts (default 1) before it computes them.

        Raises
        ------
        InputError
            If an option is unknown or invalid, or a text cannot be used; the error gives its index in the list.
        """
        settings = self._settings(options)
        inputs = as_plain_texts(inputs)
        if self._is_single(inputs, settings):
            return self._checked_results([inputs], settings, None)[0]
        if isinstance(inputs, list | tuple):
            return self._whole_list(list(inputs), settings)
        if _is_stream(inputs):
            return self._stream(inputs, settings)
        self._check_item(inputs, None, settings)
        raise self._not_a_text(inputs, None)

    def _whole_list(self, items: list[Any], settings: dict[str, Any]) -> list[Any]:
        """Return the results of a list, computed chunk by chunk. All of it is checked first."""
        for i, item in enumerate(items):
            self._check_item(item, i, settings)
        results: list[Any] = []
        with _progress_bar(settings.get("progress"), len(items)) as bar:
            for start in range(0, len(items), self.chunk):
                results += self._results(items[start : start + self.chunk], settings, start)
                bar.update(len(results) - start)
        return results

    def _stream(self, inputs: Any, settings: dict[str, Any]) -> Iterator[Any]:
        """Yield the results of an iterator, which may be endless, or of a dataset."""
        size, done = settings.get("batch_size") or 1, 0
        source = iter(inputs) if isinstance(inputs, Iterable) else (inputs[i] for i in range(len(inputs)))
        while items := list(islice(source, size)):
            for i, item in enumerate(items):
                self._check_item(item, done + i, settings)
            yield from self._results(items, settings, done)
            done += len(items)

    def _checked_results(self, items: list[Any], settings: dict[str, Any], first: int | None) -> list[Any]:
        for item in items:
            self._check_item(item, first, settings)
        return self._results(items, settings, first)

    def _settings(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Return the options of a call over those of the pipeline, all checked."""
        given = {**self.options, **options}
        settings = {name: x for name, x in given.items() if not (name in ADVICE and (x is None or x is False))}
        if settings.get("batch_size") is not None:
            checked_integer("batch_size", settings["batch_size"], 1)
        self._check_names([name for name in settings if name not in COMMON])
        return self._resolved(settings)

    def _warn_once(self, option: str, message: str) -> None:
        """Warn the caller about an option once, not in every call of a pipeline that was made with it."""
        if option not in self._warned:
            self._warned.add(option)
            warn_caller(message)

    @classmethod
    def known_options(cls) -> set[str]:
        """Return the names of the options that calls of this pipeline take."""
        return {*cls.names, *COMMON}

    def _check_names(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.names:
                raise no_option(f"the {self.task} pipeline", name, self.known_options(), {**ADVICE, **self.advice})

    def _is_single(self, inputs: Any, settings: dict[str, Any]) -> bool:
        """Return whether the input is one text rather than several."""
        return isinstance(inputs, str)

    def _check_item(self, item: Any, index: int | None, settings: dict[str, Any]) -> None:
        if not isinstance(item, str):
            raise self._not_a_text(item, index)

    def _not_a_text(self, item: Any, index: int | None) -> InputError:
        remedy = "decode bytes, drop None, and convert numbers" if index is not None else "pass one text, or a list"
        return InputError(f"{named(index)} must be a string", short_repr(item), remedy)

    @abstractmethod
    def _resolved(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the options after checking them; ``settings`` has only those that were given."""

    @abstractmethod
    def _results(self, items: list[Any], settings: dict[str, Any], first: int | None) -> list[Any]:
        """Return the result of each item. ``first`` is the index of the first one, None if there is only one."""

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the model and the tokenizer to a folder that both libraries read."""
        checked_folder("folder", folder)
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def __getattr__(self, name: str) -> Any:
        raise no_attribute(self, name, ATTRIBUTES)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.task!r} of {self.model!r}>"


def as_plain_texts(inputs: Any) -> Any:
    """Return an array or a column of a table as a list; anything else, a dataset too, as it is."""
    return plain(inputs) if not isinstance(inputs, list | tuple) else inputs


def named(index: int | None) -> str:
    """Return what errors call a text.

    Examples
    --------
    >>> named(None), named(2)
    ('the text', 'text 2 of the list')
    """
    return "the text" if index is None else f"text {index} of the list"


def index_of(first: int | None, i: int) -> int | None:
    """Return the index of the i-th item of a chunk, None for a single text."""
    return None if first is None else first + i


def _is_stream(inputs: Any) -> bool:
    """Return whether the input is an iterator, or a dataset, which has a length and items."""
    if isinstance(inputs, str | bytes | bytearray | Mapping):
        return False
    return isinstance(inputs, Iterable) or (hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__"))


def _progress_bar(progress: bool | None, count: int) -> Any:
    """Return a progress bar on stderr, disabled if it should not be shown."""
    show = errors_on_terminal() and count > PROGRESS_BAR_ABOVE if progress is None else progress
    return progress_bar(show, total=count, unit="text")
