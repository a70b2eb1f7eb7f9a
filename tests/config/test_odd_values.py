"""Odd values in config.json: what transformers loads, this package loads too, or refuses for a reason."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptForSequenceClassification, InputError
from tests.budgets import MODELS_FLOAT32
from tests.compare import assert_close
from tests.support.configs import PRIMES

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

IDS = [[2, 5, 7, 11, 1], [2, 3, 5, 1, 1]]
ODD: list[Any] = [None, True, 0, 1, -1, 2, 3.0, 0.5, -0.5, 1.5, "", "1", "gelu", [], [2], [2, 3], [1.0], {}, {"a": 1}]
FIELDS = {field: ODD for field in (*PRIMES, "scale_embedding", "use_cache", "tie_word_embeddings", "return_dict")}
FIELDS |= {field: ODD for field in ("output_attentions", "output_hidden_states", "initializer_range", "layer_norm_eps")}
FIELDS |= {field: ODD for field in ("hidden_dropout_prob", "attention_probs_dropout_prob", "activation_dropout")}
FIELDS |= {field: ODD for field in ("layerdrop", "pad_token_id", "bos_token_id", "eos_token_id", "problem_type")}
FIELDS |= {field: [float(size), size] for field, size in PRIMES.items()}
FIELDS["hidden_act"] = [
    *("gelu", "gelu_10", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh", "gelu_python_tanh"),
    *("gelu_accurate", "laplace", "leaky_relu", "linear", "mish", "quick_gelu", "relu", "relu2", "relu6", "sigmoid"),
    *("silu", "swish", "tanh", "prelu", "selu", "GELU", "", None, 3, ["gelu"]),
]
FIELDS["num_labels"] = [None, 1, 3, 3.0, -1, "3", [3], True]
FIELDS["id2label"] = [
    *(None, {}, {"0": 0}, {"0": "a", "1": "b"}, {"1": "b", "0": "a"}, {"0": 1.5}, {"0": True}, {"0": None}),
    *({"0": ["a"]}, {"0": "a", "2": "b"}, {"a": "b"}, {"0": "a", "1": "a"}, ["a", "b"], "ab", {"00": "a"}),
]
FIELDS["label2id"] = [None, {}, {"a": 0, "b": 1}, {"LABEL_0": 0, "LABEL_1": 1}, {"LABEL_0": "0"}, ["a"], "a"]
for field in ("dtype", "torch_dtype"):
    FIELDS[field] = [None, "float16", "float32", "bfloat16"]
for field in ("min_length", "max_length", "num_beams", "top_k", "temperature", "top_p"):
    FIELDS[field] = [None, 1]
FIELDS |= {"do_sample": [None, False], "bad_words_ids": [None, [[3]]]}
FIELDS |= {"is_decoder": [None, True], "architectures": [None, [], ["X"]], "note": ODD, "pruned_heads": [None, {}]}
FIELDS |= {"name_or_path": [None, "x", 3], "_name_or_path": [None, "x"], "torchscript": [None, True]}

# (field, value): what transformers loads and this package refuses.
BOOLEAN = "a truth value is true, false, 0, 1 or null; transformers takes any text, also 'false', as true"
PROBABILITY = "transformers does not look at what only training uses; it is no probability"
TOKEN = "an id that is no row of the embedding is no id; transformers finds out in generate, or never"
NUMBER = "transformers does not look at it unless it draws weights; it is no standard deviation"
REFUSED: dict[str, tuple[str, Any]] = {
    "scale_embedding": (BOOLEAN, lambda x: True), "use_cache": (BOOLEAN, lambda x: True),
    "tie_word_embeddings": (BOOLEAN, lambda x: True), "return_dict": (BOOLEAN, lambda x: True),
    "output_attentions": (BOOLEAN, lambda x: True), "output_hidden_states": (BOOLEAN, lambda x: True),
    "attention_probs_dropout_prob": (PROBABILITY, lambda x: True), "layerdrop": (PROBABILITY, lambda x: True),
    "hidden_dropout_prob": (PROBABILITY, lambda x: True), "activation_dropout": (PROBABILITY, lambda x: True),
    "initializer_range": (NUMBER, lambda x: True), "layer_norm_eps": (NUMBER, lambda x: True),
    "bos_token_id": (TOKEN, lambda x: isinstance(x, bool) or not isinstance(x, int | None)),
    "eos_token_id": (TOKEN, lambda x: isinstance(x, bool) or not isinstance(x, int | None)),
    "pad_token_id": (TOKEN, lambda x: isinstance(x, bool)),
    "hidden_act": ("another equation", lambda x: x not in ("gelu", "gelu_new", "relu", "gelu_fast")),
    "id2label": ("each class needs a name", lambda x: "0" not in x or "2" in x or isinstance(x["0"], list | None)),
    "num_labels": ("a number of classes is not negative, no text, no truth value", lambda x: x in (-1, True)),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("odd")
    transformers.BioGptForCausalLM(transformers.BioGptConfig(**PRIMES, initializer_range=0.3)).save_pretrained(path)
    tensors = load_file(path / "model.safetensors")  # without the tied head, which some configs below untie
    head = tensors["biogpt.embed_tokens.weight"].copy()
    save_file(tensors | {"output_projection.weight": head}, path / "model.safetensors", metadata={"format": "pt"})
    return path


def theirs(folder: Path, kind: str = "CausalLM") -> Any:
    """Return transformers' model and its logits, or the error: any, because it does not check its config."""
    try:
        torch.manual_seed(0)
        model = getattr(transformers, f"BioGptFor{kind}").from_pretrained(folder, attn_implementation="eager").eval()
        with torch.no_grad():
            return model, model(torch.tensor(IDS))
    except Exception as error:
        return None, error


