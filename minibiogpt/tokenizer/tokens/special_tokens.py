"""The table of tokens: the vocabulary, the special tokens by name, and the added ones.

Source: SpecialTokensMixin and PreTrainedTokenizer in transformers 4.57. Differences: a token that is not in the
vocabulary cannot be set as an attribute (transformers then uses the id of ``<unk>``), an unknown piece has the id of
``unk_token`` even if that was added (transformers gives it None), and a new token never gets an id that is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from minibiogpt.checks import is_integer
from minibiogpt.errors import InputError, short_repr, text_of
from minibiogpt.tokenizer.bpe import Words
from minibiogpt.tokenizer.tokens.added_tokens import AddedToken, Finder, Token, checked_token

DEFAULTS: dict[str, str | None] = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": None,
    "mask_token": None,
}
REQUIRED = ("unk_token", "sep_token", "pad_token")  # used in every call
MORE = "additional_special_tokens"


class TokenTable:
    """Every token, by its text, its id and its name.

    A change replaces whole tables, so a thread that encodes meanwhile sees a complete one.

    Parameters
    ----------
    vocab, ranks : the vocabulary and the merges.
    named : {"pad_token": its token, ...}. more : the additional special tokens. decoder : {id: added token}.

    Attributes
    ----------
    all : {token: id} of the vocabulary and the added tokens. pieces : {id: token}. end : the first id after all.
    special : the special tokens, without repetition. special_ids : their ids.
    apart : the added tokens that decoding sets apart with spaces.
    """

    def __init__(
        self,
        vocab: dict[str, int],
        ranks: dict[tuple[str, str], int],
        named: Mapping[str, Any],
        more: Any,
        decoder: Mapping[int, AddedToken],
    ) -> None:
        self.vocab, self.ranks = vocab, ranks
        self._vocab_pieces = {i: piece for piece, i in vocab.items()}
        self.named = {name: checked_named(name, token) for name, token in named.items()}
        self.more = checked_tokens(more, MORE)
        self.decoder = dict(decoder)
        self._refresh()
        known = self.encoder
        self.add([t for t in self.all_special() if isinstance(t, AddedToken) or t not in known], special=True)

    def restore(self, named: dict[str, Token | None], more: list[Token], decoder: dict[int, AddedToken]) -> None:
        """Set the tokens exactly, without adding the special ones."""
        self.named, self.more, self.decoder = dict(named), list(more), dict(decoder)
        self._refresh()

    def add(self, tokens: Iterable[Token], special: bool = False) -> int:
        """Add tokens; return how many of them were not in the vocabulary. Those get the next ids."""
        decoder, encoder, vocab = dict(self.decoder), dict(self.encoder), dict(self.all)
        more, names = list(self.more), set(self.special)
        taken, first = self.pieces, len(vocab)
        for token in tokens:
            if not str(token) or (isinstance(token, str) and token in encoder):
                continue
            if isinstance(token, str):
                token = AddedToken(token, special=special or token in names)
            elif special:
                token = replace(token, special=True)
            if token.content not in vocab and len(vocab) in taken:
                must = f"the id of the new token {short_repr(token.content)} must be free"
                found = f"{len(vocab)} (the number of tokens), which is {short_repr(taken[len(vocab)])}"
                raise InputError(must, found, "use a vocab.json whose ids have no gaps")
            i = vocab.setdefault(token.content, len(vocab))
            if token.special and token.content not in names:
                more.append(token)
                names.add(token.content)
            decoder[i] = token
            encoder[token.content] = i
        self.decoder, self.more = decoder, more
        self._refresh()
        return len(vocab) - first

    def add_special(self, tokens: Any, replace_more: bool) -> int:
        """Set special tokens by name, adding those that are not in the vocabulary; return how many were not."""
        if not tokens:
            return 0
        names = [*self.named, MORE]
        if not isinstance(tokens, Mapping) or set(tokens) - set(names):
            found = short_repr(
                tokens if not isinstance(tokens, Mapping) else sorted(set(tokens) - set(names), key=text_of)
            )
            must = f"add_special_tokens must have a dictionary of {', '.join(names)}"
            raise InputError(must, found, "correct the name, or use add_tokens(..., special_tokens=True)")
        named, more, new = dict(self.named), list(self.more), []
        for name, value in tokens.items():
            if name == MORE:
                added = [_as_special(token) for token in checked_tokens(value, MORE)]
                if not replace_more:
                    added = [token for token in added if str(token) not in set(map(str, more))]
                more = [*([] if replace_more and added else more), *added]
                new += added
            else:
                token = _as_special(checked_token(value, name))
                named[name] = checked_named(name, token)
                new.append(token)
        before, self.named, self.more = (self.named, self.more), named, more
        try:
            self._refresh()
            return self.add(dict.fromkeys(new), special=True)
        except InputError:
            self.named, self.more = before
            self._refresh()
            raise

    def set(self, name: str, value: Any) -> None:
        """Set a special token by its name; it must be in the vocabulary."""
        if name == MORE:
            self.more = [self._in_vocabulary(name, token) for token in checked_tokens(value, MORE)]
        else:
            self.named = {**self.named, name: self._in_vocabulary(name, checked_named(name, value))}
        self._refresh()

    def set_id(self, name: str, value: Any) -> None:
        """Set a special token by its id."""
        if name == MORE:
            if not isinstance(value, Iterable | None) or isinstance(value, str):
                raise InputError(f"{name}_ids must be a list of ids", short_repr(value), "put the ids into a list")
            self.set(name, [self._piece(f"{name}_ids", i) for i in value or ()])
        else:
            self.set(name, None if value is None else self._piece(f"{name}_id", value))

    def id_of(self, token: str) -> int:
        """Return the id of a token; of an unknown one, that of ``unk_token``."""
        found = self.all.get(token)
        return self.unknown if found is None else found

    def _in_vocabulary(self, name: str, token: Any) -> Any:
        if token is not None and str(token) not in self.all:
            value = [str(token)] if name == MORE else str(token)
            remedy = f"write add_special_tokens({{{name!r}: {short_repr(value)}}}) to add it"
            raise InputError(f"{name} must be in the vocabulary", short_repr(str(token)), remedy)
        return token

    def _piece(self, name: str, i: Any) -> str:
        if not is_integer(i) or int(i) not in self.pieces:
            must = f"{name} must be an id of the vocabulary, 0 to {max(self.pieces)}"
            raise InputError(must, short_repr(i), "choose the id of a token")
        return self.pieces[int(i)]

    def all_special(self) -> list[Token]:
        """Return the special tokens in transformers' order; of those with the same text, the first."""
        found: dict[str, Token] = {}
        extra = [token for name, token in self.named.items() if name not in DEFAULTS]
        for token in (*(self.named[name] for name in DEFAULTS), *self.more, *extra):
            if token is not None and str(token):
                found.setdefault(str(token), token)
        return list(found.values())

    def _refresh(self) -> None:
        """Compute what follows from the vocabulary, the named and the added tokens."""
        decoder = dict(sorted(self.decoder.items()))
        encoder = {token.content: i for i, token in decoder.items()}
        new = any(self.vocab.get(token) != i for token, i in encoder.items())
        every = self.vocab | encoder if new else self.vocab
        self.pieces = self._vocab_pieces | {i: token.content for i, token in decoder.items()}
        self.end = max(self.pieces) + 1
        unk = self.named["unk_token"]
        self.decoder, self.encoder, self.all = decoder, encoder, every
        self.unknown: int = every.get(str(unk), -1)  # -1 only until the constructor has added unk_token
        self.special = list(map(str, self.all_special()))
        self.special_ids = [self.id_of(token) for token in self.special]
        beyond = {str(token) for token in self.more if self.id_of(str(token)) >= len(self.vocab)}
        self.apart = frozenset(set(encoder) - set(self.special) | beyond)
        self.finder = Finder(decoder, encoder)
        self.words = Words(self.ranks, every, self.unknown)


