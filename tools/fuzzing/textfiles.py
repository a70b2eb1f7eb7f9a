"""The target for files of texts: every command that reads one, with lines of every kind, plain or as JSON Lines."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from minibiogpt import BioGptForSequenceClassification, BioGptForTokenClassification, BioGptTokenizer
from minibiogpt.cli import main
from minibiogpt.errors import InputError
from tools.fuzzing import checkpoints
from tools.fuzzing.supervise import Target

COMMANDS = ("generate", "score", "embed", "classify", "tag")
BLANK = [b"", b" ", b"\t", b"\r", b"\xe2\x80\xa8", b"\0", b" \x1f\xc2\xa0"]
BROKEN = [
    "naïve drug".encode("latin1"),
    b"\x93quoted\x94",
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    "β ok".encode() + b"\xe2",
]
PLAIN = [
    "a drug", "is in pain", "pain\0killer", "one\u2028two", "three\x0cfour\x85five", "\ufeffmark", "β-blocker 5–10 mg",
    "cr\rcr", "</s>", "</s> a </s>", "1,2\t3", '"quoted"', "[1]", "{}", "-", "DOTMULTI", "DOTDOTMULTI.", "漢字",
    "👩\u200d🔬", "pain " * 30, "a" * 300, "no. 5. " * 20,
]  # fmt: skip
FORMS = [  # lines of JSON in odd forms: most are no objects with a text
    "{text}", '{{"text": {text}}}', '{{"text": {text}, "line": 7, "label": 1}}', '{{"text": [{text}, ""]}}',
    '{{"text": []}}',
    '{{"text": null}}', '{{"text": {text}, "text": 1}}', '{{"text": {text}', '{{"a": NaN, "text": {text}}}', "[{text}]",
    '{{"text": {text}, "a": 1e999}}', '{{"text": "\\ud800"}}', '{{"text": ""}}', '{{"text": [" "]}}', '{{"x": {text}}}',
    "7",
    '{{"text": {text}, "input_line": 1, "line": 2}}',
    '{{"text": {text}, "a": ' + "9" * 5000 + "}}", '{{"text": {text}, "a": ' + "[" * 10**5 + "]" * 10**5 + "}}",
]  # fmt: skip
PYTHON = ("Errno", "codec can't", "recursion depth", "set_int_max_str_digits", "Out of range float")  # no user's words
STARTS = [b"\xef\xbb\xbf"] * 4 + [b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b", b"PK\x03\x04", b"\xef\xbb\xbf\xef\xbb\xbf"]
STARTS += [
    b"%PDF-1.4\n",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    b"PK\x03\x04" + bytes(26) + b"xl/workbook.xml",
    b'[{"text": ',
]


def make(rng: Random, folder: Path) -> dict[str, Any]:
    """Write a model and a file of texts; return the command line."""
    command, jsonl = rng.choice(COMMANDS), rng.random() < 0.4
    (folder / "model").mkdir()
    for name, content in model_files(command).items():
        (folder / "model" / name).write_bytes(content)
    jsonl = jsonl and command != "generate"
    lines = [_line(rng, jsonl) for _ in range(rng.choice([0, 1, 1, 2, 3, 5, 9]))]
    lines += [rng.choice(BLANK)] * rng.choice([0, 0, 0, 1, 3])
    data = rng.choice([b"\n", b"\n", b"\n", b"\r\n"]).join(lines) + rng.choice([b"", b"\n", b"\n"])
    if rng.random() < 0.2:
        data = rng.choice(STARTS) + data
    if rng.random() < 0.05:
        data = data.decode("utf-8", "replace").encode(rng.choice(["utf-16", "utf-16le", "utf-16be", "utf-32"]))
    (folder / "texts").write_bytes(data)
    words = [command, "--model", "model"] + ["--jsonl"] * jsonl
    words += [word for word in ("--skip-bad", "--truncate", "--no-special") if rng.random() < 0.5]
    words += ["--chunk", "2"] if command != "generate" else ["--json", "--max-new-tokens", "2", "--batch-size", "2"]
    words += ["--output", "out.npy"] if command == "embed" else []
    return {"line": words, "piped": command != "generate" and rng.random() < 0.3}


def _line(rng: Random, jsonl: bool) -> bytes:
    kind = rng.random()
    if kind < 0.15:
        return rng.choice(BLANK)
    if kind < 0.25:
        return rng.choice(BROKEN)
    text = rng.choice(PLAIN)
    if not jsonl:
        return text.encode()
    form = FORMS[1] if kind < 0.7 else rng.choice(FORMS)
    return form.format(text=json.dumps(text, ensure_ascii=rng.random() < 0.5)).encode("utf-8", "surrogatepass")


def run(folder: Path, case: dict[str, Any]) -> None:
    """Run the command: exit code 0 or 2, one line of error; with --skip-bad, each line has a result or is listed."""
    words, data = case["line"], (folder / "texts").read_bytes()
    with contextlib.chdir(folder), _streams(data if case["piped"] else b"") as (out, err):
        code = main([*words, *([] if case["piped"] else ["--file", "texts"])])
        printed, said = out.getvalue().decode("utf-8"), err.getvalue().decode("utf-8")
    skipped = [line for line in said.splitlines() if line.startswith("minibiogpt: skipped: ")]
    errors = [line for line in said.splitlines() if line.startswith("minibiogpt: error: ")]
    assert code in (0, 2), f"exit code {code}"
    assert "Traceback" not in said, said
    assert not any(word in said for word in PYTHON), said[:2000]
    assert len(errors) == (code == 2), said[:2000]
    if code == 2:
        for unfinished in folder.glob("out.npy.*") if case["piped"] else ():
            unfinished.unlink()  # the chunks before a bad line, which a repeated command would resume
        assert case["piped"] or not printed, f"results before an error: {printed[:300]!r}"
        raise InputError("a file of texts must be usable", errors[0], "this one is not")
    _check(words, data, printed, len(skipped), folder)


def _check(words: list[str], data: bytes, printed: str, skipped: int, folder: Path) -> None:
    """Check that the results are those of the lines."""
    lines = [line.removesuffix(b"\r") for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n")]
    while lines and _blank(lines[-1]):
        lines.pop()
    if words[0] == "embed":
        count = len(np.load(folder / "out.npy"))
    else:
        results = json.loads(printed) if words[0] == "generate" else list(map(json.loads, printed.split("\n")[:-1]))
        count = len(results)
        numbers = [result["line"] for result in results] if "--skip-bad" in words else list(range(1, len(lines) + 1))
        for number, result in zip(numbers, results, strict=True):
            line = lines[number - 1].decode("utf-8")
            want = json.loads(line)["text"] if "--jsonl" in words else line
            assert result["prompt" if words[0] == "generate" else "text"] == want, f"line {number} has another's result"
    assert count + skipped == len(lines), f"{count} results and {skipped} skipped of {len(lines)} lines"
    assert "--skip-bad" in words or not skipped, "skipped unasked"


def _blank(line: bytes) -> bool:
    with contextlib.suppress(UnicodeDecodeError):
        return all(c.isspace() or c < " " for c in line.decode("utf-8"))
    return False


@cache
def model_files(command: str) -> dict[str, bytes]:
    """Return the files of a small model with the head that the command needs."""
    kinds = {"classify": BioGptForSequenceClassification, "tag": BioGptForTokenClassification}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoints.write_seed(folder)
        if command in kinds:
            tokenizer = BioGptTokenizer.from_pretrained(folder)
            with warnings.catch_warnings(action="ignore"):  # the head is new
                kinds[command].from_pretrained(folder, seed=0).save_pretrained(folder)
            tokenizer.save_vocabulary(folder)
        return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@contextlib.contextmanager
def _streams(data: bytes) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    """Replace the standard streams by in-memory ones; yield the buffers of stdout and stderr."""
    original, out, err = (sys.stdin, sys.stdout, sys.stderr), io.BytesIO(), io.BytesIO()
    sys.stdin = io.TextIOWrapper(io.BytesIO(data))
    sys.stdout = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
    sys.stderr = io.TextIOWrapper(err, encoding="utf-8", write_through=True)
    try:
        yield out, err
    finally:
        sys.stdin, sys.stdout, sys.stderr = original


TARGETS = (Target("textfile", 4, make, run, lambda case: ["out.npy"]),)
