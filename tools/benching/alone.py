"""Measurements that need a fresh process each time: loading, the first token of a cold start, and memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from minibiogpt import BioGptConfig
from minibiogpt.errors import InputError
from tools.benching import limits
from tools.benching.cases import random_ids
from tools.benching.peers import registry
from tools.benching.rounds import OURS, THEIRS, Setup, rotated
from tools.benching.variants import is_variant
from tools.benching.workers import Worker, run_alone

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
QUANTIZED = "from tools.benching.theirs import quantized\n"
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
bytes["load"], held = peak(), {{"load": resident()}}
ids, N = json.loads(sys.argv[6]), int(sys.argv[7])
{TO_INPUT[library]}
{GENERATE[library].format(options="max_new_tokens=1, min_new_tokens=1")}
bytes["forward"] = peak()
new = N - len(ids[0])
{GENERATE[library].format(options="max_new_tokens=new, min_new_tokens=new")}
bytes["generate"], held["generate"] = peak(), resident()
print(json.dumps({{"peak_bytes": bytes, "held_bytes": held}}))
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
    """Run the script of one side, of ours or of transformers, in its own process."""
    script, attention, dtype = scripts.get(THEIRS, ""), side, setup.dtype
    if side == "ours" or is_variant(side):
        dtype, attention = setup.variant(side).dtype, setup.attention
        script = scripts[OURS].replace("backend=backend", f"backend=backend{setup.variant(side).written()}")
    if side in registry.BITSANDBYTES:
        attention = registry.ATTENTIONS[0]
        chosen = f"attn_implementation=attention, **quantized({registry.BITSANDBYTES[side]!r}, dtype)"
        script = QUANTIZED + script.replace("attn_implementation=attention", chosen)
    if side == registry.BFLOAT16:
        attention, dtype = registry.ATTENTIONS[0], "bfloat16"
    common = (folder or setup.folder, dtype, setup.backend, setup.threads, attention)
    return run_alone(PRELUDE + script, *common, *arguments, threads=setup.threads)


def load(setup: Setup) -> dict[str, Any]:
    """Measure time and memory of loading and of the first forward pass: sides in turn, minimum of all rounds."""
    sides, files = ["ours", setup.attention], sum(path.stat().st_size for path in setup.folder.glob("*.safetensors"))
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for turn in range(setup.rounds):
        for side in rotated(sides, turn):
            runs[side].append(run({name: LOAD[name] + LOAD_REPORT for name in LOAD}, side, setup))
    names = {OURS: "ours", THEIRS: setup.attention}
    return {"file_bytes": files, "results": {name: least(runs[side]) for name, side in names.items()}, "runs": runs}


def least(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return the minimum of each measurement; other load on the machine can only increase them."""
    return {name: min(run[name] for run in runs) for name in runs[0]}


def first_token(setup: Setup, config: BioGptConfig) -> dict[str, Any]:
    """Time a cold process that generates one token, from start to exit: seconds by side, and which tokens are equal."""
    sides = ["ours", setup.attention]
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
    return {"same": {setup.attention: results["ours"] == results[setup.attention]}, "seconds": seconds}


def memory_facts(config: BioGptConfig, long: Path, dtype: str, most: int | None = None) -> dict[str, Any]:
    """Return the prompt length, and what weights, cache and activations need at least with ``most`` new tokens."""
    T, N = min(LONG_PROMPT, config.max_position_embeddings - 1), config.max_position_embeddings
    N = N if most is None else min(T + most, N)
    each = limits.cache_bytes(BioGptConfig.from_pretrained(long), EVERY, width=limits.WIDTHS[dtype])
    facts = {"tokens": T, "positions": N, "needed_bytes": limits.least_memory(config, T, limits.WIDTHS[dtype], N)}
    return facts | {"every": EVERY, "cache_bytes": each}


def memory(
    setup: Setup, config: BioGptConfig, side: str, long: Path, new: int = LONG_NEW, most: int | None = None
) -> dict[str, Any]:
    """Measure one side: the peak after each stage, what is resident then, and during one long generation.

    The peak is compared with the memory that weights of --dtype, cache and activations need at least. After a prompt of
    1,000 tokens it generates ``most`` tokens, or as many as fit. Other engines are asked for the peaks only.
    """
    facts, steady = memory_facts(config, long, setup.dtype, most), []
    ids, N = random_ids(config, 1, facts["tokens"]), facts["positions"]
    try:
        if side in registry.ENGINES:
            found = {"peak_bytes": engine_memory(setup, side, ids, N), "held_bytes": {}}
        else:
            found = run(MEMORY, side, setup, ids, N)
            start = random_ids(BioGptConfig.from_pretrained(long), 1, FIRST_PROMPT)
            steady = run(STEADY, side, setup, start, new, EVERY, folder=long)
    except InputError as error:
        if not registry.may_fail(side):
            raise
        return {"missing": error.found}
    peaks = found["peak_bytes"]
    ratio = (peaks["generate"] - peaks["import"]) / facts["needed_bytes"]
    return found | {"over_needed": ratio, "resident_bytes": steady}


def engine_memory(setup: Setup, side: str, ids: list[list[int]], positions: int) -> dict[str, float]:
    """Return the peaks of an engine's worker, started for this and with its model converted before."""
    python, command = registry.command(side, setup.folder, setup.threads, setup.cache)
    stages: dict[str, dict[str, Any]] = {
        "import": {},
        "load": {"job": "load"},
        "forward": {"job": "generate", "ids": ids, "new": 1},
        "generate": {"job": "generate", "ids": ids, "new": positions - len(ids[0])},
    }
    peaks = {}
    with Worker(side, command, setup.threads, python) as worker:
        for name, request in stages.items():
            if request:
                worker.ask(request)
            peaks[name] = worker.ask({"job": "memory"})["result"]
    return peaks
