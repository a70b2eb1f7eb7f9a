"""docs/golden-format.md: its readers in JavaScript and C run and read a case correctly."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from minibiogpt import BioGptForCausalLM
from minibiogpt.golden.format.case import Case
from minibiogpt.golden.format.record import record
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "golden-format.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


@pytest.fixture
def case(tmp_path: Path) -> Case:
    model = BioGptForCausalLM.from_pretrained("demo", dtype="float64")
    record(model, [{"input_ids": np.array([[2, 5, 9]])}], tmp_path / "case.safetensors", name="c", seeds=1)
    return Case.read(tmp_path / "case.safetensors")


def test_the_reader_in_javascript(case: Case, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed, so the reader in JavaScript cannot be run")
    (tmp_path / "read.js").write_text(block("js"))
    run = subprocess.run([node, tmp_path / "read.js", case.path], capture_output=True, text=True, check=True)
    lines = [line.split() for line in run.stdout.splitlines()]
    assert [line[1] for line in lines] == [entry.name for entry in case.entries]
    for (verdict, _, shape, last), entry in zip(lines, case.entries, strict=True):
        assert (verdict, shape) == ("agrees", "x".join(map(str, entry.shape)))
        assert float(last) == case.array(entry.name).reshape(-1)[-1]


def test_the_reader_in_c(case: Case, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler is installed, so the reader in C cannot be run")
    (tmp_path / "read.c").write_text(block("c"))
    subprocess.run([compiler, "-Wall", "-Werror", "-o", tmp_path / "read", tmp_path / "read.c"], check=True)
    for name in ("logits", "layers.1.self_attn.probs"):
        run = subprocess.run([tmp_path / "read", case.path, name], capture_output=True, text=True, check=True)
        size, last = run.stdout.split()
        array = case.array(name)
        assert (int(size), float(last)) == (array.size, array.reshape(-1)[-1])
    assert subprocess.run([tmp_path / "read", case.path, "nothing"], check=False).returncode == 2


def test_the_page_names_every_key_of_the_metadata_and_the_numbers_of_the_code(case: Case) -> None:
    import json

    from minibiogpt.files.safetensors import read_header
    from minibiogpt.golden.format.rounding import ROUNDING

    path = case.path.with_name("q.safetensors")
    model = BioGptForCausalLM.from_pretrained("demo", dtype="float64", quantization="int8")
    record(model, [{"input_ids": np.array([[2, 5, 9]])}], path, name="q", seeds=1, weights=True)
    for about in (read_header(case.path)[0], read_header(path)[0]):
        first = json.loads(about["arrays"])[0]
        facts = json.loads(about.get("quantization", "{}"))
        assert all(f"`{key}`" in PAGE for key in [*about, *first, *facts])
        assert all(f"`{key}`" in PAGE or f'"{key}"' in PAGE for key in first["budgets"])
    powers = ", ".join(f"2^{int(np.log2(part))}" for part in list(ROUNDING.values())[:3])
    assert f"{powers} and 2^{int(np.log2(ROUNDING['float16']))}" in PAGE.replace("\n", " ")
