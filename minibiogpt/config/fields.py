"""Which values each field of a config takes, and what they mean."""

from __future__ import annotations

from typing import Any

from minibiogpt.checks import is_finite_number, is_integer
from minibiogpt.config.common import DTYPES
from minibiogpt.config.labels import checked_inverse
from minibiogpt.errors import InputError, short_repr, text_of

POSITION_OFFSET = 2  # rows 0 and 1 of the position table come before position 0; padding gets row 1
LAYER_NORM_EPS = 1e-5  # in use; transformers and fairseq ignore config.layer_norm_eps (1e-12)
ACTIVATIONS = ("gelu", "gelu_new", "relu", "selu")
# transformers' other names of these equations. gelu_fast writes sqrt(2 / pi) with ten digits; the rest is gelu_new.
OTHER_NAMES = {
    "gelu_python": "gelu", "gelu_fast": "gelu_new", "gelu_accurate": "gelu_new", "gelu_pytorch_tanh": "gelu_new",
    "gelu_python_tanh": "gelu_new",
}  # fmt: skip
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")
MAX_LAYERS = 10_000
MAX_WEIGHTS = 10**11  # 400 GB in float32; the largest BioGPT has 1.6 * 10**9
SIZES = (
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
    "max_position_embeddings",
)  # fmt: skip
FLAGS = (
    "scale_embedding", "use_cache", "tie_word_embeddings", "output_attentions", "output_hidden_states", "return_dict",
)  # fmt: skip
TRAINING = ("hidden_dropout_prob", "attention_probs_dropout_prob", "layerdrop", "activation_dropout")
NUMBERS = {"initializer_range": 0.02, "layer_norm_eps": 1e-12}  # with what null means
TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id")
_DTYPES = {"float": "float32", "half": "float16", "double": "float64"}  # torch's other names


def checked_field(name: str, value: Any) -> Any:
    """Return the value that a field stores for ``value``.

    null is False for a flag, no token for a token id, and 0 for a probability, as transformers reads it. A negative
    token id is no token. 1024.0 is 1024: some languages write every number as a float.

    Raises
    ------
    InputError
        If the field can't have this value. The message names the field.

    Examples
    --------
    >>> checked_field("hidden_size", 1024.0), checked_field("pad_token_id", -1), checked_field("use_cache", None)
    (1024, None, False)
    """
    if name in SIZES:
        return _size(name, value)
    if name in FLAGS:
        _require(value is None or value in (0, 1), name, "be true or false", value)
        return bool(value)
    if name in TRAINING:
        valid = value is None or (is_finite_number(value) and 0 <= value <= 1)
        _require(valid, name, "be a probability in [0, 1]", value)
        return value or 0.0
    if name in NUMBERS:
        value = NUMBERS[name] if value is None else value
        _require(is_finite_number(value) and value >= 0, name, "be a finite number, 0 or more", value)
        return value
    if name in TOKEN_IDS:
        return _token_id(name, value)
    if name == "hidden_act":
        value = OTHER_NAMES.get(value, value) if isinstance(value, str) else value
        if value not in ACTIVATIONS:
            must = f"hidden_act must be one of {', '.join([*ACTIVATIONS, *OTHER_NAMES])}"
            remedy = "a model that was trained with another activation cannot be run here"
            raise InputError(must, f"hidden_act {short_repr(value)}", remedy)
        return value
    if name == "problem_type":
        _require(value in (None, *PROBLEM_TYPES), name, f"be null or {', '.join(PROBLEM_TYPES)}", value)
        return value
    if name == "label2id":
        return checked_inverse(value)
    return "" if value is None else text_of(value)  # name_or_path


def check_sizes(sizes: dict[str, int]) -> None:
    """Reject sizes that don't fit together, or are too large for any memory, before anything is allocated."""
    V, D, L, H, F, N = (sizes[name] for name in SIZES)
    _require(L <= MAX_LAYERS, "num_hidden_layers", f"be at most {MAX_LAYERS}", L)
    if (V + N + L * (4 * D + 2 * F)) * D > MAX_WEIGHTS:
        found = ", ".join(f"{name} {short_repr(size)}" for name, size in sizes.items())
        raise InputError(f"the model must have at most {MAX_WEIGHTS:,} weights", found, "correct config.json")
    if D % H:
        found = f"hidden_size {D} and num_attention_heads {short_repr(H)}"
        raise InputError("hidden_size must be divisible by num_attention_heads", found, "change one of the two")


def check_in_vocabulary(name: str, value: int | list[int] | None, vocab_size: int) -> None:
    """Check that a token id, or each of several, is a row of the embedding."""
    ids = value if isinstance(value, list) else [value]
    inside = all(token is None or token < vocab_size for token in ids)
    _require(inside, name, f"be null or an id in [0, {vocab_size})", value)


def stored_attribute(name: str, value: Any) -> Any:
    """Return the value of an attribute that is no field: a dtype as its name, as JSON needs it, others unchanged."""
    return dtype_text(value) if name in DTYPES and value is not None else value


def dtype_text(dtype: Any) -> str:
    """Return the name of a dtype given as text, or as NumPy's, CuPy's or PyTorch's object (by its text).

    Examples
    --------
    >>> import numpy as np
    >>> dtype_text("torch.float16"), dtype_text(np.float16), dtype_text(np.dtype("float64"))
    ('float16', 'float16', 'float64')
    """
    name = dtype.__name__ if isinstance(dtype, type) else text_of(dtype)
    name = name.removeprefix("torch.")
    return _DTYPES.get(name, name)


def _size(name: str, value: Any) -> int:
    whole = is_integer(value) or (isinstance(value, float) and value.is_integer())
    _require(whole and value >= 1, name, "be an integer, 1 or more", value)
    return int(value)


def _token_id(name: str, value: Any) -> Any:
    must = "be null or an id in the vocabulary"
    if name == "eos_token_id" and isinstance(value, list | tuple):
        _require(all(is_integer(token) and token >= 0 for token in value), name, must, value)
        return [int(token) for token in value]
    if value is None:
        return None
    whole = is_integer(value) or (isinstance(value, float) and value.is_integer())
    _require(whole, name, must, value)
    return int(value) if value >= 0 else None


def _require(holds: bool, name: str, condition: str, value: object) -> None:
    if not holds:
        raise InputError(f"{name} must {condition}", f"{name} {short_repr(value)}", f"correct {name}")
