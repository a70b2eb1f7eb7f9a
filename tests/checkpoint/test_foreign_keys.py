"""Tensors whose names training tools changed, quantized weights, and errors about hundreds of tensors."""

from __future__ import annotations

import json
import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from minibiogpt import (
    BioGptConfig,
    BioGptForCausalLM,
    BioGptForSequenceClassification,
    BioGptModel,
    CheckpointError,
)
from minibiogpt.checkpoint.convert import convert
from minibiogpt.files.safetensors import read_header
from tests.support.configs import PRIMES

IDS = [[2, 5, 11, 60, 3]]
PREFIXES = (
    "module.", "_orig_mod.", "model.", "base_model.model.", "_fsdp_wrapped_module.", "biogpt.", "module._orig_mod.",
    "_forward_module.model.", "module.base_model.model.",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    BioGptForCausalLM.from_config(BioGptConfig(**PRIMES), seed=1).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def rename(folder: Path, new_name: Callable[[str], str]) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({new_name(name): x for name, x in tensors.items()}, folder / "model.safetensors")


def logits(folder: Path) -> np.ndarray:
    return BioGptForCausalLM.from_pretrained(folder)(IDS).logits


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("inner", ["biogpt.", ""])
def test_a_foreign_prefix_is_read_and_said(folder: Path, prefix: str, inner: str) -> None:
    want = logits(folder)
    rename(folder, lambda name: prefix + inner + name.removeprefix("biogpt."))
    if (prefix, inner) == ("biogpt.", ""):  # the model's own
        assert np.array_equal(logits(folder), want)
        return
    with pytest.warns(UserWarning, match="read without it") as caught:
        assert np.array_equal(logits(folder), want)
    (warning,) = caught
    verb = "have" if prefix.startswith("_") and prefix.count(".") == 1 else "begin with"
    assert f"model: 36 of 36 tensors {verb} {prefix!r}, and are read without it" in str(warning.message)


@pytest.mark.parametrize("wrapper", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"])
def test_a_wrapper_inside_a_name_is_read(folder: Path, wrapper: str) -> None:
    want = logits(folder)
    rename(folder, lambda name: name.replace("layers.1.", f"layers.1.{wrapper}."))
    with pytest.warns(UserWarning, match=f"16 of 36 tensors have '{wrapper}.', and are read without it"):
        assert np.array_equal(logits(folder), want)


def test_a_head_has_the_prefix_of_the_model_around_it(tmp_path: Path) -> None:
    model = BioGptForSequenceClassification.from_config(BioGptConfig(**PRIMES, num_labels=5), seed=1)
    model.save_pretrained(tmp_path)
    rename(tmp_path, lambda name: f"module.{name}")
    with pytest.warns(UserWarning, match="begin with 'module.'"):
        again = BioGptForSequenceClassification.from_pretrained(tmp_path)
    assert np.array_equal(again(IDS).logits, model(IDS).logits)


def test_a_fine_tunes_own_tensors_are_still_ignored_with_a_warning(folder: Path) -> None:
    want = logits(folder)
    rename(folder, lambda name: f"model.{name}")
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"loss_fct.weight": np.ones(3, np.float32)}, folder / "model.safetensors")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert np.array_equal(logits(folder), want)
    messages = [str(one.message) for one in caught]
    assert len(messages) == 2
    assert "36 of 37 tensors begin with 'model.'" in messages[0]
    assert "ignored 1 unexpected: loss_fct.weight" in messages[1]


