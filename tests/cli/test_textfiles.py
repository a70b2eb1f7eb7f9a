"""Files of texts in every command: encodings, blank lines, lines that are too long, --skip-bad and --truncate."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptForCausalLM, BioGptForSequenceClassification, BioGptForTokenClassification, BioGptTokenizer
from minibiogpt.cli import main
from minibiogpt.cli.batch import ends
from minibiogpt.cli.batch.ends import first_of_words, first_pieces, last_pieces
from minibiogpt.cli.batch.faults import show_skipped
from minibiogpt.cli.batch.lines import Fault, lines_of, not_utf8, one_text
from minibiogpt.cli.batch.resume import ResumableFile
from minibiogpt.errors import InputError
from minibiogpt.heads.words import analyse_words
from minibiogpt.tokenizer import AddedToken, Piece
from tests.support.demo import PROMPTS, ours, tokenizer

COMMANDS = ("generate", "score", "embed", "classify", "tag")
LONG = "drug " * 300  # 301 tokens
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    kinds: dict[str, Any] = {"classify": BioGptForSequenceClassification, "tag": BioGptForTokenClassification}
    for command, kind in kinds.items():
        found[command] = tmp_path_factory.mktemp(command)
        with pytest.warns(UserWarning, match="train the head before use"):
            kind.from_pretrained("demo", seed=0).save_pretrained(found[command])
        tokenizer().save_vocabulary(found[command])
    return found


@pytest.fixture
def run(heads: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a function that runs a command on a file of these bytes, and returns its exit code, stdout and stderr."""

    def run(command: str, data: bytes, *words: object) -> tuple[int, str, str]:
        (tmp_path / "in").write_bytes(data)
        line: list[object] = [command, "--file", tmp_path / "in", *words]
        line += ["--model", heads[command]] if command in heads else []
        line += ["--output", tmp_path / "out.npy", "--overwrite"] if command == "embed" else []
        line += ["--max-new-tokens", "2", "--json"] if command == "generate" else []
        capsys.readouterr()
        code = main(list(map(str, line)))
        out, err = capsys.readouterr()
        return code, out, err.replace(str(tmp_path / "in"), "FILE")

    return run


def results(command: str, out: str) -> list[dict[str, Any]]:
    return json.loads(out) if command == "generate" else [json.loads(line) for line in out.split("\n")[:-1]]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_line_is_the_same_text_in_every_command(command: str, run: Run, tmp_path: Path) -> None:
    data = "\ufeffIbuprofen is\r\none\u2028two\x85three\x0c\nNUL\0 drug\n \r\n\n".encode()
    code, out, err = run(command, data)
    assert code == 0, err
    if command == "embed":
        assert np.load(tmp_path / "out.npy").shape == (3, 128)
        return
    name = "prompt" if command == "generate" else "text"
    texts = [one[name] for one in results(command, out)]
    assert texts == ["Ibuprofen is", "one\u2028two\x85three\x0c", "NUL\0 drug"]
    without = results(command, run(command, data.removeprefix(b"\xef\xbb\xbf"))[1])
    assert without == results(command, out), "a byte-order mark changes nothing"


def test_lines_by_hand() -> None:
    file = io.BytesIO(b"\xef\xbb\xbfa\r\r\n\xef\xbb\xbfb\r\nc\r")
    assert list(lines_of(file, "FILE")) == [b"a\r", b"\xef\xbb\xbfb", b"c"]
    for no_text in (bytes(8), b"a\0\0\0b\0\0\0", b"\0\0\0a", b"a\0", b""):
        assert list(lines_of(io.BytesIO(no_text), "FILE")) == [no_text][: len(no_text)], "it is not called UTF-16"


def test_faults_by_hand() -> None:
    assert not_utf8(b"\x93a\x81", "x") == ("must be UTF-8", "byte 93 at byte 1 of the line", "correct that line")
    assert not_utf8(b"\xef", "a b").remedy == "convert it: iconv -f latin1 -t utf-8 'a b' > NEW"
    with pytest.raises(InputError, match="line 2 of x must be UTF-8; found byte e2 at byte 5 of the line"):
        one_text("é\nabβ".encode() + b"\xe2c\nd", "x")


