"""The names of a checkpoint's tensors, without what training tools put in front of them."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from minibiogpt.errors import CheckpointError, listed

# DataParallel and DeepSpeed write module., PyTorch Lightning model., peft base_model.model.; the heads biogpt.
LEADING = ("module", "model", "base_model", "biogpt")
# torch.compile, FSDP and activation checkpointing wrap any module, so these parts may be anywhere in a name.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
POSITIONS = "embed_positions.weight"
# Parts of names that only peft adds, to the modules that an adapter changes.
PEFT = re.compile(r"\.(base_layer|original_module|modules_to_save|lora_[AB]|lora_embedding_[AB])\.")

T = TypeVar("T")


def short_name(name: str) -> str:
    """Return the model's name of a tensor, without foreign prefixes and the leading ``biogpt.``.

    Examples
    --------
    >>> short_name("module._orig_mod.biogpt.layers.0._fsdp_wrapped_module.fc1.bias")
    'layers.0.fc1.bias'
    """
    parts = [part for part in name.split(".") if part not in WRAPPERS]
    lead = next((i for i, part in enumerate(parts) if part not in LEADING), len(parts))
    return ".".join(parts[lead:]) or name


def whole_prefix(names: Iterable[str]) -> str:
    """Return the prefix of every name that a module around the model adds; an empty string without one.

    It is what stands in front of the model's position embeddings, if all names begin with it.

    Examples
    --------
    >>> whole_prefix(["net.model.biogpt.embed_positions.weight", "net.model.score.weight"])
    'net.model.'
    >>> whole_prefix(["module.embed_positions.weight"]), whole_prefix(["net.embed_positions.weight", "score.weight"])
    ('', '')
    """
    every = list(names)
    tables = [name for name in every if name == POSITIONS or name.endswith(f".{POSITIONS}")]
    if len(tables) != 1 or short_name(tables[0]) == POSITIONS:
        return ""
    prefix = tables[0].removesuffix(POSITIONS).removesuffix("biogpt.")
    return prefix if all(name.startswith(prefix) for name in every) else ""


def by_model_name(stored: Mapping[str, T], where: Path | str) -> dict[str, T]:
    """Return the tensors by ``short_name``; warn about foreign prefixes.

    Raises
    ------
    CheckpointError
        If two tensors have the same name without their prefixes, or it is a whole PeftModel.
    """
    if parts := [name for name in stored if PEFT.search(name)]:
        must = f"{where}: the tensors must be those of the model alone"
        found = f"a whole PeftModel, with {listed(parts, most=2)}"
        raise CheckpointError(must, found, "save the adapter with save_pretrained, or the model with merge_and_unload")
    wrapper = whole_prefix(stored)
    names = {name: short_name(name.removeprefix(wrapper)) for name in stored}
    twice = sorted(short for short, count in Counter(names.values()).items() if count > 1)
    if twice:
        must = f"{where}: a tensor must be stored only once, with or without a prefix such as 'biogpt.'"
        raise CheckpointError(must, f"both names for {listed(twice)}", "remove one of the two")
    foreign = f"all {len(names)} tensors begin with {wrapper!r}" if wrapper else foreign_prefix(names)
    if foreign:
        warnings.warn(f"{where}: {foreign}, and are read without it", stacklevel=5)
    return {short: stored[name] for name, short in names.items()}


def foreign_prefix(names: Iterable[str]) -> str:
    """Say which prefix other than ``biogpt.`` the names have; an empty string if none.

    Examples
    --------
    >>> foreign_prefix(["module.biogpt.layer_norm.bias", "module.score.weight", "step"])
    "2 of 3 tensors begin with 'module.'"
    """
    every = list(names)
    found = Counter(filter(None, map(_foreign, every)))
    if not found:
        return ""
    prefix, _ = found.most_common(1)[0]
    verb = "have" if prefix.strip(".") in WRAPPERS else "begin with"
    return f"{sum(found.values())} of {len(every)} tensors {verb} {prefix!r}"


def _foreign(name: str) -> str:
    """Return what ``short_name`` removes from a name, less the heads' own ``biogpt.``."""
    short = short_name(name)
    if not name.endswith(short):  # a wrapper inside the name
        return next(f"{part}." for part in name.split(".") if part in WRAPPERS)
    return name.removesuffix(short).removesuffix("biogpt.")
