"""BioGptConfig: the sizes and switches of one BioGPT, as config.json holds them."""

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
POSITION_OFFSET = 2  # rows 0 and 1 of the position table come before position 0; pads get row 1
MOST_LAYERS = 10_000
MOST_WEIGHTS = 10**11  # 400 GB in float32; the largest BioGPT has 1.6 * 10**9
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
MOST_LABELS = 1_000_000  # beyond which a config is taken for broken
DEFAULT_LABELS = 2  # how many classes a config has that names none
LAYER_NORM_EPS = 1e-5  # what runs; config.layer_norm_eps (1e-12) is ignored by transformers and fairseq alike


@dataclass
class BioGptConfig:
    """The hyperparameters of one BioGPT.

    The field names and defaults are those of transformers 4.57 (the base checkpoint, microsoft/biogpt).
    The letters used in every shape comment of this package:

    ====== ==================================== ============================
    letter meaning                              field
    ====== ==================================== ============================
    B      batch: independent sequences         (of the input)
    T      positions given now                  (of the input)
    S      positions attended to: past + T      (of the input and the cache)
    D      hidden size                          hidden_size
    H      attention heads                      num_attention_heads
    Dh     width of one head, D / H             head_size
    F      feed-forward width                   intermediate_size
    V      vocabulary                           vocab_size
    L      decoder layers                       num_hidden_layers
    N      maximum positions                    max_position_embeddings
    labels classes of a classification head     num_labels
    K      beams: hypotheses of one row         (of GenerationConfig)
    C      candidates for these beams           (of GenerationConfig)
    M      any number of rows or numbers        (of the input)
    ====== ==================================== ============================

    Attributes
    ----------
    layer_norm_eps : kept, written back, and **not used**: the norm adds ``LAYER_NORM_EPS`` (1e-5), as the
        reference does (``nn.LayerNorm(D)`` takes PyTorch's default).
    scale_embedding : whether token embeddings are multiplied by sqrt(D).
    tie_word_embeddings : whether the LM head is the token embedding (True in every published checkpoint).
    hidden_dropout_prob, attention_probs_dropout_prob, activation_dropout, layerdrop : training only; kept, not used.
    num_labels, id2label, label2id : the classes of a classification head: how many (0: as many as have names, or 2),
        their names ({0: "LABEL_0", ...} when none are given), and these the other way round. ``id2label`` holds.
    problem_type : which loss a sequence classifier has: "regression", "single_label_classification",
        "multi_label_classification", or None to choose by the labels.
    extra : every key of config.json that is not a field here, kept and written back unchanged.

    Raises
    ------
    InputError
        Naming the field, if a size is below 1 or beyond any memory, D is not divisible by H, the activation is
        unknown, a probability is outside [0, 1] or a token id is outside the vocabulary.

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
        self.label2id = inverted(self.id2label, self.label2id)
        types = ", ".join(PROBLEM_TYPES)
        _require(self.problem_type in (None, *PROBLEM_TYPES), "problem_type", f"be null or {types}", self.problem_type)

    def _check_token_id(self, name: str) -> None:
        value = getattr(self, name)
        ids = value if isinstance(value, list) and name == "eos_token_id" else [value]
        for token in ids:
            valid = token is None or (_is_int(token) and 0 <= token < self.vocab_size)
            _require(valid, name, f"be null or an id in [0, {self.vocab_size})", value)

    def _check_memory(self) -> None:
        """Sizes that no memory holds are refused here, before anything asks for it."""
        layers = self.num_hidden_layers
        _require(layers <= MOST_LAYERS, "num_hidden_layers", f"be at most {MOST_LAYERS}", layers)
        in_layers = layers * (4 * self.hidden_size + 2 * self.intermediate_size)
        if (self.vocab_size + self.max_position_embeddings + in_layers) * self.hidden_size > MOST_WEIGHTS:
            found = ", ".join(f"{name} {short_repr(getattr(self, name))}" for name in _SIZES)
            raise InputError(f"the sizes must make at most {MOST_WEIGHTS:,} weights", found, "correct config.json")

    @property
    def letters(self) -> dict[str, int]:
        """The sizes that the config fixes, by their letters; those of a classification head are not among them."""
        D, H, F = self.hidden_size, self.num_attention_heads, self.intermediate_size
        V, L, N = self.vocab_size, self.num_hidden_layers, self.max_position_embeddings
        return {"D": D, "H": H, "Dh": self.head_size, "F": F, "V": V, "L": L, "N": N}

    @property
    def head_size(self) -> int:
        """Dh: the width of one attention head, D / H."""
        return self.hidden_size // self.num_attention_heads

    @property
    def embed_scale(self) -> float:
        """What a token's embedding is multiplied by: sqrt(D), or 1 when ``scale_embedding`` is off."""
        return math.sqrt(self.hidden_size) if self.scale_embedding else 1.0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> BioGptConfig:
        """Make a config from the keys of a config.json; unknown keys go to ``extra``."""
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
        """This config with some fields changed; another number of labels has new names.

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
        """The keys and values of config.json, unknown ones included."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in _UNSAID}
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
            If the file is absent, is not JSON, or says what cannot be; the file is named.
        """
        path = Path(folder) / "config.json"
        values = read_json(path, "a model folder must hold config.json")
        try:
            return cls.from_dict(values)
        except InputError as error:
            raise CheckpointError(error.must, f"{error.found} in {path}", error.remedy) from None

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write FOLDER/config.json (beside, then renamed)."""
        text = json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"  # ASCII: a lone surrogate is no UTF-8
        write_atomically(Path(folder) / "config.json", lambda beside: beside.write_text(text, encoding="utf-8"))


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
_UNSAID = (
    "extra",
    "num_labels",
    "id2label",
    "label2id",
    "problem_type",
)  # not written, or only when they say something
_PROBABILITIES = ("hidden_dropout_prob", "attention_probs_dropout_prob", "layerdrop", "activation_dropout")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    """Whether it is a finite number that a float can hold: 10**400 is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _require(holds: bool, name: str, rule: str, value: object) -> None:
    if not holds:
        raise InputError(f"{name} must {rule}", f"{name} {short_repr(value)}", f"correct {name}")


def _require_size(name: str, value: object) -> None:
    _require(_is_int(value) and isinstance(value, int) and value >= 1, name, "be a whole number, 1 or more", value)


def resolve_labels(num_labels: Any, id2label: Any) -> dict[int, str]:
    """{0: name, 1: name ...}: the names that were given, or LABEL_0, LABEL_1 ... when there are none.

    JSON has no whole numbers for keys: "0" is 0. Names that disagree with ``num_labels`` hold, with a warning.
    """
    if isinstance(num_labels, bool) or not isinstance(num_labels, int) or not 0 <= num_labels <= MOST_LABELS:
        must = f"num_labels must be a whole number, 1 to {MOST_LABELS:,}"
        raise InputError(must, f"num_labels {num_labels!r}", "correct num_labels")
    if id2label is None or id2label == {}:
        return {i: f"LABEL_{i}" for i in range(num_labels or DEFAULT_LABELS)}
    if not isinstance(id2label, dict) or not all(_whole(key) and isinstance(id2label[key], str) for key in id2label):
        must, remedy = "id2label must map 0, 1, 2 ... to names", 'write {"0": "NAME", ...}'
        raise InputError(must, short_repr(id2label), remedy)
    names = {int(key): name for key, name in id2label.items()}
    if sorted(names) != list(range(len(names))):
        must = f"id2label must name the classes 0 to {len(names) - 1}"
        raise InputError(must, f"the keys {short_repr(sorted(names))}", "number the classes from 0")
    if num_labels not in (0, len(names)):
        warnings.warn(f"num_labels is {num_labels}, but id2label has {len(names)} names: these hold", stacklevel=4)
    if len(set(names.values())) < len(names):
        warnings.warn("id2label gives several classes one name: results by name show only the last", stacklevel=4)
    return dict(sorted(names.items()))


def inverted(id2label: dict[int, str], label2id: Any) -> dict[str, int]:
    """{name: class}; a ``label2id`` that says otherwise is passed over with a warning."""
    inverse = {name: i for i, name in id2label.items()}
    if label2id is not None and not isinstance(label2id, dict):
        raise InputError("label2id must map names to whole numbers", type(label2id).__name__, "write {NAME: 0, ...}")
    if label2id and label2id != inverse:
        warnings.warn("id2label and label2id disagree: id2label holds", stacklevel=4)
    return inverse


def _whole(key: object) -> bool:
    return not isinstance(key, bool) and (isinstance(key, int) or (isinstance(key, str) and key.isdecimal()))
