"""minibiogpt info: show a model's config, parameter count, dtype and memory use without loading its weights."""

from __future__ import annotations

import argparse
import math
from typing import Any

from minibiogpt.cli.options import add_json, add_model, print_json, source_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, runs=True, texts=False)
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Print what the config and the headers of the weight files say."""
    facts = collect(options)
    if options.json:
        print_json(facts)
        return
    config = facts.pop("config")
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):24}{_formatted(name, value)}")
    print("config")
    for name, value in config.items():
        print(f"  {name:30}{value}")


def collect(options: argparse.Namespace) -> dict[str, Any]:
    """Return the facts to print, by name. Memory is in bytes."""
    from minibiogpt import get_backend
    from minibiogpt.catalog.parameters import stored_shapes
    from minibiogpt.checkpoint.names import by_model_name
    from minibiogpt.files.safetensors import stored_tensors

    source = source_of(options)
    config, adapter = source.config(), source.adapter
    width = get_backend(options.backend).dtype(options.dtype).itemsize
    stored = by_model_name(stored_tensors(source.folder), source.folder)
    names = {*stored, *(adapter.replaced if adapter else ())}
    parameters = sum(math.prod(shape) for shape in stored_shapes(config, names).values())
    cached = 2 * config.num_hidden_layers * config.hidden_size * width
    return {
        "model": options.model,
        **({"adapter": f"merged adapter {adapter}"} if adapter else {}),
        "parameters": parameters,
        "tensors_in_file": len(stored),
        "dtypes_in_file": sorted({tensor.dtype for tensor in stored.values()}),
        "file_bytes": sum(path.stat().st_size for path in {tensor.path for tensor in stored.values()}),
        "backend": options.backend,
        "dtype": options.dtype,
        "weights_bytes": parameters * width,
        "cache_bytes_per_token": cached,
        "cache_bytes_at_most": cached * config.max_position_embeddings,
        "config": config.to_dict(),
    }


def _formatted(name: str, value: Any) -> str:
    if "bytes" in name:
        return f"{value:,} ({value / 1e6:,.2f} MB)"
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
