"""Device memory that each library has allocated after each stage, compared with the weights plus a full cache.

Counts the memory that the allocator of each library has reserved: CuPy's pool for ours, torch's for theirs. Memory of
CUDA itself and its libraries is in neither number (contexts, kernels, a cuBLAS workspace outside the pool).
"""

from __future__ import annotations

from typing import Any

from minibiogpt import BioGptConfig
from tools.benching import limits, rounds
from tools.benching.alone import EVERY, FIRST_PROMPT, GENERATE, IMPORT, LONG_PROMPT, MODEL, NEVER_STOP, run
from tools.benching.cases import random_ids
from tools.benching.rounds import OURS, THEIRS, Setup

BOUND = 1.2  # largest allowed multiple of weights plus full cache
TO_DEVICE = {OURS: "", THEIRS: "model = model.to(device)"}
TO_INPUT = {OURS: "", THEIRS: "ids, start = (torch.tensor(x, device=device) for x in (ids, start))"}
PEAK = {OURS: "model.backend.reserved_bytes()", THEIRS: "torch.cuda.max_memory_reserved()"}
NOW = {OURS: "model.backend.reserved_bytes()", THEIRS: "torch.cuda.memory_reserved()"}
STAGES = {
    library: f"""
{IMPORT[library]}
ids, start = json.loads(sys.argv[6]), json.loads(sys.argv[7])
new, every, device = int(sys.argv[8]), int(sys.argv[9]), sys.argv[10]
model = {MODEL[library]}
{TO_DEVICE[library]}
bytes = {{"load": {PEAK[library]}}}
{TO_INPUT[library]}
{GENERATE[library].format(options="max_new_tokens=1, min_new_tokens=1")}
bytes["prefill"] = {PEAK[library]}
steps, samples = 0, []
def note(ids, scores, **options):
    global steps
    steps += 1
    if steps % every == 0:
        samples.append({NOW[library]})
    return {NEVER_STOP[library]}
ids = start
{GENERATE[library].format(options="max_new_tokens=new, min_new_tokens=new, stopping_criteria=[note]")}
bytes["generate"] = {PEAK[library]}
print(json.dumps({{"reserved_bytes": bytes, "samples_bytes": samples}}))
"""
    for library in (OURS, THEIRS)
}


def measured(setup: Setup, config: BioGptConfig, most: int) -> dict[str, Any]:
    """Measure each side in its own process: load, prefill 1,000 tokens, generate ``most`` tokens or as many as fit."""
    N, width = config.max_position_embeddings, limits.WIDTHS[setup.dtype]
    T, first = min(LONG_PROMPT, N - 1), min(FIRST_PROMPT, N - 1)
    new = min(most, N - first)
    weights, cache = width * limits.all_weights(config), limits.cache_bytes(config, N, width=width)
    sides = {}
    for side in ("ours", *setup.peers):
        prompts = random_ids(config, 1, T), random_ids(config, 1, first)
        found = run(STAGES, side, setup, *prompts, new, EVERY, rounds.PEER_DEVICE)
        samples = found["samples_bytes"]
        grown = samples[-1] - samples[0] if samples else None
        over = found["reserved_bytes"]["generate"] / (weights + cache)
        sides[side] = found | {"grown_bytes": grown, "over_weights_and_cache": over}
    return {
        "tokens": T,
        "new": new,
        "positions": N,
        "weights_bytes": weights,
        "cache_bytes": cache,
        "bound_bytes": BOUND * (weights + cache),
        "every": EVERY,
        "sides": sides,
    }
