"""A conformance kit for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from minibiogpt.golden.kit.writer import write_kit


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twin") / "kit"
    write_kit(folder)
    return folder
