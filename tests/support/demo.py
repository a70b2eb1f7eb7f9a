"""The demo model in minibiogpt and transformers, some prompts, and a comparison of generated ids."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
import transformers

from minibiogpt import BioGptForCausalLM, BioGptTokenizer
from minibiogpt.files.hub import find_model
from tests.budgets import NEAR_TIE_FLOAT32

PROMPTS = [
    "Ibuprofen is best used for", "Metformin acts by", "The most common adverse effect of", "Mutations in BRCA1",
    "Tuberculosis is caused by", "Patients with", "COVID-19 is", "Warfarin", "What is Lisinopril used for?",
    "Sample Q123 was sequenced for CFTR.", "Patient K57, a woman aged 63, was given Aspirin", "A lack of vitamin C",
    "Omeprazole is a proton pump inhibitor. Metformin is", "The gene", "Malaria is transmitted", "Both", "Insulin",
    "Treatment with Cisplatin may be complicated by", "As a statin,", "zzz qqq 999 (unusual)", "α", "Aspirin, and",
]  # fmt: skip


@cache
def tokenizer() -> BioGptTokenizer:
    return BioGptTokenizer.from_pretrained("demo")


@cache
def ours(dtype: str = "float32") -> BioGptForCausalLM:
    return BioGptForCausalLM.from_pretrained("demo", dtype=dtype)


@cache
def reference(dtype: str) -> Any:
    model = transformers.BioGptForCausalLM.from_pretrained(find_model("demo"), attn_implementation="eager")
    return model.to(getattr(torch, dtype)).eval()


def their_ids(dtype: str, batch: dict[str, np.ndarray], **options: Any) -> np.ndarray:
    tensors = {name: torch.tensor(batch[name]) for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        return reference(dtype).generate(**tensors, do_sample=False, **options).numpy()


def assert_same_ids(dtype: str, got: np.ndarray, want: np.ndarray, prompt: dict[str, np.ndarray]) -> None:
    """Assert equal ids. float32 rows may diverge only where the float64 logits tie within float32's drift."""
    if np.array_equal(got, want):
        return
    assert dtype == "float32", "float64 ids differ"
    width = min(got.shape[1], want.shape[1])
    for row, (a, b) in enumerate(zip(got[:, :width], want[:, :width], strict=True)):
        if np.array_equal(a, b):
            continue
        first = int(np.argmax(a != b))
        mask = np.concatenate([prompt["attention_mask"][row], np.ones(first - prompt["input_ids"].shape[1], dtype=int)])
        logits = ours("float64")(a[None, :first], mask[None]).logits[0, -1]
        gap = abs(logits[a[first]] - logits[b[first]]) / np.abs(logits).max()
        assert gap <= NEAR_TIE_FLOAT32, f"row {row} differs at position {first} without a tie: {gap:.1e}"
