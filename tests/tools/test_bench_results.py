"""The results of tools/bench.py: saved line by line, resumed, refused, printed as text and as Markdown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from minibiogpt import InputError
from tools import bench
from tools.benching import assembly, cases, markdown, progress, report, rounds, table
from tools.benching.machine import processor_facts
from tools.benching.results import Results, read

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench is for Linux")

FEW = ["--size", "demo", "--threads", "1", "--rounds", "1", "--peers", "sdpa"]
REQUEST = {"model": "demo", "peers": ("sdpa",), "machine": {"processor": "A", "threads": 1}}


def test_what_ended_is_measured_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[str] = []

    def make(name: str) -> dict[str, Any]:
        calls.append(name)
        return {"name": name}

    file = tmp_path / "new" / "results.jsonl"
    first = Results(REQUEST, file)
    first.plan(["a", "b"])
    first.once("a", lambda: make("a"), lambda value: [f"ended {value['name']}"])
    assert capsys.readouterr().err == "bench: a (1 of 2)\n  ended a\n"
    with file.open("a") as half:
        half.write('{"key": "b", "va')  # an interrupted write
    again = Results(REQUEST, file, resume=True)
    again.plan(["a", "b"])
    assert again.once("a", lambda: make("a")) == {"name": "a"}
    again.once("b", lambda: make("b"))
    assert calls == ["a", "b"]
    assert "bench: a (1 of 2): measured before" in capsys.readouterr().err
    request, values, notes, used = read(file)
    assert (request["peers"], used) == (["sdpa"], file.stat().st_size)
    assert values == {"a": {"name": "a"}, "b": {"name": "b"}}
    assert notes == {"plan": [["a", "b"]] * 2}


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"model": "base"}, "model was demo, is base"),
        ({"peers": ("sdpa", "eager")}, "peers was sdpa, is sdpa,eager"),
        ({"machine": {"processor": "B", "threads": 2}}, "processor was A, is B; threads was 1, is 2"),
        ({"dtype": "bfloat16"}, "dtype was None, is bfloat16"),
    ],
)
def test_another_request_is_refused_and_nothing_is_changed(tmp_path: Path, change: dict[str, Any], found: str) -> None:
    file = tmp_path / "results.jsonl"
    Results(REQUEST, file).once("a", lambda: 1)
    before = file.read_bytes()
    with pytest.raises(InputError, match=f"options, packages and machine of results.jsonl; found {found}; repeat them"):
        Results(REQUEST | change, file, resume=True)
    assert file.read_bytes() == before


def test_a_file_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    Results(REQUEST, file)
    with pytest.raises(InputError, match="--results must name a new file; found .* exists; add --resume"):
        Results(REQUEST, file)
    with pytest.raises(InputError, match="found no --results"):
        Results(REQUEST, None, resume=True)
    for text in ("none\n", "{}\n", "[1]\n", '{"request": {}}\n{"else": 1}\n', ""):
        file.write_text(text)
        with pytest.raises(InputError, match="must contain results that --results wrote"):
            read(file)
        with pytest.raises(InputError, match="must contain results that --results wrote"):
            assembly.stored(file)
    with pytest.raises(InputError, match="there must be a file of results"):
        assembly.stored(tmp_path / "absent")


@pytest.fixture(scope="module")
def small() -> Any:
    """Small measurements of the rates, and each job once."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(report, "GEMM", (8, 8, 8))
        patched.setattr(report, "BANDWIDTH_BYTES", (1 << 16, 1 << 16))
        patched.setattr(rounds, "AT_LEAST", 0.0)
        yield patched


@pytest.fixture(scope="module")
def resumed(small: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """A file of two runs: prefill of 5 tokens, interrupted before that of 7; then the same command again."""
    folder = tmp_path_factory.mktemp("results")
    file = folder / "results.jsonl"
    line = ["prefill", *FEW, "--tokens", "5,7", "--results", str(file), "--cache", str(folder)]
    asked: list[Any] = []
    measured = rounds.Pair.measured

    def interrupted(self: rounds.Pair, case: cases.Case) -> dict[str, Any]:
        asked.append(len(case.request["ids"][0]))
        if asked == [5, 7]:
            raise KeyboardInterrupt
        return measured(self, case)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rounds.Pair, "measured", interrupted)
        assert bench.main(line) == 130
        assert bench.main([*line, "--resume"]) == 0
    return file, asked


