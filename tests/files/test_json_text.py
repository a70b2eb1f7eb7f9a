"""JSON that we write has no NaN, no infinity and no lone surrogate, whichever part of the package writes it."""

from __future__ import annotations

import ast
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minibiogpt
from minibiogpt import BioGptConfig, BioGptForCausalLM, BioGptTokenizer, Trace
from minibiogpt.cli.options import print_json
from minibiogpt.files.json_text import json_text
from minibiogpt.view.page import as_json

PACKAGE = Path(minibiogpt.__file__).parent
WRITERS = {"files/json_text.py", "cli/batch/jsonl.py"}  # the latter only checks an input
ODD = [float("nan"), float("inf"), -float("inf")]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=())), inner),
    max_leaves=10,
)


def strict(text: str) -> Any:
    """Parse JSON as the standard defines it."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    text.encode("utf-8")
    return json.loads(text, parse_constant=refuse)


@given(values, st.booleans(), st.sampled_from([None, 0, 2]))
def test_what_is_written_is_read_again(value: Any, ascii_only: bool, indent: int | None) -> None:
    text = json_text(value, ascii_only=ascii_only, indent=indent)
    assert strict(text) == json.loads(json.dumps(value), parse_constant=lambda name: None)
    assert text.isascii() or not ascii_only


def test_what_json_cannot_hold_is_still_an_error() -> None:
    circle: list[Any] = [float("nan")]
    circle.append(circle)
    with pytest.raises(ValueError, match="Circular"):
        json_text(circle)
    with pytest.raises(TypeError):
        json_text({"x": object()})
    assert json_text([np.float32("inf")], default=lambda x: x.item()) == "[null]"


def test_only_one_function_of_the_package_writes_json() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("dump", "dumps"):
                found.add(path.relative_to(PACKAGE).as_posix())
    assert found == WRITERS


@pytest.mark.parametrize("odd", ODD)
def test_files_of_a_model(tmp_path: Path, odd: float) -> None:
    """An unknown key may hold anything, such as the loss of a training run; transformers writes NaN for it."""
    model = BioGptForCausalLM.from_pretrained("demo")
    model.config.extra["best_metric"] = {"loss": [odd], "text": "\udcff"}
    model.save_pretrained(tmp_path)
    BioGptTokenizer.from_pretrained("demo").save_pretrained(tmp_path)
    trace = Trace()
    model(np.array([[2, 5]]), trace=trace)
    trace.save(tmp_path / "trace.safetensors")
    config = strict((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert config["best_metric"] == {"loss": [None], "text": "\udcff"}
    for path in tmp_path.glob("*.json"):
        strict(path.read_text(encoding="utf-8"))
    header = (tmp_path / "trace.safetensors").read_bytes()
    assert not any(word in header.partition(b"}}")[0] for word in (b"NaN", b"Infinity"))
    assert BioGptConfig.from_pretrained(tmp_path).extra["best_metric"]["loss"] == [None]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_printed_json_keeps_every_character(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding, errors="replace", write_through=True))
    print_json({"text": "β \udcff", "loss": ODD})
    assert strict(out.getvalue().decode(encoding)) == {"text": "β \udcff", "loss": [None] * 3}
    assert ("β" in out.getvalue().decode(encoding)) == (encoding == "utf-8")


def test_the_json_of_a_page_cannot_end_its_script() -> None:
    text = as_json({"a": "</script><!--", "b": float("nan")})
    assert "<" not in text
    assert strict(text) == {"a": "</script><!--", "b": None}
