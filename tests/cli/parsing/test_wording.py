"""Messages of the command line name its own options, not Python's."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from minibiogpt import BioGptConfig, BioGptForTokenClassification
from minibiogpt.cli import main
from minibiogpt.cli.parsing import wording
from minibiogpt.files.hub import DEMO

PYTHON = re.compile(r"\w=(True|False|'|\")|resize_token|attn_implementation|do_sample|num_\w+|bad_words|top_k|max_new")
ROWS = [
    ("--temperature 0.5", "warning: --temperature has no effect without --sample; add --sample"),
    ("--top-k 3", "warning: --top-k has no effect without --sample; add --sample"),
    ("--num-return-sequences 2", "found 2; use --sample, or --num-beams of at least this number"),
    ("--sample --temperature 0", "found 0.0; for greedy decoding leave --sample out"),
    ("--sample --top-p 7", "--top-p must be a number in [0, 1]; found 7.0; write --top-p 1.0 to turn it off"),
    ("--scoring fairseq", "found --num-beams 1; add --num-beams 5, as Microsoft did"),
    ("--max-new-tokens 0", "--max-new-tokens must be an integer, 1 or more; found 0; correct --max-new-tokens"),
]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("words", "said"), ROWS)
def test_options_are_named_as_they_are_typed(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["generate", "Insulin", *words.split()])
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not PYTHON.search(line), line


@pytest.mark.parametrize(("line", "said"), [
    ("view x --layer 9", "--layer must be an integer from 0 to 3; found 9"),
    ("view x --theme dak", "--theme must be one of auto, light, dark; found 'dak'"),
    ("view x --max-megabytes 0.001", "pass a shorter text, or a larger --max-megabytes"),
    ("score x --window 300", "--window must be an integer, 2 to 256; found 300; correct --window"),
    ("info --dtype int8", "--dtype must be one of float32, float64, float16, bfloat16 on backend numpy; found 'int8'"),
    ("info --backend tpu", "--backend must be one of numpy, cupy"),
    ("golden record --text a -o FILE --seeds 1", "--seeds must be an integer, 2 to 1000; found 1; correct --seeds"),
    ("generate x --sample --seed -1", "--seed must be an integer, 0 or more; found -1"),
    ("generate x --bad-word=", "--bad-word must have a text; found ''; leave --bad-word out"),
    ("generate x --stop=", "--stop must have a text; found ''; leave --stop out"),
    ("embed x", "found none; write a name such as --output vectors.npy"),
    ("explore x --port 8000", "leave it out: the page is a file, and --open opens it"),
    ("view x --share", "leave it out: the page is one file that you can send to others"),
    ("explore x --html a.html", "found '--html'; write --output"),
    ("explore --file a.txt", "found '--file'; to read the text of a file, write - < FILE"),
    ("explore x --svg", "leave it out: the page is HTML, and its buttons save pictures as SVG and PNG"),
    ("explore x --head 2", "its address leads to a place, as page.html#view=attention&layer=1&head=0"),
    ("view x --head 2", "--head is an option of minibiogpt golden record"),
    ("explore x --seed 2", "leave it out: it is set in the page, in Generation"),
    ("explore x --no-live", "use Python: Explorer(model, text, live=False)"),
    ("explore -t hello", "found '-t'; write --text"),
    ("generate x --port 1", "there is no server: use Python"),
    ("explore --text a --text b", "a page must start with one text; found --text 2 times; make a page for each"),
    ("download demo FILE", "found 'demo'; write --model demo: that model is included in the package"),
])  # fmt: skip
def test_every_command_names_its_own_options(
    line: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([word.replace("FILE", str(tmp_path / "new")) for word in line.split()]) == 2
    assert said in capsys.readouterr().err


def test_a_prompt_that_is_too_long(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "pain " * 300]) == 2
    assert capsys.readouterr().err.endswith("found 301; shorten it, or keep its last tokens with --truncate\n")


def test_values_that_are_not_finite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(DEMO, tmp_path / "huge")
    tensors = load_file(folder / "model.safetensors")
    tensors["biogpt.layer_norm.weight"] = np.full_like(tensors["biogpt.layer_norm.weight"], 3e38)
    save_file(tensors, folder / "model.safetensors")
    assert main(["generate", "Insulin", "--model", str(folder)]) == 2
    assert capsys.readouterr().err.endswith("computed in float32; use --dtype float64\n")


def test_a_name_that_no_array_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "Insulin", "--names", "*nothing*"]) == 2
    assert capsys.readouterr().err.endswith("; correct the name, or leave --names out for all of them\n")


@pytest.mark.parametrize("said", wording.ON_THE_COMMAND_LINE)
def test_each_row(said: str) -> None:
    assert wording.worded(f"do this: {said}") == f"do this: {wording.ON_THE_COMMAND_LINE[said]}"
    assert not PYTHON.search(wording.ON_THE_COMMAND_LINE[said])


def test_names_of_files_and_parts_of_words_stay() -> None:
    assert wording.worded("no /a/num_beams/x, max_length.json", ["num_beams", "max_length"]) == (
        "no /a/num_beams/x, max_length.json"
    )
    assert wording.worded("redo_sample=True, do_sample=Trues") == "redo_sample=True, do_sample=Trues"
    assert wording.worded("give x: adapter='/a b', or --adapter") == "give x: --adapter /a b"


def test_trace_and_view_load_the_models_own_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = BioGptConfig.from_pretrained(DEMO).changed(num_labels=3)
    BioGptForTokenClassification.from_config(config).save_pretrained(tmp_path)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(DEMO / name, tmp_path / name)
    assert main(["trace", "Insulin", "--names", "logits", "--model", str(tmp_path)]) == 0
    printed = capsys.readouterr()
    assert "(1, 2, 3)" in printed.out
    assert printed.err == ""
    assert main(["trace", "Insulin", "--explain", "logits", "--model", str(tmp_path)]) == 0
    assert "classifier" in capsys.readouterr().out
    assert main(["view", "Insulin", "--model", str(tmp_path), "--output", str(tmp_path / "page.html")]) == 0
    assert capsys.readouterr().err == ""
