"""The names of a checkpoint's tensors, without what training tools put in front of them."""

from __future__ import annotations

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


def by_model_name(stored: Mapping[str, T], where: Path | str) -> dict[str, T]:
    """Return the tensors by ``short_name``; warn about foreign prefixes.

    Raises
    ------
    CheckpointError
        If two tensors have the same name without their prefixes.
    """
    names = {name: short_name(name) for name in stored}
    twice = sorted(short for short, count in Counter(names.values()).items() if count > 1)
    if twice:
        must = f"{where}: a tensor must be stored only once, with or without a prefix such as 'biogpt.'"
        raise CheckpointError(must, f"both names for {listed(twice)}", "remove one of the two")
    if foreign := foreign_prefix(names):
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
