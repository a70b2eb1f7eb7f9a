"""from_pretrained takes transformers' keyword arguments, or refuses them by name in one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptForSequenceClassification, InputError, get_backend
from minibiogpt.files.hub import find_model
from tests.budgets import MODELS_FLOAT32
from tests.compare import assert_close


def load(**options: Any) -> BioGptForCausalLM:
    return BioGptForCausalLM.from_pretrained("demo", **options)


@pytest.mark.parametrize("dtype", ["float64", "torch.float64", np.float64, np.dtype("float64"), "double"])
@pytest.mark.parametrize("keyword", ["dtype", "torch_dtype"])
def test_a_dtype_is_text_or_an_object(keyword: str, dtype: Any) -> None:
    assert load(**{keyword: dtype}).dtype == "float64"


def test_a_dtype_of_pytorch_is_taken() -> None:
    torch = pytest.importorskip("torch")
    assert load(torch_dtype=torch.float64).dtype == "float64"
    assert load(dtype=torch.float, torch_dtype=torch.float32).dtype == "float32"
    for half in (torch.float16, torch.bfloat16):
        assert load(torch_dtype=half).dtype == str(half).removeprefix("torch.")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "half", np.float16])
def test_half_precision_is_kept(dtype: Any) -> None:
    model = load(dtype=dtype)
    assert model.dtype == ("bfloat16" if dtype == "bfloat16" else "float16")
    assert {x.dtype.name for x in model.parameters()} == {model.dtype}


def test_bfloat16_without_its_package_is_float32_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_backend("numpy"), "float_dtypes", ("float32", "float64", "float16"))
    with pytest.warns(UserWarning, match=r"bfloat16 needs the package ml_dtypes \(pip install ml_dtypes\)") as caught:
        model = load(dtype="bfloat16")
    assert (len(caught), caught[0].filename) == (1, __file__)
    assert np.array_equal(model([[2, 3]]).logits, load()([[2, 3]]).logits)
    with pytest.raises(InputError, match="found 'bfloat16'; pip install ml_dtypes"):
        get_backend("numpy").dtype("bfloat16")


@pytest.mark.parametrize(("kind", "want"), [("<f2", "float32"), ("<f8", "float64"), ("<f4", "float32")])
@pytest.mark.parametrize("in_config", [True, False])
def test_auto_is_the_dtype_of_the_checkpoint(kind: str, want: str, in_config: bool, tmp_path: Path) -> None:
    folder = shutil.copytree(find_model("demo"), tmp_path / "model")
    tensors = {name: x.astype(kind) for name, x in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = BioGptConfig.from_pretrained(folder)
    del config.extra["dtype"]
    if in_config:
        config.dtype = np.dtype(kind)
    config.save_pretrained(folder)
    assert BioGptForCausalLM.from_pretrained(folder, dtype="auto").dtype == want
    assert BioGptForCausalLM.from_pretrained(folder, torch_dtype="auto").dtype == want


def test_auto_is_what_config_json_says_even_if_the_tensors_have_another_dtype(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = shutil.copytree(find_model("demo"), tmp_path / "model")
    config = BioGptConfig.from_pretrained(folder)
    config.dtype = "float64"
    config.save_pretrained(folder)
    theirs = transformers.BioGptForCausalLM.from_pretrained(folder, dtype="auto")
    assert f"torch.{BioGptForCausalLM.from_pretrained(folder, dtype='auto').dtype}" == str(theirs.dtype)


@pytest.mark.parametrize(
    "place",
    [
        {"device": "cpu"}, {"device_map": "cpu"}, {"device_map": {"": "cpu"}}, {"device": -1}, {"device_map": None},
        {"device_map": {"biogpt": "cpu", "output_projection": "cpu"}},
    ],
)  # fmt: skip
def test_the_cpu_is_numpy(place: dict[str, Any]) -> None:
    model = load(**place)
    assert (model.backend.name, model.device, model.device.type) == ("numpy", "cpu", "cpu")


@pytest.mark.parametrize("device_map", ["auto", "balanced", "sequential"])
def test_auto_is_a_device_that_can_be_used(device_map: str) -> None:
    assert load(device_map=device_map).device.type in ("cpu", "cuda")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "mps"}, "a device must be 'cpu'"),
        ({"device_map": {"": "disk"}}, "a device must be 'cpu'"),
        ({"device_map": 3}, "a device must be 'cpu'"),
        ({"dtype": "float32", "torch_dtype": "float64"}, "dtype and torch_dtype must be the same; found dtype float32"),
        ({"dtype": "int8"}, "dtype must be one of float32, float64, float16, bfloat16 on backend numpy; found 'int8'"),
        ({"attn_implementation": "xformers"}, "attn_implementation must be one of auto, eager, blocked, sdpa"),
        (
            {"num_label": 3},
            "from_pretrained must be called with known arguments; found num_label; did you mean num_labels",
        ),
        ({"hiden_size": 3}, "did you mean hidden_size"),
        ({"torchdtype": "float32"}, "did you mean torch_dtype"),
        ({"note": 3}, "found note; see its documentation"),
        ({"max_length": 30}, "found max_length; pass it to generate"),
        ({"quantization_config": {"bits": 4}}, "one of bitsandbytes, with load_in_4bit or load_in_8bit"),
        (
            {"load_in_8bit": True, "load_in_4bit": True},
            "quantization must be given once; found load_in_4bit, load_in_8bit",
        ),
        ({"load_in_8bit": True, "quantization": "nf4"}, "given once; found load_in_8bit, quantization"),
        (
            {"quantization": "int4"},
            "quantization must be one of nf4, fp4, int8, int8-dynamic, q8_0, q4_0; found 'int4'",
        ),
        ({"quantization": 4}, "quantization must be one of nf4, fp4"),
        ({"quantization": "nf4", "skip": "fc2"}, "skip must be a list of names"),
        ({"quantization": "nf4", "skip": ["fc3"]}, "skip must name modules of the model; found 'fc3'"),
        ({"quantization": "nf4", "double_quant": 1}, "double_quant must be True or False"),
        ({"quantization": "nf4", "outlier_threshold": 6.0}, "goes with quantization='int8-dynamic'"),
        ({"quantization": "int8-dynamic", "outlier_threshold": -1}, "outlier_threshold must be a number, 0 or more"),
        ({"quantization": "int8-dynamic", "outlier_threshold": float("nan")}, "must be a number, 0 or more; found nan"),
        ({"skip": ["fc2"]}, "skip goes with quantization"),
        ({"output_loading_info": True}, "called without output_loading_info"),
        ({"state_dict": {"a": 1}}, r"pass the arrays to the class itself: Class\(config, weights\)"),
        ({"variant": "fp16"}, "called without variant; found variant='fp16'"),
        ({"use_safetensors": False}, "weights must be read from safetensors"),
        ({"config": {"hidden_size": 3}}, "must be built from a BioGptConfig"),
    ],
)
def test_what_cannot_be_honored_is_one_error(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(**options)
    assert "\n" not in str(caught.value)


def test_the_default_of_every_refused_keyword_is_accepted() -> None:
    load(load_in_8bit=False, quantization_config=None, variant=None, state_dict=None, output_loading_info=False)


def test_what_makes_no_difference_is_accepted_silently() -> None:
    model = load(
        low_cpu_mem_usage=True, use_safetensors=True, trust_remote_code=False, cache_dir="x", token="t", revision=None,
        local_files_only=True, force_download=True, weights_only=True, offload_folder="x", proxies={"a": "b"},
        subfolder="",
    )  # fmt: skip
    assert np.array_equal(model([[2, 3]]).logits, load()([[2, 3]]).logits)


def test_keywords_of_the_hub_are_refused_for_the_hub() -> None:
    with pytest.raises(
        InputError, match="called without cache_dir; found cache_dir set to '.*'; set the environment variable"
    ):
        BioGptForCausalLM.from_pretrained("owner/name", cache_dir="x")


def test_a_subfolder_is_part_of_a_local_path(tmp_path: Path) -> None:
    load().save_pretrained(tmp_path / "checkpoint-5")
    model = BioGptForCausalLM.from_pretrained(tmp_path, subfolder="checkpoint-5")
    assert model.num_parameters() == load().num_parameters()


@pytest.mark.parametrize("name", [None, "", 3, ["demo"]])
def test_a_name_that_is_none_is_one_error(name: Any) -> None:
    with pytest.raises(InputError, match="a model must be 'demo', a folder, or a hub id"):
        BioGptForCausalLM.from_pretrained(name)


def test_fields_of_the_config_are_keywords() -> None:
    with pytest.warns(UserWarning, match="has no score.weight"):
        model = BioGptForSequenceClassification.from_pretrained(
            "demo", num_labels=3, problem_type="multi_label_classification", use_cache=False
        )
    assert (model.config.num_labels, model.config.use_cache) == (3, False)
    assert model.config.problem_type == "multi_label_classification"


def test_a_config_replaces_that_of_the_file(tmp_path: Path) -> None:
    config = BioGptConfig.from_pretrained("demo", hidden_act="relu", use_cache=False)
    for given in (config, tmp_path):
        config.save_pretrained(tmp_path)
        model = load(config=given)
        assert (model.config.hidden_act, model.config.use_cache) == ("relu", False)
        assert model.config is not config
    assert not np.array_equal(model([[2, 3]]).logits, load()([[2, 3]]).logits)
    assert load(config=config, use_cache=True).config.use_cache


@pytest.mark.parametrize("name", ["sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"])
def test_names_of_fused_attention_are_blocked_unless_the_weights_are_wanted(name: str) -> None:
    model, eager, mask = load(attn_implementation=name), load(attn_implementation="eager"), [1.0, 0.0, 0.5, 1.0]
    want = eager([[2, 3, 5]], head_mask=mask, output_attentions=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = model([[2, 3, 5]], head_mask=mask, output_attentions=True)
    assert np.array_equal(got.attentions[0], want.attentions[0])
    assert_close("logits", model([[2, 3, 5]], head_mask=mask).logits, want.logits, MODELS_FLOAT32)
    blocked = load(attn_implementation="blocked")([[2, 3, 5]], head_mask=mask)
    assert np.array_equal(model([[2, 3, 5]], head_mask=mask).logits, blocked.logits)


def test_where_it_came_from_is_kept(tmp_path: Path) -> None:
    assert (load().name_or_path, load().config.name_or_path) == ("demo", "demo")
    load().save_pretrained(tmp_path)
    assert BioGptForCausalLM.from_pretrained(tmp_path).name_or_path == str(tmp_path)


def test_nothing_imports_torch() -> None:
    code = "import sys\nfrom minibiogpt import BioGptForCausalLM as Model"
    code += "\nModel.from_pretrained('demo', dtype='torch.float64', device='cpu')"
    code += "\nassert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_local_files_only_is_what_the_environment_can_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="owner/name"):  # it is looked up in the cache, where it is not
        BioGptForCausalLM.from_pretrained("owner/name", local_files_only=True)
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with pytest.raises(InputError, match="found local_files_only set to True; set the environment variable"):
        BioGptForCausalLM.from_pretrained("owner/name", local_files_only=True)
    with pytest.raises(InputError, match="found token set to a token; log in"):  # no secret is shown
        BioGptForCausalLM.from_pretrained("owner/name", token="hf_secret")
