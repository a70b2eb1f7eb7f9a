"""The table of the page on quantization: bytes of each format, and the error that it makes.

    python -m tools.quantization_table                    print it in Markdown (half a minute)
    python -m tools.quantization_table --memory FOLDER    print what processes with this model take instead (Linux)

The sizes are those of the arrays in memory, embeddings and biases in float32 included. The errors are of the demo's
matrices and of normal numbers, relative to their RMS (root mean square). The perplexity is that of the demo on the
sentences that were held out of its training.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptTokenizer
from minibiogpt.catalog.parameters import base_shapes
from minibiogpt.quantization import Quantization
from minibiogpt.quantization.sizes import packed_bytes
from tools.benching.models import SIZES
from tools.demo_corpus import corpus

HEADER = (
    "format", "bits a weight", "base, MB", "Large, MB", "error: demo", "error: normal", "perplexity", "against float32",
)  # fmt: skip
MEMORY_HEADER = ("format", "arrays, MB", "import", "peak of loading", "peak of 16 tokens after 64")
SETTINGS: dict[str, Quantization | None] = {
    "float32": None,
    "`q8_0`": Quantization("q8_0"),
    "`int8`": Quantization("int8"),
    "`int8-dynamic`": Quantization("int8-dynamic"),
    "the same, `outlier_threshold=6.0`": Quantization("int8-dynamic", threshold=6.0),
    "`q4_0`": Quantization("q4_0"),
    "`nf4`": Quantization("nf4"),
    "`nf4`, `double_quant=False`": Quantization("nf4", double_quant=False),
    "`fp4`": Quantization("fp4"),
    "`fp4`, `double_quant=False`": Quantization("fp4", double_quant=False),
}

FORMATS = ("float32", "int8", "int8-dynamic", "q8_0", "q4_0", "nf4")  # whose memory is measured
MEASURE = """\
import resource, sys
import numpy as np
from minibiogpt import BioGptForCausalLM

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6

folder, name = sys.argv[1:]
found = [peak()]
model = BioGptForCausalLM.from_pretrained(folder, quantization=None if name == "float32" else name)
found.append(peak())
ids = np.random.default_rng(0).integers(4, model.config.vocab_size, (1, 64))
model.generate(ids, max_new_tokens=16, min_new_tokens=16)
print(*(f"{x:.0f}" for x in [model.get_memory_footprint() / 1e6, *found, peak()]))
"""


class Size(NamedTuple):
    """How much a model of one size takes."""

    bits: float  # a weight of the matrices
    megabytes: float  # in all


def size_of(config: BioGptConfig, quantization: Quantization | None) -> Size:
    """Return what the arrays of a model take."""
    shapes = base_shapes(config)
    chosen = set(Quantization("nf4").chosen(shapes))
    matrices = [shapes[name] for name in chosen]
    weights = sum(math.prod(shape) for shape in matrices)
    others = sum(math.prod(shape) for name, shape in shapes.items() if name not in chosen)
    packed = 4 * weights
    if quantization is not None:
        double_quant = quantization.double_quant
        packed = sum(packed_bytes(quantization.format, shape, double_quant=double_quant) for shape in matrices)
    return Size(8 * packed / weights, (packed + 4 * others) / 1e6)


def error_of(arrays: list[np.ndarray], quantization: Quantization | None) -> float:
    """Return the RMS of the errors of all weights, relative to the RMS of the weights."""
    if quantization is None:
        return 0.0
    error = sum(float(np.square(np.asarray(quantization.pack(x, "float32")) - x, dtype="f8").sum()) for x in arrays)
    return math.sqrt(error / sum(float(np.square(x, dtype="f8").sum()) for x in arrays))


@cache
def held_out() -> list[list[int]]:
    """Return the ids of the sentences that the demo was not trained on."""
    tokenizer = BioGptTokenizer.from_pretrained("demo")
    return [tokenizer.encode(sentence) for sentence in corpus(0)[1]]


def perplexity_of(model: BioGptForCausalLM) -> float:
    """Return exp of the mean of -ln p over all tokens of the held-out sentences."""
    return math.exp(model.score(held_out()).loss)


def rows() -> Iterator[list[str]]:
    """Yield the rows of the table."""
    model = BioGptForCausalLM.from_pretrained("demo")
    named = {name.removeprefix("biogpt."): x for name, x in model.named_parameters()}
    demo = [named[name] for name in Quantization("nf4").chosen(named)]
    normal = [np.random.default_rng(0).standard_normal((1024, 1024), dtype=np.float32)]
    right = perplexity_of(model)
    for name, quantization in SETTINGS.items():
        base, large = (size_of(BioGptConfig(**SIZES[size]), quantization) for size in ("base", "large"))
        quantized = BioGptForCausalLM.from_pretrained("demo", quantization=quantization)
        found = perplexity_of(quantized)
        yield [
            name,
            f"{base.bits:.3f}".rstrip("0").rstrip("."),
            f"{base.megabytes:,.0f}",
            f"{large.megabytes:,.0f}",
            *(f"{100 * error_of(arrays, quantization):.2f} %" for arrays in (demo, normal)),
            f"{found:.3f}",
            f"{100 * (found / right - 1):+.2f} %",
        ]


def memory(folder: str) -> Iterator[list[str]]:
    """Yield, for each format: MB of the arrays, and of the process at most: after the import, loading, generating."""
    for name in FORMATS:
        command = [sys.executable, "-c", MEASURE, folder, name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        yield [f"`{name}`", *(f"{int(x):,}" for x in done.stdout.split())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", metavar="FOLDER", help="measure the memory of this model, in every format")
    options = parser.parse_args()
    header, lines = (HEADER, rows()) if options.memory is None else (MEMORY_HEADER, memory(options.memory))
    print(f"| {' | '.join(header)} |")
    print("|" + "---|" * len(header))
    for row in lines:
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
