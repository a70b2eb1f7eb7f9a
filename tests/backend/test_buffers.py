"""How much memory arrays take, as NumPy reports it to tracemalloc: bytes allocated, independent of the machine."""

import copy
import pickle
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptModel, get_backend
from minibiogpt.backend.buffers import MAX_BYTES, MAX_KEPT, MIN_BUFFER, MIN_BYTES, BufferPool, free_buffer_count
from minibiogpt.model import ops
from minibiogpt.model.attention import attend_blocked, attend_eager, make_mask
from minibiogpt.trace import Tap

RNG = np.random.default_rng(0)
SLACK = 1.25  # factor over cache and one layer's arrays
BLOCKS = 6 * 4 * get_backend("numpy").block_elements  # bytes that GELU needs for its block of float32 numbers


@pytest.fixture(autouse=True)
def pool(monkeypatch: pytest.MonkeyPatch) -> BufferPool:
    """Give the backend an empty pool: memory reused from other tests would not be counted."""
    empty = BufferPool()
    monkeypatch.setattr(get_backend("numpy"), "_buffers", empty)
    return empty


def peak_of(work: Callable[[], object]) -> int:
    """Return the peak number of bytes allocated while ``work`` runs, its result included."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_gelu_needs_little_beyond_its_result() -> None:
    x = RNG.standard_normal((512, 4096), dtype=np.float32)
    assert peak_of(lambda: ops.gelu(x)) < x.nbytes + BLOCKS
    assert peak_of(lambda: ops.gelu.__wrapped__(x)) > 2.5 * x.nbytes, "not in blocks"  # type: ignore[attr-defined]


def test_attention_never_holds_all_scores() -> None:
    q, k, v = RNG.standard_normal((3, 1, 8, 512, 16), dtype=np.float32)
    mask = make_mask(get_backend("numpy"), 512, 512, None)
    scores = 4 * 8 * 512 * 512
    assert peak_of(lambda: attend_blocked(q, k, v, mask, None)) < 0.2 * scores
    assert peak_of(lambda: attend_eager(q, k, v, mask, None, Tap())) > scores


def test_a_forward_pass_holds_one_layer_at_a_time() -> None:
    T, D, F, L = 600, 256, 1024, 6
    config = BioGptConfig(
        vocab_size=97, hidden_size=D, intermediate_size=F, num_hidden_layers=L, num_attention_heads=4
    )  # fmt: skip
    model, ids = BioGptModel.from_config(config), RNG.integers(0, 97, (1, T))
    cache, one_layer = 4 * 2 * L * T * D, 4 * (7 * T * D + 2 * T * F)
    mask = T * T  # one byte per query and key
    assert peak_of(lambda: model(ids, use_cache=True)) < SLACK * (cache + one_layer) + mask + BLOCKS
    states = 4 * (L + 1) * T * D
    assert peak_of(lambda: model(ids, use_cache=True, output_hidden_states=True)) > cache + states, "if requested"


def test_nothing_grows_while_two_thousand_tokens_are_generated() -> None:
    config = BioGptConfig(
        vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=2010,
    )  # fmt: skip
    model, held = BioGptForCausalLM.from_config(config), []

    def measure(ids: np.ndarray, scores: object) -> np.ndarray:
        held.append(tracemalloc.get_traced_memory()[0])
        return np.zeros(len(ids), dtype=bool)

    tracemalloc.start()
    try:
        model.generate(
            [[2, 5, 9]], max_new_tokens=2000, min_new_tokens=2000, stopping_criteria=[measure], progress=False
        )
    finally:
        tracemalloc.stop()
    assert len(held) == 2000
    per_token = 4 * (2 * 2 * 32 + 97)  # its keys and values, and its logits
    list_bytes = 2000 * 40  # the list of measurements itself
    assert max(held[100:]) - held[100] < list_bytes + 10 * per_token, "2,000 tokens would be 1,900 times that"


sizes = st.integers(MIN_BYTES // 4, 5 * MIN_BYTES // 4)


@given(st.lists(st.tuples(st.booleans(), sizes), max_size=30))
def test_arrays_that_live_never_share_memory(steps: list[tuple[bool, int]]) -> None:
    """Arrays are created and dropped in any order; some survive only as a view of a view."""
    pool, living = BufferPool(), []
    for i, (drop, size) in enumerate(steps):
        if drop and living:
            living.pop(len(living) // 2)
            continue
        x = pool.empty((size,), "float32")
        x[0] = x[-1] = i
        living.append((i, x if size % 2 else x[:].reshape(1, -1)[0]))
    assert all(x[0] == x[-1] == i for i, x in living)
    for n, (_, x) in enumerate(living):
        assert not any(np.shares_memory(x, y) for _, y in living[:n])


def test_what_is_left_is_used_again_and_no_more_than_so_much_is_kept() -> None:
    pool, addresses = BufferPool(), set()
    for _ in range(20):
        x = pool.empty((MIN_BYTES // 4, 2), "float32")
        addresses.add(x.ctypes.data)
        del x
    assert len(addresses) == 1
    assert sum(buffer.nbytes for buffer in pool.buffers) == MIN_BUFFER
    living = [pool.empty((MAX_BYTES,), "uint8") for _ in range(6)]
    assert sum(buffer.nbytes for buffer in pool.buffers) <= MAX_KEPT < sum(x.nbytes for x in living)
    pool = BufferPool()
    for shape in ((MIN_BYTES - 1,), (MAX_BYTES + 1,), (0, 5), ()):
        assert pool.empty(shape, "uint8").shape == shape
    assert pool.buffers == [], "NumPy allocates small and very large arrays"


def test_what_a_call_returned_is_not_overwritten_by_the_next(pool: BufferPool) -> None:
    config = BioGptConfig(
        vocab_size=257, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=1100,
    )  # fmt: skip
    model, (one, other) = BioGptForCausalLM.from_config(config), RNG.integers(0, 257, (2, 1, 1100))
    first, hidden = model(one), model.biogpt(one).last_hidden_state
    for x in (first.logits, hidden):
        assert any(np.shares_memory(x, buffer) for buffer in pool.buffers), "it uses a buffer of the pool"
    count, before = len(pool.buffers), [first.logits.copy(), hidden.copy()]
    model(other)
    assert len(pool.buffers) <= count + 2, "a pass allocates about twenty large arrays, in reused buffers"
    with ThreadPoolExecutor(4) as executor:
        again = list(executor.map(lambda ids: model(ids).logits, [other, one] * 4))
    assert all(np.array_equal(x, y) for x, y in zip((first.logits, hidden), before, strict=True))
    assert all(np.array_equal(x, first.logits) for x in again[1::2]), "threads never share a buffer"
    assert not np.array_equal(again[0], again[1])


def test_without_reference_counts_all_memory_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_buffer_count() is not None, "this Python has usable reference counts"
    monkeypatch.setattr("sys.getrefcount", lambda x: 7)
    assert free_buffer_count() is None
    pool = BufferPool()
    pool.empty((MIN_BYTES,), "uint8")
    assert pool.buffers == []
    monkeypatch.delattr("sys.getrefcount")
    assert free_buffer_count() is None


def test_a_model_is_copied_and_pickled_with_its_backend() -> None:
    model = BioGptForCausalLM.from_pretrained("demo")
    want = model([[2, 5, 9]]).logits
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other.backend is model.backend
        assert np.array_equal(other([[2, 5, 9]]).logits, want)
        assert other.biogpt.embed_tokens.weight is not model.biogpt.embed_tokens.weight
