"""Properties of all inputs: causality; no effect of padding, batching or caching; no modified arguments."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt import BioGptConfig, BioGptForCausalLM, KVCache, Trace
from tests.budgets import LANE_A
from tests.compare import assert_close
from tests.support.configs import CONFIGS

N, V = 31, 67
lengths = st.integers(2, 14)
seeds = st.integers(0, 10_000)
attention = st.sampled_from(["eager", "blocked"])


@cache
def model(attention: str = "auto", dtype: str = "float64") -> BioGptForCausalLM:
    config = BioGptConfig(**CONFIGS["gelu"], initializer_range=0.3)
    return BioGptForCausalLM.from_config(config, seed=2, dtype=dtype, attn_implementation=attention)


def ids(seed: int, length: int, rows: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, V, (rows, length))


def assert_near(got: np.ndarray, want: np.ndarray) -> None:
    assert_close("logits", got, want, LANE_A)


@given(seeds, lengths, st.data(), attention)
def test_the_future_never_changes_the_past(seed: int, length: int, data: Any, kind: str) -> None:
    at = data.draw(st.integers(1, length - 1))
    tokens, other = ids(seed, length), ids(seed + 1, length)
    other[:, :at] = tokens[:, :at]
    want = model(kind)(tokens).logits
    assert np.array_equal(model(kind)(other).logits[:, :at], want[:, :at])
    assert_near(model(kind)(tokens[:, :at]).logits, want[:, :at])


@given(seeds, lengths, st.integers(1, 9), st.sampled_from(["left", "right"]), attention)
def test_padding_changes_nothing(seed: int, length: int, pads: int, side: str, kind: str) -> None:
    tokens, junk = ids(seed, length), ids(seed + 1, pads)
    parts = [junk, tokens] if side == "left" else [tokens, junk]
    real = slice(pads, None) if side == "left" else slice(0, length)
    mask = np.zeros((1, length + pads), dtype=np.int64)
    mask[:, real] = 1
    out = model(kind)(np.concatenate(parts, axis=1), mask).logits
    assert_near(out[:, real], model(kind)(tokens).logits)
    assert np.isfinite(out).all()


@given(seeds, st.lists(lengths, min_size=2, max_size=4), attention)
def test_a_row_in_a_batch_is_the_row_alone(seed: int, sizes: list[int], kind: str) -> None:
    width = max(sizes)
    rows = [ids(seed + i, size) for i, size in enumerate(sizes)]
    batch, mask = np.full((len(sizes), width), 1), np.zeros((len(sizes), width), dtype=np.int64)
    for i, row in enumerate(rows):
        batch[i, width - row.shape[1] :] = row
        mask[i, width - row.shape[1] :] = 1
    out = model(kind)(batch, mask).logits
    for i, row in enumerate(rows):
        assert_near(out[i : i + 1, width - row.shape[1] :], model(kind)(row).logits)


@given(seeds, st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(0, 3), attention)
def test_chunks_through_the_cache_change_nothing(seed: int, sizes: list[int], pads: int, kind: str) -> None:
    length = sum(sizes) + pads
    tokens, mask = ids(seed, length, rows=2), np.ones((2, length), dtype=np.int64)
    mask[0, :pads] = 0
    want = model(kind)(tokens, mask).logits
    past, at, parts = None, 0, []
    for size in (sizes[0] + pads, *sizes[1:]):
        out = model(kind)(tokens[:, at : at + size], mask[:, : at + size], past_key_values=past)
        past, at = out.past_key_values, at + size
        parts.append(out.logits)
    assert_near(np.concatenate(parts, axis=1)[1], want[1])
    assert_near(np.concatenate(parts, axis=1)[0, pads:], want[0, pads:])  # pads depend on S


@given(seeds, lengths)
def test_a_head_mask_of_ones_changes_nothing_and_a_row_is_that_row_everywhere(seed: int, length: int) -> None:
    tokens, row = ids(seed, length), np.random.default_rng(seed).random(3)
    for kind in ("eager", "blocked"):
        want = model(kind)(tokens).logits
        assert np.array_equal(model(kind)(tokens, head_mask=np.ones(3)).logits, want)
        assert np.array_equal(model(kind)(tokens, head_mask=np.ones((2, 3))).logits, want)
        both = [model(kind)(tokens, head_mask=m).logits for m in (row, np.tile(row, (2, 1)))]
        assert np.array_equal(*both)
        assert not np.array_equal(both[0], want)


@given(seeds, lengths, st.integers(0, 4))
def test_eager_blocked_and_traced_agree(seed: int, length: int, pads: int) -> None:
    tokens, mask = ids(seed, length + pads, rows=2), np.ones((2, length + pads), dtype=np.int64)
    mask[0, :pads] = 0
    want = model("eager")(tokens, mask).logits
    assert_near(model("blocked")(tokens, mask).logits, want)
    assert np.array_equal(model("eager")(tokens, mask, trace=Trace()).logits, want), "tracing changes no value"


def test_small_blocks_agree_too() -> None:
    """Blocks of a few rows and columns, so that short inputs span several, with fully masked rows."""
    from minibiogpt.backend import get_backend
    from minibiogpt.model.attention import attend_blocked, attend_eager, make_mask
    from minibiogpt.trace import Tap

    rng = np.random.default_rng(0)
    q, (k, v) = rng.normal(size=(2, 3, 5, 7)), rng.normal(size=(2, 2, 3, 17, 7))
    real = np.ones((2, 17), dtype=bool)
    real[0, :14] = False
    for padding in (None, real, real[:, ::-1]):
        mask = make_mask(get_backend("numpy"), 5, 17, padding)
        want, _ = attend_eager(q, k, v, mask, None, Tap())
        for rows, columns in ((1, 1), (2, 3), (3, 16), (5, 17), (100, 100)):
            assert_near(attend_blocked(q, k, v, mask, None, rows, columns), want)


@given(seeds, lengths)
def test_no_call_changes_what_it_is_given(seed: int, length: int) -> None:
    tokens, mask, heads = ids(seed, length), np.ones((1, length + 2), dtype=np.int64), np.ones((2, 3))
    mask[0, 1] = 0
    embeds, positions = np.random.default_rng(seed).normal(size=(1, length, 21)), np.arange(length)[None]
    past = model()(ids(seed + 1, 2)).past_key_values
    k, v = (x.copy() for x in past[1])
    arguments = (tokens, mask, heads, embeds, positions)
    before = [x.copy() for x in arguments]
    parameters = {n: x.copy() for n, x in model().named_parameters()}
    first = model()(tokens, mask, head_mask=heads, past_key_values=past, labels=tokens)
    second = model()(ids(seed + 2, length), mask, past_key_values=past)  # another continuation of the same cache
    again = model()(tokens, mask, head_mask=heads, past_key_values=past)
    model()(inputs_embeds=embeds, position_ids=positions, attention_mask=mask[:, 2:])
    assert all(np.array_equal(a, b) for a, b in zip(arguments, before, strict=True))
    assert all(np.array_equal(x, parameters[n]) for n, x in model().named_parameters())
    assert past.seq_length == 2
    assert np.array_equal(past[1][0], k)
    assert np.array_equal(past[1][1], v)
    assert np.array_equal(first.logits, again.logits)
    assert np.array_equal(first.past_key_values[0][0], again.past_key_values[0][0]), "the branch was not overwritten"
    assert not np.array_equal(first.past_key_values[0][0], second.past_key_values[0][0])


@given(seeds, st.lists(st.integers(0, 2), min_size=1, max_size=5))
def test_a_reordered_cache_is_that_of_the_reordered_rows(seed: int, order: list[int]) -> None:
    tokens, nexts = ids(seed, 5, rows=3), ids(seed + 1, 2, rows=len(order))
    past = model()(tokens).past_key_values.reorder(np.array(order))
    assert_near(
        model()(nexts, past_key_values=past).logits, model()(np.concatenate([tokens[order], nexts], 1)).logits[:, 5:]
    )


@given(seeds, st.lists(st.integers(0, 2), min_size=3, max_size=3))
def test_rows_of_one_prompt_are_exchanged_as_they_are_reordered(seed: int, order: list[int]) -> None:
    prompt = np.repeat(ids(seed, 4), 3, axis=0)
    past = model()(prompt, past_key_values=KVCache.empty(model().config, 3, 9, dtype="float64")).past_key_values
    past = model()(ids(seed + 1, 2, rows=3), past_key_values=past).past_key_values
    want = past.reorder(np.array(order))
    before = [k.copy() for k, _ in past]
    past.exchange(np.array(order), since=4)
    for (k, v), (their_k, their_v), old in zip(past, want, before, strict=True):
        assert np.array_equal(k, their_k)
        assert np.array_equal(v, their_v)
        assert order == [0, 1, 2] or not np.array_equal(k, old)


def test_an_exchange_leaves_arrays_of_the_caller() -> None:
    legacy = [tuple(np.arange(24.0).reshape(2, 3, 4, 1) + i for i in range(2)) for _ in range(2)]
    before = [[x.copy() for x in pair] for pair in legacy]
    cache = KVCache.from_legacy(legacy)
    cache.exchange(np.array([1, 1]), since=1)
    assert np.array_equal(cache[0][0][0, :, 1:], before[0][0][1, :, 1:])
    assert all(np.array_equal(x, y) for a, b in zip(legacy, before, strict=True) for x, y in zip(a, b, strict=True))


def test_a_cache_of_no_positions_in_the_legacy_form_is_an_empty_one() -> None:
    legacy = [tuple(np.empty((1, 3, 0, 7)) for _ in range(2)) for _ in range(2)]
    past = KVCache.from_legacy(legacy)
    longer = past.extended(2)
    assert (longer.seq_length, longer.batch_size, past.seq_length) == (2, 1, 0)


def test_two_continuations_of_a_cache_with_room_do_not_meet() -> None:
    prompt, one, other = ids(0, 5), ids(1, 3), ids(2, 2)
    past = model()(prompt, past_key_values=KVCache.empty(model().config, 1, 20, dtype="float64")).past_key_values
    first = model()(one, past_key_values=past).past_key_values
    assert np.shares_memory(first[1][0], past[1][0]), (
        "the first continuation is written after the prompt, in the same buffers"
    )
    second = model()(other, past_key_values=past).past_key_values
    for grown, new in ((first, one), (second, other)):
        want = model()(np.concatenate([prompt, new], axis=1)).past_key_values
        for (k, v), (their_k, their_v) in zip(grown, want, strict=True):
            assert_near(k, their_k)
            assert_near(v, their_v)


def test_a_reordered_cache_is_continued_in_place() -> None:
    past = KVCache.empty(model().config, 2, 9, dtype="float64")
    past = model()(ids(0, 5, rows=2), past_key_values=past).past_key_values.reorder(np.array([1, 0]))
    longer = model()(ids(1, 2, rows=2), past_key_values=past).past_key_values
    assert np.shares_memory(longer[1][0], past[1][0]), "a step of beam search copies the cache once, not twice"
    assert (past.capacity, longer.capacity) == (9, 9)


def test_a_cache_grows_by_doubling_and_keeps_what_it_holds() -> None:
    tokens, past, capacities = ids(0, 20), None, []
    for t in range(20):
        past = model()(tokens[:, t : t + 1], past_key_values=past).past_key_values
        capacities.append(past.capacity)
    assert sorted(set(capacities)) == [1, 2, 4, 8, 16, 32]
    assert_near(past[1][0], model()(tokens).past_key_values[1][0])