def ours(folder: Path) -> Any:
    try:
        model = BioGptForCausalLM.from_pretrained(folder)
        return model, model(IDS)
    except InputError as error:
        return None, error


@pytest.mark.parametrize("field", FIELDS)
def test_what_transformers_loads_is_loaded_or_refused_for_a_reason(field: str, folder: Path, tmp_path: Path) -> None:
    values = json.loads((folder / "config.json").read_text())
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    loaded = 0
    for value in FIELDS[field]:
        (tmp_path / "config.json").write_text(json.dumps(values | {field: value}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            (reference, expected), (model, got) = theirs(tmp_path), ours(tmp_path)
            if reference is None:
                continue
            if model is None:
                reason, applies = REFUSED.get(field, ("no reason", lambda x: False))
                assert applies(value), (field, value, reason, str(got))
                assert field in str(got), (field, value, str(got))
                continue
            loaded += 1
            assert isinstance(got, tuple) == isinstance(expected, tuple), (field, value)
            assert len(got if isinstance(got, tuple) else got.keys()) == len(expected), (field, value)
            logits, want = (x[0] if isinstance(x, tuple) else x.logits for x in (got, expected))
            assert_close(f"{field} {value}", logits, want.numpy(), MODELS_FLOAT32)
            assert model.config.num_labels == reference.config.num_labels or value == {}, (field, value)
            model.generate([[2, 5]], max_new_tokens=2)  # what loads also generates
    assert loaded, field


@pytest.mark.parametrize(
    ("given", "names"),
    [({"0": 0}, {0: "0"}), ({"0": 1.5, "1": True}, {0: "1.5", 1: "True"}), ({0: "a", "1": "b"}, {0: "a", 1: "b"})],
)
def test_names_that_are_numbers_count_by_their_text(given: dict[Any, Any], names: dict[int, str]) -> None:
    config = BioGptConfig.from_dict({"id2label": given, "label2id": {str(v): int(k) for k, v in given.items()}})
    assert config.id2label == names
    assert config.label2id == {name: i for i, name in names.items()}


def test_a_negative_padding_id_is_no_padding(folder: Path, tmp_path: Path) -> None:
    """As in transformers, where no id equals -1: a sequence classifier reads the last position."""
    torch.manual_seed(1)
    path = tmp_path / "sequence"
    config = transformers.BioGptConfig(**PRIMES, pad_token_id=-1, initializer_range=0.3)
    model = transformers.BioGptForSequenceClassification(config).eval()
    model.save_pretrained(path)
    with torch.no_grad():
        want = model(torch.tensor(IDS)).logits.numpy()
    ours = BioGptForSequenceClassification.from_pretrained(path)
    assert ours.config.pad_token_id is None
    assert_close("logits", ours(IDS).logits, want, MODELS_FLOAT32)


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_options_of_generation_that_are_null_have_their_default(file: str, folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    names = ("min_length", "num_beams", "length_penalty", "do_sample", "early_stopping", "max_length", "use_cache")
    values = json.loads((tmp_path / file).read_text()) | dict.fromkeys(names)
    (tmp_path / file).write_text(json.dumps(values))
    model = BioGptForCausalLM.from_pretrained(tmp_path)
    want = BioGptForCausalLM.from_pretrained(folder).generate([[2, 5]], max_new_tokens=3)
    assert np.array_equal(model.generate([[2, 5]], max_new_tokens=3), want)
