"""The GPU side of tools/bench.py, tested without a GPU: a stand-in replaces CuPy.

The tests cover our processes, requests, tables and verdicts. Measuring a device needs a device.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minibiogpt import BioGptConfig
from minibiogpt.files.hub import find_model
from tests.budgets import SUMMED
from tests.compare import assert_close
from tests.support import fake_device
from tests.support.fake_device import FakeDevice
from tools import bench
from tools.benching import cases, limits, report, rounds, table, targets
from tools.benching.answer import StepClock, no_wait, queued
from tools.benching.ours_device import OursOnDevice
from tools.benching.theirs_device import TheirsOnDevice
from tools.benching.workers import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench is for Linux")

CONFIG = BioGptConfig.from_pretrained(find_model("demo"))
ON_GPU = ["--backend", "cupy", "--dtype", "float16", "--size", "demo"]
FEW = ["--threads", "1", "--rounds", "1", "--peers", "sdpa", "--tokens", "5", "--batch", "2", "--sentences", "3"]
ABSENT = "raise ImportError(\"No module named 'cupy'\")\n"


@contextlib.contextmanager
def small_and_fake(folder: Path) -> Iterator[None]:
    """Let the processes of the bench import the stand-in and transformers run on the CPU, with small sizes."""
    fake_device.put_hook(folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(folder))
        for module, name, value in (
            (rounds, "PEER_DEVICE", "cpu"), (rounds, "AT_LEAST", 0.0), (rounds, "LAUNCHES", 5), (rounds, "STEPS", 2),
            (report, "DEVICE_BYTES", 1 << 16), (report, "DEVICE_GEMM", (4, 5, 6)), (cases, "DEVICE_NEW", 4),
            (cases, "PROMPTS", (7,)), (cases, "BATCH_PROMPT", 8), (cases, "GROWTH", (5, 9)),
        ):  # fmt: skip
            patched.setattr(module, name, value)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON report of every benchmark of a device, run once."""
    out = io.StringIO()
    with small_and_fake(tmp_path_factory.mktemp("hook")), contextlib.redirect_stdout(out):
        assert bench.main(["all", *ON_GPU, *FEW, "--long-new", "210", "--json"]) == 0
    return json.loads(out.getvalue())


def test_every_case_of_a_device_reports_and_did_the_same_work(whole: dict[str, Any]) -> None:
    rows = {row["case"]: row for row in whole["rows"]}
    assert list(rows) == [
        "prefill 5", "in generate 7", "decode 7, step", "generate 7 + 4", "in generate 2x8", "decode 2x8, step",
        "generate 2x8 + 4", "beam 5x32, step", "score 3 sentences",
    ]  # fmt: skip
    for row in rows.values():
        assert row["same"] == {"sdpa": True}
        assert row["equal_ids"]["sdpa"] == (None if row["case"].startswith("score") else 1.0)
        assert all(each > 0 for values in row["milliseconds"].values() for each in values["each"])
    assert [name for name, row in rows.items() if row["work"] is None] == ["generate 7 + 4", "generate 2x8 + 4"]
    assert {name: found["tokens"] for name, found in whole["growth"].items()} == {
        "prefill": [5, 9],
        "decode, step": [5, 9],
    }
    assert whole["left_out"] == ["tokenize", "first-token", "load"]


def test_the_work_is_that_of_two_bytes_a_number(whole: dict[str, Any]) -> None:
    work = {row["case"]: row["work"] for row in whole["rows"] if row["work"]}
    assert work["prefill 5"] == vars(limits.forward(CONFIG, 5, logits=5, width=2))
    assert work["decode 2x8, step"] == vars(limits.mean_step(CONFIG, 8, 4, rows=2, width=2))
    assert work["beam 5x32, step"] == vars(limits.mean_step(CONFIG, 32, 4, rows=5, width=2))
    assert work["score 3 sentences"]["bytes"] % (2 * (limits.layer_weights(CONFIG) + limits.head_weights(CONFIG))) == 0


def test_the_report_names_what_it_ran_on(whole: dict[str, Any]) -> None:
    assert (whole["backend"], whole["dtype"], whole["tf32"]) == ("cupy", "float16", False)
    assert whole["machine"]["device"] == fake_device.FACTS | {"torch_cuda": torch.version.cuda, "torch_device": None}
    assert whole["machine"]["date"].startswith("20")
    assert set(whole["launches"]["sides"]) == {"minibiogpt", "transformers"}
    assert all(0 < side["launch_seconds"] < side["step_seconds"] for side in whole["launches"]["sides"].values())


