"""Names of transformers and TransformerLens, each compared element by element with the array that it is an alias of."""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from minibiogpt import (
    BioGptForCausalLM,
    BioGptForSequenceClassification,
    BioGptForTokenClassification,
    Trace,
)
from minibiogpt.catalog.aliases import OTHER_NAMES, Alias, alias_of
from minibiogpt.catalog.descriptions import HOOKS, MODULES
from minibiogpt.catalog.evaluate import evaluate
from minibiogpt.catalog.steps import axes_of, derived_steps, steps
from minibiogpt.errors import InputError
from tests.budgets import LANE_A
from tests.compare import assert_close
from tests.reference import build, save
from tests.support.configs import CONFIGS, HEADS

KINDS = {
    "CausalLM": BioGptForCausalLM,
    "SequenceClassification": BioGptForSequenceClassification,
    "TokenClassification": BioGptForTokenClassification,
}
IDS = np.random.default_rng(3).integers(3, 67, (2, 11))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @cache
    def load(head: str) -> tuple[Any, Any]:
        theirs = build(head=head, **(HEADS | {"CausalLM": CONFIGS["gelu"]})[head])
        path = save(theirs, tmp_path_factory.mktemp("model"))
        return theirs, KINDS[head].from_pretrained(path, dtype="float64")

    return load


def traced(model: Any, **inputs: Any) -> Trace:
    trace = Trace()
    model(**inputs, trace=trace)
    return trace


def laid_out(x: np.ndarray, theirs: str, ours: str) -> np.ndarray:
    """Return their array in our layout, using only the letters."""
    letters, target = theirs.split(), ours.split()
    if "D" in target and letters[-2:] == ["H", "Dh"]:
        return x.reshape(*x.shape[:-2], -1)
    return x.transpose([letters.index(letter) for letter in target])


def same(theirs: str, x: np.ndarray, trace: Any, head: str = "causal") -> str:
    """Compare their array with the array that the alias names; return our name."""
    alias = alias_of(theirs)
    assert alias is not None, theirs
    assert not alias.refusal, theirs
    ours = axes_of(alias.name, head)
    assert_close(
        f"{theirs} = {alias.name}", laid_out(x, alias.axes or ours, ours), np.asarray(trace[alias.name]), LANE_A
    )
    return alias.name


def hooked(model: Any, **inputs: Any) -> tuple[dict[str, np.ndarray], Any]:
    """{module path: output} of every module of transformers that returns a tensor."""
    found: dict[str, np.ndarray] = {}

    def record(name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, torch.Tensor):
                found[name] = first.detach().numpy().copy()

        return hook

    handles = [module.register_forward_hook(record(name)) for name, module in model.named_modules() if name]
    try:
        with torch.no_grad():
            output = model(**inputs, output_attentions=True, output_hidden_states=True)
    finally:
        for handle in handles:
            handle.remove()
    return found, output


HEAD = {"CausalLM": "causal", "SequenceClassification": "sequence", "TokenClassification": "token"}


@pytest.mark.parametrize("head", KINDS)
def test_every_module_of_transformers_is_what_its_name_says(folder: Any, head: str) -> None:
    theirs, ours = folder(head)
    mask = np.ones_like(IDS)
    mask[0, :4] = 0
    inputs = {"input_ids": IDS, "attention_mask": mask}
    trace = traced(ours, **inputs)
    found, output = hooked(theirs, **{name: torch.tensor(x) for name, x in inputs.items()})
    compared = set()
    for name, x in found.items():
        if name == "dropout":  # of a classifier: the identity in evaluation, and not one of our steps
            assert alias_of(name) is None
        elif name != "biogpt":  # its output holds several arrays
            compared.add(same(name, x, trace, HEAD[head]))
            if name.startswith("biogpt."):
                assert alias_of(name.removeprefix("biogpt.")) == alias_of(name)
    for i, x in enumerate(output.hidden_states):
        compared.add(same(f"hidden_states.{i}", x.numpy(), trace))
        assert alias_of(f"hidden_states[{i}]") == alias_of(f"hidden_states.{i}")
    for i, x in enumerate(output.attentions):
        compared.add(same(f"attentions.{i}", x.numpy(), trace))
        assert alias_of(f"attentions[{i}]") == alias_of(f"attentions.{i}")
    listed = {step.name for step in steps(ours.config, HEAD[head]) if step.transformers}
    assert listed <= compared, "every name in the table was compared"
    for step in steps(ours.config, HEAD[head]):
        if step.transformers:
            assert alias_of(step.transformers).name == step.name  # type: ignore[union-attr]


def test_the_base_models_output_is_after_the_final_norm(folder: Any) -> None:
    theirs, ours = folder("CausalLM")
    with torch.no_grad():
        want = theirs.biogpt(torch.tensor(IDS)).last_hidden_state
    assert same("last_hidden_state", want.numpy(), traced(ours, input_ids=IDS)) == "layer_norm"


