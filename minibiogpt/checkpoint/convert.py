"""Convert a pickled checkpoint of transformers or fairseq into a Hugging Face folder with safetensors.

The pickle is read as data (see ``unpickle``). The tensors are memory-mapped and written one by one.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minibiogpt.catalog.parameters import (
    EMBEDDING,
    HEAD,
    base_shapes,
    sequence_classification_shapes,
    token_classification_shapes,
)
from minibiogpt.checkpoint.originals import fairseq
from minibiogpt.checkpoint.originals.published import Original, config_values, is_tied, read_original
from minibiogpt.checkpoint.quantized import kind_of, reject_quantized
from minibiogpt.checkpoint.torch_archive import PickledTensor
from minibiogpt.config import BioGptConfig
from minibiogpt.errors import CheckpointError, InputError, listed, short_repr
from minibiogpt.files.copying import check_own_file, copy_text_file
from minibiogpt.files.hub import TEXT_FILES
from minibiogpt.files.json_text import json_text
from minibiogpt.files.reading import read_text, sha256
from minibiogpt.files.safetensors import (
    FLOATS,
    StoredTensor,
    TensorToWrite,
    convert_dtype,
    stored_tensors,
    widened,
    write_tensors,
)
from minibiogpt.files.writing import atomic_folder
from minibiogpt.tokenizer import BioGptTokenizer

DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64"}
NAMES = {code: name for name, code in DTYPES.items()}
TOKENIZER_FILES = tuple(name for name in TEXT_FILES if name != "config.json")
HEADS = (HEAD, "score.weight", "classifier.weight", "classifier.bias")  # stored without the prefix "biogpt."
# The official files by sha256, and the official models by size (V, D, L).
KNOWN = {
    "11b9d608003652a84595aecee376d5c09156779228639b0ecb147cafb43cd409": "microsoft/biogpt",
    "d1753ea5af6449aaf63a105a59a619632b78cbfc2c294ba78f3164156af8c8bf": "microsoft/BioGPT-Large",
    "e4c7b87ba705e6102ac59bfae004a161fce5648893f8571ae4381e353842ad9e": "microsoft/BioGPT-Large-PubMedQA",
}
SIZES = {
    (42384, 1024, 24): "microsoft/biogpt",
    (57717, 1600, 48): "microsoft/BioGPT-Large",
    (57726, 1600, 48): "microsoft/BioGPT-Large-PubMedQA",
}


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    dtype: str | None = None,
    dictionary: str | os.PathLike[str] | None = None,
    bpecodes: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Convert a pickled checkpoint into TARGET, a new or empty folder, which appears complete or not at all.

    Parameters
    ----------
    source : a folder with pytorch_model.bin (or its shards and index) or with fairseq's checkpoint.pt, or one of
        these files. A config.json beside it is used; without one, the config is derived from the tensor shapes and
        fairseq's settings. The text files must be regular files of that folder, or of the hub's cache; a link to a
        file elsewhere is refused. They are parsed before they are copied, and no other files are copied.
    dtype : "float32", "float16", "bfloat16" or "float64"; by default each tensor keeps its own.
    dictionary, bpecodes : fairseq's dict.txt and bpecodes, if they are not beside the checkpoint.

    Returns
    -------
    A report of the conversion, as ``minibiogpt convert --json`` prints it.

    Raises
    ------
    InputError
        If TARGET is not empty or cannot be written.
    CheckpointError
        If the checkpoint is broken, holds more than data, or is not a BioGPT.
    """
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}", short_repr(dtype), "choose one of these")
    with atomic_folder(Path(target)) as folder:
        original = read_original(Path(source))
        _check_links(original.folder)
        values, assumed = config_values(original)
        config = BioGptConfig.from_dict(values)
        reject_quantized(original.folder, values.get("quantization_config"), original.tensors, base_shapes(config))
        left_out = _leave_out(original, config)
        _check_shapes(original.tensors, config, original.folder)
        _check_size(original)
        report = _origin(original, config) | {"folder": os.fspath(target), "assumed": assumed, "left_out": left_out}
        tensors = {_full_name(name): _to_write(name, x, dtype) for name, x in original.tensors.items()}
        codes = sorted({tensor.dtype for tensor in tensors.values()})
        _write_config(folder, values, codes)
        _write_tokenizer(folder, original, config, dictionary, bpecodes)
        write_tensors(folder / "model.safetensors", tensors)
        _check_written(folder, tensors)
        report |= {"dtypes": [NAMES[code] for code in codes], "tensors": len(tensors)}
        report |= {"bytes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())}}
    return report


def _check_links(folder: Path) -> None:
    """Refuse a text file that is a link out of its folder: the new folder would hold what it links to.

    A link to the weights is followed. Only tensors are read from them.
    """
    for name in ("config.json", "dict.txt", "bpecodes"):
        if os.path.lexists(folder / name):
            check_own_file(folder / name)
            read_text(folder / name, f"{folder / name} must exist")


def _leave_out(original: Original, config: BioGptConfig) -> list[str]:
    """Remove tensors that the model does not have, and a tied head. Return the names of the former.

    In transformers' files they are buffers of older versions; in fairseq's they mean a different architecture. A head
    that differs from the embedding although the config ties them is kept: loading warns that it is not used.
    """
    tensors, known = original.tensors, {*base_shapes(config), *HEADS}
    if config.tie_word_embeddings and HEAD in tensors and is_tied(tensors):
        head = tensors.pop(HEAD)
        tensors.setdefault(EMBEDDING, head)
    unknown = [name for name in tensors if name not in known]
    if unknown and original.layout == "fairseq":
        must = f"{original.files[0]} must have BioGPT's architecture"
        raise CheckpointError(must, f"also {listed(unknown)}", "convert a different checkpoint")
    for name in unknown:
        del tensors[name]
    if unknown:
        warnings.warn(f"left out tensors that the model does not have: {listed(unknown)}", stacklevel=3)
    return unknown


def _check_shapes(tensors: Mapping[str, PickledTensor | StoredTensor], config: BioGptConfig, where: Path) -> None:
    """Raise unless every tensor that the config requires is there, with its shape and a floating-point dtype."""
    shapes = base_shapes(config)
    if not config.tie_word_embeddings and (HEAD in tensors or "LM" in str(config.extra.get("architectures"))):
        shapes[HEAD] = (config.vocab_size, config.hidden_size)
    heads = sequence_classification_shapes(config) | token_classification_shapes(config)
    shapes |= {name: heads[name] for name in tensors if name in heads}
    wrong = [f"no {name}" for name in shapes if name not in tensors]
    common = [(name, tensors[name]) for name in shapes if name in tensors]
    wrong += [f"{name} {tensor.shape}, not {shapes[name]}" for name, tensor in common if tensor.shape != shapes[name]]
    wrong += [
        f"{name} of dtype {kind_of(tensor.dtype)}" for name, tensor in tensors.items() if tensor.dtype not in FLOATS
    ]
    if wrong:
        must = f"the checkpoint in {where} must hold every tensor of its config, {len(shapes)} in all"
        raise CheckpointError(must, listed(wrong), "check that the config and the weights belong together")


def _check_size(original: Original) -> None:
    """Tensors may share memory, as a tied head does, but a small file must not expand to fill the disk."""
    written, read = sum(x.bytes for x in original.tensors.values()), sum(f.stat().st_size for f in original.files)
    if written > 2 * read:
        must = f"the tensors of {original.folder} must not be views of one another"
        found = f"{written} bytes of tensors in {read} bytes of files"
        raise CheckpointError(must, found, "save copies of them with torch.save")


def _full_name(name: str) -> str:
    return name if name in HEADS else f"biogpt.{name}"


def _to_write(name: str, tensor: PickledTensor, dtype: str | None) -> TensorToWrite:
    code = DTYPES[dtype] if dtype else tensor.dtype

    def blocks() -> Iterator[np.ndarray]:
        for raw in tensor.blocks():
            written = convert_dtype(raw, tensor.dtype, code)
            if not all(np.isfinite(widened(x, kind)).all() for x, kind in ((raw, tensor.dtype), (written, code))):
                must = f"every weight must be a finite number in {NAMES[code]}"
                raise CheckpointError(must, f"NaN or infinity in {name}", "fetch the file again, or keep its dtype")
            yield written

    return TensorToWrite(code, tensor.shape, blocks)


def _write_config(folder: Path, values: dict[str, Any], codes: list[str]) -> None:
    """Write the config, unchanged except for the dtype, which is set if all tensors have the same one."""
    kept = {key: value for key, value in values.items() if key not in ("dtype", "torch_dtype")}
    dtype = {"dtype": NAMES[codes[0]]} if len(codes) == 1 else {}
    text = json_text({"model_type": "biogpt"} | kept | dtype, indent=2, sort_keys=True) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")


def _write_tokenizer(
    folder: Path,
    original: Original,
    config: BioGptConfig,
    dictionary: str | os.PathLike[str] | None,
    bpecodes: str | os.PathLike[str] | None,
) -> None:
    """Copy vocab.json, merges.txt and the other tokenizer files, or make them from fairseq's; then load them."""
    if original.layout == "fairseq" or dictionary or bpecodes:
        vocab = fairseq.read_dictionary(Path(dictionary or original.folder / "dict.txt"))
        merges = fairseq.read_codes(Path(bpecodes or original.folder / "bpecodes"))
        settings = {"tokenizer_class": "BioGptTokenizer", "model_max_length": config.max_position_embeddings}
        (folder / "vocab.json").write_text(json_text(vocab, ascii_only=False, indent=0) + "\n", encoding="utf-8")
        (folder / "merges.txt").write_text(merges, encoding="utf-8", newline="\n")
        (folder / "tokenizer_config.json").write_text(json_text(settings, indent=2) + "\n", encoding="utf-8")
    else:
        for name in TOKENIZER_FILES:
            if os.path.lexists(original.folder / name):
                copy_text_file(original.folder / name, folder / name)
    if missing := [name for name in ("vocab.json", "merges.txt") if not (folder / name).is_file()]:
        warnings.warn(f"no {' and no '.join(missing)} beside the checkpoint: the model has no tokenizer", stacklevel=3)
    else:
        BioGptTokenizer.from_pretrained(folder)


def _check_written(folder: Path, tensors: Mapping[str, TensorToWrite]) -> None:
    """Raise unless a reader of the folder sees the tensors that were to be written, and they match the config."""
    stored = stored_tensors(folder)
    found = {name: (tensor.dtype, tensor.shape) for name, tensor in stored.items()}
    if found != {name: (tensor.dtype, tensor.shape) for name, tensor in tensors.items()}:
        raise CheckpointError("model.safetensors must hold what was written", "something else", "check the disk")
    short = {name.removeprefix("biogpt."): tensor for name, tensor in stored.items()}
    _check_shapes(short, BioGptConfig.from_pretrained(folder), folder)


def _origin(original: Original, config: BioGptConfig) -> dict[str, Any]:
    """Report where the file comes from; warn if it has an official file's name and sizes, but a different sha256."""
    hashes = {file.name: sha256(file) for file in original.files}
    known_as = KNOWN.get(next(iter(hashes.values()))) if len(hashes) == 1 else None
    official = SIZES.get((config.vocab_size, config.hidden_size, config.num_hidden_layers))
    if known_as is None and official and list(hashes) == ["pytorch_model.bin"]:
        warnings.warn(
            f"{original.files[0]} has the name and sizes of {official}'s file, but a different sha256: it is a "
            "fine-tuned, re-saved or modified copy; use it only if you trust its source",
            stacklevel=3,
        )
    report = {"source": [str(file) for file in original.files], "layout": original.layout}
    commands = {"score.weight": "classify", "classifier.weight": "tag"}  # the command for each head
    report["command"] = next((commands[name] for name in commands if name in original.tensors), "generate")
    return report | {"sha256": hashes, "known_as": known_as}
