"""minibiogpt view from the command line."""

from __future__ import annotations

import webbrowser
from pathlib import Path

import pytest

from minibiogpt import BioGptForCausalLM, BioGptTokenizer
from minibiogpt.cli import main
from minibiogpt.view import Sampler, Stepper

TEXT = "Ibuprofen is best used for"


def test_the_page_is_the_steppers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.html"
    assert main(["view", TEXT, "--layer", "2", "--dtype", "float64", "--theme", "dark", "--output", str(file)]) == 0
    assert capsys.readouterr() == (f"{file}\n", "")
    model = BioGptForCausalLM.from_pretrained("demo", dtype="float64")
    assert file.read_text(encoding="utf-8") == Stepper(model, TEXT, layer=2, theme="dark").html


def test_the_step_that_the_page_opens_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "page.html"
    assert main(["view", TEXT, "--step", "fc1", "--output", str(file)]) == 0
    assert (
        file.read_text(encoding="utf-8") == Stepper(BioGptForCausalLM.from_pretrained("demo"), TEXT, start="fc1").html
    )
    assert main(["view", TEXT, "--step", "probz", "--output", str(file)]) == 2
    assert "start must be a step of this layer; found 'probz'; nearest: self_attn.probs" in capsys.readouterr().err


def test_the_samplers_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["view", "--sampler", TEXT, "--theme", "light"]) == 0
    assert capsys.readouterr().out == "sampler.html\n"
    tokenizer = BioGptTokenizer.from_pretrained("demo")
    logits = BioGptForCausalLM.from_pretrained("demo")(tokenizer(TEXT)["input_ids"]).logits[0, -1]
    want = Sampler(logits, tokenizer, theme="light", text=TEXT).html
    assert (tmp_path / "sampler.html").read_text(encoding="utf-8") == want


def test_the_default_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["view", TEXT, "--layer", "1"]) == 0
    assert capsys.readouterr().out == "layer-1.html\n"
    assert [file.name for file in tmp_path.iterdir()] == ["layer-1.html"]


@pytest.mark.filterwarnings("always:no web browser was found")  # the command prints it
@pytest.mark.parametrize("available", [True, False])
def test_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], available: bool
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or available)
    file = tmp_path / "a page.html"
    assert main(["view", TEXT, "--open", "--output", str(file)]) == 0, "the page is written"
    assert opened == [file.resolve().as_uri()]
    assert ("no web browser was found: open " in capsys.readouterr().err) is not available


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x", "--layer", "4"], "layer must be an integer from 0 to 3; found 4"),
        (["x", "--sampler", "--layer", "0"], "a page must show a layer or the next token; found --layer and --sampler"),
        (["x", "--sampler", "--step", "fc1"], "found --step and --sampler; leave one out"),
        (["x", "--sampler", "--theme", "blue"], "theme must be one of auto, light, dark"),
        (["x", "y"], "a page must show exactly one text; found 2"),
        (["x", "--theme", "blue"], "theme must be one of auto, light, dark"),
        (["x", "--max-megabytes", "0.1"], "a page must have at most 0.1 megabytes"),
        (["x", "--max-megabytes", "nan"], "--max-megabytes must be a number above 0; found nan"),
        (["x", "--output", "FOLDER"], "--output must name a file"),
        (["x", "--output", "page.pdf"], "the page of --output must end in .html; found '.pdf'; write page.html"),
        (["x", "--model", "FOLDER"], "a model folder must hold config.json"),
        (["word " * 300], "a text must have at most N = 256 tokens"),
    ],
)
def test_nonsense_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["view", *(str(tmp_path) if word == "FOLDER" else word for word in words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("default")
def test_explore_starts_from_the_first_tokens_of_a_long_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["explore", "Ibuprofen relieves pain. " * 200, "--truncate", "-o", str(page)]) == 0
    assert "text 1 was truncated to 256 tokens" in capsys.readouterr().err
    assert '"text":"Ibuprofen relieves pain. Ibuprofen' in page.read_text(encoding="utf-8")
    assert main(["explore", "x", "--max-megabytes", "1", "-o", str(page)]) == 0
    assert page.stat().st_size < 1.6e6