def test_a_wrong_alias_is_noticed(folder: Any) -> None:
    """The comparison fails for another layer and for another layout."""
    theirs, ours = folder("CausalLM")
    trace = traced(ours, input_ids=IDS)
    found, _ = hooked(theirs, input_ids=torch.tensor(IDS))
    for name in ("biogpt.layers.0.fc2", "biogpt.layers.1.self_attn.q_proj", "biogpt.layers.1"):
        with pytest.raises(AssertionError, match="exceeds"):
            same(name.replace("layers.0", "layers.2").replace("layers.1", "layers.0").replace("layers.2", "layers.1"),
                 found[name], trace)  # fmt: skip
    with pytest.raises(AssertionError, match="shape"):
        same("blocks.0.attn.hook_q", np.asarray(trace["layers.0.self_attn.q"]), trace)


# --- TransformerLens ---------------------------------------------------------------------------------------------

LENS = importlib.util.find_spec("transformer_lens") is not None
needs_lens = pytest.mark.skipif(not LENS, reason="transformer_lens 2 is not installed")


def hooked_transformer(theirs: Any, normalization: str = "LN") -> Any:
    """A HookedTransformer with the weights of transformers' BioGPT: scaled embedding, positions from row 2."""
    from transformer_lens import HookedTransformer, HookedTransformerConfig

    config = theirs.config
    L, H, D, F = (config.num_hidden_layers, config.num_attention_heads, config.hidden_size, config.intermediate_size)
    model = HookedTransformer(
        HookedTransformerConfig(
            n_layers=L, d_model=D, n_ctx=config.max_position_embeddings, d_head=D // H, n_heads=H, d_mlp=F,
            d_vocab=config.vocab_size, act_fn="gelu", eps=1e-5, normalization_type=normalization, use_attn_result=True,
            positional_embedding_type="standard", dtype=torch.float64, device="cpu",
        )
    )  # fmt: skip
    state = {name: x for name, x in model.state_dict().items() if x.dtype == torch.bool or x.ndim == 0}
    weights = {name.removeprefix("biogpt."): x for name, x in theirs.state_dict().items()}
    state |= {
        "embed.W_E": weights["embed_tokens.weight"] * D**0.5,
        "pos_embed.W_pos": weights["embed_positions.weight"][2:],
        "unembed.W_U": weights["embed_tokens.weight"].T,
        "unembed.b_U": torch.zeros(config.vocab_size, dtype=torch.float64),
    }
    norms = {"ln_final": "layer_norm"}
    for layer in range(L):
        ours, path = f"layers.{layer}", f"blocks.{layer}"
        norms |= {f"{path}.ln1": f"{ours}.self_attn_layer_norm", f"{path}.ln2": f"{ours}.final_layer_norm"}
        for letter, part in zip("QKV", ("q_proj", "k_proj", "v_proj"), strict=True):
            weight, bias = (weights[f"{ours}.self_attn.{part}.{kind}"] for kind in ("weight", "bias"))
            state[f"{path}.attn.W_{letter}"] = weight.reshape(H, D // H, D).transpose(1, 2)
            state[f"{path}.attn.b_{letter}"] = bias.reshape(H, D // H)
        state[f"{path}.attn.W_O"] = weights[f"{ours}.self_attn.out_proj.weight"].T.reshape(H, D // H, D)
        state[f"{path}.attn.b_O"] = weights[f"{ours}.self_attn.out_proj.bias"]
        for letter, part in (("in", "fc1"), ("out", "fc2")):
            state[f"{path}.mlp.W_{letter}"] = weights[f"{ours}.{part}.weight"].T
            state[f"{path}.mlp.b_{letter}"] = weights[f"{ours}.{part}.bias"]
    if normalization == "LN":
        for name, ours in norms.items():
            state |= {f"{name}.w": weights[f"{ours}.weight"], f"{name}.b": weights[f"{ours}.bias"]}
    model.load_state_dict(state)
    return model.eval()


@pytest.fixture(scope="module")
def lens(folder: Any) -> Any:
    """Their cache, their model, and our trace with head_out added."""
    theirs, ours = folder("CausalLM")
    model = hooked_transformer(theirs)
    with torch.no_grad():
        logits, cache = model.run_with_cache(torch.tensor(IDS))
    trace = traced(ours, input_ids=IDS)
    parameters = {name.removeprefix("biogpt."): x for name, x in ours.named_parameters()}
    arrays = dict(trace)
    for step in derived_steps(ours.config):
        symbols = {symbol: (parameters | arrays)[source] for symbol, source in step.where.items()}
        arrays[step.name] = evaluate(step, symbols, trace.letters)
    return {name: x.numpy() for name, x in cache.items()} | {"logits": logits.numpy()}, model, arrays


@needs_lens
@pytest.mark.filterwarnings("default")
def test_every_hook_of_transformer_lens_is_what_its_name_says(lens: Any) -> None:
    found, _, arrays = lens
    compared, refused = set(), set()
    for name, x in found.items():
        alias = alias_of(name)
        assert alias is not None, name
        if alias.refusal:
            refused.add(re.sub(r"blocks\.\d+", "blocks.{l}", name))
        else:
            same(name, x, arrays)
            compared.add(re.sub(r"blocks\.\d+", "blocks.{l}", name))
    hooks = {hook.replace("blocks.0", "blocks.{l}") for hook, _ in HOOKS.values()}
    assert compared == hooks | {"blocks.{l}.hook_resid_pre", "logits"}
    assert refused == {
        *(f"blocks.{{l}}.{norm}.{hook}" for norm in ("ln1", "ln2") for hook in ("hook_scale", "hook_normalized")),
        "ln_final.hook_scale",
        "ln_final.hook_normalized",
    }
    assert "unembed.hook_out" not in found


@needs_lens
@pytest.mark.filterwarnings("default")
def test_why_hook_normalized_is_refused(lens: Any, folder: Any) -> None:
    """The hook holds the norm before gain and bias if the weights were folded, and after them otherwise."""
    found, _, arrays = lens
    want = np.asarray(arrays["layers.0.self_attn_layer_norm"])
    assert_close("after", found["blocks.0.ln1.hook_normalized"], want, LANE_A)
    with torch.no_grad():
        _, folded = hooked_transformer(folder("CausalLM")[0], "LNPre").run_with_cache(torch.tensor(IDS))
    x = np.asarray(arrays["embeddings"])
    before = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    assert_close("before", folded["blocks.0.ln1.hook_normalized"].numpy(), before, LANE_A)
    with pytest.raises(AssertionError, match="exceeds"):
        assert_close("before", before, want, LANE_A)


# --- names only -------------------------------------------------------------------------------------------------


def test_every_name_of_the_tables_leads_back_to_ours() -> None:
    for ours, hook in {**{k: v[0] for k, v in HOOKS.items()}, **MODULES}.items():
        alias = alias_of(hook.replace("{l}", "7"))
        assert alias is not None
        assert alias.name == ours.partition(" ")[0].replace("{l}", "7")
    assert len(OTHER_NAMES) == len(HOOKS) + len(MODULES)


@pytest.mark.parametrize(
    ("theirs", "ours", "axes"),
    [
        ("biogpt.layers.3.self_attn", "layers.3.self_attn.out_proj", "B T D"),
        ("layers.3.self_attn", "layers.3.self_attn.out_proj", "B T D"),
        ("layers.3", "layers.3", "B T D"),
        ("logits", "logits", "B T V"),
        ("score", "score", "B T labels"),
        ("classifier", "logits", "B T labels"),
        ("hidden_states[0]", "embeddings", "B T D"),
        ("hidden_states.3", "layers.2", "B T D"),
        ("blocks.0.hook_resid_pre", "embeddings", "B T D"),
        ("blocks.2.hook_resid_pre", "layers.1", "B T D"),
        ("step.4/blocks.2.attn.hook_z", "step.4/layers.2.self_attn.context", "B T H Dh"),
        ("step.4/biogpt.layers.0.fc1", "step.4/layers.0.fc1", "B T F"),
    ],
)
def test_names_by_hand(theirs: str, ours: str, axes: str) -> None:
    alias = alias_of(theirs)
    assert alias is not None
    assert (alias.name, alias.axes, alias.refusal) == (ours, axes, "")


@pytest.mark.parametrize(
    "name",
    ["model.layers.0", "biogpt.logits", "biogpt.score", "biogpt.loss", "attn.hook_q", "blocks.0.attn.hook_rot_q", "x",
     "", "layers/0/fc1", "layers__0__fc1", "hidden_states", "hidden_states[-1]", "blocks.0", "blocks.0.hook_embed",
     "blocks.x.hook_resid_pre", "hook_resid_pre", "biogpt", "biogpt.biogpt.layers.0", "self_attn.q", "inputs/input_ids",
     "blocks.0.unembed.hook_out", "embeddings "],
)  # fmt: skip
def test_nothing_is_guessed(name: str) -> None:
    assert alias_of(name) is None


def test_refusals_say_what_to_dump() -> None:
    for name, instead in {
        "blocks.3.ln1.hook_normalized": "layers.3.self_attn_layer_norm",
        "step.1/blocks.3.ln2.hook_normalized": "layers.3.final_layer_norm",
        "ln_final.hook_normalized": "layer_norm",
        "blocks.3.ln1.hook_scale": "dump the norm's output",
        "unembed.hook_out": "as logits",
    }.items():
        alias = alias_of(name)
        assert isinstance(alias, Alias)
        assert alias.name == ""
        assert instead in alias.refusal


def test_explain_takes_their_names_and_says_why_it_refuses_one(capsys: pytest.CaptureFixture[str]) -> None:
    trace = Trace()
    BioGptForCausalLM.from_pretrained("demo")([[2, 5]], trace=trace)
    trace.explain("blocks.1.attn.hook_z")
    assert capsys.readouterr().out.startswith("layers.1.self_attn.context: weighted sums of the values")
    with pytest.raises(InputError, match="hook_normalized holds the norm before"):
        trace.explain("ln_final.hook_normalized")
