"""What generate continues: embeddings, caches, head masks, arrays of other libraries; and what is no prompt."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from minibiogpt import InputError, KVCache
from minibiogpt.backend.cupy import CupyBackend
from tests.backend.test_cupy import MASK, SHORT
from tests.budgets import KERNEL, LANE_A
from tests.compare import assert_close
from tests.support.demo import ours, reference, tokenizer
from tests.support.device import host, small

IDS = np.array([[2, 92, 26, 716, 155]])
MORE = {"max_new_tokens": 9, "eos_token_id": None}
LONG: dict[str, Any] = {
    "max_new_tokens": 10, "eos_token_id": None, "output_logits": True, "return_dict_in_generate": True,
}  # fmt: skip
SEARCH: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampled": {"do_sample": True, "seed": 3, "num_return_sequences": 2},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
}


def embeddings(ids: np.ndarray) -> np.ndarray:
    model = ours().biogpt
    return model.embed_tokens(np.asarray(ids))


@pytest.mark.parametrize("options", SEARCH.values(), ids=SEARCH)
def test_embeddings_are_read_as_the_ids_they_come_from(options: dict[str, Any]) -> None:
    want = ours().generate(IDS, **MORE, **options)
    only_new = ours().generate(inputs_embeds=embeddings(IDS), **MORE, **options)
    assert np.array_equal(only_new, want[:, IDS.shape[1] :])
    both = ours().generate(IDS, inputs_embeds=embeddings(IDS), **MORE, **options)
    assert np.array_equal(both, want)


def test_embeddings_count_in_max_length_as_in_transformers() -> None:
    embeds = embeddings(IDS)
    tensors = torch.tensor(embeds)
    for options in ({}, {"max_length": 9}, {"max_length": 9, "min_length": 8}, {"max_new_tokens": 3, "max_length": 30}):
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            want = reference("float32").generate(inputs_embeds=tensors, do_sample=False, **options).numpy()
        assert np.array_equal(ours().generate(inputs_embeds=embeds, **options), want), options
    with pytest.raises(InputError, match="max_length counts inputs_embeds.*found 20 for 20 positions; give max_new"):
        ours().generate(inputs_embeds=np.repeat(embeds, 4, axis=1))


def test_more_embeddings_than_ids_need_a_mask() -> None:
    """A soft prompt in front of the ids: the ids are returned, the embeddings of both are read."""
    embeds = np.concatenate([embeddings([[300, 301]]), embeddings(IDS)], axis=1)
    mask = np.ones((1, embeds.shape[1]), dtype=np.int64)
    want = ours().generate(np.concatenate([[[300, 301]], IDS], axis=1), **MORE)
    got = ours().generate(IDS, inputs_embeds=embeds, attention_mask=mask, **MORE)
    assert np.array_equal(got[:, :5], IDS)
    assert np.array_equal(got[:, 5:], want[:, 7:])
    with pytest.raises(InputError, match="different lengths need attention_mask.*found 5 ids, 7 embeddings"):
        ours().generate(IDS, inputs_embeds=embeds, **MORE)


@pytest.mark.parametrize("options", SEARCH.values(), ids=SEARCH)
@pytest.mark.parametrize("length", [1, 4])
def test_a_given_cache_saves_its_positions_and_is_not_changed(options: dict[str, Any], length: int) -> None:
    ids = np.concatenate([IDS, IDS[:, ::-1]])
    want = ours().generate(ids, **MORE, **options)
    past = ours()(ids[:, :length]).past_key_values
    before = copy.deepcopy(past)
    for cache in (past, tuple(past), copy.deepcopy(past)):
        assert np.array_equal(ours().generate(ids, past_key_values=cache, **MORE, **options), want)
    assert past.seq_length == length
    for pair, other in zip(past, before, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(pair, other, strict=True))


def test_only_the_positions_after_the_cache_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    widths, model = [], ours()
    call = type(model.biogpt).__call__

    def recording(self: Any, ids: Any, *args: Any, **options: Any) -> Any:
        widths.append(ids.shape[1])
        return call(self, ids, *args, **options)

    past = model(IDS[:, :3]).past_key_values
    monkeypatch.setattr(type(model.biogpt), "__call__", recording)
    model.generate(IDS, past_key_values=past, max_new_tokens=3, eos_token_id=None)
    assert widths == [2, 1, 1]


def test_one_row_of_cache_serves_many_prompts() -> None:
    prefix = [2, 92, 26]
    prompts = [[*prefix, 716, 155], [*prefix, 40, 34]]
    past = ours()([prefix]).past_key_values
    want = ours().generate(prompts, **MORE)
    assert np.array_equal(ours().generate(prompts, past_key_values=past, **MORE), want)
    padded = [[*prefix, 1, 716], [*prefix, 40, 34]]
    assert np.array_equal(ours().generate(padded, past_key_values=past, **MORE), ours().generate(padded, **MORE))


def test_a_conversation_continues_with_the_cache_that_was_returned() -> None:
    first = ours().generate(IDS, return_dict_in_generate=True, **MORE)
    assert first.past_key_values.seq_length == first.sequences.shape[1] - 1
    second = np.concatenate([first.sequences, [[40, 34]]], axis=1)
    want = ours().generate(second, **MORE)
    assert np.array_equal(ours().generate(second, past_key_values=first.past_key_values, **MORE), want)
    legacy = ours().generate(IDS, return_dict_in_generate=True, return_legacy_cache=True, **MORE).past_key_values
    assert isinstance(legacy, tuple)
    assert np.array_equal(ours().generate(second, past_key_values=legacy, **MORE), want)
    empty = KVCache.empty(ours().config, 1, 3)
    assert np.array_equal(ours().generate(IDS, past_key_values=empty, **MORE), ours().generate(IDS, **MORE))


@pytest.mark.parametrize("kind", ["cache", "embeddings", "head mask"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"attention_mask": MASK}], ids=["plain", "beams", "padded"])
def test_captured_steps_are_numpys(backend: CupyBackend, kind: str, options: dict[str, Any]) -> None:
    found, plain = [], small("numpy").generate(SHORT, **options, **LONG).logits
    for name in ("numpy", backend.name):
        model = small(name)
        mask = None if "attention_mask" not in options else np.asarray(MASK)[:, :2]
        kwargs: dict[str, Any] = {"input_ids": SHORT}
        if kind == "cache":
            kwargs["past_key_values"] = model(np.asarray(SHORT)[:, :2], mask).past_key_values
        elif kind == "embeddings":
            kwargs = {"inputs_embeds": host(model.biogpt.embed_tokens(model.backend.asarray(SHORT)))}
        else:
            kwargs["head_mask"] = np.linspace(0.2, 1.7, model.config.num_attention_heads)
        found.append([host(x) for x in model.generate(**kwargs, **options, **LONG).logits])
    for step, (want, got, other) in enumerate(zip(*found, plain, strict=True)):
        assert_close(f"logits {step}", got, want, KERNEL["float32"])
        changed = float(np.abs(want - host(other)).max() / np.abs(want).max())
        if kind != "embeddings":  # without a mask, these have no pads
            assert (changed > 100 * KERNEL["float32"]) is (kind == "head mask")


def test_tensors_of_pytorch_are_read() -> None:
    mask = np.array([[0, 1, 1, 1, 1]])
    want = ours().generate(IDS, attention_mask=mask, **MORE)
    got = ours().generate(torch.tensor(IDS), attention_mask=torch.tensor(mask), **MORE)
    assert type(got) is np.ndarray
    assert np.array_equal(got, want)
    needs_gradient = torch.zeros(1, 2, ours().config.hidden_size, requires_grad=True)
    with pytest.raises(InputError, match=r"inputs_embeds must be floats.*requires grad"):
        ours().generate(inputs_embeds=needs_gradient)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_ids": "hello"}, r"ids of shape \(B, T\); found text; tokenize first: enc = tokenizer\(texts"),
        ({"input_ids": ["a", "b"]}, "found text; tokenize first"),
        ({"input_ids": {"input_ids": [[2]]}}, r"found a dict; write generate\(\*\*enc\)"),
        ({"input_ids": []}, "found an empty list; pass one prompt or more"),
        ({"input_ids": [2, 5]}, r"found shape \(2,\); one sequence is a batch of 1: \[input_ids\]"),
        ({"input_ids": IDS, "inputs": IDS}, "the prompt must be given once; found input_ids and inputs"),
        ({"past_key_values": "self"}, "the prompt must hold all ids.*found 5 positions, and a cache of 5; append"),
        ({"past_key_values": 3}, "past_key_values must be a KVCache or a"),
        ({"past_key_values": ((1, 2),)}, "past_key_values must be a KVCache or a"),
        ({"past_key_values": transformers.DynamicCache()}, "found transformers' DynamicCache; leave it out"),
        ({"past_key_values": "prefix", "use_cache": False}, "past_key_values needs the cache; found use_cache=False"),
        ({"past_key_values": "prefix", "num_beams": 2, "scoring": "fairseq"}, "needs the logits of the whole prompt"),
        ({"past_key_values": "prefix", "inputs_embeds": "self"}, "must be input_ids or inputs_embeds; found both"),
        ({"past_key_values": "two rows", "input_ids": IDS.repeat(3, 0)}, r"fit the model and the batch.*\(4, 3, 4, 32"),
        ({"inputs_embeds": np.zeros((2, 5, 128))}, "the same number of rows; found 1 and 2"),
        ({"inputs_embeds": np.zeros((1, 5, 3))}, r"inputs_embeds must be floats of shape \(B, T, 128\)"),
        ({"cache_position": [3, 4]}, r"cache_position must be 0 to 4; found \[3, 4\]; leave it out"),
        ({"head_mask": [1.0]}, "head_mask must be numbers of shape"),
    ],
)  # fmt: skip
def test_what_is_no_prompt_is_one_clear_error(arguments: dict[str, Any], message: str) -> None:
    made = {
        "prefix": ours()(IDS[:, :2]).past_key_values, "self": ours()(IDS).past_key_values,
        "two rows": ours()(IDS[:, :2].repeat(2, 0)).past_key_values,
    }  # fmt: skip
    if isinstance(arguments.get("past_key_values"), str):
        arguments = arguments | {"past_key_values": made[arguments["past_key_values"]]}
    if isinstance(arguments.get("inputs_embeds"), str):
        arguments = arguments | {"inputs_embeds": embeddings(IDS)}
    with pytest.raises(InputError, match=message):
        ours().generate(**{"input_ids": IDS} | arguments)


def test_the_position_of_the_cache_may_be_said() -> None:
    past = ours()(IDS[:, :2]).past_key_values
    want = ours().generate(IDS, **MORE)
    for position in (np.arange(2, 5), torch.arange(2, 5), [2, 3, 4]):
        assert np.array_equal(ours().generate(IDS, past_key_values=past, cache_position=position, **MORE), want)
    assert np.array_equal(ours().generate(inputs=IDS, **MORE), want)


def test_fewer_logits_are_kept_on_request() -> None:
    logits = ours("float64")(IDS).logits
    for keep, want in ((1, logits[:, -1:]), (3, logits[:, -3:]), (9, logits), ([0, -1], logits[:, [0, -1]])):
        got = ours("float64")(IDS, logits_to_keep=keep).logits
        assert_close(f"logits_to_keep={keep}", got, want, LANE_A)
    with pytest.raises(InputError, match="logits_to_keep must be an integer, 0 or more; found -1"):
        ours()(IDS, logits_to_keep=-1)
    with pytest.raises(InputError, match=r"logits_to_keep must lie in \[-5, 5\); found 5"):
        ours()(IDS, logits_to_keep=np.array([5]))
    with pytest.raises(InputError, match="the loss needs the logits of all positions"):
        ours()(IDS, labels=IDS, logits_to_keep=1)


def test_a_tokenizers_dict_may_hold_arguments_that_are_none() -> None:
    enc = tokenizer()(["Metformin acts by"])
    assert np.array_equal(ours().generate(**enc, token_type_ids=None), ours().generate(**enc))
