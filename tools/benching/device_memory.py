"""The device's memory: what each library has taken of it after each stage, beside weights and a full cache.

Counted is what the library's own pool has taken of the device: that of CuPy for ours, of torch for theirs. What CUDA
itself and its libraries take (contexts, kernels, cuBLAS's workspace where it is not the pool's) is in neither number.
"""

from __future__ import annotations

import sys
from typing import Any

from minibiogpt import BioGptConfig
from tools.benching import limits, rounds
from tools.benching.alone import EVERY, FIRST_PROMPT, GENERATE, IMPORT, LONG_PROMPT, MODEL, NOBODY, run
from tools.benching.cases import random_ids
from tools.benching.rounds import OURS, THEIRS, Setup

ROOM = 1.2  # of weights and a full cache: what may be taken at the most
LOADED = {OURS: "", THEIRS: "model = model.to(device)"}
GIVEN = {OURS: "", THEIRS: "ids, start = (torch.tensor(x, device=device) for x in (ids, start))"}
PEAK = {OURS: "model.backend.reserved()", THEIRS: "torch.cuda.max_memory_reserved()"}
NOW = {OURS: "model.backend.reserved()", THEIRS: "torch.cuda.memory_reserved()"}
STAGES = {
    library: f"""
{IMPORT[library]}
ids, start = json.loads(sys.argv[6]), json.loads(sys.argv[7])
new, every, device = int(sys.argv[8]), int(sys.argv[9]), sys.argv[10]
model = {MODEL[library]}
{LOADED[library]}
bytes = {{"load": {PEAK[library]}}}
{GIVEN[library]}
{GENERATE[library].format(options="max_new_tokens=1, min_new_tokens=1")}
bytes["prefill"] = {PEAK[library]}
steps, samples = 0, []
def note(ids, scores, **options):
    global steps
    steps += 1
    if steps % every == 0:
        samples.append({NOW[library]})
    return {NOBODY[library]}
ids = start
{GENERATE[library].format(options="max_new_tokens=new, min_new_tokens=new, stopping_criteria=[note]")}
bytes["generate"] = {PEAK[library]}
print(json.dumps({{"reserved_bytes": bytes, "samples_bytes": samples}}))
"""
    for library in (OURS, THEIRS)
}


def measured(setup: Setup, config: BioGptConfig, most: int) -> dict[str, Any]:
    """Each side in a process of its own: load, 1,000 tokens at once, then ``most`` new ones or as many as fit."""
    N, width = config.max_position_embeddings, limits.WIDTHS[setup.dtype]
    T, first = min(LONG_PROMPT, N - 1), min(FIRST_PROMPT, N - 1)
    new = min(most, N - first)
    weights, cache = width * limits.all_weights(config), limits.cache_bytes(config, N, width=width)
    sides = {}
    for side in ("ours", *setup.peers):
        print(f"bench: memory of the device, {side}", file=sys.stderr)
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
        "bound_bytes": ROOM * (weights + cache),
        "every": EVERY,
        "sides": sides,
    }
