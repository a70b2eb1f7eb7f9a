"""Text as it comes: each word is written as soon as nothing that follows can change it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from minibiogpt.tokenizer import BioGptTokenizer


class TextStreamer:
    """Writes the text of one row while it is generated; what was written in the end is the row decoded.

    Moses sets the blanks, and joins punctuation to the word before it, so the last word is held back until the next
    one begins. A word that may yet become a dash (``@-@``) would also join the word before it to the one after, and
    change how that one stands ("." alone is set close, the token ".-b" is not): until it is whole, nothing is written.

    Parameters
    ----------
    skip_prompt : whether to begin with the first new token.
    stream : where to write; standard output by default.
    """

    def __init__(self, tokenizer: BioGptTokenizer, skip_prompt: bool = False, stream: TextIO | None = None) -> None:
        self.tokenizer, self.skip_prompt, self.stream = tokenizer, skip_prompt, stream or sys.stdout
        self.ids: list[int] = []
        self.skipped = not skip_prompt
        self.written = ""

    def put(self, ids: list[int]) -> None:
        """Take the ids that have come: first the prompt's, then one by one."""
        if not self.skipped:
            self.skipped = True
            return
        self.ids += ids
        if self._unfinished() not in ("@", "@-"):
            text = self._text()
            self._write(text[: max(text.rfind(" "), 0)])

    def end(self) -> None:
        """Write what was held back, and a newline."""
        self._write(self._text())
        self.stream.write("\n")
        self.stream.flush()
        self.ids, self.written, self.skipped = [], "", not self.skip_prompt

    def _unfinished(self) -> str:
        """The pieces of a last word that has not ended yet."""
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
