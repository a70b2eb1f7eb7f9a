"""A hub cache with the demo model under the published one's name, so that lines with "microsoft/biogpt" run offline."""

from __future__ import annotations

import shutil
from pathlib import Path

from minibiogpt.files.hub import DEMO, TEXT_FILES
from minibiogpt.files.naming import REVISIONS

NAME = "microsoft/biogpt"


def make_cache(home: Path) -> dict[str, str]:
    """Write the cache below ``home``; return the environment variables that make huggingface_hub use only that."""
    repository = home / "hub" / f"models--{NAME.replace('/', '--')}"
    commit = "0" * 40
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for name in (*TEXT_FILES, "model.safetensors"):
        if (DEMO / name).is_file():
            shutil.copyfile(DEMO / name, snapshot / name)
    for revision in ("main", REVISIONS[NAME]):
        reference = repository / "refs" / revision
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(commit)
    return {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1"}