BAD = [
    ("naïve\nok\n".encode("latin1"), "line 1 of FILE must be UTF-8; found byte ef, which "
     "is 'ï' in Latin-1; convert it: iconv -f latin1 -t utf-8 FILE > NEW, or "),
    (b"ok\n\x93so\x94\n", "line 2 of FILE must be UTF-8; found byte 93, "
     "which is '“' in Windows-1252; convert it: iconv -f cp1252"),
    ("β".encode() + b"\xe2", "line 1 of FILE must be UTF-8; found byte e2 at byte 3 of the line; correct that line"),
    ("a drug".encode("utf-16"), "line 1 of FILE must be UTF-8; found UTF-16, which begins "
     "with the bytes ff fe; convert it: iconv -f utf-16"),
    ("a drug\nb".encode("utf-16le"), "line 1 of FILE must be UTF-8; found UTF-16LE; convert "
     "it: iconv -f utf-16le -t utf-8 FILE > NEW"),
    ("a drug\nb".encode("utf-16be"), "line 1 of FILE must be UTF-8; found UTF-16BE; convert "
     "it: iconv -f utf-16be -t utf-8 FILE > NEW"),
    ("a drug".encode("utf-32"), "found UTF-32"),
    (gzip.compress(b"a drug"), "line 1 of FILE must be UTF-8 text; found a gzip file; unpack it: gunzip -c FILE > NEW"),
    (b"a\n\nb\n \n\0\nc\n\n", "line 2 of FILE must contain a word; found a blank line, and the same "
     "fault in lines 4, 5; remove it, or skip such lines with --skip-bad"),
    (b"a\n" + b"\n" * 20 + b"b", "the same fault in lines 3, 4, 5, 6, 7, 8, 9, 10 and 11 more"),
    (b"a\n\n\xff\nb", "line 2 of FILE must contain a word; found a blank line, and other faults in line 3"),
    (b"", "FILE must contain a text; found no text; write one per line"),
    (b"\xef\xbb\xbf\n \r\n\n", "FILE must contain a text; found no text; write one per line"),
    (b"PK\x03\x04\x14\0\x06\0\x08\0" + bytes(20) + b"[Content_Types].xml", "FILE must be UTF-8 text; found an Office "
     "file, such as .xlsx, .docx or .ods; write its texts into a text file, one per line, or as JSON Lines"),
    (b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(20) + b"a.txt", "found a zip file; unpack it: unzip -p FILE > NEW"),
    (b"%PDF-1.4\n%\xe2\xe3\n", "FILE must be UTF-8 text; found a PDF file; write its texts"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(9), "found an old Office file, such as .xls or .doc; write its texts"),
    (b"\x93NUMPY\x01\0", "FILE must be UTF-8 text; found a NumPy file; write its texts"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_wrong_with_a_file_is_told_alike_before_anything_is_computed(
    command: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"minibiogpt.cli.{command}.load_model", None)  # the model is not read
    for data, message in BAD:
        code, out, err = run(command, data, "--dtype", "float64")
        assert (code, out, err.count("\n")) == (2, "", 1), err
        assert message in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "must contain a word; found a blank line; remove it"),
        ('{"text": " "}', "must contain a word in 'text'; found ' '; remove the line"),
        ('{"text": []}', "must contain a word in 'text'; found []; remove the line"),
        ('{"text": [""]}', "must contain a word in 'text'; found ['']; remove the line"),
        ('{"text": null}', "must be a JSON object whose 'text' is a string or a list of strings; found null; correct"),
        ('[{"text": "a"}]', "found a list; if the input is one JSON array, write an object per line: "
         "jq -c '.[]' FILE > NEW, or skip"),
        ('{"text": "a", "id": 1, "id": 2}', "must be a JSON object; found the field 'id' twice; correct that line"),
        ("{", "write each object on one line: jq -c . FILE > NEW, or skip"),
        ("a drug", "must be a JSON object; found an error at character 1: expecting value; correct that "
         "line, or leave --jsonl out"),
        ('{"text": "a", "x": NaN}', "must be a JSON object; found NaN, which is not valid JSON; write null in place of "
         "NaN, or skip"),
        ('{"text": "a", "x": 1e999}', "must be a JSON object; found a number that is too large for a float; correct"),
        ('{"text": "a", "x": ' + "1" * 5000 + "}", "must be a JSON object; found an integer with too many digits; "
         "correct"),
        ('{"text": "a", "x": ' + "[" * 10**5 + "]" * 10**5 + "}", "found lists or objects nested too deeply; correct"),
        ('{"text": "\\ud800"}', "must be a JSON object; found half of a character, \\ud800; correct that line"),
        ('{"text": 5}', "is a string or a list of strings; found a number; correct that line"),
    ],
)  # fmt: skip
def test_json_lines_follow_the_same_rules(line: str, message: str, run: Run) -> None:
    code, out, err = run("score", f'\ufeff{{"text": "a"}}\n{line}\n{{"text": "b"}}\n\n'.encode(), "--jsonl")
    assert (code, out) == (2, "")
    assert err.startswith("minibiogpt: error: line 2 of FILE must ")
    assert message in err
    assert err.count("\n") == 1
    code, out, err = run("score", f'{{"text": "a"}}\n{line}\n{{"text": "b"}}'.encode(), "--jsonl", "--skip-bad")
    assert code == 0
    assert [(one["text"], one["line"]) for one in results("score", out)] == [("a", 1), ("b", 3)]
    assert err.startswith("minibiogpt: skipped: line 2 of FILE must ")


