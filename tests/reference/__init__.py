"""The PyTorch side: transformers models with random weights, and every array of their forward pass by our names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from transformers.models.biogpt import modeling_biogpt as modeling

# BioGptConfig's documentation offers "selu", but transformers 4.57 has no such entry in its table.
modeling.ACT2FN.setdefault("selu", torch.nn.SELU)

Arrays = dict[str, np.ndarray]


def build(seed: int = 0, head: str = "CausalLM", **sizes: Any) -> Any:
    """A float64 model with one of the three heads; every weight is random, so that none can be dropped unseen."""
    config = transformers.BioGptConfig(**sizes)
    config._attn_implementation = "eager"
    model = getattr(transformers, f"BioGptFor{head}")(config).double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            if name.endswith("layer_norm.weight"):
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(noise * (0.3 if parameter.ndim == 1 else 1 / math.sqrt(parameter.shape[-1])))
            parameter.copy_(parameter.float().double())  # the same numbers in both lanes
    return model


def save(model: Any, folder: Path) -> Path:
    """Written by transformers in float64, so that nothing is rounded on the way."""
    model.save_pretrained(folder)
    return folder


def tensors(**arrays: Any) -> dict[str, torch.Tensor]:
    """NumPy arrays and lists as tensors; None stays out."""
    return {name: torch.as_tensor(np.asarray(x)) for name, x in arrays.items() if x is not None}


def _numpy(x: torch.Tensor) -> np.ndarray:
    return x.detach().numpy().copy()


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = vars(owner)[name] if isinstance(owner, type) else getattr(owner, name)  # a staticmethod stays one
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _recording_attention(trace: Arrays, layers: int) -> Callable[..., Any]:
    """Attention step by step, every step recorded; that it is transformers' own is checked by `torch_trace`."""
    original, calls = modeling.eager_attention_forward, iter(range(layers))

    def forward(
        module: Any, q: Any, k: Any, v: Any, mask: Any, scaling: float, head_mask: Any = None, **rest: Any
    ) -> Any:
        path = f"layers.{next(calls)}.self_attn"
        scores = torch.matmul(q, k.transpose(2, 3)) * scaling
        masked = scores if mask is None else scores + mask
        steps = {"q": q, "k": k, "v": v, "scores": scores, "scores_masked": masked, "probs": F.softmax(masked, dim=-1)}
        output, weights = original(module, q, k, v, mask, scaling=scaling, head_mask=head_mask, **rest)
        steps |= {"weights": weights, "context": output.reshape(*output.shape[:2], -1)}
        trace.update({f"{path}.{name}": _numpy(x) for name, x in steps.items()})
        if head_mask is None:
            assert torch.equal(steps["probs"], weights), "the steps are not those of transformers"
        return output, weights

    return forward


def _hooks(model: Any, trace: Arrays) -> list[Any]:
    """A hook on every module that has a name in our trace; a layer's attn_residual is what its second norm is given."""
    base, handles = model.biogpt, []

    def record(name: str) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            trace[name] = _numpy(output[0] if isinstance(output, tuple) else output)

        return hook

    def record_input(name: str) -> Callable[..., None]:
        def hook(module: Any, inputs: Any) -> None:
            trace[name] = _numpy(inputs[0])

        return hook

    named: list[tuple[str, Any]] = [("embed_tokens", base.embed_tokens), ("embed_positions", base.embed_positions)]
    for i, layer in enumerate(base.layers):
        parts = [f"self_attn.{p}" for p in ("q_proj", "k_proj", "v_proj", "out_proj")]
        parts += ["self_attn_layer_norm", "final_layer_norm", "fc1", "activation_fn", "fc2"]
        for part in parts:
            named.append((f"layers.{i}.{part}", layer.get_submodule(part)))
        named.append((f"layers.{i}", layer))
        handles.append(layer.final_layer_norm.register_forward_pre_hook(record_input(f"layers.{i}.attn_residual")))
    handles.append(base.layers[0].register_forward_pre_hook(record_input("embeddings")))
    named.append(("layer_norm", base.layer_norm))
    heads = {"output_projection": "logits", "score": "score", "classifier": "logits"}
    named += [(name, getattr(model, head)) for head, name in heads.items() if hasattr(model, head)]
    return handles + [module.register_forward_hook(record(name)) for name, module in named]


def torch_trace(model: Any, **inputs: Any) -> tuple[Arrays, Any]:
    """Every array of our trace but position_ids and loss, by name, and transformers' own output."""
    trace: Arrays = {}
    handles = _hooks(model, trace)
    given = {name: x if name in ("past_key_values", "use_cache") else torch.as_tensor(x) for name, x in inputs.items()}
    attention = _recording_attention(trace, len(model.biogpt.layers))
    try:
        with torch.no_grad(), replaced(modeling, "eager_attention_forward", attention):
            output = model(**given, output_attentions=True, output_hidden_states=True)
    finally:
        for handle in handles:
            handle.remove()
    if "score" in trace:  # of the position that is pooled
        trace["logits"] = _numpy(output.logits)
    return trace, output


def in_order(trace: Arrays, order: list[str]) -> Arrays:
    """The reference's arrays in the order of our trace."""
    assert set(trace) <= set(order), set(trace) - set(order)
    return {name: trace[name] for name in order if name in trace}
