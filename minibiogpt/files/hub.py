"""Where a model's files are: the demo in this package, a folder, or a hub id fetched with huggingface_hub."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from minibiogpt.errors import CheckpointError, InputError, short_repr
from minibiogpt.files.safetensors import stored_tensors
from minibiogpt.files.writing import is_new_folder

DEMO = Path(__file__).parents[1] / "demo"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# Where the official checkpoints keep their safetensors: on proposed branches; their main holds pickles.
REVISIONS = {
    "microsoft/biogpt": "refs/pr/17",
    "microsoft/BioGPT-Large": "refs/pr/5",
    "microsoft/BioGPT-Large-PubMedQA": "refs/pr/2",
}
NECESSARY = ("config.json", "vocab.json", "merges.txt")
SMALL = (*NECESSARY, "tokenizer_config.json", "generation_config.json", "special_tokens_map.json")
SINGLE, SHARDS, INDEX = "model.safetensors", "model-*.safetensors", "model.safetensors.index.json"
PATIENCE = 20  # seconds for the first answer of the hub

Plan = list[tuple[str, list[str]]]  # commits, and the files to take from each


def find_model(name: str | os.PathLike[str]) -> Path:
    """The folder of a model called "demo", a path, or a hub id such as "microsoft/biogpt".

    A hub id is kept in huggingface_hub's own cache: what is new there is fetched into it, and without a network what
    it holds is used. Only a string can be a hub id; a path object is always a folder.

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
    if os.fspath(name) and _is_folder(Path(name)):
        return Path(name)
    if not isinstance(name, str) or not HUB_ID.fullmatch(name):
        must = "a model must be 'demo', a folder, or a hub id such as microsoft/biogpt"
        raise InputError(must, repr(os.fspath(name)), "check the path")
    hub, revision = _hub(f"{name!r}, which is no folder, "), REVISIONS.get(name, "main")
    with _in_our_words(hub, name, revision):
        return Path(hub.snapshot_download(name, revision=revision, allow_patterns=[*SMALL, SINGLE, SHARDS, INDEX]))


def download(repo_id: str, folder: str | os.PathLike[str], *, revision: str | None = None) -> Path:
    """Fetch a checkpoint's config, vocabulary and safetensors (never a pickle) into a new FOLDER.

    They go to ``FOLDER.COMMIT.part`` beside it, are checked there, and that folder is renamed: FOLDER is whole or
    absent. On the disk they are once (and once more where the hub's cache holds them already: those are copied, not
    fetched). A transfer that was cut off leaves the part folder, and the next one goes on from there: in the middle of
    a file with huggingface_hub 0.x, from the first file not yet whole with later ones. A transfer that brought unusable
    files leaves nothing. Set HF_HUB_DISABLE_PROGRESS_BARS=1 for no progress bars.

    Parameters
    ----------
    revision : a branch, tag or commit; by default where the official checkpoints have their safetensors (what is not
        there comes from main), else main.

    Raises
    ------
    InputError
        If FOLDER holds something, huggingface_hub is not installed, or there is no such repository or no network.
    CheckpointError
        If the repository has no safetensors, or what came is not whole.
    """
    target = Path(folder)
    _require_new(target)
    if not HUB_ID.fullmatch(repo_id):
        raise InputError("a repository must be OWNER/NAME", repr(repo_id), "try microsoft/biogpt")
    hub, shown = _hub(), revision or REVISIONS.get(repo_id, "main")
    with _in_our_words(hub, repo_id, shown):
        plan = _plan(hub, repo_id, revision)
        part = target.with_name(f"{target.name}.{plan[0][0][:12]}.part")
    try:
        with _in_our_words(hub, repo_id, shown):
            _fill(hub, repo_id, plan, part)
    except CheckpointError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    with _in_our_words(hub, repo_id, shown):
        shutil.rmtree(part / ".cache", ignore_errors=True)  # the client's notes on what was still to come
        if target.exists():
            target.rmdir()
        part.rename(target)
    return target


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:  # its name is too long, or a folder above it is locked
        found = f"{short_repr(str(path))}: {error.strerror}"
        raise InputError("a model's folder must be one that can be looked into", found, "check the path") from None


def _require_new(target: Path) -> None:
    found = short_repr(str(target))
    try:
        if is_new_folder(target):
            return
    except (OSError, ValueError) as error:
        found += f", which cannot be looked into ({getattr(error, 'strerror', error)})"
    raise InputError("the folder to download into must be new or empty", found, "choose a new folder")


def _hub(what: str = "a model from the hub ") -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        must = f"{what}needs the package huggingface_hub"
        raise InputError(must, "none installed", "pip install 'minibiogpt[hub]'") from None
    return huggingface_hub


