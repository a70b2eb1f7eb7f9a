"""Generation against transformers' generate: equal greedy ids; limits, options and their errors."""

from __future__ import annotations

import io
import math
import sys
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError
from minibiogpt.generation import TextStreamer, decode
from tests.support.demo import PROMPTS, assert_same_ids, ours, their_ids, tokenizer

NEW = 64
LANES = pytest.mark.parametrize("dtype", ["float64", "float32"])


@LANES
@pytest.mark.parametrize("ends", [True, False], ids=["to the end", "64 tokens"])
def test_greedy_ids_are_transformers_one_by_one(dtype: str, ends: bool) -> None:
    lengths = set()
    for prompt in PROMPTS if ends else PROMPTS[dtype == "float32" :: 2]:
        batch = tokenizer()(prompt)
        options = {"max_new_tokens": NEW} | ({} if ends else {"min_length": batch["input_ids"].shape[1] + NEW})
        want = their_ids(dtype, batch, **options)
        for use_cache in (True, False):
            got = ours(dtype).generate(batch["input_ids"], use_cache=use_cache, **options)
            assert_same_ids(dtype, got, want, batch)
        lengths.add(got.shape[1] - batch["input_ids"].shape[1])
    assert (lengths == {NEW}) is not ends, "the case does not match its name"


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
        assert np.array_equal(ours(dtype).generate(batch["input_ids"], **options), got), (
            "the mask is inferred from the pads"
        )
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
    want = their_ids("float32", batch, pad_token_id=2)
    assert np.array_equal(ours().generate(ids, pad_token_id=2), want), (
        "a pad id that is also an end token marks no padding"
    )


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
        ({"input_ids": [[2, 5, 9], [1, 1, 1]]}, "each row must hold a real token; found a row of pads"),
        ({"input_ids": [[2, 5, 1]]}, "padded on the left.*padding_side='left'"),
        ({"input_ids": [[2, 5, 9], [2, 5, 1]]}, "padded on the left"),
        ({"input_ids": [[2, 5]], "attention_mask": [[1]]}, "must cover past and new"),
        ({"max_new_tokens": 0}, "max_new_tokens must be an integer, 1 or more; found 0"),
        ({"max_new_tokens": 2.0}, "max_new_tokens must be an integer"),
        ({"max_new_tokens": 255}, r"fit into N = 256 positions .*; found 3 and 255; request at most 254"),
        ({"max_length": 3}, "max_length includes the prompt and must exceed it; found 3 for 3 tokens"),
        ({"min_length": 30}, r"min_length must be an integer in \[0, 23\]"),
        ({"temperature": 0.0, "do_sample": True}, r"temperature must be .*; found 0.0; .* write do_sample=False"),
        ({"temperature": math.nan}, r"temperature must be a number in \[1e-06, 1e\+06\]"),
        ({"top_k": -1}, "top_k must be an integer"),
        ({"top_p": -0.5}, r"top_p must be a number in \[0, 1\]"),
        ({"top_p": 1.5}, r"top_p must be a number in \[0, 1\]; found 1.5; write top_p=1.0 to turn it off"),
        ({"do_sample": True, "seed": -1}, "seed must be None or an integer"),
        ({"min_length": 2.5}, "min_length must be an integer"),
        ({"min_length": "5"}, "min_length must be an integer"),
        ({"temperature": "warm"}, r"temperature must be a number in \[1e-06, 1e\+06\]; found 'warm'"),
        ({"temperature": 1e-300}, r"temperature must be a number in \[1e-06, 1e\+06\]; found 1e-300"),
        ({"temperature": 10**400}, r"temperature must be a number in \[1e-06, 1e\+06\]"),
        ({"top_k": math.inf}, "top_k must be an integer"),
        ({"top_k": "5"}, "top_k must be an integer"),
        ({"top_k": 2.0}, "top_k must be an integer"),
        ({"top_p": "most"}, r"top_p must be a number in \[0, 1\]"),
        ({"seed": 1.5}, "seed must be None or an integer"),
        ({"num_beam": 5}, "generate must be called with known arguments; found num_beam; did you mean num_beams?"),
        ({"num_beams": 0}, "num_beams must be an integer, 1 or more; found 0"),
        ({"num_beams": True}, "num_beams must be an integer, 1 or more"),
        ({"num_beams": 1875}, "num_beams must be at most the size of the vocabulary, 1874; found 1875"),
        ({"num_return_sequences": 0}, "num_return_sequences must be an integer, 1 or more; found 0"),
        ({"min_new_tokens": -1}, "min_new_tokens must be an integer, 0 or more; found -1"),
        ({"min_p": 1.01}, r"min_p must be a number in \[0, 1\]"),
        ({"typical_p": 0.0}, r"typical_p must be a number in \(0, 1\]"),
        ({"epsilon_cutoff": 1.0}, r"epsilon_cutoff must be a number in \[0, 1\)"),
        ({"num_beams": 2, "num_return_sequences": 3}, "at most num_beams, 2; found 3"),
        ({"num_return_sequences": 2}, "must be 1 in greedy decoding.*do_sample=True"),
        ({"early_stopping": "always"}, "early_stopping must be one of False, True, 'never'; found 'always'"),
        ({"length_penalty": math.inf}, "length_penalty must be a finite number"),
        ({"scoring": "fairseq"}, "scoring 'fairseq' needs beam search"),
        ({"min_new_tokens": 21}, "min_new_tokens must be at most the 20 new tokens"),
        ({"repetition_penalty": 0}, "repetition_penalty must be a finite number above 0"),
        ({"bad_words_ids": [[]]}, "bad_words_ids must be a list of lists of one or more ids"),
        ({"bad_words_ids": [[5, 1874]]}, r"must be an id in \[0, 1874\); found 1874"),
        ({"stop_strings": "."}, "needs the tokenizer to find stop_strings"),
        ({"stop_strings": ""}, "stop_strings must be a string or a list of strings, none of them empty"),
        ({"prefix_allowed_tokens_fn": lambda row, ids: []}, "must return one or more ids.*row 0 after 3 tokens"),
        ({"prefix_allowed_tokens_fn": lambda row, ids: [-1]}, r"must return one or more ids in \[0, 1874\)"),
        ({"logits_processor": [lambda ids, logits: None]}, r"must return the logits of every token, \(1, 1874\)"),
        ({"logits_processor": [lambda ids, logits: logits[:, :5]]}, r"shape \(1, 5\)"),
        ({"stopping_criteria": [lambda ids, scores: ids]}, r"must return \(1,\) booleans"),
        ({"logits_processor": [lambda ids, logits: logits * np.nan]}, "must leave each row a token to choose"),
        ({"logits_processor": [lambda ids, logits: logits * np.nan], "num_beams": 2}, "must leave each row a token"),
        ({"suppress_tokens": list(range(1874))}, "none, or NaN or infinity, after 3 tokens; relax the options"),
        ({"suppress_tokens": list(range(1874)), "num_beams": 2}, "must leave each row a token to choose"),
        ({"sequence_bias": {(5,): math.nan}}, "sequence_bias must be a list of pairs of ids and a number"),
        ({"exponential_decay_length_penalty": (1, -2.0)}, "a pair: how many new tokens, and a factor above 0"),
        ({"generation_config": 3}, "generation_config must be a GenerationConfig or a dict of its options; found int"),
        ({"input_ids": None, "bos_token_id": None}, "there must be a prompt, or a bos_token_id to start with"),
        ({"num_beams": 2, "streamer": True}, "a streamer needs a batch of 1 without beams"),
        ({"do_sample": True, "num_return_sequences": 2, "streamer": True}, "a streamer needs a batch of 1"),
        ({"eos_token_id": 99999}, r"eos_token_id must be an id in \[0, 1874\)"),
        ({"pad_token_id": 1874}, r"pad_token_id must be an id in \[0, 1874\); found 1874"),
        ({"forced_bos_token_id": 1874}, "forced_bos_token_id must be an id in"),
        ({"forced_eos_token_id": [2, 1874]}, "forced_eos_token_id must be an id in"),
        ({"suppress_tokens": [1874]}, "suppress_tokens must be an id in"),
        ({"begin_suppress_tokens": [1874]}, "begin_suppress_tokens must be an id in"),
        ({"sequence_bias": [[[5, 1874], 1.0]]}, "bad_words_ids or sequence_bias must be an id in"),
        ({"input_ids": [[2, 3], [4, 5]], "streamer": True}, "a streamer needs a batch of 1"),
    ],
)
def test_bad_options_are_one_clear_error(options: dict, message: str) -> None:
    ids = options.pop("input_ids", [[2, 92, 26]])
    if options.get("streamer"):
        options["streamer"] = TextStreamer(tokenizer(), stream=io.StringIO())
    with pytest.raises(InputError, match=message):
        ours().generate(ids, **options)
    assert ours().generate([[2, 92, 26]], max_new_tokens=1).shape == (1, 4), "the model no longer works"