def test_an_interrupted_run_continues(resumed: tuple[Path, list[Any]], capsys: pytest.CaptureFixture[str]) -> None:
    file, asked = resumed
    assert asked == [5, 7, 7]  # the case that had ended was not measured again
    found = assembly.stored(file)
    assert [row["case"] for row in found["rows"]] == ["prefill 5", "prefill 7"]
    assert all(row["same"] == {"sdpa": True} and row["over_limit"] > 0 for row in found["rows"])
    assert found["answers"]["sdpa"]["right"]
    assert found["benchmark"] == "prefill"
    assert "unfinished" not in found
    assert table.main([str(file)]) == 0
    shown = capsys.readouterr().out
    assert "prefill, demo, float32 on numpy\n" in shown
    assert max(map(len, shown.splitlines())) <= table.WIDTH
    assert table.main([str(file.parent / "absent")]) == 2


def test_a_complete_file_starts_no_worker(
    resumed: tuple[Path, list[Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rounds, "Worker", None)
    line = [*FEW, "--results", str(resumed[0]), "--resume", "--cache", str(resumed[0].parent)]
    assert bench.main(["prefill", "--tokens", "7", *line]) == 0
    assert "prefill 7 (2 of 2): measured before" in capsys.readouterr().err
    assert bench.main(["prefill", *line, "--rounds", "2"]) == 2
    assert "found rounds was 1, is 2; repeat them" in capsys.readouterr().err


def test_an_interrupt_prints_what_there_is(
    small: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(self: rounds.Pair, case: cases.Case) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rounds.Pair, "measured", interrupted)
    file = tmp_path / "results.jsonl"
    assert bench.main(["prefill", *FEW, "--results", str(file), "--json"]) == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["unfinished"] is True
    assert json.loads(out)["answers"]["sdpa"]["right"]
    assert err.splitlines()[-1] == f"bench: error: interrupted; --results {file} --resume continues"


def test_an_interrupt_from_a_terminal_keeps_what_ended(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    line = [sys.executable, str(Path(bench.__file__)), "prefill", *FEW, "--results", str(file)]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as run:  # fmt: skip
        assert run.stderr
        while not run.stderr.readline().startswith("bench: prefill 128"):  # the answers have been compared
            pass
        os.killpg(run.pid, signal.SIGINT)
        out, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert out.startswith("prefill, demo, float32 on numpy: unfinished\n")
    assert err.endswith("--resume continues\n")
    assert "answers" in read(file)[1]


SPREAD = {"median": 2.0, "least": 1.0, "largest": 4.0, "each": [1.0, 2.0, 4.0]}
ROW = {
    "case": "decode 128, step",
    "milliseconds": {"ours": SPREAD, "sdpa": SPREAD | {"median": 4.0}},
    "ratios": {"sdpa": {"median": 0.5, "least": 0.25, "largest": 1.0}},
    "same": {"sdpa": False},
    "equal_ids": {"sdpa": 0.75},
    "missing": {"openvino": "has no beam search"},
    "things": None,
    "work": None,
    "limit_milliseconds": None,
    "over_limit": None,
}
REPORT = {
    "model": "base", "dtype": "float32", "rounds": 3, "peers": ["sdpa", "openvino"], "rows": [ROW],
    "machine": {
        "processor": "A CPU", "processor_kind": "V family 6 model 207", "extensions": "amx_bf16", "cores": 2,
        "threads": 2, "blas": "openblas 0.3.31 for SkylakeX, 2 threads", "OPENBLAS_CORETYPE": "not set",
        "numpy": "2.4.6", "engines": {"openvino": "2026.4.1"}, "date": "2026-11-30T10:00:00", "product": "mkl",
        "product_details": "library mkl 2026.2",
    },
}  # fmt: skip


def test_the_markdown_names_the_processor_and_all_cases() -> None:
    heading, facts, rows, remarks = markdown.text(REPORT).split("\n\n")
    assert heading == "### A CPU"
    for part in (
        "Base size, random weights, float32, product mkl (library mkl 2026.2);",
        "V family 6 model 207 (amx_bf16)", "2 threads for each side",
        "openblas 0.3.31 for SkylakeX, 2 threads", "OPENBLAS_CORETYPE unset", "numpy 2.4.6, openvino 2026.4.1",
        "3 rounds, 2026-11-30",
    ):  # fmt: skip
        assert part in facts
    assert rows.splitlines() == [
        "| case | ours, ms | sdpa, ms | openvino, ms | ours / sdpa | ours / openvino | / limit |",
        "|---|---|---|---|---|---|---|",
        "| each token after 128 | 2.00 [1.00-4.00] | 4.00 [1.00-4.00] | - | **0.50** 0.25-1.00 | - |  |",
    ]
    assert remarks.splitlines() == [
        "- (each token after 128): openvino has no beam search",
        "- sdpa gave another result than ours in: each token after 128 (75.0 % of the ids are equal)",
    ]
    many = markdown.text(REPORT | {"peers": ["sdpa", "eager", "openvino"], "unfinished": True})
    assert "| each token after 128 | 2.00 [1.00-4.00] | **0.50** 0.25-1.00 | - | - |  |" in many
    assert "**Unfinished.**" in many


def test_memory_is_a_table_of_its_own() -> None:
    stages = dict(zip(("import", "load", "forward", "generate"), (1e6, 2e6, 3e6, 4e6), strict=True))
    ours = {"peak_bytes": stages, "over_needed": 1.5, "resident_bytes": [1e6]}
    held = ours | {"held_bytes": {"load": 1.25e6, "generate": 2.25e6}}
    sides = {"ours": held, "ctranslate2": ours, "openvino": {"missing": "no"}}
    facts = {"tokens": 1000, "positions": 1024, "needed_bytes": 2e6, "every": 100, "cache_bytes": 1e6, "sides": sides}
    lines = markdown.memory(facts).splitlines()
    titles = "| import | load | 1,000 tokens | all 1,024 positions | (peak - import) / needed | now, after load |"
    assert lines[0].endswith(f"{titles} now, at the end |")
    assert lines[2:] == [
        "| ours | 1.0 | 2.0 | 3.0 | 4.0 | 1.50 | 1.2 | 2.2 |",
        "| ctranslate2 | 1.0 | 2.0 | 3.0 | 4.0 | 1.50 | - | - |",
        "| openvino | - | - | - | - | - | - | - |",
    ]
    assert "openvino         not measured: no" in table.memory({"memory": facts})


def test_peers_in_several_tables_and_what_is_missing() -> None:
    lines = table.timed([ROW], ["sdpa", "eager", "openvino"]).splitlines()
    assert [line.split()[:3] for line in lines if line.startswith("milliseconds")] == [
        ["milliseconds", "ours", "sdpa"],
        ["milliseconds", "ours", "openvino"],
    ]
    assert lines[4].split()[-2:] == ["-", "-"]  # its time and its ratio
    assert lines[-1] == "  - (decode 128, step): openvino has no beam search"
    answers = {"sdpa": {"right": False, "reason": "gives logits that differ from ours by 0.5, more than 0.0001"}}
    titled = REPORT | {"benchmark": "decode", "backend": "numpy", "answers": answers}
    assert "  sdpa: not measured, because it gives logits that differ" in table.text(titled)
    assert table.text(titled).startswith("decode, base, float32 on numpy, product mkl (library mkl 2026.2)\n")


def test_the_lines_of_a_unit_that_ended() -> None:
    assert progress.lines({"kind": "rows", "rows": [ROW]}) == [
        "decode 128, step: ours 2.00 ms; sdpa 4.00 ms, ratio 0.50"
    ]
    point = {"kind": "growth", "name": "prefill", "tokens": 64, "operations": 1, "seconds": {"ours": [0.3, 0.1, 0.2]}}
    assert progress.lines(point) == ["64 tokens: ours 200 ms"]
    memory = {"kind": "memory", "side": "ours", "found": {"peak_bytes": {"import": 2e6}}}
    assert progress.lines(memory) == ["ours: after import 2.0 MB"]
    assert progress.lines(memory | {"found": {"missing": "gone"}}) == ["ours: not measured: gone"]
    assert progress.lines({"kind": "device", "facts": {}}) == []


def test_the_facts_of_a_processor() -> None:
    core = (
        "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 207\nmodel name\t: X\nflags\t\t: fpu avx512f amx_bf16\n"
    )
    assert processor_facts(f"{core}\nmodel\t: 1\n") == {
        "processor": "X",
        "processor_kind": "GenuineIntel family 6 model 207",
        "extensions": "avx512f amx_bf16",
    }
