"""The JavaScript model with every config and head of the parity tests, and with weights in half precision."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import minibiogpt
from minibiogpt import BioGptConfig, Trace
from minibiogpt.view.modules import STATIC
from tests.budgets import LANE_A, kind_of, lane_b
from tests.compare import compare_traces
from tests.support.configs import CONFIGS, HEADS
from tests.view.twin.running import node, traces

IDS = np.random.default_rng(0).integers(3, 67, (2, 11))
MASK = np.array([[0, 0, 0, *[1] * 8], [1] * 11])
TOKEN_LABELS = np.where(IDS % 4, IDS % 5, -100)
KINDS = {**{name: "CausalLM" for name in CONFIGS}, **{name: name for name in HEADS}}


def make(name: str, dtype: str) -> Any:
    """Return a small model with biases and gains that are not 0 and 1."""
    config = BioGptConfig(**(CONFIGS | HEADS)[name], initializer_range=0.3)
    model = getattr(minibiogpt, f"BioGptFor{KINDS[name]}").from_config(config, seed=1, dtype=dtype)
    random = np.random.default_rng(2)
    for parameter, x in model.named_parameters():
        if parameter.endswith(("layer_norm.weight", "bias")):
            x[...] = (x + 0.3 * random.normal(size=x.shape)).astype("float32")
    return model


def labels_of(name: str) -> np.ndarray:
    return {"SequenceClassification": IDS[:, 0] % 5, "TokenClassification": TOKEN_LABELS}.get(KINDS[name], IDS)


def asked(name: str) -> dict[str, Any]:
    return {"ids": IDS.tolist(), "attentionMask": MASK.tolist(), "labels": labels_of(name).tolist()}


def budget(name: str, tensor: str) -> float:
    """Return the float32 budget. SequenceClassification has gelu's decoder, so the budget of its probabilities, too."""
    return lane_b("gelu" if name == "SequenceClassification" and kind_of(tensor) == "probs" else name, tensor)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", KINDS)
def test_every_array_is_pythons(name: str, dtype: str, tmp_path: Path) -> None:
    model, want = make(name, dtype), Trace()
    model.save_pretrained(tmp_path / "model")
    model(IDS, MASK, labels=labels_of(name), trace=want)
    (got,) = traces(tmp_path / "model", dtype, [asked(name)])
    assert list(got) == list(want)
    compare_traces(got, want, lambda tensor: LANE_A if dtype == "float64" else budget(name, tensor))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    make("gelu", "float32").save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    halves = {name: x.to(dtype) for name, x in load_file(file).items()}
    save_file({name: x.float() for name, x in halves.items()}, file)
    (want,) = traces(tmp_path, "float64", [asked("gelu")])
    save_file(halves, file)
    (got,) = traces(tmp_path, "float64", [asked("gelu")])
    assert list(got) == list(want)
    assert all((got[name] == x).all() for name, x in want.items())


def test_erf_is_the_error_function() -> None:
    points = [*np.linspace(-7, 7, 2801).tolist(), 0.0, -0.0, 1e-300, 2 - 1e-15, 2 + 1e-15, 6.0, -6.0, 1e300]
    done = node(
        "--input-type=module",
        "-e",
        f"import {{ errorFunction }} from {json.dumps(str(STATIC / 'biogpt.js'))};"
        f"console.log(JSON.stringify({json.dumps(points)}.map(errorFunction)),"
        "[NaN, Infinity, -Infinity].map(errorFunction).join());",
    )
    found, ends = done.stdout.rsplit(" ", 1)
    errors = [abs(got - math.erf(x)) for x, got in zip(points, json.loads(found), strict=True)]
    assert max(errors) <= 1e-15
    assert ends == "NaN,1,-1\n"