@pytest.mark.filterwarnings("default:.*has no text that can be used")
@pytest.mark.parametrize("command", COMMANDS)
def test_bad_lines_are_skipped_and_listed_on_request(command: str, run: Run, tmp_path: Path) -> None:
    good = ["Ibuprofen is", "Insulin", "BRCA1 gene"]
    code, out, err = run(command, b"Ibuprofen is\n\n\xff\nInsulin\nBRCA1 gene\n\n", "--skip-bad")
    assert code == 0
    listed = [line for line in err.splitlines() if line.startswith("minibiogpt: skipped: ")]
    assert listed == [
        "minibiogpt: skipped: line 2 of FILE must contain a word; found a blank line",
        "minibiogpt: skipped: line 3 of FILE must be UTF-8; found byte ff, which is 'ÿ' in Latin-1",
    ]
    rows = np.load(tmp_path / "out.npy") if command == "embed" else None
    plain = run(command, "\n".join(good).encode())[1]
    if command == "embed":
        assert np.array_equal(rows, np.load(tmp_path / "out.npy"))  # type: ignore[arg-type]
        return
    found = results(command, out)
    assert [one.pop("line") for one in found] == [1, 4, 5]
    assert found == results(command, plain)
    code, out, err = run(command, b"\xff\n", "--skip-bad")
    assert "minibiogpt: warning: FILE has no text that can be used: all are skipped\n" in err
    assert (code, results(command, out)) == (0, [])


def test_a_skipped_line_is_listed_in_one_short_printable_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_skipped("line 1 of FILE", Fault("must be text", "\x1b[31m\n\u2028" + "x" * 9999, "correct it"))
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("minibiogpt: skipped: line 1 of FILE must be text; found \\x1b[31m xxx")
    assert line.endswith("xxx ...")
    assert len(line) < 600


def test_a_field_called_line_keeps_its_value(run: Run) -> None:
    data = b'{"text": "a", "line": "x"}\n'
    assert results("score", run("score", data, "--jsonl")[1])[0]["line"] == "x"
    (one,) = results("score", run("score", data, "--jsonl", "--skip-bad")[1])
    assert (one["line"], one["input_line"]) == (1, "x")


