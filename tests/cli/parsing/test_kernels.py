"""--product, --fast-blas, and what is said when NumPy's OpenBLAS uses kernels for an older processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from minibiogpt.backend import report
from minibiogpt.backend.processor import Processor, this_processor
from minibiogpt.backend.products import get_product, why_not
from minibiogpt.backend.report import AVX2, AVX512, CORETYPE, better_kernel
from minibiogpt.backend.threads import WORKERS
from minibiogpt.cli import main
from minibiogpt.cli.parsing import kernels

NEW = Processor("EPYC", "AuthenticAMD", frozenset(AVX512 | AVX2))
needs_avx512 = pytest.mark.skipif(
    not this_processor().flags >= AVX512 or not any(x.internal_api == "openblas" for x in WORKERS.blas.libraries),
    reason="the processor has no AVX-512, or NumPy has no OpenBLAS",
)


@pytest.mark.parametrize(
    ("kernel", "flags", "better"),
    [
        ("Haswell", AVX512 | AVX2, "SkylakeX"),
        ("Zen", AVX512 | AVX2, "SkylakeX"),
        ("Nehalem", AVX512 | AVX2, "SkylakeX"),
        ("SkylakeX", AVX512 | AVX2, ""),
        ("Cooperlake", AVX512 | AVX2, ""),
        ("SapphireRapids", AVX512 | AVX2, ""),
        ("Haswell", AVX2, ""),
        ("Haswell", AVX2 | {"avx512f"}, ""),  # Knights Landing has not all of AVX-512
        ("Sandybridge", AVX2, "Haswell"),
        ("Prescott", {"sse3"}, ""),
        ("neoversen1", {"asimd", "sve"}, ""),
        ("", AVX512 | AVX2, ""),
    ],
)
def test_kernels_for_an_older_processor_are_found(kernel: str, flags: set[str], better: str) -> None:
    assert better_kernel(kernel, Processor("x", "", frozenset(flags))) == better


@pytest.fixture
def old_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "this_processor", lambda: NEW)
    monkeypatch.setattr(type(WORKERS.blas), "kernel", "Haswell")
    monkeypatch.setitem(vars(WORKERS.blas), "libraries", [SimpleNamespace(internal_api="openblas", num_threads=1,
                        version="0.3", set_num_threads=lambda n: None)])  # fmt: skip
    monkeypatch.delenv(CORETYPE, raising=False)


NOTE = (
    "minibiogpt: note: NumPy's OpenBLAS uses its kernels for Haswell, but this processor has AVX-512: with "
    "OPENBLAS_CORETYPE=SkylakeX in the environment large products may be twice as fast; --fast-blas sets it\n"
)


@pytest.mark.usefixtures("old_kernels")
def test_it_is_said_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "a"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(kernels, "sys", SimpleNamespace(stderr=SimpleNamespace(isatty=lambda: True)))
    assert main(["score", "a"]) == 0
    assert capsys.readouterr().err == NOTE
    monkeypatch.setenv(CORETYPE, "Haswell")
    assert main(["score", "a"]) == 0
    assert "kernels for Haswell, as OPENBLAS_CORETYPE=Haswell says, but" in capsys.readouterr().err
    assert main(["tokenize", "a"]) == 0, "it does not run the model"
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("old_kernels")
def test_info_says_it_always(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MINIBIOGPT_PRODUCT", "numpy")
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["machine"]
    assert found["advice"] in NOTE
    assert (found["product"], found["kernel"], found["library"]) == ("numpy", "Haswell", "openblas 0.3")


@pytest.mark.usefixtures("old_kernels")
def test_fast_blas_starts_the_command_again_with_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(kernels, "command_is_running", lambda: True)
    monkeypatch.setattr(kernels.os, "execv", lambda *words: started.append((os.environ[CORETYPE], *words)))
    monkeypatch.setattr(kernels.sys, "orig_argv", ["python", "-m", "minibiogpt", "score", "a", "--fast-blas"])
    monkeypatch.setenv(CORETYPE, "Nehalem")
    main(["score", "a", "--fast-blas"])
    assert started == [("SkylakeX", sys.executable, [sys.executable, "-m", "minibiogpt", "score", "a", "--fast-blas"])]


@pytest.mark.usefixtures("old_kernels")
def test_a_library_that_does_not_take_the_variable_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kernels, "command_is_running", lambda: True)
    monkeypatch.setattr(kernels.os, "execv", lambda *words: pytest.fail("an endless loop"))
    monkeypatch.setenv(CORETYPE, "SkylakeX")
    assert main(["score", "a", "--fast-blas"]) == 0
    assert (
        "note: --fast-blas has no effect here: NumPy's OpenBLAS keeps its kernels for Haswell"
        in capsys.readouterr().err
    )


@needs_avx512
@pytest.mark.parametrize("core", ["Haswell", ""])
def test_fast_blas_in_a_process_of_its_own(core: str) -> None:
    environment = {name: x for name, x in os.environ.items() if name != CORETYPE} | ({CORETYPE: core} if core else {})
    environment["MINIBIOGPT_PRODUCT"] = "numpy"
    words = [sys.executable, "-m", "minibiogpt", "info", "--json"]
    run = [
        subprocess.run([*words, *more], capture_output=True, text=True, env=environment)
        for more in ([], ["--fast-blas"])
    ]
    plain, fast = (json.loads(one.stdout)["machine"] for one in run)
    assert plain["kernel"] == (core or plain["kernel"])
    assert ("advice" in plain) == (better_kernel(plain["kernel"], this_processor()) != "")
    assert fast["kernel"].lower() not in report.OLD | report.HASWELL
    assert "advice" not in fast
    assert run[1].stderr == ""


def test_info_measures_the_machine_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report, "measure", lambda product, dtype="float32": {1: 20.0, 8: 50.0, 512: 99.96})
    assert main(["info", "--json", "--speed"]) == 0
    facts = json.loads(capsys.readouterr().out)
    found = facts["machine"]
    assert (found["gflops_1_row"], found["gflops_8_rows"], found["gflops_512_rows"]) == (20.0, 50.0, 100.0)
    assert found["ms_per_token_at_least"] == round(facts["weights_bytes"] / 40e9 * 1e3, 1)


def test_the_rates_are_operations_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "_shortest", lambda function, seconds: function() or 0.5)
    monkeypatch.setattr(report, "WEIGHTS", 2)
    monkeypatch.setattr(report, "N", 16)
    calls = []
    product: Any = SimpleNamespace(linear=lambda rows, weight, *_: calls.append((rows.shape, weight.shape)))
    assert report.measure(product) == {M: 2e-9 * M * 1024 * 16 * 2 / 0.5 for M in (1, 8, 512)}
    assert calls == [((M, 1024), (16, 1024)) for M in (1, 8, 512) for _ in range(2)]


def test_the_report_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "measure", lambda product, dtype="float32": {1: 20.0, 8: 50.0, 512: 300.0})
    found = report.report()
    lines = report.lines(json.loads(json.dumps(found)))
    assert lines[0].startswith("processor")
    (numpy_line,) = [line for line in lines if line.startswith("numpy (")]
    assert numpy_line.split()[-3:] == ["20.0", "50.0", "300.0"]
    for name in ("mkl", "openblas", "onednn"):
        said = f"{name}: {why_not(name)}" if why_not(name) else f"{name} ("
        dtypes = 1 if why_not(name) or not get_product(name).bfloat16 else 2
        assert sum(line.startswith(said) for line in lines) == dtypes
    assert lines[-1] == "One row reads weights at 40 GB/s: BioGPT (347M, float32) needs 35 ms a token."


def test_few_rows_are_a_librarys_own_in_bfloat16_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "measure", lambda product, dtype: {1: 1.0, 8: 8.0, 512: 512.0})
    product: Any = SimpleNamespace(bfloat16=True, own_rows=9, describe=lambda: {"library": "x"})
    found = report._of_product(product)
    assert (list(found["gflops_float32"]), list(found["gflops_bfloat16"])) == (["512"], ["1", "8", "512"])


def test_the_report_is_a_command() -> None:
    words = [sys.executable, "-m", "minibiogpt.backend", "--json"]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert found["products"]["numpy"]["gflops_float32"]["512"] > 0
    assert found["product"] in found["products"]


def test_the_product_of_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "aspirin", "--product", "numpy"]) == 0
    want = capsys.readouterr().out
    for name in ("mkl", "openblas", "onednn"):
        code = main(["score", "aspirin", "--product", name])
        out, err = capsys.readouterr()
        assert (code, err) == ((0, "") if not why_not(name) else (2, f"minibiogpt: error: {why_not(name)}\n"))
        assert not out or out.split()[0][:6] == want.split()[0][:6]
    monkeypatch.setenv("MINIBIOGPT_PRODUCT", "fast")
    assert main(["score", "aspirin"]) == 2
    assert (
        "MINIBIOGPT_PRODUCT must be one of auto, numpy, mkl, openblas, onednn; found 'fast'" in capsys.readouterr().err
    )
