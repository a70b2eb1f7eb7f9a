"""Published checkpoints: find the pickles, rename their tensors, and derive the config that they imply."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minibiogpt.catalog.parameters import EMBEDDING, HEAD
from minibiogpt.checkpoint.adapter_config import ADAPTER_CONFIG
from minibiogpt.checkpoint.names import POSITIONS, by_model_name
from minibiogpt.checkpoint.originals import fairseq
from minibiogpt.checkpoint.torch_archive import PickledTensor, read_pickled
from minibiogpt.config import POSITION_OFFSET, BioGptConfig
from minibiogpt.errors import CheckpointError, InputError, listed
from minibiogpt.files.naming import is_of_training
from minibiogpt.files.reading import read_json
from minibiogpt.files.safetensors import PICKLES, shard_table

SINGLE, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
# Where training loops keep the state dict: PyTorch Lightning, DeepSpeed, and by hand.
NESTED = ("state_dict", "module", "model_state_dict", "model")
DATA = (".pt", ".pth", ".ckpt")  # may hold settings and counters, too
# Settings that no shape shows. If the checkpoint does not hold them either, BioGptConfig's defaults are assumed.
NOT_IN_SHAPES = (
    "num_attention_heads", "hidden_act", "scale_embedding", "hidden_dropout_prob", "attention_probs_dropout_prob",
    "activation_dropout", "layerdrop",
)  # fmt: skip
HEAD_SIZE = 64  # in every published BioGPT
RUN_TIME = ("output_attentions", "output_hidden_states", "return_dict")  # chosen by the caller, not by the model

Tensors = dict[str, PickledTensor]


@dataclass
class Original:
    """A checkpoint as read from its files; tensor names lack the prefix ``biogpt.``."""

    files: list[Path]
    tensors: Tensors
    settings: dict[str, Any] | None = None  # fairseq's; None for transformers' files

    @property
    def folder(self) -> Path:
        return self.files[0].parent

    @property
    def layout(self) -> str:
        return "transformers" if self.settings is None else "fairseq"


def read_original(source: Path) -> Original:
    """Find and read a folder's pickles, or one file. Objects in ``.pt`` and ``.ckpt`` are inert; ``.bin`` has none.

    Raises
    ------
    InputError
        If there is no such file or folder.
    CheckpointError
        If it is not a checkpoint, is broken or holds more than data.
    """
    files = _files(source)
    contents = [read_pickled(file, strict=file.suffix not in DATA) for file in files]
    first = contents[0]
    if isinstance(first, dict) and _is_fairseq(first.get("model")):
        return Original(files, _fairseq_names(first["model"], files[0]), fairseq.model_settings(first))
    tensors: Tensors = {}
    for file, content in zip(files, contents, strict=True):
        shard = _state_dict(content, file)
        if again := sorted(tensors.keys() & shard.keys()):
            must = f"{source}: a tensor must be in one shard only"
            raise CheckpointError(must, f"{listed(again)} twice", "fetch the shards again")
        tensors |= shard
    return Original(files, by_model_name(tensors, source))


def _files(source: Path) -> list[Path]:
    if not source.exists():
        raise InputError("a checkpoint must be a folder or a file", f"no {source}", "check the path")
    if source.is_file():
        _check_file(source)
        return _shards(source) if source.name == INDEX else [source]
    if (source / SINGLE).is_file():
        return [source / SINGLE]
    if (source / INDEX).is_file():
        return _shards(source / INDEX)
    if (source / "checkpoint.pt").is_file():
        return [source / "checkpoint.pt"]
    candidates = sorted(source.glob("checkpoint*.pt"))
    if len(candidates) == 1:
        return candidates
    must = f"{source} must hold {SINGLE}, its index, or fairseq's checkpoint.pt"
    if candidates:
        raise CheckpointError(must, listed(file.name for file in candidates), "pass the file itself")
    if (source / ADAPTER_CONFIG).is_file():
        raise CheckpointError(must, "a LoRA adapter", f"it needs no conversion: --model {source}")
    if any(source.glob("*.safetensors")):
        raise CheckpointError(must, "safetensors", f"they need no conversion: --model {source}")
    others = sorted(file for file in source.glob("*") if file.suffix in PICKLES and not is_of_training(file.name))
    remedy = f"pass the file itself: minibiogpt convert {others[0]} FOLDER" if others else "check the path"
    raise CheckpointError(must, listed(file.name for file in others) if others else "none of them", remedy)


def _check_file(file: Path) -> None:
    """Raise if the file's name shows that it isn't a pickle of weights."""
    must, folder = f"{file} must be a pickled checkpoint", file.parent
    if file.name.startswith("adapter_model."):
        raise CheckpointError(must, "a LoRA adapter", f"it needs no conversion: --model {folder}")
    if file.suffix == ".safetensors":
        raise CheckpointError(must, "safetensors", f"they need no conversion: --model {folder}")
    if is_of_training(file.name):
        raise CheckpointError(must, "a file that training wrote beside the weights", "pass the file of the weights")
    if file.suffix in (".json", ".txt") and file.name != INDEX:
        raise CheckpointError(must, "a text file", "pass the file of the weights, or its folder")


def _shards(index: Path) -> list[Path]:
    return [index.parent / name for name in sorted(set(shard_table(index, ".bin").values()))]


def _is_fairseq(content: Any) -> bool:
    """Whether the entry "model" is fairseq's; some training loops keep a state dict of transformers under this name."""
    names = [name for name in content if isinstance(name, str)] if isinstance(content, dict) else []
    ours = [name for name in names if name.endswith(POSITIONS) and not name.startswith(("decoder.", "encoder."))]
    return isinstance(content, dict) and not ours


