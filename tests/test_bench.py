"""tools/bench.py: its random models are BioGPTs, its processes report, its table divides. No time is judged here."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from minibiogpt import BioGptForCausalLM, InputError
from tests.budgets import LANE_A
from tests.compare import assert_close
from tests.configs import PRIMES
from tests.folders import IDS, theirs
from tools import bench


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(bench.SIZES, "base", PRIMES)
    monkeypatch.setattr(bench, "BLOCK", 100)  # so that a matrix takes several


@pytest.mark.usefixtures("tiny")
def test_a_random_model_loads_here_and_there(tmp_path: Path) -> None:
    bench.make_model(tmp_path, "base")
    ours = BioGptForCausalLM.from_pretrained(tmp_path, dtype="float64")(IDS).logits
    assert_close("logits", ours, theirs(tmp_path), LANE_A)
    drawn = BioGptForCausalLM.from_pretrained(tmp_path).biogpt.layers[0].fc1.weight
    assert len(np.unique(drawn)) == drawn.size
    assert 0.018 < drawn.std() < 0.022


@pytest.mark.usefixtures("tiny")
def test_a_process_of_its_own_reports_bytes_and_seconds() -> None:
    with bench.model_folder(argparse.Namespace(model=None, size="base")) as folder:
        numbers = bench.least(bench.LOAD["minibiogpt"] + bench.LOAD_REPORT, folder, 2)
        with pytest.raises(InputError, match="measurement must end well; found ZeroDivisionError"):
            bench.run_alone("1 / 0", folder)
    assert not folder.exists()
    assert 10e6 < numbers["imported_bytes"] <= numbers["loaded_bytes"] <= numbers["peak_bytes"]
    assert min(numbers["load_seconds"], numbers["forward_seconds"]) > 0


def test_the_table_says_ours_over_theirs() -> None:
    results = {
        "minibiogpt": {"peak_bytes": 1.5e9, "load_seconds": 3.0},
        "transformers": {"peak_bytes": 2e9, "load_seconds": 2.0},
    }
    facts = {"benchmark": "load", "model": "base", "file_bytes": 1e9, "results": results, "machine": {"cpus": 2}}
    rows = [line.split() for line in bench.table(facts).splitlines()]
    assert rows[2] == ["peak", "1.500", "GB", "2.000", "GB", "0.75"]
    assert rows[3] == ["load", "seconds", "3.000", "s", "2.000", "s", "1.50"]


def test_a_model_that_is_none_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["load", "--model", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(
        "bench: error: --model must be demo, a folder with config.json, or a hub id"
    )


def test_no_runs_at_all_measure_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench.main(["load", "--repeat", "0"])
    assert "--repeat must be 1 or more" in capsys.readouterr().err
