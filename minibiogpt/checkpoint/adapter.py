"""Read a LoRA adapter, and apply it to the tensors of the model that it was trained on.

Source: peft 0.21. There, ``merge_and_unload`` gives a tied head the change of the token embedding, which the model that
was trained did not have; here the head is untied instead.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.catalog.parameters import EMBEDDING, HEAD, Shapes
from minibiogpt.checkpoint.adapter_config import MAX_MODULE, AdapterConfig
from minibiogpt.checkpoint.lora import Change, InFile, Merged, Replacement, Shift, Tensor
from minibiogpt.checkpoint.names import LEADING, WRAPPERS, short_name
from minibiogpt.checkpoint.quantized import kind_of
from minibiogpt.errors import CheckpointError, listed
from minibiogpt.files.safetensors import FLOATS, read_header

WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# Parts of a module's change by their names in the file, after which the adapter's own name may follow.
PARTS = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector)"
    r"(?P<adapter>\.(?!weight$|bias$)[^.]+)?(?P<kind>\.weight|\.bias)?"
)
WHOLE = re.compile(r"(?P<module>.+?)(\.base_layer|\.modules_to_save(\.[^.]+)?)?\.(?P<kind>weight|bias)")
OUTSIDE = ("output_projection", "score", "classifier")  # modules of the heads
LAYER = re.compile(r"layers\.(\d+)\.")
OTHER_BASE = "name the base model that it was trained on: this one has other layers or sizes"
MAX_NAME = 200  # characters; those of peft have up to 80
TRANSPOSED = "lora_embedding_"  # an embedding is (V, D), but A is (r, V) and B is (D, r)


@dataclass
class Adapter:
    """A LoRA adapter: its settings, its changes by the tensor that they belong to, and the tensors that it replaces."""

    folder: Path
    config: AdapterConfig
    changes: dict[str, Change | Shift]
    replaced: dict[str, Replacement]
    prefix: str  # of modules inside the base model, as in peft: "biogpt.", or nothing if it has no head

    @classmethod
    def read(cls, folder: Path) -> Adapter:
        """Read an adapter's folder; the tensors stay in their file.

        Raises
        ------
        CheckpointError
            If a file is missing or broken, or the adapter is of a kind that isn't supported.
        """
        config = AdapterConfig.read(folder)
        stored = _stored(folder)
        wrong = [f"{name} of dtype {kind_of(x.dtype)}" for name, x in stored.items() if x.dtype not in FLOATS]
        if wrong:
            must = f"the tensors of the adapter in {folder} must be floats"
            raise CheckpointError(must, listed(wrong), "save the adapter without quantization")
        parts, replaced = _sorted_out(folder, stored)
        prefix = "biogpt." if any(module.startswith("biogpt.") for module in parts) else ""
        return cls(folder, config, dict(_changes(folder, config, parts)), replaced, prefix)

    def __str__(self) -> str:
        """Describe the adapter, as in "r=8 alpha=16, 24 modules"."""
        ranks = sorted({change.a.shape[0] for change in self.changes.values() if isinstance(change, Change)})
        kind = "DoRA " if self.config.on("use_dora") else ""
        alpha = f"alpha={self.config.values['lora_alpha']:g}"
        sizes = f"r={' and '.join(map(str, ranks)) or self.config.values['r']} {alpha}"
        modules = sum(isinstance(change, Change) for change in self.changes.values())
        n = len(self.replaced)
        whole = f", {n} tensor{'s' * (n != 1)} replaced" if n else ""
        return f"{kind}{sizes}, {modules} module{'s' * (modules != 1)}{whole}"

    @property
    def file(self) -> Path:
        """The file of its tensors."""
        return _weights_file(self.folder)

    @property
    def head(self) -> str | None:
        """The head that it was trained with, if the settings name one: "sequence" or "token"."""
        return {"SEQ_CLS": "sequence", "TOKEN_CLS": "token"}.get(str(self.config.values.get("task_type")))

    def implied(self) -> dict[str, int]:
        """Return the fields of the config that the shapes of replaced tensors show: vocab_size, num_labels."""
        fields = {EMBEDDING: "vocab_size", HEAD: "vocab_size", "score.weight": "num_labels"}
        fields |= {"classifier.weight": "num_labels"}
        found = {name: x.shape for name, x in self.replaced.items() if name in fields and len(x.shape) == 2}
        return {fields[name]: shape[0] for name, shape in found.items()}

    def unties(self) -> bool:
        """Whether it may change the token embedding and the head, which may be tied, in different ways."""
        if EMBEDDING in self.changes or HEAD in self.changes:
            return True
        whole = [self.replaced.get(EMBEDDING), self.replaced.get(HEAD)]
        if whole[0] is None or whole[1] is None:
            return whole != [None, None]
        return not np.array_equal(whole[0].raw(), whole[1].raw())

    def applied(self, base: Mapping[str, Tensor], shapes: Shapes, tied: bool) -> dict[str, Tensor]:
        """Return the base's tensors with those that the adapter changes; nothing is read yet.

        Parameters
        ----------
        shapes : of the model that is loaded; what the adapter changes elsewhere is ignored, with a warning.
        tied : whether the base's head is its token embedding. An adapter may change one of the two.
        """
        tensors = dict(base)
        if tied and HEAD not in tensors and EMBEDDING in tensors:
            tensors[HEAD] = tensors[EMBEDDING]
        tensors |= self.replaced
        self._require_fit(tensors)
        self._require_all_targets(shapes)
        heads = [f"{module}.{kind}" for module in OUTSIDE for kind in ("weight", "bias") if f"{module}.{kind}" != HEAD]
        elsewhere = [name for name in heads if name in self.changes and name not in shapes]
        if elsewhere:
            warnings.warn(f"{self.folder}: ignored {len(elsewhere)} changes: {listed(elsewhere)}", stacklevel=5)
        for name, change in self.changes.items():
            if name in elsewhere:
                continue
            if name not in tensors:
                must = f"the base model of the adapter in {self.folder} must hold each tensor that it changes"
                raise CheckpointError(must, f"no {name}", OTHER_BASE)
            tensors[name] = Merged(tensors[name], change)
        return tensors

    def _require_fit(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise if the base model has tensors of other shapes than the one that was trained."""
        must = f"the adapter in {self.folder} must fit its base model"
        for name, change in self.changes.items():
            if name in tensors and change.shape != tensors[name].shape:
                raise CheckpointError(must, f"a change of {change.shape} for {name} {tensors[name].shape}", OTHER_BASE)

    def _require_all_targets(self, shapes: Shapes) -> None:
        """Raise if a module that the settings name has no change in the file; peft would leave it as it is."""
        modules = [name.removesuffix(".weight") for name, shape in shapes.items() if len(shape) == 2]
        inside = [f"{self.prefix}{one}" if one not in OUTSIDE else one for one in modules]
        missing = [m for m, name in zip(modules, inside, strict=True) if self.config.targets(name)]
        missing = [module for module in missing if f"{module}.weight" not in self.changes]
        mine, layers, lacking = _layers(self.changes), _layers(shapes), _layers(f"{module}." for module in missing)
        if mine and lacking == layers - mine and mine == set(range(len(mine))) and len(layers) > len(mine):
            must = f"the adapter in {self.folder} must fit its base model"
            raise CheckpointError(must, f"changes of {len(mine)} layers, and {len(layers)} layers", OTHER_BASE)
        if missing:
            must = f"the adapter in {self.folder} must hold a change of every module that target_modules names"
            raise CheckpointError(must, f"no {listed(missing)}", "fetch the adapter again: it is incomplete")


