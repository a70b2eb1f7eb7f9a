"""The PyTorch reference: transformers models with random weights, and every array of a forward pass by our names."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from tools import dump_torch
from tools.dump_torch import replaced

__all__ = ["Arrays", "build", "in_order", "replaced", "save", "tensors", "torch_trace"]

Arrays = dict[str, np.ndarray]


def build(seed: int = 0, head: str = "CausalLM", **sizes: Any) -> Any:
    """Return a float64 model with one of the three heads; all weights are random, so dropping any of them shows."""
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
            parameter.copy_(parameter.float().double())  # the same values in float32 and float64
    return model


def save(model: Any, folder: Path) -> Path:
    """Save the model with transformers, in float64, so that nothing is rounded."""
    model.save_pretrained(folder)
    return folder


def tensors(**arrays: Any) -> dict[str, torch.Tensor]:
    """Return arrays and lists as tensors, without those that are None."""
    return {name: torch.as_tensor(np.asarray(x)) for name, x in arrays.items() if x is not None}


def torch_trace(model: Any, **inputs: Any) -> tuple[Arrays, Any]:
    """Return {name: array} of every array in our trace, and transformers' own output."""
    arrays, output = dump_torch.run(model, **inputs)
    return {name: x.numpy() for name, x in arrays.items()}, output


def in_order(trace: Arrays, order: list[str]) -> Arrays:
    """Return the reference's arrays in the order of our trace."""
    assert set(trace) <= set(order), set(trace) - set(order)
    return {name: trace[name] for name in order if name in trace}
