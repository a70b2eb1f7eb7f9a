"""Methods and attributes of PreTrainedModel and nn.Module that people type: they work, or say what to write instead."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minibiogpt
from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError, get_backend
from minibiogpt.backend import register_backend
from tests.budgets import LANE_A, MODELS_FLOAT32
from tests.compare import assert_close
from tests.support.configs import CONFIGS, PRIMES
from tests.support.strict import StrictArray, StrictBackend

register_backend("strict", StrictBackend)

CLASSES = ("BioGptModel", "BioGptForCausalLM", "BioGptForSequenceClassification", "BioGptForTokenClassification")
IDS = [[2, 3, 5, 7]]


def build(name: str = "BioGptForCausalLM", **changes: Any) -> Any:
    return getattr(minibiogpt, name)(BioGptConfig(**PRIMES | changes))


@pytest.mark.parametrize("name", CLASSES)
def test_evaluation_is_the_only_mode(name: str) -> None:
    model = build(name)
    assert model.eval() is model
    assert model.train(False) is model
    assert model.requires_grad_(False) is model
    assert model.training is False
    for call in (model.train, model.requires_grad_):
        with pytest.raises(InputError, match="train in PyTorch, and load the checkpoint"):
            call()


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": False}])
@pytest.mark.parametrize("name", CLASSES)
def test_counts_and_names_are_transformers(name: str, changes: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    ours = build(name, **changes)
    theirs = getattr(transformers, name)(transformers.BioGptConfig(**PRIMES | changes)).eval()
    assert set(ours.state_dict()) == set(theirs.state_dict())
    assert [tuple(x.shape) for x in theirs.parameters()] == [x.shape for x in ours.parameters()]
    for options in ({}, {"exclude_embeddings": True}, {"only_trainable": True}):
        assert ours.num_parameters(**options) == theirs.num_parameters(**options)
    assert ours.get_memory_footprint() == theirs.get_memory_footprint()
    assert ours.can_generate() == theirs.can_generate()
    assert ours.base_model_prefix == theirs.base_model_prefix
    assert (ours.base_model is ours) == (theirs.base_model is theirs)
    embedding, want = ours.get_input_embeddings(), theirs.get_input_embeddings()
    assert embedding.weight.shape == tuple(want.weight.shape)
    assert (ours.get_output_embeddings() is None) == (theirs.get_output_embeddings() is None)


def test_moving_to_where_it_is_changes_nothing() -> None:
    torch = pytest.importorskip("torch")
    model = build()
    before = list(model.parameters())
    for place in (
        "cpu",
        model.device,
        torch.device("cpu"),
        model.dtype,
        "float32",
        np.float32,
        torch.float32,
        model.backend,
    ):
        assert model.to(place) is model
    assert model.to("cpu", torch.float32).to(device="cpu", dtype=None).to("cpu", non_blocking=True).cpu() is model
    assert all(a is b for a, b in zip(model.parameters(), before, strict=True))


def test_another_dtype_converts_in_place_and_keeps_the_head_tied() -> None:
    model = build()
    assert model.to(np.float64) is model
    assert {x.dtype.name for x in model.parameters()} == {"float64"}
    assert model.output_projection.weight is model.biogpt.embed_tokens.weight
    assert model(IDS).logits.dtype == np.float64
    assert_close("logits", model(IDS).logits.astype("float32"), build()(IDS).logits, MODELS_FLOAT32)
    assert model.float().dtype == "float32"
    assert np.array_equal(model(IDS).logits, build()(IDS).logits)
    assert model.double().dtype == "float64"
    for narrow, dtype in ((model.half, "float16"), (model.bfloat16, "bfloat16")):
        assert narrow() is model
        assert model.dtype == dtype == model(IDS).logits.dtype.name


@pytest.mark.parametrize("place", ["gpu", 3, "mps", "int8"])
def test_a_place_that_is_none_is_one_error(place: Any) -> None:
    with pytest.raises(InputError, match="a device must be|dtype must be one of"):
        build().to(place)
    with pytest.raises(InputError, match="to must get a device or a dtype; found devices"):
        build().to(devices="cpu")


def test_a_model_moves_to_another_backend_and_back() -> None:
    model, want, strict = build(), build()(IDS).logits, get_backend("strict")
    assert model.to(strict) is model
    assert {type(x) for x in model.parameters()} == {StrictArray}
    assert model.biogpt.backend is model.backend is strict
    assert model.output_projection.weight is model.biogpt.embed_tokens.weight
    assert_close("logits", strict.to_numpy(model(IDS).logits), want, MODELS_FLOAT32)
    model.resize_token_embeddings(70)
    assert isinstance(model.biogpt.embed_tokens.weight, StrictArray)
    model.to("cpu")
    assert np.array_equal(model(IDS).logits[..., :67], want)


@pytest.mark.parametrize("name", CLASSES)
def test_saving_takes_keywords_that_make_no_difference(name: str, tmp_path: Path) -> None:
    model = build(name)
    model.save_pretrained(tmp_path, safe_serialization=True, max_shard_size="5GB", push_to_hub=False)
    assert type(model).from_pretrained(tmp_path).num_parameters() == model.num_parameters()
    for options, message in [
        ({"push_to_hub": True}, "called with push_to_hub=False; found push_to_hub=True; write model.save_pretrained"),
        ({"safe_serialization": False}, "called with safe_serialization=True"),
        ({"max_shards": 3}, "found max_shards; did you mean max_shard_size"),
    ]:
        with pytest.raises(InputError, match=message):
            model.save_pretrained(tmp_path / "new", **options)
    assert not (tmp_path / "new").exists()


def test_attention_set_on_the_config_is_used_and_not_written(tmp_path: Path) -> None:
    config = BioGptConfig(**PRIMES)
    config._attn_implementation = "eager"
    model = BioGptForCausalLM(config)
    assert model.attn_implementation == "eager"
    model.save_pretrained(tmp_path)
    assert BioGptForCausalLM.from_pretrained(tmp_path).attn_implementation == "auto"


def test_forward_is_a_call() -> None:
    model = build()
    assert np.array_equal(model.forward(IDS).logits, model(IDS).logits)
    assert np.array_equal(model.biogpt.forward(input_ids=IDS)[0], model.biogpt(IDS)[0])


def test_attention_can_be_chosen_afterwards() -> None:
    model = build()
    model.set_attn_implementation("eager")
    assert (model.attn_implementation, model.biogpt.attn_implementation) == ("eager", "eager")
    with pytest.raises(InputError, match="attn_implementation must be one of"):
        model.set_attn_implementation("fast")


def test_tying_again_makes_the_head_the_embedding() -> None:
    model = build()
    model.get_input_embeddings().weight = model.get_input_embeddings().weight * 2
    assert model.output_projection.weight is not model.biogpt.embed_tokens.weight
    model.tie_weights()
    assert model.output_projection.weight is model.biogpt.embed_tokens.weight
    untied = build(tie_word_embeddings=False)
    untied.tie_weights()
    assert untied.output_projection.weight is not untied.biogpt.embed_tokens.weight


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("register_forward_hook", "record arrays with model"),
        ("gradient_checkpointing_enable", "models here are not trained yet"),
        ("load_adapter", "adapter=FOLDER"),
        ("lm_head", "write model.output_projection"),
        ("transformer", "the base model is model.base_model"),
        ("run_with_cache", "trace = Trace"),
        ("add_hook", "edits={name: function}"),
        ("to_tokens", "BioGptTokenizer"),
        ("cfg", "write model.config"),
        ("W_E", "model.state_dict"),
        ("output_projektion", "did you mean output_projection"),
        ("named_parameter", "did you mean named_parameters"),
        ("quux", "see its documentation"),
    ],
)
def test_another_attribute_says_what_to_write(name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=f"BioGptForCausalLM has no attribute '{name}'.*{message}"):
        getattr(build(), name)
    assert not hasattr(build(), name)


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "BioGptForCausalLM"])
def test_only_a_language_model_generates(name: str) -> None:
    with pytest.raises(AttributeError, match="only BioGptForCausalLM generates"):
        build(name).generate([[2]])


def test_a_model_is_copied_and_pickled() -> None:
    model = build(tie_word_embeddings=False)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert np.array_equal(other(IDS).logits, model(IDS).logits)


@pytest.mark.parametrize("name", [name for name, c in CONFIGS.items() if c.get("hidden_act") != "selu"])  # not theirs
def test_a_model_of_pytorch_has_every_tensor_of_state_dict(name: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    ours = BioGptForCausalLM(BioGptConfig(**CONFIGS[name]), dtype="float64")
    theirs = transformers.BioGptForCausalLM(transformers.BioGptConfig(**CONFIGS[name])).double().eval()
    theirs.load_state_dict({key: torch.tensor(x) for key, x in ours.state_dict().items()})
    with torch.no_grad():
        assert_close("logits", ours(IDS).logits, theirs(torch.tensor(IDS)).logits.numpy(), LANE_A)


@pytest.mark.parametrize("name", ["BioGptModel", "BioGptForCausalLM", "BioGptForSequenceClassification"])
def test_every_public_name_of_transformers_models_exists_or_has_advice(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    ours, theirs = getattr(minibiogpt, name), getattr(transformers, name)
    model = ours(BioGptConfig(vocab_size=50, hidden_size=8, num_attention_heads=2, num_hidden_layers=1))
    without = []
    for attribute in dir(theirs):
        if not attribute.startswith("_") and not hasattr(model, attribute):
            with pytest.raises(AttributeError) as caught:
                getattr(model, attribute)
            without += [attribute] if "see its documentation" in str(caught.value) else []
    assert without == []