def _layers(names: Iterable[str]) -> set[int]:
    """Return the numbers of the layers that tensors belong to."""
    return {int(match[1]) for name in names if (match := LAYER.match(name))}


def _weights_file(folder: Path) -> Path:
    file = next((folder / name for name in WEIGHTS if (folder / name).is_file()), None)
    if file is None:
        must = f"{folder} must hold {' or '.join(WEIGHTS)}"
        raise CheckpointError(must, "neither", "fetch the adapter again, or save it with save_pretrained")
    return file


def _stored(folder: Path) -> dict[str, InFile]:
    """Return the adapter's tensors by their names in the file, less what training tools put in front."""
    file = _weights_file(folder)
    if file.suffix == ".safetensors":
        return dict(read_header(file)[1])
    from minibiogpt.checkpoint.torch_archive import PickledTensor, read_pickled  # adapters are rarely pickles

    content = read_pickled(file)
    entries = content.items() if isinstance(content, dict) else ()
    tensors = {name: x for name, x in entries if isinstance(name, str) and isinstance(x, PickledTensor)}
    if not tensors:
        raise CheckpointError(f"{file} must hold named tensors", "none", "fetch the adapter again")
    return dict(tensors)


Parts = dict[str, dict[str, Any]]  # {module, named as in peft: {"lora_A.weight": tensor, ...}}