def test_options_of_sampling_at_the_border_where_they_hide_nothing() -> None:
    options: dict[str, Any] = {"do_sample": True, "seed": 3, "max_new_tokens": 9, "top_k": 0}
    want = ours().generate([[2, 92, 26]], **options)
    idle = {"top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0, "eta_cutoff": 0.0, "temperature": 1.0}
    for name, value in idle.items():
        assert np.array_equal(ours().generate([[2, 92, 26]], **options, **{name: value}), want), name


def test_the_longest_text_that_fits() -> None:
    got = ours().generate([[2, 92, 26]], max_new_tokens=254, min_length=257)
    assert got.shape == (1, 257)
    assert ours().generate(got[:, :250], min_length=257).shape == (1, 257), "by default, what fits"
    padded = ours().generate(
        np.pad(got[:, :3], ((0, 0), (9, 0)), constant_values=1), max_new_tokens=254, min_length=266
    )
    assert np.array_equal(padded[:, 9:], got), "padding takes no positions"
    with pytest.raises(InputError, match=r"found 12 and 254; request at most 245 new tokens"):
        ours().generate(np.stack([padded[0, :12], got[0, :12]]), max_new_tokens=254)


def test_a_progress_bar_counts_the_new_tokens(capfd: pytest.CaptureFixture[str]) -> None:
    ours().generate([[2, 92], [2, 26]], max_new_tokens=7, min_length=9, progress=True)
    assert "7/7" in capfd.readouterr().err, "counted per row, however many rows there are"


def test_a_progress_bar_is_shown_of_long_runs_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    want = ours().generate([[2, 92]], max_new_tokens=60, min_length=62)
    assert capsys.readouterr().err == "", "no terminal, no bar"
    with monkeypatch.context() as patch:
        patch.setattr(sys.stderr, "isatty", lambda: True)
        for new, streamer, shown in ((60, None, True), (50, None, False), (60, TextStreamer(tokenizer()), False)):
            ours().generate([[2, 92]], max_new_tokens=new, min_length=new + 2, streamer=streamer)
            assert ("60/60" in capsys.readouterr().err) is shown
    monkeypatch.setattr(sys, "stderr", None)  # as in a program without a console
    assert np.array_equal(ours().generate([[2, 92]], max_new_tokens=60, min_length=62), want)


def test_what_the_config_says_of_outputs_is_not_asked_of_each_step() -> None:
    model = BioGptForCausalLM.from_pretrained("demo", attn_implementation="blocked", output_attentions=True)
    with pytest.raises(InputError, match="eager"):
        model([[2, 92, 26]])
    assert np.array_equal(model.generate([[2, 92, 26]]), ours().generate([[2, 92, 26]]))


def test_integers_of_numpy_are_taken() -> None:
    options = {"max_new_tokens": 5, "min_length": 4, "eos_token_id": 2, "pad_token_id": 1, "seed": 3, "top_k": 9}
    numpy_options = {name: np.int64(value) for name, value in options.items()}
    got = ours().generate([[2, 92, 26]], do_sample=True, temperature=np.float32(2), **numpy_options)
    assert np.array_equal(got, ours().generate([[2, 92, 26]], do_sample=True, temperature=2.0, **options))


def test_without_a_pad_token_rows_that_ended_are_filled_with_the_end() -> None:
    config = BioGptConfig(
        vocab_size=67, hidden_size=21, num_hidden_layers=1, num_attention_heads=3, intermediate_size=37,
        max_position_embeddings=31, pad_token_id=None,
    )  # fmt: skip
    model = BioGptForCausalLM.from_config(config)
    prompt = [[5, 6, 7], [50, 60, 33]]
    first, second = model.generate(prompt, max_new_tokens=1, eos_token_id=[])[:, -1].tolist()
    assert first != second, "both rows would end together"
    got = model.generate(prompt, max_new_tokens=4, eos_token_id=first)
    assert got[0, 3:].tolist() == [first] * (got.shape[1] - 3)
    assert got.shape[1] > 4
    unseen = next(i for i in range(67) if i not in got)
    several = model.generate(prompt, max_new_tokens=4, eos_token_id=[unseen, first])
    assert several[0, 3:].tolist() == [first] + [unseen] * (several.shape[1] - 4), (
        "with the first of several end tokens"
    )


def test_float16_logits_are_widened_before_the_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    model = BioGptForCausalLM.from_pretrained("demo")
    head = model.output_projection

    def recording_apply(processors: Any, ids: np.ndarray, logits: np.ndarray, tap: Any) -> np.ndarray:
        seen.append(str(logits.dtype))
        return logits

    monkeypatch.setattr(model, "output_projection", lambda x: head(x).astype("float16"))
    monkeypatch.setattr(decode, "apply", recording_apply)
    model.generate([[2, 92]], max_new_tokens=2, eos_token_id=[])
    assert seen == ["float32"] * 2


def test_logits_that_are_no_numbers_choose_no_token() -> None:
    model = BioGptForCausalLM.from_pretrained("demo")
    model.biogpt.layer_norm.weight = np.full_like(model.biogpt.layer_norm.weight, 3e38)
    with pytest.raises(InputError, match=r"logits must be finite.*after 3 tokens, computed in float32; .*float64"):
        model.generate([[2, 92, 26]])


@pytest.mark.parametrize("options", [{}, {"num_beams": 2}, {"do_sample": True}], ids=str)
@pytest.mark.parametrize("factor", [1e200, 1.5])
def test_a_length_penalty_that_outgrows_the_dtype_ends_the_text(factor: float, options: dict[str, Any]) -> None:
    options = {"exponential_decay_length_penalty": (5, factor), "eos_token_id": 26, "max_new_tokens": 250} | options
    got = ours().generate([[2, 92, 26]], min_new_tokens=200, **options)
    assert got[0, -1] == 26
    assert got.shape[1] > 203
    assert "num_beams" in options or got.shape[1] < 215  # with beams a later end scores higher still


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.3, "top_k": 3}, "without do_sample=True these options have no effect: temperature, top_k$"),
        ({"length_penalty": 2.0}, "without num_beams these options have no effect: length_penalty$"),
    ],
)
def test_what_has_no_effect_is_reported(options: dict[str, Any], message: str) -> None:
    with pytest.warns(UserWarning, match=message):
        got = ours().generate([[2, 92, 26]], max_new_tokens=3, **options)
    assert np.array_equal(got, ours().generate([[2, 92, 26]], max_new_tokens=3, top_k=50, temperature=1.0))


