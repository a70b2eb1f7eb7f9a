"""Read the name of a model: which folder or which repository of the hub it stands for."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from minibiogpt.errors import InputError, nearest, short_repr
from minibiogpt.files.safetensors import INDEX, PICKLES, SINGLE

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
# The official checkpoints have their safetensors in pull requests; their main branch has pickles instead.
REVISIONS = {
    "microsoft/biogpt": "refs/pr/17",
    "microsoft/BioGPT-Large": "refs/pr/5",
    "microsoft/BioGPT-Large-PubMedQA": "refs/pr/2",
}
# The address of a repository's page or of one of its files, with or without the scheme.
ADDRESS = re.compile(r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<rest>[^?#]*)")
PAGES = re.compile(r"(?P<id>[^/]+/[^/]+)(?:/(?:tree|blob|resolve)/(?P<revision>refs/pr/\d+|[^/]+)(?:/.*)?)?/?")
OWN_FILES = (
    "config.json", "vocab.json", "merges.txt", "tokenizer_config.json", "generation_config.json", SINGLE, INDEX,
    "special_tokens_map.json", "added_tokens.json", "adapter_config.json", "adapter_model.safetensors",
    "adapter_model.bin",
)  # fmt: skip
FILES = (".safetensors", ".json", ".txt", ".gguf", *PICKLES)  # how a file's name ends, and a repository's does not
# What transformers' Trainer and accelerate write beside the weights.
NOT_WEIGHTS = re.compile(
    r"training_args\.bin|optimizer(_\d+)?\.(pt|bin)|(scheduler|scaler)\.(pt|bin)|rng_state(_\d+)?\.pth"
)
MUST = "a model must be 'demo', a folder, or a hub id such as microsoft/biogpt"


def canonical(repo_id: str) -> str:
    """Return a hub id with the letters as the hub spells them; the hub itself accepts either case.

    Examples
    --------
    >>> canonical("Microsoft/BioGPT-large"), canonical("Some/Thing")
    ('microsoft/BioGPT-Large', 'Some/Thing')
    """
    return next((known for known in REVISIONS if known.lower() == repo_id.lower()), repo_id)


def pinned_revision(repo_id: str) -> str | None:
    """Return the revision of an official checkpoint that holds its safetensors; None for other repositories."""
    return REVISIONS.get(canonical(repo_id))


def hub_id(name: str | os.PathLike[str], must: str = MUST) -> tuple[str, str | None]:
    """Return the hub id that a name or the address of a page stands for, and the address's revision.

    Examples
    --------
    >>> hub_id("https://huggingface.co/microsoft/BioGPT/tree/main")
    ('microsoft/biogpt', 'main')
    >>> hub_id("some/model/")
    ('some/model', None)

    Raises
    ------
    InputError
        If it is neither.
    """
    text, revision = name if isinstance(name, str) else "", None
    if address := ADDRESS.fullmatch(text):
        page = PAGES.fullmatch(unquote(address["rest"]))
        text, revision = (page["id"], page["revision"]) if page else ("", None)
    text = text.removesuffix("/")
    if HUB_ID.fullmatch(text) and (wrong := _not_in_an_id(text)):
        raise InputError(must, short_repr(text), wrong)
    if not HUB_ID.fullmatch(text):
        short = {known.rpartition("/")[2].lower(): known for known in REVISIONS}
        close = nearest(text.rpartition("/")[2].partition(":")[0].lower(), short, 1) if text and len(text) < 80 else []
        remedy = f"check the path; did you mean {short[close[0]]}?" if close else "check the path"
        raise InputError(must, f"{short_repr(os.fspath(name))}, which is no folder", remedy)
    return canonical(text), revision


def _not_in_an_id(text: str) -> str:
    """Return what to correct in a name of the form OWNER/NAME that the hub does not allow; an empty string if nothing.

    Examples
    --------
    >>> _not_in_an_id("a/b.git"), _not_in_an_id("a/b--c"), _not_in_an_id("a/b")
    ("leave '.git' out", "check the name: a hub id has no '--'", '')
    """
    if text.endswith(".git"):
        return "leave '.git' out"
    if wrong := next((part for part in ("--", "..") if part in text), ""):
        return f"check the name: a hub id has no {wrong!r}"
    if any(part.endswith(("-", ".")) for part in text.split("/")):
        return "check the name: no part of a hub id ends in '-' or '.'"
    long = len(text.rpartition("/")[2]) > 96
    return "check the name: a repository's name has at most 96 characters" if long else ""


def local_folder(name: str | os.PathLike[str]) -> Path | None:
    """Return the folder that a path or a ``file://`` address names, itself or by one of its files; None without one.

    Raises
    ------
    InputError
        If it is a file that is not a model's, a file that is missing from its folder, or it cannot be read.
    """
    text = os.fspath(name)
    if text.startswith("file://"):
        text = unquote(urlsplit(text).path)
    try:
        path = Path(text).expanduser() if text.startswith("~") else Path(text)
        if not text or not path.exists():
            if text and path.is_symlink():
                found = f"{short_repr(text)}, a link to {short_repr(os.readlink(path))}, which is missing"
                raise InputError(MUST, found, "fetch what it links to")
            if path.name.endswith(FILES) and path.parent.name and path.parent.is_dir():
                found = f"no file {path.name} in the folder {path.parent}"
                raise InputError(MUST, found, "name the folder itself, or a file in it")
            return None
        if path.is_dir():
            return path
    except (OSError, RuntimeError) as error:  # the name is too long, a parent is not accessible, or no such user
        found = f"{short_repr(text)}: {getattr(error, 'strerror', error)}"
        raise InputError("a model's folder must be readable", found, "check the path") from None
    except InputError:
        raise
    except ValueError:  # a null character
        return None
    if path.name in OWN_FILES or (path.name.startswith("model-") and (path.parent / INDEX).is_file()):
        return path.parent
    raise InputError("a model must be a folder, or one of its files", *_other_file(path))


def is_of_training(name: str) -> bool:
    """Whether a file of this name holds the state of a training run, and no weights.

    Examples
    --------
    >>> is_of_training("rng_state_3.pth"), is_of_training("pytorch_model.bin")
    (True, False)
    """
    return NOT_WEIGHTS.fullmatch(name) is not None


def _other_file(path: Path) -> tuple[str, str]:
    """Return what a file is that names no model's folder, and what to do."""
    found = f"the file {short_repr(str(path))}"
    if is_of_training(path.name):
        return f"{found}, which training wrote beside the weights", "name the folder itself"
    if path.suffix in PICKLES:
        return f"{found}, a pickle", f"convert it without running its code: minibiogpt convert {path} FOLDER"
    if path.suffix == ".safetensors":
        return found, f"name it {SINGLE}, beside its config.json, and name that folder"
    return found, "name the folder that holds config.json and model.safetensors"