@pytest.mark.parametrize("piped", [False, True])
def test_a_run_that_skips_lines_is_resumed_with_the_same_bytes(
    piped: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"\n\n".join(text.encode() for text in PROMPTS[:9]) + b"\n\xff\n\n"
    (tmp_path / "in").write_bytes(data)
    monkeypatch.chdir(tmp_path)

    def score(name: str) -> tuple[int, str]:
        source = ["/dev/fd/0"] if piped else ["in"]
        words = ["score", "--file", *source, "--skip-bad", "--chunk", "2", "--output", name]
        if not piped:
            code = main(words)
            return code, capsys.readouterr().err
        kill = "from minibiogpt.cli.batch.resume import ResumableFile as R; a = R.append\n"
        kill += "def f(s, *x, **y):\n a(s, *x, **y)\n raise KeyboardInterrupt\n"
        start = (kill + "R.append = f\n" if stop[0] else "") + "import sys; from minibiogpt.cli import main\n"
        line = [sys.executable, "-c", start + "sys.exit(main(sys.argv[1:]))", *words]
        done = subprocess.run(line, input=data, capture_output=True, timeout=60)
        return done.returncode, done.stderr.decode()

    stop = [False]
    whole = score("whole")
    assert whole[0] == 0
    append = ResumableFile.append

    def killed(self: ResumableFile, *args: Any, **sums: Any) -> None:
        append(self, *args, **sums)
        raise KeyboardInterrupt

    stop[0] = True
    with monkeypatch.context() as patch:
        patch.setattr(ResumableFile, "append", killed)
        for _ in range(2):
            assert score("out")[0] == 130
    stop[0] = False
    assert len(Path("out").read_bytes().split(b"\n")) == 5
    assert score("out") == whole, "the same list and the same totals"
    assert Path("out").read_bytes() == Path("whole").read_bytes()
    assert "9 texts, " in whole[1]


def test_a_bad_line_late_in_a_pipe_loses_nothing(tmp_path: Path) -> None:
    data = b"a\nb\nc\nd\n\xff\n"
    words = [sys.executable, "-m", "minibiogpt", "score", "--chunk", "2"]
    done = subprocess.run(words, input=data, capture_output=True, timeout=60)
    assert (done.returncode, len(done.stdout.splitlines())) == (2, 4)
    assert b"line 5 of standard input must be UTF-8" in done.stderr
    for chunk in ("3", "9"):
        done = subprocess.run([*words[:-1], chunk], input=data, capture_output=True, timeout=60)
        assert (done.returncode, len(done.stdout.splitlines())) == (2, 4)
    line = [sys.executable, "-m", "minibiogpt", "generate", "--file", "/dev/stdin", "--json", "--max-new-tokens", "1"]
    done = subprocess.run(line, input=data, capture_output=True, timeout=60)
    assert (done.returncode, len(json.loads(done.stdout))) == (2, 4)
    words = [*words[:-1], "3", "--output", str(tmp_path / "out")]
    subprocess.run(words, input=data, capture_output=True, timeout=60)
    assert json.loads((tmp_path / "out.state").read_text())["done"]["records"] == 3, "whole chunks only"
    corrected = subprocess.run(words, input=data.replace(b"\xff", b"e"), capture_output=True, timeout=60)
    assert corrected.returncode == 0
    assert [json.loads(line)["text"] for line in (tmp_path / "out").read_text().splitlines()] == list("abcde")


def test_a_line_that_is_too_long_to_continue(run: Run) -> None:
    data = f"Ibuprofen is\n{LONG}\nInsulin\n{LONG}\n".encode()
    code, out, err = run("generate", data)
    assert (code, out) == (2, "")
    must = (
        "line 2 of FILE must have at most N = 256 tokens; found 301, and the same fault in line 4; shorten it, or keep"
    )
    assert f"{must} its last tokens with --truncate, or skip such lines with --skip-bad\n" in err
    code, out, err = run("generate", data, "--skip-bad")
    assert [one["line"] for one in results("generate", out)] == [1, 3]
    assert "skipped: line 4 of FILE must have at most N = 256 tokens; found 301\n" in err
    assert "; found more than 256; shorten it" in run("generate", b"drug " * 20_000)[2], "the others are not counted"
    room = "drug " * 254  # 255 tokens leave room for 2, of which the last needs no position
    assert len(results("generate", run("generate", room.encode())[1])[0]["new_ids"]) == 2
    code, _, err = run("generate", ("drug " + room).encode())
    assert (
        "must leave room for 2 new tokens in the model's N = 256 positions; found 256 tokens; request at most 1" in err
    )


@pytest.mark.filterwarnings("default:line 2 of")
def test_generate_truncates_to_the_last_tokens(run: Run) -> None:
    text = f"{LONG} Ibuprofen is best used for"
    code, out, err = run("generate", f"Insulin\n{text}\n".encode(), "--truncate")
    assert (code, err) == (0, "minibiogpt: warning: line 2 of FILE was truncated to the last 255 tokens\n")
    one = results("generate", out)[1]
    ids = tokenizer().encode(text)
    assert one["prompt_ids"] == [2, *ids[-254:]]
    assert one["new_ids"] == ours().generate([one["prompt_ids"]], max_new_tokens=2)[0, 255:].tolist()


@pytest.mark.filterwarnings("default:line 1 of")
@pytest.mark.parametrize("command", ["score", "embed", "classify", "tag"])
def test_the_others_truncate_to_the_first_tokens(command: str, run: Run, tmp_path: Path) -> None:
    more, fits = "Insulin " + "drug " * 300, "Insulin " + "drug " * 254
    assert len(tokenizer().encode(fits)) == 256
    code, out, err = run(command, more.encode(), "--truncate")
    assert code == 0
    assert "warning: line 1 of FILE was truncated to 256 tokens\n" in err
    cut = np.load(tmp_path / "out.npy") if command == "embed" else results(command, out)
    assert "truncated" not in run(command, fits.encode(), "--truncate")[2]
    out = run(command, fits.encode())[1]
    if command == "embed":
        assert np.array_equal(cut, np.load(tmp_path / "out.npy"))
    else:
        assert [one.pop("text") for one in (*cut, *results(command, out))] == [more, fits]
        assert cut == [one | {} for one in results(command, out) if one.pop("text")]


@pytest.mark.filterwarnings("default:text 1 was truncated")
def test_trace_and_view_truncate_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["trace"], ["view", "--output", str(tmp_path / "page.html")]):
        assert main([*words, LONG]) == 2
        message = (
            "a text must have at most N = 256 tokens; found 301; shorten it, or keep its first tokens with --truncate"
        )
        assert message in capsys.readouterr().err
        assert main([*words, LONG, "--truncate"]) == 0
        out, err = capsys.readouterr()
        assert err == "minibiogpt: warning: text 1 was truncated to 256 tokens\n"
        assert main([*words, "drug " * 255]) == 0, "256 tokens fit"
        assert capsys.readouterr() == (out, "")