def test_nothing_is_as_good_as_none() -> None:
    want = ours().generate([[2, 92, 26]], max_new_tokens=3)
    options: dict[str, Any] = {"logits_processor": None, "stopping_criteria": None, "generation_config": None}
    assert np.array_equal(ours().generate([[2, 92, 26]], max_new_tokens=3, **options), want)


def test_a_processor_that_writes_into_its_logits_does_not_change_those_that_are_returned() -> None:
    def in_place(ids: np.ndarray, logits: np.ndarray) -> np.ndarray:
        logits[:, 5] = -np.inf
        return logits

    options: dict[str, Any] = {"return_dict_in_generate": True, "output_logits": True, "output_scores": True}
    out = ours().generate([[2, 92, 26]], max_new_tokens=1, logits_processor=[in_place], **options)
    assert np.isfinite(out.logits[0]).all()
    assert not np.isfinite(out.scores[0][0, 5])


@pytest.mark.parametrize("beams", [1, 2])
def test_the_least_number_of_new_tokens_goes_before_the_least_length(beams: int) -> None:
    ids = tokenizer()("Ibuprofen is best used for")["input_ids"]
    options: dict[str, Any] = {"min_length": 25, "min_new_tokens": 1, "max_new_tokens": 30, "num_beams": beams}
    want = their_ids("float32", {"input_ids": ids, "attention_mask": np.ones_like(ids)}, **options)
    assert np.array_equal(ours().generate(ids, **options), want)
    assert want.shape[1] < 25


def test_what_is_off_in_transformers_may_be_set_to_off() -> None:
    want = ours().generate([[2, 92, 26]], max_new_tokens=3, eos_token_id=[2, 155])
    off: dict[str, Any] = {"num_beam_groups": 1, "diversity_penalty": 0.0, "max_time": None}
    got = ours().generate([[2, 92, 26]], max_new_tokens=3, eos_token_id=np.array([2, 155]), **off)
    assert np.array_equal(got, want)
    message = "must support the option; found num_beam_groups=2, which it does not; group beam search does not exist"
    with pytest.raises(InputError, match=message):
        ours().generate([[2, 92, 26]], num_beam_groups=2)


def test_one_function_is_as_good_as_a_list_of_one() -> None:
    got = ours().generate([[2, 92]], stopping_criteria=lambda ids, scores: ids.shape[1] == 4, eos_token_id=None)
    assert got.shape == (1, 4)
    same = ours().generate([[2, 92]], logits_processor=lambda ids, logits: logits, max_new_tokens=2)
    assert np.array_equal(same, ours().generate([[2, 92]], max_new_tokens=2))
    with pytest.raises(InputError, match="logits_processor must be a list of functions; found"):
        ours().generate([[2, 92]], logits_processor=[3])
