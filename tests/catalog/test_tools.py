"""Names of other tools: what each is here, and that every table names arrays of ours."""

from __future__ import annotations

import pytest
import transformers

from minibiogpt.catalog.descriptions import SUMMARIES
from minibiogpt.catalog.tools import TOOLS, _names_of, alias_in
from minibiogpt.cli.golden import comparing


def test_the_command_offers_every_tool() -> None:
    assert tuple(TOOLS) == comparing.TOOLS


@pytest.mark.parametrize("tool", TOOLS)
def test_every_name_is_an_array_of_ours_or_says_why_not(tool: str) -> None:
    found = _names_of(tool)
    assert len({alias.name for alias in found.values()}) > 10
    for parts, alias in found.items():
        assert (alias.name in SUMMARIES) is not bool(alias.refusal)
        assert ("{l}" in alias.name) is any("{l}" in part for part in parts) or alias.refusal or "hook" in parts[-1]


@pytest.mark.parametrize(
    ("tool", "name", "ours"),
    [
        ("llama.cpp", "inp_scaled", "embed_tokens"),
        ("llama.cpp", "Qcur-11 (reshaped)", "layers.11.self_attn.q_proj"),
        ("llama.cpp", "kqv_out-0", "layers.0.self_attn.context"),
        ("llama.cpp", "step.2/result_output", "step.2/logits"),
        ("ggml", "blk.7.ffn_down", "layers.7.fc2"),
        ("ggml", "blk.0", "layers.0"),
        ("ggml", "output_norm", "layer_norm"),
        ("onnx", "/biogpt/layers.1/activation_fn/Mul_1_output_0", "layers.1.activation_fn"),
        ("onnx", "biogpt/layers.1/self_attn/Softmax_output_0", "layers.1.self_attn.probs"),
        ("onnx", "/model/biogpt/layer_norm/LayerNormalization_output_0", "layer_norm"),
        ("fairseq", "models.0.decoder.layers.3.self_attn[0]", None),  # the check tries it without [0], too
        ("fairseq", "models.0.decoder.layers.3.self_attn", "layers.3.self_attn.out_proj"),
        ("fairseq", "decoder.output_projection", "logits"),
        ("gpt2", "transformer.h.2.mlp.gelu", "layers.2.activation_fn"),
        ("gpt2", "h.2.mlp.c_proj", "layers.2.fc2"),
        ("gpt2", "module.transformer.h.2.attn.c_proj", "layers.2.self_attn.out_proj"),
        ("transformers", "model.decoder.layers.1.fc1", "layers.1.fc1"),
        ("transformers", "base_model.model.biogpt.layers.1.self_attn.q_proj", "layers.1.self_attn.q_proj"),
        ("transformers", "model.layers.1.input_layernorm", "layers.1.self_attn_layer_norm"),
        ("transformers", "model.decoder.final_layer_norm", "layer_norm"),
        ("transformers", "model.decoder.layers.0.final_layer_norm", "layers.0.final_layer_norm"),
        ("transformer_lens", "blocks.1.attn.hook_z", "layers.1.self_attn.context"),
        ("transformer_lens", "blocks.1.mlp.in.hook_out", "layers.1.fc1"),
        ("transformer_lens", "unembed.hook_out", "logits"),
        ("flax", "intermediates.transformer.h.0.attn.c_proj.__call__[0]", "layers.0.self_attn.out_proj"),
        ("flax", "model/decoder/layers/0/fc1/__call__/0", "layers.0.fc1"),
        ("flax", "transformer/h/0/__call__/0/0", "layers.0"),
        ("mlx", "model.h.0.ln_1", "layers.0.self_attn_layer_norm"),
        ("mlx", "model.layers.0.mlp.down_proj", "layers.0.fc2"),
        ("gpt2", "h.x.ln_1", None),
        ("gpt2", "h.0.ln_3", None),
        ("gpt2", "", None),
        ("onnx", "////", None),
    ],
)
def test_a_name_and_its_array(tool: str, name: str, ours: str | None) -> None:
    alias = alias_in(tool, name)
    assert (alias.name if alias else None) == ours


@pytest.mark.parametrize(
    ("tool", "name", "reason"),
    [
        ("llama.cpp", "kq-3", "before the division by sqrt(Dh)"),
        ("llama.cpp", "inp_embd", "before the factor sqrt(D)"),
        ("gpt2", "transformer.wte", "before the factor sqrt(D)"),
        ("flax", "transformer/h/0/attn/c_attn/__call__/0", "dump them apart"),
        ("onnx", "/biogpt/layers.0/self_attn/MatMul_output_0", "before the division by sqrt(Dh)"),
    ],
)
def test_a_name_of_something_else_says_what_to_dump(tool: str, name: str, reason: str) -> None:
    alias = alias_in(tool, name)
    assert alias is not None
    assert alias.name == ""
    assert reason in alias.refusal


def test_the_positions_come_first_inside_fairseq() -> None:
    names = ("decoder.layers.0", "decoder", "decoder.dropout_module", "decoder.layer_norm")
    axes = {name: alias.axes for name in names if (alias := alias_in("fairseq", name))}
    assert axes == dict(zip(names, ("T B D", "", "", "T B D"), strict=True))


BLOCK = {
    "layers.0", "layers.0.self_attn_layer_norm", "layers.0.self_attn.out_proj", "layers.0.final_layer_norm",
    "layers.0.fc1", "layers.0.activation_fn", "layers.0.fc2", "layer_norm", "logits",
}  # fmt: skip
PROJECTIONS = {f"layers.0.self_attn.{x}_proj" for x in "qkv"}
POSITIONS = {"embed_positions"}
GPT2_SIZES = {"vocab_size": 11, "n_layer": 1, "n_embd": 4, "n_head": 2}
SIZES = {"vocab_size": 11, "num_hidden_layers": 1, "hidden_size": 4, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.mark.parametrize(
    ("tool", "kind", "config", "ours"),
    [
        ("gpt2", "GPT2", GPT2_SIZES, BLOCK | POSITIONS | {"embeddings"}),
        ("transformers", "OPT", SIZES | {"ffn_dim": 8, "word_embed_proj_dim": 4}, BLOCK | PROJECTIONS | POSITIONS),
        ("transformers", "BioGpt", SIZES, BLOCK | PROJECTIONS | POSITIONS | {"embed_tokens"}),
        ("transformers", "Llama", SIZES, BLOCK | PROJECTIONS),
    ],
)  # fmt: skip
def test_modules_of_transformers(tool: str, kind: str, config: dict[str, int], ours: set[str]) -> None:
    """The names are those of the modules of transformers' own models, as a hook on every module gets them."""
    head = "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
    model = getattr(transformers, f"{kind}{head}")(getattr(transformers, f"{kind}Config")(**config))
    found = {alias.name for name, _ in model.named_modules() if (alias := alias_in(tool, name))}
    assert ours <= found
