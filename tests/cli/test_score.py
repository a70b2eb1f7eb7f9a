"""minibiogpt score and embed from the command line: output, invalid input, and runs that are killed and resumed."""

from __future__ import annotations

import json
import math
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from minibiogpt import BioGptForCausalLM, BioGptModel, BioGptTokenizer
from minibiogpt.cli import main
from minibiogpt.files.hub import DEMO
from minibiogpt.heads import scoring
from minibiogpt.model import pooling as features
from tests.budgets import LANE_A, NARROWED, PRINTED, SCORE_FLOAT32, lane_b
from tests.compare import assert_close
from tools.demo_corpus import TEMPLATES, read_facts, sentences

TEXTS = ["Ibuprofen is best used for pain.", "BRCA1", "Metformin acts by a β-blocker's 5–10 mg <dose>", "drug " * 300]


@cache
def tokenizer() -> BioGptTokenizer:
    return BioGptTokenizer.from_pretrained("demo")


@cache
def model() -> BioGptForCausalLM:
    return BioGptForCausalLM.from_pretrained("demo")


def output_of(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[str, str]:
    assert main([str(word) for word in words]) == 0
    out, err = capsys.readouterr()
    return out, err


def error_of(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """Return the one line on standard error."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    return line


def piped(data: str | bytes, *words: object) -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "minibiogpt", *map(str, words)]
    data = data.encode() if isinstance(data, str) else data
    return subprocess.run(line, input=data, capture_output=True, timeout=60)


def random_texts(count: int, seed: int = 0) -> list[str]:
    """Return texts of many lengths, one longer than N."""
    rng = random.Random(seed)
    facts = read_facts()
    pool = [s for table in TEMPLATES for row in facts[table] for s in sentences(table, row)]
    texts = [" ".join(rng.sample(pool, rng.choice([1, 1, 1, 2, 4]))) for _ in range(count)]
    return [*texts[:-1], " ".join(rng.sample(pool, 40))]


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_table_of_typed_texts(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = output_of(capsys, "score", *TEXTS[:3])
    head, *rows, last = out.splitlines()
    assert head.split() == ["total", "tokens", "perplexity", "text"]
    scores = model().score([tokenizer().encode(text) for text in TEXTS[:3]])
    total, tokens, perplexity, text = rows[0].split(maxsplit=3)
    assert (float(total), int(tokens)) == (pytest.approx(scores.total[0], abs=PRINTED), scores.tokens[0])
    assert (float(perplexity), text) == (pytest.approx(scores.perplexity[0], abs=PRINTED), TEXTS[0])
    assert rows[1].split()[1:] == [str(scores.tokens[1]), f"{scores.perplexity[1]:.4f}", "BRCA1"]
    corpus = math.exp(-scores.total.sum() / scores.tokens.sum())
    counted = f"3 texts, {scores.tokens.sum()} tokens: log-probability {scores.total.sum():.4f}"
    assert last == f"{counted}, perplexity {corpus:.4f}"
    assert err == ""


def test_a_table_of_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows, last = output_of(capsys, "score", "a β-blocker", "--tokens")[0].splitlines()
    assert head.split() == ["token", "start", "end", "log", "p", "text"]
    assert [row.split()[1:3] for row in rows[:2]] == [["0", "1"], ["2", "3"]]
    assert last.startswith(f"1 text, {len(rows)} tokens: log-probability -")


def test_json_lines_hold_what_the_model_returns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, err = output_of(capsys, "score", "--file", written(tmp_path / "texts", TEXTS), "--tokens")
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["text"] for record in records] == TEXTS
    for record in records:
        encoded = tokenizer()(record["text"], return_offsets=True)
        scores = model().score(encoded["input_ids"])
        assert record["ids"] == encoded["input_ids"][0, 1:].tolist()
        assert record["pieces"] == tokenizer().convert_ids_to_tokens(record["ids"])
        assert record["offsets"] == encoded["offsets"][0, 1:].tolist()
        assert_close("log_probs", np.float32(record["log_probs"]), scores.row(0), SCORE_FLOAT32)
        assert record["total"] == pytest.approx(sum(record["log_probs"]), rel=LANE_A)
        assert record["tokens"] == len(record["ids"])
        assert record["perplexity"] == math.exp(-record["total"] / record["tokens"])
    assert records[3]["tokens"] > model().config.max_position_embeddings
    total, tokens = (sum(record[name] for record in records) for name in ("total", "tokens"))
    assert err.startswith(f"4 texts, {tokens:,} tokens: log-probability {total:.4f}, perplexity ")


def test_options_reach_the_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["--window", "9", "--stride", "2", "--dtype", "float64", "--no-special", "--batch-tokens", "30", "--json"]
    record = json.loads(output_of(capsys, "score", "a</s>b " * 20, *line)[0])
    ids = tokenizer().encode("a</s>b " * 20, parse_special=False)
    want = BioGptForCausalLM.from_pretrained("demo", dtype="float64").score([ids], window=9, stride=2)
    assert record["total"] == pytest.approx(want.total[0], rel=LANE_A)
    assert record["tokens"] == len(ids) - 1


def test_json_lines_in_keep_their_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ['{"pmid": 7, "abstract": "β acts", "text": [1, null]}', '{"abstract": "pain", "x": {"y": 1.50}}']
    file = written(tmp_path / "in.jsonl", lines)
    out, _ = output_of(capsys, "score", "--file", file, "--jsonl", "--field", "abstract")
    first, second = (json.loads(line) for line in out.splitlines())
    assert list(first) == ["pmid", "abstract", "text", "total", "tokens", "perplexity"]
    assert (first["pmid"], first["abstract"], first["text"]) == (7, "β acts", [1, None])
    assert list(second) == ["abstract", "x", "total", "tokens", "perplexity"]
    assert (second["abstract"], second["x"]) == ("pain", {"y": 1.5})


def test_lines_end_where_they_end(capsys: pytest.CaptureFixture[str]) -> None:
    """The input has a byte order mark, carriage returns, form feed and U+2028 in a line, and no final line feed."""
    run = piped("\ufeffone\r\ntwo\x0c\u2028three\nfour", "score", "--chunk", 1)
    assert [json.loads(line)["text"] for line in run.stdout.splitlines()] == ["one", "two\x0c\u2028three", "four"]
    assert run.stderr.startswith(b"3 texts, ")


def test_a_stream_is_read_a_chunk_at_a_time() -> None:
    line = [sys.executable, "-m", "minibiogpt", "score", "--chunk", "2"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(line, env=env, **pipes) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(2):
            process.stdin.write(b"one\ntwo\n")
            process.stdin.flush()
            if not select.select([process.stdout], [], [], 60)[0]:
                process.kill()
                pytest.fail("no output before the input ends")
            got = [json.loads(process.stdout.readline())["text"] for _ in range(2)]  # before the input has ended
            assert got == ["one", "two"]
        process.stdin.close()
        assert process.stdout.read() == b""


KILLED = """
import os, pathlib, signal, sys
from minibiogpt.cli import main
from minibiogpt.cli.batch import resume
where, count = sys.argv[1], int(sys.argv[2])
append, finish = resume.ResumableFile.append, resume.ResumableFile.finish
left = [count]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def killed_append(self, data, *rest, **sums):
    left[0] -= 1
    if left[0] == 0 and where == "before a chunk":
        die()
    if left[0] == 0 and where == "within a line":
        self._truncate()
        self._file.write(data[: len(data) * 2 // 3 + 1])
        self._file.flush()
        die()
    if left[0] == 0 and where == "before its state":
        self._save = die
    append(self, data, *rest, **sums)
    if left[0] == 0 and where == "after a chunk":
        die()

def killed_finish(self, make=None):
    if where == "before the end":
        die()
    if where == "before the state goes":
        pathlib.Path.unlink = lambda *_, **__: die()
    finish(self, make)

resume.ResumableFile.append, resume.ResumableFile.finish = killed_append, killed_finish
sys.exit(main(sys.argv[3:]))
"""


def killed(where: str, count: int, *words: object, data: bytes | None = None) -> None:
    """Run the command in a process that kills itself at ``where`` in its ``count``-th chunk."""
    line = [sys.executable, "-c", KILLED, where, str(count), *map(str, words)]
    run = subprocess.run(line, input=data, capture_output=True, timeout=60)
    assert run.returncode == -signal.SIGKILL, run


KILL_POINTS = [
    ("within a line", 1), ("before its state", 1), ("within a line", 2), ("before its state", 2), ("after a chunk", 2),
    ("before a chunk", 2),
]  # fmt: skip


@pytest.mark.parametrize("command", [("score", "--tokens"), ("embed", "--pooling", "mean")], ids=["score", "embed"])
def test_killed_wherever_it_may_be_and_resumed_it_writes_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    name = "out.jsonl" if command[0] == "score" else "out.npy"
    line = [*command, "--file", written(tmp_path / "in", random_texts(61)), "--chunk", 7, "--batch-tokens", 100]
    (tmp_path / "whole").mkdir()
    want = output_of(capsys, *line, "--output", tmp_path / "whole" / name)
    if command[0] == "score":
        assert output_of(capsys, *line) == ((tmp_path / "whole" / name).read_text(encoding="utf-8"), want[1])
    output = tmp_path / "killed" / name
    output.parent.mkdir()
    for where, chunk in KILL_POINTS:
        killed(where, chunk, *line, "--output", output)
        assert (tmp_path / "killed" / f"{name}.state").exists()
    killed("before the end", 100, *line, "--output", output)
    assert "different dtype" in error_of(capsys, *line, "--output", output, "--dtype", "float64")
    killed("before the state goes", 100, *line, "--output", output)
    assert (
        output_of(capsys, *line, "--output", output)[1].replace(str(output.parent), str(tmp_path / "whole")) == want[1]
    )
    assert output.read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in output.parent.iterdir()) == [name], "no other file is left"


def test_killed_twice_at_random_and_resumed_it_writes_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process is killed from outside, after a random number of lines."""
    rng = random.Random(11)
    source = written(tmp_path / "in", random_texts(300, seed=1))
    line = ["score", "--file", source, "--chunk", 10, "--batch-tokens", 64]
    output_of(capsys, *line, "--output", tmp_path / "whole")
    output = tmp_path / "killed"
    for low, high in ((1, 90), (91, 200)):
        lines = rng.randint(low, high)
        with subprocess.Popen([sys.executable, "-m", "minibiogpt", *map(str, line), "--output", output]) as process:
            while process.poll() is None and _lines_in(output) < lines:
                time.sleep(0.002)
            process.kill()
        assert process.returncode == -signal.SIGKILL, "the run finished before it could be killed"
        assert lines <= _lines_in(output) < 300
    before = _lines_in(output)
    output_of(capsys, *line, "--output", output)
    assert before < _lines_in(output) == 300
    assert output.read_bytes() == (tmp_path / "whole").read_bytes()


def _lines_in(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_stream_is_resumed_when_it_begins_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts, output = random_texts(20), tmp_path / "out"
    data = "\n".join(texts).encode()
    killed("after a chunk", 3, "score", "--chunk", 4, "--output", output, data=data)
    done = output.read_bytes()
    other = piped(b"other\n" + data, "score", "--chunk", 4, "--output", output)
    assert b"the input must begin with the 12 records already in" in other.stderr
    short = piped("\n".join(texts[:5]), "score", "--chunk", 4, "--output", output)
    assert (other.returncode, short.returncode) == (2, 2)
    assert output.read_bytes() == done
    assert piped(data, "score", "--chunk", 4, "--output", output).returncode == 0
    assert [json.loads(line)["text"] for line in output.read_text().splitlines()] == texts


def unfinished(folder: Path) -> list[Any]:
    """Return the command of a run that was killed after its second chunk."""
    line = ["score", "--file", written(folder / "in", random_texts(12)), "--chunk", 3, "--output", folder / "out"]
    killed("after a chunk", 2, *line)
    return line


def another_model(folder: Path) -> Path:
    """Return the demo model with one bit of its last value flipped: same names, same sizes."""
    shutil.copytree(DEMO, folder)
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-3] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_only_the_same_run_continues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = unfinished(tmp_path)
    done = (tmp_path / "out").read_bytes()
    assert done
    for words, name in [
        (["--tokens"], "tokens"),
        (["--chunk", 4], "chunk"),
        (["--stride", 5, "--window", 20], "window, stride"),
        (["--model", another_model(tmp_path / "model")], "model"),
        (["--no-special", "--batch-tokens", 64], "--no-special, --batch-tokens"),
        (["--file", written(tmp_path / "other", random_texts(12)[::-1])], "input"),
    ]:
        rest = [line[0], *line[3:]] if words[0] == "--file" else line
        message = error_of(capsys, *rest, *words)
        assert "can only be resumed by the command that started it; found different " in message
        assert set(message.partition("found different ")[2].partition(";")[0].split(", ")) == set(name.split(", "))
    assert (tmp_path / "out").read_bytes() == done
    output_of(capsys, *line, "--tokens", "--overwrite")
    assert "pieces" in json.loads((tmp_path / "out").read_text().splitlines()[11])


def test_what_is_damaged_or_busy_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = unfinished(tmp_path)
    output, state = tmp_path / "out", tmp_path / "out.state"
    content = output.read_bytes()
    with output.open("rb") as busy:
        fcntl = pytest.importorskip("fcntl")
        fcntl.flock(busy, fcntl.LOCK_EX)
        assert "only one run at a time" in error_of(capsys, *line)
    output.write_bytes(content[:-1])
    assert f"must hold the {len(content)} bytes that out.state counts" in error_of(capsys, *line)
    output.write_bytes(content)
    good = state.read_text()
    for bad in (
        "",
        "{}",
        "[]",
        '{"settings": {}, "done": {"chunks": 3}}',
        good.replace('"records": 6', '"records": null'),
    ):
        state.write_text(bad)
        assert "must be the state of a minibiogpt run" in error_of(capsys, *line)
    assert error_of(capsys, *line).endswith("start again with --overwrite")
    state.write_text(good)
    output_of(capsys, *line)
    assert _lines_in(output) == 12
    whole = output.read_bytes()
    for damaged, rest in (("", whole), (good, b"")):
        state.write_text(damaged)
        output.write_bytes(rest)
        assert "start again with --overwrite" in error_of(capsys, *line)
        output_of(capsys, *line, "--overwrite")
        assert output.read_bytes() == whole
        assert not state.exists()


@pytest.mark.parametrize("command", ["score", "embed"])
def test_a_finished_file_is_not_overwritten_unasked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    output = tmp_path / "out.npy"
    precious = b"precious" * 1000
    output.write_bytes(precious)
    assert "a finished file; choose another name, or use --overwrite" in error_of(
        capsys, command, "a text", "--output", output
    )
    late = [command, "a text", "--output", output, "--overwrite", "--dtype", "int3"]
    assert "dtype must be one of" in error_of(capsys, *late)
    assert output.read_bytes() == precious
    assert [path.name for path in tmp_path.iterdir()] == ["out.npy"]
    killed("within a line", 1, command, "a text", "--output", output, "--overwrite")
    output_of(capsys, command, "a text", "--output", output, "--overwrite")
    assert b"precious" not in output.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["out.npy"]


def test_a_run_that_fails_at_its_first_text_leaves_nothing(tmp_path: Path) -> None:
    output = tmp_path / "out"
    run = piped("no JSON\n", "score", "--jsonl", "--output", output)
    assert run.returncode == 2
    assert b"line 1 of standard input must be a JSON object" in run.stderr
    assert not list(tmp_path.iterdir())
    later = piped('{"text": "a"}\n{"text": "b"}\n7\n', "score", "--jsonl", "--chunk", 2, "--output", output)
    assert (
        b"line 3 of standard input must be a JSON object whose 'text' is a string or a list of strings; found a number"
        in later.stderr
    )
    assert [json.loads(line)["text"] for line in output.read_text().splitlines()] == ["a", "b"]


@pytest.mark.filterwarnings("default:.*has no text that can be used")
def test_embed_writes_what_the_model_returns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = written(tmp_path / "in", TEXTS)
    _, err = output_of(capsys, "embed", "--file", source, "--output", tmp_path / "a.npy")
    assert err == f"4 texts, 128 values each: {tmp_path / 'a.npy'}\n"
    found = np.load(tmp_path / "a.npy", allow_pickle=False)
    ids = [tokenizer().encode(text) for text in TEXTS]
    base = BioGptModel.from_pretrained("demo")
    assert (found.dtype, found.shape) == (np.float32, (4, 128))
    assert_close("embeddings", found, base.embed(ids), lane_b("demo", "layer_norm"))
    line = ["--pooling", "mean", "--layer", 2, "--dtype", "float64"]
    output_of(capsys, "embed", "--file", source, "--output", tmp_path / "a.safetensors", *line)
    tensors = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    want = BioGptModel.from_pretrained("demo", dtype="float64").embed(ids, pooling="mean", layer=2)
    assert list(tensors) == ["embeddings"]
    assert int.from_bytes((tmp_path / "a.safetensors").read_bytes()[:8], "little") % 8 == 0, "the array is aligned"
    assert_close("embeddings", tensors["embeddings"].astype(np.float64), want, NARROWED)
    source.write_bytes(b"\xff")
    for name in ("b.npy", "b.safetensors"):
        assert main(["embed", "--file", str(source), "--output", str(tmp_path / name), "--skip-bad"]) == 0
    assert np.load(tmp_path / "b.npy").shape == (0, 128)
    assert safetensors.numpy.load_file(tmp_path / "b.safetensors")["embeddings"].shape == (0, 128)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", "x", "--file", "IN"], "the texts must come from one source; found --file and 'x'"),
        (["score", "--file", "NOWHERE"], "--file must be a readable file"),
        (["score", "--file", "FOLDER"], "--file must be a readable file"),
        (["score", "x", "--jsonl"], "--jsonl reads --file or standard input"),
        (["score", "--file", "IN", "--jsonl"], "line 1 of IN must be a JSON object"),
        (
            ["score", "--file", "LIST", "--jsonl"],
            "line 2 of LIST must be a JSON object whose 'text' is a string or a list of strings; found",
        ),
        (["score", "--file", "LIST", "--jsonl", "--field", "n"], "line 1 of LIST must be a JSON object whose 'n'"),
        (
            ["score", "--file", "TAKEN", "--jsonl"],
            "line 1 of TAKEN must have no field 'tokens', a result's name, beside 'input_tokens'; found both; rename",
        ),
        (["score", "--file", "NAN", "--jsonl"], "line 2 of NAN must be a JSON object; found NaN, which is not valid"),
        (["score", "--file", "INF", "--jsonl"], "line 1 of INF must be a JSON object; found -Infinity, which is not"),
        (
            ["score", "--file", "HUGE", "--jsonl"],
            "line 1 of HUGE must be a JSON object; found a number that is too large",
        ),
        (["score", "--file", "TWICE", "--jsonl"], "line 1 of TWICE must be a JSON object; found the field 'a' twice"),
        (["score", "--file", "HALF", "--jsonl"], "line 1 of HALF must be a JSON object; found half of a character"),
        (["score", "--file", "BYTES"], "line 2 of BYTES must be UTF-8"),
        (["score", "x\udcff"], "a text must be UTF-8"),
        (["score", "x", "--window", "257"], "window must be an integer, 2 to 256"),
        (["score", "x", "--stride", "256"], "stride must be an integer, 1 to 255"),
        (["score", "x", "--chunk", "0"], "--chunk must be an integer, 1 or more"),
        (["score", "x", "--batch-tokens", "-1"], "--batch-tokens must be an integer, 1 or more"),
        (["score", "x", "--output", "FOLDER"], "--output must name a file"),
        (["score", "x", "--output", "/dev/null"], "--output must name a file"),
        (["score", "x", "--output", "IN/out"], "the folder of --output must be a folder"),
        (["score", "--file", "IN", "--output", "IN", "--overwrite"], "--output must not overwrite a file that is read"),
        (["score", "x", "--overwrite"], "--overwrite needs an --output"),
        (["score", "x", "--model", "/nowhere"], "must be 'demo', a folder, or a hub id"),
        (["embed", "x"], "--output must name a file that ends in .npy or .safetensors; found none"),
        (["embed", "x", "--output", "a.txt"], "--output must name a file that ends in .npy or .safetensors"),
        (["embed", "x", "--output", "a.npy", "--layer", "5"], "--layer must be an integer, 0 to 4"),
    ],
)
def test_nonsense_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    files: dict[str, bytes] = {
        "IN": b"one\ntwo\n",
        "LIST": b'{"text": "x", "n": 1}\n["text"]\n',
        "TAKEN": b'{"text": "x", "tokens": 1, "input_tokens": 2}\n',
        "NAN": b'{"text": "x"}\n{"text": "x", "a": [NaN]}\n',
        "INF": b'{"text": "x", "a": -Infinity}\n',
        "HUGE": b'{"text": "x", "a": {"b": 1e999}}\n',
        "TWICE": b'{"text": "x", "a": 1, "a": 2}\n',
        "HALF": b'{"text": "\\ud800"}\n',
        "BYTES": b"one\n\xff\n",
    }
    for name, content in files.items():
        Path(name).write_bytes(content)
    Path("FOLDER").mkdir()
    assert message in error_of(capsys, *words)
    assert sorted(path.name for path in Path().iterdir()) == sorted([*files, "FOLDER"])
    assert all(Path(name).read_bytes() == content for name, content in files.items())


def test_what_is_no_number_is_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scoring, "log_softmax", lambda x: x * np.nan)
    monkeypatch.setattr(features, "_sum_new_states", lambda _, x, batch: np.full((len(batch), x.shape[-1]), np.inf))
    for command in ("score", "embed"):
        assert "must be finite; found NaN" in error_of(capsys, command, "x", "--output", tmp_path / "out.npy")
        assert not list(tmp_path.iterdir())


def test_a_bar_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "text/s" not in output_of(capsys, "score", "x")[1]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "1/1" in output_of(capsys, "score", "x")[1]
