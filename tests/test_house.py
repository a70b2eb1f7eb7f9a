"""Who imports whom: what stands below knows nothing above it, and a plain import loads no more than it needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import minibiogpt

PACKAGE = Path(minibiogpt.__file__).parent
ABOVE = ("model", "heads", "generation", "golden", "view", "cli", "catalog", "lens")


def imported(path: Path) -> set[str]:
    """The parts of the package that a file imports at its head: "golden" of ``minibiogpt.golden.format.case``."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("minibiogpt"):
            part = (node.module or "").split(".")[1:2]
            found |= set(part) if part else {name.name for name in node.names}
    return found


def test_imports_are_found() -> None:
    assert {"backend", "config", "model", "trace"} <= imported(PACKAGE / "model" / "biogpt.py")


@pytest.mark.parametrize("name", ["config", "backend/base", "trace/trace"])
def test_the_lowest_know_nobody_above_them(name: str) -> None:
    assert imported(PACKAGE / f"{name}.py") & set(ABOVE) == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "model").glob("*.py")), ids=lambda path: path.stem)
def test_the_model_knows_neither_generation_nor_what_looks_at_it(path: Path) -> None:
    assert imported(path) & {"heads", "generation", "golden", "view", "cli"} == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "golden").rglob("*.py")), ids=lambda path: path.stem)
def test_golden_reads_traces_and_never_layers(path: Path) -> None:
    assert "cli" not in imported(path)
    source = path.read_text(encoding="utf-8")
    assert not any(f"minibiogpt.model.{name}" in source for name in ("layers", "attention", "biogpt"))


def test_a_plain_import_loads_no_golden_values_and_no_explanations() -> None:
    code = "import sys, minibiogpt; print(*(name for name in sys.modules if name.startswith('minibiogpt.')))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    parts = {name.split(".")[1] for name in done.stdout.split()}
    assert "trace" in parts
    assert parts & {"golden", "view", "cli", "explain", "steps", "equations", "notes", "aliases", "lens"} == set()


def test_what_the_commands_keep_by_themselves_to_start_quickly_is_what_the_package_says() -> None:
    from minibiogpt.catalog.steps import HEADS
    from minibiogpt.cli.golden import check, record
    from minibiogpt.golden.format import case

    assert check.PRECISIONS == case.PRECISIONS
    assert {name: head for head, name in record.CLASSES.items()} == HEADS
