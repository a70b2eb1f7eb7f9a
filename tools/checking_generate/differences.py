"""The documented differences from transformers' generate: what, why, and a case that shows each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from minibiogpt import InputError
from minibiogpt.generation.options.valid import SAMPLING_OPTIONS
from tools.checking_generate import both
from tools.checking_generate.both import Case, N


@dataclass(frozen=True)
class Difference:
    """One deliberate difference.

    Attributes
    ----------
    reason : what happens here, what happens in transformers, and why.
    applies : (case, our output or error, theirs) -> whether it explains that these differ.
    example : a case in which they do.
    """

    reason: str
    applies: Callable[[Case, Any, Any], bool]
    example: Case


def _refused_here(*texts: str) -> Callable[[Case, Any, Any], bool]:
    """Return whether only minibiogpt refuses, with an error that holds one of the texts."""

    def applies(case: Case, mine: Any, other: Any) -> bool:
        only_here = isinstance(mine, InputError) and not isinstance(other, Exception)
        return only_here and any(text in str(mine) for text in texts)

    return applies


def _refused_there(*texts: str) -> Callable[[Case, Any, Any], bool]:
    """Return whether only transformers refuses, with an error that holds one of the texts."""

    def applies(case: Case, mine: Any, other: Any) -> bool:
        only_there = isinstance(other, Exception) and not isinstance(mine, Exception)
        return only_there and any(text in str(other) for text in texts)

    return applies


def _reaches_the_end(case: Case, mine: Any, other: Any) -> bool:
    lengths = [case.options.get(name) for name in ("max_new_tokens", "max_length")]
    embeds = case.inputs.get("inputs_embeds")
    positions = len(case.inputs["input_ids"][0]) if "input_ids" in case.inputs else embeds[2] if embeds else 1
    return lengths == [None, None] and positions + 20 > N and not isinstance(mine, Exception)


def _decay_overflows(case: Case, mine: Any, other: Any) -> bool:
    if case.options.get("exponential_decay_length_penalty") is None or isinstance(mine, Exception):
        return False
    options = case.options | {"return_dict_in_generate": True, "output_scores": True}
    again = dataclasses.replace(case, options=options, in_config=())
    out = both.theirs(again, both.ours(again)[1])
    return isinstance(out, Exception) or any(bool((torch.isnan(step) | (step > 1e30)).any()) for step in out.scores)


def _fills_with_the_end(case: Case, mine: Any, other: Any) -> bool:
    if isinstance(mine, Exception) or isinstance(other, Exception) or (case.options.get("num_beams") or 1) < 2:
        return False
    a, b = (getattr(out, "sequences", out) for out in (mine, other))
    b = b.numpy()
    if a.shape != b.shape or np.array_equal(a, b):
        return False
    return bool((a[a != b] == 0).all() or (b[a != b] == -1).all())


def _stops_by_itself(case: Case, mine: Any, other: Any) -> bool:
    no_end = case.options.get("eos_token_id", 2) is None
    return no_end and "stopping_criteria" in case.functions and (case.options.get("num_beams") or 1) == 1


def _one_embedding(case: Case, mine: Any, other: Any) -> bool:
    return "inputs_embeds" in case.inputs and case.inputs["inputs_embeds"][2] == 1


def _masks_heads(case: Case, mine: Any, other: Any) -> bool:
    mask = case.inputs.get("head_mask")
    expanded = max(case.options.get(name) or 1 for name in ("num_beams", "num_return_sequences")) > 1
    return mask is not None and (np.ndim(mask) == 1 or (expanded and any(row != mask[0] for row in mask)))


def _unused_sampling(case: Case, mine: Any, other: Any) -> bool:
    only_here = isinstance(mine, InputError) and not isinstance(other, Exception)
    return only_here and str(mine).startswith(SAMPLING_OPTIONS) and not case.options.get("do_sample")


def _ids(*ids: int, **options: Any) -> Case:
    return Case(1, {"input_ids": [list(ids)]}, options={"max_new_tokens": 3} | options)


_TEN = [5, 9, 12, 7, 20, 31, 8, 17, 4, 26]
DIFFERENCES: dict[str, Difference] = {
    "the last position": Difference(
        "Without max_new_tokens and max_length, at most N + 1 tokens are returned, because the last one needs no "
        "position; transformers stops at N, pads included.",
        _reaches_the_end,
        Case(1, {"input_ids": [_TEN]}, options={"eos_token_id": None}),
    ),
    "too many tokens": Difference(
        "A request for more tokens than fit into N positions is refused at once. transformers fails with an IndexError "
        "when it gets there, which it does not if an end token comes first.",
        _refused_here("must fit into N", "at most N ="),
        _ids(5, 9, max_new_tokens=40, eos_token_id=list(range(41))),
    ),
    "a minimum that does not fit": Difference(
        "A minimum length beyond the longest output is refused; transformers warns.",
        _refused_here("min_length must be an integer in", "min_new_tokens must be at most"),
        _ids(5, 9, min_length=9),
    ),
    "nothing left to choose": Difference(
        "Options that suppress every token are refused; transformers takes token 0.",
        _refused_here("must leave each row a token to choose"),
        _ids(5, 9, suppress_tokens=list(range(41))),
    ),
    "a decay without an end token": Difference(
        "exponential_decay_length_penalty has no effect without an end token; transformers raises a RuntimeError.",
        _refused_there("Could not infer dtype of NoneType"),
        _ids(5, 9, eos_token_id=None, exponential_decay_length_penalty=(1, 1.5)),
    ),
    "a decay of extreme scores": Difference(
        "exponential_decay_length_penalty leaves an end token alone that has -inf, and keeps its score finite; in "
        "transformers it becomes NaN, which argmax prefers, or infinite.",
        _decay_overflows,
        _ids(5, 9, min_length=9, max_new_tokens=8, exponential_decay_length_penalty=(1, 1.5)),
    ),
    "a prompt of one embedding": Difference(
        "The embeddings are read in the first step only. transformers 4.57 reads a single one in every step, "
        "instead of the tokens it generated.",
        _one_embedding,
        Case(1, {"inputs_embeds": (3, 1, 1)}, options={"max_new_tokens": 6}),
    ),
    "pads of beams": Difference(
        "Rows that ended are filled with pad_token_id. In beam search transformers fills them with the first end token "
        "if the pad token is 0, and with -1, which is no id, if there is no end token.",
        _fills_with_the_end,
        Case(1, {"input_ids": [[6, 40], [2, 32]]}, options={
            "num_beams": 2, "pad_token_id": 0, "max_new_tokens": 6,
            "eos_token_id": [17, 36, 15, 13, 31, 35, 39, 26, 10, 8, 21, 5],
        }),
    ),
    "rows stopped without an end token": Difference(
        "A row that a stopping criterion ended is filled with pads. Without an end token, transformers goes on with it "
        "until all rows have ended.",
        _stops_by_itself,
        Case(1, {"input_ids": [[25, 40], [32, 39]]}, options={"max_new_tokens": 9, "eos_token_id": None},
             functions=("stopping_criteria",)),
    ),
    "head masks": Difference(
        "head_mask (H,) applies to every layer, as transformers' documentation says, and (L, H) is not repeated for "
        "beams; transformers takes single numbers of the former and repeats the latter as if it were rows.",
        _masks_heads,
        Case(1, {"input_ids": [[5, 9, 12]], "head_mask": [[0.0, 1.0, 1.0], [1.0, 0.0, 0.5]]},
             options={"num_beams": 3, "max_new_tokens": 6}),
    ),
    "sampling options without sampling": Difference(
        "An invalid sampling option in the call is refused even if do_sample is off; transformers warns. "
        "temperature=0.0 is accepted: it means greedy decoding.",
        _unused_sampling,
        _ids(5, 9, top_k=-1),
    ),
    "sampling options out of range": Difference(
        "top_p above 1, and epsilon_cutoff and eta_cutoff outside [0, 1), are refused; transformers takes them as off.",
        _refused_here("top_p must be", "epsilon_cutoff must be", "eta_cutoff must be"),
        _ids(5, 9, top_p=1.5, do_sample=True),
    ),
    "a temperature of 0 in a config that samples": Difference(
        "GenerationConfig(do_sample=True, temperature=0.0) is refused when it is made, with the advice to write "
        "do_sample=False. transformers turns sampling off if the config is passed to generate, and fails if it is the "
        "model's own.",
        _refused_here("for greedy decoding write do_sample=False"),
        Case(1, {"input_ids": [[5, 9]]}, options={"do_sample": True, "temperature": 0.0, "max_new_tokens": 3},
             in_config=("do_sample", "temperature")),
    ),
    "types of numbers": Difference(
        "Integers are accepted where floats are meant, and tuples where lists are; transformers refuses some.",
        _refused_there("strictly positive float", "has to be a list", "floats as values", "has to be a non-empty list"),
        _ids(5, 9, repetition_penalty=2),
    ),
    "ids outside the vocabulary": Difference(
        "A token id of an option must be in the vocabulary; transformers ignores some that are not.",
        _refused_here("must be an id in [0", "must be an id or a list of ids"),
        _ids(5, 9, suppress_tokens=[500]),
    ),
    "arguments that do nothing": Difference(
        "labels is refused, because generate ignores it; so is position_ids, which transformers 4.57 does not advance "
        "with the tokens.",
        _refused_here("found labels", "found position_ids"),
        _ids(5, 9, labels=[[5, 9]]),
    ),
    "padding on the right": Difference(
        "A prompt that ends with a pad is refused, because generation would continue from the pad; transformers warns.",
        _refused_here("padded on the left"),
        Case(1, {"input_ids": [[5, 9], [7, 1]]}, options={"max_new_tokens": 3}),
    ),
    "a row of pads": Difference(
        "A prompt that holds only pads is refused, also if bos_token_id, the prompt by default, is the pad token; "
        "transformers continues it, from a wrong position.",
        _refused_here("each row must hold a real token"),
        Case(1, {"input_ids": [[5, 9], [1, 1]]}, options={"max_new_tokens": 3}),
    ),
    "a cache without use_cache": Difference(
        "past_key_values with use_cache=False is refused; transformers reads and extends the cache anyway.",
        _refused_here("past_key_values needs the cache"),
        Case(1, {"input_ids": [[5, 9]]}, past=1, options={"max_new_tokens": 1, "use_cache": False}),
    ),
    "unknown options in a config": Difference(
        "GenerationConfig refuses an unknown option; transformers keeps it as an attribute.",
        _refused_here("GenerationConfig must be called with known arguments"),
        Case(1, {"input_ids": [[5, 9]]}, options={"max_new_tokens": 1, "max_lenght": 3}, in_config=("max_lenght",)),
    ),
    "encoder options": Difference(
        "encoder_repetition_penalty and encoder_no_repeat_ngram_size are refused, because BioGPT has no encoder; "
        "transformers applies them to the prompt.",
        _refused_here("BioGPT has no encoder"),
        _ids(5, 9, encoder_repetition_penalty=1.5),
    ),
}  # fmt: skip
