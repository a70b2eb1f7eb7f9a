"""What a model's name stands for: its folder, or an adapter and the folder of the model that it was trained on."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from filecmp import cmp
from functools import cached_property
from pathlib import Path
from typing import Any

from minibiogpt.checkpoint.adapter import Adapter
from minibiogpt.checkpoint.adapter_config import ADAPTER_CONFIG
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import CheckpointError, InputError, short_repr
from minibiogpt.files.hub import DEMO, SHARDS, find_model
from minibiogpt.files.naming import hub_id, local_folder
from minibiogpt.files.safetensors import INDEX, SINGLE


@dataclass
class Source:
    """A model's folder, and the adapter to merge into it, if there is one."""

    folder: Path
    adapter: Adapter | None = None

    def __str__(self) -> str:
        return f"{self.folder} with the adapter in {self.adapter.folder}" if self.adapter else str(self.folder)

    @property
    def folders(self) -> list[Path]:
        """The folders that the model is made from, the one with the most specific files first."""
        return [*([self.adapter.folder] if self.adapter else []), self.folder]

    @property
    def tokenizer_folder(self) -> Path | None:
        """The first of ``folders`` that holds a vocabulary; None if there is none."""
        return next((folder for folder in self.folders if (folder / "vocab.json").exists()), None)

    @cached_property
    def base_config(self) -> BioGptConfig:
        """The config in the model's folder."""
        return BioGptConfig.from_pretrained(self.folder)

    def config(self, **changes: Any) -> BioGptConfig:
        """Return the model's config with what the adapter's tensors show, and ``changes``."""
        config = self.base_config
        if self.adapter is None:
            return config.changed(**changes)
        implied: dict[str, Any] = dict(self.adapter.implied())
        if config.tie_word_embeddings and self.adapter.unties():
            implied["tie_word_embeddings"] = False
        if "id2label" in changes:
            implied.pop("num_labels", None)
        return config.changed(**implied | changes)


def find_source(
    name: str | os.PathLike[str] | None, revision: str | None = None, adapter: str | os.PathLike[str] | None = None
) -> Source:
    """Find a model, as ``find_model`` does, and its adapter: ``adapter``, or ``name`` itself if it is an adapter.

    Without a ``name``, the model is the one that the adapter names. As in transformers, a folder with
    adapter_config.json is an adapter, even if it also holds a model.

    Raises
    ------
    InputError
        If the model, the adapter or its base is not found, or there are two adapters.
    CheckpointError
        If the adapter is broken, or of a kind that isn't supported.
    """
    if not isinstance(adapter, str | os.PathLike | None):
        raise InputError("an adapter must be a folder or a hub id", short_repr(adapter), "pass its path or its id")
    if name is None and adapter is not None:
        folder = find_model(adapter, revision, what="an adapter")
        found_adapter = Adapter.read(folder)
        return Source(_base(folder, found_adapter), found_adapter)
    folder = find_model("demo" if name is None else name, revision)
    if adapter is not None:
        chosen = find_model(adapter, what="an adapter")
        if _is_adapter(folder) and not folder.samefile(chosen):
            found = f"{folder} and {chosen}"
            raise InputError("a model must have at most one adapter", found, "merge one of them and save the model")
        if _is_model(folder) or not _is_adapter(folder):
            return Source(folder, Adapter.read(chosen))
    if not _is_adapter(folder):
        return Source(folder)
    found_adapter = Adapter.read(folder)
    base = _base(folder, found_adapter)
    if _is_model(folder):
        weights = "" if base.samefile(folder) else ", not the weights beside it"
        message = f"{folder} holds an adapter: it is merged into {found_adapter.config.base or 'the weights beside it'}"
        warnings.warn(f"{message}{weights}; remove {ADAPTER_CONFIG} to load the folder without it", stacklevel=5)
    return Source(base, found_adapter)


def other_base(name: str | os.PathLike[str], source: Source) -> str:
    """Return the base model that the source's adapter names if it isn't the one called ``name``; else an empty string.

    Folders are the same if their weights are. A hub id is compared with a hub id only, so that nothing is downloaded.
    """
    adapter = source.adapter
    if adapter is None or not adapter.config.base:
        return ""
    base = adapter.config.base
    try:
        local = DEMO if base == "demo" else local_folder(base) or local_folder(adapter.folder / base)
        if local is not None and (local / "config.json").is_file():
            return "" if _same_weights(local, source.folder) else base
        if name != "demo" and local_folder(name):
            return ""
        return "" if name != "demo" and hub_id(base)[0] == hub_id(name)[0] else hub_id(base)[0]
    except InputError:  # the name of a folder on a different machine
        return ""


def _same_weights(one: Path, other: Path) -> bool:
    """Whether two folders are the same, or hold equal files of weights."""
    if one.samefile(other):
        return True
    names = {path.name for folder in (one, other) for kind in (SINGLE, SHARDS) for path in folder.glob(kind)}
    pairs = [(one / name, other / name) for name in names]
    return bool(pairs) and all(a.is_file() and b.is_file() and cmp(a, b, shallow=False) for a, b in pairs)


def _base(folder: Path, adapter: Adapter) -> Path:
    """Return the folder of the model that an adapter was trained on, as its settings name it."""
    name, config = adapter.config.base, adapter.config
    must = f"base_model_name_or_path in {config.path} must name the model that the adapter was trained on"
    remedy = f"name that model yourself, and the adapter beside it: adapter={os.fspath(folder)!r}, or --adapter"
    if _is_model(folder):
        remedy += f"; or remove {ADAPTER_CONFIG} to load {folder} without the adapter"
    if not name:
        raise CheckpointError(must, short_repr(config.values.get("base_model_name_or_path")), remedy)
    try:
        beside = None if name == "demo" or local_folder(name) else local_folder(folder / name)
        base = beside or find_model(name, config.revision)
    except InputError as error:
        raise CheckpointError(must, f"{short_repr(name)}: {error.found}", remedy) from None
    if _is_adapter(base) and not (_is_model(base) and base.samefile(folder)):
        raise CheckpointError(must, f"{short_repr(name)}, an adapter itself", remedy)
    if not (base / "config.json").is_file():
        raise CheckpointError(must, f"{short_repr(name)}, a folder without config.json", remedy)
    return base


def _is_adapter(folder: Path) -> bool:
    return (folder / ADAPTER_CONFIG).is_file()


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and ((folder / SINGLE).is_file() or (folder / INDEX).is_file())
