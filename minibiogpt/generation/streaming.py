"""Streaming: write each word as soon as later tokens can no longer change it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from minibiogpt.tokenizer import BioGptTokenizer


class TextStreamer:
    """Writes the text of one row while it is generated. In total it writes exactly the decoded row.

    The Moses detokenizer sets the spaces and attaches punctuation to the word before it, so the last word is held back
    until the next one starts. A word that may become a dash (``@-@``) joins the words around it and can change the
    spacing of the word before ("." alone is attached, the token ".-b" is not), so nothing is written until that word is
    complete.

    Parameters
    ----------
    skip_prompt : whether to leave out the prompt.
    stream : where to write; standard output by default.
    """

    def __init__(self, tokenizer: BioGptTokenizer, skip_prompt: bool = False, stream: TextIO | None = None) -> None:
        self.tokenizer, self.skip_prompt, self.stream = tokenizer, skip_prompt, stream or sys.stdout
        self.ids: list[int] = []
        self.skipped = not skip_prompt
        self.written = ""

    def put(self, ids: list[int]) -> None:
        """Receive new ids: first the prompt's, then one at a time."""
        if not self.skipped:
            self.skipped = True
            return
        self.ids += ids
        if self._unfinished() not in ("@", "@-"):
            text = self._text()
            self._write(text[: max(text.rfind(" "), 0)])

    def end(self) -> None:
        """Write the text held back so far, and a newline."""
        self._write(self._text())
        self.stream.write("\n")
        self.stream.flush()
        self.ids, self.written, self.skipped = [], "", not self.skip_prompt

    def _unfinished(self) -> str:
        """Return the characters of an incomplete last word."""
        special = set(self.tokenizer.all_special_ids)
        pieces = self.tokenizer.convert_ids_to_tokens([i for i in self.ids if i not in special])
        return "".join(pieces).rpartition("</w>")[2]

    def _text(self) -> str:
        return self.tokenizer.decode(self.ids, skip_special_tokens=True)

    def _write(self, text: str) -> None:
        if len(text) > len(self.written) and text.startswith(self.written):
            self.stream.write(text[len(self.written) :])
            self.stream.flush()
            self.written = text
