"""Quantized models in tools/bench.py: sides of our own and of bitsandbytes, what they are compared with, and tables."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from minibiogpt import BioGptConfig, InputError
from minibiogpt.files.hub import find_model
from minibiogpt.quantization import FORMATS
from tools import bench
from tools.benching import alone, assembly, cases, compared, limits, markdown, products, report, rounds, table, variants
from tools.benching.compared import BOUNDS, WEIGHTS, Precision
from tools.benching.peers import registry
from tools.benching.rounds import Setup
from tools.benching.variants import Variant

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bench is for Linux")

DEMO = find_model("demo")
CONFIG = BioGptConfig.from_pretrained(DEMO)
GENERATE = cases.Case({"job": "generate", "ids": [[5, 6]], "new": 2}, {"whole": cases.Row("decode 2, step")})
EXACT = np.random.default_rng(0).standard_normal((2, 3, 5))
OURS = ("ours-int8", "ours-nf4", "ours-int8-dynamic")
BYTES = ("bitsandbytes-nf4", "bitsandbytes-int8")


def off(relative: float) -> np.ndarray:
    """Return logits that differ from ``EXACT`` by this, relative to its root mean square."""
    return EXACT * (1 + relative)


class Canned:
    """A worker with fixed logits and seconds, or one that fails at a job."""

    def __init__(self, logits: np.ndarray, seconds: float = 0.5, failing: str = "") -> None:
        self.logits, self.seconds, self.failing, self.asked = logits, seconds, failing, []

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        if request["job"] == self.failing:
            raise InputError("the worker must answer", "it ended", "none")
        if "path" in request:
            np.save(request["path"], self.logits)
        return {"times": {"whole": self.seconds}, "result": [[1, 2]]}


def pair_of(peers: dict[str, Canned], quantization: str = "none") -> rounds.Pair:
    pair = rounds.Pair(Setup(DEMO, tuple(peers), 1, 2, quantization=quantization))
    own = {rounds.OURS: Canned(EXACT, 0.5), rounds.THEIRS: Canned(off(1e-6), 1.0)}
    pair.workers = own | {name: worker for name, worker in peers.items() if name != "sdpa"}  # type: ignore[assignment]
    return pair


def found_by(peers: dict[str, np.ndarray], quantization: str = "none") -> dict[str, Any]:
    found = pair_of({name: Canned(logits) for name, logits in peers.items()}, quantization).compared(CONFIG)
    assert list(found) == list(peers)
    return {name: (facts["reference"], facts["bound"], facts["right"]) for name, facts in found.items()}


@pytest.mark.parametrize("text", ["ours", "ours-", "ours-int9", "ours-int8+", "ours-int8+cudnn", "sdpa,ours-q8_0-q4_0"])
def test_a_side_of_ours_that_is_none_is_one_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench.parser().parse_args(["decode", "--peers", text])
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "ours-NAME or ours-NAME+PRODUCT (NAME: float32, float16, bfloat16, nf4, fp4," in message


def test_each_side_is_loaded_as_its_name_says() -> None:
    peers = bench.peers(
        "ours-nf4,sdpa,ours-bfloat16,ours-int8-dynamic+numpy,bitsandbytes-nf4,bitsandbytes-int8,ours-nf4"
    )
    assert len(peers) == 6
    setup = Setup(DEMO, peers, 3, 1, product="mkl", quantization="q8_0")
    found = rounds.commands(setup)
    assert set(found) == {rounds.OURS, rounds.THEIRS, *peers} - {"sdpa"}
    common = [str(DEMO), "--threads", "3", "--dtype"]
    ours = ["-m", "tools.benching.ours", *common]
    assert found[rounds.OURS] == [*ours, "float32", "--backend", "numpy", "--product=mkl", "--quantization=q8_0"]
    assert found["ours-nf4"] == [*ours, "float32", "--backend", "numpy", "--product=mkl", "--quantization=nf4"]
    assert found["ours-bfloat16"] == [*ours, "bfloat16", "--backend", "numpy", "--product=mkl"]
    assert found["ours-int8-dynamic+numpy"][-2:] == ["--product=numpy", "--quantization=int8-dynamic"]
    theirs = ["-m", "tools.benching.theirs", *common, "float32"]
    assert found[rounds.THEIRS] == theirs
    for peer, form in registry.BITSANDBYTES.items():
        assert found[peer] == [*theirs, "--quantization", form]
    requests = rounds.requests_of(GENERATE, setup)
    assert requests["ours-nf4"] == ("ours-nf4", GENERATE.request)
    assert requests["bitsandbytes-nf4"] == ("bitsandbytes-nf4", GENERATE.request | {"attention": "sdpa"})


def test_equal_weights_are_compared_with_each_other() -> None:
    """However far the format is from float32, the same weights must agree within what the arithmetic rounds."""
    near, far = WEIGHTS["nf4"] / 2, WEIGHTS["nf4"] / 2 + 2 * BOUNDS["bfloat16"]
    logits = {"bitsandbytes-nf4": off(near), "ours-nf4": off(near), "sdpa": off(0)}
    found = found_by(logits)
    assert found["ours-nf4"] == ("ours", WEIGHTS["nf4"] + BOUNDS["float32"], True)
    assert found["bitsandbytes-nf4"] == ("ours-nf4", BOUNDS["bfloat16"], True)
    assert found["sdpa"][0] == "ours"
    assert found_by(logits | {"bitsandbytes-nf4": off(far)})["bitsandbytes-nf4"][2] is False
    alone_ = found_by({"bitsandbytes-nf4": off(far)})["bitsandbytes-nf4"]  # the format's bound, if we don't have it
    assert alone_ == ("ours", WEIGHTS["nf4"] + BOUNDS["bfloat16"], True)


def test_without_floats_of_ours_the_first_side_is_compared_with() -> None:
    found = found_by({"ours-int8-dynamic": off(0), "ours-int8": off(0), "sdpa": off(0), "ctranslate2": off(0)}, "nf4")
    both = WEIGHTS["nf4"] + WEIGHTS["int8"]
    assert found["ours-int8-dynamic"] == ("ours", BOUNDS["dynamic int8"] + both, True)
    assert found["ours-int8"] == ("ours-int8-dynamic", BOUNDS["float32"] + BOUNDS["dynamic int8"], True)
    assert found["sdpa"] == ("ours", BOUNDS["float32"] + WEIGHTS["nf4"], True)
    found = found_by({"ours-int8": off(0), "sdpa": off(0), "ours-float32": off(0)}, "nf4")
    assert {name: with_ for name, (with_, *_) in found.items()} == {
        "ours-int8": "ours-float32", "sdpa": "ours-float32", "ours-float32": "ours"
    }  # fmt: skip


def test_a_side_of_ours_that_is_wrong_is_no_reference() -> None:
    pair = pair_of({"ours-nf4": Canned(-EXACT), "bitsandbytes-nf4": Canned(off(0))})
    found = pair.compared(CONFIG)
    assert found["ours-nf4"]["reason"].startswith("gives logits that differ from ours by 2, more than")
    assert found["bitsandbytes-nf4"]["reference"] == "ours"
    pair.leave_out(found)
    assert set(pair.measured(GENERATE)["seconds"]) == {"ours", "bitsandbytes-nf4"}


def test_bitsandbytes_may_fail_and_ours_may_not() -> None:
    pair = pair_of({"bitsandbytes-int8": Canned(off(0), failing="check"), "ours-int8": Canned(off(0))})
    found = pair.compared(CONFIG)
    assert found["bitsandbytes-int8"] == {"right": False, "reason": "failed: it ended"}
    with pytest.raises(InputError, match="it ended"):
        pair_of({"ours-int8": Canned(off(0), failing="check")}).compared(CONFIG)


def test_a_script_of_its_own_loads_the_side(monkeypatch: pytest.MonkeyPatch) -> None:
    scripts: list[tuple[Any, ...]] = []
    monkeypatch.setattr(alone, "run_alone", lambda *line, **options: scripts.append(line))
    for side in ("ours", "ours-nf4", "ours-bfloat16+mkl", "bitsandbytes-int8"):
        alone.run(alone.MEMORY, side, Setup(DEMO, ("eager", side), 1, 1, quantization="int8"))
    first, four, half, theirs = scripts
    assert "backend=backend, product='numpy', quantization='int8')" in first[0]
    assert "backend=backend, product='numpy', quantization='nf4')" in four[0]
    assert "backend=backend, product='mkl')" in half[0]
    assert half[2] == "bfloat16"
    assert "attn_implementation=attention, **quantized('int8', dtype))" in theirs[0]
    assert theirs[5] == "sdpa"


def test_fewer_new_tokens_need_less_memory() -> None:
    facts = alone.memory_facts(CONFIG, DEMO, "float32", 3)
    T = CONFIG.max_position_embeddings - 1
    assert (facts["tokens"], facts["positions"]) == (T, T + 1)  # as many as fit
    assert limits.least_memory(CONFIG, 9, 4, 20) == limits.least_memory(CONFIG, 9) - limits.cache_bytes(
        CONFIG, T + 1 - 20
    )


def test_products_of_sides_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answer = {"product": "mkl", "product_details": "library mkl 2026.2", "blas": "none"}
    monkeypatch.setattr(products, "facts", lambda name, threads: asked.append(name) or answer)
    found = variants.product_facts(("ours-int8+mkl", "sdpa", "ours-nf4+mkl", "ours-nf4", "ours-fp4+auto"), 2)
    assert asked == ["mkl", "auto"]
    assert found == {"product mkl": "library mkl 2026.2", "product auto": "is mkl library mkl 2026.2"}


def shown(quantization: str = "none") -> dict[str, Any]:
    """Return a report whose sides take 500, 1000, 250 and 2000 milliseconds."""
    workers = {"sdpa": Canned(off(0)), "ours-nf4+numpy": Canned(off(0), 0.25), "bitsandbytes-nf4": Canned(off(0), 2.0)}
    row = report.row_of(GENERATE.rows["whole"], "whole", pair_of(workers).measured(GENERATE))
    first = Variant(quantization=quantization)
    return {
        "benchmark": "decode", "model": "demo", "dtype": "float32", "backend": "numpy", "rounds": 2,
        "quantization": quantization, "peers": list(workers), "machine": {"processor": "A"},
        "sides": {side: str(rounds.precision(side, first)) for side in ("ours", *workers)},
        "rows": [row | {"limit_milliseconds": 100.0, "over_limit": 5.0}],
    }  # fmt: skip


def test_another_side_takes_the_place_of_ours() -> None:
    found = assembly.seen_from(shown(), "ours-nf4+numpy")
    (row,) = found["rows"]
    assert found["peers"] == ["ours (float32)", "sdpa", "bitsandbytes-nf4"]
    assert {name: values["median"] for name, values in row["milliseconds"].items()} == {
        "ours": 250, "ours (float32)": 500, "sdpa": 1000, "bitsandbytes-nf4": 2000
    }  # fmt: skip
    medians = {name: values["median"] for name, values in row["ratios"].items()}
    assert medians == {"ours (float32)": 0.5, "sdpa": 0.25, "bitsandbytes-nf4": 0.125}
    assert row["over_limit"] == 2.5
    assert found["sides"]["ours"] == "ours-nf4+numpy, weights nf4, products in float32"
    with pytest.raises(
        InputError, match=r"must name a side that was timed; found ours-q8_0; choose one of ours, sdpa,"
    ):
        assembly.seen_from(shown(), "ours-q8_0")


def test_tables_name_the_format_of_each_side() -> None:
    for page in (table.text(shown("int8")), markdown.text(shown("int8"))):
        assert "float32, weights in int8" in page
        words = " ".join(page.split())
        assert "ours: weights int8, products in float32; sdpa: float32; ours-nf4+numpy: weights nf4" in words
        assert "bitsandbytes-nf4: weights nf4, products in bfloat16" in words
    long = Canned(off(0), 12.3456)
    names = {"bitsandbytes-int8": long, "ours-int8-dynamic+openblas": long, "sdpa": long, "ours-nf4": long}
    row = report.row_of(GENERATE.rows["whole"], "whole", pair_of(names).measured(GENERATE))
    titles = [line for line in table.timed([row], list(names)).splitlines() if line.startswith("milliseconds")]
    assert [line.count("ours/") for line in titles] == [1, 1, 2]  # long names: one peer in each table
    assert max(map(len, titles)) <= table.WIDTH
    assert "| ours-nf4+numpy | 250 |" in markdown.text(shown())
    assert "| ours-nf4+numpy | 250 |" not in markdown.text(shown() | {"peers": ["sdpa", "ours-nf4+numpy"]})
    plain = shown() | {"sides": {"ours": "float32", "sdpa": "float32"}}
    assert "products in" not in table.text(plain) + markdown.text(plain)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A report of the demo with each format, and with what bitsandbytes makes of it."""
    pytest.importorskip("bitsandbytes")
    cache = tmp_path_factory.mktemp("cache")
    peers = [*(f"ours-{name}" for name in FORMATS), *BYTES]
    line = ["--size", "demo", "--peers", ",".join(peers), "--threads", "1", "--rounds", "1", "--cache", str(cache)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(report, "GEMM", (8, 8, 8))
        patched.setattr(report, "BANDWIDTH_BYTES", (1 << 16, 1 << 16))
        patched.setattr(rounds, "AT_LEAST", 0.0)
        patched.setattr(cases, "NEW", 3)
        results = cache / "results.jsonl"
        assert bench.main(["decode", *line, "--prompts", "7", "--results", str(results)]) == 0
    return bench.assembly.stored(results)


def test_every_format_is_compared_and_timed(measured: dict[str, Any]) -> None:
    names = [f"ours-{name}" for name in FORMATS] + list(BYTES)
    assert list(measured["answers"]) == names
    assert [row["case"] for row in measured["rows"]] == ["in generate 7", "decode 7, step"]
    for row in measured["rows"]:
        assert set(row["ratios"]) == set(names)
    for name, facts in measured["answers"].items():
        assert facts["right"], (name, facts)
        own = compared.WEIGHTS.get(name.removeprefix("ours-"), 0)
        assert facts["relative"] > 1e-3, f"{name} must not be what it is compared with"
        assert facts["bound"] >= own
    references = {name: facts["reference"] for name, facts in measured["answers"].items()}
    assert references["bitsandbytes-nf4"] == "ours-nf4"
    assert references["bitsandbytes-int8"] == references["ours-int8-dynamic"] == "ours-int8"
    assert measured["sides"]["ours"] == "float32"
    assert measured["machine"]["engines"]["bitsandbytes"][0].isdigit()


def test_the_memory_of_quantized_sides_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bitsandbytes")
    for side in ("ours-nf4", "bitsandbytes-nf4"):
        found = alone.memory(Setup(DEMO, (side,), 1, 1), CONFIG, side, DEMO, 100, 1)
        peaks = list(found["peak_bytes"].values())
        assert peaks == sorted(peaks)
        assert 10e6 < found["held_bytes"]["load"] <= found["peak_bytes"]["load"]
        assert 10e6 < found["held_bytes"]["generate"] <= found["peak_bytes"]["generate"]

    def fail(*given: Any, **options: Any) -> None:
        raise InputError("each measurement must succeed", "no memory", "none")

    monkeypatch.setattr(alone, "run", fail)
    with pytest.raises(InputError, match="no memory"):
        alone.memory(Setup(DEMO, ("ours-nf4",), 1, 1), CONFIG, "ours-nf4", DEMO)
    assert alone.memory(Setup(DEMO, BYTES, 1, 1), CONFIG, "bitsandbytes-nf4", DEMO) == {"missing": "no memory"}


def test_the_bounds_know_every_format() -> None:
    for side in (*(f"ours-{name}" for name in variants.NAMES), *registry.PEERS):
        found = rounds.precision(side, Variant())
        assert compared.bound(Precision("float32"), found) > 0
