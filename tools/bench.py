"""How fast, and in how much memory: minibiogpt beside transformers, on this machine. `python tools/bench.py load`

Both must be installed (`pip install '.[test]'`).

    load        from_pretrained in float32 and one forward pass of 4 tokens

Each measurement is a process of its own, so that neither has the other's memory or a warm library. The weights are
random, made in a temporary folder block by block, unless --model names a folder. The peak is the resident memory of the
process as Linux reports it (VmHWM), mapped pages of the weights included; seconds are the least of --repeat runs, with
the file in the system's page cache, imports left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))  # the package beside this file, installed or not

from minibiogpt import BioGptConfig
from minibiogpt.checkpoint import base_shapes
from minibiogpt.errors import InputError
from minibiogpt.hub import find_model
from minibiogpt.stored import Outgoing, write_tensors

LARGE = {
    "vocab_size": 57717, "hidden_size": 1600, "num_hidden_layers": 48, "num_attention_heads": 25,
    "intermediate_size": 6400, "max_position_embeddings": 2048,
}  # fmt: skip
SIZES: dict[str, dict[str, int]] = {"base": {}, "large": LARGE}
BLOCK = 1 << 22  # random numbers made in one go
LIBRARIES = ("minibiogpt", "transformers")

# What each process runs; it prints one JSON object. `measured(step)` tells seconds, `peak()` bytes.
PRELUDE = """
import json, re, sys, time
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
def measured(step):
    start = time.perf_counter()
    result = step()
    return result, time.perf_counter() - start
folder = sys.argv[1]
"""
LOAD = {
    "minibiogpt": """
from minibiogpt import BioGptForCausalLM
imported = peak()
model, load = measured(lambda: BioGptForCausalLM.from_pretrained(folder))
loaded = peak()
_, forward = measured(lambda: model([[2, 5, 9, 11]]).logits)
""",
    "transformers": """
import torch, transformers
imported = peak()
model, load = measured(lambda: transformers.BioGptForCausalLM.from_pretrained(folder, dtype=torch.float32).eval())
loaded = peak()
with torch.no_grad():
    _, forward = measured(lambda: model(torch.tensor([[2, 5, 9, 11]])).logits)
""",
}
LOAD_REPORT = """
print(json.dumps({"imported_bytes": imported, "loaded_bytes": loaded, "peak_bytes": peak(),
                  "load_seconds": load, "forward_seconds": forward}))
"""


def make_model(folder: Path, size: str) -> None:
    """config.json and random float32 weights of the size, of which no more than a block is in memory."""
    config = BioGptConfig(**SIZES[size])
    rng = np.random.default_rng(0)

    def blocks(shape: tuple[int, ...], norm: bool) -> Callable[[], Iterator[np.ndarray]]:
        def draw() -> Iterator[np.ndarray]:
            left = int(np.prod(shape))
            while left:
                count = min(left, BLOCK)
                noise = rng.standard_normal(count, dtype=np.float32) * np.float32(config.initializer_range)
                yield noise + np.float32(1) if norm else noise
                left -= count

        return draw

    tensors = {
        f"biogpt.{name}": Outgoing("F32", shape, blocks(shape, name.endswith("norm.weight")))
        for name, shape in base_shapes(config).items()
    }
    write_tensors(folder / "model.safetensors", tensors)
    config.save_pretrained(folder)


@contextmanager
def model_folder(options: argparse.Namespace) -> Iterator[Path]:
    """The folder that was named, or one made for the time of the measurements."""
    if options.model:
        folder = find_model(options.model)
        if not (folder / "config.json").is_file():
            raise InputError(
                "--model must be demo, a folder with config.json, or a hub id", str(folder), "check the path"
            )
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix=f"minibiogpt-{options.size}-") as made:
        print(f"making random weights of size {options.size} in {made}", file=sys.stderr)
        make_model(Path(made), options.size)
        yield Path(made)


def run_alone(script: str, folder: Path) -> dict[str, float]:
    """The numbers that a script prints, run in a process of its own."""
    line = [sys.executable, "-c", PRELUDE + script, str(folder)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        found = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise InputError("each measurement must end well", found, "see that the packages are there, and the memory")
    return json.loads(done.stdout.splitlines()[-1])


def least(script: str, folder: Path, repeat: int) -> dict[str, float]:
    """The least of each number over ``repeat`` runs: what else the machine did can only add to it."""
    runs = [run_alone(script, folder) for _ in range(repeat)]
    return {name: min(run[name] for run in runs) for name in runs[0]}


def load(options: argparse.Namespace) -> dict[str, Any]:
    """Time and memory of loading, and of the first forward pass."""
    with model_folder(options) as folder:
        files = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
        results = {name: least(LOAD[name] + LOAD_REPORT, folder, options.repeat) for name in LIBRARIES}
    return {"benchmark": "load", "model": options.model or options.size, "file_bytes": files, "results": results}


BENCHMARKS = {"load": load}


def machine() -> dict[str, Any]:
    from importlib.metadata import version

    threads = os.environ.get("OMP_NUM_THREADS", "as the libraries choose")
    versions = {name: version(name) for name in ("numpy", "torch", "transformers")}
    return {"cpus": os.cpu_count(), "threads": threads, "python": platform.python_version(), **versions}


def table(facts: dict[str, Any]) -> str:
    """The numbers side by side, and the ratio ours / theirs: below 1 is less memory, or faster."""
    ours, theirs = (facts["results"][name] for name in LIBRARIES)
    lines = [f"{facts['benchmark']}, {facts['model']}, weights {_shown('file_bytes', facts['file_bytes'])}"]
    lines.append(f"{'':18}" + "".join(f"{title:>16}" for title in (*LIBRARIES, "ratio")))
    for name, mine in ours.items():
        label = name.replace("_bytes", "").replace("_", " ")
        row = f"{_shown(name, mine):>16}{_shown(name, theirs[name]):>16}{mine / theirs[name]:16.2f}"
        lines.append(f"{label:18}{row}")
    return "\n".join([*lines, ", ".join(f"{name} {value}" for name, value in facts["machine"].items())])


def _shown(name: str, value: float) -> str:
    return f"{value / 1e9:,.3f} GB" if name.endswith("bytes") else f"{value:.3f} s"


def main(argv: Sequence[str] | None = None) -> int:
    top = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = top.add_subparsers(dest="benchmark", required=True)
    for name, benchmark in BENCHMARKS.items():
        command = commands.add_parser(name, help=benchmark.__doc__)
        where = command.add_mutually_exclusive_group()
        where.add_argument("--model", metavar="M", help="demo, a folder or a hub id, in place of random weights")
        where.add_argument("--size", choices=SIZES, default="base", help="of the random weights (base)")
        command.add_argument("--repeat", type=int, default=3, metavar="N", help="runs of each (3); the least counts")
        command.add_argument("--json", action="store_true", help="print JSON, for a program to read")
    options = top.parse_args(argv)
    if options.repeat < 1:
        top.error("--repeat must be 1 or more")
    try:
        facts = BENCHMARKS[options.benchmark](options) | {"machine": machine()}
    except InputError as error:
        print(f"bench: error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(facts, indent=1) if options.json else table(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