@pytest.mark.parametrize(
    "words",
    [["generate"], ["tokenize"], ["score"], ["embed", "--output", "x.npy"], ["classify"], ["tag"], ["trace"], ["view"],
     ["golden", "record", "-o", "case", "--text"]],
)  # fmt: skip
def test_a_blank_text_is_refused_alike(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for blank in ("", " \t", "\0"):
        assert main([*words, blank]) == 2
        assert capsys.readouterr() == (
            "",
            f"minibiogpt: error: a text must contain a word; found {blank!r}; type one\n",
        )
    if words[0] not in ("golden", "classify", "tag"):  # of which the last two find no head in the demo first
        done = subprocess.run([sys.executable, "-m", "minibiogpt", *words], input=b"", capture_output=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
        assert b"standard input" in done.stderr
    assert not list(tmp_path.iterdir())


def test_standard_input_as_one_text(capsys: pytest.CaptureFixture[str]) -> None:
    def piped(data: bytes) -> subprocess.CompletedProcess[bytes]:
        words = [sys.executable, "-m", "minibiogpt", "tokenize", "--json"]
        return subprocess.run(words, input=data, capture_output=True, timeout=60)

    assert json.loads(piped(b"\xef\xbb\xbfa drug\r\n").stdout)[0]["text"] == "a drug"
    assert b"line 3 of standard input must be UTF-8; found byte e9" in piped(b"a\n\ncaf\xe9\n").stderr
    assert b"pipe it through iconv -f utf-16 -t utf-8" in piped("a".encode("utf-16")).stderr


def test_generate_keeps_what_it_has_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["generate", *PROMPTS[:4], "--json", "--max-new-tokens", "2", "--batch-size", "1"]
    assert main(words) == 0
    whole = capsys.readouterr().out
    assert whole == json.dumps(json.loads(whole), ensure_ascii=False, indent=1) + "\n"
    generate, calls = BioGptForCausalLM.generate, iter(range(9))

    def stopped(self: BioGptForCausalLM, **options: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return generate(self, **options)

    monkeypatch.setattr(BioGptForCausalLM, "generate", stopped)
    assert main(words) == 130
    assert json.loads(capsys.readouterr().out) == json.loads(whole)[:2]


@pytest.mark.filterwarnings("default:.*no embedding")
def test_a_token_that_the_model_does_not_know_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, tok = BioGptForCausalLM.from_pretrained("demo"), BioGptTokenizer.from_pretrained("demo")
    model.save_pretrained(tmp_path / "model")
    tok.add_tokens([AddedToken("<drug>")])
    tok.save_pretrained(tmp_path / "model")
    (tmp_path / "in").write_text("Insulin\nthe <drug> is\n")
    for command in ("generate", "score"):
        words = [command, "--file", str(tmp_path / "in"), "--model", str(tmp_path / "model")]
        assert main(words) == 2
        out, err = capsys.readouterr()
        assert out == ""
        must = f"line 2 of {tmp_path / 'in'} must have only tokens of the model, which has {len(tok) - 1} embeddings"
        assert f"{must}; found '<drug>' with the id {len(tok) - 1}; treat it as plain text with --no-special" in err
        assert main([*words, "--no-special"]) == 0
        assert main([*words, "--skip-bad"]) == 0
        capsys.readouterr()


def test_what_names_the_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def error(*words: str) -> str:
        assert main(list(words)) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        return err

    assert "--field needs --jsonl; found --field x" in error("score", "--field", "x", "a")
    assert f"found a folder {tmp_path}; name one of its files" in error("generate", "--file", str(tmp_path))
    assert "found no file nowhere; check the path" in error("score", "--file", "nowhere")
    for command in ("generate", "score", "tokenize"):
        assert "-, which reads standard input, must be alone" in error(command, "-", "a")
    assert "--file must be given once; found it again with 'b'" in error("score", "--file", "a", "--file", "b")
    assert "--output must be given once" in error("score", "x", "--output", "a", "--output=b")


@pytest.mark.filterwarnings("default:.*carriage returns")
def test_a_file_of_carriage_returns_is_one_line_with_advice(run: Run) -> None:
    _, out, err = run("score", b"a\rb\rc")
    assert len(results("score", out)) == 1
    assert "FILE is one line, with 2 carriage returns in it, which end no line: if they should, convert it" in err
    assert "carriage" not in run("score", b"a\nb\rc")[2]


def test_a_named_pipe_is_read_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "pipe")
    for command in ("generate", "score"):
        writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(b"a drug\nInsulin\n",))
        writer.start()
        assert main([command, "--file", str(tmp_path / "pipe")]) == 0
        writer.join()
        assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from minibiogpt.cli.batch import loop

    source = tmp_path / "in"
    source.write_text("a\nb\n")
    scan = loop.Source.scan

    def grown(self: Any) -> Any:
        found = scan(self)
        source.write_text("a\nb\nc\n")
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Source, "scan", grown)
        assert main(["score", "--file", str(source), "--output", str(tmp_path / "out")]) == 2
    assert "in must not change while it is read; found different lines" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]  # no line that was not checked becomes a result


