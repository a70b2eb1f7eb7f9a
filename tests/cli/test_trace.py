"""minibiogpt trace from the command line: the table, JSON, files, explanations and invalid input."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from minibiogpt import BioGptForCausalLM, BioGptTokenizer, Trace
from minibiogpt.catalog.explain import explain
from minibiogpt.cli import main
from minibiogpt.trace import mean_and_largest

TEXT = "Ibuprofen is best used for"


def output_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["trace", *words]) == 0
    return capsys.readouterr().out


def traced(dtype: str = "float32", names: list[str] | None = None, **inputs: object) -> Trace:
    trace = Trace(names=names)
    BioGptForCausalLM.from_pretrained("demo", dtype=dtype)(**inputs, trace=trace)
    return trace


def ids() -> np.ndarray:
    return BioGptTokenizer.from_pretrained("demo")(TEXT)["input_ids"]


def test_the_table_is_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    traced(input_ids=ids()).summary()
    want = capsys.readouterr().out
    assert output_of(capsys, TEXT) == want
    assert output_of(capsys, "--ids", ",".join(map(str, ids()[0]))) == want
    lines = want.splitlines()
    assert lines[0].split() == ["name", "shape", "dtype", "mean", "largest"]
    assert len(lines) == 1 + 4 + 4 * 19 + 2


def test_names_and_dtype(capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--names", "layers.{0,3}.fc1", "--names", "logits", "--dtype", "float64", "--json")
    records = json.loads(output_of(capsys, TEXT, *words))
    assert [record["name"] for record in records] == ["layers.0.fc1", "layers.3.fc1", "logits"]
    trace = traced("float64", ["layers.{0,3}.fc1", "logits"], input_ids=ids())  # streams attention, like the command
    for record in records:
        x = trace[record["name"]]
        assert (tuple(record["shape"]), record["dtype"]) == (x.shape, "float64")
        assert (record["mean"], record["largest"]) == mean_and_largest(x)
        assert list(record) == ["name", "shape", "dtype", "mean", "largest"]


def test_what_is_not_finite_is_null(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    model = BioGptForCausalLM.from_pretrained("demo")
    model.biogpt.layer_norm.weight = np.full_like(model.biogpt.layer_norm.weight, 3e38)
    model.save_pretrained(tmp_path)
    words = ("--names", "layer_norm", "--names", "embeddings", "--json", "--model", str(tmp_path))
    records = {record["name"]: record for record in json.loads(output_of(capsys, "--ids", "2,5", *words))}
    assert records["layer_norm"]["largest"] is None
    assert records["embeddings"]["largest"] > 0


def test_a_summary_hides_no_nan_behind_the_marks_of_hidden_scores() -> None:
    hidden = np.finfo("float32").min
    assert mean_and_largest(np.array([hidden, 1, -3], dtype="float32")) == (-1.0, 3.0)
    assert mean_and_largest(np.array([-np.inf, 1, -3], dtype="float32")) == (-1.0, 3.0)
    assert all(map(math.isnan, mean_and_largest(np.array([hidden, 1, np.nan], dtype="float32"))))


def test_a_saved_trace_is_the_trace(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "trace.safetensors"
    output_of(capsys, TEXT, "--save", str(file))
    loaded, want = Trace.load(file), traced(input_ids=ids())
    assert list(loaded) == list(want)
    assert all(np.array_equal(loaded[name], want[name]) for name in want)


def test_texts_of_unequal_length_are_padded(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "trace.safetensors"
    output_of(capsys, TEXT, "Aspirin", "--save", str(file))
    batch = BioGptTokenizer.from_pretrained("demo")([TEXT, "Aspirin"], padding=True)
    assert np.array_equal(Trace.load(file)["logits"], traced(**batch)["logits"])
    assert Trace.load(file).inputs == {"input_ids": "int64", "attention_mask": "int64"}


def test_explain_has_the_sizes_of_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    name = "layers.2.self_attn.scores"
    text = output_of(capsys, TEXT, "--explain", name)
    assert text == explain(traced(input_ids=ids()).facts(), name) + "\n"
    T = ids().shape[1]
    assert f"(B 1, H 4, T {T}, S {T}), float32" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--ids", "2,x"], "--ids must be integers separated by commas; found 'x'"),
        (["--ids", ""], "--ids must be integers"),
        (["--ids", "2,5,1874"], "input_ids must lie in [0, 1874); found 1874"),
        (["--ids=-1"], "input_ids must lie in [0, 1874); found -1"),
        (["x", "--ids", "2"], "there must be a text or --ids; found both"),
        (["x", "--names", "nope"], "none called 'nope'"),
        (["x", "--names", "layers.0.fc3"], "(nearest: layers.0.fc1, layers.0.fc2"),
        (["x", "--explain", "layers.0.fc3"], "nearest: layers.0.fc1, layers.0.fc2"),
        (["x", "--names", "layers.9.fc1"], "the layers are 0 to 3"),
        (["x", "--explain", "layers.9.fc1"], "the layers are 0 to 3"),
        (["x", "--explain", ""], "found ''; "),
        (["x", "--names", ""], "none called ''"),
        (["x", "--names", "{3..1}"], "a range must go up"),
        (["x", "--save", ""], "--save must have a value; found ''"),
        (["x", "--explain", "layers.0.fc1", "--json"], "an explanation or JSON; found --explain and --json"),
        (["x", "--save", "FOLDER"], "--save must name a file"),
        (["word " * 300], "a text must have at most N = 256 tokens"),
        (["x", "--model", "FOLDER"], "a model folder must hold config.json"),
    ],
)
def test_nonsense_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["trace", *(str(tmp_path) if word == "FOLDER" else word for word in words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert message in line


def test_nothing_is_saved_for_a_name_that_cannot_be_explained(tmp_path: Path) -> None:
    assert main(["trace", "--ids", "2,5", "--save", str(tmp_path / "t"), "--explain", "nothing"]) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("names", [["input_ids"], ["input_ids", "token_type_ids", "attention_mask"]])
def test_the_inputs_that_a_tokenizer_lists_do_not_change_the_commands(
    names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    want = output_of(capsys, TEXT)
    BioGptForCausalLM.from_pretrained("demo").save_pretrained(tmp_path)
    tok = BioGptTokenizer.from_pretrained("demo")
    tok.model_input_names = names
    tok.save_pretrained(tmp_path)
    assert output_of(capsys, TEXT, "--model", str(tmp_path)) == want
    assert main(["generate", TEXT, "--model", str(tmp_path), "--max-new-tokens", "2"]) == 0
    record = ["golden", "record", "--text", TEXT, "--model", str(tmp_path), "-o", str(tmp_path / "case")]
    assert main(record) == 0


def test_names_of_other_tools_and_their_axes(capsys: pytest.CaptureFixture[str]) -> None:
    want = output_of(capsys, TEXT, "--names", "layers.*.self_attn.probs", "--names", "layers.0")
    assert output_of(capsys, TEXT, "--names", "blocks.*.attn.hook_pattern", "--names", "l_out-0") == want
    explained = output_of(capsys, TEXT, "--explain", "layers.3.self_attn.context")
    assert output_of(capsys, TEXT, "--explain", "kqv_out-3") == explained


@pytest.mark.filterwarnings("default")
def test_other_axes_are_a_line_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", TEXT, "--names", "blocks.*.attn.hook_z"]) == 0
    out, err = capsys.readouterr()
    assert "layers.0.self_attn.context" in out
    (line,) = err.splitlines()
    assert "with the axes (B, T, D) instead of (B, T, H, Dh)" in line


def test_the_ending_of_a_saved_file_is_its_format(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    output_of(capsys, TEXT, "--names", "layers.{0..1}.fc1", "--save", str(tmp_path / "x.npz"))
    want = traced(names=["layers.{0..1}.fc1"], input_ids=ids())
    with np.load(tmp_path / "x.npz") as back:
        assert list(back) == list(want)
        assert all(np.array_equal(back[name], want[name]) for name in want)


def test_a_wrong_ending_is_refused_before_anything_else(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["trace", TEXT, "--model", "absent", "--save", str(tmp_path / "x.txt")]) == 2
    err = capsys.readouterr().err
    assert "the file of --save must end in .safetensors or .npz; found '.txt'; write x.safetensors or x.npz" in err
    assert not list(tmp_path.iterdir())
