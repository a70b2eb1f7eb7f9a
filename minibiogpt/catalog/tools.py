"""Names of arrays in the dumps of other tools, for ``golden check --names-of TOOL``.

None of these tools has a BioGPT except transformers, fairseq and what is exported from them, so a name is that of the
same place in another model of the tool: what a port modelled on it calls its arrays. Names of the case, of transformers
and of TransformerLens are understood without any of this (``aliases``).

Checked by running it: onnx (``torch.onnx.export`` of transformers' BioGPT with eager attention; the exporter with
``dynamo=True`` gives names without paths, which aren't here), transformers. Read in the source, not run: llama.cpp
(src/models/gpt2.cpp and llama-graph.cpp of 2025), fairseq (TransformerDecoder), gpt2 (transformers and nanoGPT), flax
(FlaxGPT2 and FlaxOPT of transformers 4.57, with Flax's ``capture_intermediates``), mlx (module paths of mlx-lm), and
the hooks of TransformerLens 3. ggml names no results itself: here the result of a weight's operation has the weight's
name in GGUF.
"""

from __future__ import annotations

import re
from functools import cache

from minibiogpt.catalog.aliases import Alias
from minibiogpt.catalog.descriptions import HOOKS, MODULES
from minibiogpt.catalog.foreign import BEFORE, LLAMA_CPP
from minibiogpt.catalog.names import STEP
from minibiogpt.catalog.steps import axes_of

SEPARATOR = re.compile(r"[/.\[\]: \\]+")
CALL = re.compile(r"[/.]__call__(?:[/.\[]0\]?)*$")
SAME_MEMORY = re.compile(r"(?: \((?:reshaped|cont)\))+$")  # what ggml appends to the name of a tensor's source
OWNERS = ("model", "module", "base_model", "_orig_mod", "intermediates", "transformer", "decoder", "biogpt")
OWNERS_IN_FAIRSEQ = ("model", "module", "models", "0")
TABLE = (
    "it is the output of the table of embeddings, before the factor sqrt(D): dump the scaled embeddings as embed_tokens"
)
FUSED = "it has queries, keys and values beside each other: dump them apart, as q_proj, k_proj and v_proj"
UNSCALED = "it is q times k, before the division by sqrt(Dh): dump the scaled scores, or what the softmax returns"
Names = dict[str, tuple[str, ...]]