def test_memory_is_held_against_weights_and_cache(whole: dict[str, Any]) -> None:
    found, N = whole["device_memory"], CONFIG.max_position_embeddings
    parameters = (find_model("demo") / "model.safetensors").stat().st_size
    cache = 2 * 2 * CONFIG.num_hidden_layers * CONFIG.hidden_size * N
    assert (found["positions"], found["tokens"], found["new"], found["every"]) == (N, N - 1, 210, 100)
    assert found["cache_bytes"] == cache
    assert abs(parameters / 2 - found["weights_bytes"]) < 8192  # the file's header
    ours = found["sides"]["ours"]
    assert ours["reserved_bytes"] == dict.fromkeys(("load", "prefill", "generate"), fake_device.TAKEN)
    assert (ours["samples_bytes"], ours["grown_bytes"]) == ([fake_device.TAKEN] * 2, 0)
    held = found["weights_bytes"] + cache
    assert ours["over_weights_and_cache"] == fake_device.TAKEN / held
    assert found["bound_bytes"] == 1.2 * held


def test_the_report_of_a_device_is_a_page(whole: dict[str, Any], tmp_path: Path) -> None:
    stored = tmp_path / "report.json"
    stored.write_text(json.dumps(whole), encoding="utf-8")
    line = [sys.executable, "-m", "tools.benching.table", str(stored)]
    shown = subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert shown == table.text(whole) + "\n"
    assert max(map(len, shown.splitlines())) <= table.WIDTH
    assert shown.startswith("all, demo, float16 on cupy\n")
    for part in (
        "us a launch; a pass takes", "/ (weights + cache)", "left out, because they are measured on the CPU: ",
        "device a stand-in, memory 8.0 GB, multiprocessors 1, cupy 14.2.0,",
    ):  # fmt: skip
        assert part in shown
    assert table.text(whole | {"tf32": True}).startswith("all, demo, float16 with TF32 on cupy\n")


