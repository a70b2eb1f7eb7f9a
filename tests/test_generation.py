"""Generation against transformers' generate: greedy ids exactly, sampling by its distribution and its draws."""

from __future__ import annotations

import io
import math
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers.generation import logits_process as theirs

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptTokenizer, InputError
from minibiogpt.generation import MinLength, Temperature, TextStreamer, TopK, TopP, decode
from minibiogpt.generation.decode import _Draw, _processors
from minibiogpt.generation.processors import apply
from minibiogpt.hub import find_model
from minibiogpt.ops import softmax
from tests.budgets import LANE_A, NEAR_TIE_FLOAT32
from tests.compare import assert_close

PROMPTS = [
    "Ibuprofen is best used for", "Metformin acts by", "The most common adverse effect of", "Mutations in BRCA1",
    "Tuberculosis is caused by", "Patients with", "COVID-19 is", "Warfarin", "What is Lisinopril used for?",
    "Sample Q123 was sequenced for CFTR.", "Patient K57, a woman aged 63, was given Aspirin", "A lack of vitamin C",
    "Omeprazole is a proton pump inhibitor. Metformin is", "The gene", "Malaria is transmitted", "Both", "Insulin",
    "Treatment with Cisplatin may be complicated by", "As a statin,", "zzz qqq 999 (unusual)", "α", "Aspirin, and",
]  # fmt: skip
NEW = 64
LANES = pytest.mark.parametrize("dtype", ["float64", "float32"])


@cache
def tokenizer() -> BioGptTokenizer:
    return BioGptTokenizer.from_pretrained("demo")


@cache
def ours(dtype: str = "float32") -> BioGptForCausalLM:
    return BioGptForCausalLM.from_pretrained("demo", dtype=dtype)


@cache
def reference(dtype: str) -> Any:
    model = transformers.BioGptForCausalLM.from_pretrained(find_model("demo"), attn_implementation="eager")
    return model.to(getattr(torch, dtype)).eval()


