"""The target for command lines: every command and option of the parser, with values of every kind."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from minibiogpt.cli import main, parser
from minibiogpt.cli.parsing import foreign
from minibiogpt.cli.parsing.commands import every_command, options_of
from minibiogpt.errors import InputError
from tools.fuzzing import checkpoints
from tools.fuzzing.mutate import KEPT, STRINGS
from tools.fuzzing.supervise import Target
from tools.fuzzing.texts import any_text

with contextlib.suppress(ImportError):  # imported before the sandbox is active, because its import opens a socket
    import huggingface_hub.errors  # noqa: F401

REPORTS = ("minibiogpt: warning: ", "minibiogpt: skipped: ")  # lines that may precede an error
MAY_DIFFER = ("golden",)  # commands that exit with 1 if a comparison finds a difference
PATHS = [
    "model",
    "model",
    "model",
    "model",
    "demo",
    "corrupted",
    "corrupted",
    "file.txt",
    "empty",
    "absent",
    "absent/deep",
    "loop",
]
PATHS += [
    "pipe",
    "locked",
    "locked/x",
    "zero",
    "linked",
    ".",
    "..",
    f"../{KEPT}",
    f"../{KEPT}/kept",
    "model/config.json",
]
PATHS += ["model/", "A" * 300, "A" * 5000, "a/" * 3000, "nobody/has-this", "file.txt/x", "new.json", "new/deep/file"]
NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "-1",
    "7",
    "24",
    "25",
    "1000",
    "999999999999",
    "1e9",
    "0.5",
    "-0.5",
    "nan",
    "inf",
    "-inf",
]
NUMBERS += ["1e-400", "1e400", "٣", "1_0", "0x10", "+5", "9" * 5000, "", " ", "many", "0.0", "1.0"]


def make(rng: Random, folder: Path) -> dict[str, Any]:
    """Write a folder of unusual paths; return the words of a command line, standard input and the encoding."""
    _odd_paths(rng, folder)
    text = any_text(rng)[:2000]
    data = rng.choice([None, b"", b"\xff\xfe", b"a drug\n", text.encode("utf-8", "surrogatepass")])
    stdin = None if data is None else data.decode("latin-1")
    line = _line(rng, parser())
    if rng.random() < 0.25:
        line = _mistyped(rng, line)
    return {"line": line, "stdin": stdin, "encoding": rng.choice(["utf-8", "ascii", "cp1252"])}


def _odd_paths(rng: Random, folder: Path) -> None:
    for name in ("model", "corrupted", "empty", "locked"):
        (folder / name).mkdir()
    checkpoints.write_seed(folder / "model")
    rng.choice(checkpoints.TARGETS).make(rng, folder / "corrupted")
    (folder / "file.txt").write_text("a drug\nis in pain\n")
    (folder / "loop").symlink_to("loop")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "linked").symlink_to("model")
    os.mkfifo(folder / "pipe")
    (folder / "locked").chmod(0)


DASHES = ("-", "–", "—", "−", "--", "‑‑", "---", "")
QUOTES = ("“{}”", "«{}»", "'{}'", '"{}"', "“{}", "{}”")


def _mistyped(rng: Random, words: list[str]) -> list[str]:
    """Return a command line with one of the mistakes that people make: another program's habits, typing, pasting."""
    words = list(words) or ["generate"]
    i = rng.randrange(len(words))
    options = sorted({name for command in every_command(parser()) for name in options_of(command)})
    foreign_options = [f"--{name}" for name in foreign.OPTIONS] + [f"-{name}" for name in foreign.OPTIONS]
    kind = rng.randrange(9)
    if kind == 0:  # letters exchanged, dropped, doubled
        word, k = words[i], rng.randrange(len(words[i]) + 1)
        words[i] = rng.choice([word[:k] + word[k + 1 :], word[:k] + word[k : k + 1] * 2 + word[k + 1 :], word[::-1]])
        if not word.startswith("/"):
            words[i] = words[i].lstrip("/")  # a mistake must not name a file of the system
    elif kind == 1:
        words[0] = rng.choice([*foreign.COMMANDS, "help", words[0].upper(), words[0][:3], f"{words[0]} {words[-1]}"])
    elif kind == 2:
        words.insert(i, rng.choice([*foreign_options, *options]))
    elif kind == 3:
        words.insert(
            i, f"{rng.choice([*foreign_options, *options])}={rng.choice([*STRINGS, *NUMBERS, 'true', 'false'])}"
        )
    elif kind == 4:  # dashes of a text editor
        words = [f"{rng.choice(DASHES)}{word.lstrip('-')}" if word.startswith("-") else word for word in words]
    elif kind == 5:  # quotes of a web page
        words[i] = rng.choice(QUOTES).format(words[i])
    elif kind == 6:
        words = [word.replace("-", "_") for word in words]
        words = [f"--{word[2:]}" if word.startswith("__") else word for word in words]
    elif kind == 7:  # an option and its value in one word, or an option's beginning
        words[i : i + 2] = [" ".join(words[i : i + 2])] if rng.random() < 0.5 else [words[i][:5], *words[i + 1 : i + 2]]
    else:
        words = words[:i] + rng.choice([[], words[i + 1 :][::-1], ["--"], ["--", *words[i:]]])
    return words


