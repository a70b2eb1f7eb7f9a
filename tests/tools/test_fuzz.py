"""tools/fuzz.py: a few hundred cases of all targets, and planted bugs that must give each kind of finding."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt import BioGptConfig, CheckpointError, InputError
from minibiogpt.files.safetensors import stored_tensors
from tools import fuzz
from tools.fuzzing import archives, checkpoints, texts
from tools.fuzzing.guard import Limits, snapshot
from tools.fuzzing.mutate import KEPT, NUMBERS, STRINGS
from tools.fuzzing.supervise import KINDS, Tally, Target, make_case, run_target

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits of the workers need Linux")

SEED, CASES = 1, {"weights": 90, "config": 60, "command": 60}
every_target = pytest.mark.parametrize("name", fuzz.TARGETS)


@every_target
def test_hostile_input_is_refused_or_understood(name: str) -> None:
    tally = run_target(fuzz.TARGETS[name], SEED, range(CASES.get(name, 40)))
    assert not tally.findings, "\n".join(f"{f.kind}: {f.replay()}\n{f.detail}" for f in tally.findings)
    assert tally.cases == CASES.get(name, 40)
    # Each target needs both outcomes, except text (every string is valid) and generation_config (not read yet).
    assert tally.accepted
    assert tally.refused or name in ("text", "generation_config")


@every_target
def test_a_case_is_the_same_for_the_same_seed(name: str, tmp_path: Path) -> None:
    def facts(seed: int, number: int) -> tuple[Any, dict[str, bytes]]:
        inside, case = make_case(fuzz.TARGETS[name], seed, number, tmp_path)
        found = [path for path in sorted(snapshot(inside)) if os.path.isfile(path) and os.access(path, os.R_OK)]
        small = [path for path in found if os.path.getsize(path) < 1 << 24]  # one kind is a sparse file of 8 GB
        return case, {path: Path(path).read_bytes() for path in small}

    first = [facts(3, number) for number in range(6)]
    assert [facts(3, number) for number in range(6)] == first
    assert [facts(4, number) for number in range(6)] != first
    assert len({repr(one) for one in first}) > 3


def test_an_archive_does_not_contain_the_time_of_day(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for seconds in (1_000_000_000, 1_000_000_100):
        monkeypatch.setattr("time.time", lambda seconds=seconds: seconds)
        made.append(archives._packed(Random(0), {"archive/data.pkl": b"x", "archive/data/0": b"y" * 9}))
    assert made[0] == made[1]


# Bugs planted in the package: (attribute, target), bug, kind of finding, expected detail.


def run_out(*_: Any, **__: Any) -> None:
    while True:
        pass


def warn(*_: Any, **__: Any) -> None:
    np.array([1e38], dtype=np.float32) * np.float32(1e38)


def write(path: str) -> Callable[..., list]:
    def writing(*_: Any, **__: Any) -> list:
        Path(path).write_text("x")
        return []

    return writing


def remove(path: Path) -> list:
    path.unlink()
    return []


def half_written(*_: Any, **__: Any) -> None:
    Path("merges.txt.part").write_text("half")
    raise InputError("a", "b", "c")


def printed(text: str, error: Exception | None = None) -> Callable[..., list[str]]:
    def printing(texts: list[str]) -> list[str]:
        print(text, file=sys.stderr)
        if error:
            raise error
        return texts

    return printing


def left(code: Any) -> Callable[..., None]:
    return lambda *_, **__: sys.exit(code)


def raising(error: BaseException) -> Callable[..., None]:
    def raised(*_: Any, **__: Any) -> None:
        raise error

    return raised


READ_MERGES = ("minibiogpt.tokenizer.vocabulary.read_merges", "merges")
TEXTS_OF = ("minibiogpt.cli.tokenize.texts_of", "command")
END = ("minibiogpt.generation.TextStreamer.end", "text")
PLANTS: dict[str, tuple[tuple[str, str], Callable[..., Any], str, str]] = {
    "another exception": (READ_MERGES, raising(KeyError("x")), "exception", "KeyError: 'x'"),
    "an exit": (READ_MERGES, left(3), "exception", "SystemExit: 3"),
    "NumPy's warning": (READ_MERGES, warn, "exception", "RuntimeWarning: overflow"),
    "a loop": (READ_MERGES, run_out, "hang", "in run_out"),
    "a long sleep": (READ_MERGES, lambda _: time.sleep(60), "hang", "in <lambda>"),
    "memory": (READ_MERGES, lambda _: bytearray(3 << 30), "memory", "MemoryError"),
    "an abort": (READ_MERGES, lambda _: os.abort(), "crash", "SIGABRT"),
    "a kill": (READ_MERGES, lambda _: os._exit(7), "crash", "exit code 7"),
    "half a file": (READ_MERGES, half_written, "partial", "merges.txt.part"),
    "a file beside": (READ_MERGES, write(f"../{KEPT}/stray"), "stray", f"{KEPT}/stray"),
    "a file within": (READ_MERGES, write("stray"), "stray", "inside/stray"),
    "a file removed": (READ_MERGES, remove, "stray", "merges.txt"),
    "a file read beside": (READ_MERGES, lambda _: Path(f"../{KEPT}/kept").read_text(), "stray", f"read .*{KEPT}/kept"),
    "a program": (READ_MERGES, lambda _: subprocess.run(["true"]), "stray", "subprocess.Popen"),
    "a connection": (READ_MERGES, lambda _: socket.create_connection(("localhost", 9)), "stray", "socket"),
    "another text": (END, lambda self: self.stream.write("x"), "wrong", "the stream differs from decode"),
    "a traceback": (TEXTS_OF, printed("Traceback (most recent call last):"), "wrong", "Traceback"),
    "an error without its code": (TEXTS_OF, printed("minibiogpt: error: a"), "wrong", "an error and exit code 0"),
    "a second line": (TEXTS_OF, printed("so to say", InputError("a", "b", "c")), "wrong", "not one line"),
    "exit code 9": (TEXTS_OF, left(9), "wrong", "exit code 9"),
    "a command out of memory": (TEXTS_OF, raising(MemoryError()), "memory", "must fit into memory"),
}


def planted(name: str, monkeypatch: pytest.MonkeyPatch) -> Tally:
    """Run two valid cases of the target, with the bug in the package."""
    (attribute, target_name), bug, kind, _ = PLANTS[name]
    monkeypatch.setattr(attribute, bug)
    target = fuzz.TARGETS[target_name]

    def make(rng: Random, folder: Path) -> dict[str, Any]:
        checkpoints.write_seed(folder)
        valid = {"text": "a", "line": ["tokenize", "a drug"], "stdin": None, "encoding": "utf-8"}
        return target.make(rng, folder) if target_name == "text" else valid

    valid = dataclasses.replace(target, make=make)
    return run_target(valid, 0, range(2), Limits(seconds=0.4) if kind == "hang" else Limits())


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found_and_the_run_goes_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, kind, detail = PLANTS[name]
    tally = planted(name, monkeypatch)
    assert [finding.case for finding in tally.findings] == [0, 1], tally
    for finding in tally.findings:
        assert finding.kind == kind, finding.detail
        assert re.search(detail, finding.detail), finding.detail


def test_a_worker_collects_no_garbage_of_the_process_that_forked() -> None:
    made_before: list[int] = []

    def run(folder: Path, case: None) -> None:
        assert not any(found is made_before for found in gc.get_objects())

    assert any(found is made_before for found in gc.get_objects())
    tally = run_target(Target("toy", 0, lambda rng, folder: None, run), 0, range(1))
    assert not tally.findings, tally


def test_every_kind_of_finding_is_planted() -> None:
    assert {kind for _, _, kind, _ in PLANTS.values()} == set(KINDS)


def test_a_case_that_kills_its_worker_costs_no_other_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """About a third of thirteen cases crash; every other case is counted exactly once."""

    def make(rng: Random, folder: Path) -> int:
        return rng.randrange(3)

    def run(folder: Path, case: int) -> None:
        if case == 0:
            os.abort()
        if case == 1:
            raise InputError("a", "b", "c")

    tally = run_target(Target("toy", 0, make, run), 0, range(13))
    fates = [Random(f"toy 0 {number}").randrange(3) for number in range(13)]
    assert (tally.accepted, tally.refused) == (fates.count(2), fates.count(1))
    assert [finding.case for finding in tally.findings] == [i for i, fate in enumerate(fates) if fate == 0]
    assert min(tally.accepted, tally.refused, len(tally.findings)) > 0


def test_the_files_that_a_run_may_write_are_those_it_names() -> None:
    def run(folder: Path, case: None) -> None:
        (folder / "named").mkdir()
        (folder / "named" / "a").write_text("x")

    def make(rng: Random, folder: Path) -> None:
        return None

    named = Target("toy", 0, make, run, lambda case: ("named",))
    assert run_target(named, 0, range(2)).accepted == 2
    other = dataclasses.replace(named, outputs=lambda case: ("name",))
    assert [finding.kind for finding in run_target(other, 0, range(2)).findings] == ["stray", "stray"]


def test_the_command_prints_counts_and_findings_and_keeps_what_is_needed_to_run_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["--target", "merges", "--cases", "4", "--seed", "5"]
    assert fuzz.main(line) == 0
    heads, counts, in_all = capsys.readouterr().out.splitlines()
    assert heads.split() == ["target", "cases", "accepted", "refused", "findings", "seconds"]
    assert counts.split()[:2] == ["merges", "4"]
    assert in_all.split()[:3] == ["in", "all", "4"]
    monkeypatch.setattr("minibiogpt.tokenizer.vocabulary.read_merges", raising(KeyError("planted")))
    assert fuzz.main([*line, "--keep", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "exception: python tools/fuzz.py --target merges --seed 5 --case 3\n" in out
    assert "    KeyError: 'planted'\n" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"merges-5-{case}" for case in range(4)]
    kept = json.loads((tmp_path / "merges-5-3" / "finding.json").read_text())
    assert kept["replay"].endswith("--case 3")
    assert (tmp_path / "merges-5-3" / "files" / "inside" / "vocab.json").is_file()
    assert fuzz.main(["--target", "merges", "--seed", "5", "--case", "3", "--json"]) == 1
    (tally,) = json.loads(capsys.readouterr().out)
    assert [finding["case"] for finding in tally["findings"]] == [3]
    assert (tally["cases"], tally["accepted"]) == (1, 0)


def test_ten_thousand_cases_are_split_among_all_targets() -> None:
    assert all(target.share > 0 for target in fuzz.TARGETS.values())
    shared = fuzz.numbers_of(fuzz.parse([]))
    assert shared.keys() == fuzz.TARGETS.keys()
    assert sum(map(len, shared.values())) >= 10_000


# Structured values, generated and shrunk by hypothesis.

odd = st.sampled_from([*NUMBERS, *STRINGS]) | st.none() | st.booleans() | st.text() | st.floats() | st.integers()
values = st.recursive(odd, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
FIELDS = [field.name for field in dataclasses.fields(BioGptConfig)]


@pytest.mark.filterwarnings("ignore:id2label")  # conflicting or duplicate label names give a warning
@given(
    st.dictionaries(st.sampled_from([*FIELDS, "model_type"]), values, max_size=4), st.dictionaries(st.text(), values)
)
def test_any_json_is_a_config_or_one_clear_error(known: dict[str, Any], unknown: dict[str, Any]) -> None:
    try:
        config = BioGptConfig.from_dict(unknown | known)
    except InputError as error:
        message = str(error)
    else:
        message = ""
    assert len(message) < 1000
    if message:
        return
    assert config.to_dict().items() >= {k: v for k, v in unknown.items() if k not in FIELDS and v == v}.items()
    assert json.loads(json.dumps(config.to_dict())).keys() == config.to_dict().keys()


every_character = st.characters(codec=None, categories=None) | st.sampled_from("\0\t\n\ufeff\ud800\u0301-&'<>|[].")


@given(st.lists(st.text(every_character, max_size=12) | st.sampled_from(texts.ENTITIES + texts.SPECIAL), max_size=8))
def test_any_text_is_encoded_with_offsets_within_it(parts: list[str]) -> None:
    case = {"texts": ["".join(parts)], "pair": None, "parse_special": True, "max_length": None, "ids": []}
    texts.run(Path(), case)
    texts.run(Path(), case | {"parse_special": False})


entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "F8_E4M3", "x"]) | odd,
        "shape": st.lists(st.integers(0, 3) | odd, max_size=3) | odd,
        "data_offsets": st.lists(st.integers(0, 64) | odd, min_size=1, max_size=3) | odd,
    }
)


@given(st.dictionaries(st.text(every_character, max_size=4) | st.just("__metadata__"), entries | odd, max_size=3))
def test_any_header_is_tensors_or_one_clear_error(header: dict[str, Any]) -> None:
    text = json.dumps(header).encode()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(64))
        try:
            tensors = stored_tensors(Path(folder))
        except CheckpointError:
            return
        assert all(tensor.end <= file.stat().st_size for tensor in tensors.values())
