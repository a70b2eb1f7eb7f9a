"""The PyTorch side: transformers models with random weights, and every array of their forward pass by our names."""

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


def torch_trace(model: Any, **inputs: Any) -> tuple[Arrays, Any]:
    """Every array of our trace, by name, and transformers' own output."""
    arrays, output = dump_torch.run(model, **inputs)
    return {name: x.numpy() for name, x in arrays.items()}, output


def in_order(trace: Arrays, order: list[str]) -> Arrays:
    """The reference's arrays in the order of our trace."""
    assert set(trace) <= set(order), set(trace) - set(order)
    return {name: trace[name] for name in order if name in trace}