def test_two_models_in_one_file_are_not_mixed(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    both = tensors | {f"model.{name}": x + 1 for name, x in tensors.items()}
    save_file(both, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="stored only once, with or without a prefix such as 'biogpt.'") as caught:
        logits(folder)
    assert len(str(caught.value)) < 1000


def test_an_unknown_prefix_is_named_and_the_lists_are_short(folder: Path) -> None:
    rename(folder, lambda name: name.replace("biogpt.", "transformer.").replace("embed_positions", "wpe"))
    with pytest.raises(CheckpointError) as caught:
        logits(folder)
    message = str(caught.value)
    assert "found 36 missing: embed_tokens.weight, " in message
    assert "36 unexpected (36 of 36 begin with 'transformer.'): transformer.embed_tokens.weight, " in message
    assert message.count(" and 28 more") == 2
    assert len(message) < 1300


@pytest.mark.parametrize("prefix", ["net.model.", "transformer.", "lit.net._orig_mod.", "student."])
@pytest.mark.parametrize("inner", ["biogpt.", ""])
def test_any_prefix_of_the_whole_file_is_read_and_said(folder: Path, prefix: str, inner: str) -> None:
    want = logits(folder)
    rename(folder, lambda name: prefix + inner + name.removeprefix("biogpt."))
    with pytest.warns(UserWarning, match="read without it") as caught:
        assert np.array_equal(logits(folder), want)
    assert f"all 36 tensors begin with {prefix!r}, and are read without it" in str(caught[0].message)


def test_a_prefix_that_one_tensor_lacks_is_not_guessed(folder: Path) -> None:
    rename(folder, lambda name: f"net.{name}" if "layers.1.fc2.bias" not in name else name)
    with pytest.raises(CheckpointError, match="35 missing: embed_tokens.weight, "):
        logits(folder)


def test_a_lightning_checkpoint_of_a_wrapper_is_converted(folder: Path, tmp_path: Path) -> None:
    want = logits(folder)
    tensors = load_file(folder / "model.safetensors")
    for key in ("state_dict", "model"):
        source = tmp_path / f"lightning-{key}"
        source.mkdir()
        (source / "config.json").write_text((folder / "config.json").read_text())
        state = {f"net.model.{name}": torch.tensor(x) for name, x in tensors.items()}
        torch.save({key: state, "epoch": 3}, source / "last.ckpt")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            convert(source / "last.ckpt", tmp_path / f"{key}-converted")
        assert "all 36 tensors begin with 'net.model.', and are read without it" in str(caught[0].message)
        assert np.array_equal(logits(tmp_path / f"{key}-converted"), want)


def test_a_whole_peft_model_is_named(folder: Path, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    base = transformers.BioGptForCausalLM.from_pretrained(folder)
    model = peft.get_peft_model(base, peft.LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    state = {name: x.numpy() for name, x in model.state_dict().items() if "output_projection" not in name}
    save_file(state, folder / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        logits(folder)
    message = str(caught.value)
    assert "a whole PeftModel, with base_model.model.biogpt.layers.0.self_attn.q_proj." in message
    assert message.endswith("; save the adapter with save_pretrained, or the model with merge_and_unload")
    with pytest.raises(CheckpointError, match="a whole PeftModel"):
        BioGptForCausalLM(BioGptConfig(**PRIMES), model.state_dict())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_labels": 3}, "num_labels=3, 37 in all; found 1 misshapen: score.weight (5, 21), not (3, 21); leave out "
         "num_labels, or pass ignore_mismatched_sizes=True to draw a new head"),
        ({"id2label": {0: "a", 1: "b"}}, "leave out id2label, or pass ignore_mismatched_sizes=True"),
        ({"vocab_size": 71}, "leave out vocab_size, and call model.resize_token_embeddings afterwards"),
        ({"num_hidden_layers": 3}, "leave out num_hidden_layers"),
        ({"config": BioGptConfig(**PRIMES | {"num_labels": 5, "intermediate_size": 41})}, "leave out intermediate_"),
    ],
)  # fmt: skip
def test_an_option_of_the_caller_that_does_not_fit_is_named(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    BioGptForSequenceClassification.from_config(BioGptConfig(**PRIMES, num_labels=5)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        BioGptForSequenceClassification.from_pretrained(tmp_path, **changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_head_that_the_caller_unties_is_named(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="1 missing: output_projection.weight; leave out tie_word_embeddings"):
        BioGptForCausalLM.from_pretrained(folder, tie_word_embeddings=False)


def test_an_option_is_not_blamed_for_a_broken_file(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    del tensors["biogpt.layer_norm.bias"]
    save_file(tensors, folder / "model.safetensors")
    for changes in ({"vocab_size": 71}, {"use_cache": False}):
        with pytest.raises(CheckpointError, match="check that config.json and the weights belong together"):
            BioGptForCausalLM.from_pretrained(folder, **changes)


@pytest.mark.parametrize("head", ["SequenceClassification", "TokenClassification"])
def test_a_head_of_other_classes_is_drawn_again_on_request(tmp_path: Path, head: str) -> None:
    transformers = pytest.importorskip("transformers")
    import minibiogpt

    kind, name = getattr(minibiogpt, f"BioGptFor{head}"), f"BioGptFor{head}"
    old = kind.from_config(BioGptConfig(**PRIMES, num_labels=5), seed=1)
    old.save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="has other shapes of .*; train them before use") as caught:
        new = kind.from_pretrained(tmp_path, num_labels=3, ignore_mismatched_sizes=True)
    assert len(caught) == 1
    theirs = getattr(transformers, name).from_pretrained(tmp_path, num_labels=3, ignore_mismatched_sizes=True)
    assert {key: x.shape for key, x in new.state_dict().items()} == {
        key: tuple(x.shape) for key, x in theirs.state_dict().items()
    }
    for key, x in new.biogpt.state_dict().items():
        assert np.array_equal(x, theirs.biogpt.state_dict()[key].numpy())
    drawn = new.score.weight if head == "SequenceClassification" else new.classifier.weight
    assert 0.005 < drawn.std() < 0.05
    same = kind.from_pretrained(tmp_path, ignore_mismatched_sizes=True)  # nothing differs, so nothing is said
    assert np.array_equal(same(IDS).logits, old(IDS).logits)


def test_many_values_that_are_not_finite_are_a_short_list(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: x * np.float32(np.nan) for name, x in tensors.items()}, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"NaN or infinity in embed_tokens.weight, .* and 28 more; fetch"):
        logits(folder)


def test_a_training_checkpoint_is_converted_with_its_prefixes(folder: Path, tmp_path: Path) -> None:
    """As PyTorch Lightning, DeepSpeed, torch.compile and hand-written loops save it."""
    want = logits(folder)
    state = {name: torch.from_numpy(x) for name, x in load_file(folder / "model.safetensors").items()}
    for n, (key, prefix, suffix) in enumerate(
        [("state_dict", "model.", ".ckpt"), ("module", "module.", ".pt"), ("model_state_dict", "_orig_mod.", ".pt"),
         ("model", "", ".pt"), ("", "module._orig_mod.", ".bin")]
    ):  # fmt: skip
        source = tmp_path / f"old{n}"
        source.mkdir()
        (source / "config.json").write_bytes((folder / "config.json").read_bytes())
        named = {prefix + name: x for name, x in state.items()}
        torch.save({key: named, "epoch": 3} if key else named, source / f"training{suffix}")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            convert(source / f"training{suffix}", tmp_path / f"new{n}")
        assert any("are read without it" in str(one.message) for one in caught) is bool(prefix)
        assert np.array_equal(logits(tmp_path / f"new{n}"), want)


@pytest.mark.parametrize(("dtype", "message"), [
    ("float8_e4m3fn", "it has 8-bit floats, quantized or complex numbers: save the model in float32"),
    ("complex64", "it has 8-bit floats, quantized or complex numbers: save the model in float32"),
    ("int8", r"found quantized weights: layer_norm.bias of dtype I8 .8-bit integers.; use the model"),
    ("bool", r"layer_norm.bias of dtype BOOL .true and false."),
])  # fmt: skip
def test_a_pickle_of_other_numbers_says_what_they_are(folder: Path, tmp_path: Path, dtype: str, message: str) -> None:
    state = {name: torch.from_numpy(x) for name, x in load_file(folder / "model.safetensors").items()}
    state["biogpt.layer_norm.bias"] = state["biogpt.layer_norm.bias"].to(getattr(torch, dtype))
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=message):
        convert(folder, tmp_path / "new")


def set_dtype(folder: Path, names: tuple[str, ...], dtype: str, itemsize: float) -> None:
    """Store some tensors as bytes of a dtype that NumPy does not have, as a file of another tool would."""
    path = folder / "model.safetensors"
    header, data = {}, b""
    for name, tensor in read_header(path)[1].items():
        own = name in names
        count = int(np.prod(tensor.shape) * itemsize) if own else tensor.end - tensor.begin
        offsets = [len(data), len(data) + count]
        header[name] = {"dtype": dtype if own else tensor.dtype, "shape": list(tensor.shape), "data_offsets": offsets}
        data += b"\x11" * count if own else tensor.raw().tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize(
    ("dtype", "itemsize", "kind"),
    [("F8_E4M3", 1, "8-bit floats"), ("F8_E5M2", 1, "8-bit floats"), ("I8", 1, "8-bit integers"), ("U8", 1, "bytes"),
     ("F8_E8M0", 1, "8-bit floats")],
)  # fmt: skip
@pytest.mark.parametrize("model", [BioGptForCausalLM, BioGptModel])
def test_quantized_weights_are_one_error_that_says_what_they_are(
    folder: Path, dtype: str, itemsize: float, kind: str, model: type
) -> None:
    set_dtype(folder, ("biogpt.layers.0.fc1.weight", "biogpt.layers.1.fc2.weight"), dtype, itemsize)
    with pytest.raises(CheckpointError) as caught:
        model.from_pretrained(folder)
    message = str(caught.value)
    assert "must be float32, float16, bfloat16 or float64; found quantized weights: " in message
    assert rf"layers.0.fc1.weight of dtype {dtype} ({kind}), layers.1.fc2.weight" in message
    assert "use the model that it was made from" in message
    assert ("cast each to float32 in torch" in message) is dtype.startswith("F8")


@pytest.mark.parametrize(("dtype", "itemsize"), [("C64", 8), ("BOOL", 1), ("I16", 2)])
def test_other_dtypes_are_named(folder: Path, dtype: str, itemsize: int) -> None:
    set_dtype(folder, ("biogpt.layers.0.fc1.weight",), dtype, itemsize)
    with pytest.raises(CheckpointError, match=rf"1 misshapen: layers.0.fc1.weight of dtype {dtype} \("):
        logits(folder)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2"])
def test_a_tied_head_in_eight_bits_is_no_raw_error(folder: Path, dtype: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    head = tensors["biogpt.embed_tokens.weight"]
    save_file(tensors | {"output_projection.weight": head}, folder / "model.safetensors")
    set_dtype(folder, ("biogpt.embed_tokens.weight", "output_projection.weight"), dtype, 1)
    with pytest.raises(CheckpointError, match=rf"embed_tokens.weight of dtype {dtype} \(8-bit floats\)"):
        logits(folder)


PACKED = np.zeros((4, 1), np.uint8)


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ("bitsandbytes, 4 bits", {"weight": PACKED, "weight.absmax": PACKED, "weight.quant_map": PACKED}),
        ("bitsandbytes, 8 bits", {"weight": np.zeros((37, 21), np.int8), "weight_format": np.zeros(1, np.uint8)}),
        ("GPTQ", {"qweight": PACKED, "qzeros": PACKED, "scales": PACKED, "g_idx": PACKED}),
        ("AWQ", {"qweight": PACKED, "qzeros": PACKED, "scales": PACKED}),
        ("compressed-tensors", {"weight_packed": PACKED, "weight_scale": PACKED}),
    ],
)
def test_the_method_is_recognized_by_its_tensors(folder: Path, method: str, parts: dict[str, np.ndarray]) -> None:
    tensors = load_file(folder / "model.safetensors")
    for layer in range(2):
        del tensors[f"biogpt.layers.{layer}.fc1.weight"]
        tensors |= {f"biogpt.layers.{layer}.fc1.{name}": x for name, x in parts.items()}
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=f"found weights quantized by {method}: layers.0.fc1") as caught:
        logits(folder)
    # Quantizers of transformers that have _dequantize; the others raise NotImplementedError.
    assert ("model.dequantize()" in str(caught.value)) is method.startswith("bitsandbytes")


