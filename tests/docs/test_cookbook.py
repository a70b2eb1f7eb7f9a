"""docs/cookbook.md: its Python compiles, and runs and agrees where its framework is installed."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from minibiogpt.cli import main
from minibiogpt.golden.check.checker import check
from minibiogpt.golden.check.result import Options
from minibiogpt.golden.format.case import Case
from tests.support.pages import DOCS, blocks, text_of

FILES = {
    block.comment.removeprefix("file: "): block.text
    for block in blocks(text_of(DOCS / "cookbook.md"))
    if block.comment.startswith("file: ")
}
# {framework: (its modules, the number of arrays that its program writes)}
FRAMEWORKS = {
    "jax": (["jax"], 13),
    "flax": (["flax"], 8),
    "mlx": (["mlx"], 13),
    "onnx": (["onnx", "onnxruntime"], 12),
    "tinygrad": (["tinygrad"], 13),
}
CASE = "pad_id_in_text"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the Python files of the page, and a kit, into a folder."""
    path = tmp_path_factory.mktemp("cookbook")
    assert main(["golden", "kit", str(path / "kit"), "--cases", CASE]) == 0
    for name, text in FILES.items():
        (path / name).write_text(text)
    return path


def run(folder: Path, name: str) -> None:
    done = subprocess.run([sys.executable, name], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_framework_has_a_program_that_compiles() -> None:
    programs = {name.removesuffix("_layer.py") for name in FILES if name.endswith("_layer.py")}
    assert programs == set(FRAMEWORKS)
    for name, text in FILES.items():
        if name.endswith(".py"):
            ast.parse(text, name)


def test_the_shared_lines_fit_the_kit_and_the_c_program(folder: Path) -> None:
    run(folder, "raw_weights.py")
    case = load_file(folder / "kit" / "cases" / f"{CASE}.safetensors")
    B, H, T, S = case["layers.0.self_attn.probs"].shape
    D = case["embeddings"].shape[-1]
    assert f"enum {{ B = {B}, T = {T}, D = {D}, H = {H}, Dh = D / H }};" in FILES["layer.c"]
    assert (T, float(np.float32((D // H) ** -0.5))) == (S, float(np.float32(0.37796447)))
    x = np.fromfile(folder / "raw" / "x.f32", "<f4").reshape(B, T, D)
    assert np.array_equal(x, case["embeddings"].astype(np.float32))
    sizes = {"x": B * T * D, "self_attn.q_proj.weight": D * D, "self_attn_layer_norm.bias": D}
    assert {name: (folder / "raw" / f"{name}.f32").stat().st_size for name in sizes} == {
        name: 4 * size for name, size in sizes.items()
    }
    names = re.findall(r'note\("([\w.]+)"', FILES["layer.c"])
    assert {f"layers.0.{name}" for name in names} <= set(case)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_program_agrees(framework: str, folder: Path) -> None:
    modules, arrays = FRAMEWORKS[framework]
    if missing := [name for name in modules if find_spec(name) is None]:
        pytest.skip(f"{', '.join(missing)} not installed; the page says with which versions it was run")
    run(folder, f"{framework}_layer.py")
    case = Case.read(folder / "kit" / "cases" / f"{CASE}.safetensors")
    result = check(case, folder / f"{framework}.safetensors", Options(subset=True))
    assert (result.code, result.compared) == (0, arrays)
