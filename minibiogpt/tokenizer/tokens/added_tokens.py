"""Tokens added to the vocabulary: what they are, and how they are found in a text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

from minibiogpt.errors import InputError, short_repr

# Of one token, in characters. A text may begin it at each of its characters, and all of these are followed together.
MAX_LENGTH = 500


@dataclass(frozen=True)
class AddedToken:
    """A token that is found in a text before Moses and byte-pair encoding, and is never split.

    Parameters
    ----------
    content : the text of the token.
    single_word : whether it must have a space, or nothing, on both sides.
    lstrip, rstrip : whether it takes the whitespace on its left or right with it.
    normalized : has no effect, because BioGPT does not normalize text; kept for transformers' files. The default is
        ``not special``.
    special : whether ``skip_special_tokens`` leaves it out of decoded text.

    Source: AddedToken in transformers 4.57, which can be changed after it was made; this one cannot.

    Examples
    --------
    >>> AddedToken("[DRUG]", special=True).normalized, str(AddedToken("[DRUG]"))
    (False, '[DRUG]')
    """

    content: str
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False
    normalized: bool | None = None
    special: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.content, str):
            found = short_repr(self.content)
            raise InputError("the content of an AddedToken must be a string", found, "pass the text of the token")
        _check_length(self.content)
        if self.normalized is None:
            object.__setattr__(self, "normalized", not self.special)
        for name in FLAGS:
            if not isinstance(value := getattr(self, name), bool):
                must = f"{name} of the added token {short_repr(self.content)} must be True or False"
                raise InputError(must, short_repr(value), "choose one of these")

    def __str__(self) -> str:
        return self.content

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, as transformers saves them."""
        return {"content": self.content} | {name: getattr(self, name) for name in FLAGS}


FLAGS = tuple(field.name for field in fields(AddedToken) if field.name != "content")
Token = str | AddedToken  # as transformers keeps them: a string says nothing about stripping


def checked_token(token: Any, what: str) -> Token:
    """Return a string or an AddedToken as it is, and transformers' own AddedToken or a saved one as ours."""
    if isinstance(token, str | AddedToken):
        _check_length(str(token))
        return token
    if isinstance(token, Mapping) and "content" in token:
        return AddedToken(token["content"], **{name: token[name] for name in FLAGS if name in token})
    if all(hasattr(token, name) for name in ("content", *FLAGS)):
        return AddedToken(token.content, **{name: getattr(token, name) for name in FLAGS})
    raise InputError(f"{what} must be a string or an AddedToken", short_repr(token), "pass the text of the token")


def _check_length(content: str) -> None:
    if len(content) > MAX_LENGTH:
        must, found = f"an added token must have at most {MAX_LENGTH} characters", f"{len(content)}"
        raise InputError(must, found, "shorten it, or leave it to byte-pair encoding")


