"""Find a model's files: the packaged demo, a local folder, or a repository on the Hugging Face hub."""

from __future__ import annotations

import errno
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from minibiogpt.errors import CheckpointError, InputError, listed, short_repr
from minibiogpt.files.copying import check_folder, check_text_file
from minibiogpt.files.naming import MUST, hub_id, local_folder, pinned_revision
from minibiogpt.files.safetensors import INDEX, SINGLE, read_header, stored_tensors
from minibiogpt.files.writing import is_new_folder

DEMO = Path(__file__).parents[1] / "demo"
TOKENIZER_FILES = ("vocab.json", "merges.txt")
TEXT_FILES = (
    "config.json",
    *TOKENIZER_FILES,
    "tokenizer_config.json",
    "generation_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
    "chat_template.jinja",
)
SHARDS = "model-*.safetensors"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
TIMEOUT = 20  # seconds until the hub must respond
RESUME = "try again: the files downloaded so far are kept"

Plan = list[tuple[str, list[str]]]  # pairs of a commit and the files to download from it


def find_model(name: str | os.PathLike[str], revision: str | None = None, *, what: str = "a model") -> Path:
    """Return the folder of a model: "demo", a path, or a hub id such as "microsoft/biogpt".

    A path may also be one of the folder's own files, such as model.safetensors or config.json. A hub id is downloaded
    into huggingface_hub's own cache, or updated there; the address of its page is read as the hub id. Without a
    network, the cached files are used. Only a string can be a hub id; a path object is always a folder or a file.

    Parameters
    ----------
    revision : a branch, tag or commit of a hub id. The default is the revision that holds the safetensors for the
        official checkpoints, in any case of their letters, and main for all others.
    what : what errors call it: "a model", "an adapter" or "a tokenizer".

    Raises
    ------
    InputError
        If the name is none of these, or the hub id cannot be downloaded.

    Examples
    --------
    >>> sorted(path.suffix for path in find_model("demo").glob("m*"))
    ['.safetensors', '.txt']
    """
    try:
        path = DEMO if name == "demo" else local_folder(name)
        repo_id, from_address = hub_id(name) if path is None else ("", None)
    except InputError as error:
        if what == "a model":
            raise
        other = f"{what} must be a folder or a hub id" if error.must == MUST else error.must.replace("a model", what, 1)
        raise InputError(other, error.found, error.remedy) from None
    if path is not None:
        if revision is not None:
            message = f"revision {short_repr(revision)} has no effect: {os.fspath(name)} is not on the hub"
            warnings.warn(message, stacklevel=3)
        return path
    return _cached(repo_id, revision or from_address)


def _cached(repo_id: str, revision: str | None) -> Path:
    """Download the text files, the safetensors and the adapter of a repository into the hub's cache, or update them."""
    hub, revision = _import_hub(f"{repo_id!r}, which is not a folder, "), revision or pinned_revision(repo_id) or "main"
    patterns = [*TEXT_FILES, SINGLE, SHARDS, INDEX, *ADAPTER_FILES]
    with _translate_errors(hub, repo_id, revision, "unset it, or name a folder"):
        return Path(hub.snapshot_download(repo_id, revision=revision, allow_patterns=patterns))


