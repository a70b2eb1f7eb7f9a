"""minibiogpt info: show a model's config, parameter count, dtype and memory use without loading its weights.

It also lists the bytes that the weights take in memory in each format of --quantization.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from minibiogpt.cli.options import add_json, add_model, print_json, source_of
from minibiogpt.cli.sizes import by_format, described, in_words, packed_sizes
from minibiogpt.errors import CheckpointError, InputError, listed

if TYPE_CHECKING:
    from minibiogpt.backend import Backend
    from minibiogpt.catalog.parameters import Shapes
    from minibiogpt.checkpoint.source import Source
    from minibiogpt.quantization import Quantization


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser, runs=True, texts=False)
    about = "also measure this machine, and what it needs for a token at least: a second"
    parser.add_argument("--speed", action="store_true", help=about)
    add_json(parser)


def run(options: argparse.Namespace) -> None:
    """Print what the config and the headers of the weight files say."""
    facts = collect(options)
    if options.json:
        print_json(facts)
        return
    config, machine, sizes = (facts.pop(name) for name in ("config", "machine", "weights_bytes_by_format"))
    for name, value in facts.items():
        print(f"{name.replace('_', ' '):24}{_formatted(name, value)}")
    print(f"weights bytes with --dtype {options.dtype} and --quantization")
    for kind, value in sizes.items():
        print(f"  {kind:22}{_formatted('bytes', value)}")
    for title, values in {"config": config, "machine": machine}.items():
        print(title)
        for name, value in values.items():
            print(f"  {name if title == 'config' else name.replace('_', ' '):30}{value}")


def collect(options: argparse.Namespace) -> dict[str, Any]:
    """Return the facts to print, by name. Memory is in bytes."""
    from minibiogpt import get_backend
    from minibiogpt.backend.report import describe
    from minibiogpt.catalog.parameters import stored_shapes
    from minibiogpt.checkpoint.names import by_model_name
    from minibiogpt.files.safetensors import stored_tensors
    from minibiogpt.quantization import Quantization, gather

    source = source_of(options)
    config, adapter = source.config(), source.adapter
    backend = get_backend(options.backend, options.product)
    width = backend.dtype(options.dtype).itemsize
    in_file = by_model_name(stored_tensors(source.folder), source.folder)
    tensors: dict[str, Any] = dict(in_file)
    names = {*in_file, *(adapter.replaced if adapter else ())}
    shapes = stored_shapes(config, names)
    kind = wanted = Quantization(options.quantization) if options.quantization else None
    obstacle = None
    try:
        tensors = dict(gather(in_file, source.base_config.extra.get("quantization_config")))
        kind = _readable(source, tensors, shapes, wanted)
    except CheckpointError as error:
        obstacle = f"{error.found}; {error.remedy}"
    if obstacle is None:
        merged = adapter.applied(tensors, shapes, source.base_config.tie_word_embeddings) if adapter else tensors
        obstacle = _unfit(merged, shapes)
    packed = packed_sizes(kind, tensors, shapes)
    weights = sum(packed.get(name, math.prod(shape) * width) for name, shape in shapes.items())
    cached = 2 * config.num_hidden_layers * config.hidden_size * width
    return {
        "model": options.model or (adapter.config.base if adapter else "demo"),
        **({"adapter": f"merged adapter {adapter}"} if adapter else {}),
        **({"loads": f"no, {obstacle}"} if obstacle else {}),
        "parameters": sum(math.prod(shape) for shape in shapes.values()),
        "tensors_in_file": len(in_file),
        "dtypes_in_file": sorted({tensor.dtype for tensor in in_file.values()}),
        "file_bytes": sum(path.stat().st_size for path in {tensor.path for tensor in in_file.values()}),
        "backend": options.backend,
        "dtype": options.dtype,
        **({"quantization": described(kind, tensors, shapes, packed)} if kind and packed else {}),
        "weights_bytes": weights,
        "weights_bytes_by_format": by_format(shapes, width),
        "cache_bytes_per_token": cached,
        "cache_bytes_at_most": cached * config.max_position_embeddings,
        "config": config.to_dict(),
        "machine": describe(backend) | (_speed(backend, weights) if options.speed else {}),
    }


def _speed(backend: Backend, weights_bytes: int) -> dict[str, Any]:
    """Return the rates of the backend's products, and the time that reading all weights takes, once for each token."""
    from minibiogpt.backend.products import get_product
    from minibiogpt.backend.report import measure

    if not backend.product_name:
        raise InputError("--speed measures the CPU", f"--backend {backend.name}", "use tools/bench.py on a GPU")
    rates = measure(get_product(backend.product_name))
    shown = {f"gflops_{M}_row{'s' * (M > 1)}": round(rate, 1) for M, rate in rates.items()}
    return shown | {"ms_per_token_at_least": round(weights_bytes / (2 * rates[1]) / 1e6, 1)}


def _readable(
    source: Source, tensors: Mapping[str, Any], shapes: Shapes, wanted: Quantization | None
) -> Quantization | None:
    """Return how the weights will be quantized; None if they won't be.

    Raises
    ------
    CheckpointError
        If they are quantized in a way that can't be read, or in another format than the one that is wanted.
    """
    from minibiogpt.checkpoint.quantized import merged_quantization, reject_quantized
    from minibiogpt.quantization import StoredWeight, from_config

    settings = source.base_config.extra.get("quantization_config")
    reject_quantized(source.folder, settings, tensors, shapes)
    kind = merged_quantization(source.folder, settings, tensors, wanted)
    if any(isinstance(x, StoredWeight) for x in tensors.values()):
        return kind or wanted or from_config(settings)
    return kind


def _unfit(tensors: Mapping[str, Any], shapes: Shapes) -> str | None:
    """Say which tensors are missing or have the wrong shape; None if all fit the config.

    A head may be missing, and a tied one may replace the token embedding.
    """
    from minibiogpt.catalog.parameters import EMBEDDING, HEAD

    optional = {HEAD} | ({EMBEDDING} if HEAD in tensors and HEAD not in shapes else set())
    wrong = [f"no {name}" for name in shapes if name not in tensors and name not in optional]
    wrong += [
        f"{name} {tensors[name].shape}, not {shape}"
        for name, shape in shapes.items()
        if name in tensors and tensors[name].shape != shape
    ]
    return f"the weights do not fit config.json: {listed(wrong)}" if wrong else None


def _formatted(name: str, value: Any) -> str:
    if name == "quantization":
        return in_words(value)
    if "bytes" in name:
        return f"{value:,} ({value / 1e6:,.2f} MB)"
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,}" if isinstance(value, int) else str(value)