def their_ids(dtype: str, batch: dict[str, np.ndarray], **options: Any) -> np.ndarray:
    tensors = {name: torch.tensor(batch[name]) for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        return reference(dtype).generate(**tensors, do_sample=False, **options).numpy()


def assert_same_ids(dtype: str, got: np.ndarray, want: np.ndarray, prompt: dict[str, np.ndarray]) -> None:
    """Equal; a float32 row may part from the other's only where float64 shows a tie within float32's drift."""
    if np.array_equal(got, want):
        return
    assert dtype == "float32", "float64 ids differ"
    width = min(got.shape[1], want.shape[1])
    for row, (a, b) in enumerate(zip(got[:, :width], want[:, :width], strict=True)):
        if np.array_equal(a, b):
            continue
        at = int(np.argmax(a != b))
        mask = np.concatenate([prompt["attention_mask"][row], np.ones(at - prompt["input_ids"].shape[1], dtype=int)])
        logits = ours("float64")(a[None, :at], mask[None]).logits[0, -1]
        gap = abs(logits[a[at]] - logits[b[at]]) / np.abs(logits).max()
        assert gap <= NEAR_TIE_FLOAT32, f"row {row} differs at {at} without a tie: {gap:.1e}"


@LANES
@pytest.mark.parametrize("ends", [True, False], ids=["to the end", "64 tokens"])
def test_greedy_ids_are_transformers_one_by_one(dtype: str, ends: bool) -> None:
    lengths = set()
    for prompt in PROMPTS:
        batch = tokenizer()(prompt)
        options = {"max_new_tokens": NEW} | ({} if ends else {"min_length": batch["input_ids"].shape[1] + NEW})
        want = their_ids(dtype, batch, **options)
        for use_cache in (True, False):
            got = ours(dtype).generate(batch["input_ids"], use_cache=use_cache, **options)
            assert_same_ids(dtype, got, want, batch)
        lengths.add(got.shape[1] - batch["input_ids"].shape[1])
    assert (lengths == {NEW}) is not ends, "the case is not what its name says"


@LANES
@pytest.mark.parametrize("ends", [True, False], ids=["to the end", "64 tokens"])
def test_greedy_ids_are_transformers_in_left_padded_batches(dtype: str, ends: bool) -> None:
    for start in range(0, len(PROMPTS), 6):
        batch = tokenizer()(PROMPTS[start : start + 6], padding=True, padding_side="left")
        assert batch["attention_mask"].min() == 0
        options = {"max_new_tokens": NEW} | ({} if ends else {"min_length": batch["input_ids"].shape[1] + NEW})
        want = their_ids(dtype, batch, **options)
        got = ours(dtype).generate(batch["input_ids"], attention_mask=batch["attention_mask"], **options)
        assert_same_ids(dtype, got, want, batch)
        assert np.array_equal(ours(dtype).generate(batch["input_ids"], **options), got), "the mask is seen in the pads"
        if ends:
            assert (got[:, -1] == 1).any(), "a row that ended early is filled with pads"


def test_a_row_in_a_batch_is_the_row_alone() -> None:
    batch = tokenizer()(PROMPTS, padding=True, padding_side="left")
    together = ours("float64").generate(batch["input_ids"], max_new_tokens=12)[:, batch["input_ids"].shape[1] :]
    for prompt, row in zip(PROMPTS, together, strict=True):
        ids = tokenizer()(prompt)["input_ids"]
        alone = ours("float64").generate(ids, max_new_tokens=12)[0, ids.shape[1] :]
        assert row[: alone.size].tolist() == alone.tolist()
        assert (row[alone.size :] == 1).all()


def test_defaults_and_limits_are_transformers() -> None:
    ids = tokenizer()("Patients with")["input_ids"]
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    assert np.array_equal(ours().generate(ids), their_ids("float32", batch))
    no_end = ours().generate(ids, min_length=ids.shape[1] + 20)
    assert no_end.shape[1] == ids.shape[1] + 20
    for options in ({"max_length": 9}, {"max_length": 9, "max_new_tokens": 3}, {"min_length": 9, "max_length": 30}):
        assert np.array_equal(ours().generate(ids, **options), their_ids("float32", batch, **options)), options
    several = [2, int(no_end[0, ids.shape[1] + 2])]
    assert np.array_equal(
        ours().generate(ids, eos_token_id=several), their_ids("float32", batch, eos_token_id=several, pad_token_id=1)
    )
    assert ours().generate(ids, eos_token_id=several).shape[1] == ids.shape[1] + 3


LOGITS = np.random.default_rng(0).normal(0, 3, (4, 61))
TIED = np.round(LOGITS)
IDS = np.zeros((4, 7), dtype=np.int64)


@pytest.mark.parametrize("logits", [LOGITS, TIED], ids=["random", "ties"])
@pytest.mark.parametrize(
    ("mine", "other"),
    [
        (Temperature(0.7), theirs.TemperatureLogitsWarper(0.7)),
        (TopK(5), theirs.TopKLogitsWarper(5)),
        (TopK(500), theirs.TopKLogitsWarper(500)),
        (MinLength(8, [2, 5]), theirs.MinLengthLogitsProcessor(8, [2, 5], device="cpu")),
        (MinLength(7, [2, 5]), theirs.MinLengthLogitsProcessor(7, [2, 5], device="cpu")),
    ],
)
def test_each_processor_is_transformers(logits: np.ndarray, mine: Any, other: Any) -> None:
    want = other(torch.tensor(IDS), torch.tensor(logits)).numpy()
    assert np.array_equal(mine(IDS, logits), want)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9, 0.999])
def test_top_p_is_transformers(p: float) -> None:
    want = theirs.TopPLogitsWarper(p)(torch.tensor(IDS), torch.tensor(LOGITS)).numpy()
    got = TopP(p)(IDS, LOGITS)
    assert np.array_equal(got, want)
    assert np.isfinite(got).any(axis=-1).all()
    tied = TopP(p)(IDS, TIED)  # which of equal tokens stay is not said by transformers' unstable sort: only how many
    others = theirs.TopPLogitsWarper(p)(torch.tensor(IDS), torch.tensor(TIED)).numpy()
    assert np.array_equal(np.sort(tied, axis=-1), np.sort(others, axis=-1))


