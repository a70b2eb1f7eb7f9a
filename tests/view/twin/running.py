"""Run the JavaScript implementation in Node.js: calls of the model, and conformance kits."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from minibiogpt import Trace
from minibiogpt.view.modules import STATIC

RUN = Path(__file__).parent / "run.mjs"
KIT_TOOL = Path(__file__).parents[3] / "tools" / "twin_kit.mjs"


def node(*arguments: Any, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run Node.js. Skip the test if it is not installed."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed, so the JavaScript implementation cannot be run")
    command = [found, *map(str, arguments)]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=300)


def traces(model: Path, dtype: str, calls: Sequence[dict[str, Any]]) -> list[Trace]:
    """Return the trace of each call, as JavaScript saves it.

    A call is the options of ``forward``, with lists for arrays. ``rules`` are given to ``with``, ``after`` is the index
    of the call whose cache it continues, ``edits`` are functions as JavaScript, and ``patch`` is {"from": index of a
    call, "names": of its arrays}.
    """
    with tempfile.TemporaryDirectory() as folder:
        asked = {"static": str(STATIC), "model": str(model), "dtype": dtype, "calls": calls, "out": folder}
        done = node(RUN, given=json.dumps(asked))
        assert done.returncode == 0, done.stderr
        return [Trace.load(Path(folder) / f"{n}.safetensors") for n in range(len(calls))]
