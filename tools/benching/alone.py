"""Measurements that need a fresh process each time: loading, the first token of a cold start, and memory."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from minibiogpt import BioGptConfig
from tools.benching import limits
from tools.benching.cases import random_ids
from tools.benching.rounds import OURS, THEIRS, Setup, rotated
from tools.benching.workers import run_alone

# The start of every script. The script prints JSON. `measured(step)` returns (result, seconds), `peak()` bytes.
PRELUDE = """
import json, sys, time
def measured(step):
    start = time.perf_counter()
    result = step()
    return result, time.perf_counter() - start
folder, dtype, backend, threads, attention = sys.argv[1:6]
"""
RESIDENT = """
from tools.benching.answer import resident
def peak():
    return resident("VmHWM")
"""
IMPORT = {
    OURS: "from minibiogpt import BioGptForCausalLM",
    THEIRS: "import torch, transformers; torch.set_num_threads(int(threads)); torch.inference_mode().__enter__()",
}
MODEL = {
    OURS: "BioGptForCausalLM.from_pretrained(folder, dtype=dtype, backend=backend)",
    THEIRS: (
        "transformers.BioGptForCausalLM.from_pretrained("
        "folder, dtype=getattr(torch, dtype), attn_implementation=attention).eval()"
    ),
}
TO_INPUT = {OURS: "", THEIRS: "ids = torch.tensor(ids)"}  # converts a list of ids to the input of the library
GENERATE = {
    OURS: "model.backend.to_numpy(model.generate(ids, do_sample=False, progress=False, {options})).tolist()",
    THEIRS: "model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, {options}).tolist()",
}
FORWARD = {OURS: "model(ids).logits", THEIRS: "model(ids).logits"}

LOAD_REPORT = """
print(json.dumps({"imported_bytes": imported, "loaded_bytes": loaded, "peak_bytes": peak(),
                  "load_seconds": load, "forward_seconds": forward}))
"""
LOAD = {
    library: f"""{RESIDENT}
{IMPORT[library]}
imported = peak()
model, load = measured(lambda: {MODEL[library]})
loaded = peak()
ids = [[2, 5, 9, 11]]
{TO_INPUT[library]}
_, forward = measured(lambda: {FORWARD[library]})
"""
    for library in (OURS, THEIRS)
}
FIRST = {
    library: f"""