def download(repo_id: str, folder: str | os.PathLike[str], *, revision: str | None = None) -> Path:
    """Download a checkpoint's config, vocabulary and safetensors (never a pickle) into a new FOLDER.

    The files are downloaded to ``FOLDER.COMMIT.part`` beside it and checked there; then that folder is renamed. So
    FOLDER is either complete or absent. The disk holds one copy of the files. (Files that are already in the hub's
    cache are copied from there instead of downloaded.) An interrupted download leaves the part folder, and the next
    call resumes it: within a file with huggingface_hub 0.x, at the first incomplete file with later versions. A part
    folder that is a link, or holds other files, is refused and not touched. A download of unusable files leaves
    nothing, and FOLDER holds regular files only. Set HF_HUB_DISABLE_PROGRESS_BARS=1 to hide progress bars.

    Parameters
    ----------
    revision : a branch, tag or commit. The default is the revision that holds the safetensors for the official
        checkpoints (files missing there come from main), and main for all others.

    Raises
    ------
    InputError
        If FOLDER is not empty, huggingface_hub is not installed, the repository does not exist, or the network fails.
    CheckpointError
        If the repository has no safetensors, neither a model's nor a LoRA adapter's, or the files are incomplete.
    """
    target = Path(folder)
    _require_new(target)
    repo_id, from_address = hub_id(repo_id, "a repository must be OWNER/NAME")
    revision = revision or from_address
    hub, shown = _import_hub(), revision or pinned_revision(repo_id) or "main"
    with _translate_errors(hub, repo_id, shown):
        plan = _plan(hub, repo_id, revision)
        part = target.with_name(f"{target.name}.{plan[0][0][:12]}.part")
        if os.path.lexists(part):
            must = "the folder of an interrupted download must hold nothing else"
            check_folder(part, _names(plan), must, f"move {part} away, or choose another folder")
    try:
        with _translate_errors(hub, repo_id, shown):
            _fetch(hub, repo_id, plan, part)
    except CheckpointError:
        shutil.rmtree(part, ignore_errors=True)
        raise
    with _translate_errors(hub, repo_id, shown):
        shutil.rmtree(part / ".cache", ignore_errors=True)  # the client's record of unfinished downloads
        if target.exists():
            target.rmdir()
        part.rename(target)
    return target


def _require_new(target: Path) -> None:
    found = short_repr(str(target))
    try:
        if is_new_folder(target):
            return
    except (OSError, ValueError) as error:
        found += f", which cannot be read ({getattr(error, 'strerror', error)})"
    raise InputError("the folder to download into must be new or empty", found, "choose a new folder")


def _import_hub(what: str = "a model from the hub ") -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        must = f"{what}needs the package huggingface_hub"
        raise InputError(must, "none installed", "pip install 'minibiogpt[hub]'") from None
    return huggingface_hub


def _plan(hub: ModuleType, repo_id: str, revision: str | None) -> Plan:
    """Choose which files to download from which commit. An unusable repository fails here, before any download."""
    pinned = pinned_revision(repo_id) if revision is None else None
    commit, files = _list_files(hub, repo_id, revision or pinned or "main")
    plan = [(commit, [name for name in TEXT_FILES if name in files] + _weight_files(repo_id, files))]
    if pinned:
        main, others = _list_files(hub, repo_id, "main")
        plan.append((main, [name for name in TEXT_FILES if name in others and name not in files]))
    found = {name for _, names in plan for name in names}
    if "config.json" not in found and ADAPTER_FILES[0] not in found:
        raise CheckpointError(f"{repo_id} must hold config.json", "none", "choose another repository or revision")
    if "config.json" in found and (missing := [name for name in TOKENIZER_FILES if name not in found]):
        advice = "name a tokenizer with --tokenizer, such as microsoft/biogpt if the model was made from it"
        warnings.warn(f"{repo_id} has no {listed(missing)}: {advice}", stacklevel=4)
    return [(commit, names) for commit, names in plan if names]


def _list_files(hub: ModuleType, repo_id: str, revision: str) -> tuple[str, list[str]]:
    info = hub.HfApi().model_info(repo_id, revision=revision, timeout=TIMEOUT)
    return info.sha or revision, [file.rfilename for file in info.siblings or ()]


def _weight_files(repo_id: str, files: list[str]) -> list[str]:
    """Return the single weights file if there is one, otherwise the shards and their index; and a LoRA adapter."""
    adapter = [name for name in ADAPTER_FILES[:2] if name in files]
    if SINGLE in files:
        return [SINGLE, *adapter]
    shards = [name for name in files if re.fullmatch(r"model-[^/]*\.safetensors", name)]
    if shards and INDEX in files:
        return [INDEX, *shards, *adapter]
    if len(adapter) == 2:
        return adapter
    pickled = [name for name in files if name.endswith((".bin", ".pt"))]
    found = f"only {listed(pickled)}, which can run code" if pickled else "none"
    remedy = "name a revision that has them, or download the files yourself and run minibiogpt convert"
    raise CheckpointError(f"{repo_id} must hold safetensors", found, remedy)