LLAMA: Names = {
    "embed_tokens": ("inp_scaled",),
    "layers.{l}.self_attn.out_proj": ("attn_out-{l}",),
    "layers.{l}.activation_fn": ("ffn_gelu_erf-{l}",),
}
GGUF: Names = {
    "embed_positions": ("position_embd",),
    "layers.{l}.self_attn_layer_norm": ("blk.{l}.attn_norm",),
    "layers.{l}.self_attn.q_proj": ("blk.{l}.attn_q",),
    "layers.{l}.self_attn.k_proj": ("blk.{l}.attn_k",),
    "layers.{l}.self_attn.v_proj": ("blk.{l}.attn_v",),
    "layers.{l}.self_attn.out_proj": ("blk.{l}.attn_output",),
    "layers.{l}.final_layer_norm": ("blk.{l}.ffn_norm",),
    "layers.{l}.fc1": ("blk.{l}.ffn_up",),
    "layers.{l}.fc2": ("blk.{l}.ffn_down",),
    "layers.{l}": ("blk.{l}",),
    "layer_norm": ("output_norm",),
    "logits": ("output",),
}
ONNX: Names = {
    "embed_tokens": ("embed_tokens/Mul_output_0",),
    "embed_positions": ("embed_positions/Gather_output_0",),
    "layers.{l}.self_attn_layer_norm": (
        "layers.{l}/self_attn_layer_norm/LayerNormalization_output_0",
        "layers.{l}/self_attn_layer_norm/Add_1_output_0",
    ),
    "layers.{l}.self_attn.q_proj": ("layers.{l}/self_attn/q_proj/Add_output_0",),
    "layers.{l}.self_attn.k_proj": ("layers.{l}/self_attn/k_proj/Add_output_0",),
    "layers.{l}.self_attn.v_proj": ("layers.{l}/self_attn/v_proj/Add_output_0",),
    "layers.{l}.self_attn.scores": ("layers.{l}/self_attn/Mul_output_0",),
    "layers.{l}.self_attn.scores_masked": ("layers.{l}/self_attn/Add_output_0",),
    "layers.{l}.self_attn.probs": ("layers.{l}/self_attn/Softmax_output_0",),
    "layers.{l}.self_attn.context": ("layers.{l}/self_attn/Reshape_3_output_0",),
    "layers.{l}.self_attn.out_proj": ("layers.{l}/self_attn/out_proj/Add_output_0",),
    "layers.{l}.attn_residual": ("layers.{l}/Add_output_0",),
    "layers.{l}.final_layer_norm": (
        "layers.{l}/final_layer_norm/LayerNormalization_output_0",
        "layers.{l}/final_layer_norm/Add_1_output_0",
    ),
    "layers.{l}.fc1": ("layers.{l}/fc1/Add_output_0",),
    "layers.{l}.activation_fn": (
        "layers.{l}/activation_fn/Gelu_output_0",
        "layers.{l}/activation_fn/Mul_1_output_0",
    ),
    "layers.{l}.fc2": ("layers.{l}/fc2/Add_output_0",),
    "layers.{l}": ("layers.{l}/Add_1_output_0",),
    "layer_norm": ("layer_norm/LayerNormalization_output_0", "layer_norm/Add_1_output_0"),
    "logits": ("logits", "output_projection/MatMul_output_0"),
}
FAIRSEQ: Names = {
    "embed_positions": ("decoder.embed_positions",),
    "embeddings": ("decoder.dropout_module",),
    "layers.{l}.self_attn_layer_norm": ("decoder.layers.{l}.self_attn_layer_norm",),
    "layers.{l}.self_attn.q_proj": ("decoder.layers.{l}.self_attn.q_proj",),
    "layers.{l}.self_attn.k_proj": ("decoder.layers.{l}.self_attn.k_proj",),
    "layers.{l}.self_attn.v_proj": ("decoder.layers.{l}.self_attn.v_proj",),
    "layers.{l}.self_attn.out_proj": ("decoder.layers.{l}.self_attn.out_proj", "decoder.layers.{l}.self_attn"),
    "layers.{l}.final_layer_norm": ("decoder.layers.{l}.final_layer_norm",),
    "layers.{l}.fc1": ("decoder.layers.{l}.fc1",),
    "layers.{l}.activation_fn": ("decoder.layers.{l}.activation_dropout_module",),
    "layers.{l}.fc2": ("decoder.layers.{l}.fc2",),
    "layers.{l}": ("decoder.layers.{l}",),
    "layer_norm": ("decoder.layer_norm",),
    "logits": ("decoder.output_projection", "decoder"),
}
GPT2: Names = {
    "embed_positions": ("wpe",),
    "embeddings": ("drop",),
    "layers.{l}.self_attn_layer_norm": ("h.{l}.ln_1",),
    "layers.{l}.self_attn.weights": ("h.{l}.attn.attn_dropout",),
    "layers.{l}.self_attn.out_proj": ("h.{l}.attn.c_proj", "h.{l}.attn.resid_dropout", "h.{l}.attn"),
    "layers.{l}.final_layer_norm": ("h.{l}.ln_2",),
    "layers.{l}.fc1": ("h.{l}.mlp.c_fc",),
    "layers.{l}.activation_fn": ("h.{l}.mlp.act", "h.{l}.mlp.gelu"),
    "layers.{l}.fc2": ("h.{l}.mlp.c_proj", "h.{l}.mlp.dropout", "h.{l}.mlp"),
    "layers.{l}": ("h.{l}",),
    "layer_norm": ("ln_f",),
    "logits": ("lm_head",),
}
TRANSFORMERS: Names = {
    "layers.{l}.self_attn_layer_norm": ("layers.{l}.input_layernorm",),
    "layers.{l}.self_attn.out_proj": ("layers.{l}.self_attn", "layers.{l}.self_attn.o_proj"),
    "layers.{l}.final_layer_norm": ("layers.{l}.post_attention_layernorm",),
    "layers.{l}.fc1": ("layers.{l}.mlp.up_proj",),
    "layers.{l}.activation_fn": ("layers.{l}.mlp.act_fn",),
    "layers.{l}.fc2": ("layers.{l}.mlp.down_proj", "layers.{l}.mlp"),
    "layer_norm": ("final_layer_norm", "norm"),
    "logits": ("output_projection", "classifier", "lm_head"),
}
BRIDGE: Names = {
    "embed_tokens": ("embed.hook_out",),
    "embed_positions": ("pos_embed.hook_out",),
    "layers.{l}.self_attn_layer_norm": ("blocks.{l}.ln1.hook_out",),
    "layers.{l}.self_attn.q_proj": ("blocks.{l}.attn.q.hook_out",),
    "layers.{l}.self_attn.k_proj": ("blocks.{l}.attn.k.hook_out",),
    "layers.{l}.self_attn.v_proj": ("blocks.{l}.attn.v.hook_out",),
    "layers.{l}.self_attn.out_proj": ("blocks.{l}.attn.o.hook_out", "blocks.{l}.attn.hook_out"),
    "layers.{l}.final_layer_norm": ("blocks.{l}.ln2.hook_out",),
    "layers.{l}.fc1": ("blocks.{l}.mlp.in.hook_out", "blocks.{l}.mlp.input.hook_out"),
    "layers.{l}.fc2": ("blocks.{l}.mlp.out.hook_out", "blocks.{l}.mlp.hook_out"),
    "layers.{l}": ("blocks.{l}.hook_out",),
    "layer_norm": ("ln_final.hook_out",),
    "logits": ("unembed.hook_out",),
}
PLAIN: Names = {name: (name,) for name in MODULES if " " not in name and name != "embeddings"}
REFUSED = {
    "llama.cpp": {"inp_embd": TABLE, "embd": TABLE, "kq-{l}": UNSCALED},
    "ggml": {"token_embd": TABLE, "blk.{l}.attn_qkv": FUSED},
    "onnx": {"embed_tokens/Gather_output_0": TABLE, "layers.{l}/self_attn/MatMul_output_0": UNSCALED},
    "fairseq": {"decoder.embed_tokens": TABLE},
    "gpt2": {"wte": TABLE, "h.{l}.attn.c_attn": FUSED},
}
"""{tool: {its name: why it is none of our arrays}}."""
TOOLS: dict[str, tuple[Names, ...]] = {
    "llama.cpp": (LLAMA,),
    "ggml": (GGUF,),
    "onnx": (ONNX,),
    "fairseq": (FAIRSEQ,),
    "gpt2": (GPT2,),
    "transformers": (PLAIN, TRANSFORMERS),
    "transformer_lens": (BRIDGE,),
    "flax": (GPT2, PLAIN, TRANSFORMERS),
    "mlx": (GPT2, PLAIN, TRANSFORMERS),
}
"""{tool: its names, as {our template: templates of its names}}."""


