"""A piece of a text; the options of a tokenizer's call; checks of its arguments."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from minibiogpt.checks import checked_integer, is_integer
from minibiogpt.errors import InputError, short_repr
from minibiogpt.idioms import no_option
from minibiogpt.tokenizer.offsets import Span
from minibiogpt.tokenizer.texts import as_list, refused
from minibiogpt.tokenizer.truncation import STRATEGIES

MAX_LENGTH = 1 << 32  # a larger model_max_length means that the length is unknown
TENSORS = {  # what other libraries make of an array
    "pt": 'omit it and write torch.from_numpy(encoding["input_ids"]), or torch.tensor([ids]) of a list',
    "tf": 'omit it and write tf.constant(encoding["input_ids"])',
    "jax": 'omit it and write jax.numpy.asarray(encoding["input_ids"])',
    "mlx": 'omit it and write mlx.core.array(encoding["input_ids"])',
}

PADDINGS = ("longest", "max_length", "do_not_pad")
ADVICE = {
    "text_target": "encode the target with a call of its own, and pass its input_ids as labels",
    "text_pair_target": "encode the target with a call of its own, and pass its input_ids as labels",
    "pad_to_max_length": "write padding='max_length'",
    "truncation_strategy": "write truncation='only_first', 'only_second' or 'longest_first'",
    "truncation_side": "set it on the tokenizer: tok.truncation_side = 'left'",
    "return_token_type_id": "write return_token_type_ids",
    "is_pretokenized": "write is_split_into_words",
    "is_split": "write is_split_into_words",
    "skip_special_tokens": "it is an option of decode; a call has add_special_tokens",
    "device": "move the result: tok(text).to(device)",
    "src_lang": "leave it out: BioGPT has one language, English",
    "tgt_lang": "leave it out: BioGPT has one language, English",
    "lang": "leave it out: BioGPT has one language, English",
    "return_dict": "leave it out: a call always returns a dictionary",
    "text_kwargs": "pass its options themselves",
    "lowercase": "write text.lower()",
    "do_lower_case": "write text.lower()",
}


class Piece(NamedTuple):
    """A token of a text: its string, its id, and its [start, end) in the original text."""

    piece: str
    id: int
    span: Span


@dataclass(frozen=True)
class CallOptions:
    """How texts become rows; ``BioGptTokenizer.__call__`` explains each field.

    Examples
    --------
    >>> CallOptions(truncation="only_first", max_length=8).strategy
    'only_first'
    """

    padding: bool | str = False
    truncation: bool | str | None = None
    max_length: int | None = None
    stride: int = 0
    is_split_into_words: bool = False
    pad_to_multiple_of: int | None = None
    padding_side: str | None = None
    add_special_tokens: bool = True
    parse_special: bool | None = None
    split_special_tokens: bool | None = None
    return_tensors: Any = None
    return_token_type_ids: bool | None = None
    return_attention_mask: bool | None = None
    return_overflowing_tokens: bool = False
    return_special_tokens_mask: bool = False
    return_offsets_mapping: bool = False
    return_offsets: bool = False
    return_length: bool = False
    verbose: bool = True
    prepend_batch_axis: bool = False

    def __post_init__(self) -> None:
        for name in FLAGS:
            if (value := getattr(self, name)) is not None:
                checked_flag(name, value)
        if not isinstance(self.truncation, bool | None) and not _is_one_of(self.truncation, STRATEGIES):
            must = f"truncation must be False, True (which is 'longest_first'), or one of {', '.join(STRATEGIES)}"
            raise InputError(must, short_repr(self.truncation), "choose one of these")
        if not (isinstance(self.padding, bool) or _is_one_of(self.padding, PADDINGS)):
            must = "padding must be False, True, 'longest', 'max_length' or 'do_not_pad'"
            raise InputError(must, short_repr(self.padding), "choose one of these")
        if self.padding_side is not None:
            checked_side(self.padding_side)
        checked_integer("stride", self.stride, 0)
        if self.pad_to_multiple_of is not None:
            checked_integer("pad_to_multiple_of", self.pad_to_multiple_of, 1, MAX_LENGTH)
        checked_tensors(self.return_tensors)
        if self.return_token_type_ids and not self.add_special_tokens:
            must = "return_token_type_ids=True must have add_special_tokens=True, as in transformers"
            raise InputError(must, "add_special_tokens=False", "omit one of the two")
        if self.parse_special is not None and self.parse_special is self.split_special_tokens:
            must = "split_special_tokens must be the opposite of parse_special"
            raise InputError(must, f"{self.parse_special} for both", "pass one of the two")

    @property
    def strategy(self) -> str:
        """The strategy of truncation. As in transformers, ``max_length`` alone (without padding) truncates."""
        if self.truncation is None:
            return "longest_first" if self.max_length is not None and self.padding is False else "do_not_truncate"
        if isinstance(self.truncation, bool):
            return "longest_first" if self.truncation else "do_not_truncate"
        return str.__str__(self.truncation)

    def returns(self, name: str, model_input_names: Iterable[str]) -> bool:
        """Return whether to return "attention_mask" or "token_type_ids"; by default, if the model has that input."""
        wanted = getattr(self, f"return_{name}")
        return name in model_input_names if wanted is None else wanted

    def length(self, known: int) -> int:
        """Return ``max_length``, or the tokenizer's own length; warn if nothing uses it; check the multiple.

        Raises
        ------
        InputError
            For an invalid length, or if rows of that length are not padded to the multiple.
        """
        length = checked_length(self.max_length, known)
        cuts, pads = self.strategy != "do_not_truncate", self.padding not in (False, "do_not_pad")
        if self.max_length is not None and self.verbose and not cuts and self.padding in (True, "longest"):
            message = (
                "max_length has no effect: pass truncation=True to cut to it, or padding='max_length' to pad to it"
            )
            warnings.warn(message, UserWarning, stacklevel=5)
        multiple = self.pad_to_multiple_of
        if cuts and pads and multiple is not None and length <= MAX_LENGTH and length % multiple:
            must = "with truncation and padding, max_length must be a multiple of pad_to_multiple_of"
            down = max(length // multiple, 1) * multiple
            raise InputError(must, f"{length} and {multiple}", f"pass max_length={down}")
        return length

    def parses(self, split: bool) -> bool:
        """Whether special tokens in a text are tokens; ``split`` is the tokenizer's ``split_special_tokens``."""
        if self.parse_special is not None:
            return self.parse_special
        return not (split if self.split_special_tokens is None else self.split_special_tokens)


