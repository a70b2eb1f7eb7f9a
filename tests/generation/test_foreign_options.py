"""transformers' options and objects that do not exist here: harmless, or one error that says what to write."""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import transformers

from minibiogpt import GenerationConfig, InputError
from minibiogpt.generation import MaxTime, TextStreamer, decode
from minibiogpt.generation.config import DEFAULTS
from minibiogpt.generation.options import foreign
from tests.support.demo import ours, tokenizer

IDS = [[2, 92, 26]]
SHORT = {"max_new_tokens": 2}
ON: dict[str, Any] = {
    "num_beam_groups": 2, "diversity_penalty": 0.5, "constraints": [3], "force_words_ids": [[5]], "penalty_alpha": 0.6,
    "dola_layers": "high", "guidance_scale": 1.5, "negative_prompt_ids": [[5]], "negative_prompt_attention_mask": [[1]],
    "watermarking_config": {}, "encoder_repetition_penalty": 2.0, "encoder_no_repeat_ngram_size": 2,
    "prompt_lookup_num_tokens": 3, "assistant_model": "a model", "assistant_tokenizer": "a tokenizer",
    "assistant_early_exit": 2, "is_assistant": True, "low_memory": True, "token_healing": True, "synced_gpus": True,
    "custom_generate": "somebody/function", "cache_implementation": "quantized",
}  # fmt: skip


def test_every_option_of_transformers_is_known() -> None:
    theirs = {name for name in vars(transformers.GenerationConfig()) if name != "watermarking_config"}
    theirs |= {name for name in inspect.signature(transformers.GenerationMixin.generate).parameters if name != "kwargs"}
    own = set(inspect.signature(decode.generate).parameters) | set(DEFAULTS)
    assert {name for name in theirs - own - {"self"} if not foreign.exists(name)} == set()
    assert set(ON) == set(foreign.OFF) | {"cache_implementation"}
    assert not set(foreign.OFF) & set(DEFAULTS)


@pytest.mark.parametrize("name", ON)
def test_an_option_that_is_on_is_refused_by_name(name: str) -> None:
    assert foreign.ADVICE.get(name) or name == "cache_implementation"
    message = f"generate must support the option; found {name}=.*, which it does not; "
    with pytest.raises(InputError, match=message):
        ours().generate(IDS, **{name: ON[name]})
    with pytest.raises(InputError, match=f"found {name}="):
        GenerationConfig(**{name: ON[name]})
    config = GenerationConfig()
    with pytest.raises(InputError, match=f"found {name}="):
        setattr(config, name, ON[name])


def test_an_option_that_is_off_or_harmless_changes_nothing() -> None:
    theirs = transformers.GenerationConfig()
    off = {name: getattr(theirs, name, None) for name in foreign.OFF}
    harmless = {name: 7 for name in foreign.HARMLESS} | {"cache_implementation": "static", "synced_gpus": False}
    want = ours().generate(IDS, **SHORT)
    assert np.array_equal(ours().generate(IDS, **SHORT, **off | harmless), want)
    assert np.array_equal(ours().generate(IDS, GenerationConfig(**SHORT, **off | harmless)), want)
    config = GenerationConfig()
    for name, value in (off | harmless).items():
        setattr(config, name, value)
        assert getattr(config, name) == value
    for name in foreign.OFF:
        assert getattr(GenerationConfig(), name) == off[name]
    assert not foreign.is_off("num_beam_groups", True)
    assert foreign.is_off("low_memory", np.bool_(False))
    assert foreign.is_off("guidance_scale", np.float32(1))


