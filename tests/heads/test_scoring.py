"""Scores against transformers' loss, a case computed by hand, and a loop that scores one token at a time."""

from __future__ import annotations

import itertools
import math
import random
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptTokenizer, InputError, get_backend
from minibiogpt.backend import register_backend
from minibiogpt.files.hub import find_model
from minibiogpt.model.batching import batches, windows
from minibiogpt.model.ops import log_softmax
from tests import reference
from tests.budgets import LANE_A, SCORE_FLOAT32
from tests.compare import assert_close
from tests.support.configs import CONFIGS, PRIMES
from tests.support.strict import StrictArray, StrictBackend
from tools.demo_corpus import TEMPLATES, read_facts, sentences

LANES = pytest.mark.parametrize(("dtype", "budget"), [("float64", LANE_A), ("float32", SCORE_FLOAT32)])


@cache
def five_hundred() -> list[list[int]]:
    """The ids of 500 texts of one to three sentences from the demo model's corpus."""
    rng = random.Random(5)
    facts = read_facts()
    corpus = [s for table in TEMPLATES for row in facts[table] for s in sentences(table, row)]
    tok = BioGptTokenizer.from_pretrained("demo")
    return [tok.encode(" ".join(rng.sample(corpus, rng.choice([1, 1, 1, 2, 3])))) for _ in range(500)]


@cache
def demo(dtype: str) -> BioGptForCausalLM:
    return BioGptForCausalLM.from_pretrained("demo", dtype=dtype)


@cache
def small(name: str = "gelu", dtype: str = "float64", **sizes: Any) -> BioGptForCausalLM:
    return BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS[name] | sizes), dtype=dtype)