OPTIONS = tuple(field.name for field in fields(CallOptions))
FLAGS = tuple(field.name for field in fields(CallOptions) if field.type in ("bool", "bool | None"))


def read_options(where: str, given: Mapping[str, Any], without: tuple[str, ...] = ()) -> CallOptions:
    """Return the options of a call of ``where``, which takes all but those in ``without``.

    Raises
    ------
    InputError
        For an unknown name or an invalid value.
    """
    for name in given:
        if name not in OPTIONS or name in without:
            raise no_option(where, name, set(OPTIONS).difference(without), ADVICE)
    return CallOptions(**given)


def _is_one_of(value: Any, names: tuple[str, ...]) -> bool:
    return isinstance(value, str) and value in names  # an enum of transformers is a string too


def checked_length(max_length: Any, known: int) -> int:
    """Return ``max_length``, or the model's own length (``known``) if it is None."""
    if max_length is None:
        return known
    if not is_integer(max_length) or not 1 <= max_length <= MAX_LENGTH:
        must = "max_length must be an integer, 1 or more"
        raise InputError(must, short_repr(max_length), "pass the largest number of tokens per row")
    return int(max_length)


def checked_model_length(length: Any) -> int:
    if not is_integer(length) or length < 1:
        must = "model_max_length must be an integer, 1 or more"
        raise InputError(must, short_repr(length), "pass the model's number of positions, or omit it")
    return length


def checked_flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{name} must be True or False", short_repr(value), "choose one of these")
    return value


def checked_side(side: Any, name: str = "padding_side") -> str:
    if side not in ("left", "right"):
        raise InputError(f"{name} must be 'left' or 'right'", short_repr(side), "choose one of these")
    return side


def checked_text(text: object, name: str = "text") -> str:
    must = f"{name} must be one string"
    if as_list(text) is not None:
        remedy = (
            "call the tokenizer itself for a batch; for pieces call convert_tokens_to_ids, for ids prepare_for_model"
        )
        raise InputError(must, type(text).__name__, remedy)
    if not isinstance(text, str):
        raise refused(must, text)
    return text


def checked_tensors(kind: Any, name: str = "return_tensors", advice: str = "") -> str | None:
    """Return None or "np"; an enum of transformers counts by its text. ``advice`` is added to that of the error."""
    if kind is None:
        return None
    value = getattr(kind, "value", kind)
    if value != "np":
        write = TENSORS.get(value, "omit it") if isinstance(value, str) else "omit it"
        raise InputError(f"{name} must be 'np' or None: the arrays are NumPy's", short_repr(kind), write + advice)
    return "np"


def checked_strings(pieces: Any) -> list[str]:
    found = list(pieces) if isinstance(pieces, Iterable) else None
    if isinstance(pieces, str) or found is None or not all(isinstance(piece, str) for piece in found):
        raise InputError("pieces must be a list of strings", short_repr(pieces), "pass what tokenize returns")
    return found


def clean_up(text: str) -> str:
    """Remove the spaces that transformers' clean_up_tokenization removes."""
    for mark in (".", "?", "!", ","):
        text = text.replace(f" {mark}", mark)
    text = text.replace(" ' ", "'")
    for suffix in ("n't", "'m", "'s", "'ve", "'re"):
        text = text.replace(f" {suffix}", suffix)
    return text
