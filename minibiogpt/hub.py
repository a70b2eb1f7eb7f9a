"""Where a model's files are: the demo in this package, a folder, or a hub id fetched with huggingface_hub."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from types import ModuleType

from minibiogpt.errors import CheckpointError, InputError
from minibiogpt.stored import stored_tensors

DEMO = Path(__file__).parent / "demo"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Where the official checkpoints keep their safetensors: on proposed branches, which hold the other files as well.
REVISIONS = {
    "microsoft/biogpt": "refs/pr/17",
    "microsoft/BioGPT-Large": "refs/pr/5",
    "microsoft/BioGPT-Large-PubMedQA": "refs/pr/2",
}
NECESSARY = ("config.json", "vocab.json", "merges.txt")
WANTED = [
    *NECESSARY,
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "model.safetensors",
    "model-*.safetensors",
    "model.safetensors.index.json",
]


def find_model(name: str | os.PathLike[str]) -> Path:
    """The folder of a model called "demo", a path, or a hub id such as "microsoft/biogpt".

    A hub id is looked up in the hub's own cache on this machine, and fetched into it if it is not there.

    Raises
    ------
    InputError
        If it is none of the three, or a hub id that cannot be had.

    Examples
    --------
    >>> sorted(path.suffix for path in find_model("demo").glob("m*"))
    ['.safetensors', '.txt']
    """
    if name == "demo":
        return DEMO
    if os.fspath(name) and Path(name).is_dir():
        return Path(name)
    if not HUB_ID.fullmatch(os.fspath(name)):
        must = "a model must be 'demo', a folder, or a hub id such as microsoft/biogpt"
        raise InputError(must, repr(os.fspath(name)), "check the path")
    return _fetch(os.fspath(name), None, None)


def download(repo_id: str, folder: str | os.PathLike[str], *, revision: str | None = None) -> Path:
    """Fetch a checkpoint's config, vocabulary and safetensors (never a pickle) into a new FOLDER.

    They go to ``FOLDER.part`` beside it, are checked there, and the folder is renamed: FOLDER is whole or absent. A
    download that was cut off goes on where it stopped when it is asked for again.

    Parameters
    ----------
    revision : a branch, tag or commit; by default where the official checkpoints have their safetensors, else main.

    Raises
    ------
    InputError
        If FOLDER exists, huggingface_hub is not installed, or there is no such repository or no network.
    CheckpointError
        If the repository has no safetensors, or what came is not whole.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError("the folder to download into must be new or empty", str(target), "name another folder")
    if not HUB_ID.fullmatch(repo_id):
        raise InputError("a repository must be OWNER/NAME", repr(repo_id), "try microsoft/biogpt")
    part = target.with_name(target.name + ".part")
    _fetch(repo_id, revision, part)
    shutil.rmtree(part / ".cache", ignore_errors=True)  # the client's notes on what was still to come
    try:
        _check_whole(repo_id, part)
    except CheckpointError:
        shutil.rmtree(part)
        raise
    if target.exists():
        target.rmdir()
    part.rename(target)
    return target


def _check_whole(repo_id: str, folder: Path) -> None:
    missing = [name for name in NECESSARY if not (folder / name).is_file()]
    if missing:
        must = f"{repo_id} must hold {', '.join(NECESSARY)}"
        raise CheckpointError(must, f"no {', '.join(missing)}", "choose another repository or revision")
    stored_tensors(folder)


def _hub() -> ModuleType:
    try:
        import huggingface_hub
    except ImportError:
        must = "a model from the hub needs the package huggingface_hub"
        raise InputError(must, "none installed", "pip install 'minibiogpt[hub]'") from None
    return huggingface_hub


def _fetch(repo_id: str, revision: str | None, folder: Path | None) -> Path:
    """A snapshot of the wanted files, in ``folder`` or in the hub's cache."""
    hub = _hub()
    revision = revision or REVISIONS.get(repo_id, "main")
    try:
        if folder is not None:
            listed = hub.HfApi().model_info(repo_id, revision=revision).siblings
            _require_safetensors(repo_id, [file.rfilename for file in listed])
        return Path(hub.snapshot_download(repo_id, revision=revision, local_dir=folder, allow_patterns=WANTED))
    except InputError:
        raise
    except Exception as error:
        if not _of_the_network(error):
            raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        must = f"{repo_id} (revision {revision}) must be reachable and come whole"
        remedy = "check the name, the revision and the network, and try again: what came is kept"
        raise InputError(must, f"{type(error).__name__}: {first}", remedy) from None


def _require_safetensors(repo_id: str, files: list[str]) -> None:
    if not any(re.fullmatch(r"model(-.*)?\.safetensors", name) for name in files):
        pickled = [name for name in files if name.endswith((".bin", ".pt"))]
        found = f"only {', '.join(pickled)}, which can run code" if pickled else "none"
        raise CheckpointError(f"{repo_id} must hold safetensors", found, "name a --revision that has them")


def _of_the_network(error: Exception) -> bool:
    """Whether an error is the hub client's or its HTTP library's (requests before 1.0, httpx since)."""
    roots = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    return isinstance(error, OSError) or bool(roots & {"huggingface_hub", "requests", "httpx"})
