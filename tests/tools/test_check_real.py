"""tools/check_real.py on random models with the real vocabularies: token ids agree; logits and texts cannot."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from minibiogpt.files.hub import DEMO
from tests.tokenizer.test_tokenizer import folder
from tools import check_real as tool


def saved(name: str, path: Path) -> Path:
    """A small random model with the real vocabulary of "base" or "large"."""
    files = {file: (folder(name) / file).read_bytes() for file in ("vocab.json", "merges.txt")}
    torch.manual_seed(0)
    config = transformers.BioGptConfig(
        vocab_size=len(json.loads(files["vocab.json"])), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=1024,
    )  # fmt: skip
    transformers.BioGptForCausalLM(config).save_pretrained(path)
    for file, content in files.items():
        (path / file).write_bytes(content)
    return path


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("base", tmp_path_factory.mktemp("base"))


def without_beam_search(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The checks of the base model without beam search, which would take too long here."""
    checks = [check for check in tool.BASE if not check.what.startswith("beam")]
    assert len(checks) == len(tool.BASE) - 1
    monkeypatch.setitem(tool.PUBLISHED, 42384, checks)
    return checks


def test_ids_agree_and_what_depends_on_the_weights_differs(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_beam_search(monkeypatch)
    assert tool.main(["--model", str(base), "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    verdicts = {row["what"]: row["agrees"] for row in rows}
    assert [agrees for what, agrees in verdicts.items() if what.startswith("ids of")] == [True] * 6
    assert [agrees for what, agrees in verdicts.items() if not what.startswith("ids of")] == [False] * 2
    (row,) = [row for row in rows if row["what"].startswith("logits")]
    assert row["what"] == "logits of [2, 4805, 9, 656, 21], the first 3 x 3"
    assert len(row["found"]) == len(row["expected"]) == 3


def test_a_table_of_what_this_model_computes_agrees(
    base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checks = without_beam_search(monkeypatch)
    loaded = tool.load(str(base), "float32")
    doctored = [check._replace(expected=check.find(loaded)) for check in checks]
    monkeypatch.setitem(tool.PUBLISHED, 42384, doctored)
    assert tool.main(["--model", str(base)]) == 0
    out = capsys.readouterr().out
    assert out.endswith("8 of 8 published outputs agree\n")
    assert out.count("\nok ") + out.startswith("ok ") == 8
    assert "DIFFERS" not in out
    wrong = doctored[0]._replace(expected=[2, 3])
    monkeypatch.setitem(tool.PUBLISHED, 42384, [wrong, *doctored[1:]])
    assert tool.main(["--model", str(base)]) == 1
    assert capsys.readouterr().out.startswith(
        "DIFFERS  ids of 'Trastuzumab'\n         expected: [2, 3]\n         found:    [2, 7548, 1171, 32924]\n"
    )


def test_large_is_chosen_by_its_vocabulary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tool.main(["--model", str(saved("large", tmp_path)), "--json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["agrees"] for row in rows] == [True, True, False]
    (text,) = rows[2]["found"]
    assert text.startswith("Patient reports severe back pain")


@pytest.mark.parametrize("error", [TypeError("unexpected option"), pytest.param(None, id="InputError")])
def test_what_cannot_be_computed_is_a_row_that_differs(error: Exception | None) -> None:
    def find(loaded: Any) -> Any:
        raise error or tool.InputError("a beam", "none", "wait")

    row = tool.carry_out(tool.Check("beam", ["text"], find), None)
    assert row["agrees"] is False
    assert row["found"] == ("TypeError: unexpected option" if error else "InputError: a beam; found none; wait")
    assert "found:    " in tool.show(row)


@pytest.mark.parametrize(
    ("found", "expected", "within", "want"),
    [
        ([2, 3], [2, 3], 0.0, True),
        ([2, 4], [2, 3], 0.0, False),
        ([[1.00009]], [[1.0]], 1e-4, True),
        ([[1.00011]], [[1.0]], 1e-4, False),
        ([[0.99989]], [[1.0]], 1e-4, False),
        ([[math.nan]], [[1.0]], 1e-4, False),
        ([[1.0, 1.0]], [[1.0]], 1e-4, False),
    ],
)
def test_agreement(found: Any, expected: Any, within: float, want: bool) -> None:
    assert tool.agrees(found, expected, within) is want


def test_the_published_texts_have_the_published_lengths() -> None:
    """The texts end at max_length, so they have that many ids, minus the left padding."""
    loaded = tool.BioGptTokenizer.from_pretrained(folder("base"))
    first, second = (len(loaded.encode(text)) for text in ("Hello, my dog is a little", "Today, I"))
    (batch,) = [check for check in tool.BASE if check.what.startswith("greedy")]
    assert len(loaded.encode(batch.expected[1])) == 20 - (first - second)
    large = tool.BioGptTokenizer.from_pretrained(folder("large"))
    assert len(large.encode(tool.LARGE[2].expected[0])) == 50


def test_an_unusable_folder_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    for name, message in (
        (tmp_path, "config.json"),
        (DEMO, "vocab_size must be 42384 or 57717 (base or Large); found"),
    ):
        run = subprocess.run(
            [sys.executable, tool.__file__, "--model", name], capture_output=True, text=True, check=False
        )
        assert (run.returncode, run.stdout) == (2, "")
        assert run.stderr.startswith("check_real: error: ")
        assert message in run.stderr
        assert run.stderr.count("\n") == 1