def test_a_note_on_another_result_reports_how_much_of_it_is_equal(whole: dict[str, Any]) -> None:
    row = whole["rows"][0]
    assert table.notes(row) == []
    note = table.notes(row | {"same": {"sdpa": False}, "equal_ids": {"sdpa": 0.25}})[0]
    assert note.startswith("  prefill 5: sdpa gave a different result than ours;")
    assert note.endswith("; 25.0 % of the ids are equal")


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (
            "decode --backend cupy --peers sdpa,openvino",
            "--backend cupy --peers must be of sdpa, eager; found openvino",
        ),
        ("decode --backend cupy --product mkl", "--product is for --backend numpy; found mkl; leave it out"),
        ("decode --tf32", "--tf32 needs --backend cupy and --dtype float32; found --backend numpy"),
        ("decode --backend cupy --dtype bfloat16 --tf32", "found --backend cupy --dtype bfloat16; leave it out"),
        ("tokenize --backend cupy", "must be one of prefill, decode, batch, beam, score, growth, memory, all"),
        ("load --backend cupy", "found load; measure it with --backend numpy"),
        ("decode --backend cupy", "backend cupy needs the package cupy; found No module named 'cupy'"),
        ("memory --backend cupy --dtype float16", "backend cupy needs the package cupy"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    line: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cupy.py").write_text(ABSENT, encoding="utf-8")  # hides an installed CuPy
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert bench.main([*line.split(), "--cache", str(tmp_path / "cache")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("bench: error: ")
    assert message.count("\n") == 1
    assert found in message
    assert not (tmp_path / "cache").exists(), "no model is generated for options that cannot be measured"


@pytest.mark.parametrize(
    ("name", "absent"),
    [("ours_device", {"torch", "transformers", "cupy"}), ("theirs_device", {"minibiogpt", "cupy"})],
)
def test_a_worker_of_a_device_holds_one_library(name: str, absent: set[str]) -> None:
    script = f"import sys; import tools.benching.{name}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert f"tools.benching.{name}" in loaded.stdout.split()
    assert absent.isdisjoint(loaded.stdout.split())


@given(st.integers(1, 9), st.integers(0, 9), st.integers(1, 9))
def test_half_the_bytes_and_the_same_operations(T: int, past: int, rows: int) -> None:
    four, two = (limits.forward(CONFIG, T, past, rows=rows, width=width) for width in (4, 2))
    assert (four.bytes, four.operations) == (2 * two.bytes, two.operations)
    four, two = (limits.scoring(CONFIG, [T, rows], [[0], [1]], width) for width in (4, 2))
    assert (four.bytes, four.operations) == (2 * two.bytes, two.operations)
    assert limits.mean_step(CONFIG, T, 3, width=2).bytes * 2 == limits.mean_step(CONFIG, T, 3).bytes
    assert limits.least_memory(CONFIG, T, width=2) * 2 == limits.least_memory(CONFIG, T)


def test_a_clock_waits_before_it_starts_and_before_each_note() -> None:
    waits: list[int] = []
    clock = StepClock(lambda: waits.append(1))
    clock.start()
    made = len(waits)
    assert made >= 1
    clock.note()
    clock.note()
    clock.now()
    assert len(waits) == made + 3


def test_what_is_queued_is_waited_for_once() -> None:
    calls: list[str] = []
    seconds = queued(lambda: calls.append("job"), 3, 2, lambda: calls.append("wait"))
    assert calls == 3 * ["job", "job", "job", "wait"]  # one warm-up and two measurements
    assert seconds > 0


class Counting(FakeDevice):
    def __init__(self) -> None:
        super().__init__()
        self.waits = 0

    def synchronize(self) -> None:
        self.waits += 1


def test_the_rates_of_a_device_are_waited_for() -> None:
    device = Counting()
    ours = OursOnDevice("nowhere", "float16", device, 1, tf32=True)  # type: ignore[arg-type]
    assert device.tf32
    for job, waits in (("bandwidth", 2 * 3), ("gemm", 3), ("launch", 3)):
        device.waits = 0
        request = {"bandwidth": {"size": 4096}, "gemm": {"m": 2, "k": 3, "n": 4}, "launch": {"count": 2}}[job]
        times, found = getattr(ours, job)(**request, tries=2)
        assert times == {}
        assert found > 0
        assert device.waits == waits


def test_the_peer_waits_where_there_is_something_to_wait_for() -> None:
    made = {device: TheirsOnDevice("nowhere", "float16", torch.get_num_threads(), device) for device in ("cpu", "cuda")}
    assert made["cuda"].wait is torch.cuda.synchronize
    assert made["cpu"].wait is no_wait
    assert rounds.PEER_DEVICE == "cuda"
    for job, request in (("bandwidth", {"size": 4096}), ("gemm", {"m": 2, "k": 3, "n": 4}), ("launch", {"count": 2})):
        waits: list[int] = []
        made["cpu"].wait = lambda waits=waits: waits.append(1)  # type: ignore[method-assign, assignment]
        assert getattr(made["cpu"], job)(**request, tries=2)[1] > 0
        assert len(waits) == (6 if job == "bandwidth" else 3)


def test_tf32_is_asked_for_on_both_sides_or_on_none() -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    try:
        for wanted in (True, False):
            TheirsOnDevice("nowhere", "float32", torch.get_num_threads(), "cpu", wanted)
            assert torch.backends.cuda.matmul.allow_tf32 is wanted
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    for wanted in (True, False):
        setup = rounds.Setup(Path("nowhere"), ("sdpa",), 1, 1, "float32", "cupy", wanted)
        assert ["--tf32" in line for line in rounds.commands(setup).values()] == [wanted, wanted]
    plain = rounds.commands(rounds.Setup(Path("nowhere"), ("sdpa",), 1, 1))
    assert [line[1] for line in plain.values()] == ["tools.benching.ours", "tools.benching.theirs"]


def test_the_targets_read_what_the_bench_writes(whole: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "all.json").write_text(json.dumps(whole))
    found = targets.reports(tmp_path)["all", "demo", "float16"]
    ratio = targets.ours_over_theirs("decode 7, step")(found)
    median = {side: times["median"] for side, times in found["rows"][2]["milliseconds"].items()}
    assert ratio is not None
    assert_close("ratio", torch.tensor(ratio).numpy(), torch.tensor(median["ours"] / median["sdpa"]).numpy(), SUMMED)
    assert targets.memory(found) == whole["device_memory"]["sides"]["ours"]["over_weights_and_cache"]
    assert targets.growth(found) == 0