def test_the_whole_processed_distribution_on_the_demo_model() -> None:
    ids = tokenizer()("Patients with")["input_ids"]
    logits = ours("float64")(ids).logits[:, -1]
    chain = [theirs.TemperatureLogitsWarper(1.3), theirs.TopKLogitsWarper(30), theirs.TopPLogitsWarper(0.8)]
    want = torch.tensor(logits)
    for process in chain:
        want = process(torch.tensor(ids), want)
    got = logits
    for mine in (Temperature(1.3), TopK(30), TopP(0.8)):
        got = mine(ids, got)
    kept = np.isfinite(got)
    assert np.array_equal(kept, np.isfinite(want.numpy()))
    assert 1 < kept.sum() < 30
    assert np.abs(got[kept] - want.numpy()[kept]).max() <= LANE_A * np.abs(got[kept]).max()


def chi_square(draws: np.ndarray, p: np.ndarray) -> float:
    """Pearson's statistic of the counts against n p, over the tokens that can be drawn."""
    possible = p > 0
    counts = np.bincount(draws, minlength=p.size)
    assert counts[~possible].sum() == 0, "a token of probability 0 was drawn"
    expected = draws.size * p[possible]
    return float(((counts[possible] - expected) ** 2 / expected).sum())


def test_the_draw_follows_the_distribution() -> None:
    """Chi-square with 7 degrees of freedom: 24.3 is exceeded with probability 0.001."""
    p = np.array([0.3, 0.0, 0.05, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.0])
    with np.errstate(divide="ignore"):
        logits = np.tile(np.log(p), (20_000, 1))
    draws = _Draw(seed=1)(logits)
    assert chi_square(draws, p) < 24.3
    wrong = np.array([0.28, 0.0, 0.07, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.0])
    assert chi_square(draws, wrong) > 24.3, "the test would not notice another distribution"


def test_extreme_uniforms_never_draw_an_impossible_token(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.array([[-np.inf, 0.0, -np.inf, 0.3, -np.inf]] * 2)
    draw = _Draw(seed=0)

    class Edges:
        def random(self, shape: tuple[int, int]) -> np.ndarray:
            return np.array([[0.0], [math.nextafter(1.0, 0.0)]])

    draw.rng = Edges()  # type: ignore[assignment]
    assert draw(logits).tolist() == [1, 3]


def test_a_seed_gives_the_same_text_and_another_another() -> None:
    ids = tokenizer()("Patients with")["input_ids"]
    options: dict[str, Any] = {"do_sample": True, "max_new_tokens": 30, "temperature": 1.5}
    first = ours().generate(ids, seed=4, **options)
    assert np.array_equal(first, ours().generate(ids, seed=4, **options))
    others = [ours().generate(ids, seed=seed, **options) for seed in (5, 6, None)]
    assert not all(np.array_equal(first, other) for other in others)
    greedy = ours().generate(ids, max_new_tokens=30)
    assert np.array_equal(ours().generate(ids, max_new_tokens=30, do_sample=True, top_k=1), greedy)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_ids": [[]]}, "at least one position"),
        ({"input_ids": [[1, 1, 1]]}, "a real token"),
        ({"input_ids": [[2, 5, 1]]}, "padded on the left.*padding_side='left'"),
        ({"input_ids": [[2, 5]], "attention_mask": [[1]]}, "must cover past and new"),
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number, 1 or more; found 0"),
        ({"max_new_tokens": 2.0}, "max_new_tokens must be a whole number"),
        ({"max_new_tokens": 255}, r"fit into N = 256 positions .*; found 3 and 255; ask for at most 254"),
        ({"max_length": 3}, "max_length counts the prompt and must exceed it; found 3 for 3 tokens"),
        ({"min_length": 30}, r"min_length must be a whole number in \[0, 23\]"),
        ({"temperature": 0.0}, "temperature must be a finite number above 0; found 0.0"),
        ({"temperature": math.nan}, "temperature must be a finite number above 0"),
        ({"top_k": -1}, "top_k must be a whole number"),
        ({"top_p": 0.0}, r"top_p must be a number in \(0, 1\]"),
        ({"top_p": 1.5}, r"top_p must be a number in \(0, 1\]"),
        ({"do_sample": True, "seed": -1}, "seed must be None or a whole number"),
        ({"min_length": 2.5}, "min_length must be a whole number"),
        ({"min_length": "5"}, "min_length must be a whole number"),
        ({"temperature": "warm"}, "temperature must be a finite number above 0; found 'warm'"),
        ({"temperature": None}, "temperature must be a finite number above 0"),
        ({"temperature": 1e-300}, r"temperature must be a number in \[1e-06, 1e\+06\]; found 1e-300"),
        ({"temperature": 10**400}, r"temperature must be a number in \[1e-06, 1e\+06\]"),
        ({"top_k": math.inf}, "top_k must be a whole number"),
        ({"top_k": "5"}, "top_k must be a whole number"),
        ({"top_k": 2.0}, "top_k must be a whole number"),
        ({"top_p": "most"}, r"top_p must be a number in \(0, 1\]"),
        ({"seed": 1.5}, "seed must be None or a whole number"),
        ({"num_beams": 5}, "no beam search"),
        ({"eos_token_id": 99999}, r"eos_token_id must be an id in \[0, 1874\)"),
        ({"input_ids": [[2, 3], [4, 5]], "streamer": True}, "a streamer takes a batch of 1"),
    ],
)
def test_bad_options_are_one_clear_error(options: dict, message: str) -> None:
    ids = options.pop("input_ids", [[2, 92, 26]])
    if options.get("streamer"):
        options["streamer"] = TextStreamer(tokenizer(), stream=io.StringIO())
    with pytest.raises(InputError, match=message):
        ours().generate(ids, **options)
    assert ours().generate([[2, 92, 26]], max_new_tokens=1).shape == (1, 4), "nothing is lost"


