"""The commands run from the command line: output, exit codes and invalid input."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from minibiogpt import (
    BioGptConfig,
    BioGptForCausalLM,
    BioGptForSequenceClassification,
    BioGptForTokenClassification,
    BioGptTokenizer,
    __version__,
)
from minibiogpt.cli import main
from minibiogpt.files.hub import DEMO
from tests.support.configs import CONFIGS

TEXT = "Ibuprofen is best used for"


def run_process(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "minibiogpt", *words]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload]


def output_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


def test_generate_continues_the_sentence() -> None:
    run = run_process("generate", TEXT)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == "Ibuprofen is best used for pain and inflammation.\n"


def test_generate_takes_a_batch_and_prints_it_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    records = json.loads(output_of(capsys, "generate", TEXT, "Metformin acts", "--json"))
    assert [record["prompt"] for record in records] == [TEXT, "Metformin acts"]
    tok = BioGptTokenizer.from_pretrained("demo")
    for record in records:
        assert record["prompt_ids"] == tok.encode(record["prompt"])
        assert record["text"] == tok.decode(record["prompt_ids"] + record["new_ids"], skip_special_tokens=True)
        assert record["continuation"] == tok.decode(record["new_ids"], skip_special_tokens=True)
        assert record["text"].endswith(f" {record['continuation']}")
    assert output_of(capsys, "generate", TEXT, "Metformin acts") == "".join(record["text"] + "\n" for record in records)


def test_generate_options_reach_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    tok, model = BioGptTokenizer.from_pretrained("demo"), BioGptForCausalLM.from_pretrained("demo", dtype="float64")
    want = model.generate(
        tok(TEXT)["input_ids"], do_sample=True, temperature=2.0, top_k=90, top_p=0.95, seed=7, max_new_tokens=9,
        min_length=12,
    )  # fmt: skip
    line = (
        "--sample --temperature 2 --top-k 90 --top-p 0.95 --seed 7 --max-new-tokens 9 --min-length 12 --dtype float64"
    )
    got = output_of(capsys, "generate", TEXT, *line.split(), "--no-cache")
    assert got == tok.decode(want[0], skip_special_tokens=True) + "\n"
    assert got != output_of(capsys, "generate", TEXT, *line.replace("--seed 7", "--seed 8").split())


@pytest.mark.parametrize("words", [("generate",), ("generate", "-")])
def test_text_may_be_piped_in(words: tuple[str, ...]) -> None:
    assert run_process(*words, input=TEXT + "\n").stdout == "Ibuprofen is best used for pain and inflammation.\n"


def test_a_terminal_sees_the_text_grow() -> None:
    controller, terminal = pty.openpty()
    line = [sys.executable, "-m", "minibiogpt", "generate", TEXT]
    with subprocess.Popen(line, stdout=terminal, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        os.close(terminal)
        chunks = []
        while True:
            try:
                chunk = os.read(controller, 4096)
            except OSError:
                break
            if not chunk:
                break
            chunks.append(chunk)
    os.close(controller)
    assert b"".join(chunks).decode().strip() == "Ibuprofen is best used for pain and inflammation."
    assert process.returncode == 0
    assert run_process("generate", TEXT, "--stream").stdout == "Ibuprofen is best used for pain and inflammation.\n"


def test_tokenize_shows_pieces_ids_and_offsets(capsys: pytest.CaptureFixture[str]) -> None:
    text = "A β-blocker</s>"
    (record,) = json.loads(output_of(capsys, "tokenize", text, "--json"))
    assert record["ids"] == BioGptTokenizer.from_pretrained("demo").encode(text)
    assert [text[a:b] for a, b in record["offsets"]][-1] == "</s>"
    table = output_of(capsys, "tokenize", text).splitlines()
    assert table[0].split() == ["token", "id", "start", "end", "text"]
    assert len(table) == len(record["ids"]) + 2
    assert table[-1] == f"{len(record['ids'])} tokens"
    (plain,) = json.loads(output_of(capsys, "tokenize", text, "--json", "--no-special"))
    assert len(plain["ids"]) > len(record["ids"])


def test_info_counts_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.loads(output_of(capsys, "info", "--json", "--dtype", "float64"))
    model = BioGptForCausalLM.from_pretrained("demo")
    assert facts["parameters"] == model.num_parameters() == 1_066_240
    assert facts["weights_bytes"] == 8 * facts["parameters"]
    assert facts["file_bytes"] == (DEMO / "model.safetensors").stat().st_size
    assert facts["dtypes_in_file"] == ["F32"]
    assert facts["cache_bytes_per_token"] == 2 * 4 * 128 * 8
    assert facts["config"]["hidden_size"] == 128
    assert "1,066,240" in output_of(capsys, "info")


def test_info_counts_the_head_that_is_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for kind in (BioGptForSequenceClassification, BioGptForTokenClassification):
        model = kind.from_config(BioGptConfig(**CONFIGS["gelu"], num_labels=5))
        model.save_pretrained(tmp_path)
        facts = json.loads(output_of(capsys, "info", "--json", "--model", str(tmp_path)))
        assert facts["parameters"] == model.num_parameters()


def test_version_and_help_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_process("--version").stdout == f"minibiogpt {__version__}\n"
    for command in ("generate", "tokenize", "score", "embed", "info", "download"):
        assert "usage: minibiogpt" in run_process(command, "--help").stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "x", "--model", "/nowhere"], "must be 'demo', a folder, or a hub id"),
        (["generate", "x", "--model", "EMPTY"], "a model folder must hold config.json; found no file"),
        (["info", "--model", "EMPTY"], "a model folder must hold config.json"),
        (["generate", ""], "a text must contain a word; found ''"),
        (["generate", "x", " \t"], "a text must contain a word; found ' \\t'"),
        (["generate", "x", "--dtype", "int8"], "--dtype must be one of float32, float64, float16, bfloat16"),
        (
            ["generate", "x", "--product", "blis"],
            "--product must be one of auto, numpy, mkl, openblas, onednn; found 'blis'",
        ),
        (["info", "--backend", "cupy", "--product", "mkl"], "only backend numpy has a choice of products"),
        (["generate", "x", "--dtype", "int3"], "dtype must be one of float32, float64"),
        (["generate", "x", "--backend", "jax"], "backend must be one of numpy, cupy"),
        (["generate", "x", "--max-new-tokens", "300"], "request at most"),
        (["generate", "drug " * 300], "a text must have at most N = 256 tokens"),
        (["generate", "x", "--max-new-tokens", "0"], "--max-new-tokens must be an integer"),
        (["generate", "x", "--sample", "--top-p", "7"], "--top-p must be a number in [0, 1]"),
        (["generate", "x", "--sample", "--temperature", "nan"], "temperature must be a number in"),
        (["generate", "x", "--sample", "--temperature", "1e-300"], "temperature must be a number in"),
        (["generate", "x", "--stream", "--json"], "must be a stream or JSON; found --stream and --json"),
        (["generate", "x", "y", "--stream"], "--stream needs one text, one result and no beam search"),
        (["generate", "x", "--max-new-tokens", "many"], "--max-new-tokens must be an integer; found 'many'"),
        (["generate", "x", "--nonsense"], "must be called with its own options; found '--nonsense'"),
        (["dance"], "must be followed by a command; found 'dance'"),
        ([], "must be followed by a command; found none"),
    ],
)
def test_nonsense_is_one_line_and_exit_code_2(tmp_path: Path, words: list[str], message: str) -> None:
    run = run_process(*[str(tmp_path) if word == "EMPTY" else word for word in words])
    assert run.returncode == 2
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    (line,) = run.stderr.splitlines()
    assert line.startswith("minibiogpt: error: ")
    assert message in line


@pytest.mark.filterwarnings("default")
def test_no_name_reaches_the_terminal_as_more_than_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A path, or a name in a file, may contain terminal control sequences or newlines."""
    monkeypatch.chdir(tmp_path)
    Path("\x1b[2J\nred\u202e").mkdir()
    assert main(["info", "--model", "\x1b[2J\nred\u202e"]) == 2
    message = capsys.readouterr().err
    assert "must hold config.json; found no file \\x1b[2J red\\u202e/config.json; name a" in message
    config = BioGptConfig(hidden_size=4, num_attention_heads=1, num_hidden_layers=1, vocab_size=1874)
    BioGptForCausalLM.from_config(config).save_pretrained("model")
    tensors = load_file("model/model.safetensors")
    save_file(tensors | {"\x1b[2J\nminibiogpt: error": tensors["biogpt.layer_norm.bias"]}, "model/model.safetensors")
    for file in ("vocab.json", "merges.txt"):
        Path("model", file).write_bytes((DEMO / file).read_bytes())
    assert main(["generate", "a", "--max-new-tokens", "1", "--model", "model"]) == 0
    (warning,) = capsys.readouterr().err.splitlines()
    assert "ignored 1 unexpected: \\x1b[2J\\nminibiogpt: error" in warning


