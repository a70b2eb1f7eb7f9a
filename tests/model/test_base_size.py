"""A model of the base size: 346,763,264 random parameters, saved by transformers, loaded here without a second copy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from minibiogpt import BioGptForCausalLM
from tests.budgets import BASE_SIZE
from tests.compare import assert_close

PARAMETERS = 346_763_264
IDS = np.random.default_rng(0).integers(3, 42384, (2, 16))
MASK = np.ones_like(IDS)
MASK[0, :5] = 0


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[np.ndarray], np.ndarray]]:
    """The folder, and transformers' hidden states and logits. The 1.4 GB are removed afterwards."""
    folder = tmp_path_factory.mktemp("base")
    torch.manual_seed(0)
    config = transformers.BioGptConfig()
    config._attn_implementation = "eager"
    model = transformers.BioGptForCausalLM(config).eval()
    with torch.no_grad():
        out = model(torch.tensor(IDS), attention_mask=torch.tensor(MASK), output_hidden_states=True)
    model.save_pretrained(folder)
    yield folder, [h.numpy() for h in out.hidden_states], out.logits.numpy()
    for file in folder.iterdir():
        file.unlink()


def test_every_layer_and_the_logits_are_transformers(saved: tuple[Path, list[np.ndarray], np.ndarray]) -> None:
    folder, hidden_states, logits = saved
    model = BioGptForCausalLM.from_pretrained(folder)
    assert model.num_parameters() == PARAMETERS
    for attention in ("eager", "blocked"):
        model.biogpt.attn_implementation = attention
        out = model(IDS, MASK, output_hidden_states=True)
        assert len(out.hidden_states) == 25
        for layer, (got, want) in enumerate(zip(out.hidden_states, hidden_states, strict=True)):
            assert_close(f"hidden_states[{layer}]", got, want, BASE_SIZE["hidden_states"])
        assert_close("logits", out.logits, logits, BASE_SIZE["logits"])


MEASURE = """
import json, re, sys
import minibiogpt
def peak():  # of this process only: getrusage also counts the process it was forked from
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
model = minibiogpt.BioGptForCausalLM.from_pretrained(sys.argv[1])
loaded = peak()
model([[2, 5, 9, 11]])
print(json.dumps([loaded, peak()]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads resident memory from Linux's /proc")
def test_loading_does_not_hold_two_copies(saved: tuple[Path, list[np.ndarray], np.ndarray]) -> None:
    folder = saved[0]
    size = (folder / "model.safetensors").stat().st_size
    run = subprocess.run([sys.executable, "-c", MEASURE, str(folder)], capture_output=True, text=True, check=True)
    peaks = json.loads(run.stdout)
    assert size > 4 * PARAMETERS
    assert max(peaks) < 1.15 * size, f"{peaks} for a file of {size} bytes"
