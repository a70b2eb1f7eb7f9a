"""The target for unusual settings: np.errstate, print options and arguments that are not UTF-8 change no result."""

from __future__ import annotations

import io
import json
import sys
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from minibiogpt import BioGptForCausalLM, InputError
from minibiogpt.cli import main
from minibiogpt.files.copying import check_text_file
from tools.fuzzing.mutate import json_bytes, odd_file, odd_value
from tools.fuzzing.supervise import Target

COMMANDS = [
    ["tokenize", "--json"],
    ["score", "--json"],
    ["generate", "--json", "--max-new-tokens", "2"],
    ["trace", "--json"],
]
ODD_TEXTS = ["pain is", "a\udcffb", "\udcce\udcb2-blocker", "β", "\ud800", "e\u0301", "a\u2028b"]
ERRORS = ["ignore", "warn", "raise", "print"]
SCALES = [1.0, 1e-30, 1e-18, 1e3, 1e12, 1e30, float("nan")]


def make(rng: Random, folder: Path) -> dict[str, Any]:
    """Write a JSON file that is odd in content or in kind; return the settings, a command and a scale of weights."""
    (folder / "vocab.json").write_bytes(json_bytes(rng, {"a": odd_value(rng), "b": 1}))
    if rng.random() < 0.5:
        odd_file(rng, folder / "vocab.json")
    elif rng.random() < 0.2:
        (folder / "vocab.json").unlink()
        (folder / "vocab.json").symlink_to("../outside/kept")
    return {
        "errors": {kind: rng.choice(ERRORS) for kind in ("over", "under", "invalid", "divide")},
        "print": {
            "precision": rng.choice([0, 8]),
            "threshold": rng.choice([0, 1000]),
            "linewidth": rng.choice([1, 75]),
        },
        "words": [*rng.choice(COMMANDS), rng.choice(ODD_TEXTS)],
        "scale": rng.choice(SCALES),
        "ids": [[2, *(rng.randrange(3, 300) for _ in range(rng.randrange(1, 9)))]],
        "sample": rng.random() < 0.5,
    }


def run(folder: Path, case: dict[str, Any]) -> None:
    """Compare a model with itself under the settings, and check that a command's JSON is valid."""
    want = _computed(case)
    with np.errstate(**case["errors"]), np.printoptions(**case["print"]):
        np.testing.assert_equal(_computed(case), want)
        _run_command(case["words"])
    check_text_file(folder / "vocab.json")


def _computed(case: dict[str, Any]) -> Any:
    model = _scaled(case["scale"])
    logits = model(np.array(case["ids"])).logits
    try:
        return logits, model.generate(case["ids"], max_new_tokens=2, do_sample=case["sample"], seed=0)
    except InputError as error:
        return logits, str(error)


@cache
def _scaled(factor: float) -> BioGptForCausalLM:
    model = BioGptForCausalLM.from_pretrained("demo")
    model._replace_weights(lambda x: x * x.dtype.type(factor))
    return model


def _run_command(words: list[str]) -> None:
    original, buffers = (sys.stdout, sys.stderr), (io.BytesIO(), io.BytesIO())
    streams = [io.TextIOWrapper(buffer, encoding="utf-8", write_through=True) for buffer in buffers]
    sys.stdout, sys.stderr = streams
    try:
        code = main(words)
    finally:
        sys.stdout, sys.stderr = original
    out, text = (buffer.getvalue().decode() for buffer in buffers)
    assert code in (0, 2), f"exit code {code}"
    if code:
        assert text.startswith("minibiogpt: error: "), text
        assert text.count("\n") == 1, text
    else:
        json.loads(out, parse_constant=_refuse)


def _refuse(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


TARGETS = (Target("environment", 4, make, run),)
