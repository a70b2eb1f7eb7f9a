"""tools/bench.py: its random models load, its workers answer, and differences are reported. No test checks a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from minibiogpt import BioGptConfig, BioGptForCausalLM, InputError
from minibiogpt.files.hub import find_model
from tests.budgets import LANE_A
from tests.compare import assert_close
from tests.support.configs import PRIMES
from tests.support.folders import IDS, theirs
from tests.support.paths import ROOT
from tools import bench
from tools.benching import alone, assembly, cases, models, report, rounds, table
from tools.benching.answer import StepClock
from tools.benching.limits import Rates, Work
from tools.benching.theirs import Theirs
from tools.benching.workers import Worker, run_alone

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from Linux's /proc")

DEMO = find_model("demo")
FEW = ["--size", "demo", "--threads", "1", "--rounds", "1", "--peers", "sdpa"]
COUNTS = ["--tokens", "5", "--batch", "2", "--sentences", "3", "--texts", "2", "--long-new", "100"]
SETUP = rounds.Setup(DEMO, ("sdpa", "eager"), 1, 2)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> BioGptConfig:
    monkeypatch.setattr(models, "BLOCK", 100)  # so that a matrix has several blocks
    return BioGptConfig(**PRIMES)


def test_a_random_model_loads_here_and_there(tmp_path: Path, tiny: BioGptConfig) -> None:
    models.make_model(tmp_path, tiny)
    ours = BioGptForCausalLM.from_pretrained(tmp_path, dtype="float64")(IDS).logits
    assert_close("logits", ours, theirs(tmp_path), LANE_A)
    drawn = BioGptForCausalLM.from_pretrained(tmp_path).biogpt.layers[0].fc1.weight
    assert len(np.unique(drawn)) == drawn.size
    assert 0.018 < drawn.std() < 0.022


def test_random_weights_are_made_once(tmp_path: Path, tiny: BioGptConfig, capsys: pytest.CaptureFixture[str]) -> None:
    made = models.kept_model("small", tiny, tmp_path)
    assert f"generating random weights of size small, kept in {made}" in capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in made.iterdir()}
    assert models.kept_model("small", tiny, tmp_path) == made
    assert {path: path.stat().st_mtime_ns for path in made.iterdir()} == before
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("change", [{"num_hidden_layers": 3}, {"num_attention_heads": 7}])
def test_another_model_in_the_cache_is_refused_and_kept(tmp_path: Path, tiny: BioGptConfig, change: dict) -> None:
    made = models.kept_model("small", tiny, tmp_path)
    with pytest.raises(InputError, match="must contain the random model that bench generates"):
        models.kept_model("small", BioGptConfig(**PRIMES | change), tmp_path)
    assert models.kept_model("small", tiny, tmp_path) == made


def test_a_run_that_is_cut_off_leaves_nothing(
    tmp_path: Path, tiny: BioGptConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: BioGptConfig, folder: Path) -> None:
        assert (folder / "model.safetensors").is_file()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(BioGptConfig, "save_pretrained", interrupted)
        with pytest.raises(KeyboardInterrupt):
            models.kept_model("small", tiny, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(list(models.kept_model("small", tiny, tmp_path).iterdir())) == 2


def test_a_model_of_a_size_is_a_folder_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.SIZES, "base", PRIMES)
    assert models.chosen_model(None, "base", tmp_path) == tmp_path / "base"
    assert models.chosen_model(None, "demo", tmp_path) == DEMO
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert models.default_cache() == tmp_path / "minibiogpt" / "bench"


def test_a_process_of_its_own_reports_bytes_and_seconds() -> None:
    found = alone.run({rounds.OURS: alone.LOAD[rounds.OURS] + alone.LOAD_REPORT}, "ours", SETUP)
    assert 10e6 < found["imported_bytes"] <= found["loaded_bytes"] <= found["peak_bytes"]
    assert min(found["load_seconds"], found["forward_seconds"]) > 0
    with pytest.raises(InputError, match="measurement must succeed; found ZeroDivisionError"):
        run_alone("1 / 0")


class Canned:
    """A worker with fixed answers."""

    def __init__(self, result: dict[str, Any], seconds: float) -> None:
        self.result, self.seconds, self.requests = result, seconds, []

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(request)
        result = self.result.get(request.get("attention"), self.result.get("any"))
        return {"times": {"whole": self.seconds}, "result": result}


def pair_of(ours: Any, sdpa: Any, eager: Any) -> rounds.Pair:
    pair = rounds.Pair(SETUP)
    pair.workers[rounds.OURS] = Canned({"any": ours}, 0.010)
    pair.workers[rounds.THEIRS] = Canned({"sdpa": sdpa, "eager": eager, "any": sdpa}, 0.020)
    return pair


PREFILL = cases.Case({"job": "prefill"}, {"whole": cases.Row("prefill 5", Work(8e6, 1e6))})


def test_results_that_differ_are_reported() -> None:
    pair = pair_of([[1]], [[1]], [[2]])
    row = report.row_of(PREFILL.rows["whole"], "whole", pair.measured(PREFILL))
    assert row["same"] == {"sdpa": True, "eager": False}
    assert row["ratios"]["eager"] == {"median": 0.5, "least": 0.5, "largest": 0.5}
    assert [note.split(";")[0] for note in table.notes(row)] == ["  prefill 5: eager gave a different result than ours"]
    assert len(pair.workers[rounds.OURS].requests) == 1 + SETUP.rounds  # one warm-up that does not count
    assert len(pair.workers[rounds.THEIRS].requests) == 2 * (1 + SETUP.rounds)


def test_other_token_ids_are_an_error() -> None:
    case = cases.Case({"job": "tokenize"}, PREFILL.rows, attention=False, strict=True)
    assert pair_of(["a", "b"], ["a", "b"], None).measured(case)["same"] == {"transformers": True}
    for wrong, found in (
        (["a", "c"], "different ids from transformers for text 1"),
        (["a"], "a different number of texts"),
    ):
        with pytest.raises(InputError, match=f"both libraries must give the same ids; found {found}"):
            pair_of(["a", "b"], wrong, None).measured(case)


def test_a_row_shows_how_far_it_is_from_the_limit() -> None:
    row = report.row_of(PREFILL.rows["whole"], "whole", pair_of([1], [1], [1]).measured(PREFILL))
    found = assembly.limited(row, Rates(bandwidth=1.6e9, operations=1e9))
    assert (found["limit_milliseconds"], found["over_limit"]) == (5.0, 2.0)
    lines = [line.split() for line in table.timed([found], ["sdpa", "eager"]).splitlines()]
    times, ratios = ["10.0", "[10.0-10.0]", *2 * ["20.0", "[20.0-20.0]"]], 2 * ["0.50", "0.50-0.50"]
    assert lines[1] == ["prefill", "5", *times, *ratios, "5.00", "2.00"]


def test_a_step_that_is_not_reported_is_an_error() -> None:
    clock = StepClock()
    clock.note()
    with pytest.raises(RuntimeError, match="must report 2 steps; it reported 1"):
        clock.times(0.0, 2)


def test_the_attention_is_switched(monkeypatch: pytest.MonkeyPatch) -> None:
    module = transformers.models.biogpt.modeling_biogpt
    calls, eager = [], module.eager_attention_forward
    monkeypatch.setattr(module, "eager_attention_forward", lambda *a, **o: (calls.append(1), eager(*a, **o))[1])
    peer = Theirs(str(DEMO), "float32", torch.get_num_threads())
    layers = BioGptConfig.from_pretrained(DEMO).num_hidden_layers
    with torch.inference_mode():
        for attention, expected in (("sdpa", 0), ("eager", layers), ("sdpa", 0)):
            calls.clear()
            peer.prefill([[5, 6]], attention)
            assert len(calls) == expected


NOISY = """
from tools.benching.answer import serve
def job(word):
    print("what a library prints")
    return {"whole": 0.5}, word
