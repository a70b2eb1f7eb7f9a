"""The traps of the JavaScript model: each changes what its table says, and computes what PyTorch computes with it."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from minibiogpt import Trace
from minibiogpt.view.modules import STATIC
from tests.budgets import LANE_A
from tests.compare import assert_close, drift
from tests.reference.mistakes import MISTAKES
from tests.support.demo import reference
from tests.view.twin.running import node, traces
from tests.view.twin.test_trace import EIGHT, TEXTS, batch, demo_folder
from tools import dump_torch

PRINT = f"import {{ TRAPS }} from {json.dumps(str(STATIC / 'biogpt.js'))}; console.log(JSON.stringify(TRAPS));"
# The mistake of tests/reference/mistakes.py that is this trap, by the trap's label.
MISTAKE_OF = {
    "eps 1e-12": "norm eps 1e-12",
    "variance divided by D - 1": "variance with N-1",
    "norms without gain": "norms without gain",
    "tanh GELU": "tanh GELU",
    "sigmoid GELU": "sigmoid GELU",
    "ReLU for GELU": "ReLU for GELU",
    "no activation": "no activation",
    "position offset 0": "position offset 0",
    "position offset 1": "position offset 1",
    "positions count padding": "positions count pads",
    "embeddings not scaled": "no embedding scale",
    "positions scaled too": "scaled positions",
    "head scaled": "head scaled",
    "no causal mask": "no causal mask",
    "no padding mask": "no padding mask",
    "mask adds -10,000": "mask adds -1e4",
    "scores not scaled": "no attention scale",
    "scores divided by sqrt(D)": "scale by sqrt(D)",
    "heads interleaved": "heads interleaved",
    "q and k swapped": "q and k swapped",
    "v_proj transposed": "transposed self_attn.v_proj",
    "no bias in k_proj": "no bias in self_attn.k_proj",
    "no bias in fc1": "no bias in fc1",
    "post-norm": "post-norm",
    "norms exchanged": "swapped norms",
    "no final norm": "no final norm",
    "layers in reverse": "layers in reverse",
    "layer 0 everywhere": "layer 0 everywhere",
}
LABELS = list(MISTAKE_OF)
every_label = pytest.mark.parametrize("label", LABELS)
# Their mistakes are planted in layer 0 only.
FIRST_LAYER_ONLY = {"v_proj transposed", "no bias in k_proj", "no bias in fc1"}
# With these mistakes, hooks on the norms of PyTorch record arrays of other places.
NORMS_MOVED = {"post-norm", "norms exchanged"}


@cache
def table() -> dict[str, dict[str, Any]]:
    done = node("--input-type=module", "-e", PRINT)
    assert done.returncode == 0, done.stderr
    return {trap["label"]: trap for trap in json.loads(done.stdout)}


@cache
def runs() -> dict[str, tuple[Trace, Trace]]:
    """Return the traces of an ordinary text and of a batch with left padding, by label; "" is without a trap."""
    rules = [{}, *({table()[label]["key"]: table()[label]["value"]} for label in LABELS)]
    calls = [inputs | {"rules": one} for one in rules for inputs in ({"ids": [EIGHT]}, batch("left"))]
    found = traces(demo_folder(), "float64", calls)
    return {label: (found[2 * i], found[2 * i + 1]) for i, label in enumerate(["", *LABELS])}


def test_the_table_has_every_trap() -> None:
    assert list(table()) == LABELS
    assert all(trap["about"].endswith(".") for trap in table().values())
    assert batch("left")["attentionMask"] != [[1] * 9] * len(TEXTS)


@every_label
def test_the_first_difference_is_the_one_of_the_table(label: str) -> None:
    trap, right, wrong = table()[label], runs()[""], runs()[label]
    assert list(wrong[0]) == list(right[0])
    different = [
        name for name, x in right[0].items() if drift(wrong[0][name], x) > LANE_A or masks_differ(wrong, right, name)
    ]
    assert next(iter(different), None) == trap["first"]
    assert ("logits" in different) == trap["reaches"]
    assert (trap["needs"] is None) == trap["reaches"]
    if trap["first"] is None:
        assert any(drift(wrong[1][name], x) > LANE_A for name, x in right[1].items() if name == "logits")


def masks_differ(wrong: Any, right: Any, name: str) -> bool:
    return name.endswith("scores_masked") and not ((wrong[0][name] < -1e30) == (right[0][name] < -1e30)).all()


@every_label
def test_a_trap_is_pytorch_with_that_mistake(label: str) -> None:
    """With padding, unless PyTorch then refuses the mistake: its row 0 - 1 of the position table."""
    padded = label != "position offset 0"
    model, got, call = reference("float64"), runs()[label][padded], batch("left") if padded else {"ids": [EIGHT]}
    mask = {"attention_mask": torch.tensor(call["attentionMask"])} if padded else {}
    with MISTAKES[MISTAKE_OF[label]].plant(model):
        want = {
            name: np.asarray(x)
            for name, x in dump_torch.record(model, input_ids=torch.tensor(call["ids"]), **mask).items()
        }
    names = [name for name in want if not (label in NORMS_MOVED and name.endswith(("_layer_norm", "attn_residual")))]
    if label in FIRST_LAYER_ONLY:
        names = names[: names.index("layers.0") + 1]
    for name in names:
        assert_close(name, got[name], want[name], LANE_A)
    assert len(names) > 20