def _names(plan: Plan) -> list[str]:
    return [name for _, names in plan for name in names]


def _fetch(hub: ModuleType, repo_id: str, plan: Plan, part: Path) -> None:
    """Download the files into the part folder, and check that all of them are there and complete."""
    for commit, names in plan:
        hub.snapshot_download(repo_id, revision=commit, local_dir=part, allow_patterns=names)
        if missing := [name for name in names if not (part / name).is_file()]:  # the client may skip some
            raise InputError(f"{repo_id} must download completely", f"no {listed(missing)}", RESUME)
    must = f"{repo_id} must download as regular files"
    check_folder(part, _names(plan), must, "update huggingface_hub, and try again")
    for name in _names(plan):
        if name in TEXT_FILES:
            check_text_file(part / name)
    if plan[0][1][-2:] == list(ADAPTER_FILES[:2]):
        read_header(part / ADAPTER_FILES[1])
    if (part / "config.json").is_file():
        stored_tensors(part)


@contextmanager
def _translate_errors(
    hub: ModuleType, repo_id: str, revision: str, offline_remedy: str = "unset it to download"
) -> Iterator[None]:
    """Raise errors of huggingface_hub, the network and the disk as InputErrors."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        translated = _as_input_error(error, hub.errors, f"{repo_id} (revision {revision})", offline_remedy)
        if translated is None:
            raise
        raise translated from None


def _as_input_error(error: Exception, errors: ModuleType, what: str, offline_remedy: str) -> InputError | None:
    """Return an InputError for an error of huggingface_hub or its HTTP library; None if it has a different origin.

    The HTTP library is requests or httpx, depending on the version of huggingface_hub.
    """
    root: BaseException = error
    while cause := root.__cause__ or (None if root.__suppress_context__ else root.__context__):
        root = cause
    found = ": ".join([type(root).__name__, *str(root).strip().splitlines()[:1]])
    status = getattr(getattr(error, "response", None), "status_code", None)
    refused = status in (401, 403) and not isinstance(error, errors.RepositoryNotFoundError)
    if refused or isinstance(error, errors.GatedRepoError):
        remedy = "accept its terms on its page and log in with the hub's own command"
        return InputError(f"{what} must be accessible to you", f"access refused (HTTP {status})", remedy)
    if isinstance(error, errors.RepositoryNotFoundError):
        remedy = "check the name (or the path, if you mean a folder), or log in with the hub's own command"
        return InputError(f"{what} must be on the hub", "no such repository, or a private one", remedy)
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"{what} must be on the hub", "no such revision", "name a branch, a tag or a commit")
    offline = isinstance(error, OSError) and "HF_HUB_OFFLINE" in str(error)
    if offline or isinstance(error, errors.OfflineModeIsEnabled):
        return InputError(f"{what} must be in the hub's cache", "HF_HUB_OFFLINE set", offline_remedy)
    builtin = type(error).__module__ == "builtins"  # network errors have the libraries' own classes
    if builtin and isinstance(error, OSError) and (error.filename is not None or error.errno == errno.ENOSPC):
        remedy = "free some space, or choose another folder (that of the hub's cache is HF_HOME)"
        return InputError("the download folder must be writable", found, remedy)
    if status == 416 or (type(error) is OSError and error.errno is None):  # the client's size check failed
        return CheckpointError(f"{what} must download completely", found, "try again")
    from_library = any(base.__module__.startswith(("huggingface_hub", "httpx")) for base in type(error).__mro__)
    if from_library or isinstance(error, OSError | RuntimeError | ValueError):
        must = f"{what} must be reachable and download completely"
        return InputError(must, found, f"check the network and {RESUME}")
    return None