def broken():
    raise ValueError("broken")
serve({"job": job, "broken": broken})
"""


def test_a_worker_answers_until_it_dies() -> None:
    with Worker("noisy", ["-c", NOISY], 1) as worker:
        assert worker.ask({"job": "job", "word": "é"}) == {"times": {"whole": 0.5}, "result": "é", "runs": 1}
        os.kill(worker.process.pid, signal.SIGINT)  # ignored: the parent handles it
        assert worker.ask({"job": "job", "word": 2, "at_least": 1e-3})["runs"] > 1
        for _ in range(2):  # a second request gives the same error
            with pytest.raises(InputError, match="the noisy worker must answer; found ValueError: broken"):
                worker.ask({"job": "broken"})
    with Worker("noisy", ["-c", NOISY], 1) as worker:
        worker.process.kill()
        with pytest.raises(InputError, match="found exit code -9"):
            worker.ask({"job": "job", "word": 1})
    assert worker.process.poll() is not None


def test_a_worker_that_fails_is_one_line_and_none_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Worker] = []
    monkeypatch.setattr(rounds, "Worker", lambda *args: started.append(Worker(*args)) or started[-1])
    monkeypatch.setattr(report, "GEMM", (8, 8, 8))
    monkeypatch.setattr(report, "BANDWIDTH_BYTES", (1 << 16, 1 << 16))
    BioGptConfig(**PRIMES).save_pretrained(tmp_path)  # without weights
    assert bench.main(["prefill", "--model", str(tmp_path), "--threads", "1"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("bench: error:")]
    assert len(errors) == 1
    assert "the minibiogpt worker must answer; found minibiogpt.errors.CheckpointError" in errors[0]
    assert len(started) == 2
    assert all(worker.process.poll() is not None for worker in started)


@pytest.mark.parametrize(
    ("number", "code", "message"), [("SIGINT", 130, "bench: error: interrupted\n"), ("SIGTERM", 143, "")]
)
def test_an_interrupt_leaves_no_process(number: str, code: int, message: str) -> None:
    def as_in_a_terminal() -> None:
        """Restore SIGINT: a shell makes its background jobs, and their children, ignore it."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    line = [sys.executable, str(Path(bench.__file__)), "prefill", *FEW]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0, preexec_fn=as_in_a_terminal
    ) as run:
        assert run.stderr
        assert run.stderr.readline().startswith("bench: memory bandwidth")  # both workers are running
        (os.killpg if number == "SIGINT" else os.kill)(run.pid, signal.Signals[number])  # a terminal signals the group
        out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err) == (code, "", message)
    with pytest.raises(ProcessLookupError):
        os.killpg(run.pid, 0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every benchmark once, with the demo model and small sizes."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(report, "GEMM", (64, 64, 64))
        patched.setattr(report, "BANDWIDTH_BYTES", (1 << 20, 1 << 20))
        patched.setattr(rounds, "AT_LEAST", 0.0)
        patched.setattr(cases, "PROMPTS", (7, 300))
        patched.setattr(cases, "GROWTH", (5, 9, 300))
        options = bench.parser().parse_args(["all", *FEW, *COUNTS, "--cache", str(tmp_path_factory.mktemp("cache"))])
        found = report.measured(options)
    shown = {"benchmark": "all", "model": "demo", "peers": ["sdpa"], "dtype": "float32", "backend": "numpy"} | found
    shown["machine"] = bench.machine.facts(1) | bench.machine.session() | found["machine"]
    return json.loads(json.dumps(shown))


def test_every_case_reports_and_did_the_same_work(whole: dict[str, Any]) -> None:
    rows = {row["case"]: row for row in whole["rows"]}
    assert list(rows) == [
        "prefill 5", "in generate 7", "decode 7, step", "in generate 240", "decode 240, step", "in generate 2x128",
        "decode 2x128, step", "beam 5x32, step", "score 3 sentences", "tokenize 2 texts", "first token, cold",
    ]  # fmt: skip
    for row in rows.values():
        assert list(row["same"].values()) == [True]
        assert all(each > 0 for values in row["milliseconds"].values() for each in values["each"])
        assert list(row["ratios"]) == list(row["same"])
        assert (row["limit_milliseconds"] is None) == (row["case"].split()[0] in ("tokenize", "first"))
    assert set(rows["tokenize 2 texts"]["milliseconds"]) == {"ours", "transformers", "sacremoses alone"}
    cold = rows["first token, cold"]
    assert sum(cold["parts"]["ours"].values()) < cold["milliseconds"]["ours"]["median"]


def test_loading_growth_and_memory_report(whole: dict[str, Any]) -> None:
    assert set(whole["results"]) == {"minibiogpt", "transformers"}
    assert whole["file_bytes"] == (DEMO / "model.safetensors").stat().st_size
    assert [whole["growth"][name]["tokens"] for name in ("prefill", "decode, step")] == [[5, 9, 256], [5, 9, 248]]
    for found in whole["growth"].values():
        assert all(len(side["seconds"]) == len(side["percent"]) == 3 for side in found["sides"].values())
    for found in whole["memory"]["sides"].values():
        peaks = list(found["peak_bytes"].values())
        assert peaks == sorted(peaks)
        assert len(peaks) == 4
        assert len(found["resident_bytes"]) == 1
        assert found["over_needed"] == (peaks[-1] - peaks[0]) / whole["memory"]["needed_bytes"]


def test_the_report_is_a_page(whole: dict[str, Any]) -> None:
    shown = table.text(whole)
    assert max(map(len, shown.splitlines())) <= table.WIDTH
    for row in whole["rows"]:
        assert f"\n{row['case']} " in shown
    for part in ("load, weights 0.004 GB", "growth:", "memory, MB", "processor", "multiplies"):
        assert part in shown


def test_the_page_on_performance_names_every_benchmark() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert "@@" not in page, "every placeholder for a number is filled"
    named = page.partition("one of them: ")[2].partition("\n")[0].split()
    assert sorted(named) == sorted(report.BENCHMARKS)


def test_a_model_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["load", "--model", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(
        "bench: error: --model must be demo, a folder with config.json, or a hub id"
    )


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("load --repeat 0", "--repeat: must be an integer, 1 or more; found '0'"),
        ("prefill --tokens 1,,2", "--tokens: must be an integer, 1 or more; found ''"),
        ("decode --peers flash", "--peers: must name one or more of sdpa, eager, sdpa-bfloat16, bitsandbytes-nf4,"),
        ("decode --peers ,", "--peers: must name one or more"),
        ("decode --texts 3", "unrecognized arguments: --texts 3"),
        ("", "required: BENCHMARK"),
    ],
)
def test_a_bad_option_is_one_line(line: str, found: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench.main(line.split())
    message = capsys.readouterr().err
    assert message.startswith("bench: error: ")
    assert message.count("\n") == 1
    assert found in message
