"""Invalid input gives one clear error (what must hold, what was found, what to do), and the model keeps working."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError, KVCache
from tests.support.configs import CONFIGS

IDS = [[2, 5, 7]]


@cache
def model() -> BioGptForCausalLM:
    return BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS["gelu"]))


def other_cache(rows: int = 1, **sizes: Any) -> KVCache:
    other = BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS["gelu"] | sizes))
    return other([[2, 5]] * rows).past_key_values


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "id -1": ({"input_ids": [[2, -1]]}, r"input_ids must lie in \[0, 67\); found -1"),
    "id V": ({"input_ids": [[2, 67]]}, r"input_ids must lie in \[0, 67\); found 67; use the model.s own tokenizer"),
    "float ids": ({"input_ids": [[2.0, 3.0]]}, r"input_ids must be integers of shape \(B, T\); found dtype float64"),
    "boolean ids": ({"input_ids": [[True, False]]}, "found dtype bool"),
    "words": ({"input_ids": [["a", "b"]]}, "input_ids must be integers.*found dtype <U1"),
    "nothing": ({"input_ids": [[None]]}, "input_ids must be integers.*found dtype object"),
    "ragged": ({"input_ids": [[2, 3], [4]]}, "found rows of unequal length; pass input_ids as"),
    "one axis": ({"input_ids": [2, 3]}, r"found shape \(2,\); one sequence is a batch of 1"),
    "T = 0": ({"input_ids": [[]]}, r"at least one position; found shape \(1, 0\)"),
    "B = 0": ({"input_ids": np.zeros((0, 3), dtype=int)}, "at least one position"),
    "huge id": ({"input_ids": [[2**70]]}, "input_ids must be integers"),
    "N + 1": ({"input_ids": [[3] * 32]}, "at most N = 31 real positions.*found 32; shorten"),
    "N + 1, with the past": (
        {"input_ids": [[3] * 30], "past_key_values": 1},
        "at most N = 31 real positions.*found 32; shorten",
    ),
    "neither": ({"input_ids": None}, "exactly one of input_ids and inputs_embeds must be given; found neither"),
    "both": ({"inputs_embeds": np.zeros((1, 3, 21))}, "found both; pass one of them"),
    "embeds of another width": ({"input_ids": None, "inputs_embeds": np.zeros((1, 3, 20))}, r"B, T, 21.*shape"),
    "embeds of integers": ({"input_ids": None, "inputs_embeds": np.zeros((1, 3, 21), int)}, "found dtype int64"),
    "short mask": ({"attention_mask": [[1, 1]]}, r"shape \(1, 0 \+ 3\); found shape \(1, 2\)"),
    "mask of another batch": ({"attention_mask": [[1, 1, 1]] * 2}, r"found shape \(2, 3\)"),
    "mask without the past": (
        {"attention_mask": [[1, 1, 1]], "past_key_values": 1},
        r"past and new positions: shape \(1, 2 \+ 3\); found shape \(1, 3\); append a column of ones",
    ),
    "mask of other numbers": ({"attention_mask": [[1, 2, 1]]}, "must be 0 .padding. or 1 .a real token.*other values"),
    "additive mask": ({"attention_mask": [[0.0, -1e4, 0.0]]}, "other values"),
    "position N": ({"position_ids": [[0, 1, 31]]}, r"position_ids must lie in \[-1, 31\); found 31"),
    "position -2": ({"position_ids": [[0, 1, -2]]}, r"position_ids must lie in \[-1, 31\); found -2"),
    "positions of another shape": ({"position_ids": [[0, 1]]}, "position_ids must have the shape of"),
    "head mask of another shape": ({"head_mask": [1.0, 1.0]}, r"\(3,\) for every layer or \(2, 3\); found"),
    "labels of another shape": ({"labels": [[2, 5]]}, "labels must have the shape of the tokens"),
    "label V": ({"labels": [[2, 5, 67]]}, r"labels must lie in \[-100, 67\); found 67"),
    "label -5": ({"labels": [[2, 5, -5]]}, r"labels must be -100 or in \[0, 67\)"),
    "float labels": ({"labels": [[2.0, 5.0, 7.0]]}, "labels must be integers"),
    "cache that is none": ({"past_key_values": 7.0}, "must be a KVCache or a .k, v. pair for each layer; found float"),
    "cache of another batch": ({"past_key_values": 2}, "must fit the model and the batch"),
    "cache of another model": ({"past_key_values": "other"}, "must fit the model and the batch"),
    "legacy cache of nothing": ({"past_key_values": ()}, "found 0 layers"),
}
CACHES: dict[Any, Any] = {
    1: lambda: other_cache(),
    2: lambda: other_cache(rows=2),
    "other": lambda: other_cache(num_hidden_layers=3),
}


@pytest.mark.parametrize("case", CASES)
def test_each_is_refused_and_the_model_still_works(case: str) -> None:
    inputs, message = CASES[case]
    inputs = {"input_ids": IDS} | inputs
    past = inputs.get("past_key_values")
    if isinstance(past, int | str):
        inputs["past_key_values"] = CACHES[past]()
    want = model()(IDS).logits
    with pytest.raises(InputError, match=message):
        model()(**inputs)
    assert np.array_equal(model()(IDS).logits, want)


def test_blocked_attention_cannot_show_its_weights() -> None:
    blocked = BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS["gelu"]), attn_implementation="blocked")
    with pytest.raises(InputError, match="output_attentions needs the whole attention matrix"):
        blocked(IDS, output_attentions=True)
    with pytest.raises(
        InputError, match="attn_implementation must be one of auto, eager, blocked, sdpa, .*; found 'spda'"
    ):
        BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS["gelu"]), attn_implementation="spda")


def test_nan_in_inputs_embeds_is_not_refused_and_stays_in_its_row() -> None:
    """If you look for the first NaN in a port, you need the arrays, not an error."""
    embeds = np.random.default_rng(1).normal(size=(2, 5, 21)).astype(np.float32)
    want = model()(inputs_embeds=embeds).logits
    embeds[0, 2] = np.nan
    got = model()(inputs_embeds=embeds).logits
    assert np.isnan(got[0, 2]).all()
    assert np.array_equal(got[1], want[1])


def test_a_refused_call_leaves_its_cache_usable() -> None:
    past = model()(IDS).past_key_values
    want = model()([[9]], past_key_values=past).logits
    with pytest.raises(InputError):
        model()([[67]], past_key_values=past)
    with pytest.raises(InputError):
        model()([[9] * 40], past_key_values=past)
    assert np.array_equal(model()([[9]], past_key_values=past).logits, want)


def test_weights_beyond_the_dtype_give_infinities_without_a_word() -> None:
    """As on a device. Plain NumPy would warn (here an error) somewhere in the equations."""
    model = BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS["gelu"]))
    for name, x in model.named_parameters():
        if "norm" in name or "fc" in name or "v_proj" in name:
            x[...] = 3e38
    assert not np.isfinite(model(IDS, labels=IDS).logits).all()
    with pytest.raises(InputError, match="logits must be finite to choose a token"):
        model.generate(IDS, max_new_tokens=2, do_sample=True, top_p=0.5)