def test_the_longest_text_that_fits() -> None:
    got = ours().generate([[2, 92, 26]], max_new_tokens=254, min_length=257)
    assert got.shape == (1, 257)
    assert ours().generate(got[:, :250], min_length=257).shape == (1, 257), "by default, what fits"


def test_streamed_text_is_the_decoded_text() -> None:
    rng, tok = np.random.default_rng(0), tokenizer()
    rows = [ours().generate(tok(p)["input_ids"], max_new_tokens=NEW)[0].tolist() for p in PROMPTS]
    rows += [rng.integers(0, len(tok), 40).tolist() for _ in range(300)]
    for row in rows:
        out = io.StringIO()
        streamer = TextStreamer(tok, stream=out)
        for ids in (row[:3], *([i] for i in row[3:])):
            streamer.put(ids)
        before_end = out.getvalue()
        streamer.end()
        assert out.getvalue() == tok.decode(row, skip_special_tokens=True) + "\n"
        assert len(before_end) > 0, "nothing was streamed"


def test_streaming_from_generate_skips_the_prompt_when_told_to() -> None:
    out, ids = io.StringIO(), tokenizer()("Metformin acts by")["input_ids"]
    got = ours().generate(ids, streamer=TextStreamer(tokenizer(), skip_prompt=True, stream=out))
    assert out.getvalue() == tokenizer().decode(got[0, ids.shape[1] :], skip_special_tokens=True) + "\n"


def test_a_progress_bar_counts_the_new_tokens(capfd: pytest.CaptureFixture[str]) -> None:
    ours().generate([[2, 92]], max_new_tokens=7, min_length=9, progress=True)
    assert "7/7" in capfd.readouterr().err


def test_whole_numbers_of_numpy_are_taken() -> None:
    options = {"max_new_tokens": 5, "min_length": 4, "eos_token_id": 2, "pad_token_id": 1, "seed": 3, "top_k": 9}
    of_numpy = {name: np.int64(value) for name, value in options.items()}
    got = ours().generate([[2, 92, 26]], do_sample=True, temperature=np.float32(2), **of_numpy)
    assert np.array_equal(got, ours().generate([[2, 92, 26]], do_sample=True, temperature=2.0, **options))


