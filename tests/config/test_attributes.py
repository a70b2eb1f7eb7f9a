"""BioGptConfig as an object: attributes set and read, JSON both ways with transformers, copies, misspelt names."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptForSequenceClassification, CheckpointError, InputError
from tests.support.configs import PRIMES

transformers = pytest.importorskip("transformers")


def test_unknown_keywords_are_attributes(tmp_path: Path) -> None:
    config = BioGptConfig(foo=3, note=[1, "µ"])
    assert (config.foo, config.extra) == (3, {"foo": 3, "note": [1, "µ"]})
    config.foo = 4
    config.bar = {"a": 1}
    config.save_pretrained(tmp_path)
    again = BioGptConfig.from_pretrained(tmp_path)
    assert (again.foo, again.bar, again.note) == (4, {"a": 1}, [1, "µ"])
    theirs = transformers.BioGptConfig.from_pretrained(tmp_path)
    assert (theirs.foo, theirs.bar) == (4, {"a": 1})


def test_a_copy_has_attributes_of_its_own() -> None:
    config = BioGptConfig(foo=3)
    for other in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config)), config.changed(foo=3)):
        assert other == config
        other.foo = 9
        assert config.foo == 3
        assert other != config
    assert dataclasses.replace(config, vocab_size=50).foo == 3
    assert BioGptConfig(50, 32).hidden_size == 32


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("hiden_size", "BioGptConfig has no attribute 'hiden_size'; did you mean hidden_size"),
        ("n_layer", "write num_hidden_layers"),
        ("quux", "see its documentation"),
    ],
)
def test_an_attribute_that_is_not_there_says_what_is(name: str, message: str) -> None:
    config = BioGptConfig()
    with pytest.raises(AttributeError, match=message):
        getattr(config, name)
    assert getattr(config, name, None) is None
    assert not hasattr(transformers.BioGptConfig(), name)


def test_attributes_of_every_config_have_transformers_defaults() -> None:
    ours, theirs = BioGptConfig(), transformers.BioGptConfig()
    compared = {name for name in vars(theirs) if not name.startswith("_")} | {
        "use_return_dict", "num_labels", "model_type", "torch_dtype", "name_or_path", "output_attentions",
    }  # fmt: skip
    different = {name for name in compared if getattr(ours, name, "absent") != getattr(theirs, name)}
    assert different == {
        "encoder_no_repeat_ngram_size", "diversity_penalty", "num_beam_groups", "remove_invalid_values",
    }, "what generate does not have"  # fmt: skip


def test_fields_are_set_and_checked_at_once() -> None:
    config = BioGptConfig()
    config.num_labels = 3
    assert config.label2id == {"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2}
    config.id2label = {0: "no", 1: "yes"}
    assert (config.num_labels, config.label2id) == (2, {"no": 0, "yes": 1})
    config.num_labels = 2
    assert config.id2label == {0: "no", 1: "yes"}, "the same number keeps the names"
    config.label2id = {"no": 0, "yes": 1}
    config.pad_token_id = config.eos_token_id
    assert config.pad_token_id == 2
    config.hidden_size, config.num_attention_heads = 33, 3  # in between they don't fit together
    with pytest.raises(InputError, match="hidden_size must be an integer, 1 or more; found hidden_size 0"):
        config.hidden_size = 0
    with pytest.raises(InputError, match="problem_type must be null or"):
        config.problem_type = "ranking"
    assert (config.hidden_size, config.problem_type) == (33, None)
    config.hidden_size = 32
    with pytest.raises(InputError, match="hidden_size must be divisible"):
        config.check()
    with pytest.raises(InputError, match="hidden_size must be divisible"):
        BioGptForSequenceClassification(config)


def test_a_default_that_is_changed_in_place_is_not_that_of_other_configs() -> None:
    BioGptConfig().pruned_heads[0] = [1]
    assert BioGptConfig().pruned_heads == transformers.BioGptConfig().pruned_heads == {}


def test_changing_the_dict_of_a_config_changes_nothing_else() -> None:
    config = BioGptConfig(note=[1], id2label={0: "no", 1: "yes", 2: "?"})
    values = config.to_dict()
    values["note"].append(2)
    values["label2id"]["no"] = 9
    assert (config.note, config.label2id) == ([1], {"no": 0, "yes": 1, "?": 2})


def test_each_of_several_end_tokens_must_be_in_the_vocabulary() -> None:
    assert BioGptConfig(**PRIMES, eos_token_id=[2, 66]).eos_token_id == [2, 66]
    with pytest.raises(
        InputError, match=r"eos_token_id must be null or an id in \[0, 67\); found eos_token_id \[2, 67\]"
    ):
        BioGptConfig(**PRIMES, eos_token_id=[2, 67])


@pytest.mark.parametrize("first", ["num_labels", "id2label", "label2id"])
def test_labels_set_in_any_order_are_transformers(first: str) -> None:
    values: dict[str, Any] = {
        "num_labels": 3,
        "id2label": {0: "a", 1: "b", 2: "c"},
        "label2id": {"a": 0, "b": 1, "c": 2},
    }
    ours, theirs = BioGptConfig(), transformers.BioGptConfig()
    for name in (first, *(values.keys() - {first})):
        setattr(ours, name, values[name])
        setattr(theirs, name, values[name])
    assert (ours.num_labels, ours.id2label) == (theirs.num_labels, theirs.id2label)
    assert ours.label2id == values["label2id"]


def test_json_goes_both_ways(tmp_path: Path) -> None:
    values = PRIMES | {"id2label": {0: "no", 1: "yes", 2: "?"}, "label2id": {"no": 0, "yes": 1, "?": 2}}
    theirs = transformers.BioGptConfig(**values, foo=[1], problem_type="regression", dtype="float16")
    theirs.save_pretrained(tmp_path / "theirs")
    ours = BioGptConfig.from_pretrained(tmp_path / "theirs")
    assert (ours.dtype, ours.torch_dtype, ours.foo, ours.problem_type) == ("float16", "float16", [1], "regression")
    ours.save_pretrained(tmp_path / "ours")
    back = transformers.BioGptConfig.from_pretrained(tmp_path / "ours")
    assert back.to_dict() == theirs.to_dict()
    for text in (ours.to_json_string(), ours.to_json_string(use_diff=False), json.dumps(ours.to_diff_dict())):
        assert BioGptConfig.from_dict(json.loads(text)) == ours
        assert transformers.BioGptConfig.from_dict(json.loads(text)).to_dict() == theirs.to_dict()
    ours.to_json_file(tmp_path / "any.json")
    assert BioGptConfig.from_json_file(tmp_path / "any.json") == ours
    assert BioGptConfig.from_pretrained(tmp_path / "any.json") == ours
    assert transformers.BioGptConfig.from_json_file(tmp_path / "any.json").to_dict() == theirs.to_dict()
    assert BioGptConfig.from_dict(theirs.to_dict()).id2label == ours.id2label


def test_from_pretrained_takes_changes_and_keywords_of_files() -> None:
    config = BioGptConfig.from_pretrained("demo", num_labels=3, cache_dir="x", local_files_only=True)
    assert (config.num_labels, config.vocab_size, config.name_or_path) == (3, 1874, "demo")
    assert "name_or_path" not in config.to_dict()
    assert config.changed(name_or_path="elsewhere") == config, "where it was read is not compared"
    with pytest.raises(
        InputError, match="must be called with known arguments; found num_label; did you mean num_labels"
    ):
        BioGptConfig.from_pretrained("demo", num_label=3)
    config, unused = BioGptConfig.from_pretrained("demo", use_cache=False, foo=False, return_unused_kwargs=True)
    assert (config.use_cache, unused) == (False, {"foo": False})
    with pytest.raises(InputError, match="a model must be 'demo', a folder, or a hub id"):
        BioGptConfig.from_pretrained(None)
    with pytest.raises(CheckpointError, match=r"found no file .*absent\.json"):
        BioGptConfig.from_json_file("absent.json")


def test_update_sets_several() -> None:
    config = BioGptConfig()
    config.update({"num_labels": 4, "foo": 1, "use_cache": None})
    assert (config.num_labels, config.foo, config.use_cache) == (4, 1, False)
    with pytest.raises(InputError, match="update must get a dict; found list"):
        config.update([1])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="extra must be a dict; found int"):
        BioGptConfig(extra=3)  # type: ignore[arg-type]


def test_saving_to_the_hub_is_refused(tmp_path: Path) -> None:
    BioGptConfig().save_pretrained(tmp_path, push_to_hub=False)
    with pytest.raises(InputError, match="found push_to_hub=True; write config.save_pretrained"):
        BioGptConfig().save_pretrained(tmp_path, push_to_hub=True)


def test_arrays_are_written_and_other_objects_refused() -> None:
    config = BioGptConfig(mean=np.float64(0.5), ids=np.arange(2))
    assert json.loads(config.to_json_string())["ids"] == [0, 1]
    config.function = print
    with pytest.raises(InputError, match="every value of a config must be JSON"):
        config.to_json_string()


def test_a_dtype_is_stored_by_name() -> None:
    torch = pytest.importorskip("torch")
    for dtype in (torch.float16, np.float16, np.dtype("float16"), "float16", "torch.float16"):
        config = BioGptConfig(torch_dtype="float32")
        config.dtype = dtype
        assert (config.torch_dtype, config.extra) == ("float16", {"dtype": "float16"})


def test_a_dtype_that_is_null_is_looked_up_under_its_other_name() -> None:
    config = BioGptConfig.from_dict({"dtype": None, "torch_dtype": "float16"})
    assert (config.dtype, config.torch_dtype) == ("float16", "float16")


def test_too_many_or_doubled_fields_are_one_error() -> None:
    with pytest.raises(InputError, match="a config must get each field once; found vocab_size"):
        BioGptConfig(5, vocab_size=6)
    with pytest.raises(InputError, match="found 60 positional arguments"):
        BioGptConfig(*range(1, 61))


@pytest.mark.parametrize(
    ("name", "advice"),
    [("hiden_size", "did you mean hidden_size"), ("layer_norm_epsilon", "did you mean layer_norm_eps"),
     ("num_layers", "write num_hidden_layers"), ("dropout", "write hidden_dropout_prob")],
)  # fmt: skip
def test_a_name_that_was_meant_as_a_field_is_kept_with_a_warning(name: str, advice: str) -> None:
    with pytest.warns(UserWarning, match=f"{name} is kept, but has no effect: {advice}") as caught:
        config = BioGptConfig(**{name: 3})
    assert caught[0].filename == __file__
    assert getattr(config, name) == 3
    with pytest.warns(UserWarning, match=advice):
        setattr(BioGptConfig(), name, 3)


def test_other_names_are_kept_without_a_warning() -> None:
    for name in ("foo", "type_vocab_size", "is_decoder", "torch_dtype", "gradient_checkpointing"):
        config = BioGptConfig(**{name: None if name == "torch_dtype" else 1})
        setattr(config, name, getattr(config, name))
    assert BioGptConfig.from_dict({"hiden_size": 3}).hiden_size == 3, "a file may hold anything"


def test_an_option_of_generation_is_read_when_a_model_is_built() -> None:
    config = BioGptConfig(num_beams=3, vocab_size=50, hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
    model = BioGptForCausalLM(config)
    assert model.generation_config.num_beams == 3
    with pytest.warns(UserWarning, match="set model.generation_config.num_beams") as caught:
        model.config.num_beams = 2
    assert caught[0].filename == __file__
