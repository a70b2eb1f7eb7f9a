"""adapter_config.json of a LoRA adapter: which modules it changes, and with what scale.

Source: LoraConfig of peft 0.21 and the functions that match its patterns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from minibiogpt.checks import is_finite_number, is_integer
from minibiogpt.errors import CheckpointError, listed, short_repr
from minibiogpt.files.reading import read_json

ADAPTER_CONFIG = "adapter_config.json"
USED = (
    "peft_type", "base_model_name_or_path", "revision", "r", "lora_alpha", "use_rslora", "rank_pattern",
    "alpha_pattern", "target_modules", "exclude_modules", "modules_to_save", "layers_to_transform", "layers_pattern",
    "bias", "use_dora", "lora_bias", "init_lora_weights", "ensure_weight_tying",
)  # fmt: skip
# Settings that matter in training only, or only together with one that is refused. peft turns fan_in_fan_out off for
# all of BioGPT's matrices, because none of them is stored as (in, out).
IGNORED = (
    "fan_in_fan_out",
    "task_type", "auto_mapping", "peft_version", "inference_mode", "lora_dropout", "loftq_config", "eva_config",
    "corda_config", "lora_ga_config", "runtime_config", "megatron_core", "qalora_group_size", "merge_weights",
)  # fmt: skip
# How A and B were initialized. Other ways (PiSSA, OLoRA, CorDA, LoftQ ...) also changed the base model's weights.
PLAIN_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
ALL_LINEAR = "all-linear"
LINEAR = re.compile(r"layers\.\d+\.(self_attn\.[kvq]_proj|self_attn\.out_proj|fc1|fc2)")
# Adapters that aren't changes of weights, so that nothing can merge them: soft prompts, and layers that depend on the
# input.
NOT_WEIGHTS = (
    "PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "ADAPTION_PROMPT", "CPT", "CARTRIDGE",
    "XLORA", "POLY",
)  # fmt: skip
NOT_MERGEABLE = ("alora_invocation_tokens", "layer_replication")  # settings of LoRA for which the same holds
UNSUPPORTED = "use it in peft: such adapters can't be merged into the weights, and aren't supported here"
# A regular expression that repeats a group can take forever, and so can one that repeats or chooses too often.
REPEATED_GROUP = re.compile(r"\)[*+{]")
ITEM = re.compile(
    r"\\.|\[\^?\]?[^\]]*\]|\(\?|.", re.DOTALL
)  # an escape, a set of characters, a group's start, or a character
MAX_WAYS = 10**6  # to match a pattern with a module's name; a match takes up to some 10 ms
MAX_PATTERN, MAX_MODULE = 2000, 64  # characters of a pattern, and of a module's name; BioGPT's have up to 39
MAX_ENTRIES = 2000  # of a setting that is a list or a mapping; BioGPT-Large has 288 matrices


@dataclass
class AdapterConfig:
    """The settings of a LoRA adapter; ``path`` is the file that they come from."""

    path: Path
    values: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> AdapterConfig:
        """Read FOLDER/adapter_config.json.

        Raises
        ------
        CheckpointError
            If it isn't LoRA's, or has a setting that isn't supported; the message names it.
        """
        path = folder / ADAPTER_CONFIG
        absent = "name the folder that peft saved the adapter to"
        values = read_json(path, f"an adapter's folder must hold {ADAPTER_CONFIG}", absent=absent)
        if not isinstance(values, dict):
            raise CheckpointError(f"{path} must hold a JSON object", type(values).__name__, "fetch the file again")
        config = cls(path, values)
        config._check()
        return config

    def _check(self) -> None:
        remedy = "merge it in peft (merge_and_unload), and save the merged model"
        kind = self.values.get("peft_type")
        if kind != "LORA":
            if kind in NOT_WEIGHTS:
                remedy = UNSUPPORTED
            elif not isinstance(kind, str):
                remedy = "use the adapter's own adapter_config.json"
            raise CheckpointError(f"peft_type in {self.path} must be LORA", short_repr(kind), remedy)
        start = self.values.get("init_lora_weights")
        if not any(start is one or (isinstance(start, str) and start == one) for one in PLAIN_STARTS):
            must = f"the adapter in {self.path} must leave the base model's weights as they are"
            raise CheckpointError(must, f"init_lora_weights {short_repr(start)}, which changes them", remedy)
        others = {key: x for key, x in self.values.items() if key not in (*USED, *IGNORED) and x}
        if others:
            remedy = UNSUPPORTED if others.keys() & set(NOT_MERGEABLE) else remedy
            must = f"{self.path} must have settings of plain LoRA only"
            raise CheckpointError(must, listed(f"{key} {short_repr(x)}" for key, x in others.items()), remedy)
        for name, value in self.values.items():
            if isinstance(value, list | dict) and len(value) > MAX_ENTRIES:
                must, found = f"{name} in {self.path} must have at most {MAX_ENTRIES} entries", f"{len(value)}"
                raise CheckpointError(must, found, "use the adapter's own adapter_config.json")
        for name in ("rank_pattern", "alpha_pattern"):
            pairs = self.values.get(name) or {}
            if not isinstance(pairs, dict) or not all(is_finite_number(x) and x > 0 for x in pairs.values()):
                raise self.invalid(name, "must map patterns to numbers above 0")
            for pattern in pairs:
                self._compiled(name, f"({pattern})")
        if not is_integer(self.values.get("r")) or self.values["r"] < 1:
            raise self.invalid("r", "must be an integer, 1 or more")
        if not is_finite_number(self.values.get("lora_alpha")):
            raise self.invalid("lora_alpha", "must be a number")
        for name in ("use_rslora", "use_dora", "ensure_weight_tying"):
            if self.values.get(name) not in (None, True, False):
                raise self.invalid(name, "must be true or false")
        for name in ("target_modules", "exclude_modules", "modules_to_save", "layers_pattern"):
            value = self.values.get(name)
            if not (value is None or isinstance(value, str) or _are_strings(value)):
                raise self.invalid(name, "must be a string or a list of strings")
        for name in ("target_modules", "exclude_modules"):
            if isinstance(self.values.get(name), str):
                self._compiled(name, self.values[name])
        for name in ("modules_to_save", "layers_pattern"):
            for pattern in _strings(self.values.get(name)):
                self._compiled(name, pattern)
        layers = self.values.get("layers_to_transform")
        if not (layers is None or is_integer(layers) or (isinstance(layers, list) and all(map(is_integer, layers)))):
            raise self.invalid("layers_to_transform", "must be an integer or a list of integers")

    def invalid(self, name: str, condition: str) -> CheckpointError:
        found = f"{name} {short_repr(self.values.get(name))}"
        return CheckpointError(f"{name} in {self.path} {condition}", found, "correct the file")

    def _compiled(self, name: str, pattern: str) -> None:
        if len(pattern) > MAX_PATTERN:
            raise self.invalid(name, f"must be a regular expression of at most {MAX_PATTERN} characters")
        try:
            _regex(pattern)
        except (re.error, RecursionError, OverflowError):
            raise self.invalid(name, "must be a regular expression") from None
        if REPEATED_GROUP.search(pattern) or _ways(pattern) > MAX_WAYS:
            raise self.invalid(
                name, "must repeat no group, at most four other parts, and have few alternatives in a row"
            )

    @property
    def base(self) -> str:
        """The name of the base model, or an empty string."""
        name = self.values.get("base_model_name_or_path")
        return name if isinstance(name, str) else ""

    @property
    def revision(self) -> str | None:
        """The base model's revision, if the adapter was trained on a particular one."""
        value = self.values.get("revision")
        return value if isinstance(value, str) and value else None

    def on(self, name: str) -> bool:
        """Whether a setting is on: "use_dora" or "ensure_weight_tying"."""
        return bool(self.values.get(name))

    def rank(self, module: str) -> int:
        """Return r, the rank of the change of one module."""
        return int(self._patterned("rank_pattern", module, self.values["r"]))

    def scale(self, module: str) -> float:
        """Return the factor of B A: alpha / r, or alpha / sqrt(r) with rank-stabilized LoRA."""
        alpha, r = self._patterned("alpha_pattern", module, self.values["lora_alpha"]), self.rank(module)
        return alpha / (math.sqrt(r) if self.on("use_rslora") else r)

    def _patterned(self, name: str, module: str, default: float) -> float:
        pairs: dict[str, float] = self.values.get(name) or {}
        return next((x for key, x in pairs.items() if _regex(rf"(.*\.)?({key})$").match(module)), default)

    def targets(self, module: str) -> bool:
        """Whether the settings say that a module, named as in peft (with ``biogpt.``), has a LoRA."""
        if module == "output_projection" and self.on("ensure_weight_tying"):
            return self.targets("biogpt.embed_tokens") or self._targets(module)
        return self._targets(module)

    def _targets(self, module: str) -> bool:
        excluded, wanted = self.values.get("exclude_modules") or [], self.values.get("target_modules") or []
        if _regex(excluded).fullmatch(module) if isinstance(excluded, str) else _ends_in(module, excluded):
            return False
        saved = _strings(self.values.get("modules_to_save"))
        if any(_regex(rf"(^|.*\.){one}($|\..*)").match(module) for one in saved):
            return False
        if isinstance(wanted, str):
            if wanted.lower() == ALL_LINEAR:
                return bool(LINEAR.fullmatch(module.removeprefix("biogpt.")))
            return bool(_regex(wanted).fullmatch(module))
        return _ends_in(module, wanted) and (module in wanted or self._in_layers(module))

    def _in_layers(self, module: str) -> bool:
        layers = self.values.get("layers_to_transform")
        if layers is None or layers == []:
            return True
        patterns = _strings(self.values.get("layers_pattern")) or [r"[^.]*"]
        matches = (_regex(rf"(?:^|.*?\.){pattern}\.(?P<layer>\d+)\.").match(module) for pattern in patterns)
        found = next((match for match in matches if match), None)
        return found is not None and int(found["layer"]) in (layers if isinstance(layers, list) else [layers])


