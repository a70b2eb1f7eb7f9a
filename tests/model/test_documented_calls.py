"""The lines of BioGPT's documentation in transformers (4.34 and 4.57) run as typed, with NumPy's name for PyTorch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minibiogpt
from minibiogpt import (
    BioGptConfig,
    BioGptForCausalLM,
    BioGptForSequenceClassification,
    BioGptForTokenClassification,
    BioGptModel,
    InputError,
)
from tests.budgets import MODELS_FLOAT32
from tests.compare import assert_close
from tests.support.configs import PRIMES

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

IDS = np.array([[2, 3, 5, 7, 11], [2, 13, 17, 1, 1]])
MASK = (IDS != 1).astype(np.int64)
INPUTS = {"input_ids": IDS, "attention_mask": MASK}
CLASSES = ("BioGptModel", "BioGptForCausalLM", "BioGptForSequenceClassification", "BioGptForTokenClassification")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any]]:
    torch.manual_seed(0)
    found = {}
    for name in CLASSES:
        folder: Path = tmp_path_factory.mktemp(name)
        config = transformers.BioGptConfig(**PRIMES, num_labels=3, initializer_range=0.3)
        theirs = getattr(transformers, name)(config).eval()
        theirs.set_attn_implementation("eager")
        theirs.save_pretrained(folder)
        found[name] = getattr(minibiogpt, name).from_pretrained(folder), theirs
    return found


def test_a_configuration_and_a_model_from_it() -> None:
    configuration = BioGptConfig(**PRIMES)
    model = BioGptModel(configuration)
    configuration = model.config
    assert configuration.hidden_size == 21


def test_causal_language_modeling(pairs: dict[str, Any]) -> None:
    model, theirs = pairs["BioGptForCausalLM"]
    outputs = model(**INPUTS, labels=INPUTS["input_ids"])
    with torch.no_grad():
        want = theirs(torch.tensor(IDS), attention_mask=torch.tensor(MASK), labels=torch.tensor(IDS))
    assert_close("loss", outputs.loss, want.loss.numpy(), MODELS_FLOAT32)
    assert round(outputs.loss.item(), 2) == round(want.loss.item(), 2)
    assert (outputs.logits.argmax(-1) == want.logits.argmax(-1).numpy()).all()


def test_token_classification(pairs: dict[str, Any]) -> None:
    model, theirs = pairs["BioGptForTokenClassification"]
    logits = model(**INPUTS).logits
    predicted_token_class_ids = logits.argmax(-1)
    predicted_tokens_classes = [model.config.id2label[t.item()] for t in predicted_token_class_ids[0]]
    assert len(predicted_tokens_classes) == 5
    loss = model(**INPUTS, labels=predicted_token_class_ids).loss
    labels = torch.tensor(predicted_token_class_ids)
    want = theirs(torch.tensor(IDS), attention_mask=torch.tensor(MASK), labels=labels).loss
    assert round(loss.item(), 2) == round(want.item(), 2)


@pytest.mark.parametrize("as_labels", [list, np.array, torch.tensor])
def test_sequence_classification_with_one_label(as_labels: Any, pairs: dict[str, Any]) -> None:
    model, theirs = pairs["BioGptForSequenceClassification"]
    inputs = {"input_ids": IDS[:1]}
    predicted_class_id = model(**inputs).logits.argmax().item()
    assert model.config.id2label[predicted_class_id].startswith("LABEL_")
    loss = model(**inputs, labels=as_labels([1])).loss
    want = theirs(torch.tensor(IDS[:1]), labels=torch.tensor([1])).loss.detach().numpy()
    assert_close("loss", loss, want, MODELS_FLOAT32)


def test_sequence_classification_with_several_labels(pairs: dict[str, Any], tmp_path: Path) -> None:
    _, theirs = pairs["BioGptForSequenceClassification"]
    theirs.save_pretrained(tmp_path)
    kind = {"problem_type": "multi_label_classification"}
    model = BioGptForSequenceClassification.from_pretrained(tmp_path, **kind)
    logits = model(**INPUTS).logits
    predicted_class_ids = np.arange(0, logits.shape[-1])[1 / (1 + np.exp(-logits))[0] > 0.5]
    labels = np.zeros((2, model.config.num_labels))
    labels[:, predicted_class_ids] = 1
    reference = transformers.BioGptForSequenceClassification.from_pretrained(tmp_path, **kind).eval()
    want = reference(torch.tensor(IDS), attention_mask=torch.tensor(MASK), labels=torch.tensor(labels)).loss
    assert_close(
        "loss",
        model(**INPUTS, labels=labels).loss.astype("float64"),
        want.detach().numpy().astype("float64"),
        MODELS_FLOAT32,
    )


# By position, in transformers' order. None where an argument is optional.
HEADS = np.array([[1, 0, 1], [0.5, 1, 1]], dtype=np.float32)
POSITIONS = {
    "BioGptModel": [MASK, HEADS, None, None, False, None, True, True, True],
    "BioGptForCausalLM": [MASK, HEADS, None, None, IDS, False, None, True, True, True],
    "BioGptForSequenceClassification": [MASK, HEADS, None, None, [0, 1], False, None, True, True, True],
    "BioGptForTokenClassification": [None, MASK, HEADS, None, None, IDS % 3, False, None, True, True, True],
}


@pytest.mark.parametrize("name", CLASSES)
def test_arguments_by_position_have_transformers_order(name: str, pairs: dict[str, Any]) -> None:
    ours, theirs = pairs[name]
    args = [IDS, *POSITIONS[name]]
    tensors = [torch.tensor(x) if isinstance(x, np.ndarray | list) else x for x in args]
    with torch.no_grad():
        want = theirs(*tensors)
    got = ours(*args)
    assert list(got.keys()) == list(want.keys())
    for key in set(got.keys()) & {"loss", "logits", "last_hidden_state"}:
        assert_close(key, got[key], want[key].numpy(), MODELS_FLOAT32)
    assert len(got.attentions) == len(want.attentions)


def test_two_arguments_of_a_token_classifier_are_ids_and_mask(pairs: dict[str, Any]) -> None:
    model, _ = pairs["BioGptForTokenClassification"]
    assert np.array_equal(model(IDS, MASK).logits, model(**INPUTS).logits)
    assert not np.array_equal(model(IDS, MASK[:, ::-1]).logits, model(**INPUTS).logits)


@pytest.mark.parametrize("name", CLASSES)
def test_arguments_that_make_no_difference_are_accepted(name: str, pairs: dict[str, Any]) -> None:
    model, _ = pairs[name]
    position, types = np.arange(5), np.zeros_like(IDS)
    got = model(**INPUTS, token_type_ids=types, cache_position=position, past_key_values=None, inputs_embeds=None)
    assert np.array_equal(got[0], model(**INPUTS)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"attention_maks": MASK},
            "a model must be called with known arguments; found attention_maks; did you mean atten",
        ),
        ({"label": IDS}, "did you mean labels"),
        ({"encoder_hidden_states": IDS}, "BioGPT has no cross-attention"),
        ({"offset_mapping": IDS}, "take it out of the encoding first"),
        ({"max_new_tokens": 5}, "pass it to generate"),
        ({"cache_position": [1, 2, 3, 4, 5]}, "cache_position must be where the tokens follow the cache: 0 to 4"),
        ({"logits_to_keep": 1}, "logits_to_keep must be 0"),  # but a language model has it
    ],
)
@pytest.mark.parametrize("name", CLASSES)
def test_an_argument_that_would_be_lost_is_an_error(
    name: str, options: dict[str, Any], message: str, pairs: dict[str, Any]
) -> None:
    if name == "BioGptForCausalLM" and "logits_to_keep" in options:
        assert pairs[name][0](**INPUTS, **options).logits.shape[1] == 1
        return
    with pytest.raises(InputError, match=message):
        pairs[name][0](**INPUTS, **options)


@pytest.mark.parametrize("name", CLASSES)
def test_text_and_an_encoding_as_input_say_what_to_write(name: str, pairs: dict[str, Any]) -> None:
    model = pairs[name][0]
    for text in ("a text", ["a text", "another"]):
        with pytest.raises(InputError, match=r"input_ids must be integers.*found text .*tokenize first: tok\(text\)"):
            model(text)
    with pytest.raises(InputError, match=r"found dict; unpack the encoding: model\(\*\*enc\)"):
        model(INPUTS)


def test_too_many_or_doubled_arguments_are_one_error(pairs: dict[str, Any]) -> None:
    model = pairs["BioGptForCausalLM"][0]
    with pytest.raises(InputError, match="a model must get each input once; found 13 by position"):
        model(IDS, *[None] * 12)
    with pytest.raises(InputError, match="found attention_mask twice"):
        model(IDS, MASK, attention_mask=MASK)
    with pytest.raises(InputError, match="found head_mask twice"):
        BioGptForTokenClassification(BioGptConfig(**PRIMES))(IDS, None, MASK, None, head_mask=None)


def test_base_model_without_loss_says_so() -> None:
    with pytest.raises(InputError, match="the base model has no loss"):
        BioGptModel(BioGptConfig(**PRIMES))(IDS, labels=IDS)


def test_a_tuple_without_return_dict(pairs: dict[str, Any]) -> None:
    model: BioGptForCausalLM = pairs["BioGptForCausalLM"][0]
    assert isinstance(model(IDS, return_dict=False), tuple)
    model.config.torchscript = True
    assert not model.config.use_return_dict
    assert isinstance(model(IDS), tuple)
    model.config.torchscript = False
    assert not isinstance(model(IDS), tuple)


def test_a_misspelt_name_of_the_ids_is_named(pairs: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="found input_id; did you mean input_ids"):
        pairs["BioGptModel"][0](input_id=IDS)