def rows(*lengths: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [[2, *rng.integers(3, 67, n - 1).tolist()] for n in lengths]


def right_padded(texts: list[list[int]], width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ids, labels and attention_mask as you pass them to transformers."""
    shape = len(texts), width
    ids, labels, mask = np.full(shape, 1), np.full(shape, -100), np.zeros(shape, dtype=int)
    for b, text in enumerate(texts):
        ids[b, : len(text)], labels[b, : len(text)], mask[b, : len(text)] = text, text, 1
    return ids, labels, mask


def their_loss(theirs: Any, ids: np.ndarray, labels: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """(B,) transformers' loss of each row, in the model's dtype; its own loss function rounds to float32."""
    with torch.no_grad():
        output = theirs(**reference.tensors(input_ids=ids, labels=labels, attention_mask=mask))
    shifted = torch.as_tensor(labels)[:, 1:]
    logits = output.logits[:, :-1].reshape(shifted.numel(), -1)
    each = F.cross_entropy(logits, shifted.reshape(-1), reduction="none").double().reshape(shifted.shape)
    counted = (shifted != -100).sum(dim=1)
    assert output.loss.item() == pytest.approx((each.sum() / counted.sum()).item(), rel=1e-5)
    return (each.sum(dim=1) / counted).numpy()


@LANES
def test_500_sentences_in_batches_have_transformers_loss_one_by_one(dtype: str, budget: float) -> None:
    theirs = transformers.BioGptForCausalLM.from_pretrained(find_model("demo")).to(getattr(torch, dtype)).eval()
    texts = five_hundred()
    scores = demo(dtype).score(texts)
    assert (str(scores.log_probs.dtype), str(scores.total.dtype)) == (dtype, "float64")
    losses = np.zeros(500)
    lengths = np.array([len(ids) for ids in texts])
    assert len(set(lengths)) > 30
    for width in range(8, 80, 8):
        (chosen,) = np.nonzero((lengths > width - 8) & (lengths <= width))
        losses[chosen] = their_loss(theirs, *right_padded([texts[i] for i in chosen], width))
    assert scores.tokens.tolist() == [len(ids) - 1 for ids in texts]
    assert_close("loss", -scores.total / scores.tokens, losses, budget)
    assert np.array_equal(scores.perplexity, np.exp(-scores.total / scores.tokens))


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_padded_batch_has_the_loss_of_the_docstring(tmp_path: Path, side: str) -> None:
    theirs = reference.build(**PRIMES)
    ours = BioGptForCausalLM.from_pretrained(reference.save(theirs, tmp_path), dtype="float64")
    texts = rows(7, 31, 1, 12)
    ids, mask, labels = np.ones((4, 31), int), np.zeros((4, 31), int), np.full((4, 31), -100)
    for b, text in enumerate(texts):
        columns = slice(31 - len(text), 31) if side == "left" else slice(len(text))
        ids[b, columns], mask[b, columns], labels[b, columns] = text, 1, text
        if side == "left":
            labels[b, columns.start] = -100
    want = their_loss(theirs, ids, labels, mask)
    scores = ours.score(ids, mask)
    assert scores.tokens.tolist() == [6, 30, 0, 11]
    some = [0, 1, 3]
    assert_close("loss", -scores.total[some] / scores.tokens[some], want[some], LANE_A)
    assert scores.loss == pytest.approx((want[some] * scores.tokens[some]).sum() / 47, rel=1e-12)
    assert scores.total[2] == 0.0
    assert np.isnan(scores.perplexity[2])


def by_hand() -> BioGptForCausalLM:
    """Every state is (1, 0, ...) and logit v is ln(v + 1), so p(v) = (v + 1) / (1 + 2 + ... + 67) after any text."""
    model = small("untied", vocab_size=67)
    parameters = dict(model.named_parameters())
    parameters["biogpt.layer_norm.weight"][:] = 0
    parameters["biogpt.layer_norm.bias"][:] = [1, *[0] * 20]
    parameters["output_projection.weight"][:] = np.log(np.arange(1, 68))[:, None]
    return model


def test_a_case_computed_by_hand() -> None:
    scores = by_hand().score([[2, 5, 0], [2, 66]])
    all_67 = 67 * 68 // 2
    want = [[0, math.log(6 / all_67), math.log(1 / all_67)], [0, math.log(67 / all_67), 0]]
    assert_close("log p", scores.log_probs, np.array(want), 1e-14)
    assert scores.scored.tolist() == [[False, True, True], [False, True, False]]
    assert_close("total", scores.total, np.array([math.log(6 / all_67**2), math.log(2 / 68)]), 1e-14)
    assert_close("perplexity", scores.perplexity, np.array([all_67 / math.sqrt(6), 34.0]), 1e-13)
    assert scores.loss == pytest.approx((2 * math.log(all_67) - math.log(6) + math.log(34)) / 3, rel=1e-14)
    assert scores.row(1).tolist() == scores.log_probs[1, 1:2].tolist()


def test_padding_on_either_side_and_holes_change_nothing() -> None:
    model, texts = small(), rows(5, 9, 13)
    plain = model.score(texts)
    for side in ("left", "right"):
        ids, mask = np.full((3, 17), 1), np.zeros((3, 17), int)
        for b, text in enumerate(texts):
            columns = slice(17 - len(text), 17) if side == "left" else slice(len(text))
            ids[b, columns], mask[b, columns] = text, 1
        scores = model.score(ids, mask)
        for b in range(3):
            assert np.array_equal(scores.row(b), plain.row(b)), "the same arithmetic, bit for bit"
            assert np.array_equal(scores.scored[b], np.where(mask[b].cumsum() > 1, mask[b], 0))
        assert not scores.log_probs[~scores.scored].any()
    for b, text in enumerate(texts):
        alone = model.score([text])
        assert_close("row alone", plain.row(b), alone.row(0), LANE_A)
        logits = model([text]).logits[0, :-1]
        want = np.take_along_axis(log_softmax(logits), np.array(text)[1:, None], axis=1)[:, 0]
        assert_close("from the logits", alone.row(0), want, LANE_A)
    holed = model.score([[2, 1, 7, 1, 9]], [[1, 0, 1, 0, 1]])
    assert holed.scored.tolist() == [[False, False, True, False, True]]
    assert np.array_equal(holed.row(0), model.score([[2, 7, 9]]).row(0))


def score_token_by_token(model: BioGptForCausalLM, ids: list[int], window: int, stride: int) -> list[float]:
    """Score each token in the first window [k stride, k stride + window) that contains it, cut right after it."""
    found = []
    for t in range(1, len(ids)):
        k = next(k for k in itertools.count() if t < k * stride + window)
        logits = model([ids[k * stride : t + 1]]).logits[0, -2]
        found.append(log_softmax(logits)[ids[t]].item())
    return found


@pytest.mark.parametrize(("window", "stride"), [(None, None), (31, 30), (31, 1), (8, 3), (2, 1)])
def test_windows_equal_a_loop_over_tokens(window: int | None, stride: int | None) -> None:
    model, texts = small(), rows(31, 32, 1, 77, 5, seed=3)
    scores = model.score(texts, window=window, stride=stride, batch_tokens=70)
    for b, text in enumerate(texts):
        assert scores.tokens[b] == len(text) - 1
        if len(text) > 1:
            want = score_token_by_token(model, text, window or 31, stride or (window or 31) // 2)
            assert_close(f"row {b}", scores.row(b), np.array(want), LANE_A)


def test_windows_equal_the_recipe_in_transformers_documentation(tmp_path: Path) -> None:
    theirs = reference.build(**PRIMES)
    ours = BioGptForCausalLM.from_pretrained(reference.save(theirs, tmp_path), dtype="float64")
    (text,) = rows(100)
    total, before = 0.0, 0
    for begin in range(0, 100, 11):
        end = min(begin + 31, 100)
        ids = np.array([text[begin:end]])
        labels = ids.copy()
        labels[:, : -(end - before)] = -100
        total -= their_loss(theirs, ids, labels).item() * (labels[:, 1:] != -100).sum()
        before = end
        if end == 100:
            break
    assert_close("total", ours.score([text], stride=11).total, np.array([total]), LANE_A)


@given(st.integers(1, 200), st.integers(2, 40), st.data())
def test_windows_split_the_row_and_give_their_context(n: int, size: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, size - 1))
    found = windows(n, size, stride)
    assert [t for w in found for t in range(w.new, w.end)] == list(range(n))
    assert all(0 <= w.begin <= w.new < w.end <= w.begin + size for w in found)
    assert all(w.new - w.begin >= size - stride for w in found[1:])


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 120))
def test_batches_split_the_rows_and_keep_to_the_limit(lengths: list[int], limit: int) -> None:
    found = batches(lengths, limit)
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= limit
    widths = [max(lengths[i] for i in batch) for batch in found]
    assert widths == sorted(widths, reverse=True)


def test_the_size_of_batches_changes_nothing() -> None:
    model, texts = small(), rows(5, 40, 31, 2, 17)
    want = model.score(texts)
    for batch_tokens in (1, 33, 62, 10_000):
        assert_close("log p", model.score(texts, batch_tokens=batch_tokens).log_probs, want.log_probs, LANE_A)


def test_the_logits_of_a_batch_never_exist_together() -> None:
    """With the base vocabulary, 2,048 positions have 347 MB of logits in float32, three times that in the softmax."""
    sizes = {"vocab_size": 42384, "hidden_size": 8, "num_attention_heads": 1, "num_hidden_layers": 1}
    model = BioGptForCausalLM.from_config(BioGptConfig(**sizes, intermediate_size=8))
    ids = np.random.default_rng(0).integers(3, 42384, (2, 1024))
    tracemalloc.start()
    try:
        scores = model.score(ids, batch_tokens=2048)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert scores.tokens.tolist() == [1023, 1023]
    assert peak < 90e6


def test_every_array_stays_on_the_backend() -> None:
    register_backend("strict", StrictBackend)
    strict, plain = BioGptForCausalLM.from_pretrained("demo", backend="strict"), demo("float32")
    ids, mask = [[2, 45, 300, 17, 9], [1, 1, 2, 8, 70]], [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]
    backend = get_backend("strict")
    got = strict.score(backend.asarray(ids), backend.asarray(mask), window=4)
    want = plain.score(ids, mask, window=4)
    for name in ("log_probs", "scored", "total", "tokens", "perplexity"):
        x = getattr(got, name)
        assert isinstance(x, StrictArray), name
        assert np.array_equal(backend.to_numpy(x), getattr(want, name)), name
    assert np.array_equal(backend.to_numpy(got.row(1)), want.row(1))
    assert got.loss == want.loss


NONSENSE: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no rows": ([], {}, "input_ids must be integers of shape"),
    "an empty row": ([[2, 3], []], {}, "at least one position"),
    "a flat list": ([2, 3], {}, r"found shape \(\); one sequence is a batch of 1"),
    "id V": ([[2, 3], [67]], {}, r"input_ids must lie in \[0, 67\); found 67"),
    "floats": ([[2.0, 3.0]], {}, "found dtype float64"),
    "unequal rows and a mask": ([[2, 3], [2]], {"attention_mask": [[1, 1], [1, 0]]}, "found rows of unequal length"),
    "a row of pads": ([[2, 3], [1, 1]], {"attention_mask": [[1, 1], [0, 0]]}, "each row must hold a real token"),
    "a mask of another shape": ([[2, 3]], {"attention_mask": [[1]]}, "must cover past and new"),
    "window N + 1": ([[2, 3]], {"window": 32}, "window must be an integer, 2 to 31; found 32"),
    "window 1": ([[2, 3]], {"window": 1}, "window must be an integer, 2 to 31; found 1"),
    "stride = window": ([[2, 3]], {"window": 9, "stride": 9}, "stride must be an integer, 1 to 8; found 9"),
    "stride 0": ([[2, 3]], {"stride": 0}, "stride must be an integer, 1 to 30; found 0"),
    "half a stride": ([[2, 3]], {"stride": 0.5}, "stride must be an integer"),
    "no batch": ([[2, 3]], {"batch_tokens": 0}, "batch_tokens must be an integer, 1 or more; found 0"),
    "a batch of True": ([[2, 3]], {"batch_tokens": True}, "batch_tokens must be .* found True"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_is_refused(case: str) -> None:
    ids, options, message = NONSENSE[case]
    with pytest.raises(InputError, match=message):
        small().score(ids, **options)
