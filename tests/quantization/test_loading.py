"""Quantized models: made while they are read, saved and read again, exchanged with transformers and bitsandbytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minibiogpt import (
    BioGptConfig,
    BioGptForCausalLM,
    BioGptForSequenceClassification,
    BioGptForTokenClassification,
    BioGptModel,
    CheckpointError,
    InputError,
    Trace,
    get_backend,
)
from minibiogpt.backend.products.packed import PackedWeight
from minibiogpt.quantization import FORMATS, DynamicEightBits, FourBits, Quantization, format_of, from_config
from tests.budgets import QUANTIZED
from tests.compare import assert_close, drift

IDS = [[2, 45, 30, 7, 9], [2, 8, 9, 10, 11]]
SIZES = {
    "vocab_size": 67, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96,
    "max_position_embeddings": 31,
}  # fmt: skip
MATRICES = ("self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj", "self_attn.out_proj", "fc1", "fc2")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    BioGptForCausalLM(BioGptConfig(**SIZES, initializer_range=0.1)).save_pretrained(tmp_path / "small")
    return tmp_path / "small"


def packed_names(model: Any) -> list[str]:
    return [name for name, x in model.named_parameters() if isinstance(x, PackedWeight)]


@pytest.mark.parametrize("kind", FORMATS)
def test_the_matrices_of_the_layers_are_quantized_and_nothing_else(kind: str) -> None:
    model, plain = (
        BioGptForCausalLM.from_pretrained("demo", quantization=kind),
        BioGptForCausalLM.from_pretrained("demo"),
    )
    L = model.config.num_hidden_layers
    names = [f"biogpt.layers.{layer}.{one}.weight" for layer in range(L) for one in MATRICES]
    assert sorted(packed_names(model)) == sorted(names)
    assert {format_of(x) for x in model.parameters() if isinstance(x, PackedWeight)} == {kind}
    for (name, x), (other, y) in zip(model.named_parameters(), plain.named_parameters(), strict=True):
        assert name == other
        if name not in names:
            np.testing.assert_array_equal(x, y)
        else:
            np.testing.assert_array_equal(np.asarray(x), np.asarray(Quantization(kind).pack(y, "float32")))
    assert model.num_parameters() == plain.num_parameters()
    assert model.get_memory_footprint() < 0.5 * plain.get_memory_footprint()
    assert kind in repr(model)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_model_computes_with_the_values_of_its_weights(kind: str) -> None:
    """In float64 and, up to rounding, in float32; int8-dynamic rounds activations, too."""
    model = BioGptForCausalLM.from_pretrained("demo", quantization=kind)
    wide = BioGptForCausalLM.from_pretrained("demo", quantization=kind, dtype="float64")
    want = BioGptForCausalLM.from_pretrained("demo", quantization=kind, dtype="float64").dequantize()
    assert packed_names(want) == []
    if kind == "int8-dynamic":
        assert_close(kind, wide(IDS).logits, want(IDS).logits, QUANTIZED["activations"])
        return
    assert_close(kind, wide(IDS).logits, want(IDS).logits, 1e-12)
    assert_close(kind, model(IDS).logits, want(IDS).logits.astype(np.float32), QUANTIZED["rounding"])


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    "kinds", [BioGptForCausalLM, BioGptForSequenceClassification, BioGptForTokenClassification, BioGptModel]
)
def test_saved_and_read_again_it_is_the_same(kinds: Any, kind: str, tmp_path: Path) -> None:
    config = BioGptConfig(**SIZES, num_labels=3, initializer_range=0.1)
    model = kinds(config).quantize(kind, skip=["fc2"])
    want = model(IDS).logits if hasattr(model(IDS), "logits") else model(IDS).last_hidden_state
    for _ in range(2):  # what is read is saved as it was
        model.save_pretrained(tmp_path)
        model = kinds.from_pretrained(tmp_path)
        got = model(IDS).logits if hasattr(model(IDS), "logits") else model(IDS).last_hidden_state
        np.testing.assert_array_equal(got, want)
        assert not any("fc2" in name for name in packed_names(model))
        assert len(packed_names(model)) == 2 * 5
    settings = json.loads((tmp_path / "config.json").read_text())["quantization_config"]
    found = from_config(settings)
    assert found is not None
    assert (found.format, found.skip) == (kind, ("fc2",))
    model.dequantize().save_pretrained(tmp_path)
    assert "quantization_config" not in json.loads((tmp_path / "config.json").read_text())
    assert packed_names(kinds.from_pretrained(tmp_path)) == []


def test_a_mixed_model_is_not_saved(tmp_path: Path) -> None:
    model = BioGptForCausalLM(BioGptConfig(**SIZES)).quantize("nf4", skip=["fc1"])
    model.quantize("int8", skip=["self_attn", "fc2"])
    with pytest.raises(InputError, match="must have one format; found int8 and nf4"):
        model.save_pretrained(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_double_quantization_can_be_left_out(small: Path) -> None:
    one, two = (BioGptForCausalLM.from_pretrained(small, quantization="nf4", double_quant=b) for b in (True, False))
    scales = [model.biogpt.layers[0].fc1.weight.scales for model in (one, two)]
    assert isinstance(scales[1], np.ndarray)
    assert not isinstance(scales[0], np.ndarray)
    assert not np.array_equal(one(IDS).logits, two(IDS).logits)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_16_bit_models_quantize_what_they_hold(small: Path, dtype: str) -> None:
    pytest.importorskip("ml_dtypes")
    model = BioGptForCausalLM.from_pretrained(small, quantization="nf4", dtype=dtype)
    plain = BioGptForCausalLM.from_pretrained(small, dtype=dtype)
    weight = model.biogpt.layers[1].fc2.weight
    assert (weight.dtype, weight.source, model.dtype) == (dtype, dtype, dtype)
    want = Quantization("nf4").pack(plain.biogpt.layers[1].fc2.weight, dtype)
    np.testing.assert_array_equal(np.asarray(weight, np.float32), np.asarray(want, np.float32))
    assert model(IDS).logits.dtype == dtype


def test_what_is_traced_is_what_is_computed(small: Path) -> None:
    model, trace = BioGptForCausalLM.from_pretrained(small, quantization="nf4"), Trace()
    logits = model(IDS, trace=trace).logits
    eager = model(IDS, output_attentions=True)
    np.testing.assert_array_equal(trace["logits"], logits)
    layer = model.biogpt.layers[0]
    h = trace["layers.0.self_attn_layer_norm"]
    want = h @ np.asarray(layer.self_attn.q_proj.weight).T + layer.self_attn.q_proj.bias
    assert_close("q_proj", trace["layers.0.self_attn.q_proj"], want, QUANTIZED["rounding"])
    np.testing.assert_array_equal(eager.attentions[0], trace["layers.0.self_attn.weights"])


def test_generation_scores_and_the_cache_work(small: Path) -> None:
    model = BioGptForCausalLM.from_pretrained("demo", quantization="nf4")
    tokens = model.generate([[2, 45, 300]], max_new_tokens=6, num_beams=2)
    assert tokens.shape[1] > 3
    slow = model.generate([[2, 45, 300]], max_new_tokens=6, use_cache=False)
    np.testing.assert_array_equal(model.generate([[2, 45, 300]], max_new_tokens=6), slow)
    assert np.isfinite(model.score([[2, 45, 300]]).log_probs).all()


def test_new_weights_of_a_quantized_model_are_quantized(small: Path) -> None:
    model, plain = (
        BioGptForCausalLM.from_pretrained(small, quantization="int8"),
        BioGptForCausalLM.from_pretrained(small),
    )
    other = BioGptForCausalLM(plain.config, seed=5)
    model.load_state_dict(other.state_dict())
    want = BioGptForCausalLM(plain.config, other.state_dict()).quantize("int8")
    np.testing.assert_array_equal(model(IDS).logits, want(IDS).logits)
    again = BioGptForCausalLM(plain.config, model.state_dict())  # packed weights are weights
    np.testing.assert_array_equal(again(IDS).logits, want(IDS).logits)


def test_nothing_else_changes_a_quantized_model(small: Path) -> None:
    model = BioGptForCausalLM.from_pretrained(small, quantization="nf4")
    want = model(IDS).logits
    with pytest.raises(InputError, match=r"must be floats; found quantized ones: layers.0.self_attn.k_proj.weight"):
        model.quantize("int8", skip=None)
    np.testing.assert_array_equal(model(IDS).logits, want)
    with pytest.raises(InputError, match="skip must leave a matrix to quantize"):
        BioGptForCausalLM.from_pretrained(small, quantization="nf4", skip=["layers"])
    with pytest.raises(ValueError, match="only be copied"):
        np.asarray(model.biogpt.layers[0].fc1.weight, copy=False)
    model.double().float()
    np.testing.assert_array_equal(model(IDS).logits, want)


def test_an_adapter_is_merged_before_its_weights_are_quantized(small: Path, tmp_path: Path) -> None:
    adapter, rng = tmp_path / "adapter", np.random.default_rng(0)
    adapter.mkdir()
    names = [f"base_model.model.biogpt.layers.{i}.self_attn.q_proj.lora_{x}.weight" for i in range(2) for x in "AB"]
    shapes = {"A": (4, 64), "B": (64, 4)}
    save_file(
        {n: rng.normal(size=shapes[n[-8]]).astype(np.float32) for n in names}, adapter / "adapter_model.safetensors"
    )
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(small)}))
    merged = BioGptForCausalLM.from_pretrained(small, adapter=adapter)
    want = merged.quantize("nf4")(IDS).logits
    got = BioGptForCausalLM.from_pretrained(small, adapter=adapter, quantization="nf4")
    np.testing.assert_array_equal(got(IDS).logits, want)
    folder = tmp_path / "nf4"
    BioGptForCausalLM.from_pretrained(small, quantization="nf4").save_pretrained(folder)
    found = BioGptForCausalLM.from_pretrained(folder, adapter=adapter)  # dequantized, changed, quantized again
    assert len(packed_names(found)) == 12
    assert_close("logits", found(IDS).logits, want, QUANTIZED["twice"])


def test_quantized_files_keep_their_format(small: Path, tmp_path: Path) -> None:
    BioGptForCausalLM.from_pretrained(small, quantization="nf4").save_pretrained(tmp_path / "nf4")
    BioGptForCausalLM.from_pretrained(tmp_path / "nf4", quantization="nf4")
    with pytest.raises(CheckpointError, match="must not be quantized already, in another format; found weights in nf4"):
        BioGptForCausalLM.from_pretrained(tmp_path / "nf4", quantization="int8")
    BioGptForCausalLM.from_pretrained(small, quantization="int8").save_pretrained(tmp_path / "int8")
    dynamic = BioGptForCausalLM.from_pretrained(tmp_path / "int8", quantization="int8-dynamic", outlier_threshold=6.0)
    weight = dynamic.biogpt.layers[0].fc1.weight
    assert isinstance(weight, DynamicEightBits)
    assert weight.threshold == 6


def test_blocks_that_do_not_fit_are_one_error() -> None:
    model = BioGptForCausalLM(BioGptConfig(**SIZES | {"hidden_size": 36}))
    with pytest.raises(InputError, match="32"):
        model.quantize("q8_0")
    model.quantize("nf4")(IDS)  # blocks need not end where rows end


class TestTransformers:
    """Files of transformers and bitsandbytes, read here, and ours read there."""

    @pytest.fixture(autouse=True)
    def bitsandbytes(self) -> None:
        pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")

    def theirs(self, folder: str | Path, dtype: str | None = None, **options: Any) -> Any:
        import torch
        from transformers import BioGptForCausalLM as Theirs
        from transformers import BitsAndBytesConfig

        more = {"quantization_config": BitsAndBytesConfig(**options)} if options else {}
        return Theirs.from_pretrained(folder, device_map="cpu", dtype=dtype and getattr(torch, dtype), **more)

    def logits(self, model: Any) -> np.ndarray:
        """Return theirs in float32. In evaluation without gradients, kernels round activations to bfloat16."""
        import torch

        values: np.ndarray = model(torch.tensor(IDS)).logits.detach().float().numpy()
        return values

    @pytest.mark.parametrize("double_quant", [True, False])
    @pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
    @pytest.mark.parametrize("kind", ["nf4", "fp4"])
    def test_4_bits(self, tmp_path: Path, kind: str, dtype: str, double_quant: bool) -> None:
        demo = Path(BioGptForCausalLM.from_pretrained("demo").name_or_path)
        demo = Path(__file__).parents[2] / "minibiogpt" / "demo"
        settings = {"bnb_4bit_quant_type": kind, "bnb_4bit_use_double_quant": double_quant}
        self.theirs(demo, dtype, load_in_4bit=True, **settings).save_pretrained(tmp_path / "theirs")
        ours = BioGptForCausalLM.from_pretrained(tmp_path / "theirs")
        weight = ours.biogpt.layers[0].fc1.weight
        assert isinstance(weight, FourBits)
        assert (weight.code_book, weight.source) == (kind, dtype)
        again = self.theirs(tmp_path / "theirs", "float32")
        want = self.logits(again)
        assert_close("logits", ours(IDS).logits, want, QUANTIZED["4 bits"])
        ours.save_pretrained(tmp_path / "ours")
        np.testing.assert_array_equal(self.logits(self.theirs(tmp_path / "ours", "float32")), want)
        one, two = (load_file(tmp_path / who / "model.safetensors") for who in ("theirs", "ours"))
        assert one.keys() == two.keys()
        for name, x in one.items():
            if "layers" in name and "weight" in name and "norm" not in name and "quant_state" not in name:
                np.testing.assert_array_equal(two[name], x, err_msg=name)

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_what_we_quantize_is_what_they_quantize(self, tmp_path: Path, dtype: str) -> None:
        demo = Path(__file__).parents[2] / "minibiogpt" / "demo"
        settings = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
        self.theirs(demo, dtype, load_in_4bit=True, **settings).save_pretrained(tmp_path / "theirs")
        BioGptForCausalLM.from_pretrained(demo, quantization="nf4", dtype=dtype).save_pretrained(tmp_path / "ours")
        one, two = (load_file(tmp_path / who / "model.safetensors") for who in ("theirs", "ours"))
        assert one.keys() == two.keys()
        for name, x in one.items():
            if "quant_state" not in name:
                np.testing.assert_array_equal(two[name], x, err_msg=name)
            else:
                assert json.loads(bytes(two[name])) == json.loads(bytes(x))

    def test_8_bits(self, tmp_path: Path) -> None:
        demo = Path(__file__).parents[2] / "minibiogpt" / "demo"
        self.theirs(demo, "float32", load_in_8bit=True).save_pretrained(tmp_path / "theirs")
        ours = BioGptForCausalLM.from_pretrained(tmp_path / "theirs")
        assert {format_of(x) for x in ours.parameters() if isinstance(x, PackedWeight)} == {"int8"}
        again = self.theirs(tmp_path / "theirs", "float32")
        want = self.logits(again)
        for module in again.modules():
            if type(module).__name__ == "Linear8bitLt":
                module.train()  # on the CPU, it then multiplies floats
        assert_close("logits", ours(IDS).logits, self.logits(again), QUANTIZED["8 bits, floats"])
        dynamic = BioGptForCausalLM.from_pretrained(
            tmp_path / "theirs", quantization="int8-dynamic", outlier_threshold=6.0
        )
        assert_close("logits", dynamic(IDS).logits, want, QUANTIZED["8 bits"])
        ours.save_pretrained(tmp_path / "ours")
        np.testing.assert_array_equal(self.logits(self.theirs(tmp_path / "ours", "float32")), want)

    @pytest.mark.parametrize("threshold", [0.0, 6.0])
    @pytest.mark.parametrize("M", [1, 5])
    def test_a_product_of_8_bits(self, M: int, threshold: float) -> None:
        import torch
        from bitsandbytes.nn import Int8Params, Linear8bitLt

        rng = np.random.default_rng(0)
        w = rng.normal(0, 0.05, (48, 64)).astype(np.float16)
        x = rng.normal(size=(M, 64)).astype(np.float16).astype(np.float32)
        x[0, 7], x[M - 1, 20] = 40, -25
        theirs = Linear8bitLt(64, 48, bias=False, has_fp16_weights=False, threshold=threshold).eval()
        theirs.weight = Int8Params(torch.from_numpy(w), requires_grad=False, has_fp16_weights=False).to("cpu")
        want = theirs(torch.from_numpy(x)).detach().numpy()
        ours = Quantization("int8-dynamic", threshold=threshold).pack(w, "float32")
        got = get_backend("numpy").product(x, ours)
        assert_close("product", got, want, QUANTIZED["8 bits, one product"])
        other = Quantization("int8-dynamic", threshold=6.0 - threshold).pack(w, "float32")
        assert drift(get_backend("numpy").product(x, other), want) > 10 * QUANTIZED["8 bits, one product"]

    def test_skipped_modules_stay_floats_there_too(self, tmp_path: Path) -> None:
        demo = Path(__file__).parents[2] / "minibiogpt" / "demo"
        ours = BioGptForCausalLM.from_pretrained(demo, quantization="nf4", skip=["fc2"])
        ours.save_pretrained(tmp_path)
        assert_close("logits", self.logits(self.theirs(tmp_path, "float32")), ours(IDS).logits, QUANTIZED["4 bits"])

    def test_their_settings_are_taken(self) -> None:
        from transformers import BitsAndBytesConfig

        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
        one = BioGptForCausalLM.from_pretrained("demo", quantization_config=config)
        two = BioGptForCausalLM.from_pretrained("demo", quantization="nf4")
        np.testing.assert_array_equal(one(IDS).logits, two(IDS).logits)
        for options, kind in (({"load_in_4bit": True}, "fp4"), ({"load_in_8bit": True}, "int8")):
            model = BioGptForCausalLM.from_pretrained("demo", **options)
            assert {format_of(x) for x in model.parameters() if isinstance(x, PackedWeight)} == {kind}
