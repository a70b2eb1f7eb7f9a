"""Where an option of generation comes from: the call, its generation_config, generation_config.json, config.json."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from minibiogpt import BioGptConfig, BioGptForCausalLM, CheckpointError, InputError
from minibiogpt.generation import GenerateOutput, GenerationConfig, StopStrings
from tests.budgets import BEAM_STEP
from tests.compare import assert_close
from tests.reference import build, save
from tests.support.configs import CONFIGS
from tests.support.demo import ours, reference, tokenizer

PROMPT = [[2, 5, 9, 31]]
FILES: dict[str, dict[str, Any]] = {
    "nothing": {},
    "beams": {"num_beams": 3, "length_penalty": 2.0, "max_new_tokens": 9},
    "longest": {"max_length": 11},
    "transformers' default": {"max_length": 20, "min_length": 15},
    "another end": {"eos_token_id": [2, 40, 34], "pad_token_id": 5},
    "a least that does not fit": {"min_new_tokens": 30},
    "an old file": {"repetition_penalty": 2.0, "transformers_version": "4.27.0", "_from_model_config": True},
}
CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "of the call": {"max_new_tokens": 4},
    "length of the call": {"max_length": 9, "num_beams": 2},
    "nothing ends": {"eos_token_id": None, "max_new_tokens": 6},
    "no penalty": {"repetition_penalty": 1.0},
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("call", CALLS)
def test_options_have_transformers_precedence(file: str, call: str, tmp_path: Path) -> None:
    save(build(**CONFIGS["gelu"]), tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "pad_token_id": 1} | FILES[file]))
    got = BioGptForCausalLM.from_pretrained(tmp_path, dtype="float64").generate(PROMPT, **CALLS[call])
    theirs = transformers.BioGptForCausalLM.from_pretrained(tmp_path, dtype=torch.float64).eval()
    options = {"do_sample": False, "attention_mask": torch.ones(1, 4, dtype=torch.int64)} | CALLS[call]
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about setting both max_length and max_new_tokens
        want = theirs.generate(torch.tensor(PROMPT), **options)
    assert np.array_equal(got, want.numpy())


@pytest.mark.parametrize(
    "options",
    [
        {"max_new_tokens": 5},
        {"max_length": 20},
        {"num_beams": 2, "length_penalty": 0.5},
        {"repetition_penalty": 1.7},
        {"min_length": 12},
    ],
    ids=str,
)
def test_a_config_passed_to_the_call_goes_before_the_models(options: dict[str, Any], tmp_path: Path) -> None:
    save(build(**CONFIGS["gelu"]), tmp_path)
    values = {"eos_token_id": 2, "pad_token_id": 1, "num_beams": 3, "max_new_tokens": 8}
    (tmp_path / "generation_config.json").write_text(json.dumps(values | {"transformers_version": "4.57.6"}))
    model = BioGptForCausalLM.from_pretrained(tmp_path, dtype="float64")
    theirs = transformers.BioGptForCausalLM.from_pretrained(tmp_path, dtype=torch.float64).eval()
    for call in ({}, {"num_beams": 2}):
        got = model.generate(PROMPT, generation_config=GenerationConfig(**options), **call)
        with torch.no_grad():
            mask = torch.ones(1, 4, dtype=torch.int64)
            config = transformers.GenerationConfig(**options)
            want = theirs.generate(torch.tensor(PROMPT), attention_mask=mask, generation_config=config, **call)
        assert np.array_equal(got, want.numpy())


def test_without_a_file_config_json_says_it(tmp_path: Path) -> None:
    save(build(**CONFIGS["gelu"]), tmp_path)
    (tmp_path / "generation_config.json").unlink()
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"num_beams": 3, "length_penalty": 0.0, "max_length": 9, "min_length": None}  # null: not set
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = BioGptForCausalLM.from_pretrained(tmp_path)
    found = model.generation_config
    assert (found.num_beams, found.length_penalty, found.max_length, found.eos_token_id) == (3, 0.0, 9, 2)
    assert model.generate(PROMPT).shape[1] <= 9


def test_saved_options_are_read_by_both(tmp_path: Path) -> None:
    model = BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS["gelu"]))
    model.generation_config = model.generation_config.updated(
        {"num_beams": 4, "bad_words_ids": [[5], [6, 7]], "sequence_bias": {(5, 6): -1.5}, "stop_strings": ["a."]}
    )
    model.save_pretrained(tmp_path)
    theirs = transformers.GenerationConfig.from_pretrained(tmp_path)
    assert (theirs.num_beams, theirs.bad_words_ids, theirs.stop_strings) == (4, [[5], [6, 7]], ["a."])
    assert (theirs.eos_token_id, theirs.pad_token_id, theirs.sequence_bias) == (2, 1, [[[5, 6], -1.5]])
    again = BioGptForCausalLM.from_pretrained(tmp_path).generation_config
    want = {**vars(model.generation_config), "sequence_bias": [[[5, 6], -1.5]]}
    assert vars(again) == want


def test_numbers_of_numpy_are_saved(tmp_path: Path) -> None:
    config = GenerationConfig(max_new_tokens=np.int64(5), sequence_bias={(np.int64(3),): np.float32(0.5)})
    config.save_pretrained(tmp_path)
    again = GenerationConfig.from_pretrained(tmp_path)
    assert (again.max_new_tokens, again.sequence_bias) == (5, [[[3], 0.5]])


def test_unknown_keys_are_kept_and_unsupported_options_are_named(tmp_path: Path) -> None:
    save(build(**CONFIGS["gelu"]), tmp_path)
    values = {"eos_token_id": 2, "pad_token_id": 1, "penalty_alpha": 0.6, "num_beam_groups": 1, "house": "ours"}
    (tmp_path / "generation_config.json").write_text(json.dumps(values))
    model = BioGptForCausalLM.from_pretrained(tmp_path)
    with pytest.warns(UserWarning, match=r"unsupported generation options are ignored: penalty_alpha 0.6$"):
        model.generate(PROMPT)
    call_config = GenerationConfig.from_dict({"max_new_tokens": 2, "guidance_scale": 2.0})
    with pytest.warns(UserWarning, match=r"are ignored: penalty_alpha 0.6, guidance_scale 2.0$"):
        model.generate(PROMPT, generation_config=call_config)
    model.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "generation_config.json").read_text()) == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "a generation config must be a JSON object; found list"),
        ('{"num_beams": "3"}', "num_beams must be an integer, 1 or more; found '3' in"),
        ('{"do_sample": true, "temperature": 0}', "temperature must be a number in"),
        ('{"eos_token_id": -1}', "eos_token_id must be an id or a list of ids"),
        ('{"stop_strings": [""]}', "stop_strings must be a string"),
        ("{", "must hold JSON"),
    ],
)
def test_an_unusable_file_is_one_clear_error(text: str, message: str, tmp_path: Path) -> None:
    save(build(**CONFIGS["gelu"]), tmp_path)
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        BioGptForCausalLM.from_pretrained(tmp_path)


def test_options_of_sampling_that_are_not_used_may_be_anything_in_a_file(tmp_path: Path) -> None:
    save(build(**CONFIGS["gelu"]), tmp_path)
    (tmp_path / "generation_config.json").write_text('{"temperature": 0.0, "eos_token_id": 2, "pad_token_id": 1}')
    model = BioGptForCausalLM.from_pretrained(tmp_path)
    assert model.generate(PROMPT, max_new_tokens=2).shape == (1, 6)
    with pytest.raises(InputError, match="temperature must be"):
        model.generate(PROMPT, do_sample=True)


def test_what_is_returned_with_the_scores_of_each_step() -> None:
    ids = tokenizer()("Metformin acts by")["input_ids"]
    options: dict[str, Any] = {
        "max_new_tokens": 6, "min_new_tokens": 6, "return_dict_in_generate": True, "output_scores": True,
        "output_logits": True, "repetition_penalty": 1.5,
    }  # fmt: skip
    got = ours("float64").generate(ids, **options)
    with torch.no_grad():
        mask = torch.ones(ids.shape, dtype=torch.int64)
        want = reference("float64").generate(torch.tensor(ids), attention_mask=mask, do_sample=False, **options)
    assert isinstance(got, GenerateOutput)
    assert np.array_equal(got.sequences, want.sequences.numpy())
    for mine, other in ((got.scores, want.scores), (got.logits, want.logits)):
        assert len(mine) == len(other) == 6
        for a, b in zip(mine, other, strict=True):
            finite = np.isfinite(b.numpy())
            assert_close("a step", np.float32(a[finite]), b.numpy()[finite], BEAM_STEP)
            assert np.array_equal(np.isfinite(a), finite)
    assert got.past_key_values.seq_length == ids.shape[1] + 5
    assert got.sequences_scores is None
    assert got["sequences"] is got[0] is got.sequences
    config = GenerationConfig(return_dict_in_generate=True, max_new_tokens=6, min_new_tokens=6, repetition_penalty=1.5)
    again = ours("float64").generate(ids, generation_config=config)
    assert np.array_equal(again.sequences, got.sequences)
    assert again.scores is again.logits is None


def test_several_sequences_of_one_prompt_are_drawn_apart() -> None:
    prompts = [[2, 5, 9, 31], [2, 92, 26, 40]]
    got = ours().generate(prompts, do_sample=True, num_return_sequences=3, max_new_tokens=9, temperature=2.0)
    assert got.shape[0] == 6
    assert len({row.tobytes() for row in got[:3]}) > 1
    one = ours().generate(np.repeat(prompts, 3, axis=0), do_sample=True, max_new_tokens=9, temperature=2.0)
    assert np.array_equal(got, one), "as if each prompt had been given three times"


def test_without_a_prompt_it_begins_with_bos() -> None:
    with torch.no_grad():
        want = reference("float32").generate(do_sample=False, max_new_tokens=5).numpy()
    assert np.array_equal(ours().generate(max_new_tokens=5), want)


def test_stop_strings_end_a_row_and_only_that_row() -> None:
    tok = tokenizer()
    batch = tok(["Ibuprofen is best used for", "Metformin acts by"], padding=True, padding_side="left")
    free = tok.batch_decode(ours().generate(**batch), skip_special_tokens=True)
    assert "pain and" in free[0]
    assert "pain and" not in free[1]
    for beams in (1, 3):
        ids = ours().generate(**batch, stop_strings=["pain and", "never there"], tokenizer=tok, num_beams=beams)
        stopped = tok.batch_decode(ids, skip_special_tokens=True)
        assert stopped[0].endswith("pain and")
        assert stopped[1] == tok.decode(ours().generate(**batch, num_beams=beams)[1], skip_special_tokens=True)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_stop_string_counts_as_soon_as_some_of_it_is_new(beams: int) -> None:
    tok, options = tokenizer(), {"num_beams": beams}
    batch = tok(["Ibuprofen is best used for", "Metformin acts by"], padding=True, padding_side="left")
    free = ours().generate(**batch, **options)
    texts = tok.batch_decode(free, skip_special_tokens=True)
    assert texts[0].startswith("Ibuprofen is best used for pain and")
    in_prompts = ["used for", "Ibuprofen is", "acts by", "Metformin"]
    got = ours().generate(**batch, stop_strings=in_prompts, tokenizer=tok, **options)
    assert np.array_equal(got, free), "a string in the prompt ends no row"
    got = ours().generate(**batch, stop_strings=["used for pain"], tokenizer=tok, **options)
    assert tok.batch_decode(got, skip_special_tokens=True) == ["Ibuprofen is best used for pain", texts[1]]


def test_tokens_that_are_no_text_neither_stop_a_row_nor_split_a_string() -> None:
    tok = tokenizer()
    pain, and_ = tok.convert_tokens_to_ids(["pain</w>", "and</w>"])
    prompt, ids = np.array([[2, pain]]), np.array([[2, pain, 2, and_, 0]])
    assert StopStrings("pain and", tok, prompt)(ids).tolist() == [True]
    assert StopStrings(["</s>", "<s>"], tok, prompt)(ids).tolist() == [False]


def test_stop_strings_end_where_transformers_does_on_whole_words() -> None:
    theirs_tok = transformers.BioGptTokenizer.from_pretrained("minibiogpt/demo")
    ids = tokenizer()("Ibuprofen is best used for")["input_ids"]
    for string in ("pain", "and"):
        got = ours().generate(ids, stop_strings=string, tokenizer=tokenizer())
        with torch.no_grad():
            mask = torch.ones(ids.shape, dtype=torch.int64)
            want = reference("float32").generate(
                torch.tensor(ids), attention_mask=mask, stop_strings=string, tokenizer=theirs_tok, do_sample=False
            )
        assert np.array_equal(got, want.numpy())
        assert got.shape[1] < 20


def test_your_own_processors_and_criteria_are_plain_functions() -> None:
    ids = tokenizer()("Patients with")["input_ids"]
    seen: list[tuple[int, ...]] = []

    def never(ids_so_far: np.ndarray, logits: np.ndarray) -> np.ndarray:
        seen.append(ids_so_far.shape)
        logits = logits.copy()
        logits[:, free] = -np.inf
        return logits

    free = int(ours().generate(ids, max_new_tokens=1)[0, -1])
    got = ours().generate(ids, logits_processor=[never], max_new_tokens=4, min_new_tokens=4)
    assert free not in got[0, ids.shape[1] :]
    assert seen == [(1, ids.shape[1] + i) for i in range(4)]
    stopped = ours().generate(ids, stopping_criteria=[lambda ids, scores: ids.shape[1] == 7], min_new_tokens=9)
    assert stopped.shape[1] == 7
    steps: list[int] = []
    for beams in (1, 2):
        ours().generate(
            ids, stopping_criteria=[lambda ids, scores: steps.append(len(scores)) or False], num_beams=beams,
            min_new_tokens=3, max_new_tokens=3, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
    assert steps == [1, 2, 3] * 2, "a criterion receives the scores of all steps so far"
    allowed = tokenizer().convert_tokens_to_ids(["pain</w>", "and</w>"])
    received: list[np.ndarray] = []
    options: dict[str, Any] = {"min_new_tokens": 2, "max_new_tokens": 2, "temperature": 3.0, "top_k": 5}
    out = ours().generate(
        ids, logits_processor=[lambda ids, logits: received.append(logits) or logits], do_sample=True,
        renormalize_logits=True, return_dict_in_generate=True, output_scores=True, output_logits=True, **options,
    )  # fmt: skip
    for mine, logits, scores in zip(received, out.logits, out.scores, strict=True):
        assert np.flatnonzero(~np.isfinite(mine)).tolist() == [2], "after the built-in processors, here MinLength"
        free = np.delete(mine, 2)
        assert np.array_equal(free, np.delete(logits, 2)), "before those of sampling"
        assert np.isfinite(scores).sum() == 5
        whole = np.exp(scores[np.isfinite(scores)]).sum()
        assert_close("the last of all renormalizes", whole, np.float32(1), BEAM_STEP)
    only = ours().generate(ids, prefix_allowed_tokens_fn=lambda row, so_far: allowed, max_new_tokens=5)
    assert set(only[0, ids.shape[1] :].tolist()) <= set(allowed)