def _sorted_out(folder: Path, stored: Mapping[str, Any]) -> tuple[Parts, dict[str, Replacement]]:
    """Return the parts of each module's change, and the tensors that replace the base's."""
    parts: Parts = {}
    replaced: dict[str, Replacement] = {}
    for name, tensor in stored.items():
        if len(name) > MAX_NAME:  # patterns are compared with it
            must = f"{folder} must name its tensors in at most {MAX_NAME} characters"
            raise CheckpointError(must, listed([name]), "fetch the adapter again")
        if ".original_module." in name:
            continue
        if match := PARTS.fullmatch(name):
            kind = match["kind"] if match["kind"] == ".bias" else ""
            found, key = parts.setdefault(_peft_name(match["module"]), {}), match["part"] + kind
        elif (whole := WHOLE.fullmatch(name)) and "lora_" not in name:
            found, key = replaced, short_name(f"{whole['module']}.{whole['kind']}")
            tensor = Replacement(tensor)
            if key in found and np.array_equal(found[key].raw(), tensor.raw()):
                continue  # bias="all" lists the bias of a replaced module twice
        else:
            must = f"the adapter in {folder} must hold parts of LoRA and whole weights only"
            raise CheckpointError(must, listed([name]), "merge it in peft (merge_and_unload), and save the model")
        if key in found:
            must = f"{folder} must hold one adapter"
            raise CheckpointError(must, f"several, with {listed([name])}", "save one of them on its own")
        found[key] = tensor
    return parts, replaced


def _peft_name(module: str) -> str:
    """Return a module's name as the patterns of the settings see it, with the ``biogpt.`` of a model with a head."""
    names = [part for part in module.split(".") if part not in WRAPPERS]
    leading = names[: next((i for i, part in enumerate(names) if part not in LEADING), len(names))]
    return f"biogpt.{short_name(module)}" if "biogpt" in leading else short_name(module)


def _changes(folder: Path, config: AdapterConfig, parts: Parts) -> Iterator[tuple[str, Change | Shift]]:
    """Yield (tensor's name, change) of each module, after checking that the settings and the tensors agree."""
    unnamed = [module for module in parts if len(module) > MAX_MODULE or not config.targets(module)]
    if unnamed:
        must = f"target_modules in {config.path} must name each module that the adapter changes"
        raise CheckpointError(must, f"no {listed(unnamed)}", "use the adapter's own adapter_config.json")
    for module, found in parts.items():
        prefix = TRANSPOSED if f"{TRANSPOSED}A" in found else "lora_"
        a, b = found.get(f"{prefix}A"), found.get(f"{prefix}B")
        lengths = found.get("lora_magnitude_vector")
        r = config.rank(module)
        must = f"the adapter in {folder} must hold A (r, in) and B (out, r) of {module}, with r = {r}"
        if a is None or b is None:
            raise CheckpointError(must, f"only {listed(found)}", "fetch the adapter again")
        if len(a.shape) != 2 or len(b.shape) != 2 or (a.shape[0], b.shape[1]) != (r, r):
            raise CheckpointError(must, f"shapes {a.shape} and {b.shape}", "use the adapter's own adapter_config.json")
        if (lengths is not None) != config.on("use_dora"):
            must = f"use_dora in {config.path} must say whether the adapter holds lora_magnitude_vector"
            raise CheckpointError(must, "the opposite", "use the adapter's own adapter_config.json")
        scale, transposed = config.scale(module), prefix == TRANSPOSED
        change = Change(a, b, scale, transposed, lengths)
        if lengths is not None and np.prod(lengths.shape) != change.shape[1 if transposed else 0]:
            raise CheckpointError(must, f"{module} with lora_magnitude_vector {lengths.shape}", "fetch it again")
        yield short_name(f"{module}.weight"), change
        if bias := found.get(f"{prefix}B.bias"):
            yield short_name(f"{module}.bias"), Shift(bias, scale)
