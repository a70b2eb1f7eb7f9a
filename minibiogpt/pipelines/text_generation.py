"""text-generation: continuations of a text."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from minibiogpt.backend import Array
from minibiogpt.checks import checked_integer
from minibiogpt.errors import InputError, nearest, short_repr
from minibiogpt.generation import GenerationConfig, generate
from minibiogpt.generation.config import ids_as_tuple
from minibiogpt.idioms import no_option
from minibiogpt.model.batching import batches
from minibiogpt.pipelines.base import ADVICE, COMMON, Pipeline, index_of, named
from minibiogpt.pipelines.encoding import checked_kwargs, checked_tokenizer_options
from minibiogpt.pipelines.lengths import Limits
from minibiogpt.pipelines.seeds import next_seed

# The options of generate that do not belong to GenerationConfig, and that a pipeline does not set itself.
OF_GENERATE = set(inspect.signature(generate).parameters) - {"model", "input_ids", "attention_mask", "options"}


class TextGenerationPipeline(Pipeline):
    """Texts that continue a text. A call, like ``pipeline``, also takes the options of ``generate``.

    The result of a text is a list of ``num_return_sequences`` dicts {"generated_text": ...}, or with ``return_tensors``
    {"generated_token_ids": ...}. Unless they are given, do_sample is True, temperature 0.7, and at most 256 tokens are
    generated, or as many as fit into N positions; a ``max_length`` given here or by the model's generation config
    replaces the 256. Other defaults are those of the model. Greedy decoding and beam search give the same texts in a
    batch as one by one. Sampled texts depend on the seed and on ``batch_size``, which is 1 for them by default.

    Parameters
    ----------
    return_full_text : whether the result begins with the text itself (default True).
    return_tensors : return the ids of text and continuation instead; ``return_text=True`` is the default.
    clean_up_tokenization_spaces, skip_special_tokens : options of decoding, both True by default.
    prefix : a text to put in front, which is not part of the result.
    truncation, add_special_tokens : options of the tokenizer. max_length : of the tokenizer, if it truncates, and of
        ``generate``. tokenizer_encode_kwargs : a dict of options for the tokenizer alone.
    handle_long_generation : "hole": drop the beginning of a text that leaves no room for ``max_new_tokens``.
    stop_sequence : a text whose tokens each end the generation, instead of ``</s>``.
    seed : of the random draws, 0 or more; text i of a list takes ``seed + i``. Without it, see ``set_seed``.

    Source: TextGenerationPipeline in transformers 4.57, where the 256 new tokens take precedence over ``max_length``,
    and a batch needs a tokenizer that pads on the left.
    """

    names = (
        "return_full_text",
        "return_tensors",
        "return_text",
        "clean_up_tokenization_spaces",
        "skip_special_tokens",
        "prefix",
        "handle_long_generation",
        "stop_sequence",
        "truncation",
        "padding",
        "max_length",
        "add_special_tokens",
        "tokenizer_encode_kwargs",
        "seed",
    )
    chunk = 32

    def __call__(self, inputs: Any = None, **options: Any) -> Any:
        """Run the pipeline; see the class for the options. ``text_inputs`` is transformers' name of ``inputs``."""
        return super().__call__(options.pop("text_inputs", inputs), **options)

    @classmethod
    def known_options(cls) -> set[str]:
        return super().known_options() | OF_GENERATE | {"text_inputs", *vars(GenerationConfig())}

    def _check_names(self, names: Sequence[str]) -> None:
        known = {*self.names, *OF_GENERATE, *vars(self.model.generation_config)}
        for name in names:
            if name in ADVICE or (name not in known and nearest(name, self.names, 1)):
                raise no_option(f"the {self.task} pipeline", name, [*self.names, *COMMON], ADVICE)

    def _resolved(self, settings: dict[str, Any]) -> dict[str, Any]:
        found = {name: settings.get(name) for name in self.names}
        task_options = self._task_options()
        prefix = task_options.pop("prefix", None)
        found["prefix"] = prefix if found["prefix"] is None else found["prefix"]
        if found["handle_long_generation"] not in (None, "hole"):
            must = "handle_long_generation must be None or 'hole'"
            raise InputError(must, short_repr(found["handle_long_generation"]), "choose one of these")
        if found["prefix"] is not None and not isinstance(found["prefix"], str):
            raise InputError("prefix must be a string", short_repr(found["prefix"]), "leave it out")
        own: dict[str, Any] = {
            "form": _form(found),
            "prefix": found["prefix"] or "",
            "hole": found["handle_long_generation"] == "hole",
        }
        encode = checked_kwargs("tokenizer_encode_kwargs", found["tokenizer_encode_kwargs"])
        own["encode"] = checked_tokenizer_options({k: found[k] for k in ("truncation", "add_special_tokens")} | encode)
        if own["encode"].get("truncation") and "max_length" not in encode and found["max_length"] is not None:
            own["encode"]["max_length"] = found["max_length"]
        clean, skip = found["clean_up_tokenization_spaces"], found["skip_special_tokens"]
        own["decode"] = {"clean_up_tokenization_spaces": True if clean is None else clean}
        own["decode"]["skip_special_tokens"] = True if skip is None else skip
        dropped = {*self.names, *COMMON} - {"max_length"}
        options = task_options | {name: x for name, x in settings.items() if name not in dropped}
        own |= {name: settings.get(name) for name in ("batch_size", "progress")}
        return own | self._generation_options(options, found)

    def _task_options(self) -> dict[str, Any]:
        """Return the options that an old config.json sets for this task."""
        of_tasks = self.model.config.extra.get("task_specific_params")
        found = of_tasks.get(self.task) if isinstance(of_tasks, dict) else None
        return dict(found) if isinstance(found, dict) else {}

    def _generation_options(self, options: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
        """Return the options of generate under "generate", those of the length under "limits", and the seed."""
        base = options.get("generation_config")
        if not isinstance(base, GenerationConfig | None):
            remedy = "use GenerationConfig.from_dict, or pass its keys as options"
            raise InputError("generation_config must be a GenerationConfig", type(base).__name__, remedy)
        if options.get("do_sample") is None:
            options = {name: x for name, x in options.items() if name != "do_sample"}
        if base is None:
            options.setdefault("do_sample", True)
            if options["do_sample"]:
                options.setdefault("temperature", 0.7)
        stop = found["stop_sequence"]
        if stop is not None:
            ids = self.tokenizer.encode(stop, add_special_tokens=False)
            if not ids:
                raise InputError("stop_sequence must have a token", short_repr(stop), "leave it out")
            if len(ids) > 1:
                what = f"each of the {len(ids)} tokens of stop_sequence ends the text, as in transformers"
                self._warn_once("stop_sequence", f"{what}; use stop_strings=[...] to end it at the whole text")
            options["eos_token_id"] = ids
        prefix = found["prefix"] or ""
        extra = (
            len(self.tokenizer.encode(prefix, add_special_tokens=bool(found["add_special_tokens"]))) if prefix else 0
        )
        config = self.model.generation_config if base is None else base.over(self.model.generation_config)
        limits = Limits.of(options, config, extra, self.model.config.max_position_embeddings, base is None)
        options = {name: x for name, x in options.items() if name not in Limits.names}
        resolved = config.updated({name: x for name, x in options.items() if name not in OF_GENERATE})
        seed = None if found["seed"] is None else checked_integer("seed", found["seed"], 0)
        options = {"tokenizer": self.tokenizer, **options, "return_dict_in_generate": False}
        return {"generate": options, "config": resolved, "limits": limits, "seed": seed}

    def _check_item(self, item: Any, index: int | None, settings: dict[str, Any]) -> None:
        chat = item[0] if isinstance(item, list | tuple) and item else item
        if isinstance(chat, dict) and {"role", "content"} & set(chat):
            must = "the prompt must be a text: BioGPT has no chat template"
            raise InputError(must, "chat messages", "pass the content of the message")
        super()._check_item(item, index, settings)
        settings["limits"].for_prompt(len(self._prompt(item, settings, index)), named(index))

    def _results(self, items: list[str], settings: dict[str, Any], first: int | None) -> list[Any]:
        prompts = [self._prompt(text, settings, index_of(first, i)) for i, text in enumerate(items)]
        limits = [settings["limits"].for_prompt(len(row), named(index_of(first, i))) for i, row in enumerate(prompts)]
        if settings["seed"] is None:  # one for the whole call, whose chunks share these settings
            settings["seed"] = next_seed() if settings["config"].do_sample else 0
        results: list[list[list[int]]] = [[] for _ in items]
        for batch in _batches([len(row) for row in prompts], limits, settings):
            seed = settings["seed"] + (first or 0) + batch[0]
            options = settings["generate"] | dict(
                zip(("max_new_tokens", "min_new_tokens"), limits[batch[0]], strict=True)
            )
            show = {"progress": False} if first is not None else {"progress": settings["progress"]}
            rows = self._generated([prompts[i] for i in batch], options | {"seed": seed} | show, settings["config"])
            for i, found in zip(batch, rows, strict=True):
                results[i] = found
        return [
            [self._record(text, row, ids, settings) for ids in found]
            for text, row, found in zip(items, prompts, results, strict=True)
        ]

    def _prompt(self, text: str, settings: dict[str, Any], index: int | None) -> list[int]:
        """Return the ids of the prompt; for "hole", the last ones that leave room."""
        N, options = self.model.config.max_position_embeddings, dict(settings["encode"])
        known = min(self.tokenizer.model_max_length, N)
        if options.get("truncation"):
            options.setdefault("max_length", known)
        row = self.tokenizer.encode(settings["prefix"] + text, **options)
        return settings["limits"].with_hole(row, known, named(index)) if settings["hole"] else row

    def _generated(self, prompts: list[list[int]], options: dict[str, Any], config: Any) -> list[list[list[int]]]:
        """Return the rows of ids of each prompt, without padding: what each prompt alone would give."""
        if not prompts[0]:  # an empty prompt: generation starts from bos_token_id
            prompt, ids = np.zeros((1, 0), dtype=np.int64), self.model.generate(**options)
        else:
            prompt, mask = _left_padded(prompts, config.pad_token_id or 0)
            ids = self.model.generate(prompt, attention_mask=mask, **options)
        rows, lengths = self.model.backend.to_numpy(ids), [len(row) for row in prompts]
        stops = config.stop_strings is not None or options.get("stopping_criteria")
        return _without_padding(rows, lengths, prompt.shape[1], config, config.pad_token_id if stops else None)

    def _record(self, text: str, prompt: list[int], ids: list[int], settings: dict[str, Any]) -> dict[str, Any]:
        """Return one continuation; as in transformers, the prompt's text is cut off by its length when decoded."""
        if settings["form"] == "ids":
            return {"generated_token_ids": ids}
        decode = settings["decode"]
        start = len(self.tokenizer.decode(prompt, **decode)) if prompt else 0
        new = self.tokenizer.decode(ids, **decode)[start:]
        return {"generated_text": text + new if settings["form"] == "full text" else new}


def _form(found: dict[str, Any]) -> str:
    """Return the form of the result. As in transformers, two options that choose it exclude each other."""
    given = [name for name in ("return_full_text", "return_text", "return_tensors") if found[name] is not None]
    if len(given) > 1:
        must = "one of return_full_text, return_text and return_tensors may be given"
        raise InputError(must, " and ".join(given), "leave the others out")
    if found["return_tensors"]:
        return "ids"
    return "new text" if found["return_full_text"] is False else "full text"


def _batches(lengths: list[int], limits: list[tuple[int, int | None]], settings: dict[str, Any]) -> list[list[int]]:
    """Group prompts that may be generated together: those with the same limits, and one by one if they are sampled."""
    size = settings["batch_size"]
    alone = settings["config"].do_sample or settings["generate"].get("streamer") is not None
    groups: dict[tuple[Any, bool], list[int]] = {}
    for i, n in enumerate(lengths):
        groups.setdefault((limits[i], n == 0), []).append(i)
    found = []
    for (_, empty), group in groups.items():
        if size is None and not alone and not empty:
            found += [[group[i] for i in batch] for batch in batches([lengths[i] for i in group])]
        else:
            order = group if alone else sorted(group, key=lambda i: (-lengths[i], i))
            step = 1 if empty else size or 1
            found += [order[start : start + step] for start in range(0, len(order), step)]
    return found


def _left_padded(rows: list[list[int]], pad: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ids and mask, (B, T) int64, padded on the left, whatever the tokenizer's padding side."""
    width = max(len(row) for row in rows)
    ids = np.array([[pad] * (width - len(row)) + row for row in rows], dtype=np.int64)
    mask = np.array([[0] * (width - len(row)) + [1] * len(row) for row in rows], dtype=np.int64)
    return ids, mask


def _without_padding(
    rows: Array, lengths: list[int], width: int, config: Any, pad: int | None
) -> list[list[list[int]]]:
    """Return the rows of each prompt without its padding on the left, and up to the end of the longest of them.

    ``pad`` fills rows that ended without an end token; None if there are none, so that a pad is a generated token.
    """
    per_prompt, eos = len(rows) // len(lengths), ids_as_tuple(config.eos_token_id)
    found = []
    for b, n in enumerate(lengths):
        mine = [row.tolist() for row in rows[b * per_prompt : (b + 1) * per_prompt]]
        end = max(_end(row, width if n else 1, eos, pad) for row in mine)
        found.append([row[width - n : end] for row in mine])
    return found


def _end(row: list[int], start: int, eos: Sequence[int], pad: int | None) -> int:
    """Return where a row ends: after its first end token, or before the padding at its end."""
    for t in range(start, len(row)):
        if row[t] in eos:
            return t + 1
    end = len(row)
    while end > start and pad is not None and row[end - 1] == pad:
        end -= 1
    return end
