"""BioGptConfig: the hyperparameters of a BioGPT model, as stored in config.json."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minibiogpt.errors import CheckpointError, InputError, short_repr
from minibiogpt.files.reading import read_json
from minibiogpt.files.writing import write_atomically

ACTIVATIONS = ("gelu", "gelu_new", "relu", "selu")
POSITION_OFFSET = 2  # rows 0 and 1 of the position table come before position 0; padding gets row 1
MAX_LAYERS = 10_000
MAX_WEIGHTS = 10**11  # 400 GB in float32; the largest BioGPT has 1.6 * 10**9
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
MAX_LABELS = 1_000_000  # a config with more is considered broken
DEFAULT_LABELS = 2  # number of classes if the config does not set it
LAYER_NORM_EPS = 1e-5  # in use; transformers and fairseq ignore config.layer_norm_eps (1e-12)


@dataclass
class BioGptConfig:
    """The hyperparameters of a BioGPT model.

    Field names and defaults are those of transformers 4.57 (the base checkpoint, microsoft/biogpt).
    Every shape comment of this package uses these letters:

    ====== ==================================== ============================
    letter meaning                              field
    ====== ==================================== ============================
    B      batch size                           (of the input)
    T      new positions in this call           (of the input)
    S      positions attended to: past + T      (of the input and the cache)
    D      hidden size                          hidden_size
    H      attention heads                      num_attention_heads
    Dh     head size, D / H                     head_size
    F      feed-forward size                    intermediate_size
    V      vocabulary size                      vocab_size
    L      decoder layers                       num_hidden_layers
    N      maximum positions                    max_position_embeddings
    labels classes of a classification head     num_labels
    K      beams per row                        (of GenerationConfig)
    C      candidates for these beams           (of GenerationConfig)
    M      any number of rows or elements       (of the input)
    ====== ==================================== ============================

    Attributes
    ----------
    layer_norm_eps : kept and written back, but **not used**: the norm adds ``LAYER_NORM_EPS`` (1e-5), as the
        reference does (``nn.LayerNorm(D)`` uses PyTorch's default).
    scale_embedding : whether token embeddings are multiplied by sqrt(D).
    tie_word_embeddings : whether the LM head is the token embedding (True in every published checkpoint).
    hidden_dropout_prob, attention_probs_dropout_prob, activation_dropout, layerdrop : training only; kept, not used.
    num_labels, id2label, label2id : the classes of a classification head: their number (0: as many as ``id2label``
        has, or 2), their names (default {0: "LABEL_0", ...}), and the inverse mapping. ``id2label`` takes precedence.
    problem_type : the loss of a sequence classifier: "regression", "single_label_classification",
        "multi_label_classification", or None to choose it from the labels.
    extra : the keys of config.json that are not fields here, kept and written back unchanged.

    Raises
    ------
    InputError
        If a size is below 1 or too large for any memory, D is not divisible by H, the activation is unknown, a
        probability is outside [0, 1] or a token id is outside the vocabulary. The message names the field.

    Examples
    --------
    >>> config = BioGptConfig()
    >>> config.head_size, config.embed_scale
    (64, 32.0)
    """

    vocab_size: int = 42384
    hidden_size: int = 1024
    num_hidden_layers: int = 24
    num_attention_heads: int = 16
    intermediate_size: int = 4096
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 1024
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    scale_embedding: bool = True
    use_cache: bool = True
    layerdrop: float = 0.0
    activation_dropout: float = 0.0
    pad_token_id: int | None = 1
    bos_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2
    tie_word_embeddings: bool = True
    output_attentions: bool = False
    output_hidden_states: bool = False
    return_dict: bool = True
    num_labels: int = 0
    id2label: dict[int, str] = field(default_factory=dict)
    label2id: dict[str, int] = field(default_factory=dict)
    problem_type: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _SIZES:
            _require_size(name, getattr(self, name))
        self._check_memory()
        for name in _FLAGS:
            _require(isinstance(getattr(self, name), bool), name, "be true or false", getattr(self, name))
        for name in _PROBABILITIES:
            value = getattr(self, name)
            _require(_is_number(value) and 0 <= value <= 1, name, "be a probability in [0, 1]", value)
        for name in ("initializer_range", "layer_norm_eps"):
            value = getattr(self, name)
            _require(_is_number(value) and value >= 0, name, "be a finite number, 0 or more", value)
        _require(self.hidden_act in ACTIVATIONS, "hidden_act", f"be one of {', '.join(ACTIVATIONS)}", self.hidden_act)
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                "hidden_size must be divisible by num_attention_heads",
                f"hidden_size {self.hidden_size} and num_attention_heads {self.num_attention_heads}",
                "change one of the two",
            )
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            self._check_token_id(name)
        self.id2label = resolve_labels(self.num_labels, self.id2label)
        self.num_labels = len(self.id2label)
        self.label2id = inverse_labels(self.id2label, self.label2id)
        types = ", ".join(PROBLEM_TYPES)
        _require(self.problem_type in (None, *PROBLEM_TYPES), "problem_type", f"be null or {types}", self.problem_type)

    def _check_token_id(self, name: str) -> None:
        value = getattr(self, name)
        ids = value if isinstance(value, list) and name == "eos_token_id" else [value]
        for token in ids:
            valid = token is None or (_is_int(token) and 0 <= token < self.vocab_size)
            _require(valid, name, f"be null or an id in [0, {self.vocab_size})", value)

    def _check_memory(self) -> None:
        """Reject sizes too large for any memory, before anything is allocated."""
        layers = self.num_hidden_layers
        _require(layers <= MAX_LAYERS, "num_hidden_layers", f"be at most {MAX_LAYERS}", layers)
        in_layers = layers * (4 * self.hidden_size + 2 * self.intermediate_size)
        if (self.vocab_size + self.max_position_embeddings + in_layers) * self.hidden_size > MAX_WEIGHTS:
            found = ", ".join(f"{name} {short_repr(getattr(self, name))}" for name in _SIZES)
            raise InputError(f"the model must have at most {MAX_WEIGHTS:,} weights", found, "correct config.json")

    @property
    def letters(self) -> dict[str, int]:
        """The sizes set by the config, keyed by letter; those of a classification head are not included."""
        D, H, F = self.hidden_size, self.num_attention_heads, self.intermediate_size
        V, L, N = self.vocab_size, self.num_hidden_layers, self.max_position_embeddings
        return {"D": D, "H": H, "Dh": self.head_size, "F": F, "V": V, "L": L, "N": N}

    @property
    def head_size(self) -> int:
        """Dh: the size of one attention head, D / H."""
        return self.hidden_size // self.num_attention_heads

    @property
    def embed_scale(self) -> float:
        """The factor of the token embeddings: sqrt(D), or 1 if ``scale_embedding`` is off."""
        return math.sqrt(self.hidden_size) if self.scale_embedding else 1.0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BioGptConfig:
        """Return a config from the keys of a config.json; unknown keys go to ``extra``."""
        if not isinstance(values, dict):
            raise InputError(
                "a config must be a JSON object", type(values).__name__, "write {...} with the field names"
            )
        kind = values.get("model_type", "biogpt")
        if kind != "biogpt":
            raise InputError("model_type must be 'biogpt'", short_repr(kind), "choose a BioGPT checkpoint")
        names = {f.name for f in dataclasses.fields(cls)} - {"extra"}
        known = {key: value for key, value in values.items() if key in names}
        return cls(**known, extra={key: value for key, value in values.items() if key not in names})

    def changed(self, **changes: Any) -> BioGptConfig:
        """Return this config with some fields changed; a new number of labels resets their names.

        Examples
        --------
        >>> BioGptConfig().changed(num_labels=3).id2label
        {0: 'LABEL_0', 1: 'LABEL_1', 2: 'LABEL_2'}
        """
        names = {f.name for f in dataclasses.fields(self)}
        if unknown := sorted(set(changes) - names):
            raise InputError("an option must be a field of the config", ", ".join(unknown), "see BioGptConfig")
        if "id2label" in changes or changes.get("num_labels", self.num_labels) != self.num_labels:
            changes = {"num_labels": 0, "id2label": {}, "label2id": {}} | changes
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys and values of config.json, including the unknown ones."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in _OMITTED_BY_DEFAULT}
        if self.id2label != resolve_labels(0, None):
            fields |= {"id2label": {str(i): name for i, name in self.id2label.items()}, "label2id": self.label2id}
        if self.problem_type is not None:
            fields["problem_type"] = self.problem_type
        return {**self.extra, **fields, "model_type": "biogpt"}

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> BioGptConfig:
        """Read FOLDER/config.json.

        Raises
        ------
        CheckpointError
            If the file is missing, is not JSON, or holds an invalid value. The message names the file.
        """
        path = Path(folder) / "config.json"
        values = read_json(path, "a model folder must hold config.json")
        try:
            return cls.from_dict(values)
        except InputError as error:
            raise CheckpointError(error.must, f"{error.found} in {path}", error.remedy) from None

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write FOLDER/config.json atomically: a temporary file is renamed."""
        text = json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"  # ASCII: UTF-8 has no lone surrogates
        write_atomically(Path(folder) / "config.json", lambda temporary: temporary.write_text(text, encoding="utf-8"))


_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
_FLAGS = (
    "scale_embedding",
    "use_cache",
    "tie_word_embeddings",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
)
_OMITTED_BY_DEFAULT = (
    "extra",
    "num_labels",
    "id2label",
    "label2id",
    "problem_type",
)  # never written, or only if they differ from the default
_PROBABILITIES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "layerdrop", "activation_dropout")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    """Whether ``value`` is a finite number that fits a float; 10**400 does not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _require(holds: bool, name: str, condition: str, value: object) -> None:
    if not holds:
        raise InputError(f"{name} must {condition}", f"{name} {short_repr(value)}", f"correct {name}")


def _require_size(name: str, value: object) -> None:
    _require(_is_int(value) and isinstance(value, int) and value >= 1, name, "be an integer, 1 or more", value)


def resolve_labels(num_labels: Any, id2label: Any) -> dict[int, str]:
    """Return {0: name, 1: name, ...}: the given names, or LABEL_0, LABEL_1, ... if there are none.

    JSON keys are strings, so "0" counts as 0. If ``num_labels`` disagrees with the names, they win, with a warning.
    """
    if isinstance(num_labels, bool) or not isinstance(num_labels, int) or not 0 <= num_labels <= MAX_LABELS:
        must = f"num_labels must be an integer, 1 to {MAX_LABELS:,}"
        raise InputError(must, f"num_labels {num_labels!r}", "correct num_labels")
    if id2label is None or id2label == {}:
        return {i: f"LABEL_{i}" for i in range(num_labels or DEFAULT_LABELS)}
    if not isinstance(id2label, dict) or not all(_is_class(key) and isinstance(id2label[key], str) for key in id2label):
        must, remedy = "id2label must map 0, 1, 2 ... to names", 'write {"0": "NAME", ...}'
        raise InputError(must, short_repr(id2label), remedy)
    names = {int(key): name for key, name in id2label.items()}
    if sorted(names) != list(range(len(names))):
        must = f"id2label must name the classes 0 to {len(names) - 1}"
        raise InputError(must, f"the keys {short_repr(sorted(names))}", "number the classes from 0")
    if num_labels not in (0, len(names)):
        warnings.warn(f"num_labels is {num_labels}, but id2label has {len(names)} names, which are used", stacklevel=4)
    if len(set(names.values())) < len(names):
        warnings.warn("id2label gives several classes the same name: results by name show only the last", stacklevel=4)
    return dict(sorted(names.items()))


def inverse_labels(id2label: dict[int, str], label2id: Any) -> dict[str, int]:
    """Return {name: class}; a ``label2id`` that disagrees is ignored with a warning."""
    inverse = {name: i for i, name in id2label.items()}
    if label2id is not None and not isinstance(label2id, dict):
        raise InputError("label2id must map names to integers", type(label2id).__name__, "write {NAME: 0, ...}")
    if label2id and label2id != inverse:
        warnings.warn("id2label and label2id disagree: id2label is used", stacklevel=4)
    return inverse


def _is_class(key: object) -> bool:
    return not isinstance(key, bool) and (isinstance(key, int) or (isinstance(key, str) and key.isdecimal()))