@lru_cache(maxsize=4 * MAX_ENTRIES)  # re's own cache is too small for hundreds of patterns
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _ways(pattern: str) -> int:
    r"""Return an upper bound for the number of ways in which a pattern without repeated groups can match a name.

    k repetitions divide a name of n characters in C(n + k, k) ways; a group of m alternatives has m, ``?`` has two.

    Examples
    --------
    >>> _ways(r".*\.(q|k|v)_proj"), _ways("a?" * 9)
    (195, 512)
    """
    repeated, options, open_groups = 0, 1, [1]
    for item in ITEM.findall(pattern):
        if item in ("(", "(?"):
            open_groups.append(1)
        elif item == ")" and len(open_groups) > 1:
            options *= open_groups.pop()
        elif item == "|":
            open_groups[-1] += 1
        elif item == "?":
            options *= 2
        elif item in ("*", "+", "{"):
            repeated += 1
        if options > MAX_WAYS or repeated > MAX_PATTERN:
            break
    return options * math.prod(open_groups) * math.comb(MAX_MODULE + repeated, repeated)


def _are_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(x, str) for x in value)


def _strings(value: Any) -> list[str]:
    """Return a setting that may be one string or a list of them as a list."""
    return [value] if isinstance(value, str) and value else list(value or [])


def _ends_in(module: str, names: Iterable[str]) -> bool:
    """Whether the module's full name, or its last parts, are among the names."""
    return any(module == name or module.endswith(f".{name}") for name in names)
