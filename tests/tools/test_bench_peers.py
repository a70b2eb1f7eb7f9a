"""The other engines of tools/bench.py: their names, environments and commands, and on the demo what they answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from minibiogpt import BioGptConfig, InputError
from minibiogpt.files.hub import find_model
from tools import bench
from tools.benching import alone, cases, compared, models, products, report, rounds
from tools.benching.compared import Precision
from tools.benching.peers import environments, registry
from tools.benching.rounds import Setup
from tools.benching.workers import Worker, environment

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench is for Linux")

DEMO = find_model("demo")
CACHE = models.default_cache()
GENERATE = cases.Case({"job": "generate", "ids": [[5, 6]], "new": 2}, {"whole": cases.Row("decode")})
BEAMS = cases.Case(GENERATE.request | {"beams": 5}, {"whole": cases.Row("beam")})


class Canned:
    """A worker with fixed logits and times, or one that fails at a job."""

    def __init__(self, logits: np.ndarray, failing: str = "") -> None:
        self.logits, self.failing, self.asked = logits, failing, []

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request["job"])
        if request["job"] == self.failing:
            raise InputError("the worker must answer", "it ended", "none")
        if "path" in request:
            np.save(request["path"], self.logits)
        return {"times": {"whole": 0.5}, "result": [[1, 2]]}


def pair_of(**engines: Canned) -> rounds.Pair:
    pair = rounds.Pair(Setup(DEMO, ("sdpa", *engines), 1, 2))
    logits = np.random.default_rng(0).standard_normal((2, 3, 5))
    pair.workers = {rounds.OURS: Canned(logits), rounds.THEIRS: Canned(logits * (1 + 1e-6)), **engines}  # type: ignore[dict-item]
    return pair


def test_a_peer_that_answers_wrongly_is_reported_and_not_timed() -> None:
    wrong, other, nothing = Canned(np.ones((2, 3, 5))), Canned(np.ones((2, 3, 4))), Canned(np.full((2, 3, 5), np.nan))
    engines = dict(zip(("openvino", "onnxruntime", "ctranslate2"), (wrong, other, nothing), strict=True))
    pair = pair_of(**engines)
    found = pair.compared(BioGptConfig.from_pretrained(DEMO))
    assert found["sdpa"]["right"]
    assert found["sdpa"]["equal"] == 1
    assert [found[name]["right"] for name in engines] == [False] * 3
    assert found["onnxruntime"]["reason"] == "gives logits of shape (2, 3, 4) instead of (2, 3, 5)"
    pair.leave_out(found)
    measured = pair.measured(GENERATE)
    assert set(measured["seconds"]) == {"ours", "sdpa"}
    assert set(measured["missing"]) == set(engines)
    assert all(worker.asked == ["check"] for worker in engines.values())


@pytest.mark.parametrize("failing", ["check", "generate"])
def test_an_engine_that_fails_leaves_the_others(failing: str) -> None:
    pair = pair_of(openvino=Canned(pair_of().workers[rounds.OURS].logits, failing))  # type: ignore[attr-defined]
    pair.leave_out(pair.compared(BioGptConfig.from_pretrained(DEMO)))
    measured = pair.measured(GENERATE)
    assert measured["missing"] == {"openvino": "failed: it ended"}
    assert {side: len(runs) for side, runs in measured["seconds"].items()} == {"ours": 2, "sdpa": 2}
    assert measured["same"] == {"sdpa": True}


def test_what_an_engine_cannot_do_is_not_asked() -> None:
    logits = pair_of().workers[rounds.OURS].logits  # type: ignore[attr-defined]
    pair = pair_of(openvino=Canned(logits), ctranslate2=Canned(logits))
    measured = pair.measured(BEAMS)
    assert measured["missing"] == {"openvino": "has no beam search"}
    assert set(measured["seconds"]) == {"ours", "sdpa", "ctranslate2"}
    row = report.row_of(BEAMS.rows["whole"], "whole", measured)
    assert row["missing"] == {"openvino": "has no beam search"}
    assert registry.refusal("ctranslate2", {"job": "score"}) is not None
    assert registry.refusal("sdpa-bfloat16", {"job": "score"}) is None


def test_a_mistake_in_a_conversion_is_found() -> None:
    """The tanh GELU, the eps of the config, and no offset of positions, each in float32."""
    ids = torch.tensor(cases.random_ids(BioGptConfig.from_pretrained(DEMO), compared.ROWS, compared.LENGTH))

    def logits(change: Any = lambda model: None, **options: Any) -> np.ndarray:
        model = transformers.BioGptForCausalLM.from_pretrained(DEMO, **options).eval()
        change(model)
        with torch.inference_mode():
            return model(ids).logits.numpy()

    def unmoved(model: Any) -> None:
        weight = model.biogpt.embed_positions.weight
        weight.data = torch.roll(weight.data, 1, 0)

    right = logits()
    assert compared.compared(right, logits(attn_implementation="eager"), compared.BOUNDS["float32"])["right"]
    for wrong in (logits(hidden_act="gelu_new"), logits(unmoved)):
        assert not compared.compared(right, wrong, compared.BOUNDS["float32"])["right"]
    assert not compared.compared(right, logits(unmoved), compared.BOUNDS["int8"])["right"]
    both = compared.bound(Precision("bfloat16"), Precision("int8"))
    assert both == compared.BOUNDS["bfloat16"] + compared.BOUNDS["int8"]


def test_commands_of_all_workers() -> None:
    setup = Setup(DEMO, registry.PEERS, 3, 1, "float32", product="mkl", cache=Path("cache"))
    commands = rounds.commands(setup)
    assert commands[rounds.OURS][-1] == "--product=mkl"
    assert commands[rounds.IN_BFLOAT16] == [*commands[rounds.THEIRS], "--dtype", "bfloat16"]
    assert "--product" not in " ".join(rounds.commands(setup._replace(product=None))[rounds.OURS])
    assert set(registry.engines(registry.PEERS)) == set(registry.ENGINES)
    for name, engine in registry.ENGINES.items():
        python, line = registry.command(name, DEMO, 3, Path("cache"))
        assert python == f"cache/environments/{engine.environment}/bin/python"
        assert line[-2:] == ["--precision", engine.precision]
    requests = rounds.requests_of(GENERATE, setup)
    assert requests["sdpa-bfloat16"] == (rounds.IN_BFLOAT16, GENERATE.request | {"attention": "sdpa"})
    assert requests["eager"] == (rounds.THEIRS, GENERATE.request | {"attention": "eager"})
    assert requests["openvino"] == ("openvino", GENERATE.request)


def test_another_python_gets_only_this_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    assert "elsewhere" in environment(1)["PYTHONPATH"]
    assert "elsewhere" not in environment(1, own=False)["PYTHONPATH"]


def test_conversions_belong_to_the_weights(tmp_path: Path) -> None:
    weights = tmp_path / "model" / "model.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"1")
    before = registry.converted_of(weights.parent, tmp_path)
    assert before == registry.converted_of(weights.parent, tmp_path)
    weights.write_bytes(b"12")
    assert registry.converted_of(weights.parent, tmp_path) != before


def test_an_environment_that_is_absent_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["decode", "--peers", "sdpa,openvino-float32", "--cache", str(tmp_path), "--results", str(tmp_path / "file")]
    assert bench.main(line) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "need openvino==" in message
    assert "onnx==" in message
    assert message.endswith("add --make-environments once: pip then installs them there\n")
    assert list(tmp_path.iterdir()) == []


def test_an_environment_is_made_once_and_for_its_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environments.PINS, "none", ())  # nothing to install: pip would need a network
    calls: list[list[str]] = []

    class Done:
        returncode, stderr, stdout = 0, "", ""

    def run(line: list[str], **options: Any) -> Done:
        calls.append(line)
        folder = environments.folder_of("none", tmp_path)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pyvenv.cfg").touch()
        return Done()

    monkeypatch.setattr(environments.subprocess, "run", run)
    for _ in range(2):
        environments.make(["none"], tmp_path)
    assert [line[1:3] for line in calls] == [["-m", "venv"], ["-m", "pip"]]
    environments.check(["none"], tmp_path)
    monkeypatch.setitem(environments.PINS, "none", ("other==1",))
    assert not environments.is_made("none", tmp_path)
    environments.make(["none"], tmp_path)
    assert calls[-1][-1] == "other==1"
    Done.returncode, Done.stderr = 1, "notice\nERROR: no such version\n"
    monkeypatch.setitem(environments.PINS, "none", ("other==2",))
    with pytest.raises(InputError, match="pip must install other==2; found ERROR: no such version"):
        environments.make(["none"], tmp_path)
    assert not environments.is_made("none", tmp_path)
    (environments.folder_of("none", tmp_path) / "pyvenv.cfg").unlink()
    with pytest.raises(InputError, match="must be an environment that bench makes"):
        environments.make(["none"], tmp_path)


def test_a_product_that_is_absent_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = products.facts("numpy", 1)
    assert found["product"] == "numpy"
    assert found["blas"].endswith(", 1 threads")
    asked: list[tuple[Any, ...]] = []
    refused = {"refused": ["product mkl needs the package mkl", "no such package", "install it"]}
    monkeypatch.setattr(products, "run_alone", lambda *line, **options: asked.append(line) or refused)
    assert bench.main(["decode", "--size", "demo", "--product", "mkl", "--cache", str(tmp_path)]) == 2
    assert asked == [(products.QUERY, '{"product": "mkl"}')]
    assert capsys.readouterr().err == (
        "bench: error: product mkl needs the package mkl; found no such package; install it\n"
    )
    details = {"library": "mkl 2026.2", "path": "somewhere"}
    answer = {"product": "mkl", "product_details": details, "blas": "none", "better_kernels": "none"}
    monkeypatch.setattr(products, "run_alone", lambda *line, **options: answer)
    assert products.facts("auto", 2)["product_details"] == "library mkl 2026.2"


def test_a_script_of_its_own_names_the_product(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts: list[tuple[Any, ...]] = []
    monkeypatch.setattr(alone, "run_alone", lambda *line, **options: scripts.append(line))
    for side, product in (("ours", "mkl"), ("ours", None), ("sdpa-bfloat16", "mkl")):
        alone.run(alone.LOAD, side, Setup(DEMO, ("sdpa",), 1, 1, product=product))
    (ours, plain, theirs) = scripts
    assert "dtype=dtype, backend=backend, product='mkl')" in ours[0]
    assert "dtype=dtype, backend=backend)" in plain[0]
    assert theirs[2] == "bfloat16"
    assert theirs[5] == "sdpa"


def made(*names: str) -> bool:
    return all(environments.is_made(name, CACHE) for name in names)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A report of the demo with all engines whose environments exist in the default cache."""
    peers = [name for name, engine in registry.ENGINES.items() if made(*engine.environments)]
    if not peers:
        pytest.skip(f"no environments in {CACHE}: run tools/bench.py --make-environments with --peers")
    cache = tmp_path_factory.mktemp("cache")
    (cache / "environments").symlink_to(CACHE / "environments")
    line = ["--size", "demo", "--peers", ",".join(["sdpa-bfloat16", *peers]), "--threads", "1", "--rounds", "1"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(report, "GEMM", (8, 8, 8))
        patched.setattr(report, "BANDWIDTH_BYTES", (1 << 16, 1 << 16))
        patched.setattr(rounds, "AT_LEAST", 0.0)
        patched.setattr(cases, "PROMPTS", (7,))
        results = cache / "results.jsonl"
        for name in ("prefill", "decode", "batch", "beam"):
            options = ["--tokens", "9"] if name == "prefill" else ["--batch", "3"] if name == "batch" else []
            resume = ["--resume"] if results.exists() else []
            assert bench.main([name, *line, *options, "--cache", str(cache), "--results", str(results), *resume]) == 0
    return bench.assembly.stored(results) | {"cache": cache}


@pytest.mark.parametrize("peer", ["sdpa-bfloat16", *registry.ENGINES])
def test_an_engine_answers_like_ours(measured: dict[str, Any], peer: str) -> None:
    if peer not in measured["peers"]:
        pytest.skip(f"{peer} is not installed in {CACHE}")
    answer = measured["answers"][peer]
    assert answer["right"], answer
    precise = registry.precision(peer, "float32") == Precision("float32")
    if precise:
        assert answer["relative"] < 1e-5
    rows = {row["case"]: row for row in measured["rows"]}
    for case in ("prefill 9", "in generate 7", "decode 7, step", "decode 3x128, step", "beam 5x32, step"):
        row = rows[case]
        if case.startswith("beam") and peer in registry.ENGINES and not registry.ENGINES[peer].beams:
            assert row["missing"][peer] == "has no beam search"
            continue
        assert row["milliseconds"][peer]["median"] > 0
        if precise:
            assert row["same"][peer], case
    if peer in registry.ENGINES:
        python, command = registry.command(peer, DEMO, 1, measured["cache"])
        with Worker(peer, command, 1, python) as worker:
            assert worker.ask({"job": "memory"})["result"] > 10e6


def test_the_pins_are_versions() -> None:
    assert all("==" in pin for pins in environments.PINS.values() for pin in pins)
    assert json.loads(json.dumps(environments.wanted("openvino")))["packages"] == list(environments.PINS["openvino"])
