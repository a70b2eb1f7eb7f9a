"""The target for names: misspelt, foreign and hostile names, patterns and indices, wherever the package takes one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError, Trace, lens
from minibiogpt.catalog.foreign import spellings
from tools.fuzzing.checkpoints import PIECES, SIZES
from tools.fuzzing.supervise import Target

PATTERNS = [
    "*", "**", "*" * 3000, "*a" * 900, "", " ", "[", "]", "{", "{}", "{..}", "{,}", "{0..1}", "{1..0}", "{3..1}",
    "{0..999999999}", "{0..99}" * 4, "{a,b}" * 30, "{a," * 900 + "}" * 900, "{" * 5000, "layers.{0..99}.*", "step.*/*",
    "layers.*.self_attn.*", "*.fc1", "/", "step.0/", "step.0/logits", "layers", "layers.", "layers.-1", "layers.٣.fc1",
]  # fmt: skip
FOREIGN = [
    "blocks.{0..3}.attn.hook_pattern", "blocks.*.hook_resid_post", "blocks.*.hook_resid_pre", "blocks.0.attn.hook_z",
    "blocks.*.attn.hook_result", "blocks.*.ln1.hook_normalized", "hook_embed", "ln_final.hook_scale", "kqv_out-3",
    "l_out-*", "KQ_soft_max-0", "biogpt.*", "model.biogpt.layers.1.fc1", "base_model.model.biogpt.layers.0",
    "transformer.h.0.attn.c_proj", "gpt_neox.layers.0.mlp.act", "hidden_states[-1]", "hidden_states.*", "attentions[0]",
    "/biogpt/layers.0/fc1/MatMul_output_0", "output_projection.weight", "decoder.layers.0.fc1",
]  # fmt: skip
ODD: list[Any] = [
    None, True, 0, -1, 99, 2**64, 10**5000, -(10**5000), 1.5, float("nan"), b"logits", bytearray(b"x"), [], (), {},
    set(), {"logits"}, {"logits": 1}, Path("logits"), np.str_("logits"), np.int64(1), np.array("logits"), np.array(1),
    np.array(["logits", "layers.0"]), np.array([[1.5]]), object(), range(3), slice(2), 1j,
]  # fmt: skip
LONG, LONGEST_ERROR = 1_000_000, 3000  # characters of a very long name, and of an error


def any_name(rng: Random) -> str:
    """Return a name of ours or of another tool, mostly misspelt; or a hostile one."""
    kind = rng.randrange(10)
    if kind < 2:
        return rng.choice(PATTERNS)
    name = rng.choice(FOREIGN if kind < 4 else known())
    if kind == 4:
        name = rng.choice(spellings(name) or (name,))
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        name = _misspelt(rng, name)
    return name * (LONG // max(1, len(name))) if rng.random() < 0.01 else name


def _misspelt(rng: Random, name: str) -> str:
    at = rng.randrange(len(name) + 1)
    edit = rng.randrange(9)
    if edit < 3:
        added = rng.choice([*"abq.*{},/-[ 0٣\n\0", "", "\ud800", "step.1/", "9" * 5000, "{0..1}", "layers."])
        return name[:at] + added + name[at + rng.choice([0, 1, 1]) :]
    if edit == 3:
        return rng.choice([name.upper(), name.title(), f" {name} ", name.replace(".", "/"), name.replace("_", "")])
    if edit == 4:
        old, new = rng.choice([("self_attn", "attn"), ("layers", "layer"), ("layers.0", "layers.99"), ("fc", "mlp.")])
        return name.replace(old, new)
    if edit == 5:
        parts = name.split(".")
        parts[rng.randrange(len(parts))] = rng.choice(["*", "", "x", "fc1", "0"])
        return ".".join(parts)
    return rng.choice(["biogpt.", "model.", "step.0/", "step.7/", ""]) + name


def make(rng: Random, folder: Path) -> dict[str, Any]:
    return {
        "where": rng.choice(list(PLACES)),
        "names": [any_name(rng) for _ in range(rng.choice([1, 1, 1, 3]))],
        "odd": rng.randrange(len(ODD)) if rng.random() < 0.3 else None,
    }


def run(folder: Path, case: dict[str, Any]) -> None:
    """Use the names in one place; an error has one line, and a pattern that is accepted has selected something."""
    given = case["names"] if case["odd"] is None else ODD[case["odd"]]
    found = _refusal(lambda: PLACES[case["where"]](given))
    if found is not None:
        assert "\n" not in str(found), "an error of several lines"
        assert len(str(found)) < LONGEST_ERROR, f"an error of {len(str(found))} characters"
        raise found


def _refusal(call: Callable[[], Any]) -> InputError | None:
    try:
        call()
    except InputError as error:
        return error
    return None


def _first(given: Any) -> Any:
    return given[0] if isinstance(given, list) and given else given


def _trace(given: Any) -> None:
    trace = Trace(given)
    model()([[2, 3, 4]], trace=trace)
    assert trace, "nothing was recorded"


def _generate(given: Any) -> None:
    trace = Trace(given)
    model().generate([[2, 3]], max_new_tokens=2, eos_token_id=None, trace=trace)
    assert trace, "nothing was recorded"


def _select(given: Any) -> None:
    found = filled().select(*(given if isinstance(given, list) else [given]))
    assert found, "nothing was selected"


def _look_up(given: Any) -> None:
    """Look up one name: what is found is an array of the trace, and an error is a KeyError too."""
    found: list[Any] = []
    error = _refusal(lambda: found.append(filled()[_first(given)]))
    if error is not None:
        assert isinstance(error, KeyError), "no KeyError"
        raise error
    assert any(found[0] is other for other in filled().values())


def _edit(given: Any) -> None:
    seen = []
    name = _first(given)
    edits = {name: lambda x: seen.append(x.shape) or x} if isinstance(name, str | int | Path | None) else name
    model()([[2, 3, 4]], edits=edits)
    assert seen or not edits, "an edit that was applied to nothing"


def _patch(given: Any) -> None:
    name = _first(given)
    patches = {name: np.zeros((1, 3, 8), np.float32)} if isinstance(name, str | int | None) else name
    model()([[2, 3, 4]], patch_from=patches)


def _index(given: Any) -> None:
    index = _first(given)
    calls: list[Callable[[], Any]] = [
        lambda: lens.logit_lens(model(), filled(), position=index),
        lambda: lens.head_out(model(), filled(), index),
        lambda: lens.logit_attribution(model(), filled(), index, position=index),
        lambda: model()([[2, 3]], ablate=index),
        lambda: model()([[2, 3]], ablate=[(0, index)]),
        lambda: lens.ablation_table(model(), [[2, 3]], index),
        lambda: lens.logit_lens(model(), index),
        lambda: lens.head_out(index, filled(), 0),
    ]
    for error in [_refusal(call) for call in calls]:
        if error is not None:
            raise error


@cache
def model() -> BioGptForCausalLM:
    return BioGptForCausalLM.from_config(BioGptConfig(**SIZES), seed=1)


@cache
def filled() -> Trace:
    trace = Trace()
    model()([[2, 3, len(PIECES) - 1]], trace=trace)
    return trace


@cache
def known() -> list[str]:
    return [*filled(), *(f"step.0/{name}" for name in filled())]


PLACES: dict[str, Callable[[Any], None]] = {
    "names": _trace,
    "generate": _generate,
    "select": _select,
    "lookup": _look_up,
    "explain": lambda given: filled().explain(_first(given)),
    "edits": _edit,
    "patch_from": _patch,
    "index": _index,
}
TARGETS = (Target("name", 4, make, run),)
