"""What a tokenizer knows besides how to encode: its special and added tokens, its options, and how they are saved."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

from minibiogpt.checks import checked_folder
from minibiogpt.errors import InputError
from minibiogpt.idioms import no_attribute, no_option
from minibiogpt.tokenizer import ids
from minibiogpt.tokenizer.encoding import checked_flag
from minibiogpt.tokenizer.tokens import chat
from minibiogpt.tokenizer.tokens.added_tokens import AddedToken, Token, checked_token
from minibiogpt.tokenizer.tokens.names import ATTRIBUTE_ADVICE
from minibiogpt.tokenizer.tokens.settings import (
    ADDED,
    DECODER,
    EXTRA,
    Setting,
    checked_options,
    write_json,
    write_settings,
)
from minibiogpt.tokenizer.tokens.special_tokens import DEFAULTS, MORE, NamedToken, TokenTable, value_of
from minibiogpt.tokenizer.vocabulary import checked_merges, checked_vocab, write_vocabulary


class TokenizerAttributes:
    """The state of ``BioGptTokenizer``, its attributes and its files.

    An attribute that does not exist can neither be read nor set. The others are checked when they are set.

    Source: SpecialTokensMixin and PreTrainedTokenizerBase in transformers 4.57.
    """

    vocab_files_names: ClassVar = {"vocab_file": "vocab.json", "merges_file": "merges.txt"}
    SPECIAL_TOKENS_ATTRIBUTES: ClassVar = [*DEFAULTS, MORE]
    is_fast = False
    pad_token_type_id = 0

    bos_token, bos_token_id = NamedToken(), NamedToken(is_id=True)
    eos_token, eos_token_id = NamedToken(), NamedToken(is_id=True)
    unk_token, unk_token_id = NamedToken(), NamedToken(is_id=True)
    sep_token, sep_token_id = NamedToken(), NamedToken(is_id=True)
    pad_token, pad_token_id = NamedToken(), NamedToken(is_id=True)
    cls_token, cls_token_id = NamedToken(), NamedToken(is_id=True)
    mask_token, mask_token_id = NamedToken(), NamedToken(is_id=True)
    additional_special_tokens, additional_special_tokens_ids = NamedToken(), NamedToken(is_id=True)

    padding_side, truncation_side, model_max_length = Setting(), Setting(), Setting()
    clean_up_tokenization_spaces, split_special_tokens = Setting(), Setting()
    model_input_names, name_or_path, chat_template = Setting(), Setting(), Setting()

    _settings: dict[str, Any]
    _tokens: TokenTable
    _soft_prompt: int
    _rows: int  # of the model's embedding, as far as known: the ids after all tokens and the soft prompt are padding

    def _set_up(self, vocab: Any, merges: Any, options: dict[str, Any]) -> None:
        pieces, pairs, checked = checked_vocab(vocab), checked_merges(merges), checked_options(options)
        ranks = {pair: rank for rank, pair in enumerate(pairs)}
        self._settings, self._soft_prompt, self._rows = checked.settings, checked.soft_prompt, 0
        self._tokens = TokenTable(pieces, ranks, checked.named, checked.more, checked.decoder)

    @property
    def vocab(self) -> dict[str, int]:
        """{piece: id} of vocab.json, without the added tokens."""
        return self._tokens.vocab

    @property
    def ranks(self) -> dict[tuple[str, str], int]:
        """{pair: rank} of the merges."""
        return self._tokens.ranks

    @property
    def pieces(self) -> dict[int, str]:
        """{id: token}, with the added tokens."""
        return self._tokens.pieces

    @property
    def vocab_size(self) -> int:
        """The number of pieces in vocab.json. ``len`` of a tokenizer also counts the added tokens."""
        return len(self._tokens.vocab)

    def __len__(self) -> int:
        return len(self._tokens.all)

    def get_vocab(self) -> dict[str, int]:
        """Return {token: id} of the vocabulary and the added tokens."""
        return dict(self._tokens.all)

    def get_added_vocab(self) -> dict[str, int]:
        """Return {token: id} of the added tokens, in the order of their ids; special tokens are among them."""
        return dict(self._tokens.encoder)

    @property
    def added_tokens_encoder(self) -> dict[str, int]:
        """{token: id} of the added tokens."""
        return self.get_added_vocab()

    @property
    def added_tokens_decoder(self) -> dict[int, AddedToken]:
        """{id: AddedToken}, in the order of the ids."""
        return dict(self._tokens.decoder)

    @property
    def special_tokens_map(self) -> dict[str, Any]:
        """{name: special token} of those that are set."""
        found = {name: value_of(self._tokens, name) for name in (*DEFAULTS, MORE, *self.extra_special_tokens)}
        return {name: value for name, value in found.items() if value}

    @property
    def special_tokens_map_extended(self) -> dict[str, Any]:
        """Like ``special_tokens_map``, with AddedTokens where they were given."""
        found = {**self._tokens.named, MORE: list(self._tokens.more)}
        return {name: found[name] for name in self.special_tokens_map}

    @property
    def extra_special_tokens(self) -> dict[str, Token | None]:
        """{name: token} of the special tokens with names of their own."""
        return {name: token for name, token in self._tokens.named.items() if name not in DEFAULTS}

    @property
    def all_special_tokens(self) -> list[str]:
        """The special tokens, without repetition."""
        return list(self._tokens.special)

    @property
    def all_special_tokens_extended(self) -> list[Token]:
        """Like ``all_special_tokens``, with AddedTokens where they were given."""
        return self._tokens.all_special()

    @property
    def all_special_ids(self) -> list[int]:
        """The ids of the special tokens."""
        return list(self._tokens.special_ids)

    @property
    def soft_prompt_ids(self) -> range:
        """The ids of the model's soft prompt: embeddings after those of the tokens."""
        return range(self._tokens.end, self._tokens.end + self._soft_prompt)

    def add_tokens(self, new_tokens: Token | Sequence[Token], special_tokens: bool = False) -> int:
        """Add tokens, which are then found in every text and never split; return how many were not in the vocabulary.

        Those get the next ids, for which the model needs embeddings: ``model.resize_token_embeddings(len(tokenizer))``.

        Parameters
        ----------
        new_tokens : a string, an AddedToken, or a list of them.
        special_tokens : whether they are special, so that ``skip_special_tokens`` leaves them out of decoded text.

        Raises
        ------
        InputError
            For anything else, or if the new ids would be those of a soft prompt.

        Source: PreTrainedTokenizer._add_tokens in transformers 4.57.

        Examples
        --------
        >>> from minibiogpt import BioGptTokenizer
        >>> tok = BioGptTokenizer.from_pretrained("demo")
        >>> tok.add_tokens(["nirmatrelvir"]), len(tok), tok.vocab_size
        (1, 1875, 1874)
        >>> tok.tokenize("nirmatrelvir treats pain")
        ['nirmatrelvir', 'treats</w>', 'pain</w>']
        """
        listed = new_tokens if isinstance(new_tokens, list | tuple) else [new_tokens] if new_tokens else []
        tokens = [checked_token(token, "each of new_tokens") for token in listed]
        self._check_room(tokens)
        return self._tokens.add(tokens, bool(special_tokens))

    def add_special_tokens(
        self, special_tokens_dict: dict[str, Any], replace_additional_special_tokens: bool = True
    ) -> int:
        """Set special tokens by name, adding those that are not in the vocabulary; return how many were not.

        Parameters
        ----------
        special_tokens_dict : such as {"pad_token": "[PAD]", "additional_special_tokens": ["[DRUG]"]}.
        replace_additional_special_tokens : whether a new list replaces the old one. The tokens of the old one stay in
            the vocabulary, but are no longer special.

        Source: SpecialTokensMixin.add_special_tokens in transformers 4.57.

        Examples
        --------
        >>> from minibiogpt import BioGptTokenizer
        >>> tok = BioGptTokenizer.from_pretrained("demo")
        >>> tok.add_special_tokens({"additional_special_tokens": ["[DRUG]"]}), tok.encode("[DRUG] aspirin")
        (1, [2, 1874, 248, 954, 225])
        """
        if isinstance(special_tokens_dict, dict):
            values = [v if isinstance(v, list | tuple) else [v] for v in special_tokens_dict.values()]
            self._check_room([token for value in values for token in value])
        return self._tokens.add_special(special_tokens_dict, bool(replace_additional_special_tokens))

    def _check_room(self, tokens: Iterable[Any]) -> None:
        if self._soft_prompt and any(str(token) not in self._tokens.all for token in tokens):
            must = "a new token must not take the embedding of the model's soft prompt"
            found = f"a soft prompt of {self._soft_prompt} from id {self.soft_prompt_ids.start} on"
            raise InputError(
                must, found, "load the tokenizer with soft_prompt=0 to give those embeddings to new tokens"
            )

    build_inputs_with_special_tokens = ids.build_inputs_with_special_tokens
    get_special_tokens_mask = ids.get_special_tokens_mask
    create_token_type_ids_from_sequences = ids.create_token_type_ids_from_sequences

    def num_special_tokens_to_add(self, pair: bool = False) -> int:
        """Return how many tokens a call adds to a text, or to a pair."""
        return 2 if pair else 1

    @property
    def max_len_single_sentence(self) -> int:
        """The most tokens of a text that the model takes."""
        return self.model_max_length - self.num_special_tokens_to_add()

    @property
    def max_len_sentences_pair(self) -> int:
        """The most tokens of a pair, together, that the model takes."""
        return self.model_max_length - self.num_special_tokens_to_add(pair=True)

    def save_vocabulary(
        self, save_directory: str | os.PathLike[str], filename_prefix: str | None = None
    ) -> tuple[str, str]:
        """Write vocab.json and merges.txt as transformers reads them, each atomically; return their paths."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        folder = checked_folder("save_directory", save_directory)
        return write_vocabulary(folder, prefix, self.vocab, self.ranks)

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        legacy_format: bool | None = None,
        filename_prefix: str | None = None,
        push_to_hub: bool = False,
        **options: Any,
    ) -> tuple[str, ...]:
        """Write the tokenizer's files as transformers reads them, each atomically; return their paths.

        They are tokenizer_config.json, special_tokens_map.json, vocab.json, merges.txt and, if there are any, those of
        the chat templates (in tokenizer_config.json with save_jinja_files=False) and added_tokens.json. (transformers
        names the last one even if it does not write it.)
        """
        if legacy_format is False:
            must = "legacy_format must be None or True"
            raise InputError(must, "False", "leave it out: only fast tokenizers have another format")
        jinja = checked_flag("save_jinja_files", options.pop("save_jinja_files", True))
        if push_to_hub or options:
            name = next(iter(options), "push_to_hub")
            raise no_option("save_pretrained", name, ["filename_prefix", "save_jinja_files"], ATTRIBUTE_ADVICE)
        folder = checked_folder("save_directory", save_directory)
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        decoder = {str(i): token.as_dict() for i, token in self._tokens.decoder.items()}
        config = {**self._settings, **self.special_tokens_map, DECODER: decoder, MORE: self.additional_special_tokens}
        del config["name_or_path"], config[chat.TEMPLATE]
        if not jinja and self.chat_template is not None:
            config[chat.TEMPLATE] = chat.as_listed(self.chat_template)
        config[EXTRA] = {name: str(token) for name, token in self.extra_special_tokens.items() if token is not None}
        if self._soft_prompt or self._rows > self._tokens.end:
            config["soft_prompt"] = self._soft_prompt
        special = {name: _without_special(x) for name, x in self.special_tokens_map_extended.items()}
        written = write_settings(folder, prefix, config, special)
        written += chat.write_templates(folder, prefix, self.chat_template) if jinja else []
        written += self.save_vocabulary(folder, filename_prefix)
        beyond = {token: i for token, i in self._tokens.encoder.items() if i >= self.vocab_size}
        return (*written, *([write_json(folder / (prefix + ADDED), beyond)] if beyond else []))

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and (base := name.removesuffix("_id")) in self._tokens.named:
            return value_of(self._tokens, base, base != name)
        of_chats = {method: chat.advice(self.chat_template) for method in chat.METHODS} if name in chat.METHODS else {}
        raise no_attribute(self, name, ATTRIBUTE_ADVICE | of_chats)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") or hasattr(type(self), name):
            super().__setattr__(name, value)
        elif (base := name.removesuffix("_id")) in self._tokens.named:
            (self._tokens.set if base == name else self._tokens.set_id)(base, value)
        else:
            raise no_attribute(self, name, ATTRIBUTE_ADVICE)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the constructor's arguments and the tokens, without the cached words."""
        merges = sorted(self.ranks, key=self.ranks.__getitem__)
        state = (self._soft_prompt, self._rows, self._tokens.named, self._tokens.more, self._tokens.decoder)
        return partial(type(self), **self._settings), (self.vocab, merges), state

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._soft_prompt, self._rows, *tokens = state
        self._tokens.restore(*tokens)

    def __repr__(self) -> str:
        added = f"{len(self) - self.vocab_size} added tokens, " if len(self) > self.vocab_size else ""
        counts = f"{self.vocab_size} pieces, {added}{len(self.ranks)} merges"
        return f"<{type(self).__name__} of {counts}, pads {self.padding_side}>"


def _without_special(value: Any) -> Any:
    """Return an AddedToken as special_tokens_map.json holds it, where every token is special."""
    if isinstance(value, list):
        return [_without_special(token) for token in value]
    return {k: x for k, x in value.as_dict().items() if k != "special"} if isinstance(value, AddedToken) else value
