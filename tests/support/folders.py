"""A folder that transformers and minibiogpt must both load, with the logits of a model that is known."""

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
    """transformers' logits in float64, from the numbers of the file."""
    model = transformers.BioGptForCausalLM.from_pretrained(folder, attn_implementation="eager").double().eval()
    with torch.no_grad():
        return model(torch.tensor(IDS)).logits.numpy()


def assert_loads(folder: Path, model: transformers.BioGptForCausalLM, budget: float = LANE_A) -> None:
    """Both give the logits (float64) of the model whose weights the folder is meant to hold."""
    with torch.no_grad():
        want = model.double().eval()(torch.tensor(IDS)).logits.numpy()
    assert_close("transformers' logits", theirs(folder), want, budget)
    assert_close("our logits", BioGptForCausalLM.from_pretrained(folder, dtype="float64")(IDS).logits, want, budget)