def test_a_tensor_named_like_a_part_of_quantization_is_only_ignored_if_no_weight_is_missing(folder: Path) -> None:
    want, tensors = logits(folder), load_file(folder / "model.safetensors")
    scale = {"biogpt.layers.0.fc1.input_scale": np.ones(1, np.float32)}
    save_file(tensors | scale, folder / "model.safetensors")
    with pytest.warns(UserWarning, match="ignored 1 unexpected: layers.0.fc1.input_scale"):
        assert np.array_equal(logits(folder), want)


def test_quantization_config_names_the_method(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fbgemm_fp8"}
    (folder / "config.json").write_text(json.dumps(config))
    want = BioGptForCausalLM.from_config(BioGptConfig(**PRIMES), seed=1)(IDS).logits
    with pytest.warns(UserWarning, match="quantization_config in config.json has no effect: .* not quantized"):
        assert np.array_equal(logits(folder), want)
    set_dtype(folder, ("biogpt.layers.0.fc1.weight",), "F8_E4M3", 1)
    with pytest.raises(CheckpointError, match="found weights quantized by fbgemm_fp8: layers.0.fc1.weight of dtype"):
        logits(folder)


def test_values_of_a_dtype_that_numpy_lacks_are_a_clear_error(folder: Path) -> None:
    set_dtype(folder, ("biogpt.layer_norm.bias",), "F8_E4M3", 1)
    tensor = read_header(folder / "model.safetensors")[1]["biogpt.layer_norm.bias"]
    for read in (tensor.mapped, lambda: tensor.read_into(np.empty(21, np.float32))):
        with pytest.raises(CheckpointError, match="must hold tensors of the dtypes F64, .*; found 'F8_E4M3'; convert"):
            read()


def test_without_a_seed_a_head_of_other_classes_stays_an_error(tmp_path: Path) -> None:
    BioGptForSequenceClassification.from_config(BioGptConfig(**PRIMES, num_labels=5)).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"score.weight \(5, 21\), not \(3, 21\)"):
        BioGptForSequenceClassification.from_pretrained(tmp_path, num_labels=3, ignore_mismatched_sizes=True, seed=None)