def test_bytes_that_are_no_text() -> None:
    line = [sys.executable, "-m", "minibiogpt", "generate"]
    run = subprocess.run(line, input=b"\xff\xfe", capture_output=True)
    assert run.returncode == 2
    assert b"standard input must be UTF-8" in run.stderr


def test_a_reader_who_leaves_and_a_terminal_that_knows_ascii_only() -> None:
    line = f"{sys.executable} -m minibiogpt tokenize '{'word ' * 3000}' | head -1"
    run = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert run.stdout.startswith("token")
    assert run.stderr == ""
    plain = run_process("tokenize", "β", env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert plain.returncode == 0
    assert "?" in plain.stdout


def test_a_text_on_a_terminal_comes_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pseudo-terminal cannot show whether a text is written as it grows, and a batch or JSON all at once."""

    class Terminal(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.writes: list[str] = []

        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            self.writes.append(text)
            return super().write(text)

    written = {}
    at_once = ((TEXT, "Metformin acts"), (TEXT, "--json"), (TEXT, "--num-beams", "2"), (TEXT, "--clean-large"))
    for words in ((TEXT,), *at_once, (TEXT, "--sample", "--num-return-sequences", "2")):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        assert main(["generate", *words]) == 0
        written[words] = terminal.writes
    assert len(written[(TEXT,)]) > 4
    assert "".join(written[(TEXT,)]) == "Ibuprofen is best used for pain and inflammation.\n"
    assert all(len(writes) <= 2 for words, writes in written.items() if len(words) > 1)


@pytest.mark.parametrize("command", ["tokenize x", "generate x", "generate x --stream"])
@pytest.mark.parametrize("closed", [">&-", "2>&-"])
def test_a_closed_output_is_no_error(command: str, closed: str) -> None:
    line = f"{sys.executable} -m minibiogpt {command} {closed}"
    run = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    assert bool(run.stdout) is (closed != ">&-")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full, the device that is always full")
@pytest.mark.parametrize("command", ["tokenize x", "generate x --stream", "info --json"])
def test_a_full_disk_is_one_line_and_exit_code_2(command: str) -> None:
    line = f"{sys.executable} -m minibiogpt {command} > /dev/full"
    run = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert run.returncode == 2
    (message,) = run.stderr.splitlines()
    assert message.startswith("minibiogpt: error: files must be readable, and the output writable; found")


def test_cupy_that_is_not_installed_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cupy.py").write_text("raise ImportError('No module named cupy')\n")
    path = os.pathsep.join([str(tmp_path), str(DEMO.parent.parent)])
    run = run_process("generate", "x", "--backend", "cupy", env=os.environ | {"PYTHONPATH": path})
    assert run.returncode == 2
    (message,) = run.stderr.splitlines()
    assert "backend cupy needs the package cupy" in message


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(BioGptForCausalLM, "generate", interrupted)
    assert main(["generate", "x"]) == 130
    assert capsys.readouterr().err == "minibiogpt: interrupted\n"


def test_main_leaves_the_warnings_of_its_caller_alone() -> None:
    before = warnings.showwarning
    assert main(["tokenize", "x"]) == 0
    assert warnings.showwarning is before