def _fairseq_names(content: dict[Any, Any], file: Path) -> Tensors:
    tensors = {n: x for n, x in _state_dict(content, file).items() if n not in fairseq.IGNORED_TENSORS}
    if foreign := [name for name in tensors if not name.startswith("decoder.")]:
        must = f"{file} must hold nothing but fairseq's decoder under 'model'"
        raise CheckpointError(must, listed(foreign), "convert a BioGPT checkpoint")
    return {fairseq.hf_name(name): tensor for name, tensor in tensors.items()}


def _state_dict(content: Any, file: Path) -> Tensors:
    """Return the tensors of a state dict, or of the one that a training checkpoint holds; other entries are ignored."""
    entries = content if isinstance(content, dict) else {}
    for key in NESTED:
        inner = entries.get(key)
        if isinstance(inner, dict) and any(isinstance(x, PickledTensor) for x in inner.values()):
            entries = inner
            break
    tensors = {name: x for name, x in entries.items() if isinstance(x, PickledTensor)}
    if not tensors:
        keys = [ascii(key) for key in entries if isinstance(key, str)]
        found = f"no tensors, only {listed(keys)}" if isinstance(content, dict) else "a whole object, such as a model"
        must = f"{file} must hold a state dict, {{name: tensor}}"
        raise CheckpointError(must, found, "save model.state_dict() alone, and convert that")
    for name in tensors:
        if not isinstance(name, str) or not name.isascii() or not name.isprintable():
            must, found = f"{file} must name its tensors in printable ASCII", "a name with other characters"
            raise CheckpointError(must, found, "download it from a source you trust")
    return tensors


def config_values(original: Original) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keys of config.json, read from one beside the checkpoint or derived, and those that were assumed.

    Raises
    ------
    CheckpointError
        If they contradict BioGPT's architecture, or the number of heads is unknown and cannot be assumed.
    """
    if (original.folder / "config.json").is_file():
        BioGptConfig.from_pretrained(original.folder)  # raises if it is invalid
        return read_json(original.folder / "config.json", "config.json must be readable"), {}
    known = {} if original.settings is None else fairseq.config_fields(original.settings, original.files[0])
    sizes = _sizes(original)
    assumed = {name: getattr(BioGptConfig(), name) for name in NOT_IN_SHAPES if name not in known}
    if "num_attention_heads" in assumed:
        assumed["num_attention_heads"] = _usual_heads(sizes["hidden_size"], original.files[0])
    fixed = _head(original.tensors) | {"tie_word_embeddings": is_tied(original.tensors)}
    try:
        config = BioGptConfig.from_dict(fixed | assumed | sizes | known)
    except InputError as error:
        remedy = f"put the right config.json beside {original.files[0]}"
        raise CheckpointError(error.must, error.found, remedy) from None
    return {key: value for key, value in config.to_dict().items() if key not in RUN_TIME}, assumed


def _head(tensors: Tensors) -> dict[str, Any]:
    """Return the architecture and its number of classes: a classifier's weight is (labels, D)."""
    for name, kind in {"score.weight": "SequenceClassification", "classifier.weight": "TokenClassification"}.items():
        if name in tensors and tensors[name].shape:
            return {"architectures": [f"BioGptFor{kind}"], "num_labels": tensors[name].shape[0]}
    return {"architectures": ["BioGptForCausalLM"]}


def _usual_heads(width: int, file: Path) -> int:
    if width % HEAD_SIZE:
        found = f"no setting for it, and a hidden size of {width}, which is not a multiple of {HEAD_SIZE}"
        raise CheckpointError("the number of attention heads must be known", found, f"put a config.json beside {file}")
    return width // HEAD_SIZE


def _sizes(original: Original) -> dict[str, int]:
    """Return the sizes that the tensor shapes show."""
    tensors = original.tensors
    names = (
        HEAD if EMBEDDING not in tensors and HEAD in tensors else EMBEDDING,
        "embed_positions.weight",
        "layers.0.fc1.weight",
    )
    if any(name not in tensors or len(tensors[name].shape) != 2 for name in names):
        must = f"{original.files[0]} must hold BioGPT's matrices {', '.join(names)}"
        raise CheckpointError(must, listed(list(tensors)), "convert a BioGPT checkpoint")
    (V, D), (rows, _), (F, _) = (tensors[name].shape for name in names)
    layers = {match[1] for name in tensors if (match := re.match(r"layers\.(\d+)\.", name))}
    sizes = {"vocab_size": V, "hidden_size": D, "intermediate_size": F, "num_hidden_layers": len(layers)}
    return sizes | {"max_position_embeddings": rows - POSITION_OFFSET}


def is_tied(tensors: Tensors) -> bool:
    """Whether the head equals the embedding element by element, or one of the two is missing."""
    if HEAD not in tensors or EMBEDDING not in tensors:
        return True
    return tensors[HEAD].same_values(tensors[EMBEDDING])
