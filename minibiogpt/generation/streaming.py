"""Streaming: write each word as soon as later tokens can no longer change it."""

from __future__ import annotations

import sys
from queue import Queue
from typing import TYPE_CHECKING, Any, Self, TextIO

import numpy as np

from minibiogpt.errors import InputError

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
    decode_options : for the tokenizer's ``decode``, such as ``skip_special_tokens=True``.

    Source: TextStreamer in transformers 4.57. A subclass may replace ``on_finalized_text``, as there.
    """

    def __init__(
        self,
        tokenizer: BioGptTokenizer,
        skip_prompt: bool = False,
        stream: TextIO | None = None,
        **decode_options: Any,
    ) -> None:
        self.tokenizer, self.skip_prompt, self.stream = tokenizer, skip_prompt, stream or sys.stdout
        self.decode_options = decode_options
        self.ids: list[int] = []
        self.skipped = not skip_prompt
        self.written = ""
        self.started = False

    def put(self, ids: Any) -> None:
        """Receive new ids of one row: first the prompt's, then one at a time. Lists or arrays, (1, T) or (T,)."""
        self.started, new = True, np.asarray(ids)
        if new.ndim > 1 and new.shape[0] > 1:
            raise InputError("a TextStreamer must receive one row", f"{new.shape[0]} rows", "stream one text at a time")
        if not self.skipped:
            self.skipped = True
            return
        self.ids += new.reshape(-1).tolist()
        if self._unfinished() not in ("@", "@-"):
            held = 2 if self._cleans_up() else 1  # words that later ones can change: "a ' b" becomes "a'b"
            parts = self._text().rsplit(" ", held)
            self._write(parts[0] if len(parts) > held else "")

    def end(self) -> None:
        """Write the text held back so far, and a newline."""
        text = self._text()
        rest = text[len(self.written) :] if text.startswith(self.written) else ""
        self.ids, self.written, self.skipped = [], "", not self.skip_prompt
        self.on_finalized_text(rest, stream_end=True)
        self.started = False

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Write text that no later token can change; at the end, also a newline, if any ids were received."""
        self.stream.write(text + "\n" * (stream_end and self.started))
        self.stream.flush()

    def _unfinished(self) -> str:
        """Return the characters of an incomplete last word."""
        special = set(self.tokenizer.all_special_ids)
        pieces = self.tokenizer.convert_ids_to_tokens([i for i in self.ids if i not in special])
        return "".join(pieces).rpartition("</w>")[2]

    def _cleans_up(self) -> bool:
        """Return whether decode removes spaces before punctuation, which it finds by the spaces around it."""
        clean = self.decode_options.get("clean_up_tokenization_spaces")
        return bool(self.tokenizer.clean_up_tokenization_spaces if clean is None else clean)

    def _text(self) -> str:
        return self.tokenizer.decode(self.ids, **self.decode_options)

    def _write(self, text: str) -> None:
        if len(text) > len(self.written) and text.startswith(self.written):
            self.on_finalized_text(text[len(self.written) :])
            self.written = text


class TextIteratorStreamer(TextStreamer):
    """Puts the text of one row into a queue while it is generated, and iterates over it in another thread.

    Parameters
    ----------
    timeout : seconds to wait for the next piece of text before ``queue.Empty`` is raised; None waits for ever.

    Source: TextIteratorStreamer in transformers 4.57. Here the iteration also ends if ``generate`` raises an error.

    Examples
    --------
    >>> from threading import Thread
    >>> from minibiogpt import BioGptForCausalLM, BioGptTokenizer
    >>> model, tokenizer = BioGptForCausalLM.from_pretrained("demo"), BioGptTokenizer.from_pretrained("demo")
    >>> streamer = TextIteratorStreamer(tokenizer, skip_special_tokens=True)
    >>> options = dict(tokenizer("Metformin acts by"), streamer=streamer, max_new_tokens=3)
    >>> thread = Thread(target=model.generate, kwargs=options)
    >>> thread.start()
    >>> "".join(streamer)
    'Metformin acts by reducing glucose'
    >>> thread.join()
    """

    def __init__(
        self,
        tokenizer: BioGptTokenizer,
        skip_prompt: bool = False,
        timeout: float | None = None,
        **decode_options: Any,
    ) -> None:
        super().__init__(tokenizer, skip_prompt, **decode_options)
        self.text_queue: Queue[str | None] = Queue()
        self.timeout = timeout

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Put text into the queue; at the end, also None."""
        self.text_queue.put(text)
        if stream_end:
            self.text_queue.put(None)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        text = self.text_queue.get(timeout=self.timeout)
        if text is None:
            raise StopIteration
        return text