def alias_in(tool: str, name: str) -> Alias | None:
    """Return the alias of a name in the dumps of a tool, or None.

    Examples
    --------
    >>> alias_in("llama.cpp", "ffn_up_b-3").name, alias_in("onnx", "step.1//biogpt/layers.0/fc2/Add_output_0").name
    ('layers.3.fc1', 'step.1/layers.0.fc2')
    >>> alias_in("fairseq", "models.0.decoder.layers.2.fc1").axes, alias_in("flax", "h/0/mlp/c_fc/__call__/0").name
    ('T B F', 'layers.0.fc1')
    >>> alias_in("gpt2", "transformer.h.0.attn.c_attn").refusal
    'it has queries, keys and values beside each other: dump them apart, as q_proj, k_proj and v_proj'
    """
    step = STEP.match(name)
    prefix = step[0] if step else ""
    parts, known = _parts(tool, name[len(prefix) :]), _names_of(tool)
    found = known.get(tuple(parts))
    if found is not None:
        return Alias(prefix + found.name if found.name else "", found.axes, found.refusal, found.note)
    for i, part in enumerate(parts):
        number = re.fullmatch(r"((?:[A-Za-z_]+-)?)([0-9]{1,9})", part)
        found = known.get((*parts[:i], f"{number[1]}{{l}}", *parts[i + 1 :])) if number else None
        if number and found is not None:
            ours = found.name.replace("{l}", str(int(number[2])))
            return Alias(prefix + ours if ours else "", found.axes, found.refusal, found.note)
    return None


def _parts(tool: str, name: str) -> list[str]:
    """Return the parts of a name or template, without the modules that hold the model and without ``__call__``."""
    name = CALL.sub("", name) if tool == "flax" else SAME_MEMORY.sub("", name)
    parts = [part for part in SEPARATOR.split(name) if part]
    owners = OWNERS_IN_FAIRSEQ if tool == "fairseq" else OWNERS
    first = next((i for i, part in enumerate(parts[:-1]) if part not in owners), len(parts) - 1)
    return parts[max(first, 0) :]


@cache
def _names_of(tool: str) -> dict[tuple[str, ...], Alias]:
    """Return {parts of the tool's name, with ``{l}`` for the layer: the alias of our template}."""
    found: dict[tuple[str, ...], Alias] = {}

    def add(theirs: str, alias: Alias) -> None:
        found.setdefault(tuple(_parts(tool, theirs)), alias)

    if tool == "llama.cpp":
        for theirs, ours in LLAMA_CPP.items():
            note = BEFORE if theirs == "kqv_out" else ""
            add(f"{theirs}-{{l}}" if "{l}" in ours else theirs, Alias(ours, note=note))
    if tool == "transformer_lens":
        for ours, (hook, axes) in HOOKS.items():
            add(hook, Alias(ours, axes))
    if tool == "onnx":  # the exporter fuses the two transpositions of the keys
        add("layers.{l}/self_attn/Transpose_output_0", Alias("layers.{l}.self_attn.q"))
        add("layers.{l}/self_attn/Transpose_2_output_0", Alias("layers.{l}.self_attn.k", "B H Dh S"))
        add("layers.{l}/self_attn/Transpose_1_output_0", Alias("layers.{l}.self_attn.v"))
    for names in TOOLS[tool]:
        for ours, theirs_of in names.items():
            for theirs in theirs_of:
                add(theirs, Alias(ours, _axes_in(tool, ours)))
    refused = REFUSED["gpt2"] if tool in ("flax", "mlx") else REFUSED.get(tool, {})
    for theirs, reason in refused.items():
        add(theirs, Alias("", refusal=reason))
    return found


def _axes_in(tool: str, ours: str) -> str:
    """Return the axes in the tool, or "" if they are ours. fairseq's layers have the positions in front."""
    inside = ours.startswith("layers.") or ours == "layer_norm"
    return axes_of(ours.replace("{l}", "0")).replace("B T", "T B", 1) if tool == "fairseq" and inside else ""
