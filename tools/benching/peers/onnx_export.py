"""Export a model from transformers to ONNX: python -m tools.benching.peers.onnx_export FOLDER TO PACKAGES

The file is written to TO/model.onnx, unless that folder exists. This Python has torch and transformers; onnx and
onnxscript are read from the folder PACKAGES, the packages of another environment.

Inputs: ``ids`` (B, T), ``positions`` (K,), the positions whose logits are wanted, and ``past.0``, ``past.1`` ...: keys
and values of each layer, (B, H, P, D / H). Outputs: ``logits`` (B, K, V) and ``present.0`` ..., (B, H, P + T, D / H).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.cache_utils import DynamicCache

from tools.benching.peers.serving import FILE, made


class WithCache(torch.nn.Module):
    """The model with its cache as plain inputs and outputs."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, past: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        cache = DynamicCache()
        for layer in range(len(past) // 2):
            cache.update(past[2 * layer], past[2 * layer + 1], layer)
        mask = torch.ones(ids.shape[0], past[0].shape[2] + ids.shape[1], dtype=torch.int64)
        found = self.model.biogpt(ids, attention_mask=mask, past_key_values=cache, use_cache=True)
        logits = self.model.output_projection(found.last_hidden_state.index_select(1, positions))
        both = [array for layer in found.past_key_values.layers for array in (layer.keys, layer.values)]
        return (logits, *both)


def export(folder: Path, file: Path) -> None:
    transformers.logging.set_verbosity_error()
    model = transformers.BioGptForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    config = model.config
    count, width = 2 * config.num_hidden_layers, config.hidden_size // config.num_attention_heads
    ids, positions = torch.tensor([[4, 5, 6, 7, 8]] * 2), torch.tensor([1, 4])
    past = [torch.zeros(2, config.num_attention_heads, 3, width) for _ in range(count)]
    changes = torch.export.Dim.DYNAMIC
    shapes = ({0: changes, 1: changes}, {0: changes}, [{0: changes, 2: changes}] * count)
    with torch.no_grad():
        torch.onnx.export(
            WithCache(model.eval()), (ids, positions, past), file, dynamo=True, dynamic_shapes=shapes, verbose=False,
            input_names=["ids", "positions", *(f"past.{i}" for i in range(count))],
            output_names=["logits", *(f"present.{i}" for i in range(count))],
        )  # fmt: skip


def main() -> None:
    folder, to, packages = sys.argv[1:]
    sys.path.append(packages)  # last, so that packages of this Python come first
    made(Path(to), lambda temporary: export(Path(folder), temporary / FILE))


if __name__ == "__main__":
    main()