begun = time.perf_counter()
{IMPORT[library]}
imported = time.perf_counter() - begun
model, load = measured(lambda: {MODEL[library]})
ids = json.loads(sys.argv[6])
{TO_INPUT[library]}
found, token = measured(lambda: {GENERATE[library].format(options="max_new_tokens=1, min_new_tokens=1")})
print(json.dumps({{"result": found[0][-1], "import": imported, "load": load, "token": token}}))
"""
    for library in (OURS, THEIRS)
}
MEMORY = {
    library: f"""{RESIDENT}
{IMPORT[library]}
bytes = {{"import": peak()}}
model = {MODEL[library]}
bytes["load"] = peak()
ids, N = json.loads(sys.argv[6]), int(sys.argv[7])
{TO_INPUT[library]}
{GENERATE[library].format(options="max_new_tokens=1, min_new_tokens=1")}
bytes["forward"] = peak()
new = N - len(ids[0])
{GENERATE[library].format(options="max_new_tokens=new, min_new_tokens=new")}
bytes["generate"] = peak()
print(json.dumps(bytes))
"""
    for library in (OURS, THEIRS)
}
NEVER_STOP = {OURS: "ids[:, 0] != ids[:, 0]", THEIRS: "torch.zeros(len(ids), dtype=torch.bool, device=ids.device)"}
STEADY = {
    library: f"""{RESIDENT}
{IMPORT[library]}
model = {MODEL[library]}
ids, new, every = json.loads(sys.argv[6]), int(sys.argv[7]), int(sys.argv[8])
{TO_INPUT[library]}
steps, found = 0, []
def note(ids, scores, **options):
    global steps
    steps += 1
    if steps % every == 0:
        found.append(resident())
    return {NEVER_STOP[library]}
{GENERATE[library].format(options="max_new_tokens=new, min_new_tokens=new, stopping_criteria=[note]")}
print(json.dumps(found))
"""
    for library in (OURS, THEIRS)
}
FIRST_PROMPT, LONG_PROMPT, LONG_NEW, EVERY = 20, 1000, 2000, 100


def run(scripts: dict[str, str], side: str, setup: Setup, *arguments: object, folder: Path | None = None) -> Any:
    """Run the script of one side, "ours" or an attention implementation of transformers, in its own process."""
    script, attention = (scripts[OURS], "none") if side == "ours" else (scripts[THEIRS], side)
    common = (folder or setup.folder, setup.dtype, setup.backend, setup.threads, attention)
    return run_alone(PRELUDE + script, *common, *arguments, threads=setup.threads)


def load(setup: Setup) -> dict[str, Any]:
    """Measure time and memory of loading and of the first forward pass: sides in turn, minimum of all rounds."""
    print("bench: load", file=sys.stderr)
    sides, files = ["ours", setup.peers[0]], sum(path.stat().st_size for path in setup.folder.glob("*.safetensors"))
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for turn in range(setup.rounds):
        for side in rotated(sides, turn):
            runs[side].append(run({name: LOAD[name] + LOAD_REPORT for name in LOAD}, side, setup))
    names = {OURS: "ours", THEIRS: setup.peers[0]}
    return {"file_bytes": files, "results": {name: least(runs[side]) for name, side in names.items()}, "runs": runs}


def least(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the minimum of each measurement; other load on the machine can only increase them."""
    return {name: min(run[name] for run in runs) for name in runs[0]}


def first_token(setup: Setup, config: BioGptConfig) -> dict[str, Any]:
    """Time a cold process that generates one token, from start to exit: seconds by side, and which tokens are equal."""
    print("bench: first token of a cold process", file=sys.stderr)
    sides = ["ours", setup.peers[0]]
    ids = random_ids(config, 1, min(FIRST_PROMPT, config.max_position_embeddings - 1))
    seconds: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    results = {}
    for turn in range(-1, setup.rounds):  # the first run only fills the file cache and is not counted
        for side in rotated(sides, turn):
            begun = time.perf_counter()
            facts = run(FIRST, side, setup, ids)
            results[side] = facts.pop("result")
            if turn >= 0:
                seconds[side].append(facts | {"whole": time.perf_counter() - begun})
    return {"same": {setup.peers[0]: results["ours"] == results[setup.peers[0]]}, "seconds": seconds}


def memory(setup: Setup, config: BioGptConfig, long: Path, new: int = LONG_NEW) -> dict[str, Any]:
    """Measure the peak memory after each stage, and resident memory during one long generation.

    The peak is compared with the memory that weights, cache and activations need at least.
    """
    N = config.max_position_embeddings
    T = min(LONG_PROMPT, N - 1)
    needed, found = limits.least_memory(config, T), {}
    small = BioGptConfig.from_pretrained(long)
    ids, start = random_ids(config, 1, T), random_ids(small, 1, FIRST_PROMPT)
    for side in ("ours", *setup.peers):
        print(f"bench: memory, {side}", file=sys.stderr)
        peaks = run(MEMORY, side, setup, ids, N)
        steady = run(STEADY, side, setup, start, new, EVERY, folder=long)
        ratio = (peaks["generate"] - peaks["import"]) / needed
        found[side] = {"peak_bytes": peaks, "over_needed": ratio, "resident_bytes": steady}
    facts = {"tokens": T, "positions": N, "needed_bytes": needed, "every": EVERY}
    return facts | {"cache_bytes": limits.cache_bytes(small, EVERY), "sides": found}
