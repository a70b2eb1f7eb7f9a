"""Check that transformers and minibiogpt both load a folder, with the logits of a given model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers

from minibiogpt import BioGptForCausalLM
from tests.budgets import LANE_A
from tests.compare import assert_close

IDS = [[2, 5, 11, 60, 3]]


def theirs(folder: Path) -> np.ndarray:
    """Return transformers' logits, computed in float64 from the weights in the folder."""
    model = transformers.BioGptForCausalLM.from_pretrained(folder, attn_implementation="eager").double().eval()
    with torch.no_grad():
        return model(torch.tensor(IDS)).logits.numpy()


def assert_loads(folder: Path, model: transformers.BioGptForCausalLM, budget: float = LANE_A) -> None:
    """Assert that both give the float64 logits of ``model``, whose weights the folder should hold."""
    with torch.no_grad():
        want = model.double().eval()(torch.tensor(IDS)).logits.numpy()
    assert_close("transformers' logits", theirs(folder), want, budget)
    assert_close("our logits", BioGptForCausalLM.from_pretrained(folder, dtype="float64")(IDS).logits, want, budget)