@pytest.mark.parametrize("name", sorted(set(foreign.ADVICE) - set(foreign.OFF)))
def test_an_argument_that_generate_does_not_take_says_what_to_do(name: str) -> None:
    with pytest.raises(InputError) as caught:
        ours().generate(IDS, **{name: [[1]]})
    assert caught.value.found == name
    assert caught.value.remedy == foreign.ADVICE[name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"streamer": 3}, r"streamer must have the methods put and end; found 3; pass TextStreamer\(tokenizer\)"),
        ({"logits_processor": [3]}, r"logits_processor must be a list of functions; found \[3\]; pass functions"),
        ({"logits_processor": "abc"}, "logits_processor must be a list of functions"),
        ({"stopping_criteria": 3}, "stopping_criteria must be a list of functions; found 3"),
        ({"stopping_criteria": np.array([3, 4])}, r"stopping_criteria must be a list of functions; found \[3, 4\]"),
        ({"logits_processor": np.ones((1, 2))}, r"logits_processor must be a list of functions; found \[\[1.0, 1"),
        ({"prefix_allowed_tokens_fn": [3]}, r"prefix_allowed_tokens_fn must be a function; found \[3\]"),
        (
            {"logits_processor": transformers.LogitsProcessorList([transformers.TopKLogitsWarper(3)])},
            "found transformers' TopKLogitsWarper, which needs PyTorch tensors; use the option of generate",
        ),
        ({"stopping_criteria": transformers.MaxTimeCriteria(3)}, "found transformers' MaxTimeCriteria"),
        ({"generation_config": 3}, "generation_config must be a GenerationConfig or a dict of its options; found int"),
        ({"generation_config": {"max_new_token": 3}}, "found max_new_token; did you mean max_new_tokens"),
        ({"max_lenght": 3}, "found max_lenght; did you mean max_length"),
        ({"eos_token_id": -1}, "found -1; write None for no end token"),
        ({"num_beams": None}, "num_beams must be an integer, 1 or more; found None"),
        ({"temperature": 0, "do_sample": True}, "found 0; for greedy decoding write do_sample=False"),
        ({"typical_p": 2.0, "do_sample": True}, "found 2.0; write typical_p=1.0 to turn it off"),
        ({"eta_cutoff": -1.0, "do_sample": True}, "found -1.0; write eta_cutoff=0.0 to turn it off"),
        ({"max_time": -1}, "max_time must be seconds, a number, 0 or more; found -1"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_clear_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ours().generate(IDS, **arguments)


def test_empty_lists_of_transformers_are_lists() -> None:
    empty = {
        "logits_processor": transformers.LogitsProcessorList(),
        "stopping_criteria": transformers.StoppingCriteriaList(),
    }
    assert np.array_equal(ours().generate(IDS, **SHORT, **empty), ours().generate(IDS, **SHORT))


def test_none_is_what_it_is_in_transformers() -> None:
    none = dict.fromkeys(
        ["do_sample", "use_cache", "top_k", "top_p", "temperature", "typical_p", "output_scores", "min_length",
         "repetition_penalty", "return_dict_in_generate", "renormalize_logits", "max_time"]
    )  # fmt: skip
    assert np.array_equal(ours().generate(IDS, **SHORT, **none), ours().generate(IDS, **SHORT))
    drawn = ours().generate(IDS, **SHORT, do_sample=True, seed=4, top_k=None)
    assert np.array_equal(drawn, ours().generate(IDS, **SHORT, do_sample=True, seed=4, top_k=0))
    assert np.array_equal(ours().generate(IDS, do_sample=True, top_p=0.0, **SHORT), ours().generate(IDS, **SHORT))


def test_temperature_zero_without_sampling_is_greedy_decoding() -> None:
    want = ours().generate(IDS, **SHORT)
    assert np.array_equal(ours().generate(IDS, temperature=0.0, **SHORT), want), "and no warning"
    sampling = GenerationConfig(do_sample=True)
    config = GenerationConfig(temperature=0.0, max_new_tokens=2)
    model = ours()
    before, model.generation_config = model.generation_config, sampling.over(model.generation_config)
    try:
        assert np.array_equal(model.generate(IDS, config), want), "a config of 0 turns sampling off, as in transformers"
    finally:
        model.generation_config = before


def test_a_config_may_be_a_dict_or_transformers_own() -> None:
    want = ours().generate(IDS, num_beams=2, max_new_tokens=4)
    for config in ({"num_beams": 2}, GenerationConfig(num_beams=2), transformers.GenerationConfig(num_beams=2)):
        assert np.array_equal(ours().generate(IDS, config, max_new_tokens=4), want)


def test_only_the_special_ids_of_the_model_on_request() -> None:
    model = ours()
    before, model.generation_config = (
        model.generation_config,
        GenerationConfig(num_beams=3).over(model.generation_config),
    )
    try:
        options: dict[str, Any] = {"generation_config": {"max_new_tokens": 5}, "return_dict_in_generate": True}
        merged = model.generate(IDS, **options, use_model_defaults=True)
        alone = model.generate(IDS, **options, use_model_defaults=False)
    finally:
        model.generation_config = before
    assert merged.beam_indices is not None
    assert alone.beam_indices is None
    assert np.array_equal(alone.sequences, model.generate(IDS, max_new_tokens=5))


def test_a_special_id_of_the_calls_config_comes_before_the_models() -> None:
    whole = ours().generate(IDS, max_new_tokens=5)[0].tolist()
    assert len(set(whole[3:])) == 5
    config = {"max_new_tokens": 5, "eos_token_id": whole[4]}
    for defaults in (None, True, False):
        assert ours().generate(IDS, config, use_model_defaults=defaults)[0].tolist() == whole[:5]


def test_time_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for beams in (1, 2):
        clock: Callable[[], float] = iter(np.arange(100.0)).__next__  # a second a token
        monkeypatch.setattr(decode, "MaxTime", partial(MaxTime, clock=clock))
        got = ours().generate(IDS, max_time=3.5, num_beams=beams, eos_token_id=None, max_new_tokens=20)
        assert got.shape[1] == 3 + 4
    assert ours().generate(IDS, max_time=1e6, **SHORT).shape[1] == 5


def test_invalid_logits_are_removed_on_request() -> None:
    def broken(ids: np.ndarray, logits: np.ndarray) -> np.ndarray:
        return np.where(np.arange(logits.shape[-1]) == 5, np.inf, np.nan)

    options: dict[str, Any] = {"prefix_allowed_tokens_fn": lambda row, ids: [7], "max_new_tokens": 1}
    out = ours().generate(IDS, remove_invalid_values=True, output_scores=True, return_dict_in_generate=True, **options)
    assert np.isfinite(out.scores[0]).all()
    assert out.sequences[0, -1] == 7
    model = type(ours()).from_pretrained("demo")
    model.output_projection.weight = model.output_projection.weight.copy()
    model.output_projection.weight[5] = np.nan
    assert model.generate(IDS, remove_invalid_values=True, **SHORT).shape == (1, 5)
    with pytest.raises(InputError, match="logits must be finite"):
        model.generate(IDS, **SHORT)


def test_warnings_point_at_the_line_of_the_caller(tmp_path: Any) -> None:
    config = GenerationConfig.from_dict({"num_beam_groups": 4})
    for arguments in ({"temperature": 0.3}, {"generation_config": config}):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ours().generate(IDS, **SHORT, **arguments)
        assert [warning.filename for warning in caught] == [__file__]


def test_a_streamer_of_transformers_receives_what_it_expects(capsys: pytest.CaptureFixture[str]) -> None:
    theirs = transformers.BioGptTokenizer.from_pretrained("minibiogpt/demo")
    out = io.StringIO()
    ours().generate(IDS, streamer=transformers.TextStreamer(theirs), max_new_tokens=4)
    ours().generate(IDS, streamer=TextStreamer(tokenizer(), stream=out), max_new_tokens=4)
    assert capsys.readouterr().out == out.getvalue()
    assert out.getvalue().startswith("</s>")


def test_every_public_name_of_transformers_config_exists_or_says_what_to_write() -> None:
    config = GenerationConfig()
    public = [name for name in dir(transformers.GenerationConfig()) if not name.startswith("_")]
    assert [name for name in public if not hasattr(config, name) and name not in foreign.ADVICE] == []
    with pytest.raises(AttributeError, match="no attribute 'to_json_file'; write save_pretrained"):
        config.to_json_file("x")
    assert not [name for name in foreign.ADVICE if name in DEFAULTS], "advice for names that do not exist"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("encoder_outputs", "BioGPT has no encoder: drop it"),
        ("decoder_input_ids", "BioGPT is a decoder: write input_ids"),
        ("src_lang", "BioGPT has one language, English: drop it"),
        ("stop_token_ids", r"write eos_token_id=\[...\]"),
    ],
)
def test_arguments_of_other_models_say_what_to_write(name: str, message: str) -> None:
    with pytest.raises(InputError, match=f"found {name}; {message}$"):
        ours().generate(IDS, **{name: np.array([[3]])})
    assert np.array_equal(ours().generate(IDS, **SHORT, **{name: None}), ours().generate(IDS, **SHORT))
