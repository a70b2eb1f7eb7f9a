"""What a caller gives in place of the kit's own: a vocabulary, and weights, such as dequantized ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minibiogpt.errors import CheckpointError, InputError, listed, nearest, short_repr
from minibiogpt.files.safetensors import FLOATS, SINGLE, StoredTensor, read_header, widened
from minibiogpt.golden.kit.models import CHECKPOINTS
from minibiogpt.golden.kit.tokens import MERGES, VOCAB
from minibiogpt.heads import BioGptForCausalLM
from minibiogpt.model.pretrained import Pretrained
from minibiogpt.tokenizer import BioGptTokenizer

EMBEDDING, HEAD = "embed_tokens.weight", "output_projection.weight"
FILES = ("vocab.json", "merges.txt")
SPECIAL_IDS = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "unk_token_id": 3}  # of every config of the kit


@dataclass(frozen=True)
class Vocabulary:
    """The files of a vocabulary: those of a folder, or the kit's own; and its number of pieces."""

    folder: Path | None
    pieces: int

    @classmethod
    def of(cls, folder: Path | None) -> Vocabulary:
        """Read the vocabulary of a folder with vocab.json and merges.txt; None is the kit's own.

        Raises
        ------
        CheckpointError
            If a file is missing or invalid.
        InputError
            If a special token has another id than in BioGPT.
        """
        if folder is None:
            return cls(None, len(VOCAB))
        vocab, merges = (folder / name for name in FILES)
        tokenizer = BioGptTokenizer(vocab, merges)
        for name, expected in SPECIAL_IDS.items():
            if getattr(tokenizer, name) != expected:
                found = f"{getattr(tokenizer, name)} in {short_repr(str(folder))}"
                raise InputError(f"the vocabulary must have {name} {expected}", found, "use a vocabulary of BioGPT")
        return cls(folder, max(tokenizer.get_vocab().values()) + 1)

    def write(self, target: Path) -> None:
        """Write both files into the folder of a model."""
        if self.folder is not None:
            for name in FILES:
                shutil.copyfile(self.folder / name, target / name)
            return
        BioGptTokenizer(VOCAB, MERGES).save_vocabulary(target)
        counted = "".join(
            f"{a} {b} {1000 - 7 * n}\n" for n, (a, b) in enumerate(MERGES)
        )  # 3 columns, like the real file
        (target / "merges.txt").write_text(counted, encoding="utf-8", newline="\n")


def models_with_weights(folder: Path) -> dict[str, Path]:
    """Return {name: file} of the kit's models for which a folder has ``NAME/model.safetensors``, or a kit's ``models``.

    Raises
    ------
    InputError
        If it has none.
    """
    for parent in (folder, folder / "models"):
        found = {name: parent / name / SINGLE for name in CHECKPOINTS}
        found = {name: path for name, path in found.items() if path.is_file()}
        if found:
            return found
    must = f"{folder} must have the weights of the kit's models, as NAME/{SINGLE}"
    raise InputError(must, "none", f"write at least {folder / 'base' / SINGLE}")


def with_weights(model: Pretrained, path: Path) -> Pretrained:
    """Return the model with the weights of a file; it keeps those that the file lacks.

    If the file has a head for a model whose head is its embedding, and the two differ, the model is untied: the two are
    often quantized in different ways.

    Raises
    ------
    CheckpointError
        If the file has a tensor that the model lacks, of another shape, or of integers.
    """
    own = {name.removeprefix("biogpt."): x for name, x in model.named_parameters()}
    config, tensors = model.config, {name.removeprefix("biogpt."): x for name, x in read_header(path)[1].items()}
    with_head = own | ({HEAD: own[EMBEDDING]} if isinstance(model, BioGptForCausalLM) else {})
    _check_names(path, tensors, with_head)
    for name, tensor in tensors.items():
        _check(path, name, tensor, with_head[name])
    weights = own | {name: widened(x.mapped(), x.dtype).astype(np.float32) for name, x in tensors.items()}
    if HEAD not in own and HEAD in weights:
        if np.array_equal(weights[HEAD], weights[EMBEDDING]):
            del weights[HEAD]
        else:
            config = config.changed(tie_word_embeddings=False)
    return type(model)(config, weights, model.backend)


def _check_names(path: Path, names: Iterable[str], own: Iterable[str]) -> None:
    if unknown := [name for name in names if name not in own]:
        near = nearest(unknown[0], own)
        must = f"{path} must have tensors of the kit's model only"
        raise CheckpointError(must, short_repr(unknown[0]), f"rename it: {listed(near or own)}")


def _check(path: Path, name: str, tensor: StoredTensor, own: np.ndarray) -> None:
    if tensor.shape != own.shape:
        must = f"{name} in {path} must have the shape {own.shape}"
        raise CheckpointError(
            must, str(tensor.shape), "undo the padding and the transposition, or write the same limits"
        )
    if tensor.dtype not in FLOATS:
        raise CheckpointError(f"{name} in {path} must be of floats", tensor.dtype, "dequantize it: scale times integer")
