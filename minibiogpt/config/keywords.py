"""The keyword arguments of transformers' ``from_pretrained`` that say how files are found and fetched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from minibiogpt.errors import InputError, short_repr

# They change neither what is loaded nor what comes of it.
HARMLESS = {
    "low_cpu_mem_usage", "trust_remote_code", "resume_download", "mirror", "weights_only", "offload_folder",
    "offload_state_dict", "offload_buffers", "_fast_init", "_from_auto", "_from_pipeline", "_commit_hash",
}  # fmt: skip
# They matter only for the hub. None, False and "" leave the default.
HUB = {
    "cache_dir": "set the environment variable HF_HUB_CACHE before Python starts",
    "force_download": "delete the model from the hub's cache, or write minibiogpt download",
    "token": "log in with the hub's own command, or set HF_TOKEN",
    "use_auth_token": "log in with the hub's own command, or set HF_TOKEN",
    "proxies": "set the environment variable HTTPS_PROXY",
    "local_files_only": "set the environment variable HF_HUB_OFFLINE=1 before Python starts",
    "subfolder": "download the repository, and name the subfolder's path",
}


def local_folder(name: Any, options: dict[str, Any]) -> Any:
    """Return the model to load, with its ``subfolder`` if it is a local folder, and take the keywords of files away.

    Parameters
    ----------
    options : the keyword arguments of a call; those of ``HARMLESS`` and ``HUB`` are removed.

    Raises
    ------
    InputError
        If the name is no text or path, or a keyword is set that cannot be honored.
    """
    if not isinstance(name, str | os.PathLike) or not os.fspath(name):
        must = "a model must be 'demo', a folder, or a hub id such as microsoft/biogpt"
        raise InputError(must, short_repr(name), "for an untrained model write Class(BioGptConfig())")
    for keyword in HARMLESS & options.keys():
        del options[keyword]
    local = name == "demo" or _exists(name)
    subfolder = options.pop("subfolder", None) if local else None
    for keyword in HUB.keys() & options.keys():
        value = options.pop(keyword)
        offline = keyword == "local_files_only" and os.environ.get("HF_HUB_OFFLINE", "").upper() in (
            "1",
            "ON",
            "YES",
            "TRUE",
        )
        if value and not local and not offline:
            shown = "a token" if "token" in keyword else short_repr(value)  # never print a secret
            found = f"{keyword} set to {shown}"
            raise InputError(f"from_pretrained must be called without {keyword}", found, HUB[keyword])
    return Path(name) / subfolder if subfolder and name != "demo" else name


def revision_of(options: dict[str, Any]) -> dict[str, Any]:
    """Take ``revision`` away from the keyword arguments; {} if it is None or not given."""
    revision = options.pop("revision", None)
    return {} if revision is None else {"revision": revision}


def _exists(name: str | os.PathLike[str]) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False
