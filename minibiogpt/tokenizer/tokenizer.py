"""BioGptTokenizer: Moses, then byte-pair encoding, and back.

Source: BioGptTokenizer in transformers 4.57, which gives the same ids and text; the character offsets are ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from minibiogpt.checks import checked_integer
from minibiogpt.config.keywords import local_folder, revision_of
from minibiogpt.errors import CheckpointError, InputError
from minibiogpt.files.hub import find_model
from minibiogpt.idioms import no_option
from minibiogpt.tokenizer import batch, padding
from minibiogpt.tokenizer.batch_encoding import BatchEncoding
from minibiogpt.tokenizer.bpe import END_OF_WORD, Word
from minibiogpt.tokenizer.decoding import TokenizerDecoding
from minibiogpt.tokenizer.encoding import Piece, checked_text
from minibiogpt.tokenizer.offsets import aligned
from minibiogpt.tokenizer.tokens.added_tokens import Part
from minibiogpt.tokenizer.tokens.settings import check_soft_prompt, embeddings_of, read_settings, soft_prompt_of


class BioGptTokenizer(TokenizerDecoding):
    """Text to ids and back.

    ``</s>`` precedes every text (and the second text of a pair); nothing follows. A word's last piece ends in ``</w>``.
    Decoding is lossy by design: Moses cannot know which spaces the text had.

    Parameters
    ----------
    vocab : {piece: id}, in any order, or the path of a vocab.json (also ``vocab_file``).
    merges : pairs of pieces, the most frequent first, or the path of a merges.txt (also ``merges_file``).
    unk_token, bos_token, eos_token, sep_token, pad_token : the special tokens; ``sep_token`` precedes each text. One
        that is not in the vocabulary gets the next id, for which the model needs an embedding.
    padding_side : "right" as in transformers, unless tokenizer_config.json says "left", which generation needs.
    truncation_side : "right" or "left".
    model_max_length : the length to which ``truncation`` cuts by default; unknown if not given.
    clean_up_tokenization_spaces : the default of ``decode``.
    split_special_tokens : whether every call treats added and special tokens in a text as text.
    cls_token, mask_token, additional_special_tokens, extra_special_tokens ({name: token}) : more special tokens.
    added_tokens_decoder : {id: AddedToken}.
    soft_prompt : number of extra embeddings after the tokens (soft prompts of fine-tuned models). No text is encoded to
        them. ``soft_prompt_ids`` are their ids, and they are decoded as "learned1", "learned2" ...
    model_input_names : what a call returns by default, ["input_ids", "attention_mask"]; it may list "token_type_ids".
    chat_template : a Jinja template or {name: template}, kept and saved but not rendered.
    name_or_path : as in transformers.

    Examples
    --------
    >>> tok = BioGptTokenizer.from_pretrained("demo")
    >>> tok.decode(tok.encode("Ibuprofen treats pain (mild)."), skip_special_tokens=True)
    'Ibuprofen treats pain (mild).'
    >>> tok.tokenize("a < b")  # Moses writes &lt; for <
    ['a</w>', '&', 'l', 't', ';</w>', 'b</w>']
    """

    def __init__(
        self,
        vocab: Any = None,
        merges: Any = None,
        unk_token: Any = "<unk>",
        bos_token: Any = "<s>",
        eos_token: Any = "</s>",
        sep_token: Any = "</s>",
        pad_token: Any = "<pad>",
        **options: Any,
    ) -> None:
        vocab, merges = options.pop("vocab_file", vocab), options.pop("merges_file", merges)
        options |= {"unk_token": unk_token, "bos_token": bos_token, "eos_token": eos_token, "sep_token": sep_token}
        self._set_up(vocab, merges, options | {"pad_token": pad_token})
        from minibiogpt.tokenizer import moses  # imported here: it takes longer than all the rest

        self._split, self._unsplit = moses.splitter(), moses.joiner()

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Any) -> BioGptTokenizer:
        """Read the tokenizer of "demo", a folder or a hub id: vocab.json, merges.txt (2 or 3 columns) and options.

        Parameters
        ----------
        options : those of the constructor, which override the files, and ``revision``: the branch, tag or commit of a
            hub id.

        Embeddings of the model (vocab_size in config.json) beyond the tokens are a soft prompt, unless vocab_size is a
        multiple of 8, as in a model resized with ``pad_to_multiple_of``: then they are padding, and their ids are
        decoded as ``<unk>``. ``soft_prompt`` in tokenizer_config.json or as an option overrides this rule.

        Raises
        ------
        CheckpointError
            If a file is missing or invalid, or the vocabulary has more pieces than the model has embeddings. If only
            the added tokens have no embeddings, that is a warning.

        Source: from_pretrained in transformers 4.57, which reads the same files with the same precedence.
        """
        folder = find_model(local_folder(name, options), **revision_of(options))
        files = {"vocab": folder / "vocab.json", "merges": folder / "merges.txt"}
        try:
            read = read_settings(folder, options)
            tokenizer = cls(**{**files, **read, "name_or_path": os.fspath(name)})
            table = tokenizer._tokens
            rows = embeddings_of(folder, max(table.vocab.values()) + 1, table.end)
            listed = max([*table.vocab.values(), *read["added_tokens_decoder"]]) + 1
            tokenizer._match(rows, read.get("soft_prompt", soft_prompt_of(rows, listed)))
        except InputError as error:
            if options and not isinstance(error, CheckpointError):
                cls.from_pretrained(folder)  # raises if the files are wrong
                raise
            if str(folder) in str(error):
                raise CheckpointError(error.must, error.found, error.remedy) from None
            raise CheckpointError(error.must, f"{error.found} in {folder}", error.remedy) from None
        return tokenizer

    def match_embeddings(self, rows: int) -> None:
        """Use the tokenizer with a model of ``rows`` embeddings, of another folder than its own.

        Those beyond the tokens are its soft prompt or padding, by the rule of ``from_pretrained``.
        """
        rows = checked_integer("the number of embeddings", rows, self._tokens.end)
        self._match(rows, soft_prompt_of(rows, self._tokens.end))

    def _match(self, rows: int | None, soft_prompt: int) -> None:
        check_soft_prompt(soft_prompt, rows, self._tokens.end)
        self._soft_prompt, self._rows = soft_prompt, max(rows or 0, self._tokens.end + soft_prompt)

    def __call__(self, text: Any = None, text_pair: Any = None, **options: Any) -> BatchEncoding:
        """Encode a text or a batch.

        Parameters
        ----------
        text, text_pair : a string (a batch of 1) or a list of strings. A list of pairs may be passed as ``text``.
        padding : False, True or "longest" (to the longest of the batch), or "max_length". padding_side : "left" or
            "right", by default the tokenizer's. pad_to_multiple_of : rounds the width up.
        truncation : cuts rows to ``max_length`` (default: the model's; if that is unknown, nothing is cut) on the
            tokenizer's ``truncation_side``. True or "longest_first" cuts the longer text of a pair first, and a single
            text only if something remains; "only_first" and "only_second" cut that text. ``</s>`` is kept. None (the
            default) truncates if only max_length is passed, False and "do_not_truncate" never do.
        return_overflowing_tokens : return what was cut as further rows, which share ``stride`` tokens with the row
            before, and "overflow_to_sample_mapping" (rows,), the text of each row; so do transformers' fast tokenizers.
        is_split_into_words : a text is a list of words, each encoded by itself (a string is still a text); see
            ``word_ids`` of the result.
        parse_special : whether ``</s>`` and the like in the text are special tokens (the default) or text; the opposite
            of ``split_special_tokens``. add_special_tokens : whether ``</s>`` precedes each text.
        return_offsets, return_offsets_mapping : also return "offsets" or "offset_mapping" (B, T, 2): token t is
            text[start:end], [start, end) in the original text (in its own text of a pair, in its own word of a split
            text), and (0, 0) for added tokens and padding. Offsets are exact where Moses only splits. Where it
            rewrites, each piece has the span of the whole original: the one character of an escape (``&apos;``) or a
            split dash (``@-@``), or the word DOTMULTI, which sacremoses mistakes for its own mark. A control character,
            which Moses drops, is inside a span only if both its neighbors are.
        return_token_type_ids, return_attention_mask : whether to return those; by default those that are in the
            tokenizer's ``model_input_names``. return_special_tokens_mask, return_length : also return those; "length"
            (B,) counts tokens without padding. return_tensors : "np" or None, the same here.

        Returns
        -------
        A dictionary with "input_ids" and "attention_mask": int64 arrays (B, T), 1 = real, 0 = padding.

        Raises
        ------
        InputError
            For anything but strings, no text at all, texts of unequal length without padding, or an invalid option.

        Examples
        --------
        >>> vocab = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "a</w>": 4, "b</w>": 5, "ab</w>": 6}
        >>> tok = BioGptTokenizer(vocab, [("a", "b</w>")])
        >>> tok(["ab", "a b?"], padding=True, return_offsets=True)["offsets"][1].tolist()
        [[0, 0], [0, 1], [2, 3], [3, 4]]
        >>> tok("ab", "a")["input_ids"]
        array([[2, 6, 2, 4]])
        >>> tok(["ab", "a"], is_split_into_words=True).word_ids()
        [None, 0, 1]
        """
        return batch.encode_batch(self, text, text_pair, options)

    def analyse(self, text: str, *, parse_special: bool | None = None) -> list[Piece]:
        """Return the pieces of a text, each with its id and its span; nothing is added.

        With ``parse_special=False``, added and special tokens in the text are text, as with transformers'
        ``split_special_tokens=True``. The default is the opposite of the tokenizer's ``split_special_tokens``.
        """
        found: list[Piece] = []
        for part in self._parts(text, parse_special):
            if part.id is not None:
                found.append(Piece(part.text, part.id, part.span(0, len(part.text))))
            else:
                found += self._plain_pieces(part)
        return found

    def _plain_pieces(self, part: Part) -> list[Piece]:
        """Return the pieces of a part without added tokens."""
        words = self._split(part.text)
        found = []
        for word, spans in zip(words, aligned(words, part.text), strict=True):
            begin = 0
            for piece, i in zip(*self._tokens.words[word], strict=True):
                end = begin + len(piece.removesuffix(END_OF_WORD))
                found.append(Piece(piece, i, part.span(spans[begin][0], spans[end - 1][1])))
                begin = end
        return found

    def _ids(self, text: str, *, parse_special: bool | None = None) -> list[int]:
        """Return the ids that ``analyse`` finds, without computing the spans."""
        return [i for word in self._merged_words(text, parse_special) for i in word.ids]

    def _merged_words(self, text: str, parse_special: bool | None) -> Iterator[Word]:
        """Yield the words of a text, split into pieces; an added token is a word of one piece."""
        for part in self._parts(text, parse_special):
            if part.id is not None:
                yield Word((part.text,), (part.id,))
            else:
                yield from map(self._tokens.words.__getitem__, self._split(part.text))

    def _parts(self, text: str, parse_special: bool | None) -> list[Part]:
        """Split a text at its added tokens, which special tokens are, too."""
        if not (not self.split_special_tokens if parse_special is None else parse_special):
            return [Part(checked_text(text), range(len(text)))]
        return self._tokens.finder.parts(checked_text(text))

    def encode(self, text: Any, text_pair: Any = None, **options: Any) -> Any:
        """Return the ids of one text or pair as a list (with return_tensors="np": (1, T)); the options of a call."""
        ids = self.encode_plus(text, text_pair, **options)["input_ids"]
        return ids[0].tolist() if options.get("return_tensors") is None else ids

    encode_plus, batch_encode_plus = batch.encode_plus, batch.batch_encode_plus
    prepare_for_model, truncate_sequences, pad = batch.prepare_for_model, batch.truncate_sequences, padding.pad

    def tokenize(self, text: str, *, parse_special: bool | None = None, **options: Any) -> list[str]:
        """Return the pieces of a text, without the leading ``</s>``; ``parse_special`` as in ``analyse``."""
        parse = parse_special if (split := options.pop("split_special_tokens", None)) is None else not split
        if options:
            advice = dict.fromkeys(("pair", "add_special_tokens"), "write convert_ids_to_tokens(tokenizer.encode(...))")
            raise no_option("tokenize", next(iter(options)), ["parse_special", "split_special_tokens"], advice)
        return [piece for word in self._merged_words(text, parse) for piece in word.pieces]
