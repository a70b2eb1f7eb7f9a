"""A run that continues the run before has its bits, whatever was typed before."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.support.demo import tokenizer
from tests.support.node import run_js

TEXTS = [
    "Ibuprofen is best used for",
    "Ibuprofen is best used for pain",
    "Ibuprofen is best used for pain and inflammation.",
    "Ibuprofen is best used",
    "Ibuprofen is often used",
    "Aspirin",
    "",
    "A lack of insulin causes diabetes. " * 20,
    "A lack of insulin causes diabetes. " * 20 + "A",
]
IMPORTS = """
import { readFileSync } from "node:fs";
import { BioGpt, readSafetensors, Trace } from "./biogpt.js";
import { continuedTrace } from "./explorer/runs/continued.js";
"""
BODY = """
const folder = "../../demo/", config = JSON.parse(readFileSync(folder + "config.json"));
const model = new BioGpt(config, readSafetensors(readFileSync(folder + "model.safetensors")).tensors);
let before = null, idsBefore = [];
return input.map((ids) => {
  const whole = new Trace();
  model.forward({ ids: [ids], trace: whole });
  const found = continuedTrace(model, ids, before, idsBefore);
  [before, idsBefore] = [found, ids];
  const differs = (name) => {
    const a = whole.get(name), b = found.get(name);
    const alike = a.dtype === b.dtype && String(a.shape) === String(b.shape);
    return !alike || a.numbers.some((x, i) => !Object.is(x, b.numbers[i]));
  };
  const same = found.names.join() === whole.names.join();
  return { same, count: whole.names.length, differing: whole.names.filter(differs) };
});
"""


def test_every_array_has_the_bits_of_a_run_of_all_tokens() -> None:
    tok = tokenizer()
    ids: list[Any] = [np.asarray(tok(text)["input_ids"])[0].tolist() for text in TEXTS]
    found = run_js(BODY, ids, imports=IMPORTS)
    assert len(found) == len(TEXTS)
    for text, result in zip(TEXTS, found, strict=True):
        assert result["same"], text
        assert result["count"] > 80
        assert result["differing"] == [], text
