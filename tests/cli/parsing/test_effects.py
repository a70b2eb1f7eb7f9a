"""Options that have no effect beside the others are named as they were typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from minibiogpt.cli import main
from minibiogpt.files.hub import DEMO

SAMPLE, BEAMS = "without --sample; add --sample", "without beam search; add --num-beams 4"
ROWS = [
    ("--temperature 0.5 --top-k 3", [f"--temperature and --top-k have no effect {SAMPLE}"]),
    ("--top-p 0.5 --min-p 0.1 --typical-p 0.2", [f"--top-p, --min-p and --typical-p have no effect {SAMPLE}"]),
    ("--seed 0", [f"--seed has no effect {SAMPLE}"]),
    ("--length-penalty 2 --early-stopping true", [f"--length-penalty and --early-stopping have no effect {BEAMS}"]),
    ("--length-penalty 2 --top-k 3", [f"--top-k has no effect {SAMPLE}", f"--length-penalty has no effect {BEAMS}"]),
    ("--max-length 9", ["--max-length has no effect beside --max-new-tokens; leave one of them out"]),
    ("--min-length 2 --min-new-tokens 1",
     ["--min-length has no effect beside --min-new-tokens; leave one of them out"]),
    ("--temperature 0", []),
    ("--sample --seed 3 --temperature 0.5 --num-beams 2 --length-penalty 2", []),
    ("--num-beams 2 --length-penalty 2 --early-stopping never", []),
    ("--batch-size 7 --repetition-penalty 1.2 --no-repeat-ngram-size 2", []),
]  # fmt: skip


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("words", "said"), ROWS)
def test_generate(words: str, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "Insulin", "--max-new-tokens", "2"]) == 0
    plain = capsys.readouterr().out
    assert main(["generate", "Insulin", "--max-new-tokens", "2", *words.split()]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == [f"minibiogpt: warning: {line}" for line in said]
    assert not said or out == plain


@pytest.mark.filterwarnings("default")
def test_a_model_that_samples_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(DEMO, tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"do_sample": True, "max_new_tokens": 3}))
    line = ["generate", "Insulin", "--model", str(folder)]
    assert main([*line, "--temperature", "0.5", "--seed", "3"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*line, "--max-length", "5"]) == 0
    message = "--max-length has no effect because generation_config.json sets a number of new tokens"
    assert capsys.readouterr().err == f"minibiogpt: warning: {message}; use --max-new-tokens\n"


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("line", "said"), [
    ("tokenize --json True Insulin",
     "'True' is read as a text, because options such as --json have no value; leave it out if it is not meant as one"),
    ("trace --ids 2,5 --tokenizer demo", "--tokenizer has no effect with --ids; leave it out"),
    ("golden record --ids 2,5 --seeds 2 --padding-side left -o case.safetensors",
     "--padding-side has no effect without --text; leave it out"),
    ("generate Insulin --outlier-threshold 6 --max-new-tokens 1",
     "--outlier-threshold has no effect without --quantization; write --quantization int8-dynamic, or leave it out"),
    ("info --quantization int8 --outlier-threshold 6",
     "--outlier-threshold has no effect with --quantization int8; write --quantization int8-dynamic, or leave it out"),
    ("quantize demo new --to nf4 --outlier-threshold 6",
     "--outlier-threshold has no effect with --to nf4; write --to int8-dynamic, or leave it out"),
    ("quantize demo new --to int8 --no-double-quant", "--no-double-quant has no effect with --to int8; leave it out"),
])  # fmt: skip
def test_other_commands(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 0
    assert capsys.readouterr().err.splitlines()[0] == f"minibiogpt: warning: {said}"