READ_PIPES = {"file", "jsonl"}  # these options read texts, and a command would block on a pipe
EXCLUDED = {"selftest"}  # works in the system's temporary folder and runs its own commands


def _line(rng: Random, command: argparse.ArgumentParser) -> list[str]:
    """Return random words for a command and, if it has subcommands, for one of them."""
    words: list[str] = []
    positionals = []
    for action in command._actions:
        if isinstance(action, argparse._SubParsersAction):
            name = rng.choice(sorted(set(action.choices) - EXCLUDED))
            known = rng.random() > 0.01
            return [*words, name, *_line(rng, action.choices[name])] if known else [*words, rng.choice(STRINGS)]
        if not action.option_strings:
            positionals.append(action)
        elif action.dest not in ("help", "version", "print_completion") and rng.random() < 0.25:
            words += _option(rng, action)
        elif rng.random() < 0.003:
            words.append(action.option_strings[-1])
    for action in positionals:
        words += _values(rng, action)
    if rng.random() < 0.03:
        words.insert(rng.randrange(len(words) + 1), rng.choice(["--", "-", "--nonsense", "-x", *STRINGS]))
    return words


def _option(rng: Random, action: argparse.Action) -> list[str]:
    name, values = rng.choice(action.option_strings), _values(rng, action)
    return [f"{name}={values[0]}", *values[1:]] if values and rng.random() < 0.5 else [name, *values]


def _values(rng: Random, action: argparse.Action) -> list[str]:
    count = {None: 1, "?": 1, "*": rng.choice([0, 1, 1, 2]), "+": rng.choice([1, 2])}.get(action.nargs, action.nargs)
    return [_value(rng, action) for _ in range(count if isinstance(count, int) else 1)]


def _value(rng: Random, action: argparse.Action) -> str:
    paths = [path for path in PATHS if path != "pipe" or action.dest not in READ_PIPES]
    if rng.random() < 0.05:
        return rng.choice([*STRINGS, *NUMBERS, *paths])
    if action.choices:
        return str(rng.choice(list(action.choices)))
    if action.type in (int, float):
        return rng.choice(NUMBERS if rng.random() < 0.3 else NUMBERS[:6])
    if action.dest in ("backend", "dtype"):
        return rng.choice(["numpy"] * 5 + ["cupy"] if action.dest == "backend" else ["float32", "float64", "float16"])
    if action.dest == "text":
        return any_text(rng)[:200] if rng.random() < 0.5 else rng.choice(["a drug", "pain is", "-"])
    return rng.choice(paths)


def run(folder: Path, case: dict[str, Any]) -> None:
    """Run the command: the exit code must be 0 or 2, and an error must be one line with nothing else but warnings."""
    line = case["line"]
    with _streams(case["stdin"], case["encoding"]) as errors:
        try:
            code = main(line)
        except SystemExit as leaving:
            code = leaving.code
        stderr = errors.getvalue().decode(case["encoding"])
    allowed = (0, 1, 2) if line and line[0] in MAY_DIFFER else (0, 2)
    assert code in allowed, f"exit code {code}"
    if "must fit into memory" in stderr:
        raise MemoryError(stderr)
    _check_stderr(stderr, code)
    if code == 2:
        raise InputError("a command line must be valid", stderr[:200], "this one is not")


def _check_stderr(stderr: str, code: Any) -> None:
    lines = [text for text in stderr.split("\n")[:-1] if not text.startswith(REPORTS)]
    assert "Traceback" not in stderr, stderr
    if code != 2:  # then a command may report progress
        assert "minibiogpt: error" not in stderr, f"an error and exit code {code}: {stderr[:2000]!r}"
    else:
        assert len(lines) == 1, f"not one line: {stderr[:2000]!r}"
        assert lines[0].startswith("minibiogpt: error: "), stderr[:2000]
        assert lines[0].isprintable(), f"control characters: {lines[0][:2000]!r}"
        assert len(lines[0]) < 10_000, f"a line of {len(lines[0])} characters: {lines[0][:300]!r}"


@contextlib.contextmanager
def _streams(stdin: str | None, encoding: str) -> Iterator[io.BytesIO]:
    """Replace the standard streams by in-memory ones; yield the buffer of stderr."""
    original, errors = (sys.stdin, sys.stdout, sys.stderr), io.BytesIO()
    sys.stdin = None if stdin is None else io.TextIOWrapper(io.BytesIO(stdin.encode("latin-1")))  # type: ignore[assignment]
    sys.stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    sys.stderr = io.TextIOWrapper(errors, encoding=encoding, write_through=True)
    try:
        yield errors
    finally:
        sys.stdin, sys.stdout, sys.stderr = original


def _outputs(case: dict[str, Any]) -> list[str]:
    """Return every word of the command line that may be a path, and the pages that are written without --output."""
    words = [word for word in case["line"] if "\0" not in word]
    pages = {"view": [*(f"layer-{n}.html" for n in range(9)), "sampler.html"], "explore": ["explore.html"]}
    written = pages.get(words[0], []) if words else []
    return [*written, *words, *(word.partition("=")[2] for word in words if "=" in word)]


TARGETS = (Target("command", 10, make, run, _outputs, confined=False),)
