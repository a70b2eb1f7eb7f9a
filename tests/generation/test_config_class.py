"""GenerationConfig as a class: attributes, dicts, JSON, null fields; against transformers' own."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers

from minibiogpt import BioGptConfig, BioGptForCausalLM, CheckpointError, GenerationConfig, InputError
from minibiogpt.generation.config import DEFAULTS
from minibiogpt.generation.options.valid import CHECKS
from tests.support.configs import CONFIGS

NOT_FALSE = {name: value for name, value in DEFAULTS.items() if value and name != "num_beams"}
OPTIONS: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 7, "eos_token_id": [2, 5], "min_length": 2}


def test_defaults_are_transformers() -> None:
    theirs = transformers.GenerationConfig()
    for name, value in DEFAULTS.items():
        if name not in ("scoring", "max_length"):  # max_length: None here, and 20 there, which both mean 20 new tokens
            want = getattr(theirs, name)
            assert want == value or (want is None and value is False), name
    assert set(DEFAULTS) == set(CHECKS)


def test_unknown_attributes_suggest_the_closest_options() -> None:
    config = GenerationConfig()
    with pytest.raises(
        AttributeError, match="GenerationConfig has no attribute 'max_lenght'; did you mean max_length?"
    ):
        config.max_lenght = 5
    with pytest.raises(AttributeError, match="did you mean num_beams?"):
        _ = config.num_beam
    with pytest.raises(InputError, match="GenerationConfig must be called with known arguments; found foo"):
        GenerationConfig(max_new_tokens=5, foo=1)
    assert not hasattr(config, "foo")


def test_values_are_checked_where_they_are_set() -> None:
    config = GenerationConfig()
    config.temperature = 0.0  # not used
    for name, value in (("num_beams", "3"), ("do_sample", 2), ("eos_token_id", -1), ("early_stopping", "soon")):
        with pytest.raises(InputError, match=f"{name} must be"):
            setattr(config, name, value)
        with pytest.raises(InputError, match=f"{name} must be"):
            GenerationConfig(**{name: value})
        assert getattr(config, name) == DEFAULTS[name]
    config.do_sample = True
    with pytest.raises(InputError, match="temperature must be"):
        config.validate()
    with pytest.raises(InputError, match="top_k must be"):
        config.top_k = -1
    config.eos_token_id = np.array([2, 5])
    assert config.eos_token_id == [2, 5]


def test_dicts_and_json_are_transformers() -> None:
    ours, theirs = GenerationConfig(**OPTIONS), transformers.GenerationConfig(**OPTIONS)
    version = {"transformers_version": transformers.__version__}
    assert ours.to_diff_dict() | version == theirs.to_diff_dict()
    assert {name: x for name, x in ours.to_dict().items() if x} == ours.to_diff_dict() | NOT_FALSE
    assert json.loads(ours.to_json_string()) | version == json.loads(theirs.to_json_string())
    assert json.loads(ours.to_json_string(use_diff=False))["top_k"] == 50
    assert ours.update(num_beams=2, foo=3) == {"foo": 3} == theirs.update(num_beams=2, foo=3)
    assert ours.num_beams == theirs.num_beams == 2
    with pytest.raises(InputError, match="num_beams must be"):
        ours.update(num_beams=0, max_new_tokens=1)
    assert ours.max_new_tokens == 7, "a refused update changes nothing"


def test_copies_are_equal_and_apart() -> None:
    config = GenerationConfig(**OPTIONS, num_beam_groups=1)
    for other in (copy.deepcopy(config), copy.copy(config), pickle.loads(pickle.dumps(config))):
        assert other == config
        other.num_beams = 9
        assert config.num_beams == 3
    for other in (config.updated({}), config.over(GenerationConfig()), GenerationConfig(extra=config.extra)):
        other.synced_gpus = False
        assert "synced_gpus" not in config.extra


def test_null_means_off_or_not_set() -> None:
    config = GenerationConfig.from_dict(dict.fromkeys([*DEFAULTS, "num_beam_groups", "house"]))
    on = {name for name, value in DEFAULTS.items() if getattr(config, name) != value}
    assert on == {"min_length", "temperature", "top_k", "top_p", "typical_p", "epsilon_cutoff", "eta_cutoff",
                  "repetition_penalty", "no_repeat_ngram_size"}  # fmt: skip
    assert all(getattr(config, name) is None for name in on)
    model = BioGptForCausalLM.from_config(BioGptConfig(**CONFIGS["gelu"]))
    want = model.generate([[2, 5, 9]], eos_token_id=None)
    model.generation_config = config
    assert np.array_equal(model.generate([[2, 5, 9]]), want)
    assert model.generate([[2, 5, 9]], do_sample=True).shape == want.shape


def test_files_of_other_names_and_options_of_the_call(tmp_path: Path) -> None:
    GenerationConfig(**OPTIONS).save_pretrained(tmp_path / "new", config_file_name="mine.json")
    again = GenerationConfig.from_pretrained(tmp_path / "new", "mine.json", max_new_tokens=3)
    assert (again.num_beams, again.max_new_tokens) == (3, 3)
    with pytest.raises(CheckpointError, match="generation options must be in generation_config.json"):
        GenerationConfig.from_pretrained(tmp_path / "new")
    assert GenerationConfig.from_pretrained("demo").eos_token_id == 2


def test_outputs_that_config_json_requests_are_returned_as_in_transformers() -> None:
    """They make ``generate`` return a dict, if the model has no generation_config.json."""
    for name in ("output_attentions", "output_hidden_states"):
        config = BioGptConfig(**CONFIGS["gelu"], **{name: True})
        theirs = transformers.GenerationConfig.from_model_config(
            transformers.BioGptConfig(**CONFIGS["gelu"], attn_implementation="eager", **{name: True})
        )
        ours = GenerationConfig.from_model_config(config)
        assert ours.return_dict_in_generate is theirs.return_dict_in_generate is True
        out = BioGptForCausalLM.from_config(config).generate([[2, 5, 9]], max_new_tokens=2)
        assert len(out[name.removeprefix("output_")]) == 2


def test_a_copy_has_unknown_options_of_its_own() -> None:
    config = GenerationConfig(num_beam_groups=1)
    other = copy.copy(config)
    other.penalty_alpha = 0.0
    assert config.extra == {"num_beam_groups": 1}