@pytest.mark.parametrize(
    "text", ["a β-blocker's 5–10 mg no. 5 </s> e.g. IL-6. " * 90, "abcdefgh" * 500, " " * 3000 + "drug"]
)
def test_the_ends_of_a_long_text_are_those_of_all_of_it(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "PART", 64)
    analyse = tokenizer().analyse
    whole = analyse(text)
    longest: list[int] = []

    def noted(part: str) -> Any:
        longest.append(len(part))
        return analyse(part)

    for most in (1, 7, 99, 9999):
        assert first_pieces(noted, text, most) == whole[:most]
        assert [p[:2] for p in last_pieces(noted, text, most)] == [p[:2] for p in whole[-most:]]
    if text[0] != " ":
        assert len(text) not in longest[:2], "only a part is encoded"
    words = text.split()
    assert first_of_words(analyse, words, 50) == analyse_words(tokenizer(), words)[:50]


def test_no_piece_near_the_cut_of_a_long_text_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "PART", 64)
    text = " ".join(map(str, range(1000)))

    def analyse(part: str) -> list[Piece]:
        """Return a piece for each word, which depends on the words before and after it."""
        words = ["", *part.split(), ""]
        spans = [word.span() for word in re.finditer(r"\S+", part)]
        return [Piece(" ".join(words[i : i + 3]), 0, span) for i, span in enumerate(spans)]

    whole = analyse(text)
    for most in range(1, 200):
        assert first_pieces(analyse, text, most) == whole[:most]
        assert [p.piece for p in last_pieces(analyse, text, most)] == [p.piece for p in whole[-most:]]
    assert first_pieces(analyse, text, 0) == []


def test_one_huge_word_takes_little_memory(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("abcdefghijklm" * 300_000)
    code = "import sys; from minibiogpt.cli import main\ncode = main(sys.argv[1:])\n"
    code += "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]); sys.exit(code)"
    words = ["embed", "--file", str(tmp_path / "in"), "--truncate", "--output", str(tmp_path / "out.npy")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 300_000, "kilobytes"