def test_without_a_pad_token_rows_that_ended_are_filled_with_the_end() -> None:
    config = BioGptConfig(
        vocab_size=67, hidden_size=21, num_hidden_layers=1, num_attention_heads=3, intermediate_size=37,
        max_position_embeddings=31, pad_token_id=None,
    )  # fmt: skip
    model = BioGptForCausalLM.from_config(config)
    prompt = [[5, 6, 7], [50, 60, 33]]
    first, second = model.generate(prompt, max_new_tokens=1, eos_token_id=[])[:, -1].tolist()
    assert first != second, "both rows would end at once"
    got = model.generate(prompt, max_new_tokens=4, eos_token_id=first)
    assert got[0, 3:].tolist() == [first] * (got.shape[1] - 3)
    assert got.shape[1] > 4


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.6},
        {"top_k": 0, "top_p": 0.7},
        {"top_k": 7, "top_p": 0.4, "temperature": 1.7},
        {"min_length": 40, "temperature": 3.0},
    ],
)
def test_the_rules_are_those_that_transformers_generate_builds(options: dict[str, Any]) -> None:
    model = reference("float64")
    config = transformers.GenerationConfig(do_sample=True, eos_token_id=2, pad_token_id=1, max_length=60, **options)
    model._prepare_special_tokens(config, True, "cpu")
    chain = model._get_logits_processor(config, input_ids_seq_length=3, device="cpu")
    values: dict[str, Any] = {"min_length": 0, "temperature": 1.0, "top_k": 50, "top_p": 1.0} | options
    rules = _processors(60, (2,), do_sample=True, **values)
    assert len(rules) == len(chain)
    for prompt in PROMPTS[:6]:
        ids = tokenizer()(prompt)["input_ids"]
        logits = ours("float64")(ids).logits[:, -1]
        got, want = apply(rules, ids, logits), chain(torch.tensor(ids), torch.tensor(logits))
        assert np.array_equal(np.isfinite(got), np.isfinite(want.numpy())), "other tokens are kept"
        assert_close("processed", softmax(got), torch.softmax(want, dim=-1).numpy(), LANE_A)


def test_a_sum_that_grows_where_nothing_is_added_draws_nothing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a device may that sums in parallel; here the growth is large enough to be hit."""
    exact = np.cumsum
    monkeypatch.setattr(np, "cumsum", lambda x, axis: exact(x, axis=axis) + np.array([0.0, 0.1, 0.0, 0.1]))
    draws = _Draw(seed=0)(np.tile([0.0, -np.inf, 0.0, -np.inf], (500, 1)))
    assert set(draws.tolist()) == {0, 2}


def test_float16_logits_are_widened_before_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    model = BioGptForCausalLM.from_pretrained("demo")
    head = model.output_projection

    def noted(rules: Any, ids: np.ndarray, logits: np.ndarray) -> np.ndarray:
        seen.append(str(logits.dtype))
        return logits

    monkeypatch.setattr(model, "output_projection", lambda x: head(x).astype("float16"))
    monkeypatch.setattr(decode, "apply", noted)
    model.generate([[2, 92]], max_new_tokens=2, eos_token_id=[])
    assert seen == ["float32"] * 2


DASHES = ["@", "-@</w>", "@-@</w>", "@</w>", "-", "-</w>", ".</w>", ",</w>", '"</w>', "'</w>", "(</w>", ")</w>", "</s>"]


@settings(max_examples=400)
@given(st.lists(st.one_of(st.sampled_from(DASHES), st.integers(0, 1873)), max_size=12))
@example([".</w>", "@", "-@</w>", "98</w>"])  # "98." becomes "98 .-98": the dash joins the full stop to what follows
@example([")</w>", "@", "</s>", "-@</w>", "98</w>"])
def test_streamed_text_is_the_decoded_text_where_dashes_join_words(row: list[str | int]) -> None:
    tok, out = tokenizer(), io.StringIO()
    ids = [tok.vocab[piece] if isinstance(piece, str) else piece for piece in ["98</w>", *row]]
    streamer = TextStreamer(tok, stream=out)
    for i in ids:
        streamer.put([i])
    streamer.end()
    assert out.getvalue() == tok.decode(ids, skip_special_tokens=True) + "\n"