class Part(NamedTuple):
    """A part of a text: its characters, where each is in the original text, and the id if it is an added token."""

    text: str
    at: Sequence[int]
    id: int | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return [start, end) of this part in the original text."""
        first = self.at[start] if start < len(self.at) else self.at[-1] + 1
        return first, self.at[end - 1] + 1 if end > start else first

    def joined(self, other: Part) -> Part:
        adjacent = not self.text or not other.text or self.at[-1] + 1 == other.at[0]
        first, last = (self.at or other.at)[0], (other.at or self.at)[-1]
        return Part(self.text + other.text, range(first, last + 1) if adjacent else [*self.at, *other.at])

    def stripped(self, left: bool) -> Part:
        text = self.text.lstrip() if left else self.text.rstrip()
        return Part(text, self.at[len(self.at) - len(text) :] if left else self.at[: len(text)])


EMPTY = Part("", range(0))
Node = dict[str, Any]  # of a tree: {the next character: the node after it}, and "" where a token ends
END = ""


class Finder:
    """Finds added tokens in texts.

    Source: PreTrainedTokenizer.tokenize and its Trie in transformers 4.57: of the tokens that begin first, the longest
    is found. Its peculiarities are kept, because the ids depend on them (see ``_longest_rival`` and ``parts``).

    Examples
    --------
    >>> finder = Finder({9: AddedToken("[A]", rstrip=True), 8: AddedToken("[A]b")}, {"[A]": 9, "[A]b": 8})
    >>> [(part.text, part.id) for part in finder.parts("x[A]  y [A]b")]
    [('x', None), ('[A]', 9), ('y ', None), ('[A]b', 8)]
    """

    def __init__(self, decoder: Mapping[int, AddedToken], encoder: Mapping[str, int]) -> None:
        self.decoder, self.encoder = decoder, encoder
        self._root: Node = {}
        for content in encoder:
            node = self._root
            for character in content:
                node = node.setdefault(character, {})
            node[END] = {}
        self._first = re.compile("[" + "".join(map(re.escape, self._root)) + "]") if self._root else None
        self._cuts_only = not any(token.lstrip or token.rstrip or token.single_word for token in decoder.values())

    def parts(self, text: str) -> list[Part]:
        """Split a text at its added tokens, in order; whitespace that a token takes with it is in no part.

        As in transformers, a token that must be a single word but is not becomes text, joined to its neighbor. A
        neighbor that ends in a newline or a tab counts as a word, even if the token takes that whitespace with it.
        """
        parts, done = [], 0
        for start, end in [*self._matches(text), (len(text), len(text))]:
            parts += [Part(text[a:b], range(a, b)) for a, b in ((done, start), (start, end)) if a < b]
            done = end
        for i in range(0 if self._cuts_only else len(parts)):
            self._apply_flags(parts, i)
        return [part._replace(id=self.encoder.get(part.text)) for part in parts if part.text]

    def _apply_flags(self, parts: list[Part], i: int) -> None:
        """Apply stripping and single_word at part i, in place; a joined or stripped neighbor may itself be a token."""
        part = parts[i]
        if part.text not in self.encoder:
            return
        token = self.decoder[self.encoder[part.text]]
        left = parts[i - 1] if i > 0 else EMPTY
        right = parts[i + 1] if i + 1 < len(parts) else EMPTY
        if token.rstrip and right.text:
            parts[i + 1] = right.stripped(left=True)
        if token.lstrip and left.text:
            parts[i - 1] = left.stripped(left=False)
        if token.single_word and left.text and left.text[-1] != " ":
            parts[i - 1], parts[i] = parts[i - 1].joined(part), EMPTY
        elif token.single_word and right.text and right.text[0] != " ":
            parts[i], parts[i + 1] = EMPTY, part.joined(parts[i + 1])

    def _matches(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield [start, end) of each match, from the left. All tokens that may have begun are followed together."""
        active: list[tuple[int, Node]] = []
        i = 0
        while i < len(text):
            if not active:
                found = self._first.search(text, i) if self._first else None
                if found is None:
                    return
                i = found.start()
            character, going_on = text[i], []
            for k, (start, node) in enumerate(active):
                if END in node:
                    start, i = self._longest_rival(text, i, active[: k + 1])
                    yield start, i
                    active = []
                    break
                if character in node:
                    going_on.append((start, node[character]))
            else:
                if character in self._root:
                    going_on.append((i, self._root[character]))
                active, i = going_on, i + 1
        for start, node in active:
            if END in node:
                yield start, len(text)
                return

    @staticmethod
    def _longest_rival(text: str, i: int, rivals: list[tuple[int, Node]]) -> tuple[int, int]:
        """Return the first token to begin of those that may match; the last of ``rivals`` has ended before ``i``.

        In transformers, a rival that fails exactly at ``i`` is continued as if text[i] were not there. What it then
        finds is not a token, but the text is cut there, and the token inside is not found.
        """
        for start, node in rivals[:-1]:
            end = _longest(node.get(text[i], node), text, i + 1)
            if end is not None:
                return start, end
        start, node = rivals[-1]
        return start, _longest(node, text, i) or i


def _longest(node: Node, text: str, i: int) -> int | None:
    """Return where the longest token that goes on from ``node`` at text[i] ends; None if none does."""
    end = i if END in node else None
    while i < len(text) and text[i] in node:
        node, i = node[text[i]], i + 1
        end = i if END in node else end
    return end