def _plan(hub: ModuleType, repo_id: str, revision: str | None) -> Plan:
    """What to fetch from which commit; an unusable repository is found out here, before a byte of it has come."""
    pinned = REVISIONS.get(repo_id) if revision is None else None
    commit, files = _listed(hub, repo_id, revision or pinned or "main")
    plan = [(commit, [name for name in SMALL if name in files] + _weights(repo_id, files))]
    if pinned:
        main, others = _listed(hub, repo_id, "main")
        plan.append((main, [name for name in SMALL if name in others and name not in files]))
    found = {name for _, names in plan for name in names}
    if missing := [name for name in NECESSARY if name not in found]:
        must = f"{repo_id} must hold {', '.join(NECESSARY)}"
        raise CheckpointError(must, f"no {', '.join(missing)}", "choose another repository or revision")
    return [(commit, names) for commit, names in plan if names]


def _listed(hub: ModuleType, repo_id: str, revision: str) -> tuple[str, list[str]]:
    info = hub.HfApi().model_info(repo_id, revision=revision, timeout=PATIENCE)
    return info.sha or revision, [file.rfilename for file in info.siblings or ()]


def _weights(repo_id: str, files: list[str]) -> list[str]:
    """The single file where there is one, else the shards and their index."""
    if SINGLE in files:
        return [SINGLE]
    shards = [name for name in files if re.fullmatch(r"model-[^/]*\.safetensors", name)]
    if shards and INDEX in files:
        return [INDEX, *shards]
    pickled = [name for name in files if name.endswith((".bin", ".pt"))]
    found = f"only {', '.join(pickled)}, which can run code" if pickled else "none"
    remedy = "name a revision that has them, or fetch the files yourself and run minibiogpt convert"
    raise CheckpointError(f"{repo_id} must hold safetensors", found, remedy)


def _fill(hub: ModuleType, repo_id: str, plan: Plan, part: Path) -> None:
    """Fetch the files into the part folder and see that they are all there and whole."""
    for commit, names in plan:
        hub.snapshot_download(repo_id, revision=commit, local_dir=part, allow_patterns=names)
        if missing := [name for name in names if not (part / name).is_file()]:  # the client may settle for less
            raise InputError(f"{repo_id} must come whole", f"no {', '.join(missing)}", "try again: what came is kept")
    stored_tensors(part)


@contextmanager
def _in_our_words(hub: ModuleType, repo_id: str, revision: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        ours = _explained(error, hub.errors, f"{repo_id} (revision {revision})")
        if ours is None:
            raise
        raise ours from None


def _explained(error: Exception, kinds: ModuleType, what: str) -> InputError | None:
    """The client's error, or its HTTP library's (requests, httpx or another: it has changed), as one of ours."""
    root: BaseException = error
    while deeper := root.__cause__ or (None if root.__suppress_context__ else root.__context__):
        root = deeper
    found = ": ".join([type(root).__name__, *str(root).strip().splitlines()[:1]])
    status = getattr(getattr(error, "response", None), "status_code", None)
    refused = status in (401, 403) and not isinstance(error, kinds.RepositoryNotFoundError)
    if refused or isinstance(error, kinds.GatedRepoError):
        remedy = "accept its terms on its page and log in with the hub's own command"
        return InputError(f"{what} must be open to you", f"access refused (HTTP {status})", remedy)
    if isinstance(error, kinds.RepositoryNotFoundError):
        remedy = "check the name (or the path, if you mean a folder), or log in with the hub's own command"
        return InputError(f"{what} must be on the hub", "no such repository, or a private one", remedy)
    if isinstance(error, kinds.RevisionNotFoundError):
        return InputError(f"{what} must be on the hub", "no such revision", "name a branch, a tag or a commit")
    if isinstance(error, kinds.OfflineModeIsEnabled) or (isinstance(error, OSError) and "HF_HUB_OFFLINE" in str(error)):
        return InputError(f"{what} must be in the hub's cache", "HF_HUB_OFFLINE set", "unset it, or name a folder")
    ours = type(error).__module__ == "builtins"  # not the network's: those classes are the libraries' own
    if ours and isinstance(error, OSError) and (error.filename is not None or error.errno == errno.ENOSPC):
        return InputError("the files must have a place on the disk", found, "make room, or choose another folder")
    if status == 416 or (type(error) is OSError and error.errno is None):  # the client's check of sizes failed
        return CheckpointError(f"{what} must come whole", found, "try again")
    foreign = any(kind.__module__.startswith(("huggingface_hub", "httpx")) for kind in type(error).__mro__)
    if foreign or isinstance(error, OSError | RuntimeError | ValueError):
        remedy = "check the network and try again: what came is kept"
        return InputError(f"{what} must be reachable and come whole", found, remedy)
    return None
