"""tools/gpu_check.sh and its targets, tested without a GPU: hand-made reports, and a fake interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tools import bench
from tools.benching import targets
from tools.benching.workers import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench is for Linux")

ABSENT = "raise ImportError(\"No module named 'cupy'\")\n"


def row(case: str, ratio: float) -> dict[str, Any]:
    return {"case": case, "ratios": {"sdpa": {"median": ratio}, "eager": {"median": ratio / 2}}}


def stored(folder: Path, name: str, dtype: str = "float16", model: str = "base", **facts: Any) -> None:
    report = {"backend": "cupy", "tf32": False, "benchmark": name, "model": model, "dtype": dtype, "rows": []} | facts
    (folder / f"{model}-{dtype}-{name}{len(list(folder.iterdir()))}.json").write_text(json.dumps(report))


def taken(over: float, grown: int | None) -> dict[str, Any]:
    sides = {"ours": {"over_weights_and_cache": over, "grown_bytes": grown}}
    return {"device_memory": {"weights_bytes": 700, "cache_bytes": 300, "sides": sides}}


def all_reached(folder: Path) -> None:
    stored(folder, "decode", rows=[row("decode 128, step", 0.5), row("decode 512, step", 0.4)])
    stored(folder, "prefill", rows=[row("prefill 128", 9.0), row("prefill 1000", 1.1)])
    stored(folder, "prefill", "float32", rows=[row("prefill 1000", 1.0)])
    stored(folder, "batch", rows=[row("decode 32x128, step", 0.7)])
    stored(folder, "memory", **taken(1.2, 10))


def judged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["targets", str(folder)])
    return targets.main()


def test_targets_that_are_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    all_reached(tmp_path)
    stored(tmp_path, "decode", rows=[row("decode 128, step", 3.0)], backend="numpy")  # not counted, nor is the next one
    stored(tmp_path, "prefill", "float32", rows=[row("prefill 1000", 3.0)], tf32=True)
    assert judged(tmp_path, monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "reached       base, float16: each token after 128, ours / transformers 0.500 (at most 0.5)"
    assert lines[2] == "reached       base, float16: memory / (weights + full cache) 1.200 (at most 1.2)"
    assert lines[-1] == "7 of 7 targets reached"
    assert len(lines) == 8


@pytest.mark.parametrize(
    ("name", "facts", "line"),
    [
        ("decode", {"rows": [row("decode 128, step", 0.4), row("decode 512, step", 0.51)]}, "after 512"),
        ("batch", {"rows": [row("decode 32x128, step", 0.71)]}, "32 rows"),
        ("memory", taken(1.21, 0), "memory /"),
        ("memory", taken(1.0, 11), "growth"),
    ],
)
def test_a_target_that_is_not_reached(
    name: str,
    facts: dict[str, Any],
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    all_reached(tmp_path)
    for path in tmp_path.glob(f"*-{name}?.json"):
        path.unlink()
    stored(tmp_path, name, **facts)
    assert judged(tmp_path, monkeypatch) == 1
    lines = [one for one in capsys.readouterr().out.splitlines() if one.startswith("not reached")]
    assert len(lines) == 1
    assert line in lines[0]


def test_a_target_that_was_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judged(tmp_path, monkeypatch) == 1
    assert capsys.readouterr().out.count("not measured  base, ") == 7
    all_reached(tmp_path)
    (tmp_path / "half.json").write_text('{"rows": [')
    stored(tmp_path, "memory", model="large", **taken(1.0, None))  # too short for a second sample
    assert judged(tmp_path, monkeypatch) == 1
    found = capsys.readouterr()
    assert found.err == "half.json: not a report of bench --json\n"
    assert found.out.count("not measured") == 1
    assert "not measured  large, float16: growth" in found.out
    assert found.out.endswith("8 of 9 targets reached\n")


SCRIPT = ROOT / "tools" / "gpu_check.sh"
# A fake interpreter that logs its arguments to $CALLS and exits with codes from the environment.
PYTHON = """#!/usr/bin/env bash
echo "$@" >>"$CALLS"
case "$*" in
"-c import numpy, "*) exit "${PACKAGES:-0}" ;;
"-m tools.benching.device cupy") echo "device a stand-in"; exit "${DEVICE:-0}" ;;
"-c import torch"*) exit "${TORCH:-0}" ;;
"-m pytest"*) echo "1 passed"; exit "${TESTS:-0}" ;;
"-m tools.benching.quantized cupy "*) echo "the table of formats"; exit "${FORMATS:-0}" ;;
"tools/bench.py ${BROKEN:-none} "*) echo "half a rep"; exit 2 ;;
"tools/bench.py "*) echo "{}" ;;
"-m tools.benching.table "*) echo "the table of $3" ;;
"-m tools.benching.targets "*) echo "7 of 7"; exit "${TARGETS:-0}" ;;
*) exit 99 ;;
esac
"""


def checked(folder: Path, *arguments: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    stub = folder / "python"
    stub.write_text(PYTHON)
    stub.chmod(0o755)
    calls = folder / "calls"
    calls.write_text("")
    settings = os.environ | {"PYTHON": str(stub), "CALLS": str(calls)} | environment
    line = ["bash", str(SCRIPT), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=settings, cwd=folder)
    return done, calls.read_text().splitlines()


def test_without_a_device_the_check_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cupy.py").write_text(ABSENT, encoding="utf-8")
    settings = os.environ | {"PYTHON": sys.executable, "PYTHONPATH": str(tmp_path)}
    line = ["bash", str(SCRIPT), str(tmp_path / "results")]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=settings, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("no device to measure on: backend cupy needs the package cupy; found ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_a_package_that_is_absent_is_one_line_and_help_is_help(tmp_path: Path) -> None:
    done, calls = checked(tmp_path, PACKAGES="1")
    assert (done.returncode, done.stdout, len(calls)) == (2, "", 1)
    assert done.stderr.startswith("gpu_check needs an interpreter with numpy, ")
    assert done.stderr.count("\n") == 1
    done, calls = checked(tmp_path, "--help")
    assert (done.returncode, calls) == (0, [])
    assert "SIZE_LARGE=1" in done.stdout


def test_the_interpreter_may_be_a_relative_path(tmp_path: Path) -> None:
    done, _ = checked(tmp_path, PYTHON="./python")
    assert done.returncode == 0, done.stderr


def test_the_check_runs_tests_benches_and_targets(tmp_path: Path) -> None:
    done, calls = checked(tmp_path)
    assert done.returncode == 0, done.stderr
    results = tmp_path / "gpu-results"
    reports = [f"base-float16-{name}.json" for name in ("batch", "decode", "memory", "prefill")]
    assert sorted(path.name for path in results.iterdir()) == sorted(
        [
            *(*reports, "base-float32-decode.json", "base-float32-prefill.json"),
            *("device.txt", "quantized.txt", "targets.txt", "tests.txt"),
        ]
    )
    assert calls[3].endswith("tests/quantization/test_packed_kernels.py tests/quantization/test_on_a_device.py")
    assert calls[4] == "-m tools.benching.quantized cupy base"
    assert calls[5] == "tools/bench.py decode --backend cupy --dtype float16 --size base --rounds 3 --peers sdpa --json"
    assert calls[-1] == f"-m tools.benching.targets {results}"
    for part in (
        "device a stand-in",
        "1 passed",
        "the table of formats",
        f"the table of {results}/base-float32-decode.json",
        "7 of 7",
    ):
        assert part in done.stdout
    for options in (line.split()[1:] for line in calls if line.startswith("tools/bench.py")):
        bench.parser().parse_args(options)  # raises SystemExit for unknown options


@pytest.mark.parametrize("failing", [{"TESTS": "1"}, {"BROKEN": "batch"}, {"TARGETS": "1"}, {"FORMATS": "1"}])
def test_the_check_goes_on_after_a_failure_and_ends_with_it(tmp_path: Path, failing: dict[str, str]) -> None:
    stale = tmp_path / "there"
    stale.mkdir()
    (stale / "base-float16-batch.json").write_text("from another run")
    done, calls = checked(tmp_path, str(stale), **failing)
    assert done.returncode == 1
    assert sum(line.startswith("tools/bench.py") for line in calls) == 6
    assert calls[-1] == f"-m tools.benching.targets {stale}"
    assert not list(stale.glob("*.part"))
    assert (stale / "base-float16-batch.json").exists() == ("BROKEN" not in failing)


def test_the_check_measures_the_large_size_when_asked(tmp_path: Path) -> None:
    done, calls = checked(tmp_path, "here", SIZE_LARGE="1", ROUNDS="1")
    assert done.returncode == 0
    assert [line.split()[1] for line in calls if "--size large" in line] == ["decode", "memory"]
    assert "-m tools.benching.quantized cupy large" in calls
    assert (tmp_path / "here" / "large-float16-memory.json").read_text() == "{}\n"


@pytest.mark.parametrize("code", ["0", "1"])
def test_without_torch_the_check_runs_the_tests_alone(tmp_path: Path, code: str) -> None:
    done, calls = checked(tmp_path, TORCH="1", TESTS=code)
    assert done.returncode == int(code)
    assert "left out: the benchmarks and the targets" in done.stdout
    tests = [
        "backend/test_cupy.py",
        "backend/test_cupy_errors.py",
        "generation/test_captured.py",
        "backend/test_kernels.py",
    ]
    assert " ".join(f"tests/{name}" for name in tests) in calls[-2]
    assert not any(line.startswith("tools/bench.py") for line in calls)