class NamedToken:
    """The attribute for a special token of a tokenizer, such as ``pad_token``, or for its id, such as ``pad_token_id``.

    Both can be set. A token must be in the vocabulary; ``add_special_tokens`` adds one that is not.
    """

    def __init__(self, is_id: bool = False) -> None:
        self.is_id = is_id

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name.removesuffix("_ids").removesuffix("_id") if self.is_id else name

    def __get__(self, tokenizer: Any, owner: type | None = None) -> Any:
        return self if tokenizer is None else value_of(tokenizer._tokens, self.name, self.is_id)

    def __set__(self, tokenizer: Any, value: Any) -> None:
        (tokenizer._tokens.set_id if self.is_id else tokenizer._tokens.set)(self.name, value)


def value_of(table: TokenTable, name: str, is_id: bool = False) -> Any:
    """Return a special token, or its id, by its name; None if it is not set."""
    if name == MORE:
        return [table.id_of(str(token)) if is_id else str(token) for token in table.more]
    token = table.named[name]
    return None if token is None else table.id_of(str(token)) if is_id else str(token)


def checked_named(name: str, token: Any) -> Token | None:
    if token is None and name not in REQUIRED:
        return None
    if isinstance(token, str | AddedToken) and not str(token):
        raise InputError(f"{name} must have a text", "an empty one", "pass the text of the token")
    return checked_token(token, name)


def checked_tokens(tokens: Any, what: str) -> list[Token]:
    if tokens is None:
        return []
    if not isinstance(tokens, list | tuple):
        must = f"{what} must be a list of strings or AddedTokens"
        raise InputError(must, type(tokens).__name__, "put the tokens into a list")
    checked = [checked_token(token, f"each of {what}") for token in tokens]
    return [token for token in checked if str(token)]  # an empty one is in no text


def _as_special(token: Token) -> AddedToken:
    return AddedToken(token, special=True) if isinstance(token, str) else token
