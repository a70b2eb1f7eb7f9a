"""BioGptConfig: the hyperparameters of a BioGPT model, as stored in config.json."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from minibiogpt.config import common
from minibiogpt.config.fields import SIZES, TOKEN_IDS, check_in_vocabulary, check_sizes, checked_field, stored_attribute
from minibiogpt.config.keywords import local_folder, revision_of
from minibiogpt.config.labels import checked_number, inverse_labels, resolve_labels
from minibiogpt.config.text import config_text
from minibiogpt.errors import CheckpointError, InputError, short_repr
from minibiogpt.files.hub import find_model
from minibiogpt.files.reading import read_json
from minibiogpt.files.writing import target_folder, write_atomically
from minibiogpt.idioms import no_attribute, no_option


@dataclass(init=False)
class BioGptConfig:
    """The hyperparameters of a BioGPT model: names and defaults of transformers 4.57 (microsoft/biogpt).

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
    name_or_path : where ``from_pretrained`` read it; not written, and not compared.
    extra : the keys of config.json, and the keyword arguments, that are not fields here. They're read and set as
        attributes too (``config.note = 3``), and written back unchanged.

    Every field can be set; the value is checked at once, and that the sizes fit together when a model is built from
    them. Other attributes of transformers' configs (``is_decoder``, ``architectures``, ``dtype`` ...) have its
    defaults. ``fields.checked_field`` says what null and other odd values of a file mean.

    Raises
    ------
    InputError
        If a size is below 1 or too large for any memory, D is not divisible by H, the activation is unknown, a
        probability is outside [0, 1] or a token id is outside the vocabulary. The message names the field.

    Source: BioGptConfig in transformers 4.57. Differences: a name of an activation that is the same equation is stored
    as ``ACTIVATIONS`` calls it, names of classes are strings, and a negative token id is None.

    Examples
    --------
    >>> config = BioGptConfig(note="first run")
    >>> config.head_size, config.embed_scale, config.note
    (64, 32.0, 'first run')
    >>> config.num_labels = 3
    >>> config.id2label
    {0: 'LABEL_0', 1: 'LABEL_1', 2: 'LABEL_2'}
    """

    model_type: ClassVar[str] = "biogpt"

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
    name_or_path: str = field(default="", compare=False, repr=False)
    extra: dict[str, Any] = field(default_factory=dict)

    def __init__(self, *sizes: Any, extra: dict[str, Any] | None = None, **values: Any) -> None:
        if len(sizes) > len(_FIELDS) or (twice := set(_FIELDS[: len(sizes)]) & set(values)):
            found = ", ".join(sorted(twice)) if len(sizes) <= len(_FIELDS) else f"{len(sizes)} positional arguments"
            raise InputError("a config must get each field once", found, "pass the fields by name")
        if not isinstance(extra, dict | None):
            raise InputError("extra must be a dict", type(extra).__name__, "write BioGptConfig(NAME=value)")
        values |= dict(zip(_FIELDS, sizes, strict=False))
        others = {name: stored_attribute(name, x) for name, x in values.items() if name not in _FIELDS}
        common.warn_if_misspelt(others, _FIELDS)
        kept = {**(extra or {}), **others}
        state: dict[str, Any] = {name: values.get(name, _DEFAULTS[name]) for name in _FIELDS}
        state = {name: value if name in _LABELS else checked_field(name, value) for name, value in state.items()}
        state["id2label"] = resolve_labels(state["num_labels"], state["id2label"])
        state["num_labels"] = len(state["id2label"])
        state["label2id"] = inverse_labels(state["id2label"], state["label2id"])
        self.__dict__.update(state, extra=kept)
        self.check()

    def check(self) -> None:
        """Raise an InputError unless sizes, heads and token ids fit together. A model does it when it is built."""
        check_sizes({name: getattr(self, name) for name in SIZES})
        for name in TOKEN_IDS:
            check_in_vocabulary(name, getattr(self, name), self.vocab_size)

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if name == "num_labels":
            number = checked_number(value)
            if number != self.num_labels:  # as in transformers: another number resets the names
                self.id2label = resolve_labels(number, None)
        elif name == "id2label":
            names = resolve_labels(0, value)
            state.update(id2label=names, num_labels=len(names), label2id=inverse_labels(names, None))
        elif name in _FIELDS:
            state[name] = checked_field(name, value)
        elif name == "extra" or hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:  # a new dict, because a copy of the config may share it
            common.warn_if_misspelt({name} - self.extra.keys(), _FIELDS)
            common.warn_if_unused(name)
            same = common.DTYPES if name in common.DTYPES else ()
            kept = {key: x for key, x in self.extra.items() if key not in same}
            state["extra"] = kept | {name: stored_attribute(name, value)}

    def __getattr__(self, name: str) -> Any:
        extra = self.__dict__.get("extra", {})
        if name in common.DTYPES:
            return next((extra[key] for key in common.DTYPES if extra.get(key) is not None), None)
        if name in extra:
            return extra[name]
        if name in common.DEFAULTS:
            return copy.copy(common.DEFAULTS[name])
        raise no_attribute(self, name, common.ADVICE)

    @property
    def use_return_dict(self) -> bool:
        """Whether a call returns named fields by default: ``return_dict``, unless ``torchscript`` is set."""
        return self.return_dict and not self.torchscript

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
    def from_dict(cls, values: dict[str, Any], **changes: Any) -> Any:
        """Return a config from the keys of a config.json; unknown keys go to ``extra``.

        Parameters
        ----------
        changes : fields, or attributes in the file, to change; others raise an InputError. With
            ``return_unused_kwargs=True`` these come back in a dict: the result is (config, unused).
        """
        if not isinstance(values, dict):
            remedy = "write {...} with the field names"
            raise InputError("a config must be a JSON object", type(values).__name__, remedy)
        kind = values.get("model_type", "biogpt")
        if kind != "biogpt":
            raise InputError("model_type must be 'biogpt'", short_repr(kind), "choose a BioGPT checkpoint")
        known = {key: value for key, value in values.items() if key in _FIELDS}
        config = cls(**known, extra={key: value for key, value in values.items() if key not in _FIELDS})
        if not changes.pop("return_unused_kwargs", False):
            return config.changed(**changes) if changes else config
        unused = {key: value for key, value in changes.items() if not config.has(key)}
        return config.changed(**{key: x for key, x in changes.items() if key not in unused}), unused

    def has(self, name: str) -> bool:
        """Whether ``name`` is a field, a key of ``extra``, or an attribute of every config of transformers."""
        return name in (*_FIELDS, *common.DTYPES, "extra") or name in self.extra or name in common.DEFAULTS

    def changed(self, **changes: Any) -> BioGptConfig:
        """Return this config with some fields changed; a new number of labels resets their names.

        Raises
        ------
        InputError
            If a name is neither a field nor an attribute that this config has, or a value is invalid.

        Examples
        --------
        >>> BioGptConfig().changed(num_labels=3).id2label
        {0: 'LABEL_0', 1: 'LABEL_1', 2: 'LABEL_2'}
        """
        for name in changes:
            if not self.has(name):
                raise no_option("a change of the config", name, _FIELDS, common.ADVICE)
        fields = {name: value for name, value in changes.items() if name in (*_FIELDS, "extra")}
        if "id2label" in fields or checked_number(fields.get("num_labels", self.num_labels)) != self.num_labels:
            fields = {"num_labels": 0, "id2label": {}, "label2id": {}} | fields
        config = dataclasses.replace(self, **fields)
        for name in changes.keys() - fields.keys():
            setattr(config, name, changes[name])
        return config

    def update(self, values: dict[str, Any]) -> None:
        """Set several attributes, in order, as ``setattr`` does."""
        if not isinstance(values, dict):
            raise InputError("update must get a dict", type(values).__name__, "write config.update({NAME: value})")
        for name, value in values.items():
            setattr(self, name, value)

    def to_dict(self) -> dict[str, Any]:
        """Return the keys and values of config.json, including the unknown ones."""
        fields = {name: getattr(self, name) for name in _FIELDS if name not in _OMITTED_BY_DEFAULT}
        if self.id2label != resolve_labels(0, None):
            fields |= {"id2label": {str(i): name for i, name in self.id2label.items()}, "label2id": self.label2id}
        if self.problem_type is not None:
            fields["problem_type"] = self.problem_type
        extra = {name: value for name, value in self.extra.items() if name != "_attn_implementation"}
        return copy.deepcopy({**extra, **fields, "model_type": "biogpt"})

    def to_diff_dict(self) -> dict[str, Any]:
        """Return what ``to_dict`` does, without the fields that have their default."""
        default = BioGptConfig().to_dict()
        kept = {key: value for key, value in self.to_dict().items() if key not in default or value != default[key]}
        return kept | {"model_type": "biogpt"}

    def to_json_string(self, use_diff: bool = True) -> str:
        """Return ``to_diff_dict``, or ``to_dict``, as JSON; both are read back as this config."""
        return config_text(self.to_diff_dict() if use_diff else self.to_dict())

    def to_json_file(self, json_file_path: str | os.PathLike[str], use_diff: bool = True) -> None:
        """Write the text of ``to_json_string`` to a file, atomically: a temporary file is renamed."""
        text = self.to_json_string(use_diff)
        write_atomically(Path(json_file_path), lambda temporary: temporary.write_text(text, encoding="utf-8"))

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike[str], **changes: Any) -> Any:
        """Read a config.json under any name; ``changes`` as in ``from_dict``, errors as in ``from_pretrained``."""
        path = Path(json_file)
        values = read_json(path, "a model folder must hold config.json")
        try:
            cls.from_dict(values)
        except InputError as error:
            raise CheckpointError(error.must, f"{error.found} in {path}", error.remedy) from None
        return cls.from_dict(values, **changes) if changes else cls.from_dict(values)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **changes: Any) -> Any:
        """Read the config.json of "demo", a folder or a hub id, or a file.

        Parameters
        ----------
        changes : as in ``from_dict``; also ``revision`` and transformers' other keywords of files.

        Raises
        ------
        CheckpointError
            If the file is missing, is not JSON, or holds an invalid value. The message names the file.
        """
        given, name = os.fspath(name) if isinstance(name, os.PathLike) else name, local_folder(name, changes)
        revision = revision_of(changes)
        path = Path(name)
        if not path.is_file():
            path = find_model(name, **revision) / "config.json"
        return cls.from_json_file(path, **{"name_or_path": given} | changes)

    def save_pretrained(self, folder: str | os.PathLike[str], push_to_hub: bool = False) -> None:
        """Write FOLDER/config.json atomically: a temporary file is renamed."""
        if push_to_hub:
            raise InputError("a config must be saved to a folder", "push_to_hub=True", common.ADVICE["push_to_hub"])
        self.to_json_file(target_folder(folder) / "config.json", use_diff=False)


_DEFAULTS = {
    f.name: f.default if f.default is not dataclasses.MISSING else None
    for f in dataclasses.fields(BioGptConfig)
    if f.name != "extra"
}
_FIELDS = tuple(_DEFAULTS)
_LABELS = ("num_labels", "id2label", "label2id")
# Never written, or only if they differ from the default.
_OMITTED_BY_DEFAULT = (*_LABELS, "problem_type", "name_or_path")
BioGptConfig.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=x) for name, x in _DEFAULTS.items()]
    + [inspect.Parameter("extra_attributes", inspect.Parameter.VAR_KEYWORD)]
)
