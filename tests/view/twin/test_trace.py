"""The JavaScript model computes what the Python model computes: every array by name, order, shape, dtype and value."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import Trace
from minibiogpt.catalog.explain import explain
from minibiogpt.files.hub import find_model
from tests.budgets import LANE_A, lane_b
from tests.compare import compare_traces
from tests.support.demo import ours, tokenizer
from tests.view.twin.running import traces

TEXTS = ["Ibuprofen is best used for", "Metformin acts by"]
THIRTY = [2, *(37 * i % 1874 for i in range(3, 32))]
EIGHT, OTHER = [2, 5, 9, 1000, 17, 1873, 4, 0], [2, 6, 11, 12, 1, 700, 3, 8]
CONTEXT, FC2 = "layers.0.self_attn.context", "layers.1.fc2"


def demo_folder() -> Path:
    return Path(find_model("demo"))


@cache
def batch(side: str) -> dict[str, Any]:
    tok = tokenizer()
    found = tok(TEXTS, padding=True, padding_side=side)
    return {"ids": found["input_ids"].tolist(), "attentionMask": found["attention_mask"].tolist()}


def double(x: np.ndarray) -> np.ndarray:
    return 2 * x


def calls() -> dict[str, dict[str, Any]]:
    """Every call by name, as JavaScript takes it; ``after`` and ``patch`` name a call before it."""
    heads = [0.5, 0, 1.75, -1]
    embeddings = np.random.default_rng(0).normal(size=(2, 5, 128)).tolist()
    return {
        "one token": {"ids": [[2]]},
        "8 tokens": {"ids": [EIGHT]},
        "30 tokens": {"ids": [THIRTY]},
        "left padding": batch("left"),
        "right padding": batch("right"),
        "a row of padding": {"ids": [EIGHT, OTHER], "attentionMask": [[1, 0, 1, 1, 0, 1, 1, 1], [0] * 8]},
        "positions": {"ids": [EIGHT, OTHER], "positionIds": [[255, -1, 3, 3, 2, 1, 0, 7]]},
        "embeddings": {"inputsEmbeds": embeddings},
        "head mask": {"ids": [EIGHT], "headMask": heads},
        "head mask of layers": {"ids": [EIGHT], "headMask": [heads, [1, 1, 1, 1], heads[::-1], [0, 0, 0, 0]]},
        "loss": {"ids": [EIGHT, OTHER], "labels": [[7, -100, 3, *EIGHT[3:]], OTHER]},
        "cache 1": {"ids": [EIGHT, OTHER], "attentionMask": [[0, 0, *[1] * 6], [1] * 8]},
        "cache 2": {"ids": [[5], [9]], "attentionMask": [[0, 0, *[1] * 7], [1] * 9], "after": "cache 1"},
        "cache 3": {"ids": [EIGHT[:3], OTHER[:3]], "attentionMask": [[0, 0, *[1] * 10], [1] * 12], "after": "cache 2"},
        "cache again": {"ids": [[7], [6]], "attentionMask": [[0, 0, *[1] * 7], [1] * 9], "after": "cache 1"},
        "ablate": {"ids": [EIGHT], "ablate": [[0, 1], [2, 3]]},
        "edit": {"ids": [EIGHT], "edits": {FC2: "x => ({ ...x, numbers: x.numbers.map((one) => 2 * one) })"}},
        "patch": {"ids": [OTHER], "patch": {"from": "8 tokens", "names": [FC2, CONTEXT]}, "ablate": [[0, 1]]},
    }


NAMES = list(calls())
EDITS: dict[str, dict[str, Callable[[np.ndarray], np.ndarray]]] = {"edit": {FC2: double}}
RENAMED = {
    "ids": "input_ids",
    "attentionMask": "attention_mask",
    "positionIds": "position_ids",
    "inputsEmbeds": "inputs_embeds",
    "headMask": "head_mask",
}


@cache
def theirs(dtype: str) -> dict[str, Trace]:
    """Return the traces of all calls in JavaScript, which runs once for each dtype."""
    asked = [dict(call) for call in calls().values()]
    for call in asked:
        if "after" in call:
            call["after"] = NAMES.index(call["after"])
        if "patch" in call:
            call["patch"] = call["patch"] | {"from": NAMES.index(call["patch"]["from"])}
    return dict(zip(NAMES, traces(demo_folder(), dtype, asked), strict=True))


@cache
def expected(name: str, dtype: str) -> tuple[Trace, Any]:
    """Return the trace and the output of a call in Python."""
    call = dict(calls()[name])
    after, patch, edits = call.pop("after", None), call.pop("patch", None), call.pop("edits", None)
    options = {RENAMED.get(key, key): value for key, value in call.items()}
    if after:
        options["past_key_values"] = expected(after, dtype)[1].past_key_values
    if patch:
        options["patch_from"] = {one: expected(patch["from"], dtype)[0][one] for one in patch["names"]}
    if edits:
        options["edits"] = EDITS[name]
    trace = Trace()
    return trace, ours(dtype)(**options, use_cache=True, trace=trace)


def budget(dtype: str, tensor: str) -> float:
    if tensor == "position_ids":
        return 0.0
    # The losses of the demo model have no entry of their own; its logits have.
    return LANE_A if dtype == "float64" else lane_b("demo", "logits" if tensor == "loss" else tensor)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_every_array_is_pythons(name: str, dtype: str) -> None:
    got, (want, _) = theirs(dtype)[name], expected(name, dtype)
    assert list(got) == list(want)
    compare_traces(got, want, lambda tensor: budget(dtype, tensor))


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_trace_describes_its_call(name: str) -> None:
    got, (want, _) = theirs("float32")[name], expected(name, "float32")
    assert (got.head, got.letters, got.config) == (want.head, want.letters, want.config)
    assert set(got.inputs) == set(want.inputs)
    assert explain(got.facts(), "layers.1.self_attn.k") == explain(want.facts(), "layers.1.self_attn.k")


def test_every_call_is_another() -> None:
    results = [trace["logits"].tobytes() for trace in theirs("float64").values()]
    assert len(set(results)) == len(NAMES)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_future_and_the_cache_change_no_bit(dtype: str) -> None:
    whole = [2, 5, 9, 1000, 17, 1873, 4]
    calls = [{"ids": [whole]}, {"ids": [[*whole[:4], 8, 8, 8]]}, {"ids": [whole[:3]]}, {"ids": [whole[3:]], "after": 2}]
    one, other, first, rest = (trace["logits"][0] for trace in traces(demo_folder(), dtype, calls))
    assert (one[:4] == other[:4]).all()
    assert (one[4:] != other[4:]).any()
    assert (one == np.concatenate([first, rest])).all()
